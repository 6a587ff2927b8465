//! A server that answers as a test tells it to: for answers that no registry at hand gives.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::PrivatePkcs8KeyDer;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

/// A request that came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: Method,
    /// By which name it was asked: `127.0.0.1:port`.
    pub host: String,
    pub path: String,
    pub query: String,
    pub authorization: Option<String>,
    pub body: String,
}

pub type Answer = Response<Full<Bytes>>;

/// Ends with the runtime.
pub struct Stranger {
    /// `127.0.0.1:port`.
    pub address: String,
    pub port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Stranger {
    pub async fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        Self::serve(answer, None).await
    }

    /// With TLS and a certificate for `localhost` that nobody vouches for; gives the certificate as PEM.
    pub async fn start_with_tls(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> (Self, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .unwrap();
        (Self::serve(answer, Some(Arc::new(config))).await, super::pem(made.cert.der()))
    }

    async fn serve(
        answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, log) = (Arc::new(answer), Arc::clone(&asked));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
                match tls.clone() {
                    None => drop(tokio::spawn(converse(stream, answer, log))),
                    Some(config) => drop(tokio::spawn(async move {
                        if let Ok(stream) = tokio_rustls::TlsAcceptor::from(config).accept(stream).await {
                            converse(stream, answer, log).await;
                        }
                    })),
                }
            }
        });
        Self { address: format!("127.0.0.1:{port}"), port, asked }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// How many requests there were for a path that ends like this.
    pub fn count(&self, method: &Method, end: &str) -> usize {
        self.asked().iter().filter(|asked| asked.method == *method && asked.path.ends_with(end)).count()
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: Arc<impl Fn(&Asked) -> Answer>,
    log: Arc<Mutex<Vec<Asked>>>,
) {
    let service = hyper::service::service_fn(async |request: Request<Incoming>| {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let asked = Asked {
            method: head.method,
            host: head.headers.get(HOST).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default(),
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            authorization: head.headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned()),
            body: String::from_utf8_lossy(&body).into_owned(),
        };
        log.lock().unwrap().push(asked.clone());
        Ok::<_, hyper::Error>(answer(&asked))
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

pub fn status(code: u16) -> Answer {
    body(code, "", Bytes::new())
}

pub fn body(code: u16, content_type: &str, bytes: impl Into<Bytes>) -> Answer {
    let builder = Response::builder().status(code);
    let builder = if content_type.is_empty() { builder } else { builder.header(CONTENT_TYPE, content_type) };
    builder.body(Full::new(bytes.into())).unwrap()
}

pub fn with(mut answer: Answer, name: &'static str, value: &str) -> Answer {
    answer.headers_mut().append(name, value.parse().unwrap());
    answer
}
