//! Which TCP ports a program listens on, and at which addresses they are dialled.
//!
//! Asked of the kernel ([`crate::sock_diag`]), or read from its tables (`/proc/PID/net/tcp`, `tcp6`): a connection that is accepted proves nothing on a
//! published port, since docker-proxy accepts before the program listens.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Docker's own name server sits in the container's namespace on networks that users make.
pub(crate) const DOCKER_RESOLVER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11));
/// `TCP_LISTEN` in the kernel's `include/net/tcp_states.h`.
const LISTEN: &str = "0A";

/// A listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Listener {
    pub address: IpAddr,
    pub port: u16,
}

/// A port with every address that it can be dialled at, best first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub number: u16,
    pub addresses: Vec<SocketAddr>,
}

/// The listening sockets in the text of `/proc/net/tcp` or `tcp6`. Lines that cannot be read are passed over.
pub(crate) fn parse_table(text: &str) -> Vec<Listener> {
    text.lines().skip(1).filter_map(parse_line).collect()
}

/// `  0: 0100007F:1F90 00000000:0000 0A …`: the state is the fourth column.
fn parse_line(line: &str) -> Option<Listener> {
    let mut columns = line.split_ascii_whitespace();
    let (local, state) = (columns.nth(1)?, columns.nth(1)?);
    if state != LISTEN {
        return None;
    }
    let (address, port) = local.split_once(':')?;
    Some(Listener { address: parse_address(address)?, port: u16::from_str_radix(port, 16).ok()? })
}

/// The kernel prints each 32-bit word of an address in the machine's own byte order.
fn parse_address(hex: &str) -> Option<IpAddr> {
    let word = |index: usize| {
        let digits = hex.get(index * 8..index * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    match hex.len() {
        8 => Some(IpAddr::V4(word(0)?.into())),
        32 => {
            let mut bytes = [0; 16];
            for index in 0..4 {
                bytes[index * 4..index * 4 + 4].copy_from_slice(&word(index)?);
            }
            Some(Ipv6Addr::from(bytes).to_canonical())
        }
        _ => None,
    }
}

/// Where to dial each listener from inside its namespace: a loopback one at its own address, a wildcard one at
/// `own` (the container's address) where that is known, else at loopback. Sorted by port.
pub(crate) fn dial_inside(listeners: &[Listener], own: Option<IpAddr>) -> Vec<Port> {
    let mut ports: BTreeMap<u16, Vec<SocketAddr>> = BTreeMap::new();
    let mut sorted = listeners.to_vec();
    sorted.sort_unstable();
    for listener in sorted {
        let addresses = ports.entry(listener.port).or_default();
        for address in addresses_of(listener.address, own) {
            let address = SocketAddr::new(address, listener.port);
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    ports.into_iter().map(|(number, addresses)| Port { number, addresses }).collect()
}

fn addresses_of(bound: IpAddr, own: Option<IpAddr>) -> Vec<IpAddr> {
    const LOOPBACK_V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const LOOPBACK_V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
    match bound {
        IpAddr::V4(address) if address.is_unspecified() => {
            own.filter(IpAddr::is_ipv4).into_iter().chain([LOOPBACK_V4]).collect()
        }
        // A socket bound to [::] takes IPv4 as well, unless IPV6_V6ONLY is set, which the table does not tell.
        IpAddr::V6(address) if address.is_unspecified() => {
            own.into_iter().chain([LOOPBACK_V4, LOOPBACK_V6]).collect()
        }
        address => vec![address],
    }
}

/// Where to dial listeners from outside: only what is not bound to loopback can be reached.
pub(crate) fn dial_outside(listeners: &[Listener], own: IpAddr) -> Vec<Port> {
    let reachable: Vec<Listener> =
        listeners.iter().filter(|listener| !listener.address.is_loopback()).copied().collect();
    let mut ports = dial_inside(&reachable, Some(own));
    for port in &mut ports {
        port.addresses = vec![SocketAddr::new(own, port.number)];
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    // A real table of this machine: a loopback listener, a wildcard one, and a connection.
    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 20911 1 0000000000000000 100 0 0 10 0
   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1234 1 0000000000000000 100 0 0 10 0
   2: 0B00007F:8D3B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1235 1 0000000000000000 100 0 0 10 0
   3: 0100007F:1F90 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 20912 1 0000000000000000 20 4 30 10 -1
";
    const TABLE_6: &str =
        "  sl  local_address                         remote_address                        st
   0: 00000000000000000000000000000000:1F91 00000000000000000000000000000000:0000 0A 00000000:00000000
   1: 00000000000000000000000001000000:1F92 00000000000000000000000000000000:0000 0A 00000000:00000000
   2: 0000000000000000FFFF00000100007F:1F93 00000000000000000000000000000000:0000 0A 00000000:00000000
";

    fn listener(text: &str) -> Listener {
        let address: SocketAddr = text.parse().unwrap();
        Listener { address: address.ip(), port: address.port() }
    }

    fn dialled(listeners: &[&str], own: Option<&str>) -> Vec<String> {
        let listeners: Vec<Listener> = listeners.iter().map(|text| listener(text)).collect();
        dial_inside(&listeners, own.map(|text| text.parse().unwrap()))
            .into_iter()
            .flat_map(|port| port.addresses)
            .map(|address| address.to_string())
            .collect()
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_kernels_table_gives_listeners_but_no_connections() {
        let listeners = ["127.0.0.1:8080", "0.0.0.0:22", "127.0.0.11:36155"].map(listener);
        assert_eq!(parse_table(TABLE), listeners);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_kernels_ipv6_table_gives_wildcard_loopback_and_mapped_addresses() {
        let expected = [listener("[::]:8081"), listener("[::1]:8082"), listener("127.0.0.1:8083")];
        assert_eq!(parse_table(TABLE_6), expected);
    }

    #[test]
    fn lines_of_another_shape_are_passed_over() {
        assert_eq!(
            parse_table("head\n\n 0: zz 0A\n 1: 0100007F:1F9 x 0A\n 2: 01:50 x 0A\n 3: é00007Fé:1F90 x 0A")
                .len(),
            1
        );
    }

    #[test]
    fn a_loopback_listener_is_dialled_where_it_is() {
        assert_eq!(dialled(&["127.0.0.1:80", "[::1]:81"], Some("172.17.0.2")), ["127.0.0.1:80", "[::1]:81"]);
    }

    #[test]
    fn a_wildcard_listener_is_dialled_at_the_containers_own_address() {
        assert_eq!(dialled(&["0.0.0.0:80"], Some("172.17.0.2")), ["172.17.0.2:80", "127.0.0.1:80"]);
        assert_eq!(dialled(&["0.0.0.0:80"], None), ["127.0.0.1:80"]);
        assert_eq!(dialled(&["[::]:80"], None), ["127.0.0.1:80", "[::1]:80"]);
    }

    #[test]
    fn a_port_bound_twice_is_one_port() {
        let ports = dial_inside(&[listener("[::]:80"), listener("0.0.0.0:80")], None);
        assert_eq!(ports.len(), 1);
        assert_eq!(ports[0].addresses.len(), 2);
    }

    #[test]
    fn from_outside_a_loopback_listener_cannot_be_reached() {
        let own = "172.17.0.2".parse().unwrap();
        let ports = dial_outside(&[listener("127.0.0.1:80"), listener("[::]:81")], own);
        assert_eq!(ports, [Port { number: 81, addresses: vec!["172.17.0.2:81".parse().unwrap()] }]);
    }
}
