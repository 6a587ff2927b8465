//! The embedded engine: what an image, a command or a killed process must not be able to do. Needs root.
#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]

mod common;

use common::embedded::{Embedded, web_server, words};
use common::run;
use slim_engine::embedded::Store;
use slim_engine::{ContainerId, Engine, ExecSpec, Overrides};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn exec(argv: &[&str]) -> ExecSpec {
    ExecSpec { argv: words(argv), ..ExecSpec::default() }
}

/// The process of a container's `keeper.json`.
fn keeper(embedded: &Embedded, id: &ContainerId) -> u32 {
    let file = embedded.engine.store().path().join("containers").join(id.as_str()).join("keeper.json");
    let keeper: serde_json::Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    u32::try_from(keeper["pid"].as_u64().unwrap()).unwrap()
}

fn program(embedded: &Embedded, id: &ContainerId) -> u32 {
    embedded.now(embedded.engine.inspect(id)).pid.unwrap()
}

/// Whether a process runs; one that has ended and is only still listed does not.
fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Looks for the host's file from wherever it is.
const LOOK_OUTSIDE: &str =
    "up=.; for level in 1 2 3 4 5 6 7 8; do up=$up/..; cat $up/host-secret; done 2>/dev/null; true";

/// CVE-2024-21626 was runc's: a descriptor of the runtime's own as the working directory, from where `..` leads to the host.
#[test]
fn a_working_directory_among_our_own_descriptors_leads_nowhere() {
    let embedded = Embedded::with_image(&web_server());
    fs::write(embedded.folder.path().join("host-secret"), "of the host").unwrap();
    let look = |overrides: Overrides, what: &str| {
        let entrypoint = Some(words(&["sh", "-c", LOOK_OUTSIDE]));
        let id = embedded.create(Overrides { entrypoint, ..overrides });
        let began = embedded.runtime.block_on(embedded.engine.start(&id));
        if began.is_ok() {
            embedded.now(embedded.engine.wait(&id));
        }
        let log = embedded.now(embedded.engine.logs(&id, None)).bytes;
        embedded.now(embedded.engine.remove(&id, true));
        assert!(!String::from_utf8_lossy(&log).contains("of the host"), "{what} leads to the host");
    };
    for descriptor in 3..=20 {
        let workdir = Some(format!("/proc/self/fd/{descriptor}"));
        look(Overrides { workdir, ..Overrides::default() }, &format!("run -w with descriptor {descriptor}"));
    }
    // As an image says it; the same path all the way, so fewer of them.
    for descriptor in 6..=8 {
        let config = serde_json::json!({"WorkingDir": format!("/proc/self/fd/{descriptor}"), "Cmd": ["sh"]});
        let file = File::open(embedded.archive("test:1", &config)).unwrap();
        embedded.engine.store().import(&file).unwrap();
        look(Overrides::default(), &format!("WORKDIR with descriptor {descriptor}"));
    }
    let id = embedded.create(Overrides {
        entrypoint: Some(words(&["sleep", "1000"])),
        workdir: Some("/".to_owned()),
        ..Overrides::default()
    });
    embedded.now(embedded.engine.start(&id));
    for descriptor in 3..=30 {
        let working_directory = Some(format!("/proc/self/fd/{descriptor}"));
        let command = ExecSpec { working_directory, ..exec(&["sh", "-c", LOOK_OUTSIDE]) };
        let said = match embedded.runtime.block_on(embedded.engine.exec(&id, &command)) {
            Ok(ended) => ended.stdout,
            Err(_) => Vec::new(),
        };
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(!said.contains("of the host"), "exec -w with descriptor {descriptor} leads to the host");
    }
    embedded.now(embedded.engine.remove(&id, true));
    embedded.expect_nothing();
}

#[test]
fn a_relative_program_is_looked_for_in_the_working_directory() {
    let embedded = Embedded::with_image(&web_server());
    let id = embedded.create(Overrides::default());
    embedded.now(embedded.engine.start(&id));
    let working_directory = Some("/bin".to_owned());
    let command = ExecSpec { working_directory, ..exec(&["./echo", "found"]) };
    assert_eq!(embedded.execute(&id, &command), (0, "found\n".to_owned()));
    embedded.now(embedded.engine.remove(&id, true));
    embedded.expect_nothing();
}

#[test]
fn a_command_in_a_container_has_no_terminal_of_the_callers() {
    let embedded = Embedded::with_image(&web_server());
    let id =
        embedded.create(Overrides { entrypoint: Some(words(&["sleep", "1000"])), ..Overrides::default() });
    embedded.now(embedded.engine.start(&id));
    let terminal = nix::pty::openpty(None, None).unwrap();
    // The program is the leader of a session whose terminal that is, as a shell's commands are in one.
    let own = embedded.slim(&[]);
    let mut command = Command::new("setsid");
    command.args(["--ctty", "--wait"]).arg(own.get_program()).args(own.get_args());
    command.args(["exec", id.as_str(), "sh", "-c", "cat /proc/$$/stat; cat /dev/tty 2>&1"]);
    let ran = command.stdin(Stdio::from(terminal.slave)).stderr(Stdio::null()).output().unwrap();
    let said = String::from_utf8(ran.stdout).unwrap();
    let fields: Vec<&str> = said.lines().next().unwrap_or_default().split(' ').collect();
    assert_eq!(fields.get(5), fields.first(), "the command leads a session of its own: {said}");
    assert_eq!(fields.get(6), Some(&"0"), "it has no terminal: {said}");
    assert!(said.contains("/dev/tty': No such device or address"), "{said}");
    embedded.now(embedded.engine.remove(&id, true));
    embedded.expect_nothing();
}

#[test]
fn a_folder_of_somebody_elses_is_not_made_a_store() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(folder.path().join("letter"), "private").unwrap();
    let error = Store::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("it holds something else; --store-root names another folder"), "{error}");
    assert_eq!(fs::metadata(folder.path()).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_program_ends_with_its_keeper() {
    let embedded = Embedded::with_image(&web_server());
    let id = embedded.create(Overrides::default());
    embedded.now(embedded.engine.start(&id));
    embedded.wait_for_log(&id, "started\n");
    let (keeper, program) = (keeper(&embedded, &id), program(&embedded, &id));
    let session = nix::unistd::getsid(Some(nix::unistd::Pid::from_raw(keeper as i32))).unwrap();
    assert_eq!(session.as_raw() as u32, keeper, "a keeper is in nobody's session");
    run("kill", &["-9", &keeper.to_string()]);
    // Nobody needs to look at the container for that.
    until("the program's end", || !runs(program));
    let state = embedded.now(embedded.engine.inspect(&id));
    assert_eq!((state.running, state.exit_code), (false, 137), "{state:?}");
    // It can run again.
    embedded.now(embedded.engine.start(&id));
    embedded.now(embedded.engine.stop(&id, Duration::from_secs(10)));
    embedded.now(embedded.engine.remove(&id, false));
    embedded.expect_nothing();
}

/// The kernel lets go of the death signal of a process that becomes another user's by a set-id file.
#[test]
fn a_set_id_program_whose_keeper_was_killed_is_ended_by_who_looks_next() {
    let embedded = Embedded::with_image(&web_server());
    let mut builder = tar::Builder::new(Vec::new());
    let busybox = fs::read("/bin/busybox").unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_size(busybox.len() as u64);
    header.set_mode(0o4755);
    header.set_uid(0);
    header.set_gid(0);
    builder.append_data(&mut header, "busybox", busybox.as_slice()).unwrap();
    let file = builder.into_inner().unwrap();
    type Look = fn(&Embedded, &ContainerId);
    let looks: [(&str, Look); 3] = [
        ("stop", |embedded, id| embedded.now(embedded.engine.stop(id, Duration::from_secs(10)))),
        ("start", |embedded, id| embedded.now(embedded.engine.start(id))),
        ("rm -f", |embedded, id| embedded.now(embedded.engine.remove(id, true))),
    ];
    let id = embedded.create(Overrides {
        entrypoint: Some(words(&["/tmp/busybox", "sleep", "1000"])),
        user: Some("web".to_owned()),
        ..Overrides::default()
    });
    embedded.now(embedded.engine.copy_in(&id, "/tmp", file));
    for (what, look) in looks {
        embedded.now(embedded.engine.start(&id));
        let (keeper, program) = (keeper(&embedded, &id), program(&embedded, &id));
        run("kill", &["-9", &keeper.to_string()]);
        until("the keeper's end", || !runs(keeper));
        assert!(runs(program), "else this is no test of what {what} does");
        look(&embedded, &id);
        assert!(!runs(program), "{what} leaves it");
    }
    embedded.expect_nothing();
}

#[test]
fn of_two_starts_at_a_time_one_has_the_container() {
    let embedded = Embedded::with_image(&web_server());
    for _ in 0..3 {
        let id = embedded.create(Overrides::default());
        let engine = &embedded.engine;
        let (one, other) =
            embedded.runtime.block_on(async { tokio::join!(engine.start(&id), engine.start(&id)) });
        assert!(one.is_ok() || other.is_ok(), "{one:?}, {other:?}");
        embedded.wait_for_log(&id, "started\n");
        let state = embedded.now(engine.inspect(&id));
        assert!(state.running && runs(keeper(&embedded, &id)), "{one:?}, {other:?}: {state:?}");
        embedded.now(engine.stop(&id, Duration::from_secs(10)));
        let state = embedded.now(engine.inspect(&id));
        assert_eq!((state.running, state.exit_code), (false, 0), "{state:?}");
        embedded.now(engine.remove(&id, false));
    }
    embedded.expect_nothing();
}

#[test]
fn a_container_is_stopped_by_a_real_time_signal_and_by_none_that_there_is_not() {
    // The first is 37; what systemd's images have.
    let script = "trap 'exit 9' 37; echo started; while true; do busybox usleep 10000; done";
    for (signal, code) in [("SIGRTMIN+3", 9), ("SIGNOSUCH", 137)] {
        let config = serde_json::json!({"Cmd": ["sh", "-c", script], "StopSignal": signal});
        let embedded = Embedded::with_image(&config);
        let id = embedded.create(Overrides::default());
        embedded.now(embedded.engine.start(&id));
        embedded.wait_for_log(&id, "started\n");
        embedded.now(embedded.engine.stop(&id, Duration::from_secs(30)));
        assert_eq!(embedded.now(embedded.engine.inspect(&id)).exit_code, code, "{signal}");
        embedded.now(embedded.engine.remove(&id, false));
        embedded.expect_nothing();
    }
}

#[test]
fn a_keeper_of_ports_may_have_as_many_connections_as_the_machine_lets_it() {
    let embedded = Embedded::with_image(&web_server());
    let own = embedded.slim(&["run", "-d", "--name=web", "-p127.0.0.1::8000", "test:1"]);
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -Sn 100; exec \"$@\"", "sh"]).arg(own.get_program()).args(own.get_args());
    let ran = command.current_dir(embedded.folder.path()).stdin(Stdio::null()).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let id = ContainerId::new(String::from_utf8(ran.stdout).unwrap().trim());
    let limits = fs::read_to_string(format!("/proc/{}/limits", keeper(&embedded, &id))).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let values: Vec<&str> = line.split_whitespace().skip(3).collect();
    assert!(values[0] == values[1] && values[0] != "100", "{line}");
    embedded.now(embedded.engine.remove(&id, true));
    embedded.expect_nothing();
}

#[test]
fn a_log_is_followed_no_longer_than_somebody_reads() {
    let embedded = Embedded::with_image(&web_server());
    let script = "while true; do echo more; busybox usleep 10000; done";
    let id =
        embedded.create(Overrides { entrypoint: Some(words(&["sh", "-c", script])), ..Overrides::default() });
    embedded.now(embedded.engine.start(&id));
    let mut following = embedded
        .slim(&["logs", "-f", id.as_str()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = following.stdout.take().unwrap();
    output.read_exact(&mut [0; 5]).unwrap();
    drop(output);
    let mut ended = None;
    until("the end of logs -f", || {
        ended = following.try_wait().unwrap();
        ended.is_some()
    });
    assert_eq!(ended.unwrap().code(), Some(0));
    let mut said = String::new();
    following.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "");
    embedded.now(embedded.engine.remove(&id, true));
    embedded.expect_nothing();
}

/// A folder as a command leaves it that was killed at its work, and the lock that it had.
fn left_behind(store: &Path, name: &str) -> (PathBuf, File) {
    let folder = store.join(name);
    fs::create_dir_all(folder.join("layout/blobs")).unwrap();
    let lock = File::create(folder.join("lock")).unwrap();
    (folder, lock)
}

#[test]
fn what_killed_commands_left_in_the_store_goes_and_what_living_ones_have_stays() {
    let embedded = Embedded::new();
    let store = embedded.engine.store().path();
    let (dead, lock) = left_behind(store, ".slim-tmp-dead01");
    drop(lock);
    let (living, lock) = left_behind(store, ".slim-tmp-living");
    lock.lock().unwrap();
    embedded.run_slim(&["store", "prune"]).expect(0);
    assert!(!dead.exists() && living.join("layout").is_dir());
    drop(lock);
    embedded.run_slim(&["store", "prune"]).expect(0);
    assert!(!living.exists());
}
