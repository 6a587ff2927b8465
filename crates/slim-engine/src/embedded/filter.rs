//! Profiles → programs of the kernel's filter machine, and their loading.
//!
//! libseccomp makes the program; it is loaded by a call of our own, since one that tells calls (see [`super::telling`]) is
//! changed in between. Nothing here allocates once a filter is loaded.

use libcontainer::oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompOperator};
use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use nix::libc;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek};

/// `struct sock_filter` of the kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    pub code: u16,
    pub if_true: u8,
    pub if_false: u8,
    pub value: u32,
}

/// Bytes of an instruction.
pub(super) const INSTRUCTION_BYTES: usize = size_of::<Instruction>();

/// The program of a profile.
///
/// # Errors
/// What libseccomp does not take. Names that it does not know are calls that this machine does not have.
pub(super) fn compile(profile: &LinuxSeccomp) -> io::Result<Vec<Instruction>> {
    let default = action(profile.default_action(), profile.default_errno_ret())?;
    let mut filter = ScmpFilterContext::new(default).map_err(io::Error::other)?;
    for architecture in profile.architectures().iter().flatten() {
        filter.add_arch(machine(*architecture)?).map_err(io::Error::other)?;
    }
    for rule in profile.syscalls().iter().flatten() {
        let action = action(rule.action(), rule.errno_ret())?;
        if action == default {
            continue;
        }
        let comparisons: Vec<ScmpArgCompare> = rule.args().iter().flatten().map(comparison).collect();
        let arguments: BTreeSet<usize> = rule.args().iter().flatten().map(|one| one.index()).collect();
        for call in rule.names().iter().filter_map(|name| ScmpSyscall::from_name(name).ok()) {
            let added = if comparisons.is_empty() {
                filter.add_rule(action, call).map(drop)
            } else if arguments.len() == comparisons.len() {
                filter.add_rule_conditional(action, call, &comparisons).map(drop)
            } else {
                // libseccomp compares an argument once a rule; runc makes a rule of each comparison then.
                comparisons
                    .iter()
                    .try_for_each(|one| filter.add_rule_conditional(action, call, &[*one]).map(drop))
            };
            added.map_err(io::Error::other)?;
        }
    }
    let mut file = File::from(rustix::fs::memfd_create("filter", rustix::fs::MemfdFlags::CLOEXEC)?);
    filter.export_bpf(&file).map_err(io::Error::other)?;
    file.rewind()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes.as_chunks::<INSTRUCTION_BYTES>().0.iter().map(Instruction::of).collect())
}

impl Instruction {
    fn of(bytes: &[u8; INSTRUCTION_BYTES]) -> Self {
        let [a, b, if_true, if_false, v, w, x, y] = *bytes;
        let (code, value) = (u16::from_ne_bytes([a, b]), u32::from_ne_bytes([v, w, x, y]));
        Self { code, if_true, if_false, value }
    }

    pub(super) fn bytes(self) -> [u8; INSTRUCTION_BYTES] {
        let ([a, b], [v, w, x, y]) = (self.code.to_ne_bytes(), self.value.to_ne_bytes());
        [a, b, self.if_true, self.if_false, v, w, x, y]
    }
}

fn machine(architecture: Arch) -> io::Result<ScmpArch> {
    Ok(match architecture {
        Arch::ScmpArchNative => ScmpArch::Native,
        Arch::ScmpArchX86 => ScmpArch::X86,
        Arch::ScmpArchX86_64 => ScmpArch::X8664,
        Arch::ScmpArchX32 => ScmpArch::X32,
        Arch::ScmpArchArm => ScmpArch::Arm,
        Arch::ScmpArchAarch64 => ScmpArch::Aarch64,
        other => return Err(io::Error::other(format!("the seccomp profile is for {other:?}"))),
    })
}

fn action(action: LinuxSeccompAction, number: Option<u32>) -> io::Result<ScmpAction> {
    let number = number.map_or(libc::EPERM, u32::cast_signed);
    Ok(match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => ScmpAction::KillThread,
        LinuxSeccompAction::ScmpActKillProcess => ScmpAction::KillProcess,
        LinuxSeccompAction::ScmpActTrap => ScmpAction::Trap,
        LinuxSeccompAction::ScmpActErrno => ScmpAction::Errno(number),
        LinuxSeccompAction::ScmpActAllow => ScmpAction::Allow,
        LinuxSeccompAction::ScmpActLog => ScmpAction::Log,
        LinuxSeccompAction::ScmpActTrace => {
            ScmpAction::Trace(u16::try_from(number).map_err(io::Error::other)?)
        }
        LinuxSeccompAction::ScmpActNotify => {
            return Err(io::Error::other("nobody answers calls that the seccomp profile notifies"));
        }
    })
}

fn comparison(argument: &libcontainer::oci_spec::runtime::LinuxSeccompArg) -> ScmpArgCompare {
    let second = argument.value_two().unwrap_or(0);
    let index = u32::try_from(argument.index()).unwrap_or(u32::MAX);
    let (operator, value) = match argument.op() {
        LinuxSeccompOperator::ScmpCmpNe => (ScmpCompareOp::NotEqual, argument.value()),
        LinuxSeccompOperator::ScmpCmpLt => (ScmpCompareOp::Less, argument.value()),
        LinuxSeccompOperator::ScmpCmpLe => (ScmpCompareOp::LessOrEqual, argument.value()),
        LinuxSeccompOperator::ScmpCmpEq => (ScmpCompareOp::Equal, argument.value()),
        LinuxSeccompOperator::ScmpCmpGe => (ScmpCompareOp::GreaterEqual, argument.value()),
        LinuxSeccompOperator::ScmpCmpGt => (ScmpCompareOp::Greater, argument.value()),
        // The specification has the mask in `value` and what is compared with in `valueTwo`.
        LinuxSeccompOperator::ScmpCmpMaskedEq => (ScmpCompareOp::MaskedEqual(argument.value()), second),
    };
    ScmpArgCompare::new(index, operator, value)
}

/// Loads a program for this thread and what it becomes.
///
/// # Errors
/// The kernel's.
pub(super) fn load(program: &[Instruction]) -> io::Result<()> {
    set(program, 0).map(drop)
}

/// The same with flags; what the call gives.
#[expect(unsafe_code, reason = "there is no safe wrapper of seccomp(2)")]
pub(super) fn set(program: &[Instruction], flags: libc::c_ulong) -> io::Result<i32> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(io::Error::other)?,
        filter: program.as_ptr().cast_mut().cast(),
    };
    let operation = libc::c_ulong::from(libc::SECCOMP_SET_MODE_FILTER);
    // SAFETY: the kernel copies the instructions, which have its own layout, and keeps no pointer.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, operation, flags, &raw const program) };
    if result < 0 { Err(io::Error::last_os_error()) } else { i32::try_from(result).map_err(io::Error::other) }
}

#[cfg(test)]
mod tests {
    use super::super::seccomp;
    use super::*;

    #[test]
    fn dockers_profile_is_a_program_that_the_kernel_has_room_for() {
        let program = compile(&seccomp::compile(seccomp::DEFAULT, &[]).unwrap()).unwrap();
        assert!((200..4096).contains(&program.len()), "{}", program.len());
        // It begins with the machine: `A = data.arch`.
        assert_eq!(program[0], Instruction { code: 0x20, if_true: 0, if_false: 0, value: 4 });
        assert_eq!(Instruction::of(&program[5].bytes()), program[5]);
    }
}
