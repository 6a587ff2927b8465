//! The filter. It is installed by prctl, which every container runtime uses for its own: a profile that lets a container
//! start lets this pass.

use crate::format::{INSTRUCTION, Policy};
use crate::report::Failure;
use crate::sys::{self, Errno, FilterProgram};

/// Installs it; from here on it holds.
pub fn install(policy: &Policy<'_>) -> Result<(), Failure<'static>> {
    if policy.filter.is_empty() {
        return Ok(());
    }
    // The format holds 4096 instructions at most.
    let length = (policy.filter.len() / INSTRUCTION) as u16;
    let program = FilterProgram { length, instructions: policy.filter.as_ptr() };
    match sys::set_filter(&program) {
        Ok(_) => Ok(()),
        // The kernel's answer to whoever has neither; a profile of the container that refuses the call says EPERM.
        Err(Errno::EACCES) => Err(Failure::NeedsNoNewPrivileges { what: "install the filter" }),
        Err(errno) => Err(Failure::Refused { what: "install the filter", errno }),
    }
}
