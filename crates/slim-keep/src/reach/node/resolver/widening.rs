//! Names of which a request knows only the ends: what they can stand for, one folder wide.

use super::LookUp;
use super::names::{is_path, package_name, package_root};
use crate::reach::places::{directory, directory_of, ending, join};
use slim_image::TreeError;

/// Fewer constant letters than this say nothing about the name of a package.
const NAME_PREFIX_MIN: usize = 3;

impl LookUp<'_> {
    pub(super) fn widened(&mut self, prefix: &[u8], suffix: &[u8]) -> Result<(), TreeError> {
        let Some(slash) = prefix.iter().rposition(|byte| *byte == b'/') else {
            return self.packages_named(b"", prefix, suffix);
        };
        let (folder, stem) = (&prefix[..slash], &prefix[slash + 1..]);
        let folder = if is_path(prefix) {
            join(directory_of(self.from.as_bytes()), if folder.is_empty() { b"/" } else { folder })
        } else {
            let (name, rest) = package_name(folder);
            if name.is_empty() {
                return self.packages_named(folder, stem, suffix);
            }
            let places = self.places();
            let package = places.iter().map(|place| join(place, name));
            let Some(package) = package.into_iter().find(|path| directory(self.context, path).is_some())
            else {
                return Ok(());
            };
            [&package[..], rest].concat()
        };
        let Some(real) = directory(self.context, &folder) else { return Ok(()) };
        // A package that goes up from its own place would widen to all others.
        let leaves = is_path(prefix) && package_root(self.from).is_some_and(|root| !real.is_within(&root));
        if real.is_root() || real.file_name() == b"node_modules" || leaves {
            return Ok(());
        }
        for name in self.context.tree.read_dir(&real) {
            if name.starts_with(stem) {
                self.member(&join(&folder, name), suffix)?;
            }
        }
        Ok(())
    }

    /// One of a widened folder's, if it can be what is asked for.
    fn member(&mut self, path: &[u8], suffix: &[u8]) -> Result<bool, TreeError> {
        if directory(self.context, path).is_some() {
            let is_whole = suffix.is_empty() || suffix.starts_with(b"/");
            return Ok(is_whole && self.file_or_directory(&[path, suffix].concat())?);
        }
        let known = matches!(ending(path), b"js" | b"cjs" | b"mjs" | b"json" | b"node" | b"wasm")
            || (self.is_typed()
                && matches!(ending(path), b"ts" | b"tsx" | b"mts" | b"cts")
                && !path.ends_with(b".d.ts"));
        let stem = &path[..path.len() - ending(path).len()];
        let stem_fits = || known && stem.strip_suffix(b".").is_some_and(|stem| stem.ends_with(suffix));
        // A suffix with an ending of its own is the whole ending.
        let fits = path.ends_with(suffix) || (ending(suffix).is_empty() && stem_fits());
        Ok(fits && (known || !suffix.is_empty()) && self.file(path)?)
    }

    /// Packages of a search directory (or of one scope in it) whose names begin and end so.
    fn packages_named(&mut self, scope: &[u8], stem: &[u8], suffix: &[u8]) -> Result<(), TreeError> {
        if stem.len() < NAME_PREFIX_MIN && scope.is_empty() {
            return Ok(());
        }
        let end = suffix.iter().position(|byte| *byte == b'/').unwrap_or(suffix.len());
        for place in self.places() {
            let Some(folder) = directory(self.context, &join(&place, scope)) else { continue };
            for name in self.context.tree.read_dir(&folder) {
                if name.starts_with(stem) && name.ends_with(&suffix[..end]) {
                    let package = join(&join(&place, scope), name);
                    self.package(&package, &suffix[end..], 0)?;
                }
            }
        }
        Ok(())
    }
}
