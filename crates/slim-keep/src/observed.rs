//! Rule: what the program's processes touched is kept, each path as it was touched.
//!
//! The container runtime's own work never counts, nor what lay under a mount. Looking for what is missing keeps the
//! directories and links on the way. What the program removed or renamed away is kept: a later start needs it. What it
//! made is not in the pristine image, so nothing of it gets in.

use crate::context::Context;
use crate::python;
use crate::reason::Reason;
use crate::seed::{Extent, Seed};
use slim_image::ImagePath;
use slim_image::path::escape;
use slim_trace::{Access, FileAccess, Phase, Process, ProcessId, Trace, TracedPath};
use std::collections::{BTreeMap, BTreeSet};

/// A trace with every path looked up.
pub(crate) struct Observed<'t> {
    pub trace: &'t Trace,
    pub touches: Vec<Touch<'t>>,
    pub programs: Vec<Program>,
    /// Directories from which Python processes took modules, also by way of `__pycache__`. All processes together: a
    /// parent searches where only its workers find something.
    pub imported_from: BTreeSet<ImagePath>,
}

/// One path touched by one process of the image's program.
pub(crate) struct Touch<'t> {
    pub access: &'t FileAccess,
    /// The name itself: a last symlink is not followed.
    pub name: Option<ImagePath>,
    /// What the name leads to.
    pub object: Option<ImagePath>,
}

/// A process, as far as rules ask.
pub(crate) struct Program {
    /// The executable's path, escaped text.
    pub name: String,
    /// The first argument's last component.
    pub called: String,
    /// All arguments, the first among them.
    pub arguments: Vec<String>,
    pub is_python: bool,
}

impl<'t> Observed<'t> {
    /// Looks every path up once.
    pub(crate) fn new(trace: &'t Trace, context: &Context<'_>) -> Self {
        let mut found: BTreeMap<&TracedPath, (Option<ImagePath>, Option<ImagePath>)> = BTreeMap::new();
        let mut programs: Vec<Program> = trace.processes.iter().map(program).collect();
        let mut touches = Vec::new();
        for access in trace.files.iter().filter(|access| access.phases.iter().any(|phase| counts(*phase))) {
            let (name, object) = found
                .entry(&access.path)
                .or_insert_with(|| {
                    let look_up =
                        |follow| context.walk_observed(access.path.as_bytes(), follow).found().cloned();
                    (look_up(false), look_up(true))
                })
                .clone();
            if let Some(program) = programs.get_mut(access.process.0 as usize) {
                let file = object.as_ref().map(ImagePath::file_name).unwrap_or_default();
                program.is_python |= file.starts_with(b"libpython");
            }
            touches.push(Touch { access, name, object });
        }
        let mut observed = Self { trace, touches, programs, imported_from: BTreeSet::new() };
        let of_python =
            observed.touches.iter().filter(|touch| observed.program(touch.access.process).is_python);
        let modules = of_python.filter_map(|touch| touch.object.as_ref());
        observed.imported_from = modules.filter_map(python::imported_from).collect();
        observed
    }

    /// The program of a process; of one that the trace does not know, an empty name.
    pub(crate) fn program(&self, process: ProcessId) -> &Program {
        const UNKNOWN: &Program =
            &Program { name: String::new(), called: String::new(), arguments: Vec::new(), is_python: false };
        self.programs.get(process.0 as usize).unwrap_or(UNKNOWN)
    }
}

/// How and when a program touched a path.
type Together = (BTreeSet<Access>, BTreeSet<Phase>);

/// Seeds of everything touched, but for the touches with these indices.
pub(crate) fn seeds(trace: &Trace, observed: &Observed<'_>, without: &BTreeSet<usize>) -> Vec<Seed> {
    // One seed and one reason a path and program: processes of one program are many.
    let mut touched: BTreeMap<(&TracedPath, &str), Together> = BTreeMap::new();
    for (_, touch) in observed.touches.iter().enumerate().filter(|(index, _)| !without.contains(index)) {
        let program = observed.program(touch.access.process).name.as_str();
        let (access, phases) = touched.entry((&touch.access.path, program)).or_default();
        access.extend(&touch.access.access);
        phases.extend(touch.access.phases.iter().filter(|phase| counts(**phase)));
    }
    let touched = touched.into_iter().map(|((path, program), (mut access, phases))| {
        access.remove(&Access::Missing);
        Seed {
            path: path.as_bytes().to_vec(),
            extent: extent(&access),
            observed: true,
            run: access.contains(&Access::Execute),
            reason: Reason::Traced { program: program.to_owned(), access, phases },
        }
    });
    touched.chain(executed(trace, observed)).collect()
}

/// Whether a phase is the image's own program's.
pub(crate) fn counts(phase: Phase) -> bool {
    match phase {
        Phase::Runtime | Phase::RuntimeFiltered => false,
        Phase::Startup | Phase::Exercise | Phase::Shutdown => true,
    }
}

fn extent(access: &BTreeSet<Access>) -> Extent {
    let of_the_way =
        |access: &Access| matches!(access, Access::Bind | Access::Connect | Access::Mount | Access::Missing);
    let of_the_link = |access: &Access| {
        of_the_way(access)
            || matches!(
                access,
                Access::ReadLink
                    | Access::Remove
                    | Access::RenameFrom
                    | Access::RenameTo
                    | Access::Create
                    | Access::LinkTo
            )
    };
    if access.iter().all(of_the_way) {
        Extent::Way
    } else if access.iter().all(of_the_link) {
        Extent::Link
    } else {
        Extent::Object
    }
}

/// What exec itself needs, which no process opens.
fn executed(trace: &Trace, observed: &Observed<'_>) -> BTreeSet<Seed> {
    let mut seeds = BTreeSet::new();
    for (process, program) in trace.processes.iter().zip(&observed.programs) {
        if !counts(process.began) {
            continue;
        }
        let paths = [&process.executable, &process.invoked_as, &process.interpreter].into_iter().flatten();
        for path in paths.chain(&process.shebang) {
            seeds.insert(Seed {
                path: path.as_bytes().to_vec(),
                reason: Reason::Traced {
                    program: program.name.clone(),
                    access: BTreeSet::from([Access::Execute]),
                    phases: BTreeSet::from([process.began]),
                },
                extent: Extent::Object,
                observed: true,
                run: true,
            });
        }
    }
    seeds
}

fn program(process: &Process) -> Program {
    let called = process.argv.first().map(String::as_str).unwrap_or_default();
    let name = process.executable.as_ref().map_or_else(|| called.to_owned(), |path| escape(path.as_bytes()));
    Program {
        is_python: python::is_interpreter(name.as_bytes()),
        called: called.rsplit('/').next().unwrap_or_default().to_owned(),
        arguments: process.argv.clone(),
        name,
    }
}
