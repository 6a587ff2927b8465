//! Programs compiled by the tests, and files of this machine, as images.

#![allow(dead_code, clippy::unwrap_used, reason = "each test file takes what it needs; a failure is a panic")]

use slim_image::{ImagePath, MemoryTree};
use slim_possible::{How, Kept, Possible, Program, possible};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A directory with what was compiled.
pub struct Compiled {
    pub directory: TempDir,
    pub file: PathBuf,
}

/// Compiles C.
pub fn compile(compiler: &str, source: &str, flags: &[&str]) -> Compiled {
    let directory = TempDir::new().unwrap();
    let input = directory.path().join("program.c");
    let file = directory.path().join("program");
    std::fs::write(&input, source).unwrap();
    let output =
        Command::new(compiler).args(["-O2", "-o"]).arg(&file).arg(&input).args(flags).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Compiled { directory, file }
}

/// The libraries that this machine's loader takes for a file, the loader among them.
fn libraries(file: &Path) -> Vec<String> {
    let output = Command::new("ldd").arg(file).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')).map(str::to_owned))
        .collect()
}

/// What a program with its libraries and those it opens can do.
pub fn analyse(program: &Path, opened: &[PathBuf]) -> Possible {
    let (tree, kept) = as_image(program, opened);
    possible(&tree, &kept).unwrap()
}

/// A program with its libraries and those it opens as files of an image.
pub fn as_image(program: &Path, opened: &[PathBuf]) -> (MemoryTree, Vec<Kept>) {
    let mut kept: BTreeMap<String, (How, Vec<String>)> = BTreeMap::new();
    let mut open: Vec<String> = Vec::new();
    for (index, file) in std::iter::once(program).chain(opened.iter().map(PathBuf::as_path)).enumerate() {
        let needs = libraries(file);
        let interpreter = needs.iter().find(|path| path.contains("/ld-")).map(ImagePath::new);
        let how = if index == 0 { How::Program { interpreter } } else { How::Opened { by: BTreeSet::new() } };
        open.extend(needs.iter().cloned());
        kept.insert(file.to_str().unwrap().to_owned(), (how, needs));
    }
    for library in open {
        let needs = libraries(Path::new(&library)).into_iter().filter(|path| *path != library).collect();
        kept.entry(library).or_insert((How::Library, needs));
    }
    let mut tree = MemoryTree::new();
    for path in kept.keys() {
        tree = tree.file(path.as_str(), 0o755, std::fs::read(path).unwrap());
    }
    let kept = kept
        .into_iter()
        .map(|(path, (how, needs))| Kept {
            path: ImagePath::new(&path),
            how,
            needs: needs.iter().map(ImagePath::new).collect(),
        })
        .collect();
    (tree, kept)
}

pub fn only(possible: &Possible) -> &Program {
    assert_eq!(possible.programs.len(), 1);
    &possible.programs[0]
}

/// Panics with what is wrong where a call is missing or one too many.
pub fn assert_calls(possible: &Possible, can: &[&str], cannot: &[&str]) {
    let program = only(possible);
    for call in can {
        assert!(program.calls.contains(*call), "cannot {call}: {:?}", program.calls);
        assert!(possible.call(call).is_some());
    }
    for call in cannot {
        assert!(
            !program.calls.contains(*call),
            "can {call}: {}",
            possible.call(call).unwrap().because.first().unwrap()
        );
    }
}
