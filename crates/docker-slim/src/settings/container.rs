//! Flags about the fat container → how it differs from `docker run -P IMAGE`.

use super::files::{read, read_lines};
use super::text::{command, pairs, paths, ports};
use crate::arguments::ContainerArguments;
use crate::failure::Failure;
use slim_engine::{HostConfigFile, Mount, Overrides, PublishPort};
use std::env;
use std::net::IpAddr;

/// The container's settings.
///
/// # Errors
/// What is wrong with a flag, or a file of them.
pub fn settings(arguments: &ContainerArguments) -> Result<Overrides, Failure> {
    let mut publish_ports = Vec::new();
    for text in &arguments.publish_port {
        publish_ports.extend(PublishPort::parse(text).map_err(|error| Failure::usage(error.to_string()))?);
    }
    let directory =
        env::current_dir().map_err(|error| Failure::usage(format!("find the working directory: {error}")))?;
    let mounts = arguments
        .mount
        .iter()
        .map(|text| Mount::parse(text, &directory).map_err(|error| Failure::usage(error.to_string())))
        .collect::<Result<_, _>>()?;
    Ok(Overrides {
        entrypoint: command("--entrypoint", arguments.entrypoint.as_deref())?,
        cmd: command("--cmd", arguments.cmd.as_deref())?,
        env: variables(arguments)?,
        user: arguments.user.clone(),
        workdir: arguments.workdir.clone(),
        hostname: arguments.hostname.clone(),
        network: arguments.network.clone(),
        mounts,
        publish_ports,
        publish_exposed_ports: arguments.publish_exposed_ports,
        init: false,
        exposed_ports: ports("--expose", &arguments.expose)?,
        volumes: paths("--volume", &arguments.volume)?,
        labels: pairs("--label", &arguments.label)?,
        links: arguments.link.clone(),
        extra_hosts: extra_hosts(&arguments.etc_hosts_map)?,
        dns: addresses(&arguments.container_dns)?,
        dns_search: arguments.container_dns_search.clone(),
        runtime: arguments.cro_runtime.clone(),
        sysctls: pairs("--cro-sysctl", &arguments.cro_sysctl)?,
        shm_size: (arguments.cro_shm_size >= 0).then_some(arguments.cro_shm_size),
        host_config: host_config(arguments)?,
    })
}

/// The variables of the file, then those of the flags: the engine takes the last of a name.
fn variables(arguments: &ContainerArguments) -> Result<Vec<String>, Failure> {
    let mut variables = match &arguments.env_file {
        Some(path) => read_lines("--env-file", path)?,
        None => Vec::new(),
    };
    if let Some(text) = variables.iter().chain(&arguments.env).find(|text| text.starts_with('=')) {
        return Err(Failure::usage(format!("understand --env {text}: the variable has no name")));
    }
    variables.extend(arguments.env.iter().cloned());
    Ok(variables.iter().filter_map(|variable| environment(variable)).collect())
}

/// As `docker run --env`: a name alone takes the value from here and is left out where there is none.
fn environment(variable: &str) -> Option<String> {
    if variable.contains('=') {
        return Some(variable.to_owned());
    }
    env::var(variable).ok().map(|value| format!("{variable}={value}"))
}

fn extra_hosts(texts: &[String]) -> Result<Vec<String>, Failure> {
    let check = |text: &String| match text.split_once([':', '=']) {
        // Docker's own word for the host that the engine runs on.
        Some((name, "host-gateway")) if !name.is_empty() => Ok(format!("{name}:host-gateway")),
        Some((name, address)) if !name.is_empty() && address.parse::<IpAddr>().is_ok() => {
            Ok(format!("{name}:{address}"))
        }
        _ => Err(Failure::usage(format!("understand --etc-hosts-map {text}: the form is HOST:ADDRESS"))),
    };
    texts.iter().map(check).collect()
}

fn addresses(texts: &[String]) -> Result<Vec<String>, Failure> {
    let check = |text: &String| match text.parse::<IpAddr>() {
        Ok(address) => Ok(address.to_string()),
        Err(_) => Err(Failure::usage(format!("understand --container-dns {text}: it is no IP address"))),
    };
    texts.iter().map(check).collect()
}

fn host_config(arguments: &ContainerArguments) -> Result<HostConfigFile, Failure> {
    let Some(path) = &arguments.cro_host_config_file else { return Ok(HostConfigFile::default()) };
    HostConfigFile::parse(&read("--cro-host-config-file", path)?)
        .map_err(|error| Failure::usage(format!("read --cro-host-config-file {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_line::tests::build;

    fn of(words: &[&str]) -> Overrides {
        settings(&build(words).common.container).unwrap()
    }

    fn refusal(word: &str) -> String {
        settings(&build(&[word]).common.container).unwrap_err().message
    }

    #[test]
    fn every_flag_about_the_container_sets_its_setting() {
        let default = Overrides::default;
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let pair = |key: &str, value: &str| [(key.to_owned(), value.to_owned())].into();
        let some = |text: &str| Some(text.to_owned());
        for (flag, expected) in [
            ("--quiet", default()),
            ("--entrypoint=a b", Overrides { entrypoint: Some(texts(&["a", "b"])), ..default() }),
            ("--cmd=a b", Overrides { cmd: Some(texts(&["a", "b"])), ..default() }),
            ("--env=A=1,2", Overrides { env: texts(&["A=1,2"]), ..default() }),
            ("--env=A=", Overrides { env: texts(&["A="]), ..default() }),
            ("--user=me", Overrides { user: some("me"), ..default() }),
            ("--workdir=/w", Overrides { workdir: some("/w"), ..default() }),
            ("--hostname=h", Overrides { hostname: some("h"), ..default() }),
            ("--network=n", Overrides { network: some("n"), ..default() }),
            (
                "--mount=/a:/b",
                Overrides { mounts: vec![Mount::parse("/a:/b", "/".as_ref()).unwrap()], ..default() },
            ),
            (
                "--publish-port=8080:80",
                Overrides { publish_ports: PublishPort::parse("8080:80").unwrap(), ..default() },
            ),
            ("--publish-exposed-ports", Overrides { publish_exposed_ports: true, ..default() }),
            (
                "--expose=9000-9001",
                Overrides {
                    exposed_ports: texts(&["9000/tcp", "9001/tcp"]).into_iter().collect(),
                    ..default()
                },
            ),
            ("--volume=/data", Overrides { volumes: texts(&["/data"]).into_iter().collect(), ..default() }),
            ("--label=a=b=c", Overrides { labels: pair("a", "b=c"), ..default() }),
            ("--link=db:d", Overrides { links: texts(&["db:d"]), ..default() }),
            ("--etc-hosts-map=db:10.0.0.1", Overrides { extra_hosts: texts(&["db:10.0.0.1"]), ..default() }),
            ("--etc-hosts-map=db:::1", Overrides { extra_hosts: texts(&["db:::1"]), ..default() }),
            ("--container-dns=10.0.0.2", Overrides { dns: texts(&["10.0.0.2"]), ..default() }),
            ("--container-dns-search=a.b", Overrides { dns_search: texts(&["a.b"]), ..default() }),
            ("--cro-runtime=crun", Overrides { runtime: some("crun"), ..default() }),
            ("--cro-sysctl=a.b=1", Overrides { sysctls: pair("a.b", "1"), ..default() }),
            ("--cro-shm-size=100", Overrides { shm_size: Some(100), ..default() }),
            ("--cro-shm-size=-1", default()),
        ] {
            assert_eq!(of(&[flag]), expected, "{flag}");
        }
    }

    #[test]
    fn files_bring_variables_and_host_settings() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "# mine\nA=1\n\nB=two words\nSURELY_NOT_SET_ANYWHERE\n").unwrap();
        let file = format!("--env-file={}", path.display());
        assert_eq!(of(&[&file, "--env=A=2"]).env, ["A=1", "B=two words", "A=2"]);
        std::fs::write(&path, r#"{"Memory": 1000}"#).unwrap();
        let file = format!("--cro-host-config-file={}", path.display());
        assert_eq!(of(&[&file]).host_config, HostConfigFile::parse(r#"{"Memory": 1000}"#).unwrap());
        std::fs::write(&path, r#"{"Memroy": 1000}"#).unwrap();
        assert!(refusal(&file).contains("Memroy"));
        assert!(refusal("--env-file=/none").contains("/none"));
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_flag() {
        for (flag, value) in [
            ("--env", "=1"),
            ("--expose", "x"),
            ("--volume", "relative"),
            ("--label", "x"),
            ("--etc-hosts-map", "db:nowhere"),
            ("--container-dns", "x"),
            ("--cro-sysctl", "x"),
            ("--cro-host-config-file", "/none"),
            ("--mount", "a:b:c:d"),
            ("--publish-port", "x"),
        ] {
            let refused = refusal(&format!("{flag}={value}"));
            assert!(refused.contains(value), "{flag}: {refused}");
        }
    }
}
