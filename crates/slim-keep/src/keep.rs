//! All rules together.

use crate::close::close_with;
use crate::context::{Context, Mounts};
use crate::error::KeepError;
use crate::exclude::Exclusions;
use crate::keep_set::KeepSet;
use crate::listing::left_out;
use crate::note::Note;
use crate::observed::Observed;
use crate::origin::Origin;
use crate::packages::Ownership;
use crate::reach::{Reach, World, count_cost};
use crate::seed::Seed;
use crate::settings::Settings;
use crate::{directories, entrypoint, includes, listing, observed, sweep, system};
use slim_image::{Config, ImagePath, ImageTree};
use slim_trace::Trace;

/// The fat image, as the rules see it.
#[derive(Clone, Copy)]
pub struct Fat<'a> {
    /// The pristine image, never the file system of a container that ran.
    pub tree: &'a dyn ImageTree,
    pub config: &'a Config,
    pub origin: &'a Origin,
    /// Of `tree`.
    pub ownership: &'a Ownership,
}

/// Decides what the slim image holds, where nothing is known of how the fat one was made.
///
/// # Errors
/// As [`keep_with`].
pub fn keep(
    trace: &Trace,
    tree: &dyn ImageTree,
    config: &Config,
    settings: &Settings,
) -> Result<KeepSet, KeepError> {
    let (origin, ownership) = (Origin::default(), Ownership::default());
    keep_with(trace, Fat { tree, config, origin: &origin, ownership: &ownership }, settings, &[])
}

/// Decides what the slim image holds. `more` is kept, too, with all that it needs: what a repair found missing.
///
/// The same arguments always give the same set.
///
/// # Errors
/// When the image's files cannot be read, when it does not have what a flag asks for, or a pattern is none.
pub fn keep_with(
    trace: &Trace,
    fat: Fat<'_>,
    settings: &Settings,
    more: &[Seed],
) -> Result<KeepSet, KeepError> {
    let Fat { tree, config, origin, ownership } = fat;
    let healthcheck = config.healthcheck.clone().filter(|_| !settings.without_healthcheck);
    let context = Context {
        config: Config { healthcheck, ..config.clone() },
        mounts: Mounts::new(&trace.mounts),
        exclusions: Exclusions::new(&settings.exclude_pattern)?,
        name_services: !settings.without_name_services,
        ..Context::new(tree, config)
    };
    let mut seeds = includes::seeds(&context, settings)?;
    let seen = Observed::new(trace, &context);
    let sweeps = sweep::find(&seen, &context);
    let mut listings = listing::find(&seen, &sweeps, &context);
    seeds.extend(observed::seeds(trace, &seen, &sweeps.touches));
    seeds.append(&mut listings.seeds);
    seeds.extend(entrypoint::seeds(&context, config, !settings.without_healthcheck));
    seeds.extend(directories::seeds(&context, config)?);
    seeds.extend(system::seeds(settings));
    seeds.extend_from_slice(more);

    let world = World::new(&context, &seen, origin, ownership, settings.base_layers);
    let mut set = close_with(seeds, &context, &mut Reach::new(settings.level, world))?;
    count_cost(&mut set);
    let is_kept = |path: &ImagePath| set.contains(path);
    let mut notes = listings.notes(&context, &is_kept);
    notes.extend(sweeps.programs.into_iter().filter_map(|(program, swept)| {
        let (entries, bytes) = left_out(&context, swept.entries.into_iter(), &is_kept)?;
        Some(Note::Sweep { program, directories: swept.directories.len(), entries, bytes })
    }));
    set.notes.append(&mut notes);
    set.notes.sort();
    let entries = set.entries.iter_mut().map(|(path, kept)| (path, &mut kept.entry));
    includes::set_permissions(&context, settings, entries);
    Ok(set)
}
