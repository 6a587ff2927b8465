//! RubyGems: `specifications/<name>-<version>[-<platform>].gemspec` stands for `gems/<the same>` beside `specifications`,
//! for its compiled extensions, its documentation and the archive that it was unpacked from. Bundler's gems from git lie
//! in `bundler/gems`, without such a record: the folder is the package.

use super::claims::Claims;
use super::{Manager, Register, Unread, some_text, text};
use slim_image::{Entry, ImagePath, TreeError};
use std::collections::BTreeSet;

#[derive(Default)]
pub(super) struct Gem {
    specifications: Vec<ImagePath>,
    /// Specifications inside of Bundler's checkouts.
    checkouts: BTreeSet<ImagePath>,
}

impl Register for Gem {
    fn wants(&mut self, path: &ImagePath, _: &Entry) -> bool {
        if path.file_name().ends_with(b".gemspec") {
            if root(path).is_some() {
                self.specifications.push(path.clone());
            } else if checkout(path).is_some() {
                self.checkouts.insert(path.clone());
            }
        }
        // The name says all.
        false
    }

    fn take(&mut self, _: &ImagePath, _: Vec<u8>, _: &mut Vec<Unread>) {}

    fn claim(self: Box<Self>, claims: &mut Claims<'_>) -> Result<(), TreeError> {
        for record in &self.specifications {
            let Some(root) = root(record) else { continue };
            let file = record.file_name();
            let full = file.strip_suffix(b".gemspec").unwrap_or(file);
            let (name, version) = name_and_version(full);
            let package = claims.package(Manager::Gem, name, version, record);
            claims.path(package, record.as_bytes());
            claims.path(package, &[root.as_bytes(), b"/cache/", full, b".gem"].concat());
            claims.path(package, &[root.as_bytes(), b"/build_info/", full, b".info"].concat());
            for folder in [&b"gems"[..], b"doc"] {
                claims.folder(package, &[root.as_bytes(), b"/", folder, b"/", full].concat());
            }
            for folder in extensions(claims, &root, full) {
                claims.folder(package, folder.as_bytes());
            }
        }
        for record in &self.checkouts {
            let Some(folder) = checkout(record) else { continue };
            let (name, version) = name_and_version(folder.file_name());
            let package = claims.package(Manager::Gem, name, version, record);
            claims.folder(package, folder.as_bytes());
        }
        Ok(())
    }
}

/// `extensions/<platform>/<ABI>/<full name>`.
fn extensions(claims: &Claims<'_>, root: &ImagePath, full: &[u8]) -> Vec<ImagePath> {
    let below = |folder: &ImagePath| {
        claims.tree.read_dir(folder).into_iter().map(|name| folder.join(name)).collect::<Vec<_>>()
    };
    let platforms = below(&root.join("extensions"));
    platforms.iter().flat_map(below).map(|abi| abi.join(full)).collect()
}

/// The folder that holds `specifications`, of a specification in it or in its `default`.
fn root(specification: &ImagePath) -> Option<ImagePath> {
    let mut folder = specification.parent()?;
    if folder.file_name() == b"default" {
        folder = folder.parent()?;
    }
    if folder.file_name() == b"specifications" { folder.parent() } else { None }
}

/// The checkout that holds a specification at its top: `…/bundler/gems/<name>-<revision>/<name>.gemspec`.
fn checkout(specification: &ImagePath) -> Option<ImagePath> {
    let folder = specification.parent()?;
    let gems = folder.parent()?;
    let is_bundlers = gems.file_name() == b"gems" && gems.parent()?.file_name() == b"bundler";
    is_bundlers.then_some(folder)
}

/// `nokogiri-1.15.4-x86_64-linux`: the version is the first word after a dash that begins with a digit and holds a dot;
/// where none does, the last word.
fn name_and_version(full: &[u8]) -> (String, Option<String>) {
    let words: Vec<&[u8]> = full.split(|byte| *byte == b'-').collect();
    let is_version = |word: &&[u8]| word.first().is_some_and(u8::is_ascii_digit) && word.contains(&b'.');
    let at = words.iter().skip(1).position(is_version).map_or(words.len() - 1, |at| at + 1);
    if at == 0 {
        return (text(full), None);
    }
    (text(&words[..at].join(&b'-')), some_text(words[at]))
}
