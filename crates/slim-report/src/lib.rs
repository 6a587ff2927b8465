//! The report: one value a command, written as JSON and told as text.
#![forbid(unsafe_code)]

mod build;
mod contract;
mod size;

pub use build::{
    BuildReport, DangerousReport, ExecReport, ExerciseReport, HttpReport, ImageReport, KeepReport,
    LauncherReport, ModesReport, ObservationReport, PolicyReport, RoundReport, SharesReport, StageReport,
    UnseenReport, VERSION, VerificationReport, VerificationResult,
};
pub use contract::{CeilingReport, ContractReport, RefusedCallReport, TryReport};
pub use size::{factor, human};
