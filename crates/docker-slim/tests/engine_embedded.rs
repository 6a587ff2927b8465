//! The embedded engine: containers and builds without any daemon. Needs root. What it does as Docker does is compared with
//! a real Docker Engine where one answers.
#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]

mod common;

use common::embedded::{Embedded, archive, busybox_layer, web_server, words};
use common::{Context, docker, engine_is_here, run};
use slim_engine::spec::Security;
use slim_engine::{ContainerSpec, Engine, EngineError, ExecSpec, Mount, Overrides, PublishPort, Run, sweep};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

fn plain() -> serde_json::Value {
    serde_json::json!({"Cmd": ["sh", "-c", "echo out; echo err >&2; exit 3"], "Env": ["A=1"], "WorkingDir": "/made/here"})
}

/// What a container sees of itself: everything that the engine decides and that is the same each time.
const LOOK: &str = "exec 2>&1
grep -E '^(Cap|NoNewPrivs|Seccomp:|Uid|Gid|Groups|SigIgn|SigBlk|Umask)' /proc/self/status | sed -E 's/^(SigIgn:.*)[0-9a-f]{8}$/\\1/'
grep SigIgn /proc/self/status | sed -E 's/.*(.)(.......)$/\\2/'
grep -E '^Max open' /proc/self/limits | sed -E 's/ +/ /g' | busybox cut -d' ' -f1-3
env | grep -v HOSTNAME | sort; pwd; id
mount | grep -vE '^(/dev|overlay|cgroup|none)' | sed -E 's/inode64|size=[0-9]*k|,gid=5//g; s/,,/,/g' | sort
for p in /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /dev/ptmx /dev/fd /dev/stdin /dev/stdout /dev/stderr /dev/core /dev/shm /dev/mqueue /etc/hosts /etc/hostname /etc/resolv.conf / /made /made/here; do stat -c '%n %F %a %u %g' $p; done
cat /proc/sys/net/ipv4/ip_unprivileged_port_start; cat /sys/class/net/lo/flags; ls /sys/class/net
ls -ld /proc/self/fd/0 | sed -E 's/.*-> //'
for p in /proc/kcore /proc/keys /proc/timer_list; do cat $p | busybox head -c 1 | busybox wc -c; done
touch /proc/sys/kernel/x /proc/sysrq-trigger 2>/dev/null || echo read-only
mknod /tmp/sda b 8 0 && cat /tmp/sda 2>&1 | busybox head -c 100
busybox umount /proc 2>&1; busybox mount -t tmpfs x /tmp 2>&1; busybox unshare -m true 2>&1
cat /etc/hostname | busybox wc -c; cat /proc/1/comm
busybox chroot / /bin/true && echo chroot; busybox ulimit -c 2>/dev/null
echo 1 > /proc/sys/net/ipv4/ip_forward 2>/dev/null || echo no forward
";

#[test]
fn a_container_sees_what_it_would_see_under_docker() {
    if !engine_is_here() {
        return;
    }
    let embedded = Embedded::with_image(&plain());
    run("docker", &["load", "-q", "-i", embedded.archive("slimtest-embedded:1", &plain()).to_str().unwrap()]);
    let mut context = Context::new();
    context.remove_later("slimtest-embedded:1");
    for user in ["root", "web", "4711:44"] {
        let under_docker = docker(&[
            "run",
            "--rm",
            "--network=none",
            "--user",
            user,
            "--entrypoint",
            "sh",
            "slimtest-embedded:1",
            "-c",
            LOOK,
        ]);
        let (_, here) =
            embedded.shell_with(LOOK, Overrides { user: Some(user.to_owned()), ..Overrides::default() });
        similar(&under_docker, &here, user);
    }
}

/// Compares line by line, for a message that tells what differs.
#[track_caller]
fn similar(under_docker: &str, here: &str, user: &str) {
    let lines = |text: &str| text.trim().lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
    let (one, other) = (lines(under_docker), lines(here));
    let missing: Vec<&String> = one.iter().filter(|line| !other.contains(line)).collect();
    let new: Vec<&String> = other.iter().filter(|line| !one.contains(line)).collect();
    assert!(missing.is_empty() && new.is_empty(), "as {user}: Docker shows {missing:#?}, we show {new:#?}");
}

#[test]
fn output_and_exit_code_come_back() {
    let embedded = Embedded::with_image(&plain());
    let (code, log) =
        embedded.run_spec(&ContainerSpec { image: "test".to_owned() + ":1", ..ContainerSpec::default() });
    // Two streams: which of two lines comes first is known to the program alone.
    assert!(code == 3 && ["out\nerr\n", "err\nout\n"].contains(&log.as_str()), "{code}: {log}");
    assert_eq!(
        embedded.shell("kill -9 $$; sleep 1").0,
        0,
        "the first process of a container is not killed from inside"
    );
    let (_, log) = embedded.shell_with(
        "echo to the device > /dev/stdout; echo other > /dev/stderr",
        Overrides { user: Some("web".to_owned()), ..Overrides::default() },
    );
    assert_eq!(log.lines().collect::<std::collections::BTreeSet<_>>(), ["other", "to the device"].into());
    let long: String = (0..20_000).map(|line| format!("line {line}\n")).collect();
    let (_, log) = embedded.shell("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done");
    assert!(log == long, "{} bytes instead of {}", log.len(), long.len());
    embedded.expect_nothing();
}

#[test]
fn a_program_that_cannot_be_run_is_a_failed_start_with_the_reason() {
    let embedded = Embedded::with_image(&plain());
    for (program, reason, code) in [
        ("surely-not-there", "executable file not found in $PATH", 127),
        ("/etc/passwd", "ermission denied", 126),
        ("/none", "No such file", 127),
    ] {
        let id = embedded.create(Overrides { entrypoint: Some(words(&[program])), ..Overrides::default() });
        let error = embedded.runtime.block_on(embedded.engine.start(&id)).unwrap_err();
        assert!(matches!(error, EngineError::StartFailed { .. }), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
        let state = embedded.now(embedded.engine.inspect(&id));
        assert!(!state.running && state.error.contains(reason), "{state:?}");
        assert_eq!(state.exit_code, code, "{program}");
        embedded.now(embedded.engine.remove(&id, false));
    }
    let broken = Overrides { user: Some("nobody-here".to_owned()), ..Overrides::default() };
    let id = embedded.create(broken);
    let error = embedded.runtime.block_on(embedded.engine.start(&id)).unwrap_err();
    assert!(error.to_string().contains("no user \"nobody-here\""), "{error}");
    embedded.now(embedded.engine.remove(&id, false));
    embedded.expect_nothing();
}

#[test]
fn commands_run_inside_of_a_running_container() {
    let embedded = Embedded::with_image(&web_server());
    let id = embedded.create(Overrides { env: words(&["OWN=1"]), ..Overrides::default() });
    embedded.now(embedded.engine.start(&id));
    let exec = |argv: &[&str]| ExecSpec { argv: words(argv), ..ExecSpec::default() };
    assert_eq!(embedded.execute(&id, &exec(&["cat", "/www/index.html"])), (0, "hello\n".to_owned()));
    assert_eq!(embedded.execute(&id, &exec(&["sh", "-c", "exit 7"])).0, 7);
    let as_user = ExecSpec {
        user: Some("web".to_owned()),
        env: words(&["MORE=2"]),
        working_directory: Some("/www".to_owned()),
        ..exec(&[
            "sh",
            "-c",
            "id; pwd; echo $OWN $MORE $HOME; grep -E '^(CapBnd|Seccomp:)' /proc/self/status",
        ])
    };
    let (_, said) = embedded.execute(&id, &as_user);
    assert_eq!(
        said,
        "uid=1000(web) gid=1001(web) groups=44(extra),1001(web)\n/www\n1 2 /www\nCapBnd:\t00000000a80425fb\nSeccomp:\t2\n"
    );
    let (_, seen) = embedded
        .execute(&id, &exec(&["sh", "-c", "cat /proc/1/comm; ls /proc | grep -c '^[0-9]'; hostname"]));
    assert!(seen.starts_with("sh\n") && seen.contains(&id.as_str()[..12]), "{seen}");
    let with_input = ExecSpec { stdin: Some(b"typed\n".to_vec()), ..exec(&["cat"]) };
    assert_eq!(embedded.execute(&id, &with_input), (0, "typed\n".to_owned()));
    let error =
        embedded.runtime.block_on(embedded.engine.exec(&id, &exec(&["surely-not-there"]))).unwrap_err();
    assert!(error.to_string().contains("not found in $PATH"), "{error}");
    // It is in the container's control group.
    let state = embedded.now(embedded.engine.inspect(&id));
    let own = fs::read_to_string(format!("/proc/{}/cgroup", state.pid.unwrap())).unwrap();
    let (_, theirs) = embedded.execute(&id, &exec(&["cat", "/proc/self/cgroup"]));
    assert_eq!(own, theirs);
    embedded.now(embedded.engine.stop(&id, Duration::from_secs(10)));
    assert!(embedded.runtime.block_on(embedded.engine.exec(&id, &exec(&["cat"]))).is_err());
    embedded.now(embedded.engine.remove(&id, false));
    embedded.expect_nothing();
}

#[test]
fn a_container_is_stopped_by_its_signal_and_killed_after_the_grace() {
    let embedded = Embedded::with_image(&web_server());
    let id = embedded.create(Overrides::default());
    for log in ["started\n", "started\nstarted\n"] {
        // The same container starts again, with what it wrote.
        embedded.now(embedded.engine.start(&id));
        // A first process is deaf to signals until it says what it does on them.
        embedded.wait_for_log(&id, log);
        let state = embedded.now(embedded.engine.inspect(&id));
        assert!(state.running && state.pid.is_some() && state.status == "running", "{state:?}");
        embedded.now(embedded.engine.stop(&id, Duration::from_secs(10)));
        let state = embedded.now(embedded.engine.inspect(&id));
        assert_eq!((state.running, state.exit_code, state.status.as_str()), (false, 0, "exited"));
    }
    assert_eq!(embedded.now(embedded.engine.logs(&id, None)).bytes, b"started\nstarted\n");
    assert_eq!(embedded.now(embedded.engine.logs(&id, Some(1))).bytes, b"started\n");
    embedded.now(embedded.engine.remove(&id, false));
    let deaf =
        embedded.create(Overrides { entrypoint: Some(words(&["sleep", "1000"])), ..Overrides::default() });
    embedded.now(embedded.engine.start(&deaf));
    assert!(embedded.runtime.block_on(embedded.engine.remove(&deaf, false)).is_err(), "it runs");
    embedded.now(embedded.engine.stop(&deaf, Duration::from_millis(300)));
    assert_eq!(embedded.now(embedded.engine.inspect(&deaf)).exit_code, 137);
    embedded.now(embedded.engine.start(&deaf));
    embedded.now(embedded.engine.pause(&deaf));
    assert!(embedded.now(embedded.engine.inspect(&deaf)).paused);
    // A frozen one can be removed all the same.
    embedded.now(embedded.engine.remove(&deaf, true));
    assert!(matches!(
        embedded.runtime.block_on(embedded.engine.inspect(&deaf)),
        Err(EngineError::ContainerNotFound { .. })
    ));
    embedded.expect_nothing();
}

#[test]
fn volumes_are_seeded_binds_and_memory_are_mounted() {
    let embedded = Embedded::with_image(&web_server());
    let shared = embedded.folder.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("file"), "bound\n").unwrap();
    let bind = format!("{}:/bound:ro", shared.display());
    let mounts = [bind.as_str(), "kept:/www", "type=tmpfs,target=/memory,tmpfs-size=1m"]
        .iter()
        .map(|text| Mount::parse(text, Path::new("/")).unwrap())
        .collect::<Vec<_>>();
    let overrides = Overrides { mounts, ..Overrides::default() };
    let script = "cat /data/seed /bound/file; stat -c '%a %u' /data/seed; touch /bound/x 2>&1; echo new >> /www/index.html; \
                  touch /memory/x && grep -c ' /memory tmpfs' /proc/mounts; cat /www/index.html";
    let (_, log) = embedded.shell_with(script, overrides.clone());
    assert!(log.starts_with("seeded\nbound\n640 0\n"), "{log}");
    assert!(log.contains("Read-only file system") && log.ends_with("1\nhello\nnew\n"), "{log}");
    // The named volume keeps what was written, the anonymous one does not.
    let (_, log) = embedded.shell_with("cat /www/index.html; ls /data; touch /data/more", overrides);
    assert_eq!(log, "hello\nnew\nseed\n");
    embedded.expect_nothing();
}

#[test]
fn a_read_only_root_and_a_profile_are_enforced() {
    let embedded = Embedded::with_image(&plain());
    let with = |security: Security, script: &str| {
        embedded.run_spec(&ContainerSpec {
            image: "test:1".to_owned(),
            overrides: Overrides { entrypoint: Some(words(&["sh", "-c", script])), ..Overrides::default() },
            security,
            ..ContainerSpec::default()
        })
    };
    let tmpfs = [("/tmp".to_owned(), String::new())].into();
    let read_only = Security { read_only_root: true, tmpfs, ..Security::default() };
    let (_, log) = with(read_only, "touch /x 2>&1; touch /tmp/x && echo memory");
    assert_eq!(log, "touch: /x: Read-only file system\nmemory\n");
    let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}"#;
    let options = vec![format!("seccomp={profile}"), "no-new-privileges".to_owned()];
    let refusing = Security { options, ..Security::default() };
    let (_, log) = with(refusing, "mkdir /d 2>&1; grep NoNewPrivs /proc/self/status");
    assert_eq!(log, "mkdir: can't create directory '/d': Operation not permitted\nNoNewPrivs:\t1\n");
    let bare = Security {
        options: words(&["seccomp=unconfined"]),
        capabilities_dropped: words(&["ALL"]),
        capabilities_added: words(&["CAP_CHOWN"]),
        ..Security::default()
    };
    let (_, log) = with(bare, "grep -E '^(CapEff|Seccomp:)' /proc/self/status");
    assert_eq!(log, "CapEff:\t0000000000000001\nSeccomp:\t0\n");
}

/// One request of a web server.
fn asked(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut answer = String::new();
    // Before the server listens the connection is closed, at whatever moment.
    let asked = stream.write_all(b"GET /index.html HTTP/1.0\r\n\r\n");
    let heard = asked.and_then(|()| stream.read_to_string(&mut answer));
    heard.map(|_| answer).unwrap_or_default()
}

#[test]
fn a_port_is_published_and_a_held_one_is_a_failed_start() {
    let embedded = Embedded::with_image(&web_server());
    let overrides =
        Overrides { publish_ports: PublishPort::parse("127.0.0.1::8000").unwrap(), ..Overrides::default() };
    let id = embedded.create(overrides);
    embedded.now(embedded.engine.start(&id));
    let port = embedded.now(embedded.engine.inspect(&id)).ports[0].host_port;
    // The server may take a moment to listen; the proxy then has nobody to hand on to.
    let answer = (0..100).map(|_| asked(port)).find(|answer| {
        std::thread::sleep(Duration::from_millis(20));
        !answer.is_empty()
    });
    assert!(answer.unwrap().ends_with("hello\n"));
    let same = PublishPort::parse(&format!("127.0.0.1:{port}:8000")).unwrap();
    let other = embedded.create(Overrides { publish_ports: same, ..Overrides::default() });
    let error = embedded.runtime.block_on(embedded.engine.start(&other)).unwrap_err();
    assert!(error.to_string().contains("ddress already in use"), "{error}");
    assert!(error.hint().is_some(), "{error}");
}

#[test]
fn what_a_dead_run_left_is_swept_and_what_others_have_stays() {
    let embedded = Embedded::with_image(&web_server());
    let mut dead = slim_engine::host::this_run("dead").unwrap();
    let this = Run { id: "this".to_owned(), ..dead.clone() };
    let mut child = Command::new("true").spawn().unwrap();
    (dead.pid, dead.start_time) = (child.id(), 1);
    child.wait().unwrap();
    let start = |labels| {
        let spec = ContainerSpec { image: "test:1".to_owned(), labels, ..ContainerSpec::default() };
        let id = embedded.now(embedded.engine.create(&spec));
        embedded.now(embedded.engine.start(&id));
        id
    };
    let (running, killed, mine) = (start(dead.labels()), start(dead.labels()), start(this.labels()));
    // One whose keeper was killed: its program may live on.
    let keeper = embedded.engine.store().path().join("containers").join(killed.as_str()).join("keeper.json");
    let keeper: serde_json::Value = serde_json::from_slice(&fs::read(keeper).unwrap()).unwrap();
    run("kill", &["-9", &keeper["pid"].to_string()]);
    let ended = embedded.now(embedded.engine.wait(&killed));
    let state = embedded.now(embedded.engine.inspect(&killed));
    assert!(ended == 137 && !state.running && state.error.contains("killed"), "{state:?}");
    embedded.now(embedded.engine.tag("test:1", &dead.temporary_reference("slim")));
    let swept = embedded.runtime.block_on(sweep(&embedded.engine, &this));
    assert!(swept.errors.is_empty(), "{:?}", swept.errors);
    assert_eq!(swept.removed.len(), 3, "{:?}", swept.removed);
    for gone in [&running, &killed] {
        assert!(embedded.runtime.block_on(embedded.engine.inspect(gone)).is_err());
    }
    assert!(embedded.now(embedded.engine.inspect(&mine)).running);
    embedded.now(embedded.engine.remove(&mine, true));
    embedded.expect_nothing();
}

#[test]
fn the_store_keeps_what_is_needed_and_nothing_else() {
    let embedded = Embedded::with_image(&plain());
    let store = embedded.engine.store();
    let id = store.find("test:1").unwrap().unwrap().id;
    // Names move, ids and their beginnings find the same image.
    store.tag("test:1", "docker.io/library/other").unwrap();
    assert_eq!(store.find("other").unwrap().unwrap().id, id);
    assert_eq!(store.find(&id.short()).unwrap().unwrap().names, ["other:latest", "test:1"]);
    assert!(!store.untag("other").unwrap(), "it has another name");
    let container = embedded.create(Overrides::default());
    let error = store.untag("test:1").unwrap_err();
    assert!(error.to_string().contains(container.short()), "{error}");
    store.prune().unwrap();
    assert!(store.find("test:1").unwrap().is_some());
    embedded.now(embedded.engine.remove(&container, false));
    assert!(store.untag("test:1").unwrap());
    let left = |folder: &str| fs::read_dir(store.path().join(folder)).unwrap().count();
    assert_eq!((left("layers"), left("images/blobs/sha256")), (0, 0));
    // What a killed import leaves.
    fs::create_dir_all(store.path().join("layers/.incoming-x/diff")).unwrap();
    store.prune().unwrap();
    assert_eq!(left("layers"), 0);
}

#[test]
fn an_archive_that_is_not_what_it_says_leaves_nothing_that_counts() {
    let embedded = Embedded::new();
    let store = embedded.engine.store();
    let import = |bytes: &[u8]| {
        let path = embedded.folder.path().join("bad.tar");
        fs::write(&path, bytes).unwrap();
        store.import(&File::open(&path).unwrap()).unwrap_err().to_string()
    };
    let good = archive("a:1", &busybox_layer(), &plain());
    // One byte of the layer is another one.
    let mut damaged = good.clone();
    let at = damaged.windows(6).position(|bytes| bytes == b"seeded").unwrap();
    damaged[at] = b'S';
    assert!(import(&damaged).contains("contents are"), "{}", import(&damaged));
    assert!(!import(&good[..good.len() / 2]).is_empty());
    assert!(!import(b"no archive at all").is_empty());
    let mut out = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes()[..11].copy_from_slice(b"../../../x\0");
    header.set_size(0);
    header.set_mode(0o644);
    header.set_cksum();
    out.append(&header, &b""[..]).unwrap();
    let hostile = archive("a:1", &out.into_inner().unwrap(), &plain());
    assert!(import(&hostile).contains("leads out"), "{}", import(&hostile));
    assert!(store.images().unwrap().is_empty());
    store.prune().unwrap();
    assert_eq!(fs::read_dir(store.path().join("layers")).unwrap().count(), 0);
}

#[test]
fn a_whole_build_needs_no_daemon() {
    let embedded = Embedded::new();
    let archive = embedded.archive("test:1", &web_server());
    embedded.run_slim(&["store", "import", archive.to_str().unwrap()]).expect(0);
    let mut build = embedded.slim(&[
        "build",
        "--http-probe",
        "--http-probe-cmd=/index.html",
        "--exec=cat /data/seed",
        "test:1",
    ]);
    // Nobody is to answer there.
    build.env("PATH", "/none");
    let built = common::Finished::of(build.output().unwrap());
    built.expect(0);
    assert!(built.stderr.contains("under its seccomp profile: same answers"), "{}", built.stderr);
    let listed = embedded.run_slim(&["store", "ls"]);
    assert!(listed.expect(0).stdout.contains("test.slim:1"), "{}", listed.stdout);
    embedded.expect_nothing();
    // The slim image runs and holds what was used.
    let spec = ContainerSpec {
        image: "test.slim:1".to_owned(),
        overrides: Overrides {
            entrypoint: Some(words(&["/bin/sh", "-c", "echo slim"])),
            ..Overrides::default()
        },
        ..ContainerSpec::default()
    };
    assert_eq!(embedded.run_spec(&spec), (0, "slim\n".to_owned()));
}

#[test]
fn what_runs_beside_containers_is_a_copy_that_nobody_can_change() {
    let embedded = Embedded::with_image(&plain());
    // CVE-2019-5736: the image's program has the runtime run itself, inside.
    let script = "printf '#!/proc/self/exe\n' > /bin/trick; busybox chmod 755 /bin/trick; sleep 1000";
    let id =
        embedded.create(Overrides { entrypoint: Some(words(&["sh", "-c", script])), ..Overrides::default() });
    embedded.now(embedded.engine.start(&id));
    let keeper = embedded.engine.store().path().join("containers").join(id.as_str()).join("keeper.json");
    let keeper: serde_json::Value = serde_json::from_slice(&fs::read(keeper).unwrap()).unwrap();
    let own = PathBuf::from(format!("/proc/{}/exe", keeper["pid"]));
    assert!(fs::read_link(&own).unwrap().starts_with("/memfd:docker-slim (deleted)"));
    // A second handle of the same file, which outlives the process that runs it.
    let held = File::open(&own).unwrap();
    embedded.now(embedded.engine.remove(&id, true));
    let again = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&held)));
    let written = fs::OpenOptions::new().write(true).open(&again).and_then(|mut file| file.write_all(b"x"));
    assert!(written.is_err(), "the copy can be changed");
    embedded.expect_nothing();
}

#[test]
fn an_archive_is_built_without_being_imported_first() {
    let embedded = Embedded::new();
    let archive = embedded.archive("test:1", &web_server());
    // The container has no address; commands of this machine reach its ports as if it had one.
    let get = |at: &str| {
        let request = "printf \"GET / HTTP/1.0\\r\\n\\r\\n\" >&3; grep -q hello <&3";
        format!("bash -c 'exec 3<>/dev/tcp/{at}; {request}'")
    };
    embedded
        .run_slim(&[
            "build",
            "--http-probe",
            &format!("--host-exec={}", get("$SLIM_ADDRESS/8000")),
            &format!("--host-exec={}", get("127.0.0.1/$SLIM_PORT_8000")),
            &format!("--verify-cmd={}", get("$DOCKER_SLIM_HOST/$DOCKER_SLIM_PORT_8000")),
            "--compression=zstd",
            "--output=oci:out:1",
            archive.to_str().unwrap(),
        ])
        .expect(0);
    assert!(embedded.folder.path().join("out/index.json").is_file());
    embedded.expect_nothing();
    // What was brought for the build is gone with it.
    let images = embedded.engine.store().images().unwrap();
    assert!(images.iter().all(|image| !image.names.contains(&"test:1".to_owned())), "{images:?}");
}

#[test]
fn run_hands_on_streams_exit_code_and_signals() {
    let embedded = Embedded::with_image(&web_server());
    let ran = embedded.run_slim(&[
        "run",
        "--rm",
        "--entrypoint=sh",
        "test:1",
        "-c",
        "echo out; echo err >&2; exit 5",
    ]);
    assert_eq!((ran.code, &*ran.stdout, &*ran.stderr), (Some(5), "out\n", "err\n"));
    let ran = embedded.run_slim(&["run", "test:1", "surely-not-there"]);
    assert!(ran.expect(5).stderr.contains("not found in $PATH"), "{}", ran.stderr);
    let ran = embedded.run_slim(&["run", "--pull=never", "none:1"]);
    assert!(ran.expect(4).stderr.contains("store import"), "{}", ran.stderr);
    // The profile of a build lets the slim image run, published, and nothing beyond it.
    embedded.run_slim(&["build", "--http-probe", "--copy-meta-artifacts=made", "test:1"]).expect(0);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let published = format!("127.0.0.1:{port}:8000");
    let run =
        ["run", "--rm", "-p", &published, "--policy=made/test-seccomp.json", "--read-only", "test.slim:1"];
    let mut child = embedded.slim(&run).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let answer = (0..500).find_map(|_| {
        std::thread::sleep(Duration::from_millis(20));
        TcpStream::connect(("127.0.0.1", port)).ok().map(|_| asked(port)).filter(|answer| !answer.is_empty())
    });
    common::signal(&child, "INT");
    let code = child.wait().unwrap().code();
    let ended = common::Finished::of(child.wait_with_output().unwrap());
    assert_eq!(code, Some(0), "the program ends on its stop signal: {}", ended.stderr);
    assert!(answer.is_some_and(|answer| answer.ends_with("hello\n")), "{}", ended.stderr);
    assert_eq!(ended.stdout, "started\n");
    embedded.expect_nothing();
}

#[test]
fn a_build_killed_at_any_stage_is_swept_by_the_next_start() {
    let embedded = Embedded::with_image(&web_server());
    let id = embedded.engine.store().find("test:1").unwrap().unwrap().id;
    for stage in ["inspect", "observe", "probe", "keep", "policy", "image", "verify"] {
        let mut build = embedded.slim(&["build", "--http-probe", "test:1"]);
        let mut child = build.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut told = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(told.any(|line| line.unwrap().starts_with(stage)), "the build tells of no stage {stage}");
        child.kill().unwrap();
        child.wait().unwrap();
    }
    embedded.run_slim(&["build", "--http-probe", "test:1"]).expect(0);
    embedded.expect_nothing();
    let names: Vec<String> =
        embedded.engine.store().images().unwrap().into_iter().flat_map(|image| image.names).collect();
    assert_eq!(names, ["test.slim:1", "test:1"]);
    assert_eq!(embedded.engine.store().find("test:1").unwrap().unwrap().id, id);
}

#[test]
fn the_same_trace_keeps_the_same_as_with_docker() {
    if !engine_is_here() {
        return;
    }
    let embedded = Embedded::new();
    let mut context = Context::new();
    let archive = embedded.archive("slimtest-same:1", &web_server());
    run("docker", &["load", "-q", "-i", archive.to_str().unwrap()]);
    context.remove_later("slimtest-same:1");
    context.remove_later("slimtest-same.slim:1");
    embedded.engine.store().import(&File::open(&archive).unwrap()).unwrap();
    let under_docker =
        ["build", "--engine=docker", "--http-probe", "--copy-meta-artifacts=artifacts", "slimtest-same:1"];
    context.run_slim(&under_docker).expect(0);
    let keep = |folder: &Path| fs::read_to_string(folder.join("artifacts/keep.json")).unwrap();
    let trace = context.path("artifacts/trace.json").display().to_string();
    let from_trace = format!("--from-trace={trace}");
    embedded
        .run_slim(&[
            "build",
            "--http-probe",
            &from_trace,
            "--copy-meta-artifacts=artifacts",
            "slimtest-same:1",
        ])
        .expect(0);
    let id = docker(&["image", "inspect", "-f", "{{.Id}}", "slimtest-same.slim:1"]);
    let here = embedded.engine.store().find("slimtest-same.slim:1").unwrap().unwrap();
    assert_eq!(here.id.to_string(), id, "the slim images differ");
    similar(&keep(context.folder.path()), &keep(embedded.folder.path()), "from one trace");
    // A trace of our own names the same files.
    embedded.run_slim(&["build", "--http-probe", "--copy-meta-artifacts=own", "slimtest-same:1"]).expect(0);
    let own = fs::read_to_string(embedded.folder.path().join("own/keep.json")).unwrap();
    similar(&keep(context.folder.path()), &own, "traced by either");
}

#[test]
fn automatic_choice_takes_the_engine_that_has_the_image() {
    let embedded = Embedded::with_image(&web_server());
    let mut build = Command::new(env!("CARGO_BIN_EXE_docker-slim"));
    build.arg("--store-root").arg(embedded.engine.store().path()).args(["build", "--http-probe", "test:1"]);
    let built = common::Finished::of(build.current_dir(embedded.folder.path()).output().unwrap());
    // Where DOCKER_HOST names an engine, that one is meant.
    if std::env::var_os("DOCKER_HOST").is_none() {
        built.expect(0);
        assert!(built.stderr.contains("the embedded engine works"), "{}", built.stderr);
    }
    let mut asked = embedded.slim(&["--host=unix:///none.sock", "build", "test:1"]);
    let refused = common::Finished::of(asked.output().unwrap());
    assert!(refused.expect(2).stderr.contains("has no address"), "{}", refused.stderr);
}
