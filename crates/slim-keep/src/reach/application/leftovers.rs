//! What lies among an application's files and is none of it: version control, caches, what builds leave.
//!
//! Names only, and few: what is left out here and needed is a broken image, what is kept and not needed some kilobytes.

use slim_image::{ImagePath, ImageTree};

/// Directories that stand for themselves wherever they lie.
const DIRECTORIES: [&[u8]; 28] = [
    b".bzr",
    b".cache",
    b".ccache",
    b".eggs",
    b".git",
    b".gradle",
    b".hg",
    b".hypothesis",
    b".idea",
    b".ivy2",
    b".m2",
    b".mypy_cache",
    b".nox",
    b".npm",
    b".nyc_output",
    b".parcel-cache",
    b".pnpm-store",
    b".pytest_cache",
    b".ruff_cache",
    b".rustup",
    b".sass-cache",
    b".sbt",
    b".svn",
    b".tox",
    b".vscode",
    b"CMakeFiles",
    b"CVS",
    b"lost+found",
];
/// A name and the one above it, of directories or files.
const PAIRS: [(&[u8], &[u8]); 16] = [
    (b".cargo", b"git"),
    (b".cargo", b"registry"),
    (b".next", b"cache"),
    (b"debug", b".fingerprint"),
    (b"debug", b"build"),
    (b"debug", b"deps"),
    (b"debug", b"incremental"),
    (b"node_modules", b".bin"),
    (b"node_modules", b".cache"),
    (b"node_modules", b".package-lock.json"),
    (b"node_modules", b".yarn-integrity"),
    (b"pkg", b"mod"),
    (b"release", b".fingerprint"),
    (b"release", b"build"),
    (b"release", b"deps"),
    (b"release", b"incremental"),
];
/// Endings of what compilers write and only linkers and debuggers read.
const ENDINGS: [&[u8]; 6] = [b".a", b".gcda", b".gcno", b".la", b".lo", b".o"];
/// What package managers and shells leave, and what tools save of a file that they changed.
const FILES: [&[u8]; 11] = [
    b".DS_Store",
    b".bash_history",
    b".lesshst",
    b".node_repl_history",
    b".pwd.lock",
    b".python_history",
    b".viminfo",
    b".wget-hsts",
    b"npm-debug.log",
    b"yarn-error.log",
    b"ld.so.cache",
];
/// Of accounts and of dpkg: what was there before a change.
const BACKUPS: [&[u8]; 9] = [
    b"/etc/group-",
    b"/etc/gshadow-",
    b"/etc/passwd-",
    b"/etc/shadow-",
    b"/etc/subgid-",
    b"/etc/subuid-",
    b".dpkg-dist",
    b".dpkg-new",
    b".dpkg-old",
];

/// Whether a file is one of these by its own name or by a directory's above it.
pub(super) fn is_left_over(tree: &dyn ImageTree, path: &ImagePath) -> bool {
    let name = path.file_name();
    FILES.contains(&name)
        || ENDINGS.iter().any(|ending| name.len() > ending.len() && name.ends_with(ending))
        || BACKUPS.iter().any(|ending| path.as_bytes().ends_with(ending))
        || is_below(tree, path)
}

fn is_below(tree: &dyn ImageTree, path: &ImagePath) -> bool {
    let components: Vec<&[u8]> = path.components().collect();
    let Some((_, above)) = components.split_last() else { return false };
    if above.iter().any(|name| DIRECTORIES.contains(name)) {
        return true;
    }
    components.windows(2).enumerate().any(|(at, pair)| {
        PAIRS.contains(&(pair[0], pair[1])) && (!is_cargos(pair[0]) || is_in_target(tree, &components[..at]))
    })
}

/// `debug` and `release` are anybody's names; Cargo's lie in a folder with this mark.
fn is_cargos(name: &[u8]) -> bool {
    matches!(name, b"debug" | b"release")
}

fn is_in_target(tree: &dyn ImageTree, folder: &[&[u8]]) -> bool {
    let folder = ImagePath::new(folder.join(&b'/'));
    [&b"CACHEDIR.TAG"[..], b".rustc_info.json"].iter().any(|mark| tree.entry(&folder.join(mark)).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use slim_image::MemoryTree;

    #[test]
    fn version_control_caches_and_build_leftovers_are_told_by_name() {
        let tree = MemoryTree::new().file("/app/target/CACHEDIR.TAG", 0o644, "x");
        for path in [
            "/app/.git/HEAD",
            "/root/.cache/pip/a",
            "/root/.npm/_logs/a",
            "/app/x.o",
            "/app/lib/libx.a",
            "/app/node_modules/.bin/a",
            "/app/node_modules/.package-lock.json",
            "/app/target/release/deps/a",
            "/root/go/pkg/mod/a/b.go",
            "/etc/passwd-",
            "/etc/a.conf.dpkg-old",
        ] {
            assert!(is_left_over(&tree, &path.into()), "{path}");
        }
        for path in [
            "/app/git",
            "/app/.gitignore",
            "/app/a",
            "/app/.a",
            "/app/target/release/app",
            "/app/release/deps/a",
            "/app/target/classes/A.class",
            "/app/cache/a",
            "/srv/a-passwd-",
            "/app/.env",
        ] {
            assert!(!is_left_over(&tree, &path.into()), "{path}");
        }
    }
}
