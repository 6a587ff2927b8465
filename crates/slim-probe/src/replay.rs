//! Makes the requests of a recording again, on another container, in the recording's order.

use crate::CancelFlag;
use crate::error::ProbeError;
use crate::netns::{self, Network, Watch};
use crate::ports::Port;
use crate::probe::Progress;
use crate::readiness::{Others, wait_ports};
use crate::recording::{Exchange, Recording};
use crate::session::{Patience, Session};
use crate::settings::{HttpSettings, Target};
use futures_util::StreamExt as _;
use std::collections::BTreeMap;

/// Makes every request of `recording` again and blocks until that is done. The result has the same requests in the
/// same order, so that [`crate::compare`] can lay them side by side; of the settings only times and limits count.
///
/// # Errors
/// As [`crate::probe`]. A port that does not listen gives exchanges without an answer.
pub fn replay(
    recording: &Recording,
    settings: &HttpSettings,
    target: &Target,
    progress: &mut dyn FnMut(Progress),
    cancel: &CancelFlag,
    alive: &(dyn Fn() -> bool + Sync),
) -> Result<Recording, ProbeError> {
    netns::run(target, Watch { cancel, alive }, progress, |network, sender| async move {
        let session = Session::new(settings, &network, sender)?;
        let exchanges = again(&session, &network, &recording.exchanges).await?;
        Ok(Recording::new(exchanges))
    })
}

async fn again(
    session: &Session<'_>,
    network: &Network,
    recorded: &[Exchange],
) -> Result<Vec<Exchange>, ProbeError> {
    let mut numbers: Vec<u16> = recorded.iter().map(|exchange| exchange.request.port).collect();
    numbers.sort_unstable();
    numbers.dedup();
    if numbers.is_empty() {
        return Ok(Vec::new());
    }
    // Each of them was there when the recording was made.
    let ports = wait_ports(network, &numbers, session.settings.listen_timeout, Others::AsLong).await?;
    let mut ports: BTreeMap<u16, (Port, bool)> =
        ports.into_iter().map(|port| (port.number, (port, false))).collect();
    let mut exchanges = Vec::with_capacity(recorded.len());
    let mut rest = recorded;
    while let Some(next) = rest.first() {
        // The first request on a port waits until it is answered well; then safe ones may go side by side.
        let is_new = ports.get(&next.request.port).is_some_and(|(_, answered)| !answered);
        let safe =
            rest.iter().take_while(|exchange| exchange.request.is_safe() && !is_unanswered(&ports, exchange));
        let size = if is_new { 1 } else { safe.count().max(1) };
        let (group, after) = rest.split_at(size);
        rest = after;
        let made = futures_util::stream::iter(
            group.iter().map(|exchange| repeat(session, &ports, exchange, is_new)),
        );
        exchanges.extend(made.buffered(session.settings.concurrency.max(1)).collect::<Vec<_>>().await);
        if let Some((_, answered)) = ports.get_mut(&next.request.port) {
            *answered = true;
        }
    }
    Ok(exchanges)
}

fn is_unanswered(ports: &BTreeMap<u16, (Port, bool)>, exchange: &Exchange) -> bool {
    ports.get(&exchange.request.port).is_some_and(|(_, answered)| !answered)
}

async fn repeat(
    session: &Session<'_>,
    ports: &BTreeMap<u16, (Port, bool)>,
    recorded: &Exchange,
    is_new: bool,
) -> Exchange {
    let request = recorded.request.clone();
    let Some((port, _)) = ports.get(&request.port) else {
        let error = Some(format!("connect: nothing listens on port {}", request.port));
        return Exchange { request, response: None, error };
    };
    let expected = recorded.status();
    let patience = if is_new { Patience::GettingReady { expected } } else { Patience::Short };
    let mut limits = session.limits();
    limits.capture = 0;
    // A body that had no end then has none now; there is no use in waiting longer for it.
    if recorded.response.as_ref().is_some_and(|response| !response.body.complete) {
        limits.whole = session.settings.client_timeout_crawl;
    }
    session.make(port, request, limits, patience).await.exchange
}
