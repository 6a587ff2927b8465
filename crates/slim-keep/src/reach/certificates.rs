//! Rule: certificates of authorities beyond the bundles, which the rule about the system keeps.
//!
//! A library of OpenSSL looks, without being told, into the file `cert.pem` and the directory `certs` of the place that it
//! was built for, in the directory for the hash of an authority's name (SSL_CTX_load_verify_locations(3)). Where the image
//! has that file, the directory is not needed. Where it has not — Debian before 2026 — nothing but the hashed links finds
//! an authority: they are kept with the certificates that they lead to, some 200 kB. Then what the environment names, for
//! the programs that each variable is of.

use super::dynamic::{is_library, openssl_directory};
use super::seeds::{Asks, below, places};
use super::{KeptFile, Rule, Via, World};
use crate::context::Context;
use crate::inspect::File;
use crate::note::Note;
use crate::seed::Seed;
use slim_image::{Entry, ImagePath, TreeError};

/// Variables that name files or directories of certificates.
const VARIABLES: [&str; 12] = [
    "AWS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "DENO_CERT",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "WEBSOCKET_CLIENT_CA_BUNDLE",
];
/// Bundles that programs with no library for it look for, in the order of Go's crypto/x509.
const BUNDLES: [&str; 7] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/pki/tls/cert.pem",
];
/// Where such programs look besides.
const DIRECTORIES: [&str; 2] = ["/etc/ssl/certs", "/etc/pki/tls/certs"];
/// What p11-kit's module reads.
const TRUST: [&str; 4] = [
    "/usr/share/pki/ca-trust-source",
    "/etc/pki/ca-trust/source",
    "/usr/share/ca-certificates/trust-source",
    "/etc/ca-certificates/trust-source",
];
/// A directory with more is not kept whole; all authorities that browsers know have 250 kB.
const BYTES_MAX: u64 = 2 << 20;

/// The rule; whether what the environment names has been kept, and what was too much.
#[derive(Default)]
pub(super) struct Certificates {
    is_done: bool,
    notes: Vec<Note>,
}

impl Rule for Certificates {
    fn follow(&mut self, file: &KeptFile<'_>, world: &World<'_>) -> Result<Vec<Seed>, TreeError> {
        let File::Elf(headers) = &file.what else { return Ok(Vec::new()) };
        let mut seeds = Vec::new();
        if !self.is_done {
            self.is_done = true;
            for name in VARIABLES {
                let asks = Asks::new(Via::Certificates, file.path, name);
                seeds.extend(
                    places(world.context, name).flat_map(|place| self.named(world.context, asks, place)),
                );
            }
        }
        if file.path.file_name() == b"p11-kit-trust.so" {
            seeds.extend(TRUST.map(|path| Asks::new(Via::Certificates, file.path, path).tree(path)));
        }
        if is_library(file.path, "libssl") {
            for name in headers.needed.iter().filter(|name| name.starts_with(b"libcrypto")) {
                seeds.extend(self.of_openssl(world, file.path, name)?);
            }
        }
        Ok(seeds)
    }

    fn notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }
}

impl Certificates {
    /// What lies at a place that a variable names.
    fn named(&mut self, context: &Context<'_>, asks: Asks<'_>, place: &str) -> Vec<Seed> {
        let walk = context.walk(place.as_bytes(), true);
        match walk.found().filter(|found| context.entry(found).is_some_and(Entry::is_directory)) {
            Some(directory) => self.certificates_in(context, asks, directory, &|_| true),
            None => vec![asks.object(place)],
        }
    }

    /// What libssl looks for where its libcrypto, which lies beside it, says.
    fn of_openssl(
        &mut self,
        world: &World<'_>,
        libssl: &ImagePath,
        libcrypto: &[u8],
    ) -> Result<Vec<Seed>, TreeError> {
        let context = world.context;
        let beside = below(&libssl.parent().unwrap_or_else(ImagePath::root), libcrypto);
        let Some(libcrypto) = context.file(beside.as_bytes()) else { return Ok(Vec::new()) };
        let Some(entry) = context.entry(&libcrypto) else { return Ok(Vec::new()) };
        let Some(place) = openssl_directory(world, &libcrypto, entry)? else { return Ok(Vec::new()) };
        let bundle = place.join("cert.pem");
        if context.file(bundle.as_bytes()).is_some() {
            return Ok(vec![Asks::new(Via::Certificates, libssl, "cert.pem").object(&bundle)]);
        }
        let certificates = place.join("certs");
        let walk = context.walk(certificates.as_bytes(), true);
        let Some(directory) = walk.found() else { return Ok(Vec::new()) };
        let asks = Asks::new(Via::Certificates, libssl, "the hash of its name");
        let mut seeds = self.certificates_in(context, asks, directory, &is_hashed);
        if !seeds.is_empty() {
            seeds.push(asks.object(&certificates));
        }
        Ok(seeds)
    }

    fn certificates_in(
        &mut self,
        context: &Context<'_>,
        asks: Asks<'_>,
        directory: &ImagePath,
        is_wanted: &dyn Fn(&[u8]) -> bool,
    ) -> Vec<Seed> {
        let paths = files_in(context, directory, is_wanted);
        let bytes = total(context, &paths);
        if bytes > BYTES_MAX {
            self.notes.push(Note::NotFollowed {
                path: directory.clone(),
                why: format!("it holds {} MB of certificates", bytes / 1_000_000),
                instead: "only those that were seen are kept".to_owned(),
            });
            return Vec::new();
        }
        paths.iter().map(|path| asks.object(path)).collect()
    }
}

/// Whether the image has a bundle where programs look for one.
pub(super) fn has_bundle(context: &Context<'_>) -> bool {
    BUNDLES.iter().any(|bundle| context.file(bundle.as_bytes()).is_some())
}

/// What a program with its own TLS reads where the image has no bundle: all files of the directories.
pub(super) fn without_bundle(context: &Context<'_>, from: &ImagePath) -> Vec<Seed> {
    let directories =
        DIRECTORIES.iter().filter_map(|path| context.walk(path.as_bytes(), true).found().cloned());
    let paths: Vec<ImagePath> =
        directories.flat_map(|directory| files_in(context, &directory, &|_| true)).collect();
    if total(context, &paths) > BYTES_MAX {
        return Vec::new();
    }
    paths.iter().map(|path| Asks::new(Via::Certificates, from, path.file_name()).object(path)).collect()
}

/// Files and links of a directory, sorted.
fn files_in(
    context: &Context<'_>,
    directory: &ImagePath,
    is_wanted: &dyn Fn(&[u8]) -> bool,
) -> Vec<ImagePath> {
    let names = context.tree.read_dir(directory).into_iter().filter(|name| is_wanted(name));
    let paths = names.map(|name| directory.join(name));
    paths.filter(|path| context.entry(path).is_some_and(|entry| !entry.is_directory())).collect()
}

fn total(context: &Context<'_>, paths: &[ImagePath]) -> u64 {
    let files = paths.iter().filter_map(|path| context.file(path.as_bytes()));
    files.filter_map(|file| context.entry(&file)).map(Entry::size).sum()
}

/// `5ad8a5d6.0`, and `5ad8a5d6.r0` of a list of revoked ones.
fn is_hashed(name: &[u8]) -> bool {
    let Some((hash, number)) = name.split_at_checked(8) else { return false };
    let number = number.strip_prefix(b".").map(|number| number.strip_prefix(b"r").unwrap_or(number));
    hash.iter().all(u8::is_ascii_hexdigit)
        && number.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hashed_name_is_eight_digits_and_a_number() {
        assert!(is_hashed(b"5ad8a5d6.0") && is_hashed(b"5ad8a5d6.r12"));
        assert!(!is_hashed(b"5ad8a5d6.pem") && !is_hashed(b"5ad8a5d6.") && !is_hashed(b"Amazon_Root.0"));
    }
}
