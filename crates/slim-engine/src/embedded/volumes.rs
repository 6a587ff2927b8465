//! The store's named volumes, as `docker-slim store` lists and removes them. Containers make them (`-v NAME:PATH`), and they
//! stay when those go.
//!
//! Invariant: one that a container has, running or not, is never removed.

use super::create::is_volume_name;
use super::record::RecordedSource;
use super::store::{INCOMING, Store};
use crate::error::EngineError;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

type Result<T> = std::result::Result<T, EngineError>;

/// A named volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredVolume {
    pub name: String,
    /// Bytes of its files.
    pub size: u64,
    /// How many containers have it.
    pub containers: usize,
}

impl Store {
    /// Every named volume, by name.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn volumes(&self) -> Result<Vec<StoredVolume>> {
        let users = self.volume_users()?;
        let failed = |error: io::Error| self.failed("list the volumes of", error);
        let mut volumes = Vec::new();
        for entry in fs::read_dir(self.path().join("volumes")).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            if is_volume_name(&name) {
                let containers = users.get(&name).map_or(0, Vec::len);
                volumes.push(StoredVolume {
                    size: size_below(&entry.path()).map_err(failed)?,
                    name,
                    containers,
                });
            }
        }
        volumes.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(volumes)
    }

    /// Removes a named volume with all that is in it.
    ///
    /// # Errors
    /// There is none of this name; a container has it.
    pub fn remove_volume(&self, name: &str) -> Result<()> {
        let _held = self.alone()?;
        let refused = |status, reason: String| EngineError::Refused {
            action: format!("remove volume {name}"),
            status,
            reason,
        };
        if !is_volume_name(name) || !self.path().join("volumes").join(name).is_dir() {
            let reason = format!("the store at {} has no volume of this name", self.path().display());
            return Err(refused(404, reason));
        }
        if let Some(user) = self.volume_users()?.get(name).and_then(|users| users.first()) {
            return Err(refused(409, format!("container {} has it", &user[..12])));
        }
        self.take_volume_away(name).map_err(|error| refused(500, error.to_string()))
    }

    /// Removes every named volume that no container has; gives what is gone.
    ///
    /// # Errors
    /// When one cannot be read or removed.
    pub fn prune_volumes(&self) -> Result<Vec<StoredVolume>> {
        let _held = self.alone()?;
        let unused: Vec<StoredVolume> =
            self.volumes()?.into_iter().filter(|volume| volume.containers == 0).collect();
        for volume in &unused {
            self.take_volume_away(&volume.name)
                .map_err(|error| self.failed(format!("remove volume {} of", volume.name), error))?;
        }
        Ok(unused)
    }

    /// Which containers have each, by their ids.
    fn volume_users(&self) -> Result<BTreeMap<String, Vec<String>>> {
        let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (_, record) in self.containers()? {
            for mount in record.mounts {
                if let RecordedSource::Named(name) = mount.source {
                    users.entry(name).or_default().push(record.id.clone());
                }
            }
        }
        Ok(users)
    }

    /// Out of sight first: half of a volume is none.
    fn take_volume_away(&self, name: &str) -> io::Result<()> {
        let volumes = self.path().join("volumes");
        let doomed = volumes.join(format!("{INCOMING}{name}"));
        fs::rename(volumes.join(name), &doomed)?;
        fs::remove_dir_all(doomed)
    }
}

/// Links are not followed; what goes while we look is not counted.
fn size_below(folder: &Path) -> io::Result<u64> {
    let mut sum = 0;
    let mut ahead = vec![folder.to_owned()];
    while let Some(folder) = ahead.pop() {
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => ahead.push(entry.path()),
                Ok(metadata) if metadata.is_file() => sum += metadata.len(),
                _ => {}
            }
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::super::create::tests::record;
    use super::super::record::{RecordedMount, State};
    use super::*;

    fn store_with(volumes: &[&str]) -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        for name in volumes {
            let path = store.volume(name).unwrap();
            fs::create_dir(path.join("deep")).unwrap();
            fs::write(path.join("deep/file"), "seven b").unwrap();
        }
        (folder, store)
    }

    fn use_it(store: &Store, name: &str) {
        let source = RecordedSource::Named(name.to_owned());
        let mounts = vec![RecordedMount { target: "/data".to_owned(), source, read_only: false }];
        store
            .make_container(&super::super::record::Record { mounts, ..record() }, &State::created())
            .unwrap();
    }

    #[test]
    fn volumes_are_listed_with_their_size_and_users() {
        let (_folder, store) = store_with(&["b", "a"]);
        use_it(&store, "a");
        let volume = |name: &str, containers| StoredVolume { name: name.to_owned(), size: 7, containers };
        assert_eq!(store.volumes().unwrap(), [volume("a", 1), volume("b", 0)]);
    }

    #[test]
    fn one_that_a_container_has_stays() {
        let (_folder, store) = store_with(&["a", "b"]);
        use_it(&store, "a");
        assert!(store.remove_volume("a").unwrap_err().to_string().contains("has it"));
        let pruned: Vec<String> =
            store.prune_volumes().unwrap().into_iter().map(|volume| volume.name).collect();
        assert_eq!(pruned, ["b"]);
        assert_eq!(store.volumes().unwrap().len(), 1);
    }

    #[test]
    fn a_name_that_is_none_leads_nowhere_else() {
        let (_folder, store) = store_with(&["a"]);
        for name in ["../containers", "", "..", ".", "b", "a/deep"] {
            assert!(store.remove_volume(name).unwrap_err().to_string().contains("no volume"), "{name}");
        }
        store.remove_volume("a").unwrap();
        assert!(store.volumes().unwrap().is_empty());
    }
}
