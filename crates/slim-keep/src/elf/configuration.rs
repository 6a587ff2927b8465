//! Where libraries lie, as `/etc/ld.so.conf` (glibc) and `/etc/ld-musl-*.path` (musl) say it.

use crate::context::Context;
use crate::exclude::glob;
use slim_image::TreeError;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Bytes of a configuration file that are read.
const FILE_MAX: u64 = 1 << 20;

/// The directories of `/etc/ld.so.conf` and what it includes, in order.
///
/// # Errors
/// When a file cannot be read.
pub(crate) fn directories(context: &Context<'_>) -> Result<Vec<Vec<u8>>, TreeError> {
    let mut directories = Vec::new();
    collect(context, b"/etc/ld.so.conf", &mut BTreeSet::new(), &mut directories)?;
    Ok(directories)
}

/// The directories that musl searches for this machine; `None` where no file says so, and its defaults count.
///
/// # Errors
/// When a file cannot be read.
pub(crate) fn musl_directories(
    context: &Context<'_>,
    loader: &[u8],
) -> Result<Option<Vec<Vec<u8>>>, TreeError> {
    // /lib/ld-musl-x86_64.so.1 reads /etc/ld-musl-x86_64.path.
    let name = loader.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let Some(stem) = name.strip_suffix(b".so.1") else { return Ok(None) };
    let path = [b"/etc/", stem, b".path"].concat();
    if context.file(&path).is_none() {
        return Ok(None);
    }
    let text = context.read(&path, FILE_MAX)?;
    let parts = text.split(|byte| matches!(byte, b'\n' | b':'));
    Ok(Some(
        parts
            .map(<[u8]>::trim_ascii)
            .filter(|part| part.first() == Some(&b'/'))
            .map(<[u8]>::to_vec)
            .collect(),
    ))
}

fn collect(
    context: &Context<'_>,
    file: &[u8],
    seen: &mut BTreeSet<Vec<u8>>,
    directories: &mut Vec<Vec<u8>>,
) -> Result<(), TreeError> {
    if !seen.insert(file.to_vec()) {
        return Ok(());
    }
    let text = context.read(file, FILE_MAX)?;
    for line in text.split(|byte| *byte == b'\n') {
        let line = line.split(|byte| *byte == b'#').next().unwrap_or_default().trim_ascii();
        if let Some(patterns) =
            line.strip_prefix(b"include").filter(|rest| rest.first().is_some_and(u8::is_ascii_whitespace))
        {
            for pattern in patterns.split(u8::is_ascii_whitespace).filter(|pattern| !pattern.is_empty()) {
                let pattern =
                    if pattern[0] == b'/' { pattern.to_vec() } else { [b"/etc/", pattern].concat() };
                for included in matching(context, &pattern) {
                    collect(context, &included, seen, directories)?;
                }
            }
            continue;
        }
        let parts = line.split(|byte| byte.is_ascii_whitespace() || matches!(byte, b':' | b','));
        for part in parts {
            // Old files name a library type behind the directory: /usr/lib/old=libc5.
            let directory = part.split(|byte| *byte == b'=').next().unwrap_or_default();
            if directory.first() == Some(&b'/') {
                directories.push(directory.to_vec());
            }
        }
    }
    Ok(())
}

/// The files of a directory that a pattern's last component matches, sorted.
fn matching(context: &Context<'_>, pattern: &[u8]) -> Vec<Vec<u8>> {
    let slash = pattern.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    let (directory, name) = (&pattern[..slash], &pattern[slash + 1..]);
    let Some(matcher) = std::str::from_utf8(name).ok().and_then(|name| glob(name).ok()) else {
        return Vec::new();
    };
    let matcher = matcher.compile_matcher();
    let walk = context.walk(if directory.is_empty() { b"/" } else { directory }, true);
    let Some(directory) = walk.found() else { return Vec::new() };
    let names = context.tree.read_dir(directory).into_iter();
    names
        .filter(|name| matcher.is_match(Path::new(OsStr::from_bytes(name))))
        .map(|name| directory.join(name).as_bytes().to_vec())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use slim_image::{Config, MemoryTree};

    #[test]
    fn included_files_stand_where_they_are_included() {
        let tree = MemoryTree::new()
            .file(
                "/etc/ld.so.conf",
                0o644,
                "/first # comment\ninclude /etc/ld.so.conf.d/*.conf\n/last=libc5\n",
            )
            .file("/etc/ld.so.conf.d/b.conf", 0o644, "/b1:/b2, /b3\nhwcap 1 nosegneg\n")
            .file("/etc/ld.so.conf.d/a.conf", 0o644, "# nothing\n/a\n")
            .file("/etc/ld.so.conf.d/c.other", 0o644, "/c\n");
        let directories = directories(&Context::new(&tree, &Config::default())).unwrap();
        let expected: [&[u8]; 6] = [b"/first", b"/a", b"/b1", b"/b2", b"/b3", b"/last"];
        assert_eq!(directories, expected);
    }

    #[test]
    fn a_file_that_includes_itself_ends() {
        let tree = MemoryTree::new().file("/etc/ld.so.conf", 0o644, "/a\ninclude ld.so.conf\n");
        let directories = directories(&Context::new(&tree, &Config::default())).unwrap();
        assert_eq!(directories, [b"/a"]);
    }

    #[test]
    fn musl_has_a_file_per_machine() {
        let tree = MemoryTree::new().file("/etc/ld-musl-x86_64.path", 0o644, "/lib:/opt/lib\n/usr/lib\n");
        let context = Context::new(&tree, &Config::default());
        let expected: [&[u8]; 3] = [b"/lib", b"/opt/lib", b"/usr/lib"];
        assert_eq!(musl_directories(&context, b"/lib/ld-musl-x86_64.so.1").unwrap().unwrap(), expected);
        assert_eq!(musl_directories(&context, b"/lib/ld-musl-aarch64.so.1").unwrap(), None);
    }
}
