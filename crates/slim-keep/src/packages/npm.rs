//! npm, yarn, pnpm: every folder `node_modules/<name>` or `node_modules/@<scope>/<name>` with a package.json is a package,
//! and owns what lies below but the packages in its own `node_modules`.
//!
//! A symlink in `node_modules` is no package: it leads to one of pnpm's store, which is one, or to a workspace's own
//! source, which is the application's.

use super::claims::Claims;
use super::{Manager, Register, Unread, some_text, text};
use serde::Deserialize;
use slim_image::{Entry, ImagePath, TreeError};

/// Longer ones are read by nobody.
const MANIFEST_MAX: u64 = 1 << 20;

#[derive(Default)]
pub(super) struct Npm {
    /// Each package.json with the version that it says.
    packages: Vec<(ImagePath, Option<String>)>,
}

#[derive(Deserialize)]
struct Manifest {
    version: Option<String>,
}

impl Register for Npm {
    fn wants(&mut self, path: &ImagePath, entry: &Entry) -> bool {
        if path.file_name() != b"package.json" || folder_name(path).is_none() {
            return false;
        }
        if entry.size() > MANIFEST_MAX {
            self.packages.push((path.clone(), None));
            return false;
        }
        true
    }

    fn take(&mut self, path: &ImagePath, contents: Vec<u8>, _: &mut Vec<Unread>) {
        // One that cannot be read still makes its folder a package.
        let version =
            serde_json::from_slice::<Manifest>(&contents).ok().and_then(|manifest| manifest.version);
        self.packages.push((path.clone(), version.and_then(|version| some_text(version.as_bytes()))));
    }

    fn claim(mut self: Box<Self>, claims: &mut Claims<'_>) -> Result<(), TreeError> {
        self.packages.sort();
        for (record, version) in &self.packages {
            let (Some(folder), Some(name)) = (record.parent(), folder_name(record)) else { continue };
            let package = claims.package(Manager::Npm, text(&name), version.clone(), record);
            claims.folder(package, folder.as_bytes());
        }
        Ok(())
    }
}

/// `name` or `@scope/name` where a package.json lies in the folder of a package.
fn folder_name(manifest: &ImagePath) -> Option<Vec<u8>> {
    let components: Vec<&[u8]> = manifest.components().collect();
    match components[..] {
        [.., b"node_modules", name, _] if !name.starts_with(b"@") && !name.starts_with(b".") => {
            Some(name.to_vec())
        }
        [.., b"node_modules", scope, name, _] if scope.starts_with(b"@") => {
            Some([scope, b"/", name].concat())
        }
        _ => None,
    }
}
