//! What carries our labels, and its removal.
//!
//! Images are known by temporary names alone. A label on an image says nothing: `docker commit` of a container of ours
//! hands its labels on to an image that is the user's.

use super::{DockerEngine, Result, calls};
use crate::engine::{Candidate, CandidateKind, ContainerId, Engine};
use crate::error::EngineError;
use crate::run::{LABEL_RUN, Run, TEMPORARY_REPOSITORY};
use bollard::query_parameters::RemoveVolumeOptions;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;

type Labels = BTreeMap<String, String>;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    #[serde(default)]
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default, deserialize_with = "nullable")]
    labels: Labels,
    #[serde(default, deserialize_with = "nullable")]
    repo_tags: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Volumes {
    #[serde(default, deserialize_with = "nullable")]
    volumes: Vec<Listed>,
}

fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> std::result::Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

impl DockerEngine {
    pub(super) async fn list_names(&self) -> Result<Vec<String>> {
        let images: Vec<Listed> = self.ask("list images", "/images/json").await?;
        let mut names: Vec<String> = images.into_iter().flat_map(|image| image.repo_tags).collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    pub(super) async fn list_candidates(&self) -> Result<Vec<Candidate>> {
        let labelled = calls::encode(&format!(r#"{{"label":["{LABEL_RUN}"]}}"#));
        let containers: Vec<Listed> =
            self.ask("list containers", &format!("/containers/json?all=1&filters={labelled}")).await?;
        let images: Vec<Listed> = self.ask("list images", "/images/json").await?;
        let volumes: Volumes = self.ask("list volumes", &format!("/volumes?filters={labelled}")).await?;
        let networks: Vec<Listed> =
            self.ask("list networks", &format!("/networks?filters={labelled}")).await?;
        let names = images.into_iter().flat_map(|image| image.repo_tags).filter_map(|name| {
            Run::labels_of_reference(&name).map(|labels| Candidate {
                kind: CandidateKind::ImageName,
                id: name,
                labels,
            })
        });
        let by_id = |kind| move |item: Listed| Candidate { kind, id: item.id, labels: item.labels };
        let mut candidates: Vec<Candidate> = containers
            .into_iter()
            .map(by_id(CandidateKind::Container))
            .chain(names)
            .chain(volumes.volumes.into_iter().map(|volume| Candidate {
                kind: CandidateKind::Volume,
                id: volume.name,
                labels: volume.labels,
            }))
            .chain(networks.into_iter().map(by_id(CandidateKind::Network)))
            .collect();
        candidates.sort();
        Ok(candidates)
    }

    pub(super) async fn delete_candidate(&self, candidate: &Candidate) -> Result<()> {
        let action = || format!("remove {} {}", candidate.kind, candidate.id);
        let id = candidate.id.as_str();
        let removed = match candidate.kind {
            CandidateKind::Container => self.remove(&ContainerId::new(id), true).await,
            CandidateKind::ImageName => {
                debug_assert!(id.starts_with(TEMPORARY_REPOSITORY), "{id}");
                self.delete_image(id, false).await
            }
            CandidateKind::Volume => {
                self.timed(&action, self.docker.remove_volume(id, None::<RemoveVolumeOptions>)).await
            }
            CandidateKind::Network => self.timed(&action, self.docker.remove_network(id)).await,
        };
        match removed {
            Err(error) if error.is_not_found() => Ok(()),
            Err(EngineError::Refused { status: 409, reason, .. })
                if reason.contains("already in progress") =>
            {
                Ok(())
            }
            other => other,
        }
    }
}
