//! What `docker-slim build` did, in figures.

use crate::size::{factor, human};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The version of the report that this code writes.
pub const VERSION: u32 = 1;

/// The report of one build.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BuildReport {
    pub version: u32,
    /// `docker-slim` and its version.
    pub generator: String,
    pub command: String,
    pub source: ImageReport,
    pub slim: ImageReport,
    /// Source size divided by slim size.
    pub factor: f64,
    pub observation: ObservationReport,
    pub exercise: ExerciseReport,
    pub keep: KeepReport,
    /// `off`: the slim image has not been run.
    pub verification: String,
    pub stages: Vec<StageReport>,
    /// The folder with the artifacts, and the files' names in it.
    pub artifacts_folder: PathBuf,
    pub artifacts: Vec<String>,
    pub notices: Vec<String>,
}

/// One image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ImageReport {
    pub names: Vec<String>,
    /// Digest of the image's config, `sha256:…`.
    pub id: String,
    /// Bytes, as the engine counts them.
    pub size: u64,
    /// Files, directories and links.
    pub entries: usize,
}

/// What was watched.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ObservationReport {
    pub processes: usize,
    /// Paths touched, whether they exist or not.
    pub paths: usize,
    /// Distinct system calls of the program, all processes together.
    pub system_calls: usize,
    /// Ports listened on, `tcp/8000`.
    pub listening: Vec<String>,
    /// Exit code of the program after it was stopped; `None` where the engine did not tell.
    pub exit_code: Option<i64>,
    /// Whether the program ended without being stopped.
    pub ended_by_itself: bool,
    /// How often the observation was repeated because the sensor lost events.
    pub repeated: u32,
}

/// What drove the program.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ExerciseReport {
    pub http: Option<HttpReport>,
    pub exec: Vec<ExecReport>,
}

/// The HTTP probe.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HttpReport {
    pub requests: usize,
    /// Answers with a status below 500.
    pub answers_below_500: usize,
    pub failures: usize,
}

/// One command run inside the container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExecReport {
    pub command: String,
    pub exit_code: i64,
}

/// What was kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeepReport {
    pub files: usize,
    pub directories: usize,
    pub links: usize,
    /// Bytes of regular files, each inode once.
    pub bytes: u64,
    /// Entries by kind of reason; one entry may have several.
    pub reasons: BTreeMap<String, usize>,
}

/// How long a stage took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StageReport {
    pub stage: String,
    pub milliseconds: u64,
}

impl BuildReport {
    /// The last lines that a person reads.
    #[must_use]
    pub fn summary(&self) -> String {
        format!(
            "{} {} → {} {}, {:.1} times smaller, {} files\nartifacts: {}",
            self.source.names.first().unwrap_or(&self.source.id),
            human(self.source.size),
            self.slim.names.join(", "),
            human(self.slim.size),
            factor(self.source.size, self.slim.size),
            self.keep.files,
            self.artifacts_folder.display(),
        )
    }
}
