//! WebSockets, plain and over TLS.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::{Reply, Server, lines, probe, quick, text, tls_config};
use slim_probe::{
    CancelFlag, Content, HttpSettings, Outcome, ProbeCommand, Recording, Request, compare, replay,
};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;
use tokio_tungstenite::tungstenite::{self, Message};

/// Says who it is, and answers each message with the same, louder and a little later.
fn talk(stream: impl Read + Write) {
    let Ok(mut socket) = tungstenite::accept(stream) else { return };
    socket.send(Message::text("hello")).unwrap();
    while let Ok(message) = socket.read() {
        if let Message::Text(text) = message {
            std::thread::sleep(Duration::from_millis(50));
            drop(socket.send(Message::text(text.to_uppercase())));
        }
    }
}

fn server() -> Server {
    Server::raw(|stream: TcpStream| talk(stream))
}

fn encrypted() -> Server {
    let config = tls_config(b"http/1.1");
    Server::raw(move |stream| {
        let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        talk(rustls::StreamOwned::new(connection, stream));
    })
}

fn asked(server: &Server, command: &str, body: Option<&str>) -> Outcome {
    let command: ProbeCommand = command.parse().unwrap();
    let body = body.map(|text| Content::Text(text.to_owned()));
    let settings = HttpSettings { commands: vec![ProbeCommand { body, ..command }], ..quick() };
    probe(&settings, &server.target())
}

fn said(outcome: &Outcome) -> &str {
    let exchange = &outcome.recording.exchanges[0];
    assert_eq!(exchange.error, None);
    exchange.response.as_ref().unwrap().body.text.as_deref().unwrap_or_default()
}

#[test]
fn a_websocket_says_what_it_says_to_everybody() {
    let outcome = asked(&server(), "ws:GET:/live", None);
    assert_eq!(lines(&outcome), ["101 GET /live"]);
    assert_eq!((said(&outcome), outcome.failures), ("hello", 0));
}

#[test]
fn a_message_over_tls_is_answered() {
    let outcome = asked(&encrypted(), "wss:GET:/live", Some("knock"));
    assert!(said(&outcome).ends_with("KNOCK"), "{}", said(&outcome));
    assert!(outcome.recording.exchanges[0].request.to_string().contains("wss://"));
}

#[test]
fn a_server_without_websockets_gives_its_own_answer() {
    let plain = Server::start(|_| Reply::Page(426, "text/plain", "no".to_owned()));
    assert_eq!(lines(&asked(&plain, "ws:GET:/live", None)), ["426 GET /live"]);
    let other = Server::start(|_| text("ok"));
    assert_eq!(lines(&asked(&other, "ws:GET:/live", None)), ["200 GET /live"]);
}

#[test]
fn a_conversation_is_had_again_and_compared() {
    let first = asked(&server(), "ws:GET:/live", Some("knock"));
    let again = |server: &Server| {
        let recording = moved(&first.recording, server);
        let answered =
            replay(&recording, &quick(), &server.target(), &mut |_| {}, &CancelFlag::default(), &|| true)
                .unwrap();
        compare(&recording, None, &answered).len()
    };
    assert_eq!(again(&server()), 0);
    let deaf = Server::raw(|stream| {
        let Ok(mut socket) = tungstenite::accept(stream) else { return };
        socket.send(Message::text("hello")).unwrap();
        while socket.read().is_ok() {}
    });
    assert_eq!(again(&deaf), 1, "it does not answer the message");
}

/// The recording, for another port.
fn moved(recording: &Recording, server: &Server) -> Recording {
    let exchanges = recording.exchanges.iter().cloned().map(|mut exchange| {
        exchange.request = Request { port: server.port, ..exchange.request };
        exchange
    });
    Recording::new(exchanges.collect())
}
