//! The probe: waits until the program listens, finds out which ports speak HTTP, runs the commands on each, crawls.

use crate::CancelFlag;
use crate::command::ProbeCommand;
use crate::crawl::{self, Origin};
use crate::error::ProbeError;
use crate::netns::{self, Network, Watch};
use crate::outcome::{Outcome, PortOutcome, PortState};
use crate::ports::Port;
use crate::readiness::{GRACE_FOR_MISSING, wait_new, wait_ports};
use crate::recording::{Exchange, Protocol};
use crate::session::{Made, Patience, Session};
use crate::settings::{HttpSettings, Target};
use futures_util::StreamExt as _;
use std::collections::BTreeSet;
use std::time::Duration;

/// Ports that are asked for their protocol at once.
const PORTS_AT_ONCE: usize = 8;
/// How often ports that began to listen during the probe are probed as well.
const ROUNDS: usize = 3;

/// What a probe tells while it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// These ports listen and are tried.
    Listening(Vec<u16>),
    /// What is known of a port now.
    Port(PortOutcome),
    /// A request was made: `GET http://localhost:8080/`, and its answer's status, if there is one.
    Request { request: String, status: Option<u16> },
}

/// Probes the target and blocks until that is done. `alive` says whether the program still runs; it and `cancel` are
/// looked at every 20 ms.
///
/// # Errors
/// When the program dies or the caller cancels; when the thread cannot be set up. That nothing speaks HTTP is no
/// error but an [`Outcome`].
pub fn probe(
    settings: &HttpSettings,
    target: &Target,
    progress: &mut dyn FnMut(Progress),
    cancel: &CancelFlag,
    alive: &(dyn Fn() -> bool + Sync),
) -> Result<Outcome, ProbeError> {
    let commands =
        if settings.commands.is_empty() { vec![ProbeCommand::get("/")] } else { settings.commands.clone() };
    let mut target = target.clone();
    target.ports.extend(commands.iter().filter_map(|command| command.port));
    target.ports.sort_unstable();
    target.ports.dedup();
    netns::run(&target, Watch { cancel, alive }, progress, |network, sender| async move {
        let session = Session::new(settings, sender)?;
        let mut explorer = Explorer { session, network, commands, exchanges: Vec::new(), ports: Vec::new() };
        explorer.explore().await?;
        Ok(explorer.into_outcome())
    })
}

struct Explorer<'a> {
    session: Session<'a>,
    network: Network,
    commands: Vec<ProbeCommand>,
    exchanges: Vec<Exchange>,
    ports: Vec<PortOutcome>,
}

impl Explorer<'_> {
    async fn explore(&mut self) -> Result<(), ProbeError> {
        let settings = self.session.settings;
        tokio::time::sleep(settings.start_wait).await;
        let mut ports = wait_ports(&self.network, &settings.ports, settings.listen_timeout).await?;
        let mut tried = BTreeSet::new();
        for _ in 0..ROUNDS {
            ports.retain(|port| tried.insert(port.number));
            // Nothing new, or the first port that answers is enough.
            if ports.is_empty() || (!settings.full && !self.exchanges.is_empty()) {
                break;
            }
            self.session.tell(Progress::Listening(ports.iter().map(|port| port.number).collect()));
            self.try_ports(&ports).await;
            // A helper may listen long before the server does (php-fpm before nginx).
            let grace = if self.exchanges.is_empty() { GRACE_FOR_MISSING } else { Duration::ZERO };
            let grace = grace.min(settings.listen_timeout);
            ports = wait_new(&self.network, &settings.ports, &tried, grace).await?;
        }
        let wanted = if settings.ports.is_empty() { self.network.suggested() } else { &settings.ports };
        let missing = wanted.iter().filter(|number| !tried.contains(number));
        self.ports.extend(missing.map(|port| PortOutcome { port: *port, state: PortState::NotListening }));
        Ok(())
    }

    /// Finds out what each port speaks, several at once, and runs the commands on those that speak HTTP, one by one.
    async fn try_ports(&mut self, ports: &[Port]) {
        let at_once = if self.session.settings.full { PORTS_AT_ONCE } else { 1 };
        for chunk in ports.chunks(at_once) {
            let session = &self.session;
            let firsts = chunk.iter().map(|port| {
                let commands: Vec<&ProbeCommand> = self.commands_for(port.number).collect();
                async move { first_answer(session, port, &commands).await }
            });
            let firsts = futures_util::future::join_all(firsts).await;
            for (port, first) in chunk.iter().zip(firsts) {
                if let Some(first) = first {
                    self.port_answered(port, first).await;
                }
            }
            if !self.session.settings.full && !self.exchanges.is_empty() {
                return;
            }
        }
    }

    fn commands_for(&self, port: u16) -> impl Iterator<Item = &ProbeCommand> {
        self.commands.iter().filter(move |command| command.port.is_none_or(|number| number == port))
    }

    async fn port_answered(&mut self, port: &Port, First { index, made: first }: First) {
        let state = match (&first.exchange.response, &first.exchange.error) {
            (Some(_), _) => PortState::Http(first.exchange.request.protocol),
            (None, error) => PortState::NotHttp(error.clone().unwrap_or_default()),
        };
        let outcome = PortOutcome { port: port.number, state };
        self.session.tell(Progress::Port(outcome.clone()));
        if matches!(outcome.state, PortState::Http(_)) {
            let commands: Vec<ProbeCommand> = self.commands_for(port.number).skip(index).cloned().collect();
            let exchanges = run_commands(&self.session, &self.network, port, &commands, first).await;
            self.exchanges.extend(exchanges);
        }
        self.ports.push(outcome);
    }

    fn into_outcome(self) -> Outcome {
        Outcome::new(self.exchanges, self.ports, self.network.fallback, self.session.settings)
    }
}

/// The first command that was answered on a port, or the last that was not.
struct First {
    /// Its place among the port's commands.
    index: usize,
    made: Made,
}

/// Finds out what the port speaks, with the first command that it answers. `None` where no command is meant for it.
async fn first_answer(session: &Session<'_>, port: &Port, commands: &[&ProbeCommand]) -> Option<First> {
    let mut first = None;
    for (index, command) in commands.iter().enumerate() {
        let made = match command.protocol {
            Some(protocol) => {
                let patience = Patience::GettingReady { expected: None };
                session.make(port, command.request(port.number, protocol), session.limits(), patience).await
            }
            None => session.make_first(port, &|protocol| command.request(port.number, protocol)).await,
        };
        // What speaks no HTTP to one command speaks none to the next, unless that one says another protocol.
        let is_answered = made.exchange.response.is_some();
        let next = commands.get(index + 1);
        first = Some(First { index, made });
        if is_answered || next.is_none_or(|next| next.protocol == command.protocol) {
            break;
        }
    }
    first
}

/// Runs the commands on a port that speaks HTTP. The first one has its answer already.
async fn run_commands(
    session: &Session<'_>,
    network: &Network,
    port: &Port,
    commands: &[ProbeCommand],
    first: Made,
) -> Vec<Exchange> {
    let protocol = first.exchange.request.protocol;
    let mut runner = Runner { session, network, port, seen: BTreeSet::new(), exchanges: Vec::new() };
    let (command, mut rest) = match commands.split_first() {
        Some(split) => split,
        None => return Vec::new(),
    };
    runner.answered(command, first).await;
    while !rest.is_empty() {
        // Commands that change nothing may go side by side; any other goes alone.
        let safe = rest.iter().take_while(|command| command.request(port.number, protocol).is_safe()).count();
        let (group, after) = rest.split_at(safe.max(1));
        rest = after;
        let requests = group.iter().map(|command| {
            let request = command.request(port.number, protocol);
            session.make(port, request, session.limits(), Patience::Short)
        });
        let made: Vec<Made> = futures_util::stream::iter(requests)
            .buffered(session.settings.concurrency.max(1))
            .collect()
            .await;
        for (command, made) in group.iter().zip(made) {
            runner.answered(command, made).await;
        }
    }
    runner.exchanges
}

/// The commands of one port under way.
struct Runner<'a> {
    session: &'a Session<'a>,
    network: &'a Network,
    port: &'a Port,
    /// Paths that were got, by protocol, so that two crawls do not repeat each other.
    seen: BTreeSet<String>,
    exchanges: Vec<Exchange>,
}

impl Runner<'_> {
    /// Writes an answer down and follows it.
    async fn answered(&mut self, command: &ProbeCommand, made: Made) {
        let request = &made.exchange.request;
        if request.method == "GET" {
            self.seen.insert(request.path.clone());
        }
        let protocol: Protocol = request.protocol;
        let origin = Origin { port: self.port, protocol, address: self.network.address() };
        let crawls = request.method != "HEAD" && command.crawl.unwrap_or(self.session.settings.crawl);
        let followed = if crawls {
            crawl::crawl(self.session, origin, &made, &mut self.seen).await
        } else {
            crawl::follow_redirects(self.session, origin, &made, &mut self.seen).await
        };
        self.exchanges.push(made.exchange);
        self.exchanges.extend(followed);
    }
}
