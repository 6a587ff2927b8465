//! Every verb, against a real Docker.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::{Context, docker};
use slim_engine::{
    CandidateKind, ContainerId, ContainerSpec, Engine, EngineError, Mount, Overrides, PublishPort, Run, sweep,
};
use std::collections::BTreeMap;
use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

const TERM: i64 = 15;
const QUIT: i64 = 3;

#[tokio::test]
async fn describes_itself_as_docker_version_does() {
    let Some(context) = Context::new().await else { return };
    let described = context.engine.describe().await.unwrap();
    assert_eq!(described.name, "docker");
    assert_eq!(described.version, docker(&["version", "--format", "{{.Server.Version}}"]));
    assert_eq!(described.storage_driver, docker(&["info", "--format", "{{.Driver}}"]));
    assert_eq!(described.cgroup_driver, docker(&["info", "--format", "{{.CgroupDriver}}"]));
    assert_eq!(described.cgroup_version.to_string(), docker(&["info", "--format", "{{.CgroupVersion}}"]));
    assert_eq!(described.runtime, docker(&["info", "--format", "{{.DefaultRuntime}}"]));
    assert!(!described.runtime_version.is_empty());
    assert!(described.local);
}

#[tokio::test]
async fn an_image_is_found_by_name_id_and_short_id_with_all_it_says() {
    let Some(mut context) = Context::new().await else { return };
    let name = context.image(&[
        r#"ENTRYPOINT ["/program"]"#,
        r#"CMD ["exit", "7"]"#,
        "ENV A=1 EMPTY=",
        "EXPOSE 80 53/udp",
        "VOLUME /data",
        "USER 1000:1000",
        "WORKDIR /work",
        "LABEL b=2 a=1",
        "STOPSIGNAL SIGQUIT",
        "HEALTHCHECK --interval=5s CMD true",
    ]);
    let image = context.engine.inspect_image(&name).await.unwrap();
    assert_eq!(image.tags, std::slice::from_ref(&name));
    assert_eq!(image.config.command_line(), ["/program", "exit", "7"]);
    assert!(image.config.env.contains(&"A=1".to_owned()) && image.config.env.contains(&"EMPTY=".to_owned()));
    assert_eq!(image.config.exposed_ports.iter().collect::<Vec<_>>(), ["53/udp", "80/tcp"]);
    assert_eq!((image.config.user.as_str(), image.config.working_dir.as_str()), ("1000:1000", "/work"));
    assert_eq!(image.config.stop_signal, "SIGQUIT");
    assert_eq!(image.config.healthcheck.as_ref().unwrap().interval, 5_000_000_000);
    let layers = docker(&["image", "inspect", "--format", "{{join .RootFS.Layers \" \"}}", &name]);
    let ours: Vec<String> = image.layer_diff_ids.iter().map(ToString::to_string).collect();
    assert_eq!(ours.join(" "), layers);
    let history = context.engine.image_history(&name, image.layer_diff_ids.len()).await.unwrap();
    let left_layers = history.iter().filter(|step| !step.empty_layer).count();
    assert_eq!(left_layers, image.layer_diff_ids.len(), "{history:?}");
    assert!(history[0].comment.as_ref().is_some_and(|text| text.starts_with("Imported")), "{history:?}");
    let last = history.last().and_then(|step| step.created_by.as_ref());
    assert!(last.is_some_and(|by| by.contains("STOPSIGNAL")), "{history:?}");
    assert!(image.size > 100_000 && image.architecture == "amd64" && image.os == "linux");
    let id = image.id.to_string();
    for reference in [id.as_str(), &id["sha256:".len()..][..12]] {
        assert_eq!(context.engine.inspect_image(reference).await.unwrap().id, image.id, "{reference}");
    }
}

#[tokio::test]
async fn layers_on_this_machine_are_told_from_the_base_up() {
    let Some(mut context) = Context::new().await else { return };
    let base = context.image(&[r#"ENTRYPOINT ["/program"]"#]);
    let name = context.build_on(&base, &["COPY Dockerfile /middle", "COPY Dockerfile /top"]);
    let layers = context.engine.local_layers(&name).await.unwrap();
    if docker(&["info", "--format", "{{.Driver}}"]) != "overlay2" {
        assert_eq!(layers, None);
        return;
    }
    let layers = layers.unwrap();
    assert!(
        layers[0].join("program").is_file() && layers.last().unwrap().join("top").is_file(),
        "{layers:?}"
    );
    assert_eq!(layers.len(), context.engine.inspect_image(&name).await.unwrap().layer_diff_ids.len());
    assert_eq!(context.engine.local_layers(&base).await.unwrap().unwrap().len(), 1);
    let missing = context.engine.local_layers("docker-slim-none").await;
    assert!(matches!(missing, Err(EngineError::ImageNotFound { .. })), "{missing:?}");
}

#[tokio::test]
async fn an_image_that_is_not_there_is_exit_code_4() {
    let Some(context) = Context::new().await else { return };
    for reference in ["slimtest-engine-nowhere:1", "", "a b?c#d", "UPPER/Case::", "sha256:0123"] {
        let error = context.engine.inspect_image(reference).await.unwrap_err();
        assert!(matches!(error, EngineError::ImageNotFound { .. }), "{reference}: {error:?}");
        assert_eq!(error.exit_code(), 4);
        assert!(!context.engine.image_exists(reference).await.unwrap(), "{reference}");
    }
    let error = context.engine.create(&context.spec("slimtest-engine-nowhere:1", &[])).await.unwrap_err();
    assert!(matches!(error, EngineError::ImageNotFound { .. }), "{error:?}");
}

#[tokio::test]
async fn a_container_lives_ends_and_is_gone() {
    let Some(mut context) = Context::new().await else { return };
    let image = context.entrypoint_image();
    let engine = &context.engine;
    let id = engine.create(&context.spec(&image, &["both", "3"])).await.unwrap();
    let created = engine.inspect(&id).await.unwrap();
    assert_eq!((created.status.as_str(), created.running, created.pid), ("created", false, None));
    assert_eq!(Run::from_labels(&created.labels), Some(context.run.clone()));
    engine.start(&id).await.unwrap();
    assert_eq!(engine.wait(&id).await.unwrap(), 3);
    let ended = engine.inspect(&id).await.unwrap();
    assert_eq!((ended.status.as_str(), ended.running, ended.exit_code), ("exited", false, 3));
    let logs = engine.logs(&id, None).await.unwrap();
    // Each stream in its order; how the two interleave is the engine's affair, which reads them apart.
    let of = |stream: &str| {
        logs.last_lines(9).lines().filter(|line| line.starts_with(stream)).collect::<Vec<_>>().join(",")
    };
    assert_eq!((of("out"), of("err")), ("out 0,out 1,out 2".to_owned(), "err 0,err 1,err 2".to_owned()));
    assert!(logs.bytes.ends_with(&engine.logs(&id, Some(2)).await.unwrap().bytes));
    assert_eq!(engine.logs(&id, Some(2)).await.unwrap().bytes.len(), "out 2\nerr 2\n".len());
    engine.remove(&id, false).await.unwrap();
    engine.remove(&id, true).await.unwrap();
    for error in [
        engine.inspect(&id).await.unwrap_err(),
        engine.start(&id).await.unwrap_err(),
        engine.wait(&id).await.unwrap_err(),
        engine.logs(&id, None).await.unwrap_err(),
        engine.stop(&id, Duration::ZERO).await.unwrap_err(),
        engine.kill(&id, "KILL").await.unwrap_err(),
        engine.copy_in(&id, "/", Vec::new()).await.unwrap_err(),
    ] {
        assert!(matches!(error, EngineError::ContainerNotFound { .. }), "{error:?}");
        assert!(error.is_not_found());
    }
}

#[tokio::test]
async fn two_may_remove_the_same_container_at_once() {
    let Some(mut context) = Context::new().await else { return };
    let image = context.entrypoint_image();
    for _ in 0..5 {
        let id = context.run(&context.spec(&image, &["sleep"])).await;
        let (first, second) =
            tokio::join!(context.engine.remove(&id, true), context.engine.remove(&id, true));
        first.unwrap();
        second.unwrap();
        assert!(context.engine.inspect(&id).await.is_err(), "gone when both have returned");
    }
}

#[tokio::test]
async fn what_cannot_start_says_why_and_is_exit_code_5() {
    let Some(mut context) = Context::new().await else { return };
    let without_command = context.image(&[]);
    let spec = ContainerSpec {
        labels: context.labels(),
        ..ContainerSpec::published(&without_command, Overrides::default())
    };
    let error = context.engine.create(&spec).await.unwrap_err();
    assert!(matches!(error, EngineError::CreateFailed { .. }), "{error:?}");
    assert_eq!(error.exit_code(), 5);
    assert!(error.hint().unwrap().contains("--entrypoint"));

    let id = context.engine.create(&context.spec(&without_command, &["/nowhere"])).await.unwrap();
    let error = context.engine.start(&id).await.unwrap_err();
    assert!(matches!(error, EngineError::StartFailed { .. }), "{error:?}");
    assert!(error.to_string().contains("/nowhere"), "{error}");
    assert_eq!(error.exit_code(), 5);

    let mut spec = context.spec(&without_command, &["/program"]);
    spec.overrides.network = Some("slimtest-engine-nowhere".to_owned());
    let started = match context.engine.create(&spec).await {
        Ok(id) => context.engine.start(&id).await,
        Err(error) => Err(error),
    };
    let error = started.unwrap_err();
    assert!(error.to_string().contains("slimtest-engine-nowhere"), "{error}");
    assert_eq!(error.exit_code(), 5);
}

#[tokio::test]
async fn stop_sends_the_images_own_signal() {
    let Some(mut context) = Context::new().await else { return };
    let engine = context.engine.clone();
    for (instruction, signal) in [("STOPSIGNAL SIGQUIT", QUIT), ("LABEL none=1", TERM)] {
        let image = context.image(&[r#"ENTRYPOINT ["/program"]"#, instruction]);
        let id = context.run(&context.spec(&image, &["trap"])).await;
        context.ready(&id).await;
        engine.stop(&id, Duration::from_secs(10)).await.unwrap();
        assert_eq!(engine.wait(&id).await.unwrap(), 40 + signal);
        engine.stop(&id, Duration::ZERO).await.expect("stopping a stopped container is no error");
        engine.kill(&id, "KILL").await.expect("killing a stopped container is no error");
    }
}

#[tokio::test]
async fn what_ignores_the_signal_is_killed_after_the_grace() {
    let Some(mut context) = Context::new().await else { return };
    let image = context.entrypoint_image();
    let id = context.run(&context.spec(&image, &["deaf"])).await;
    context.ready(&id).await;
    let begin = Instant::now();
    context.engine.stop(&id, Duration::from_millis(1500)).await.unwrap();
    assert!((2..10).contains(&begin.elapsed().as_secs()), "{:?}: rounded up to 2 s", begin.elapsed());
    assert_eq!(context.engine.wait(&id).await.unwrap(), 137);
}

#[tokio::test]
async fn kill_pause_and_unpause_reach_the_program() {
    let Some(mut context) = Context::new().await else { return };
    let image = context.entrypoint_image();
    let id = context.run(&context.spec(&image, &["trap"])).await;
    context.ready(&id).await;
    context.engine.pause(&id).await.unwrap();
    assert!(context.engine.inspect(&id).await.unwrap().paused);
    context.engine.unpause(&id).await.unwrap();
    let state = context.engine.inspect(&id).await.unwrap();
    assert!(state.running && !state.paused && state.pid.is_some_and(|pid| pid > 1));
    context.engine.kill(&id, "USR1").await.unwrap();
    assert_eq!(context.engine.wait(&id).await.unwrap(), 40 + 10);
}

#[tokio::test]
async fn ports_are_published_and_answer() {
    let Some(mut context) = Context::new().await else { return };
    let image = context.image(&[r#"ENTRYPOINT ["/program"]"#, "EXPOSE 8080"]);
    let mut spec = context.spec(&image, &["listen", "8080"]);
    let network = format!("{}-network", context.name);
    // Goes with the test's run, by its labels.
    let labels = label_flags(&context.run);
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    docker(&[&["network", "create"], labels.as_slice(), &[network.as_str()]].concat());
    spec.overrides.network = Some(network.clone());
    spec.overrides.publish_ports = PublishPort::parse("127.0.0.1::9999").unwrap();
    let id = context.run(&spec).await;
    let state = context.engine.inspect(&id).await.unwrap();
    let exposed = state.ports.iter().find(|port| port.container_port == 8080).expect("the exposed port");
    let explicit = state.ports.iter().find(|port| port.container_port == 9999).expect("the explicit port");
    assert_eq!(explicit.host_ip.to_string(), "127.0.0.1");
    assert_eq!(read_hello("127.0.0.1", exposed.host_port), "hello\n");
    assert_eq!((state.network_mode.as_str(), state.addresses.len()), (network.as_str(), 1));
    assert_eq!(
        read_hello(&state.addresses[0].to_string(), 8080),
        "hello\n",
        "on the container's own address"
    );
}

#[tokio::test]
async fn exposed_ports_keep_their_numbers_and_a_taken_one_says_so() {
    let Some(mut context) = Context::new().await else { return };
    // Free a moment ago; outside of the range that the kernel hands out.
    let port = 21_000 + u16::try_from(std::process::id() % 5000).unwrap();
    let image = context.image(&[r#"ENTRYPOINT ["/program"]"#, &format!("EXPOSE {port}")]);
    let mut spec = context.spec(&image, &["listen", &port.to_string()]);
    spec.overrides.network = None;
    spec.publish_all = false;
    spec.overrides.publish_exposed_ports = true;
    let id = context.run(&spec).await;
    let ports = context.engine.inspect(&id).await.unwrap().ports;
    assert!(!ports.is_empty() && ports.iter().all(|bound| bound.host_port == port), "{ports:?}");
    let second = context.engine.create(&spec).await.unwrap();
    let error = context.engine.start(&second).await.unwrap_err();
    assert!(error.hint().is_some_and(|hint| hint.contains("port")), "{error}");
    assert_eq!(error.exit_code(), 5);
}

/// A run's labels, as docker's commands take them.
fn label_flags(run: &Run) -> Vec<String> {
    run.labels().iter().flat_map(|(key, value)| ["--label".to_owned(), format!("{key}={value}")]).collect()
}

/// Reads until the program behind a port answers: docker-proxy accepts before it listens.
fn read_hello(host: &str, port: u16) -> String {
    let mut text = String::new();
    for _ in 0..100 {
        if let Ok(mut stream) = TcpStream::connect((host, port)) {
            text.clear();
            if stream.read_to_string(&mut text).is_ok() && !text.is_empty() {
                break;
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    text
}

#[tokio::test]
async fn a_container_is_what_docker_run_makes() {
    let Some(mut context) = Context::new().await else { return };
    let image = context.image(&[
        r#"ENTRYPOINT ["/program"]"#,
        r#"CMD ["sleep"]"#,
        "EXPOSE 8080",
        "VOLUME /data",
        "ENV A=1",
        "HEALTHCHECK CMD true",
    ]);
    let labels = label_flags(&context.run);
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    // `docker create` makes what `docker run` starts.
    let theirs =
        docker(&[&["create", "-P", "--name", &context.name], labels.as_slice(), &[image.as_str()]].concat());
    let spec =
        ContainerSpec { labels: context.labels(), ..ContainerSpec::published(&image, Overrides::default()) };
    let ours = context.engine.create(&spec).await.unwrap();
    let inspect = |id: &str| -> serde_json::Value {
        let list: serde_json::Value = serde_json::from_str(&docker(&["inspect", id])).unwrap();
        list[0].clone()
    };
    let (left, right) = (inspect(&theirs), inspect(ours.as_str()));
    docker(&["rm", "-fv", &theirs]);
    let mut differences = Vec::new();
    for part in ["HostConfig", "Config"] {
        let names: std::collections::BTreeSet<&String> =
            left[part].as_object().unwrap().keys().chain(right[part].as_object().unwrap().keys()).collect();
        for name in names {
            if left[part][name] != right[part][name] {
                differences.push(format!(
                    "{part}.{name}: docker run {}, ours {}",
                    left[part][name], right[part][name]
                ));
            }
        }
    }
    // A name of its own, our labels, and the size of the terminal that docker run was started from.
    differences.retain(|text| {
        !["Config.Hostname", "Config.Labels", "HostConfig.ConsoleSize"]
            .iter()
            .any(|name| text.starts_with(name))
    });
    assert!(differences.is_empty(), "{differences:#?}");
    assert_eq!(left["AppArmorProfile"], right["AppArmorProfile"]);
    assert_eq!(left["Mounts"].as_array().unwrap().len(), right["Mounts"].as_array().unwrap().len());
}

#[tokio::test]
async fn anonymous_volumes_go_with_their_container_and_named_ones_stay() {
    let Some(mut context) = Context::new().await else { return };
    let image = context.image(&[r#"ENTRYPOINT ["/program"]"#, "VOLUME /data"]);
    let named = format!("{}-volume", context.name);
    let shared = context.folder.path().display().to_string();
    let mut spec = context.spec(&image, &["sleep"]);
    for text in [
        &format!("{named}:/named"),
        "/anonymous",
        &format!("{shared}:/bound:ro"),
        "type=tmpfs,target=/memory",
    ] {
        spec.overrides.mounts.push(Mount::parse(text, context.folder.path()).unwrap());
    }
    let id = context.run(&spec).await;
    let mounts = context.engine.inspect(&id).await.unwrap().mounts;
    let seen: BTreeMap<&str, (&str, bool)> =
        mounts.iter().map(|mount| (mount.target.as_str(), (mount.kind.as_str(), mount.writable))).collect();
    let wanted = [
        ("/anonymous", ("volume", true)),
        ("/bound", ("bind", false)),
        ("/data", ("volume", true)),
        ("/memory", ("tmpfs", true)),
        ("/named", ("volume", true)),
    ];
    assert_eq!(seen, wanted.into());
    context.engine.remove(&id, true).await.unwrap();
    let left = docker(&["volume", "ls", "-q"]);
    for mount in mounts.iter().filter(|mount| mount.kind == "volume") {
        let name = mount.name.as_deref().unwrap();
        assert_eq!(left.lines().any(|line| line == name), name == named, "{}", mount.target);
    }
    docker(&["volume", "rm", &named]);
}

#[tokio::test]
async fn every_override_reaches_the_program() {
    let Some(mut context) = Context::new().await else { return };
    let image = context.image(&[r#"ENTRYPOINT ["/nowhere"]"#, r#"CMD ["nothing"]"#, "ENV A=1"]);
    let output = async |change: &dyn Fn(&mut Overrides), words: &[&str]| {
        let mut spec = context.spec(&image, words);
        spec.overrides.entrypoint = Some(vec!["/program".to_owned()]);
        change(&mut spec.overrides);
        let id = context.run(&spec).await;
        assert_eq!(context.engine.wait(&id).await.unwrap(), 0);
        String::from_utf8(context.engine.logs(&id, None).await.unwrap().bytes).unwrap()
    };
    assert_eq!(output(&|_| {}, &["env", "A"]).await, "1\n");
    assert_eq!(output(&|overrides| overrides.env = vec!["A=2=3".to_owned()], &["env", "A"]).await, "2=3\n");
    assert_eq!(output(&|overrides| overrides.user = Some("12:34".to_owned()), &["who"]).await, "12:34 /\n");
    assert_eq!(
        output(&|overrides| overrides.workdir = Some("/made/here".to_owned()), &["who"]).await,
        "0:0 /made/here\n"
    );
    assert_eq!(
        output(&|overrides| overrides.hostname = Some("box".to_owned()), &["env", "HOSTNAME"]).await,
        "box\n"
    );
    assert_eq!(output(&|_| {}, &["words", "a b", "", "ü"]).await, "[a b][][ü]");
    let without = |overrides: &mut Overrides| {
        overrides.entrypoint = Some(Vec::new());
        overrides.cmd = Some(vec!["/program".to_owned(), "words".to_owned(), "x".to_owned()]);
    };
    assert_eq!(output(&without, &[]).await, "[x]");
}

#[tokio::test]
async fn names_come_and_go_and_the_image_with_its_last_one() {
    let Some(mut context) = Context::new().await else { return };
    let image = context.entrypoint_image();
    let (first, second) = (format!("{}-a", context.name), format!("{}-b/c:2", context.name));
    context.hold(&first);
    context.hold(&second);
    let engine = &context.engine;
    let id = engine.inspect_image(&image).await.unwrap().id;
    engine.tag(&id.to_string(), &first).await.unwrap();
    engine.tag(&image, &second).await.unwrap();
    assert_eq!(engine.inspect_image(&format!("{first}:latest")).await.unwrap().id, id);
    assert_eq!(engine.inspect_image(&second).await.unwrap().tags.len(), 3);
    engine.untag(&second).await.unwrap();
    assert!(!engine.image_exists(&second).await.unwrap());
    assert!(engine.image_exists(&image).await.unwrap());
    engine.remove_image(&id.to_string()).await.unwrap();
    assert!(!engine.image_exists(&first).await.unwrap() && !engine.image_exists(&image).await.unwrap());
    let error = engine.remove_image(&id.to_string()).await.unwrap_err();
    assert!(matches!(error, EngineError::ImageNotFound { .. }), "{error:?}");
    assert!(matches!(engine.untag(&second).await.unwrap_err(), EngineError::ImageNotFound { .. }));
    assert!(matches!(
        engine.tag("slimtest-engine-nowhere", &first).await,
        Err(EngineError::ImageNotFound { .. })
    ));
}

#[tokio::test]
async fn the_image_goes_with_its_last_name_and_its_parent_stays() {
    let Some(mut context) = Context::new().await else { return };
    let parent = context.entrypoint_image();
    let parent_id = context.engine.inspect_image(&parent).await.unwrap().id.to_string();
    let id = context.engine.create(&context.spec(&parent, &["sleep"])).await.unwrap();
    let child = format!("{}-child:1", context.name);
    docker(&["commit", id.as_str(), &child]);
    let child_id = context.engine.inspect_image(&child).await.unwrap().id.to_string();
    context.engine.remove(&id, true).await.unwrap();
    docker(&["rmi", &parent]);
    context.engine.untag(&child).await.unwrap();
    assert!(!context.engine.image_exists(&child_id).await.unwrap());
    assert!(context.engine.image_exists(&parent_id).await.unwrap(), "no pruning");
    context.engine.remove_image(&parent_id).await.unwrap();
}

#[tokio::test]
async fn only_dead_runs_are_swept() {
    let Some(mut context) = Context::new().await else { return };
    let image = context.entrypoint_image();
    let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    let dead = Run { id: format!("{}dead", context.run.id), pid, start_time: 1, ..context.run.clone() };
    let reused = Run { id: format!("{}reused", context.run.id), start_time: 1, ..context.run.clone() };
    let elsewhere = Run { id: format!("{}else", context.run.id), boot_id: "another".into(), ..dead.clone() };
    let alive = context.run.clone();

    let create = async |run: &Run| -> ContainerId {
        let spec = ContainerSpec { labels: run.labels(), ..context.spec(&image, &["sleep"]) };
        context.run(&spec).await
    };
    let gone: [ContainerId; 2] = [create(&dead).await, create(&reused).await];
    let stays = [create(&elsewhere).await, create(&alive).await];
    let labels = label_flags(&dead);
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    let volume = docker(&[&["volume", "create"], labels.as_slice()].concat());
    let network = format!("{}-network", context.name);
    docker(&[&["network", "create"], labels.as_slice(), &[network.as_str()]].concat());
    let committed = format!("{}-committed:1", context.name);
    docker(&["commit", gone[0].as_str(), &committed]);
    context.hold(&committed);
    let temporary = dead.temporary_reference("tmp");
    context.engine.tag(&image, &temporary).await.unwrap();
    let living_temporary = alive.temporary_reference("tmp");
    context.engine.tag(&image, &living_temporary).await.unwrap();

    let swept = sweep(&context.engine, &context.run).await;
    assert!(swept.errors.is_empty(), "{:?}", swept.errors);
    for id in &gone {
        assert!(context.engine.inspect(id).await.is_err(), "{id}");
        assert!(swept.removed.contains(&(CandidateKind::Container, id.to_string())));
    }
    for id in &stays {
        assert!(context.engine.inspect(id).await.unwrap().running, "{id}");
    }
    assert!(!docker(&["volume", "ls", "-q"]).lines().any(|line| line == volume));
    assert!(!docker(&["network", "ls", "--format", "{{.Name}}"]).lines().any(|line| line == network));
    assert!(!context.engine.image_exists(&temporary).await.unwrap());
    assert!(context.engine.image_exists(&living_temporary).await.unwrap());
    assert!(context.engine.image_exists(&image).await.unwrap(), "only the temporary name goes");
    assert!(
        context.engine.image_exists(&committed).await.unwrap(),
        "the user's, whatever labels it inherited"
    );

    let errors = slim_engine::remove_run(&context.engine, &elsewhere).await;
    assert!(errors.is_empty(), "{errors:?}");
    assert!(context.engine.inspect(&stays[0]).await.is_err());
    assert!(context.engine.inspect(&stays[1]).await.unwrap().running, "another run's");
}
