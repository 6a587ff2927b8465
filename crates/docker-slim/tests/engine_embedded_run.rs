//! `docker-slim run` and what goes with it: detached containers, standard input, terminals, limits, networks. Needs root.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test's failure is a panic, and it says why it is skipped"
)]

mod common;

use common::embedded::{Embedded, web_server, words};
use common::served::Served;
use common::{Finished, run};
use nix::pty::{OpenptyResult, Winsize, openpty};
use slim_engine::spec::{Limits, Security};
use slim_engine::{ContainerSpec, Engine, EngineError, ExecSpec, Overrides, PublishPort};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// Asks until something comes.
#[track_caller]
fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_detached_container_is_listed_read_stopped_and_removed() {
    let embedded = Embedded::with_image(&web_server());
    let detached = ["run", "-d", "--name=web", "-p127.0.0.1::8000", "test:1"];
    let started = embedded.run_slim(&detached);
    let id = started.expect(0).stdout.trim().to_owned();
    assert_eq!(id.len(), 64, "{started:?}");
    let listed = embedded.run_slim(&["ps"]);
    let line = listed.expect(0).stdout.lines().nth(1).unwrap().to_owned();
    assert!(line.starts_with(&id[..12]) && line.ends_with("web") && line.contains("running"), "{line}");
    assert!(line.contains("->8000/tcp"), "{line}");
    // A name belongs to one container; the failed one leaves nothing.
    let other = embedded.run_slim(&detached);
    assert!(other.expect(5).stderr.contains("has the name web already"), "{}", other.stderr);
    until("its log", || {
        let logs = embedded.run_slim(&["logs", "web"]);
        (logs.expect(0).stdout == "started\n").then_some(())
    });
    let ran = embedded.run_slim(&["exec", "-u", "web", "web", "sh", "-c", "id -u; echo err >&2; exit 7"]);
    assert_eq!((ran.code, &*ran.stdout, &*ran.stderr), (Some(7), "1000\n", "err\n"));
    let refused = embedded.run_slim(&["rm", "web"]);
    assert!(refused.expect(3).stderr.contains("it is running"), "{}", refused.stderr);
    // Whoever follows is told of the end.
    let mut following = embedded.slim(&["logs", "-f", &id[..8]]).stdout(Stdio::piped()).spawn().unwrap();
    assert_eq!(embedded.run_slim(&["stop", "web"]).expect(0).stdout, "web\n");
    assert!(following.wait().unwrap().success());
    assert_eq!(embedded.run_slim(&["ps"]).expect(0).stdout.lines().count(), 1);
    let all = embedded.run_slim(&["ps", "-a", "--output-format=json"]);
    let all: serde_json::Value = serde_json::from_str(&all.expect(0).stdout).unwrap();
    assert_eq!(
        (&all[0]["name"], &all[0]["status"], &all[0]["exit_code"]),
        (&"web".into(), &"exited".into(), &0.into())
    );
    embedded.run_slim(&["rm", "web"]).expect(0);
    let gone = embedded.run_slim(&["logs", "web"]);
    assert!(gone.expect(5).stderr.contains("no such container web"), "{}", gone.stderr);
    embedded.expect_nothing();
}

#[test]
fn a_policy_that_is_attached_in_a_registry_holds_for_the_container() {
    let embedded = Embedded::with_image(&web_server());
    let served = Served::start(embedded.folder.path(), "127.0.0.1:0");
    let image = format!("{}/team/test:1", served.address);
    let remote = format!("docker://{image}");
    let default = include_str!("../../slim-engine/src/embedded/seccomp_default.json");
    let mut strict: serde_json::Value = serde_json::from_str(default).unwrap();
    for names in
        strict["syscalls"].as_array_mut().unwrap().iter_mut().filter_map(|it| it["names"].as_array_mut())
    {
        names.retain(|name| name != "mkdir" && name != "mkdirat");
    }
    let policy = embedded.folder.path().join("policy");
    fs::create_dir(&policy).unwrap();
    fs::write(policy.join("app-seccomp.json"), strict.to_string()).unwrap();
    let archive = format!("docker-archive:{}", embedded.folder.path().join("test-1.tar").display());
    let push = |flag: &str| embedded.run_slim(&["push", &archive, &image, flag]);
    let run = |more: &[&str]| {
        let command = [&*image, "sh", "-c", "mkdir /x && echo made; echo on"];
        embedded.run_slim(&[&["run", "--rm"], more, &command].concat())
    };
    push("--attach-policy=off").expect(0);
    let without = run(&["--policy", &remote]);
    assert!(without.expect(4).stderr.contains("docker-slim push attaches it"), "{}", without.stderr);
    push(&format!("--attach-policy={}", policy.display())).expect(0);
    // The image comes from there as well.
    let held = run(&["--policy", &remote]);
    assert_eq!(held.expect(0).stdout, "on\n");
    assert!(held.stderr.contains("Operation not permitted"), "{}", held.stderr);
    assert_eq!(run(&[]).expect(0).stdout, "made\non\n");
    embedded.expect_nothing();
}

#[test]
fn a_detached_container_with_rm_is_gone_when_it_ends() {
    let embedded = Embedded::with_image(&web_server());
    let started = embedded.run_slim(&["run", "-d", "--rm", "test:1", "sh", "-c", "read x; exit 1"]);
    started.expect(0);
    until("its removal", || (embedded.run_slim(&["ps", "-a"]).stdout.lines().count() == 1).then_some(()));
    embedded.run_slim(&["run", "-d", "--rm", "--name=long", "test:1"]).expect(0);
    embedded.run_slim(&["stop", "long"]).expect(0);
    until("its removal", || (embedded.run_slim(&["ps", "-a"]).stdout.lines().count() == 1).then_some(()));
    embedded.expect_nothing();
}

#[test]
fn a_container_without_rm_stays_until_it_is_removed() {
    let embedded = Embedded::with_image(&web_server());
    embedded.run_slim(&["run", "--name=once", "test:1", "sh", "-c", "echo kept; exit 4"]).expect(4);
    assert_eq!(embedded.run_slim(&["logs", "once"]).expect(0).stdout, "kept\n");
    embedded.run_slim(&["start", "once"]).expect(0);
    until("its second log", || (embedded.run_slim(&["logs", "once"]).stdout == "kept\nkept\n").then_some(()));
    let all = embedded.run_slim(&["ps", "-a"]);
    assert!(all.stdout.contains("exited (4)"), "{}", all.stdout);
    embedded.run_slim(&["rm", "once"]).expect(0);
    embedded.expect_nothing();
}

#[test]
fn standard_input_is_handed_on_with_its_end() {
    let embedded = Embedded::with_image(&web_server());
    let piped = |flags: &[&str], script: &str, text: &[u8]| {
        let arguments = [&["run", "--rm"], flags, &["test:1", "sh", "-c", script]].concat();
        let mut command = embedded.slim(&arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let text = text.to_vec();
        // A program that does not read all of it is no trouble.
        std::thread::spawn(move || drop(input.write_all(&text)));
        Finished::of(child.wait_with_output().unwrap())
    };
    let long = b"a line of text\n".repeat(100_000);
    let copied = piped(&["-i"], "cat; echo end", &long);
    assert!(copied.expect(0).stdout == format!("{}end\n", String::from_utf8(long.clone()).unwrap()));
    assert_eq!(piped(&["-i"], "read first; echo $first; exit 6", &long).expect(6).stdout, "a line of text\n");
    assert_eq!(piped(&[], "cat; echo end", b"not asked for").expect(0).stdout, "end\n");
    // Nothing but -t needs a terminal here.
    let refused = piped(&["-i", "-t"], "true", b"");
    assert!(refused.expect(2).stderr.contains("standard input is none"), "{}", refused.stderr);
    embedded.expect_nothing();
}

/// A terminal of the test's own, and the program in it.
struct InTerminal {
    master: OwnedFd,
    slave: OwnedFd,
    child: Child,
    shown: String,
}

impl InTerminal {
    fn of(mut command: Command) -> Self {
        let size = Winsize { ws_row: 33, ws_col: 77, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(Some(&size), None).unwrap();
        let stream = || Stdio::from(slave.try_clone().unwrap());
        let child = command.stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
        Self { master, slave, child, shown: String::new() }
    }

    /// Reads until this is shown.
    #[track_caller]
    fn expect(&mut self, text: &str) {
        let began = Instant::now();
        while !self.shown.contains(text) {
            assert!(began.elapsed() < PATIENCE, "{text:?} is not shown: {:?}", self.shown);
            let mut wanted = [nix::poll::PollFd::new(self.master.as_fd(), nix::poll::PollFlags::POLLIN)];
            if nix::poll::poll(&mut wanted, 100_u16).unwrap() > 0 {
                let mut buffer = [0; 4096];
                let read = File::from(self.master.try_clone().unwrap()).read(&mut buffer).unwrap();
                self.shown.push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        }
        self.shown = self.shown.split_once(text).unwrap().1.to_owned();
    }

    fn press(&self, keys: &str) {
        File::from(self.master.try_clone().unwrap()).write_all(keys.as_bytes()).unwrap();
    }
}

#[test]
fn a_terminal_is_the_containers_while_it_runs() {
    let embedded = Embedded::with_image(&web_server());
    let script = "trap 'echo interrupted' INT; busybox tty; busybox stty size; echo $(busybox id -u); echo typed?; read line; \
                  echo \"got $line\"; while ! busybox stty size | grep -q '44 99'; do busybox usleep 20000; done; echo larger; \
                  while ! read next; do :; done; echo \"then $next\"; exit 9";
    let run = ["run", "--rm", "-it", "--user=web", "test:1", "sh", "-c", script];
    let mut terminal = InTerminal::of(embedded.slim(&run));
    let before = rustix::termios::tcgetattr(&terminal.slave).unwrap();
    terminal.expect("/dev/pts/0\r\n33 77\r\n1000\r\ntyped?");
    terminal.press("some words\r");
    terminal.expect("got some words");
    let size = rustix::termios::Winsize { ws_row: 44, ws_col: 99, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&terminal.master, size).unwrap();
    common::signal(&terminal.child, "WINCH");
    terminal.expect("larger");
    // Ctrl-C goes to the program in the container, not to docker-slim.
    terminal.press("\x03");
    terminal.expect("interrupted");
    terminal.press("more\r");
    terminal.expect("then more");
    assert_eq!(terminal.child.wait().unwrap().code(), Some(9));
    let after = rustix::termios::tcgetattr(&terminal.slave).unwrap();
    assert_eq!(
        (before.local_modes, before.input_modes, before.output_modes),
        (after.local_modes, after.input_modes, after.output_modes),
        "the terminal is as it was"
    );
    embedded.expect_nothing();
}

#[test]
fn a_command_has_a_terminal_of_the_containers_own() {
    let embedded = Embedded::with_image(&web_server());
    embedded.run_slim(&["run", "-d", "--name=web", "test:1"]).expect(0);
    let script = "trap 'echo interrupted' INT; busybox tty; busybox stty size; echo $TERM; \
                  while ! read line; do :; done; echo \"got $line\"; exit 9";
    let exec = ["exec", "-it", "-u", "web", "web", "sh", "-c", script];
    let mut terminal = InTerminal::of(embedded.slim(&exec));
    terminal.expect("/dev/pts/0\r\n33 77\r\nxterm\r\n");
    terminal.press("\x03");
    terminal.expect("interrupted");
    terminal.press("words\r");
    terminal.expect("got words");
    assert_eq!(terminal.child.wait().unwrap().code(), Some(9));
    // Output alone needs no terminal here; a command that is not there says so.
    let shown = embedded.run_slim(&["exec", "-t", "web", "busybox", "tty"]);
    assert_eq!(shown.expect(0).stdout, "/dev/pts/0\r\n");
    let missing = embedded.run_slim(&["exec", "-t", "web", "nothing-there"]);
    assert!(missing.expect(3).stderr.contains("nothing-there"), "{}", missing.stderr);
    embedded.run_slim(&["rm", "-f", "web"]).expect(0);
    embedded.expect_nothing();
}

#[test]
fn a_commands_streams_are_handed_on_as_they_come() {
    let embedded = Embedded::with_image(&web_server());
    embedded.run_slim(&["run", "-d", "--name=web", "test:1"]).expect(0);
    let mut command =
        embedded.slim(&["exec", "-i", "web", "sh", "-c", "while read line; do echo \"got $line\"; done"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    for word in ["one", "two"] {
        writeln!(input, "{word}").unwrap();
        let expected = format!("got {word}\n");
        let mut answer = vec![0; expected.len()];
        output.read_exact(&mut answer).unwrap();
        assert_eq!(String::from_utf8(answer).unwrap(), expected);
    }
    drop(input);
    assert!(child.wait().unwrap().success());
    embedded.run_slim(&["rm", "-f", "web"]).expect(0);
    embedded.expect_nothing();
}

/// What `inspect` tells of a container's health.
fn health_of(embedded: &Embedded, name: &str) -> serde_json::Value {
    let told = embedded.run_slim(&["inspect", name]);
    let told: serde_json::Value = serde_json::from_str(&told.expect(0).stdout).unwrap();
    told[0]["health"].clone()
}

#[test]
fn an_images_health_check_runs_as_with_docker() {
    let mut config = web_server();
    // Two words of a command, in nanoseconds, as images have them.
    config["Healthcheck"] = serde_json::json!({
        "Test": ["CMD-SHELL", "id -u; ls /data/well"], "Interval": 100_000_000, "Retries": 2,
    });
    config["User"] = "web".into();
    let embedded = Embedded::with_image(&config);
    embedded.run_slim(&["run", "-d", "--name=web", "--user=0", "test:1"]).expect(0);
    until("it is unhealthy", || (health_of(&embedded, "web")["status"] == "unhealthy").then_some(()));
    let health = health_of(&embedded, "web");
    let last = &health["log"].as_array().unwrap().last().unwrap();
    assert!(last["exit_code"] != 0 && last["output"].as_str().unwrap().starts_with("0\n"), "{health}");
    embedded.run_slim(&["exec", "web", "touch", "/data/well"]).expect(0);
    until("it is healthy", || {
        embedded.run_slim(&["ps"]).expect(0).stdout.contains("running (healthy)").then_some(())
    });
    assert_eq!(health_of(&embedded, "web")["failing_streak"], 0);
    embedded.run_slim(&["stop", "web"]).expect(0);
    assert!(health_of(&embedded, "web").is_null(), "what does not run is neither");
    embedded.run_slim(&["rm", "web"]).expect(0);
    embedded.run_slim(&["run", "-d", "--name=off", "--no-healthcheck", "test:1"]).expect(0);
    assert!(health_of(&embedded, "off").is_null());
    embedded.run_slim(&["rm", "-f", "off"]).expect(0);
    embedded.expect_nothing();
}

#[test]
fn a_health_check_that_does_not_end_has_failed_and_is_ended() {
    let embedded = Embedded::with_image(&web_server());
    let flags = [
        "--health-cmd=exec sleep 77",
        "--health-interval=50ms",
        "--health-timeout=100ms",
        "--health-retries=1",
    ];
    embedded.run_slim(&[&["run", "-d", "--name=web"], &flags[..], &["test:1"]].concat()).expect(0);
    until("it is unhealthy", || (health_of(&embedded, "web")["status"] == "unhealthy").then_some(()));
    let result = health_of(&embedded, "web")["log"][0].clone();
    assert!(
        result["exit_code"] == -1 && result["output"].as_str().unwrap().contains("timeout (100ms)"),
        "{result}"
    );
    let sleeping = || {
        let shown = embedded.run_slim(&["top", "web", "-eo", "pid,args"]);
        shown.expect(0).stdout.matches("sleep 77").count()
    };
    until("no more than the last one runs", || (sleeping() <= 1).then_some(()));
    // One that is under way does not hold up the end.
    embedded.run_slim(&["rm", "-f", "web"]).expect(0);
    embedded.expect_nothing();
}

#[test]
fn top_shows_the_containers_processes_and_no_others() {
    let embedded = Embedded::with_image(&web_server());
    embedded.run_slim(&["run", "-d", "--name=web", "--user=web", "test:1"]).expect(0);
    until("its server", || {
        let shown = embedded.run_slim(&["top", "web", "-eo", "pid,uid,args"]);
        shown.expect(0).stdout.contains("httpd -f").then_some(())
    });
    let shown = embedded.run_slim(&["top", "web", "-eo", "pid,uid,args"]).stdout;
    assert!(shown.starts_with("PID") && shown.lines().skip(1).all(|line| line.contains(" 1000 ")), "{shown}");
    assert_eq!(shown.lines().count(), 3, "the shell and the server: {shown}");
    let usual = embedded.run_slim(&["top", "web"]);
    assert!(usual.expect(0).stdout.starts_with("UID"), "{}", usual.stdout);
    let refused = embedded.run_slim(&["top", "web", "-eo", "args"]);
    assert!(refused.expect(3).stderr.contains("column PID"), "{}", refused.stderr);
    embedded.run_slim(&["stop", "web"]).expect(0);
    let stopped = embedded.run_slim(&["top", "web"]);
    assert!(stopped.expect(3).stderr.contains("not running"), "{}", stopped.stderr);
    embedded.run_slim(&["rm", "web"]).expect(0);
    embedded.expect_nothing();
}

#[test]
fn named_volumes_are_listed_and_removed_unless_a_container_has_them() {
    let embedded = Embedded::with_image(&web_server());
    let write =
        ["run", "--name=web", "-vused:/data", "-vfree:/other", "test:1", "sh", "-c", "echo seven. >/other/x"];
    embedded.run_slim(&write).expect(0);
    embedded.run_slim(&["run", "--rm", "-vspare:/data", "test:1", "sh", "-c", "exit 0"]).expect(0);
    let listed = || {
        let listed = embedded.run_slim(&["--output-format=json", "store", "ls", "--volumes"]);
        let listed: serde_json::Value = serde_json::from_str(&listed.expect(0).stdout).unwrap();
        let volume =
            |one: &serde_json::Value| format!("{} {} {}", one["name"], one["size"], one["containers"]);
        listed.as_array().unwrap().iter().map(volume).collect::<Vec<_>>()
    };
    assert_eq!(listed(), ["\"free\" 7 1", "\"spare\" 7 0", "\"used\" 7 1"], "seeded");
    let refused = embedded.run_slim(&["store", "rm", "--volumes", "free"]);
    assert!(refused.expect(3).stderr.contains("has it"), "{}", refused.stderr);
    let pruned = embedded.run_slim(&["store", "prune", "--volumes"]);
    assert!(pruned.expect(0).stdout.contains("and 1 volumes"), "{}", pruned.stdout);
    embedded.run_slim(&["rm", "web"]).expect(0);
    embedded.run_slim(&["store", "prune"]).expect(0);
    assert_eq!(listed().len(), 2, "volumes go only when it is said");
    embedded.run_slim(&["store", "rm", "--volumes", "free", "used"]).expect(0);
    assert!(listed().is_empty());
    embedded.expect_nothing();
}

#[test]
fn an_image_that_is_nowhere_is_missed_in_the_store_first() {
    let embedded = Embedded::new();
    let missing = embedded.run_slim(&["run", "127.0.0.1:1/no-such-image"]);
    let store = embedded.engine.store().path().display().to_string();
    assert!(
        missing.code != Some(0) && missing.stderr.contains(&format!("the store at {store} has none")),
        "{}",
        missing.stderr
    );
    assert!(missing.stderr.contains("docker-slim store ls"), "{}", missing.stderr);
}

#[test]
fn limits_are_those_of_the_control_group() {
    let embedded = Embedded::with_image(&web_server());
    let spec = ContainerSpec {
        image: "test:1".to_owned(),
        limits: Limits { memory: Some(64 << 20), nano_cpus: Some(500_000_000), pids: Some(77) },
        ..ContainerSpec::default()
    };
    let id = embedded.now(embedded.engine.create(&spec));
    embedded.now(embedded.engine.start(&id));
    let find = format!("find /sys/fs/cgroup -maxdepth 2 -name docker-slim-{id}");
    let folders = run("sh", &["-c", &find]);
    let value = |names: &[&str]| {
        let paths =
            folders.lines().flat_map(|folder| names.iter().map(move |name| Path::new(folder).join(name)));
        paths.filter_map(|path| fs::read_to_string(path).ok()).next().map(|text| text.trim().to_owned())
    };
    assert_eq!(value(&["memory.limit_in_bytes", "memory.max"]).unwrap(), (64 << 20).to_string());
    assert_eq!(value(&["pids.max"]).unwrap(), "77");
    let cpu = value(&["cpu.cfs_quota_us", "cpu.max"]).unwrap();
    assert!(cpu == "50000" || cpu == "50000 100000", "{cpu}");
    embedded.now(embedded.engine.remove(&id, true));
    // What takes more memory is killed, and the state says so.
    let id = embedded.now(embedded.engine.create(&ContainerSpec {
        overrides: Overrides {
            entrypoint: Some(words(&["sh", "-c", "busybox dd if=/dev/zero of=/dev/null bs=200M count=1"])),
            ..Overrides::default()
        },
        ..spec
    }));
    embedded.now(embedded.engine.start(&id));
    assert_ne!(embedded.now(embedded.engine.wait(&id)), 0);
    let state = embedded.now(embedded.engine.inspect(&id));
    assert!(state.out_of_memory, "{state:?}");
    embedded.now(embedded.engine.remove(&id, false));
    embedded.expect_nothing();
}

#[test]
fn udp_ports_are_published_beside_tcp_ports() {
    let embedded = Embedded::with_image(&web_server());
    let id = embedded.create(Overrides {
        publish_ports: PublishPort::parse("127.0.0.1::5353/udp").unwrap(),
        ..Overrides::default()
    });
    embedded.now(embedded.engine.start(&id));
    let state = embedded.now(embedded.engine.inspect(&id));
    let port = state.ports[0].clone();
    assert_eq!((port.container_port, port.protocol), (5353, slim_engine::Protocol::Udp));
    // A program of the container's network that answers: busybox has none.
    let network = File::open(format!("/proc/{}/ns/net", state.pid.unwrap())).unwrap();
    std::thread::spawn(move || {
        nix::sched::setns(&network, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let server = UdpSocket::bind("0.0.0.0:5353").unwrap();
        let mut buffer = [0; 64];
        while let Ok((length, client)) = server.recv_from(&mut buffer) {
            buffer[..length].reverse();
            server.send_to(&buffer[..length], client).unwrap();
        }
    });
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let answer = until("an answer by UDP", || {
        client.send_to(b"there", (port.host_ip, port.host_port)).unwrap();
        let mut buffer = [0; 64];
        client.recv(&mut buffer).ok().map(|length| buffer[..length].to_vec())
    });
    assert_eq!(answer, b"ereht");
    embedded.now(embedded.engine.remove(&id, true));
    embedded.expect_nothing();
}

/// A network of the test's own that stands for the world outside: reached over a pair of interfaces, and without any route
/// to anywhere, so that only what comes from the host's own address is answered.
struct Outside(String);

impl Outside {
    const ADDRESS: &str = "198.51.100.2";

    fn new() -> Self {
        let name = format!("dstest{}", std::process::id());
        let this = Self(name.clone());
        for line in [
            format!("netns add {name}"),
            format!("link add {name} type veth peer name eth0 netns {name}"),
            format!("addr add 198.51.100.1/30 dev {name}"),
            format!("link set {name} up"),
            format!("-n {name} addr add {}/30 dev eth0", Self::ADDRESS),
            format!("-n {name} link set eth0 up"),
            format!("-n {name} link set lo up"),
        ] {
            run("ip", &line.split(' ').collect::<Vec<_>>());
        }
        this
    }

    /// A web server in it.
    fn serve(&self, folder: &Path) -> Child {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0, "/bin/busybox", "httpd", "-f", "-p", "80", "-h"]);
        command.arg(folder).spawn().unwrap()
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        for arguments in [["link", "delete", &self.0], ["netns", "delete", &self.0]] {
            drop(Command::new("ip").args(arguments).output());
        }
    }
}

/// One request.
fn get(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address.parse().unwrap(), Duration::from_secs(5))?;
    stream.write_all(b"GET /index.html HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map(|_| answer)
}

/// One request to the world outside, out of a process's network.
fn from_inside(pid: u32) -> std::io::Result<String> {
    let network = File::open(format!("/proc/{pid}/ns/net")).unwrap();
    let asked = std::thread::spawn(move || {
        nix::sched::setns(&network, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        get(&format!("{}:80", Outside::ADDRESS))
    });
    asked.join().unwrap()
}

fn rules_of_bridges() -> String {
    let notes = fs::read_dir("/run/docker-slim-bridge")
        .map_or(0, |entries| entries.flatten().filter(|entry| entry.file_name() != ".lock").count());
    let shown = "nft list tables | grep docker_slim; iptables -S 2>/dev/null | grep docker-slim; \
                 ls /sys/class/net | grep dslim; true";
    format!(
        "{}{}",
        if notes == 0 { String::new() } else { format!("{notes} notes\n") },
        run("sh", &["-c", shown])
    )
}

fn bridge_is_here() -> bool {
    let is_here = ["ip", "nft"].iter().all(|program| Command::new(program).arg("-V").output().is_ok());
    if !is_here {
        println!("skipped: no iproute2 or no nftables on this machine");
    }
    is_here
}

#[test]
fn a_bridge_is_a_way_out_and_leaves_nothing() {
    if !bridge_is_here() {
        return;
    }
    let before = rules_of_bridges();
    let embedded = Embedded::with_image(&web_server());
    let page = embedded.folder.path().join("index.html");
    fs::write(&page, "from outside\n").unwrap();
    let outside = Outside::new();
    let mut server = outside.serve(embedded.folder.path());
    let bridged = Overrides { network: Some("bridge".to_owned()), ..Overrides::default() };
    let (own, id) = (embedded.create(Overrides::default()), embedded.create(bridged));
    embedded.now(embedded.engine.start(&own));
    embedded.now(embedded.engine.start(&id));
    let alone = embedded.now(embedded.engine.inspect(&own));
    assert!(from_inside(alone.pid.unwrap()).is_err(), "only a bridge leads out");
    assert!(alone.addresses.is_empty() && alone.network_mode == "none", "{alone:?}");
    let state = embedded.now(embedded.engine.inspect(&id));
    let answer = until("the world outside", || {
        from_inside(state.pid.unwrap()).ok().filter(|answer| !answer.is_empty())
    });
    assert!(answer.ends_with("from outside\n"), "{answer}");
    let address = state.addresses[0].to_string();
    assert!(state.network_mode == "bridge" && state.addresses.len() == 1, "{state:?}");
    let look = ExecSpec { argv: words(&["cat", "/etc/hosts"]), ..ExecSpec::default() };
    let (_, hosts) = embedded.execute(&id, &look);
    assert!(hosts.ends_with(&format!("{address}\t{}\n", id.short())), "{hosts}");
    // From the host the container is reached by its own address.
    let answer =
        until("an answer", || get(&format!("{address}:8000")).ok().filter(|answer| !answer.is_empty()));
    assert!(answer.ends_with("hello\n"), "{answer}");
    embedded.now(embedded.engine.remove(&own, true));
    // A keeper that is killed takes nothing away; whoever removes the container does.
    let keeper = embedded.engine.store().path().join("containers").join(id.as_str()).join("keeper.json");
    let keeper: serde_json::Value = serde_json::from_slice(&fs::read(keeper).unwrap()).unwrap();
    run("kill", &["-9", &keeper["pid"].to_string()]);
    embedded.now(embedded.engine.wait(&id));
    embedded.now(embedded.engine.remove(&id, true));
    assert_eq!(rules_of_bridges(), before, "left behind");
    // A whole build with a test that needs the container's address and the way out.
    let test = embedded.folder.path().join("test");
    let script = "#!/bin/sh\n[ \"$DOCKER_SLIM_HOST\" != 127.0.0.1 ] && curl -fs http://$DOCKER_SLIM_HOST:8000/other.html | grep -q other\n";
    fs::write(&test, script).unwrap();
    run("chmod", &["755", test.to_str().unwrap()]);
    let verify = format!("--verify-cmd={}", test.display());
    let built = embedded.run_slim(&[
        "build",
        "--network=bridge",
        "--http-probe",
        "--http-probe-cmd=/other.html",
        &verify,
        "test:1",
    ]);
    built.expect(0);
    let _ = server.kill();
    let _ = server.wait();
    assert_eq!(rules_of_bridges(), before, "left behind");
    embedded.expect_nothing();
}

#[test]
fn an_apparmor_profile_is_refused_where_the_kernel_has_none() {
    if Path::new("/sys/kernel/security/apparmor").exists() {
        println!("skipped: this kernel has AppArmor");
        return;
    }
    let embedded = Embedded::with_image(&web_server());
    let security = Security { options: words(&["apparmor=docker-default"]), ..Security::default() };
    let spec = ContainerSpec { image: "test:1".to_owned(), security, ..ContainerSpec::default() };
    let error = embedded.runtime.block_on(embedded.engine.create(&spec)).unwrap_err();
    assert!(
        matches!(error, EngineError::CreateFailed { .. }) && error.to_string().contains("without AppArmor"),
        "{error}"
    );
    embedded.expect_nothing();
}

#[test]
fn files_go_into_containers_that_run_and_that_do_not() {
    let embedded = Embedded::with_image(&web_server());
    let archive = |contents: &[u8]| {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_mode(0o640);
        header.set_uid(7);
        header.set_gid(8);
        builder.append_data(&mut header, "brought", contents).unwrap();
        builder.into_inner().unwrap()
    };
    let script = "stat -c '%a %u %g' /www/brought; cat /www/brought; echo .; while ! [ -e /tmp/brought ]; do busybox usleep 20000; done; cat /tmp/brought";
    let id =
        embedded.create(Overrides { entrypoint: Some(words(&["sh", "-c", script])), ..Overrides::default() });
    embedded.now(embedded.engine.copy_in(&id, "/www", archive(b"before")));
    embedded.now(embedded.engine.start(&id));
    embedded.wait_for_log(&id, "640 7 8\nbefore.\n");
    embedded.now(embedded.engine.copy_in(&id, "tmp", archive(b"meanwhile")));
    embedded.wait_for_log(&id, "640 7 8\nbefore.\nmeanwhile");
    embedded.now(embedded.engine.wait(&id));
    let error = embedded.runtime.block_on(embedded.engine.copy_in(&id, "/none", archive(b""))).unwrap_err();
    assert!(error.to_string().contains("go to /none in the container"), "{error}");
    embedded.now(embedded.engine.remove(&id, false));
    embedded.expect_nothing();
}

#[test]
fn a_build_through_the_collector_makes_the_same_image() {
    let embedded = Embedded::with_image(&web_server());
    let built = |folder: &str, layers: &str| {
        let made = format!("--copy-meta-artifacts={folder}");
        let mut command = embedded.slim(&["build", "--http-probe", "--exec=cat /data/seed", &made, "test:1"]);
        command.env("DOCKER_SLIM_LOCAL_LAYERS", layers);
        Finished::of(command.output().unwrap()).expect(0);
        embedded.engine.store().find("test.slim:1").unwrap().unwrap().id
    };
    let in_place = built("one", "");
    assert_eq!(built("other", "off"), in_place);
    embedded.expect_nothing();
}
