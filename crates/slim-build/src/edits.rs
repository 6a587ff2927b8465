//! What the slim image says of itself where it is asked to differ from the fat one: `--new-*`, `--remove-*` and
//! `--image-overrides`.

use slim_engine::Overrides;
use slim_image::Config;
use std::collections::{BTreeMap, BTreeSet};

/// Changes of the slim image's config. The default changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigEdits {
    /// Settings of the watched container that become the image's own.
    pub persist: BTreeSet<Persist>,
    /// An empty list takes the entrypoint away.
    pub entrypoint: Option<Vec<String>>,
    /// An empty list takes the command away.
    pub cmd: Option<Vec<String>>,
    pub workdir: Option<String>,
    /// `NAME=VALUE`; replaces a variable of the same name.
    pub env: Vec<String>,
    pub labels: BTreeMap<String, String>,
    pub expose: Vec<String>,
    pub volumes: Vec<String>,
    /// Names of variables.
    pub remove_env: BTreeSet<String>,
    pub remove_labels: BTreeSet<String>,
    pub remove_expose: BTreeSet<String>,
    pub remove_volumes: BTreeSet<String>,
}

/// A setting of the watched container that may become the image's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Persist {
    Entrypoint,
    Cmd,
    Workdir,
    Env,
    Expose,
    Volume,
    Label,
}

impl Persist {
    /// Every setting that can be persisted, in the flag's own words.
    pub const ALL: [(&'static str, Self); 7] = [
        ("entrypoint", Self::Entrypoint),
        ("cmd", Self::Cmd),
        ("workdir", Self::Workdir),
        ("env", Self::Env),
        ("expose", Self::Expose),
        ("volume", Self::Volume),
        ("label", Self::Label),
    ];
}

impl ConfigEdits {
    /// The config of the slim image of an image with this config that was watched with these overrides.
    #[must_use]
    pub fn applied_to(&self, config: &Config, overrides: &Overrides) -> Config {
        let mut config = config.clone();
        self.persist_overrides(&mut config, overrides);
        self.remove(&mut config);
        self.add(&mut config);
        config
    }

    fn persist_overrides(&self, config: &mut Config, overrides: &Overrides) {
        let persists = |what| self.persist.contains(&what);
        if let Some(entrypoint) = overrides.entrypoint.as_ref().filter(|_| persists(Persist::Entrypoint)) {
            // As `docker run --entrypoint`: the image's CMD belonged to the image's ENTRYPOINT.
            config.entrypoint.clone_from(entrypoint);
            config.cmd.clear();
        }
        if let Some(cmd) = overrides.cmd.as_ref().filter(|_| persists(Persist::Cmd)) {
            config.cmd.clone_from(cmd);
        }
        if let Some(workdir) = overrides.workdir.as_ref().filter(|_| persists(Persist::Workdir)) {
            config.working_dir.clone_from(workdir);
        }
        if persists(Persist::Env) {
            overrides.env.iter().for_each(|variable| set_variable(&mut config.env, variable));
        }
        if persists(Persist::Expose) {
            config.exposed_ports.extend(overrides.exposed_ports.iter().cloned());
        }
        if persists(Persist::Volume) {
            config.volumes.extend(overrides.volumes.iter().cloned());
        }
        if persists(Persist::Label) {
            config.labels.extend(overrides.labels.clone());
        }
    }

    fn remove(&self, config: &mut Config) {
        config.env.retain(|variable| !self.remove_env.contains(variable_name(variable)));
        config.labels.retain(|name, _| !self.remove_labels.contains(name));
        config.exposed_ports.retain(|port| {
            !self.remove_expose.contains(port)
                && !self
                    .remove_expose
                    .contains(port.split_once('/').map_or(port.as_str(), |(number, _)| number))
        });
        config.volumes.retain(|volume| !self.remove_volumes.contains(volume));
    }

    fn add(&self, config: &mut Config) {
        if let Some(entrypoint) = &self.entrypoint {
            config.entrypoint.clone_from(entrypoint);
        }
        if let Some(cmd) = &self.cmd {
            config.cmd.clone_from(cmd);
        }
        if let Some(workdir) = &self.workdir {
            config.working_dir.clone_from(workdir);
        }
        self.env.iter().for_each(|variable| set_variable(&mut config.env, variable));
        config.labels.extend(self.labels.clone());
        config.exposed_ports.extend(self.expose.iter().map(|port| with_protocol(port)));
        config.volumes.extend(self.volumes.iter().cloned());
    }
}

fn variable_name(variable: &str) -> &str {
    variable.split_once('=').map_or(variable, |(name, _)| name)
}

/// Replaces a variable in its place, or adds it at the end.
fn set_variable(env: &mut Vec<String>, variable: &str) {
    let name = variable_name(variable);
    match env.iter_mut().find(|old| variable_name(old) == name) {
        Some(old) => variable.clone_into(old),
        None => env.push(variable.to_owned()),
    }
}

/// `8000` is `8000/tcp`, as in a Dockerfile.
fn with_protocol(port: &str) -> String {
    if port.contains('/') { port.to_owned() } else { format!("{port}/tcp") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn config() -> Config {
        Config {
            entrypoint: words("node server.js"),
            cmd: words("--port 8000"),
            env: words("PATH=/bin MODE=fat"),
            exposed_ports: ["8000/tcp".to_owned(), "53/udp".to_owned()].into(),
            labels: [("a".to_owned(), "1".to_owned())].into(),
            volumes: ["/data".to_owned()].into(),
            ..Config::default()
        }
    }

    #[test]
    fn without_edits_the_config_stays_as_it_is() {
        let overrides =
            Overrides { entrypoint: Some(words("sh")), env: words("X=1"), ..Overrides::default() };
        assert_eq!(ConfigEdits::default().applied_to(&config(), &overrides), config());
    }

    #[test]
    fn a_new_variable_replaces_the_old_one_in_its_place() {
        let edits = ConfigEdits { env: words("PATH=/usr/bin NEW=1"), ..ConfigEdits::default() };
        let edited = edits.applied_to(&config(), &Overrides::default());
        assert_eq!(edited.env, words("PATH=/usr/bin MODE=fat NEW=1"));
    }

    #[test]
    fn removal_goes_by_name_and_a_port_needs_no_protocol() {
        let edits = ConfigEdits {
            remove_env: ["MODE".to_owned()].into(),
            remove_labels: ["a".to_owned()].into(),
            remove_expose: ["8000".to_owned(), "53/udp".to_owned()].into(),
            remove_volumes: ["/data".to_owned()].into(),
            ..ConfigEdits::default()
        };
        let edited = edits.applied_to(&config(), &Overrides::default());
        assert_eq!(edited.env, words("PATH=/bin"));
        assert!(edited.labels.is_empty() && edited.exposed_ports.is_empty() && edited.volumes.is_empty());
    }

    #[test]
    fn only_the_persisted_overrides_become_the_images_own() {
        let overrides = Overrides {
            entrypoint: Some(words("python app.py")),
            workdir: Some("/srv".to_owned()),
            env: words("MODE=slim"),
            ..Overrides::default()
        };
        let edits =
            ConfigEdits { persist: [Persist::Entrypoint, Persist::Env].into(), ..ConfigEdits::default() };
        let edited = edits.applied_to(&config(), &overrides);
        assert_eq!(edited.entrypoint, words("python app.py"));
        assert!(edited.cmd.is_empty(), "the image's CMD belonged to its own ENTRYPOINT");
        assert_eq!(edited.env, words("PATH=/bin MODE=slim"));
        assert_eq!(edited.working_dir, "");
        let overrides = Overrides {
            exposed_ports: ["9000/tcp".to_owned()].into(),
            volumes: ["/more".to_owned()].into(),
            labels: [("b".to_owned(), "2".to_owned())].into(),
            ..Overrides::default()
        };
        let edits =
            ConfigEdits { persist: [Persist::Expose, Persist::Volume, Persist::Label].into(), ..edits };
        let edited = edits.applied_to(&config(), &overrides);
        assert!(edited.exposed_ports.contains("9000/tcp") && edited.exposed_ports.contains("8000/tcp"));
        assert!(edited.volumes.contains("/more") && edited.volumes.contains("/data"));
        assert_eq!(edited.labels["b"], "2");
    }
}
