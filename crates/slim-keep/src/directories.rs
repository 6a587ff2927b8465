//! Rule: directories that a program needs though nothing in them is used. They cost nothing, and without `/run/redis`
//! or `/var/cache/nginx` programs do not start.
//!
//! Each keeps its own owner and mode. What the image does not have is not invented.

use crate::context::{Context, never_emitted};
use crate::reason::Reason;
use crate::seed::Seed;
use slim_image::{Config, Entry, ImagePath, Kind, TreeError};

/// Directories that programs take for granted; some are symlinks.
const TAKEN_FOR_GRANTED: [&str; 10] =
    ["/dev", "/proc", "/run", "/run/lock", "/sys", "/tmp", "/var/lock", "/var/log", "/var/run", "/var/tmp"];
/// Files that stand for "nothing": sources cannot hold empty directories.
const PLACEHOLDERS: [&[u8]; 4] = [b".gitignore", b".gitkeep", b".keep", b".placeholder"];
const ACCOUNTS_MAX: u64 = 16 << 20;

/// The directories of an image.
///
/// # Errors
/// When `/etc/passwd` cannot be read.
pub(crate) fn seeds(context: &Context<'_>, config: &Config) -> Result<Vec<Seed>, TreeError> {
    let mut seeds = empty(context);
    seeds.push(Seed::object(&context.environment.working_directory, Reason::WorkingDirectory));
    for volume in config.volume_paths() {
        seeds.push(Seed::tree(&volume, Reason::Volume { volume: volume.clone() }));
    }
    if let Some(home) = home(context, config)? {
        seeds.push(home);
    }
    seeds.extend(TAKEN_FOR_GRANTED.iter().map(|path| Seed::object(path, Reason::TemporaryDirectory)));
    let mounts = context.mounts.others().filter(|path| context.entry(path).is_some_and(Entry::is_directory));
    seeds.extend(mounts.map(|path| Seed::object(path, Reason::MountPoint)));
    Ok(seeds)
}

/// Directories that hold nothing, or only what running programs leave.
fn empty(context: &Context<'_>) -> Vec<Seed> {
    let directories =
        context.tree.walk().filter(|(path, entry)| entry.is_directory() && !never_emitted(path));
    directories
        .filter(|(path, _)| {
            context.tree.read_dir(path).into_iter().all(|name| {
                let path = path.join(name);
                context.entry(&path).is_some_and(|entry| is_left_behind(name, entry))
            })
        })
        .map(|(path, _)| Seed::object(path, Reason::EmptyDirectory))
        .collect()
}

/// Sockets, pid and lock files, placeholders.
fn is_left_behind(name: &[u8], entry: &Entry) -> bool {
    match entry.kind {
        Kind::Socket => true,
        Kind::File { size } => {
            (size == 0 && PLACEHOLDERS.contains(&name))
                || matches!(name, b"pid" | b"lock" | b".lock")
                || [&b".pid"[..], b".lock", b".lck", b".sock"].iter().any(|ending| name.ends_with(ending))
        }
        _ => false,
    }
}

/// HOME of the image's user: as the environment says, else as `/etc/passwd` does.
fn home(context: &Context<'_>, config: &Config) -> Result<Option<Seed>, TreeError> {
    let user = config.user.split(':').next().filter(|user| !user.is_empty()).unwrap_or("root");
    let reason = Reason::Home { user: user.to_owned() };
    if let Some(home) = &context.environment.home {
        return Ok(Some(Seed::object(home, reason)));
    }
    let accounts = context.read(b"/etc/passwd", ACCOUNTS_MAX)?;
    let home = accounts.split(|byte| *byte == b'\n').find_map(|line| {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
        // name:password:uid:gid:comment:home:shell
        let is_user = fields.len() >= 6 && (fields[0] == user.as_bytes() || fields[2] == user.as_bytes());
        is_user.then(|| ImagePath::new(fields[5])).filter(|home| !home.is_root())
    });
    Ok(home.map(|home| Seed::object(&home, reason)))
}
