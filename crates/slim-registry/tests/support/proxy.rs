//! A little HTTP proxy that knows one thing: every host is this machine.

use std::io;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// Ends with the runtime.
pub struct Proxy {
    /// `127.0.0.1:port`.
    pub address: String,
    /// The first lines of requests.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// `authorization`: what `Proxy-Authorization` must be.
    pub async fn start(authorization: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (log, wanted) = (Arc::clone(&asked), authorization.map(str::to_owned));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (log, wanted) = (Arc::clone(&log), wanted.clone());
                tokio::spawn(async move { serve(stream, &log, wanted.as_deref()).await });
            }
        });
        Self { address, asked }
    }

    /// How many requests began like this.
    pub fn count(&self, start: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|line| line.starts_with(start)).count()
    }
}

async fn serve(mut stream: TcpStream, log: &Mutex<Vec<String>>, wanted: Option<&str>) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let (first, headers) = head.split_once("\r\n").unwrap();
    log.lock().unwrap().push(first.to_owned());
    let told = headers.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("proxy-authorization").then_some(value)
    });
    if wanted.is_some() && told != wanted {
        return stream.write_all(b"HTTP/1.1 407 Who are you?\r\nContent-Length: 0\r\n\r\n").await;
    }
    let words: Vec<&str> = first.split(' ').collect();
    let (authority, path) = match words[0] {
        "CONNECT" => (words[1], None),
        _ => {
            let address = words[1].strip_prefix("http://").expect("a proxy is asked with whole addresses");
            let slash = address.find('/').unwrap();
            (&address[..slash], Some(&address[slash..]))
        }
    };
    let port = authority.rsplit_once(':').map_or("80", |(_, port)| port);
    let mut to = TcpStream::connect(format!("127.0.0.1:{port}")).await?;
    match path {
        None => stream.write_all(b"HTTP/1.1 200 Go on\r\n\r\n").await?,
        Some(path) => {
            // One request a connection: the next may be for somebody else.
            let head = format!("{} {path} HTTP/1.1\r\nConnection: close\r\n{headers}", words[0]);
            to.write_all(head.as_bytes()).await?;
        }
    }
    copy_bidirectional(&mut stream, &mut to).await.map(drop)
}
