//! An image from any place to any other: registries, files, engines. `pull`, `push`, `copy`, `store import`, `run` and `build`
//! all go this way.
//!
//! Invariant: manifests and blobs stay as they are wherever both places have manifests. A docker-archive and what an engine
//! but the embedded one saves have none: there they are made, and layers packed.

mod carrier;
mod containerd;
mod holding;
mod places;

pub use carrier::carrier;
pub use containerd::Containerd;
pub use holding::Holding;
pub use places::{Destination, Source, no_form};

use super::with_registry::{Bars, until_interrupted};
use crate::failure::Failure;
use crate::outside::Outside;
use crate::settings::{Selected, outputs};
use slim_build::{BuildError, written_by};
use slim_engine::embedded::Store;
use slim_image::location::Form;
use slim_image::manifest::media;
use slim_image::packing::Scratch;
use slim_image::temporary::TemporaryFolder;
use slim_image::{Descriptor, Layout, LocalImage, Packing, Platform, Reference, Selector, Stored};
use slim_registry::client::Progress;
use slim_registry::{Client, From, Selection, To, Transferred};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

/// An image that cannot be read.
const UNREADABLE: u8 = 4;

/// What a transfer is told besides the two places.
pub struct Transfer<'a> {
    pub client: Client,
    pub selected: Selected,
    /// Where files lie that are needed on the way.
    pub scratch: Scratch,
    pub bars: &'a Arc<Bars>,
    pub outside: &'a Outside,
}

/// Where manifests and blobs are read.
enum Origin {
    Registry(Reference),
    /// The folder goes with the value, where there is one.
    Layout(Layout, Selector, #[expect(dead_code, reason = "keeps the folder")] Option<TemporaryFolder>),
}

impl Origin {
    fn borrowed(&self) -> From<'_> {
        match self {
            Self::Registry(reference) => From::Registry(reference),
            Self::Layout(layout, selector, _) => From::Layout(layout, selector),
        }
    }
}

/// An image whose layers are at hand, with what keeps them there.
pub struct AtHand {
    pub image: LocalImage,
    transferred: Option<Transferred>,
    _folder: Option<TemporaryFolder>,
}

impl Transfer<'_> {
    /// Brings the image there.
    ///
    /// # Errors
    /// The image is not there or cannot be used, or one of the places does not do its part.
    pub async fn run(&self, from: &Source, to: &Destination) -> Result<Transferred, Failure> {
        // Packing and unpacking go on in a thread of their own, which is not waited for then.
        self.unless_interrupted(self.bring(from, to)).await
    }

    async fn bring(&self, from: &Source, to: &Destination) -> Result<Transferred, Failure> {
        match to {
            Destination::Registry(reference) => self.blobs(from, To::Registry(reference)).await,
            Destination::Store(store, name) => self.to_store(from, store, name.as_ref()).await,
            Destination::Files(place) => self.to_files(from, place, from.name()).await,
            Destination::Engine(engine, name) => {
                let AtHand { image, transferred, _folder } = self.at_hand(from).await?;
                let told = transferred.unwrap_or_else(|| of_image(&image));
                let names = names(name.clone().or_else(|| from.name()));
                self.bars.line(&format!("{:<10}loading the image into the engine", ""));
                let archive = written_by(move |output| image.write_archive(output, &names));
                engine.load_image(archive).await.map_err(BuildError::from)?;
                Ok(told)
            }
            Destination::Containerd(containerd, name) => {
                let file = self.temporary_file("image.tar")?;
                let selector = Selector::Name(name.canonical());
                let place = Stored { form: Form::OciArchive, path: file.1.clone(), selector };
                let transferred = self.to_files(from, &place, Some(name.clone())).await?;
                containerd.import(&file.1, name).await?;
                Ok(transferred)
            }
        }
    }

    async fn blobs(&self, from: &Source, to: To<'_>) -> Result<Transferred, Failure> {
        let origin = self.origin(from).await?;
        let selected = match from {
            // What it writes names the other platforms and does not have them, unless they were asked for.
            Source::Containerd(..) => Selected { is_whole: false, ..self.selected.clone() },
            _ => self.selected.clone(),
        };
        self.transfer(origin.borrowed(), to, &selected.selection()).await
    }

    async fn transfer(
        &self,
        from: From<'_>,
        to: To<'_>,
        selection: &Selection,
    ) -> Result<Transferred, Failure> {
        let progress: Arc<dyn Progress> = self.bars.clone();
        let transfer = slim_registry::transfer(&self.client, from, to, selection, &progress);
        until_interrupted(self.outside, transfer).await
    }

    /// One image for one platform: a store's index names no others.
    async fn to_store(
        &self,
        from: &Source,
        store: &Store,
        name: Option<&Reference>,
    ) -> Result<Transferred, Failure> {
        let failed = |error| Failure::from(BuildError::from(error));
        let origin = self.origin(from).await?;
        let opened = store.clone();
        let receiving = blocking(move || opened.receive().map_err(failed)).await?;
        let to = receiving.layout().clone();
        let transferred = self.transfer(origin.borrowed(), To::Blobs(&to), &self.selected.one()?).await?;
        let (descriptor, name) = (transferred.descriptor.clone(), name.cloned().or_else(|| from.name()));
        self.bars.line(&format!("{:<10}unpacking the image", ""));
        blocking(move || receiving.finish(descriptor, name.as_ref()).map_err(failed)).await?;
        Ok(transferred)
    }

    /// `full`: the image's whole name.
    async fn to_files(
        &self,
        from: &Source,
        place: &Stored,
        full: Option<Reference>,
    ) -> Result<Transferred, Failure> {
        let unwritten = |error: &dyn std::fmt::Display| Failure::usage(error.to_string());
        match place.form {
            Form::Layout => self.blobs(from, to_layout(place, &place.path, full.as_ref())).await,
            Form::OciArchive => {
                let folder = self.folder_beside(&place.path)?;
                let path = folder.path().join("layout");
                let transferred = self.blobs(from, to_layout(place, &path, full.as_ref())).await?;
                let archive = place.path.clone();
                blocking(move || {
                    let layout = Layout::open(path).map_err(|error| unwritten(&error))?;
                    layout.write_archive(&archive).map_err(|error| unwritten(&error))
                })
                .await?;
                Ok(transferred)
            }
            Form::Directory => {
                let folder = self.folder_beside(&place.path)?;
                let path = folder.path().join("layout");
                let to = To::Layout { folder: &path, name: None, full: None };
                let origin = self.origin(from).await?;
                let transferred = self.transfer(origin.borrowed(), to, &self.selected.one()?).await?;
                let (directory, root) = (place.path.clone(), transferred.descriptor.clone());
                blocking(move || {
                    let layout = Layout::open(path).map_err(|error| unwritten(&error))?;
                    layout.write_directory(&root, &directory).map_err(|error| unwritten(&error))
                })
                .await?;
                Ok(transferred)
            }
            Form::DockerArchive | Form::AnyArchive => {
                let named = place.name().map(str::parse).transpose();
                let named =
                    named.map_err(|error: slim_image::reference::ReferenceError| unwritten(&error))?;
                let AtHand { image, transferred, _folder } = self.at_hand(from).await?;
                let told = transferred.unwrap_or_else(|| of_image(&image));
                let (names, path) = (names(named.or(full)), place.path.clone());
                blocking(move || {
                    slim_build::write_whole(&path, |file| image.write_archive(file, &names))
                        .map_err(|error| Failure::from(error).with_hint("does the folder exist?"))
                })
                .await?;
                Ok(told)
            }
        }
    }

    /// The image with its manifests.
    async fn origin(&self, from: &Source) -> Result<Origin, Failure> {
        let unreadable = |error: &dyn std::fmt::Display| Failure::new(error.to_string(), UNREADABLE);
        match from {
            Source::Registry(reference) => Ok(Origin::Registry(reference.clone())),
            Source::Store(store, name) => {
                let lent = store.lend(name).map_err(|error| Failure::from(BuildError::from(error)))?;
                Ok(Origin::Layout(lent.0, lent.1, None))
            }
            Source::Files(place) if place.form == Form::Layout => {
                let layout = Layout::open(&place.path).map_err(slim_registry::RegistryError::from)?;
                Ok(Origin::Layout(layout, place.selector.clone(), None))
            }
            Source::Files(place) => {
                let folder = self.folder()?;
                let (path, place, selected) =
                    (folder.path().to_owned(), place.clone(), self.selected.clone());
                let scratch = Scratch { folder: path.clone(), limit: self.scratch.limit };
                let (layout, selector) = blocking(move || {
                    let layout = Layout::create(path.join("layout")).map_err(|error| unreadable(&error))?;
                    let is_layout = match place.form {
                        Form::OciArchive => true,
                        Form::AnyArchive => Layout::is_in_archive(&place.path, &scratch)
                            .map_err(|error| unreadable(&error))?,
                        _ => false,
                    };
                    let selector = if is_layout {
                        layout
                            .take_archive(&place.path, scratch.limit)
                            .map_err(|error| unreadable(&error))?;
                        place.selector
                    } else if place.form == Form::Directory {
                        layout.take_directory(&place.path).map_err(|error| unreadable(&error))?;
                        Selector::Only
                    } else {
                        let image = LocalImage::open(&place, selected.platform.as_ref(), scratch);
                        take(&layout, &image.map_err(|error| unreadable(&error))?)?
                    };
                    Ok((layout, selector))
                })
                .await?;
                Ok(Origin::Layout(layout, selector, Some(folder)))
            }
            Source::Engine(..) => {
                let AtHand { image, _folder: folder, .. } = self.at_hand(from).await?;
                let folder = folder.map_or_else(|| self.folder(), Ok)?;
                let path = folder.path().join("layout");
                let (layout, selector) = blocking(move || {
                    let layout = Layout::create(path).map_err(|error| unreadable(&error))?;
                    let selector = take(&layout, &image)?;
                    Ok((layout, selector))
                })
                .await?;
                Ok(Origin::Layout(layout, selector, Some(folder)))
            }
            Source::Containerd(containerd, name) => {
                let file = self.temporary_file("image.tar")?;
                containerd.export(name, &file.1, self.selected.is_all).await?;
                let place = Stored { form: Form::OciArchive, path: file.1.clone(), selector: Selector::Only };
                Box::pin(self.origin(&Source::Files(place))).await
            }
        }
    }

    /// The image with its layers, for one platform.
    pub async fn at_hand(&self, from: &Source) -> Result<AtHand, Failure> {
        match from {
            Source::Registry(reference) => {
                let holding = self.holding(reference).await?;
                let to = To::Layout { folder: &holding.layout(), name: Some("image"), full: Some(reference) };
                let transferred = self.transfer(From::Registry(reference), to, &self.selected.one()?).await?;
                let place = Stored {
                    form: Form::Layout,
                    path: holding.layout(),
                    selector: Selector::Digest(transferred.descriptor.digest),
                };
                let image = self.open(place).await?;
                // Its files are open by now: they take no place once this program ends, however it does.
                holding.finish();
                Ok(AtHand { image, transferred: Some(transferred), _folder: None })
            }
            Source::Store(store, name) => {
                let (layout, selector) =
                    store.lend(name).map_err(|error| Failure::from(BuildError::from(error)))?;
                let place = Stored { form: Form::Layout, path: layout.path().to_owned(), selector };
                Ok(AtHand { image: self.open(place).await?, transferred: None, _folder: None })
            }
            Source::Files(place) => {
                Ok(AtHand { image: self.open(place.clone()).await?, transferred: None, _folder: None })
            }
            Source::Engine(engine, name) => {
                let (folder, path) = self.temporary_file("image.tar")?;
                self.bars.line(&format!("{:<10}saving {name} from the engine", ""));
                let save = async {
                    let mut archive = engine.save_image(name).await.map_err(BuildError::from)?;
                    let written = async {
                        let mut file = tokio::fs::File::create(&path).await?;
                        tokio::io::copy(&mut archive, &mut file).await?;
                        file.flush().await
                    };
                    written.await.map_err(|error| {
                        Failure::usage(format!("save {name} to {}: {error}", path.display()))
                    })
                };
                // Whoever asked for the image sees to it that this ends when it is to.
                let saved: Result<(), Failure> = save.await;
                saved?;
                let place = Stored { form: Form::AnyArchive, path, selector: Selector::Only };
                Ok(AtHand { image: self.open(place).await?, transferred: None, _folder: Some(folder) })
            }
            Source::Containerd(containerd, name) => {
                let (folder, path) = self.temporary_file("image.tar")?;
                containerd.export(name, &path, false).await?;
                let place = Stored { form: Form::OciArchive, path, selector: Selector::Only };
                Ok(AtHand { image: self.open(place).await?, transferred: None, _folder: Some(folder) })
            }
        }
    }

    async fn open(&self, place: Stored) -> Result<LocalImage, Failure> {
        let (platform, scratch) = (self.selected.platform.clone(), self.scratch.clone());
        blocking(move || {
            let folder = &scratch.folder;
            std::fs::create_dir_all(folder)
                .map_err(|error| Failure::usage(format!("make folder {}: {error}", folder.display())))?;
            LocalImage::open(&place, platform.as_ref(), scratch)
                .map_err(|error| Failure::new(error.to_string(), UNREADABLE))
        })
        .await
    }

    async fn holding(&self, reference: &Reference) -> Result<Holding, Failure> {
        let (scratch, platform) = (self.scratch.folder.clone(), self.selected.platform.clone());
        let platform = platform.unwrap_or_else(Platform::host);
        let key = format!("{} {platform}", reference.canonical());
        blocking(move || {
            Holding::open(&scratch, &key).map_err(|error| {
                Failure::usage(format!("hold what is pulled in {}: {error}", scratch.display()))
                    .with_hint("--state-path names another folder")
            })
        })
        .await
    }

    async fn unless_interrupted<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        use slim_build::Person as _;
        tokio::select! {
            done = work => done,
            () = self.outside.interrupted() => Err(BuildError::Interrupted.into()),
        }
    }

    fn folder(&self) -> Result<TemporaryFolder, Failure> {
        let scratch = &self.scratch.folder;
        std::fs::create_dir_all(scratch).and_then(|()| TemporaryFolder::make(scratch)).map_err(|error| {
            Failure::usage(format!("write below {}: {error}", scratch.display()))
                .with_hint("--state-path names another folder")
        })
    }

    fn temporary_file(&self, name: &str) -> Result<(TemporaryFolder, PathBuf), Failure> {
        let folder = self.folder()?;
        let path = folder.path().join(name);
        Ok((folder, path))
    }

    /// On the disk that the image goes to anyway.
    fn folder_beside(&self, path: &Path) -> Result<TempDir, Failure> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        tempfile::Builder::new().prefix(".slim-").tempdir_in(folder).map_err(|error| {
            Failure::usage(format!("write {}: {error}", path.display())).with_hint("does the folder exist?")
        })
    }
}

/// What the index calls it: as the place says, else by its tag; one with a digest alone has no name.
fn to_layout<'a>(place: &'a Stored, folder: &'a Path, full: Option<&'a Reference>) -> To<'a> {
    let tag = full.and_then(|full| full.tag.as_deref());
    let latest = full.filter(|full| full.digest.is_none()).map(|_| "latest");
    To::Layout { folder, name: place.name().or(tag).or(latest), full }
}

/// Names of an archive: one with a digest alone has none.
fn names(name: Option<Reference>) -> Vec<Reference> {
    let named = name.filter(|name| name.tag.is_some() || name.digest.is_none());
    named.map(|name| Reference { digest: None, ..name }).into_iter().collect()
}

fn take(layout: &Layout, image: &LocalImage) -> Result<Selector, Failure> {
    let taken = layout.take_image(image, None, Packing::Gzip, outputs::threads());
    let taken = taken.map_err(|error| Failure::new(error.to_string(), UNREADABLE))?;
    Ok(Selector::Digest(taken.digest))
}

/// What is told of an image that has no manifest: it is known by its id.
fn of_image(image: &LocalImage) -> Transferred {
    Transferred {
        descriptor: Descriptor {
            platform: Some(image.platform()),
            ..Descriptor::of(media::CONFIG, image.config_json())
        },
        from: None,
        manifests: 0,
        blobs: image.layer_count() + 1,
        referrers: 0,
        size: image.stored_size(),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| BuildError::Bug(format!("a worker stopped: {error}")))?
}
