//! The sensor of this machine: a thread that drains the eBPF program and fanotify.
//!
//! Invariant: a container that we stopped is continued, however this ends.

use crate::error::SensorError;
use crate::gathering::Gathered;
use crate::marks::Marks;
use crate::observer::{Observer, Settings, Started};
use crate::program::Program;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use slim_trace::{Listening, Phase, ProcessId, Trace};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the thread sleeps when nothing happens.
const IDLE_MILLISECONDS: u16 = 50;

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
    overflows: u64,
}

impl Sensor {
    /// Begins to watch for the container with this id. It must not have been started.
    ///
    /// # Errors
    /// When the kernel does not let us.
    pub fn arm(container: &str, settings: Settings) -> Result<Box<dyn Observer>, SensorError> {
        let core = Core {
            program: Program::load(container, settings.buffer_bytes)?,
            marks: None,
            gathered: Gathered::new(),
            started: None,
            failure: None,
            overflows: 0,
        };
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

    fn stop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It owns nothing that a panic could leave half-done; what it saw is judged by the drops.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn run(&self, volumes: &[slim_image::ImagePath]) {
        loop {
            let last = self.stop.load(Ordering::Relaxed);
            let (events, files) = {
                let mut core = self.lock();
                core.drain(volumes);
                if core.started.is_some() || core.failure.is_some() {
                    self.started.notify_all();
                }
                (
                    core.program.descriptor(),
                    core.marks.as_ref().map(|marks| std::os::fd::AsRawFd::as_raw_fd(&marks.descriptor())),
                )
            };
            if last {
                return;
            }
            // SAFETY: both descriptors belong to `core`, which lives as long as this thread runs.
            let mut wanted: Vec<PollFd<'_>> = std::iter::once(events)
                .chain(files)
                .map(|descriptor| {
                    PollFd::new(unsafe { BorrowedFd::borrow_raw(descriptor) }, PollFlags::POLLIN)
                })
                .collect();
            // An error is an interruption: look again.
            let _ = poll(&mut wanted, PollTimeout::from(IDLE_MILLISECONDS));
        }
    }
}

impl Core {
    fn drain(&mut self, volumes: &[slim_image::ImagePath]) {
        let mut stopped = None;
        let (gathered, marks) = (&mut self.gathered, &self.marks);
        self.program.drain(&mut |event| {
            if let Some(pid) = gathered.take(event, marks.as_ref()) {
                stopped = Some(pid);
            }
        });
        if let Some(pid) = stopped {
            match Marks::of_process(pid, volumes) {
                Ok(marks) => {
                    self.gathered.complete_all(&marks);
                    self.marks = Some(marks);
                    self.started = Some(Started { pid });
                }
                Err(error) => self.failure = Some(error),
            }
            go_on(pid);
        }
        if let Some(marks) = &self.marks {
            let (opened, overflows) = marks.read();
            self.overflows += overflows;
            for file in opened {
                if self.gathered.opened(file.tgid, &file.path, file.executed) {
                    marks.ignore(&file);
                }
            }
        }
    }
}

/// Continues a process that the eBPF program stopped. The signal is pending until the process comes back from its exec;
/// a continue sent before that takes it away just as well.
fn go_on(pid: i32) {
    if let Err(error) = kill(Pid::from_raw(pid), Signal::SIGCONT) {
        tracing::debug!(%error, pid, "the stopped process is gone");
    }
}

impl Observer for Sensor {
    fn wait_started(&mut self, timeout: Duration) -> Result<Started, SensorError> {
        let core = self.shared.lock();
        let (mut core, _) = self
            .shared
            .started
            .wait_timeout_while(core, timeout, |core| core.started.is_none() && core.failure.is_none())
            .unwrap_or_else(std::sync::PoisonError::into_inner);
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

    fn listening(&self) -> Vec<Listening> {
        let strip = |listening: &Listening| Listening { process: ProcessId(0), ..listening.clone() };
        self.shared.lock().gathered.listening.iter().map(strip).collect()
    }

    fn last_activity(&self) -> Instant {
        self.shared.lock().gathered.last_activity
    }

    fn finish(mut self: Box<Self>) -> Result<Trace, SensorError> {
        self.stop();
        let buffer_bytes = self.settings.buffer_bytes;
        let mut core = self.shared.lock();
        if let Some(failure) = core.failure.take() {
            return Err(failure);
        }
        for (key, sets) in core.program.calls() {
            core.gathered.add_calls(key, sets);
        }
        if core.overflows > 0 {
            let what = "fanotify's queue was full".to_owned();
            return Err(SensorError::Dropped { what, count: core.overflows, buffer_bytes });
        }
        if let Some((what, count)) = core.program.drops().into_iter().next() {
            return Err(SensorError::Dropped { what: what.to_owned(), count, buffer_bytes });
        }
        let gathered = std::mem::replace(&mut core.gathered, Gathered::new());
        let mounts = core.marks.as_ref().map(|marks| marks.mounts.clone()).unwrap_or_default();
        Ok(gathered.into_trace(self.settings.image.clone(), mounts))
    }
}

impl Drop for Sensor {
    fn drop(&mut self) {
        self.stop();
    }
}
