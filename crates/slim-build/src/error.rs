//! Why a build failed, and what that means for the exit code.

use slim_engine::EngineError;
use std::path::PathBuf;

/// Why a build failed. The message is a fragment that fits after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("observe the container: {0}")]
    Sensor(#[from] slim_sensor::SensorError),
    /// Only this process was to watch, and the engine is elsewhere.
    #[error("watch containers of {0}: the engine runs on another machine")]
    FarEngine(String),
    #[error("decide what to keep: {0}")]
    Keep(#[from] slim_keep::KeepError),
    #[error("read the fat image's files: {0}")]
    Files(String),
    #[error("{0}")]
    Image(String),
    #[error("{action} {path}: {source}")]
    State { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("run {image}: {what}")]
    ContainerDied { image: String, what: String, log: String },
    #[error("exercise the program: {what}")]
    Exercise { what: String, hint: Option<String>, log: String },
    #[error(
        "verify the slim image of {image}: {} from the fat one, nothing was tagged{}",
        count(differences),
        shut_out(excluded)
    )]
    Verification {
        image: String,
        /// One or more lines each.
        differences: Vec<String>,
        /// What the slim program looked for and an exclude pattern takes out, each with its pattern.
        excluded: Vec<(String, String)>,
        log: String,
    },
    #[error("{0}")]
    Output(String),
    #[error(transparent)]
    NotCarried(#[from] crate::settings::NotCarried),
    #[error("{0}")]
    Usage(String),
    #[error("finish: interrupted")]
    Interrupted,
    #[error("go on: {0}")]
    Bug(String),
}

impl BuildError {
    /// The exit code of the design's table.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Engine(error) => error.exit_code(),
            Self::Sensor(_) => 3,
            Self::Files(_) | Self::Image(_) => 4,
            Self::FarEngine(_) | Self::State { .. } | Self::Output(_) | Self::Usage(_) | Self::Keep(_) => 2,
            Self::ContainerDied { .. } => 5,
            Self::Exercise { .. } => 6,
            Self::Verification { .. } => 7,
            Self::NotCarried(error) => error.exit_code,
            Self::Interrupted => 130,
            Self::Bug(_) => 1,
        }
    }

    /// What the reader may do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Engine(error) => error.hint(),
            Self::Sensor(error) => error.hint(),
            Self::FarEngine(_) => Some("--observer sidecar watches from a container beside them".to_owned()),
            Self::Exercise { hint, .. } => hint.clone(),
            Self::NotCarried(error) => error.hint.clone(),
            Self::ContainerDied { .. } => Some(
                "try `docker run` with the same image; settings it needs go in with --env, --mount, --cmd, --entrypoint"
                    .to_owned(),
            ),
            Self::Verification { .. } => Some(
                "what is missing can be kept with --include-path, --include-bin or --include-exe, or be seen with a \
                 fuller exercise (--exec, --http-probe-cmd); --verify=off tags the image as it is"
                    .to_owned(),
            ),
            Self::Output(_) => Some("nothing was tagged; --output names another place".to_owned()),
            Self::State { .. } => Some("--state-path names another folder".to_owned()),
            Self::Bug(_) => Some("this is a bug of docker-slim; please report it with --log-level debug output".to_owned()),
            _ => None,
        }
    }

    /// The container's last log lines, where they help; empty elsewhere.
    #[must_use]
    pub fn container_log(&self) -> &str {
        match self {
            Self::ContainerDied { log, .. } | Self::Exercise { log, .. } | Self::Verification { log, .. } => {
                log
            }
            _ => "",
        }
    }

    /// What the slim program does otherwise than the fat one; empty for other errors.
    #[must_use]
    pub fn differences(&self) -> &[String] {
        match self {
            Self::Verification { differences, .. } => differences,
            _ => &[],
        }
    }
}

fn count(differences: &[String]) -> String {
    match differences {
        [_] => "1 difference".to_owned(),
        many => format!("{} differences", many.len()),
    }
}

/// What the user excluded and the program looked for.
fn shut_out(excluded: &[(String, String)]) -> String {
    let Some((path, pattern)) = excluded.first() else { return String::new() };
    let more = match excluded.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    format!("; it looked for {path}, which the exclude pattern {pattern} takes out{more}")
}

/// Runs blocking work off the async threads.
///
/// # Errors
/// Those of the work; a panic in it is a bug of ours.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BuildError> + Send + 'static,
) -> Result<T, BuildError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| BuildError::Bug(format!("a worker stopped: {error}")))?
}
