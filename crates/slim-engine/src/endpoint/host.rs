//! Addresses as `DOCKER_HOST` and `--host` have them.

use super::{DEFAULT_SOCKET, Endpoint, EndpointError, SshEndpoint, TcpEndpoint};
use std::path::PathBuf;

/// Understands one address; `tls` decides the default port of TCP (2376 with, 2375 without).
///
/// # Errors
/// [`EndpointError::Address`] names what is wrong with it.
pub fn parse_host(address: &str, tls: bool) -> Result<Endpoint, EndpointError> {
    let trimmed = address.trim();
    let wrong =
        |reason: &str| EndpointError::Address { address: address.to_owned(), reason: reason.to_owned() };
    let (scheme, rest) = trimmed.split_once("://").unwrap_or(("tcp", trimmed));
    match scheme {
        "unix" if rest.is_empty() => Ok(Endpoint::Unix(PathBuf::from(DEFAULT_SOCKET))),
        "unix" => Ok(Endpoint::Unix(PathBuf::from(rest))),
        "tcp" => parse_tcp(rest, tls).map(Endpoint::Tcp).map_err(wrong),
        "ssh" => parse_ssh(rest).map(Endpoint::Ssh).map_err(wrong),
        "npipe" => Err(wrong("named pipes are Windows's")),
        "fd" => Err(wrong("fd:// is an address for the engine's own side")),
        _ => Err(wrong("this kind of address is not known")),
    }
}

fn parse_tcp(rest: &str, tls: bool) -> Result<TcpEndpoint, &'static str> {
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, ""),
    };
    if path.contains(['?', '#']) || authority.contains('@') {
        return Err("user, query and fragment have no meaning there");
    }
    let (host, port) = split_port(authority)?;
    Ok(TcpEndpoint {
        host: if host.is_empty() { "127.0.0.1".to_owned() } else { host.to_owned() },
        port: port.unwrap_or(if tls { 2376 } else { 2375 }),
        base_path: path.trim_end_matches('/').to_owned(),
        tls: None,
    })
}

fn parse_ssh(rest: &str) -> Result<SshEndpoint, &'static str> {
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, ""),
    };
    if path.contains(['?', '#']) {
        return Err("query and fragment have no meaning there");
    }
    let (user, host_port) = match authority.rsplit_once('@') {
        Some((user, _)) if user.contains(':') => return Err("ssh takes no password in the address"),
        Some((user, host)) => (Some(user).filter(|user| !user.is_empty()), host),
        None => (None, authority),
    };
    let (host, port) = split_port(host_port)?;
    // A name that begins with a dash would be an option to ssh.
    if host.is_empty() || host.starts_with('-') || user.is_some_and(|user| user.starts_with('-')) {
        return Err("the host's name is missing");
    }
    Ok(SshEndpoint {
        program: PathBuf::from("ssh"),
        user: user.map(str::to_owned),
        host: host.to_owned(),
        port,
        socket: Some(path.trim_end_matches('/')).filter(|path| !path.is_empty()).map(str::to_owned),
    })
}

/// Splits `host[:port]`, `[v6][:port]`; a bare IPv6 address is taken whole.
fn split_port(authority: &str) -> Result<(&str, Option<u16>), &'static str> {
    let number = |text: &str| match text {
        "" => Ok(None),
        text => text.parse::<u16>().map(Some).map_err(|_| "the port is no number below 65536"),
    };
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or("the bracket is not closed")?;
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, number(port)?)),
            None if after.is_empty() => Ok((host, None)),
            None => Err("after the bracket comes no port"),
        };
    }
    match authority.rsplit_once(':') {
        Some((host, _)) if host.contains(':') => Ok((authority, None)),
        Some((host, port)) => Ok((host, number(port)?)),
        None => Ok((authority, None)),
    }
}
