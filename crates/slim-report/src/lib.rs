//! The report: one value a command, written as JSON and told as text.
#![forbid(unsafe_code)]

mod build;
mod size;

pub use build::{
    BuildReport, ExecReport, ExerciseReport, HttpReport, ImageReport, KeepReport, LauncherReport,
    ObservationReport, PolicyReport, RoundReport, SharesReport, StageReport, UnseenReport, VERSION,
    VerificationReport, VerificationResult,
};
pub use size::{factor, human};
