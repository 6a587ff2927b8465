//! The two stages that decide: what the slim image holds, and what it may do.

use crate::error::BuildError;
use crate::files::Files;
use crate::policy::{self, Policies};
use crate::progress::{Stage, Story};
use crate::repair::Repairs;
use crate::seen::Seen;
use crate::settings::Settings;
use slim_keep::KeepSet;
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

pub(crate) async fn policy(
    settings: &Settings,
    story: &Story<'_>,
    seen: &Seen,
    files: Files,
    kept: &Arc<KeepSet>,
    repairs: &Repairs,
) -> Result<(Files, Policies), BuildError> {
    let stage = story.begin(Stage::Policy);
    let config = seen.observation.effective_config(&seen.source, settings);
    let name = policy::file_stem(settings, &seen.source);
    let overrides = settings.container.clone();
    let (trace, kept) = (Arc::clone(&seen.observation.trace), Arc::clone(kept));
    let beyond = policy::Beyond {
        level: settings.keep.level,
        repaired: repairs.calls.clone(),
        launch: settings.launch,
    };
    let (files, policies) = crate::error::blocking(move || {
        let policies = policy::decide(&name, &config, &overrides, &trace, files.tree(), &kept, beyond)?;
        Ok((files, policies))
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
    Ok((files, policies))
}
