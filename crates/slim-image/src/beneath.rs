//! Files of folders that strangers made, a layout's blobs above all. A link in such a folder is followed as long as it stays
//! in it: what it leads to elsewhere is no part of the image, and may be nobody's business (`/etc/shadow`).

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::path::Path;

/// Opens a regular file of a folder for reading. It never blocks: a fifo of that name is refused.
///
/// # Errors
/// When there is no such file, or it is not in the folder.
pub(crate) fn open_file(folder: &Path, name: impl AsRef<Path>) -> io::Result<File> {
    let root =
        rustix::fs::openat(CWD, folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let opened = rustix::fs::openat2(root, name.as_ref(), flags, Mode::empty(), resolve);
    let file = File::from(opened.map_err(|error| match error {
        Errno::XDEV => io::Error::other(format!(
            "a link there leads out of {}; a copy of the folder with what its links lead to (cp -rL) is read",
            folder.display()
        )),
        error => error.into(),
    })?);
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no regular file")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_as_long_as_they_stay_in_the_folder() {
        let around = tempfile::tempdir().unwrap();
        let folder = around.path().join("folder");
        fs::create_dir_all(folder.join("blobs")).unwrap();
        fs::write(around.path().join("outside"), "").unwrap();
        fs::write(folder.join("inside"), "").unwrap();
        symlink("../inside", folder.join("blobs/in")).unwrap();
        symlink("../../outside", folder.join("blobs/out")).unwrap();
        symlink(around.path().join("outside"), folder.join("blobs/absolute")).unwrap();
        symlink("..", folder.join("up")).unwrap();
        assert!(open_file(&folder, "blobs/in").is_ok());
        for out in ["blobs/out", "blobs/absolute", "up/outside"] {
            let error = open_file(&folder, out).unwrap_err().to_string();
            assert!(error.contains("leads out of"), "{out}: {error}");
        }
        assert!(open_file(&folder, "blobs").unwrap_err().to_string().contains("no regular file"));
        assert_eq!(open_file(&folder, "none").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
