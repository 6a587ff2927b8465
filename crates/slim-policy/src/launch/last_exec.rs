//! Which exec is the last: the one after which the program that stays is there.
//!
//! A trace has a process for every program that a task ran. One that was forked begins as a copy of its parent, with the
//! same program and arguments; one that was exec'ed has its own. A task execs away at most once, so that from the
//! container's first program there is one line of execs, whose end is the program that stays. Where that end is an init
//! which runs everything else as its child (tini, dumb-init, docker-init), the line goes on at its child's exec.

use crate::inputs::{Inputs, KeptKind};
use crate::paths::resolve;
use slim_image::ImagePath;
use slim_trace::{Process, ProcessId, Trace, TracedPath};
use std::collections::BTreeSet;

/// Programs that start one other and wait for it.
const INITS: [&str; 6] = ["tini", "tini-static", "dumb-init", "docker-init", "catatonit", "init"];

/// The exec after which the program that stays is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastExec {
    /// Where the launcher has to stand: the path that was exec'ed, with directories resolved. A symlink of the image, or a
    /// file.
    pub place: ImagePath,
    /// The program is a script: this is its path, not its interpreter's.
    pub is_script: bool,
    /// The program that stays, and what it ran. What came from outside (`docker exec`) is not among them: it never gets
    /// the tighter filter.
    pub processes: BTreeSet<ProcessId>,
}

/// Why there is no place for a tighter filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoLastExec {
    #[error("no program of the image was seen")]
    NothingSeen,
    #[error(
        "{0} is the container's first program and stays: nothing comes before it that could be taken away"
    )]
    NothingBefore(String),
    #[error(
        "{program} is also run before the last exec, where the tighter filter would be too early; name the launcher in the \
         command instead"
    )]
    RunBefore { program: String },
    #[error("{0} is not in the slim image")]
    NotKept(String),
}

/// Finds the last exec of the container's first process.
///
/// # Errors
/// Why there is none, or none that the launcher can take part in.
pub fn last_exec(trace: &Trace, inputs: &Inputs) -> Result<LastExec, NoLastExec> {
    let line = Line::of(trace).ok_or(NoLastExec::NothingSeen)?;
    let last = &trace.processes[line.last.0 as usize];
    // busybox becomes its commands by /proc/self/exe, where nothing can stand.
    let invoked_as = last.invoked_as.as_ref().filter(|path| !path.as_bytes().starts_with(b"/proc/"));
    let named = invoked_as.or(last.executable.as_ref()).ok_or(NoLastExec::NothingSeen)?;
    if line.last == line.first {
        return Err(NoLastExec::NothingBefore(named.to_string()));
    }
    let place = place(named, inputs);
    match inputs.paths.get(&place) {
        Some(KeptKind::File { .. } | KeptKind::Symlink { .. }) => {}
        _ => return Err(NoLastExec::NotKept(place.to_string())),
    }
    let processes = below(trace, line.last);
    let is_at_place = |path: &TracedPath| self::place(path, inputs) == place;
    let runs_it = |process: &Process| {
        let paths = process.executable.iter().chain(&process.invoked_as).chain(&process.shebang);
        paths.into_iter().any(is_at_place)
    };
    let before = || trace.processes.iter().zip(0..).filter(|(_, id)| !processes.contains(&ProcessId(*id)));
    // `docker exec` of the same program is confined as well, and its calls are not known to fit; from there comes no child
    // of the container's first program.
    let earlier = below(trace, line.first);
    if before().any(|(process, id)| earlier.contains(&ProcessId(id)) && runs_it(process)) {
        return Err(NoLastExec::RunBefore { program: place.to_string() });
    }
    Ok(LastExec { place, is_script: !last.shebang.is_empty(), processes })
}

/// The program that stays, and what it ran; all processes where nobody can tell. What came from outside (`docker exec`,
/// health checks) is not among them.
pub(super) fn staying(trace: &Trace) -> BTreeSet<ProcessId> {
    match Line::of(trace) {
        Some(line) => below(trace, line.last),
        None => (0..).map(ProcessId).zip(&trace.processes).map(|(id, _)| id).collect(),
    }
}

/// The entrypoint up to the last exec, with its helpers.
pub(crate) fn before_last_exec(trace: &Trace) -> BTreeSet<ProcessId> {
    let Some(line) = Line::of(trace) else { return BTreeSet::new() };
    &below(trace, line.first) - &below(trace, line.last)
}

/// What the container's first process is, one after the other, with the copies between an init and its child.
pub(crate) fn line(trace: &Trace) -> BTreeSet<ProcessId> {
    let Some(Line { first, last }) = Line::of(trace) else { return BTreeSet::new() };
    let mut line = BTreeSet::from([last]);
    let mut at = last;
    while at != first
        && let Some(parent) = trace.process(at).and_then(|process| process.parent)
    {
        line.insert(parent);
        at = parent;
    }
    line
}

/// The ends of the line of execs.
struct Line {
    first: ProcessId,
    last: ProcessId,
}

impl Line {
    fn of(trace: &Trace) -> Option<Self> {
        let is_root = |process: &Process| process.parent.is_none() && process.executable.is_some();
        let first = trace.processes.iter().position(is_root)?;
        let first = ProcessId(u32::try_from(first).ok()?);
        let mut last = first;
        loop {
            while let Some(next) = execed(trace, last) {
                last = next;
            }
            let forked = children(trace, last).filter(|child| is_copy(trace, last, *child));
            let started: Vec<ProcessId> = forked.filter_map(|child| execed(trace, child)).collect();
            match (&started[..], is_init(trace, last)) {
                ([only], true) => last = *only,
                _ => return Some(Self { first, last }),
            }
        }
    }
}

fn children(trace: &Trace, of: ProcessId) -> impl Iterator<Item = ProcessId> {
    let processes = trace.processes.iter().zip(0..);
    processes.filter(move |(process, _)| process.parent == Some(of)).map(|(_, id)| ProcessId(id))
}

/// What a task became by exec.
fn execed(trace: &Trace, of: ProcessId) -> Option<ProcessId> {
    children(trace, of).find(|child| !is_copy(trace, of, *child))
}

/// Whether a process is its parent once more: forked, and not another program yet.
pub(crate) fn is_copy(trace: &Trace, parent: ProcessId, child: ProcessId) -> bool {
    let [parent, child] = [parent, child].map(|id| &trace.processes[id.0 as usize]);
    (&parent.executable, &parent.invoked_as, &parent.argv)
        == (&child.executable, &child.invoked_as, &child.argv)
}

fn is_init(trace: &Trace, id: ProcessId) -> bool {
    let executable = trace.processes[id.0 as usize].executable.as_ref();
    executable.is_some_and(|path| {
        let name = path.as_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        INITS.iter().any(|init| init.as_bytes() == name)
    })
}

/// A process with all that it ran. Parents have lower numbers than their children.
fn below(trace: &Trace, top: ProcessId) -> BTreeSet<ProcessId> {
    let mut all = BTreeSet::from([top]);
    loop {
        let before = all.len();
        for (process, id) in trace.processes.iter().zip(0..) {
            if process.parent.is_some_and(|parent| all.contains(&parent)) {
                all.insert(ProcessId(id));
            }
        }
        if all.len() == before {
            return all;
        }
    }
}

/// The path with its directories resolved, the last component as it was named.
fn place(path: &TracedPath, inputs: &Inputs) -> ImagePath {
    let bytes = path.as_bytes();
    let (directory, name) = match bytes.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&bytes[..=at], &bytes[at + 1..]),
        None => (&b"/"[..], bytes),
    };
    let directory = resolve(&TracedPath::new(directory), &inputs.paths).unwrap_or_else(ImagePath::root);
    ImagePath::new([directory.as_bytes(), b"/", name].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use slim_trace::Phase;

    fn process(parent: Option<u32>, executable: &str, argv: &[&str]) -> Process {
        Process {
            parent: parent.map(ProcessId),
            began: Phase::Startup,
            executable: Some(TracedPath::new(executable)),
            invoked_as: None,
            interpreter: None,
            shebang: Vec::new(),
            argv: argv.iter().map(ToString::to_string).collect(),
        }
    }

    fn trace(processes: Vec<Process>) -> Trace {
        Trace { processes, ..Trace::empty("sha256:0") }
    }

    fn inputs(paths: &[&str]) -> Inputs {
        let mut inputs = Inputs::new("app");
        let file = || KeptKind::File { elf: true, run: false, privileged: false };
        inputs.paths.extend(paths.iter().map(|path| ((*path).into(), file())));
        inputs.paths.insert("/bin".into(), KeptKind::Symlink { target: b"usr/bin".into() });
        inputs
    }

    /// A script that runs chown, then execs setpriv, which execs the server, which forks.
    fn entrypoint() -> Vec<Process> {
        vec![
            process(None, "/usr/bin/dash", &["sh", "/entry", "server"]),
            process(Some(0), "/usr/bin/dash", &["sh", "/entry", "server"]),
            process(Some(1), "/usr/bin/chown", &["chown", "a"]),
            process(Some(0), "/usr/bin/setpriv", &["setpriv", "server"]),
            process(Some(3), "/usr/bin/server", &["server"]),
            process(Some(4), "/usr/bin/server", &["server"]),
            process(None, "/usr/bin/client", &["client"]),
        ]
    }

    #[test]
    fn the_line_of_execs_ends_at_the_program_that_stays() {
        let last = last_exec(&trace(entrypoint()), &inputs(&["/usr/bin/server"])).unwrap();
        assert_eq!(last.place, "/usr/bin/server".into());
        assert_eq!(last.processes, [4, 5].map(ProcessId).into());
        assert!(!last.is_script);
    }

    #[test]
    fn behind_an_init_the_line_goes_on_at_its_child() {
        let mut processes = vec![
            process(None, "/usr/bin/tini", &["tini", "/entry"]),
            process(Some(0), "/usr/bin/tini", &["tini", "/entry"]),
            process(Some(1), "/usr/bin/dash", &["sh", "/entry"]),
            process(Some(2), "/bin/server", &["server"]),
        ];
        let found =
            |processes: &[Process]| last_exec(&trace(processes.to_vec()), &inputs(&["/usr/bin/server"]));
        assert_eq!(found(&processes).unwrap().place, "/usr/bin/server".into(), "directories are resolved");
        processes[0].executable = Some(TracedPath::new("/usr/bin/supervisor"));
        processes[1].executable = Some(TracedPath::new("/usr/bin/supervisor"));
        assert!(
            matches!(found(&processes), Err(NoLastExec::NothingBefore(_))),
            "no other forks for one program"
        );
    }

    #[test]
    fn a_script_that_stays_is_replaced_and_its_interpreter_is_not() {
        let mut app = process(Some(0), "/usr/bin/python3", &["python3", "/app/run"]);
        app.invoked_as = Some(TracedPath::new("/app/run"));
        app.shebang = vec![TracedPath::new("/usr/bin/python3")];
        let helper = process(Some(2), "/usr/bin/python3", &["python3", "-c", ""]);
        let fork = process(Some(0), "/usr/bin/dash", &["sh"]);
        let trace = trace(vec![process(None, "/usr/bin/dash", &["sh"]), app, fork, helper]);
        let last = last_exec(&trace, &inputs(&["/app/run", "/usr/bin/python3"])).unwrap();
        assert_eq!((last.place, last.is_script), ("/app/run".into(), true));
    }

    #[test]
    fn what_also_runs_before_cannot_be_replaced() {
        let mut processes = entrypoint();
        processes[2].executable = Some(TracedPath::new("/bin/server"));
        let error = last_exec(&trace(processes), &inputs(&["/usr/bin/server"])).unwrap_err();
        assert_eq!(error, NoLastExec::RunBefore { program: "/usr/bin/server".to_owned() });
        let alone = trace(vec![process(None, "/usr/bin/server", &["server"])]);
        assert!(matches!(
            last_exec(&alone, &inputs(&["/usr/bin/server"])),
            Err(NoLastExec::NothingBefore(_))
        ));
        assert_eq!(last_exec(&trace(Vec::new()), &inputs(&[])).unwrap_err(), NoLastExec::NothingSeen);
        let gone = last_exec(&trace(entrypoint()), &inputs(&[])).unwrap_err();
        assert_eq!(gone, NoLastExec::NotKept("/usr/bin/server".to_owned()));
    }

    #[test]
    fn a_shell_that_becomes_its_own_command_has_no_place_for_the_launcher() {
        let mut command = process(Some(0), "/usr/bin/busybox", &["httpd"]);
        command.invoked_as = Some(TracedPath::new("/proc/self/exe"));
        let trace = trace(vec![process(None, "/usr/bin/busybox", &["sh", "/entry"]), command]);
        let error = last_exec(&trace, &inputs(&["/usr/bin/busybox"])).unwrap_err();
        assert_eq!(error, NoLastExec::RunBefore { program: "/usr/bin/busybox".to_owned() });
    }

    #[test]
    fn a_program_run_from_outside_is_nothing_before() {
        let mut processes = entrypoint();
        processes[6].executable = Some(TracedPath::new("/usr/bin/server"));
        assert!(last_exec(&trace(processes), &inputs(&["/usr/bin/server"])).is_ok());
    }
}
