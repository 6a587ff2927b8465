//! Rule: a compiled Python file in `__pycache__` counts only beside its source, whose time Python compares.

use crate::reason::Reason;
use crate::seed::Seed;
use slim_image::ImagePath;

/// `x.py` for `__pycache__/x.cpython-311.pyc` (also `….opt-1.pyc`).
pub(crate) fn companions(path: &ImagePath) -> Option<Seed> {
    let stem = path.file_name().strip_suffix(b".pyc")?;
    let cache = path.parent().filter(|parent| parent.file_name() == b"__pycache__")?;
    let module = stem.split(|byte| *byte == b'.').next().filter(|module| !module.is_empty())?;
    let source = cache.parent()?.join([module, b".py"].concat());
    Some(Seed::object(source.as_bytes(), Reason::PythonSource { of: path.clone() }))
}

/// Whether a program is a Python interpreter, by its file's name.
pub(crate) fn is_interpreter(program: &[u8]) -> bool {
    let name = program.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    name.starts_with(b"python") || name.starts_with(b"pypy")
}

/// Whether a directory holds nothing but modules: those of the interpreter and those that package managers put there.
pub(crate) fn is_library(directory: &ImagePath) -> bool {
    let components: Vec<&[u8]> = directory.components().collect();
    components.iter().any(|name| matches!(*name, b"site-packages" | b"dist-packages" | b"lib-dynload"))
        || components.windows(2).any(|pair| {
            matches!(pair[0], b"lib" | b"lib64" | b"lib32")
                && (pair[1].starts_with(b"python") || pair[1].starts_with(b"pypy"))
        })
}

/// Whether a directory is one of programs. Python looks for modules beside the script that it runs (`sys.path[0]`), and so
/// lists the directory of every tool that pip installed.
pub(crate) fn is_of_scripts(directory: &ImagePath) -> bool {
    matches!(directory.file_name(), b"bin" | b"sbin")
}

/// Whether a name in a directory is one that an import could be looking for.
pub(crate) fn is_module(name: &[u8]) -> bool {
    name == b"__pycache__"
        || [&b".py"[..], b".pyc", b".pyi", b".so", b".pth"].iter().any(|ending| name.ends_with(ending))
}

/// The directory that a module was taken from.
pub(crate) fn imported_from(module: &ImagePath) -> Option<ImagePath> {
    let parent = module.parent().filter(|_| is_module(module.file_name()))?;
    if parent.file_name() == b"__pycache__" { parent.parent() } else { Some(parent) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source_of(path: &str) -> Option<String> {
        companions(&path.into()).map(|seed| String::from_utf8(seed.path).unwrap())
    }

    #[test]
    fn a_compiled_file_brings_its_source() {
        assert_eq!(source_of("/a/__pycache__/x.cpython-311.pyc").as_deref(), Some("/a/x.py"));
        assert_eq!(source_of("/a/__pycache__/x.cpython-311.opt-2.pyc").as_deref(), Some("/a/x.py"));
        assert_eq!(source_of("/a/x.pyc"), None);
        assert_eq!(source_of("/a/x.py"), None);
    }

    #[test]
    fn libraries_are_told_from_an_applications_own_directories() {
        for path in ["/usr/lib/python3.11/json", "/srv/venv/lib64/python3.9", "/opt/site-packages/flask"] {
            assert!(is_library(&path.into()), "{path}");
        }
        for path in
            ["/srv/notes/templates", "/srv/python3/lib", "/lib/pythonic.d".replace("lib/", "etc/").as_str()]
        {
            assert!(!is_library(&path.into()), "{path}");
        }
    }
}
