//! Watching without any privilege: a container's processes tell of their own calls, by seccomp's user notification.
//!
//! The engine loads the filter (`slim-engine/src/embedded/telling.rs`) and hands its listener over a socket; each listener
//! has a thread here, which answers every call. Invariant: where a listener is closed, the connection it came by is, so
//! that the container's keeper kills what would get no answers any more. That is so when the observation ends, when
//! this process does, and when a thread panics.

mod calls;
mod handover;
mod listener;
mod profile;
mod task;
mod watcher;

use crate::assembly;
use crate::error::SensorError;
use crate::observer::{Observer, Settings, Started};
use crate::preflight::{release, version};
use handover::Handover;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use slim_trace::{Listening, Phase, ProcessId, Trace};
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use watcher::Watcher;

/// `SECCOMP_USER_NOTIF_FLAG_CONTINUE` came with 5.5, `pidfd_getfd` with 5.6.
const LEAST_KERNEL: (u32, u32) = (5, 6);
/// How often what no call tells is looked at.
const TICK: Duration = Duration::from_millis(50);
/// Room for a socket's path in its address.
const SOCKET_PATH_BYTES: usize = 107;

/// Whether containers' calls can be told on this kernel.
///
/// # Errors
/// What is missing.
pub fn preflight() -> Result<(), SensorError> {
    if !cfg!(target_arch = "x86_64") {
        return Err(SensorError::Machine);
    }
    let release = release();
    if version(&release).is_some_and(|version| version < LEAST_KERNEL) {
        return Err(SensorError::Kernel { release, needed: "5.6" });
    }
    let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    if actions.split_whitespace().any(|action| action == "user_notif") {
        Ok(())
    } else {
        Err(SensorError::Feature("seccomp user notification"))
    }
}

/// Watches one container of an engine that hands its calls over.
pub struct Supervisor {
    shared: Arc<Shared>,
    image: String,
    socket: PathBuf,
    /// Closed to have all threads end.
    running: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    core: Mutex<Core>,
    started: Condvar,
    /// Readable when the observation ends.
    ending: UnixStream,
}

struct Core {
    watcher: Watcher,
    failure: Option<SensorError>,
}

impl Supervisor {
    /// Begins to listen for a container that has not been started, at the place that its engine names.
    ///
    /// # Errors
    /// When no socket can be made there.
    pub fn arm(socket: &Path, settings: Settings) -> Result<Box<dyn Observer>, SensorError> {
        let listener = listen(socket)
            .map_err(SensorError::call(format!("listen for the container at {}", socket.display())))?;
        let pair = UnixStream::pair().map_err(SensorError::call("make a pair of sockets"))?;
        let watcher = Watcher::new(settings.image_volumes);
        let shared = Arc::new(Shared {
            core: Mutex::new(Core { watcher, failure: None }),
            started: Condvar::new(),
            ending: pair.1,
        });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("supervisor".to_owned())
            .spawn(move || accept(&theirs, listener))
            .map_err(SensorError::call("start the supervisor's thread"))?;
        Ok(Box::new(Self {
            shared,
            image: settings.image,
            socket: socket.to_owned(),
            running: Some(pair.0),
            thread: Some(thread),
        }))
    }

    /// Lets the threads end, and waits for that. What still runs in the container is killed by its keeper then.
    fn stop(&mut self) -> Result<(), SensorError> {
        self.running = None;
        if let Err(error) = fs::remove_file(&self.socket)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::debug!(%error, "the supervisor's socket stays");
        }
        self.thread.take().map_or(Ok(()), |thread| thread.join().map_err(|_| SensorError::Panicked))
    }
}

/// Makes a socket at a path that may be longer than an address.
fn listen(socket: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    if socket.as_os_str().len() <= SOCKET_PATH_BYTES {
        return UnixListener::bind(socket);
    }
    let (Some(parent), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let folder = fs::File::open(parent)?;
    UnixListener::bind(crate::root::descriptor_path(&folder).join(name))
}

/// Which of these can be read, or were closed, within the time.
fn readable(descriptors: &[&dyn AsFd], within: Option<Duration>) -> Vec<PollFlags> {
    let mut wanted: Vec<PollFd<'_>> =
        descriptors.iter().map(|one| PollFd::new(one.as_fd(), PollFlags::POLLIN)).collect();
    let within =
        within.map_or(PollTimeout::NONE, |time| PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX));
    match poll(&mut wanted, within) {
        Ok(_) => wanted.iter().map(|one| one.revents().unwrap_or(PollFlags::empty())).collect(),
        // An interruption: look again.
        Err(_) => vec![PollFlags::empty(); descriptors.len()],
    }
}

/// Takes connections, each of which is a program on its way into the container, until the observation ends.
fn accept(shared: &Arc<Shared>, listener: UnixListener) {
    let mut threads = Vec::new();
    loop {
        let ready = readable(&[&listener, &shared.ending], None);
        if !ready[1].is_empty() {
            break;
        }
        if ready[0].is_empty() {
            continue;
        }
        let connection = match listener.accept() {
            Ok((connection, _)) => connection,
            Err(error)
                if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted) =>
            {
                continue;
            }
            // Whoever waits to be taken over is sent away with the listener, and dies instead of waiting for ever.
            Err(error) => {
                shared.fail(SensorError::call("take a container's connection")(error));
                break;
            }
        };
        let theirs = Arc::clone(shared);
        let spawned =
            std::thread::Builder::new().name("listener".to_owned()).spawn(move || theirs.serve(&connection));
        match spawned {
            Ok(thread) => threads.push(thread),
            Err(error) => shared.fail(SensorError::call("start a listener's thread")(error)),
        }
    }
    drop(listener);
    for thread in threads {
        if thread.join().is_err() {
            shared.fail(SensorError::Panicked);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, error: SensorError) {
        self.lock().failure.get_or_insert(error);
        self.started.notify_all();
    }

    /// Answers the calls of one listener as long as there are any.
    fn serve(&self, connection: &UnixStream) {
        let ready = readable(&[connection, &self.ending], None);
        if !ready[1].is_empty() {
            return;
        }
        match handover::receive(connection) {
            Ok(Some(handover)) => {
                self.lock().watcher.assume(&handover.hot);
                if let Err(error) = self.answer(&handover) {
                    self.fail(error);
                }
            }
            // The program could not be run: whoever started it says why.
            Ok(None) => {}
            Err(error) => self.fail(SensorError::call("take a container's calls over")(error)),
        }
    }

    fn answer(&self, handover: &Handover) -> Result<(), SensorError> {
        let listener = &handover.listener;
        let mut looked = Instant::now();
        loop {
            let ready = readable(&[listener, &self.ending], Some(TICK));
            if !ready[1].is_empty() {
                return Ok(());
            }
            if ready[0].contains(PollFlags::POLLIN) {
                let received = listener.receive().map_err(SensorError::call("read a container's call"))?;
                if let Some(waiting) = received {
                    let answer = {
                        let mut core = self.lock();
                        let had_started = core.watcher.started.is_some();
                        let answer = core.watcher.look(handover, &waiting)?;
                        if core.watcher.started.is_some() != had_started {
                            self.started.notify_all();
                        }
                        answer
                    };
                    listener
                        .answer(&waiting, answer)
                        .map_err(SensorError::call("answer a container's call"))?;
                }
            } else if ready[0].intersects(PollFlags::POLLHUP | PollFlags::POLLERR) {
                // Nobody is left who could call.
                self.lock().watcher.tick();
                return Ok(());
            }
            if looked.elapsed() >= TICK {
                looked = Instant::now();
                let mut core = self.lock();
                core.watcher.tick();
                if core.watcher.started.is_some() {
                    self.started.notify_all();
                }
            }
        }
    }
}

impl Observer for Supervisor {
    fn wait_started(&mut self, timeout: Duration) -> Result<Started, SensorError> {
        let core = self.shared.lock();
        let waits = |core: &mut Core| core.watcher.started.is_none() && core.failure.is_none();
        let (mut core, _) = self
            .shared
            .started
            .wait_timeout_while(core, timeout, waits)
            .unwrap_or_else(PoisonError::into_inner);
        match (core.failure.take(), core.watcher.started) {
            (Some(failure), _) => Err(failure),
            (None, Some(started)) => Ok(started),
            (None, None) => Err(SensorError::NotStarted),
        }
    }

    fn enter_phase(&mut self, phase: Phase) {
        self.shared.lock().watcher.enter_phase(phase);
    }

    fn next_step(&mut self) {
        self.shared.lock().watcher.next_step();
    }

    fn listening(&self) -> Vec<Listening> {
        let strip = |listening: &Listening| Listening { process: ProcessId(0), ..listening.clone() };
        let mut core = self.shared.lock();
        core.watcher.look_at_ports();
        let mut listening: Vec<Listening> = core.watcher.gathered.listening.iter().map(strip).collect();
        listening.sort();
        listening.dedup();
        listening
    }

    fn last_activity(&self) -> Instant {
        self.shared.lock().watcher.gathered.last_activity
    }

    fn finish(mut self: Box<Self>) -> Result<Trace, SensorError> {
        self.stop()?;
        let mut core = self.shared.lock();
        if let Some(failure) = core.failure.take() {
            return Err(failure);
        }
        let (gathered, mounts) = core.watcher.take();
        Ok(assembly::trace(gathered, self.image.clone(), mounts))
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::debug!(%error, "the supervisor did not end well");
        }
    }
}
