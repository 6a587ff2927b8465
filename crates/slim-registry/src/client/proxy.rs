//! HTTP proxies on the way to registries: which one is used for whom, and the tunnel through it.
//!
//! As curl and Go have it: a registry on this machine is never reached through a proxy; exceptions are hosts, domains with
//! all below them, `host:port`, addresses, networks (`10.0.0.0/8`) and `*`.

use crate::name::{host_and_port, is_loopback};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;
use std::fmt;
use std::io;
use std::net::IpAddr;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use url::Url;

/// A proxy's answer to CONNECT is never longer than this.
const ANSWER_LIMIT: usize = 16 << 10;

/// Which proxies there are, and whom they are not for.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    exceptions: Vec<Exception>,
}

/// One proxy.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proxy {
    pub host: String,
    pub port: u16,
    /// Whether the proxy itself is spoken to by TLS.
    pub is_encrypted: bool,
    /// `Proxy-Authorization`, where its address has a user.
    pub authorization: Option<HeaderValue>,
}

impl fmt::Debug for Proxy {
    /// A password reaches no log.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.host, self.port)
    }
}

/// Why the address of a proxy is none. It may hold a password, and is not told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("use the proxy: {0}")]
pub struct ProxyError(String);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Exception {
    Everybody,
    /// The domain and all below it, or below it alone; with a port where one is written.
    Domain {
        name: String,
        only_below: bool,
        port: Option<u16>,
    },
    Network {
        address: IpAddr,
        bits: u8,
        port: Option<u16>,
    },
}

impl Proxies {
    /// `http`, `https`: the proxy for addresses of that scheme, `http://[user:password@]host[:port]`, `https://…` or
    /// `host:port`; empty: none. `exceptions`: separated by commas, as in `NO_PROXY`.
    ///
    /// # Errors
    /// When an address cannot be understood, or is of another kind (`socks5://`).
    pub fn new(http: &str, https: &str, exceptions: &str) -> Result<Self, ProxyError> {
        let words = exceptions.split([',', ' ']).map(str::trim).filter(|word| !word.is_empty());
        Ok(Self {
            http: Proxy::parse(http)?,
            https: Proxy::parse(https)?,
            exceptions: words.map(Exception::parse).collect(),
        })
    }

    /// The proxy on the way to a host.
    pub(crate) fn on_the_way(&self, is_encrypted: bool, host: &str, port: u16) -> Option<&Proxy> {
        let proxy = if is_encrypted { &self.https } else { &self.http };
        let is_excepted = || self.exceptions.iter().any(|exception| exception.holds(host, port));
        let is_here = is_loopback(host) || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        proxy.as_ref().filter(|_| !is_here && !is_excepted())
    }
}

impl Proxy {
    fn parse(text: &str) -> Result<Option<Self>, ProxyError> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let refuse = |reason: &str| ProxyError(reason.to_owned());
        let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let url = Url::parse(&text).map_err(|error| ProxyError(format!("its address is none: {error}")))?;
        let is_encrypted = match url.scheme() {
            "http" => false,
            "https" => true,
            other => return Err(ProxyError(format!("{other}:// is not known; http:// and https:// are"))),
        };
        let host = url.host_str().ok_or_else(|| refuse("its address names no host"))?;
        let decoded = |text: &str| -> Vec<u8> { percent_decoded(text) };
        let authorization = (!url.username().is_empty()).then(|| {
            let user = decoded(url.username());
            let password = decoded(url.password().unwrap_or_default());
            let pair = [&user[..], b":", &password[..]].concat();
            let mut value =
                HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair))).expect("base64 is ASCII");
            value.set_sensitive(true);
            value
        });
        Ok(Some(Self {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: url.port_or_known_default().unwrap_or(80),
            is_encrypted,
            authorization,
        }))
    }

    /// Has the proxy open a way to a host; what is written from now on reaches that.
    ///
    /// # Errors
    /// When the proxy does not do it: it says why.
    pub(crate) async fn tunnel<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut S,
        host: &str,
        port: u16,
    ) -> io::Result<()> {
        let place = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let mut request = format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n").into_bytes();
        if let Some(authorization) = &self.authorization {
            request.extend_from_slice(b"Proxy-Authorization: ");
            request.extend_from_slice(authorization.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        stream.write_all(&request).await?;
        stream.flush().await?;
        let mut answer = Vec::new();
        // One by one: what follows the head is the host's.
        while !answer.ends_with(b"\r\n\r\n") {
            if answer.len() == ANSWER_LIMIT {
                return Err(self.refused("its answer does not end"));
            }
            match stream.read_u8().await {
                Ok(byte) => answer.push(byte),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(self.refused("it closed the connection"));
                }
                Err(error) => return Err(error),
            }
        }
        let head = String::from_utf8_lossy(&answer);
        let line = head.lines().next().unwrap_or_default();
        match line.split(' ').nth(1) {
            Some(status) if line.starts_with("HTTP/1.") && status.starts_with('2') => Ok(()),
            _ => Err(self.refused(&format!("it says {:?}", line.trim()))),
        }
    }

    fn refused(&self, reason: &str) -> io::Error {
        io::Error::other(format!("the proxy {self:?} opens no way there: {reason}"))
    }
}

impl Exception {
    fn parse(word: &str) -> Self {
        if word == "*" {
            return Self::Everybody;
        }
        if let Some((address, bits)) = word.split_once('/')
            && let (Ok(address), Ok(bits)) = (address.parse(), bits.parse())
        {
            return Self::Network { address, bits, port: None };
        }
        if let Ok(address) = word.parse::<IpAddr>() {
            return Self::Network { address, bits: 128, port: None };
        }
        let (host, port) = host_and_port(word);
        if let Ok(address) = host.parse::<IpAddr>() {
            return Self::Network { address, bits: 128, port };
        }
        let bare = host.strip_prefix('*').unwrap_or(host);
        let name = bare.strip_prefix('.').unwrap_or(bare).to_ascii_lowercase();
        Self::Domain { name, only_below: bare.starts_with('.'), port }
    }

    fn holds(&self, host: &str, port: u16) -> bool {
        let is_port = |wanted: &Option<u16>| wanted.is_none_or(|wanted| wanted == port);
        match self {
            Self::Everybody => true,
            Self::Domain { name, only_below, port } => {
                let host = host.to_ascii_lowercase();
                let is_below = host.strip_suffix(name).is_some_and(|start| start.ends_with('.'));
                is_port(port) && (is_below || (!only_below && host == *name))
            }
            Self::Network { address, bits, port } => {
                is_port(port) && host.parse().is_ok_and(|host: IpAddr| is_within(host, *address, *bits))
            }
        }
    }
}

/// Whether the first bits of two addresses of one kind are the same.
fn is_within(host: IpAddr, network: IpAddr, bits: u8) -> bool {
    let shifted = |address: u128, length: u8| {
        let unimportant = u32::from(length.saturating_sub(bits.min(length)));
        address.checked_shr(unimportant).unwrap_or(0)
    };
    match (host, network) {
        (IpAddr::V4(host), IpAddr::V4(network)) => {
            shifted(u128::from(host.to_bits()), 32) == shifted(u128::from(network.to_bits()), 32)
        }
        (IpAddr::V6(host), IpAddr::V6(network)) => {
            shifted(host.to_bits(), 128) == shifted(network.to_bits(), 128)
        }
        _ => false,
    }
}

/// `%41` → `A`, as user and password stand in an address.
fn percent_decoded(text: &str) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = (first == b'%').then(|| tail.get(..2)).flatten();
        let escaped =
            escaped.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        decoded.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(exceptions: &str, host: &str, port: u16) -> bool {
        Proxies::new("", "p.example:3128", exceptions).unwrap().on_the_way(true, host, port).is_some()
    }

    #[test]
    fn each_scheme_has_its_proxy_and_this_machine_none() {
        let proxies = Proxies::new("http://h.example", "https://s.example:1", "").unwrap();
        let plain = proxies.on_the_way(false, "r.example", 80).unwrap();
        assert_eq!((plain.host.as_str(), plain.port, plain.is_encrypted), ("h.example", 80, false));
        let encrypted = proxies.on_the_way(true, "r.example", 443).unwrap();
        assert_eq!((encrypted.host.as_str(), encrypted.port, encrypted.is_encrypted), ("s.example", 1, true));
        for host in ["localhost", "127.0.0.1", "::1"] {
            assert!(proxies.on_the_way(false, host, 5000).is_none(), "{host}");
        }
        assert!(Proxies::default().on_the_way(true, "r.example", 443).is_none());
    }

    #[test]
    fn exceptions_are_hosts_domains_networks_and_ports() {
        for (exceptions, host, port) in [
            ("*", "a.example", 1),
            ("a.example", "a.example", 1),
            ("a.example", "b.A.example", 1),
            (".a.example", "b.a.example", 1),
            ("*.a.example", "b.a.example", 1),
            ("x, a.example:443", "a.example", 443),
            ("10.0.0.0/8", "10.1.2.3", 1),
            ("10.1.2.3", "10.1.2.3", 1),
            ("10.1.2.3:5", "10.1.2.3", 5),
            ("fd00::/8", "fd00::1", 1),
        ] {
            assert!(!way(exceptions, host, port), "{exceptions} {host}");
        }
        for (exceptions, host, port) in [
            ("", "a.example", 1),
            ("a.example", "ba.example", 1),
            (".a.example", "a.example", 1),
            ("a.example:443", "a.example", 5000),
            ("10.0.0.0/8", "11.1.2.3", 1),
            ("10.1.2.3", "10.1.2.4", 1),
            ("10.0.0.0/8", "ten.example", 1),
        ] {
            assert!(way(exceptions, host, port), "{exceptions} {host}");
        }
    }

    #[test]
    fn a_user_in_the_address_is_told_to_the_proxy_alone() {
        let proxies = Proxies::new("http://us%65r:p%40ss@p.example:8080", "", "").unwrap();
        let proxy = proxies.on_the_way(false, "r.example", 80).unwrap();
        let expected = format!("Basic {}", STANDARD.encode("user:p@ss"));
        assert_eq!(proxy.authorization.as_ref().unwrap(), &expected);
        assert!(!format!("{proxies:?}").contains("ss"));
    }

    #[test]
    fn proxies_of_other_kinds_are_refused() {
        for address in ["socks5://p.example", "http://", "http://a:b:c"] {
            assert!(Proxies::new(address, "", "").is_err(), "{address}");
        }
        let error = Proxies::new("socks5://user:secret@p.example", "", "").unwrap_err().to_string();
        assert!(error.contains("socks5") && !error.contains("secret"), "{error}");
    }
}
