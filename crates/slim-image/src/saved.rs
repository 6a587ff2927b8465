//! An image in a tar file (what `docker save` writes, or an OCI layout) as a tree.
//!
//! Each layer is read by itself and then put over those below, as overlayfs does with the directories that engines unpack them
//! to: whiteouts (`.wh.name`) and opaque directories (`.wh..wh..opq`) hide what lies below, and a layer that puts a file below
//! what is a link in a lower one has a directory in the link's place. Only where a file's contents lie is kept in memory.

mod lone;

use crate::archive::ImageConfig;
use crate::config::SourceImage;
use crate::digest::Digest;
use crate::in_container::engine_directory;
use crate::layout::Selector;
use crate::listing::{Listing, ListingBuilder, is_of_the_image, settle_groups};
use crate::local::LocalImage;
use crate::location::Form;
use crate::packing::Checked;
use crate::path::ImagePath;
use crate::platform::Platform;
use crate::shelf::{ArchiveError, Part};
use crate::tape::{Member, MemberKind};
use crate::tree::{Contents, Entry, ImageTree, Kind, TreeError};
use lone::{LoneLayer, Node, paths_below};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

/// More than any file system of an image holds; what claims more is there to fill memory.
const ENTRY_LIMIT: u64 = 8_000_000;

/// An image read from an archive.
#[derive(Debug)]
pub struct SavedTree {
    source: SourceImage,
    listing: Listing,
    origins: BTreeMap<ImagePath, Origin>,
    layers: Vec<Part>,
}

/// Where an entry came from: the layer, and the position of its contents in it.
#[derive(Clone, Copy, Debug)]
struct Origin {
    layer: usize,
    offset: u64,
}

impl SavedTree {
    /// Reads the one image of an archive. What is packed is unpacked to unnamed files in `scratch`.
    ///
    /// # Errors
    /// When it is no image archive, holds several images, or a layer cannot be read.
    pub fn open(archive: File, scratch: &Path) -> Result<Self, ArchiveError> {
        let host = Platform::host();
        LocalImage::of_archive(archive, Form::AnyArchive, &Selector::Only, &host, &scratch.into())?.tree()
    }

    /// Puts layers over one another, plain tar streams, the base first. A digest that is given is checked.
    pub(crate) fn of_layers(
        id: Digest,
        tags: Vec<String>,
        config: ImageConfig,
        layers: Vec<(Part, Option<Digest>)>,
    ) -> Result<Self, ArchiveError> {
        let mut merged = Merged::default();
        for (number, (layer, diff_id)) in layers.iter().enumerate() {
            merged.apply(number, layer, *diff_id)?;
        }
        let (listing, origins) = merged.finish()?;
        let source = described(id, tags, config, listing.size());
        let layers = layers.into_iter().map(|(layer, _)| layer).collect();
        Ok(Self { source, listing, origins, layers })
    }

    /// Each layer by itself, the base first: what it holds, without what it hides. Their roots are shown as an engine makes one.
    ///
    /// # Errors
    /// When a layer cannot be read.
    pub fn layers(&self) -> Result<Vec<Self>, ArchiveError> {
        let alone = |part: &Part| {
            let mut merged = Merged::default();
            merged.apply(0, part, None)?;
            merged.entries.insert(ImagePath::root(), engine_directory());
            let (listing, origins) = merged.finish()?;
            Ok(Self { source: self.source.clone(), listing, origins, layers: vec![part.clone()] })
        };
        self.layers.iter().map(alone).collect()
    }

    /// What the archive says of the image. Its size is that of the files as merged.
    #[must_use]
    pub fn source(&self) -> &SourceImage {
        &self.source
    }

    /// The image's listing.
    #[must_use]
    pub fn listing(&self) -> &Listing {
        &self.listing
    }
}

impl ImageTree for SavedTree {
    fn entry(&self, path: &ImagePath) -> Option<&Entry> {
        self.listing.get(path)
    }

    fn read_dir(&self, path: &ImagePath) -> Vec<&[u8]> {
        self.listing.read_dir(path)
    }

    fn walk(&self) -> Box<dyn Iterator<Item = (&ImagePath, &Entry)> + '_> {
        Box::new(self.listing.iter())
    }

    fn open(&self, path: &ImagePath) -> Result<Box<dyn Contents + '_>, TreeError> {
        let entry = self.listing.get(path).ok_or_else(|| TreeError::NotFound(path.clone()))?;
        let Kind::File { size } = entry.kind else { return Err(TreeError::NotAFile(path.clone())) };
        let origin = self.origins.get(path).ok_or_else(|| TreeError::NotFound(path.clone()))?;
        Ok(Box::new(self.layers[origin.layer].section(origin.offset, size)))
    }

    fn layer_of(&self, path: &ImagePath) -> Option<usize> {
        self.origins.get(path).map(|origin| origin.layer)
    }
}

fn described(id: Digest, tags: Vec<String>, config: ImageConfig, size: u64) -> SourceImage {
    SourceImage {
        id,
        reference: tags.first().cloned().unwrap_or_else(|| id.to_string()),
        tags,
        digests: Vec::new(),
        architecture: config.architecture,
        variant: config.variant,
        os: config.os,
        os_version: config.os_version,
        created: config.created,
        author: config.author,
        size,
        config: config.config,
        layer_diff_ids: config.rootfs.diff_ids,
    }
}

/// Layers put over one another.
#[derive(Default)]
struct Merged {
    entries: BTreeMap<ImagePath, Entry>,
    origins: BTreeMap<ImagePath, Origin>,
    groups: u64,
}

impl Merged {
    fn apply(&mut self, layer: usize, part: &Part, diff_id: Option<Digest>) -> Result<(), ArchiveError> {
        let input: Box<dyn Read> = match diff_id {
            Some(diff_id) => Box::new(Checked::new(part.reader(), diff_id)),
            None => Box::new(part.reader()),
        };
        let input = BufReader::with_capacity(256 << 10, input);
        let lone = LoneLayer::read(input, &mut self.groups)
            .map_err(|error| ArchiveError::Layer { layer, reason: error.to_string() })?;
        self.put_over(layer, lone);
        Ok(())
    }

    /// As overlayfs does it (Documentation/filesystems/overlayfs.rst): it merges the roots whatever they are marked with.
    fn put_over(&mut self, layer: usize, LoneLayer { nodes, opaque, root }: LoneLayer) {
        for directory in opaque.iter().filter(|directory| !directory.is_root()) {
            self.remove_below(directory);
        }
        if let Some(root) = root {
            self.put(layer, ImagePath::root(), root, 0);
        }
        for (path, node) in nodes {
            let is_directory = self.entries.get(&path).is_some_and(Entry::is_directory);
            match node {
                Node::Whiteout => self.remove(&path),
                Node::Implied if is_directory => {}
                Node::Implied => {
                    self.remove(&path);
                    self.put(layer, path, implied_directory(), 0);
                }
                Node::Entry(entry, offset) => {
                    if !(is_directory && entry.is_directory()) {
                        self.remove(&path);
                    }
                    self.put(layer, path, entry, offset);
                }
            }
        }
    }

    fn put(&mut self, layer: usize, path: ImagePath, entry: Entry, offset: u64) {
        self.entries.insert(path.clone(), entry);
        self.origins.insert(path, Origin { layer, offset });
    }

    fn remove(&mut self, path: &ImagePath) {
        self.remove_below(path);
        self.entries.remove(path);
        self.origins.remove(path);
    }

    fn remove_below(&mut self, path: &ImagePath) {
        for path in paths_below(&self.entries, path) {
            self.entries.remove(&path);
            self.origins.remove(&path);
        }
    }

    fn finish(mut self) -> Result<(Listing, BTreeMap<ImagePath, Origin>), ArchiveError> {
        settle_groups(&mut self.entries);
        self.entries.entry(ImagePath::root()).or_insert_with(implied_directory);
        let mut builder = ListingBuilder::new();
        for (path, entry) in self.entries {
            builder.insert(path, entry);
        }
        Ok((builder.finish()?, self.origins))
    }
}

fn entry_of(member: Member) -> Entry {
    let kind = match member.kind {
        MemberKind::File | MemberKind::HardLink => Kind::File { size: member.size },
        MemberKind::Symlink => Kind::Symlink { target: member.link },
        MemberKind::CharacterDevice => Kind::CharacterDevice { major: member.major, minor: member.minor },
        MemberKind::BlockDevice => Kind::BlockDevice { major: member.major, minor: member.minor },
        MemberKind::Directory => Kind::Directory,
        MemberKind::Fifo => Kind::Fifo,
    };
    let mode = if member.kind == MemberKind::Symlink { 0o777 } else { member.mode };
    let mut xattrs = member.xattrs;
    xattrs.retain(|name, _| is_of_the_image(name));
    Entry { kind, mode, uid: member.uid, gid: member.gid, mtime: member.mtime, xattrs, hard_link_group: None }
}

/// What engines make where a layer names a file but not its directory.
fn implied_directory() -> Entry {
    Entry {
        kind: Kind::Directory,
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: 0,
        xattrs: BTreeMap::new(),
        hard_link_group: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::SlimImage;
    use crate::config::Config;
    use crate::layer::{LayerEntry, write_layer, write_layer_to};
    use crate::memory::MemoryTree;
    use crate::tape;
    use std::io::Write;

    fn all(tree: &dyn ImageTree) -> Vec<LayerEntry> {
        tree.walk().map(|(path, entry)| LayerEntry { path: path.clone(), entry: entry.clone() }).collect()
    }

    /// A layer with these members; what a name ends in says what it is: `/` a directory, `=text` a file with text,
    /// `@x` a hard link to x, `>x` a symlink to x.
    fn layer(members: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for text in members {
            let (member, contents) = if let Some((name, contents)) = text.split_once('=') {
                (
                    Member { size: contents.len() as u64, ..Member::new(name, MemberKind::File, 0o644) },
                    contents,
                )
            } else if let Some((name, link)) = text.split_once('@') {
                (Member { link: link.into(), ..Member::new(name, MemberKind::HardLink, 0o644) }, "")
            } else if let Some((name, link)) = text.split_once('>') {
                (Member { link: link.into(), ..Member::new(name, MemberKind::Symlink, 0o777) }, "")
            } else {
                (Member::new(text, MemberKind::Directory, 0o711), "")
            };
            tape::write_header(&mut bytes, &member).unwrap();
            bytes.extend_from_slice(contents.as_bytes());
            tape::pad(&mut bytes, member.size).unwrap();
        }
        tape::finish(&mut bytes).unwrap();
        bytes
    }

    /// A docker-archive as old engines write it, one directory a layer.
    fn docker_archive(layers: &[Vec<u8>]) -> Vec<u8> {
        let diff_id = |layer: &Vec<u8>| {
            let mut plain = Vec::new();
            crate::packing::unpack(&layer[..], 1 << 20).unwrap().read_to_end(&mut plain).unwrap();
            Digest::of(plain)
        };
        let diff_ids: Vec<Digest> = layers.iter().map(diff_id).collect();
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux", "config": {"Cmd": ["x"], "Labels": null},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let names: Vec<String> = (0..layers.len()).map(|number| format!("{number}/layer.tar")).collect();
        let manifest = serde_json::json!([{"Config": "c.json", "RepoTags": ["a:1"], "Layers": names}]);
        let mut files: Vec<(String, Vec<u8>)> = vec![
            ("c.json".into(), config.to_string().into()),
            ("manifest.json".into(), manifest.to_string().into()),
        ];
        files.extend(names.into_iter().zip(layers.iter().cloned()));
        let mut bytes = Vec::new();
        for (name, contents) in files {
            let member = Member { size: contents.len() as u64, ..Member::new(name, MemberKind::File, 0o644) };
            tape::write_header(&mut bytes, &member).unwrap();
            bytes.extend_from_slice(&contents);
            tape::pad(&mut bytes, member.size).unwrap();
        }
        tape::finish(&mut bytes).unwrap();
        bytes
    }

    fn opened(bytes: &[u8]) -> Result<SavedTree, ArchiveError> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        SavedTree::open(file, &std::env::temp_dir())
    }

    fn merged(layers: &[&[&str]]) -> SavedTree {
        let layers: Vec<Vec<u8>> = layers.iter().map(|members| layer(members)).collect();
        opened(&docker_archive(&layers)).unwrap()
    }

    fn paths(tree: &SavedTree) -> Vec<String> {
        tree.walk().map(|(path, _)| path.to_string()).collect()
    }

    fn text(tree: &SavedTree, path: &str) -> String {
        let mut text = String::new();
        tree.open(&path.into()).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn later_layers_replace_earlier_ones() {
        let tree = merged(&[&["a/", "a/x=old", "a/y=kept", "b=1"], &["a/", "a/x=newer", "b/", "b/c=2"]]);
        assert_eq!(paths(&tree), ["/", "/a", "/a/x", "/a/y", "/b", "/b/c"]);
        assert_eq!((text(&tree, "/a/x"), text(&tree, "/a/y")), ("newer".to_owned(), "kept".to_owned()));
        let layers = ["/a/x", "/a/y", "/b/c"].map(|path| tree.layer_of(&path.into()));
        assert_eq!(layers, [Some(1), Some(0), Some(1)]);
        assert_eq!(tree.source().tags, ["a:1"]);
    }

    #[test]
    fn a_whiteout_hides_a_name_and_all_below_but_not_its_neighbours() {
        let tree = merged(&[&["a/", "a/x=1", "a/x.y=2", "ab=3", "c=4"], &[".wh.a", ".wh.c", "c=5"]]);
        assert_eq!(paths(&tree), ["/", "/ab", "/c"]);
        assert_eq!(text(&tree, "/c"), "5");
    }

    #[test]
    fn an_opaque_directory_hides_the_lower_ones_contents_only() {
        let tree = merged(&[&["a/", "a/x=1", "a/y=2"], &["a/", "a/z=3", "a/.wh..wh..opq"]]);
        assert_eq!(paths(&tree), ["/", "/a", "/a/z"]);
    }

    #[test]
    fn a_directory_that_becomes_a_link_loses_what_it_held() {
        let tree = merged(&[&["a/", "a/x=1"], &["a>b"]]);
        assert_eq!(paths(&tree), ["/", "/a"]);
    }

    #[test]
    fn names_of_one_inode_share_contents_until_one_is_replaced() {
        let tree = merged(&[&["a=text", "b@a", "c@a"]]);
        let group = |path: &str| tree.entry(&path.into()).unwrap().hard_link_group;
        assert!(group("/a").is_some() && group("/a") == group("/b") && group("/b") == group("/c"));
        assert_eq!(text(&tree, "/c"), "text");
        let tree = merged(&[&["a=text", "b@a"], &["b=other"]]);
        assert_eq!(tree.entry(&"/a".into()).unwrap().hard_link_group, None);
        assert_eq!((text(&tree, "/a"), text(&tree, "/b")), ("text".to_owned(), "other".to_owned()));
    }

    #[test]
    fn a_hard_link_to_nothing_is_an_error_that_names_it() {
        let error = opened(&docker_archive(&[layer(&["a@b"])])).unwrap_err().to_string();
        assert_eq!(error, "read layer 0 of the image archive: a: it is a hard link to b, which is not there");
    }

    #[test]
    fn compressed_layers_are_unpacked() {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(&layer(&["a=text"])).unwrap();
        let tree = opened(&docker_archive(&[packed.finish().unwrap()])).unwrap();
        assert_eq!(text(&tree, "/a"), "text");
    }

    #[test]
    fn an_archive_cut_off_is_an_error() {
        let bytes = docker_archive(&[layer(&["a=text", "b/"])]);
        for end in (0..bytes.len() - 1024).step_by(512) {
            assert!(opened(&bytes[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn what_is_written_reads_back_as_the_tree_that_it_was() {
        let tree = MemoryTree::new()
            .file("/usr/bin/tool", 0o4755, vec![3; 5000])
            .hard_link("/usr/bin/again", "/usr/bin/tool")
            .owner("/usr/bin/tool", 3_000_000, 5)
            .xattr("/usr/bin/tool", "security.capability", b"\x01\n\x00\xff")
            .mtime("/usr/bin/tool", -5)
            .file(ImagePath::new(b"/odd\xff"), 0o600, "odd")
            .symlink("/bin", "usr/bin")
            .special("/null", 0o666, Kind::CharacterDevice { major: 1, minor: 3 });
        let written = write_layer(&tree, &all(&tree), tempfile::NamedTempFile::new().unwrap()).unwrap();
        let source = merged(&[&["x=1"]]).source().clone();
        let image = SlimImage::new(&source, Config::default(), written, None);
        let mut bytes = Vec::new();
        image.write_to(&mut bytes, &[]).unwrap();
        let saved = opened(&bytes).unwrap();
        assert_eq!(saved.listing(), &tree.listing());
        assert_eq!(saved.source().id, *image.id());
        let mut again = Vec::new();
        let (digest, _) = write_layer_to(&saved, &all(&saved), &mut again).unwrap();
        assert_eq!(digest, image.layers()[0].diff_id, "the same layer from the archive as from memory");
    }
}
