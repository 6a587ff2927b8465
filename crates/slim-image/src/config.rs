//! What an image says about running it, and what is known of the image that is made slim.
//!
//! The same JSON object is found as `.Config` of an engine's inspection and as `config` of an image's stored
//! configuration; both read into [`Config`]. Fields that this program does not know are carried along unchanged.

use crate::digest::Digest;
use crate::path::ImagePath;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Fields that say something about the container an image was built in, not about the image.
const OF_THE_BUILD: [&str; 12] = [
    "AttachStderr",
    "AttachStdin",
    "AttachStdout",
    "Domainname",
    "Hostname",
    "Image",
    "MacAddress",
    "NetworkDisabled",
    "OpenStdin",
    "StdinOnce",
    "Tty",
    "ContainerConfig",
];

/// The run settings that an image carries. Empty means that the image does not set it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Config {
    /// `user`, `uid`, `user:group`, `uid:gid`.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// `8000/tcp`, `53/udp`.
    #[serde(default, with = "set", skip_serializing_if = "BTreeSet::is_empty")]
    pub exposed_ports: BTreeSet<String>,
    /// `NAME=value`, in the image's order.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    #[serde(default, deserialize_with = "words", skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    #[serde(default, deserialize_with = "words", skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    #[serde(default, with = "set", skip_serializing_if = "BTreeSet::is_empty")]
    pub volumes: BTreeSet<String>,
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// `SIGTERM` or a number.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// What `RUN` and the shell forms of CMD, ENTRYPOINT and HEALTHCHECK use.
    #[serde(default, deserialize_with = "words", skip_serializing_if = "Vec::is_empty")]
    pub shell: Vec<String>,
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
    /// Everything else, as it was found.
    #[serde(flatten, deserialize_with = "unknown")]
    pub unknown: BTreeMap<String, Value>,
}

/// How an engine finds out whether the program is well. Times in nanoseconds, 0 for the engine's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `["CMD", program, …]`, `["CMD-SHELL", line]` or `["NONE"]`.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i64,
}

/// The fat image as an engine or an archive describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceImage {
    /// The digest of the image's configuration: its id.
    pub id: Digest,
    /// The name that was asked for.
    pub reference: String,
    /// `repository:tag` names that the image has.
    #[serde(default)]
    pub tags: Vec<String>,
    /// `repository@digest` names that the image has.
    #[serde(default)]
    pub digests: Vec<String>,
    /// `amd64`, `arm64`, `arm`, …
    pub architecture: String,
    /// `v7` of `arm`, …
    #[serde(default)]
    pub variant: Option<String>,
    /// `linux`.
    pub os: String,
    #[serde(default)]
    pub os_version: Option<String>,
    /// RFC 3339, as the image says it.
    #[serde(default)]
    pub created: Option<String>,
    #[serde(default)]
    pub author: Option<String>,
    /// Bytes of all layers, unpacked.
    pub size: u64,
    pub config: Config,
    /// Digests of the unpacked layers, the base first.
    #[serde(default)]
    pub layer_diff_ids: Vec<Digest>,
}

impl Config {
    /// What the container runs: ENTRYPOINT with CMD behind it; empty where the image names no command.
    #[must_use]
    pub fn command_line(&self) -> Vec<String> {
        self.entrypoint.iter().chain(&self.cmd).cloned().collect()
    }

    /// What HEALTHCHECK runs, as moby's `daemon/health.go` has it: a line is for the image's SHELL, else for /bin/sh. `None`
    /// where there is none.
    #[must_use]
    pub fn health_command(&self) -> Option<Vec<String>> {
        let (kind, words) = self.healthcheck.as_ref()?.test.split_first()?;
        let shell = ["/bin/sh", "-c"].map(str::to_owned);
        match kind.as_str() {
            "CMD" if !words.is_empty() => Some(words.to_vec()),
            "CMD-SHELL" if self.shell.is_empty() => Some(shell.iter().chain(words).cloned().collect()),
            "CMD-SHELL" => Some(self.shell.iter().chain(words).cloned().collect()),
            _ => None,
        }
    }

    /// The signal that stops the program, as the image names it; `SIGTERM` where it names none.
    #[must_use]
    pub fn stop_signal_name(&self) -> &str {
        if self.stop_signal.is_empty() { "SIGTERM" } else { &self.stop_signal }
    }

    /// Where the image's volumes lie, in path order.
    #[must_use]
    pub fn volume_paths(&self) -> Vec<ImagePath> {
        let paths: BTreeSet<ImagePath> = self.volumes.iter().map(ImagePath::new).collect();
        paths.into_iter().collect()
    }

    /// The TCP ports that the image exposes, ascending; ranges are spelt out.
    #[must_use]
    pub fn exposed_tcp_ports(&self) -> Vec<u16> {
        let ports: BTreeSet<u16> = self
            .exposed_ports
            .iter()
            .filter_map(|port| match port.split_once('/') {
                None => Some(port.as_str()),
                Some((ports, "tcp")) => Some(ports),
                Some(_) => None,
            })
            .filter_map(|ports| {
                let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
                Some(first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?)
            })
            .flatten()
            .collect();
        ports.into_iter().collect()
    }

    /// The value of an environment variable; the last one counts.
    #[must_use]
    pub fn env_value(&self, name: &str) -> Option<&str> {
        self.env.iter().rev().find_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            (key == name).then_some(value)
        })
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

pub(crate) fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// A list of words; old images have a single string.
fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        Many(Vec<String>),
        One(String),
    }
    Ok(match Option::<Words>::deserialize(deserializer)? {
        None => Vec::new(),
        Some(Words::One(word)) if word.is_empty() => Vec::new(),
        Some(Words::Many(words)) => words,
        Some(Words::One(word)) => vec![word],
    })
}

fn unknown<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Value>, D::Error> {
    let mut fields = BTreeMap::<String, Value>::deserialize(deserializer)?;
    fields.retain(|name, value| !value.is_null() && !OF_THE_BUILD.contains(&name.as_str()));
    Ok(fields)
}

/// Sets of names are objects with empty values in the stored form.
mod set {
    use super::{BTreeMap, BTreeSet, Deserialize, Deserializer, Serializer, Value};

    pub(super) fn serialize<S: Serializer>(
        names: &BTreeSet<String>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(names.iter().map(|name| (name, serde_json::Map::new())))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeSet<String>, D::Error> {
        let names = Option::<BTreeMap<String, Value>>::deserialize(deserializer)?;
        Ok(names.unwrap_or_default().into_keys().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSPECTED: &str = r#"{
        "Hostname": "vm", "Domainname": "", "User": "", "AttachStdin": false, "Tty": false,
        "ExposedPorts": {"8000/tcp": {}, "53/udp": {}, "9000-9002/tcp": {}},
        "Env": ["PATH=/bin", "B=2", "A=1=1", "B=3"], "Cmd": ["server.js"], "Image": "sha256:12",
        "Volumes": null, "WorkingDir": "/srv", "Entrypoint": ["node"], "OnBuild": null, "Labels": null,
        "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 30000000000},
        "ArgsEscaped": true, "StopTimeout": null
    }"#;

    #[test]
    fn an_inspection_reads_with_its_nulls() {
        let config: Config = serde_json::from_str(INSPECTED).unwrap();
        assert_eq!(config.command_line(), ["node", "server.js"]);
        assert_eq!(config.exposed_tcp_ports(), [8000, 9000, 9001, 9002]);
        assert_eq!(config.env_value("B"), Some("3"));
        assert_eq!(config.stop_signal_name(), "SIGTERM");
        assert_eq!(config.unknown, BTreeMap::from([("ArgsEscaped".to_owned(), Value::Bool(true))]));
    }

    #[test]
    fn what_is_written_is_sorted_and_holds_nothing_of_the_build() {
        let config: Config = serde_json::from_str(INSPECTED).unwrap();
        insta::assert_snapshot!(
            serde_json::to_string(&config).unwrap(),
            @r#"{"ExposedPorts":{"53/udp":{},"8000/tcp":{},"9000-9002/tcp":{}},"Env":["PATH=/bin","B=2","A=1=1","B=3"],"Entrypoint":["node"],"Cmd":["server.js"],"WorkingDir":"/srv","Healthcheck":{"Test":["CMD-SHELL","true"],"Interval":30000000000},"ArgsEscaped":true}"#
        );
        let again: Config = serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
        assert_eq!(again, config);
    }

    #[test]
    fn every_field_survives() {
        let text = r#"{"User":"1000:1000","Cmd":["a"],"Volumes":{"/data/":{},"/a":{}},"Labels":{"b":"2","a":"1"},
            "StopSignal":"SIGQUIT","Shell":["/bin/bash","-c"],"OnBuild":["RUN x"],
            "Healthcheck":{"Test":["NONE"],"Timeout":1,"StartPeriod":2,"StartInterval":3,"Retries":4}}"#;
        let config: Config = serde_json::from_str(text).unwrap();
        let written: Value = serde_json::to_value(&config).unwrap();
        assert_eq!(written, serde_json::from_str::<Value>(text).unwrap());
        assert_eq!(config.volume_paths(), [ImagePath::from("/a"), ImagePath::from("/data")]);
    }

    #[test]
    fn an_entrypoint_may_be_a_single_string() {
        let config: Config = serde_json::from_str(r#"{"Entrypoint":"/run"}"#).unwrap();
        assert_eq!(config.entrypoint, ["/run"]);
    }
}
