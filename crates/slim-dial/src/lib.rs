//! Reaching a host: names to addresses, TCP, and whom TLS believes. Knows neither engines nor registries.
#![forbid(unsafe_code)]

pub mod resolve;
pub mod trust;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;

/// A silent peer is asked for signs of life after this time, and given up after four such times.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Tries the addresses of a host one after the other.
///
/// # Errors
/// The name has no address, or the last reason why none of them answers.
pub async fn connect_tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in resolve::addresses(host).await? {
        match TcpStream::connect(SocketAddr::new(address, port)).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                let keep_alive = socket2::TcpKeepalive::new()
                    .with_time(KEEP_ALIVE)
                    .with_interval(KEEP_ALIVE)
                    .with_retries(4);
                socket2::SockRef::from(&stream).set_tcp_keepalive(&keep_alive)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
