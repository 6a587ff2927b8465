//! Proving who we are: which way a registry wants it, and tokens for as long as they hold.
//!
//! Invariant: a password goes to the registry that it is for, and to the token service that this registry names, over
//! TLS (or to registries that may be used without); never anywhere else.

use super::challenge::Challenge;
use super::credentials::{self, CredentialSources, Credentials};
use super::transport::{Transport, full};
use crate::error::RegistryError;
use crate::name::RepositoryName;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::{Method, Request};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use url::Url;

/// How services know us.
pub(crate) const AGENT: &str = concat!("docker-slim/", env!("CARGO_PKG_VERSION"));
/// How long a token holds where the service does not say (the token specification's own).
const TOKEN_HOLDS: Duration = Duration::from_secs(60);
/// A token this near to its end is not used any more.
const MARGIN: Duration = Duration::from_secs(10);
/// Tokens are a few kilobytes.
const ANSWER_LIMIT: usize = 1 << 20;
/// How long a token service may take. Parallel transfers wait for it.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(60);

/// What is wanted of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Access {
    Pull,
    Push,
}

/// A repository, what is wanted of it, and one that a blob is to be taken over from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Scope {
    pub location: RepositoryName,
    pub access: Access,
    pub mount_from: Option<String>,
}

impl Scope {
    fn texts(&self) -> Vec<String> {
        let actions = match self.access {
            Access::Pull => "pull",
            Access::Push => "pull,push",
        };
        let own = format!("repository:{}:{actions}", self.location.repository);
        let other = self.mount_from.as_ref().map(|from| format!("repository:{from}:pull"));
        std::iter::once(own).chain(other).collect()
    }
}

struct Token {
    value: String,
    until: Instant,
}

/// What is known of registries and how to convince them.
pub(crate) struct Auth {
    transport: Transport,
    sources: CredentialSources,
    challenges: Mutex<BTreeMap<String, Challenge>>,
    tokens: Mutex<BTreeMap<Scope, Token>>,
    found: Mutex<BTreeMap<RepositoryName, Option<Credentials>>>,
}

impl Auth {
    pub(crate) fn new(transport: Transport, sources: CredentialSources) -> Self {
        let (challenges, tokens, found) = Default::default();
        Self { transport, sources, challenges, tokens, found }
    }

    /// The header for a request, from what is known by now; `None` where the registry has asked for nothing.
    /// `allows_plain`: whether a token service of this registry may be spoken to without TLS.
    pub(crate) async fn header(
        &self,
        scope: &Scope,
        allows_plain: &(dyn Fn(&str) -> bool + Sync),
    ) -> Result<Option<HeaderValue>, RegistryError> {
        let challenge = self.challenges.lock().await.get(&scope.location.registry).cloned();
        let text = match challenge {
            None => return Ok(None),
            Some(Challenge::Basic) => match self.credentials(&scope.location).await? {
                Some(Credentials::Password { user, password }) => basic(&user, &password),
                Some(Credentials::IdentityToken(_)) | None => return Ok(None),
            },
            Some(Challenge::Bearer { realm, service }) => {
                // Held while a token is fetched, so that parallel transfers fetch one.
                let mut tokens = self.tokens.lock().await;
                match tokens.get(scope).filter(|token| Instant::now() < token.until) {
                    Some(token) => format!("Bearer {}", token.value),
                    None => {
                        let token = self.fetch(scope, &realm, service.as_deref(), allows_plain).await?;
                        let text = format!("Bearer {}", token.value);
                        tokens.insert(scope.clone(), token);
                        text
                    }
                }
            }
        };
        let mut header = HeaderValue::from_str(&text).map_err(|_| RegistryError::Credentials {
            from: scope.location.registry.clone(),
            reason: "they cannot be written into a header".to_owned(),
        })?;
        header.set_sensitive(true);
        Ok(Some(header))
    }

    /// Takes note of a 401. Says whether it makes sense to try again.
    pub(crate) async fn learn(
        &self,
        scope: &Scope,
        challenge: Option<Challenge>,
        sent: Option<&HeaderValue>,
    ) -> bool {
        let Some(challenge) = challenge else { return false };
        let is_bearer = matches!(challenge, Challenge::Bearer { .. });
        let known = self.challenges.lock().await.insert(scope.location.registry.clone(), challenge.clone());
        // The token that was refused is not used again; one that somebody else has fetched since is.
        if let Some(sent) = sent {
            let mut tokens = self.tokens.lock().await;
            if tokens
                .get(scope)
                .is_some_and(|token| format!("Bearer {}", token.value).as_bytes() == sent.as_bytes())
            {
                tokens.remove(scope);
            }
        }
        // A password does not get better by being sent again; a token may have been too old.
        sent.is_none() || is_bearer || known != Some(challenge)
    }

    /// Whether anything was found to log in with.
    pub(crate) async fn has_credentials(&self, location: &RepositoryName) -> bool {
        matches!(self.found.lock().await.get(location), Some(Some(_)))
    }

    async fn credentials(&self, location: &RepositoryName) -> Result<Option<Credentials>, RegistryError> {
        let mut found = self.found.lock().await;
        if let Some(known) = found.get(location) {
            return Ok(known.clone());
        }
        let credentials = credentials::find(&self.sources, location).await?;
        tracing::debug!(%location, ?credentials, "credentials");
        found.insert(location.clone(), credentials.clone());
        Ok(credentials)
    }

    async fn fetch(
        &self,
        scope: &Scope,
        realm: &str,
        service: Option<&str>,
        allows_plain: &(dyn Fn(&str) -> bool + Sync),
    ) -> Result<Token, RegistryError> {
        let registry = &scope.location.registry;
        let action = format!("get a token for {}", scope.location);
        let url = Url::parse(realm).ok().filter(|url| {
            let authority = url.host_str().map(|host| match url.port() {
                Some(port) => format!("{host}:{port}"),
                None => host.to_owned(),
            });
            url.scheme() == "https"
                || (url.scheme() == "http" && authority.is_some_and(|authority| allows_plain(&authority)))
        });
        let Some(url) = url else {
            return Err(RegistryError::Garbled {
                action,
                registry: registry.clone(),
                reason: format!("its token service {realm:?} is no address that is reached by TLS"),
            });
        };
        let credentials = self.credentials(&scope.location).await?;
        let request = token_request(url, scope, service, credentials.as_ref());
        let request = request.map_err(|error| RegistryError::Garbled {
            action: action.clone(),
            registry: registry.clone(),
            reason: error.to_string(),
        })?;
        let unreachable = |reason: String| RegistryError::Unreachable {
            registry: format!("{registry} (its token service {realm})"),
            reason,
        };
        let exchange = async {
            let response =
                self.transport.exchange(request).await.map_err(|error| unreachable(error.reason))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_LIMIT).collect().await;
            Ok((status, body.map(|body| body.to_bytes()).unwrap_or_default()))
        };
        let (status, body) = tokio::time::timeout(TOKEN_TIMEOUT, exchange)
            .await
            .unwrap_or_else(|_| Err(unreachable(format!("no token within {} s", TOKEN_TIMEOUT.as_secs()))))?;
        if !status.is_success() {
            let reason = super::answer::reason(status, &body);
            return Err(match status.as_u16() {
                401 | 403 if credentials.is_some() => {
                    RegistryError::Denied { action, registry: registry.clone(), reason }
                }
                401 | 403 => RegistryError::Unauthorized { action, registry: registry.clone(), reason },
                status => RegistryError::Refused { action, registry: registry.clone(), status, reason },
            });
        }
        read_token(&body).ok_or_else(|| RegistryError::Garbled {
            action,
            registry: registry.clone(),
            reason: "its token service answered without a token".to_owned(),
        })
    }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// Asks as the distribution project's token specification has it: GET with a password, POST with an identity token.
fn token_request(
    mut url: Url,
    scope: &Scope,
    service: Option<&str>,
    credentials: Option<&Credentials>,
) -> Result<Request<super::transport::Body>, hyper::http::Error> {
    let builder = Request::builder().header(USER_AGENT, AGENT).header(ACCEPT, "application/json");
    if let Some(Credentials::IdentityToken(token)) = credentials {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "refresh_token")
            .append_pair("refresh_token", token)
            .append_pair("client_id", "docker-slim")
            .append_pair("service", service.unwrap_or_default())
            .append_pair("scope", &scope.texts().join(" "));
        return builder
            .method(Method::POST)
            .uri(url.as_str())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(full(form.finish()));
    }
    {
        let mut query = url.query_pairs_mut();
        if let Some(service) = service {
            query.append_pair("service", service);
        }
        for text in scope.texts() {
            query.append_pair("scope", &text);
        }
    }
    let builder = builder.method(Method::GET).uri(url.as_str());
    let builder = match credentials {
        Some(Credentials::Password { user, password }) => {
            builder.header(AUTHORIZATION, basic(user, password))
        }
        _ => builder,
    };
    builder.body(full(Bytes::new()))
}

fn read_token(body: &[u8]) -> Option<Token> {
    #[derive(Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
        expires_in: Option<u64>,
    }
    let answer: Answer = serde_json::from_slice(body).ok()?;
    let value = answer.token.filter(|token| !token.is_empty()).or(answer.access_token)?;
    let holds = answer.expires_in.filter(|seconds| *seconds > 0).map_or(TOKEN_HOLDS, Duration::from_secs);
    // Counted from now, not from `issued_at`: clocks differ. A short one is used for at least half of its time.
    let until = Instant::now() + holds.saturating_sub(MARGIN).max(holds / 2);
    Some(Token { value, until })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        let location = RepositoryName { registry: "h:5000".into(), repository: "team/a".into() };
        Scope { location, access: Access::Push, mount_from: Some("team/b".into()) }
    }

    #[test]
    fn a_token_is_asked_for_with_every_scope_and_the_password() {
        let password = Credentials::Password { user: "me".into(), password: "p".into() };
        let url = Url::parse("https://auth.example/token?x=1").unwrap();
        let request = token_request(url, &scope(), Some("reg"), Some(&password)).unwrap();
        assert_eq!(
            request.uri().to_string(),
            "https://auth.example/token?x=1&service=reg&scope=repository%3Ateam%2Fa%3Apull%2Cpush&scope=repository%3Ateam%2Fb%3Apull"
        );
        assert_eq!(request.headers()[AUTHORIZATION], "Basic bWU6cA==");
    }

    #[tokio::test]
    async fn an_identity_token_is_posted_and_in_no_address() {
        let token = Credentials::IdentityToken("refresh".into());
        let url = Url::parse("https://auth.example/token").unwrap();
        let request = token_request(url, &scope(), Some("reg"), Some(&token)).unwrap();
        assert_eq!((request.method(), request.uri().query()), (&Method::POST, None));
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let form = String::from_utf8(body.to_vec()).unwrap();
        assert!(
            form.contains("grant_type=refresh_token") && form.contains("refresh_token=refresh"),
            "{form}"
        );
        assert!(
            form.contains("scope=repository%3Ateam%2Fa%3Apull%2Cpush+repository%3Ateam%2Fb%3Apull"),
            "{form}"
        );
    }

    #[test]
    fn both_names_of_a_token_are_read() {
        assert_eq!(read_token(br#"{"token": "a", "access_token": "b"}"#).unwrap().value, "a");
        assert_eq!(read_token(br#"{"token": "", "access_token": "b"}"#).unwrap().value, "b");
        assert!(read_token(b"{}").is_none() && read_token(b"<html>").is_none());
    }
}
