//! Ports on the host, handed on to a container by a proxy of its keeper's: no rules, nothing that could stay behind.
//!
//! Connections are dialled from a thread in the container's network, over loopback first, so that programs bound to it are
//! reached as well. A UDP client is known by its address as long as something comes from either side.

use super::network::inside;
use super::record::{Process, RecordedPort};
use crate::ports::Protocol;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A UDP client that is silent for so long is forgotten (as in moby's proxy).
const UDP_IDLE: Duration = Duration::from_secs(90);
/// How often a silent client is looked at.
const UDP_LOOK: Duration = Duration::from_secs(5);
/// More clients at a time are not served.
const UDP_CLIENTS: usize = 1024;
/// So long nobody is let in where that has failed.
const ACCEPTS_AGAIN: Duration = Duration::from_millis(100);
/// No datagram is longer.
const DATAGRAM: usize = 65_535;

enum Taken {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

/// Ports that are taken on the host, and not served yet.
pub(super) struct Published(Vec<(Taken, RecordedPort)>);

impl Published {
    /// Takes the ports.
    ///
    /// # Errors
    /// One that another program holds.
    pub(super) fn take(ports: &[RecordedPort]) -> io::Result<Self> {
        let taken = ports.iter().map(|port| {
            let address = SocketAddr::new(port.host_ip, port.host_port);
            let (taken, host_port) = take(port.protocol, address).map_err(|error| {
                // As Docker says it.
                let reason = match error.kind() {
                    io::ErrorKind::AddrInUse => "address already in use".to_owned(),
                    _ => error.to_string(),
                };
                let text =
                    format!("publish port {}/{} at {address}: {reason}", port.container_port, port.protocol);
                io::Error::new(error.kind(), text)
            })?;
            Ok((taken, RecordedPort { host_port, ..*port }))
        });
        taken.collect::<io::Result<_>>().map(Self)
    }

    /// With the ports that the kernel picked.
    pub(super) fn ports(&self) -> Vec<RecordedPort> {
        self.0.iter().map(|(_, port)| *port).collect()
    }

    /// Hands on to a program, as long as this process lives. `addresses`: its own besides loopback.
    pub(super) fn serve(self, program: Process, addresses: &[IpAddr]) -> io::Result<()> {
        let network = Arc::new(File::open(format!("/proc/{}/ns/net", program.pid))?);
        let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        for (taken, port) in self.0 {
            let within = loopback.iter().chain(addresses);
            let within = within.map(|ip| SocketAddr::new(*ip, port.container_port)).collect();
            let inner = Arc::new(Inner { network: Arc::clone(&network), addresses: within });
            match taken {
                Taken::Tcp(listener) => drop(thread::spawn(move || serve_tcp(&listener, &inner))),
                Taken::Udp(socket) => drop(thread::spawn(move || serve_udp(&Arc::new(socket), &inner))),
            }
        }
        Ok(())
    }
}

fn take(protocol: Protocol, address: SocketAddr) -> io::Result<(Taken, u16)> {
    match protocol {
        Protocol::Tcp => {
            let listener = TcpListener::bind(address)?;
            let port = listener.local_addr()?.port();
            Ok((Taken::Tcp(listener), port))
        }
        Protocol::Udp => {
            let socket = UdpSocket::bind(address)?;
            let port = socket.local_addr()?.port();
            Ok((Taken::Udp(socket), port))
        }
        Protocol::Sctp => Err(io::Error::new(io::ErrorKind::Unsupported, "SCTP is not published")),
    }
}

/// Where a port is served in the container.
struct Inner {
    network: Arc<File>,
    /// In the order in which they are tried.
    addresses: Vec<SocketAddr>,
}

fn serve_tcp(listener: &TcpListener, inner: &Arc<Inner>) {
    let mut fails = false;
    for stream in listener.incoming() {
        let began = stream.and_then(|stream| {
            let inner = Arc::clone(inner);
            thread::Builder::new().spawn(move || hand_on(stream, &inner))
        });
        // No descriptor or no thread is free: some connection has to end first.
        if let Err(error) = &began {
            if !fails {
                tracing::warn!("a published port takes no connection for now: {error}");
            }
            thread::sleep(ACCEPTS_AGAIN);
        }
        fails = began.is_err();
    }
}

/// Serves one connection with two descriptors. That nothing listens inside closes it, as Docker's proxy does.
fn hand_on(outside: TcpStream, inner: &Inner) {
    let addresses = inner.addresses.clone();
    let connected = inside(&inner.network, move || TcpStream::connect(addresses.as_slice()));
    let within = match connected {
        Ok(within) => Arc::new(within),
        Err(error) => return tracing::debug!("a connection of a published port is closed: {error}"),
    };
    let outside = Arc::new(outside);
    let back = {
        let (within, outside) = (Arc::clone(&within), Arc::clone(&outside));
        thread::Builder::new().spawn(move || copy_one_way(&within, &outside))
    };
    let Ok(back) = back else { return };
    copy_one_way(&outside, &within);
    let _ = back.join();
}

/// Either side may hang up at any time.
fn copy_one_way(mut from: &TcpStream, mut to: &TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

/// A UDP client's socket in the container's network.
struct Flow {
    socket: UdpSocket,
    began: Instant,
    /// Milliseconds after the beginning.
    heard: AtomicU64,
}

impl Flow {
    fn touch(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard.store(now, Ordering::Relaxed);
    }

    fn is_idle(&self) -> bool {
        self.began.elapsed() > UDP_IDLE + Duration::from_millis(self.heard.load(Ordering::Relaxed))
    }
}

type Flows = Arc<Mutex<HashMap<SocketAddr, Arc<Flow>>>>;

fn serve_udp(outside: &Arc<UdpSocket>, inner: &Arc<Inner>) {
    let flows = Flows::default();
    let mut datagram = vec![0; DATAGRAM];
    loop {
        // A client that is gone is told by an error, which is none of the socket's own.
        let Ok((length, client)) = outside.recv_from(&mut datagram) else { continue };
        let known = flows.lock().unwrap_or_else(PoisonError::into_inner).get(&client).cloned();
        let flow = match known {
            Some(flow) => flow,
            None => match begin_flow(outside, client, inner, &flows) {
                Some(flow) => flow,
                None => continue,
            },
        };
        flow.touch();
        // That nothing listens inside is told by the next call, once.
        if flow.socket.send(&datagram[..length]).is_err() {
            let _ = flow.socket.send(&datagram[..length]);
        }
    }
}

fn begin_flow(
    outside: &Arc<UdpSocket>,
    client: SocketAddr,
    inner: &Inner,
    flows: &Flows,
) -> Option<Arc<Flow>> {
    if flows.lock().unwrap_or_else(PoisonError::into_inner).len() >= UDP_CLIENTS {
        return None;
    }
    let address = *inner.addresses.first()?;
    let socket = inside(&inner.network, move || {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(address)?;
        socket.set_read_timeout(Some(UDP_LOOK))?;
        Ok(socket)
    });
    let flow = Arc::new(Flow { socket: socket.ok()?, began: Instant::now(), heard: AtomicU64::new(0) });
    flows.lock().unwrap_or_else(PoisonError::into_inner).insert(client, Arc::clone(&flow));
    let (outside, answering, flows) = (Arc::clone(outside), Arc::clone(&flow), Arc::clone(flows));
    thread::spawn(move || {
        let mut datagram = vec![0; DATAGRAM];
        while !answering.is_idle() {
            if let Ok(length) = answering.socket.recv(&mut datagram) {
                answering.touch();
                let _ = outside.send_to(&datagram[..length], client);
            }
        }
        flows.lock().unwrap_or_else(PoisonError::into_inner).remove(&client);
    });
    Some(flow)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    fn port(protocol: Protocol, host_port: u16) -> RecordedPort {
        RecordedPort { container_port: 80, protocol, host_ip: Ipv4Addr::LOCALHOST.into(), host_port }
    }

    #[test]
    fn a_port_that_is_held_is_refused_with_its_address() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = holder.local_addr().unwrap();
        let error = Published::take(&[port(Protocol::Tcp, address.port())]).err().unwrap();
        assert!(error.to_string().contains(&address.to_string()), "{error}");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        // Each protocol has its own ports; UDP's own is taken below.
        let holder = UdpSocket::bind("127.0.0.1:0").unwrap();
        let held = holder.local_addr().unwrap().port();
        assert!(Published::take(&[port(Protocol::Udp, held)]).is_err());
    }

    #[test]
    fn a_free_port_is_told_by_its_number() {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            assert!(Published::take(&[port(protocol, 0)]).unwrap().ports()[0].host_port > 0);
        }
        assert!(Published::take(&[port(Protocol::Sctp, 0)]).is_err());
    }

    /// Entering a network, one's own too, needs root.
    #[allow(clippy::print_stdout, reason = "it says why a test is skipped")]
    fn is_no_root() -> bool {
        let is_none = !nix::unistd::geteuid().is_root();
        if is_none {
            println!("skipped: entering a network needs root");
        }
        is_none
    }

    fn open_files() -> usize {
        std::fs::read_dir("/proc/self/fd").unwrap().count()
    }

    /// This process's own network stands for the container's.
    #[test]
    fn a_connection_takes_two_descriptors() {
        if is_no_root() {
            return;
        }
        const CONNECTIONS: usize = 20;
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let inside =
            RecordedPort { container_port: server.local_addr().unwrap().port(), ..port(Protocol::Tcp, 0) };
        let published = Published::take(&[inside]).unwrap();
        let host_port = published.ports()[0].host_port;
        published.serve(Process::of(std::process::id()).unwrap(), &[]).unwrap();
        let before = open_files();
        let connections: Vec<(TcpStream, TcpStream)> = (0..CONNECTIONS)
            .map(|number| {
                let mut client = TcpStream::connect(("127.0.0.1", host_port)).unwrap();
                let (mut served, _) = server.accept().unwrap();
                let mut heard = [0; 1];
                // Both ways, so that both are being copied by now.
                client.write_all(&[number as u8]).unwrap();
                served.read_exact(&mut heard).unwrap();
                served.write_all(&heard).unwrap();
                client.read_exact(&mut heard).unwrap();
                assert_eq!(heard, [number as u8]);
                (client, served)
            })
            .collect();
        // The test's own ends are two more.
        let taken = open_files() - before;
        assert!(taken <= 4 * CONNECTIONS + 2, "{taken} for {CONNECTIONS}");
        // The end of one side is told to the other, whose last words still arrive.
        let (mut client, mut served) = connections.into_iter().next().unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut rest = String::new();
        served.read_to_string(&mut rest).unwrap();
        served.write_all(b"bye").unwrap();
        drop(served);
        client.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "bye");
    }

    /// This process's own network stands for the container's; both sides are on loopback.
    #[test]
    fn datagrams_find_their_way_there_and_back_for_each_client() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((length, from)) = server.recv_from(&mut buffer) {
                let answer = [b"heard ", &buffer[..length]].concat();
                let _ = server.send_to(&answer, from);
            }
        });
        if is_no_root() {
            return;
        }
        let published =
            Published::take(&[RecordedPort { container_port: address.port(), ..port(Protocol::Udp, 0) }])
                .unwrap();
        let host_port = published.ports()[0].host_port;
        published.serve(Process::of(std::process::id()).unwrap(), &[]).unwrap();
        let clients: Vec<UdpSocket> = (0..3).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        for (number, client) in clients.iter().enumerate() {
            client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            client.send_to(format!("{number}").as_bytes(), ("127.0.0.1", host_port)).unwrap();
        }
        for (number, client) in clients.iter().enumerate() {
            let mut buffer = [0; 64];
            let length = client.recv(&mut buffer).unwrap();
            assert_eq!(String::from_utf8_lossy(&buffer[..length]), format!("heard {number}"));
        }
    }
}
