//! A folder that holds what a pull has fetched by now, until the image is whole: whoever is stopped goes on there.

use slim_image::Digest;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How the folders' names begin; digits of a digest follow.
const PREFIX: &str = ".slim-pull-";
const DIGITS: usize = 16;
/// What a pull that was broken off has fetched waits so long for its next run.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// The folder, locked until the value is dropped.
pub struct Holding {
    path: PathBuf,
    _lock: File,
}

impl Holding {
    /// Makes or finds the folder of an image below `parent`, and waits until nobody else works in it.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn open(parent: &Path, key: &str) -> io::Result<Self> {
        let path = parent.join(format!("{PREFIX}{}", &Digest::of(key).hex()[..DIGITS]));
        sweep(parent, &path, KEPT);
        loop {
            fs::create_dir_all(&path)?;
            let lock = match File::open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened?,
            };
            lock.lock()?;
            // Whoever had it before may have taken it away.
            match fs::metadata(&path) {
                Ok(there) if there.ino() == lock.metadata()?.ino() => return Ok(Self { path, _lock: lock }),
                _ => {}
            }
        }
    }

    /// Where the layout lies, once there is one.
    pub fn layout(&self) -> PathBuf {
        self.path.join("layout")
    }

    /// Takes the folder away. What cannot be removed costs space alone.
    pub fn finish(self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!("could not remove {}: {error}", self.path.display());
        }
    }
}

/// Takes away the folders below `parent`, but this one, that nobody works in and that are older than `kept`. What cannot be
/// removed costs space alone.
fn sweep(parent: &Path, but: &Path, kept: Duration) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let digits = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).unwrap_or_default();
        let is_one = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_one
            && entry.path() != but
            && let Err(error) = remove_forgotten(&entry.path(), kept)
        {
            tracing::warn!("could not remove {}: {error}", entry.path().display());
        }
    }
}

fn remove_forgotten(folder: &Path, kept: Duration) -> io::Result<()> {
    let lock = File::open(folder)?;
    let began = lock.metadata()?.modified()?;
    if lock.try_lock().is_ok() && began.elapsed().is_ok_and(|age| age >= kept) {
        fs::remove_dir_all(folder)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_came_back_for_is_taken_away_and_what_is_at_work_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let forgotten = Holding::open(parent.path(), "a").unwrap().path;
        let working = Holding::open(parent.path(), "b").unwrap();
        let own = Holding::open(parent.path(), "c").unwrap().path;
        fs::create_dir(parent.path().join(".slim-pull-somebody")).unwrap();
        sweep(parent.path(), &own, KEPT);
        assert!(forgotten.exists(), "it may be gone on with");
        sweep(parent.path(), &own, Duration::ZERO);
        assert!(!forgotten.exists());
        assert!(working.path.exists() && own.exists());
        assert!(parent.path().join(".slim-pull-somebody").exists());
    }

    #[test]
    fn what_was_not_finished_is_found_again_and_what_was_finished_is_gone() {
        let parent = tempfile::tempdir().unwrap();
        let holding = Holding::open(parent.path(), "a:1 linux/amd64").unwrap();
        fs::create_dir(holding.layout()).unwrap();
        drop(holding);
        let again = Holding::open(parent.path(), "a:1 linux/amd64").unwrap();
        assert!(again.layout().is_dir());
        assert!(!Holding::open(parent.path(), "a:1 linux/arm64").unwrap().layout().exists());
        again.finish();
        assert!(!Holding::open(parent.path(), "a:1 linux/amd64").unwrap().layout().exists());
    }

    #[test]
    fn one_at_a_time_works_in_it() {
        let parent = tempfile::tempdir().unwrap();
        let first = Holding::open(parent.path(), "x").unwrap();
        let path = parent.path().to_owned();
        let second = std::thread::spawn(move || {
            Holding::open(&path, "x").unwrap().layout().parent().unwrap().is_dir()
        });
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(!second.is_finished());
        first.finish();
        assert!(second.join().unwrap(), "the second has a folder of its own");
    }
}
