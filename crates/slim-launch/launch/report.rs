//! What a person is told: what failed, on what, and what to do. Written piece by piece, since there is no heap.

use crate::format::FormatError;
use crate::sys::{self, Errno};
use core::ffi::CStr;

/// The exit code when the launcher's own part fails.
pub const LAUNCHER: u8 = 125;
const CANNOT_RUN: u8 = 126;
const NOT_THERE: u8 = 127;

const OUTPUT: usize = 1;
const ERRORS: usize = 2;

/// Why the program does not run.
pub enum Failure<'a> {
    Usage,
    PolicyUnreadable { path: &'a CStr, errno: Errno },
    PolicyRefused { path: &'a CStr, reason: FormatError },
    NoProgram { policy: &'a CStr },
    NeedsNoNewPrivileges { what: &'static str },
    NoLandlock,
    Refused { what: &'static str, errno: Errno },
    NotExecuted { program: &'a CStr, errno: Errno },
}

impl Failure<'_> {
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotExecuted { errno: Errno::ENOENT | Errno::ENOTDIR, .. } => NOT_THERE,
            Self::NotExecuted { .. } => CANNOT_RUN,
            _ => LAUNCHER,
        }
    }

    pub fn tell(&self) {
        error("docker-slim launch: failed to ");
        match self {
            Self::Usage => {
                error(
                    "understand the command line\nhint: launch [--policy FILE] [--] COMMAND [ARGUMENT...]\n",
                );
            }
            Self::PolicyUnreadable { path, errno } => {
                tell_path("read the policy ", path);
                tell_errno(*errno);
            }
            Self::PolicyRefused { path, reason } => {
                tell_path("use the policy ", path);
                error(": ");
                error(reason.text());
                error("\n");
            }
            Self::NoProgram { policy } => {
                tell_path("find the program to run: the policy ", policy);
                error(" names none\nhint: name it: launch --policy FILE -- COMMAND\n");
            }
            Self::NeedsNoNewPrivileges { what } => {
                error(what);
                error(
                    ": it needs no-new-privileges or CAP_SYS_ADMIN, and has neither\nhint: docker run --security-opt \
                     no-new-privileges; in Kubernetes allowPrivilegeEscalation: false\n",
                );
            }
            Self::NoLandlock => {
                error("apply the file rules: this kernel has no Landlock, or the container may not use it\n");
            }
            Self::Refused { what, errno } => {
                error(what);
                tell_errno(*errno);
                if *errno == Errno::EPERM {
                    error("hint: the container's own seccomp profile must allow what the launcher calls\n");
                }
            }
            Self::NotExecuted { program, errno } => {
                tell_path("run ", program);
                tell_errno(*errno);
                if *errno == Errno::ENOEXEC {
                    error("hint: it is no program and no script with a #! line\n");
                }
            }
        }
    }
}

fn tell_path(what: &str, path: &CStr) {
    error(what);
    all(ERRORS, path.to_bytes());
}

fn tell_errno(errno: Errno) {
    match errno.text() {
        "" => number(ERRORS, ": error ", u64::from(errno.0), "\n"),
        text => {
            error(": ");
            error(text);
            error("\n");
        }
    }
}

pub fn error(text: &str) {
    all(ERRORS, text.as_bytes());
}

pub fn output(text: &str) {
    all(OUTPUT, text.as_bytes());
}

pub fn output_number(before: &str, value: u64, after: &str) {
    number(OUTPUT, before, value, after);
}

fn number(file: usize, before: &str, mut value: u64, after: &str) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        if let Some(digit) = digits.get_mut(at) {
            *digit = b'0' + (value % 10) as u8;
        }
        value /= 10;
        if value == 0 {
            break;
        }
    }
    all(file, before.as_bytes());
    all(file, digits.get(at..).unwrap_or_default());
    all(file, after.as_bytes());
}

/// Nobody is left to be told when the file is closed.
fn all(file: usize, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match sys::write(file, bytes) {
            Ok(0) => return,
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}
