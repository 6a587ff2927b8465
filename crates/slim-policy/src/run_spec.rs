//! The least-privilege settings that the slim image can be run with, as far as a trace tells.
//!
//! Invariant: what is not known is not guessed. Which capabilities were used is not observed, so none are taken away
//! here.

use crate::inputs::{Inputs, KeptKind};
use crate::paths::resolve;
use serde::Serialize;
use slim_image::ImagePath;
use slim_trace::{Access, MountKind, Trace};
use std::collections::BTreeSet;

/// Directories whose contents nobody expects to find again: a tmpfs takes their place.
const TEMPORARY: [&str; 5] = ["/run", "/tmp", "/var/cache", "/var/lock", "/var/tmp"];

/// Suggested run settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunSpec {
    pub root_file_system: RootFileSystem,
    /// Directories to lay a tmpfs over when the root is read-only, sorted.
    pub tmpfs: BTreeSet<ImagePath>,
    /// Whether nothing was run that raises privileges, so that `no-new-privileges` changes nothing.
    pub no_new_privileges: bool,
    /// The user that the image or the caller named; `None`: not named, so the engine's default.
    pub user: Option<String>,
    /// `None`: which capabilities were used is not known.
    pub capabilities: Option<BTreeSet<String>>,
}

/// Whether the root file system can be read-only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RootFileSystem {
    /// Nothing was written outside of volumes and [`RunSpec::tmpfs`].
    ReadOnly,
    /// These paths were written: they need volumes first.
    Writable { because: BTreeSet<ImagePath> },
}

/// Suggests run settings from what was seen.
#[must_use]
pub fn run_spec(trace: &Trace, inputs: &Inputs) -> RunSpec {
    let mut tmpfs = BTreeSet::new();
    let mut writes = BTreeSet::new();
    for path in written(trace, inputs) {
        match temporary(&path, inputs) {
            Some(directory) => tmpfs.insert(directory),
            None => writes.insert(path),
        };
    }
    let root_file_system = if writes.is_empty() {
        RootFileSystem::ReadOnly
    } else {
        RootFileSystem::Writable { because: writes }
    };
    RunSpec {
        root_file_system,
        tmpfs,
        no_new_privileges: !ran_privileged(trace, inputs),
        user: inputs.user.clone(),
        capabilities: None,
    }
}

impl RunSpec {
    /// The settings as options of `docker run`.
    #[must_use]
    pub fn options(&self) -> Vec<String> {
        let mut options = Vec::new();
        if self.root_file_system == RootFileSystem::ReadOnly {
            options.push("--read-only".to_owned());
            options.extend(self.tmpfs.iter().map(|path| format!("--tmpfs={path}")));
        }
        if self.no_new_privileges {
            options.push("--security-opt=no-new-privileges".to_owned());
        }
        options.extend(self.user.iter().map(|user| format!("--user={user}")));
        options
    }
}

/// What was changed on the root file system: paths below other mounts and image volumes do not count.
fn written(trace: &Trace, inputs: &Inputs) -> BTreeSet<ImagePath> {
    const CHANGES: [Access; 7] = [
        Access::Write,
        Access::Create,
        Access::Bind,
        Access::ChangeAttributes,
        Access::RenameFrom,
        Access::RenameTo,
        Access::Remove,
    ];
    let mounts: Vec<&ImagePath> =
        trace.mounts.iter().filter(|mount| mount.kind != MountKind::Root).map(|mount| &mount.path).collect();
    trace
        .files
        .iter()
        .filter(|file| CHANGES.iter().any(|change| file.access.contains(change)))
        .filter_map(|file| resolve(&file.path, &inputs.paths))
        .filter(|path| !mounts.iter().any(|mount| !mount.is_root() && path.is_within(mount)))
        .collect()
}

/// The directory to lay a tmpfs over: the topmost one that is temporary and holds nothing in the image, since the tmpfs
/// would hide it (also a directory, whose owner the program may rely on).
fn temporary(path: &ImagePath, inputs: &Inputs) -> Option<ImagePath> {
    let top = TEMPORARY.iter().map(|name| ImagePath::from(*name)).find(|top| path.is_within(top))?;
    let candidates = path.ancestors().into_iter().chain([path.clone()]).filter(|directory| {
        let kept = inputs.paths.get(directory);
        directory.is_within(&top)
            && (kept == Some(&KeptKind::Directory) || (kept.is_none() && *directory == top))
    });
    let holds_nothing = |directory: &ImagePath| {
        !inputs.paths.keys().any(|kept| kept != directory && kept.is_within(directory))
    };
    candidates.into_iter().find(holds_nothing)
}

fn ran_privileged(trace: &Trace, inputs: &Inputs) -> bool {
    trace
        .processes
        .iter()
        .filter_map(|process| resolve(process.executable.as_ref()?, &inputs.paths))
        .any(|path| matches!(inputs.paths.get(&path), Some(KeptKind::File { privileged: true, .. })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use slim_trace::{FileAccess, Mount, Phase, Process, ProcessId, TracedPath};

    fn trace_writing(paths: &[&str]) -> Trace {
        let mut trace = Trace::empty("sha256:0");
        trace.processes.push(Process {
            parent: None,
            began: Phase::Startup,
            executable: Some(TracedPath::new("/bin/su")),
            invoked_as: None,
            interpreter: None,
            shebang: Vec::new(),
            argv: Vec::new(),
        });
        trace.files = paths
            .iter()
            .map(|path| FileAccess {
                path: TracedPath::new(*path),
                process: ProcessId(0),
                access: BTreeSet::from([Access::Create]),
                phases: BTreeSet::from([Phase::Startup]),
            })
            .collect();
        trace
    }

    #[test]
    fn a_program_that_writes_temporary_files_only_can_have_a_read_only_root() {
        let mut inputs = Inputs::new("app");
        inputs.user = Some("1234".to_owned());
        inputs.paths.insert("/var/cache/nginx".into(), KeptKind::Directory);
        inputs.paths.insert("/var/run".into(), KeptKind::Symlink { target: b"/run".into() });
        let spec = run_spec(&trace_writing(&["/tmp/a", "/var/run/x.pid", "/var/cache/nginx/1"]), &inputs);
        assert_eq!(
            spec.options(),
            [
                "--read-only",
                "--tmpfs=/run",
                "--tmpfs=/tmp",
                "--tmpfs=/var/cache/nginx",
                "--security-opt=no-new-privileges",
                "--user=1234"
            ]
        );
    }

    #[test]
    fn a_write_to_the_image_keeps_the_root_writable_and_one_to_a_volume_does_not() {
        let mut trace = trace_writing(&["/data/base", "/etc/app.conf", "/tmp/held/x"]);
        trace.mounts.push(Mount {
            path: "/data".into(),
            kind: MountKind::ImageVolume,
            file_system: "ext4".into(),
        });
        let mut inputs = Inputs::new("app");
        inputs.paths.insert("/tmp".into(), KeptKind::Directory);
        inputs.paths.insert("/tmp/kept".into(), KeptKind::File { elf: false, run: false, privileged: false });
        let because = BTreeSet::from(["/etc/app.conf".into(), "/tmp/held/x".into()]);
        assert_eq!(run_spec(&trace, &inputs).root_file_system, RootFileSystem::Writable { because });
    }

    #[test]
    fn a_setuid_program_that_was_run_needs_new_privileges() {
        let mut inputs = Inputs::new("app");
        let privileged = KeptKind::File { elf: true, run: false, privileged: true };
        inputs.paths.insert("/bin".into(), KeptKind::Symlink { target: b"usr/bin".into() });
        inputs.paths.insert("/usr/bin/su".into(), privileged);
        assert!(!run_spec(&trace_writing(&[]), &inputs).no_new_privileges);
        assert!(run_spec(&trace_writing(&[]), &Inputs::new("app")).no_new_privileges);
    }
}
