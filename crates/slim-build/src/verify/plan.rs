//! What a run of the program is put through, so that it can be laid beside the observed one.

use crate::exercise::READY_AT_LAST;
use crate::inside;
use crate::observe::Observation;
use crate::settings::Settings;
use slim_engine::{MountSource, Overrides};
use slim_image::{Config, SourceImage};
use slim_probe::{HttpSettings, Recording};
use std::collections::BTreeSet;
use std::time::Duration;

/// A program gets this many times as long as the observed one took, for whatever is waited for …
const TIMES_LONGER: u32 = 10;
/// … at least so long …
const PATIENCE_LEAST: Duration = Duration::from_secs(10);
/// … and at most so long.
const PATIENCE_MOST: Duration = Duration::from_secs(300);

/// A program that is never quiet was taken as ready after a while; it is again, after this many times as long …
const SETTLE_TIMES_LONGER: u32 = 3;
/// … and at least so long.
const SETTLE_LEAST: Duration = Duration::from_secs(5);

/// A program that takes longer to start is not started again just to see that it can be: a build must not take that much
/// longer.
const START_MOST: Duration = Duration::from_secs(3);
/// Whether the fat image comes up with a read-only root is waited for so many times its usual time, and a little more.
const READ_ONLY_TIMES_LONGER: u32 = 3;
const READ_ONLY_LEAST: Duration = Duration::from_millis(1500);

/// What to do with a container, and how patiently.
#[derive(Clone, Debug)]
pub struct Plan {
    pub recording: Option<Recording>,
    pub http: HttpSettings,
    /// Commands to run inside, in order.
    pub commands: Vec<Vec<String>>,
    pub health: Option<inside::HealthCommand>,
    /// TCP ports that the observed program listened on at the end of its exercise.
    pub ports: Vec<u16>,
    /// Those of them that every run opens: others may have been picked by the kernel.
    pub awaited: BTreeSet<u16>,
    /// Whether the observed program ended by itself.
    pub ends: bool,
    /// Whether it ended when it was told to.
    pub stops: bool,
    /// How long the program may take to become ready.
    pub ready_within: Duration,
    /// How long one that listens on nothing may be busy until it is taken as ready.
    pub settles_within: Duration,
    /// How long a command, or a program that does its work and ends, may take.
    pub ends_within: Duration,
    pub stop_grace: Duration,
    /// How a container of the slim image differs from `docker run -P`.
    pub slim_overrides: Overrides,
    /// Whether two containers that run at once would meet: on the host's network, or in what the user mounted.
    pub meets_others: bool,
    /// Whether the same container is started a second time.
    pub second_start: bool,
    /// Whether another container is started with a read-only root.
    pub read_only: bool,
    /// How long the fat image may take to come up with one.
    pub read_only_within: Duration,
    /// Why one or both of these starts are left out, where that is to be said.
    pub left_out: Option<String>,
    /// The image's own user; empty where it names none.
    pub user: String,
    /// TCP ports that a test from outside may look for.
    pub reachable_ports: BTreeSet<u16>,
}

impl Plan {
    /// What the observed run was put through.
    #[must_use]
    pub fn of(settings: &Settings, source: &SourceImage, observation: &Observation) -> Self {
        let behaviour = &observation.behaviour;
        let patience =
            |took: Duration| took.saturating_mul(TIMES_LONGER).clamp(PATIENCE_LEAST, PATIENCE_MOST);
        let starts = LaterStarts::of(settings, observation);
        Self {
            recording: behaviour.answers.clone(),
            http: settings.exercise.http.clone().unwrap_or_default(),
            commands: behaviour.commands.iter().map(|command| command.argv.clone()).collect(),
            health: inside::health_command(&source.config, &settings.keep),
            ports: behaviour.listens.iter().copied().collect(),
            awaited: awaited(behaviour.answers.as_ref(), &behaviour.listens),
            ends: matches!(behaviour.ending, super::Ending::ByItself { .. }),
            stops: matches!(behaviour.ending, super::Ending::Stopped { .. }),
            ready_within: patience(observation.exercised.ready_after),
            settles_within: observation
                .exercised
                .ready_after
                .saturating_mul(SETTLE_TIMES_LONGER)
                .clamp(SETTLE_LEAST, READY_AT_LAST),
            ends_within: patience(observation.exercised.lasted),
            stop_grace: settings.stop_grace,
            slim_overrides: slim_overrides(settings, &observation.effective_config(source, settings)),
            meets_others: meets_others(&settings.container),
            second_start: starts.second,
            read_only: starts.read_only,
            read_only_within: observation
                .exercised
                .ready_after
                .saturating_mul(READ_ONLY_TIMES_LONGER)
                .max(READ_ONLY_LEAST),
            left_out: starts.left_out,
            user: source.config.user.clone(),
            reachable_ports: reachable_ports(settings, source, &behaviour.listens),
        }
    }
}

/// The ports that were asked and answered, and those that nobody picks by chance.
fn awaited(recording: Option<&Recording>, listens: &BTreeSet<u16>) -> BTreeSet<u16> {
    /// Linux's default `net.ipv4.ip_local_port_range`.
    const PICKED_BY_THE_KERNEL: std::ops::RangeInclusive<u16> = 32768..=60999;
    let exchanges = recording.into_iter().flat_map(|recording| &recording.exchanges);
    let asked: BTreeSet<u16> = exchanges
        .filter(|exchange| exchange.response.is_some())
        .map(|exchange| exchange.request.port)
        .collect();
    let is_fixed = |port: &&u16| asked.contains(port) || !PICKED_BY_THE_KERNEL.contains(port);
    listens.iter().filter(is_fixed).copied().collect()
}

/// Which starts besides the first are tried.
#[derive(Debug, PartialEq, Eq)]
struct LaterStarts {
    second: bool,
    read_only: bool,
    left_out: Option<String>,
}

impl LaterStarts {
    fn of(settings: &Settings, observation: &Observation) -> Self {
        let ending = &observation.behaviour.ending;
        let took = match ending {
            super::Ending::ByItself { .. } => observation.exercised.lasted,
            _ => observation.exercised.ready_after,
        };
        // One that must be killed takes the whole grace period each time.
        let ends = !matches!(ending, super::Ending::Killed);
        Self::decide(took, ends, &settings.container)
    }

    fn decide(took: Duration, ends: bool, overrides: &Overrides) -> Self {
        if took > START_MOST {
            let left_out = format!(
                "the program takes {:.1} s: a second start and one with a read-only root were left out of the \
                 verification",
                took.as_secs_f64()
            );
            return Self { second: false, read_only: false, left_out: Some(left_out) };
        }
        let is_read_only = overrides.host_config.is_true("ReadonlyRootfs");
        Self { second: ends, read_only: !is_read_only && !meets_others(overrides), left_out: None }
    }
}

/// The image's and the user's exposed and published ports, and those that the program listens on.
fn reachable_ports(settings: &Settings, source: &SourceImage, listens: &BTreeSet<u16>) -> BTreeSet<u16> {
    let container = &settings.container;
    let number = |port: &String| port.split('/').next().and_then(|number| number.parse::<u16>().ok());
    let mut ports: BTreeSet<u16> = source.config.exposed_tcp_ports().into_iter().collect();
    ports.extend(container.exposed_ports.iter().filter(|port| !port.ends_with("/udp")).filter_map(number));
    ports.extend(container.publish_ports.iter().map(|port| port.container_port));
    ports.extend(listens);
    ports
}

/// Where the slim image's config was changed on purpose, its container is told what the observed one ran with.
fn slim_overrides(settings: &Settings, observed: &Config) -> Overrides {
    let overrides = settings.container.clone();
    if settings.edits == crate::edits::ConfigEdits::default() {
        return overrides;
    }
    let set = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    Overrides {
        entrypoint: Some(observed.entrypoint.clone()),
        cmd: Some(observed.cmd.clone()),
        env: observed.env.clone(),
        user: set(&observed.user),
        workdir: set(&observed.working_dir),
        ..overrides
    }
}

/// Whether containers with these settings reach something that is there once only: the host's ports, another
/// container, files and volumes of the user.
fn meets_others(overrides: &Overrides) -> bool {
    let own_network = ["default", "bridge", "none"];
    let shares_network = overrides.network.as_deref().is_some_and(|network| !own_network.contains(&network));
    let shares_files = overrides.mounts.iter().any(|mount| {
        !mount.read_only && !matches!(mount.source, MountSource::Tmpfs | MountSource::Volume(None))
    });
    shares_network || shares_files || !overrides.links.is_empty() || !overrides.host_config.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use slim_engine::Mount;
    use std::path::Path;

    fn with_mount(mount: &str) -> Overrides {
        let mounts = vec![Mount::parse(mount, Path::new("/")).unwrap()];
        Overrides { mounts, ..Overrides::default() }
    }

    #[test]
    fn a_port_that_the_kernel_picked_is_not_waited_for() {
        assert_eq!(awaited(None, &BTreeSet::from([80, 40123])), BTreeSet::from([80]));
    }

    #[test]
    fn a_program_that_starts_slowly_or_shares_something_is_not_started_again_for_nothing() {
        let decide = |seconds, ends, overrides: &Overrides| {
            let starts = LaterStarts::decide(Duration::from_secs(seconds), ends, overrides);
            (starts.second, starts.read_only, starts.left_out.is_some())
        };
        assert_eq!(decide(1, true, &Overrides::default()), (true, true, false));
        assert_eq!(decide(1, false, &Overrides::default()), (false, true, false));
        assert_eq!(decide(1, true, &with_mount("data:/b")), (true, false, false));
        assert_eq!(decide(9, true, &Overrides::default()), (false, false, true));
    }

    #[test]
    fn two_containers_run_at_once_only_where_they_share_nothing() {
        let network = |name: &str| Overrides { network: Some(name.to_owned()), ..Overrides::default() };
        for apart in
            [Overrides::default(), network("none"), with_mount("/data"), with_mount("/etc/app:/etc/app:ro")]
        {
            assert!(!meets_others(&apart), "{apart:?}");
        }
        for together in [
            network("host"),
            network("shop"),
            network("container:db"),
            with_mount("/a:/b"),
            with_mount("data:/b"),
        ] {
            assert!(meets_others(&together), "{together:?}");
        }
    }
}
