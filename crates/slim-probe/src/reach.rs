//! Reaching a container's network where it is not this machine's, or may not be entered: somebody who stands beside the
//! container tells what listens there and connects for us ([`Reach`]); and the same for a process of this machine, which is
//! what such a somebody does.

use crate::ports::Listener;
use crate::{netns, ports};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection, whatever it runs over.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What is to come of asking.
pub type Reaching<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// The way to the networks of containers of an engine.
pub trait Reach: fmt::Debug + Send + Sync {
    /// What listens in the network of a process.
    fn sockets(&self, pid: i32) -> Reaching<'_, Sockets>;

    /// A TCP connection from inside that network.
    fn connect(&self, pid: i32, address: SocketAddr) -> Reaching<'_, Box<dyn Stream>>;
}

/// What listens in a network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sockets {
    pub listeners: Vec<Listener>,
    /// Whether it is the host's own: then most of them are others'.
    pub of_host: bool,
}

/// What listens in the network of a process of this machine. Blocks.
///
/// # Errors
/// When the namespace may not be entered, or the process is gone.
pub fn sockets_of(pid: i32) -> io::Result<Sockets> {
    let of_host = netns::is_of_host(pid)?;
    let mut listeners = netns::inside(pid, netns::own_listeners)??;
    listeners.retain(|listener| listener.address != ports::DOCKER_RESOLVER);
    Ok(Sockets { listeners, of_host })
}

/// A TCP connection from inside the network of a process of this machine. Blocks, at most `within`.
///
/// # Errors
/// When nobody takes the connection, the namespace may not be entered, or the process is gone.
pub fn connect_from(pid: i32, address: SocketAddr, within: Duration) -> io::Result<TcpStream> {
    // A socket belongs to the namespace that it was made in, whoever uses it.
    netns::inside(pid, move || TcpStream::connect_timeout(&address, within))?
}

/// The networks of processes of this machine.
#[derive(Clone, Copy, Debug)]
pub struct Here;

impl Here {
    /// How long a connection may take.
    const WITHIN: Duration = Duration::from_secs(10);

    async fn blocking<T: Send + 'static>(
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
    }
}

impl Reach for Here {
    fn sockets(&self, pid: i32) -> Reaching<'_, Sockets> {
        Box::pin(Self::blocking(move || sockets_of(pid)))
    }

    fn connect(&self, pid: i32, address: SocketAddr) -> Reaching<'_, Box<dyn Stream>> {
        Box::pin(async move {
            let connected = Self::blocking(move || connect_from(pid, address, Self::WITHIN)).await?;
            connected.set_nonblocking(true)?;
            Ok(Box::new(tokio::net::TcpStream::from_std(connected)?) as Box<dyn Stream>)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_process_of_this_machine_is_reached_in_its_own_network() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        let listens = Listener { address: address.ip(), port: address.port() };
        assert!(sockets_of(own).unwrap().listeners.contains(&listens));
        let connected = connect_from(own, address, Duration::from_secs(5)).unwrap();
        assert_eq!(connected.peer_addr().unwrap(), address);
    }

    #[test]
    fn a_process_that_is_gone_cannot_be_reached() {
        let address = "127.0.0.1:1".parse().unwrap();
        assert!(sockets_of(i32::MAX).is_err());
        assert!(connect_from(i32::MAX, address, Duration::from_secs(1)).is_err());
    }
}
