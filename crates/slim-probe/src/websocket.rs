//! A WebSocket conversation as one request with one answer: the handshake, the request's body as a message, and what the
//! program says to that.

use crate::http::{Answer, BodyReader, CallError, Limits, sorted};
use crate::recording::{Header, Request, Response};
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::header::HeaderMap;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// A ping is answered by a library, often before the program itself has thought about the message in front of it: so long
/// its answer may take after that.
const THOUGHT: Duration = Duration::from_millis(500);
/// The key of every handshake: any 16 bytes will do (RFC 6455, 4.1), and the same request should be the same bytes.
const KEY: &str = "ZG9ja2VyLXNsaW0gcHJvYg==";
/// Headers that are the handshake's own business.
const OF_THE_HANDSHAKE: [&str; 3] = ["connection", "upgrade", "sec-websocket-accept"];

/// Shakes hands, sends the body as a message where there is one, and takes what the program says until it has answered a
/// ping, and the message.
pub(crate) async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    request: &Request,
    began: Instant,
    limits: Limits,
    mut body: BodyReader,
) -> Result<Answer, CallError> {
    let config = WebSocketConfig::default();
    let shaking = client_async_with_config(handshake(request)?, stream, Some(config));
    let shaken = timeout_at(began + limits.answer, shaking).await;
    let (mut socket, response) = match shaken {
        Err(_) => return Err(CallError::Silent { port: request.port, after: limits.answer }),
        Ok(Ok(shaken)) => shaken,
        Ok(Err(tungstenite::Error::Http(refused))) => {
            let (parts, told) = refused.into_parts();
            body.take(&told.unwrap_or_default());
            return Ok(answer(parts.status.as_u16(), &parts.headers, body, true, None));
        }
        Ok(Err(error)) => return Err(failed(&error, request.port)),
    };
    let deadline = began + limits.whole.max(limits.answer);
    let said = converse(&mut socket, request, deadline, &mut body).await;
    let status = response.status().as_u16();
    let broke_off = said.err().map(|error| format!("talk over the WebSocket: {error}"));
    let is_whole = broke_off.is_none();
    // The program may have gone already.
    drop(timeout_at(deadline, socket.close(None)).await);
    Ok(answer(status, response.headers(), body, is_whole, broke_off))
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WebSocketStream<S>,
    request: &Request,
    deadline: Instant,
    body: &mut BodyReader,
) -> Result<(), tungstenite::Error> {
    let asks = request.body.as_ref().map(|body| match std::str::from_utf8(body.as_bytes()) {
        Ok(text) => Message::text(text),
        Err(_) => Message::binary(body.as_bytes().to_vec()),
    });
    let awaits_answer = asks.is_some();
    if let Some(message) = asks {
        socket.send(message).await?;
    }
    socket.send(Message::Ping(bytes::Bytes::new())).await?;
    let (mut until, mut is_read) = (deadline, false);
    while let Ok(Some(message)) = timeout_at(until, socket.next()).await {
        match message? {
            Message::Text(text) => body.take(text.as_bytes()),
            Message::Binary(bytes) => body.take(&bytes),
            Message::Pong(_) if awaits_answer => {
                (until, is_read) = (deadline.min(Instant::now() + THOUGHT), true);
                continue;
            }
            Message::Pong(_) | Message::Close(_) => return Ok(()),
            Message::Ping(_) | Message::Frame(_) => continue,
        }
        if is_read {
            return Ok(());
        }
    }
    Ok(())
}

fn handshake(request: &Request) -> Result<hyper::Request<()>, CallError> {
    let mut builder = hyper::Request::builder().method("GET").uri(format!(
        "{}://{}{}",
        request.protocol.scheme(),
        request.authority(),
        request.path
    ));
    let usual = [
        ("host", request.authority()),
        ("connection", "Upgrade".to_owned()),
        ("upgrade", "websocket".to_owned()),
        ("sec-websocket-version", "13".to_owned()),
        ("sec-websocket-key", KEY.to_owned()),
    ];
    for (name, value) in usual {
        if !request.headers.iter().any(|header| header.name == name) {
            builder = builder.header(name, value);
        }
    }
    for Header { name, value } in &request.headers {
        builder = builder.header(name.as_str(), value.as_str());
    }
    builder.body(()).map_err(|error| CallError::Request(error.to_string()))
}

fn answer(
    status: u16,
    headers: &HeaderMap,
    body: BodyReader,
    is_whole: bool,
    broke_off: Option<String>,
) -> Answer {
    let mut headers = sorted(headers);
    headers.retain(|header| !OF_THE_HANDSHAKE.contains(&header.name.as_str()));
    let (body, captured) = body.finish(is_whole);
    let response = Response { status, headers, content_type: None, body };
    Answer { response, captured, broke_off }
}

fn failed(error: &tungstenite::Error, port: u16) -> CallError {
    match error {
        tungstenite::Error::Io(_) | tungstenite::Error::ConnectionClosed => CallError::Closed(port),
        tungstenite::Error::Url(_) | tungstenite::Error::HttpFormat(_) => {
            CallError::Request(error.to_string())
        }
        tungstenite::Error::Protocol(tungstenite::error::ProtocolError::HandshakeIncomplete) => {
            CallError::Closed(port)
        }
        _ => CallError::NotHttp(port),
    }
}
