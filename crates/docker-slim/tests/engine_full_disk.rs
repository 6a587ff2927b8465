//! An engine whose disk is full: a second Docker daemon with its data on a small file system in memory.

#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]

mod common;

use common::{Context, Finished, engine_is_here, run};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A daemon of this test's own, in a network namespace of its own (a daemon takes over `docker0`).
struct SmallEngine {
    daemon: Child,
    folder: PathBuf,
    host: String,
}

impl SmallEngine {
    fn start(context: &Context, size: &str) -> Self {
        let folder = context.path("engine");
        fs::create_dir(&folder).unwrap();
        let path = |name: &str| folder.join(name).display().to_string();
        fs::create_dir(folder.join("data")).unwrap();
        run("mount", &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs", &path("data")]);
        let host = format!("unix://{}", path("docker.sock"));
        let log = fs::File::create(folder.join("log")).unwrap();
        let daemon = Command::new("unshare")
            .args([
                "--net",
                "dockerd",
                "--host",
                &host,
                "--data-root",
                &path("data"),
                "--exec-root",
                &path("exec"),
            ])
            .args(["--pidfile", &path("pid"), "--iptables=false", "--ip-forward=false"])
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let engine = Self { daemon, folder, host };
        let since = Instant::now();
        while !engine.docker(&["version"]).status.success() {
            let log = || fs::read_to_string(engine.folder.join("log")).unwrap();
            assert!(since.elapsed() < Duration::from_secs(60), "the daemon did not start:\n{}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
        engine
    }

    fn docker(&self, arguments: &[&str]) -> std::process::Output {
        Command::new("docker").args(["-H", &self.host]).args(arguments).output().unwrap()
    }

    fn lines(&self, arguments: &[&str]) -> String {
        String::from_utf8(self.docker(arguments).stdout).unwrap()
    }
}

impl Drop for SmallEngine {
    fn drop(&mut self) {
        let pid = self.daemon.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.daemon.wait();
        let _ = Command::new("umount").args(["-R", "-l"]).arg(self.folder.join("data")).status();
        let _ =
            Command::new("umount").args(["-R", "-l"]).arg(self.folder.join("exec/netns/default")).output();
    }
}

#[test]
fn a_full_disk_of_the_engine_is_told_and_nothing_is_left_in_it() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let page = ("/www/index.html", 0o644, "<html><a href=\"/big.bin\">big</a></html>");
    let changes = [common::SERVE, "EXPOSE 8000"];
    let image = context.busybox_image("full-engine", &[page], &changes);
    // Room for the fat image and the collector, not for the slim image, which the daemon unpacks twice.
    let engine = SmallEngine::start(&context, "200m");
    let root = context.path("root-full-engine");
    run("dd", &["if=/dev/urandom", &format!("of={}/www/big.bin", root.display()), "bs=1M", "count=72"]);
    let archive = context.path("big.tar");
    run("tar", &["-C", root.to_str().unwrap(), "-cf", archive.to_str().unwrap(), "."]);
    let mut import = vec!["import"];
    changes.iter().for_each(|change| import.extend(["--change", change]));
    import.extend([archive.to_str().unwrap(), &image]);
    let imported = engine.docker(&import);
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    let before =
        (engine.lines(&["ps", "-aq"]), engine.lines(&["images", "-aq"]), engine.lines(&["volume", "ls"]));

    let arguments = ["--host", &engine.host, "build", "--http-probe", &image];
    let finished = Finished::of(context.slim(&arguments).output().unwrap());

    finished.expect(4);
    assert!(finished.stderr.contains("no space left on device"), "{}", finished.stderr);
    assert!(finished.stderr.contains("docker system df"), "{}", finished.stderr);
    let after =
        (engine.lines(&["ps", "-aq"]), engine.lines(&["images", "-aq"]), engine.lines(&["volume", "ls"]));
    assert_eq!(after, before);
}
