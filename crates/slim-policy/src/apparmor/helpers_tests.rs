use super::*;
use slim_trace::{Abi, Access, FileAccess, Phase, SystemCalls, TracedPath};

fn process(parent: Option<u32>, executable: &str) -> Process {
    Process {
        parent: parent.map(ProcessId),
        began: Phase::Startup,
        executable: Some(TracedPath::new(executable)),
        invoked_as: None,
        interpreter: None,
        shebang: Vec::new(),
        argv: vec![executable.to_owned()],
    }
}

fn access(process: u32, path: &str, access: &[Access]) -> FileAccess {
    FileAccess {
        path: TracedPath::new(path),
        process: ProcessId(process),
        access: access.iter().copied().collect(),
        phases: [Phase::Startup].into(),
    }
}

fn calls(process: u32, calls: &[&str]) -> SystemCalls {
    SystemCalls {
        process: ProcessId(process),
        phase: Phase::Startup,
        abi: Abi::X86_64,
        calls: calls.iter().map(ToString::to_string).collect(),
        denied: BTreeMap::new(),
    }
}

/// A shell that runs chown and date and becomes the server, which runs a converter; `docker exec` runs chmod.
fn trace() -> Trace {
    let mut trace = Trace::empty("sha256:0");
    trace.processes = vec![
        process(None, "/bin/sh"),
        process(Some(0), "/bin/sh"),
        process(Some(1), "/bin/chown"),
        process(Some(0), "/bin/sh"),
        process(Some(3), "/bin/date"),
        process(Some(0), "/bin/server"),
        process(Some(5), "/bin/server"),
        process(Some(6), "/bin/convert"),
        process(Some(7), "/bin/convert"),
        process(Some(8), "/bin/gs"),
        process(None, "/bin/chmod"),
    ];
    trace.system_calls = vec![calls(2, &["fchownat"]), calls(5, &["setuid"]), calls(10, &["fchmodat"])];
    trace.files = vec![access(5, "/data/one", &[Access::Write]), access(8, "/data/two", &[Access::Write])];
    trace
}

fn inputs() -> Inputs {
    let mut inputs = Inputs::new("app");
    inputs.transitions = true;
    for path in ["sh", "chown", "date", "server", "convert", "gs", "chmod"] {
        let file = KeptKind::File { elf: true, run: false, privileged: false };
        inputs.paths.insert(format!("/bin/{path}").as_str().into(), file);
    }
    inputs
}

fn told(trace: &Trace, inputs: &Inputs) -> Vec<(String, Vec<u32>)> {
    scopes(trace, inputs, "app")
        .iter()
        .map(|scope| (scope.full_name(), scope.own.iter().map(|process| process.0).collect()))
        .collect()
}

#[test]
fn who_uses_a_capability_or_runs_a_program_that_nobody_else_does_is_apart() {
    let told = told(&trace(), &inputs());
    let expected = [
        ("app", vec![0, 1, 3, 4, 5, 6, 10]),
        // chown's capability, and the program that the converter runs. date has nothing of its own.
        ("app//chown", vec![2]),
        ("app//convert", vec![7, 8, 9]),
    ];
    assert_eq!(told, expected.map(|(name, own)| (name.to_owned(), own)));
}

#[test]
fn who_changes_a_directory_that_nobody_else_does_is_apart() {
    let mut trace = trace();
    trace.files.push(access(4, "/var/cache/date", &[Access::Create]));
    trace.files.push(access(4, "/dev/null", &[Access::Write]));
    let names: Vec<String> = told(&trace, &inputs()).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["app", "app//chown", "app//convert", "app//date"]);
    trace.files.push(access(10, "/var/cache/x", &[Access::Remove]));
    let names: Vec<String> = told(&trace, &inputs()).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["app", "app//chown", "app//convert"], "others change it as well");
}

#[test]
fn under_no_new_privileges_all_run_under_one_profile() {
    let inputs = Inputs { transitions: false, ..inputs() };
    assert_eq!(told(&trace(), &inputs).len(), 1);
}

/// popen(3) and system(3): the shell that the server has started is the one that it came from.
#[test]
fn what_a_main_shell_runs_for_a_program_is_that_programs_helper() {
    let mut trace = trace();
    let first = u32::try_from(trace.processes.len()).unwrap();
    trace
        .processes
        .push(Process { argv: vec!["sh".to_owned(), "-c".to_owned()], ..process(Some(6), "/bin/sh") });
    trace.processes.push(process(Some(first), "/bin/date"));
    trace.files.push(access(first + 1, "/var/cache/date", &[Access::Create]));
    let told = told(&trace, &inputs());
    // The one of the beginning as well: it is the same program.
    assert!(told.contains(&("app//date".to_owned(), vec![4, first + 1])), "{told:?}");
}

#[test]
fn two_helpers_with_needs_that_the_main_program_has_not_are_both_apart() {
    let mut trace = trace();
    for helper in [4, 8] {
        trace.files.push(access(helper, "/var/cache/both", &[Access::Create]));
    }
    let names: Vec<String> = told(&trace, &inputs()).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["app", "app//chown", "app//convert", "app//date"]);
}

/// A busybox is shell and helper in one file: the kernel could not tell its execs apart.
#[test]
fn a_program_that_is_a_main_one_as_well_is_not_apart() {
    let mut trace = trace();
    trace.processes[2].executable = Some(TracedPath::new("/bin/server"));
    trace.processes[2].argv = vec!["server".to_owned(), "--init".to_owned()];
    let names: Vec<String> = told(&trace, &inputs()).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["app", "app//convert"]);
}

#[test]
fn programs_that_raise_privileges_are_apart_and_scripts_go_by_their_own_name() {
    let mut trace = trace();
    trace.processes[4].invoked_as = Some(TracedPath::new("/bin/date"));
    trace.processes[4].executable = Some(TracedPath::new("/bin/sh"));
    trace.processes[4].shebang = vec![TracedPath::new("/bin/sh")];
    let mut inputs = inputs();
    let set_id = KeptKind::File { elf: false, run: false, privileged: true };
    inputs.paths.insert("/bin/date".into(), set_id);
    let told = told(&trace, &inputs);
    assert!(told.contains(&("app//date".to_owned(), vec![4])), "{told:?}");
}

#[test]
fn names_of_profiles_are_letters_and_no_name_stands_for_two() {
    let mut taken = BTreeMap::new();
    for (path, expected) in
        [("/a/x y", "x-y"), ("/b/x y", "x-y-2"), ("/b/...", "helper"), ("/b/[", "helper-2")]
    {
        let name = profile_name(&path.into(), &taken);
        assert_eq!(name, expected);
        taken.insert(path.into(), name);
    }
}
