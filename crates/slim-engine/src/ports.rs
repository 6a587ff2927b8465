//! Ports as `--publish-port` has them: `[[HOST_IP:]HOST_PORT:]PORT[/PROTOCOL]`, ranges included.

use crate::spec::SpecError;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

impl FromStr for Protocol {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            _ => Err(()),
        }
    }
}

/// One container port and where on the host it is to be reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublishPort {
    pub container_port: u16,
    pub protocol: Protocol,
    /// `None`: every address of the host.
    pub host_ip: Option<IpAddr>,
    /// `None`: any free port.
    pub host_port: Option<u16>,
}

impl PublishPort {
    /// Understands one `--publish-port`. A range (`8000-8002:9000-9002`) gives several.
    ///
    /// # Errors
    /// [`SpecError::Port`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Vec<Self>, SpecError> {
        Self::parse_parts(text).map_err(|reason| SpecError::Port { text: text.to_owned(), reason })
    }

    fn parse_parts(text: &str) -> Result<Vec<Self>, &'static str> {
        let (address, protocol) = match text.split_once('/') {
            Some((address, protocol)) => {
                (address, protocol.parse().map_err(|()| "the protocol is none of tcp, udp, sctp")?)
            }
            None => (text, Protocol::Tcp),
        };
        let (host, container) = match address.rsplit_once(':') {
            Some((host, container)) => (Some(host), container),
            None => (None, address),
        };
        let container = port_range(container)?;
        let (host_ip, host_port) = match host
            .map(|host| host.rsplit_once(':').map_or(("", host), |pair| pair))
        {
            None => (None, None),
            Some((ip, port)) => (parse_ip(ip)?, (!port.is_empty()).then(|| port_range(port)).transpose()?),
        };
        if host_port.as_ref().is_some_and(|range| range.len() != container.len()) {
            return Err("the two ranges differ in length");
        }
        Ok(container
            .enumerate()
            .map(|(index, container_port)| Self {
                container_port,
                protocol,
                host_ip,
                host_port: host_port.clone().and_then(|mut range| range.nth(index)),
            })
            .collect())
    }

    /// Name of the container's port in the API: `80/tcp`.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}", self.container_port, self.protocol)
    }
}

fn parse_ip(text: &str) -> Result<Option<IpAddr>, &'static str> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    match bare {
        "" => Ok(None),
        _ => bare.parse().map(Some).map_err(|_| "the host's address is no IP address"),
    }
}

fn port_range(text: &str) -> Result<std::ops::RangeInclusive<u16>, &'static str> {
    let number = |text: &str| match text.parse::<u16>() {
        Ok(0) | Err(_) => Err("a port is a number from 1 to 65535"),
        Ok(port) => Ok(port),
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    if last < first { Err("the range ends before it begins") } else { Ok(first..=last) }
}

/// Reads `80/tcp` (or `80`), as image configurations and the API name ports.
#[must_use]
pub fn parse_key(text: &str) -> Option<(u16, Protocol)> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    Some((port.parse().ok()?, protocol.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> PublishPort {
        let mut ports = PublishPort::parse(text).unwrap();
        assert_eq!(ports.len(), 1, "{text}");
        ports.remove(0)
    }

    #[test]
    fn every_form_of_docker_run_is_understood() {
        let port = |host_ip: Option<&str>, host_port, container_port, protocol| PublishPort {
            container_port,
            protocol,
            host_ip: host_ip.map(|ip| ip.parse().unwrap()),
            host_port,
        };
        assert_eq!(one("80"), port(None, None, 80, Protocol::Tcp));
        assert_eq!(one("8080:80"), port(None, Some(8080), 80, Protocol::Tcp));
        assert_eq!(one("53:53/udp"), port(None, Some(53), 53, Protocol::Udp));
        assert_eq!(one("127.0.0.1:8080:80/TCP"), port(Some("127.0.0.1"), Some(8080), 80, Protocol::Tcp));
        assert_eq!(one("127.0.0.1::80"), port(Some("127.0.0.1"), None, 80, Protocol::Tcp));
        assert_eq!(one("[::1]:8080:80"), port(Some("::1"), Some(8080), 80, Protocol::Tcp));
        assert_eq!(one(":80"), port(None, None, 80, Protocol::Tcp));
    }

    #[test]
    fn ranges_pair_up_in_order() {
        let ports = PublishPort::parse("8000-8002:9000-9002").unwrap();
        let pairs: Vec<_> = ports.iter().map(|port| (port.host_port.unwrap(), port.container_port)).collect();
        assert_eq!(pairs, [(8000, 9000), (8001, 9001), (8002, 9002)]);
    }

    #[test]
    fn what_is_no_port_is_refused_with_its_text() {
        for text in ["", "x", "0", "65536", "80/icmp", "1-3:5-6", "9-8", "host:80:80", "1:2:3:4", "-1", "80:"]
        {
            let error = PublishPort::parse(text).expect_err(text);
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn names_of_the_api_are_read_with_and_without_protocol() {
        assert_eq!(parse_key("80/tcp"), Some((80, Protocol::Tcp)));
        assert_eq!(parse_key("53/udp"), Some((53, Protocol::Udp)));
        assert_eq!(parse_key("80"), Some((80, Protocol::Tcp)));
        assert_eq!(parse_key("all"), None);
    }
}
