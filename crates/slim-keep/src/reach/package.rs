//! Rule of `--keep package`: of each package of the system or of a language of which a file is kept, everything is kept but
//! documentation, manual pages and the system's translations.
//!
//! It comes when all else is done: packages count of which a file was kept for what the program does or can reach. What
//! the files that it brings need in turn (links, libraries) is kept as ever, but not with the rest of *its* packages, and
//! no rule follows them: a package's unused scripts and modules would otherwise bring in most of an image. Files of the
//! system that are kept in every image (`/etc/host.conf` …) say nothing about their package.

use super::{Kept, KeptFile, Rule, World, own_seeds};
use crate::packages::{Manager, PackageId};
use crate::reason::{Reason, Via};
use crate::seed::Seed;
use slim_image::{ImagePath, Kind, TreeError};
use std::collections::BTreeMap;

/// Documentation and translations that packages of the system bring.
const ASIDE: [&[u8]; 11] = [
    b"/usr/share/common-licenses/",
    b"/usr/share/doc-base/",
    b"/usr/share/doc/",
    b"/usr/share/gtk-doc/",
    b"/usr/share/help/",
    b"/usr/share/info/",
    b"/usr/share/licenses/",
    b"/usr/share/lintian/",
    b"/usr/share/locale/",
    b"/usr/share/man/",
    b"/usr/share/ri/",
];
/// In RubyGems' folders: documentation, and the archives that gems were unpacked from.
const ASIDE_OF_GEMS: [&[u8]; 2] = [b"cache", b"doc"];

#[derive(Default)]
pub(crate) struct Package;

impl Rule for Package {
    fn follow(&mut self, _: &KeptFile<'_>, _: &World<'_>) -> Result<Vec<Seed>, TreeError> {
        Ok(Vec::new())
    }

    fn settle(&mut self, kept: &Kept, world: &World<'_>) -> Result<Vec<Seed>, TreeError> {
        let packages = world.packages()?;
        let is_file = |path: &ImagePath| {
            world.context.entry(path).is_some_and(|entry| matches!(entry.kind, Kind::File { .. }))
        };
        // The first kept file of each package.
        let mut used: BTreeMap<PackageId, &ImagePath> = BTreeMap::new();
        let is_every_images = |reason: &Reason| matches!(reason, Reason::System { .. });
        for (path, because) in kept {
            if let Some(owner) = packages.owner_id(path)
                && is_file(path)
                && !because.iter().all(is_every_images)
            {
                used.entry(owner).or_insert(path);
            }
        }
        let mut seeds = Vec::new();
        for (package, from) in used {
            let what = packages.package(package).name.clone();
            let reason = Reason::Reachable { via: Via::Package, from: from.clone(), line: None, what };
            let is_wanted = |path: &&ImagePath| !is_aside(packages.package(package).manager, path);
            let files = packages.files(package).filter(is_wanted);
            for path in files {
                // Directories come with what lies in them; the empty ones are kept by a rule of their own.
                if let Some(entry) = world.context.entry(path).filter(|entry| !entry.is_directory()) {
                    seeds.extend(own_seeds(path, entry, reason.clone()));
                }
            }
        }
        Ok(seeds)
    }
}

fn is_aside(manager: Manager, path: &ImagePath) -> bool {
    let bytes = path.as_bytes();
    let is_of_gems = || {
        let folders = path.ancestors();
        let folder = folders.iter().find(|folder| ASIDE_OF_GEMS.contains(&folder.file_name()));
        // Beside `gems`, not within a gem.
        folder
            .is_some_and(|folder| folders.iter().all(|above| above.file_name() != b"gems" || above > folder))
    };
    ASIDE.iter().any(|tree| bytes.starts_with(tree)) || (manager == Manager::Gem && is_of_gems())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documentation_stands_aside_and_what_only_sounds_like_it_does_not() {
        let bundle = "/usr/local/bundle";
        for path in ["/usr/share/doc/a/b", "/usr/share/locale/de/a.mo", "/usr/share/man/man1/a.1.gz"] {
            assert!(is_aside(Manager::Dpkg, &path.into()), "{path}");
        }
        for path in [format!("{bundle}/doc/a-1/b"), format!("{bundle}/cache/a-1.gem")] {
            assert!(is_aside(Manager::Gem, &ImagePath::new(path.as_bytes())), "{path}");
        }
        let own = [format!("{bundle}/gems/a-1/lib/doc/b.rb"), format!("{bundle}/gems/a-1/cache/b.rb")];
        assert!(!own.iter().any(|path| is_aside(Manager::Gem, &ImagePath::new(path.as_bytes()))));
        assert!(!is_aside(Manager::Pip, &"/srv/packages/django/locale/de/a.mo".into()));
        assert!(!is_aside(Manager::Dpkg, &"/usr/share/document/a".into()));
    }
}
