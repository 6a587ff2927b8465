//! Native parts of packages: add-ons that a loader package looks for in fixed folders, and packages that hold the build
//! for one platform.

use super::resolver::Resolver;
use crate::context::Context;
use crate::inspect::File;
use crate::reach::KeptFile;
use crate::reach::json::Json;
use crate::reach::places::{because, below, directory, ending, join, objects, size_below};
use crate::reason::Via;
use crate::seed::Seed;
use slim_image::{Entry, ImagePath, TreeError};

/// Packages that look for an add-on's file in the folders of the package that asks them.
const LOADERS: [&str; 8] = [
    "@mapbox/node-pre-gyp",
    "bindings",
    "node-gyp-build",
    "node-gyp-build-optional-packages",
    "node-pre-gyp",
    "pkg-prebuilds",
    "prebuildify",
    "require-addon",
];
/// Where they look, below the package's root, and how many folders deep.
const FOLDERS: [(&str, usize); 7] = [
    ("build", 1),
    ("build/Release", 1),
    ("build/default", 1),
    ("out/Release", 1),
    ("compiled", 4),
    ("lib/binding", 3),
    ("prebuilds", 2),
];
/// A platform's package that is larger is kept only by what asks for its files: build tools come so.
const PLATFORM_PACKAGE_MAX: u64 = 24 << 20;

/// What a build must have been made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Platform {
    /// As `process.arch` has it; `None` where the runtime's file does not tell.
    architecture: Option<&'static str>,
    is_musl: bool,
}

impl Platform {
    /// That of the runtime's own file.
    pub(super) fn of(runtime: &KeptFile<'_>) -> Self {
        let File::Elf(headers) = &runtime.what else { return Self { architecture: None, is_musl: false } };
        // e_machine, from elf.h.
        let architecture = match headers.machine.number {
            3 => Some("ia32"),
            8 => Some("mips"),
            21 => Some("ppc64"),
            22 => Some("s390x"),
            40 => Some("arm"),
            62 => Some("x64"),
            183 => Some("arm64"),
            243 => Some("riscv64"),
            258 => Some("loong64"),
            _ => None,
        };
        let is_musl = |name: &Vec<u8>| name.windows(4).any(|part| part == b"musl");
        Self { architecture, is_musl: headers.interpreter.iter().chain(&headers.needed).any(is_musl) }
    }

    /// Whether a folder as `linux-x64` or `darwin-x64+arm64` is for it.
    fn fits_folder(&self, name: &[u8]) -> bool {
        let Some((system, machines)) = split_once(name, b'-') else { return false };
        let machines: Vec<&[u8]> = machines.split(|byte| matches!(byte, b'+' | b'-')).collect();
        let fits = |architecture: &str| machines.contains(&architecture.as_bytes());
        let system_fits =
            matches!(system, b"linux" | b"linuxglibc") || (system == b"linuxmusl" && self.is_musl);
        system_fits && self.architecture.is_none_or(fits) && self.fits_library(name)
    }

    /// Whether a name does not say that it is for the other C library.
    fn fits_library(&self, name: &[u8]) -> bool {
        let says = |word: &[u8]| name.windows(word.len()).any(|part| part == word);
        if self.is_musl { !says(b"glibc") && !says(b"-gnu") } else { !says(b"musl") }
    }

    /// Whether a package.json's `os`, `cpu` and `libc` allow it.
    fn fits_manifest(&self, manifest: &Json) -> bool {
        let allows = |field: &str, own: &str| {
            let values = manifest.get(field);
            let values = values.map(|value| {
                if let Json::Text(_) = value { std::slice::from_ref(value) } else { value.list() }
            });
            let values: Vec<&str> = values.unwrap_or_default().iter().filter_map(Json::text).collect();
            let is_denied = values.iter().any(|value| value.strip_prefix('!') == Some(own));
            let wanted = values.iter().any(|value| !value.starts_with('!'));
            !is_denied && (!wanted || values.contains(&own))
        };
        allows("os", "linux")
            && self.architecture.is_none_or(|architecture| allows("cpu", architecture))
            && allows("libc", if self.is_musl { "musl" } else { "glibc" })
    }
}

/// Whether a specifier is that of a package which loads add-ons.
pub(super) fn is_loader(specifier: &[u8]) -> bool {
    LOADERS.iter().any(|name| name.as_bytes() == specifier)
}

/// The add-ons in the folders of a package that asked a loader.
pub(super) fn built(
    context: &Context<'_>,
    root: &ImagePath,
    platform: Platform,
    asking: &ImagePath,
) -> Vec<Seed> {
    let reason = because(Via::NodeCompanion, asking, None, b"native add-on");
    let mut seeds = Vec::new();
    for (folder, depth) in FOLDERS {
        let Some(place) = directory(context, &join(root.as_bytes(), folder.as_bytes())) else { continue };
        let mut files = below(context, &place, depth);
        files.retain(|path| is_native(context, path) && platform.fits_library(path.file_name()));
        if folder == "prebuilds" {
            files.retain(|path| path.parent().is_some_and(|parent| platform.fits_folder(parent.file_name())));
        }
        seeds.extend(objects(files, &reason));
    }
    seeds
}

/// The packages for one platform that a package has among its optional ones: they exist for nothing else than to be
/// found by a name that is put together at run time.
///
/// # Errors
/// When the image's files cannot be read.
pub(super) fn platform_packages(
    context: &Context<'_>,
    resolver: &mut Resolver,
    root: &ImagePath,
    platform: Platform,
) -> Result<Vec<Seed>, TreeError> {
    let mut seeds = Vec::new();
    let Some(manifest) = resolver.manifest(context, root.as_bytes())? else { return Ok(seeds) };
    let Some(optional) = manifest.get("optionalDependencies") else { return Ok(seeds) };
    for (name, _) in optional.table() {
        let place = resolver.package_directory(context, name.as_bytes(), root);
        let Some((place, real)) = place else { continue };
        let Some(of_platform) = resolver.manifest(context, &place)? else { continue };
        let is_for_one = of_platform.get("cpu").is_some() || of_platform.get("os").is_some();
        if is_for_one
            && platform.fits_manifest(&of_platform)
            && size_below(context, &real) <= PLATFORM_PACKAGE_MAX
        {
            let manifest = ImagePath::new(join(root.as_bytes(), b"package.json"));
            seeds.push(Seed::tree(place, because(Via::NodeCompanion, &manifest, None, name.as_bytes())));
        }
    }
    Ok(seeds)
}

fn is_native(context: &Context<'_>, path: &ImagePath) -> bool {
    let name = path.file_name();
    let is_library =
        ending(name) == b"node" || ending(name) == b"so" || name.windows(4).any(|part| part == b".so.");
    let is_program = !name.contains(&b'.')
        && context.entry(path).is_some_and(|entry: &Entry| entry.mode & 0o111 != 0 && entry.size() > 0);
    is_library || is_program
}

fn split_once(name: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let at = name.iter().position(|byte| *byte == at)?;
    Some((&name[..at], &name[at + 1..]))
}
