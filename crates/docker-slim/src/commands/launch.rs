//! `docker-slim launch`: the launcher from within this program, which holds it; or written out for an image of one's own.

use crate::arguments::LauncherArguments;
use crate::failure::Failure;
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::ffi::CString;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Comes back only when the launcher could not be run, or was written.
pub fn run(arguments: &LauncherArguments) -> Result<(), Failure> {
    if let Some(path) = &arguments.install {
        return install(path);
    }
    if !arguments.check && arguments.command.is_empty() {
        return Err(Failure::usage("launch a program: none was named")
            .with_hint("docker-slim launch --policy FILE -- COMMAND; --install FILE writes the launcher"));
    }
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: nix::Error| Failure::new(format!("{what}: {error}"), slim_launch::EXIT_LAUNCHER)
    };
    let file = memfd_create("docker-slim-launch", MFdFlags::MFD_CLOEXEC)
        .map_err(failed("make a file in memory for the launcher"))?;
    let mut writer = File::from(file);
    writer
        .write_all(slim_launch::BINARY)
        .map_err(|error| Failure::new(format!("write the launcher: {error}"), slim_launch::EXIT_LAUNCHER))?;
    let mut words: Vec<Vec<u8>> = vec![b"launch".to_vec(), b"--policy".to_vec()];
    words.push(arguments.policy.as_os_str().as_bytes().to_vec());
    if arguments.check {
        words.push(b"--check".to_vec());
    }
    words.push(b"--".to_vec());
    words.extend(arguments.command.iter().map(|word| word.as_bytes().to_vec()));
    let argv: Result<Vec<CString>, _> = words.into_iter().map(CString::new).collect();
    let argv = argv.map_err(|_| Failure::usage("launch a program: a word holds a zero byte"))?;
    let environment: Vec<CString> = std::env::vars_os()
        .filter_map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok())
        .collect();
    match nix::unistd::fexecve(writer.as_fd(), &argv, &environment) {
        Ok(never) => match never {},
        Err(error) => Err(failed("run the launcher")(error)),
    }
}

fn install(path: &Path) -> Result<(), Failure> {
    slim_build::write_whole(path, |file| file.write_all(slim_launch::BINARY))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
        .map_err(|error| Failure::usage(format!("make {} a program: {error}", path.display())))
}
