//! What a build is asked to do: plain values, resolved by the program from flags and environment.

use async_trait::async_trait;
use slim_probe::HttpSettings;
use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Everything a build needs to know besides the engine.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Reference or id of the fat image.
    pub target: String,
    /// The fat image where it lies in files; the engine is given it for the time of the run.
    pub fat_files: Option<FatFiles>,
    /// What the fat image must be for.
    pub platform: Option<slim_image::Platform>,
    /// Names of the slim image; empty: `<repository>.slim` with the source's tag.
    pub tags: Vec<String>,
    /// Where else the slim image goes once it is proved.
    pub outputs: Vec<Output>,
    /// Takes it to where neither files nor this engine are.
    pub carrier: Option<Arc<dyn Carrier>>,
    /// How layers are packed that are written there.
    pub packing: slim_image::Packing,
    /// What becomes of the fat image's layers.
    pub layers: Layers,
    /// So many threads pack.
    pub threads: NonZero<usize>,
    /// Folder that holds `.images`.
    pub state_path: PathBuf,
    /// Where to copy the artifacts as well.
    pub copy_meta_artifacts: Option<PathBuf>,
    /// How the fat container differs from `docker run -P IMAGE`.
    pub container: slim_engine::Overrides,
    /// How the slim image's config differs from the fat one's.
    pub edits: crate::edits::ConfigEdits,
    /// What drives the program.
    pub exercise: Exercise,
    /// Who watches it.
    pub observer: ObserverChoice,
    /// What is known of the program from before: then it is not watched.
    pub from_trace: Option<Arc<slim_trace::Trace>>,
    /// Where to write the trace as well.
    pub trace_out: Option<PathBuf>,
    /// What to keep beyond the observed.
    pub keep: slim_keep::Settings,
    /// What is done between the entrypoint and the program that stays.
    pub launch: crate::launch::Launch,
    /// How much the seccomp profile allows.
    pub seccomp: slim_policy::Mode,
    /// Whether it restricts arguments to those that were seen, where they matter.
    pub seccomp_arguments: bool,
    /// How the slim image is proved before it gets its names.
    pub verify: Verify,
    /// Show the fat container's log when it has stopped.
    pub show_container_logs: bool,
    /// How long a stopped container may take before it is killed.
    pub stop_grace: Duration,
    /// Creation date of the slim image in seconds since the epoch, instead of the source image's own.
    pub source_date_epoch: Option<i64>,
    /// The static program itself: it runs as collector inside a container of the fat image.
    pub binary: PathBuf,
    /// Whether the fat image's files may be read in the engine's own layers; otherwise they are read through a container.
    pub local_layers: bool,
    /// Bytes of the sensor's ring buffer; a power of two.
    pub buffer_bytes: u32,
    /// Whose leftovers these are.
    pub run: slim_engine::Run,
}

/// Who watches containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObserverChoice {
    /// This process where it can, else a sidecar container.
    Auto,
    /// This process, by eBPF and fanotify.
    Local,
    /// This program in a container of the engine's.
    Sidecar,
    /// The container's programs tell of their own calls, by seccomp's user notification.
    Notify,
}

/// What layers a slim image has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layers {
    /// One.
    Flat,
    /// The fat image's, each with what is kept of it.
    Preserve,
}

/// Takes a slim image to places that the pipeline does not know: registries, other engines.
#[async_trait]
pub trait Carrier: fmt::Debug + Send + Sync {
    /// The layout has that one image. Gives the places as they were named.
    async fn carry(&self, layout: &slim_image::Layout) -> Result<Vec<String>, NotCarried>;
}

/// Why an image did not get to where it was to go.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct NotCarried {
    pub message: String,
    pub hint: Option<String>,
    pub exit_code: u8,
}

/// Where a slim image goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    Stored(slim_image::Stored),
    /// A further name in the engine.
    Name(String),
}

/// An image in files of this machine.
#[derive(Clone, Debug)]
pub struct FatFiles {
    pub image: Arc<slim_image::LocalImage>,
    /// What it is called, tag included; `None` where neither the files nor their names tell.
    pub name: Option<String>,
}

/// How the slim image is proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verify {
    pub mode: VerifyMode,
    /// Repair what is missing at most so many times.
    pub rounds: u32,
    /// The user's own tests, run on this machine against the running slim container, in order.
    pub commands: Vec<String>,
}

/// What a difference means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyMode {
    /// Nobody looks for one.
    Off,
    /// It is told, and the image gets its names all the same.
    Report,
    /// The image gets no name.
    Strict,
}

impl Verify {
    /// How often a repair is tried where nothing else is said.
    pub const ROUNDS: u32 = 3;

    /// Whether the slim image gets its names without having been run.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.mode == VerifyMode::Off
    }
}

impl Default for Verify {
    fn default() -> Self {
        Self { mode: VerifyMode::Strict, rounds: Self::ROUNDS, commands: Vec::new() }
    }
}

/// What drives the program during observation.
#[derive(Clone, Debug)]
pub struct Exercise {
    /// The HTTP probe, `None` where it is off.
    pub http: Option<HttpSettings>,
    /// Whether the HTTP probe was asked for by name: then a program that speaks no HTTP is an error.
    pub http_required: bool,
    /// What of the HTTP probe's outcome is a failure of the build.
    pub http_judgement: HttpJudgement,
    /// Commands to run inside the container, in order.
    pub exec: Vec<String>,
    /// Commands to run on this machine after those, in order.
    pub host_exec: Vec<String>,
    /// What must have happened before the container is stopped; empty: all of the above, and the program is quiet.
    pub continue_after: BTreeSet<ContinueAfter>,
}

/// What of the HTTP probe's outcome is a failure of the build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpJudgement {
    /// Fail when nothing was answered well (`--http-probe-exit-on-failure`); otherwise it is only told.
    pub fail_on_nothing: bool,
    /// Fail when more requests than this failed (`--http-probe-exit-on-failure-count`, less one).
    pub most_failures: Option<usize>,
}

impl Default for HttpJudgement {
    fn default() -> Self {
        Self { fail_on_nothing: true, most_failures: None }
    }
}

/// One condition of `--continue-after`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ContinueAfter {
    /// The HTTP probe has ended.
    Probe,
    /// The commands of `--exec` and `--host-exec` have ended.
    Exec,
    /// So much time has passed since the program started.
    Seconds(u64),
    /// Signal USR1 arrived.
    Signal,
    /// Enter was pressed.
    Enter,
}
