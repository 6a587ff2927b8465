//! The observer that needs no privilege, `--observer notify`: on every sample its trace names the files that eBPF and
//! fanotify name, for the same exercise, and its slim image passes the sample's whole check. Where the two differ, this
//! file says why ([`DIFFERENCES`]); what they agree on is compared path by path.
#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]

mod common;

use common::{Context, Finished, docker, engine_is_here, repository, run};
use slim_trace::{Access, Phase, Trace};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Names that a run makes up: a process's number, the letters of a temporary file.
fn settled(path: &str) -> String {
    let name_of = |word: &str| {
        let digits = word.chars().filter(char::is_ascii_digit).count();
        match word {
            _ if !word.is_empty() && digits == word.len() => "#".to_owned(),
            _ if word.starts_with("temp-") || word.starts_with("tmp") => "tmp*".to_owned(),
            // CPython writes its caches beside them first.
            _ if word.contains(".pyc.") => format!("{}.pyc.*", word.split(".pyc.").next().unwrap()),
            _ => word.to_owned(),
        }
    };
    path.split('/').map(name_of).collect::<Vec<_>>().join("/")
}

/// Why a path may be in one trace and not in the other.
type Cause = (&'static str, fn(&str) -> bool);

/// Everything in which the traces of the two observers may differ.
const DIFFERENCES: &[Cause] = &[];

/// The files of a trace that programs of the image used, in the phases that both runs go through in the same way: those
/// that were there, and those that were not.
fn files(trace: &Trace) -> BTreeMap<bool, BTreeSet<String>> {
    let mut files: BTreeMap<bool, BTreeSet<String>> = BTreeMap::new();
    for file in &trace.files {
        let runs = &trace.processes[file.process.0 as usize];
        let is_programs =
            file.phases.iter().any(|phase| !matches!(phase, Phase::Runtime | Phase::RuntimeFiltered));
        if runs.executable.is_some() && is_programs {
            let was_there = file.access.iter().any(|access| *access != Access::Missing);
            files.entry(was_there).or_default().insert(settled(&file.path.to_string()));
        }
    }
    files
}

/// What the programs were: file, interpreters and how they were called.
fn programs(trace: &Trace) -> BTreeSet<String> {
    let runs = trace.processes.iter().filter(|process| process.executable.is_some());
    runs.map(|process| {
        let path = |path: &Option<slim_trace::TracedPath>| path.as_ref().map(ToString::to_string);
        settled(&format!(
            "{:?} {:?} {:?}",
            path(&process.executable),
            path(&process.interpreter),
            process.shebang
        ))
    })
    .collect()
}

fn unexplained(one: &BTreeSet<String>, other: &BTreeSet<String>) -> Vec<String> {
    let explained = |path: &&String| DIFFERENCES.iter().any(|(_, explains)| explains(path));
    one.difference(other).filter(|path| !explained(path)).cloned().collect()
}

/// A sample in a store of its own.
struct Sample {
    context: Context,
    store: TempDir,
    fat: String,
    exercise: Vec<String>,
    directory: std::path::PathBuf,
}

impl Sample {
    fn new(name: &str) -> Self {
        let fat = format!("sample-{name}-app");
        run("scripts/sample-image", &[name]);
        let directory = repository().join("samples").join(name);
        let exercise = fs::read_to_string(directory.join("exercise.full")).unwrap();
        let exercise = exercise.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let exercise = exercise.map(str::to_owned).collect();
        let this =
            Self { context: Context::new(), store: tempfile::tempdir().unwrap(), fat, exercise, directory };
        let archive = this.context.path("fat.tar").display().to_string();
        docker(&["save", "-o", &archive, &this.fat]);
        this.slim(&["store", "import", &archive]).expect(0);
        fs::remove_file(archive).unwrap();
        this
    }

    fn slim(&self, arguments: &[&str]) -> Finished {
        Finished::of(self.command(arguments).output().unwrap())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.context.slim(&["--engine=embedded", "--store-root"]);
        command.arg(self.store.path()).args(arguments).env_remove("DOCKER_HOST");
        command
    }

    /// Watches the fat image's exercise by this observer, and gives the trace.
    fn trace(&self, observer: &str, verb: &str, more: &[&str]) -> Trace {
        let observer_flag = format!("--observer={observer}");
        let artifacts = format!("--copy-meta-artifacts={observer}");
        let mut arguments = vec![verb, &observer_flag, &artifacts];
        arguments.extend(self.exercise.iter().map(String::as_str));
        arguments.extend(more);
        arguments.push(&self.fat);
        self.slim(&arguments).expect(0);
        Trace::from_json(&fs::read(self.context.path(observer).join("trace.json")).unwrap()).unwrap()
    }
}

/// What is the same in two traces of one exercise.
#[track_caller]
fn same(local: &Trace, notify: &Trace) {
    let (locally, notified) = (files(local), files(notify));
    let nothing = BTreeSet::new();
    let of = |files: &BTreeMap<bool, BTreeSet<String>>, there| files.get(&there).unwrap_or(&nothing).clone();
    let mut told = Vec::new();
    for (what, there) in [("was there", true), ("was missing", false)] {
        let (one, other) = (of(&locally, there), of(&notified, there));
        told.extend(
            unexplained(&one, &other).into_iter().map(|path| format!("only eBPF saw that {path} {what}")),
        );
        told.extend(
            unexplained(&other, &one)
                .into_iter()
                .map(|path| format!("only the notifications say that {path} {what}")),
        );
    }
    for (who, one, other) in [("eBPF", local, notify), ("the notifications", notify, local)] {
        let (one, other) = (programs(one), programs(other));
        told.extend(one.difference(&other).map(|program| format!("only {who} saw {program} run")));
    }
    let ports = |trace: &Trace| -> BTreeSet<String> {
        trace
            .listening
            .iter()
            .map(|one| format!("{:?} {} {}", one.transport, one.address, one.port))
            .collect()
    };
    if ports(local) != ports(notify) {
        told.push(format!("ports: {:?} {:?}", ports(local), ports(notify)));
    }
    // Calls that are not told are assumed; all others are those that were seen.
    let calls = |trace: &Trace| -> BTreeSet<String> {
        let of_programs = trace
            .system_calls
            .iter()
            .filter(|calls| trace.processes[calls.process.0 as usize].executable.is_some());
        of_programs.flat_map(|calls| calls.calls.iter().cloned()).collect()
    };
    let not_told: Vec<String> = calls(local).difference(&calls(notify)).cloned().collect();
    if !not_told.is_empty() {
        told.push(format!("only eBPF saw the calls {not_told:?}"));
    }
    assert!(told.is_empty(), "{}", told.join("\n"));
}

fn traced_the_same_and_works(name: &str) {
    if !engine_is_here() {
        return;
    }
    let mut sample = Sample::new(name);
    let local = sample.trace("local", "profile", &[]);
    let slim = format!("slimtest-notify-{}", sample.fat);
    sample.context.remove_later(&slim);
    let output = format!("--output=docker-daemon:{slim}:latest");
    let notify = sample.trace("notify", "build", &[&output]);
    same(&local, &notify);
    run(sample.directory.join("check").to_str().unwrap(), &[&slim]);
    run("scripts/check-decoys", &[&slim, sample.directory.join("decoys").to_str().unwrap()]);
}

#[test]
fn both_observers_see_the_node_sample_alike() {
    traced_the_same_and_works("node");
}

#[test]
fn both_observers_see_the_python_sample_alike() {
    traced_the_same_and_works("python");
}

#[test]
fn both_observers_see_the_nginx_sample_alike() {
    traced_the_same_and_works("nginx");
}

#[test]
fn both_observers_see_the_redis_sample_alike() {
    traced_the_same_and_works("redis");
}

#[test]
fn both_observers_see_the_shell_sample_alike() {
    traced_the_same_and_works("shell");
}

#[test]
fn both_observers_see_the_go_sample_alike() {
    traced_the_same_and_works("go");
}

#[test]
fn both_observers_see_the_memcached_sample_alike() {
    traced_the_same_and_works("memcached");
}

#[test]
fn both_observers_see_the_torture_sample_alike() {
    traced_the_same_and_works("torture");
}

/// Processes below a folder's containers: their command lines.
fn holders(store: &str) -> Vec<String> {
    let processes = run("sh", &["-c", "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' || true"]);
    processes.split("docker-slim").filter(|line| line.contains(store)).map(str::to_owned).collect()
}

/// A container whose observer was killed is killed, at once and whole: nothing of it hangs, nothing goes on with calls that
/// fail.
#[test]
fn nothing_of_a_container_outlives_its_killed_observer() {
    if !engine_is_here() {
        return;
    }
    let context = Context::new();
    let marker = format!("slimtest{}", std::process::id());
    // Two processes: one makes calls that are told all the time, one sleeps in a call that is not.
    let script =
        format!("sleep 98{marker_digits} & while :; do ls /etc; done", marker_digits = std::process::id());
    let rootfs = context.busybox_archive("killed", &[]);
    let image = context.path("image.tar");
    common_image(&rootfs, &image, &["/bin/sh", "-c", &script]);
    let store = tempfile::tempdir().unwrap();
    let mut build = context
        .slim(&["--engine=embedded", "--store-root"])
        .arg(store.path())
        .args(["profile", "--observer=notify", "--http-probe=false", "--continue-after=600"])
        .arg(format!("docker-archive:{}", image.display()))
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let sleeps = || {
        run("sh", &["-c", "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' || true"])
            .contains(&format!("sleep 98{}", std::process::id()))
    };
    let began = Instant::now();
    while !sleeps() {
        assert!(began.elapsed() < Duration::from_secs(120), "{marker}: the program never ran");
        assert!(build.try_wait().unwrap().is_none(), "the build ended");
        std::thread::sleep(Duration::from_millis(20));
    }
    build.kill().unwrap();
    build.wait().unwrap();
    let killed = Instant::now();
    while sleeps() || !holders(store.path().to_str().unwrap()).is_empty() {
        assert!(killed.elapsed() < Duration::from_secs(5), "the container is still there");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Packs a root file system into an image archive with this command.
fn common_image(rootfs: &std::path::Path, image: &std::path::Path, command: &[&str]) {
    let name = "slimtest-notify-killed";
    let change = format!("CMD {}", serde_json::to_string(command).unwrap());
    docker(&["import", "--change", &change, rootfs.to_str().unwrap(), name]);
    docker(&["save", "-o", image.to_str().unwrap(), name]);
    docker(&["image", "rm", "-f", name]);
}
