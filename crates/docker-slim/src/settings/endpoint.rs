//! Flags and environment about where the engine is → the inputs that decide it.

use crate::arguments::GlobalArguments;
use crate::failure::Failure;
use slim_engine::EndpointInputs;
use std::env;
use std::path::{Path, PathBuf};

/// Where the engine is, as the docker CLI finds it.
///
/// # Errors
/// Flags that contradict each other.
pub fn endpoint_inputs(global: &GlobalArguments) -> Result<EndpointInputs, Failure> {
    inputs(global, &|name| env::var(name).ok())
}

/// Whether flags or the environment say where the engine is.
pub fn names_an_address(global: &GlobalArguments, inputs: &EndpointInputs) -> bool {
    let is_given = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    flags_name_an_address(global) || is_given(&inputs.docker_host) || is_given(&inputs.docker_context)
}

/// Where Podman's service may be, as its own client finds it.
pub fn podman_sockets() -> Vec<String> {
    let text = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let user = nix::unistd::geteuid();
    sockets_of_podman(text("CONTAINER_HOST"), text("XDG_RUNTIME_DIR"), user.as_raw())
        .into_iter()
        .filter(|address| address.strip_prefix("unix://").is_none_or(|path| Path::new(path).exists()))
        .collect()
}

/// `CONTAINER_HOST` alone where it is given; else the user's own socket, and for root the system's.
fn sockets_of_podman(host: Option<String>, runtime: Option<String>, user: u32) -> Vec<String> {
    if let Some(host) = host {
        return vec![host];
    }
    let runtime = runtime.unwrap_or_else(|| format!("/run/user/{user}"));
    let own = format!("unix://{runtime}/podman/podman.sock");
    let of_the_system = (user == 0).then(|| "unix:///run/podman/podman.sock".to_owned());
    of_the_system.into_iter().chain([own]).collect()
}

/// Whether flags alone say so.
pub fn flags_name_an_address(global: &GlobalArguments) -> bool {
    let texts = [&global.host, &global.crt_connection, &global.crt_context];
    texts.into_iter().flatten().any(|text| !text.is_empty())
}

fn inputs(
    global: &GlobalArguments,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<EndpointInputs, Failure> {
    let text = |name: &str| environment(name).filter(|value| !value.is_empty());
    let home = text("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
    let (tls, verify) = tls(global, text("DOCKER_TLS"), text("DOCKER_TLS_VERIFY"));
    let cert_path = global.tls_cert_path.clone();
    Ok(EndpointInputs {
        host_flag: host(global)?,
        context_flag: global.crt_context.clone(),
        docker_host: text("DOCKER_HOST"),
        docker_context: text("DOCKER_CONTEXT"),
        docker_tls: tls,
        docker_tls_verify: verify,
        docker_cert_path: cert_path.or_else(|| text("DOCKER_CERT_PATH").map(PathBuf::from)),
        docker_config_dir: text("DOCKER_CONFIG").map_or_else(|| home.join(".docker"), PathBuf::from),
    })
}

/// The address that --host or --crt-connection names; a path is a socket.
fn host(global: &GlobalArguments) -> Result<Option<String>, Failure> {
    let connection = global.crt_connection.as_ref().map(|connection| {
        if connection.starts_with('/') { format!("unix://{connection}") } else { connection.clone() }
    });
    match (&global.host, connection) {
        (Some(host), Some(connection)) if *host != connection => Err(Failure::usage(format!(
            "choose an engine: --host says {host}, --crt-connection says {connection}"
        ))),
        (host, connection) => Ok(host.clone().or(connection)),
    }
}

/// What `DOCKER_TLS` and `DOCKER_TLS_VERIFY` are to be.
fn tls(
    global: &GlobalArguments,
    tls: Option<String>,
    verify: Option<String>,
) -> (Option<String>, Option<String>) {
    let is_wanted = global.tls == Some(true)
        || global.tls_cert_path.is_some()
        || global.tls_verify == Some(true)
        || tls.is_some()
        || verify.is_some();
    if global.tls == Some(false) || !is_wanted {
        return (None, None);
    }
    let is_asked_for_here = global.tls == Some(true) || global.tls_cert_path.is_some();
    let verifies = global.tls_verify.unwrap_or(verify.is_some() || is_asked_for_here);
    (Some("1".to_owned()), verifies.then(|| "1".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_line::tests::parse_with;

    fn of(words: &[&str], environment: &[(&str, &str)]) -> Result<EndpointInputs, Failure> {
        let global = parse_with(&[&["version"], words].concat(), &[]).unwrap().arguments.global;
        inputs(&global, &|name| {
            environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn verified(words: &[&str], environment: &[(&str, &str)]) -> (bool, bool) {
        let inputs = of(words, environment).unwrap();
        (inputs.docker_tls.is_some(), inputs.docker_tls_verify.is_some())
    }

    #[test]
    fn the_engines_address_comes_from_either_flag() {
        assert_eq!(of(&["--host=tcp://a:1"], &[]).unwrap().host_flag.as_deref(), Some("tcp://a:1"));
        let connection = of(&["--crt-connection=/run/podman.sock"], &[]).unwrap();
        assert_eq!(connection.host_flag.as_deref(), Some("unix:///run/podman.sock"));
        assert_eq!(of(&["--crt-context=c"], &[]).unwrap().context_flag.as_deref(), Some("c"));
        assert!(of(&["--host=tcp://a:1", "--crt-connection=/b"], &[]).is_err());
    }

    #[test]
    fn podman_is_where_its_own_client_looks_for_it() {
        let of = |host: Option<&str>, runtime: Option<&str>, user| {
            sockets_of_podman(host.map(str::to_owned), runtime.map(str::to_owned), user)
        };
        assert_eq!(of(Some("tcp://a:1"), Some("/run/user/7"), 0), ["tcp://a:1"]);
        assert_eq!(of(None, Some("/run/x"), 7), ["unix:///run/x/podman/podman.sock"]);
        assert_eq!(of(None, None, 7), ["unix:///run/user/7/podman/podman.sock"]);
        assert_eq!(of(None, None, 0)[0], "unix:///run/podman/podman.sock");
    }

    #[test]
    fn tls_is_as_the_environment_has_it_and_flags_go_before_it() {
        let environment = &[("DOCKER_TLS_VERIFY", "1")];
        assert_eq!(verified(&[], &[]), (false, false));
        assert_eq!(verified(&[], environment), (true, true));
        assert_eq!(verified(&[], &[("DOCKER_TLS", "1")]), (true, false));
        assert_eq!(verified(&["--tls=false"], environment), (false, false));
        assert_eq!(verified(&["--tls-verify=false"], environment), (true, false));
        assert_eq!(verified(&["--tls"], &[]), (true, true));
        assert_eq!(verified(&["--tls-cert-path=/c", "--tls-verify=false"], &[]), (true, false));
        let inputs = of(&["--tls-cert-path=/c"], &[("DOCKER_CERT_PATH", "/d")]).unwrap();
        assert_eq!(inputs.docker_cert_path, Some(PathBuf::from("/c")));
    }
}
