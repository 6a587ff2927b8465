//! The network of a container: its own name space with the loopback interface, reached from outside by threads that enter
//! it. Ports are published by a proxy of its keeper's: no bridge, no rules, nothing that could stay behind.

use super::record::{Process, RecordedPort};
use libcontainer::network::link::LinkClient;
use libcontainer::network::wrapper::create_network_client;
use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

/// Index of the loopback interface in every network name space (`include/net/net_namespace.h`).
const LOOPBACK: u32 = 1;

/// Brings up the loopback interface of a process's network, which is down in a new one.
pub(super) fn bring_up_loopback(pid: u32) -> io::Result<()> {
    let network = Arc::new(File::open(format!("/proc/{pid}/ns/net"))?);
    inside(&network, || {
        LinkClient::new(create_network_client())
            .and_then(|mut client| client.set_up(LOOPBACK))
            .map_err(|error| io::Error::other(format!("bring up the loopback interface: {error}")))
    })
}

/// Does work on a thread of its own in another network.
fn inside<T: Send + 'static>(
    network: &Arc<File>,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let network = Arc::clone(network);
    let entered = thread::spawn(move || {
        setns(&*network, CloneFlags::CLONE_NEWNET)?;
        work()
    });
    entered.join().map_err(|_| io::Error::other("the thread in the container's network stopped"))?
}

/// Ports that are taken on the host, and not served yet.
pub(super) struct Published(Vec<(TcpListener, RecordedPort)>);

impl Published {
    /// Takes the ports.
    ///
    /// # Errors
    /// One that another program holds.
    pub(super) fn take(ports: &[RecordedPort]) -> io::Result<Self> {
        let taken = ports.iter().map(|port| {
            let address = SocketAddr::new(port.host_ip, port.host_port);
            let listener = TcpListener::bind(address).map_err(|error| {
                // As Docker says it.
                let reason = match error.kind() {
                    io::ErrorKind::AddrInUse => "address already in use".to_owned(),
                    _ => error.to_string(),
                };
                let text = format!("publish port {} at {address}: {reason}", port.container_port);
                io::Error::new(error.kind(), text)
            })?;
            let host_port = listener.local_addr()?.port();
            Ok((listener, RecordedPort { host_port, ..*port }))
        });
        taken.collect::<io::Result<_>>().map(Self)
    }

    /// With the ports that the kernel picked.
    pub(super) fn ports(&self) -> Vec<RecordedPort> {
        self.0.iter().map(|(_, port)| *port).collect()
    }

    /// Hands connections on to a program, as long as this process lives.
    pub(super) fn serve(self, program: Process) -> io::Result<()> {
        let network = Arc::new(File::open(format!("/proc/{}/ns/net", program.pid))?);
        for (listener, port) in self.0 {
            let network = Arc::clone(&network);
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let network = Arc::clone(&network);
                    thread::spawn(move || hand_on(stream, &network, port.container_port));
                }
            });
        }
        Ok(())
    }
}

/// Serves one connection. That nothing listens inside closes it, as Docker's proxy does.
fn hand_on(outside: TcpStream, network: &Arc<File>, port: u16) {
    let connected = inside(network, move || {
        let at = |ip: IpAddr| TcpStream::connect(SocketAddr::new(ip, port));
        at(Ipv4Addr::LOCALHOST.into()).or_else(|_| at(Ipv6Addr::LOCALHOST.into()))
    });
    let Ok(within) = connected else { return };
    let (Ok(mut from), Ok(mut to)) = (outside.try_clone(), within.try_clone()) else { return };
    let back = thread::spawn(move || {
        let (mut within, mut outside) = (within, outside);
        // Either side may hang up at any time.
        let _ = io::copy(&mut within, &mut outside);
        let _ = outside.shutdown(Shutdown::Write);
    });
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
    let _ = back.join();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_held_is_refused_with_its_address() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = holder.local_addr().unwrap();
        let port = RecordedPort { container_port: 80, host_ip: address.ip(), host_port: address.port() };
        let error = Published::take(&[port]).err().unwrap();
        assert!(error.to_string().contains(&address.to_string()), "{error}");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_free_port_is_told_by_its_number() {
        let any = RecordedPort { container_port: 80, host_ip: Ipv4Addr::LOCALHOST.into(), host_port: 0 };
        assert!(Published::take(&[any]).unwrap().ports()[0].host_port > 0);
    }
}
