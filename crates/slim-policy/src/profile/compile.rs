//! Profile → the program that the kernel runs at every system call, by libseccomp.

use super::{Action, Argument, Operator, Rule, SeccompProfile};
use libseccomp::error::SeccompError;
use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use slim_launch::Instruction;
use std::io::{Read, Seek};

/// Bytes of one instruction.
const INSTRUCTION: usize = 8;
/// A binary search over the calls instead of one comparison after the other.
const BINARY_TREE: u32 = 2;

/// Why there is no program.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error("compile the seccomp filter: {0}")]
    Library(#[from] SeccompError),
    #[error("compile the seccomp filter: the architecture {0} is not known")]
    Architecture(String),
    #[error("compile the seccomp filter: {0} is asked for, and nobody listens to a filter of this kind")]
    Notify(String),
    #[error("compile the seccomp filter: write it to a temporary file: {0}")]
    File(#[from] std::io::Error),
}

impl SeccompProfile {
    /// The filter's program. Calls that libseccomp does not know by name are left out, as container runtimes do.
    ///
    /// # Errors
    /// What libseccomp refuses; that a call is to be asked for.
    pub fn compile(&self) -> Result<Vec<Instruction>, CompileError> {
        let default = library_action("the default", &self.default)?;
        let mut filter = ScmpFilterContext::new(default)?;
        filter.set_ctl_nnp(false)?;
        filter.set_act_badarch(ScmpAction::KillProcess)?;
        filter.set_ctl_optimize(BINARY_TREE)?;
        let native = ScmpArch::native();
        for name in &self.architectures {
            filter.add_arch(architecture(name)?)?;
        }
        if !self.architectures.iter().any(|name| architecture(name).is_ok_and(|arch| arch == native)) {
            filter.remove_arch(native)?;
        }
        for (call, rules) in &self.calls {
            let Ok(number) = ScmpSyscall::from_name(call) else { continue };
            for Rule { action, arguments, .. } in rules.iter().filter(|rule| rule.action != self.default) {
                let comparisons: Vec<ScmpArgCompare> = arguments.iter().map(comparison).collect();
                filter.add_rule_conditional(library_action(call, action)?, number, &comparisons)?;
            }
        }
        let mut file = tempfile::tempfile()?;
        filter.export_bpf(&file)?;
        file.rewind()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes.chunks_exact(INSTRUCTION).map(instruction).collect())
    }
}

/// The structure is the kernel's, in the byte order of this machine.
fn instruction(bytes: &[u8]) -> Instruction {
    Instruction {
        code: u16::from_ne_bytes([bytes[0], bytes[1]]),
        if_true: bytes[2],
        if_false: bytes[3],
        operand: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    }
}

fn architecture(name: &str) -> Result<ScmpArch, CompileError> {
    Ok(match name {
        "SCMP_ARCH_X86_64" => ScmpArch::X8664,
        "SCMP_ARCH_X86" => ScmpArch::X86,
        "SCMP_ARCH_X32" => ScmpArch::X32,
        "SCMP_ARCH_AARCH64" => ScmpArch::Aarch64,
        "SCMP_ARCH_ARM" => ScmpArch::Arm,
        other => return Err(CompileError::Architecture(other.to_owned())),
    })
}

fn library_action(what: &str, action: &Action) -> Result<ScmpAction, CompileError> {
    Ok(match action {
        Action::Allow => ScmpAction::Allow,
        Action::Log => ScmpAction::Log,
        Action::Errno(number) => ScmpAction::Errno(i32::try_from(*number).unwrap_or(1)),
        Action::Notify => return Err(CompileError::Notify(what.to_owned())),
        Action::Trap => ScmpAction::Trap,
        Action::KillThread => ScmpAction::KillThread,
        Action::KillProcess => ScmpAction::KillProcess,
    })
}

fn comparison(argument: &Argument) -> ScmpArgCompare {
    let Argument { index, value, second, .. } = *argument;
    let plain = |operator| ScmpArgCompare::new(index, operator, value);
    match argument.operator {
        Operator::NotEqual => plain(ScmpCompareOp::NotEqual),
        Operator::Less => plain(ScmpCompareOp::Less),
        Operator::LessOrEqual => plain(ScmpCompareOp::LessOrEqual),
        Operator::Equal => plain(ScmpCompareOp::Equal),
        Operator::GreaterOrEqual => plain(ScmpCompareOp::GreaterEqual),
        Operator::Greater => plain(ScmpCompareOp::Greater),
        Operator::MaskedEqual => ScmpArgCompare::new(index, ScmpCompareOp::MaskedEqual(value), second),
    }
}
