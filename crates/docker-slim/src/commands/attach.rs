//! A policy goes with its image: attached to it in the registry as an OCI artifact.

use crate::arguments::GlobalArguments;
use crate::failure::Failure;
use crate::settings::{self, AttachPolicy};
use bytes::Bytes;
use slim_build::{POLICY_ARTIFACT, PolicyBytes, policy_files};
use slim_image::{Descriptor, Digest, Document, Platform, Reference};
use slim_registry::client::{Progress, Which};
use slim_registry::{Artifact, ArtifactFile, Client, RepositoryName};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// The version of what an artifact holds.
const VERSION: &str = "org.docker-slim.policy.version";
/// The id of the image that the policy is for: the digest of its configuration.
const IMAGE: &str = "org.docker-slim.policy.image";
/// Counts the policies that were attached to one image; the greatest holds.
const REVISION: &str = "org.docker-slim.policy.revision";

/// An image that was pushed.
struct Pushed {
    descriptor: Descriptor,
    /// The digest of its configuration.
    id: Digest,
}

/// Which of several policies of one image an artifact is.
pub fn revision(artifact: &Artifact) -> u64 {
    artifact.annotations.get(REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Attaches policies to the images of a manifest or index that was pushed; gives the artifacts' digests.
pub async fn attach_policies(
    global: &GlobalArguments,
    which: &AttachPolicy,
    client: &Client,
    root: &Descriptor,
    image: &Reference,
    progress: Arc<dyn Progress>,
) -> Result<Vec<Digest>, Failure> {
    let mut attached = Vec::new();
    if *which == AttachPolicy::Off {
        return Ok(attached);
    }
    let images = images(client, root, image).await?;
    if let (AttachPolicy::Folder(folder), true) = (which, images.len() > 1) {
        return Err(Failure::usage(format!(
            "attach the policy in {} to {} images at once",
            folder.display(),
            images.len()
        ))
        .with_hint("--platform pushes one of them"));
    }
    for pushed in images {
        let Some(folder) = folder(global, which, &pushed)? else { continue };
        let files = policy_files(&folder)?;
        if files.is_empty() {
            match which {
                AttachPolicy::Folder(_) => {
                    let what = format!("find a policy in {}: no file there is one", folder.display());
                    return Err(Failure::usage(what).with_hint("docker-slim build writes one"));
                }
                _ => continue,
            }
        }
        attached.push(attach(client, image, &pushed, files, &progress).await?);
    }
    Ok(attached)
}

fn folder(
    global: &GlobalArguments,
    which: &AttachPolicy,
    pushed: &Pushed,
) -> Result<Option<PathBuf>, Failure> {
    match which {
        AttachPolicy::Folder(folder) => Ok(Some(folder.clone())),
        AttachPolicy::Built => settings::built_here(global, &pushed.id.to_string()),
        AttachPolicy::Off => Ok(None),
    }
}

async fn attach(
    client: &Client,
    image: &Reference,
    pushed: &Pushed,
    files: Vec<PolicyBytes>,
    progress: &Arc<dyn Progress>,
) -> Result<Digest, Failure> {
    let files: Vec<ArtifactFile> = files
        .into_iter()
        .map(|file| ArtifactFile {
            name: file.name,
            media_type: file.kind.media_type().to_owned(),
            bytes: Bytes::from(file.bytes),
        })
        .collect();
    let by_digest = Reference { digest: Some(pushed.descriptor.digest), ..image.clone() };
    let before = slim_registry::attached(client, &by_digest, &Platform::host(), POLICY_ARTIFACT).await?;
    let last = before.iter().max_by_key(|artifact| revision(artifact));
    // The same policy again is the same artifact.
    let number = match last {
        Some(last) if last.files == files => revision(last),
        Some(last) => revision(last) + 1,
        None => 1,
    };
    let annotations = [
        (VERSION.to_owned(), "1".to_owned()),
        (IMAGE.to_owned(), pushed.id.to_string()),
        (REVISION.to_owned(), number.to_string()),
    ];
    let artifact = Artifact {
        artifact_type: POLICY_ARTIFACT.to_owned(),
        annotations: BTreeMap::from(annotations),
        files,
    };
    Ok(slim_registry::attach(client, image, &pushed.descriptor, &artifact, progress).await?)
}

/// The images of a manifest or an index of a registry.
async fn images(client: &Client, root: &Descriptor, image: &Reference) -> Result<Vec<Pushed>, Failure> {
    let repository = client.to_push(RepositoryName::of(image));
    let mut images = Vec::new();
    let mut open = vec![root.digest];
    while let Some(digest) = open.pop() {
        let fetched = repository.manifest(&Which::Digest(digest)).await?;
        match fetched.document {
            Document::Manifest(manifest) if manifest.image_layers().is_ok() => {
                images.push(Pushed { descriptor: fetched.descriptor, id: manifest.config.digest });
            }
            Document::Index(index) => open.extend(index.images().map(|image| image.digest)),
            // What is no image has no policy.
            Document::Manifest(_) => {}
        }
    }
    Ok(images)
}
