//! From a trace to what the slim image may do: a seccomp profile, an AppArmor profile and a run contract that allow what
//! the program was seen to do, and as much more as is asked for.
//!
//! Invariants: every allowed or refused system call is a value with its reason ([`Allowed`], [`Refused`]), from which
//! profile and report are both made; equal input gives equal bytes.
#![forbid(unsafe_code)]

mod apparmor;
mod arguments;
mod contract;
mod counts;
mod dangerous;
mod engine_default;
mod fallback;
mod file;
mod formats;
mod inputs;
mod launch;
mod mode;
mod paths;
mod phases;
mod policy;
mod possible;
mod profile;
mod relatives;
mod runtime;
mod seen;
mod system_calls;

pub use apparmor::{apparmor, profile_name};
pub use contract::{
    Ceiling, Contract, Evidence, Forms, Ground, Outcome, Owner, Peaks, Places, Presumed, Published, Root,
    Search, Signs, Step, Terms, Tmpfs, VERSION as CONTRACT_VERSION, Volume, capabilities_of_call, presume,
};
pub use counts::{Counts, counts};
pub use dangerous::{Dangerous, dangerous};
pub use engine_default::{allowed_by_default, default_count};
pub use file::{POLICY_FILE, PolicyFile, PolicyFileError};
pub use formats::Format;
pub use inputs::{DEFAULT_CAPABILITIES, EngineFilter, Inputs, KeptKind, default_capabilities};
pub use launch::{LastExec, NoLastExec, after_entrypoint, allow_launcher, as_profile, file_rules, last_exec};
pub use mode::{Mode, NoSuchMode};
pub use phases::{Phases, phases};
pub use policy::{
    Allowed, Architecture, ArgumentRule, Because, Condition, Errno, Policy, Refused, RefusedBecause,
};
pub use possible::PossibleCalls;
pub use profile::{
    Action, Allowance, Argument, CompileError, Missing, Operator, ProfileDifference, ProfileError, Rule,
    SeccompProfile, intersection, union,
};
pub use relatives::MOST_RELATIVES;
pub use runtime::{MOST_RUNTIME_CALLS, RuntimeSet, UNTRACED_RUNTIMES, runtime_calls, runtime_sets};
pub use system_calls::{always_needed, decide};
