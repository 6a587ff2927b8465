//! Calls by which containers are broken out of, or hosts brought down: a report names each, allowed or blocked.
//!
//! Invariant: none of these is ever allowed as a relative of something else.

use crate::policy::{Because, Policy};
use serde::Serialize;

/// Each call with what it gives to whoever gets hold of the program.
pub(crate) const DANGEROUS: [(&str, &str); 33] = [
    ("acct", "writes accounting records of all processes to a file"),
    ("add_key", "keys of the kernel are shared between containers"),
    ("bpf", "loads programs into the kernel"),
    ("clone3", "makes namespaces, by flags in memory that no filter can read"),
    ("delete_module", "unloads kernel modules"),
    ("finit_module", "loads code into the kernel"),
    ("fsmount", "mounts file systems"),
    ("init_module", "loads code into the kernel"),
    ("io_uring_enter", "makes calls that no filter sees"),
    ("io_uring_register", "makes calls that no filter sees"),
    ("io_uring_setup", "makes calls that no filter sees; many holes of the kernel were found there"),
    ("kcmp", "compares kernel pointers of other processes"),
    ("kexec_file_load", "replaces the kernel"),
    ("kexec_load", "replaces the kernel"),
    ("keyctl", "keys of the kernel are shared between containers"),
    ("mount", "mounts file systems"),
    ("move_mount", "mounts file systems"),
    ("open_by_handle_at", "opens files outside of the container's root"),
    ("open_tree", "takes mounts apart"),
    ("perf_event_open", "reads what other processes and the kernel do"),
    ("pidfd_getfd", "takes files from other processes"),
    ("pivot_root", "leaves the container's root"),
    ("process_vm_readv", "reads the memory of other processes"),
    ("process_vm_writev", "writes the memory of other processes"),
    ("ptrace", "controls other processes; older kernels let it around the filter"),
    ("reboot", "stops the machine"),
    ("request_key", "keys of the kernel are shared between containers"),
    ("setns", "enters the namespaces of others"),
    ("swapon", "changes the machine's memory"),
    ("umount2", "uncovers what mounts hide"),
    ("unshare", "makes namespaces, in which more of the kernel can be reached"),
    ("userfaultfd", "stops the kernel in the middle of its work; holes become usable by it"),
    ("vmsplice", "hands pages to the kernel that may still be written"),
];

/// What becomes of a dangerous call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Dangerous {
    pub system_call: &'static str,
    pub allowed: bool,
    /// What it is feared for and, where it is allowed, why it is all the same; fits after the call's name and a colon.
    pub why: String,
}

pub(crate) fn is_dangerous(call: &str) -> bool {
    DANGEROUS.iter().any(|(dangerous, _)| *dangerous == call)
}

/// All dangerous calls, by name.
#[must_use]
pub fn dangerous(policy: &Policy) -> Vec<Dangerous> {
    let told = |(system_call, fear): &(&'static str, &str)| {
        let allowed = policy.allowed.iter().find(|allowed| allowed.system_call == *system_call);
        let why = match allowed.and_then(|allowed| allowed.because.first()) {
            Some(because) => format!("{fear}; allowed: {}", in_words(because)),
            None => (*fear).to_owned(),
        };
        Dangerous { system_call, allowed: allowed.is_some(), why }
    };
    DANGEROUS.iter().map(told).collect()
}

fn in_words(because: &Because) -> String {
    match because {
        Because::Program { executable: Some(executable), .. } => format!("{executable} made it"),
        Because::Program { executable: None, .. } => "a program of the image made it".to_owned(),
        Because::Possible { way } => format!("the kept programs can make it ({way})"),
        Because::Repaired { .. } => "the program was refused it and did something else".to_owned(),
        _ => "the container does not start without it".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::Inputs;
    use crate::system_calls::decide;
    use slim_trace::Trace;

    #[test]
    fn the_table_is_sorted_and_names_no_call_twice() {
        assert!(DANGEROUS.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn a_program_that_does_nothing_may_do_nothing_dangerous() {
        let all = dangerous(&decide(&Trace::empty("sha256:0"), &Inputs::new("app")));
        assert_eq!(all.len(), DANGEROUS.len());
        assert!(all.iter().all(|call| !call.allowed && !call.why.is_empty()));
    }
}
