//! What a build made in the engine and must not leave behind.
//!
//! Invariant: containers carry the run's labels from the moment they exist, and an image comes in under a temporary name
//! of the run, so that cleaning goes by what the engine knows and finds also what was made but never came back.

use crate::settings::Settings;
use slim_engine::{ContainerSpec, Run};
use std::collections::BTreeMap;

/// Says what a container is for; beside the run's own labels.
const LABEL_ROLE: &str = "docker-slim.role";

/// What a container is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Runs the fat image's program under the sensor.
    Fat,
    /// Serves the fat image's files.
    Collector,
    /// Watches the others from beside them.
    Sidecar,
    /// Runs the fat image's program once more, unobserved: what differs from the first run is not stable.
    Reference,
    /// Runs the slim image's program under its profile.
    Verify,
}

/// A container that runs the program of `image` with the settings that the user asked for.
#[must_use]
pub fn program_container(settings: &Settings, image: &str, role: Role) -> ContainerSpec {
    ContainerSpec {
        labels: labels(&settings.run, role),
        ..ContainerSpec::published(image, settings.container.clone())
    }
}

/// The labels of a container of this run.
#[must_use]
pub fn labels(run: &Run, role: Role) -> BTreeMap<String, String> {
    let mut labels = run.labels();
    let role = match role {
        Role::Fat => "fat",
        Role::Collector => "collector",
        Role::Sidecar => "sidecar",
        Role::Reference => "reference",
        Role::Verify => "verify",
    };
    labels.insert(LABEL_ROLE.to_owned(), role.to_owned());
    labels
}
