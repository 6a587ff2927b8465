//! The Trace: what was seen while the fat image's program ran. A versioned file; no I/O beyond reading and writing it.
//!
//! `docs/trace-schema.md` describes the file for other programs.
#![forbid(unsafe_code)]

mod arguments;
mod difference;
mod file;
mod locks;
mod merge;
mod normalise;
mod path;
mod steps;
mod summary;
mod trace;

pub use arguments::{ARGUED, Argument, ArgumentValues, CallArguments, MOST_VALUES, argued};
pub use difference::{Sides, TraceDifference};
pub use file::TraceError;
pub use merge::MergeError;
pub use path::TracedPath;
pub use steps::{STARTUP_STEP, Steps, Unseen};
pub use summary::{PhaseLine, ProcessLine, Summary};
pub use trace::{
    Abi, Access, FileAccess, IoUringOperation, Listening, Mount, MountKind, Phase, Process, ProcessId,
    Socket, SystemCalls, Trace, Transport, VERSION,
};
