//! Watching a container from outside: eBPF and fanotify → Trace.
//!
//! The container runs untouched. eBPF programs on tracepoints see every system call of the tasks in its control group
//! (names, results, the paths they name); fanotify sees every file that is really opened, whatever way the kernel was
//! asked. This is the one crate that uses `unsafe`: for values shared with the eBPF program.

mod assembly;
mod control_group;
mod error;
mod event;
mod executable;
mod gathering;
mod marks;
mod mounts;
pub mod notify;
mod observer;
mod outcome;
mod preflight;
pub mod processes;
mod program;
mod root;
mod sensor;
mod table;

pub use control_group::is_known_by_its_group;
pub use error::SensorError;
pub use observer::{Observer, Settings, Started};
pub use preflight::preflight;
pub use sensor::{Prepared, Sensor};
pub use slim_image::ImagePath;
