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
use slim_keep::KeepSet;
use slim_policy::PossibleCalls;
use slim_report::human;
use std::sync::Arc;

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
    possible: Option<Arc<PossibleCalls>>,
}

pub(crate) async fn known(
    seen: &Seen,
    files: Files,
    kept: &Arc<KeepSet>,
) -> Result<(Files, Known), BuildError> {
    let (trace, kept) = (Arc::clone(&seen.observation.trace), Arc::clone(kept));
    crate::error::blocking(move || {
        let paths = policy::kept_paths(files.tree(), &kept)?;
        let began = std::time::Instant::now();
        let possible = possible::possible(&trace, files.tree(), &kept, &paths.elf()).map(Arc::new);
        tracing::debug!(milliseconds = began.elapsed().as_millis(), "looked at what the kept files can do");
        Ok((files, Known { paths, possible }))
    })
    .await
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
    let (trace, known) = (Arc::clone(&seen.observation.trace), known.clone());
    let beyond = policy::Beyond {
        mode: settings.seccomp,
        filter_arguments: settings.seccomp_arguments,
        possible: known.possible,
        repaired: repairs.calls.clone(),
        launch: settings.launch,
    };
    let policies = crate::error::blocking(move || {
        let subject = policy::Subject { name: &name, config: &config, run: &run, trace: &trace };
        policy::decide(subject, known.paths, beyond)
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
