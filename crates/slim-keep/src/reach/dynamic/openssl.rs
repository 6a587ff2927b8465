//! OpenSSL: libcrypto opens providers (`ossl-modules`) and engines by name, and reads `openssl.cnf`, which may name more.
//!
//! They are small, and old ciphers of stored files (`legacy`) are asked for long after the start. The certified
//! provider (`fips`) is large and works only with the file that its installation makes.

use super::{World, directory_of, is_library};
use crate::elf::constants;
use crate::reach::seeds::{Asks, places};
use crate::reach::{KeptFile, Via};
use crate::seed::Seed;
use slim_image::{Entry, ImagePath, TreeError};

/// Directories of modules beside the library; `engines-3`, `engines-1.1` and so on.
const MODULES: &[u8] = b"ossl-modules";
const ENGINES: &[u8] = b"engines-";
/// What a library says about where its configuration lies.
const DIRECTORY: &[u8] = b"OPENSSLDIR: \"";
const CONFIGURATION: [&str; 3] = ["openssl.cnf", "openssl.cnf.d", "fipsmodule.cnf"];
const VARIABLES: [&str; 3] = ["OPENSSL_CONF", "OPENSSL_MODULES", "OPENSSL_ENGINES"];

/// What libcrypto, once kept, opens.
pub(super) fn seeds(world: &World<'_>, file: &KeptFile<'_>) -> Result<Vec<Seed>, TreeError> {
    if !is_library(file.path, "libcrypto") {
        return Ok(Vec::new());
    }
    let context = world.context;
    let asks = |what: &'static str| Asks::new(Via::DynamicLibrary, file.path, what);
    let mut seeds = Vec::new();
    let mut is_certified = false;
    if let Some(directory) = directory(world, file.path, file.entry)? {
        for name in CONFIGURATION {
            let path = directory.join(name);
            is_certified |= name == "fipsmodule.cnf" && context.file(path.as_bytes()).is_some();
            seeds.push(asks(name).tree(&path));
        }
    }
    for name in VARIABLES {
        seeds.extend(places(context, name).map(|place| asks(name).tree(place)));
    }
    let beside = directory_of(file.path);
    for name in context.tree.read_dir(&beside) {
        if name != MODULES && !name.starts_with(ENGINES) {
            continue;
        }
        let directory = beside.join(name);
        let modules = context.tree.read_dir(&directory).into_iter();
        let modules = modules.filter(|module| is_certified || *module != b"fips.so");
        seeds.extend(
            modules.map(|module| {
                Asks::new(Via::DynamicLibrary, file.path, module).object(directory.join(module))
            }),
        );
    }
    Ok(seeds)
}

/// Where a libcrypto looks for its configuration and certificates, as it was built.
pub(in crate::reach) fn directory(
    world: &World<'_>,
    library: &ImagePath,
    entry: &Entry,
) -> Result<Option<ImagePath>, TreeError> {
    let found = constants::quoted_behind(world.context, library, entry, DIRECTORY)?;
    Ok(found.filter(|directory| directory.starts_with(b"/")).map(ImagePath::new))
}
