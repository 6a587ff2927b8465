//! Whole images from one place to another: registries and layouts, in every direction.

use crate::client::{Client, Event, Fetched, How, Progress, Repository, Which};
use crate::error::RegistryError;
use crate::name::RepositoryName;
use crate::partial;
use crate::plan::{Origin, Plan, Platforms};
use crate::wanted::{Together, Wanted};
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
    /// How many manifests refer to it, where those were asked for.
    pub referrers: usize,
    /// Bytes of all its blobs and manifests, as stored.
    pub size: u64,
}

impl Transferred {
    fn of(plan: &Plan, from: Option<RepositoryName>) -> Self {
        let manifests = plan.manifests.iter().chain(&plan.referrers).map(|fetched| fetched.descriptor.size);
        Self {
            descriptor: plan.root().descriptor.clone(),
            from,
            manifests: plan.manifests.len(),
            referrers: plan.referrers.len(),
            blobs: plan.blobs.len(),
            size: plan.blobs.iter().map(|blob| blob.size).chain(manifests).sum(),
        }
    }
}

/// Where an image is read.
#[derive(Clone, Copy, Debug)]
pub enum From<'a> {
    Registry(&'a Reference),
    Layout(&'a Layout, &'a Selector),
}

/// Where it goes.
#[derive(Clone, Copy, Debug)]
pub enum To<'a> {
    Registry(&'a Reference),
    /// The layout in a folder, made where there is none once the image is found. `name`: what it is called there; `full`:
    /// what engines call it.
    Layout {
        folder: &'a Path,
        name: Option<&'a str>,
        full: Option<&'a Reference>,
    },
    /// The blobs of a layout, manifests among them; its index stays as it is.
    Blobs(&'a Layout),
}

/// What of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    pub platforms: Platforms,
    /// Also what refers to it: signatures, lists of contents.
    pub referrers: bool,
}

/// Brings an image from one place to another. Blobs within one registry are taken over by it where it does that; from
/// registry to registry nothing is stored here, and nothing is ever unpacked.
///
/// # Errors
/// The image is not there or cannot be used, a registry does not do its part, or a layout cannot be read or written.
pub async fn transfer(
    client: &Client,
    from: From<'_>,
    to: To<'_>,
    selection: &Selection,
    progress: &Arc<dyn Progress>,
) -> Result<Transferred, RegistryError> {
    let destination = match to {
        To::Registry(reference) => Some((RepositoryName::of(reference), destination(reference)?)),
        To::Layout { .. } | To::Blobs(_) => None,
    };
    let (origin, root) = match from {
        From::Registry(reference) => {
            let (repository, root) = find(client, reference, progress).await?;
            (Origin::Repository(repository), root)
        }
        From::Layout(layout, selector) => (Origin::Layout(layout.clone()), root_of(layout, selector)?),
    };
    let mut plan = origin.plan(root, &selection.platforms).await?;
    if selection.referrers {
        origin.add_referrers(&mut plan).await?;
    }
    tell_plan(&plan, progress);
    let read_from = origin.location().cloned();
    match (to, destination) {
        (To::Registry(_), Some((location, which))) => {
            let is_within = read_from.as_ref().filter(|from| from.registry == location.registry);
            let mount_from = is_within.map(|from| from.repository.clone());
            let repository = client.to_push(location).mounting_from(mount_from);
            push_plan(&origin, &plan, &repository, &which, progress).await?;
        }
        (To::Layout { folder, name, full }, _) => {
            let layout = Layout::create(folder)?;
            keep_plan(client, &origin, &plan, &layout, progress).await?;
            put_names(&plan, &layout, name, full)?;
        }
        (To::Blobs(layout), _) => keep_plan(client, &origin, &plan, layout, progress).await?,
        (To::Registry(_), None) => unreachable!("a registry is a destination"),
    }
    Ok(Transferred::of(&plan, read_from))
}

/// Fetches an image into the layout in a folder; see [`transfer`].
///
/// # Errors
/// As [`transfer`].
pub async fn pull(
    client: &Client,
    reference: &Reference,
    platforms: &Platforms,
    folder: &Path,
    name: Option<&str>,
    progress: &Arc<dyn Progress>,
) -> Result<Transferred, RegistryError> {
    let selection = Selection { platforms: platforms.clone(), referrers: false };
    let to = To::Layout { folder, name, full: Some(reference) };
    transfer(client, From::Registry(reference), to, &selection, progress).await
}

/// Brings an image of a layout into a registry under a name; see [`transfer`].
///
/// # Errors
/// As [`transfer`].
pub async fn push(
    client: &Client,
    layout: &Layout,
    selector: &Selector,
    platforms: &Platforms,
    reference: &Reference,
    progress: &Arc<dyn Progress>,
) -> Result<Transferred, RegistryError> {
    let selection = Selection { platforms: platforms.clone(), referrers: false };
    transfer(client, From::Layout(layout, selector), To::Registry(reference), &selection, progress).await
}

/// Brings an image from one registry or repository to another; see [`transfer`].
///
/// # Errors
/// As [`transfer`].
pub async fn copy(
    client: &Client,
    from: &Reference,
    to: &Reference,
    platforms: &Platforms,
    progress: &Arc<dyn Progress>,
) -> Result<Transferred, RegistryError> {
    let selection = Selection { platforms: platforms.clone(), referrers: false };
    transfer(client, From::Registry(from), To::Registry(to), &selection, progress).await
}

/// Everything of a plan into the blobs of a layout.
async fn keep_plan(
    client: &Client,
    origin: &Origin,
    plan: &Plan,
    layout: &Layout,
    progress: &Arc<dyn Progress>,
) -> Result<(), RegistryError> {
    let together = Together::new();
    let parts = plan.blobs.iter().map(|blob| {
        let wanted = together.wanted();
        async move {
            match origin {
                Origin::Repository(repository) => {
                    partial::fetch(repository, layout, blob, wanted, &**progress).await
                }
                Origin::Layout(from) => take_over(from, layout, blob, wanted, &**progress).await,
            }
        }
    });
    let parts = parts.collect();
    together.each(parts, client.settings().parallel.get()).await?;
    for fetched in plan.manifests.iter().chain(&plan.referrers) {
        layout.put_blob(&fetched.descriptor.media_type, &fetched.bytes)?;
    }
    Ok(())
}

/// A blob from one layout into another.
async fn take_over(
    from: &Layout,
    to: &Layout,
    blob: &Descriptor,
    while_wanted: Wanted,
    progress: &dyn Progress,
) -> Result<(), RegistryError> {
    if to.has_blob(&blob.digest, blob.size) {
        progress.tell(Event::Done { blob, how: How::AlreadyThere });
        return Ok(());
    }
    progress.tell(Event::Began { blob, already: 0 });
    let (from, to, wanted) = (from.clone(), to.clone(), blob.clone());
    let copied = tokio::task::spawn_blocking(move || {
        let mut reader = while_wanted.read(from.open_blob(&wanted)?);
        let mut writer = to.begin_blob()?;
        let path = to.blob_path(&wanted.digest);
        std::io::copy(&mut reader, &mut writer).map_err(RegistryError::file("write", path))?;
        Ok::<_, RegistryError>(writer.commit(Some(&wanted))?)
    });
    copied.await.expect("nothing in there panics")?;
    progress.tell(Event::Moved { blob: &blob.digest, bytes: blob.size });
    progress.tell(Event::Done { blob, how: How::Moved });
    Ok(())
}

/// What the index of a layout says of the image and of what refers to it.
fn put_names(
    plan: &Plan,
    layout: &Layout,
    name: Option<&str>,
    full: Option<&Reference>,
) -> Result<(), RegistryError> {
    let mut descriptor = plan.root().descriptor.clone();
    descriptor.annotations.remove(annotation::REF_NAME);
    if let Some(name) = name {
        descriptor.annotations.insert(annotation::REF_NAME.to_owned(), name.to_owned());
        if let Some(full) = full {
            descriptor.annotations.insert(annotation::CONTAINERD_NAME.to_owned(), full.canonical());
        }
    }
    layout.put(descriptor)?;
    for referrer in &plan.referrers {
        let mut descriptor = referrer.descriptor.clone();
        if let (None, Document::Manifest(manifest)) = (&descriptor.artifact_type, &referrer.document) {
            // By this it is told from the image.
            let kind = manifest.artifact_type.as_ref().unwrap_or(&manifest.config.media_type);
            descriptor.artifact_type = Some(kind.clone());
        }
        layout.put(descriptor)?;
    }
    Ok(())
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

/// Everything of a plan into a repository, nothing before what it names.
async fn push_plan(
    origin: &Origin,
    plan: &Plan,
    repository: &Repository,
    which: &Which,
    progress: &Arc<dyn Progress>,
) -> Result<(), RegistryError> {
    let parallel = repository.client.settings().parallel.get();
    // What the registry wants of us is found out once, not once a blob.
    repository.client.ping(repository.registry()).await?;
    stream::iter(&plan.blobs)
        .map(Ok)
        .try_for_each_concurrent(parallel, |blob| async move {
            repository.push_blob(blob, &origin.source(), progress).await.map(|_| ())
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
    for referrer in &plan.referrers {
        let which = Which::Digest(referrer.descriptor.digest);
        repository.push_manifest(&which, &referrer.descriptor.media_type, &referrer.bytes).await?;
    }
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
