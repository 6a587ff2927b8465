//! The ways to an engine, and engines that are not there, go away or hang: real Docker behind our own little proxies.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::{Context, SOCKET};
use slim_engine::{DockerEngine, Endpoint, EndpointInputs, Engine, EngineError, endpoint};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::task::JoinHandle;

/// Passes bytes to the real engine until it is dropped; its connections end then.
struct Proxy(JoinHandle<()>);

impl Drop for Proxy {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn pass(mut from: impl AsyncRead + AsyncWrite + Unpin) {
    let mut engine = UnixStream::connect(SOCKET).await.unwrap();
    let _ = tokio::io::copy_bidirectional(&mut from, &mut engine).await;
}

fn unix_proxy(path: &Path) -> Proxy {
    let listener = UnixListener::bind(path).unwrap();
    Proxy(tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            connections.spawn(pass(stream));
        }
    }))
}

#[tokio::test]
async fn no_socket_and_nobody_behind_it_are_exit_code_3_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("docker.sock");
    for there in [false, true] {
        if there {
            // Bound and closed: the file stays, and connections are refused.
            drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        }
        let error = DockerEngine::connect(&Endpoint::Unix(path.clone())).await.err().unwrap();
        assert!(matches!(error, EngineError::NoEngine { .. }), "{error:?}");
        assert!(
            error.to_string().contains(&format!("no Docker engine answers at unix://{}", path.display())),
            "{error}"
        );
        assert_eq!(error.exit_code(), 3);
        assert!(error.hint().unwrap().contains("DOCKER_HOST"));
    }
}

#[tokio::test]
async fn the_inputs_of_the_command_line_find_the_engine() {
    let Some(context) = Context::new().await else { return };
    let folder = context.folder.path().to_owned();
    let local = EndpointInputs { docker_config_dir: folder.clone(), ..EndpointInputs::default() };
    assert_eq!(slim_engine::connect(&local).await.unwrap().describe().await.unwrap().name, "docker");
    let nowhere =
        EndpointInputs { docker_host: Some("unix:///nonexistent.sock".to_owned()), ..local.clone() };
    assert_eq!(slim_engine::connect(&nowhere).await.err().unwrap().exit_code(), 3);
    let nonsense = EndpointInputs { host_flag: Some("gopher://x".to_owned()), ..local };
    assert_eq!(slim_engine::connect(&nonsense).await.err().unwrap().exit_code(), 2);
}

#[tokio::test]
async fn what_is_no_engine_is_told_from_an_engine() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ =
                tokio::io::AsyncWriteExt::write_all(&mut stream, b"220 mail.example.test ESMTP\r\n").await;
        }
    });
    let error = DockerEngine::connect(&Endpoint::Unix(path)).await.err().unwrap();
    assert!(matches!(error, EngineError::NoEngine { .. }), "{error:?}");
}

#[tokio::test]
async fn an_engine_that_hangs_is_given_up() {
    let Some(context) = Context::new().await else { return };
    let path = context.folder.path().join("hanging.sock");
    let listener = UnixListener::bind(&path).unwrap();
    // Answers the first connection, and lets the others wait.
    tokio::spawn(async move {
        let (first, _) = listener.accept().await.unwrap();
        pass(first).await;
        let mut held = Vec::new();
        loop {
            held.push(listener.accept().await.unwrap());
        }
    });
    let limit = Duration::from_millis(700);
    let engine = DockerEngine::connect_with_timeout(&Endpoint::Unix(path.clone()), limit).await.unwrap();
    let begin = Instant::now();
    let error = engine.describe().await.unwrap_err();
    assert!(matches!(error, EngineError::TimedOut { .. }), "{error:?}");
    assert_eq!(error.exit_code(), 3);
    let error = engine.create(&context.spec("x", &[])).await.unwrap_err();
    assert!(matches!(error, EngineError::TimedOut { .. }), "{error:?}");
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    let error = DockerEngine::connect_with_timeout(&Endpoint::Unix(path), limit).await.err().unwrap();
    assert!(matches!(error, EngineError::NoEngine { .. }), "{error:?}");
}

#[tokio::test]
async fn an_engine_that_goes_away_ends_every_call() {
    let Some(mut context) = Context::new().await else { return };
    let image = context.entrypoint_image();
    let mut spec = context.spec(&image, &["copy"]);
    spec.standard_input = true;
    let path = context.folder.path().join("going.sock");
    let proxy = unix_proxy(&path);
    let engine = DockerEngine::connect(&Endpoint::Unix(path)).await.unwrap();
    let id = engine.create(&spec).await.unwrap();
    let mut attached = engine.attach(&id).await.unwrap();
    engine.start(&id).await.unwrap();
    let waiting = tokio::spawn({
        let (engine, id) = (engine.clone(), id.clone());
        async move { engine.wait(&id).await }
    });
    // An archive that never ends.
    let loading = tokio::spawn({
        let engine = engine.clone();
        async move { engine.load_image(Box::new(tokio::io::repeat(0))).await }
    });
    let reading = tokio::spawn(async move {
        let mut output = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut attached.output, &mut output).await.map(|_| output)
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(proxy);
    let patience = Duration::from_secs(10);
    let waited = tokio::time::timeout(patience, waiting).await.expect("wait ends").unwrap().unwrap_err();
    let loaded = tokio::time::timeout(patience, loading).await.expect("load ends").unwrap().unwrap_err();
    // A stream that is cut between two frames looks like one that ended: what flows in it says where it ends.
    let read = tokio::time::timeout(patience, reading).await.expect("attached output ends").unwrap();
    assert!(read.map_or(true, |output| output.is_empty()));
    for error in [
        waited,
        loaded,
        engine.inspect(&id).await.unwrap_err(),
        engine.stop(&id, patience).await.unwrap_err(),
    ] {
        assert!(matches!(error, EngineError::WentAway { .. }), "{error:?}");
        assert_eq!(error.exit_code(), 3);
        assert!(error.is_engine_gone());
    }
}

#[tokio::test]
async fn tcp_reaches_the_same_engine() {
    let Some(context) = Context::new().await else { return };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            tokio::spawn(pass(listener.accept().await.unwrap().0));
        }
    });
    for host in ["127.0.0.1", "localhost"] {
        let endpoint = endpoint::parse_host(&format!("tcp://{host}:{port}"), false).unwrap();
        let engine = DockerEngine::connect(&endpoint).await.unwrap();
        let described = engine.describe().await.unwrap();
        assert_eq!(described.version, context.engine.describe().await.unwrap().version);
        assert!(!described.local, "nobody says that a forwarded port is this machine");
    }
}

/// Certificates as `docker` documents to make them, by openssl.
fn certificates(folder: &Path) {
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).current_dir(folder).output().unwrap();
        assert!(
            output.status.success(),
            "openssl {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    std::fs::write(folder.join("server.ext"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").unwrap();
    std::fs::write(folder.join("client.ext"), "extendedKeyUsage=clientAuth\n").unwrap();
    openssl(&[
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        "ca-key.pem",
        "-out",
        "ca.pem",
        "-days",
        "2",
        "-subj",
        "/CN=slimtest",
    ]);
    for (name, file, key) in
        [("server", "server-cert.pem", "server-key.pem"), ("client", "cert.pem", "key.pem")]
    {
        openssl(&[
            "req",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            key,
            "-out",
            "request.pem",
            "-subj",
            &format!("/CN={name}"),
        ]);
        openssl(&[
            "x509",
            "-req",
            "-in",
            "request.pem",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca-key.pem",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            &format!("{name}.ext"),
            "-out",
            file,
        ]);
    }
}

fn server_config(folder: &Path) -> Arc<rustls::ServerConfig> {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let read = |name: &str| CertificateDer::from_pem_file(folder.join(name)).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(read("ca.pem")).unwrap();
    let clients =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(
            vec![read("server-cert.pem")],
            PrivateKeyDer::from_pem_file(folder.join("server-key.pem")).unwrap(),
        )
        .unwrap();
    Arc::new(config)
}

#[tokio::test]
async fn tls_checks_both_sides_as_docker_tls_verify_asks() {
    let Some(context) = Context::new().await else { return };
    let folder = context.folder.path().to_owned();
    certificates(&folder);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = tokio_rustls::TlsAcceptor::from(server_config(&folder));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    pass(stream).await;
                }
            });
        }
    });
    let inputs = |verify: bool, host: &str, path: &Path| EndpointInputs {
        docker_host: Some(format!("tcp://{host}:{port}")),
        docker_tls: Some("1".into()),
        docker_tls_verify: verify.then(|| "1".to_owned()),
        docker_cert_path: Some(path.to_owned()),
        ..EndpointInputs::default()
    };
    for (verify, host) in [(true, "localhost"), (true, "127.0.0.1"), (false, "127.0.0.1")] {
        let endpoint = endpoint::resolve(&inputs(verify, host, &folder)).unwrap();
        let engine = DockerEngine::connect(&endpoint).await.unwrap();
        assert_eq!(engine.describe().await.unwrap().name, "docker", "{host}");
    }
    // Another authority, and no certificate of our own: both are refused.
    let other = context.folder.path().join("other");
    std::fs::create_dir(&other).unwrap();
    certificates(&other);
    let endpoint = endpoint::resolve(&inputs(true, "localhost", &other)).unwrap();
    let error = DockerEngine::connect(&endpoint).await.err().unwrap();
    assert!(
        matches!(&error, EngineError::NoEngine { reason, .. } if reason.contains("certificate")),
        "{error:?}"
    );
    for name in ["cert.pem", "key.pem"] {
        std::fs::rename(folder.join(name), folder.join(format!("no-{name}"))).unwrap();
    }
    let endpoint = endpoint::resolve(&inputs(true, "localhost", &folder)).unwrap();
    let error = DockerEngine::connect(&endpoint).await.err().unwrap();
    assert!(matches!(error, EngineError::NoEngine { .. }), "{error:?}");
}

#[tokio::test]
async fn ssh_runs_dials_stdio_on_the_other_side() {
    let Some(mut context) = Context::new().await else { return };
    let image = context.entrypoint_image();
    let program: PathBuf = context.folder.path().join("ssh");
    let seen = context.folder.path().join("seen");
    // Stands in for ssh alone; what it runs is the real command, on the real engine.
    let script = format!("#!/bin/sh\necho \"$@\" > {}\nexec docker system dial-stdio\n", seen.display());
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let Endpoint::Ssh(mut ssh) = endpoint::parse_host("ssh://me@there:2222/run/docker.sock", false).unwrap()
    else {
        panic!("not ssh")
    };
    ssh.program.clone_from(&program);
    let engine = DockerEngine::connect(&Endpoint::Ssh(ssh.clone())).await.unwrap();
    let arguments = std::fs::read_to_string(&seen).unwrap();
    assert_eq!(
        arguments.trim(),
        "-o ConnectTimeout=15 -T -l me -p 2222 -- there docker --host unix:///run/docker.sock system dial-stdio"
    );
    let mut spec = context.spec(&image, &["copy"]);
    spec.standard_input = true;
    let id = engine.create(&spec).await.unwrap();
    let mut attached = engine.attach(&id).await.unwrap();
    engine.start(&id).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut attached.input, b"over there").await.unwrap();
    tokio::io::AsyncWriteExt::shutdown(&mut attached.input).await.unwrap();
    let mut output = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut attached.output, &mut output).await.unwrap();
    assert_eq!(output, "over there");
    assert_eq!(engine.wait(&id).await.unwrap(), 0);
    engine.remove(&id, true).await.unwrap();
    ssh.program = "/nonexistent/ssh".into();
    let error = DockerEngine::connect(&Endpoint::Ssh(ssh)).await.err().unwrap();
    assert!(error.to_string().contains("/nonexistent/ssh"), "{error}");
}
