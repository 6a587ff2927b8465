//! Reads the policy that a word names, wherever it lies.

use crate::arguments::{ClientArguments, GlobalArguments};
use crate::commands::with_registry::{until_interrupted, with_registry};
use crate::failure::Failure;
use crate::settings::{self, PolicyPlace};
use slim_build::{POLICY_ARTIFACT, PolicyBytes, PolicyKind, policy_files};
use slim_image::{Layout, Platform, Reference, Stored};
use slim_policy::{Format, PolicyFile, SeccompProfile, default_capabilities};
use slim_registry::{Artifact, Client, RegistryError};
use slim_trace::Trace;
use std::fs;
use std::path::Path;

/// There is an image, and no policy with it.
const NO_POLICY: u8 = 4;

/// A policy, or a trace from which one could be made.
pub struct Found {
    /// The word that named it.
    word: String,
    /// Where it was found, for a person.
    pub told: String,
    pub files: Vec<PolicyBytes>,
    pub trace: Option<Trace>,
}

impl Found {
    /// The file of one kind.
    ///
    /// # Errors
    /// When there is none.
    pub fn file(&self, kind: PolicyKind) -> Result<&[u8], Failure> {
        let found = self.files.iter().find(|file| file.kind == kind);
        found.map(|file| file.bytes.as_slice()).ok_or_else(|| {
            let has: Vec<&str> = self.files.iter().map(|file| file.kind.word()).collect();
            Failure::new(
                format!("find {} in the policy {}: it has {}", kind.word(), self.word, has.join(", ")),
                NO_POLICY,
            )
        })
    }

    /// All that was decided, where it is told; a profile alone has less.
    ///
    /// # Errors
    /// When it cannot be read, or has another version.
    pub fn decided(&self) -> Result<Option<PolicyFile>, Failure> {
        let Some(file) = self.files.iter().find(|file| file.kind == PolicyKind::Decided) else {
            return Ok(None);
        };
        let read = PolicyFile::from_json(&file.bytes);
        read.map(Some).map_err(|error| {
            Failure::new(format!("show the policy {}: {error}", self.word), NO_POLICY)
                .with_hint("docker-slim build or profile writes it anew")
        })
    }

    /// The container's seccomp profile, as an engine takes it.
    ///
    /// # Errors
    /// When there is none.
    pub fn seccomp_json(&self) -> Result<Vec<u8>, Failure> {
        if self.trace.is_some() {
            return Err(Failure::usage(format!("read {} as a profile: it is a trace", self.word)).with_hint(
                "docker-slim build --from-trace makes a profile of it, docker-slim trace shows it",
            ));
        }
        match (self.file(PolicyKind::Seccomp), self.decided()?) {
            (Err(_), Some(decided)) => Ok(decided.policy.seccomp_json()),
            (file, _) => Ok(file?.to_vec()),
        }
    }

    /// The same, read.
    ///
    /// # Errors
    /// When there is none, or it is not understood.
    pub fn profile(&self) -> Result<SeccompProfile, Failure> {
        self.read_profile(&self.seccomp_json()?)
    }

    /// The tighter profile after the entrypoint.
    ///
    /// # Errors
    /// When it is not understood.
    pub fn entrypoint_profile(&self) -> Result<Option<SeccompProfile>, Failure> {
        match (self.file(PolicyKind::EntrypointSeccomp), self.decided()?) {
            (Ok(bytes), _) => self.read_profile(bytes).map(Some),
            (Err(_), Some(decided)) => self.read_profile(&decided.after_entrypoint.seccomp_json()).map(Some),
            (Err(_), None) => Ok(None),
        }
    }

    /// The profile in the form of another program.
    ///
    /// # Errors
    /// When there is none.
    pub fn written(&self, format: Format, after_entrypoint: bool) -> Result<Vec<u8>, Failure> {
        if let Some(decided) = self.decided()? {
            let policy = if after_entrypoint { &decided.after_entrypoint } else { &decided.policy };
            return Ok(policy.written(format, &decided.name));
        }
        let profile = match after_entrypoint {
            true => self.entrypoint_profile()?.ok_or_else(|| self.no_entrypoint())?,
            false => self.profile()?,
        };
        Ok(profile.written(format, &self.name()))
    }

    /// What the profile is called where a form has names: as its file.
    fn name(&self) -> String {
        let seccomp = self.files.iter().find(|file| file.kind == PolicyKind::Seccomp);
        let name = seccomp.map_or(self.word.as_str(), |file| file.name.as_str());
        let stem = name.strip_suffix(".json").unwrap_or(name);
        stem.strip_suffix("-seccomp").unwrap_or(stem).to_owned()
    }

    /// That there is nothing tighter after the entrypoint.
    pub fn no_entrypoint(&self) -> Failure {
        let what = format!("find the profile after the entrypoint in {}: there is none", self.word);
        Failure::new(what, NO_POLICY).with_hint("policy.json of a build has it")
    }

    fn read_profile(&self, bytes: &[u8]) -> Result<SeccompProfile, Failure> {
        let machine = Platform::host().architecture;
        SeccompProfile::read(bytes, &machine, &default_capabilities())
            .map_err(|error| Failure::usage(format!("read the seccomp profile of {}: {error}", self.word)))
    }
}

/// Reads what a word names.
///
/// # Errors
/// When there is nothing, it cannot be read, or no policy is with it.
pub fn load(global: &GlobalArguments, client: &ClientArguments, word: &str) -> Result<Found, Failure> {
    let found = |told: String, files: Vec<PolicyBytes>| {
        if files.is_empty() {
            return Err(Failure::new(format!("find a policy with {word}: {told} has none"), NO_POLICY)
                .with_hint("docker-slim build writes one, docker-slim push attaches it"));
        }
        Ok(Found { word: word.to_owned(), told, files, trace: None })
    };
    match settings::policy_place(global, word)? {
        PolicyPlace::File(path) => of_file(word, &path),
        PolicyPlace::Folder(folder) => found(folder.display().to_string(), policy_files(&folder)?),
        PolicyPlace::Layout(stored) => {
            let files = of_layout(&stored).map_err(Failure::from)?;
            found(stored.to_string(), files)
        }
        PolicyPlace::Registry(image) => {
            let files = of_registry(global, client, &image)?;
            found(format!("docker://{}", image.with_tag()), files)
        }
    }
}

/// A profile, a policy with its reasons or a trace: told apart by what only one of them has.
fn of_file(word: &str, path: &Path) -> Result<Found, Failure> {
    let failed = |why: String| Failure::usage(format!("read {word}: {why}"));
    let bytes = fs::read(path).map_err(|error| failed(error.to_string()))?;
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| {
        failed(format!("it is neither a seccomp profile, a policy nor a trace ({error})"))
    })?;
    let mut found = Found { word: word.to_owned(), told: word.to_owned(), files: Vec::new(), trace: None };
    if value.get("processes").is_some() {
        found.trace = Some(settings::read_trace(path)?);
        return Ok(found);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let is_decided = value.get("after_entrypoint").is_some();
    let kind = if is_decided { PolicyKind::Decided } else { PolicyKind::Seccomp };
    found.files.push(PolicyBytes { kind, name, bytes });
    Ok(found)
}

fn of_layout(stored: &Stored) -> Result<Vec<PolicyBytes>, RegistryError> {
    let layout = Layout::open(&stored.path)?;
    let image = layout.resolve(&stored.selector, &Platform::host())?;
    Ok(files_of(slim_registry::attached_in_layout(&layout, &image.descriptor.digest, POLICY_ARTIFACT)?))
}

fn of_registry(
    global: &GlobalArguments,
    arguments: &ClientArguments,
    image: &Reference,
) -> Result<Vec<PolicyBytes>, Failure> {
    let settings = settings::client(arguments)?;
    with_registry(global, async |_, outside| {
        let client = Client::new(settings);
        let platform = Platform::host();
        let attached = slim_registry::attached(&client, image, &platform, POLICY_ARTIFACT);
        Ok(files_of(until_interrupted(outside, attached).await?))
    })
}

/// The files of the policy that was attached last.
fn files_of(artifacts: Vec<Artifact>) -> Vec<PolicyBytes> {
    let last = artifacts.into_iter().max_by_key(super::super::attach::revision);
    let files = last.into_iter().flat_map(|artifact| artifact.files);
    let file = |file: slim_registry::ArtifactFile| {
        let kind = PolicyKind::of_media_type(&file.media_type)?;
        Some(PolicyBytes { kind, name: file.name, bytes: file.bytes.to_vec() })
    };
    files.filter_map(file).collect()
}
