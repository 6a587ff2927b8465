//! dpkg: `/var/lib/dpkg/status` says what is installed, `info/<package>[:<architecture>].list` which files it has. In
//! distroless images each package has a stanza in `status.d` and its files in `status.d/<package>.md5sums`.
//!
//! See dpkg(1), dpkg-divert(1) and deb-conffiles(5). A diverted file lies elsewhere for all packages but the diverting one.

use super::claims::Claims;
use super::{Manager, Register, Unread, lines, some_text, text};
use slim_image::{Entry, ImagePath, TreeError};
use std::collections::BTreeMap;

const STATUS: &str = "/var/lib/dpkg/status";
const DIVERSIONS: &str = "/var/lib/dpkg/diversions";
const INFO: &[u8] = b"/var/lib/dpkg/info/";
const STATUS_FOLDER: &[u8] = b"/var/lib/dpkg/status.d/";

#[derive(Default)]
pub(super) struct Dpkg {
    stanzas: Vec<Stanza>,
    diversions: Vec<Diversion>,
    /// By record: lines of paths.
    lists: BTreeMap<ImagePath, Vec<u8>>,
    /// Of distroless images: the stanza's record, and lines of a digest and a path.
    folder_stanzas: BTreeMap<ImagePath, Vec<Stanza>>,
    sums: BTreeMap<ImagePath, Vec<u8>>,
}

#[derive(Default)]
struct Stanza {
    name: Vec<u8>,
    architecture: Vec<u8>,
    version: Option<String>,
    configuration: Vec<Vec<u8>>,
}

struct Diversion {
    from: Vec<u8>,
    to: Vec<u8>,
    /// The package whose own file stays; `:` for none.
    by: Vec<u8>,
}

impl Register for Dpkg {
    fn wants(&mut self, path: &ImagePath, _: &Entry) -> bool {
        let bytes = path.as_bytes();
        let is_in = |folder: &[u8]| bytes.strip_prefix(folder).is_some_and(|name| !name.contains(&b'/'));
        bytes == STATUS.as_bytes()
            || bytes == DIVERSIONS.as_bytes()
            || (bytes.ends_with(b".list") && is_in(INFO))
            || is_in(STATUS_FOLDER)
    }

    fn take(&mut self, path: &ImagePath, contents: Vec<u8>, _: &mut Vec<Unread>) {
        let bytes = path.as_bytes();
        if bytes == STATUS.as_bytes() {
            self.stanzas = stanzas(&contents);
        } else if bytes == DIVERSIONS.as_bytes() {
            self.diversions = diversions(&contents);
        } else if bytes.starts_with(INFO) {
            self.lists.insert(path.clone(), contents);
        } else if bytes.ends_with(b".md5sums") {
            self.sums.insert(path.clone(), contents);
        } else {
            self.folder_stanzas.insert(path.clone(), stanzas(&contents));
        }
    }

    fn claim(self: Box<Self>, claims: &mut Claims<'_>) -> Result<(), TreeError> {
        self.installed(claims);
        self.distroless(claims);
        Ok(())
    }
}

impl Dpkg {
    fn installed(&self, claims: &mut Claims<'_>) {
        // A name with its architecture where several of one name may be installed, else the name alone.
        let mut known: BTreeMap<Vec<u8>, &Stanza> = BTreeMap::new();
        for stanza in &self.stanzas {
            known.insert([&stanza.name[..], b":", &stanza.architecture].concat(), stanza);
            known.entry(stanza.name.clone()).or_insert(stanza);
        }
        let mut listed = std::collections::BTreeSet::new();
        for (record, list) in &self.lists {
            let file = record.file_name();
            let name = file.strip_suffix(b".list").unwrap_or(file);
            let stanza = known.get(name);
            listed.extend(stanza.map(|stanza| stanza.name.as_slice()));
            let version = stanza.and_then(|stanza| stanza.version.clone());
            let package = claims.package(Manager::Dpkg, text(name), version, record);
            let bare = name.split(|byte| *byte == b':').next().unwrap_or(name);
            for path in lines(list).filter(|path| path.starts_with(b"/")) {
                let path = path.strip_suffix(b"/.").unwrap_or(path);
                claims.path(package, self.diverted(bare, path));
            }
            for path in stanza.iter().flat_map(|stanza| &stanza.configuration) {
                claims.configuration(self.diverted(bare, path));
            }
        }
        if let Some(stanza) = self.stanzas.iter().find(|stanza| !listed.contains(stanza.name.as_slice())) {
            let others =
                self.stanzas.iter().filter(|stanza| !listed.contains(stanza.name.as_slice())).count();
            let why = format!(
                "{others} of its packages, {} among them, have no list of their files",
                text(&stanza.name)
            );
            claims.unread(&ImagePath::from(STATUS), why);
        }
    }

    fn distroless(&self, claims: &mut Claims<'_>) {
        for (record, stanzas) in &self.folder_stanzas {
            let Some(stanza) = stanzas.first() else { continue };
            let sums = ImagePath::new([record.as_bytes(), b".md5sums"].concat());
            let Some(sums) = self.sums.get(&sums) else {
                claims.unread(record, "nothing says which files this package has");
                continue;
            };
            let package = claims.package(Manager::Dpkg, text(&stanza.name), stanza.version.clone(), record);
            for line in lines(sums) {
                // A digest of 32 digits, two blanks, a path from the root.
                if let Some(path) = line.get(34..).filter(|path| !path.is_empty()) {
                    claims.path(package, path);
                }
            }
            for path in &stanza.configuration {
                claims.path(package, path);
                claims.configuration(path);
            }
        }
    }

    /// Where a package's file lies.
    fn diverted<'a>(&'a self, package: &[u8], path: &'a [u8]) -> &'a [u8] {
        let diversion =
            self.diversions.iter().find(|diversion| diversion.from == path && diversion.by != package);
        diversion.map_or(path, |diversion| &diversion.to)
    }
}

/// The stanzas of installed packages.
fn stanzas(status: &[u8]) -> Vec<Stanza> {
    let mut stanzas = Vec::new();
    let mut stanza = Stanza::default();
    let mut is_installed = true;
    let mut is_in_configuration = false;
    // One empty line more ends the last stanza.
    for line in lines(status).chain([&b""[..]]) {
        if line.is_empty() {
            let whole = std::mem::take(&mut stanza);
            if !whole.name.is_empty() && is_installed {
                stanzas.push(whole);
            }
            (is_installed, is_in_configuration) = (true, false);
        } else if let Some(path) = line.strip_prefix(b" ") {
            // ` /etc/file digest [obsolete]`; a path may hold blanks.
            if is_in_configuration {
                let words = path.strip_suffix(b" obsolete").unwrap_or(path);
                let words = words.strip_suffix(b" remove-on-upgrade").unwrap_or(words);
                let end = words.iter().rposition(|byte| *byte == b' ').unwrap_or(words.len());
                stanza.configuration.push(words[..end].to_vec());
            }
        } else {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            let value = line[colon + 1..].trim_ascii();
            is_in_configuration = false;
            match &line[..colon] {
                b"Package" => stanza.name = value.to_vec(),
                b"Architecture" => stanza.architecture = value.to_vec(),
                b"Version" => stanza.version = some_text(value),
                b"Status" => {
                    is_installed = !value.ends_with(b" not-installed") && !value.ends_with(b" config-files")
                }
                b"Conffiles" => is_in_configuration = true,
                _ => {}
            }
        }
    }
    stanzas
}

/// Three lines each: from, to, by.
fn diversions(file: &[u8]) -> Vec<Diversion> {
    let lines: Vec<&[u8]> = lines(file).collect();
    let groups = lines.chunks_exact(3);
    groups
        .map(|group| Diversion { from: group[0].to_vec(), to: group[1].to_vec(), by: group[2].to_vec() })
        .collect()
}
