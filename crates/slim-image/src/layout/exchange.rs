//! A layout from and to archives and skopeo's directories, manifests and blobs as they are.
//!
//! Invariant: what comes in is checked against its digest before it has a blob's name; what goes out has nothing that was
//! not in the layout.

use super::{INDEX, Layout, LayoutError, MARKER, failed, json, plain_file, small_file};
use crate::archive::blob_path;
use crate::beneath::open_file;
use crate::digest::Digest;
use crate::local::{LocalImage, unpacked_archive};
use crate::location::DIRECTORY_VERSION;
use crate::manifest::{
    Descriptor, Document, MANIFEST_LIMIT, Manifest, ManifestError, Packing, annotation, media,
};
use crate::pack::pack;
use crate::packing::Scratch;
use crate::reference::Reference;
use crate::shelf::{ArchiveError, Part, Shelf};
use crate::sink::{refuse_other_directory, remove_other_blobs, whole_file};
use crate::tape::{self, Member, MemberKind};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read, Write};
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;

/// Why something does not come into a layout, or out of it.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error("{source} ({})", .path.display())]
    Archive { path: std::path::PathBuf, source: ArchiveError },
    #[error(transparent)]
    Sink(#[from] crate::sink::SinkError),
    #[error("read the image at {}: {source}", .path.display())]
    Document { path: std::path::PathBuf, source: ManifestError },
    #[error("write the image to {}: {reason}", .path.display())]
    Place { path: std::path::PathBuf, reason: String },
}

impl Layout {
    /// Whether a tar file, packed or not, is an OCI layout and no docker-archive. What is unpacked goes to `scratch`.
    ///
    /// # Errors
    /// When it is no tar file.
    pub fn is_in_archive(path: &Path, scratch: &Scratch) -> Result<bool, ExchangeError> {
        let refuse = |source: ArchiveError| ExchangeError::Archive { path: path.to_owned(), source };
        let file = plain_file(path).map_err(failed("read", path))?;
        let file = unpacked_archive(file, scratch).map_err(refuse)?;
        let shelf = Shelf::scan(&mut &file).map_err(refuse)?;
        Ok(!shelf.holds("manifest.json") && shelf.holds(INDEX))
    }

    /// Takes in everything that an OCI layout in a tar file has, which unpacks to `limit` bytes at most.
    ///
    /// # Errors
    /// When it is none, or a blob is not what its name says.
    pub fn take_archive(&self, path: &Path, limit: u64) -> Result<(), ExchangeError> {
        let refuse = |source: ArchiveError| ExchangeError::Archive { path: path.to_owned(), source };
        let file = plain_file(path).map_err(failed("read", path))?;
        let file =
            Arc::new(unpacked_archive(file, &Scratch { folder: self.root.clone(), limit }).map_err(refuse)?);
        let shelf = Shelf::scan(&mut &*file).map_err(refuse)?;
        let bytes = shelf.bytes(&mut &*file, INDEX, MANIFEST_LIMIT).map_err(refuse)?;
        let index = match Document::read(&bytes, None) {
            Ok(Document::Index(index)) => *index,
            Ok(Document::Manifest(_)) => {
                let source = ManifestError::NotAnImage("a manifest where an index is expected".to_owned());
                return Err(ExchangeError::Document { path: path.to_owned(), source });
            }
            Err(source) => return Err(ExchangeError::Document { path: path.to_owned(), source }),
        };
        for (name, place) in shelf.files() {
            let digest =
                name.strip_prefix("blobs/sha256/").and_then(|hex| format!("sha256:{hex}").parse().ok());
            if let Some(digest) = digest {
                let part = Part::new(Arc::clone(&file), place);
                self.take_blob(&Descriptor::new("", digest, place.size), &mut part.reader())?;
            }
        }
        index.manifests.into_iter().try_for_each(|descriptor| Ok(self.put(descriptor)?))
    }

    /// Takes in the image of a directory of skopeo's.
    ///
    /// # Errors
    /// When it is none, or a blob is missing or not what its name says.
    pub fn take_directory(&self, path: &Path) -> Result<Descriptor, ExchangeError> {
        let bytes = small_file(path, "manifest.json").map_err(failed("read", &path.join("manifest.json")))?;
        let refuse = |source| ExchangeError::Document { path: path.to_owned(), source };
        let (manifest, media_type) = match Document::read(&bytes, None).map_err(refuse)? {
            Document::Manifest(manifest) => {
                let media_type = manifest.media_type.clone().unwrap_or_else(|| media::MANIFEST.to_owned());
                (manifest, media_type)
            }
            Document::Index(_) => {
                let reason = "an index of several images; copy one of them with --override-arch".to_owned();
                return Err(refuse(ManifestError::NotAnImage(reason)));
            }
        };
        for blob in manifest.blobs() {
            let name = blob.digest.hex();
            let mut file = open_file(path, &name).map_err(failed("read", &path.join(&name)))?;
            self.take_blob(blob, &mut file)?;
        }
        let descriptor = self.put_blob(&media_type, &bytes)?;
        self.put(descriptor.clone())?;
        Ok(descriptor)
    }

    /// Takes in an image, its layers packed as they are; those that are not packed get `packing`, with so many threads. The
    /// index calls it `name`.
    ///
    /// # Errors
    /// When a layer cannot be read, or is not what the configuration says.
    pub fn take_image(
        &self,
        image: &LocalImage,
        name: Option<&Reference>,
        packing: Packing,
        threads: NonZero<usize>,
    ) -> Result<Descriptor, ExchangeError> {
        let mut layers = Vec::new();
        for number in 0..image.layer_count() {
            let mut blob = self.begin_blob()?;
            let stored = image.layer_packing(number).map_err(failed("read a layer for", &self.root))?;
            let written = match stored {
                Packing::Plain => pack(packing, threads, &mut blob, |output| {
                    io::copy(&mut image.layer(number)?, output).map(drop)
                }),
                _ => {
                    image.stored_layer(number).and_then(|mut layer| io::copy(&mut layer, &mut blob).map(drop))
                }
            };
            written.map_err(failed("write a layer to", &self.root))?;
            let packing = if stored == Packing::Plain { packing } else { stored };
            let (digest, size) = blob.commit(None)?;
            layers.push(Descriptor::new(packing.media_type(), digest, size));
        }
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(media::MANIFEST.to_owned()),
            artifact_type: None,
            config: self.put_blob(media::CONFIG, image.config_json())?,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        };
        let mut descriptor = self.put_blob(media::MANIFEST, &json(&manifest))?;
        descriptor.platform = Some(image.platform());
        if let Some(name) = name.map(Reference::with_tag) {
            let tag = name.tag.clone().unwrap_or_default();
            descriptor.annotations.insert(annotation::REF_NAME.to_owned(), tag);
            descriptor.annotations.insert(annotation::CONTAINERD_NAME.to_owned(), name.canonical());
        }
        self.put(descriptor.clone())?;
        Ok(descriptor)
    }

    fn take_blob(&self, blob: &Descriptor, input: &mut dyn Read) -> Result<(), LayoutError> {
        if self.has_blob(&blob.digest, blob.size) {
            return Ok(());
        }
        let mut writer = self.begin_blob()?;
        io::copy(input, &mut writer).map_err(failed("write", &self.blob_path(&blob.digest)))?;
        writer.commit(Some(blob)).map(drop)
    }

    /// Writes the whole layout to a tar file, in the place of what stood there.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn write_archive(&self, path: &Path) -> Result<(), ExchangeError> {
        let index = self.index()?;
        let blobs = self.blobs()?;
        let member = |output: &mut dyn Write, name: &str, size: u64, input: &mut dyn Read| {
            let mut member = Member::new(name, MemberKind::File, 0o644);
            member.size = size;
            tape::write_header(output, &member)?;
            match io::copy(&mut input.take(size), output)? {
                written if written == size => tape::pad(output, size),
                _ => Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    format!("{name} is shorter than it was"),
                )),
            }
        };
        whole_file(path, |output| {
            for directory in ["blobs/", "blobs/sha256/"] {
                tape::write_header(output, &Member::new(directory, MemberKind::Directory, 0o755))?;
            }
            let marker = json(&BTreeMap::from([("imageLayoutVersion", super::VERSION)]));
            let index = json(&index);
            member(output, MARKER, marker.len() as u64, &mut &marker[..])?;
            member(output, INDEX, index.len() as u64, &mut &index[..])?;
            for (digest, size) in &blobs {
                let blob = self.open_blob(&Descriptor::new("", *digest, *size)).map_err(io::Error::other)?;
                member(output, &blob_path(digest), *size, &mut { blob })?;
            }
            tape::finish(output)
        })?;
        Ok(())
    }

    /// Writes one image to a directory of skopeo's, in the place of the one that stood there.
    ///
    /// # Errors
    /// When it is no single image, the directory holds something else, or cannot be written.
    pub fn write_directory(&self, descriptor: &Descriptor, path: &Path) -> Result<(), ExchangeError> {
        let bytes = self.read_blob(descriptor, MANIFEST_LIMIT)?;
        let read = Document::read(&bytes, Some(&descriptor.media_type));
        let Document::Manifest(manifest) =
            read.map_err(|source| ExchangeError::Document { path: self.root.clone(), source })?
        else {
            let reason = "it holds one image, not an index of several".to_owned();
            return Err(ExchangeError::Place { path: path.to_owned(), reason });
        };
        refuse_other_directory(path)?;
        fs::create_dir_all(path).map_err(failed("make", path))?;
        for blob in manifest.blobs() {
            let mut reader = self.open_blob(blob)?;
            whole_file(&path.join(blob.digest.hex()), |output| io::copy(&mut reader, output).map(drop))?;
        }
        let version = format!("{DIRECTORY_VERSION}1.1\n");
        whole_file(&path.join("version"), |output| output.write_all(version.as_bytes()))?;
        whole_file(&path.join("manifest.json"), |output| output.write_all(&bytes))?;
        let own: BTreeSet<Digest> = manifest.blobs().map(|blob| blob.digest).collect();
        Ok(remove_other_blobs(path, &own)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::location::{Form, Stored};
    use crate::packing::UNPACKED_LIMIT;
    use crate::{Index, Platform, Selector};

    /// A layout whose index has an index of two images under the name `1`.
    fn layout(folder: &Path) -> (Layout, Descriptor) {
        let layout = Layout::create(folder.join("a")).unwrap();
        let images = ["amd64", "arm64"].map(|architecture| image(&layout, architecture));
        let index = Index { manifests: images.to_vec(), ..Index::empty() };
        let mut index = layout.put_blob(media::INDEX, &json(&index)).unwrap();
        index.annotations.insert(annotation::REF_NAME.to_owned(), "1".to_owned());
        layout.put(index).unwrap();
        let [image, _] = images;
        (layout, image)
    }

    fn image(layout: &Layout, architecture: &str) -> Descriptor {
        let layer = layout.put_blob(media::LAYER, &[0; 1024]).unwrap();
        let config = serde_json::json!({
            "os": "linux", "architecture": architecture, "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
        });
        let config = layout.put_blob(media::CONFIG, config.to_string().as_bytes()).unwrap();
        // Not as we would write it: the bytes are to survive.
        let manifest = serde_json::json!({
            "mediaType": media::MANIFEST, "schemaVersion": 2, "layers": [layer], "config": config,
        });
        let manifest = layout.put_blob(media::MANIFEST, format!("{manifest:#}").as_bytes()).unwrap();
        Descriptor { platform: Some(Platform::new("linux", architecture)), ..manifest }
    }

    #[test]
    fn a_layout_comes_back_from_an_archive_to_the_last_byte() {
        let folder = tempfile::tempdir().unwrap();
        let (layout, _) = layout(folder.path());
        let archive = folder.path().join("a.tar");
        layout.write_archive(&archive).unwrap();
        assert!(Layout::is_in_archive(&archive, &folder.path().into()).unwrap());
        let back = Layout::create(folder.path().join("b")).unwrap();
        back.take_archive(&archive, UNPACKED_LIMIT).unwrap();
        assert_eq!(
            (back.index().unwrap(), back.blobs().unwrap()),
            (layout.index().unwrap(), layout.blobs().unwrap())
        );
        let again = folder.path().join("again.tar");
        back.write_archive(&again).unwrap();
        assert_eq!(fs::read(&archive).unwrap(), fs::read(&again).unwrap());
    }

    #[test]
    fn an_image_comes_back_from_a_directory_and_an_index_does_not_go_there() {
        let folder = tempfile::tempdir().unwrap();
        let (layout, image) = layout(folder.path());
        let directory = folder.path().join("dir");
        let index = layout.index().unwrap().manifests[0].clone();
        assert!(layout.write_directory(&index, &directory).unwrap_err().to_string().contains("not an index"));
        layout.write_directory(&image, &directory).unwrap();
        let back = Layout::create(folder.path().join("b")).unwrap();
        assert_eq!(back.take_directory(&directory).unwrap().digest, image.digest);
        assert_eq!(back.blobs().unwrap().len(), 3);
    }

    #[test]
    fn a_blob_that_is_not_what_its_name_says_does_not_come_in() {
        let folder = tempfile::tempdir().unwrap();
        let (layout, image) = layout(folder.path());
        let directory = folder.path().join("dir");
        layout.write_directory(&image, &directory).unwrap();
        let archive = folder.path().join("a.tar");
        layout.write_archive(&archive).unwrap();
        let (layer, wrong) = (Digest::of([0; 1024]), [1; 1024]);
        fs::write(directory.join(layer.hex()), wrong).unwrap();
        let mut bytes = fs::read(&archive).unwrap();
        let name = blob_path(&layer);
        let header = bytes.windows(name.len()).position(|part| part == name.as_bytes()).unwrap();
        bytes[header + 512..][..wrong.len()].copy_from_slice(&wrong);
        fs::write(&archive, bytes).unwrap();
        fs::write(layout.blob_path(&layer), wrong).unwrap();
        assert!(layout.write_archive(&folder.path().join("b.tar")).is_err(), "nor does it go out");
        let back = Layout::create(folder.path().join("b")).unwrap();
        assert!(back.take_directory(&directory).is_err());
        assert!(back.take_archive(&archive, UNPACKED_LIMIT).is_err());
        assert!(!back.blob_path(&Digest::of([0; 1024])).exists());
        assert_eq!(back.index().unwrap(), Index::empty());
    }

    #[test]
    fn layers_that_are_not_packed_are_packed_on_their_way_in() {
        let folder = tempfile::tempdir().unwrap();
        let (layout, image) = layout(folder.path());
        let open = |layout: &Layout, digest| {
            let stored = Stored {
                form: Form::Layout,
                path: layout.path().to_owned(),
                selector: Selector::Digest(digest),
            };
            LocalImage::open(&stored, None, folder.path()).unwrap()
        };
        let plain = open(&layout, image.digest);
        let packed = Layout::create(folder.path().join("b")).unwrap();
        let name = "localhost:1/a:2".parse().unwrap();
        let taken = packed.take_image(&plain, Some(&name), Packing::Gzip, NonZero::<usize>::MIN).unwrap();
        let back = open(&packed, taken.digest);
        assert_eq!((back.id(), back.layer_packing(0).unwrap()), (plain.id(), Packing::Gzip));
        assert_eq!(packed.index().unwrap().manifests[0].ref_name(), Some("2"));
        // Once packed it stays as it is.
        let again = Layout::create(folder.path().join("c")).unwrap();
        let same = again.take_image(&back, Some(&name), Packing::Zstd, NonZero::<usize>::MIN).unwrap();
        assert_eq!(same, taken);
    }
}
