//! The history of a slim image: what `docker history` shows, as a Dockerfile would say it.

use crate::config::{Config, Healthcheck};
use serde::{Deserialize, Serialize};

/// One step of an image's making, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Whether the step left no layer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// The history of an image with one content layer and this config.
#[must_use]
pub(crate) fn of(config: &Config, created: Option<&str>) -> Vec<HistoryEntry> {
    let step = |line: String, empty_layer| HistoryEntry {
        created: created.map(str::to_owned),
        created_by: Some(line),
        comment: Some("docker-slim".to_owned()),
        author: None,
        empty_layer,
    };
    let mut history = vec![step("COPY files in /".to_owned(), false)];
    history.extend(instructions(config).into_iter().map(|line| step(line, true)));
    history
}

/// The Dockerfile instructions that say what the config says.
fn instructions(config: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    if !config.working_dir.is_empty() {
        lines.push(format!("WORKDIR {}", config.working_dir));
    }
    lines.extend(config.env.iter().map(|pair| format!("ENV {pair}")));
    lines.extend(config.labels.iter().map(|(name, value)| format!("LABEL {name}={value}")));
    if !config.volumes.is_empty() {
        lines.push(format!("VOLUME {}", array(&config.volumes)));
    }
    if !config.user.is_empty() {
        lines.push(format!("USER {}", config.user));
    }
    if !config.exposed_ports.is_empty() {
        let ports: Vec<&str> = config.exposed_ports.iter().map(String::as_str).collect();
        lines.push(format!("EXPOSE {}", ports.join(" ")));
    }
    if !config.stop_signal.is_empty() {
        lines.push(format!("STOPSIGNAL {}", config.stop_signal));
    }
    lines.extend(config.healthcheck.as_ref().and_then(healthcheck));
    lines.extend(config.on_build.iter().map(|line| format!("ONBUILD {line}")));
    for (name, words) in [("SHELL", &config.shell), ("ENTRYPOINT", &config.entrypoint), ("CMD", &config.cmd)]
    {
        if !words.is_empty() {
            lines.push(format!("{name} {}", array(words)));
        }
    }
    lines
}

fn healthcheck(check: &Healthcheck) -> Option<String> {
    let (kind, words) = check.test.split_first()?;
    if kind == "NONE" {
        return Some("HEALTHCHECK NONE".to_owned());
    }
    let mut line = "HEALTHCHECK".to_owned();
    for (name, nanoseconds) in [
        ("interval", check.interval),
        ("timeout", check.timeout),
        ("start-period", check.start_period),
        ("start-interval", check.start_interval),
    ] {
        if nanoseconds != 0 {
            line.push_str(&format!(" --{name}={}", duration(nanoseconds)));
        }
    }
    if check.retries != 0 {
        line.push_str(&format!(" --retries={}", check.retries));
    }
    let command = if kind == "CMD-SHELL" { words.join(" ") } else { array(words) };
    Some(format!("{line} CMD {command}"))
}

/// `90s`, `1500ms`: what a Dockerfile takes.
fn duration(nanoseconds: i64) -> String {
    [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us")]
        .into_iter()
        .find(|(unit, _)| nanoseconds % unit == 0)
        .map_or_else(|| format!("{nanoseconds}ns"), |(unit, name)| format!("{}{name}", nanoseconds / unit))
}

fn array<'a>(words: impl IntoIterator<Item = &'a String>) -> String {
    let words: Vec<String> =
        words.into_iter().map(|word| serde_json::Value::from(word.as_str()).to_string()).collect();
    format!("[{}]", words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_reads_like_a_dockerfile() {
        let config: Config = serde_json::from_str(
            r#"{"User":"node","ExposedPorts":{"8000/tcp":{},"53/udp":{}},"Env":["B=2","A=x y"],"Cmd":["server.js"],
            "Entrypoint":["node","-e \"x\""],"Volumes":{"/data":{}},"WorkingDir":"/srv","Labels":{"k":"v"},
            "StopSignal":"SIGQUIT","Shell":["/bin/bash","-c"],"OnBuild":["RUN x"],"Healthcheck":
            {"Test":["CMD-SHELL","curl localhost"],"Interval":90000000000,"Timeout":1500000000,"Retries":3}}"#,
        )
        .unwrap();
        insta::assert_snapshot!(instructions(&config).join("\n"), @r#"
        WORKDIR /srv
        ENV B=2
        ENV A=x y
        LABEL k=v
        VOLUME ["/data"]
        USER node
        EXPOSE 53/udp 8000/tcp
        STOPSIGNAL SIGQUIT
        HEALTHCHECK --interval=90s --timeout=1500ms --retries=3 CMD curl localhost
        ONBUILD RUN x
        SHELL ["/bin/bash", "-c"]
        ENTRYPOINT ["node", "-e \"x\""]
        CMD ["server.js"]
        "#);
    }

    #[test]
    fn the_only_step_that_left_a_layer_is_the_oldest() {
        let config = Config { cmd: vec!["a".to_owned()], ..Config::default() };
        let history = of(&config, Some("2024-01-01T00:00:00Z"));
        assert_eq!(history.iter().map(|step| step.empty_layer).collect::<Vec<_>>(), [false, true]);
        assert_eq!(history[0].created_by.as_deref(), Some("COPY files in /"));
    }

    #[test]
    fn a_disabled_health_check_stays_disabled() {
        let check = Healthcheck { test: vec!["NONE".to_owned()], ..Healthcheck::default() };
        assert_eq!(healthcheck(&check).as_deref(), Some("HEALTHCHECK NONE"));
    }
}
