//! A wire between client and registry that breaks where it is told to.

use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A port of this machine that nobody listens on.
pub fn free_port() -> u16 {
    StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Passes connections on to a registry, and breaks some.
pub struct Wire {
    /// `127.0.0.1:port`.
    pub address: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// How many connections are still to be broken.
    breaks: AtomicU64,
    /// After how many bytes to the client, or to the registry.
    after: AtomicU64,
    breaks_upwards: bool,
    down: AtomicU64,
    up: AtomicU64,
    broken: AtomicU64,
}

impl Wire {
    /// Breaks so many connections, each after so many bytes to the client.
    pub async fn breaking_downloads(target: &str, breaks: u64, after: u64) -> Self {
        Self::new(target, breaks, after, false).await
    }

    /// Breaks so many connections, each after so many bytes to the registry.
    pub async fn breaking_uploads(target: &str, breaks: u64, after: u64) -> Self {
        Self::new(target, breaks, after, true).await
    }

    async fn new(target: &str, breaks: u64, after: u64, breaks_upwards: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(State {
            breaks: breaks.into(),
            after: after.into(),
            breaks_upwards,
            ..State::default()
        });
        let (target, shared) = (target.to_owned(), Arc::clone(&state));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (target, state) = (target.clone(), Arc::clone(&shared));
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(&target).await else { return };
                    let (client_read, client_write) = client.into_split();
                    let (server_read, server_write) = server.into_split();
                    let up = pass(client_read, server_write, &state.up, &state, state.breaks_upwards);
                    let down = pass(server_read, client_write, &state.down, &state, !state.breaks_upwards);
                    // Whichever ends first ends the connection.
                    tokio::select! { () = up => {}, () = down => {} }
                });
            }
        });
        Self { address, state }
    }

    /// Bytes that went to the client.
    pub fn down(&self) -> u64 {
        self.state.down.load(Ordering::SeqCst)
    }

    /// Bytes that went to the registry.
    pub fn up(&self) -> u64 {
        self.state.up.load(Ordering::SeqCst)
    }

    /// How many connections were broken.
    pub fn broken(&self) -> u64 {
        self.state.broken.load(Ordering::SeqCst)
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    count: &AtomicU64,
    state: &State,
    may_break: bool,
) {
    let mut buffer = vec![0; 16 << 10];
    let mut passed = 0;
    while let Ok(read) = from.read(&mut buffer).await {
        if read == 0 || to.write_all(&buffer[..read]).await.is_err() {
            break;
        }
        count.fetch_add(read as u64, Ordering::SeqCst);
        passed += read as u64;
        let is_time = may_break && passed >= state.after.load(Ordering::SeqCst);
        let one_less = |breaks: u64| breaks.checked_sub(1);
        if is_time && state.breaks.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
            state.broken.fetch_add(1, Ordering::SeqCst);
            // What was passed on arrives before the connection ends.
            let _ = to.flush().await;
            break;
        }
    }
}
