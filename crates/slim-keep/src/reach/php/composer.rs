//! Composer's packages: which package a file is of, where its autoloader looks, and which package a name leads to.

use crate::context::Context;
use crate::reach::json::Json;
use crate::reach::places::{because, below, directory, join, objects};
use crate::reason::Via;
use crate::seed::Seed;
use slim_image::path::escape;
use slim_image::{ImagePath, TreeError};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Larger lists of packages there are none.
const INSTALLED_MAX: u64 = 64 << 20;
/// What Composer's own loader reads.
const LOADER: [&str; 12] = [
    "autoload.php",
    "composer/ClassLoader.php",
    "composer/InstalledVersions.php",
    "composer/autoload_classmap.php",
    "composer/autoload_files.php",
    "composer/autoload_namespaces.php",
    "composer/autoload_psr4.php",
    "composer/autoload_real.php",
    "composer/autoload_static.php",
    "composer/include_paths.php",
    "composer/installed.php",
    "composer/platform_check.php",
];
/// Folders of a package that no program loads from.
const NOT_LOADED: [&str; 11] =
    [".git", ".github", "Test", "Tests", "bench", "doc", "docs", "examples", "spec", "test", "tests"];

/// All folders of packages in the image that were asked about.
#[derive(Default)]
pub(super) struct Composer {
    vendors: BTreeMap<ImagePath, Option<Rc<Vendor>>>,
    /// Packages that are kept, by their directory.
    kept: BTreeSet<ImagePath>,
}

/// One folder of packages.
struct Vendor {
    directory: ImagePath,
    packages: BTreeMap<ImagePath, Package>,
    /// Prefixes of names, each with the places of its classes and the directory of its package.
    prefixes: BTreeMap<Vec<u8>, Vec<(ImagePath, ImagePath)>>,
}

struct Package {
    name: String,
    /// Folders and files that its autoloader takes from.
    roots: BTreeSet<ImagePath>,
    requires: BTreeSet<String>,
}

impl Composer {
    /// What a kept PHP file with these names needs of Composer's packages.
    pub(super) fn follow(
        &mut self,
        context: &Context<'_>,
        path: &ImagePath,
        names: &BTreeSet<Vec<u8>>,
    ) -> Result<Vec<Seed>, TreeError> {
        let mut seeds = Vec::new();
        let above = path.ancestors();
        let places: BTreeSet<ImagePath> =
            above.iter().flat_map(|above| [above.clone(), above.join("vendor")]).collect();
        for place in places {
            let Some(vendor) = self.vendor(context, &place)? else { continue };
            seeds.extend(vendor.loader(path));
            let package = vendor.package_of(path);
            if let Some((place, package)) = package
                && self.kept.insert(place.clone())
            {
                seeds.extend(package.seeds(context, path, place));
            }
            seeds.extend(vendor.classes(context, path, names, package.map(|(_, package)| package)));
        }
        Ok(seeds)
    }

    /// The packages in a directory that Composer filled.
    fn vendor(&mut self, context: &Context<'_>, place: &ImagePath) -> Result<Option<Rc<Vendor>>, TreeError> {
        if let Some(known) = self.vendors.get(place) {
            return Ok(known.clone());
        }
        let list = join(place.as_bytes(), b"composer/installed.json");
        let vendor = match context.file(&list) {
            Some(_) => Json::read(&context.read(&list, INSTALLED_MAX)?)
                .map(|list| Rc::new(Vendor::new(place, &list))),
            None => None,
        };
        self.vendors.insert(place.clone(), vendor.clone());
        Ok(vendor)
    }
}

impl Vendor {
    fn new(directory: &ImagePath, list: &Json) -> Self {
        let mut vendor =
            Self { directory: directory.clone(), packages: BTreeMap::new(), prefixes: BTreeMap::new() };
        // Composer 1 has the list itself.
        let list = list.get("packages").unwrap_or(list);
        for package in list.list() {
            let Some(name) = package.get("name").and_then(Json::text) else { continue };
            let place = match package.get("install-path").and_then(Json::text) {
                Some(path) => ImagePath::new(join(directory.join("composer").as_bytes(), path.as_bytes())),
                None => ImagePath::new(join(directory.as_bytes(), name.as_bytes())),
            };
            let autoload = package.get("autoload");
            let mut roots = BTreeSet::new();
            for (kind, value) in autoload.map(Json::table).unwrap_or_default() {
                if matches!(kind.as_str(), "classmap" | "files") {
                    roots.extend(
                        value.list().iter().filter_map(Json::text).map(|path| below_package(&place, path)),
                    );
                } else if matches!(kind.as_str(), "psr-4" | "psr-0") {
                    for (prefix, folders) in value.table() {
                        for folder in
                            folders.text().into_iter().chain(folders.list().iter().filter_map(Json::text))
                        {
                            let folder = below_package(&place, folder);
                            if kind == "psr-4" {
                                let known = vendor.prefixes.entry(prefix.as_bytes().to_vec()).or_default();
                                known.push((folder.clone(), place.clone()));
                            }
                            roots.insert(folder);
                        }
                    }
                }
            }
            let requires = package.get("require").map(Json::table).unwrap_or_default();
            let requires = requires.iter().map(|(name, _)| name.clone()).collect();
            vendor.packages.insert(place, Package { name: name.to_owned(), roots, requires });
        }
        vendor
    }

    fn package_of(&self, path: &ImagePath) -> Option<(&ImagePath, &Package)> {
        path.ancestors().iter().rev().find_map(|above| self.packages.get_key_value(above))
    }

    fn loader(&self, path: &ImagePath) -> Vec<Seed> {
        let is_loader = path.parent().is_some_and(|parent| parent == self.directory.join("composer"))
            || *path == self.directory.join("autoload.php");
        if !is_loader {
            return Vec::new();
        }
        let reason = because(Via::Php, path, None, b"Composer's autoloader");
        objects(LOADER.map(|name| join(self.directory.as_bytes(), name.as_bytes())), &reason).collect()
    }

    /// The files of the classes that these names mean. A package's own names count only for what it declares to need:
    /// what it could work with is there for others, or for its tests.
    fn classes(
        &self,
        context: &Context<'_>,
        path: &ImagePath,
        names: &BTreeSet<Vec<u8>>,
        package: Option<&Package>,
    ) -> Vec<Seed> {
        let mut seeds = Vec::new();
        for name in names {
            let ends =
                name.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\\').map(|(at, _)| at + 1);
            let Some((end, places)) =
                ends.into_iter().find_map(|end| Some((end, self.prefixes.get(&name[..end])?)))
            else {
                continue;
            };
            let file: Vec<u8> =
                name[end..].iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect();
            for (folder, of_package) in places {
                let is_declared = package.is_none_or(|package| {
                    self.packages
                        .get(of_package)
                        .is_some_and(|of| package.requires.contains(&of.name) || of.name == package.name)
                });
                let file = join(folder.as_bytes(), &[&file[..], b".php"].concat());
                if is_declared && context.file(&file).is_some() {
                    seeds.push(Seed::object(file, because(Via::Php, path, None, name)));
                }
            }
        }
        seeds
    }
}

impl Package {
    /// Everything that the autoloader can take, with what lies beside the classes.
    fn seeds(&self, context: &Context<'_>, path: &ImagePath, place: &ImagePath) -> Vec<Seed> {
        let reason = because(Via::Php, path, None, escape(self.name.as_bytes()).as_bytes());
        let mut files = BTreeSet::new();
        for root in &self.roots {
            if directory(context, root.as_bytes()).is_none() {
                files.insert(root.clone());
                continue;
            }
            for file in below(context, root, usize::MAX) {
                let inner = file.components().skip(place.components().count());
                let is_loaded =
                    !inner.into_iter().any(|name| NOT_LOADED.iter().any(|not| not.as_bytes() == name));
                if is_loaded && !file.as_bytes().ends_with(b".md") {
                    files.insert(file);
                }
            }
        }
        files.insert(place.join("composer.json"));
        objects(files, &reason).collect()
    }
}

fn below_package(package: &ImagePath, path: &str) -> ImagePath {
    ImagePath::new([package.as_bytes(), b"/", path.as_bytes()].concat())
}
