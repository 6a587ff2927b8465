//! HTTP/2, over TLS and in the clear.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use bytes::Bytes;
use common::{lines, probe, quick, target};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use slim_probe::{HttpSettings, PortState, Protocol};
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

async fn answer(request: hyper::Request<Incoming>) -> Result<hyper::Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let seen = format!("{:?} {} {}", parts.version, parts.method, parts.uri.authority().unwrap().host());
    let sent = body.collect().await.unwrap().to_bytes();
    let page = if parts.uri.path() == "/" { format!("{seen} <a href=/more>more</a>") } else { seen };
    let body = [page.as_bytes(), &sent].concat();
    Ok(hyper::Response::builder()
        .header("content-type", "text/html")
        .body(Full::new(Bytes::from(body)))
        .unwrap())
}

/// A server that speaks nothing but HTTP/2, on its own thread; gives its port.
fn server(acceptor: Option<TlsAcceptor>) -> u16 {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    let service = service_fn(answer);
                    match acceptor {
                        None => drop(builder.serve_connection(TokioIo::new(stream), service).await),
                        Some(acceptor) => {
                            let Ok(stream) = acceptor.accept(stream).await else { return };
                            drop(builder.serve_connection(TokioIo::new(stream), service).await);
                        }
                    }
                });
            }
        });
    });
    port
}

fn asked(port: u16, command: &str) -> slim_probe::Outcome {
    probe(&HttpSettings { commands: vec![command.parse().unwrap()], ..quick() }, &target(&[port]))
}

fn first_text(outcome: &slim_probe::Outcome) -> &str {
    outcome.recording.exchanges[0].response.as_ref().unwrap().body.text.as_deref().unwrap()
}

#[test]
fn http2_in_the_clear_is_spoken_and_crawled_on_demand() {
    let outcome = asked(server(None), "crawl:http2c:GET:/");
    assert_eq!(lines(&outcome), ["200 GET /", "200 GET /more"]);
    assert_eq!(outcome.ports[0].state, PortState::Http(Protocol::Http2c));
    assert!(first_text(&outcome).starts_with("HTTP/2.0 GET localhost"), "{}", first_text(&outcome));
}

#[test]
fn http2_over_tls_is_spoken_on_demand() {
    let acceptor = TlsAcceptor::from(Arc::clone(&common::tls_config(b"h2")));
    let outcome = asked(server(Some(acceptor)), "http2:POST:/form");
    assert_eq!(lines(&outcome), ["200 POST /form"]);
    assert!(first_text(&outcome).starts_with("HTTP/2.0 POST localhost"), "{}", first_text(&outcome));
}

#[test]
fn a_server_of_http_1_asked_in_http2_is_told_as_such() {
    let server = common::Server::start(|_| common::text("ok"));
    let outcome = asked(server.port, "http2c:GET:/");
    assert!(!outcome.speaks_http(), "{outcome:?}");
    assert!(matches!(&outcome.ports[0].state, PortState::NotHttp(_)));
}

#[test]
fn a_command_in_another_protocol_does_not_hide_the_ports_own() {
    let server = common::Server::start(|_| common::text("ok"));
    let commands = vec!["http2c:GET:/".parse().unwrap(), "/plain".parse().unwrap()];
    let outcome = probe(&HttpSettings { commands, ..quick() }, &server.target());
    assert_eq!(lines(&outcome), ["200 GET /plain"]);
}
