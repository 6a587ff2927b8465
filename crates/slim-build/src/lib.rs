//! The pipeline: inspect → observe → exercise → keep → policy → image → verify (→ repair, and again) → artifacts, and nothing that belongs to
//! one stage alone.
#![forbid(unsafe_code)]

mod artifacts;
mod behaviour;
mod compare;
mod complaints;
mod decide;
mod edits;
mod error;
mod exercise;
mod fat;
mod file_capabilities;
mod files;
mod forwards;
mod host;
mod image;
mod inside;
mod judgement;
mod launch;
mod observe;
mod observers;
mod origin;
mod outputs;
mod peaks;
mod person;
mod pipeline;
mod policy;
mod policy_files;
mod possible;
mod progress;
mod refusals;
mod repair;
mod rounds;
mod scratch;
mod seen;
mod settings;
mod state;
mod stream;
mod subject;
mod unobserved;
mod vantage;
mod verify;

pub use compare::{Reading, TreeSource, compare_archives, compare_images};
pub use edits::{ConfigEdits, Persist};
pub use error::BuildError;
pub use judgement::{Verdict, judge};
pub use launch::Launch;
pub use person::{InputEnded, Person};
pub use pipeline::{build, harden, profile};
pub use policy_files::{POLICY_ARTIFACT, PolicyBytes, PolicyKind, policy_files};
pub use progress::{Event, Progress, Stage};
pub use settings::{
    Carrier, ContinueAfter, Exercise, FatFiles, HttpJudgement, Layers, NotCarried, ObserverChoice, Output,
    Settings, Verify, VerifyMode,
};
pub use state::{last_artifacts, write_whole};
pub use stream::written_by;
