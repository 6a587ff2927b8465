//! An engine without a daemon: images in a store of our own, containers by libcontainer, each held by a process of its own
//! ([`keeper`]).
//!
//! What is known of containers is in files below the store, so that every docker-slim of this machine sees the same ones,
//! and the leftovers of dead runs. It needs root, or is root of a user namespace ([`user_namespace`]).
//!
//! Here the verbs of [`Engine`] are told who does them: [`containers`] a container's way through life, [`attaching`] its
//! streams, [`execution`] commands beside its program, [`copying`] files into it, [`logs`] what it wrote. The keeper
//! builds on [`filesystem`], [`network`], [`bridge`], [`publishing`], [`streams`], and on [`program`] for the last steps.

mod apparmor;
mod attaching;
mod bridge;
mod containers;
mod control_group;
mod copying;
mod create;
mod execution;
mod filesystem;
mod filter;
mod health;
mod helper;
mod joining;
mod keeper;
mod log;
mod logs;
mod network;
mod oci;
mod place;
mod processes;
mod program;
mod publishing;
mod record;
mod rooted;
mod seccomp;
mod signals;
mod store;
mod streams;
mod telling;
mod terminal;
pub mod user_namespace;
mod users;
mod volumes;

pub use attaching::{Control, Size, Streams};
pub use containers::Listed;
pub use execution::{Connection, Execution};
pub use health::{Health, HealthResult, HealthStatus};
pub use log::Stream;
pub use seccomp::check_seccomp;
pub use store::{Pruned, Receiving, Store, StoredImage};
pub use volumes::StoredVolume;

use crate::engine::{
    Candidate, CandidateKind, ContainerId, ContainerState, Engine, EngineDescription, ExecResult, ExecSpec,
    HeldImage, Login, Logs, SupervisorSockets,
};
use crate::error::EngineError;
use crate::host;
use crate::run::{LABEL_RUN, Run};
use crate::spec::ContainerSpec;
use crate::streams::Attached;
use async_trait::async_trait;
use helper::Helper;
use signals::{handle_of, until_over};
use slim_image::config::SourceImage;
use slim_image::history::HistoryEntry;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWriteExt};

type Result<T> = std::result::Result<T, EngineError>;

/// The hidden subcommand by which this program holds containers.
pub const HELPER_COMMAND: &str = "container-helper";

/// The embedded engine.
#[derive(Clone, Debug)]
pub struct EmbeddedEngine {
    store: Store,
    helper: Arc<Helper>,
    /// What the keepers of containers that are not started yet will be given, by container.
    attached: Arc<Mutex<BTreeMap<ContainerId, OwnedFd>>>,
}

/// What the hidden subcommand is to do; its arguments as [`EmbeddedEngine`] gives them.
///
/// Call it before anything else and on the main thread: it forks and enters name spaces. It takes no log.
pub fn help(arguments: &[std::ffi::OsString]) -> u8 {
    let words: Vec<&OsStr> = arguments.iter().map(std::ffi::OsString::as_os_str).collect();
    match words.as_slice() {
        [verb, store, folder] if *verb == "keep" => keeper::keep(Path::new(store), Path::new(folder)),
        [verb, folder, request] if *verb == "join" => {
            let helper = [OsStr::new("/proc/self/exe"), OsStr::new(HELPER_COMMAND)];
            joining::join(&helper, Path::new(folder), Path::new(request))
        }
        [verb, store, command @ ..] if *verb == "as-root" => user_namespace::enter(Path::new(store), command),
        [verb, pid] if *verb == "map-users" => user_namespace::map(pid),
        [verb, folder, request] if *verb == "enter" => joining::enter(Path::new(folder), Path::new(request)),
        [verb, store, folder, directory] if *verb == "unpack" => {
            copying::unpack(Path::new(store), Path::new(folder), Path::new(directory))
        }
        _ => 2,
    }
}

impl EmbeddedEngine {
    /// An engine over a store. `helper`: this program's own file, or one that has its hidden subcommand.
    #[must_use]
    pub fn new(store: Store, helper: impl Into<PathBuf>) -> Self {
        Self { store, helper: Arc::new(Helper::new(helper.into())), attached: Arc::default() }
    }

    /// Its store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Work on files, off the async threads.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let this = self.clone();
        tokio::task::spawn_blocking(move || work(&this)).await.map_err(|error| EngineError::Garbled {
            action: "work on the store".to_owned(),
            reason: error.to_string(),
        })?
    }

    /// Every container.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn containers(&self) -> Result<Vec<(ContainerId, ContainerState)>> {
        Ok(self.list().await?.into_iter().map(|one| (one.id, one.state)).collect())
    }

    /// Every container with what a list shows, the newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list(&self) -> Result<Vec<Listed>> {
        self.blocking(Self::listed).await
    }

    /// The container of this name, id or beginning of an id.
    ///
    /// # Errors
    /// [`EngineError::ContainerNotFound`]; several ids that begin like this.
    pub async fn find_container(&self, name: &str) -> Result<ContainerId> {
        let name = name.to_owned();
        self.blocking(move |this| this.named(&name)).await
    }
}

#[async_trait]
impl Engine for EmbeddedEngine {
    async fn describe(&self) -> Result<EngineDescription> {
        let (kernel_version, _) = host::kernel_and_name().unwrap_or_default();
        Ok(EngineDescription {
            name: "embedded".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            api_version: String::new(),
            endpoint: self.store.path().display().to_string(),
            runtime: "libcontainer".to_owned(),
            runtime_version: "0.7".to_owned(),
            cgroup_driver: "cgroupfs".to_owned(),
            cgroup_version: if control_group::is_unified() { 2 } else { 1 },
            storage_driver: "overlay".to_owned(),
            root_directory: self.store.path().display().to_string(),
            kernel_version,
            architecture: std::env::consts::ARCH.to_owned(),
            local: true,
        })
    }

    async fn inspect_image(&self, reference: &str) -> Result<SourceImage> {
        let reference = reference.to_owned();
        self.blocking(move |this| Ok(this.store.get(&reference)?.source(&reference))).await
    }

    async fn local_layers(&self, image: &str) -> Result<Option<Vec<PathBuf>>> {
        let image = image.to_owned();
        self.blocking(move |this| {
            let found = this.store.get(&image)?;
            let diff_ids = found.config.rootfs.diff_ids.iter();
            let layers: Vec<PathBuf> = diff_ids.map(|diff_id| this.store.layer_files(diff_id)).collect();
            Ok(Some(layers).filter(|_| host::sees_trusted_attributes() || !host::is_real_root()))
        })
        .await
    }

    async fn image_history(&self, reference: &str, _: usize) -> Result<Vec<HistoryEntry>> {
        let reference = reference.to_owned();
        self.blocking(move |this| Ok(this.store.get(&reference)?.config.history)).await
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<ContainerId> {
        let spec = spec.clone();
        self.blocking(move |this| this.make(&spec)).await
    }

    fn supervisor_sockets(&self) -> Option<SupervisorSockets> {
        Some(SupervisorSockets { containers: self.store.path().join("containers"), name: telling::SOCKET })
    }

    async fn start(&self, id: &ContainerId) -> Result<()> {
        let id = id.clone();
        self.blocking(move |this| this.begin(&id)).await
    }

    async fn wait(&self, id: &ContainerId) -> Result<i64> {
        loop {
            let own = id.clone();
            let state = self.blocking(move |this| Ok(this.state(&own, "wait for")?.2)).await?;
            let Some(keeper) = state.keeper else { return Ok(state.exit_code) };
            let failed = |error: io::Error| refused("wait for", id, &error);
            let Some(handle) = handle_of(keeper).map_err(failed)? else { continue };
            until_over(handle).await.map_err(failed)?;
        }
    }

    async fn inspect(&self, id: &ContainerId) -> Result<ContainerState> {
        let id = id.clone();
        self.blocking(move |this| this.look(&id)).await
    }

    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        let own = id.clone();
        let asked = self
            .blocking(move |this| {
                let (_, record) = this.known(&own, "stop")?;
                Ok(this.signal(&own, &record.stop_signal))
            })
            .await?;
        let must_be_killed = match asked {
            Ok(asked) => asked && tokio::time::timeout(grace, self.wait(id)).await.is_err(),
            // A signal that this machine does not have, for one.
            Err(error) => {
                tracing::warn!("container {} is killed: failed to {error}", id.short());
                true
            }
        };
        if must_be_killed {
            self.kill(id, "KILL")
                .await
                .or_else(|error| if error.is_not_found() { Ok(()) } else { Err(error) })?;
        }
        match self.wait(id).await {
            // One that removes itself at its end.
            Err(error) if error.is_not_found() => Ok(()),
            ended => ended.map(drop),
        }
    }

    async fn kill(&self, id: &ContainerId, signal: &str) -> Result<()> {
        let (id, signal) = (id.clone(), signal.to_owned());
        self.blocking(move |this| this.signal(&id, &signal).map(drop)).await
    }

    async fn pause(&self, id: &ContainerId) -> Result<()> {
        let id = id.clone();
        self.blocking(move |_| {
            control_group::freeze(id.as_str(), true).map_err(|error| refused("pause", &id, &error))
        })
        .await
    }

    async fn unpause(&self, id: &ContainerId) -> Result<()> {
        let id = id.clone();
        self.blocking(move |_| {
            control_group::freeze(id.as_str(), false).map_err(|error| refused("unpause", &id, &error))
        })
        .await
    }

    async fn remove(&self, id: &ContainerId, force: bool) -> Result<()> {
        let id = id.clone();
        self.blocking(move |this| this.throw_away(&id, force)).await
    }

    async fn logs(&self, id: &ContainerId, tail: Option<usize>) -> Result<Logs> {
        let id = id.clone();
        self.blocking(move |this| this.read_log(&id, tail)).await
    }

    async fn copy_in(&self, id: &ContainerId, directory: &str, tar: Vec<u8>) -> Result<()> {
        self.unpack_into(id, directory, &tar).await
    }

    async fn attach(&self, id: &ContainerId) -> Result<Attached> {
        self.attach_streams(id, None)?.into_attached().map_err(|error| refused("attach to", id, &error))
    }

    async fn exec(&self, id: &ContainerId, command: &ExecSpec) -> Result<ExecResult> {
        self.execute(id, command).await
    }

    async fn load_image(&self, mut archive: Box<dyn AsyncRead + Send + Unpin>) -> Result<Vec<String>> {
        let load_failed =
            |error: &dyn std::fmt::Display| EngineError::LoadFailed { reason: error.to_string() };
        let file = tempfile::tempfile_in(self.store.path()).map_err(|error| load_failed(&error))?;
        let mut writer = tokio::fs::File::from_std(file);
        tokio::io::copy(&mut archive, &mut writer).await.map_err(|error| load_failed(&error))?;
        writer.flush().await.map_err(|error| load_failed(&error))?;
        let file = writer.into_std().await;
        self.blocking(move |this| {
            let images = this.store.import(&file)?;
            let told = |image: StoredImage| match image.names.is_empty() {
                true => vec![image.id.to_string()],
                false => image.names,
            };
            Ok(images.into_iter().flat_map(told).collect())
        })
        .await
    }

    async fn save_image(&self, reference: &str) -> Result<Box<dyn AsyncRead + Send + Unpin>> {
        let reference = reference.to_owned();
        let file = self.blocking(move |this| this.store.archive(&reference)).await?;
        Ok(Box::new(tokio::fs::File::from_std(file)))
    }

    async fn list_images(&self) -> Result<Vec<HeldImage>> {
        self.blocking(|this| Ok(this.store.images()?.into_iter().map(StoredImage::into_held).collect())).await
    }

    fn store(&self) -> Option<&Store> {
        Some(&self.store)
    }

    /// Whoever knows registries brings images into the store: see [`Store::receive`].
    async fn pull_image(&self, reference: &str, _login: Option<&Login>) -> Result<()> {
        Err(EngineError::ImageNotFound {
            reference: reference.to_owned(),
            reason: format!("the store at {} has no image of this name", self.store.path().display()),
        })
    }

    async fn tag(&self, image: &str, reference: &str) -> Result<()> {
        let (image, reference) = (image.to_owned(), reference.to_owned());
        self.blocking(move |this| this.store.tag(&image, &reference)).await
    }

    async fn untag(&self, reference: &str) -> Result<()> {
        let reference = reference.to_owned();
        self.blocking(move |this| this.store.untag(&reference).map(drop)).await
    }

    async fn remove_image(&self, id: &str) -> Result<()> {
        let id = id.to_owned();
        self.blocking(move |this| this.store.remove(&id)).await
    }

    async fn image_exists(&self, reference: &str) -> Result<bool> {
        let reference = reference.to_owned();
        self.blocking(move |this| Ok(this.store.find(&reference)?.is_some())).await
    }

    async fn sweep_candidates(&self) -> Result<Vec<Candidate>> {
        self.blocking(|this| {
            this.tidy();
            let containers = this.store.containers()?.into_iter().map(|(_, record)| record);
            let mut candidates: Vec<Candidate> = containers
                .filter(|record| record.labels.contains_key(LABEL_RUN))
                .map(|record| Candidate {
                    kind: CandidateKind::Container,
                    id: record.id,
                    labels: record.labels,
                })
                .collect();
            for name in this.store.images()?.into_iter().flat_map(|image| image.names) {
                if let Some(labels) = Run::labels_of_reference(&name) {
                    candidates.push(Candidate { kind: CandidateKind::ImageName, id: name, labels });
                }
            }
            Ok(candidates)
        })
        .await
    }

    async fn remove_candidate(&self, candidate: &Candidate) -> Result<()> {
        let removed = match candidate.kind {
            CandidateKind::Container => self.remove(&ContainerId::new(&candidate.id), true).await,
            CandidateKind::ImageName => self.untag(&candidate.id).await,
            CandidateKind::Volume | CandidateKind::Network => Ok(()),
        };
        removed.or_else(|error| if error.is_not_found() { Ok(()) } else { Err(error) })
    }
}

fn refused(action: &str, id: &ContainerId, error: &dyn std::error::Error) -> EngineError {
    EngineError::Refused {
        action: format!("{action} container {}", id.short()),
        status: 500,
        reason: error.to_string(),
    }
}
