//! Wrong inputs and rough ends: the right exit code, one clear line, nothing left behind.

#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]

mod common;

use common::{Context, Finished, Holdings, docker, engine_is_here, image_id, signal};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const SERVER: &[&str] = &[common::SERVE, "EXPOSE 8000"];
const PAGE: (&str, u32, &str) = ("/www/index.html", 0o644, "<html>hello</html>");

#[test]
fn an_unknown_image_is_exit_code_4_and_named() {
    if !engine_is_here() {
        return;
    }
    let finished = Context::new().run_slim(&["build", "slimtest-there-is-none"]);
    assert!(finished.expect(4).stderr.contains("slimtest-there-is-none"), "{}", finished.stderr);
}

#[test]
fn an_engine_that_does_not_answer_is_exit_code_3_with_its_address() {
    let finished = Context::new().run_slim(&["--host", "unix:///tmp/slimtest-no-such.sock", "build", "any"]);
    finished.expect(3);
    assert!(finished.stderr.contains("/tmp/slimtest-no-such.sock"), "{}", finished.stderr);
    assert!(finished.stderr.contains("hint:"), "{}", finished.stderr);
}

#[test]
fn an_image_without_a_command_is_exit_code_5() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let image = context.busybox_image("no-command", &[], &[]);
    let before = Holdings::now();
    let finished = context.run_slim(&["build", &image]);
    assert!(finished.expect(5).stderr.contains("no command"), "{}", finished.stderr);
    before.expect_again("at the end");
}

#[test]
fn a_container_that_dies_at_once_is_exit_code_5_with_its_last_log_lines() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let image =
        context.busybox_image("dies", &[], &[r#"CMD ["/bin/sh","-c","echo no database >&2; exit 3"]"#]);
    let before = Holdings::now();
    let finished = context.run_slim(&["build", &image]);
    finished.expect(5);
    assert!(finished.stderr.contains("no database"), "{}", finished.stderr);
    assert!(finished.stderr.contains("exit code 3"), "{}", finished.stderr);
    before.expect_again("at the end");
    assert_eq!(image_id(&format!("{image}.slim")), None);
}

#[test]
fn a_command_that_is_not_in_the_image_is_exit_code_5() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let image = context.busybox_image("no-such-command", &[], &[r#"CMD ["/bin/there-is-none"]"#]);
    let before = Holdings::now();
    let finished = context.run_slim(&["build", &image]);
    assert!(finished.expect(5).stderr.contains("/bin/there-is-none"), "{}", finished.stderr);
    before.expect_again("at the end");
}

#[test]
fn a_port_that_never_opens_is_exit_code_6_when_a_probe_was_asked_for() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let image = context.busybox_image("deaf", &[], &[r#"CMD ["/bin/sleep","1000"]"#, "EXPOSE 8000"]);
    let before = Holdings::now();
    let finished = context.run_slim(&["build", "--http-probe", &image]);
    assert!(finished.expect(6).stderr.contains("8000"), "{}", finished.stderr);
    before.expect_again("at the end");
}

#[test]
fn only_server_errors_are_exit_code_6() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let busy = ("/www/cgi-bin/index.cgi", 0o755, "#!/bin/sh\nprintf 'Status: 503 Busy\\r\\n\\r\\n'\n");
    let image = context.busybox_image("busy", &[busy], SERVER);
    let before = Holdings::now();
    let finished = context.run_slim(&["build", "--http-probe", &image]);
    assert!(finished.expect(6).stderr.contains("5xx"), "{}", finished.stderr);
    before.expect_again("at the end");
}

#[test]
fn the_previous_slim_image_keeps_its_name_when_a_build_fails() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let image = context.busybox_image("previous", &[PAGE], SERVER);
    context.run_slim(&["build", "--http-probe", &image]).expect(0);
    let slim = format!("{image}.slim");
    let previous = image_id(&slim);
    assert!(previous.is_some());
    context.run_slim(&["build", "--http-probe", "--cmd", "/bin/sleep 1000", &image]).expect(6);
    assert_eq!(image_id(&slim), previous);
}

#[test]
fn two_builds_of_one_image_at_once_both_succeed_with_the_same_digest() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let image = context.busybox_image("twice", &[PAGE], SERVER);
    let before = Holdings::now();
    let names = ["slimtest-twice-a.slim", "slimtest-twice-b.slim"];
    let running: Vec<Child> = names
        .iter()
        .map(|name| {
            context.remove_later(name);
            let arguments = ["--report", "off", "build", "--http-probe", "--tag", name, &image];
            context.slim(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in running {
        Finished::of(child.wait_with_output().unwrap()).expect(0);
    }
    assert_eq!(image_id(names[0]), image_id(names[1]));
    for name in names {
        docker(&["rmi", name]);
    }
    before.expect_again("without what they made");
}

/// Interrupts a build when it says that a stage began, and gives how it ended.
fn interrupt_in(context: &Context, stage: &str, image: &str) -> (i32, String) {
    let arguments = ["--log-level", "debug", "--report", "off", "build", "--http-probe", image];
    let mut child = context.slim(&arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    let began = format!("stage {stage} began");
    while !said.contains(&began) {
        assert_ne!(lines.read_line(&mut said).unwrap(), 0, "stage {stage} never began:\n{said}");
    }
    signal(&child, "INT");
    lines.read_to_string(&mut said).unwrap();
    (child.wait().unwrap().code().unwrap(), said)
}

#[test]
fn an_interrupt_in_any_stage_leaves_nothing_behind() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let image = context.busybox_image("interrupted", &[PAGE], SERVER);
    let before = Holdings::now();
    for stage in ["inspect", "observe", "probe", "keep", "policy", "image", "verify"] {
        let (code, said) = interrupt_in(&context, stage, &image);
        assert_eq!(code, 130, "in stage {stage}:\n{said}");
        assert!(said.contains("interrupted"), "in stage {stage}:\n{said}");
        before.expect_again(&format!("in stage {stage}"));
    }
}

#[test]
fn what_a_killed_build_leaves_is_swept_by_the_next() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let image = context.busybox_image("killed", &[PAGE], SERVER);
    let before = Holdings::now();
    let arguments = ["build", "--continue-after", "signal", &image];
    let mut child = context.slim(&arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("continue-after: signal") {
        assert_ne!(lines.read_line(&mut said).unwrap(), 0, "it ended early:\n{said}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_ne!(Holdings::now(), before, "a killed build cannot clean up: this test would prove nothing");
    context.run_slim(&["build", "slimtest-there-is-none"]).expect(4);
    before.expect_again("at the end");
}

#[test]
fn a_signal_ends_the_wait_of_continue_after_signal() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let image = context.busybox_image("signalled", &[PAGE], SERVER);
    let arguments = ["build", "--http-probe=false", "--continue-after", "signal", &image];
    let mut child = context.slim(&arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    let hint = format!("continue-after: signal (kill -USR1 {})", child.id());
    while !said.contains(&hint) {
        assert_ne!(lines.read_line(&mut said).unwrap(), 0, "it ended early:\n{said}");
    }
    signal(&child, "USR1");
    lines.read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success(), "{said}");
}

#[test]
fn enter_with_standard_input_at_its_end_is_a_usage_error() {
    let finished = Context::new().run_slim(&["build", "--continue-after", "enter", "any"]);
    assert!(finished.expect(2).stderr.contains("signal"), "the hint names another way: {}", finished.stderr);
}

#[test]
fn a_full_disk_below_the_state_path_is_told_and_leaves_nothing_behind() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let image = context.busybox_image("full-disk", &[PAGE], SERVER);
    let before = Holdings::now();
    let full = context.path("full");
    std::fs::create_dir(&full).unwrap();
    common::run("mount", &["-t", "tmpfs", "-o", "size=64k", "tmpfs", full.to_str().unwrap()]);
    // Only what is read through a container is written to a file first.
    let build = ["--state-path", full.to_str().unwrap(), "build", "--http-probe", &image];
    let output = context.slim(&build).env("DOCKER_SLIM_LOCAL_LAYERS", "off").output().unwrap();
    let finished = common::Finished::of(output);
    common::run("umount", &[full.to_str().unwrap()]);
    finished.expect(2);
    assert!(finished.stderr.contains("No space left"), "{}", finished.stderr);
    assert!(finished.stderr.contains("--state-path"), "{}", finished.stderr);
    before.expect_again("at the end");
}

#[test]
fn who_must_watch_from_here_without_capabilities_hears_which_and_how_to_get_them() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let image = context.busybox_image("no-capabilities", &[PAGE], SERVER);
    let program = env!("CARGO_BIN_EXE_docker-slim");
    let output = std::process::Command::new("setpriv")
        .args(["--bounding-set=-all", "--inh-caps=-all", program, "build", "--observer=local", &image])
        .current_dir(context.folder.path())
        .output()
        .unwrap();
    let finished = Finished::of(output);
    finished.expect(3);
    assert!(finished.stderr.contains("BPF") && finished.stderr.contains("hint:"), "{}", finished.stderr);
}

/// A relay between the program and the engine that can be cut.
struct Relay {
    socket: std::path::PathBuf,
    cut: std::sync::Arc<std::sync::Mutex<(bool, Vec<std::os::unix::net::UnixStream>)>>,
}

impl Relay {
    fn start(context: &Context) -> Self {
        use std::os::unix::net::{UnixListener, UnixStream};
        let socket = context.path("relay.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let cut = std::sync::Arc::new(std::sync::Mutex::new((false, Vec::new())));
        let shared = cut.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let mut state = shared.lock().unwrap();
                if state.0 {
                    continue;
                }
                let engine = UnixStream::connect("/var/run/docker.sock").unwrap();
                for (mut from, mut to) in [
                    (client.try_clone().unwrap(), engine.try_clone().unwrap()),
                    (engine.try_clone().unwrap(), client.try_clone().unwrap()),
                ] {
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(std::net::Shutdown::Write);
                    });
                }
                state.1.extend([client, engine]);
            }
        });
        Self { socket, cut }
    }

    fn cut(&self) {
        let mut state = self.cut.lock().unwrap();
        state.0 = true;
        for stream in state.1.drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        std::fs::remove_file(&self.socket).unwrap();
    }
}

#[test]
fn an_engine_that_goes_away_half_way_is_exit_code_3_and_the_next_run_cleans_up() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let image = context.busybox_image("lost-engine", &[PAGE], SERVER);
    let before = Holdings::now();
    let relay = Relay::start(&context);
    let host = format!("unix://{}", relay.socket.display());
    let arguments = ["--host", &host, "build", "--continue-after", "signal", &image];
    let mut child = context.slim(&arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("continue-after: signal") {
        assert_ne!(lines.read_line(&mut said).unwrap(), 0, "it ended early:\n{said}");
    }
    relay.cut();
    let since = Instant::now();
    lines.read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(3), "{said}");
    assert!(since.elapsed() < Duration::from_secs(60), "it took {:?} to notice", since.elapsed());
    context.run_slim(&["build", "slimtest-there-is-none"]).expect(4);
    before.expect_again("at the end");
    docker(&["image", "inspect", &image]);
}
