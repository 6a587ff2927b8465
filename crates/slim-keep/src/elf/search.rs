//! Looking for libraries as the loader does.
//!
//! glibc (ld.so(8), elf/dl-load.c): RPATH of the object and of those that loaded it, unless the object has a RUNPATH;
//! `LD_LIBRARY_PATH`; RUNPATH; `ld.so.cache`; the default directories. In each directory first the variants for newer
//! processors (`glibc-hwcaps/*`): all of them are taken, since the slim image may run elsewhere. musl (ldso/dynlink.c):
//! `LD_LIBRARY_PATH`, RPATH or RUNPATH of the object and of those that loaded it, its own directories.

use super::cache::LibraryCache;
use super::configuration;
use super::headers::{Headers, Machine};
use crate::context::Context;
use crate::inspect::{File, Files};
use crate::note::Note;
use crate::reason::Reason;
use crate::seed::Seed;
use slim_image::path::escape;
use slim_image::{ImagePath, TreeError};
use std::collections::BTreeSet;
use std::rc::Rc;

const LIBRARY_CACHE: &[u8] = b"/etc/ld.so.cache";
const LIBRARY_CACHE_MAX: u64 = 64 << 20;
/// Libraries that are part of musl's loader and never looked for.
const PARTS_OF_MUSL: [&str; 7] = ["c.", "dl.", "m.", "pthread.", "rt.", "util.", "xnet."];

/// The libraries of one image, looked up so far.
#[derive(Debug, Default)]
pub(crate) struct Libraries {
    image: Option<Rc<OfTheImage>>,
    loaded: BTreeSet<Load>,
    found: BTreeSet<(ImagePath, Vec<u8>)>,
    missing: BTreeSet<(ImagePath, Vec<u8>)>,
    missing_loaders: BTreeSet<(ImagePath, Vec<u8>)>,
}

/// What the image's own files say about libraries.
#[derive(Debug)]
struct OfTheImage {
    cache: LibraryCache,
    configured: Vec<Vec<u8>>,
    /// The loader of an image that has only musl's.
    musl_loader: Option<Vec<u8>>,
}

/// One object on its way into a process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Load {
    object: ImagePath,
    /// The directory that `$ORIGIN` stands for.
    origin: Vec<u8>,
    /// RPATH directories of the objects that loaded it, innermost first.
    inherited: Vec<Vec<u8>>,
    library_c: LibraryC,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum LibraryC {
    Glibc,
    /// With the path of its loader.
    Musl(Vec<u8>),
}

impl Libraries {
    /// What an ELF file needs: its loader and its libraries with all that these need, each as it was found.
    ///
    /// # Errors
    /// When the image's files cannot be read.
    pub(crate) fn needs(
        &mut self,
        context: &Context<'_>,
        files: &mut Files,
        object: &ImagePath,
        headers: &Headers,
    ) -> Result<Vec<Seed>, TreeError> {
        let image = self.image(context)?;
        let library_c = library_c(headers, &image);
        let mut pending = vec![Load {
            object: object.clone(),
            origin: directory_of(object.as_bytes()),
            inherited: Vec::new(),
            library_c,
        }];
        let mut seeds = Vec::new();
        while let Some(load) = pending.pop() {
            let File::Elf(headers) = files.inspect(context, &load.object)? else { continue };
            if self.loaded.insert(load.clone()) {
                self.load(context, files, &load, &headers, (&mut seeds, &mut pending))?;
            }
        }
        Ok(seeds)
    }

    /// Where the loader finds a library that an object opens by this name at run time, with its variants for other
    /// processors; nothing where the image does not have it.
    ///
    /// # Errors
    /// When the image's files cannot be read.
    pub(crate) fn locate(
        &mut self,
        context: &Context<'_>,
        files: &mut Files,
        (object, headers): (&ImagePath, &Headers),
        soname: &[u8],
    ) -> Result<Vec<Vec<u8>>, TreeError> {
        let image = self.image(context)?;
        let load = Load {
            object: object.clone(),
            origin: directory_of(object.as_bytes()),
            inherited: Vec::new(),
            library_c: library_c(headers, &image),
        };
        let places = Search::new(context, &image, &load, headers)?.find(files, soname)?;
        Ok(places.into_iter().map(|(place, _)| place).collect())
    }

    /// What was not found. A library that is kept under its name (`kept`) was found by the program itself.
    pub(crate) fn notes(&self, kept: &dyn Fn(&[u8]) -> bool) -> Vec<Note> {
        let libraries = self
            .missing
            .difference(&self.found)
            .filter(|(_, soname)| !kept(soname))
            .map(|(by, soname)| Note::LibraryMissing { by: by.clone(), soname: escape(soname) });
        let loaders = self
            .missing_loaders
            .iter()
            .map(|(by, loader)| Note::LoaderMissing { by: by.clone(), loader: escape(loader) });
        libraries.chain(loaders).collect()
    }

    fn image(&mut self, context: &Context<'_>) -> Result<Rc<OfTheImage>, TreeError> {
        if let Some(image) = &self.image {
            return Ok(Rc::clone(image));
        }
        let image = Rc::new(OfTheImage {
            cache: LibraryCache::read(&context.read(LIBRARY_CACHE, LIBRARY_CACHE_MAX)?),
            configured: configuration::directories(context)?,
            musl_loader: only_musl(context),
        });
        self.image = Some(Rc::clone(&image));
        Ok(image)
    }

    fn load(
        &mut self,
        context: &Context<'_>,
        files: &mut Files,
        load: &Load,
        headers: &Headers,
        (seeds, pending): (&mut Vec<Seed>, &mut Vec<Load>),
    ) -> Result<(), TreeError> {
        if let Some(loader) = &headers.interpreter {
            if context.file(loader).is_none() {
                self.missing_loaders.insert((load.object.clone(), loader.clone()));
            }
            seeds.push(Seed::object(loader, Reason::ElfInterpreter { of: load.object.clone() }));
        }
        let image = self.image(context)?;
        let search = Search::new(context, &image, load, headers)?;
        for (soname, is_needed) in headers
            .needed
            .iter()
            .map(|name| (name, true))
            .chain(headers.wanted.iter().map(|name| (name, false)))
        {
            let places = search.find(files, soname)?;
            let name = (load.object.clone(), soname.clone());
            if places.is_empty() {
                if is_needed && !search.is_part_of_loader(soname) {
                    self.missing.insert(name);
                }
                continue;
            }
            self.found.insert(name);
            for (place, object) in places {
                let by = load.object.clone();
                seeds.push(Seed::object(&place, Reason::NeededLibrary { by, soname: escape(soname) }));
                pending.push(Load {
                    object,
                    origin: directory_of(&place),
                    inherited: search.handed_on.clone(),
                    library_c: load.library_c.clone(),
                });
            }
        }
        Ok(())
    }
}

/// Where one object's libraries are looked for.
struct Search<'a> {
    context: &'a Context<'a>,
    image: &'a OfTheImage,
    load: &'a Load,
    machine: Machine,
    /// RPATH directories that the object's libraries inherit.
    handed_on: Vec<Vec<u8>>,
    before_cache: Vec<Vec<u8>>,
    uses_cache: bool,
    after_cache: Vec<Vec<u8>>,
}

/// A library by the path through which the loader finds it, and the file that this is.
type Place = (Vec<u8>, ImagePath);

impl<'a> Search<'a> {
    fn new(
        context: &'a Context<'a>,
        image: &'a OfTheImage,
        load: &'a Load,
        headers: &Headers,
    ) -> Result<Self, TreeError> {
        let machine = headers.machine;
        let expand = |list: Option<&Vec<u8>>| -> Vec<Vec<u8>> {
            let parts = list.into_iter().flat_map(|list| list.split(|byte| *byte == b':'));
            parts
                .flat_map(|part| expand(part, &load.origin, machine))
                .filter(|directory| directory.first() == Some(&b'/'))
                .collect()
        };
        let runpath = expand(headers.runpath.as_ref());
        let rpath = if headers.runpath.is_none() { expand(headers.rpath.as_ref()) } else { Vec::new() };
        let environment: Vec<Vec<u8>> =
            context.environment.library_path.iter().map(|directory| directory.clone().into_bytes()).collect();
        Ok(match &load.library_c {
            LibraryC::Glibc => {
                let handed_on: Vec<Vec<u8>> =
                    rpath.into_iter().chain(load.inherited.iter().cloned()).collect();
                let rpath = if headers.runpath.is_none() { handed_on.clone() } else { Vec::new() };
                let defaults = if headers.no_default_directories { Vec::new() } else { defaults(machine) };
                Self {
                    before_cache: [rpath, environment, runpath].concat(),
                    uses_cache: !headers.no_default_directories,
                    after_cache: [defaults, image.configured.clone()].concat(),
                    handed_on,
                    context,
                    image,
                    load,
                    machine,
                }
            }
            LibraryC::Musl(loader) => {
                let handed_on = [runpath, rpath, load.inherited.clone()].concat();
                let own = configuration::musl_directories(context, loader)?.unwrap_or_else(|| {
                    ["/lib", "/usr/local/lib", "/usr/lib"].map(|directory| directory.into()).to_vec()
                });
                Self {
                    before_cache: [environment, handed_on.clone()].concat(),
                    uses_cache: false,
                    after_cache: own,
                    handed_on,
                    context,
                    image,
                    load,
                    machine,
                }
            }
        })
    }

    /// The file that the loader takes, and its variants for other processors before it.
    fn find(&self, files: &mut Files, soname: &[u8]) -> Result<Vec<Place>, TreeError> {
        let mut places = Vec::new();
        if soname.contains(&b'/') {
            for path in expand(soname, &self.load.origin, self.machine) {
                let path = match path.first() {
                    Some(b'/') => path,
                    _ => [self.context.environment.working_directory.as_bytes(), b"/", &path].concat(),
                };
                self.take(files, path, &mut places)?;
            }
            return Ok(places);
        }
        let found = self.find_in(files, &self.before_cache, soname, &mut places)?
            || (self.uses_cache && self.find_in_cache(files, soname, &mut places)?)
            || self.find_in(files, &self.after_cache, soname, &mut places)?;
        tracing::trace!(found, by = %self.load.object, soname = escape(soname), "looked for a library");
        Ok(places)
    }

    /// Whether one of the directories holds the library itself; variants on the way are taken too.
    fn find_in(
        &self,
        files: &mut Files,
        directories: &[Vec<u8>],
        soname: &[u8],
        places: &mut Vec<Place>,
    ) -> Result<bool, TreeError> {
        for directory in directories {
            if self.load.library_c == LibraryC::Glibc {
                let variants = [directory, &b"/glibc-hwcaps"[..]].concat();
                if let Some(found) = self.context.walk(&variants, true).found() {
                    for name in self.context.tree.read_dir(found) {
                        self.take(files, [&variants, &b"/"[..], name, b"/", soname].concat(), places)?;
                    }
                }
            }
            if self.take(files, [directory, &b"/"[..], soname].concat(), places)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn find_in_cache(
        &self,
        files: &mut Files,
        soname: &[u8],
        places: &mut Vec<Place>,
    ) -> Result<bool, TreeError> {
        let mut found = false;
        for cached in self.image.cache.get(soname) {
            if cached.is_variant {
                self.take(files, cached.path.clone(), places)?;
            } else if !found {
                found = self.take(files, cached.path.clone(), places)?;
            }
        }
        Ok(found)
    }

    fn take(&self, files: &mut Files, path: Vec<u8>, places: &mut Vec<Place>) -> Result<bool, TreeError> {
        let Some(object) = self.context.file(&path) else { return Ok(false) };
        let fits = matches!(files.inspect(self.context, &object)?, File::Elf(headers)
            if headers.machine == self.machine);
        if fits && !places.iter().any(|(place, _)| *place == path) {
            places.push((path, object));
        }
        Ok(fits)
    }

    fn is_part_of_loader(&self, soname: &[u8]) -> bool {
        matches!(self.load.library_c, LibraryC::Musl(_))
            && soname
                .strip_prefix(b"lib")
                .is_some_and(|rest| PARTS_OF_MUSL.iter().any(|part| rest.starts_with(part.as_bytes())))
    }
}

/// Which C library's loader reads an object: its PT_INTERP tells, else a needed library, else the image.
fn library_c(headers: &Headers, image: &OfTheImage) -> LibraryC {
    let is_musl = |name: &Vec<u8>| name.windows(7).any(|part| part == b"ld-musl");
    match &headers.interpreter {
        Some(loader) if is_musl(loader) => LibraryC::Musl(loader.clone()),
        Some(_) => LibraryC::Glibc,
        None => image.musl_loader.clone().map_or(LibraryC::Glibc, LibraryC::Musl),
    }
}

/// The path of musl's loader where the image has no loader of glibc's.
fn only_musl(context: &Context<'_>) -> Option<Vec<u8>> {
    let mut musl = None;
    for directory in ["/lib", "/lib64", "/lib32"] {
        let walk = context.walk(directory.as_bytes(), true);
        for name in walk.found().map(|found| context.tree.read_dir(found)).unwrap_or_default() {
            if name.starts_with(b"ld-linux") {
                return None;
            }
            if name.starts_with(b"ld-musl-") {
                musl = Some([directory.as_bytes(), b"/", name].concat());
            }
        }
    }
    musl
}

fn directory_of(path: &[u8]) -> Vec<u8> {
    match path.iter().rposition(|byte| *byte == b'/') {
        None | Some(0) => b"/".to_vec(),
        Some(slash) => path[..slash].to_vec(),
    }
}

/// The multiarch directory's name, and the directory's name that distributions without multiarch have.
fn library_directories(machine: Machine) -> (&'static [&'static str], &'static str) {
    match (machine.number, machine.is_64, machine.is_little_endian) {
        (62, true, _) => (&["x86_64-linux-gnu"], "lib64"),
        (62, false, _) => (&["x86_64-linux-gnux32"], "libx32"),
        (3, ..) => (&["i386-linux-gnu", "i686-linux-gnu"], "lib32"),
        (183, ..) => (&["aarch64-linux-gnu"], "lib64"),
        (40, ..) => (&["arm-linux-gnueabihf", "arm-linux-gnueabi"], "lib"),
        (243, true, _) => (&["riscv64-linux-gnu"], "lib64"),
        (21, _, true) => (&["powerpc64le-linux-gnu"], "lib64"),
        (22, true, _) => (&["s390x-linux-gnu"], "lib64"),
        (258, ..) => (&["loongarch64-linux-gnu"], "lib64"),
        (_, true, _) => (&[], "lib64"),
        (_, false, _) => (&[], "lib"),
    }
}

fn defaults(machine: Machine) -> Vec<Vec<u8>> {
    let (multiarch, plain) = library_directories(machine);
    let mut directories = Vec::new();
    for name in multiarch {
        directories.push(format!("/lib/{name}"));
        directories.push(format!("/usr/lib/{name}"));
    }
    for name in [plain, "lib"] {
        directories.push(format!("/{name}"));
        directories.push(format!("/usr/{name}"));
    }
    directories.into_iter().map(String::into_bytes).collect()
}

/// The paths that a list's element stands for: `$ORIGIN`, `$LIB` and `$PLATFORM` replaced, each by all that loaders of
/// different builds take it for.
fn expand(element: &[u8], origin: &[u8], machine: Machine) -> Vec<Vec<u8>> {
    let Some(dollar) = element.iter().position(|byte| *byte == b'$') else {
        return if element.is_empty() { Vec::new() } else { vec![element.to_vec()] };
    };
    let rest = &element[dollar + 1..];
    let (multiarch, plain) = library_directories(machine);
    let values: Vec<Vec<u8>>;
    let after;
    if let Some(behind) = token(rest, "ORIGIN") {
        (values, after) = (vec![origin.to_vec()], behind);
    } else if let Some(behind) = token(rest, "LIB") {
        let names = multiarch.iter().map(|name| format!("lib/{name}"));
        let names = names.chain([plain, "lib"].map(str::to_owned)).map(String::into_bytes);
        (values, after) = (names.collect(), behind);
    } else if let Some(behind) = token(rest, "PLATFORM") {
        let names: &[&str] = match machine.number {
            62 => &["x86_64", "haswell", "xeon_phi"],
            3 => &["i686", "i586", "i386"],
            183 => &["aarch64"],
            40 => &["v7l", "v6l"],
            _ => &[],
        };
        (values, after) = (names.iter().map(|name| name.as_bytes().to_vec()).collect(), behind);
    } else {
        return Vec::new();
    }
    // One token more each time: as deep as the element has dollars, which a hostile file must not make many.
    if rest.iter().filter(|byte| **byte == b'$').count() > 4 {
        return Vec::new();
    }
    let tails = if after.is_empty() { vec![Vec::new()] } else { expand(after, origin, machine) };
    let before = &element[..dollar];
    values.iter().flat_map(|value| tails.iter().map(move |tail| [before, value, tail].concat())).collect()
}

/// What stands behind `NAME` or `{NAME}`.
fn token<'a>(text: &'a [u8], name: &str) -> Option<&'a [u8]> {
    if let Some(rest) = text.strip_prefix(b"{") {
        return rest.strip_prefix(name.as_bytes())?.strip_prefix(b"}");
    }
    let rest = text.strip_prefix(name.as_bytes())?;
    let goes_on = rest.first().is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    (!goes_on).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const X86_64: Machine = Machine { is_64: true, is_little_endian: true, number: 62 };

    fn expanded(element: &str) -> Vec<String> {
        let paths = expand(element.as_bytes(), b"/opt/app/bin", X86_64);
        paths.into_iter().map(|path| String::from_utf8(path).unwrap()).collect()
    }

    #[test]
    fn tokens_stand_with_and_without_braces() {
        assert_eq!(expanded("$ORIGIN/../lib"), ["/opt/app/bin/../lib"]);
        assert_eq!(expanded("${ORIGIN}/lib"), ["/opt/app/bin/lib"]);
        assert_eq!(expanded("/opt/$LIB"), ["/opt/lib/x86_64-linux-gnu", "/opt/lib64", "/opt/lib"]);
        assert_eq!(expanded("/p/$PLATFORM/x")[0], "/p/x86_64/x");
        assert!(expanded("$ORIGINAL/lib").is_empty());
        assert!(expanded("").is_empty());
    }

    #[test]
    fn many_tokens_do_not_multiply_without_end() {
        assert!(expanded(&"$LIB".repeat(1000)).is_empty());
    }
}
