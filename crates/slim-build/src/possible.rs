//! What the kept ELF files can do: they are handed to slim-possible with how each comes to be loaded.
//!
//! Who loads what is known already: the keep-set says which file needs which library and loader, the trace which program
//! opened what.

use slim_image::{ImagePath, ImageTree};
use slim_keep::{KeepSet, Kept, Reason};
use slim_policy::PossibleCalls;
use slim_possible::{How, Possible};
use slim_trace::{Access, Trace};
use std::collections::{BTreeMap, BTreeSet};

/// The calls that ELF files can make.
///
/// `None` where nobody can tell: there are none, or they cannot be read.
pub fn possible(tree: &dyn ImageTree, files: &[slim_possible::Kept]) -> Option<PossibleCalls> {
    if files.is_empty() {
        return None;
    }
    match slim_possible::possible(tree, files) {
        Ok(possible) if possible.machine.is_some() => Some(in_words(&possible)),
        Ok(_) => None,
        Err(error) => {
            tracing::debug!(%error, "what the kept files can do is not known");
            None
        }
    }
}

fn in_words(possible: &Possible) -> PossibleCalls {
    let way = |call: &slim_possible::Call| call.because.first().map_or_else(String::new, ToString::to_string);
    PossibleCalls {
        calls: possible.calls.iter().map(|call| (call.system_call.clone(), way(call))).collect(),
        is_complete: possible.is_complete(),
        unknown: possible.programs.iter().map(|program| program.unknown.len()).sum(),
        together: possible.together.clone(),
    }
}

/// The ELF files as their loader finds them. `elf`: which kept paths those are.
pub fn files(trace: &Trace, kept: &KeepSet, elf: &BTreeSet<ImagePath>) -> Vec<slim_possible::Kept> {
    let (mut needs, mut interpreters) = (BTreeMap::<&ImagePath, Vec<ImagePath>>::new(), BTreeMap::new());
    let mut libraries: BTreeSet<&ImagePath> = BTreeSet::new();
    for path in elf {
        for reason in kept.entries.get(path).into_iter().flat_map(|kept| &kept.because) {
            match reason {
                Reason::NeededLibrary { by, .. } => {
                    libraries.insert(path);
                    needs.entry(by).or_default().push(path.clone());
                }
                Reason::ElfInterpreter { of } => {
                    libraries.insert(path);
                    interpreters.insert(of, path.clone());
                    needs.entry(of).or_default().push(path.clone());
                }
                _ => {}
            }
        }
    }
    let run = run(trace);
    let opened_by = opened_by(trace);
    elf.iter()
        .map(|path| {
            let interpreter = interpreters.get(path).cloned();
            let how = if run.contains(path.as_bytes()) || (interpreter.is_some() && !libraries.contains(path))
            {
                How::Program { interpreter }
            } else if libraries.contains(path) {
                How::Library
            } else if is_library_by_name(path) || !is_executable(kept.entries.get(path)) {
                How::Opened { by: opened_by.get(path.as_bytes()).cloned().unwrap_or_default() }
            } else {
                How::Program { interpreter }
            };
            slim_possible::Kept { path: path.clone(), how, needs: needs.remove(path).unwrap_or_default() }
        })
        .collect()
}

fn is_executable(kept: Option<&Kept>) -> bool {
    kept.is_some_and(|kept| kept.entry.mode & 0o111 != 0)
}

fn is_library_by_name(path: &ImagePath) -> bool {
    let name = String::from_utf8_lossy(path.file_name()).into_owned();
    name.ends_with(".so") || name.contains(".so.") || name.ends_with(".node")
}

/// Programs that were run.
fn run(trace: &Trace) -> BTreeSet<&[u8]> {
    trace
        .processes
        .iter()
        .filter_map(|process| process.executable.as_ref())
        .map(|path| path.as_bytes())
        .collect()
}

/// By file: the programs that were seen to open it. A program that is run under several names is one.
fn opened_by(trace: &Trace) -> BTreeMap<&[u8], BTreeSet<ImagePath>> {
    let mut opened: BTreeMap<&[u8], BTreeSet<ImagePath>> = BTreeMap::new();
    for file in trace.files.iter().filter(|file| file.access.contains(&Access::Open)) {
        let process = trace.process(file.process);
        if let Some(executable) = process.and_then(|process| process.executable.as_ref()) {
            opened.entry(file.path.as_bytes()).or_default().insert(ImagePath::new(executable.as_bytes()));
        }
    }
    opened
}

#[cfg(test)]
mod tests {
    use super::*;
    use slim_image::MemoryTree;
    use slim_trace::{FileAccess, Phase, Process, ProcessId, TracedPath};

    fn keep(tree: &MemoryTree, reasons: &[(&str, Reason)]) -> KeepSet {
        let entries = tree.walk().map(|(path, entry)| {
            let of_path = reasons.iter().filter(|(of, _)| ImagePath::from(*of) == *path);
            let because = of_path.map(|(_, reason)| reason.clone()).collect();
            (path.clone(), Kept { entry: entry.clone(), because })
        });
        KeepSet { entries: entries.collect(), notes: Vec::new() }
    }

    #[test]
    fn each_file_is_loaded_as_reasons_and_trace_say() {
        let tree = MemoryTree::new()
            .file("/bin/app", 0o755, "x")
            .file("/bin/static", 0o755, "x")
            .file("/lib/ld.so", 0o755, "x")
            .file("/lib/libc.so.6", 0o755, "x")
            .file("/lib/module.so", 0o644, "x");
        let needed = |by: &str| Reason::NeededLibrary { by: by.into(), soname: "libc.so.6".to_owned() };
        let loader = |of: &str| Reason::ElfInterpreter { of: of.into() };
        let reasons = [
            ("/lib/libc.so.6", needed("/bin/app")),
            ("/lib/libc.so.6", needed("/lib/module.so")),
            ("/lib/ld.so", loader("/bin/app")),
            // libc can be run, and names its loader.
            ("/lib/ld.so", loader("/lib/libc.so.6")),
        ];
        let kept = keep(&tree, &reasons);
        let mut trace = Trace::empty("sha256:0");
        trace.processes.push(Process {
            parent: None,
            began: Phase::Startup,
            executable: Some(TracedPath::new("/bin/app")),
            invoked_as: None,
            interpreter: None,
            shebang: Vec::new(),
            argv: Vec::new(),
        });
        trace.files.push(FileAccess {
            path: TracedPath::new("/lib/module.so"),
            process: ProcessId(0),
            access: [Access::Open].into(),
            phases: [Phase::Startup].into(),
        });
        let elf: BTreeSet<ImagePath> = tree
            .walk()
            .map(|(path, _)| path.clone())
            .filter(|path| {
                path.as_bytes() != b"/" && path.as_bytes() != b"/bin" && path.as_bytes() != b"/lib"
            })
            .collect();
        let files = files(&trace, &kept, &elf);
        let of = |path: &str| files.iter().find(|file| file.path == path.into()).unwrap();
        assert_eq!(of("/bin/app").how, How::Program { interpreter: Some("/lib/ld.so".into()) });
        assert_eq!(of("/bin/app").needs, ["/lib/ld.so".into(), "/lib/libc.so.6".into()]);
        assert_eq!(of("/bin/static").how, How::Program { interpreter: None });
        assert_eq!(of("/lib/libc.so.6").how, How::Library);
        assert_eq!(of("/lib/ld.so").how, How::Library);
        assert_eq!(of("/lib/module.so").how, How::Opened { by: ["/bin/app".into()].into() });
        assert_eq!(of("/lib/module.so").needs, ["/lib/libc.so.6".into()]);
    }
}
