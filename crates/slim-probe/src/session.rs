//! Requests made with patience: retried while the program is not ready yet, and written down as exchanges.

use crate::cookies::Cookies;
use crate::error::ProbeError;
use crate::http::{CallError, Client, Limits};
use crate::netns::Network;
use crate::ports::Port;
use crate::probe::Progress;
use crate::readiness::Backoff;
use crate::recording::{Exchange, Protocol, Request};
use crate::settings::HttpSettings;
use crate::spec::SPEC_BYTES;
use std::sync::mpsc::Sender;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The first wait between two attempts; it doubles.
const SHORTEST_WAIT: Duration = Duration::from_millis(25);
/// The longest wait while a program is getting ready: then every moment counts.
const LONGEST_READY_WAIT: Duration = Duration::from_millis(250);
/// A port that says nothing to plain HTTP for so long is asked whether it speaks TLS.
const SILENCE: Duration = Duration::from_secs(1);
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_millis(1500);
/// Bytes of a page or style sheet that are read for links.
const CAPTURE: usize = 4 << 20;

/// What all requests of one probe share.
pub(crate) struct Session<'a> {
    client: Client,
    cookies: Cookies,
    pub settings: &'a HttpSettings,
    report: Sender<Progress>,
}

/// A request that was made.
pub(crate) struct Made {
    pub exchange: Exchange,
    /// The body's first bytes, where the request was made to read links.
    pub captured: Vec<u8>,
    failure: Option<CallError>,
}

/// How long to go on with a request that is not answered well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// The port has answered before.
    Short,
    /// The program may still be getting ready. An answer with this status is a true one.
    GettingReady { expected: Option<u16> },
}

impl<'a> Session<'a> {
    pub fn new(
        settings: &'a HttpSettings,
        network: &Network,
        report: Sender<Progress>,
    ) -> Result<Self, ProbeError> {
        Ok(Self {
            client: Client::new(settings.max_body_bytes, network.reach())?,
            cookies: Cookies::default(),
            settings,
            report,
        })
    }

    /// Tells the caller. That nobody listens any more is no reason to stop.
    pub fn tell(&self, progress: Progress) {
        drop(self.report.send(progress));
    }

    /// Limits of a command's request.
    pub fn limits(&self) -> Limits {
        let timeout = self.settings.client_timeout;
        Limits { answer: timeout, whole: timeout, capture: CAPTURE, capture_any: false }
    }

    /// Limits of a crawler's request.
    pub fn crawl_limits(&self) -> Limits {
        let timeout = self.settings.client_timeout_crawl;
        Limits { answer: timeout, whole: timeout, ..self.limits() }
    }

    /// Limits of a request whose answer is a specification.
    pub fn spec_limits(&self) -> Limits {
        Limits { capture: SPEC_BYTES, capture_any: true, ..self.limits() }
    }

    /// Makes a request, again and again while the program looks as if it were not ready.
    pub async fn make(&self, port: &Port, request: Request, limits: Limits, patience: Patience) -> Made {
        let made = self.once(port, &request, limits).await;
        self.insist(port, made, limits, patience).await
    }

    /// Repeats a request that was made once, as far as patience goes.
    async fn insist(&self, port: &Port, mut made: Made, limits: Limits, patience: Patience) -> Made {
        let ready_by = Instant::now() + self.settings.ready_timeout;
        let mut ready_backoff = Backoff::new(SHORTEST_WAIT, LONGEST_READY_WAIT);
        let mut retry_backoff = Backoff::new(SHORTEST_WAIT, self.settings.retry_wait);
        let mut retries_left = self.settings.retry_count;
        loop {
            let is_early = Instant::now() < ready_by && patience.waits_for(&made);
            if is_early {
                ready_backoff.wait(ready_by).await;
            } else if made.may_be_repeated() && retries_left > 0 {
                retries_left -= 1;
                retry_backoff.wait(Instant::now() + self.settings.retry_wait).await;
            } else {
                let status = made.exchange.status();
                self.tell(Progress::Request { request: made.exchange.request.to_string(), status });
                return made;
            }
            made = self.once(port, &made.exchange.request, limits).await;
        }
    }

    /// Makes the first request on a port whose protocol is not known: http, or https where the port speaks TLS.
    pub async fn make_first(&self, port: &Port, request: &dyn Fn(Protocol) -> Request) -> Made {
        let limits = Limits { answer: self.settings.first_answer_timeout, ..self.limits() };
        let patience = Patience::GettingReady { expected: None };
        let usually_tls = matches!(port.number, 443 | 8443);
        if usually_tls && self.speaks_tls(port).await {
            return self.make(port, request(Protocol::Https), limits, patience).await;
        }
        let silence = async {
            sleep(SILENCE.min(limits.answer / 4)).await;
            if !self.speaks_tls(port).await {
                std::future::pending::<()>().await;
            }
        };
        let plain = request(Protocol::Http);
        let made = tokio::select! {
            made = self.once(port, &plain, limits) => Some(made),
            () = silence => None,
        };
        match made {
            Some(made) if !(made.may_be_tls() && self.speaks_tls(port).await) => {
                self.insist(port, made, limits, patience).await
            }
            _ => self.make(port, request(Protocol::Https), limits, patience).await,
        }
    }

    async fn speaks_tls(&self, port: &Port) -> bool {
        self.client.speaks_tls(&port.addresses, port.number, HANDSHAKE).await
    }

    async fn once(&self, port: &Port, request: &Request, limits: Limits) -> Made {
        let request = request.clone();
        let sent = self.cookies.added_to(&request);
        match self.client.call(&port.addresses, &sent, limits).await {
            Ok(answer) => {
                self.cookies.take(&request, &answer.response);
                Made {
                    exchange: Exchange { request, response: Some(answer.response), error: answer.broke_off },
                    captured: answer.captured,
                    failure: None,
                }
            }
            Err(error) => Made {
                exchange: Exchange { request, response: None, error: Some(error.to_string()) },
                captured: Vec::new(),
                failure: Some(error),
            },
        }
    }
}

impl Patience {
    /// Whether this is how a program behaves that is about to be ready: it refuses connections, or a proxy before it
    /// says that it is not there.
    fn waits_for(self, made: &Made) -> bool {
        let Self::GettingReady { expected } = self else { return false };
        match (made.exchange.status(), &made.failure) {
            (Some(status @ 502..=504), _) => expected != Some(status),
            (None, Some(CallError::Connect { .. })) => true,
            _ => false,
        }
    }
}

impl Made {
    /// Whether making the request again can help, and can do no harm: a POST that was taken may have been acted on.
    fn may_be_repeated(&self) -> bool {
        let Some(failure) = &self.failure else { return false };
        let never_sent = matches!(failure, CallError::Connect { .. });
        failure.is_transient() && (never_sent || self.exchange.request.is_safe())
    }

    /// Whether a TLS server may have answered plain HTTP like this: with status 400 (nginx, Apache, Go), a TLS alert,
    /// or by hanging up. (One that says nothing is asked before that is over.)
    fn may_be_tls(&self) -> bool {
        match &self.failure {
            None => self.exchange.status() == Some(400),
            Some(failure) => {
                matches!(failure, CallError::Closed(_) | CallError::NotHttp(_))
            }
        }
    }
}
