//! Crawling: what is followed, in which order, and where it ends.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::{Reply, Server, html, lines, not_found, probe, quick, redirect, text};
use slim_probe::{Exchange, HttpSettings, ProbeCommand};
use std::time::Duration;

fn site(asked: &common::Asked) -> Reply {
    match asked.path.as_str() {
        "/" => html(
            r#"<link rel=stylesheet href=/style.css><script src=/app.js></script><a href="/about#team">about</a>
               <img src=/logo.png><form action=/search><input name=q value=x></form><a href="http://example.com/">out</a>
               <a href="mailto:a@b">mail</a><a href="/missing">missing</a><form method=post action=/delete></form>"#,
        ),
        "/style.css" => {
            Reply::Page(200, "text/css", "@import 'more.css'; p { background: url(/paper.png) }".to_owned())
        }
        "/more.css" => Reply::Page(200, "text/css", "@font-face { src: url(font.woff2) }".to_owned()),
        "/app.js" => Reply::Page(200, "text/javascript", "fetch('/api')".to_owned()),
        "/about" => html("<a href=/>home</a><a href=/team>team</a>"),
        "/team" => html("<a href=/too-deep>deep</a><img src=/face.png>"),
        "/logo.png" | "/paper.png" | "/face.png" | "/font.woff2" => {
            Reply::Page(200, "application/octet-stream", "bytes".to_owned())
        }
        "/search?q=x" => text("found"),
        _ => not_found(),
    }
}

#[test]
fn a_site_is_crawled_breadth_first_with_everything_its_pages_need() {
    let server = Server::start(site);
    let outcome = probe(&quick(), &server.target());
    let expected = [
        "200 GET /",
        "200 GET /style.css",
        "200 GET /app.js",
        "200 GET /about",
        "200 GET /logo.png",
        "200 GET /search?q=x",
        "404 GET /missing",
        "200 GET /more.css",
        "200 GET /paper.png",
        "200 GET /team",
        "200 GET /font.woff2",
        "200 GET /face.png",
    ];
    assert_eq!(lines(&outcome), expected);
    assert_eq!((outcome.requests, outcome.failures, outcome.answers_below_500), (12, 0, 12));
    assert!(outcome.speaks_http() && !outcome.only_5xx());
}

#[test]
fn the_recording_is_the_same_bytes_whatever_order_the_answers_come_in() {
    let random = |path: &str| path.bytes().map(u64::from).sum::<u64>() * 37 % 40;
    let slow = Server::start(move |asked| {
        std::thread::sleep(Duration::from_millis(random(&asked.path)));
        site(asked)
    });
    let first = probe(&quick(), &slow.target());
    let second = probe(
        &HttpSettings {
            crawl_limits: slim_probe::CrawlLimits { concurrency: 1, ..Default::default() },
            ..quick()
        },
        &slow.target(),
    );
    assert_eq!(first.recording.to_json(), second.recording.to_json());
}

#[test]
fn links_in_headers_are_followed_on_answers_of_any_type() {
    let page = |links: &str, kind: &str, body: &str| {
        let length = body.len();
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{links}\r\n");
        Reply::Raw([head.as_bytes(), body.as_bytes()].concat())
    };
    let server = Server::start(move |asked| match asked.path.as_str() {
        "/" => page(
            "Link: </app.css>; rel=preload, <http://example.com/>; rel=next\r\nLink: </items>; rel=item\r\n",
            "text/html",
            "<a href=/items>items</a><a href=/about>about</a>",
        ),
        "/items" => page("Link: <?page=2>; rel=\"next\"\r\n", "application/json", "[1]"),
        "/items?page=2" => page("Link: <?page=3>; rel=\"next\"\r\n", "application/json", "[2]"),
        "/app.css" | "/about" => text("ok"),
        _ => not_found(),
    });
    let expected =
        ["200 GET /", "200 GET /app.css", "200 GET /items", "200 GET /about", "200 GET /items?page=2"];
    assert_eq!(lines(&probe(&quick(), &server.target())), expected);
}

#[test]
fn nothing_is_asked_for_twice() {
    let server = Server::start(site);
    let commands = vec![ProbeCommand::get("/"), ProbeCommand::get("/about")];
    probe(&HttpSettings { commands, ..quick() }, &server.target());
    let mut paths = server.paths();
    paths.retain(|path| path != "/about" && path != "/");
    let asked = paths.len();
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), asked);
}

#[test]
fn an_endless_space_of_links_ends_with_the_limits() {
    let server = Server::start(|asked| {
        let links: String =
            (0..5).map(|number| format!("<a href='{}{number}'>next</a>", asked.path)).collect();
        html(links)
    });
    let limits = |depth, pages| slim_probe::CrawlLimits { depth, pages, concurrency: 10 };
    let requests =
        |limits| probe(&HttpSettings { crawl_limits: limits, ..quick() }, &server.target()).requests;
    assert_eq!(requests(limits(3, 1000)), 1 + 5 + 25);
    assert_eq!(requests(limits(10, 50)), 50);
    assert_eq!(requests(limits(1, 50)), 1);
    assert_eq!(requests(limits(3, 1)), 1);
}

#[test]
fn endless_style_sheets_end() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/" => html("<link rel=stylesheet href=/a.css>"),
        path => Reply::Page(200, "text/css", format!("@import '{path}.css'")),
    });
    assert_eq!(probe(&quick(), &server.target()).requests, 1 + 3 + 8);
}

#[test]
fn redirects_of_the_same_origin_are_followed_as_requests_of_their_own() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/" => redirect("/login?next=/"),
        "/login?next=/" => html("<a href=/out>out</a><a href=/loop>loop</a>"),
        "/out" => redirect("http://example.com/"),
        "/loop" => redirect("/loop"),
        _ => not_found(),
    });
    let outcome = probe(&quick(), &server.target());
    assert_eq!(lines(&outcome), ["302 GET /", "200 GET /login?next=/", "302 GET /out", "302 GET /loop"]);
}

#[test]
fn without_crawling_only_redirects_are_followed() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/" => redirect("/home"),
        _ => html("<a href=/about>about</a>"),
    });
    let outcome = probe(&HttpSettings { crawl: false, ..quick() }, &server.target());
    assert_eq!(lines(&outcome), ["302 GET /", "200 GET /home"]);
}

#[test]
fn a_link_to_the_program_by_another_of_its_names_is_followed() {
    let listener = common::listener();
    let port = listener.local_addr().unwrap().port();
    let server = Server::on(listener, move |asked| match asked.path.as_str() {
        "/" => html(format!(
            "<a href='http://127.0.0.1:{port}/a'></a><a href='http://localhost:{port}/b'></a>
             <a href='http://localhost:{}/c'></a><a href='https://localhost:{port}/d'></a>",
            port.wrapping_add(1)
        )),
        _ => text("ok"),
    });
    assert_eq!(lines(&probe(&quick(), &server.target())), ["200 GET /", "200 GET /a", "200 GET /b"]);
}

#[test]
fn a_big_body_is_read_up_to_the_limit_and_known_by_its_digest() {
    let server = Server::start(|_| Reply::Page(200, "application/octet-stream", "x".repeat(3 << 20)));
    let body = |limit| {
        let outcome = probe(&HttpSettings { max_body_bytes: limit, ..quick() }, &server.target());
        let [Exchange { response: Some(response), error: None, .. }] = &outcome.recording.exchanges[..]
        else {
            panic!("{:?}", outcome.recording)
        };
        response.body.clone()
    };
    let whole = body(32 << 20);
    assert_eq!((whole.length, whole.complete, whole.text.as_deref()), (3 << 20, true, None));
    assert_eq!(whole.digest, slim_image::Digest::of("x".repeat(3 << 20)));
    let part = body(1000);
    assert_eq!((part.length, part.complete), (1000, false));
    assert_eq!(part.digest, slim_image::Digest::of("x".repeat(1000)));
}

#[test]
fn an_endless_stream_of_events_is_an_answer_not_a_failure() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/" => html("<a href=/events></a>"),
        // No length and no end: the body goes on until the connection does.
        _ => Reply::Raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n".to_vec()),
    });
    let outcome = probe(
        &HttpSettings { client_timeout_crawl: Duration::from_millis(300), ..quick() },
        &server.target(),
    );
    assert_eq!(lines(&outcome), ["200 GET /", "200 GET /events"]);
    assert_eq!(outcome.failures, 0);
    let body = &outcome.recording.exchanges[1].response.as_ref().unwrap().body;
    assert_eq!((body.length, body.complete), (9, false));
}

#[test]
fn a_body_that_breaks_off_is_a_failure() {
    let server = Server::raw(|mut stream| {
        use std::io::{Read, Write};
        let mut head = [0; 1000];
        drop(stream.read(&mut head));
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"));
    });
    let outcome = probe(&quick(), &server.target());
    assert_eq!((outcome.requests, outcome.failures), (1, 1));
    assert!(outcome.recording.exchanges[0].error.as_ref().unwrap().starts_with("read the body: "));
}
