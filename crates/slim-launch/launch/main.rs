//! `docker-slim launch`: installs a filter and file rules that live over exec, then becomes the program.
//!
//! A seccomp filter is inherited over exec and can only be made tighter. So what only an entrypoint script and its helpers
//! need can be taken away in one place: after them and before the program. This binary stands there, in the program's
//! place or before its name in the command. It has no libc, no heap and no thread; from the filter to the exec it makes
//! one system call, the exec.
//!
//! Invariant: the program runs under the whole policy or not at all. The one exception is a kernel without Landlock, where
//! the policy says whether that is an error.
#![no_std]
#![no_main]
// Or the loops of `memory` would be turned into calls of themselves.
#![no_builtins]

mod command;
#[path = "../src/format.rs"]
#[allow(dead_code, reason = "the library uses the rest")]
mod format;
mod landlock;
mod memory;
mod policy;
mod privileges;
mod report;
mod search;
mod seccomp;
mod start;
mod sys;

use command::{Command, Request};
use report::Failure;
use start::Start;

/// What `main` of a C program is.
fn main(start: &Start) -> u8 {
    let failure = match Request::of(start) {
        Ok(Request::Run(command)) => run(start, &command),
        Ok(Request::Check { policy }) => match check(policy) {
            Ok(()) => return 0,
            Err(failure) => failure,
        },
        Ok(Request::Text(text)) => {
            report::output(text);
            return 0;
        }
        Err(failure) => failure,
    };
    failure.tell();
    failure.exit_code()
}

/// Comes back with the reason why the program does not run.
fn run(start: &Start, command: &Command) -> Failure<'static> {
    let policy = match policy::read(command.policy) {
        Ok(policy) => policy,
        Err(failure) => return failure,
    };
    let program = match command.program {
        Some(named) => named,
        None => match policy.program() {
            Some(program) => program,
            None => return Failure::NoProgram { policy: command.policy },
        },
    };
    let confined = privileges::prepare(&policy)
        .and_then(|()| landlock::confine(&policy))
        .and_then(|()| seccomp::install(&policy));
    match confined {
        Ok(()) => search::execute(program, command.arguments, start.environment),
        Err(failure) => failure,
    }
}

/// Tells what a policy holds and what this machine makes of it, without doing it.
fn check(path: &'static core::ffi::CStr) -> Result<(), Failure<'static>> {
    let policy = policy::read(path)?;
    report::output_number("filter: ", (policy.filter.len() / format::INSTRUCTION) as u64, " instructions\n");
    report::output_number("file rules: ", policy.rules().count() as u64, "\n");
    report::output_number("landlock of this kernel: version ", u64::from(landlock::version()), "\n");
    report::output(if policy.sets_no_new_privileges() {
        "no-new-privileges: set by the launcher\n"
    } else if privileges::has_no_new_privileges() {
        "no-new-privileges: set already\n"
    } else {
        "no-new-privileges: not set; the filter needs it, or CAP_SYS_ADMIN\n"
    });
    Ok(())
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    report::error("docker-slim launch: this is a bug of docker-slim\n");
    sys::exit(report::LAUNCHER)
}
