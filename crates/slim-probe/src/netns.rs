//! The thread that probes, inside the container's network namespace.
//!
//! Invariant: a namespace is entered by a thread made for it, before the thread makes any socket, and the thread ends
//! with the work; a worker of somebody's runtime is never moved. Where the namespace may not be entered, the work
//! goes on from here, and [`Network::fallback`] says why.

use crate::error::ProbeError;
use crate::ports::{self, Listener, Port};
use crate::reach::Reach;
use crate::settings::Target;
use crate::sock_diag;
use nix::sched::{CloneFlags, setns};
use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

/// How often the caller's flag and the program's life are looked at.
const WATCH: Duration = Duration::from_millis(20);

/// Where the program stands, seen from the thread that probes.
#[derive(Debug)]
pub(crate) struct Network {
    target: Target,
    view: View,
    /// Why the container's network namespace was not entered, where it should have been.
    pub fallback: Option<String>,
}

/// What can be seen and reached from the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum View {
    /// Inside the container's own namespace: its table, its loopback.
    Inside,
    /// The container has the host's network. The table holds the host's sockets as well; only named ports are ours.
    Shared,
    /// The container's table can be read, but only its address reached.
    Outside,
    /// Somewhere else: nothing to read, only ports to try.
    Remote,
    /// Somewhere else, where somebody stands beside the container ([`crate::reach`]).
    Through,
}

impl Network {
    /// Takes the calling thread into the target's namespace, as far as possible.
    fn enter(target: Target) -> Self {
        let (view, fallback) = match target.pid {
            None => (View::Remote, None),
            Some(_) if target.reach.is_some() => (View::Through, None),
            Some(pid) => match enter_namespace(pid) {
                Ok(view) => (view, None),
                Err(error) => {
                    let reason = format!("enter the network namespace of process {pid}: {error}");
                    tracing::debug!("cannot {reason}");
                    (View::Outside, Some(reason))
                }
            },
        };
        Self { target, view, fallback }
    }

    /// The ports that listen now, sorted, with their addresses; `None` where that cannot be seen. `named` are ports
    /// that the user asked for.
    pub async fn listening(&self, named: &[u16]) -> Result<Option<Vec<Port>>, ProbeError> {
        let Some(pid) = self.target.pid else { return Ok(None) };
        let Some((mut listeners, view)) =
            self.listeners(pid).await.map_err(|source| ProbeError::Table { pid, source })?
        else {
            return Ok(None);
        };
        listeners.retain(|listener| listener.address != ports::DOCKER_RESOLVER);
        Ok(Some(match view {
            View::Shared => {
                let ours: BTreeSet<u16> = self.target.ports.iter().chain(named).copied().collect();
                listeners.retain(|listener| ours.contains(&listener.port));
                ports::dial_inside(&listeners, None)
            }
            View::Outside => match self.target.address {
                Some(address) => ports::dial_outside(&listeners, address),
                None => Vec::new(),
            },
            View::Inside | View::Remote | View::Through => {
                ports::dial_inside(&listeners, self.target.address)
            }
        }))
    }

    /// What listens, and from where it is dialled; `None` where that cannot be seen.
    async fn listeners(&self, pid: i32) -> io::Result<Option<(Vec<Listener>, View)>> {
        let tables = PathBuf::from(format!("/proc/{pid}/net"));
        let listeners = match (self.view, &self.target.reach) {
            (View::Through, Some(reach)) => {
                let sockets = reach.sockets(pid).await?;
                let view = if sockets.of_host { View::Shared } else { View::Inside };
                return Ok(Some((sockets.listeners, view)));
            }
            (View::Inside, _) => own_listeners()?,
            (View::Shared, _) => asked_or_read(&tables)?,
            (View::Outside, _) => read_tables(&tables)?,
            (View::Remote | View::Through, _) => return Ok(None),
        };
        Ok(Some((listeners, self.view)))
    }

    /// Who connects for us, and as which process.
    pub fn reach(&self) -> Option<(Arc<dyn Reach>, i32)> {
        Some((self.target.reach.clone()?, self.target.pid?))
    }

    /// Whether what listens can be read from the kernel's tables.
    pub fn is_seen(&self) -> bool {
        self.view != View::Remote
    }

    /// A port that nothing is known of, at the target's address.
    pub fn unseen(&self, number: u16) -> Port {
        let address = self.target.address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        Port { number, addresses: vec![SocketAddr::new(address, number)] }
    }

    /// The ports that the caller thinks worth a try.
    pub fn suggested(&self) -> &[u16] {
        &self.target.ports
    }

    /// The container's address, where it is known.
    pub fn address(&self) -> Option<IpAddr> {
        self.target.address
    }
}

fn enter_namespace(pid: i32) -> io::Result<View> {
    let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
    if number(&namespace.metadata()?) == number_of("thread-self")? {
        return Ok(View::Shared);
    }
    setns(&namespace, CloneFlags::CLONE_NEWNET)?;
    Ok(View::Inside)
}

/// Which namespace it is.
fn number(namespace: &fs::Metadata) -> (u64, u64) {
    (namespace.dev(), namespace.ino())
}

/// Which namespace a process is in, by its name below /proc.
fn number_of(process: impl fmt::Display) -> io::Result<(u64, u64)> {
    fs::metadata(format!("/proc/{process}/ns/net")).map(|namespace| number(&namespace))
}

/// Whether a process has the network of the machine itself.
pub(crate) fn is_of_host(pid: i32) -> io::Result<bool> {
    /// init, which some machines let nobody look at, and kthreadd, which has the first namespace of each kind.
    const OF_THE_MACHINE: [i32; 2] = [1, 2];
    let own = number_of(pid)?;
    Ok(OF_THE_MACHINE.into_iter().find_map(|pid| number_of(pid).ok()) == Some(own))
}

/// Whether a process has the network that we have.
///
/// # Errors
/// When it may not be looked at, or is gone.
pub fn shares_network(pid: i32) -> io::Result<bool> {
    Ok(number_of(pid)? == number_of("thread-self")?)
}

/// Does `work` on a thread of its own inside the network of a process.
pub(crate) fn inside<T: Send>(pid: i32, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let worker = std::thread::Builder::new()
            .name("slim-reach".to_owned())
            .spawn_scoped(scope, move || enter_namespace(pid).map(|_| work()))?;
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// What listens in the calling thread's namespace.
pub(crate) fn own_listeners() -> io::Result<Vec<Listener>> {
    asked_or_read(std::path::Path::new("/proc/thread-self/net"))
}

/// The listeners of this thread's own namespace, which `directory` holds the tables of.
fn asked_or_read(directory: &std::path::Path) -> io::Result<Vec<Listener>> {
    sock_diag::listeners().or_else(|error| {
        tracing::debug!(%error, "sock_diag does not answer; reading {}", directory.display());
        read_tables(directory)
    })
}

fn read_tables(directory: &std::path::Path) -> io::Result<Vec<Listener>> {
    let mut listeners = ports::parse_table(&fs::read_to_string(directory.join("tcp"))?);
    match fs::read_to_string(directory.join("tcp6")) {
        Ok(text) => listeners.extend(ports::parse_table(&text)),
        // A kernel booted with ipv6.disable=1 has no such table.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(listeners)
}

/// What ends the work from outside.
#[derive(Clone, Copy)]
pub(crate) struct Watch<'a> {
    pub cancel: &'a AtomicBool,
    /// Whether the program still runs.
    pub alive: &'a (dyn Fn() -> bool + Sync),
}

impl Watch<'_> {
    /// Ends when the caller cancels or the program dies.
    async fn trouble(self) -> ProbeError {
        loop {
            if self.cancel.load(Ordering::Relaxed) {
                return ProbeError::Cancelled;
            }
            if !(self.alive)() {
                return ProbeError::Died;
            }
            tokio::time::sleep(WATCH).await;
        }
    }
}

/// Runs `work` on a thread of its own in the target's network namespace, and hands what it reports to `report` on the
/// calling thread. Blocks until the thread has ended, also when the work is cut short.
pub(crate) fn run<T, E, W, F>(
    target: &Target,
    watch: Watch<'_>,
    report: &mut dyn FnMut(E),
    work: W,
) -> Result<T, ProbeError>
where
    T: Send,
    E: Send,
    W: FnOnce(Network, Sender<E>) -> F + Send,
    F: Future<Output = Result<T, ProbeError>>,
{
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        let worker = std::thread::Builder::new()
            .name("slim-probe".to_owned())
            .spawn_scoped(scope, move || {
                let network = Network::enter(target.clone());
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .map_err(ProbeError::Thread)?;
                runtime.block_on(async move {
                    tokio::select! {
                        biased;
                        result = work(network, sender) => result,
                        trouble = watch.trouble() => Err(trouble),
                    }
                })
            })
            .map_err(ProbeError::Thread)?;
        // Ends when the worker drops its sender, however it ends.
        receiver.iter().for_each(&mut *report);
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
