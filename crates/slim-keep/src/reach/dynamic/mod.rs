//! Rule: libraries that are opened at run time by name, which no header of an ELF file names.
//!
//! One file a family. [`constants`](crate::elf::constants) and [`notes`] are what a file says itself; name services, PAM,
//! converters of character sets, OpenSSL's providers and the other families are what well-known libraries do;
//! [`plugins`] goes by what the trace shows.

pub(in crate::reach) mod conversions;
mod families;
mod name_services;
mod notes;
mod openssl;
mod pam;
mod plugins;

pub(super) use name_services::is_glibc;
pub(super) use openssl::directory as openssl_directory;

use super::certificates;
use super::seeds::Asks;
use super::time_zone;
use super::{KeptFile, Rule, Via, World};
use crate::elf::{Headers, Libraries, constants};
use crate::inspect::{File, Files};
use crate::note::Note;
use crate::seed::Seed;
use slim_image::{ImagePath, TreeError};

/// Libraries that are in nearly every image, and what they open that is not worth it. The C library takes libidn2, and
/// with it 2 MB of Unicode's tables, only where a program asks for a host name outside ASCII, and does without where it
/// is missing; libselinux takes libsepol to load a policy into the kernel, which no container may.
const DISPENSABLE: [(&[u8], &[u8]); 2] =
    [(b"libc.so.6", b"libidn2.so.0"), (b"libselinux.so.1", b"libsepol.so.2")];

/// The rule, with what it has found so far.
#[derive(Default)]
pub(super) struct Dynamic {
    loader: Loader,
    /// What the image has, so that it is worth looking for.
    wanted: Option<constants::Wanted>,
    notes: Vec<Note>,
}

/// Looks libraries up as the loader does for an object that opens them.
#[derive(Default)]
pub(super) struct Loader {
    files: Files,
    libraries: Libraries,
}

/// An ELF file that opens others.
#[derive(Clone, Copy)]
pub(super) struct Opener<'a> {
    pub path: &'a ImagePath,
    pub headers: &'a Headers,
}

impl Loader {
    /// The library that an object opens by this name, as a seed; nothing where the image does not have it.
    fn seeds(
        &mut self,
        world: &World<'_>,
        opener: Opener<'_>,
        soname: &[u8],
    ) -> Result<Vec<Seed>, TreeError> {
        let asks = Asks::new(Via::DynamicLibrary, opener.path, soname);
        let object = (opener.path, opener.headers);
        let places = self.libraries.locate(world.context, &mut self.files, object, soname)?;
        Ok(places.iter().map(|place| asks.object(place)).collect())
    }
}

impl Rule for Dynamic {
    fn begin(&mut self, world: &World<'_>) -> Result<Vec<Seed>, TreeError> {
        let mut seeds = conversions::seeds(world)?;
        seeds.extend(plugins::seeds(world, &mut self.loader, &mut self.notes)?);
        Ok(seeds)
    }

    fn follow(&mut self, file: &KeptFile<'_>, world: &World<'_>) -> Result<Vec<Seed>, TreeError> {
        let File::Elf(headers) = &file.what else { return Ok(Vec::new()) };
        let opener = Opener { path: file.path, headers };
        let mut seeds = self.constants(file, opener, world)?;
        seeds.extend(notes::seeds(world, &mut self.loader, opener)?);
        seeds.extend(name_services::seeds(world, &mut self.loader, opener)?);
        seeds.extend(pam::seeds(world, file.path)?);
        seeds.extend(openssl::seeds(world, file)?);
        seeds.extend(families::seeds(world, file.path));
        Ok(seeds)
    }

    fn notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }
}

impl Dynamic {
    /// What the file's constants name: libraries, and of a program time zones and certificates, too, since they come
    /// from the same reading.
    fn constants(
        &mut self,
        file: &KeptFile<'_>,
        opener: Opener<'_>,
        world: &World<'_>,
    ) -> Result<Vec<Seed>, TreeError> {
        let wanted = *self.wanted.get_or_insert_with(|| constants::Wanted {
            zones: time_zone::has_zones(world.context),
            certificates: !certificates::has_bundle(world.context),
        });
        let constants = constants::read(world.context, file.path, file.entry, opener.headers, wanted)?;
        let mut seeds = Vec::new();
        for soname in &constants.libraries {
            let is_dispensable = |(by, what): &(&[u8], &[u8])| *by == file.path.file_name() && what == soname;
            if !opener.headers.needed.contains(soname) && !DISPENSABLE.iter().any(is_dispensable) {
                seeds.extend(self.loader.seeds(world, opener, soname)?);
            }
        }
        if constants.zones {
            seeds.extend(time_zone::all(world.context, file.path));
        }
        if constants.certificates {
            seeds.extend(certificates::without_bundle(world.context, file.path));
        }
        Ok(seeds)
    }
}

/// The directory of a path that is one of a library: `/usr/lib/x86_64-linux-gnu`.
fn directory_of(library: &ImagePath) -> ImagePath {
    library.parent().unwrap_or_else(ImagePath::root)
}

/// Whether a path's last component is this library in any version: `libpam.so`, `libpam.so.0.85.1`, `libkrb5-1.so`.
pub(super) fn is_library(path: &ImagePath, stem: &str) -> bool {
    let Some(rest) = path.file_name().strip_prefix(stem.as_bytes()) else { return false };
    let rest = match rest.strip_prefix(b"-") {
        Some(version) => {
            let digits = version.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
            // The last dot is that of `.so`.
            &version[digits.saturating_sub(1)..]
        }
        None => rest,
    };
    rest == b".so" || rest.starts_with(b".so.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_is_known_in_every_version_and_no_other_is() {
        for name in ["libpam.so", "libpam.so.0", "libpam.so.0.85.1", "libpam-1.5.so", "libpam-1.so.0"] {
            assert!(is_library(&ImagePath::new(format!("/lib/{name}")), "libpam"), "{name}");
        }
        for name in ["libpam_misc.so.0", "libpamc.so.0", "libpam.a", "libpam-x.so", "libpam"] {
            assert!(!is_library(&ImagePath::new(format!("/lib/{name}")), "libpam"), "{name}");
        }
    }
}
