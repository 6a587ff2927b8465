//! A network namespace of its own, with a server that only its loopback reaches. Needs root; says so otherwise.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests, which say why they are skipped"
)]

mod common;

use common::{Server, lines, probe, quick, text};
use slim_probe::{CancelFlag, HttpSettings, Others, ProbeError, Target, wait_listening};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

/// Runs `work` on a thread in a new network namespace, which lives as long as this process; gives the thread's id.
fn in_new_namespace(work: impl FnOnce() + Send + 'static) -> Option<i32> {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: a network namespace can only be made by root");
        return None;
    }
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        // A child has its parent thread's namespace.
        assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
        work();
        sender.send(nix::unistd::gettid().as_raw()).unwrap();
        std::thread::sleep(Duration::from_secs(600));
    });
    Some(receiver.recv().unwrap())
}

fn target(pid: i32) -> Target {
    Target { pid: Some(pid), reach: None, address: None, ports: Vec::new() }
}

#[test]
fn a_program_bound_to_loopback_in_its_own_namespace_is_found_and_probed_by_pid() {
    let inside = || {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 8000)).unwrap();
        Server::on(listener, |asked| {
            if asked.path == "/" { common::html("<a href=/more></a>") } else { text("more") }
        });
    };
    let Some(pid) = in_new_namespace(inside) else { return };
    let outcome = probe(&quick(), &target(pid));
    assert_eq!(outcome.fallback, None);
    assert_eq!(lines(&outcome), ["200 GET /", "200 GET /more"]);
    assert_eq!(outcome.recording.exchanges[0].request.port, 8000);
    // The calling thread has stayed where it was.
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, 8000)).is_err());
}

#[test]
fn ipv6_loopback_and_wildcard_listeners_are_probed_and_dockers_resolver_is_not() {
    let inside = || {
        for address in ["[::1]:8001", "[::]:8002", "0.0.0.0:8003", "127.0.0.11:8004"] {
            Server::on(TcpListener::bind(address).unwrap(), |_| text("ok"));
        }
    };
    let Some(pid) = in_new_namespace(inside) else { return };
    let ports = wait_listening(
        &target(pid),
        Duration::from_secs(5),
        Others::Briefly,
        &CancelFlag::default(),
        &|| true,
    )
    .unwrap();
    let numbers: Vec<u16> = ports.iter().map(|port| port.number).collect();
    assert_eq!(numbers, [8001, 8002, 8003]);
    assert_eq!(probe(&quick(), &target(pid)).answers_below_500, 3);
}

#[test]
fn a_server_that_comes_up_after_its_helper_is_probed_as_well() {
    let inside = || {
        // As php-fpm before nginx: listens at once, and speaks something else.
        let helper = TcpListener::bind((Ipv4Addr::LOCALHOST, 9000)).unwrap();
        std::thread::spawn(move || helper.incoming().for_each(drop));
        std::thread::spawn(|| {
            std::thread::sleep(Duration::from_millis(1500));
            Server::on(TcpListener::bind((Ipv4Addr::LOCALHOST, 80)).unwrap(), |_| text("ok"));
        });
    };
    let Some(pid) = in_new_namespace(inside) else { return };
    let outcome = probe(&quick(), &Target { ports: vec![80, 9000], ..target(pid) });
    assert_eq!(lines(&outcome), ["200 GET /"]);
    assert_eq!(outcome.recording.exchanges[0].request.to_string(), "GET http://localhost/");
    let numbers: Vec<u16> = outcome.ports.iter().map(|port| port.port).collect();
    assert_eq!(numbers, [9000, 80]);
}

#[test]
fn a_process_that_is_gone_is_an_error_that_names_it() {
    let pid = i32::MAX;
    let settings = HttpSettings { listen_timeout: Duration::from_millis(50), ..quick() };
    let error = slim_probe::probe(&settings, &target(pid), &mut |_| {}, &CancelFlag::default(), &|| true)
        .unwrap_err();
    assert!(matches!(error, ProbeError::Table { .. }));
    assert!(error.to_string().contains(&format!("network namespace of process {pid}: ")), "{error}");
}
