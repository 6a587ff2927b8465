//! Rule: the few files of the system that libraries look for at any time, whether this run needed them or not.

use crate::reason::{Reason, SystemPart};
use crate::seed::Seed;
use crate::settings::Settings;
use slim_image::ImagePath;

/// Small files by the part of the system that reads them.
const FILES: [(SystemPart, &[&str]); 4] = [
    (SystemPart::Accounts, &["/etc/passwd", "/etc/group"]),
    // gai.conf is read where a host has addresses of two families: never in a container whose engine leaves IPv6 out.
    (SystemPart::NameService, &["/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf"]),
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

/// Directories of authorities, one a file; their symlinks lead to where the files lie.
const CERTIFICATE_DIRECTORIES: [&str; 6] = [
    "/etc/ssl/certs",
    "/etc/pki/tls/certs",
    "/usr/lib/ssl/certs",
    "/usr/local/ssl/certs",
    "/etc/ssl/ca/certs",
    "/etc/pki/CA/certs",
];

/// What bundles are made from, and Java's stores.
const CERTIFICATE_SOURCES: [&str; 8] = [
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/usr/lib/ca-certificates",
    "/usr/share/pki/trust/anchors",
    "/etc/pki/ca-trust/source",
    "/etc/pki/tls/cacert.pem",
    "/etc/ssl/certs/java/cacerts",
    "/etc/pki/java/cacerts",
];

/// Private keys of services.
const KEY_DIRECTORIES: [&str; 4] =
    ["/etc/ssl/private", "/etc/pki/tls/private", "/usr/lib/ssl/private", "/usr/local/ssl/private"];

/// Private keys of authorities, and what Let's Encrypt's clients keep.
const AUTHORITY_KEYS: [&str; 4] =
    ["/etc/ssl/ca/private", "/etc/pki/CA/private", "/etc/letsencrypt/live", "/etc/letsencrypt/archive"];

/// The system's files, where the image has them.
pub(crate) fn seeds(settings: &Settings) -> Vec<Seed> {
    let is_wanted = |what| what != SystemPart::NameService || !settings.without_name_services;
    let files = FILES.iter().filter(|(what, _)| is_wanted(*what)).flat_map(|(what, paths)| {
        paths.iter().map(|path| Seed::object(path, Reason::System { what: *what }))
    });
    let wanted = settings.certificates;
    let certificates = [
        (wanted.bundles, &CERTIFICATES[..]),
        (wanted.directories, &CERTIFICATE_DIRECTORIES),
        (wanted.sources, &CERTIFICATE_SOURCES),
        (wanted.key_directories, &KEY_DIRECTORIES),
        (wanted.authority_keys, &AUTHORITY_KEYS),
    ];
    let certificates = certificates
        .into_iter()
        .filter(|(is_wanted, _)| *is_wanted)
        .flat_map(|(_, paths)| paths.iter().map(|path| Seed::tree(path, Reason::Certificates)));
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
