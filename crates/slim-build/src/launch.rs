//! `docker-slim launch` in a slim image: where it stands, what it is told, and the files that come with it.
//!
//! The launcher takes the place of the path that is exec'ed last; the program itself stays in its directory under
//! another name, since programs look for their parts beside themselves. It is started by a symlink that has its name, so
//! that it is called what it was called. Where the place is a symlink of the image, nothing is moved.

use crate::error::BuildError;
use slim_image::{Entry, ImagePath, ImageTree, Kind, LayerEntry};
use slim_launch::{BINARY, COMMAND, FOLDER, LaunchFile, Machine, POLICY};
use slim_policy::{Inputs, KeptKind, LastExec, NoLastExec, Policy, last_exec};
use slim_report::LauncherReport;
use slim_trace::{Access, Trace};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

mod tree;

use tree::LaunchTree;

/// What the launcher is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Launch {
    /// Take away what only the entrypoint needed.
    pub filter: bool,
    /// Keep to the files that the program uses.
    pub file_rules: bool,
}

impl Launch {
    /// Whether there is anything to do.
    #[must_use]
    pub fn is_off(self) -> bool {
        self == Self::default()
    }

    /// Whether the launcher that this program holds runs where the image does: it is compiled for one kind of machine, and
    /// has never been tried on another one than amd64. `architecture`: the image's.
    ///
    /// # Errors
    /// When a launcher is asked for and the image is for another machine.
    pub fn check_machine(self, image: &str, architecture: &str) -> Result<(), BuildError> {
        if self.is_off() || matches!(architecture, "" | "amd64" | "386") && Machine::host() == Machine::Amd64
        {
            return Ok(());
        }
        Err(BuildError::Usage(format!(
            "put the launcher into {image} (--seccomp-phase entrypoint, --landlock): the image is for {architecture}, and \
             there is a launcher for amd64 alone"
        )))
    }
}

/// A launcher in its place.
pub struct Launched {
    /// Where it stands.
    pub place: ImagePath,
    /// Where the program went; `None` where the place is a symlink.
    moved: Option<ImagePath>,
    /// What the launcher execs.
    program: ImagePath,
    /// The symlink at `program`, with its target.
    link: Option<ImagePath>,
    /// The tighter policy.
    pub policy: Option<Policy>,
    /// How many file rules there are.
    pub file_rules: Option<usize>,
    /// The policy file.
    pub file: Vec<u8>,
}

/// Finds the place and writes the policy; `Ok(Err)`: there is nothing to be done, with why. `after_entrypoint`: what is
/// left to the program that stays.
///
/// # Errors
/// When the launcher was asked for and cannot do its part.
pub fn decide(
    launch: Launch,
    trace: &Trace,
    inputs: &Inputs,
    after_entrypoint: &Policy,
) -> Result<Result<Launched, NoLastExec>, BuildError> {
    let last = match last_exec(trace, inputs) {
        Ok(last) => last,
        Err(nothing @ NoLastExec::NothingBefore(_)) => return Ok(Err(nothing)),
        Err(why) => {
            return Err(BuildError::Usage(format!(
                "put the launcher before the program that stays (--seccomp-phase entrypoint, --landlock): {why}"
            )));
        }
    };
    if let Some(why) = needs_other_name(&last.place) {
        return Err(BuildError::Usage(why));
    }
    if let Some(privileged) = privileged(trace, inputs, &last) {
        return Err(BuildError::Usage(format!(
            "put the launcher before {}: it sets no-new-privileges, and {privileged} is set-uid or has file capabilities",
            last.place
        )));
    }
    let mut launched = Launched::at(&last, inputs);
    let mut file = LaunchFile::new(Machine::host());
    file.program = Some(launched.program.as_bytes().to_vec());
    file.set_no_new_privileges = true;
    if launch.filter {
        let profile = slim_policy::as_profile(after_entrypoint, &trace.architecture);
        let profile = profile.map_err(|error| BuildError::Bug(format!("read our own profile: {error}")))?;
        file.filter = profile
            .compile()
            .map_err(|error| BuildError::Bug(format!("{error} (of the entrypoint phase)")))?;
        launched.policy = Some(after_entrypoint.clone());
    }
    if launch.file_rules {
        let executed: Vec<ImagePath> = launched.executed().cloned().collect();
        let rules = slim_policy::file_rules(trace, inputs, &last.processes, &executed);
        launched.file_rules = Some(rules.rules.len());
        file.file_rules = Some(rules);
    }
    launched.file = file
        .to_bytes()
        .map_err(|error| BuildError::Usage(format!("{error} (--landlock writes the rules)")))?;
    Ok(Ok(launched))
}

/// In a program's place the launcher knows itself by that program's name, which must not be its own.
fn needs_other_name(place: &ImagePath) -> Option<String> {
    let is_own = slim_launch::format::OWN_NAMES.contains(&place.file_name());
    is_own.then(|| {
        format!(
            "put the launcher in the place of {place}: the program has the launcher's own name; name the launcher in the \
             command instead ({COMMAND} -- {place} …)"
        )
    })
}

/// A program after the last exec that no-new-privileges would take something from.
fn privileged<'a>(trace: &'a Trace, inputs: &Inputs, last: &LastExec) -> Option<&'a slim_trace::TracedPath> {
    let is_privileged = |path: &&slim_trace::TracedPath| {
        let kind = inputs.paths.get(&ImagePath::new(path.as_bytes()));
        matches!(kind, Some(KeptKind::File { privileged: true, .. }))
    };
    let run = trace.files.iter().filter(|file| last.processes.contains(&file.process));
    run.filter(|file| file.access.contains(&Access::Execute)).map(|file| &file.path).find(is_privileged)
}

impl Launched {
    fn at(last: &LastExec, inputs: &Inputs) -> Self {
        let place = last.place.clone();
        let name = place.as_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let is_link = matches!(inputs.paths.get(&place), Some(KeptKind::Symlink { .. }));
        let moved = (!is_link).then(|| beside(&place, name, inputs));
        let by_name = ImagePath::new([FOLDER.as_bytes(), b"/bin/", name].concat());
        let (program, link) = match (&moved, inputs.paths.get(&place)) {
            // A script is told the path by which it was started, and looks beside that.
            (Some(moved), _) if last.is_script => (moved.clone(), None),
            (Some(moved), _) => (by_name, Some(moved.clone())),
            (None, Some(KeptKind::Symlink { target })) => {
                let directory = place.parent().unwrap_or_else(ImagePath::root);
                let target = match target.first() {
                    Some(b'/') => ImagePath::new(target),
                    _ => ImagePath::new([directory.as_bytes(), b"/", target].concat()),
                };
                (by_name, Some(target))
            }
            (None, _) => (by_name, None),
        };
        Self { place, moved, program, link, policy: None, file_rules: None, file: Vec::new() }
    }

    /// What is exec'ed or read before the program runs.
    fn executed(&self) -> impl Iterator<Item = &ImagePath> {
        [Some(&self.program), self.moved.as_ref(), self.link.as_ref(), Some(&self.place)]
            .into_iter()
            .flatten()
    }

    /// In words, for the policy's stage.
    #[must_use]
    pub fn told(&self) -> String {
        let filter = self.policy.as_ref().map(|policy| format!("{} system calls", policy.allowed.len()));
        let rules = self.file_rules.map(|rules| format!("{rules} file rules"));
        let parts: Vec<String> = [filter, rules].into_iter().flatten().collect();
        format!("{} from {} on", parts.join(" and "), self.place)
    }

    /// For the report; `outer` is the container's policy.
    #[must_use]
    pub fn report(&self, outer: &Policy) -> LauncherReport {
        let tighter: Option<BTreeSet<&String>> = self
            .policy
            .as_ref()
            .map(|policy| policy.allowed.iter().map(|allowed| &allowed.system_call).collect());
        let taken_away = |tighter: &BTreeSet<&String>| {
            let outer = outer.allowed.iter().map(|allowed| &allowed.system_call);
            outer.filter(|call| !tighter.contains(call)).cloned().collect()
        };
        LauncherReport {
            place: self.place.to_string(),
            program: self.program.to_string(),
            system_calls_allowed: tighter.as_ref().map(BTreeSet::len),
            system_calls_taken_away: tighter.as_ref().map(taken_away).unwrap_or_default(),
            file_rules: self.file_rules,
        }
    }

    /// The paths that the image has besides, for other profiles.
    pub fn add_paths(&self, paths: &mut BTreeMap<ImagePath, KeptKind>) {
        let run = || KeptKind::File { elf: true, run: true, privileged: false };
        if let Some(moved) = &self.moved {
            paths.insert(moved.clone(), run());
        }
        paths.insert(FOLDER.into(), KeptKind::Directory);
        for path in [self.place.clone(), COMMAND.into()] {
            paths.insert(path, run());
        }
        paths.insert(POLICY.into(), KeptKind::File { elf: false, run: false, privileged: false });
        if let Some(link) = &self.link {
            paths.insert(format!("{FOLDER}/bin").as_str().into(), KeptKind::Directory);
            paths.insert(self.program.clone(), KeptKind::Symlink { target: link.as_bytes().to_vec() });
        }
    }

    /// The image's entries with the launcher's; sorted as they were.
    pub fn entries(&self, entries: Vec<LayerEntry>) -> Vec<LayerEntry> {
        /// The launcher under its two names is one file.
        const ONE_FILE: u64 = u64::MAX;
        let mut by_path: BTreeMap<ImagePath, Entry> =
            entries.into_iter().map(|entry| (entry.path, entry.entry)).collect();
        let program = by_path.remove(&self.place);
        let mtime = program.as_ref().map_or(0, |entry| entry.mtime);
        let made = |kind, mode| Entry {
            kind,
            mode,
            uid: 0,
            gid: 0,
            mtime,
            xattrs: BTreeMap::new(),
            hard_link_group: None,
        };
        let file = |bytes: &[u8], mode| made(Kind::File { size: bytes.len() as u64 }, mode);
        if let (Some(moved), Some(program)) = (&self.moved, program) {
            by_path.insert(moved.clone(), program);
        }
        let launcher = Entry { hard_link_group: Some(ONE_FILE), ..file(BINARY, 0o755) };
        by_path.insert(self.place.clone(), launcher.clone());
        by_path.insert(FOLDER.into(), made(Kind::Directory, 0o755));
        by_path.insert(COMMAND.into(), launcher);
        by_path.insert(POLICY.into(), file(&self.file, 0o644));
        if let Some(link) = &self.link {
            by_path.insert(format!("{FOLDER}/bin").as_str().into(), made(Kind::Directory, 0o755));
            let target = link.as_bytes().to_vec();
            by_path.insert(self.program.clone(), made(Kind::Symlink { target }, 0o777));
        }
        by_path.into_iter().map(|(path, entry)| LayerEntry { path, entry }).collect()
    }

    /// The tree that those entries are read from.
    pub fn tree<'a>(&'a self, tree: &'a dyn ImageTree) -> impl ImageTree + 'a {
        LaunchTree::new(tree, self.moved.clone().map(|moved| (moved, self.place.clone())), self.made_files())
    }

    /// The same for a tree that is shared.
    pub fn shared_tree(
        &self,
        tree: Arc<dyn ImageTree + Send + Sync>,
    ) -> Arc<dyn ImageTree + Send + Sync + 'static> {
        let moved = self.moved.clone().map(|moved| (moved, self.place.clone()));
        Arc::new(LaunchTree::new(tree, moved, self.made_files()))
    }

    fn made_files(&self) -> BTreeMap<ImagePath, Arc<[u8]>> {
        let launcher: Arc<[u8]> = BINARY.into();
        [
            (self.place.clone(), Arc::clone(&launcher)),
            (COMMAND.into(), launcher),
            (POLICY.into(), self.file.clone().into()),
        ]
        .into()
    }
}

/// A name beside the program that nothing else has.
fn beside(place: &ImagePath, name: &[u8], inputs: &Inputs) -> ImagePath {
    let directory = place.parent().unwrap_or_else(ImagePath::root);
    let named = |number: usize| {
        let number = if number == 0 { String::new() } else { format!(".{number}") };
        let name = [b".", name, b".launched", number.as_bytes()].concat();
        ImagePath::new([directory.as_bytes(), b"/", &name].concat())
    };
    (0..).map(named).find(|path| !inputs.paths.contains_key(path)).expect("some number is free")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn an_image_for_another_machine_gets_no_launcher() {
        for launch in [Launch { filter: true, file_rules: false }, Launch { filter: false, file_rules: true }]
        {
            let error = launch.check_machine("app:1", "arm64").unwrap_err();
            assert!(
                error.to_string().contains("app:1") && error.to_string().contains("for arm64"),
                "{error}"
            );
            launch.check_machine("app:1", "amd64").unwrap();
        }
        Launch::default().check_machine("app:1", "arm64").unwrap();
    }
}
