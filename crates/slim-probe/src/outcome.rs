//! What came of a probe.

use crate::recording::{Exchange, Protocol, Recording};
use crate::settings::HttpSettings;

/// Everything that a probe found out. Whether that is good enough is the caller's decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The exchanges on ports that speak HTTP.
    pub recording: Recording,
    /// Requests in the recording.
    pub requests: usize,
    /// Requests without a whole answer, or with a status that the settings count as a failure.
    pub failures: usize,
    /// Answers with a status below 500: the program itself spoke.
    pub answers_below_500: usize,
    /// Every port that was tried or waited for, in the order of trying.
    pub ports: Vec<PortOutcome>,
    /// Why the container's network namespace could not be entered, where that was so. Programs that are bound to
    /// loopback are out of reach then.
    pub fallback: Option<String>,
}

/// What became of one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortOutcome {
    pub port: u16,
    pub state: PortState,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortState {
    /// It answered.
    Http(Protocol),
    /// It listens, but does not speak HTTP: why.
    NotHttp(String),
    /// Nothing listens there.
    NotListening,
}

impl Outcome {
    pub(crate) fn new(
        exchanges: Vec<Exchange>,
        ports: Vec<PortOutcome>,
        fallback: Option<String>,
        settings: &HttpSettings,
    ) -> Self {
        let is_below_500 = |exchange: &&Exchange| exchange.status().is_some_and(|status| status < 500);
        Self {
            requests: exchanges.len(),
            failures: exchanges.iter().filter(|exchange| is_failure(exchange, settings)).count(),
            answers_below_500: exchanges.iter().filter(is_below_500).count(),
            recording: Recording::new(exchanges),
            ports,
            fallback,
        }
    }

    /// Whether anything answered in HTTP at all.
    #[must_use]
    pub fn speaks_http(&self) -> bool {
        self.recording.exchanges.iter().any(|exchange| exchange.response.is_some())
    }

    /// Whether every answer was a server error.
    #[must_use]
    pub fn only_5xx(&self) -> bool {
        self.speaks_http() && self.answers_below_500 == 0
    }

    /// The ports and what became of them, for a sentence: `port 80 (not listening), port 6379 (…)`.
    #[must_use]
    pub fn ports_tried(&self) -> String {
        if self.ports.is_empty() {
            return "any port: none listens".to_owned();
        }
        let ports: Vec<String> = self.ports.iter().map(ToString::to_string).collect();
        ports.join(", ")
    }
}

/// `port 80 (http)`.
impl std::fmt::Display for PortOutcome {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "port {} (", self.port)?;
        match &self.state {
            PortState::Http(protocol) => write!(formatter, "{protocol})"),
            PortState::NotHttp(reason) => write!(formatter, "{reason})"),
            PortState::NotListening => formatter.write_str("nothing listens)"),
        }
    }
}

fn is_failure(exchange: &Exchange, settings: &HttpSettings) -> bool {
    exchange.error.is_some()
        || match exchange.status() {
            None => true,
            Some(400..=499) => settings.fail_on_status_4xx,
            Some(500..=599) => settings.fail_on_status_5xx,
            Some(_) => false,
        }
}
