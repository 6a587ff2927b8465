//! What the slim image holds, and why: Trace + image tree + configuration + settings → [`KeepSet`].
//!
//! One file a rule. Rules make [`Seed`]s; [`close`] is the only way a path gets into a keep-set.
#![forbid(unsafe_code)]

mod base;
mod close;
mod contents;
mod context;
mod directories;
mod elf;
mod entrypoint;
mod error;
mod exclude;
mod includes;
mod inspect;
mod keep;
mod keep_set;
mod listing;
mod missed;
mod note;
mod observed;
mod origin;
mod packages;
mod python;
mod reach;
mod reason;
mod record;
mod seed;
mod settings;
mod shebang;
mod sweep;
mod system;
mod walk;

pub use base::Base;
pub use close::close;
pub use context::{Context, Environment, Mounts, never_emitted};
pub use error::KeepError;
pub use exclude::Exclusions;
pub use keep::{Fat, keep, keep_with};
pub use keep_set::{Figures, KeepSet, Kept};
pub use missed::{Missed, SlimRun, missed};
pub use note::Note;
pub use origin::Origin;
pub use packages::{Manager, Ownership, Package, PackageId, Packages, Unread};
pub use reason::{Reason, SystemPart, Via};
pub use record::{
    Answer, By, Explained, Group, ImageNames, KEEP_FILE, KeepDifference, KeepFile, KeepHead, KeptPath, Made,
    OtherReasons, Owner, Owners, REMOVED_FILE, REMOVED_VERSION, RecordError, Recorded, RemovedFile,
    RemovedPath, Shares, Step, VERSION,
};
pub use seed::{Extent, Seed};
pub use settings::{Certificates, Level, Permissions, Settings};
pub use walk::{End, Walk, walk};
