//! Flags against the real engine: what the container got, what ran, what is in the image.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests panic, and say why they are skipped")]

mod common;

use common::{Context, docker, engine_is_here, files_of, image_id};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;

const QUIET: [&str; 3] = ["build", "--keep=observed", "--http-probe-off"];

fn inspect(image: &str, field: &str) -> String {
    docker(&["image", "inspect", "-f", &format!("{{{{json {field}}}}}"), image])
}

#[test]
fn the_container_gets_what_the_flags_say() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let script = "#!/bin/sh\nset -e\n\
        test \"$A-$B\" = flag-file\n\
        busybox grep -q '10.9.8.7.*database' /etc/hosts\n\
        busybox grep -q 'nameserver 10.0.0.2' /etc/resolv.conf\n\
        busybox grep -q 'search example.com' /etc/resolv.conf\n\
        test \"$(cat /proc/sys/net/core/somaxconn)\" = 77\n\
        busybox df /dev/shm | busybox grep -q ' 2048 '\n\
        test -e /data/seed\n\
        test \"$(cat /proc/self/limits | busybox grep 'open files' | busybox tr -s ' ' | busybox cut -d' ' -f4)\" = 1234\n";
    let image = context.busybox_image(
        "flags-container",
        &[("/check", 0o755, script), ("/data/seed", 0o644, "x"), ("/data/unused", 0o644, "x")],
        &["ENTRYPOINT [\"/check\"]"],
    );
    let path = |name: &str, text: &str| {
        let path = context.path(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let env_file = path("env", "A=file\nB=file\n");
    let host_file = path("host.json", r#"{"Ulimits": [{"Name": "nofile", "Soft": 1234, "Hard": 1234}]}"#);
    let arguments = [
        &QUIET[..],
        &["--env-file", &env_file, "--env=A=flag", "--etc-hosts-map=database:10.9.8.7"],
        &[
            "--container-dns=10.0.0.2",
            "--container-dns-search=example.com",
            "--cro-sysctl=net.core.somaxconn=77",
        ],
        &[
            "--cro-shm-size=2097152",
            "--cro-host-config-file",
            &host_file,
            "--volume=/data",
            "--cro-runtime=runc",
        ],
        &[
            "--image-overrides=volume,label,expose,env",
            "--label=made=here",
            "--expose=9000",
            "--new-cmd=one 'two three'",
        ],
        &["--new-label=more=1", "--remove-env=PATH", &image],
    ]
    .concat();
    context.run_slim(&arguments).expect(0);

    let slim = format!("{image}.slim");
    assert_eq!(inspect(&slim, ".Config.Volumes"), r#"{"/data":{}}"#);
    assert_eq!(inspect(&slim, ".Config.Labels"), r#"{"made":"here","more":"1"}"#);
    assert_eq!(inspect(&slim, ".Config.ExposedPorts"), r#"{"9000/tcp":{}}"#);
    assert_eq!(inspect(&slim, ".Config.Cmd"), r#"["one","two three"]"#);
    assert_eq!(inspect(&slim, ".Config.Env"), r#"["A=flag","B=file"]"#);
    assert!(files_of(&slim).contains("data/unused"), "what the image holds under a volume is kept whole");
}

#[test]
fn commands_on_the_host_reach_the_container_and_a_failing_one_is_exit_code_6() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let image = context.busybox_image(
        "flags-host-exec",
        &[("/www/index.html", 0o644, "hello"), ("/www/other.html", 0o644, "other")],
        &["ENTRYPOINT [\"/bin/httpd\", \"-f\", \"-p\", \"8000\", \"-h\", \"/www\"]", "EXPOSE 8000"],
    );
    let get = "exec 3<>/dev/tcp/localhost/$SLIM_PORT_8000; printf 'GET /other.html HTTP/1.0\\r\\n\\r\\n' >&3; grep -q other <&3";
    let host_exec = format!("--host-exec=bash -c \"{}\"", get.replace('$', "\\$").replace('"', "\\\""));
    let arguments =
        [&QUIET[..], &[&host_exec, "--continue-after=host-exec", "--verify=off", &image]].concat();
    context.run_slim(&arguments).expect(0);
    let files = files_of(&format!("{image}.slim"));
    assert!(files.contains("www/other.html") && !files.contains("www/index.html"), "{files:?}");

    let failed = context
        .run_slim(&[&QUIET[..], &["--tag=slimtest-none", "--host-exec=echo why; exit 3", &image]].concat());
    assert!(
        failed.expect(6).stderr.contains("exit code 3") && failed.stderr.contains("why"),
        "{}",
        failed.stderr
    );
    assert_eq!(image_id("slimtest-none"), None);
}

#[test]
fn a_script_runs_in_the_container_and_artifacts_go_when_they_are_not_wanted() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let image = context.busybox_image(
        "flags-exec-file",
        &[("/data/used", 0o644, "x"), ("/data/unused", 0o644, "x")],
        &["ENTRYPOINT [\"/bin/sh\", \"-c\", \"trap 'exit 0' TERM; sleep 1000 & wait\"]"],
    );
    let script = context.path("script");
    fs::write(&script, "cat /data/used\n").unwrap();
    let parameters = context.path("parameters.json");
    let text = serde_json::json!({"exec-file": script, "http-probe-off": true, "tag": ["slimtest-flags-exec-file.slim"]});
    fs::write(&parameters, text.to_string()).unwrap();
    let arguments = [
        "build",
        "--keep=observed",
        "--remove-file-artifacts",
        "--copy-meta-artifacts=copies",
        "--command-params-file",
    ];
    let done = context.run_slim(
        &[&arguments[..], &[parameters.to_str().unwrap(), "--stop-grace-period=1", &image]].concat(),
    );
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    assert!(done.stderr.contains("--stop-grace-period"), "{}", done.stderr);
    context.run_slim(&[&arguments[..], &[parameters.to_str().unwrap(), &image]].concat()).expect(0);
    let files = files_of(&format!("{image}.slim"));
    assert!(files.contains("data/used") && !files.contains("data/unused"), "{files:?}");
    assert!(!context.path(".images").exists());
    assert!(context.path("copies/trace.json").exists());
}

#[test]
fn the_fat_image_is_built_from_a_dockerfile_first() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let folder = context.path("context");
    fs::create_dir(&folder).unwrap();
    fs::copy("/bin/busybox", folder.join("busybox")).unwrap();
    fs::write(folder.join("seed"), "x").unwrap();
    fs::write(
        folder.join("Recipe"),
        "FROM scratch AS first\nARG WHAT\nCOPY busybox /bin/busybox\nCOPY seed /$WHAT\nENTRYPOINT [\"/bin/busybox\", \"cat\", \"/seed\"]\n\
         FROM first AS second\nCOPY seed /second\n",
    )
    .unwrap();
    let slim = "slimtest-flags-dockerfile";
    context.remove_later(slim);
    let flags = [
        "--dockerfile=Recipe",
        "--cbo-build-arg=WHAT=seed",
        "--cbo-target=first",
        "--delete-generated-fat-image",
    ];
    let built = context.run_slim(&[&QUIET[..], &flags, &["--tag", slim, folder.to_str().unwrap()]].concat());
    built.expect(0);
    let files = files_of(slim);
    assert!(files.contains("seed") && !files.contains("second"), "{files:?}");
    assert_eq!(image_id(&format!("{slim}.fat")), None);

    fs::write(folder.join("Recipe"), "FROM scratch\nCOPY missing /\n").unwrap();
    let failed = context
        .run_slim(&[&QUIET[..], &["--dockerfile=Recipe", "--tag", slim, folder.to_str().unwrap()]].concat());
    assert!(failed.expect(4).stderr.contains("missing"), "{}", failed.stderr);
}

/// A registry that knows one image, as far as `docker pull` asks for it.
fn registry(config: Vec<u8>, layer: Vec<u8>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let digest = |bytes: &[u8]| slim_image::Digest::of(bytes).to_string();
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "size": config.len(), "digest": digest(&config)},
        "layers": [{"mediaType": "application/vnd.docker.image.rootfs.diff.tar", "size": layer.len(), "digest": digest(&layer)}],
    })
    .to_string()
    .into_bytes();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut request = String::new();
            // The engine tries TLS first, which is no text.
            if reader.read_line(&mut request).is_err() {
                continue;
            }
            let mut line = String::new();
            while reader.read_line(&mut line).unwrap() > 2 {
                line.clear();
            }
            let path = request.split(' ').nth(1).unwrap_or_default();
            let blob = |bytes: &[u8]| path.ends_with(&digest(bytes));
            let (status, kind, body): (_, _, &[u8]) = match path {
                "/v2/" => ("200 OK", "application/json", b"{}"),
                _ if path.ends_with("/manifests/1") || blob(&manifest) => {
                    ("200 OK", "application/vnd.docker.distribution.manifest.v2+json", &manifest)
                }
                _ if blob(&config) => ("200 OK", "application/octet-stream", &config),
                _ if blob(&layer) => ("200 OK", "application/octet-stream", &layer),
                _ => ("404 Not Found", "application/json", b"{}"),
            };
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\ndocker-content-digest: {}\r\nconnection: close\r\n\r\n",
                body.len(),
                digest(body)
            );
            // A client that hangs up early has what it wants.
            let _ = stream.write_all(head.as_bytes());
            if !request.starts_with("HEAD") {
                let _ = stream.write_all(body);
            }
        }
    });
    port
}

#[test]
fn an_image_that_the_engine_does_not_hold_is_pulled_unless_forbidden() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let image = context.busybox_image("flags-pull-source", &[], &["ENTRYPOINT [\"/bin/echo\", \"hello\"]"]);
    let saved = context.path("saved.tar");
    docker(&["save", "-o", saved.to_str().unwrap(), &image]);
    let unpacked = context.path("unpacked");
    fs::create_dir(&unpacked).unwrap();
    common::run("tar", &["-C", unpacked.to_str().unwrap(), "-xf", saved.to_str().unwrap()]);
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(unpacked.join("manifest.json")).unwrap()).unwrap();
    let read = |name: &serde_json::Value| {
        let mut bytes = Vec::new();
        fs::File::open(unpacked.join(name.as_str().unwrap())).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    };
    let port = registry(read(&manifest[0]["Config"]), read(&manifest[0]["Layers"][0]));
    let name = format!("127.0.0.1:{port}/slimtest-flags-pull:1");
    docker(&["rmi", "-f", &image]);

    let forbidden = context.run_slim(&[&QUIET[..], &["--pull=false", &name]].concat());
    assert!(forbidden.expect(4).stderr.contains(&name), "{}", forbidden.stderr);
    context.remove_later(&name);
    let slim = "slimtest-flags-pull.slim";
    context.remove_later(slim);
    let pulled = context.run_slim(&[&QUIET[..], &["--tag", slim, &name]].concat());
    assert!(pulled.expect(0).stderr.contains("pulling"), "{}", pulled.stderr);
    assert!(image_id(slim).is_some());
    let missing = format!("127.0.0.1:{port}/slimtest-flags-none:2");
    let failed = context.run_slim(&[&QUIET[..], &[&missing]].concat());
    assert!(failed.expect(4).stderr.contains("cannot pull it"), "{}", failed.stderr);
}

#[test]
fn profile_writes_the_profiles_and_makes_no_image() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let image = context.busybox_image("flags-profile", &[], &["ENTRYPOINT [\"/bin/echo\", \"hello\"]"]);
    let log = context.path("log");
    let done = context.run_slim(&[
        "profile",
        "--http-probe-off",
        "--verbose",
        "--log",
        log.to_str().unwrap(),
        &image,
    ]);
    done.expect(0);
    assert_eq!(image_id(&format!("{image}.slim")), None);
    assert!(log.exists());
    let found = common::run("find", &[context.path(".images").to_str().unwrap(), "-name", "*-seccomp.json"]);
    assert!(found.ends_with("-seccomp.json"), "{found}");
}

#[test]
fn an_address_is_probed_without_any_container() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut request = String::new();
            reader.read_line(&mut request).unwrap();
            let mut line = String::new();
            while reader.read_line(&mut line).unwrap_or(0) > 2 {
                line.clear();
            }
            let status = if request.contains(" /bad ") { "500 Broken" } else { "200 OK" };
            let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    let context = Context::new();
    let good = context.run_slim(&["probe", &address, "--output-format=json", "--http-probe-cmd=/good"]);
    let document: serde_json::Value = serde_json::from_str(&good.expect(0).stdout).unwrap();
    assert_eq!(document["recording"]["exchanges"][0]["request"]["path"], "/good");
    assert!(good.stderr.contains("200 GET"), "{}", good.stderr);
    let bad = context.run_slim(&["probe", "--target", &address, "--http-probe-cmd=/bad"]);
    assert!(bad.expect(6).stderr.contains("server error"), "{}", bad.stderr);
}

#[test]
fn the_docker_command_runs_us_as_its_plugin() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let image = context.busybox_image("flags-plugin", &[], &["ENTRYPOINT [\"/bin/echo\", \"hello\"]"]);
    let plugins = context.path("config/cli-plugins");
    fs::create_dir_all(&plugins).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_docker-slim"), plugins.join("docker-slim")).unwrap();
    let docker = |arguments: &[&str]| {
        let mut command = std::process::Command::new("docker");
        command
            .args(arguments)
            .env("DOCKER_CONFIG", context.path("config"))
            .current_dir(context.folder.path());
        common::Finished::of(command.output().unwrap())
    };
    let help = docker(&["--help"]);
    assert!(help.expect(0).stdout.contains("Make a container image small"), "{}", help.stdout);
    docker(&["slim", "version"]).expect(0);
    docker(&["--host", "unix:///var/run/docker.sock", "slim", "build", "--http-probe-off", &image]).expect(0);
    assert!(image_id(&format!("{image}.slim")).is_some());
    docker(&["slim", "build", "slimtest-there-is-none"]).expect(4);
}
