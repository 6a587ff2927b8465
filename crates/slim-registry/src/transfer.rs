//! Whole images: from a registry into a layout, from a layout into a registry, from registry to registry.

use crate::client::{Client, Event, Fetched, Progress, Repository, Which};
use crate::error::RegistryError;
use crate::name::RepositoryName;
use crate::partial;
use crate::plan::{Origin, Plan, Platforms};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use slim_image::manifest::{MANIFEST_LIMIT, annotation};
use slim_image::{Descriptor, Digest, Document, Layout, LayoutError, Reference, Selector};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// An image that is where it was wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transferred {
    /// The manifest or index that the name means there.
    pub descriptor: Descriptor,
    /// Where it was read from: a mirror, perhaps.
    pub from: Option<RepositoryName>,
    /// How many manifests and indexes, and how many blobs it has.
    pub manifests: usize,
    pub blobs: usize,
    /// Bytes of all its blobs and manifests, as stored.
    pub size: u64,
}

impl Transferred {
    fn of(plan: &Plan, from: Option<RepositoryName>) -> Self {
        let manifests = plan.manifests.iter().map(|fetched| fetched.descriptor.size);
        Self {
            descriptor: plan.root().descriptor.clone(),
            from,
            manifests: plan.manifests.len(),
            blobs: plan.blobs.len(),
            size: plan.blobs.iter().map(|blob| blob.size).chain(manifests).sum(),
        }
    }
}

/// Fetches an image into the layout in a folder, made where there is none once the image is found; `name` is what it is
/// called there.
///
/// # Errors
/// The image is not there or cannot be used, a registry does not answer, or the layout cannot be written.
pub async fn pull(
    client: &Client,
    reference: &Reference,
    platforms: &Platforms,
    layout: &Path,
    name: Option<&str>,
    progress: &Arc<dyn Progress>,
) -> Result<Transferred, RegistryError> {
    let (repository, root) = find(client, reference, progress).await?;
    let origin = Origin::Repository(repository.clone());
    let plan = origin.plan(root, platforms).await?;
    let layout = &Layout::create(layout)?;
    tell_plan(&plan, progress);
    stream::iter(&plan.blobs)
        .map(Ok)
        .try_for_each_concurrent(client.settings().parallel.get(), |blob| {
            partial::fetch(&repository, layout, blob, &**progress)
        })
        .await?;
    for fetched in &plan.manifests {
        layout.put_blob(&fetched.descriptor.media_type, &fetched.bytes)?;
    }
    let mut descriptor = plan.root().descriptor.clone();
    if let Some(name) = name {
        descriptor.annotations.insert(annotation::REF_NAME.to_owned(), name.to_owned());
        descriptor.annotations.insert(annotation::CONTAINERD_NAME.to_owned(), reference.canonical());
    }
    layout.put(descriptor)?;
    Ok(Transferred::of(&plan, Some(repository.location().clone())))
}

/// Brings an image of a layout into a registry under a name.
///
/// # Errors
/// The layout does not have it, or the registry does not take it.
pub async fn push(
    client: &Client,
    layout: &Layout,
    selector: &Selector,
    platforms: &Platforms,
    reference: &Reference,
    progress: &Arc<dyn Progress>,
) -> Result<Transferred, RegistryError> {
    let which = destination(reference)?;
    let origin = Origin::Layout(layout.clone());
    let plan = origin.plan(root_of(layout, selector)?, platforms).await?;
    store(&origin, &plan, &client.to_push(RepositoryName::of(reference)), &which, progress).await?;
    Ok(Transferred::of(&plan, None))
}

/// Brings an image from one registry or repository to another; nothing is unpacked, and nothing is stored here. Blobs
/// within one registry are taken over by it where it does that.
///
/// # Errors
/// The image is not there or cannot be used, or one of the registries does not do its part.
pub async fn copy(
    client: &Client,
    from: &Reference,
    to: &Reference,
    platforms: &Platforms,
    progress: &Arc<dyn Progress>,
) -> Result<Transferred, RegistryError> {
    let which = destination(to)?;
    let (repository, root) = find(client, from, progress).await?;
    let origin = Origin::Repository(repository.clone());
    let plan = origin.plan(root, platforms).await?;
    let to = RepositoryName::of(to);
    let is_within = repository.location().registry == to.registry;
    let from = is_within.then(|| repository.location().repository.clone());
    store(&origin, &plan, &client.to_push(to).mounting_from(from), &which, progress).await?;
    Ok(Transferred::of(&plan, Some(repository.location().clone())))
}

/// The first place that has the image: a mirror, or the registry itself.
async fn find(
    client: &Client,
    reference: &Reference,
    progress: &Arc<dyn Progress>,
) -> Result<(Repository, Fetched), RegistryError> {
    let (location, which) = (RepositoryName::of(reference), Which::of(reference));
    for place in client.places(&location) {
        let repository = client.to_pull(place);
        let is_itself = *repository.location() == location;
        match repository.manifest(&which).await {
            Ok(fetched) => return Ok((repository, fetched)),
            Err(error) if is_itself => return Err(error),
            Err(error) => progress.tell(Event::Notice(format!("a mirror is passed over: failed to {error}"))),
        }
    }
    unreachable!("the last place is the registry itself")
}

/// What an image is to be called where it goes.
fn destination(reference: &Reference) -> Result<Which, RegistryError> {
    match &reference.digest {
        Some(digest) => Err(RegistryError::Usage(format!(
            "push to {}@{digest}: a digest follows from what is pushed; name a tag",
            reference.repository
        ))),
        None => Ok(Which::of(reference)),
    }
}

async fn store(
    origin: &Origin,
    plan: &Plan,
    repository: &Repository,
    which: &Which,
    progress: &Arc<dyn Progress>,
) -> Result<(), RegistryError> {
    tell_plan(plan, progress);
    let parallel = repository.client.settings().parallel.get();
    // What the registry wants of us is found out once, not once a blob.
    repository.client.ping(repository.registry()).await?;
    stream::iter(&plan.blobs)
        .map(Ok)
        .try_for_each_concurrent(parallel, |blob| async move {
            repository.push_blob(blob, &origin.source(blob), progress).await.map(|_| ())
        })
        .await?;
    let (root, below) = plan.manifests.split_last().expect("a plan has the manifest that it was made for");
    for fetched in below {
        let which = Which::Digest(fetched.descriptor.digest);
        if repository.find_manifest(&which).await?.is_none() {
            repository.push_manifest(&which, &fetched.descriptor.media_type, &fetched.bytes).await?;
        }
    }
    repository.push_manifest(which, &root.descriptor.media_type, &root.bytes).await?;
    Ok(())
}

fn tell_plan(plan: &Plan, progress: &Arc<dyn Progress>) {
    let bytes = plan.blobs.iter().map(|blob| blob.size).sum();
    progress.tell(Event::Planned { blobs: plan.blobs.len(), bytes });
}

/// The manifest or index that a selector means, as it lies in the layout.
fn root_of(layout: &Layout, selector: &Selector) -> Result<Fetched, RegistryError> {
    let index = layout.index()?;
    let meant: Vec<&Descriptor> = match selector {
        Selector::Only => index.images().collect(),
        _ => index.manifests.iter().filter(|descriptor| selector.names(descriptor)).collect(),
    };
    let digests: BTreeSet<Digest> = meant.iter().map(|descriptor| descriptor.digest).collect();
    let names = || index.images().map(Descriptor::told).collect::<BTreeSet<_>>().into_iter().collect();
    let path = layout.path().to_owned();
    let [descriptor, ..] = &meant[..] else {
        return Err(
            LayoutError::NotFound { layout: path, wanted: selector.to_string(), names: names() }.into()
        );
    };
    if digests.len() > 1 {
        return Err(LayoutError::Several { layout: path, names: names() }.into());
    }
    let bytes = Bytes::from(layout.read_blob(descriptor, MANIFEST_LIMIT)?);
    let document = Document::read(&bytes, Some(&descriptor.media_type)).map_err(|reason| {
        RegistryError::Image { image: format!("{}@{}", path.display(), descriptor.digest), reason }
    })?;
    Ok(Fetched { descriptor: (*descriptor).clone(), bytes, document })
}
