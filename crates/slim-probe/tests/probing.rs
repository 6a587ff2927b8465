//! Probing: readiness, protocols, programs that do not speak HTTP, and what the outcome says of it.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::{Reply, Server, free_port, html, lines, not_found, probe, probe_told, quick, target, text};
use slim_probe::{
    CancelFlag, Header, HttpSettings, Others, PortOutcome, PortState, ProbeCommand, ProbeError, Progress,
    Protocol, Target,
};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

#[test]
fn a_program_sees_a_request_like_a_persons_without_accepted_encodings() {
    let server = Server::start(|_| text("ok"));
    let (outcome, told) = probe_told(&quick(), &server.target());
    let asked = server.asked().remove(0);
    assert_eq!(asked.headers["host"], format!("localhost:{}", server.port));
    assert_eq!(asked.headers["accept"], "*/*");
    assert!(asked.headers["user-agent"].starts_with("docker-slim/"));
    assert!(!asked.headers.contains_key("accept-encoding"));
    assert_eq!(lines(&outcome), ["200 GET /"]);
    let state = PortState::Http(Protocol::Http);
    assert_eq!(outcome.ports, [PortOutcome { port: server.port, state: state.clone() }]);
    let expected = [
        Progress::Listening(vec![server.port]),
        Progress::Request { request: format!("GET http://localhost:{}/", server.port), status: Some(200) },
        Progress::Port(PortOutcome { port: server.port, state }),
    ];
    assert_eq!(told, expected);
}

#[test]
fn the_probe_waits_for_a_program_that_listens_late_and_no_longer() {
    let port = free_port();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(700));
        Server::on(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap(), |_| text("late"));
    });
    // By the kernel's own tables: this process is the program.
    let own = Target {
        pid: Some(i32::try_from(std::process::id()).unwrap()),
        reach: None,
        address: None,
        ports: vec![port],
    };
    let began = Instant::now();
    let outcome = probe(&quick(), &own);
    assert_eq!(lines(&outcome), ["200 GET /"]);
    assert!(
        began.elapsed() >= Duration::from_millis(700) && began.elapsed() < Duration::from_secs(3),
        "{began:?}"
    );
}

#[test]
fn wait_listening_gives_the_port_with_its_address_once_it_listens() {
    let port = free_port();
    let own = Target {
        pid: Some(i32::try_from(std::process::id()).unwrap()),
        reach: None,
        address: None,
        ports: vec![port],
    };
    let wait = |timeout| {
        slim_probe::wait_listening(&own, timeout, Others::Briefly, &CancelFlag::default(), &|| true).unwrap()
    };
    assert!(wait(Duration::from_millis(100)).is_empty());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    let ports = wait(Duration::from_secs(5));
    assert_eq!(ports.len(), 1);
    assert_eq!(ports[0].addresses, [listener.local_addr().unwrap()]);
}

#[test]
fn ports_that_are_known_to_open_are_waited_for_however_late_after_the_first() {
    let (first, late) = (TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(), free_port());
    let ports = vec![first.local_addr().unwrap().port(), late];
    let own =
        Target { pid: Some(i32::try_from(std::process::id()).unwrap()), reach: None, address: None, ports };
    let opening = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(900));
        TcpListener::bind((Ipv4Addr::LOCALHOST, late)).unwrap()
    });
    let wait = |others| {
        let timeout = Duration::from_secs(20);
        slim_probe::wait_listening(&own, timeout, others, &CancelFlag::default(), &|| true).unwrap().len()
    };
    assert_eq!(wait(Others::Briefly), 1, "a guess is not worth waiting for");
    assert_eq!(wait(Others::AsLong), 2);
    opening.join().unwrap();
}

#[test]
fn a_listener_of_the_host_that_nobody_named_is_left_alone() {
    let (named, other) = (Server::start(|_| text("ours")), Server::start(|_| text("the host's")));
    let own = Target {
        pid: Some(i32::try_from(std::process::id()).unwrap()),
        reach: None,
        address: None,
        ports: vec![named.port],
    };
    assert_eq!(probe(&quick(), &own).ports.len(), 1);
    assert!(other.asked().is_empty());
}

#[test]
fn a_proxy_that_has_no_program_behind_it_yet_is_asked_again() {
    let asked = AtomicU32::new(0);
    let server = Server::start(move |_| {
        let early = asked.fetch_add(1, Ordering::Relaxed) < 3;
        if early { Reply::Page(502, "text/html", "bad gateway".to_owned()) } else { text("ready") }
    });
    assert_eq!(lines(&probe(&quick(), &server.target())), ["200 GET /"]);
}

#[test]
fn a_connection_that_is_closed_without_a_word_is_retried_as_often_as_asked() {
    let closes_twice = || {
        let asked = AtomicU32::new(0);
        Server::start(
            move |_| if asked.fetch_add(1, Ordering::Relaxed) < 2 { Reply::Close } else { text("ready") },
        )
    };
    let server = closes_twice();
    assert_eq!(lines(&probe(&quick(), &server.target())), ["200 GET /"]);
    // The original makes no request at all where it is told not to retry.
    let server = closes_twice();
    assert!(!probe(&HttpSettings { retry_count: 0, ..quick() }, &server.target()).speaks_http());
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn only_server_errors_are_told_apart() {
    let server = Server::start(|_| Reply::Page(500, "text/plain", "broken".to_owned()));
    let outcome = probe(&quick(), &server.target());
    assert!(outcome.only_5xx() && outcome.speaks_http());
    assert_eq!((outcome.requests, outcome.failures, outcome.answers_below_500), (1, 0, 0));
}

#[test]
fn statuses_count_as_failures_only_where_that_was_asked_for() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/" => html("<a href=/missing></a><a href=/broken></a>"),
        "/missing" => not_found(),
        _ => Reply::Page(500, "text/plain", "broken".to_owned()),
    });
    let failures = |four, five| {
        let settings = HttpSettings { fail_on_status_4xx: four, fail_on_status_5xx: five, ..quick() };
        probe(&settings, &server.target()).failures
    };
    assert_eq!(
        [failures(false, false), failures(true, false), failures(false, true), failures(true, true)],
        [0, 1, 1, 2]
    );
}

#[test]
fn tls_is_found_out_quickly_with_any_certificate() {
    let server =
        Server::start_tls(|asked| if asked.path == "/" { html("<a href=/more></a>") } else { text("more") });
    let began = Instant::now();
    let outcome = probe(&quick(), &server.target());
    assert_eq!(lines(&outcome), ["200 GET /", "200 GET /more"]);
    assert_eq!(outcome.ports[0].state, PortState::Http(Protocol::Https));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[test]
fn a_tls_server_that_answers_plain_http_with_400_is_spoken_to_in_tls() {
    let config = common::tls_config(b"http/1.1");
    let server = Server::raw(move |mut stream| {
        let mut first = [0];
        if stream.peek(&mut first).is_ok() && first[0] != 0x16 {
            drop(stream.read(&mut [0; 1000]));
            drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"));
            return;
        }
        let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, stream);
        drop(stream.read(&mut [0; 1000]));
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
    });
    let outcome = probe(&quick(), &server.target());
    assert_eq!(outcome.ports[0].state, PortState::Http(Protocol::Https));
    assert_eq!(lines(&outcome), ["200 GET /"]);
}

#[test]
fn a_plain_server_that_answers_400_is_a_plain_server() {
    let server = Server::start(|_| Reply::Page(400, "text/plain", "what?".to_owned()));
    let outcome = probe(&quick(), &server.target());
    assert_eq!(outcome.ports[0].state, PortState::Http(Protocol::Http));
    assert_eq!(lines(&outcome), ["400 GET /"]);
}

#[test]
fn a_server_of_another_protocol_is_no_http_and_no_failure_of_the_recording() {
    let redis = Server::raw(|mut stream| {
        drop(stream.read(&mut [0; 1000]));
        drop(stream.write_all(b"-ERR unknown command 'GET'\r\n"));
    });
    let ssh = Server::raw(|mut stream| {
        drop(stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n"));
        drop(stream.read(&mut [0; 1000]));
    });
    let closed = free_port();
    let outcome = probe(&quick(), &target(&[redis.port, ssh.port, closed]));
    assert!(!outcome.speaks_http() && !outcome.only_5xx());
    assert_eq!(outcome.requests, 0);
    let tried = outcome.ports_tried();
    for port in [redis.port, ssh.port] {
        assert!(
            tried.contains(&format!("port {port} (understand port {port}: what it sent is not HTTP)")),
            "{tried}"
        );
    }
    assert!(tried.contains(&format!("port {closed} (nothing listens)")), "{tried}");
}

#[test]
fn a_server_that_speaks_first_is_no_http_however_early_it_speaks() {
    let greeting = Server::raw(|mut stream| {
        drop(stream.write_all(b"220 mail.example ESMTP\r\n"));
        drop(stream.read(&mut [0; 1000]));
    });
    for _ in 0..50 {
        let tried = probe(&quick(), &greeting.target()).ports_tried();
        assert!(tried.contains("what it sent is not HTTP"), "{tried}");
    }
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let server = Server::raw(|stream| {
        std::thread::sleep(Duration::from_secs(60));
        drop(stream);
    });
    let began = Instant::now();
    let outcome = probe(
        &HttpSettings { first_answer_timeout: Duration::from_millis(500), ..quick() },
        &server.target(),
    );
    assert!(
        matches!(&outcome.ports[0].state, PortState::NotHttp(why) if why.contains("within 0.5 s")),
        "{outcome:?}"
    );
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn a_program_that_listens_on_nothing_has_no_ports() {
    let own = Target {
        pid: Some(i32::try_from(std::process::id()).unwrap()),
        reach: None,
        address: None,
        ports: Vec::new(),
    };
    let outcome = probe(&HttpSettings { listen_timeout: Duration::from_millis(50), ..quick() }, &own);
    assert_eq!(outcome.ports_tried(), "any port: none listens");
}

#[test]
fn commands_run_in_order_with_their_bodies_and_headers() {
    let server =
        Server::start(|asked| if asked.method == "GET" { text("got") } else { text(asked.body.clone()) });
    let mut post: ProbeCommand = "POST:/items".parse().unwrap();
    post.body = Some(slim_probe::Content::Text("x=1".to_owned()));
    post.headers = vec![Header { name: "x-key".to_owned(), value: "secret".to_owned() }];
    let mut elsewhere = ProbeCommand::get("/elsewhere");
    elsewhere.port = Some(free_port());
    let commands = vec![
        ProbeCommand::get("/first"),
        post,
        "http:DELETE:/items/1".parse().unwrap(),
        "HEAD:/last".parse().unwrap(),
        "PUT:/empty".parse().unwrap(),
        elsewhere,
    ];
    let outcome = probe(&HttpSettings { commands, ..quick() }, &server.target());
    let expected =
        ["200 GET /first", "200 POST /items", "200 DELETE /items/1", "200 HEAD /last", "200 PUT /empty"];
    assert_eq!(lines(&outcome), expected);
    let asked = server.asked();
    assert_eq!((asked[1].body.as_str(), asked[1].headers["x-key"].as_str()), ("x=1", "secret"));
    assert_eq!(asked[4].headers["content-length"], "0");
    assert_eq!(outcome.recording.exchanges[1].response.as_ref().unwrap().body.text.as_deref(), Some("x=1"));
}

#[test]
fn a_post_that_was_taken_is_not_sent_again() {
    let server = Server::start(|asked| if asked.method == "POST" { Reply::Close } else { text("ok") });
    let commands = vec![ProbeCommand::get("/"), "POST:/pay".parse().unwrap()];
    let outcome = probe(&HttpSettings { commands, ..quick() }, &server.target());
    assert_eq!(lines(&outcome), ["200 GET /", "none POST /pay"]);
    assert_eq!(outcome.failures, 1);
    assert_eq!(server.paths(), ["/", "/pay"]);
}

#[test]
fn named_ports_are_probed_in_their_order_and_no_others() {
    let servers = [Server::start(|_| text("a")), Server::start(|_| text("b")), Server::start(|_| text("c"))];
    let named = vec![servers[2].port, servers[0].port];
    let outcome = probe(&HttpSettings { ports: named.clone(), ..quick() }, &servers[1].target());
    let probed: Vec<u16> = outcome.recording.exchanges.iter().map(|exchange| exchange.request.port).collect();
    assert_eq!(probed, named);
    assert!(servers[1].asked().is_empty());
}

#[test]
fn unless_all_ports_are_wanted_the_first_that_answers_is_enough() {
    let servers = [Server::start(|_| text("a")), Server::start(|_| text("b"))];
    let ports = vec![servers[1].port, servers[0].port];
    let outcome = probe(&HttpSettings { ports, full: false, ..quick() }, &Target::default());
    assert_eq!(outcome.requests, 1);
    assert!(servers[0].asked().is_empty());
}

#[test]
fn a_cancelled_probe_ends_at_once() {
    let server = Server::start(|_| Reply::Silence);
    let cancel = CancelFlag::default();
    let flag = Arc::clone(&cancel);
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        flag.store(true, Ordering::Relaxed);
    });
    let began = Instant::now();
    let result = slim_probe::probe(&quick(), &server.target(), &mut |_| {}, &cancel, &|| true);
    assert!(matches!(result, Err(ProbeError::Cancelled)));
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[test]
fn a_program_that_dies_ends_the_wait_at_once() {
    let alive = AtomicBool::new(true);
    let began = Instant::now();
    let result = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(200));
            alive.store(false, Ordering::Relaxed);
        });
        let is_alive = || alive.load(Ordering::Relaxed);
        slim_probe::wait_listening(
            &target(&[free_port()]),
            Duration::from_secs(30),
            Others::AsLong,
            &CancelFlag::default(),
            &is_alive,
        )
    });
    assert!(matches!(result, Err(ProbeError::Died)));
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}
