//! What every command does that works with registries: a runtime, signals, and bars with bytes on stderr.

use crate::arguments::GlobalArguments;
use crate::failure::Failure;
use crate::outside::Outside;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use slim_build::{BuildError, Person};
use slim_image::Digest;
use slim_registry::client::{Event, How, Progress};
use slim_registry::{RegistryError, Transferred};
use slim_report::human;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SHUTDOWN: Duration = Duration::from_secs(2);

/// Does the work on a runtime of its own, until it is done or somebody outside says stop.
pub fn with_registry<T>(
    global: &GlobalArguments,
    work: impl AsyncFnOnce(Arc<Bars>, &Outside) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::from(BuildError::Bug(format!("start the async runtime: {error}"))))?;
    let bars = Arc::new(Bars::new(global.quiet));
    let done = runtime.block_on(async {
        let outside =
            Outside::new().map_err(|error| BuildError::Bug(format!("install signal handlers: {error}")))?;
        work(Arc::clone(&bars), &outside).await
    });
    bars.clear();
    runtime.shutdown_timeout(SHUTDOWN);
    done
}

/// A transfer, broken off when somebody outside says stop. What was fetched stays, and the next run goes on there.
pub async fn until_interrupted<T>(
    outside: &Outside,
    transfer: impl Future<Output = Result<T, RegistryError>>,
) -> Result<T, Failure> {
    tokio::select! {
        done = transfer => Ok(done?),
        () = outside.interrupted() => Err(BuildError::Interrupted.into()),
    }
}

/// How transfers look to a person: a bar over all blobs where stderr is a terminal, else a line a blob.
pub struct Bars {
    quiet: bool,
    bar: Option<ProgressBar>,
    tally: Mutex<Tally>,
}

#[derive(Default)]
struct Tally {
    /// Of each blob that travels or has travelled: how far it is.
    blobs: BTreeMap<Digest, Blob>,
    moved: u64,
    /// How many blobs there are, and their bytes together.
    planned: usize,
    size: u64,
}

struct Blob {
    size: u64,
    position: u64,
}

/// What came of a transfer, for the last line and for JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Bytes of blobs that travelled.
    pub moved: u64,
}

impl Bars {
    /// `quiet`: nothing is said at all.
    pub fn new(quiet: bool) -> Self {
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let draws = !quiet && !is_dumb && std::io::stderr().is_terminal();
        let bar = draws.then(|| {
            let style =
                ProgressStyle::with_template("{bar:30} {bytes} of {total_bytes}  {bytes_per_sec}  {msg}")
                    .expect("the template is a constant and valid");
            ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr()).with_style(style)
        });
        Self { quiet, bar, tally: Mutex::default() }
    }

    /// What has travelled so far.
    pub fn figures(&self) -> Figures {
        Figures { moved: self.tally.lock().expect("no holder of this lock panics").moved }
    }

    /// Takes the bar away until something travels again.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// A line above the bar.
    pub fn line(&self, text: &str) {
        let print = || {
            // Nobody is left to be told when stderr is closed.
            let _ = writeln!(std::io::stderr().lock(), "{text}");
        };
        match &self.bar {
            _ if self.quiet => {}
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }
}

impl Progress for Bars {
    fn tell(&self, event: Event<'_>) {
        let mut tally = self.tally.lock().expect("no holder of this lock panics");
        match event {
            Event::Planned { blobs, bytes } => {
                (tally.planned, tally.size) = (blobs, bytes);
                tally.blobs.clear();
                if let Some(bar) = &self.bar {
                    bar.reset();
                }
            }
            Event::Began { blob, already } => {
                tally.blobs.insert(blob.digest, Blob { size: blob.size, position: already });
            }
            Event::Moved { blob, bytes } => {
                tally.moved += bytes;
                if let Some(blob) = tally.blobs.get_mut(blob) {
                    blob.position += bytes;
                }
            }
            Event::Done { blob, how } => {
                let what = match how {
                    How::Moved => "",
                    How::AlreadyThere => ", was there already",
                    How::Mounted => ", taken over within the registry",
                };
                if self.bar.is_none() {
                    drop(tally);
                    self.line(&format!("{:<14}{}{what}", blob.digest.short(), human(blob.size)));
                    return;
                }
                tally.blobs.insert(blob.digest, Blob { size: blob.size, position: blob.size });
            }
            Event::Notice(notice) => {
                drop(tally);
                self.line(&format!("{:<10}{notice}", "notice"));
                return;
            }
        }
        if let Some(bar) = &self.bar {
            let done = tally.blobs.values().filter(|blob| blob.position >= blob.size).count();
            bar.set_length(tally.size);
            bar.set_position(tally.blobs.values().map(|blob| blob.position.min(blob.size)).sum());
            bar.set_message(format!("{done} of {} blobs", tally.planned));
        }
    }
}

/// The document of a transfer.
pub fn document(transferred: &Transferred, from: &str, to: &str, figures: Figures) -> serde_json::Value {
    serde_json::json!({
        "from": from,
        "to": to,
        "read_from": transferred.from.as_ref().map(ToString::to_string),
        "digest": transferred.descriptor.digest,
        "media_type": transferred.descriptor.media_type,
        "platform": transferred.descriptor.platform.as_ref().map(ToString::to_string),
        "manifests": transferred.manifests,
        "referrers": transferred.referrers,
        "blobs": transferred.blobs,
        "size": transferred.size,
        "moved_bytes": figures.moved,
    })
}

/// The same for a person.
pub fn told(transferred: &Transferred, from: &str, to: &str, figures: Figures) -> String {
    let platform = transferred.descriptor.platform.as_ref().map(|platform| format!(" for {platform}"));
    format!(
        "{from} → {to}{}: {} in {}, {} of it moved; {}",
        platform.unwrap_or_default(),
        human(transferred.size),
        super::output::counted(transferred.blobs, "blob"),
        human(figures.moved),
        transferred.descriptor.digest,
    )
}
