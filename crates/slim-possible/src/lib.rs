//! Which system calls the kept ELF files can make, found in their machine code without running any of it.
//!
//! `elf` takes a file apart, `code` reads instructions, `functions` and `data` say what leads to what, `values` and
//! `facts` find the numbers of system calls, `scope` and `search` go from file to file as the loader does.
//!
//! Invariants: what a program was seen to do is among what it can do, unless [`Program::is_complete`] is false; every
//! call carries the way there; equal files give equal answers.
#![forbid(unsafe_code)]

mod code;
mod data;
mod elf;
mod facts;
mod functions;
mod machine;
mod possible;
mod rows;
mod scope;
mod search;
mod values;

pub use machine::Machine;
pub use possible::{Because, Call, FORMAT_VERSION, FileCalls, Frame, Possible, Program, UnknownCall, Unread};
pub use search::{How, Kept, possible};
