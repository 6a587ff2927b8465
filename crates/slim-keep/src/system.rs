//! Rule: the few files of the system that libraries look for at any time, whether this run needed them or not.

use crate::reason::{Reason, SystemPart};
use crate::seed::Seed;
use slim_image::ImagePath;

/// Small files by the part of the system that reads them.
const FILES: [(SystemPart, &[&str]); 4] = [
    (SystemPart::Accounts, &["/etc/passwd", "/etc/group"]),
    (SystemPart::NameService, &["/etc/nsswitch.conf"]),
    (SystemPart::Distribution, &["/etc/os-release", "/usr/lib/os-release"]),
    (SystemPart::Loader, &["/etc/ld.so.cache"]),
];

/// Bundles of authorities' certificates, each one file: Debian and Alpine, Red Hat, SUSE, BSD-like names.
const CERTIFICATES: [&str; 8] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/certs/ca-bundle.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/var/lib/ca-certificates/ca-bundle.pem",
];

/// What glibc loads when a host or a user is looked up. Part of libc itself since 2.34, but for small stubs.
const NAME_SERVICES: [&str; 3] = ["libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2"];

/// The system's files, where the image has them.
pub(crate) fn seeds() -> Vec<Seed> {
    let files = FILES.iter().flat_map(|(what, paths)| {
        paths.iter().map(|path| Seed::object(path, Reason::System { what: *what }))
    });
    let certificates = CERTIFICATES.iter().map(|path| Seed::object(path, Reason::Certificates));
    files.chain(certificates).collect()
}

/// What a kept C library loads by name, from its own directory.
pub(crate) fn companions(path: &ImagePath) -> Vec<Seed> {
    let name = path.file_name();
    // libc.so.6 is the file, or a symlink to libc-2.31.so.
    let is_glibc = name == b"libc.so.6" || (name.starts_with(b"libc-2.") && name.ends_with(b".so"));
    match path.parent() {
        Some(directory) if is_glibc => NAME_SERVICES
            .iter()
            .map(|name| {
                Seed::object(
                    directory.join(name).as_bytes(),
                    Reason::System { what: SystemPart::NameService },
                )
            })
            .collect(),
        _ => Vec::new(),
    }
}
