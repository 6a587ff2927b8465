//! The pipeline: inspect → observe → exercise → keep → image → artifacts, and nothing that belongs to one stage alone.
#![forbid(unsafe_code)]

mod artifacts;
mod edits;
mod error;
mod exercise;
mod files;
mod image;
mod judgement;
mod observe;
mod person;
mod pipeline;
mod progress;
mod scratch;
mod settings;
mod state;

pub use edits::{ConfigEdits, Persist};
pub use error::BuildError;
pub use person::{InputEnded, Person};
pub use pipeline::build;
pub use progress::{Event, Progress, Stage};
pub use settings::{ContinueAfter, Exercise, HttpJudgement, Settings};
pub use state::write_whole;
