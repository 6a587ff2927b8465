//! Programs of this machine: whatever they are seen to do must be possible.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a failure is a panic; what is skipped is said")]

mod common;

use common::{analyse, only};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What strace sees a command do; `None` where it is not installed or may not trace.
fn observed(command: &[&str]) -> Option<BTreeSet<String>> {
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("counts");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o"]).arg(&file).args(command);
    let output = strace.output().ok()?;
    let text = String::from_utf8_lossy(&std::fs::read(&file).ok()?).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // `PID name(arguments) = result`; `<... name resumed>` repeats one.
    let names = text.lines().filter_map(|line| {
        let rest = line.split_once(' ')?.1.trim_start();
        let name = rest.split('(').next()?;
        let is_name = name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
        (is_name && rest.contains('(')).then(|| name.to_owned())
    });
    let mut names: BTreeSet<String> = names.collect();
    // strace itself makes it, before the program is there.
    names.remove("execve");
    (!names.is_empty()).then_some(names)
}

fn assert_all_possible(program: &str, opened: &[PathBuf], commands: &[&[&str]]) {
    let program = std::fs::canonicalize(Path::new(program)).unwrap();
    let possible = analyse(&program, opened);
    for command in commands {
        let Some(seen) = observed(command) else {
            println!("skipped: strace is not installed, or may not trace");
            return;
        };
        let missing: Vec<&String> = seen.difference(&only(&possible).calls).collect();
        assert_eq!(missing, Vec::<&String>::new(), "{command:?}");
    }
}

#[test]
fn all_that_true_does_is_possible() {
    assert_all_possible("/bin/true", &[], &[&["/bin/true"], &["/bin/true", "--help"]]);
}

#[test]
fn all_that_bash_does_is_possible() {
    let script = "cd /; (echo a; exit 3) | { read x; echo $x; }; ulimit -n >/dev/null; umask 022; trap 'echo t' USR1; \
                  kill -USR1 $$; sleep_pid=; { :; } & wait; x=$(echo b); [ -r /etc/passwd ]; echo $RANDOM >/dev/null; \
                  exec 5</etc/passwd; read -t 1 -u 5 y; echo <(:) >/dev/null; times >/dev/null; kill -l >/dev/null; \
                  shopt -s globstar; echo /etc/p* >/dev/null; test -t 0; [[ /etc -nt /usr ]]; printf '%(%s)T' -1";
    assert_all_possible("/bin/bash", &[], &[&["/bin/bash", "--norc", "-c", script]]);
}

#[test]
fn all_that_python_does_is_possible() {
    let Ok(python) = std::fs::canonicalize("/usr/bin/python3") else { return };
    let name = python.file_name().unwrap().to_str().unwrap();
    let modules = Path::new("/usr/lib").join(name).join("lib-dynload");
    let Ok(entries) = std::fs::read_dir(modules) else { return };
    let mut opened: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    opened.sort();
    let python = python.to_str().unwrap();
    let script = "import os, socket, threading, subprocess, tempfile, time, select, mmap, json, hashlib, signal\n\
                  s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); c = socket.create_connection(s.getsockname())\n\
                  a, _ = s.accept(); a.sendall(b'x'); assert c.recv(1) == b'x'; s.setsockopt(1, 2, 1); s.getsockopt(1, 2)\n\
                  t = threading.Thread(target=time.sleep, args=(0.01,)); t.start(); t.join()\n\
                  f = tempfile.TemporaryFile(); f.write(b'x'); f.flush(); os.fsync(f.fileno()); os.ftruncate(f.fileno(), 0)\n\
                  p = select.epoll(); p.register(c.fileno()); p.poll(0.01); select.select([c], [], [], 0)\n\
                  m = mmap.mmap(-1, 4096); m.close(); os.getloadavg(); os.urandom(8); os.sched_getaffinity(0); os.nice(0)\n\
                  signal.setitimer(signal.ITIMER_REAL, 0); r, w = os.pipe(); os.dup(r); os.getrusage = None\n\
                  d = tempfile.mkdtemp(); open(d + '/a', 'w').close(); os.rename(d + '/a', d + '/b'); os.link(d + '/b', d + '/c')\n\
                  os.symlink('b', d + '/d'); os.chmod(d + '/b', 0o600); os.utime(d + '/b'); os.listdir(d); os.statvfs(d)\n\
                  import shutil; shutil.rmtree(d); pid = os.fork()\n\
                  if pid == 0: os._exit(0)\n\
                  os.waitpid(pid, 0); os.memfd_create('x'); os.getpriority(0, 0); os.setsid; socket.socketpair()\n";
    assert_all_possible(python, &opened, &[&[python, "-I", "-c", script]]);
}
