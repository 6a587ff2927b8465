//! Composer: `vendor/composer/installed.json` lists packages, each with its folder relative to that file's, or by its name
//! in `vendor`. What Composer generates beside them (autoloader, `installed.php`) is the application's.

use super::claims::Claims;
use super::{Manager, Register, Unread, some_text, text};
use serde::Deserialize;
use slim_image::{Entry, ImagePath, TreeError};

#[derive(Default)]
pub(super) struct Composer {
    records: Vec<(ImagePath, Vec<Installed>)>,
}

#[derive(Deserialize)]
struct Installed {
    name: String,
    version: Option<String>,
    #[serde(rename = "install-path")]
    install_path: Option<String>,
}

/// Composer 2 writes an object, Composer 1 its list alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Record {
    Object { packages: Vec<Installed> },
    List(Vec<Installed>),
}

impl Register for Composer {
    fn wants(&mut self, path: &ImagePath, _: &Entry) -> bool {
        path.file_name() == b"installed.json"
            && path.parent().is_some_and(|folder| folder.file_name() == b"composer")
    }

    fn take(&mut self, path: &ImagePath, contents: Vec<u8>, unread: &mut Vec<Unread>) {
        match serde_json::from_slice(&contents) {
            Ok(Record::Object { packages } | Record::List(packages)) => {
                self.records.push((path.clone(), packages));
            }
            Err(error) => unread.push(Unread { record: path.clone(), why: error.to_string() }),
        }
    }

    fn claim(self: Box<Self>, claims: &mut Claims<'_>) -> Result<(), TreeError> {
        for (record, installed) in self.records {
            let Some(composer) = record.parent() else { continue };
            let Some(vendor) = composer.parent() else { continue };
            for one in installed {
                let (name, version) = (text(one.name.as_bytes()), one.version);
                let version = version.and_then(|version| some_text(version.as_bytes()));
                let package = claims.package(Manager::Composer, name, version, &record);
                let folder = match &one.install_path {
                    Some(path) => [composer.as_bytes(), b"/", path.as_bytes()].concat(),
                    None => [vendor.as_bytes(), b"/", one.name.as_bytes()].concat(),
                };
                // A package without files of its own (a metapackage) has no folder; none has all of vendor.
                if !vendor.is_within(&ImagePath::new(&folder)) {
                    claims.folder(package, &folder);
                }
            }
        }
        Ok(())
    }
}
