//! The last steps of a process on its way into the container: user, capabilities, seccomp filter, exec.
//!
//! libcontainer installs its filter long before the exec and makes calls after that which no program's profile has any
//! reason to allow; for a process that joins a running container it installs none. So it is handed neither filter nor
//! user, and both kinds of process take these steps here. Invariant: the calls between the filter and the exec are among
//! those of runc (`slim-policy/runtimes`), so that a profile that starts under Docker starts here. What allocates or
//! looks something up comes before the filter.

use super::filter::{self, Instruction};
use super::telling::Supervisor;
use super::users::User;
use super::{apparmor, seccomp};
use libcontainer::syscall::syscall::create_syscall;
use nix::sys::signal::{SigHandler, Signal};
use nix::unistd::{Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A program about to be run in a container.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub argv: Vec<String>,
    /// All of it; `PATH` in it is where the program is looked for.
    pub env: Vec<String>,
    pub working_directory: String,
    pub user: User,
    /// Names without `CAP_`.
    pub capabilities: Vec<String>,
    pub seccomp: Option<Vec<Instruction>>,
    /// Who is told of its calls.
    pub supervisor: Option<Supervisor>,
    pub no_new_privileges: bool,
    /// Name of an AppArmor profile.
    pub apparmor: Option<String>,
    /// Groups cannot be set: in a user namespace of one user.
    pub keeps_groups: bool,
}

/// Why a program cannot be run, as Docker's runtime says it.
#[derive(Debug)]
pub(super) struct NotRun {
    pub reason: String,
    /// What a shell would end with: 127 where there is no such program, 126 else.
    pub exit_code: i64,
}

impl NotRun {
    fn new(reason: impl Into<String>, exit_code: i64) -> Self {
        Self { reason: reason.into(), exit_code }
    }

    /// From the number of a failed exec.
    pub(super) fn of_errno(number: i32, program: &str) -> Self {
        let exit_code = if number == rustix::io::Errno::NOENT.raw_os_error() { 127 } else { 126 };
        Self::new(format!("exec {program}: {}", io::Error::from_raw_os_error(number)), exit_code)
    }
}

impl Program {
    /// Where the program lies, seen from here: the container's root must be ours.
    pub(super) fn find(&self) -> Result<CString, NotRun> {
        let name = self.argv.first().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| NotRun::new("no command specified", 127))?;
        if name.contains('/') {
            return executable(Path::new(name))
                .map_err(|error| NotRun::new(format!("exec: {name:?}: {error}"), code_of(&error)));
        }
        let path = self.env.iter().rev().find_map(|pair| pair.strip_prefix("PATH=")).unwrap_or_default();
        let mut refused = None;
        for folder in path.split(':') {
            let folder = if folder.is_empty() { "." } else { folder };
            match executable(&Path::new(folder).join(name)) {
                Ok(found) => return Ok(found),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => refused = Some(error),
                Err(_) => {}
            }
        }
        Err(match refused {
            Some(error) => NotRun::new(format!("exec: {name:?}: {error}"), 126),
            None => NotRun::new(format!("exec: {name:?}: executable file not found in $PATH"), 127),
        })
    }

    /// Becomes the program. Comes back only with the reason why it cannot. The container's namespaces and root must be
    /// ours, all capabilities with them, and no other thread may run.
    pub(super) fn become_it(&self) -> NotRun {
        if let Err(error) = self.enter_working_directory() {
            return NotRun::new(error.to_string(), 126);
        }
        let program = match self.find() {
            Ok(program) => program,
            Err(not_run) => return not_run,
        };
        let argv: Result<Vec<CString>, _> =
            self.argv.iter().map(|word| CString::new(word.as_str())).collect();
        let env: Result<Vec<CString>, _> = self.env.iter().map(|pair| CString::new(pair.as_str())).collect();
        let (Ok(argv), Ok(env)) = (argv, env) else {
            return NotRun::new("a word of the command or the environment holds a zero byte", 126);
        };
        if let Err(error) = self.prepare().and_then(|groups| self.confine(&groups)) {
            return NotRun::new(error.to_string(), 126);
        }
        let Err(error) = nix::unistd::execve(&program, &argv, &env);
        NotRun::of_errno(error as i32, &self.argv[0])
    }

    /// Goes to the program's working directory, which must lie in the container: the container's root must be ours.
    ///
    /// An image can name a descriptor of our own (`WORKDIR /proc/self/fd/7`), and the links of `/proc/self/fd` lead anywhere,
    /// the host's folders among them, from where `..` goes on (CVE-2024-21626, there runc's).
    pub(super) fn enter_working_directory(&self) -> io::Result<()> {
        let told = |error: io::Error| {
            io::Error::new(error.kind(), format!("chdir to {}: {error}", self.working_directory))
        };
        std::env::set_current_dir(&self.working_directory).map_err(told)?;
        stays_inside(rustix::process::getcwd(Vec::new())).map_err(told)
    }

    /// Everything that profiles need not allow.
    fn prepare(&self) -> io::Result<Vec<Gid>> {
        self.own_streams()?;
        create_syscall().close_range(0).map_err(io::Error::other)?;
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
        take_all_signals()?;
        raise_file_limit()?;
        if self.no_new_privileges {
            rustix::thread::set_no_new_privs(true)?;
        }
        if let Some(profile) = &self.apparmor {
            apparmor::apply_at_exec(profile)?;
        }
        Ok(self.user.groups.iter().map(|group| Gid::from_raw(*group)).collect())
    }

    /// As runc does, so that the user may open /dev/stdout.
    fn own_streams(&self) -> io::Result<()> {
        let (uid, gid) = (rustix::fs::Uid::from_raw(self.user.uid), rustix::fs::Gid::from_raw(self.user.gid));
        for stream in [io::stdin().as_fd(), io::stdout().as_fd(), io::stderr().as_fd()] {
            let owned = if is_pipe(stream) {
                rustix::fs::fchown(stream, Some(uid), Some(gid))
            } else if rustix::termios::isatty(stream) {
                rustix::fs::fchown(stream, Some(uid), None)
            } else {
                Ok(())
            };
            owned.map_err(|error| self.not_become(error.into()))?;
        }
        Ok(())
    }

    /// Why this process does not become the program's user: ids that a user namespace does not map are invalid.
    fn not_become(&self, error: io::Error) -> io::Error {
        if error.raw_os_error() != Some(rustix::io::Errno::INVAL.raw_os_error()) {
            return error;
        }
        io::Error::other(format!(
            "become user {}:{}: this user namespace has no such ids (ranges in /etc/subuid and /etc/subgid, and \
             newuidmap, bring more)",
            self.user.uid, self.user.gid
        ))
    }

    fn confine(&self, groups: &[Gid]) -> io::Result<()> {
        let keeps = capability_set(&self.capabilities)?;
        // Without no-new-privileges only an administrator may install a filter, who we are not for long.
        if !self.no_new_privileges {
            self.filter()?;
        }
        for capability in CapabilitySet::all().iter().filter(|one| one.bits().count_ones() == 1) {
            if !keeps.contains(capability) {
                match rustix::thread::remove_capability_from_bounding_set(capability) {
                    // This kernel is older than the capability.
                    Err(rustix::io::Errno::INVAL) => {}
                    removed => removed?,
                }
            }
        }
        if !self.keeps_groups {
            nix::unistd::setgroups(groups)?;
        }
        let unmapped = |error: nix::errno::Errno| self.not_become(error.into());
        nix::unistd::setgid(Gid::from_raw(self.user.gid)).map_err(unmapped)?;
        nix::unistd::setuid(Uid::from_raw(self.user.uid)).map_err(unmapped)?;
        // As an exec would leave it: the root user has what the bounding set has, others nothing.
        let held = if self.user.uid == 0 { keeps } else { CapabilitySet::empty() };
        let sets = CapabilitySets { effective: held, permitted: held, inheritable: CapabilitySet::empty() };
        rustix::thread::set_capabilities(None, sets)?;
        // Our parent is the container's keeper, or whoever waits for a command that joined: without them nobody sees to the
        // program any more. (The exec of a set-id program takes this away, and a profile may refuse it.)
        let asked = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
        if self.supervisor.is_some() {
            asked?;
        }
        if self.no_new_privileges {
            self.filter()?;
        }
        Ok(())
    }

    fn filter(&self) -> io::Result<()> {
        match (&self.supervisor, self.seccomp.as_deref()) {
            (Some(supervisor), profile) => supervisor.load(profile),
            (None, Some(profile)) => filter::load(profile),
            (None, None) => Ok(()),
        }
    }
}

/// Compiles a profile for a container with these capabilities.
pub(super) fn filter(
    profile: Option<&str>,
    capabilities: &[String],
) -> Result<Option<Vec<Instruction>>, String> {
    let compiled = |json| {
        filter::compile(&seccomp::compile(json, capabilities)?)
            .map_err(|error| format!("the seccomp profile cannot be compiled: {error}"))
    };
    profile.map(compiled).transpose()
}

/// An exec hands on what is ignored: broken pipes, of which Rust's runtime wants to hear as errors, and whatever our own
/// parents do not care for.
#[expect(unsafe_code, reason = "there is no safe wrapper of signal(2)")]
fn take_all_signals() -> io::Result<()> {
    for signal in Signal::iterator().filter(|signal| !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP)) {
        // SAFETY: the default action runs no code of this process.
        unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) }?;
    }
    nix::sys::signal::SigSet::empty().thread_set_mask()?;
    Ok(())
}

/// As many open files as Docker's service lets its containers have, as far as we may; a shell's own limit is far lower.
fn raise_file_limit() -> io::Result<()> {
    const OPEN_FILES: u64 = 1 << 20;
    let own = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let most = own.maximum.map_or(OPEN_FILES, |most| most.min(OPEN_FILES));
    let limit = rustix::process::Rlimit { current: Some(most), maximum: Some(most) };
    Ok(rustix::process::setrlimit(rustix::process::Resource::Nofile, limit)?)
}

/// Whether what getcwd(2) says lies below our root. (The C library's own function would look for the path elsewhere.)
fn stays_inside(directory: rustix::io::Result<CString>) -> io::Result<()> {
    match directory {
        Ok(path) if path.as_bytes().starts_with(b"/") => Ok(()),
        Ok(_) | Err(rustix::io::Errno::NOENT) => Err(io::Error::other("it lies outside of the container")),
        Err(error) => Err(error.into()),
    }
}

fn is_pipe(stream: BorrowedFd<'_>) -> bool {
    rustix::fs::fstat(stream)
        .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Fifo)
}

fn executable(path: &Path) -> io::Result<CString> {
    let metadata = fs::metadata(path)?;
    if metadata.is_dir() || metadata.permissions().mode() & 0o111 == 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    use std::os::unix::ffi::OsStrExt;
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

fn code_of(error: &io::Error) -> i64 {
    if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 }
}

/// What Docker leaves a container.
pub(super) const DEFAULT_CAPABILITIES: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// The set of these names (without `CAP_`).
fn capability_set(names: &[String]) -> io::Result<CapabilitySet> {
    names.iter().try_fold(CapabilitySet::empty(), |set, name| match CapabilitySet::from_name(name) {
        Some(capability) => Ok(set | capability),
        None => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("there is no capability {name}"))),
    })
}

/// Whether the kernel's interface has a capability of this name (without `CAP_`).
pub(super) fn is_capability(name: &str) -> bool {
    CapabilitySet::from_name(name).is_some()
}

/// Every name, without `CAP_`, sorted.
pub(super) fn all_capabilities() -> Vec<String> {
    let mut names: Vec<String> = CapabilitySet::all().iter_names().map(|(name, _)| name.to_owned()).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(argv: &[&str], path: &str) -> Program {
        Program {
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            env: vec![format!("PATH={path}")],
            working_directory: "/".to_owned(),
            user: User { uid: 0, gid: 0, groups: Vec::new(), home: "/".to_owned() },
            capabilities: Vec::new(),
            seccomp: None,
            supervisor: None,
            no_new_privileges: false,
            apparmor: None,
            keeps_groups: false,
        }
    }

    #[test]
    fn a_program_is_looked_for_as_docker_does() {
        assert_eq!(program(&["sh"], "/none:/bin").find().unwrap().to_str().unwrap(), "/bin/sh");
        let missing = program(&["surely-not-there"], "/bin").find().unwrap_err();
        assert_eq!(missing.exit_code, 127);
        assert!(missing.reason.contains("executable file not found in $PATH"), "{}", missing.reason);
        assert_eq!(program(&["/none/x"], "/bin").find().unwrap_err().exit_code, 127);
        assert_eq!(program(&["/etc/passwd"], "/bin").find().unwrap_err().exit_code, 126);
        assert_eq!(program(&["/etc"], "/bin").find().unwrap_err().exit_code, 126);
        assert_eq!(program(&[], "/bin").find().unwrap_err().reason, "no command specified");
    }

    #[test]
    fn a_working_directory_that_has_no_path_from_the_root_is_outside() {
        let said = |text: &str| stays_inside(Ok(CString::new(text).unwrap()));
        assert!(said("/").is_ok() && said("/srv").is_ok());
        assert!(said("(unreachable)/var").is_err() && said("(unreachable)").is_err());
        assert!(stays_inside(Err(rustix::io::Errno::NOENT)).is_err(), "a folder that is gone");
    }

    #[test]
    fn ids_that_are_not_mapped_are_told_so() {
        let program = program(&["sh"], "/bin");
        let invalid = || io::Error::from(nix::errno::Errno::EINVAL);
        assert!(program.not_become(invalid()).to_string().contains("no such ids"));
        let refused = io::Error::from(nix::errno::Errno::EPERM);
        assert_eq!(program.not_become(refused).kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn every_default_capability_is_one() {
        let names: Vec<String> = DEFAULT_CAPABILITIES.iter().map(|name| (*name).to_owned()).collect();
        // CapEff of a container of Docker 20.10.
        assert_eq!(capability_set(&names).unwrap().bits(), 0xa804_25fb);
        assert!(capability_set(&["NO_SUCH".to_owned()]).is_err() && !is_capability("NO_SUCH"));
        assert!(all_capabilities().len() >= 40);
    }
}
