//! Both sides of a sidecar in one process: what the far side sees are this machine's processes.

#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]

use slim_probe::Reach;
use slim_sensor::{SensorError, processes};
use slim_sidecar::{Sidecar, serve};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;

const SOON: Duration = Duration::from_secs(30);

type Served = JoinHandle<Result<(), slim_sidecar::ServeError>>;

/// Few bytes at a time: frames and the first line are cut at many places.
fn pipe() -> (DuplexStream, DuplexStream) {
    tokio::io::duplex(17)
}

async fn both() -> (Arc<Sidecar>, Served) {
    let ((near_in, far_in), (far_out, near_out)) = (pipe(), pipe());
    let served = tokio::spawn(serve(far_in, far_out));
    let sidecar = Sidecar::connect(near_out, near_in, || "a word".to_owned()).await.unwrap();
    (sidecar, served)
}

fn sleeping() -> (Child, i32) {
    let child = Command::new("sleep").arg("60").spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    (child, pid)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_is_followed_to_its_end() {
    let (sidecar, _served) = both().await;
    let (mut child, pid) = sleeping();
    let followed = sidecar.follow(pid, false).await.unwrap();
    assert!(followed.is_alive());
    assert_eq!(sidecar.acting(pid).await.unwrap(), processes::acting(pid));
    child.kill().unwrap();
    child.wait().unwrap();
    let began = Instant::now();
    while followed.is_alive() {
        assert!(began.elapsed() < SOON, "its end goes unseen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!sidecar.follow(i32::MAX, true).await.unwrap().is_alive(), "there is no such process");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_and_open_ports_of_a_process_are_seen() {
    let (sidecar, _served) = both().await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let followed = sidecar.follow(i32::try_from(std::process::id()).unwrap(), true).await.unwrap();
    assert!(followed.open_ports().contains(&(slim_trace::Transport::Tcp, port)));
    let (before, began) = (followed.processor_time(), Instant::now());
    while followed.processor_time() == before {
        assert!(began.elapsed() < SOON, "work goes unseen");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_of_any_number_come_through_a_connection_both_ways() {
    const BYTES: usize = 600_000;
    let (sidecar, _served) = both().await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let echo = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let mut other = connection.try_clone().unwrap();
        std::io::copy(&mut connection, &mut other).unwrap();
    });
    let own = i32::try_from(std::process::id()).unwrap();
    let listens = sidecar.sockets(own).await.unwrap().listeners;
    assert!(listens.iter().any(|listens| listens.port == address.port()));
    let stream = sidecar.connect(own, address).await.unwrap();
    let (mut input, mut output) = tokio::io::split(stream);
    let sent: Vec<u8> = (0..BYTES).map(|number| (number / 7) as u8).collect();
    let sending = async {
        output.write_all(&sent).await.unwrap();
        output.shutdown().await.unwrap();
    };
    let mut received = Vec::new();
    let (received, ()) = tokio::join!(input.read_to_end(&mut received), sending);
    assert_eq!(received.unwrap(), BYTES);
    echo.join().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_connection_is_refused_here_too() {
    let (sidecar, _served) = both().await;
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let own = i32::try_from(std::process::id()).unwrap();
    let refused = sidecar.connect(own, SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), free)).await;
    assert_eq!(refused.err().unwrap().kind(), std::io::ErrorKind::ConnectionRefused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_that_dies_is_missed_with_its_last_words() {
    let (sidecar, served) = both().await;
    served.abort();
    let lost = tokio::time::timeout(SOON, sidecar.lost()).await.unwrap();
    assert!(matches!(&lost, SensorError::SidecarGone { reason } if reason.contains("a word")), "{lost}");
    for error in
        [sidecar.check().await, sidecar.acting(1).await.map(drop), sidecar.prepare(4096).await.map(drop)]
    {
        assert!(matches!(error, Err(SensorError::SidecarGone { .. })), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_near_side_that_goes_ends_the_far_one() {
    let (sidecar, served) = both().await;
    drop(sidecar);
    let served = tokio::time::timeout(SOON, served).await.expect("it ends by itself").unwrap();
    served.unwrap();
}

#[tokio::test]
async fn something_else_than_a_sidecar_is_told_apart() {
    let ((near_in, _far_in), (mut far_out, near_out)) = (tokio::io::duplex(64), tokio::io::duplex(64));
    far_out.write_all(b"exec format error\n").await.unwrap();
    let error = Sidecar::connect(near_out, near_in, String::new).await.unwrap_err();
    assert!(error.to_string().contains("exec format err"), "{error}");
}
