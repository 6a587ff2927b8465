//! Whether an image archive is what it says: every test that makes an image ends here.

use crate::archive::{ImageConfig, blob_path};
use crate::digest::Digest;
use crate::hashing::{Hashing, digest_of};
use crate::layout;
use crate::manifest::{Index, Manifest};
use crate::path::{ImagePath, escape};
use crate::shelf::{ArchiveError, Shelf, ShelvedImage, section};
use crate::tape::{MemberKind, Scanner};
use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Seek};

/// What a valid archive holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidImage {
    /// Digest of the configuration.
    pub id: Digest,
    /// Names that a docker engine gives the image.
    pub tags: Vec<String>,
    pub config: ImageConfig,
    /// Entries of all layers together.
    pub entries: usize,
}

/// What is wrong with an archive.
#[derive(Debug, thiserror::Error)]
pub enum ValidateError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("validate the image: blob {name} has digest {found}")]
    BlobDigest { name: String, found: Digest },
    #[error("validate the image: {name} should have {expected} bytes but has {found}")]
    Size { name: String, expected: u64, found: u64 },
    #[error("validate the image: {0}")]
    Disagree(String),
    #[error("validate the image: layer {layer} has diff id {found}, the configuration says {expected}")]
    DiffId { layer: usize, expected: Digest, found: Digest },
    #[error("validate the image: {layers} layers, {diff_ids} diff ids, {steps} steps that left a layer")]
    Counts { layers: usize, diff_ids: usize, steps: usize },
    #[error("validate the image: layer {layer}: {name} {reason}")]
    Entry { layer: usize, name: String, reason: &'static str },
}

/// Checks names, digests, sizes, diff ids, that both manifests say the same, that history fits the layers, and that
/// each layer can be unpacked in one pass: directories before what they hold, hard links behind what they name,
/// nothing twice, nothing outside. Layers must not be compressed.
///
/// # Errors
/// The first thing that is wrong.
pub fn validate(mut input: impl Read + Seek) -> Result<ValidImage, ValidateError> {
    let input = &mut input;
    let shelf = Shelf::scan(input)?;
    check_blobs(&shelf, input)?;
    let layout: serde_json::Value = shelf.json(input, "oci-layout")?;
    if layout != serde_json::json!({ "imageLayoutVersion": layout::VERSION }) {
        return Err(ValidateError::Disagree(format!("oci-layout is {layout}")));
    }
    check_descriptors(&shelf, input)?;
    let image = agreed_image(&shelf, input)?;
    let (_, config, id) = shelf.one_image(input)?;
    if image.config != blob_path(&id) {
        return Err(ValidateError::Disagree(format!(
            "the configuration {} is not named by its digest",
            image.config
        )));
    }
    let steps = config.history.iter().filter(|step| !step.empty_layer).count();
    let (layers, diff_ids) = (image.layers.len(), config.rootfs.diff_ids.len());
    if layers != diff_ids || (!config.history.is_empty() && steps != layers) {
        return Err(ValidateError::Counts { layers, diff_ids, steps });
    }
    let mut seen = Seen::default();
    for (number, (name, expected)) in image.layers.iter().zip(&config.rootfs.diff_ids).enumerate() {
        let place = shelf.place(name)?;
        let found = seen.layer(number, section(input, place).map_err(ArchiveError::Io)?)?;
        if found != *expected {
            return Err(ValidateError::DiffId { layer: number, expected: *expected, found });
        }
    }
    Ok(ValidImage { id, tags: image.tags, config, entries: seen.entries })
}

fn check_blobs(shelf: &Shelf, input: &mut (impl Read + Seek)) -> Result<(), ValidateError> {
    for (name, place) in shelf.files().filter(|(name, _)| name.starts_with("blobs/")) {
        let part = section(input, place).map_err(ArchiveError::Io)?;
        let (found, _) = digest_of(part).map_err(ArchiveError::Io)?;
        if name != blob_path(&found) {
            return Err(ValidateError::BlobDigest { name: name.to_owned(), found });
        }
    }
    Ok(())
}

fn check_descriptors(shelf: &Shelf, input: &mut (impl Read + Seek)) -> Result<(), ValidateError> {
    let index: Index = shelf.json(input, "index.json")?;
    for manifest in &index.manifests {
        let parts: Manifest = shelf.json(input, &blob_path(&manifest.digest))?;
        for descriptor in parts.layers.iter().chain([&parts.config, manifest]) {
            let name = blob_path(&descriptor.digest);
            let found = shelf.place(&name)?.size;
            if found != descriptor.size {
                return Err(ValidateError::Size { name, expected: descriptor.size, found });
            }
        }
    }
    Ok(())
}

/// The one image that both manifests name.
fn agreed_image(shelf: &Shelf, input: &mut (impl Read + Seek)) -> Result<ShelvedImage, ValidateError> {
    let (docker, oci) = (shelf.docker_images(input)?, shelf.oci_images(input)?);
    let ([docker], [oci]) = (&docker[..], &oci[..]) else {
        return Err(ValidateError::Disagree(format!(
            "manifest.json names {} images, index.json {}",
            docker.len(),
            oci.len()
        )));
    };
    if (&docker.config, &docker.layers) != (&oci.config, &oci.layers) {
        return Err(ValidateError::Disagree("manifest.json and index.json name different blobs".to_owned()));
    }
    Ok(docker.clone())
}

/// What the layers put where, the base first.
#[derive(Default)]
struct Seen {
    kinds: BTreeMap<ImagePath, MemberKind>,
    entries: usize,
}

impl Seen {
    /// Goes through a layer and gives its digest.
    fn layer(&mut self, layer: usize, input: impl Read) -> Result<Digest, ValidateError> {
        let mut scanner = Scanner::new(BufReader::with_capacity(256 << 10, Hashing::new(input)));
        let mut in_layer: BTreeMap<ImagePath, MemberKind> = BTreeMap::new();
        while let Some(member) = scanner.next().map_err(ArchiveError::Tape)? {
            let refuse = |reason| ValidateError::Entry { layer, name: escape(&member.name), reason };
            let path = layer_path(&member.name).map_err(refuse)?;
            if let Some(parent) = path.parent() {
                match self.kinds.get(&parent) {
                    Some(MemberKind::Directory) => {}
                    None if parent.is_root() => {}
                    _ => return Err(refuse("comes before the directory that holds it")),
                }
            }
            if member.kind == MemberKind::HardLink {
                let target = layer_path(&member.link).map_err(refuse)?;
                if in_layer.get(&target) != Some(&MemberKind::File) {
                    return Err(refuse("is a hard link to no file before it"));
                }
            }
            if in_layer.insert(path.clone(), member.kind).is_some() {
                return Err(refuse("is there twice"));
            }
            self.kinds.insert(path, member.kind);
            self.entries += 1;
        }
        let mut buffered = scanner.into_inner();
        io::copy(&mut buffered, &mut io::sink()).map_err(ArchiveError::Io)?;
        let (_, digest, _) = buffered.into_inner().finish();
        Ok(digest)
    }
}

/// The path that a layer's name means.
fn layer_path(name: &[u8]) -> Result<ImagePath, &'static str> {
    if name.starts_with(b"/") {
        return Err("is absolute");
    }
    if name.split(|byte| *byte == b'/').any(|component| component == b"..") {
        return Err("leads out of the image");
    }
    Ok(ImagePath::new(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::SlimImage;
    use crate::config::{Config, SourceImage};
    use crate::layer::{LayerEntry, write_layer};
    use crate::memory::MemoryTree;
    use crate::tape::{self, Member};
    use crate::tree::ImageTree;
    use std::io::Cursor;

    fn archive() -> Vec<u8> {
        let tree = MemoryTree::new().file("/a/b", 0o644, "hello").hard_link("/c", "/a/b").symlink("/d", "a");
        let entries: Vec<LayerEntry> = tree
            .walk()
            .map(|(path, entry)| LayerEntry { path: path.clone(), entry: entry.clone() })
            .collect();
        let layer = write_layer(&tree, &entries, tempfile::NamedTempFile::new().unwrap()).unwrap();
        let config = Config { cmd: vec!["/a/b".to_owned()], ..Config::default() };
        let source = SourceImage { config, ..crate::archive::tests::source() };
        let image = SlimImage::new(&source, source.config.clone(), layer, None);
        let mut bytes = Vec::new();
        image.write_to(&mut bytes, &["x".parse().unwrap()]).unwrap();
        assert_eq!(bytes.len() as u64, image.archive_size(&["x".parse().unwrap()]));
        bytes
    }

    /// The archive with `from` replaced by `to`, of the same length, in every place.
    fn tampered(from: &str, to: &str) -> Vec<u8> {
        assert_eq!(from.len(), to.len());
        let mut bytes = archive();
        let places: Vec<usize> =
            (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from.as_bytes())).collect();
        assert!(!places.is_empty(), "{from} is not in the archive");
        for at in places {
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        }
        bytes
    }

    #[test]
    fn a_whole_archive_is_valid() {
        let valid = validate(Cursor::new(archive())).unwrap();
        assert_eq!(valid.tags, ["x:latest"]);
        assert_eq!(valid.entries, 5);
        assert_eq!(valid.config.history.len(), 2);
    }

    #[test]
    fn changed_contents_are_found() {
        let error = validate(Cursor::new(tampered("hello", "hallo"))).unwrap_err();
        assert!(matches!(error, ValidateError::BlobDigest { .. }), "{error}");
    }

    #[test]
    fn a_changed_configuration_is_found() {
        let error = validate(Cursor::new(tampered("amd64", "arm64"))).unwrap_err();
        assert!(matches!(error, ValidateError::BlobDigest { .. }), "{error}");
    }

    #[test]
    fn manifests_that_disagree_are_found() {
        let bytes = archive();
        let valid = validate(Cursor::new(&bytes)).unwrap();
        let layer = valid.config.rootfs.diff_ids[0].hex();
        let (from, to) = (
            format!("\"Layers\":[\"blobs/sha256/{layer}"),
            format!("\"Layers\":[\"blobs/sha256/{}", valid.id.hex()),
        );
        let error = validate(Cursor::new(tampered(&from, &to))).unwrap_err();
        assert!(matches!(error, ValidateError::Disagree(_)), "{error}");
    }

    #[test]
    fn an_archive_cut_off_anywhere_is_not_valid() {
        let bytes = archive();
        // The last two blocks only mark the end.
        for end in (0..bytes.len() - 1024).step_by(512) {
            assert!(validate(Cursor::new(&bytes[..end])).is_err(), "{end} of {}", bytes.len());
        }
    }

    fn layer_of(members: &[(&str, MemberKind, &str)]) -> Result<Digest, ValidateError> {
        let mut bytes = Vec::new();
        for (name, kind, link) in members {
            let mut member = Member::new(name, *kind, 0o755);
            member.link = link.as_bytes().to_vec();
            tape::write_header(&mut bytes, &member).unwrap();
        }
        tape::finish(&mut bytes).unwrap();
        let digest = Seen::default().layer(0, &bytes[..])?;
        assert_eq!(digest, Digest::of(&bytes));
        Ok(digest)
    }

    #[test]
    fn a_layer_must_unpack_in_one_pass() {
        use MemberKind::{Directory, File, HardLink, Symlink};
        layer_of(&[("a/", Directory, ""), ("a/b", File, ""), ("c", HardLink, "a/b")]).unwrap();
        for (members, reason) in [
            (&[("a/b", File, "")][..], "comes before the directory"),
            (&[("a", Symlink, "x"), ("a/b", File, "")], "comes before the directory"),
            (&[("a/", Directory, ""), ("a", File, "")], "is there twice"),
            (&[("a", HardLink, "b"), ("b", File, "")], "hard link to no file"),
            (&[("a/", Directory, ""), ("b", HardLink, "a")], "hard link to no file"),
            (&[("/a", File, "")], "absolute"),
            (&[("../a", File, "")], "leads out"),
        ] {
            let error = layer_of(members).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
