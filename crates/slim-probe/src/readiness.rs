//! Waiting until the program listens: the kernel's tables are read again and again, at first every few milliseconds;
//! nothing sleeps for a time that somebody guessed.

use crate::CancelFlag;
use crate::error::ProbeError;
use crate::netns::{self, Network, Watch};
use crate::ports::Port;
use crate::settings::Target;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

/// A wait that starts short and doubles up to a limit.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    longest: Duration,
}

/// Between two looks at the tables.
const LOOK: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(50));
/// One of the suggested ports listens: how long the others may still take.
const GRACE_FOR_OTHERS: Duration = Duration::from_millis(300);
/// Only ports that nobody suggested listen: how long the suggested ones may still take.
const GRACE_FOR_SUGGESTED: Duration = Duration::from_secs(5);
/// How long one attempt to connect may take where the tables cannot be read.
const CONNECT: Duration = Duration::from_secs(2);
/// What listens does not speak HTTP: how long a suggested port that is still missing may take.
pub(crate) const GRACE_FOR_MISSING: Duration = Duration::from_secs(5);

impl Backoff {
    pub fn new(shortest: Duration, longest: Duration) -> Self {
        Self { next: shortest.min(longest), longest }
    }

    /// Waits, but not beyond `deadline`.
    pub async fn wait(&mut self, deadline: Instant) {
        let wait = self.next.min(deadline.saturating_duration_since(Instant::now()));
        self.next = (self.next * 2).min(self.longest);
        sleep(wait).await;
    }
}

/// How long to wait for the rest, where some of the wanted ports listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// A little: the wanted ports are a guess.
    Briefly,
    /// As long as for the first: each of them is known to open.
    AsLong,
}

/// Waits until the program listens on a TCP port, at most `timeout`; none listening then is an empty list. With
/// suggested ports ([`Target::ports`]), waits for those that are still missing, too, as `others` says.
///
/// # Errors
/// When the program dies, `cancel` is set, or the kernel's tables cannot be read.
pub fn wait_listening(
    target: &Target,
    timeout: Duration,
    others: Others,
    cancel: &CancelFlag,
    alive: &(dyn Fn() -> bool + Sync),
) -> Result<Vec<Port>, ProbeError> {
    let watch = Watch { cancel, alive };
    netns::run(target, watch, &mut |()| {}, |network, _| async move {
        wait_ports(&network, &[], timeout, others).await
    })
}

/// The ports that listen, after waiting for them: `named` ones only, where there are any, else whatever listens.
pub(crate) async fn wait_ports(
    network: &Network,
    named: &[u16],
    timeout: Duration,
    others: Others,
) -> Result<Vec<Port>, ProbeError> {
    let wanted = if named.is_empty() { network.suggested() } else { named };
    let began = Instant::now();
    let mut deadline = began + timeout;
    let mut backoff = Backoff::new(LOOK.0, LOOK.1);
    let mut grace: Option<Duration> = None;
    loop {
        let mut ports = look(network, wanted, named).await?;
        if !named.is_empty() {
            ports.retain(|port| named.contains(&port.number));
            ports.sort_by_key(|port| named.iter().position(|number| *number == port.number));
        }
        let missing =
            wanted.iter().filter(|number| !ports.iter().any(|port| port.number == **number)).count();
        if !ports.is_empty() && missing == 0 {
            return Ok(ports);
        }
        if !ports.is_empty() && others == Others::Briefly {
            let allowed = if missing < wanted.len() { GRACE_FOR_OTHERS } else { GRACE_FOR_SUGGESTED };
            if grace != Some(allowed) {
                grace = Some(allowed);
                deadline = (began + timeout).min(Instant::now() + allowed);
            }
        }
        let nothing_to_wait_for = wanted.is_empty() && !network.is_seen();
        if Instant::now() >= deadline || nothing_to_wait_for {
            return Ok(ports);
        }
        backoff.wait(deadline).await;
    }
}

/// Ports that began to listen and are not in `tried`. Where `timeout` is not zero and wanted ports are missing, waits
/// for one of them.
pub(crate) async fn wait_new(
    network: &Network,
    named: &[u16],
    tried: &BTreeSet<u16>,
    timeout: Duration,
) -> Result<Vec<Port>, ProbeError> {
    let wanted = if named.is_empty() { network.suggested() } else { named };
    let is_missing = wanted.iter().any(|number| !tried.contains(number));
    let deadline = Instant::now() + if is_missing { timeout } else { Duration::ZERO };
    let mut backoff = Backoff::new(LOOK.0, LOOK.1);
    loop {
        let mut ports = look(network, wanted, named).await?;
        ports.retain(|port| {
            !tried.contains(&port.number) && (named.is_empty() || named.contains(&port.number))
        });
        if !ports.is_empty() || Instant::now() >= deadline {
            return Ok(ports);
        }
        backoff.wait(deadline).await;
    }
}

/// What listens now. Where that cannot be seen, the wanted ports that take a connection.
async fn look(network: &Network, wanted: &[u16], named: &[u16]) -> Result<Vec<Port>, ProbeError> {
    if let Some(ports) = network.listening(named).await? {
        return Ok(ports);
    }
    let attempts = wanted.iter().map(|number| async {
        let port = network.unseen(*number);
        let connected = tokio::time::timeout(CONNECT, TcpStream::connect(&*port.addresses)).await;
        matches!(connected, Ok(Ok(_))).then_some(port)
    });
    Ok(futures_util::future::join_all(attempts).await.into_iter().flatten().collect())
}
