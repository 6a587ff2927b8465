//! From a trace to what the slim image may do: a seccomp profile, an AppArmor profile and a run contract that allow what
//! the program was seen to do, and nothing else.
//!
//! Invariants: every allowed or refused system call is a value with its reason ([`Allowed`], [`Refused`]), from which
//! profile and report are both made; equal input gives equal bytes.
#![forbid(unsafe_code)]

mod apparmor;
mod contract;
mod engine_default;
mod fallback;
mod inputs;
mod paths;
mod related;
mod runtime;
mod seccomp;
mod system_calls;

pub use apparmor::{apparmor, profile_name};
pub use contract::{
    Ceiling, Contract, Evidence, Forms, Ground, Outcome, Owner, Peaks, Places, Presumed, Published, Root,
    Search, Signs, Step, Terms, Tmpfs, VERSION as CONTRACT_VERSION, Volume, capabilities_of_call, presume,
};
pub use engine_default::allowed_by_default;
pub use inputs::{DEFAULT_CAPABILITIES, EngineFilter, Inputs, KeptKind};
pub use runtime::{RuntimeSet, UNTRACED_RUNTIMES, runtime_sets};
pub use system_calls::{
    Allowed, Architecture, Because, Condition, Errno, Policy, Refused, RefusedBecause, decide,
};
