//! Why a container cannot be watched.

use std::io;

/// Why a container cannot be watched. The message is a fragment that fits after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum SensorError {
    #[error("watch containers: the capabilities {0} are missing")]
    Capabilities(String),
    #[error("watch containers: Linux {release} is too old, {needed} is needed")]
    Kernel { release: String, needed: &'static str },
    #[error("watch containers: this kernel has no {0}")]
    Feature(&'static str),
    #[error("watch containers by seccomp user notification: it knows the calls of x86-64 only")]
    Machine,
    #[error("watch containers: this process sees only the processes of a pid namespace of its own")]
    PidNamespace,
    #[error("watch containers: this process is root of a user namespace of its own only")]
    UserNamespace,
    #[error("load the eBPF program {name}: {reason}")]
    Program { name: &'static str, reason: String },
    #[error("{action}: {source}")]
    Call { action: String, source: io::Error },
    #[error("see the container's program start")]
    NotStarted,
    #[error("see everything: {what} ({count} lost)")]
    Dropped { what: String, count: u64, buffer_bytes: u32 },
    #[error("watch the container: the sensor's thread panicked")]
    Panicked,
    /// What an observer on another machine, or in a container, says.
    #[error("{message}")]
    Elsewhere { message: String, hint: Option<String> },
    /// The container that another observer runs in is not there (any more).
    #[error("talk to the sidecar container: {reason}")]
    SidecarGone { reason: String },
}

impl SensorError {
    /// What the reader may do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(
            match self {
                Self::Capabilities(_) => {
                    "run it as root (sudo), or give the binary the capabilities: setcap \
                     cap_bpf,cap_perfmon,cap_sys_admin,cap_sys_ptrace,cap_kill,cap_dac_read_search+ep ./docker-slim"
                }
                Self::Kernel { .. } | Self::Feature(_) => "run it on a machine with a newer kernel (with BTF)",
                Self::Machine => "--observer local or sidecar watches there",
                Self::UserNamespace => "run it as root (sudo), or with --observer notify on the embedded engine",
                Self::PidNamespace => "run it on the machine itself, or in a container with --pid=host",
                Self::Program { .. } => "does the kernel allow eBPF (lockdown, sysctl kernel.unprivileged_bpf_disabled)?",
                Self::Dropped { .. } => "the machine may be overloaded; try again when it is quieter",
                Self::SidecarGone { .. } => {
                    "see whether somebody ended it, or the engine went away: `docker events`, and the engine's own log"
                }
                Self::Elsewhere { hint, .. } => return hint.clone(),
                Self::Call { .. } | Self::NotStarted | Self::Panicked => return None,
            }
            .to_owned(),
        )
    }

    /// Wraps a failed system call.
    pub(crate) fn call(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Call { action, source }
    }
}
