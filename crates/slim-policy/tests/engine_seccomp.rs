//! The seccomp profile on a real engine: containers start and work under it in every way, and nothing else goes.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

mod common;

use common::{calls, process};
use slim_policy::{Inputs, Mode, decide};
use slim_trace::{Phase, Trace};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// `work` starts a thread and writes; `serve` does so and waits for SIGTERM; `try` makes calls that nobody observed.
const PROGRAM: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
static void *in_thread(void *unused) { return unused; }
static void on_signal(int number) { (void)number; _exit(0); }
static void attempt(const char *name, long number, long first, long second) {
    errno = 0;
    long result = syscall(number, first, second, 0L, 0L);
    printf("%s %s\n", name, result >= 0 ? "ok" : errno == EPERM ? "EPERM" : errno == ENOSYS ? "ENOSYS" : strerror(errno));
}
int main(int count, char **arguments) {
    const char *mode = count > 1 ? arguments[1] : "work";
    if (strcmp(mode, "try") == 0) {
        attempt("mkdirat", SYS_mkdirat, AT_FDCWD, (long)"/tmp/made");
        attempt("clone3", SYS_clone3, 0, 0);
        attempt("copy_file_range", SYS_copy_file_range, -1, 0);
        attempt("clone-newuser", SYS_clone, 0x10000000 | SIGCHLD, 0);
        attempt("sethostname", SYS_sethostname, (long)"x", 1);
        return 0;
    }
    if (strcmp(mode, "compat") == 0) {
        long own;
        __asm__ volatile("int $0x80" : "=a"(own) : "a"(20L) : "memory"); /* getpid of 32-bit programs */
        puts(own == getpid() ? "same" : "different");
        return 0;
    }
    signal(SIGTERM, on_signal);
    pthread_t thread;
    if (pthread_create(&thread, NULL, in_thread, NULL) != 0) { puts("no thread"); return 1; }
    pthread_join(thread, NULL);
    puts("works");
    fflush(stdout);
    if (strcmp(mode, "serve") == 0) for (;;) pause();
    return 0;
}
"#;

/// A program, an image that holds nothing else, and a profile; the image is removed with it.
struct Bench {
    folder: tempfile::TempDir,
    image: String,
    profile: PathBuf,
    trace: Trace,
}

/// Why the engine cannot be used here.
fn unusable() -> Option<&'static str> {
    let root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    let socket = Path::new("/var/run/docker.sock").exists();
    let installed = |tool: &str| Command::new(tool).arg("--version").output().is_ok();
    match (root, socket, installed("strace") && installed("cc")) {
        (false, ..) => Some("it needs root"),
        (_, false, _) => Some("/var/run/docker.sock is not there"),
        (.., false) => Some("strace or cc is not installed"),
        _ => None,
    }
}

fn docker(arguments: &[&str]) -> Output {
    Command::new("docker").args(arguments).output().unwrap()
}

/// stdout of a docker command that must succeed.
fn docker_ok(arguments: &[&str]) -> String {
    let output = docker(arguments);
    assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The names of the calls that the program makes, by strace.
fn strace(program: &Path, mode: &str, folder: &Path) -> Vec<String> {
    let log = folder.join(format!("{mode}.strace"));
    let mut traced =
        Command::new("strace").args(["-f", "-qq", "-o"]).arg(&log).arg(program).arg(mode).spawn().unwrap();
    if mode == "serve" {
        let end = Instant::now() + Duration::from_secs(20);
        let text = || std::fs::read_to_string(&log).unwrap_or_default();
        while !text().contains("pause(") {
            assert!(Instant::now() < end, "the program does not wait");
            std::thread::sleep(Duration::from_millis(20));
        }
        let child = text().split_whitespace().next().unwrap().to_owned();
        assert!(Command::new("kill").args(["-TERM", &child]).status().unwrap().success());
    }
    assert!(traced.wait().unwrap().success());
    let log = std::fs::read_to_string(&log).unwrap();
    // "12345 write(1, …": with -f each line begins with the thread.
    let names = log.lines().filter_map(|line| line.split_once(' ')?.1.trim_start().split_once('('));
    names.map(|(name, _)| name.to_owned()).filter(|name| !name.contains(' ')).collect()
}

/// What a sensor would have seen of the program under Docker's own filter, which answers clone3 with ENOSYS.
fn trace_of(program: &Path, folder: &Path) -> Trace {
    let mut made: Vec<String> = [strace(program, "work", folder), strace(program, "serve", folder)].concat();
    assert!(made.iter().any(|call| call == "clone3"), "this libc makes threads by clone3: {made:?}");
    made.retain(|call| call != "clone3");
    made.push("clone".to_owned());
    let made: Vec<&str> = made.iter().map(String::as_str).collect();
    let mut trace = Trace::empty("sha256:0");
    trace.architecture = "amd64".to_owned();
    trace.processes = vec![process(Some("/program"), Phase::Startup)];
    trace.system_calls = vec![calls(0, Phase::Startup, &made, &[("clone3", "ENOSYS")])];
    trace
}

impl Bench {
    fn new(name: &str) -> Option<Self> {
        if let Some(why) = unusable() {
            println!("skipped: {why}");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        std::fs::create_dir_all(tree.join("tmp")).unwrap();
        let source = folder.path().join("program.c");
        std::fs::write(&source, PROGRAM).unwrap();
        let program = tree.join("program");
        let built = Command::new("cc")
            .args(["-static", "-pthread", "-o"])
            .arg(&program)
            .arg(&source)
            .output()
            .unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let archive = folder.path().join("tree.tar");
        let packed =
            Command::new("tar").arg("-C").arg(&tree).arg("-cf").arg(&archive).arg(".").status().unwrap();
        assert!(packed.success());
        let image = format!("slimtest-policy-{name}-{}", std::process::id());
        let health = r#"HEALTHCHECK --interval=1s --retries=1 CMD ["/program", "work"]"#;
        docker_ok(&["import", "--change", health, archive.to_str().unwrap(), &image]);
        let profile = folder.path().join("seccomp.json");
        let trace = trace_of(&program, folder.path());
        std::fs::write(&profile, decide(&trace, &Inputs::new("app")).seccomp_json()).unwrap();
        Some(Self { folder, image, profile, trace })
    }

    /// Puts the profile of another mode in place of the balanced one.
    fn set_mode(&self, mode: Mode) {
        let inputs = Inputs { mode, ..Inputs::new("app") };
        std::fs::write(&self.profile, decide(&self.trace, &inputs).seccomp_json()).unwrap();
    }

    fn run_under(&self, profile: &Path, options: &[&str], mode: &str) -> Output {
        let seccomp = format!("seccomp={}", profile.display());
        let start = ["run", "--network", "none", "--security-opt", &seccomp];
        docker(&[&start, options, &[&self.image, "/program", mode]].concat())
    }

    /// Runs the program to its end under the profile.
    fn run(&self, options: &[&str], mode: &str) -> String {
        let output = self.run_under(&self.profile, &[&["--rm"], options].concat(), mode);
        let stdout = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        assert!(output.status.success(), "{options:?}: {stdout}{}", String::from_utf8_lossy(&output.stderr));
        stdout
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        docker(&["image", "rm", "--force", &self.image]);
    }
}

/// A running container, removed with the value.
struct Running(String);

impl Drop for Running {
    fn drop(&mut self) {
        docker(&["rm", "--force", "--volumes", &self.0]);
    }
}

#[test]
fn a_container_starts_and_works_under_its_profile_in_every_way() {
    let Some(bench) = Bench::new("start") else { return };
    let ways: [&[&str]; 10] = [
        &[],
        &["--user", "1234"],
        &["--user", "1234:1234", "--group-add", "44"],
        &["--init"],
        &["--init", "--user", "1234"],
        &["--init", "--tty"],
        &["--tty", "--user", "1234"],
        &["--security-opt", "no-new-privileges"],
        &["--cap-drop", "ALL"],
        &["--read-only", "--workdir", "/tmp/deep"],
    ];
    for mode in Mode::ALL {
        bench.set_mode(mode);
        // An init that was not observed is one of the relatives.
        for options in ways.iter().filter(|options| mode > Mode::Strict || !options.contains(&"--init")) {
            assert_eq!(bench.run(options, "work"), "works", "{mode}: {options:?}");
        }
    }
}

#[test]
fn exec_health_check_and_stop_work_under_the_profile() {
    let Some(bench) = Bench::new("exec") else { return };
    for (mode, options) in [(Mode::Strict, &[][..]), (Mode::Balanced, &["--init"])] {
        bench.set_mode(mode);
        let output = bench.run_under(&bench.profile, &[&["--detach"], options].concat(), "serve");
        let container = Running(String::from_utf8(output.stdout).unwrap().trim().to_owned());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(docker_ok(&["exec", &container.0, "/program", "work"]), "works");
        assert_eq!(docker_ok(&["exec", "--user", "1234", &container.0, "/program", "work"]), "works");
        assert_eq!(
            docker_ok(&["exec", "--tty", "--workdir", "/tmp", &container.0, "/program", "work"]),
            "works"
        );
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            match docker_ok(&["inspect", "--format", "{{.State.Health.Status}}", &container.0]).as_str() {
                "healthy" => break,
                "starting" if Instant::now() < end => std::thread::sleep(Duration::from_millis(100)),
                other => panic!("the health check says {other}"),
            }
        }
        docker_ok(&["stop", "--time", "10", &container.0]);
        let code = docker_ok(&["inspect", "--format", "{{.State.ExitCode}}", &container.0]);
        assert!(["0", "143"].contains(&code.as_str()), "stopped with {code}, so it was killed");
    }
}

#[test]
fn what_was_not_observed_is_refused_and_what_has_a_fallback_is_not_there() {
    let Some(bench) = Bench::new("refuse") else { return };
    bench.set_mode(Mode::Strict);
    let answers = bench.run(&[], "try");
    let expected =
        "mkdirat EPERM\nclone3 ENOSYS\ncopy_file_range ENOSYS\nclone-newuser EPERM\nsethostname EPERM";
    assert_eq!(answers, expected);
}

#[test]
fn a_32_bit_call_works_with_a_32_bit_file_in_the_image_and_kills_without() {
    let Some(bench) = Bench::new("compat") else { return };
    let without = bench.run_under(&bench.profile, &["--rm"], "compat");
    assert_eq!(without.status.code(), Some(128 + 31), "SIGSYS: {}", String::from_utf8_lossy(&without.stdout));
    let inputs = Inputs { elf_32_bit: true, ..Inputs::new("app") };
    std::fs::write(&bench.profile, decide(&bench.trace, &inputs).seccomp_json()).unwrap();
    assert_eq!(bench.run(&[], "compat"), "same");
}

/// The runtime's sets are needed, and it is they that let the container start.
#[test]
fn without_the_runtimes_calls_no_container_starts() {
    let Some(bench) = Bench::new("without") else { return };
    let mut profile: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&bench.profile).unwrap()).unwrap();
    let rules = profile["syscalls"].as_array_mut().unwrap();
    rules.retain(|rule| !rule["comment"].as_str().unwrap().starts_with("needed to start"));
    let path = bench.folder.path().join("without.json");
    std::fs::write(&path, profile.to_string()).unwrap();
    let output = bench.run_under(&path, &["--rm"], "work");
    assert!(!output.status.success());
}
