//! Landlock file rules: what the program that stays may do with which paths.
//!
//! Landlock has no patterns: a rule for a directory holds for all below it. So reading is granted where the slim image
//! holds something to be read, directory by directory, and writing only where a write was seen: at the file where it is
//! one of the image's, at its directory where the program made it, since its name may be another one the next time.
//! Running is granted file by file. What engines lay over an image (/proc, /sys, /dev, /etc/hosts, secrets) is granted as
//! every program needs it; what the user mounts elsewhere is refused until a rule is added.

use super::only;
use crate::inputs::{Inputs, KeptKind};
use crate::paths::resolve;
use slim_image::ImagePath;
use slim_launch::FileRules;
use slim_launch::format::right;
use slim_trace::{Access, MountKind, ProcessId, Trace};
use std::collections::{BTreeMap, BTreeSet};

const LOOK: u64 = right::READ_FILE | right::READ_DIRECTORY;
const CHANGE_FILE: u64 = right::READ_FILE | right::WRITE_FILE | right::TRUNCATE;
/// Everything but running and making devices.
const CHANGE_DIRECTORY: u64 = right::ALL
    & !(right::EXECUTE | right::MAKE_CHARACTER_DEVICE | right::MAKE_BLOCK_DEVICE | right::DEVICE_CONTROL);

/// What engines give every container.
const BASICS: [(&str, u64); 12] = [
    ("/dev", LOOK | right::WRITE_FILE | right::TRUNCATE | right::DEVICE_CONTROL),
    ("/dev/mqueue", CHANGE_DIRECTORY),
    ("/dev/shm", CHANGE_DIRECTORY),
    ("/etc/hostname", right::READ_FILE),
    ("/etc/hosts", right::READ_FILE),
    ("/etc/mtab", right::READ_FILE),
    ("/etc/resolv.conf", right::READ_FILE),
    ("/proc", LOOK | right::WRITE_FILE | right::TRUNCATE),
    ("/run/.containerenv", right::READ_FILE),
    ("/run/secrets", LOOK),
    ("/sys", LOOK),
    ("/var/run/secrets", LOOK),
];

/// The rules for these processes; `launched`: paths that the launcher execs or reads.
#[must_use]
pub fn file_rules(
    trace: &Trace,
    inputs: &Inputs,
    processes: &BTreeSet<ProcessId>,
    launched: &[ImagePath],
) -> FileRules {
    let trace = &only(trace, processes);
    let mut rules = Rules { inputs, rules: BTreeMap::new() };
    for (path, rights) in BASICS {
        rules.grant(&path.into(), rights);
    }
    rules.kept();
    for file in &trace.files {
        if let Some(path) = resolve(&file.path, &inputs.paths) {
            rules.touched(&path, &file.access);
        }
    }
    for (process, id) in trace.processes.iter().zip(0..) {
        if processes.contains(&ProcessId(id)) {
            let run = process.executable.iter().chain(&process.invoked_as).chain(&process.interpreter);
            for path in run.chain(&process.shebang).filter_map(|path| resolve(path, &inputs.paths)) {
                rules.grant(&path, right::EXECUTE | right::READ_FILE);
            }
        }
    }
    for path in launched {
        rules.grant(path, right::EXECUTE | right::READ_FILE);
    }
    for mount in trace.mounts.iter().filter(|mount| mount.kind == MountKind::ImageVolume) {
        rules.grant(&mount.path, CHANGE_DIRECTORY);
    }
    FileRules { handled: right::ALL, rules: rules.rules, required: false }
}

struct Rules<'a> {
    inputs: &'a Inputs,
    rules: BTreeMap<Vec<u8>, u64>,
}

impl Rules<'_> {
    fn grant(&mut self, path: &ImagePath, rights: u64) {
        *self.rules.entry(path.as_bytes().to_vec()).or_default() |= rights;
    }

    /// What the image holds may be read, and run where it is there to be run.
    fn kept(&mut self) {
        let mut read: BTreeSet<ImagePath> = BTreeSet::new();
        let mut run = Vec::new();
        for (path, kind) in &self.inputs.paths {
            match kind {
                KeptKind::File { run: is_run, elf, .. } => {
                    read.insert(path.parent().unwrap_or_else(ImagePath::root));
                    // The loader of programs is run by each of them, without an exec of its own.
                    if *is_run || *elf && is_loader(path) {
                        run.push(path.clone());
                    }
                }
                KeptKind::Directory if !path.is_root() => {
                    read.insert(path.clone());
                }
                KeptKind::Directory | KeptKind::Symlink { .. } | KeptKind::Special => {}
            }
        }
        // Of the root itself the rule would hold for everything.
        read.remove(&ImagePath::root());
        let tops: Vec<ImagePath> = read
            .iter()
            .filter(|path| !path.ancestors().into_iter().any(|above| read.contains(&above)))
            .cloned()
            .collect();
        tops.iter().for_each(|path| self.grant(path, LOOK));
        run.iter().for_each(|path| self.grant(path, right::EXECUTE | right::READ_FILE));
        let at_root = self.inputs.paths.iter().filter(|(path, kind)| {
            path.parent().is_some_and(|parent| parent.is_root()) && matches!(kind, KeptKind::File { .. })
        });
        let at_root: Vec<ImagePath> = at_root.map(|(path, _)| path.clone()).collect();
        at_root.iter().for_each(|path| self.grant(path, right::READ_FILE));
    }

    fn touched(&mut self, path: &ImagePath, access: &BTreeSet<Access>) {
        let has = |wanted: &[Access]| wanted.iter().any(|wanted| access.contains(wanted));
        if has(&[Access::Execute]) && !has(&[Access::Missing]) {
            self.grant(path, right::EXECUTE | right::READ_FILE);
        }
        let kept = self.inputs.paths.get(path);
        let moves =
            has(&[Access::Create, Access::Remove, Access::RenameFrom, Access::RenameTo, Access::Bind]);
        let writes = has(&[Access::Write, Access::Append]);
        match kept {
            Some(KeptKind::Directory) if !moves => {}
            Some(_) if writes && !moves => self.grant(path, CHANGE_FILE),
            None if !moves && !writes => {}
            _ if moves || writes => {
                let directory = path.parent().unwrap_or_else(ImagePath::root);
                // Made within a directory that the program made itself: the rule must be for one that is there before.
                let directory = self.standing(directory);
                if directory.is_root() {
                    self.grant(path, CHANGE_FILE);
                } else {
                    self.grant(&directory, CHANGE_DIRECTORY);
                }
            }
            _ => {}
        }
    }

    /// The nearest directory above that the image, a volume or an engine has.
    fn standing(&self, mut directory: ImagePath) -> ImagePath {
        while !directory.is_root()
            && self.inputs.paths.get(&directory) != Some(&KeptKind::Directory)
            && !self.rules.contains_key(directory.as_bytes())
        {
            directory = directory.parent().unwrap_or_else(ImagePath::root);
        }
        directory
    }
}

fn is_loader(path: &ImagePath) -> bool {
    let name = path.as_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    name.starts_with(b"ld-") || name.starts_with(b"ld.so") || name.starts_with(b"ld64")
}

#[cfg(test)]
mod tests {
    use super::*;
    use slim_trace::{FileAccess, Phase, TracedPath};

    fn file(path: &str, process: u32, access: &[Access]) -> FileAccess {
        FileAccess {
            path: TracedPath::new(path),
            process: ProcessId(process),
            access: access.iter().copied().collect(),
            phases: [Phase::Startup].into(),
        }
    }

    #[test]
    fn writing_is_granted_where_the_program_that_stays_wrote() {
        let mut inputs = Inputs::new("app");
        for directory in ["/", "/etc", "/var", "/var/lib", "/var/lib/app", "/usr", "/usr/bin", "/tmp"] {
            inputs.paths.insert(directory.into(), KeptKind::Directory);
        }
        let program = |run| KeptKind::File { elf: true, run, privileged: false };
        inputs.paths.insert("/usr/bin/server".into(), program(true));
        inputs.paths.insert("/usr/bin/tool".into(), program(false));
        inputs.paths.insert("/etc/app.conf".into(), program(false));
        let mut trace = Trace::empty("sha256:0");
        trace.files = vec![
            file("/var/lib/app/1/data", 1, &[Access::Create, Access::Write]),
            file("/etc/app.conf", 1, &[Access::Open, Access::Write]),
            file("/etc/passwd.new", 0, &[Access::Create]),
            file("/usr/bin/tool", 0, &[Access::Execute]),
        ];
        let rules = file_rules(&trace, &inputs, &[ProcessId(1)].into(), &["/launch".into()]).rules;
        let rights = |path: &str| rules.get(path.as_bytes()).copied().unwrap_or_default();
        assert_eq!(rights("/var/lib/app"), CHANGE_DIRECTORY);
        assert_eq!(
            rights("/proc") & CHANGE_FILE,
            CHANGE_FILE,
            "a shell opens /proc/self/oom_score_adj with O_TRUNC"
        );
        assert_eq!(rights("/etc/app.conf"), CHANGE_FILE);
        assert_eq!(rights("/etc"), LOOK, "what only a helper wrote is not granted");
        assert_eq!(rights("/usr/bin/server"), right::EXECUTE | right::READ_FILE);
        assert_eq!(rights("/usr/bin/tool"), 0, "a helper's program is read with its directory, and not run");
        assert_eq!(rights("/launch"), right::EXECUTE | right::READ_FILE);
        assert_eq!(rights("/"), 0, "a rule for the root would hold for everything");
        assert_eq!(rights("/usr") | rights("/var"), LOOK);
    }
}
