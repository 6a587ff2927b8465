//! An observer whose sensor is on the far side.
//!
//! The seam's calls do not wait for anything far away where a person's clock would show it: what listens and when something
//! last happened comes by itself, over and over. Phases and steps are waited for: what is done after one must belong to it.

use crate::link::Stream;
use crate::near::{Sidecar, unexpected};
use crate::protocol::{Answer, Ask, LONGEST_TRACE, State, receive, send};
use slim_sensor::{Observer, SensorError, Settings, Started};
use slim_trace::{Listening, Phase, Trace};
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, ReadHalf};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// An observer on the far side that watches nothing yet.
pub struct Prepared(Far);

/// One that watches.
struct Watching {
    far: Far,
    /// What went wrong when a phase or step was told: nobody could be told then.
    failure: Option<SensorError>,
}

/// The conversation with it.
struct Far {
    asks: mpsc::UnboundedSender<Ask>,
    heard: Arc<Heard>,
    sidecar: Arc<Sidecar>,
    listener: JoinHandle<()>,
}

impl Drop for Far {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

#[derive(Default)]
struct Heard {
    now: Mutex<Now>,
    news: Condvar,
}

#[derive(Default)]
struct Now {
    answers: VecDeque<Said>,
    state: State,
    listening: Vec<Listening>,
    ended: Option<String>,
}

enum Said {
    Answer(Answer),
    Trace(Vec<u8>),
}

impl Prepared {
    pub(crate) async fn new(stream: Stream, sidecar: Arc<Sidecar>) -> Result<Self, SensorError> {
        let (input, mut output) = tokio::io::split(stream);
        let (asks, mut asked) = mpsc::unbounded_channel::<Ask>();
        tokio::spawn(async move {
            while let Some(ask) = asked.recv().await {
                if send(&mut output, &ask).await.is_err() {
                    return;
                }
            }
            // That we are gone is what tells the far side to give up.
            drop(tokio::io::AsyncWriteExt::shutdown(&mut output).await);
        });
        let heard = Arc::new(Heard::default());
        let listener = tokio::spawn(listen(input, Arc::clone(&heard)));
        let far = Far { asks, heard, sidecar, listener };
        off_thread(move || {
            far.done()?;
            Ok(Self(far))
        })
        .await
    }

    /// Begins to watch for the container with this id, which must not run. The buffer is the one that was prepared.
    ///
    /// # Errors
    /// When the sidecar's kernel does not let it, or it is gone.
    pub async fn arm(self, container: &str, settings: Settings) -> Result<Box<dyn Observer>, SensorError> {
        let Self(far) = self;
        let Settings { image, image_volumes, buffer_bytes } = settings;
        let ask = Ask::Arm { container: container.to_owned(), image, image_volumes, buffer_bytes };
        off_thread(move || {
            far.ask(ask)?;
            far.done()?;
            Ok(Box::new(Watching { far, failure: None }) as Box<dyn Observer>)
        })
        .await
    }
}

/// Takes down everything that the far side says.
async fn listen(mut input: ReadHalf<Stream>, heard: Arc<Heard>) {
    let ended = loop {
        match hear(&mut input).await {
            Ok(Some(Said::Answer(Answer::State(state)))) => {
                heard.lock().learn(state);
            }
            Ok(Some(said)) => heard.lock().answers.push_back(said),
            Ok(None) => break "it ended the observation".to_owned(),
            Err(error) => break error.to_string(),
        }
        heard.news.notify_all();
    };
    heard.lock().ended = Some(ended);
    heard.news.notify_all();
}

async fn hear(input: &mut ReadHalf<Stream>) -> io::Result<Option<Said>> {
    let Some(answer) = receive(input).await? else { return Ok(None) };
    let Answer::Trace { bytes } = answer else { return Ok(Some(Said::Answer(answer))) };
    if bytes > LONGEST_TRACE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the trace is too long"));
    }
    let mut trace = Vec::new();
    input.take(bytes).read_to_end(&mut trace).await?;
    if trace.len() as u64 != bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(Said::Trace(trace)))
}

impl Now {
    /// Takes a state down. A fault is told once, perhaps long before anybody asks: it stays until then.
    fn learn(&mut self, state: State) {
        if let Some(listening) = &state.listening {
            self.listening.clone_from(listening);
        }
        let untold = self.state.not_started.take();
        self.state = state;
        if self.state.not_started.is_none() {
            self.state.not_started = untold;
        }
    }
}

impl Heard {
    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Far {
    fn ask(&self, ask: Ask) -> Result<(), SensorError> {
        self.asks.send(ask).map_err(|_| self.sidecar.failed(&io::ErrorKind::BrokenPipe.into()))
    }

    /// Waits for the next answer.
    fn said(&self) -> Result<Said, SensorError> {
        waiting(|| {
            let mut now = self.heard.lock();
            loop {
                if let Some(said) = now.answers.pop_front() {
                    return Ok(said);
                }
                if let Some(ended) = &now.ended {
                    return Err(self.sidecar.failed(&io::Error::other(ended.clone())));
                }
                now = self.heard.news.wait(now).unwrap_or_else(PoisonError::into_inner);
            }
        })
    }

    fn done(&self) -> Result<(), SensorError> {
        match self.said()? {
            Said::Answer(Answer::Done) => Ok(()),
            Said::Answer(Answer::Fault(fault)) => Err(fault.into()),
            Said::Answer(other) => Err(unexpected(&other)),
            Said::Trace(_) => Err(unexpected(&Answer::Trace { bytes: 0 })),
        }
    }
}

impl Watching {
    fn tell(&mut self, ask: Ask) {
        if let Err(error) = self.far.ask(ask).and_then(|()| self.far.done()) {
            self.failure.get_or_insert(error);
        }
    }
}

impl Observer for Watching {
    fn wait_started(&mut self, timeout: Duration) -> Result<Started, SensorError> {
        let far = &self.far;
        let until = Instant::now() + timeout;
        waiting(|| {
            let mut now = far.heard.lock();
            loop {
                if let Some(fault) = now.state.not_started.take() {
                    return Err(fault.into());
                }
                if let Some(pid) = now.state.started {
                    return Ok(Started { pid });
                }
                if let Some(ended) = &now.ended {
                    return Err(far.sidecar.failed(&io::Error::other(ended.clone())));
                }
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(SensorError::NotStarted);
                }
                now = far.heard.news.wait_timeout(now, left).unwrap_or_else(PoisonError::into_inner).0;
            }
        })
    }

    fn enter_phase(&mut self, phase: Phase) {
        self.tell(Ask::Phase(phase));
    }

    fn next_step(&mut self) {
        self.tell(Ask::Step);
    }

    fn listening(&self) -> Vec<Listening> {
        self.far.heard.lock().listening.clone()
    }

    /// As it was told last: that nothing is heard of the far side does not mean that nothing happens there.
    fn last_activity(&self) -> Instant {
        let now = Instant::now();
        let idle = Duration::from_micros(self.far.heard.lock().state.idle);
        now.checked_sub(idle).unwrap_or(now)
    }

    fn finish(self: Box<Self>) -> Result<Trace, SensorError> {
        let Self { far, failure } = *self;
        if let Some(failure) = failure {
            return Err(failure);
        }
        far.ask(Ask::Finish)?;
        match far.said()? {
            Said::Trace(json) => Trace::from_json(&json).map_err(|error| SensorError::SidecarGone {
                reason: format!("what it wrote cannot be read: failed to {error}"),
            }),
            Said::Answer(Answer::Fault(fault)) => Err(fault.into()),
            Said::Answer(other) => Err(unexpected(&other)),
        }
    }
}

/// Does what may take a moment. On a worker of the runtime, others take over what that worker had to do.
fn waiting<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SensorError> + Send + 'static,
) -> Result<T, SensorError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(SensorError::Panicked))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Fault;

    #[test]
    fn what_went_wrong_at_the_start_is_kept_until_somebody_asks() {
        let mut now = Now::default();
        let fault = Fault::from(SensorError::Panicked);
        now.learn(State { not_started: Some(fault), ..State::default() });
        now.learn(State { idle: 7, ..State::default() });
        assert_eq!(now.state.idle, 7);
        assert!(now.state.not_started.is_some());
    }
}
