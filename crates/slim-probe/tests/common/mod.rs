//! Small servers for the tests: each on a free loopback port, one thread a connection, gone with the test process.

#![allow(dead_code, reason = "each test binary uses a part")]

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use slim_probe::{CancelFlag, HttpSettings, Outcome, Progress, Target};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request as the server sees it.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

/// What the server does.
pub enum Reply {
    Page(u16, &'static str, String),
    /// Any bytes, then the end.
    Raw(Vec<u8>),
    /// Closes without a word.
    Close,
    /// Says nothing for a long time.
    Silence,
}

pub fn html(body: impl Into<String>) -> Reply {
    Reply::Page(200, "text/html; charset=utf-8", body.into())
}

pub fn text(body: impl Into<String>) -> Reply {
    Reply::Page(200, "text/plain", body.into())
}

pub fn not_found() -> Reply {
    Reply::Page(404, "text/plain", "not found".to_owned())
}

pub fn redirect(location: &str) -> Reply {
    Reply::Raw(
        format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n").into_bytes(),
    )
}

pub struct Server {
    pub port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
}

type Handler = dyn Fn(&Asked) -> Reply + Send + Sync;

impl Server {
    pub fn start(handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::on(listener(), handler)
    }

    pub fn on(listener: TcpListener, handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let server = Self { port: listener.local_addr().unwrap().port(), asked: Arc::default() };
        let (asked, handler): (_, Arc<Handler>) = (Arc::clone(&server.asked), Arc::new(handler));
        accept(listener, move |stream| serve(stream, &*handler, &asked));
        server
    }

    /// Over TLS; what comes in plain is closed, as most servers do.
    pub fn start_tls(handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = listener();
        let server = Self { port: listener.local_addr().unwrap().port(), asked: Arc::default() };
        let (asked, handler): (_, Arc<Handler>) = (Arc::clone(&server.asked), Arc::new(handler));
        let config = tls_config(b"http/1.1");
        accept(listener, move |stream| {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            serve(rustls::StreamOwned::new(connection, stream), &*handler, &asked);
        });
        server
    }

    /// Every connection is handed to `behave` as it is.
    pub fn raw(behave: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = listener();
        let port = listener.local_addr().unwrap().port();
        accept(listener, behave);
        Self { port, asked: Arc::default() }
    }

    /// Answers the first bytes of every connection with whatever `answer` gives, and ends it.
    pub fn raw_answers(answer: impl Fn() -> Reply + Send + Sync + 'static) -> Self {
        Self::raw(move |mut stream| {
            drop(stream.read(&mut [0; 4096]));
            if let Reply::Raw(bytes) = answer() {
                drop(stream.write_all(&bytes));
            }
        })
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub fn paths(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.path).collect()
    }

    pub fn target(&self) -> Target {
        target(&[self.port])
    }
}

/// Whatever listens there, without a look at the kernel's tables.
pub fn target(ports: &[u16]) -> Target {
    Target { pid: None, reach: None, address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), ports: ports.to_vec() }
}

pub fn listener() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
}

/// A port on which nothing listens.
pub fn free_port() -> u16 {
    listener().local_addr().unwrap().port()
}

pub fn tls_config(protocol: &[u8]) -> Arc<rustls::ServerConfig> {
    let made = rcgen::generate_simple_self_signed(["elsewhere.example".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(config)
}

fn accept(listener: TcpListener, behave: impl Fn(TcpStream) + Send + Sync + 'static) {
    let behave = Arc::new(behave);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let behave = Arc::clone(&behave);
            std::thread::spawn(move || behave(stream));
        }
    });
}

fn serve(stream: impl Read + Write, handler: &Handler, asked: &Mutex<Vec<Asked>>) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader) {
        asked.lock().unwrap().push(request.clone());
        let reply = match handler(&request) {
            Reply::Page(status, kind, body) => {
                let body = if request.method == "HEAD" { String::new() } else { body };
                let length = body.len();
                format!(
                    "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"
                )
                .into_bytes()
            }
            Reply::Raw(bytes) => bytes,
            Reply::Close => return,
            Reply::Silence => return std::thread::sleep(Duration::from_secs(60)),
        };
        if reader.get_mut().write_all(&reply).and_then(|()| reader.get_mut().flush()).is_err() {
            return;
        }
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { method, path, headers, body: String::from_utf8_lossy(&body).into_owned() })
}

/// Settings that give up soon, so that a failing test is a quick one.
pub fn quick() -> HttpSettings {
    HttpSettings {
        listen_timeout: Duration::from_secs(5),
        ready_timeout: Duration::from_secs(2),
        first_answer_timeout: Duration::from_secs(2),
        client_timeout: Duration::from_secs(5),
        client_timeout_crawl: Duration::from_secs(2),
        retry_count: 2,
        ..HttpSettings::default()
    }
}

pub fn probe(settings: &HttpSettings, target: &Target) -> Outcome {
    probe_told(settings, target).0
}

pub fn probe_told(settings: &HttpSettings, target: &Target) -> (Outcome, Vec<Progress>) {
    let mut told = Vec::new();
    let outcome = slim_probe::probe(
        settings,
        target,
        &mut |progress| told.push(progress),
        &CancelFlag::default(),
        &|| true,
    )
    .unwrap();
    (outcome, told)
}

/// `200 GET /path`, one line an exchange.
pub fn lines(outcome: &Outcome) -> Vec<String> {
    let line = |exchange: &slim_probe::Exchange| {
        let status = exchange.status().map_or("none".to_owned(), |status| status.to_string());
        format!("{status} {} {}", exchange.request.method, exchange.request.path)
    };
    outcome.recording.exchanges.iter().map(line).collect()
}
