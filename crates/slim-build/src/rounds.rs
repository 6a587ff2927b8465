//! Slim images, one after the other, until one does what the fat one does: keep-set → image and policy → verdict, and from
//! what the verdict's run missed a larger keep-set and policy. The last one's run contract is found then. The fat image
//! itself goes the same way where it is to stay as it is: then only the policy grows.
//!
//! Invariant: at most one image of ours is in the engine at a time, under a temporary name. The same trace and flags give
//! the same image where nothing was repaired.

use crate::decide::{keep, known, policy};
use crate::error::BuildError;
use crate::files::Files;
use crate::image::{self, Loaded};
use crate::launch::Launched;
use crate::observers::Observers;
use crate::policy::Policies;
use crate::progress::{Stage, Story};
use crate::repair::{Findings, Ground, Repairs};
use crate::seen::Seen;
use crate::settings::{Settings, VerifyMode};
use crate::subject::image_volumes;
use crate::verify::{self, Bound, Check, Plan, Verdict, Watch};
use slim_engine::Engine;
use slim_keep::KeepSet;
use slim_report::{VerificationReport, VerificationResult, human};
use std::sync::Arc;

/// Which image is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proving {
    /// One that holds what is kept.
    Slim,
    /// The fat one, as it is.
    Fat,
}

/// An image that does what it is to do, under its policy.
pub struct Proved {
    pub kept: Arc<KeepSet>,
    pub policies: Policies,
    pub bound: Bound,
    /// `None`: it is the fat one.
    pub loaded: Option<Loaded>,
    pub verification: VerificationReport,
}

/// Makes slim images until one is as good as it is to be.
///
/// # Errors
/// [`BuildError::Verification`] when the last one does something else than the fat one and nothing is left to repair.
pub async fn rounds(
    engine: &dyn Engine,
    observers: &Observers,
    settings: &Settings,
    story: &Story<'_>,
    seen: &Seen,
    files: Files,
    proving: Proving,
) -> Result<(Files, Proved), BuildError> {
    if settings.verify.is_off() {
        story.notice("--verify=off: the slim image gets its name without having been run");
        return Rounds { engine, settings, story, seen, proving, check: None }.run(files).await;
    }
    let plan = Plan::of(settings, &seen.source, &seen.observation);
    if let Some(left_out) = &plan.left_out {
        story.notice(left_out);
    }
    let vantage = observers.vantage();
    let (reference, second_run) = verify::reference(engine, &vantage, settings, &seen.source, story, &plan);
    let making = async {
        let check = Check {
            engine,
            vantage: &vantage,
            settings,
            story,
            plan: &plan,
            fat: &seen.observation.behaviour,
            reference,
            watch: watch(observers, settings, story, seen).await,
        };
        Rounds { engine, settings, story, seen, proving, check: Some(check) }.run(files).await
    };
    // The fat program's second run goes on meanwhile.
    Ok(tokio::try_join!(making, second_run)?.0)
}

/// Nobody needs to look where nothing is to be repaired.
async fn watch(observers: &Observers, settings: &Settings, story: &Story<'_>, seen: &Seen) -> Option<Watch> {
    if settings.verify.rounds == 0 {
        return None;
    }
    let volumes = image_volumes(&seen.source, settings);
    Watch::new(observers, &seen.source, volumes, settings.buffer_bytes, |why| story.notice(why)).await
}

struct Rounds<'a> {
    engine: &'a dyn Engine,
    settings: &'a Settings,
    story: &'a Story<'a>,
    seen: &'a Seen,
    proving: Proving,
    /// `None`: no image is run.
    check: Option<Check<'a>>,
}

impl Rounds<'_> {
    async fn run(&self, files: Files) -> Result<(Files, Proved), BuildError> {
        let Self { settings, story, seen, .. } = *self;
        let mut repairs = Repairs::default();
        self.prepare();
        let (mut files, mut kept) = keep(settings, story, seen, files, &repairs).await?;
        let mut of_files;
        (files, of_files) = known(seen, files, &kept, None).await?;
        let mut held = None;
        loop {
            // An image without a launcher does not depend on the policy, for which the kept files' code is still being read.
            if held.is_none() && settings.launch.is_off() {
                let loaded;
                (files, loaded) = self.image(files, &kept, None).await?;
                held = Some(loaded);
            }
            let policies = policy(settings, story, seen, &of_files, &repairs).await?;
            // Where only the policy has grown, the image is the same.
            let loaded;
            (files, loaded) = match held.take() {
                Some(loaded) => (files, loaded),
                None => self.image(files, &kept, policies.launched.clone()).await?,
            };
            let (verdict, mut findings) =
                self.judge(&files, &kept, &policies, loaded.as_ref(), &repairs).await?;
            let mut bound = Bound::presumed(&policies);
            if findings.is_empty() && verdict.differences.is_empty() {
                bound = self.bind(loaded.as_ref(), &policies, &verdict).await?;
                findings.calls = bound.calls_to_allow(&policies);
            }
            let grows = !findings.is_empty() && repairs.rounds.len() < self.most_rounds();
            if grows {
                // The launcher's policy lies in the image.
                let new_paths = !findings.seeds.is_empty() || policies.launched.is_some();
                repairs.grow(findings, verdict.differences.len());
                self.prepare();
                if new_paths {
                    if let Some(loaded) = loaded {
                        image::discard(self.engine, loaded).await?;
                    }
                    (files, kept) = keep(settings, story, seen, files, &repairs).await?;
                    (files, of_files) = known(seen, files, &kept, Some(of_files)).await?;
                } else {
                    held = Some(loaded);
                }
                continue;
            }
            let verification = self.decide(verdict, findings, repairs)?;
            return Ok((files, Proved { kept, policies, bound, loaded, verification }));
        }
    }

    /// Lets the next trial get ready meanwhile.
    fn prepare(&self) {
        if let Some(check) = &self.check {
            check.prepare();
        }
    }

    fn most_rounds(&self) -> usize {
        usize::try_from(self.settings.verify.rounds).unwrap_or(usize::MAX)
    }

    async fn image(
        &self,
        files: Files,
        kept: &Arc<KeepSet>,
        launched: Option<Arc<Launched>>,
    ) -> Result<(Files, Option<Loaded>), BuildError> {
        let Self { engine, settings, story, seen, .. } = *self;
        if self.proving == Proving::Fat {
            return Ok((files, None));
        }
        let stage = story.begin(Stage::Image);
        let (files, image) = image::write(engine, settings, &stage, seen, files, kept, launched).await?;
        let loaded = image::load(engine, settings, &stage, &image).await?;
        let layers = match image.layers().len() {
            1 => "one layer".to_owned(),
            layers => format!("{layers} layers"),
        };
        stage.done(format!("{}, {layers}, {}", human(loaded.size), image.id().short()));
        Ok((files, Some(loaded)))
    }

    /// Runs the image, says how that went, and looks at what it needs besides.
    async fn judge(
        &self,
        files: &Files,
        kept: &KeepSet,
        policies: &Policies,
        loaded: Option<&Loaded>,
        repairs: &Repairs,
    ) -> Result<(Verdict, Findings), BuildError> {
        let Some(check) = &self.check else {
            let report = verify::not_run(VerificationResult::Off, "off (--verify=off)");
            return Ok((Verdict::unknown(report), Findings::default()));
        };
        let stage = self.story.begin(Stage::Verify);
        let verdict = check.verdict(&stage, &self.id(loaded), &policies.seccomp).await?;
        let ground = Ground {
            trace: &self.seen.observation.trace,
            tree: files.tree(),
            config: &self.seen.observation.effective_config(&self.seen.source, self.settings),
            settings: &self.settings.keep,
        };
        let mut findings = repairs.look(ground, kept, policies, &verdict)?;
        if self.proving == Proving::Fat {
            // It lacks nothing.
            findings.seeds.clear();
        }
        let mut told = format!("under its seccomp profile: {}", verdict.report.told);
        if !findings.is_empty() && repairs.rounds.len() < self.most_rounds() {
            told.push_str(&format!(
                "; repairing: {} added (round {})",
                findings.told(),
                repairs.next_round()
            ));
        }
        stage.done(told);
        Ok((verdict, findings))
    }

    /// With how little the image runs.
    async fn bind(
        &self,
        loaded: Option<&Loaded>,
        policies: &Policies,
        verdict: &Verdict,
    ) -> Result<Bound, BuildError> {
        let Some(check) = &self.check else { return Ok(Bound::presumed(policies)) };
        if self.settings.container.host_config.is_true("Privileged") {
            self.story.notice_once(
                "the run contract is presumed, not tried: a privileged container has devices and kernel interfaces that no \
                 contract gives",
            );
            return Ok(Bound::presumed(policies));
        }
        let stage = self.story.begin(Stage::Contract);
        let bound = check.contract(&stage, &self.id(loaded), policies, verdict).await?;
        stage.done(bound.told());
        Ok(bound)
    }

    /// What the engine knows the image by that is proved.
    fn id(&self, loaded: Option<&Loaded>) -> String {
        loaded.map_or_else(|| self.seen.source.id.to_string(), |loaded| loaded.id.clone())
    }

    /// Whether the last image may have its names.
    fn decide(
        &self,
        verdict: Verdict,
        findings: Findings,
        repairs: Repairs,
    ) -> Result<VerificationReport, BuildError> {
        let Verdict { differences, log, mut report, .. } = verdict;
        if !differences.is_empty() && self.settings.verify.mode == VerifyMode::Strict {
            return Err(BuildError::Verification {
                image: self.seen.source.reference.clone(),
                differences: differences.iter().map(ToString::to_string).collect(),
                excluded: findings
                    .excluded
                    .into_iter()
                    .map(|(path, pattern)| (path.to_string(), pattern))
                    .collect(),
                log,
            });
        }
        if differences.is_empty() && !findings.is_empty() {
            self.story.notice(format!(
                "the slim program still looked for {} in vain after {} rounds of repair (--verify-rounds), and does what \
                 the fat one does",
                findings.told(),
                repairs.rounds.len()
            ));
        }
        for difference in &differences {
            self.story.notice(format!("different from the fat image: {difference}"));
        }
        if !differences.is_empty() {
            report.told.push_str(", told only (--verify=report)");
        }
        if let Some(repaired) = repairs.told() {
            report.told.push_str(&format!(", {repaired}"));
        }
        report.rounds = repairs.rounds;
        Ok(report)
    }
}
