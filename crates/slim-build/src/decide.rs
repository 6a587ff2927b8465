//! The two stages that decide: what the slim image holds, and what it may do.

use crate::error::BuildError;
use crate::files::Files;
use crate::policy::{self, Policies};
use crate::possible;
use crate::progress::{Stage, Story};
use crate::repair::Repairs;
use crate::seen::Seen;
use crate::settings::Settings;
use crate::subject::image_volumes;
use slim_image::ImageTree;
use slim_keep::KeepSet;
use slim_policy::PossibleCalls;
use slim_report::human;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;

pub(crate) async fn keep(
    settings: &Settings,
    story: &Story<'_>,
    seen: &Seen,
    files: Files,
    repairs: &Repairs,
) -> Result<(Files, Arc<KeepSet>), BuildError> {
    let stage = story.begin(Stage::Keep);
    let keep_settings = settings.keep.clone();
    let config = seen.observation.effective_config(&seen.source, settings);
    let (trace, origin) = (Arc::clone(&seen.observation.trace), seen.origin.clone());
    let repaired = repairs.seeds.clone();
    let (files, kept) = crate::error::blocking(move || {
        let fat = slim_keep::Fat {
            tree: files.tree(),
            config: &config,
            origin: &origin,
            ownership: files.ownership(),
        };
        let kept = slim_keep::keep_with(&trace, fat, &keep_settings, &repaired)?;
        Ok((files, Arc::new(kept)))
    })
    .await?;
    let figures = kept.figures();
    stage.done(format!(
        "{} of {} files, directories and links, {} of {}",
        kept.entries.len(),
        files.entries(),
        human(figures.bytes),
        human(seen.source.size)
    ));
    for note in &kept.notes {
        story.notice_once(note.to_string());
    }
    Ok((files, kept))
}

/// What is known of the kept files, found out once for each keep-set.
#[derive(Clone)]
pub(crate) struct Known {
    paths: policy::KeptPaths,
    /// The ELF files among them as their loader finds them.
    loaded: Arc<Vec<slim_possible::Kept>>,
    /// What those can do; nothing until it is found out.
    possible: watch::Receiver<Option<Option<Arc<PossibleCalls>>>>,
}

/// Looks at the kept files. What their code can do is found out while other things go on, where their files may be read
/// meanwhile. `before`: what was known of another keep-set of the same trace, which has most of the same files.
pub(crate) async fn known(
    seen: &Seen,
    files: Files,
    kept: &Arc<KeepSet>,
    before: Option<Known>,
) -> Result<(Files, Known), BuildError> {
    let (trace, kept) = (Arc::clone(&seen.observation.trace), Arc::clone(kept));
    crate::error::blocking(move || {
        let paths = policy::kept_paths(files.tree(), &kept)?;
        let loaded = Arc::new(possible::files(&trace, &kept, &paths.elf()));
        if let Some(before) = before.filter(|before| before.loaded == loaded) {
            return Ok((files, Known { paths, ..before }));
        }
        let (tell, possible) = watch::channel(None);
        let of_files = Arc::clone(&loaded);
        let look = move |tree: &dyn ImageTree| {
            let began = Instant::now();
            tell.send_replace(Some(possible::possible(tree, &of_files).map(Arc::new)));
            tracing::debug!(
                milliseconds = began.elapsed().as_millis(),
                "looked at what the kept files can do"
            );
        };
        match files.in_place() {
            Some(tree) => drop(tokio::task::spawn_blocking(move || look(tree.as_ref()))),
            None => look(files.tree()),
        }
        Ok((files, Known { paths, loaded, possible }))
    })
    .await
}

impl Known {
    async fn possible(&self) -> Result<Option<Arc<PossibleCalls>>, BuildError> {
        let mut possible = self.possible.clone();
        match possible.wait_for(Option::is_some).await.as_deref() {
            Ok(found) => Ok(found.clone().flatten()),
            Err(_) => Err(BuildError::Bug("what the kept files can do was not found out".to_owned())),
        }
    }
}

pub(crate) async fn policy(
    settings: &Settings,
    story: &Story<'_>,
    seen: &Seen,
    known: &Known,
    repairs: &Repairs,
) -> Result<Policies, BuildError> {
    let stage = story.begin(Stage::Policy);
    let config = seen.observation.effective_config(&seen.source, settings);
    let name = policy::file_stem(settings, &seen.source);
    let run = policy::RunFacts {
        host_config: settings.container.host_config.clone(),
        volumes: image_volumes(&seen.source, settings),
        users: seen.observation.behaviour.acts_as.iter().map(|credentials| credentials.user).collect(),
    };
    let trace = Arc::clone(&seen.observation.trace);
    let (paths, possible) = (known.paths.clone(), known.possible().await?);
    let beyond = policy::Beyond {
        mode: settings.seccomp,
        filter_arguments: settings.seccomp_arguments,
        possible,
        repaired: repairs.calls.clone(),
        launch: settings.launch,
    };
    let policies = crate::error::blocking(move || {
        let subject = policy::Subject { name: &name, config: &config, run: &run, trace: &trace };
        policy::decide(subject, paths, beyond)
    })
    .await?;
    stage.done(policies.told());
    if let Some(why) = &policies.not_launched {
        story.notice_once(format!("no launcher is in the image: {why}"));
    }
    if !policies.policy.inexpressible.is_empty() {
        let calls: Vec<&str> = policies.policy.inexpressible.iter().map(String::as_str).collect();
        story.notice_once(format!("no profile can allow system calls without a name: {}", calls.join(", ")));
    }
    Ok(policies)
}
