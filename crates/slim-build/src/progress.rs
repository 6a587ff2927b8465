//! What the pipeline says while it works. The program decides how a person sees it.

use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A stage of a build, in the order of the design's picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    Inspect,
    Observe,
    Probe,
    Keep,
    Policy,
    Image,
    Verify,
    Contract,
    Output,
    Artifacts,
}

impl fmt::Display for Stage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Stage::Inspect => "inspect",
            Stage::Observe => "observe",
            Stage::Probe => "probe",
            Stage::Keep => "keep",
            Stage::Policy => "policy",
            Stage::Image => "image",
            Stage::Verify => "verify",
            Stage::Contract => "contract",
            Stage::Output => "output",
            Stage::Artifacts => "artifacts",
        })
    }
}

/// Something worth telling.
#[derive(Clone, Debug)]
pub enum Event {
    /// A stage began.
    Began(Stage),
    /// What a stage is doing now, for a spinner; replaces what it said before.
    Working(Stage, String),
    /// A stage ended, with its figures in one line.
    Done(Stage, String, Duration),
    /// A line that a person may act on at once: a published port, what is waited for.
    Line(String),
    /// Something that did not stop the build and should be known.
    Notice(String),
}

/// Where events go.
pub trait Progress: Send + Sync {
    /// Takes one event. Must not block for long.
    fn tell(&self, event: Event);
}

/// Times the stages and passes everything on.
pub struct Story<'a> {
    progress: &'a dyn Progress,
    times: Mutex<Vec<(Stage, Duration)>>,
    notices: Mutex<Vec<String>>,
}

/// A stage that has begun; [`Running::done`] ends it.
pub struct Running<'a> {
    story: &'a Story<'a>,
    stage: Stage,
    since: Instant,
}

impl<'a> Story<'a> {
    /// A story told to `progress`.
    #[must_use]
    pub fn new(progress: &'a dyn Progress) -> Self {
        Self { progress, times: Mutex::default(), notices: Mutex::default() }
    }

    /// Begins a stage.
    pub fn begin(&'a self, stage: Stage) -> Running<'a> {
        tracing::debug!("stage {stage} began");
        self.progress.tell(Event::Began(stage));
        Running { story: self, stage, since: Instant::now() }
    }

    /// Tells a line that a person may act on.
    pub fn line(&self, text: impl Into<String>) {
        self.progress.tell(Event::Line(text.into()));
    }

    /// Tells, and remembers for the report, what did not stop the build and should be known.
    pub fn notice(&self, text: impl Into<String>) {
        let text = text.into();
        self.notices.lock().expect("no holder of this lock panics").push(text.clone());
        self.progress.tell(Event::Notice(text));
    }

    /// The same, unless it has been told.
    pub fn notice_once(&self, text: impl Into<String>) {
        let text = text.into();
        if !self.notices().contains(&text) {
            self.notice(text);
        }
    }

    /// How long each ended stage took, in order.
    #[must_use]
    pub fn times(&self) -> Vec<(Stage, Duration)> {
        self.times.lock().expect("no holder of this lock panics").clone()
    }

    /// All notices so far.
    #[must_use]
    pub fn notices(&self) -> Vec<String> {
        self.notices.lock().expect("no holder of this lock panics").clone()
    }
}

impl Running<'_> {
    /// Says what the stage is doing now.
    pub fn working(&self, text: impl Into<String>) {
        self.story.progress.tell(Event::Working(self.stage, text.into()));
    }

    /// Ends the stage with its figures.
    pub fn done(self, figures: impl Into<String>) {
        let took = self.since.elapsed();
        self.story.times.lock().expect("no holder of this lock panics").push((self.stage, took));
        self.story.progress.tell(Event::Done(self.stage, figures.into(), took));
    }
}
