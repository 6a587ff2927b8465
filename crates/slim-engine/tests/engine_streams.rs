//! What flows between an engine and us, against a real Docker: attached streams, commands, logs, archives, the
//! collector.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::{Context, docker};
use slim_engine::{CollectorSpec, Engine, EngineError, ExecSpec, start_collector};
use std::io::{Read, Write};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MIB: usize = 1024 * 1024;

/// The same bytes always, every value among them, no period that a buffer's length divides.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_megabytes_go_through_a_container_unchanged() {
    let Some(mut context) = Context::new().await else { return };
    let image = context.entrypoint_image();
    let mut spec = context.spec(&image, &["copy"]);
    spec.standard_input = true;
    spec.log_driver = Some("none".to_owned());
    let id = context.engine.create(&spec).await.unwrap();
    let attached = context.engine.attach(&id).await.unwrap();
    context.engine.start(&id).await.unwrap();
    let (mut input, mut output) = (attached.input, attached.output);
    let block = noise(8 * MIB + 13);
    let rounds = 25;
    let length = block.len() * rounds;
    let expected = block.clone();
    let writer = tokio::spawn(async move {
        for _ in 0..rounds {
            input.write_all(&block).await.unwrap();
        }
        // Ends the container's input only: what it still has to say must come through.
        input.shutdown().await.unwrap();
        input
    });
    let begin = Instant::now();
    let (mut count, mut buffer) = (0, vec![0; MIB]);
    loop {
        let read = output.read(&mut buffer).await.unwrap();
        if read == 0 {
            break;
        }
        // What came may reach over the end of a round.
        let at = count % expected.len();
        let first = read.min(expected.len() - at);
        assert!(buffer[..first] == expected[at..at + first], "differs after {count} bytes");
        assert!(buffer[first..read] == expected[..read - first], "differs after {count} bytes");
        count += read;
    }
    let elapsed = begin.elapsed();
    writer.await.unwrap();
    assert_eq!(count, length);
    assert_eq!(context.engine.wait(&id).await.unwrap(), 0);
    assert_eq!(attached.diagnostics.text(), "input ended\n");
    let rate = length as f64 / MIB as f64 / elapsed.as_secs_f64();
    eprintln!("{rate:.0} MiB/s both ways");
    assert!(rate > 10.0, "{rate} MiB/s");
}

#[tokio::test]
async fn writing_to_a_container_that_has_ended_fails_and_does_not_wait() {
    let Some(mut context) = Context::new().await else { return };
    let image = context.entrypoint_image();
    let mut spec = context.spec(&image, &["exit", "5"]);
    spec.standard_input = true;
    let id = context.engine.create(&spec).await.unwrap();
    let mut attached = context.engine.attach(&id).await.unwrap();
    context.engine.start(&id).await.unwrap();
    let block = noise(64 * MIB);
    let written = tokio::time::timeout(Duration::from_secs(20), attached.input.write_all(&block));
    let error = written.await.expect("it ends").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe, "{error}");
    assert!(attached.input.write_all(&block).await.is_err(), "and so does the next one");
    assert_eq!(context.engine.wait(&id).await.unwrap(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_runs_in_an_image_that_makes_it_hard() {
    let Some(mut context) = Context::new().await else { return };
    let image = context.image(&[
        r#"ENTRYPOINT ["/nowhere"]"#,
        r#"CMD ["nothing"]"#,
        "USER 1000",
        "WORKDIR /not/in/the/image",
        "VOLUME /data",
        "HEALTHCHECK --interval=1s CMD /nowhere",
    ]);
    let spec = CollectorSpec {
        image,
        binary: context.program(),
        file_name: ".a1b2c3".to_owned(),
        arguments: vec!["copy".to_owned()],
        labels: context.labels(),
    };
    let mut collector = start_collector(&context.engine, &spec).await.unwrap();
    let inspected = docker(&[
        "inspect",
        "--format",
        "{{.Config.User}} {{.HostConfig.LogConfig.Type}} {{.HostConfig.NetworkMode}} {{.Config.Tty}} {{.Config.WorkingDir}} {{.State.Health}}",
        collector.id.as_str(),
    ]);
    assert_eq!(inspected, "0:0 none none false / <nil>");
    let mounts = context.engine.inspect(&collector.id).await.unwrap().mounts;
    let id = collector.id.clone();
    let sent = noise(3 * MIB + 1);
    let (collector, sent, received) = tokio::task::spawn_blocking(move || {
        let mut input = collector.input;
        let reply = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                input.write_all(&sent).unwrap();
                input.finish().unwrap();
            });
            let mut received = Vec::new();
            collector.output.read_to_end(&mut received).unwrap();
            writer.join().unwrap();
            received
        });
        (collector.diagnostics, sent, reply)
    })
    .await
    .unwrap();
    assert!(received == sent, "{} of {} bytes", received.len(), sent.len());
    assert_eq!(collector.text(), "input ended\n");
    assert_eq!(context.engine.wait(&id).await.unwrap(), 0);
    context.engine.remove(&id, true).await.unwrap();
    let volumes = docker(&["volume", "ls", "-q"]);
    assert!(mounts.iter().all(|mount| !volumes.contains(mount.name.as_deref().unwrap())), "{mounts:?}");
}

#[tokio::test]
async fn a_collector_that_does_not_start_leaves_no_container() {
    let Some(mut context) = Context::new().await else { return };
    // A volume where a file lies cannot be mounted.
    let image = context.image(&[r#"ENTRYPOINT ["/program"]"#, "VOLUME /program"]);
    let binary = context.program();
    let mut spec = CollectorSpec {
        image,
        binary,
        file_name: ".x".to_owned(),
        arguments: Vec::new(),
        labels: context.labels(),
    };
    let error = start_collector(&context.engine, &spec).await.err().expect("it cannot start");
    eprintln!("{error:?}");
    assert_eq!(error.exit_code(), 5, "{error:?}");
    let label = format!("label=docker-slim.run.id={}", context.run.id);
    assert_eq!(docker(&["ps", "-aq", "--filter", &label]), "");
    spec.binary = "/nonexistent/binary".into();
    let error = start_collector(&context.engine, &spec).await.err().expect("there is no such file");
    assert!(error.to_string().contains("/nonexistent/binary"), "{error}");
}

#[tokio::test]
async fn commands_inside_give_their_code_and_both_streams() {
    let Some(mut context) = Context::new().await else { return };
    let image = context.entrypoint_image();
    let id = context.run(&context.spec(&image, &["sleep"])).await;
    let words = |words: &[&str]| ExecSpec {
        argv: words.iter().map(|word| (*word).to_owned()).collect(),
        ..ExecSpec::default()
    };
    let engine = &context.engine;
    assert_eq!(engine.exec(&id, &words(&["/program", "exit", "42"])).await.unwrap().exit_code, 42);
    let both = engine.exec(&id, &words(&["/program", "both", "2"])).await.unwrap();
    assert_eq!(
        (both.exit_code, both.stdout, both.stderr),
        (3, b"out 0\nout 1\n".to_vec(), b"err 0\nerr 1\n".to_vec())
    );
    let input = noise(3 * MIB);
    let copy = ExecSpec { stdin: Some(input.clone()), ..words(&["/program", "copy"]) };
    let copied = engine.exec(&id, &copy).await.unwrap();
    assert_eq!((copied.exit_code, copied.stderr.as_slice()), (0, b"input ended\n".as_slice()));
    assert!(copied.stdout == input[2 * MIB..], "the last MiB");
    let empty = ExecSpec { stdin: Some(Vec::new()), ..words(&["/program", "copy"]) };
    assert_eq!(engine.exec(&id, &empty).await.unwrap().stdout, b"");
    let unread = ExecSpec { stdin: Some(noise(MIB)), ..words(&["/program", "exit", "5"]) };
    assert_eq!(engine.exec(&id, &unread).await.unwrap().exit_code, 5);
    let set = ExecSpec {
        user: Some("12:34".to_owned()),
        working_directory: Some("/proc".to_owned()),
        ..words(&["/program", "who"])
    };
    assert_eq!(engine.exec(&id, &set).await.unwrap().stdout, b"12:34 /proc\n");
    let env = ExecSpec { env: vec!["A=b c".to_owned()], ..words(&["/program", "env", "A"]) };
    assert_eq!(engine.exec(&id, &env).await.unwrap().stdout, b"b c\n");
}

#[tokio::test]
async fn a_command_that_does_not_exist_is_told_from_one_that_fails() {
    let Some(mut context) = Context::new().await else { return };
    let image = context.entrypoint_image();
    let id = context.run(&context.spec(&image, &["trap"])).await;
    let missing = ExecSpec { argv: vec!["/nowhere".to_owned()], ..ExecSpec::default() };
    match context.engine.exec(&id, &missing).await {
        Ok(result) => {
            assert!([126, 127].contains(&result.exit_code), "{result:?}");
            let said = [result.stdout, result.stderr].concat();
            assert!(String::from_utf8_lossy(&said).contains("/nowhere"));
        }
        Err(error) => assert!(error.to_string().contains("/nowhere"), "{error}"),
    }
    context.engine.stop(&id, Duration::from_secs(5)).await.unwrap();
    let error = context.engine.exec(&id, &missing).await.unwrap_err();
    assert!(
        matches!(error, EngineError::Refused { .. }) && error.to_string().contains("not running"),
        "{error}"
    );
}

#[tokio::test]
async fn logs_of_a_terminal_are_raw_and_those_of_driver_none_are_unreadable() {
    let Some(mut context) = Context::new().await else { return };
    let image = context.entrypoint_image();
    let mut spec = context.spec(&image, &["both", "1"]);
    spec.tty = true;
    let id = context.run(&spec).await;
    context.engine.wait(&id).await.unwrap();
    assert_eq!(context.engine.logs(&id, None).await.unwrap().bytes, b"out 0\r\nerr 0\r\n");
    let mut spec = context.spec(&image, &["both", "1"]);
    spec.log_driver = Some("none".to_owned());
    let id = context.run(&spec).await;
    context.engine.wait(&id).await.unwrap();
    let logs = context.engine.logs(&id, None).await.unwrap();
    assert!(logs.bytes.is_empty() && logs.unreadable.is_some(), "{logs:?}");
}

async fn load(context: &Context, archive: Vec<u8>) -> Result<Vec<String>, EngineError> {
    context.engine.load_image(Box::new(std::io::Cursor::new(archive))).await
}

#[tokio::test]
async fn an_archive_loads_as_docker_saved_it() {
    let Some(mut context) = Context::new().await else { return };
    let image = context.entrypoint_image();
    let id = context.engine.inspect_image(&image).await.unwrap().id;
    let path = context.folder.path().join("saved.tar");
    docker(&["save", "-o", path.to_str().unwrap(), &image]);
    docker(&["rmi", &image]);
    let file = tokio::fs::File::open(&path).await.unwrap();
    assert_eq!(context.engine.load_image(Box::new(file)).await.unwrap(), std::slice::from_ref(&image));
    assert_eq!(context.engine.inspect_image(&image).await.unwrap().id, id);
}

#[tokio::test]
async fn a_broken_archive_is_an_error_whatever_is_broken() {
    let Some(mut context) = Context::new().await else { return };
    let image = context.entrypoint_image();
    let path = context.folder.path().join("saved.tar");
    docker(&["save", "-o", path.to_str().unwrap(), &image]);
    docker(&["rmi", &image]);
    let whole = std::fs::read(&path).unwrap();
    let mut damaged = whole.clone();
    // Somewhere in the program's contents: the layer's digest is wrong then.
    let middle = whole.len() / 2;
    damaged[middle] ^= 0xff;
    let cases = [
        ("empty", Vec::new()),
        ("garbage", noise(300_000)),
        ("much garbage", noise(64 * MIB)),
        ("cut", whole[..whole.len() / 2].to_vec()),
        ("damaged", damaged),
        ("no image", tar::Builder::new(Vec::new()).into_inner().unwrap()),
    ];
    for (name, archive) in cases {
        let error = load(&context, archive).await.expect_err(name);
        eprintln!("{name}: {error}");
        assert!(matches!(error, EngineError::LoadFailed { .. }), "{name}: {error:?}");
        assert_eq!(error.exit_code(), 4);
        assert!(!context.engine.image_exists(&image).await.unwrap(), "{name}");
    }
}

#[tokio::test]
async fn an_archive_that_cannot_be_read_is_an_error() {
    struct Failing(usize);
    impl tokio::io::AsyncRead for Failing {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _context: &mut std::task::Context<'_>,
            buffer: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            if self.0 == 0 {
                return std::task::Poll::Ready(Err(std::io::Error::other("the disk is on fire")));
            }
            self.0 -= 1;
            buffer.put_slice(&[0; 512]);
            std::task::Poll::Ready(Ok(()))
        }
    }
    let Some(context) = Context::new().await else { return };
    for blocks in [0, 1, 5000] {
        let error = context.engine.load_image(Box::new(Failing(blocks))).await.unwrap_err();
        assert!(error.to_string().contains("on fire"), "{blocks}: {error}");
    }
}
