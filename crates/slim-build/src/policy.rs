//! Trace + keep-set → what the slim image may do: seccomp profile, AppArmor profile, and what is presumed of its run
//! contract.

use crate::error::BuildError;
use crate::file_capabilities::{CAPABILITIES, FILE_CAPABILITIES, file_capabilities};
use crate::launch::{self, Launch, Launched};
use crate::settings::Settings;
use slim_engine::HostConfigFile;
use slim_image::{Config, Entry, ImagePath, ImageTree, Kind, SourceImage};
use slim_keep::{KeepSet, Kept, Reason};
use slim_policy::{
    Because, Contract, Counts, DEFAULT_CAPABILITIES, EngineFilter, Ground, Inputs, KeptKind, Mode, Owner,
    Policy, PolicyFile, PossibleCalls, Presumed,
};
use slim_trace::Trace;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::Arc;

/// Bytes of a file that tell whether it is ELF, and of which class.
const ELF_START: usize = 5;
/// The smallest ELF header.
const ELF_LEAST: u64 = 52;
const ELF_MAGIC: &[u8] = b"\x7fELF";
/// EI_CLASS of a 32-bit file.
const ELF_CLASS_32: u8 = 1;
/// Endings of files that are never mapped executable, unless their mode says so: it saves reading them.
const DATA_ENDINGS: [&str; 14] =
    ["c", "cjs", "css", "h", "html", "js", "json", "md", "mjs", "pl", "pm", "py", "pyc", "txt"];

/// The policy of a slim image in every form.
pub struct Policies {
    pub policy: Policy,
    /// The policy with all that belongs to it, as it is written for `docker-slim policy`.
    pub file: PolicyFile,
    /// What each mode would allow.
    pub counts: Counts,
    /// Whether all that the kept programs can do is known; `None` where nobody could look.
    pub possible_is_complete: Option<bool>,
    /// The profile for `--security-opt seccomp=FILE`.
    pub seccomp: String,
    /// What the run contract is looked for from.
    pub presumed: Presumed,
    /// The launcher, where one stands in the image.
    pub launched: Option<Arc<Launched>>,
    /// Why none does, where one was asked for.
    pub not_launched: Option<String>,
    inputs: Inputs,
}

/// What may be allowed beyond what was seen.
pub struct Beyond {
    pub mode: Mode,
    /// Whether arguments are restricted to those that were seen, where they matter.
    pub filter_arguments: bool,
    /// What the kept programs can do.
    pub possible: Option<Arc<PossibleCalls>>,
    /// Calls that verification found refused, each with its round.
    pub repaired: BTreeMap<String, u32>,
    pub launch: Launch,
}

/// What is known of the observed run beside the trace.
pub struct RunFacts {
    /// The user's own settings in the API's words.
    pub host_config: HostConfigFile,
    /// The image's volumes and those of `--volume`.
    pub volumes: Vec<ImagePath>,
    /// The user ids of the processes that lived on.
    pub users: BTreeSet<u32>,
}

impl RunFacts {
    fn ground(&self, config: &Config, paths: &KeptPaths) -> Ground {
        let user = config.user.split(':').next().unwrap_or_default();
        let starts_as_root = matches!(user, "" | "0" | "root");
        Ground {
            owners: paths.owners.clone(),
            volumes: self.volumes.iter().cloned().collect(),
            starts_as_root,
            acts_as_others: starts_as_root && self.users.iter().any(|user| *user != 0),
            // The policy finds out which of them were run.
            raises_privileges: false,
            file_capabilities: paths.file_capabilities.clone(),
            exposed: config.exposed_ports.clone(),
        }
    }
}

/// What the slim image is, and how it is run.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// Names the AppArmor profile.
    pub name: &'a str,
    /// The image's with what the user replaced.
    pub config: &'a Config,
    /// How it ran.
    pub run: &'a RunFacts,
    pub trace: &'a Trace,
}

/// Decides what the slim image may do. `paths`: of [`kept_paths`].
///
/// # Errors
/// When a launcher is asked for that cannot do its part.
pub fn decide(subject: Subject<'_>, paths: KeptPaths, beyond: Beyond) -> Result<Policies, BuildError> {
    let Subject { name, config, run, trace } = subject;
    let ground = run.ground(config, &paths);
    let possible_is_complete = beyond.possible.as_ref().map(|possible| possible.is_complete);
    let mut inputs = Inputs {
        elf_32_bit: paths.elf_32_bit,
        paths: paths.paths,
        user: Some(config.user.clone()).filter(|user| !user.is_empty()),
        capabilities: capabilities(&run.host_config),
        engine_filter: engine_filter(&run.host_config),
        mode: beyond.mode,
        filter_arguments: beyond.filter_arguments,
        possible: beyond.possible.map(|possible| PossibleCalls::clone(&possible)),
        repaired: beyond.repaired,
        ..Inputs::new(name)
    };
    let mut policy = slim_policy::decide(trace, &inputs);
    let after_entrypoint = slim_policy::after_entrypoint(trace, &inputs, &policy);
    let (mut launched, mut not_launched) = (None, None);
    if !beyond.launch.is_off() {
        match launch::decide(beyond.launch, trace, &inputs, &after_entrypoint)? {
            Ok(done) => {
                slim_policy::allow_launcher(&mut policy, beyond.launch.file_rules);
                done.add_paths(&mut inputs.paths);
                launched = Some(Arc::new(done));
            }
            Err(why) => not_launched = Some(why.to_string()),
        }
    }
    let seccomp = String::from_utf8(policy.seccomp_json())
        .map_err(|error| BuildError::Bug(format!("write the seccomp profile as text: {error}")))?;
    let presumed = slim_policy::presume(trace, &inputs, &ground);
    let counts = slim_policy::counts(trace, &inputs);
    let file = PolicyFile::new(trace, name, &policy, after_entrypoint, counts);
    Ok(Policies {
        policy,
        file,
        counts,
        possible_is_complete,
        seccomp,
        presumed,
        launched,
        not_launched,
        inputs,
    })
}

impl Policies {
    /// The profile for `apparmor_parser`, with no capability but those of a contract that was found by trying. Helpers have
    /// profiles of their own where that contract has no no-new-privileges, and no launcher sets it.
    #[must_use]
    pub fn apparmor(&self, trace: &Trace, contract: &Contract) -> String {
        let is_found = contract.starts > 0;
        let needed_capabilities = Some(contract.capabilities.clone()).filter(|_| is_found);
        let transitions = is_found && !contract.no_new_privileges && self.launched.is_none();
        slim_policy::apparmor(trace, &Inputs { needed_capabilities, transitions, ..self.inputs.clone() })
    }

    /// Figures for a person.
    #[must_use]
    pub fn told(&self) -> String {
        let told = format!(
            "{} system calls allowed ({}), {} of them seen",
            self.policy.allowed.len(),
            self.policy.mode,
            self.made_by_program()
        );
        match &self.launched {
            Some(launched) => format!("{told}; {}", launched.told()),
            None => told,
        }
    }

    /// The calls that the program may make wherever it is: without those that are taken away before it stays.
    #[must_use]
    pub fn allowed_at_last(&self) -> BTreeSet<&str> {
        let tighter = self.launched.as_ref().and_then(|launched| launched.policy.as_ref());
        let policy = tighter.unwrap_or(&self.policy);
        policy.allowed.iter().map(|allowed| allowed.system_call.as_str()).collect()
    }

    /// System calls that the image's own programs made.
    #[must_use]
    pub fn made_by_program(&self) -> usize {
        let is_made = |because: &Because| matches!(because, Because::Program { .. });
        self.policy.allowed.iter().filter(|call| call.because.iter().any(is_made)).count()
    }
}

/// What the artifacts of an image are called: its repository with dashes; for an image without a name the beginning of
/// its id.
#[must_use]
pub fn file_stem(settings: &Settings, source: &SourceImage) -> String {
    crate::image::fat_name(source)
        .or_else(|| settings.tags.first().and_then(|tag| tag.parse().ok()))
        .map_or_else(|| source.id.hex().chars().take(12).collect(), |name| name.file_stem())
}

/// What the observed container might do, without the `CAP_` prefix: the engine's own set with what the user's settings
/// add and drop, as engines read them (moby's `oci/caps`).
fn capabilities(settings: &HostConfigFile) -> BTreeSet<String> {
    const ALL: &str = "ALL";
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<String>>();
    let plain = |name: &str| name.to_ascii_uppercase().trim_start_matches("CAP_").to_owned();
    let named = |field| settings.texts(field).map(plain).collect::<BTreeSet<String>>();
    let (added, dropped) = (named("CapAdd"), named("CapDrop"));
    if settings.is_true("Privileged") {
        names(&CAPABILITIES)
    } else if added.contains(ALL) {
        &names(&CAPABILITIES) - &dropped
    } else if dropped.contains(ALL) {
        added
    } else {
        &(&names(&DEFAULT_CAPABILITIES) - &dropped) | &added
    }
}

fn engine_filter(settings: &HostConfigFile) -> EngineFilter {
    let replaced = settings.texts("SecurityOpt").any(|option| option.starts_with("seccomp"));
    if replaced || settings.is_true("Privileged") { EngineFilter::Other } else { EngineFilter::Default }
}

/// What the kept paths are.
#[derive(Clone, Default)]
pub struct KeptPaths {
    pub paths: BTreeMap<ImagePath, KeptKind>,
    /// Whether a 32-bit program or library is among them.
    pub elf_32_bit: bool,
    pub owners: BTreeMap<ImagePath, Owner>,
    /// Names without `CAP_` of those that files give.
    pub file_capabilities: BTreeMap<ImagePath, BTreeSet<String>>,
}

impl KeptPaths {
    /// Those that are ELF files.
    #[must_use]
    pub fn elf(&self) -> BTreeSet<ImagePath> {
        let elf = self.paths.iter().filter(|(_, kind)| matches!(kind, KeptKind::File { elf: true, .. }));
        elf.map(|(path, _)| path.clone()).collect()
    }
}

/// What each kept path is.
///
/// # Errors
/// When a kept file cannot be read.
pub fn kept_paths(tree: &dyn ImageTree, kept: &KeepSet) -> Result<KeptPaths, BuildError> {
    let mut found = KeptPaths::default();
    for (path, entry) in &kept.entries {
        let kind = match &entry.entry.kind {
            Kind::Directory => KeptKind::Directory,
            Kind::Symlink { target } => KeptKind::Symlink { target: target.clone() },
            Kind::File { .. } => {
                let class = elf_class(tree, path, entry)?;
                found.elf_32_bit |= class == Some(ELF_CLASS_32);
                file(entry, class.is_some())
            }
            Kind::CharacterDevice { .. } | Kind::BlockDevice { .. } | Kind::Fifo | Kind::Socket => {
                KeptKind::Special
            }
        };
        found.paths.insert(path.clone(), kind);
        let Entry { uid, gid, mode, xattrs, .. } = &entry.entry;
        found.owners.insert(path.clone(), Owner { user: *uid, group: *gid, mode: *mode });
        if let Some(bytes) = xattrs.get(FILE_CAPABILITIES) {
            found.file_capabilities.insert(path.clone(), file_capabilities(bytes));
        }
    }
    Ok(found)
}

fn file(kept: &Kept, elf: bool) -> KeptKind {
    const RAISES_PRIVILEGES: u32 = 0o6000;
    let entry = &kept.entry;
    KeptKind::File {
        elf,
        run: is_executable(kept) && kept.because.iter().any(is_to_run),
        privileged: is_executable(kept)
            && (entry.mode & RAISES_PRIVILEGES != 0 || entry.xattrs.contains_key(FILE_CAPABILITIES)),
    }
}

fn is_executable(kept: &Kept) -> bool {
    kept.entry.mode & 0o111 != 0
}

/// Whether a path is kept to be run although no run of it may have been seen.
fn is_to_run(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::Entrypoint { .. }
            | Reason::Healthcheck { .. }
            | Reason::Included { .. }
            | Reason::Reachable { .. }
            | Reason::Repaired { .. }
            | Reason::Shebang { .. }
            | Reason::ElfInterpreter { .. }
    )
}

/// EI_CLASS of an ELF file; `None` for any other file.
fn elf_class(tree: &dyn ImageTree, path: &ImagePath, kept: &Kept) -> Result<Option<u8>, BuildError> {
    if kept.entry.size() < ELF_LEAST || (!is_executable(kept) && has_data_ending(path)) {
        return Ok(None);
    }
    let mut start = [0; ELF_START];
    tree.open(path)
        .map_err(|error| BuildError::Files(error.to_string()))?
        .read_exact(&mut start)
        .map_err(|error| BuildError::Files(format!("{path}: {error}")))?;
    Ok(start.starts_with(ELF_MAGIC).then_some(start[ELF_START - 1]))
}

fn has_data_ending(path: &ImagePath) -> bool {
    let name = path.as_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let ending = name.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
    ending.len() < name.len() && DATA_ENDINGS.iter().any(|known| known.as_bytes() == ending)
}

#[cfg(test)]
mod tests {
    use super::*;
    use slim_image::MemoryTree;

    fn elf(class: u8) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..4].copy_from_slice(ELF_MAGIC);
        bytes[4] = class;
        bytes
    }

    fn kept(tree: &MemoryTree, because: Reason) -> KeepSet {
        let entries = tree.walk().map(|(path, entry)| {
            (path.clone(), Kept { entry: entry.clone(), because: BTreeSet::from([because.clone()]) })
        });
        KeepSet { entries: entries.collect(), notes: Vec::new() }
    }

    #[test]
    fn what_a_file_is_comes_from_its_first_bytes_and_its_mode() {
        let tree = MemoryTree::new()
            .file("/bin/su", 0o4755, elf(2))
            .file("/lib/x", 0o644, elf(2))
            .file("/lib/data.js", 0o644, elf(1))
            .file("/etc/motd", 0o644, "hello".repeat(20));
        let KeptPaths { paths, elf_32_bit, .. } =
            kept_paths(&tree, &kept(&tree, Reason::EmptyDirectory)).unwrap();
        assert_eq!(
            paths[&ImagePath::from("/bin/su")],
            KeptKind::File { elf: true, run: false, privileged: true }
        );
        assert_eq!(
            paths[&ImagePath::from("/lib/x")],
            KeptKind::File { elf: true, run: false, privileged: false }
        );
        assert_eq!(
            paths[&ImagePath::from("/etc/motd")],
            KeptKind::File { elf: false, run: false, privileged: false }
        );
        assert!(!elf_32_bit, "a script is no program, whatever it holds");
    }

    #[test]
    fn file_capabilities_are_read_from_their_attribute() {
        let mut bytes = vec![1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(
            file_capabilities(&bytes),
            BTreeSet::from(["BPF".to_owned(), "NET_BIND_SERVICE".to_owned()])
        );
        bytes.truncate(6);
        assert_eq!(file_capabilities(&bytes), BTreeSet::new());
    }

    #[test]
    fn one_32_bit_library_is_enough() {
        let tree = MemoryTree::new().file("/lib/i386/libc.so.6", 0o644, elf(ELF_CLASS_32));
        assert!(kept_paths(&tree, &kept(&tree, Reason::EmptyDirectory)).unwrap().elf_32_bit);
    }

    #[test]
    fn capabilities_and_filter_are_those_of_the_observed_container() {
        let settings = |text: &str| HostConfigFile::parse(text).unwrap();
        assert_eq!(capabilities(&settings("{}")).len(), DEFAULT_CAPABILITIES.len());
        let few = settings(r#"{"CapDrop": ["ALL"], "CapAdd": ["cap_net_admin", "CHOWN"]}"#);
        assert_eq!(capabilities(&few), BTreeSet::from(["NET_ADMIN".to_owned(), "CHOWN".to_owned()]));
        assert_eq!(engine_filter(&few), EngineFilter::Default);
        let all = settings(r#"{"Privileged": true}"#);
        assert_eq!(capabilities(&all), capabilities(&settings(r#"{"CapAdd": ["ALL"]}"#)));
        assert_eq!(capabilities(&all).len(), CAPABILITIES.len());
        let but_one = settings(r#"{"CapAdd": ["ALL"], "CapDrop": ["SYS_ADMIN"]}"#);
        assert!(
            capabilities(&but_one).contains("NET_ADMIN") && !capabilities(&but_one).contains("SYS_ADMIN")
        );
        assert_eq!(engine_filter(&all), EngineFilter::Other);
        let own = settings(r#"{"SecurityOpt": ["seccomp=unconfined"]}"#);
        assert_eq!(engine_filter(&own), EngineFilter::Other);
    }

    #[test]
    fn what_was_asked_for_may_be_run_though_no_run_was_seen() {
        let tree = MemoryTree::new().file("/bin/tool", 0o755, elf(2));
        let reason = Reason::Included { flag: "--include-bin".to_owned(), value: "/bin/tool".to_owned() };
        let paths = kept_paths(&tree, &kept(&tree, reason)).unwrap().paths;
        assert_eq!(
            paths[&ImagePath::from("/bin/tool")],
            KeptKind::File { elf: true, run: true, privileged: false }
        );
    }
}
