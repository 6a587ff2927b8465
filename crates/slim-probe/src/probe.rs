//! The probe: waits until the program listens, finds out which ports speak HTTP, runs the commands on each, crawls.

use crate::CancelFlag;
use crate::command::ProbeCommand;
use crate::crawl::{self, Origin};
use crate::error::ProbeError;
use crate::netns::{self, Network, Watch};
use crate::outcome::{Outcome, PortOutcome, PortState};
use crate::ports::Port;
use crate::readiness::{GRACE_FOR_MISSING, Others, wait_new, wait_ports};
use crate::recording::{Exchange, Protocol, Request};
use crate::session::{Made, Patience, Session};
use crate::settings::{HttpSettings, Target};
use crate::spec::{ApiSpec, SpecError};
use futures_util::StreamExt as _;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Ports that are asked for their protocol at once.
const PORTS_AT_ONCE: usize = 8;
/// How often ports that began to listen during the probe are probed as well.
const ROUNDS: usize = 3;
/// Redirects on the way to a specification.
const REDIRECTS: usize = 5;

/// What a probe tells while it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// These ports listen and are tried.
    Listening(Vec<u16>),
    /// What is known of a port now.
    Port(PortOutcome),
    /// A request was made: `GET http://localhost:8080/`, and its answer's status, if there is one.
    Request { request: String, status: Option<u16> },
    /// A specification was read on a port: its name, and how many commands it gives.
    Specification { name: String, commands: usize },
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
        let session = Session::new(settings, &network, sender)?;
        let mut explorer = Explorer {
            session,
            network,
            commands,
            exchanges: Vec::new(),
            ports: Vec::new(),
            unread: BTreeMap::new(),
        };
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
    /// What the specifications that no port has served yet were answered with, by their place in the settings.
    unread: BTreeMap<usize, Option<Unread>>,
}

/// Why a port does not serve a specification.
struct Unread {
    /// The place of its answer among the exchanges.
    exchange: usize,
    reason: String,
}

impl Explorer<'_> {
    async fn explore(&mut self) -> Result<(), ProbeError> {
        let settings = self.session.settings;
        tokio::time::sleep(settings.start_wait).await;
        let mut ports =
            wait_ports(&self.network, &settings.ports, settings.listen_timeout, Others::Briefly).await?;
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
            let protocol = first.exchange.request.protocol;
            let mut runner = Runner {
                session: &self.session,
                network: &self.network,
                port,
                protocol,
                seen: BTreeSet::new(),
                exchanges: Vec::new(),
            };
            runner.run(&commands, Some(first)).await;
            for (index, spec) in self.session.settings.api_specs.iter().enumerate() {
                let earlier = self.exchanges.len();
                let unread = runner.specification(spec).await.err();
                let unread = unread.map(|unread| Unread { exchange: earlier + unread.exchange, ..unread });
                // Read on one port is enough; the first port's answer says why it is read on none.
                match self.unread.entry(index) {
                    Entry::Vacant(entry) => drop(entry.insert(unread)),
                    Entry::Occupied(mut entry) if unread.is_none() => drop(entry.insert(None)),
                    Entry::Occupied(_) => {}
                }
            }
            let exchanges = runner.exchanges;
            self.exchanges.extend(exchanges);
        }
        self.ports.push(outcome);
    }

    fn into_outcome(mut self) -> Outcome {
        for Unread { exchange, reason } in self.unread.into_values().flatten() {
            self.exchanges[exchange].error.get_or_insert(reason);
        }
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

/// The commands of one port under way.
struct Runner<'a> {
    session: &'a Session<'a>,
    network: &'a Network,
    port: &'a Port,
    /// What the port answered in.
    protocol: Protocol,
    /// Paths that were got, by protocol, so that two crawls do not repeat each other.
    seen: BTreeSet<String>,
    exchanges: Vec<Exchange>,
}

impl Runner<'_> {
    /// Runs commands; the first one may have its answer already.
    async fn run(&mut self, commands: &[ProbeCommand], first: Option<Made>) {
        let mut rest = commands;
        if let (Some(first), Some((command, after))) = (first, commands.split_first()) {
            self.answered(command, first).await;
            rest = after;
        }
        while !rest.is_empty() {
            // Commands that change nothing may go side by side; any other goes alone.
            let request = |command: &ProbeCommand| command.request(self.port.number, self.protocol);
            let safe = rest.iter().take_while(|command| request(command).is_safe()).count();
            let (group, after) = rest.split_at(safe.max(1));
            rest = after;
            let session = self.session;
            let made = group
                .iter()
                .map(|command| session.make(self.port, request(command), session.limits(), Patience::Short));
            let concurrency = session.settings.concurrency.max(1);
            let made: Vec<Made> = futures_util::stream::iter(made).buffered(concurrency).collect().await;
            for (command, made) in group.iter().zip(made) {
                self.answered(command, made).await;
            }
        }
    }

    /// Runs the commands of a specification. The error says where it was looked for among this port's exchanges.
    async fn specification(&mut self, spec: &ApiSpec) -> Result<(), Unread> {
        let commands = match spec {
            ApiSpec::File { contents, .. } => spec.commands(contents),
            ApiSpec::Fetched { path, .. } => match self.fetch(path).await {
                Ok(contents) => spec.commands(&contents),
                Err(reason) => Err(SpecError::Content { name: path.clone(), reason }),
            },
        };
        let commands = commands.map_err(|error| Unread {
            exchange: self.exchanges.len().saturating_sub(1),
            reason: error.to_string(),
        })?;
        self.session.tell(Progress::Specification { name: spec.name(), commands: commands.len() });
        self.run(&commands, None).await;
        Ok(())
    }

    /// Gets what the port serves at a path, over redirects.
    async fn fetch(&mut self, path: &str) -> Result<Vec<u8>, String> {
        let mut request = ProbeCommand::get(path).request(self.port.number, self.protocol);
        for _ in 0..REDIRECTS {
            let limits = self.session.spec_limits();
            let made = self.session.make(self.port, request, limits, Patience::Short).await;
            let next = self.origin(self.protocol).redirected_path(&made);
            let Made { exchange, captured, .. } = made;
            let (status, error) = (exchange.status(), exchange.error.clone());
            let length = exchange.response.as_ref().map_or(0, |response| response.body.length);
            self.exchanges.push(exchange);
            match (next, status, error) {
                (Some(path), _, _) => {
                    request = Request::new(self.port.number, self.protocol, "GET", &path);
                    continue;
                }
                (None, _, Some(error)) => return Err(error),
                (None, Some(200), None) if length > captured.len() as u64 => {
                    return Err("it has more than 16 MiB".to_owned());
                }
                (None, Some(200), None) => return Ok(captured),
                (None, status, None) => return Err(format!("status {}", status.unwrap_or_default())),
            }
        }
        Err("it is redirected too often".to_owned())
    }

    fn origin(&self, protocol: Protocol) -> Origin<'_> {
        Origin { port: self.port, protocol, address: self.network.address() }
    }

    /// Writes an answer down and follows it.
    async fn answered(&mut self, command: &ProbeCommand, made: Made) {
        let request = &made.exchange.request;
        if request.method == "GET" {
            self.seen.insert(request.path.clone());
        }
        let protocol = request.protocol;
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
