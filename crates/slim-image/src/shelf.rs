//! Finding things in an image archive: docker-archives (old and new) and OCI layouts in a tar file.

use crate::archive::{DockerManifest, ImageConfig, blob_path};
use crate::digest::Digest;
use crate::layout::{Selector, Verifying};
use crate::manifest::{Descriptor, Index, MANIFEST_LIMIT, Manifest};
use crate::reference::Reference;
use crate::tape::{MemberKind, Scanner, TapeError};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// The largest JSON file that is read from an archive.
const JSON_LIMIT: u64 = 64 << 20;
/// More members than any archive of images has; what has more is there to fill memory.
const MEMBER_LIMIT: usize = 50_000;
/// Layers of one image. overlayfs puts 500 over one another, engines make 127.
pub(crate) const LAYER_LIMIT: usize = 500;
/// Symbolic links followed within an archive before it counts as a loop.
const LINK_LIMIT: usize = 16;

/// Why an image archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("read the image archive: {0}")]
    Tape(#[from] TapeError),
    #[error("read the image archive: {0}")]
    Io(#[from] io::Error),
    #[error("read the image archive: {name:?} {reason}")]
    Name { name: String, reason: &'static str },
    #[error("read the image archive: it has no {0}")]
    Missing(String),
    #[error("read the image archive: it has more than {MEMBER_LIMIT} members")]
    TooManyMembers,
    #[error("read {name} of the image archive: {reason}")]
    Json { name: String, reason: String },
    #[error(transparent)]
    Listing(#[from] crate::listing::ListingError),
    #[error("read layer {layer} of the image archive: {reason}")]
    Layer { layer: usize, reason: String },
    #[error("read the image archive: it holds {found} images, one is expected")]
    NotOneImage { found: usize },
    #[error("find {wanted} in the image archive: it has {}", listed(.names))]
    NotFound { wanted: String, names: Vec<String> },
    #[error("choose an image of the image archive: it has {}; name one of them behind a colon", listed(.names))]
    Several { names: Vec<String> },
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "no names".to_owned() } else { names.join(", ") }
}

/// Where a file lies in the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub offset: u64,
    pub size: u64,
}

/// A part of a file.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    file: Arc<File>,
    place: Place,
}

/// Reads a part of a file without moving the file's own position.
pub(crate) struct PartReader<'a> {
    file: &'a File,
    place: Place,
    position: u64,
}

impl Part {
    pub(crate) fn new(file: Arc<File>, place: Place) -> Self {
        Self { file, place }
    }

    pub(crate) fn size(&self) -> u64 {
        self.place.size
    }

    pub(crate) fn reader(&self) -> PartReader<'_> {
        PartReader { file: &self.file, place: self.place, position: 0 }
    }

    /// A part of the part.
    pub(crate) fn section(&self, offset: u64, size: u64) -> PartReader<'_> {
        let place = Place { offset: self.place.offset + offset, size };
        PartReader { file: &self.file, place, position: 0 }
    }
}

impl Read for PartReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.place.size.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let most = left.min(buffer.len());
        let read = self.file.read_at(&mut buffer[..most], self.place.offset + self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for PartReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.place.size.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a seek before the beginning"))?;
        Ok(self.position)
    }
}

/// Every file of an archive by name.
#[derive(Debug)]
pub(crate) struct Shelf {
    files: BTreeMap<String, Place>,
    links: BTreeMap<String, String>,
}

/// One image of an archive: where its parts lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShelvedImage {
    pub config: String,
    pub layers: Vec<String>,
    pub tags: Vec<String>,
    /// The OCI manifest, where it was found through an OCI index.
    pub manifest: Option<Digest>,
}

impl Shelf {
    /// Goes through the archive once.
    pub(crate) fn scan(input: &mut (impl Read + Seek)) -> Result<Self, ArchiveError> {
        input.seek(SeekFrom::Start(0))?;
        let mut scanner = Scanner::new(io::BufReader::with_capacity(256 << 10, input));
        let mut shelf = Self { files: BTreeMap::new(), links: BTreeMap::new() };
        let mut directories = std::collections::BTreeSet::new();
        while let Some(member) = scanner.next()? {
            let text = String::from_utf8_lossy(&member.name).into_owned();
            let refuse = |reason| ArchiveError::Name { name: text.clone(), reason };
            let name = clean(&member.name).map_err(refuse)?;
            let is_known = shelf.files.contains_key(&name)
                || shelf.links.contains_key(&name)
                || !directories.insert(name.clone());
            if is_known {
                return Err(refuse("is there twice"));
            }
            if directories.len() > MEMBER_LIMIT {
                return Err(ArchiveError::TooManyMembers);
            }
            match member.kind {
                MemberKind::File => {
                    let place = Place { offset: scanner.position(), size: member.size };
                    shelf.files.insert(name, place);
                }
                MemberKind::Symlink => {
                    let target = beside(&name, &String::from_utf8_lossy(&member.link));
                    shelf.links.insert(name, target.ok_or_else(|| refuse("links out of the archive"))?);
                }
                MemberKind::HardLink => {
                    shelf.links.insert(name, clean(&member.link).map_err(refuse)?);
                }
                MemberKind::Directory => {}
                _ => return Err(refuse("is neither file nor directory")),
            }
        }
        Ok(shelf)
    }

    /// Where a file lies, links followed.
    pub(crate) fn place(&self, name: &str) -> Result<Place, ArchiveError> {
        let mut at = name;
        for _ in 0..LINK_LIMIT {
            if let Some(place) = self.files.get(at) {
                return Ok(*place);
            }
            match self.links.get(at) {
                Some(target) => at = target,
                None => break,
            }
        }
        Err(ArchiveError::Missing(name.to_owned()))
    }

    /// Every file with its place, by name.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, Place)> {
        self.files.iter().map(|(name, place)| (name.as_str(), *place))
    }

    /// Whether there is such a file.
    pub(crate) fn holds(&self, name: &str) -> bool {
        self.files.contains_key(name) || self.links.contains_key(name)
    }

    /// The bytes of a file of at most `limit` bytes.
    pub(crate) fn bytes(
        &self,
        input: &mut (impl Read + Seek),
        name: &str,
        limit: u64,
    ) -> Result<Vec<u8>, ArchiveError> {
        let place = self.place(name)?;
        if place.size > limit {
            let reason = format!("it has {} bytes", place.size);
            return Err(ArchiveError::Json { name: name.to_owned(), reason });
        }
        let mut bytes = Vec::new();
        section(input, place)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The bytes of a small blob, checked.
    pub(crate) fn blob(
        &self,
        input: &mut (impl Read + Seek),
        descriptor: &Descriptor,
        limit: u64,
    ) -> Result<Vec<u8>, ArchiveError> {
        let bytes = self.bytes(input, &blob_path(&descriptor.digest), limit)?;
        let mut checked = Verifying::new(&bytes[..], descriptor.digest, descriptor.size);
        io::copy(&mut checked, &mut io::sink()).map_err(|error| ArchiveError::Json {
            name: descriptor.digest.to_string(),
            reason: error.to_string(),
        })?;
        Ok(bytes)
    }

    /// A file's JSON.
    pub(crate) fn json<T: DeserializeOwned>(
        &self,
        input: &mut (impl Read + Seek),
        name: &str,
    ) -> Result<T, ArchiveError> {
        serde_json::from_slice(&self.bytes(input, name, JSON_LIMIT)?)
            .map_err(|error| ArchiveError::Json { name: name.to_owned(), reason: error.to_string() })
    }

    /// The images that `manifest.json` names.
    pub(crate) fn docker_images(
        &self,
        input: &mut (impl Read + Seek),
    ) -> Result<Vec<ShelvedImage>, ArchiveError> {
        let manifests: Vec<DockerManifest> = self.json(input, "manifest.json")?;
        let image = |manifest: DockerManifest| ShelvedImage {
            config: manifest.config,
            layers: manifest.layers,
            tags: manifest.repo_tags.unwrap_or_default(),
            manifest: None,
        };
        Ok(manifests.into_iter().map(image).collect())
    }

    /// The image of `manifest.json` that is meant.
    pub(crate) fn docker_image(
        &self,
        input: &mut (impl Read + Seek),
        selector: &Selector,
    ) -> Result<ShelvedImage, ArchiveError> {
        let mut images = self.docker_images(input)?;
        let names: Vec<String> = images.iter().flat_map(|image| image.tags.clone()).collect();
        match selector {
            Selector::Only => {}
            Selector::Name(name) => {
                let full = |name: &str| name.parse::<Reference>().ok().map(|name| name.canonical());
                images.retain(|image| image.tags.iter().any(|tag| tag == name || full(tag) == full(name)));
            }
            // A docker-archive has no manifests; its images are known by their configurations.
            Selector::Digest(digest) => images.retain(|image| image.config.contains(&digest.hex())),
        }
        match images.len() {
            0 => Err(ArchiveError::NotFound { wanted: selector.to_string(), names }),
            1 => Ok(images.remove(0)),
            _ => Err(ArchiveError::Several { names }),
        }
    }

    /// The images that `index.json` names; one for all names of one manifest.
    pub(crate) fn oci_images(
        &self,
        input: &mut (impl Read + Seek),
    ) -> Result<Vec<ShelvedImage>, ArchiveError> {
        let index: Index = self.json(input, "index.json")?;
        let manifests: BTreeMap<Digest, &Descriptor> =
            index.manifests.iter().map(|descriptor| (descriptor.digest, descriptor)).collect();
        let mut images = Vec::new();
        for (digest, descriptor) in manifests {
            let bytes = self.blob(input, descriptor, MANIFEST_LIMIT)?;
            let malformed = |reason: String| ArchiveError::Json { name: digest.to_string(), reason };
            let manifest: Manifest =
                serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))?;
            images.push(ShelvedImage {
                config: blob_path(&manifest.config.digest),
                layers: manifest.layers.iter().map(|layer| blob_path(&layer.digest)).collect(),
                tags: Vec::new(),
                manifest: Some(digest),
            });
        }
        Ok(images)
    }

    /// The archive's one image and its configuration.
    pub(crate) fn one_image(
        &self,
        input: &mut (impl Read + Seek),
    ) -> Result<(ShelvedImage, ImageConfig, Digest), ArchiveError> {
        let images =
            if self.holds("manifest.json") { self.docker_images(input)? } else { self.oci_images(input)? };
        let found = images.len();
        let [image] =
            <[ShelvedImage; 1]>::try_from(images).map_err(|_| ArchiveError::NotOneImage { found })?;
        let id = Digest::of(self.bytes(input, &image.config, JSON_LIMIT)?);
        let config = self.json(input, &image.config)?;
        Ok((image, config, id))
    }
}

/// A part of the archive as a reader.
pub(crate) fn section<R: Read + Seek>(input: &mut R, place: Place) -> io::Result<io::Take<&mut R>> {
    input.seek(SeekFrom::Start(place.offset))?;
    Ok(input.take(place.size))
}

/// A member's name without `./` before and slashes behind it.
fn clean(name: &[u8]) -> Result<String, &'static str> {
    let name = std::str::from_utf8(name).map_err(|_| "is no UTF-8")?;
    if name.starts_with('/') {
        return Err("is absolute");
    }
    if name.split('/').any(|component| component == "..") {
        return Err("leads out of the archive");
    }
    let components: Vec<&str> =
        name.split('/').filter(|component| !component.is_empty() && *component != ".").collect();
    Ok(components.join("/"))
}

/// Where a relative link in the archive leads; `None` for out of it.
fn beside(name: &str, target: &str) -> Option<String> {
    let mut at: Vec<&str> = name.split('/').collect();
    at.pop();
    for component in target.split('/') {
        match component {
            "" | "." => {}
            ".." => drop(at.pop()?),
            component => at.push(component),
        }
    }
    (!target.starts_with('/')).then(|| at.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_in_the_archive() {
        assert_eq!(beside("a/layer.tar", "../b/layer.tar").as_deref(), Some("b/layer.tar"));
        assert_eq!(beside("a/layer.tar", "../../b"), None);
        assert_eq!(beside("a/layer.tar", "/etc/passwd"), None);
    }

    #[test]
    fn names_that_lead_out_are_refused() {
        assert_eq!(clean(b"./blobs//sha256/"), Ok("blobs/sha256".to_owned()));
        assert!(clean(b"/etc").is_err() && clean(b"a/../../b").is_err());
    }
}
