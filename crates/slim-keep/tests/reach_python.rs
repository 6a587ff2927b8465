//! What Python can reach, with a real interpreter of this machine: what is kept is copied elsewhere and has to run there.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod support;

use slim_image::{Config, ImagePath, ImageTree as _, Kind};
use slim_keep::{KeepSet, Level, Settings};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use support::{DirectoryTree, Traced, kept_with};

/// What the run does that is watched.
const WATCHED: &str = "import json, http.server, sqlite3, ssl, logging, multiprocessing, concurrent.futures";
/// What another run does later.
const LATER: &str = r"
import datetime, collections, email.message, http.client, multiprocessing, concurrent.futures, tracemalloc
assert datetime.datetime.strptime('2024-01-02', '%Y-%m-%d').day == 2
assert collections.Counter('aab').most_common(1) == [('a', 2)]
message = email.message.EmailMessage()
message['Subject'] = 'x'
message.set_content('y')
assert b'Subject: x' in message.as_bytes()
'example'.encode('idna')
b'x'.decode('cp437')
if __name__ == '__main__':
    with multiprocessing.get_context('fork').Pool(1) as pool:
        assert pool.map(len, ['abc']) == [3]
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        assert threads.submit(len, 'ab').result() == 2
    with concurrent.futures.ProcessPoolExecutor(1) as processes:
        assert processes.submit(len, 'ab').result() == 2
    print('all done')
";

/// An interpreter of this machine, with its library; none on machines without.
struct Python {
    program: PathBuf,
    library: PathBuf,
}

fn python() -> Option<Python> {
    let asked = Command::new("python3")
        .args([
            "-I",
            "-c",
            "import os, sys; print(os.path.realpath(sys.executable)); print(os.path.realpath(os.__file__))",
        ])
        .output()
        .ok()?;
    let text = String::from_utf8(asked.stdout).ok()?;
    let mut lines = text.lines();
    let program = PathBuf::from(lines.next()?);
    let library = Path::new(lines.next()?).parent()?.to_owned();
    Some(Python { program, library })
}

impl Python {
    fn run(&self, home: Option<&Path>, code: &str) -> Result<String, String> {
        let mut command = Command::new(&self.program);
        command.args(["-s", "-c", code]).env_remove("PYTHONPATH").env_remove("PYTHONSTARTUP");
        if let Some(home) = home {
            command.env("PYTHONHOME", home);
        }
        let output = command.output().unwrap();
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// The files of the modules that code has loaded.
    fn loaded(&self, code: &str) -> BTreeSet<String> {
        let code = format!(
            "import sys\n{code}\nfor m in list(sys.modules.values()):\n  print(getattr(m, '__file__', None) or '')\n"
        );
        let text = self.run(None, &code).unwrap();
        text.lines().filter(|line| line.starts_with('/')).map(str::to_owned).collect()
    }

    fn prefix(&self) -> &Path {
        self.library.parent().unwrap().parent().unwrap()
    }

    /// What is kept after a run of this code.
    fn kept(&self, tree: &DirectoryTree, code: &str) -> (BTreeSet<String>, KeepSet) {
        let loaded = self.loaded(code);
        let program = self.program.to_str().unwrap();
        let mut trace = Traced::new().process(program).open(program);
        for file in &loaded {
            trace = trace.open(file);
        }
        let config = Config {
            working_dir: "/nowhere".to_owned(),
            env: vec![format!("PATH={}/bin", self.prefix().display())],
            ..Config::default()
        };
        let settings = Settings { level: Level::Reachable, ..Settings::default() };
        let set = kept_with(&trace, tree, &config, &settings);
        (loaded, set)
    }
}

fn sizes(tree: &DirectoryTree, paths: impl Iterator<Item = String>, ending: impl Fn(&str) -> bool) -> u64 {
    paths
        .filter(|path| ending(path))
        .filter_map(|path| tree.entry(&ImagePath::new(path)).map(slim_image::Entry::size))
        .sum()
}

#[test]
fn what_is_kept_of_the_standard_library_runs_what_was_not_watched_and_is_at_most_twice_as_large() {
    let Some(python) = python() else { return };
    let tree = DirectoryTree::parts(
        Path::new("/"),
        &[python.library.to_str().unwrap(), python.program.to_str().unwrap()],
    );
    let (loaded, set) = python.kept(&tree, WATCHED);
    let is_source =
        |path: &str| !path.ends_with(".pyc") && path.starts_with(python.library.to_str().unwrap());
    let before = sizes(&tree, loaded.iter().cloned(), is_source);
    let after = sizes(&tree, set.entries.keys().map(ToString::to_string), is_source);
    println!("{before} bytes of modules loaded, {after} kept");
    assert!(after <= before * 21 / 10, "{before} {after}");
    for unused in ["tkinter", "idlelib", "lib2to3", "ensurepip", "turtle.py", "test"] {
        let path = python.library.join(unused);
        assert!(!set.contains(&ImagePath::new(path.to_str().unwrap())), "{unused}");
    }
    let place = tempfile::tempdir().unwrap();
    for (path, kept) in &set.entries {
        let to = place.path().join(path.to_string().trim_start_matches('/'));
        match &kept.entry.kind {
            Kind::Directory => fs::create_dir_all(&to).unwrap(),
            Kind::File { .. } => drop(fs::copy(path.to_string(), &to).unwrap()),
            _ => {}
        }
    }
    let home = place.path().join(python.prefix().strip_prefix("/").unwrap());
    assert_eq!(python.run(Some(&home), LATER).unwrap().trim(), "all done");
    let path = python.run(Some(&home), "import tracemalloc; print(tracemalloc.__file__)").unwrap();
    assert!(path.starts_with(home.to_str().unwrap()), "{path}");
}

#[test]
fn every_module_of_the_standard_library_is_read() {
    let Some(python) = python() else { return };
    let tree = DirectoryTree::parts(
        Path::new("/"),
        &[python.library.to_str().unwrap(), python.program.to_str().unwrap()],
    );
    let mut trace = Traced::new().process(python.program.to_str().unwrap());
    let mut modules = 0;
    for (path, _) in tree.walk().filter(|(path, _)| path.file_name().ends_with(b".py")) {
        if !path
            .components()
            .any(|name| matches!(name, b"site-packages" | b"dist-packages" | b"test" | b"tests"))
        {
            trace = trace.open(&path.to_string());
            modules += 1;
        }
    }
    let settings = Settings { level: Level::Reachable, ..Settings::default() };
    let start = Instant::now();
    kept_with(&trace, &tree, &Config::default(), &settings);
    println!("{modules} modules in {:?}", start.elapsed());
    assert!(start.elapsed().as_secs() < 240);
}
