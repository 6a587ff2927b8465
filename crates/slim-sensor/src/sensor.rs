//! The sensor of this machine: a thread that drains the eBPF program and fanotify.
//!
//! Invariant: a container that we stopped is continued, however this ends.

use crate::assembly;
use crate::error::SensorError;
use crate::gathering::Gathered;
use crate::marks::{Batch, Marks};
use crate::observer::{Observer, Settings, Started};
use crate::preflight;
use crate::program::Program;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use slim_image::ImagePath;
use slim_trace::{Listening, Phase, ProcessId, Trace};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the thread sleeps when nothing happens.
const IDLE_MILLISECONDS: u16 = 50;

/// A sensor that watches nothing yet. Most of the time that arming takes is over with it.
pub struct Prepared {
    program: Program,
    buffer_bytes: u32,
}

/// Watches containers of an engine on this machine.
pub struct Sensor {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    settings: Settings,
}

struct Shared {
    core: Mutex<Core>,
    started: Condvar,
    stop: AtomicBool,
}

struct Core {
    program: Program,
    marks: Option<Marks>,
    gathered: Gathered,
    started: Option<Started>,
    failure: Option<SensorError>,
    /// Events of fanotify that are gone.
    lost: u64,
}

/// A process that the eBPF program stopped; continued when this is dropped. The signal is pending until the process
/// comes back from its exec; a continue sent before that takes it away just as well.
struct Stopped(i32);

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Err(error) = kill(Pid::from_raw(self.0), Signal::SIGCONT) {
            tracing::debug!(%error, pid = self.0, "the stopped process is gone");
        }
    }
}

impl Prepared {
    /// Brings the eBPF programs into the kernel, with a buffer of this size.
    ///
    /// # Errors
    /// When the kernel does not let us.
    pub fn new(buffer_bytes: u32) -> Result<Self, SensorError> {
        let program = Program::load(buffer_bytes, preflight::version(&preflight::release()))?;
        Ok(Self { program, buffer_bytes })
    }

    /// Begins to watch for the container with this id. It must not run. The buffer is the one that was prepared.
    ///
    /// # Errors
    /// When the kernel does not let us.
    pub fn arm(self, container: &str, settings: Settings) -> Result<Box<dyn Observer>, SensorError> {
        let Self { mut program, buffer_bytes } = self;
        program.attach(container)?;
        Sensor::watching(program, Settings { buffer_bytes, ..settings })
    }
}

impl Sensor {
    /// Begins to watch for the container with this id. It must not have been started.
    ///
    /// # Errors
    /// When the kernel does not let us.
    pub fn arm(container: &str, settings: Settings) -> Result<Box<dyn Observer>, SensorError> {
        Prepared::new(settings.buffer_bytes)?.arm(container, settings)
    }

    fn watching(program: Program, settings: Settings) -> Result<Box<dyn Observer>, SensorError> {
        let core =
            Core { program, marks: None, gathered: Gathered::new(), started: None, failure: None, lost: 0 };
        let shared = Arc::new(Shared {
            core: Mutex::new(core),
            started: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let (theirs, volumes) = (Arc::clone(&shared), settings.image_volumes.clone());
        let thread = std::thread::Builder::new()
            .name("sensor".to_owned())
            .spawn(move || theirs.run(&volumes))
            .map_err(SensorError::call("start the sensor's thread"))?;
        Ok(Box::new(Self { shared, thread: Some(thread), settings }))
    }

    /// Detaches, lets the thread read what is left, and waits for its end.
    fn stop(&mut self) -> Result<(), SensorError> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        self.shared.lock().program.detach();
        self.shared.stop.store(true, Ordering::Release);
        let ended = thread.join();
        let core = self.shared.lock();
        if let Some(pid) = core.program.stopped().filter(|_| core.started.is_none()) {
            drop(Stopped(pid));
        }
        ended.map_err(|_| SensorError::Panicked)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, volumes: &[ImagePath]) {
        loop {
            // Asked before reading: what was there when the end was announced is read after it.
            let ending = self.stop.load(Ordering::Acquire);
            let (more, descriptors) = {
                let mut core = self.lock();
                let more = core.round(volumes);
                if core.started.is_some() || core.failure.is_some() {
                    self.started.notify_all();
                }
                (more, core.descriptors())
            };
            match (more, ending) {
                (true, _) => {}
                (false, true) => return,
                (false, false) => sleep(&descriptors),
            }
        }
    }
}

/// Waits for something to read, not for long.
fn sleep(descriptors: &[RawFd]) {
    let mut wanted: Vec<PollFd<'_>> = descriptors
        .iter()
        // SAFETY: the descriptors belong to `Core`, which lives as long as the thread that sleeps here.
        .map(|descriptor| PollFd::new(unsafe { BorrowedFd::borrow_raw(*descriptor) }, PollFlags::POLLIN))
        .collect();
    // An error is an interruption: look again.
    let _ = poll(&mut wanted, PollTimeout::from(IDLE_MILLISECONDS));
}

impl Core {
    /// Reads what is waiting; whether there may be more.
    ///
    /// The order matters. fanotify knows nothing but a process id: whose it is, the ring buffer has told before. So the
    /// ring buffer is drained after fanotify was read, and before that is looked at.
    fn round(&mut self, volumes: &[ImagePath]) -> bool {
        let batch = self.marks.as_ref().map(Marks::read).unwrap_or_default();
        let (gathered, root) = (&mut self.gathered, self.marks.as_ref().map(|marks| &marks.root));
        let events = self.program.drain(&mut |event| gathered.take(event, root));
        let (more, caught_up) = (batch.more || events > 0, !batch.more);
        self.take_opened(batch);
        self.gathered.end_round(caught_up);
        if self.started.is_none() && self.failure.is_none() {
            self.start(volumes);
        }
        more
    }

    fn take_opened(&mut self, batch: Batch) {
        self.lost += batch.lost;
        let Some(marks) = &self.marks else { return };
        for file in batch.opened {
            if self.gathered.opened(file.tgid, &file.path, file.executed) {
                marks.ignore(&file);
            }
        }
    }

    /// Watches the container in full as soon as its first program is stopped, and lets that go on. The exec's own event
    /// is not waited for: it may be among the lost ones.
    fn start(&mut self, volumes: &[ImagePath]) {
        let Some(pid) = self.program.stopped() else { return };
        let stopped = Stopped(pid);
        match Marks::of_process(pid, volumes) {
            Ok(marks) => {
                self.gathered.complete_all(&marks.root);
                self.marks = Some(marks);
                self.started = Some(Started { pid });
            }
            Err(error) => self.failure = Some(error),
        }
        drop(stopped);
    }

    fn descriptors(&self) -> Vec<RawFd> {
        let marks = self.marks.as_ref().map(|marks| marks.descriptor().as_raw_fd());
        std::iter::once(self.program.descriptor()).chain(marks).collect()
    }

    /// What was lost, as an error that tells all of it.
    fn dropped(&self, buffer_bytes: u32) -> Option<SensorError> {
        let mut drops = self.program.drops();
        if self.lost > 0 {
            drops.push(("fanotify lost an event", self.lost));
        }
        let what =
            drops.iter().map(|(what, count)| format!("{what}: {count}")).collect::<Vec<_>>().join(", ");
        let count = drops.iter().map(|(_, count)| count).sum();
        (count > 0).then_some(SensorError::Dropped { what, count, buffer_bytes })
    }
}

impl Observer for Sensor {
    fn wait_started(&mut self, timeout: Duration) -> Result<Started, SensorError> {
        let core = self.shared.lock();
        let (mut core, _) = self
            .shared
            .started
            .wait_timeout_while(core, timeout, |core| core.started.is_none() && core.failure.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        match (core.failure.take(), core.started) {
            (Some(failure), _) => Err(failure),
            (None, Some(started)) => Ok(started),
            (None, None) => Err(SensorError::NotStarted),
        }
    }

    fn enter_phase(&mut self, phase: Phase) {
        let mut core = self.shared.lock();
        core.gathered.enter_phase(phase);
        if let Err(error) = core.program.enter_phase(phase) {
            core.failure = Some(error);
        }
    }

    fn next_step(&mut self) {
        let mut core = self.shared.lock();
        // What waits to be read belongs to the step before.
        core.round(&self.settings.image_volumes);
        let step = core.gathered.next_step();
        if let Err(error) = core.program.enter_step(step) {
            core.failure = Some(error);
        }
    }

    fn listening(&self) -> Vec<Listening> {
        let strip = |listening: &Listening| Listening { process: ProcessId(0), ..listening.clone() };
        let mut listening: Vec<Listening> = self.shared.lock().gathered.listening.iter().map(strip).collect();
        listening.sort();
        listening.dedup();
        listening
    }

    fn last_activity(&self) -> Instant {
        self.shared.lock().gathered.last_activity
    }

    fn finish(mut self: Box<Self>) -> Result<Trace, SensorError> {
        self.stop()?;
        let mut core = self.shared.lock();
        if let Some(failure) = core.failure.take() {
            return Err(failure);
        }
        if let Some(dropped) = core.dropped(self.settings.buffer_bytes) {
            return Err(dropped);
        }
        for (key, sets) in core.program.calls() {
            core.gathered.add_calls(key, &sets);
        }
        core.gathered.arguments = core.program.arguments();
        let gathered = std::mem::replace(&mut core.gathered, Gathered::new());
        let mounts = core.marks.as_ref().map(|marks| marks.root.mounts.clone()).unwrap_or_default();
        Ok(assembly::trace(gathered, self.settings.image.clone(), mounts))
    }
}

impl Drop for Sensor {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::debug!(%error, "the sensor did not end well");
        }
    }
}
