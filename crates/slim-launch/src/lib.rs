//! `docker-slim launch`: the program that installs a tighter filter, and Landlock file rules, right before a container's
//! own program runs; and the policy file that it reads.
//!
//! The launcher is a static binary of its own without `std`, compiled by `build.rs` from the folder `launch`; this library
//! holds it ([`BINARY`]) and writes what it reads ([`LaunchFile`]). Invariant: the format has one description
//! ([`mod@format`]), which both sides are compiled from.
#![forbid(unsafe_code)]

pub mod format;
mod launch_file;

pub use launch_file::{FileRules, Instruction, LaunchFile, LaunchFileError, Machine};

/// The launcher for the kind of machine that this program runs on: a static ELF file.
pub const BINARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/launch"));

/// The folder of a slim image that holds the policy, and the launcher for whoever names it himself.
pub const FOLDER: &str = "/.docker-slim";
/// Where the launcher looks for its policy when nobody names another.
pub const POLICY: &str = "/.docker-slim/launch.policy";
/// The launcher as a command.
pub const COMMAND: &str = "/.docker-slim/launch";

/// What the launcher exits with when it cannot do its own part; 126 and 127 are what shells say of the program: it cannot
/// be run, it is not there.
pub const EXIT_LAUNCHER: u8 = 125;

/// The system calls that the launcher makes before it becomes the program; the profile of the container must allow them.
pub const SYSTEM_CALLS: [&str; 7] = ["close", "execve", "exit_group", "openat", "prctl", "read", "write"];
/// Those that it makes besides where there are file rules. Where they are refused, it goes without Landlock.
pub const FILE_RULE_CALLS: [&str; 3] =
    ["landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self"];
