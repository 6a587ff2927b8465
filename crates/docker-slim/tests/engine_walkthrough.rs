//! The walkthrough of the book *Docker in Practice*, to the letter, typed into an interactive shell on a
//! pseudo-terminal with job control.

#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]

mod common;

use common::{docker, engine_is_here, run};
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

const ANSWER: &str = r#"{"status":"success","info":"yes!!!","service":"node"}"#;

/// An interactive shell that believes it has a terminal of its own.
struct Shell {
    terminal: nix::pty::PtyMaster,
    shell: Child,
    said: String,
}

impl Shell {
    fn start(folder: &Path) -> Self {
        let terminal = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let other_end =
            OpenOptions::new().read(true).write(true).open(ptsname_r(&terminal).unwrap()).unwrap();
        let shell = Command::new("setsid")
            .args(["--ctty", "bash", "--norc", "--noediting", "-i"])
            .current_dir(folder)
            .env("PS1", "ready> ")
            .env("TERM", "dumb")
            .stdin(other_end.try_clone().unwrap())
            .stdout(other_end.try_clone().unwrap())
            .stderr(other_end)
            .spawn()
            .unwrap();
        let mut shell = Self { terminal, shell, said: String::new() };
        shell.expect("ready> ");
        shell
    }

    fn type_line(&mut self, line: &str) {
        self.terminal.write_all(line.as_bytes()).unwrap();
        self.terminal.write_all(b"\n").unwrap();
    }

    /// Waits until the shell or its jobs have said this; gives everything up to there and forgets it.
    fn expect(&mut self, wanted: &str) -> String {
        let since = Instant::now();
        loop {
            if let Some(at) = self.said.find(wanted) {
                let rest = self.said.split_off(at + wanted.len());
                return std::mem::replace(&mut self.said, rest);
            }
            assert!(since.elapsed() < Duration::from_secs(120), "no {wanted:?} in:\n{}", self.said);
            let mut ready = [PollFd::new(self.terminal.as_fd(), PollFlags::POLLIN)];
            if poll(&mut ready, PollTimeout::from(200_u16)).unwrap() > 0 {
                let mut bytes = [0; 4096];
                let count = self.terminal.read(&mut bytes).unwrap();
                self.said.push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

#[test]
fn the_books_walkthrough_works_to_the_letter() {
    if !engine_is_here() {
        return;
    }
    run("scripts/sample-image", &["node"]);
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_docker-slim"), folder.path().join("docker-slim")).unwrap();
    let mut shell = Shell::start(folder.path());

    shell.type_line("./docker-slim build --http-probe --continue-after 'probe&enter' sample-node-app &");
    let story = shell.expect("continue-after: enter");
    let port = story.split("is published at http://localhost:").nth(1).expect("the port is told at once");
    let port: String = port.chars().take_while(char::is_ascii_digit).collect();
    assert_eq!(run("curl", &["--silent", &format!("localhost:{port}")]), ANSWER);

    shell.type_line("jobs");
    let jobs = shell.expect("sample-node-app &");
    assert!(jobs.contains("Running"), "a background job must not be stopped by its terminal:\n{jobs}");
    shell.type_line("fg");
    shell.expect("./docker-slim build");
    shell.type_line("");
    let end = shell.expect("artifacts: ");
    assert!(end.contains("times smaller"), "{end}");
    assert!(end.contains("system calls allowed; verification: same answers"), "{end}");

    assert!(docker(&["images"]).contains("sample-node-app.slim"));
    let history = docker(&["history", "--no-trunc", "--format", "{{.CreatedBy}}", "sample-node-app.slim"]);
    for line in ["ENTRYPOINT", "EXPOSE 8000/tcp", "ENV", "WORKDIR /opt/my/service", "COPY files in /"] {
        assert!(history.contains(line), "no {line} in:\n{history}");
    }
    let sizes = docker(&["history", "--human=false", "--format", "{{.Size}}", "sample-node-app.slim"]);
    assert_eq!(sizes.lines().filter(|size| *size != "0").count(), 1, "one content layer:\n{sizes}");

    shell.type_line("SECCOMPFILE=$(ls $(pwd)/.images/*/artifacts/sample-node-app-seccomp.json)");
    shell.type_line(
        "docker run -p32770:8000 -d --security-opt seccomp=$SECCOMPFILE sample-node-app.slim > container; echo sta''rted",
    );
    shell.expect("started");
    let container = std::fs::read_to_string(folder.path().join("container")).unwrap();
    let answer = Command::new("curl")
        .args(["--silent", "--retry", "20", "--retry-delay", "1", "--retry-all-errors", "localhost:32770"])
        .output()
        .unwrap();
    docker(&["rm", "--force", container.trim()]);
    assert_eq!(String::from_utf8_lossy(&answer.stdout), ANSWER);
}
