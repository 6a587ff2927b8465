//! A container's ports on this machine's loopback, as long as somebody needs them there: for a container on another machine,
//! and for one with a network of its own that no address of this machine leads to (the embedded engine's, `--network none`).

use crate::error::BuildError;
use crate::vantage::Vantage;
use slim_engine::{ContainerState, Protocol};
use slim_probe::{Here, Reach, Stream};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Loopback addresses that are tried for one container's ports.
const ADDRESSES_TRIED: u8 = 32;

/// Where a container's ports are from here.
pub(crate) struct Forwards {
    /// The container's own address, or one of this machine's loopback.
    pub address: IpAddr,
    /// The container's port → the one at [`Forwards::address`]. Empty where nothing needs to be brought.
    pub ports: BTreeMap<u16, u16>,
    /// The container's port → the one at 127.0.0.1, of those that are not published on this machine.
    pub unpublished: BTreeMap<u16, u16>,
    /// One for each; they end with it.
    _listeners: JoinSet<()>,
}

/// How a port of the container is come to.
#[derive(Clone)]
enum Way {
    /// It is published here.
    Published(SocketAddr),
    /// From inside of the container's network. `own`: the container's address there.
    Inside { reach: Arc<dyn Reach>, pid: i32, own: Option<IpAddr>, port: u16 },
}

impl Forwards {
    pub async fn of(
        vantage: &Vantage,
        state: &ContainerState,
        wanted: &BTreeSet<u16>,
    ) -> Result<Self, BuildError> {
        let ways = ways(vantage, state, wanted).await;
        let own = state.addresses.first().copied().filter(|_| ways.is_empty());
        // One on the host's network has none.
        let address = own.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let mut forwards = Self::none(address);
        if !ways.is_empty() {
            forwards.bring(state.pid.unwrap_or_default(), ways).await.map_err(|error| {
                let what = format!("bring the container's ports to this machine: {error}");
                BuildError::Exercise { what, hint: None, log: String::new() }
            })?;
        }
        Ok(forwards)
    }

    /// Nothing needs to be brought: the ports are at that address.
    fn none(address: IpAddr) -> Self {
        let (ports, unpublished) = (BTreeMap::new(), BTreeMap::new());
        Self { address, ports, unpublished, _listeners: JoinSet::new() }
    }

    async fn bring(&mut self, pid: u32, ways: Vec<(u16, Way)>) -> io::Result<()> {
        let (address, listeners) = listen(pid, &ways).await?;
        self.address = IpAddr::V4(address);
        for ((port, way), (here, listener)) in ways.into_iter().zip(listeners) {
            self.ports.insert(port, here);
            self._listeners.spawn(forward(listener, way.clone()));
            if matches!(way, Way::Inside { .. }) {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
                self.unpublished.insert(port, listener.local_addr()?.port());
                self._listeners.spawn(forward(listener, way));
            }
        }
        Ok(())
    }
}

/// The ways to the ports that this machine does not reach by an address of the container.
async fn ways(vantage: &Vantage, state: &ContainerState, wanted: &BTreeSet<u16>) -> Vec<(u16, Way)> {
    let Some(pid) = state.pid.and_then(|pid| i32::try_from(pid).ok()) else { return Vec::new() };
    let inside = |reach: Arc<dyn Reach>, port: u16| {
        (port, Way::Inside { reach, pid, own: state.addresses.first().copied(), port })
    };
    if let Some(far) = vantage.far_reach() {
        return wanted.iter().map(|port| inside(Arc::clone(&far), *port)).collect();
    }
    let is_reached = !state.addresses.is_empty()
        || match vantage.reach() {
            Some(reach) => reach.sockets(pid).await.is_ok_and(|sockets| sockets.of_host),
            None => slim_probe::shares_network(pid).unwrap_or(false),
        };
    if is_reached {
        return Vec::new();
    }
    let way = |port: &u16| match published(state, *port) {
        Some(address) => (*port, Way::Published(address)),
        None => inside(vantage.reach().unwrap_or_else(|| Arc::new(Here)), *port),
    };
    wanted.iter().map(way).collect()
}

/// Where a TCP port of the container is published on this machine.
fn published(state: &ContainerState, port: u16) -> Option<SocketAddr> {
    let ports = state.ports.iter().filter(|it| it.container_port == port && it.protocol == Protocol::Tcp);
    let here = ports.min_by_key(|port| port.host_ip.is_ipv6())?;
    let address = match here.host_ip {
        IpAddr::V4(address) if address.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(address) if address.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        address => address,
    };
    Some(SocketAddr::new(address, here.host_port))
}

/// Listens for each way: under the container's own port numbers at a loopback address of their own, where this machine lets
/// us; under other numbers otherwise.
async fn listen(pid: u32, ways: &[(u16, Way)]) -> io::Result<(Ipv4Addr, Vec<(u16, TcpListener)>)> {
    let [_, _, high, low] = pid.to_be_bytes();
    for attempt in 0..ADDRESSES_TRIED {
        let address = Ipv4Addr::new(127, 64 + attempt, high, low);
        if let Ok(listeners) = listen_at(address, ways.iter().map(|(port, _)| *port)).await {
            return Ok((address, listeners));
        }
    }
    Ok((Ipv4Addr::LOCALHOST, listen_at(Ipv4Addr::LOCALHOST, ways.iter().map(|_| 0)).await?))
}

async fn listen_at(
    address: Ipv4Addr,
    ports: impl Iterator<Item = u16>,
) -> io::Result<Vec<(u16, TcpListener)>> {
    let mut listeners = Vec::new();
    for port in ports {
        let listener = TcpListener::bind((address, port)).await?;
        listeners.push((listener.local_addr()?.port(), listener));
    }
    Ok(listeners)
}

/// Takes connections and carries each to the container.
async fn forward(listener: TcpListener, way: Way) {
    let mut connections = JoinSet::new();
    while let Ok((connection, _)) = listener.accept().await {
        let way = way.clone();
        connections.spawn(async move {
            if let Err(error) = carry(connection, way).await {
                tracing::debug!(%error, "a connection into the container ended");
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn carry(mut connection: TcpStream, way: Way) -> io::Result<()> {
    let mut stream: Box<dyn Stream> = match way {
        Way::Published(address) => Box::new(TcpStream::connect(address).await?),
        Way::Inside { reach, pid, own, port } => connect_inside(reach.as_ref(), pid, own, port).await?,
    };
    tokio::io::copy_bidirectional(&mut connection, &mut stream).await.map(drop)
}

async fn connect_inside(
    reach: &dyn Reach,
    pid: i32,
    own: Option<IpAddr>,
    port: u16,
) -> io::Result<Box<dyn Stream>> {
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let mut last = io::ErrorKind::AddrNotAvailable.into();
    for address in own.into_iter().chain(loopback) {
        match reach.connect(pid, SocketAddr::new(address, port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use slim_engine::PublishedPort;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    fn state(ports: Vec<PublishedPort>) -> ContainerState {
        ContainerState { pid: Some(std::process::id()), ports, ..ContainerState::default() }
    }

    fn at(container_port: u16, host_ip: &str, host_port: u16) -> PublishedPort {
        PublishedPort {
            container_port,
            protocol: Protocol::Tcp,
            host_ip: host_ip.parse().unwrap(),
            host_port,
        }
    }

    #[test]
    fn a_port_published_everywhere_is_found_on_the_loopback() {
        let state = state(vec![at(80, "::", 1), at(80, "0.0.0.0", 2), at(81, "10.0.0.1", 3)]);
        assert_eq!(published(&state, 80), Some("127.0.0.1:2".parse().unwrap()));
        assert_eq!(published(&state, 81), Some("10.0.0.1:3".parse().unwrap()));
        assert_eq!(published(&state, 82), None);
    }

    #[tokio::test]
    async fn ports_keep_their_numbers_at_an_address_of_their_own() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = server.local_addr().unwrap();
        let answering = tokio::spawn(async move {
            let (mut connection, _) = server.accept().await.unwrap();
            connection.write_all(b"from inside").await.unwrap();
        });
        let ways = vec![(18_473, Way::Published(there))];
        let (address, listeners) = listen(77, &ways).await.unwrap();
        assert!(address.is_loopback() && address != Ipv4Addr::LOCALHOST, "{address}");
        let (second, others) = listen(77, &ways).await.unwrap();
        assert_ne!(address, second);
        drop(others);
        let (here, listener) = listeners.into_iter().next().unwrap();
        assert_eq!(here, 18_473);
        let forwarding = tokio::spawn(forward(listener, ways[0].1.clone()));
        let mut said = String::new();
        TcpStream::connect((address, here)).await.unwrap().read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "from inside");
        answering.await.unwrap();
        forwarding.abort();
    }

    #[tokio::test]
    async fn what_is_published_here_keeps_its_port_and_what_is_not_gets_one() {
        let mut forwards = Forwards::none(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let reach: Arc<dyn Reach> = Arc::new(Here);
        let inside = Way::Inside { reach, pid: 1, own: None, port: 18_475 };
        let ways = vec![(18_474, Way::Published("127.0.0.1:9".parse().unwrap())), (18_475, inside)];
        forwards.bring(78, ways).await.unwrap();
        assert_eq!(forwards.ports, [(18_474, 18_474), (18_475, 18_475)].into());
        assert_eq!(forwards.unpublished.keys().collect::<Vec<_>>(), [&18_475]);
        TcpStream::connect(("127.0.0.1", forwards.unpublished[&18_475])).await.unwrap();
    }

    #[tokio::test]
    async fn a_container_on_the_hosts_network_is_at_the_loopback_as_it_is() {
        let on_host = state(vec![at(80, "0.0.0.0", 2)]);
        let forwards = Forwards::of(&Vantage::Here, &on_host, &[80].into()).await.unwrap();
        assert_eq!((forwards.address.to_string().as_str(), forwards.ports.len()), ("127.0.0.1", 0));
    }
}
