//! Ways to come into a container and to live there, on a real Docker Engine: what belongs to the container's programs
//! is seen, what belongs to the runtime is kept apart.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]
#![expect(clippy::print_stderr, reason = "a test that cannot run says why")]

mod support;

use slim_trace::Access::{Create, Execute, Open, Stat};
use slim_trace::{MountKind, Phase, Process, Trace, TracedPath, Transport};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use support::{Container, Image, accesses, calls, calls_in, docker, has, paths, ready};

const SLEEP: &[&str] = &["/bin/sleep", "60"];

fn image(test: &str) -> Image {
    let image = Image::new(test);
    image.file("m/marker", "marker").file("m/other", "marker");
    image
}

/// The processes that ran this program.
fn running<'a>(trace: &'a Trace, argument: &'a str) -> impl Iterator<Item = &'a Process> {
    trace.processes.iter().filter(move |process| process.argv.iter().any(|given| given == argument))
}

/// Neither the runtime's own files nor anything of the machine is among the paths.
fn assert_nothing_of_the_machine(trace: &Trace) {
    let foreign: Vec<String> = paths(trace)
        .into_iter()
        .filter(|path| {
            ["/var/lib", "/run/containerd", "/run/docker", "/sys", "/proc", "/usr", "/root"]
                .iter()
                .any(|folder| path.starts_with(folder))
        })
        .collect();
    assert_eq!(foreign, Vec::<String>::new());
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < Duration::from_secs(30), "never {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_runtimes_work_is_kept_apart() {
    if !ready() {
        return;
    }
    let image = image("runtime");
    image.import(&[]);
    let trace = image.watch(&[], &["/bin/cat", "/m/marker"]);
    assert!(has(&trace, "/m/marker", Open) && has(&trace, "/bin/busybox", Execute));
    assert_nothing_of_the_machine(&trace);
    let (runtime, filtered) = (calls_in(&trace, Phase::Runtime), calls_in(&trace, Phase::RuntimeFiltered));
    assert!(runtime.contains("pivot_root") && runtime.contains("mount"), "{runtime:?}");
    assert!(filtered.contains("execve"), "{filtered:?}");
    assert!((5..50).contains(&filtered.len()), "{filtered:?}");
    assert!(!filtered.contains("mount") && !filtered.contains("pivot_root"), "{filtered:?}");
    let own = calls(&trace);
    assert!(own.contains("open") || own.contains("openat"), "{own:?}");
    for call in ["execve", "mount", "pivot_root", "seccomp"] {
        assert!(!own.contains(call), "{call} is the runtime's: {own:?}");
    }
    assert!(
        trace.processes.iter().any(|process| process.began == Phase::Runtime && process.executable.is_none())
    );
}

#[test]
fn a_program_started_by_docker_exec_is_one_of_the_container() {
    if !ready() {
        return;
    }
    let image = image("exec");
    image.import(&[]);
    let container = image.create(&[], SLEEP);
    let mut observer = container.start();
    observer.enter_phase(Phase::Exercise);
    container.exec(&["/bin/cat", "/m/marker"]);
    container.exec(&["/bin/sh", "-c", "cd /m; cat ./other; true"]);
    observer.enter_phase(Phase::Shutdown);
    container.stop();
    let trace = observer.finish().unwrap();
    assert!(has(&trace, "/m/marker", Open) && has(&trace, "/m/./other", Open));
    assert_nothing_of_the_machine(&trace);
    let cat = running(&trace, "/m/marker").next().unwrap();
    assert_eq!((cat.parent, cat.began), (None, Phase::Exercise));
    assert_eq!(cat.invoked_as, Some(TracedPath::new("/bin/cat")));
    for call in ["mount", "setns", "seccomp"] {
        assert!(!calls(&trace).contains(call), "{call} is the runtime's");
    }
    let phases =
        |path| support::of_path(&trace, path).flat_map(|file| file.phases.clone()).collect::<Vec<_>>();
    assert_eq!(phases(b"/m/marker"), [Phase::Exercise]);
}

#[test]
fn a_health_check_is_seen() {
    if !ready() {
        return;
    }
    let image = image("health");
    image.import(&[]);
    let container = image.create(&["--health-cmd", "cat /m/marker", "--health-interval", "1s"], SLEEP);
    let observer = container.start();
    let format = ["inspect", "--format", "{{.State.Health.Status}}", &container.id];
    wait_until("healthy", || docker(&format) == "healthy");
    container.stop();
    let trace = observer.finish().unwrap();
    assert!(has(&trace, "/m/marker", Open));
    assert_nothing_of_the_machine(&trace);
}

#[test]
fn an_init_of_the_engine_is_in_the_way_of_nothing() {
    if !ready() {
        return;
    }
    let image = image("init");
    image.import(&[]);
    let trace = image.watch(&["--init"], &["/bin/cat", "/m/marker"]);
    assert!(has(&trace, "/m/marker", Open));
    assert_nothing_of_the_machine(&trace);
    let init = trace.processes.iter().position(|process| {
        process.executable.as_ref().is_some_and(|file| file.as_bytes().ends_with(b"init"))
    });
    let init = u32::try_from(init.unwrap()).unwrap();
    let cat = trace.processes.iter().find(|process| process.argv == ["/bin/cat", "/m/marker"]).unwrap();
    // Its own file came from the engine; the program is a child (of a fork) of it.
    let fork = trace.process(cat.parent.unwrap()).unwrap();
    assert_eq!(fork.parent.map(|parent| parent.0), Some(init));
    assert!(!paths(&trace).iter().any(|path| path.contains("docker-init")), "{:?}", paths(&trace));
}

#[test]
fn an_entrypoint_on_a_bind_mount_is_followed_and_does_not_count() {
    if !ready() {
        return;
    }
    let image = image("bind");
    image.import(&[]);
    let host = Image::new("bind-host");
    host.executable("entry", "#!/bin/sh -e\ncat /m/marker\ncat /host/etc/beside\n").file("etc/beside", "");
    let bind = format!("{}:/host:ro", host.folder.path().display());
    let trace = image.watch(&["-v", &bind, "--entrypoint", "/host/entry"], &[]);
    assert!(
        has(&trace, "/m/marker", Open)
            && has(&trace, "/bin/busybox", Execute)
            && has(&trace, "/bin/sh", Execute)
    );
    assert!(!paths(&trace).iter().any(|path| path.starts_with("/host")), "{:?}", paths(&trace));
    let script = running(&trace, "/host/entry").next().unwrap();
    assert_eq!(script.shebang, [TracedPath::new("/bin/sh")]);
    assert_eq!(script.invoked_as, Some(TracedPath::new("/host/entry")));
    assert_eq!(script.executable, Some(TracedPath::new("/bin/busybox")));
    let bound = trace.mounts.iter().find(|mount| mount.path == "/host".into()).unwrap();
    assert_eq!(bound.kind, MountKind::Other);
}

#[test]
fn a_numeric_user_is_seen_like_root() {
    if !ready() {
        return;
    }
    let image = image("user");
    image.import(&[]);
    let options =
        ["--user", "1234:4321", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--read-only"];
    let trace = image.watch(&options, &["/bin/sh", "-c", "cat /m/marker; cat /m/nothing; true"]);
    assert!(has(&trace, "/m/marker", Open));
    assert_eq!(accesses(&trace, "/m/nothing"), [slim_trace::Access::Missing].into());
}

#[test]
fn only_anonymous_volumes_of_the_image_count() {
    if !ready() {
        return;
    }
    let image = image("volumes");
    for name in ["data", "named"] {
        fs::create_dir(image.path(name)).unwrap();
        image.file(&format!("{name}/seed"), "seed");
    }
    image.import(&["VOLUME /data", "VOLUME /named"]);
    let volume = format!("{}-volume", image.name);
    let options = ["-v", &format!("{volume}:/named")];
    let command = [
        "/bin/sh",
        "-c",
        "cat /proc/self/root/data/seed /named/seed; echo x > /data/new; exec cat /m/marker",
    ];
    let container = image.create(&options, &command);
    let observer = container.start_with_volumes(&["/data", "/named"]);
    container.wait();
    let trace = observer.finish().unwrap();
    drop(container);
    docker(&["volume", "rm", &volume]);
    assert!(has(&trace, "/data/seed", Open), "what fanotify sees of a volume: {:?}", paths(&trace));
    assert!(has(&trace, "/data/new", Create) && has(&trace, "/m/marker", Open));
    assert!(!paths(&trace).iter().any(|path| path.starts_with("/named")));
    let kind = |path: &str| trace.mounts.iter().find(|mount| mount.path == path.into()).unwrap().kind;
    assert_eq!(
        (kind("/data"), kind("/named"), kind("/")),
        (MountKind::ImageVolume, MountKind::Other, MountKind::Root)
    );
}

#[test]
fn the_loader_and_libraries_of_a_dynamic_program_are_seen() {
    if !ready() {
        return;
    }
    let image = image("dynamic");
    let source = image.path("tmp/hello.c");
    fs::write(&source, "#include <unistd.h>\nint main(void) { return access(\"/m/marker\", 0); }\n").unwrap();
    support::run("cc", &[source.to_str().unwrap(), "-o", image.path("hello").to_str().unwrap()]);
    let libraries = support::run("ldd", &[image.path("hello").to_str().unwrap()]);
    for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
        let copy = image.path(library.trim_start_matches('/'));
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(library, copy).unwrap();
    }
    image.import(&["CMD [\"/hello\"]"]);
    let trace = image.watch(&[], &[]);
    let hello = running(&trace, "/hello").next().unwrap();
    let loader = hello.interpreter.as_ref().unwrap();
    assert!(loader.as_bytes().starts_with(b"/lib64/ld-linux"), "{loader}");
    assert!(accesses(&trace, loader.as_bytes()).contains(&Execute));
    assert!(paths(&trace).iter().any(|path| path.contains("libc.so.6")), "{:?}", paths(&trace));
    assert!(has(&trace, "/m/marker", Stat));
}

#[test]
fn operations_of_io_uring_are_seen() {
    if !ready() {
        return;
    }
    let image = image("uring");
    image.compiled("calls", "calls.c", &[]);
    image.file("m/ring_open", "").file("m/ring_stat", "").file("m/ring_unlink", "").import(&[]);
    let container = image.create(&["--security-opt", "seccomp=unconfined"], &["/calls", "rings"]);
    let observer = container.start();
    match container.wait().as_str() {
        "77" => eprintln!("skipped: this kernel has io_uring switched off"),
        code => {
            assert_eq!(code, "0", "{}", container.logs());
            let trace = observer.finish().unwrap();
            assert!(has(&trace, "/m/ring_open", Open) && has(&trace, "/m/ring_stat", Stat));
            assert!(has(&trace, "/m/ring_unlink", slim_trace::Access::Remove));
            let opcodes: Vec<u8> = trace.io_uring.iter().map(|operation| operation.opcode).collect();
            assert_eq!(opcodes, [18, 21, 36]);
        }
    }
}

#[test]
fn refused_calls_are_told_from_calls() {
    if !ready() {
        return;
    }
    let image = image("denied");
    image.compiled("calls", "calls.c", &[]);
    image.import(&[]);
    let trace = image.watch(&[], &["/calls", "denied"]);
    let calls = calls(&trace);
    assert!(calls.contains("setuid") && calls.contains("exit_group"), "{calls:?}");
    for call in ["mount", "unshare", "#500"] {
        assert!(!calls.contains(call), "{call} was refused");
        let errors: Vec<_> =
            support::programs_calls(&trace).filter_map(|calls| calls.denied.get(call)).collect();
        assert_eq!(errors.len(), 1, "{call}");
        assert!(errors[0].contains("EPERM") || errors[0].contains("ENOSYS"), "{call}: {errors:?}");
    }
}

#[test]
fn ports_are_known_while_the_program_runs() {
    if !ready() {
        return;
    }
    let image = image("ports");
    image.compiled("calls", "calls.c", &[]);
    image.import(&[]);
    let container = image.create(&[], &["/calls", "listens"]);
    let observer = container.start();
    wait_until("listening", || observer.listening().len() >= 2);
    container.stop();
    let mut found: Vec<(Transport, String, u16)> = observer
        .listening()
        .iter()
        .map(|listening| (listening.transport, listening.address.to_string(), listening.port))
        .collect();
    found.retain(|(_, _, port)| *port != 8082 || Path::new("/proc/net/if_inet6").exists());
    assert!(found.contains(&(Transport::Tcp, "127.0.0.1".to_owned(), 8081)), "{found:?}");
    assert!(found.contains(&(Transport::Udp, "0.0.0.0".to_owned(), 8083)), "{found:?}");
    assert!(!found.iter().any(|(_, _, port)| *port == 8084), "it was bound only: {found:?}");
    let trace = observer.finish().unwrap();
    assert!(
        trace.listening.iter().all(|listening| trace
            .process(listening.process)
            .unwrap()
            .executable
            .is_some())
    );
}

#[test]
fn an_exec_by_another_thread_is_followed() {
    if !ready() {
        return;
    }
    let image = image("threads");
    image.file("m/thread", "").compiled("calls", "calls.c", &[]);
    image.import(&[]);
    let trace = image.watch(&[], &["/calls", "threads"]);
    let cat = running(&trace, "cat").next().unwrap();
    let parent = trace.process(cat.parent.unwrap()).unwrap();
    assert_eq!(parent.argv, ["/calls", "threads"]);
    assert_eq!(support::of_path(&trace, b"/m/thread").count(), 2, "once for each program");
}

/// The folder of a container's control group, in the hierarchy that the sensor uses.
fn control_group(pid: &str) -> PathBuf {
    let table = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let line = |controller: &str| {
        table.lines().find_map(|line| {
            let mut columns = line.splitn(3, ':').skip(1);
            (columns.next() == Some(controller))
                .then(|| columns.next().unwrap().trim_start_matches('/').to_owned())
        })
    };
    match line("memory") {
        Some(path) => Path::new("/sys/fs/cgroup/memory").join(path),
        None => Path::new("/sys/fs/cgroup").join(line("").unwrap()),
    }
}

/// Runs a command in the container as a runtime does that puts it into a control group of its own.
fn enter(pid: &str, group: &Path, command: &str) {
    let script =
        format!("echo $$ > {}/cgroup.procs && exec nsenter -t {pid} -m -r {command}", group.display());
    support::run("sh", &["-c", &script]);
}

#[test]
fn a_control_group_below_the_containers_belongs_to_it() {
    if !ready() {
        return;
    }
    let image = image("below");
    image.import(&[]);
    let container = image.create(&[], SLEEP);
    let observer = container.start();
    let pid = docker(&["inspect", "--format", "{{.State.Pid}}", &container.id]);
    let below = control_group(&pid).join("one/below");
    fs::create_dir_all(&below).unwrap();
    enter(&pid, &below, "/bin/cat /m/marker");
    // The same from outside: the same root, but not of the container.
    support::run("nsenter", &["-t", &pid, "-m", "-r", "/bin/cat", "/m/other"]);
    fs::remove_dir(&below).unwrap();
    fs::remove_dir(below.parent().unwrap()).unwrap();
    container.stop();
    let trace = observer.finish().unwrap();
    assert!(has(&trace, "/m/marker", Open));
    assert_eq!(accesses(&trace, "/m/other"), [].into(), "a process outside of the container did that");
    assert_nothing_of_the_machine(&trace);
}

#[test]
fn ten_thousand_short_processes_lose_nothing() {
    if !ready() {
        return;
    }
    let image = image("forks");
    image.compiled("calls", "calls.c", &[]);
    for number in 0..2000 {
        image.file(&format!("m/f{number:04}"), "");
    }
    image.import(&[]);
    let container = image.create(&[], &["/calls", "forks", "10000", "8"]);
    let observer = container.start();
    assert_eq!(container.wait(), "0");
    let trace = observer.finish().unwrap();
    let unseen: Vec<usize> =
        (0..2000).filter(|number| !has(&trace, &format!("/m/f{number:04}"), Open)).collect();
    assert_eq!(unseen, Vec::<usize>::new());
    assert_eq!(running(&trace, "forks").count(), 2, "equal children are one process");
}

#[test]
fn a_full_buffer_fails_the_observation_with_its_figure() {
    if !ready() {
        return;
    }
    let image = image("drops");
    image.compiled("calls", "calls.c", &[]);
    image.import(&[]);
    let container = image.create(&[], &["/calls", "misses", "20000"]);
    let mut observer = container.arm(4096, &[]);
    docker(&["start", &container.id]);
    observer.wait_started(Duration::from_secs(30)).unwrap();
    container.wait();
    match observer.finish() {
        Err(slim_sensor::SensorError::Dropped { count, buffer_bytes, what }) => {
            assert!(count > 0 && what.contains("ring buffer"), "{what}");
            assert_eq!(buffer_bytes, 4096);
        }
        other => panic!("twenty thousand paths in a page: {other:?}"),
    }
}

/// Whether any process of the container is stopped.
fn is_stopped(container: &Container) -> bool {
    let pid = docker(&["inspect", "--format", "{{.State.Pid}}", &container.id]);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    pid != "0" && status.contains("State:\tT")
}

#[test]
fn a_sensor_that_ends_early_leaves_nothing_stopped() {
    if !ready() {
        return;
    }
    let image = image("early");
    image.import(&[]);
    for delay in [0, 100, 150, 200, 250, 300, 350, 400] {
        let container = image.create(&[], SLEEP);
        let observer = container.arm(support::BUFFER_BYTES, &[]);
        let starting = std::thread::spawn({
            let id = container.id.clone();
            move || docker(&["start", &id])
        });
        std::thread::sleep(Duration::from_millis(delay));
        drop(observer);
        starting.join().unwrap();
        std::thread::sleep(Duration::from_millis(100));
        assert!(!is_stopped(&container), "after {delay} ms");
    }
}

#[test]
fn a_container_killed_at_its_start_is_no_trouble() {
    if !ready() {
        return;
    }
    let image = image("killed");
    image.import(&[]);
    for delay in [0, 50, 100] {
        let container = image.create(&[], SLEEP);
        let mut observer = container.arm(support::BUFFER_BYTES, &[]);
        docker(&["start", &container.id]);
        std::thread::sleep(Duration::from_millis(delay));
        container.stop();
        let _ = observer.wait_started(Duration::from_millis(200));
        observer.finish().unwrap();
    }
    let never = image.create(&[], SLEEP);
    let mut observer = never.arm(support::BUFFER_BYTES, &[]);
    let since = Instant::now();
    assert!(matches!(
        observer.wait_started(Duration::from_millis(100)),
        Err(slim_sensor::SensorError::NotStarted)
    ));
    assert!(since.elapsed() < Duration::from_secs(2));
    assert!(observer.finish().unwrap().files.is_empty());
}

#[test]
fn two_containers_are_watched_at_once_each_by_its_own() {
    if !ready() {
        return;
    }
    let image = image("two");
    image.import(&[]);
    let one = image.create(&[], &["/bin/cat", "/m/marker"]);
    let other = image.create(&[], &["/bin/cat", "/m/other"]);
    let (mut of_one, mut of_other) = (one.arm(1 << 20, &[]), other.arm(1 << 20, &[]));
    for (container, observer) in [(&one, &mut of_one), (&other, &mut of_other)] {
        docker(&["start", &container.id]);
        observer.wait_started(Duration::from_secs(30)).unwrap();
        container.wait();
    }
    let (of_one, of_other) = (of_one.finish().unwrap(), of_other.finish().unwrap());
    assert!(has(&of_one, "/m/marker", Open) && !has(&of_one, "/m/other", Open));
    assert!(has(&of_other, "/m/other", Open) && !has(&of_other, "/m/marker", Open));
}

#[test]
fn missing_capabilities_are_named_in_one_line() {
    const WITHOUT: &str = "SLIM_SENSOR_TEST_WITHOUT_CAPABILITIES";
    const NAME: &str = "missing_capabilities_are_named_in_one_line";
    if std::env::var_os(WITHOUT).is_some() {
        let error = slim_sensor::preflight().unwrap_err();
        assert_eq!(
            error.to_string(),
            "watch containers: the capabilities DAC_READ_SEARCH, KILL, SYS_PTRACE, SYS_ADMIN, PERFMON, BPF are missing"
        );
        assert!(error.hint().unwrap().contains("sudo"));
        return;
    }
    if !ready() {
        return;
    }
    let program = std::env::current_exe().unwrap();
    let status = Command::new("setpriv")
        .args(["--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"])
        .arg(program)
        .args([NAME, "--exact", "--nocapture"])
        .env(WITHOUT, "1")
        .status()
        .unwrap();
    assert!(status.success());
}
