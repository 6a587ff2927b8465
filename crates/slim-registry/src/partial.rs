//! Blobs on their way into a layout, kept where they are when we are stopped, so that the next run goes on there.
//!
//! A partial blob is the file `.partial-<hex>` at the top of the layout, locked (flock) by whoever fetches it. It gets a
//! blob's name when its digest was found right, and is removed when it was found wrong.

use crate::client::{Event, How, Progress, Repository};
use crate::error::RegistryError;
use crate::wanted::Wanted;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use slim_image::{Descriptor, Layout};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;
use tokio::sync::mpsc;

/// How many pieces may wait for the disk.
const WAITING: usize = 32;
const BUFFER: usize = 256 << 10;
/// How often it is seen whether somebody else is through with a blob.
const LOOK: Duration = Duration::from_millis(50);

/// A locked partial blob with what is known of its contents.
struct Partial {
    file: File,
    path: PathBuf,
    length: u64,
    hasher: Sha256,
}

/// Makes sure that a blob of a repository is in a layout.
///
/// # Errors
/// The registry does not give it, it is not what its digest says, or the disk does not take it.
pub(crate) async fn fetch(
    repository: &Repository,
    layout: &Layout,
    blob: &Descriptor,
    wanted: Wanted,
    progress: &dyn Progress,
) -> Result<(), RegistryError> {
    loop {
        let Some(partial) = open(layout, blob, wanted.clone()).await? else {
            progress.tell(Event::Done { blob, how: How::AlreadyThere });
            return Ok(());
        };
        let (path, began_at) = (partial.path.clone(), partial.length);
        progress.tell(Event::Began { blob, already: began_at });
        match fill(repository, blob, partial, wanted.clone(), progress).await {
            Ok(_file) => {
                let named = layout.blob_path(&blob.digest);
                std::fs::rename(&path, &named).map_err(RegistryError::file("write", named))?;
                progress.tell(Event::Done { blob, how: How::Moved });
                return Ok(());
            }
            Err(error @ RegistryError::WrongDigest { .. }) => {
                std::fs::remove_file(&path).map_err(RegistryError::file("remove", path))?;
                // What an earlier run left may be what was wrong.
                if began_at == 0 {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// `None`: the blob is there, perhaps because somebody else fetched it while we waited.
async fn open(layout: &Layout, blob: &Descriptor, wanted: Wanted) -> Result<Option<Partial>, RegistryError> {
    let (layout, blob) = (layout.clone(), blob.clone());
    let opened = tokio::task::spawn_blocking(move || {
        let path = layout.partial_path(&blob.digest);
        loop {
            if layout.has_blob(&blob.digest, blob.size) {
                return Ok(None);
            }
            let opened = open_locked(&path, &wanted).map_err(RegistryError::file("write", path.clone()))?;
            if let Some(file) = opened {
                // Whoever had the lock may have finished it.
                if layout.has_blob(&blob.digest, blob.size) {
                    std::fs::remove_file(&path).map_err(RegistryError::file("remove", path))?;
                    return Ok(None);
                }
                return of(file, path.clone(), blob.size, wanted)
                    .map(Some)
                    .map_err(RegistryError::file("read", path));
            }
        }
    });
    opened.await.expect("nothing in there panics")
}

/// `None`: the file got another name, or was removed, while we waited for its lock.
fn open_locked(path: &Path, wanted: &Wanted) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    // The folder may be a stranger's: what a link leads to is not ours to write.
    let file = options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    loop {
        wanted.check()?;
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) => thread::sleep(LOOK),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    let ours = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => Ok(Some(file)),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn of(mut file: File, path: PathBuf, size: u64, wanted: Wanted) -> io::Result<Partial> {
    if file.metadata()?.len() > size {
        file.set_len(0)?;
    }
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; BUFFER];
    let mut length = 0;
    let mut reader = wanted.read(&file);
    loop {
        match reader.read(&mut buffer)? {
            0 => break,
            read => {
                hasher.update(&buffer[..read]);
                length += read as u64;
            }
        }
    }
    drop(reader);
    file.seek(SeekFrom::Start(length))?;
    Ok(Partial { file, path, length, hasher })
}

/// Fetches what is missing. The disk has a thread of its own. Gives the file back, still locked.
async fn fill(
    repository: &Repository,
    blob: &Descriptor,
    partial: Partial,
    mut wanted: Wanted,
    progress: &dyn Progress,
) -> Result<File, RegistryError> {
    let Partial { mut file, path, length, hasher } = partial;
    let (sender, mut receiver) = mpsc::channel::<Bytes>(WAITING);
    let writer = tokio::task::spawn_blocking(move || {
        while let Some(bytes) = receiver.blocking_recv() {
            file.write_all(&bytes)?;
        }
        Ok(file)
    });
    let mut reader = repository.blob_after(blob, length, Some(hasher));
    let read = loop {
        let next = tokio::select! {
            next = reader.next() => next,
            () = wanted.ends() => break wanted.check().map_err(RegistryError::file("write", path.clone())),
        };
        match next {
            Ok(Some(bytes)) => {
                progress.tell(Event::Moved { blob: &blob.digest, bytes: bytes.len() as u64 });
                if sender.send(bytes).await.is_err() {
                    break Ok(());
                }
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    drop(sender);
    let written: io::Result<File> = writer.await.expect("nothing in there panics");
    let file = written.map_err(RegistryError::file("write", path))?;
    read.map(|()| file)
}
