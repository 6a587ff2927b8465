//! A recording is made again on another server, and compared.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::{Reply, Server, html, not_found, probe, quick, text};
use slim_probe::{CancelFlag, HttpSettings, ProbeCommand, Recording, Target, compare, replay};
use std::sync::atomic::{AtomicU32, Ordering};

fn fat(asked: &common::Asked, runs: &AtomicU32) -> Reply {
    match asked.path.as_str() {
        "/" => html("<a href=/a></a><a href=/counter></a><a href=/missing></a>"),
        "/a" => text("stable"),
        "/counter" => text(runs.fetch_add(1, Ordering::Relaxed).to_string()),
        "/echo" => text(asked.body.clone()),
        _ => not_found(),
    }
}

fn settings() -> HttpSettings {
    let mut echo: ProbeCommand = "POST:/echo".parse().unwrap();
    echo.body = Some(slim_probe::Content::Text("hello".to_owned()));
    HttpSettings { commands: vec![ProbeCommand::get("/"), echo], ..quick() }
}

fn again(recording: &Recording, target: &Target) -> Recording {
    replay(recording, &quick(), target, &mut |_| {}, &CancelFlag::default(), &|| true).unwrap()
}

#[test]
fn a_replay_asks_the_same_in_the_same_order_and_what_changes_anyway_is_no_difference() {
    let runs = AtomicU32::new(0);
    let server = Server::start(move |asked| fat(asked, &runs));
    let first = probe(&settings(), &server.target()).recording;
    let read = Recording::from_json(&first.to_json()).unwrap();
    let second = again(&read, &server.target());
    let third = again(&read, &server.target());
    let requests = |recording: &Recording| -> Vec<_> {
        recording.exchanges.iter().map(|exchange| exchange.request.clone()).collect()
    };
    assert_eq!(requests(&first), requests(&second));
    assert_eq!(first.exchanges.len(), 5);
    assert_eq!(compare(&first, Some(&second), &third), []);
    let differences = compare(&first, None, &third);
    assert_eq!(differences.len(), 1);
    assert!(
        differences[0].to_string().contains("/counter: body \"2\" instead of \"0\""),
        "{}",
        differences[0]
    );
}

#[test]
fn a_slim_program_that_answers_otherwise_is_told_request_by_request() {
    let runs = AtomicU32::new(0);
    let listener = common::listener();
    let port = listener.local_addr().unwrap().port();
    let other = listener.try_clone().unwrap();
    let broken = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_broken = std::sync::Arc::clone(&broken);
    let server = Server::on(listener, move |asked| match asked.path.as_str() {
        path if !is_broken.load(Ordering::Relaxed) || path == "/" => fat(asked, &runs),
        "/a" => Reply::Page(500, "text/plain", "no such module".to_owned()),
        "/missing" => Reply::Close,
        _ => text("otherwise"),
    });
    let first = probe(&settings(), &server.target()).recording;
    broken.store(true, Ordering::Relaxed);
    let slim = again(&first, &server.target());
    let told: Vec<String> = compare(&first, None, &slim).iter().map(ToString::to_string).collect();
    let address = format!("http://localhost:{port}");
    assert_eq!(told[0], format!("GET {address}/a: status 500 instead of 200"));
    assert!(
        told[2].starts_with(&format!("GET {address}/missing: no answer instead of status 404")),
        "{told:?}"
    );
    assert_eq!(
        told[3],
        format!(r#"POST {address}/echo: body "otherwise" instead of "hello" (at character 0)"#)
    );
    drop(other);
}

#[test]
fn a_port_that_no_longer_listens_is_an_answer_missing() {
    let runs = AtomicU32::new(0);
    let server = Server::start(move |asked| fat(asked, &runs));
    let mut first = probe(&settings(), &server.target()).recording;
    let gone = common::free_port();
    for exchange in &mut first.exchanges {
        exchange.request.port = gone;
    }
    let settings = HttpSettings { listen_timeout: std::time::Duration::from_millis(100), ..quick() };
    let slim =
        replay(&first, &settings, &server.target(), &mut |_| {}, &CancelFlag::default(), &|| true).unwrap();
    let differences = compare(&first, None, &slim);
    assert_eq!(differences.len(), 5);
    assert!(
        differences[0].to_string().contains(&format!("nothing listens on port {gone}")),
        "{}",
        differences[0]
    );
}

#[test]
fn an_upload_is_sent_again_byte_for_byte_from_the_recordings_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bytes.bin"), [0xff, 0, b'a']).unwrap();
    let file = folder.path().join("commands.json");
    let entries = r#"{"commands": [{"method": "PUT", "resource": "/raw", "body_file": "bytes.bin"}]}"#;
    std::fs::write(&file, entries).unwrap();
    let mut commands = vec![ProbeCommand::get("/"), ProbeCommand::upload("generate.image:/up").unwrap()];
    commands.extend(ProbeCommand::read_file(&file).unwrap());
    let server = Server::start(|asked| text(asked.body.len().to_string()));
    let first = probe(&HttpSettings { commands, ..quick() }, &server.target()).recording;
    let second = again(&Recording::from_json(&first.to_json()).unwrap(), &server.target());
    assert_eq!(first, second);
    let asked: Vec<_> = server
        .asked()
        .into_iter()
        .map(|asked| (asked.method, asked.path, asked.headers, asked.body))
        .collect();
    assert_eq!(asked.len(), 6);
    assert_eq!(asked[..3], asked[3..]);
    assert!(asked[1].2["content-type"].starts_with("multipart/form-data; boundary="));
    assert!(asked[1].3.contains("PNG\r\n") && asked[2].3.ends_with('a'));
}

#[test]
fn a_login_holds_for_what_follows_and_a_replay_logs_in_for_itself() {
    let sessions = AtomicU32::new(0);
    let server = Server::start(move |asked| {
        let cookie = asked.headers.get("cookie").cloned().unwrap_or_default();
        match asked.path.as_str() {
            "/login" => {
                let session = sessions.fetch_add(1, Ordering::Relaxed) + 1;
                let head = "HTTP/1.1 303 See Other\r\nLocation: /home\r\nContent-Length: 0";
                Reply::Raw(format!("{head}\r\nSet-Cookie: session={session}; Path=/\r\n\r\n").into_bytes())
            }
            "/home" | "/inside" if cookie == format!("session={}", sessions.load(Ordering::Relaxed)) => {
                html("<a href=/inside>inside</a>")
            }
            "/" => html("<a href=/home>home</a>"),
            _ => Reply::Page(403, "text/plain", "log in".to_owned()),
        }
    });
    let commands =
        vec!["/inside".parse().unwrap(), "POST:/login".parse().unwrap(), ProbeCommand::get("/inside")];
    let first = probe(&HttpSettings { commands, ..quick() }, &server.target());
    let expected = ["403 GET /inside", "303 POST /login", "200 GET /home", "200 GET /inside"];
    assert_eq!(common::lines(&first), expected);
    assert!(first.recording.exchanges.iter().all(|exchange| exchange.request.headers.is_empty()));
    let second = again(&first.recording, &server.target());
    assert_eq!(compare(&first.recording, None, &second), []);
    assert_eq!(server.asked().last().unwrap().headers["cookie"], "session=2");
}
