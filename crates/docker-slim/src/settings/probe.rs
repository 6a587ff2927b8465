//! Flags of `probe` → whom to probe, and how.

use super::http;
use crate::arguments::ProbeArguments;
use crate::failure::Failure;
use slim_build::HttpJudgement;
use slim_probe::{HttpSettings, ProbeCommand, Protocol};

/// What `probe` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeSettings {
    /// Name or address.
    pub host: String,
    pub http: HttpSettings,
    pub judgement: HttpJudgement,
}

/// The settings of `probe`.
///
/// # Errors
/// What is wrong with the flags.
pub fn probe(arguments: &ProbeArguments) -> Result<ProbeSettings, Failure> {
    let address = match (&arguments.address, &arguments.target) {
        (Some(address), Some(target)) if address != target => Err(Failure::usage(format!(
            "choose what to probe: the argument says {address}, --target says {target}"
        ))),
        (Some(address), _) | (None, Some(address)) => Ok(address),
        _ => Err(Failure::usage("find something to probe: no address was given")
            .with_hint("docker-slim probe http://localhost:8000")),
    }?;
    if arguments.http.http_probe == Some(false) || arguments.http.http_probe_off {
        return Err(Failure::usage("probe: the probe is switched off"));
    }
    let (protocol, host, port) = parts(address).ok_or_else(|| {
        Failure::usage(format!("understand the address {address}"))
            .with_hint("known forms: HOST, HOST:PORT, http://HOST:PORT, https://HOST")
    })?;
    let mut settings = http::settings(&arguments.http)?;
    settings.ports.extend(arguments.port.iter().copied().chain(port));
    if settings.ports.is_empty() {
        settings.ports.push(if protocol.is_some_and(Protocol::is_encrypted) { 443 } else { 80 });
    }
    if settings.commands.is_empty() && protocol.is_some() {
        settings.commands.push(ProbeCommand::get("/"));
    }
    for command in &mut settings.commands {
        command.protocol = command.protocol.or(protocol);
    }
    Ok(ProbeSettings { host: host.to_owned(), http: settings, judgement: http::judgement(&arguments.http) })
}

/// Protocol, host and port of an address.
fn parts(address: &str) -> Option<(Option<Protocol>, &str, Option<u16>)> {
    let (protocol, rest) = match address.split_once("://") {
        Some(("http", rest)) => (Some(Protocol::Http), rest),
        Some(("https", rest)) => (Some(Protocol::Https), rest),
        Some(_) => return None,
        None => (None, address),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match rest.strip_prefix('[') {
        Some(inner) => {
            let (host, port) = inner.split_once(']')?;
            (host, port.strip_prefix(':'))
        }
        // More than one colon without brackets is an address of IPv6.
        None if rest.matches(':').count() == 1 => {
            rest.split_once(':').map(|(host, port)| (host, Some(port)))?
        }
        None => (rest, None),
    };
    let port = port
        .map(|port| port.parse().ok().filter(|port| *port != 0))
        .map_or(Some(None), |port| port.map(Some))?;
    let is_host = !host.is_empty() && !host.contains(['/', ' ', '?', '#', '@']);
    is_host.then_some((protocol, host, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Command;
    use crate::command_line::tests::parse_with;

    fn of(words: &[&str]) -> Result<ProbeSettings, Failure> {
        match parse_with(&[&["probe"], words].concat(), &[]).unwrap().arguments.command {
            Command::Probe(arguments) => probe(&arguments),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_form_of_an_address_is_understood() {
        let seen = |word: &str| {
            let settings = of(&[word]).unwrap();
            let protocol = settings.http.commands.first().and_then(|command| command.protocol);
            (protocol, settings.host, settings.http.ports)
        };
        assert_eq!(seen("localhost"), (None, "localhost".to_owned(), vec![80]));
        assert_eq!(seen("10.0.0.1:8080"), (None, "10.0.0.1".to_owned(), vec![8080]));
        assert_eq!(seen("::1"), (None, "::1".to_owned(), vec![80]));
        assert_eq!(seen("http://[::1]:81/"), (Some(Protocol::Http), "::1".to_owned(), vec![81]));
        assert_eq!(seen("https://a.b"), (Some(Protocol::Https), "a.b".to_owned(), vec![443]));
        for bad in ["", "ftp://a", "http://a/b", "a:0", "a:x", "[::1"] {
            assert!(of(&[bad]).unwrap_err().message.contains("understand the address"), "{bad}");
        }
    }

    #[test]
    fn ports_and_commands_are_the_flags_own() {
        let settings = of(&["--target=a", "--port=81", "--port=82", "--http-probe-cmd=POST:/x"]).unwrap();
        assert_eq!(settings.http.ports, [81, 82]);
        assert_eq!(settings.http.commands[0].method, "POST");
        assert!(of(&[]).unwrap_err().hint.unwrap().contains("probe http://"));
        assert!(of(&["a", "--http-probe-off"]).is_err());
        assert!(of(&["a", "--target=b"]).is_err());
    }
}
