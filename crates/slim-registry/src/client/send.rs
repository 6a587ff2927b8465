//! One request and its answer, with everything that may come between: proof of who we are, redirects, registries that
//! are busy, connections that break.

use super::auth::{AGENT, Access, Scope};
use super::challenge::Challenge;
use super::transport::{Body, TransportError, full};
use super::{Client, answer};
use crate::error::RegistryError;
use crate::name::{self, RepositoryName};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use url::Url;

/// How long a registry may take to begin its answer. Finishing the upload of a large blob takes it minutes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(600);
/// As many as browsers follow.
const REDIRECTS: u32 = 10;

/// A request that can be sent again: its body is at hand.
pub(crate) struct Ask<'a> {
    /// What it is for, as in "failed to …".
    pub action: &'a str,
    /// What 404 says is not there; without it 404 is an error like others.
    pub what: Option<&'a str>,
    pub scope: &'a Scope,
    pub method: Method,
    pub url: Url,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
}

/// Why one exchange gave no answer to work with.
pub(crate) enum Failed {
    /// Trying again may help, after the pause that the registry asked for.
    ForNow { reason: String, is_connect: bool, pause: Option<Duration> },
    /// It will not.
    ForGood(RegistryError),
}

impl From<TransportError> for Failed {
    fn from(error: TransportError) -> Self {
        Self::ForNow { reason: error.reason, is_connect: error.is_connect, pause: None }
    }
}

impl Client {
    /// The address of a registry, found out once: TLS, or plain where that is allowed and nothing else answers.
    pub(crate) async fn base(&self, registry: &str) -> Result<Url, RegistryError> {
        // Held while the registry is asked, so that parallel transfers ask once.
        let mut bases = self.inner.bases.lock().await;
        if let Some(base) = bases.get(registry) {
            return Ok(base.clone());
        }
        let base = self.find_base(registry).await?;
        bases.insert(registry.to_owned(), base.clone());
        Ok(base)
    }

    async fn find_base(&self, registry: &str) -> Result<Url, RegistryError> {
        let address = name::address(registry);
        let unreachable =
            |reason: String| RegistryError::Unreachable { registry: registry.to_owned(), reason };
        let url = |scheme: &str| {
            Url::parse(&format!("{scheme}://{address}/")).map_err(|error| unreachable(error.to_string()))
        };
        let encrypted = url("https")?;
        let error = match self.try_base(registry, &encrypted).await? {
            Ok(_) => return Ok(encrypted),
            Err(error) => error,
        };
        if self.allows_plain(registry) {
            let plain = url("http")?;
            // A server that wants TLS answers plain requests with 400.
            if let Ok(status) = self.try_base(registry, &plain).await?
                && status != StatusCode::BAD_REQUEST
            {
                return Ok(plain);
            }
        }
        Err(unreachable(error))
    }

    /// Asks an address whether it is a registry. The outer error is one that another scheme does not mend.
    async fn try_base(
        &self,
        registry: &str,
        base: &Url,
    ) -> Result<Result<StatusCode, String>, RegistryError> {
        let action = "reach the registry";
        let scope = Scope {
            location: RepositoryName { registry: registry.to_owned(), repository: String::new() },
            access: Access::Pull,
            mount_from: None,
        };
        let mut failures = 0;
        loop {
            let url = base.join("v2/").expect("v2/ is a path");
            let request = request(&Method::GET, &url, &[], None, full(Bytes::new()), action, registry)?;
            let response = match self.exchange_once(request).await {
                Ok(response) => response,
                // It was there, and let go: a restart, perhaps.
                Err(error) if !error.is_connect && failures + 1 < self.settings().retry.attempts => {
                    failures += 1;
                    tokio::time::sleep(self.settings().retry.pause(failures)).await;
                    continue;
                }
                Err(error) => return Ok(Err(error.reason)),
            };
            let status = response.status();
            if let Some(pause) = self.pause_for(status, response.headers(), &mut failures) {
                tokio::time::sleep(pause).await;
                continue;
            }
            if status == StatusCode::UNAUTHORIZED {
                self.inner.auth.learn(&scope, Challenge::of(response.headers()), None).await;
            } else if !status.is_success() && !matches!(status.as_u16(), 400 | 403) {
                return Err(answer::error(response, registry, action, None).await);
            }
            return Ok(Ok(status));
        }
    }

    /// Sends a request until there is an answer: success, or what the registry has against it as an error.
    pub(crate) async fn send(&self, ask: Ask<'_>) -> Result<Response<Incoming>, RegistryError> {
        let response = self.send_for_any(&ask).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refused(response, ask.scope, ask.action, ask.what).await)
    }

    /// The error that an answer is. Who logged in and is not known is told otherwise than who did not.
    pub(crate) async fn refused(
        &self,
        response: Response<Incoming>,
        scope: &Scope,
        action: &str,
        what: Option<&str>,
    ) -> RegistryError {
        let location = &scope.location;
        match answer::error(response, &location.registry, action, what).await {
            RegistryError::Unauthorized { action, registry, reason }
                if self.inner.auth.has_credentials(location).await =>
            {
                RegistryError::Denied { action, registry, reason }
            }
            error => error,
        }
    }

    /// The same, whatever the answer is.
    pub(crate) async fn send_for_any(&self, ask: &Ask<'_>) -> Result<Response<Incoming>, RegistryError> {
        let registry = &ask.scope.location.registry;
        let mut failures = 0;
        loop {
            let (reason, is_connect, asked) = match self.try_once(ask).await {
                Ok(response) => match self.pause_for(response.status(), response.headers(), &mut failures) {
                    None => return Ok(response),
                    Some(pause) => {
                        tracing::debug!(%registry, status = %response.status(), ?pause, "asking again");
                        tokio::time::sleep(pause).await;
                        continue;
                    }
                },
                Err(Failed::ForGood(error)) => return Err(error),
                Err(Failed::ForNow { reason, is_connect, pause }) => (reason, is_connect, pause),
            };
            failures += 1;
            let retry = self.settings().retry;
            if failures >= retry.attempts {
                let registry = registry.clone();
                return Err(match is_connect {
                    true => RegistryError::Unreachable { registry, reason },
                    false => RegistryError::WentAway { action: ask.action.to_owned(), registry, reason },
                });
            }
            tracing::debug!(%registry, %reason, failures, "asking again");
            tokio::time::sleep(asked.unwrap_or_else(|| retry.pause(failures))).await;
        }
    }

    /// The pause before a busy registry is asked again; `None` where the answer stands.
    pub(crate) fn pause_for(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        failures: &mut u32,
    ) -> Option<Duration> {
        let retry = self.settings().retry;
        if !is_for_now(status) || *failures + 1 >= retry.attempts {
            return None;
        }
        *failures += 1;
        let asked = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let pause = asked.map_or_else(|| retry.pause(*failures), Duration::from_secs);
        Some(pause.min(retry.longest_pause))
    }

    /// One request with redirects and, at most twice, proof of who we are.
    async fn try_once(&self, ask: &Ask<'_>) -> Result<Response<Incoming>, Failed> {
        let mut proof = self.proof(ask.scope).await?;
        for _ in 0..2 {
            let (response, is_own) = self.follow(ask, proof.as_ref()).await?;
            // What another server asks for is not for it to have.
            if response.status() != StatusCode::UNAUTHORIZED || !is_own {
                return Ok(response);
            }
            if !self.unauthorized(ask.scope, &response, proof.as_ref()).await {
                return Ok(response);
            }
            let next = self.proof(ask.scope).await?;
            if next == proof {
                return Ok(response);
            }
            proof = next;
        }
        self.follow(ask, proof.as_ref()).await.map(|(response, _)| response)
    }

    /// The header that proves who we are.
    pub(crate) async fn proof(&self, scope: &Scope) -> Result<Option<HeaderValue>, Failed> {
        let header = self.inner.auth.header(scope, &|authority| self.allows_plain(authority)).await;
        header.map_err(|error| match error {
            // A token service may be as busy, and as far, as a registry.
            RegistryError::Unreachable { registry, reason } => {
                Failed::ForNow { reason: format!("{registry}: {reason}"), is_connect: true, pause: None }
            }
            RegistryError::Refused { status, .. } if StatusCode::from_u16(status).is_ok_and(is_for_now) => {
                Failed::ForNow { reason: error.to_string(), is_connect: false, pause: None }
            }
            error => Failed::ForGood(error),
        })
    }

    /// Takes note of a 401. Says whether to try again.
    pub(crate) async fn unauthorized(
        &self,
        scope: &Scope,
        response: &Response<Incoming>,
        sent: Option<&HeaderValue>,
    ) -> bool {
        self.inner.auth.learn(scope, Challenge::of(response.headers()), sent).await
    }

    /// That a place to which the registry sends us is reached by TLS, or may be without.
    pub(crate) fn check_way(
        &self,
        action: &str,
        registry: &str,
        own: &Url,
        url: &Url,
    ) -> Result<(), RegistryError> {
        let allows_plain = || url.scheme() == "http" && self.allows_plain(url.authority());
        if url.origin() == own.origin() || url.scheme() == "https" || allows_plain() {
            return Ok(());
        }
        Err(RegistryError::Garbled {
            action: action.to_owned(),
            registry: registry.to_owned(),
            reason: format!("it sends us to {}://{}, which is not TLS", url.scheme(), url.authority()),
        })
    }

    /// The answer at the end of all redirects, and whether it is the registry's own.
    async fn follow(
        &self,
        ask: &Ask<'_>,
        proof: Option<&HeaderValue>,
    ) -> Result<(Response<Incoming>, bool), Failed> {
        let registry = &ask.scope.location.registry;
        let own = self.base(registry).await.map_err(Failed::ForGood)?;
        let mut url = ask.url.clone();
        for _ in 0..=REDIRECTS {
            self.check_way(ask.action, registry, &own, &url).map_err(Failed::ForGood)?;
            // What is elsewhere is signed in its address; our proof is the registry's alone, also where the first address
            // was told by it (the rest of a list, an upload).
            let is_own = url.origin() == own.origin();
            let proof = proof.filter(|_| is_own);
            let body = full(ask.body.clone());
            let request = request(&ask.method, &url, &ask.headers, proof, body, ask.action, registry)
                .map_err(Failed::ForGood)?;
            let response = self.exchange_once(request).await?;
            let is_redirect = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
            let reads = matches!(ask.method, Method::GET | Method::HEAD);
            let next = answer::location(response.headers(), &url).filter(|_| is_redirect && reads);
            let Some(next) = next else { return Ok((response, is_own)) };
            url = next;
        }
        Err(Failed::ForGood(RegistryError::Garbled {
            action: ask.action.to_owned(),
            registry: registry.clone(),
            reason: format!("it sends us on more than {REDIRECTS} times"),
        }))
    }

    /// One exchange, nothing around it but a limit of time.
    pub(crate) async fn exchange_once(
        &self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, TransportError> {
        self.exchange_watched(request, &AtomicU64::new(0)).await
    }

    /// The same with a body that counts what it has sent: a slow one may take its time, one that stands still may not.
    pub(crate) async fn exchange_watched(
        &self,
        request: Request<Body>,
        sent: &AtomicU64,
    ) -> Result<Response<Incoming>, TransportError> {
        let exchange = self.inner.transport.exchange(request);
        tokio::pin!(exchange);
        loop {
            let before = sent.load(Ordering::Relaxed);
            match tokio::time::timeout(ANSWER_TIMEOUT, &mut exchange).await {
                Ok(answered) => return answered,
                Err(_) if sent.load(Ordering::Relaxed) > before => {}
                Err(_) => {
                    let reason = format!("no answer within {} s", ANSWER_TIMEOUT.as_secs());
                    return Err(TransportError { reason, is_connect: false });
                }
            }
        }
    }
}

/// Whether an answer says that the same request may be answered better later.
pub(crate) fn is_for_now(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// Puts a request together.
pub(crate) fn request(
    method: &Method,
    url: &Url,
    headers: &[(HeaderName, HeaderValue)],
    proof: Option<&HeaderValue>,
    body: Body,
    action: &str,
    registry: &str,
) -> Result<Request<Body>, RegistryError> {
    let mut builder = Request::builder().method(method).uri(url.as_str()).header(USER_AGENT, AGENT);
    for (name, value) in headers {
        builder = builder.header(name, value);
    }
    if let Some(proof) = proof {
        builder = builder.header(AUTHORIZATION, proof);
    }
    builder.body(body).map_err(|error| RegistryError::Garbled {
        action: action.to_owned(),
        registry: registry.to_owned(),
        reason: format!("{url}: {error}"),
    })
}
