//! From a trace to what the slim image may do: a seccomp profile, an AppArmor profile and run settings that allow what
//! the program was seen to do, and nothing else.
//!
//! Invariants: every allowed or refused system call is a value with its reason ([`Allowed`], [`Refused`]), from which
//! profile and report are both made; equal input gives equal bytes.
#![forbid(unsafe_code)]

mod apparmor;
mod engine_default;
mod fallback;
mod inputs;
mod launch;
mod paths;
mod profile;
mod related;
mod run_spec;
mod runtime;
mod seccomp;
mod system_calls;

pub use apparmor::{apparmor, profile_name};
pub use engine_default::allowed_by_default;
pub use inputs::{DEFAULT_CAPABILITIES, EngineFilter, Inputs, KeptKind};
pub use launch::{LastExec, NoLastExec, after_last_exec, allow_launcher, as_profile, file_rules, last_exec};
pub use profile::{
    Action, Allowance, Argument, CompileError, Missing, Operator, ProfileDifference, ProfileError, Rule,
    SeccompProfile, intersection, union,
};
pub use run_spec::{RootFileSystem, RunSpec, run_spec};
pub use runtime::{RuntimeSet, UNTRACED_RUNTIMES, runtime_sets};
pub use system_calls::{
    Allowed, Architecture, Because, Condition, Errno, Policy, Refused, RefusedBecause, decide,
};
