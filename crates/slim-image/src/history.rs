//! The history of an image: what `docker history` shows. That of a slim image is written as a Dockerfile would say it;
//! that of a fat one is read where an engine tells it.

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

/// Instructions that never leave a layer.
const WITHOUT_LAYER: [&str; 13] = [
    "ARG",
    "CMD",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
];

/// Finds out which steps left a layer, where an engine tells only how many bytes each added: a step of no bytes may have
/// left one (of directories alone) or not. `steps`: the oldest first, each with its bytes; `layers`: how many the image
/// has. `None` where that cannot be told.
#[must_use]
pub fn with_layers(steps: Vec<(HistoryEntry, u64)>, layers: usize) -> Option<Vec<HistoryEntry>> {
    let is_open = |entry: &HistoryEntry, size: u64| size == 0 && !WITHOUT_LAYER.contains(&instruction(entry));
    let choices: [fn(&str) -> bool; 4] =
        [|_| true, |_| false, |instruction| instruction != "WORKDIR", |instruction| instruction == "WORKDIR"];
    let left = |entry: &HistoryEntry, size: u64, choice: fn(&str) -> bool| {
        size > 0 || (is_open(entry, size) && choice(instruction(entry)))
    };
    let fits = |choice: &fn(&str) -> bool| {
        steps.iter().filter(|(entry, size)| left(entry, *size, *choice)).count() == layers
    };
    let choice = choices.into_iter().find(fits)?;
    let entries = steps.into_iter().map(|(entry, size)| {
        let empty_layer = !left(&entry, size, choice);
        HistoryEntry { empty_layer, ..entry }
    });
    Some(entries.collect())
}

/// The comment on steps of ours.
pub(crate) const COMMENT: &str = "docker-slim";

/// Whether a history has a step of ours: a flat slim image's always has.
#[must_use]
pub fn is_slim(steps: &[HistoryEntry]) -> bool {
    steps.iter().any(|step| step.comment.as_deref() == Some(COMMENT))
}

/// The first word of a step, without the classic builder's preface.
fn instruction(step: &HistoryEntry) -> &str {
    let text = step.created_by.as_deref().unwrap_or_default();
    let line = text.split_once("#(nop)").map_or(text, |(_, rest)| rest);
    line.split_whitespace().next().unwrap_or_default()
}

/// The history of an image with one content layer and this config.
#[must_use]
pub(crate) fn of(config: &Config, created: Option<&str>) -> Vec<HistoryEntry> {
    let step = |line: String, empty_layer| HistoryEntry {
        created: created.map(str::to_owned),
        created_by: Some(line),
        comment: Some(COMMENT.to_owned()),
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

    fn left_layers(steps: &[(&str, u64)], layers: usize) -> Option<Vec<bool>> {
        let entry =
            |line: &str| HistoryEntry { created_by: Some(line.to_owned()), ..HistoryEntry::default() };
        let steps = steps.iter().map(|(line, size)| (entry(line), *size)).collect();
        Some(with_layers(steps, layers)?.iter().map(|step| !step.empty_layer).collect())
    }

    #[test]
    fn steps_that_left_layers_are_told_by_their_bytes_and_the_number_of_layers() {
        let classic = [
            ("/bin/sh -c #(nop) ADD file:1 in /", 9),
            ("/bin/sh -c #(nop)  CMD [\"bash\"]", 0),
            ("/bin/sh -c mkdir /a", 0),
        ];
        assert_eq!(left_layers(&classic, 2), Some(vec![true, false, true]));
        assert_eq!(left_layers(&classic, 1), Some(vec![true, false, false]));
        assert_eq!(left_layers(&classic, 3), None);
        let mixed = [("WORKDIR /a", 0), ("RUN mkdir /b # buildkit", 0), ("ENV A=1", 0), ("COPY a /b", 1)];
        assert_eq!(left_layers(&mixed, 3), Some(vec![true, true, false, true]));
        assert_eq!(left_layers(&mixed, 2), Some(vec![false, true, false, true]));
        assert_eq!(left_layers(&[], 0), Some(vec![]));
    }

    #[test]
    fn a_disabled_health_check_stays_disabled() {
        let check = Healthcheck { test: vec!["NONE".to_owned()], ..Healthcheck::default() };
        assert_eq!(healthcheck(&check).as_deref(), Some("HEALTHCHECK NONE"));
    }
}
