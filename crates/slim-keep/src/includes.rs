//! Rule: what the user's flags ask for.

use crate::context::Context;
use crate::error::KeepError;
use crate::reason::Reason;
use crate::seed::Seed;
use crate::settings::Settings;
use slim_image::{Entry, ImagePath, Kind};

const SHELLS: [&str; 2] = ["sh", "bash"];
/// What people use in a shell, where the image has it (Mint's list).
const COMMANDS: [&str; 12] =
    ["ls", "pwd", "cd", "ps", "head", "tail", "cat", "more", "find", "grep", "awk", "env"];
const TIME_ZONES: [&str; 3] = ["/usr/share/zoneinfo", "/etc/localtime", "/etc/timezone"];
const ELF_MAGIC: &[u8] = b"\x7fELF";

/// The paths that flags name, or stand for.
///
/// # Errors
/// When the image does not have one of them.
pub(crate) fn seeds(context: &Context<'_>, settings: &Settings) -> Result<Vec<Seed>, KeepError> {
    let mut seeds = Vec::new();
    for (flag, paths) in
        [("--include-path", &settings.include_path), ("--preserve-path", &settings.preserve_path)]
    {
        for path in paths {
            exists(context, flag, path)?;
            seeds.push(Seed { run: true, ..Seed::tree(path, included(flag, path)) });
        }
    }
    for path in &settings.include_bin {
        if context.file(path.as_bytes()).is_none() {
            return Err(not_found("--include-bin", path));
        }
        seeds.push(Seed::program(path, included("--include-bin", path)));
    }
    for name in &settings.include_exe {
        let program = context.program(name).ok_or_else(|| not_found("--include-exe", name))?;
        seeds.push(Seed::program(program, included("--include-exe", name)));
    }
    for directory in &settings.include_dir_bins {
        seeds.append(&mut programs_below(context, directory)?);
    }
    for path in settings.permissions.keys() {
        exists(context, "--path-perms", path)?;
        seeds.push(Seed::object(path, included("--path-perms", path)));
    }
    seeds.extend(parts_of_the_system(context, settings)?);
    Ok(seeds)
}

fn parts_of_the_system(context: &Context<'_>, settings: &Settings) -> Result<Vec<Seed>, KeepError> {
    let mut seeds = Vec::new();
    if settings.include_shell {
        let reason = included("--include-shell", "");
        let found = |names: &[&str]| {
            let programs = names.iter().filter_map(|name| context.program(name));
            programs.map(|program| Seed::program(program, reason.clone())).collect::<Vec<_>>()
        };
        let mut shells = found(&SHELLS);
        if shells.is_empty() {
            return Err(not_found("--include-shell", "a shell (sh or bash)"));
        }
        seeds.append(&mut shells);
        seeds.append(&mut found(&COMMANDS));
    }
    if settings.include_workdir {
        let directory = &context.environment.working_directory;
        seeds.push(Seed { run: true, ..Seed::tree(directory, included("--include-workdir", directory)) });
    }
    if settings.include_zoneinfo {
        seeds.extend(TIME_ZONES.iter().map(|path| Seed::tree(path, included("--include-zoneinfo", ""))));
    }
    if settings.include_distro_info {
        let etc = ImagePath::from("/etc");
        let names = context.tree.read_dir(&etc).into_iter().filter(|name| tells_the_distribution(name));
        seeds.extend(names.map(|name| Seed::object(etc.join(name), included("--include-distro-info", ""))));
    }
    Ok(seeds)
}

/// `debian_version`, `alpine-release`, `issue.net` …
fn tells_the_distribution(name: &[u8]) -> bool {
    name.ends_with(b"-release") || name.ends_with(b"_version") || name == b"issue" || name == b"issue.net"
}

/// Every ELF file below a directory.
fn programs_below(context: &Context<'_>, directory: &ImagePath) -> Result<Vec<Seed>, KeepError> {
    const FLAG: &str = "--include-dir-bins";
    let found = exists(context, FLAG, directory)?;
    let mut seeds = Vec::new();
    for (path, entry) in context.tree.walk().filter(|(path, _)| path.is_within(&found)) {
        let is_file = matches!(entry.kind, Kind::File { .. });
        if is_file && context.read(path.as_bytes(), ELF_MAGIC.len() as u64)? == ELF_MAGIC {
            seeds.push(Seed::program(path, included(FLAG, directory)));
        }
    }
    Ok(seeds)
}

fn exists(context: &Context<'_>, flag: &'static str, path: &ImagePath) -> Result<ImagePath, KeepError> {
    context.walk(path.as_bytes(), true).found().cloned().ok_or_else(|| not_found(flag, path))
}

/// Gives the kept paths the permissions that were asked for: the object behind symlinks, under all its names.
pub(crate) fn set_permissions<'a>(
    context: &Context<'_>,
    settings: &Settings,
    entries: impl Iterator<Item = (&'a ImagePath, &'a mut Entry)>,
) {
    if settings.permissions.is_empty() {
        return;
    }
    let wanted: Vec<_> = settings
        .permissions
        .iter()
        .filter_map(|(path, permissions)| {
            let found = context.walk(path.as_bytes(), true).found()?.clone();
            let group = context.entry(&found)?.hard_link_group;
            Some((found, group, permissions))
        })
        .collect();
    for (path, entry) in entries {
        for (found, group, permissions) in &wanted {
            if path == found || (group.is_some() && entry.hard_link_group == *group) {
                permissions.apply(entry);
            }
        }
    }
}

fn included(flag: &str, value: impl ToString) -> Reason {
    Reason::Included { flag: flag.to_owned(), value: value.to_string() }
}

fn not_found(flag: &'static str, value: impl ToString) -> KeepError {
    KeepError::IncludeNotFound { flag, value: value.to_string() }
}
