//! Docker through its API, and Podman, which speaks the same.

mod answers;
mod calls;
mod create;
mod images;
mod list;
mod podman;
mod processes;

use crate::endpoint::Endpoint;
use crate::engine::{
    Candidate, ContainerId, ContainerState, Engine, EngineDescription, ExecResult, ExecSpec, HeldImage,
    Login, Logs,
};
use crate::error::EngineError;
use crate::spec::ContainerSpec;
use crate::streams::Attached;
use crate::transport::Transport;
use async_trait::async_trait;
use bollard::query_parameters::{
    CreateContainerOptions, KillContainerOptions, RemoveContainerOptions, StopContainerOptions,
    UploadToContainerOptions,
};
use bytes::Bytes;
use slim_image::config::SourceImage;
use slim_image::history::HistoryEntry;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncRead;
use tokio::sync::{OnceCell, RwLock};

type Result<T> = std::result::Result<T, EngineError>;

/// How long a call that only asks or sets something may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);
/// Bollard's own limit; ours are around every call, each with its own measure.
const NO_TIMEOUT_SECONDS: u64 = 1 << 32;

/// One Docker engine. Cheap to clone; holds no connection.
#[derive(Clone)]
pub struct DockerEngine {
    transport: Transport,
    docker: bollard::Docker,
    api_version: String,
    call_timeout: Duration,
    /// Held by every creation that is under way. A request that was sent makes its container whether or not anybody
    /// still waits for the answer: whoever looks for leftovers must wait for it.
    creations: Arc<RwLock<()>>,
    /// Asked for once, when it first matters.
    kind: Arc<OnceCell<podman::Kind>>,
}

impl DockerEngine {
    /// Finds the engine and agrees on a version of the API.
    ///
    /// # Errors
    /// [`EngineError::NoEngine`] where none answers; [`EngineError::Incompatible`] where there is no common version.
    pub async fn connect(endpoint: &Endpoint) -> Result<Self> {
        Self::connect_with_timeout(endpoint, CALL_TIMEOUT).await
    }

    /// The same with another limit for calls that only ask or set something.
    ///
    /// # Errors
    /// As [`DockerEngine::connect`].
    pub async fn connect_with_timeout(endpoint: &Endpoint, call_timeout: Duration) -> Result<Self> {
        let transport = Transport::new(endpoint)?;
        let for_bollard = transport.clone();
        let docker = bollard::Docker::connect_with_custom_transport(
            move |request| {
                let transport = for_bollard.clone();
                async move { transport.exchange(request).await.map_err(bollard::errors::Error::from) }
            },
            Some("http://docker"),
            NO_TIMEOUT_SECONDS,
            bollard::API_DEFAULT_VERSION,
        )
        .map_err(|error| EngineError::Garbled {
            action: "set up the client".to_owned(),
            reason: error.to_string(),
        })?;
        let api_version = calls::negotiate(&transport, call_timeout).await?;
        transport.set_version(&api_version);
        let (creations, kind) = (Arc::default(), Arc::default());
        Ok(Self { transport, docker, api_version, call_timeout, creations, kind })
    }

    async fn create_container(&self, spec: &ContainerSpec) -> Result<ContainerId> {
        let exposed = if spec.overrides.publish_exposed_ports {
            let mut exposed = self.find_image(&spec.image).await?.config.exposed_ports;
            exposed.extend(spec.overrides.exposed_ports.iter().cloned());
            exposed
        } else {
            std::collections::BTreeSet::new()
        };
        let mut body = create::body(spec, &exposed);
        // Read while the container is made, and then no more.
        let _profiles = if podman::has_profile_inside(&body) && self.kind().await?.is_podman() {
            let failed = |source: std::io::Error| EngineError::CreateFailed {
                image: spec.image.clone(),
                reason: format!("write its seccomp profile for Podman: {source}"),
            };
            podman::profiles_by_path(&mut body).map_err(failed)?
        } else {
            Vec::new()
        };
        let options = CreateContainerOptions { name: spec.name.clone(), ..CreateContainerOptions::default() };
        let action = || format!("create a container of {}", spec.image);
        match self.timed(&action, self.docker.create_container(Some(options), body)).await {
            Ok(created) => {
                for warning in created.warnings {
                    tracing::debug!(%warning, "container created");
                }
                Ok(ContainerId::new(created.id))
            }
            Err(EngineError::Refused { status: 404, reason, .. })
                if reason.to_lowercase().contains("no such image") =>
            {
                Err(EngineError::ImageNotFound { reference: spec.image.clone(), reason })
            }
            Err(EngineError::Refused { reason, .. }) => {
                Err(EngineError::CreateFailed { image: spec.image.clone(), reason })
            }
            Err(error) => Err(error),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        self.transport.endpoint()
    }
}

#[async_trait]
impl Engine for DockerEngine {
    async fn describe(&self) -> Result<EngineDescription> {
        let version: answers::Version = self.ask("ask the engine for its version", "/version").await?;
        let info: answers::Info = self.ask("ask the engine for its settings", "/info").await?;
        Ok(answers::description(version, info, self.endpoint(), &self.api_version))
    }

    async fn inspect_image(&self, reference: &str) -> Result<SourceImage> {
        self.find_image(reference).await
    }

    async fn local_layers(&self, image: &str) -> Result<Option<Vec<PathBuf>>> {
        self.find_layers(image).await
    }

    async fn image_history(&self, reference: &str, layers: usize) -> Result<Vec<HistoryEntry>> {
        self.find_history(reference, layers).await
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<ContainerId> {
        // In a task of its own: it goes on when the caller gives up, and `sweep_candidates` waits for it.
        let (engine, spec) = (self.clone(), spec.clone());
        let under_way = Arc::clone(&self.creations).read_owned().await;
        let made = tokio::spawn(async move {
            let _under_way = under_way;
            engine.create_container(&spec).await
        });
        made.await.map_err(|error| EngineError::Garbled {
            action: "create a container".to_owned(),
            reason: error.to_string(),
        })?
    }

    async fn start(&self, id: &ContainerId) -> Result<()> {
        let action = || format!("start container {}", id.short());
        match self.timed(&action, self.docker.start_container(id.as_str(), None)).await {
            Err(EngineError::Refused { status, reason, .. }) => {
                Err(if calls::means_no_container(status, &reason) {
                    EngineError::ContainerNotFound { action: action(), id: id.to_string() }
                } else {
                    EngineError::StartFailed { id: id.short().to_owned(), reason }
                })
            }
            other => other,
        }
    }

    async fn wait(&self, id: &ContainerId) -> Result<i64> {
        self.wait_for_end(id, "not-running").await
    }

    async fn inspect(&self, id: &ContainerId) -> Result<ContainerState> {
        let action = || format!("inspect container {}", id.short());
        let path = format!("/containers/{}/json", calls::encode(id.as_str()));
        let container: answers::Container =
            self.ask_as(&action, &path).await.map_err(|error| calls::of_container(error, id))?;
        Ok(container.into_state())
    }

    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        let action = || format!("stop container {}", id.short());
        let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
        let options =
            StopContainerOptions { t: Some(i32::try_from(seconds).unwrap_or(i32::MAX)), signal: None };
        let limit = self.call_timeout + Duration::from_secs(seconds);
        self.timed_by(limit, &action, self.docker.stop_container(id.as_str(), Some(options)))
            .await
            .map_err(|error| calls::of_container(error, id))
    }

    async fn kill(&self, id: &ContainerId, signal: &str) -> Result<()> {
        let action = || format!("send {signal} to container {}", id.short());
        let options = KillContainerOptions { signal: signal.to_owned() };
        match self.timed(&action, self.docker.kill_container(id.as_str(), Some(options))).await {
            Err(EngineError::Refused { status: 409, .. }) => Ok(()),
            other => other.map_err(|error| calls::of_container(error, id)),
        }
    }

    async fn pause(&self, id: &ContainerId) -> Result<()> {
        let action = || format!("pause container {}", id.short());
        self.timed(&action, self.docker.pause_container(id.as_str()))
            .await
            .map_err(|error| calls::of_container(error, id))
    }

    async fn unpause(&self, id: &ContainerId) -> Result<()> {
        let action = || format!("continue container {}", id.short());
        self.timed(&action, self.docker.unpause_container(id.as_str()))
            .await
            .map_err(|error| calls::of_container(error, id))
    }

    async fn remove(&self, id: &ContainerId, force: bool) -> Result<()> {
        let action = || format!("remove container {}", id.short());
        let options = RemoveContainerOptions { v: true, force, link: false };
        match self.timed(&action, self.docker.remove_container(id.as_str(), Some(options))).await {
            Err(EngineError::Refused { status, reason, .. })
                if calls::means_no_container(status, &reason) =>
            {
                Ok(())
            }
            Err(EngineError::Refused { status: 409, reason, .. })
                if reason.contains("already in progress") =>
            {
                self.wait_until_removed(id).await
            }
            other => other,
        }
    }

    async fn logs(&self, id: &ContainerId, tail: Option<usize>) -> Result<Logs> {
        self.read_logs(id, tail).await
    }

    async fn copy_in(&self, id: &ContainerId, directory: &str, tar: Vec<u8>) -> Result<()> {
        let action = || format!("copy into {directory} of container {}", id.short());
        let options =
            UploadToContainerOptions { path: directory.to_owned(), ..UploadToContainerOptions::default() };
        let body = bollard::body_full(Bytes::from(tar));
        self.timed(&action, self.docker.upload_to_container(id.as_str(), Some(options), body))
            .await
            .map_err(|error| calls::of_container(error, id))
    }

    async fn attach(&self, id: &ContainerId) -> Result<Attached> {
        self.attach_streams(id).await
    }

    async fn exec(&self, id: &ContainerId, command: &ExecSpec) -> Result<ExecResult> {
        self.run_inside(id, command).await
    }

    async fn takes_layouts(&self) -> Result<bool> {
        Ok(!self.kind().await?.is_podman())
    }

    async fn load_image(&self, archive: Box<dyn AsyncRead + Send + Unpin>) -> Result<Vec<String>> {
        self.load(archive).await
    }

    async fn save_image(&self, reference: &str) -> Result<Box<dyn AsyncRead + Send + Unpin>> {
        self.save(reference).await
    }

    async fn list_images(&self) -> Result<Vec<HeldImage>> {
        self.held_images().await
    }

    async fn pull_image(&self, reference: &str, login: Option<&Login>) -> Result<()> {
        self.pull(reference, login).await
    }

    async fn tag(&self, image: &str, reference: &str) -> Result<()> {
        self.add_name(image, reference).await
    }

    async fn untag(&self, reference: &str) -> Result<()> {
        self.delete_image(reference, false).await
    }

    async fn remove_image(&self, id: &str) -> Result<()> {
        self.delete_image(id, true).await
    }

    async fn image_exists(&self, reference: &str) -> Result<bool> {
        match self.find_image(reference).await {
            Ok(_) | Err(EngineError::ImageUnreadable { .. }) => Ok(true),
            Err(EngineError::ImageNotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn image_names(&self) -> Result<Vec<String>> {
        self.list_names().await
    }

    async fn sweep_candidates(&self) -> Result<Vec<Candidate>> {
        drop(self.creations.write().await);
        self.list_candidates().await
    }

    async fn remove_candidate(&self, candidate: &Candidate) -> Result<()> {
        self.delete_candidate(candidate).await
    }
}
