//! The listening TCP sockets of a network namespace, asked of the kernel by sock_diag(7).
//!
//! The tables in `/proc/net` name every connection as well, and the kernel looks through all of the machine's for each
//! reading: milliseconds of processor time where this takes microseconds.

use crate::ports::Listener;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

/// `SOCK_DIAG_BY_FAMILY` of `linux/sock_diag.h`.
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST | NLM_F_DUMP` of `linux/netlink.h`, and its types of messages that end an answer.
const REQUEST_DUMP: u16 = 0x301;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const HEADER_BYTES: usize = 16;
/// `struct inet_diag_req_v2` of `linux/inet_diag.h`.
const REQUEST_BYTES: usize = 56;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
/// `1 << TCP_LISTEN` of `net/tcp_states.h`.
const LISTENING: u32 = 1 << 10;
/// More than a page holds: the kernel fills what it is given, message by message.
const ANSWER_BYTES: usize = 32 * 1024;

/// What listens in the calling thread's network namespace.
///
/// # Errors
/// Where the kernel has no sock_diag, or does not let us ask.
pub(crate) fn listeners() -> io::Result<Vec<Listener>> {
    let socket =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkSockDiag)?;
    let mut found = ask(&socket, AF_INET)?;
    match ask(&socket, AF_INET6) {
        Ok(more) => found.extend(more),
        // A kernel without IPv6.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(found)
}

fn ask(socket: &OwnedFd, family: u8) -> io::Result<Vec<Listener>> {
    sendto(socket.as_raw_fd(), &request(family), &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut found = Vec::new();
    let mut buffer = vec![0; ANSWER_BYTES];
    loop {
        let bytes = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        if read(&buffer[..bytes], &mut found)? {
            return Ok(found);
        }
    }
}

fn request(family: u8) -> [u8; HEADER_BYTES + REQUEST_BYTES] {
    let mut request = [0; HEADER_BYTES + REQUEST_BYTES];
    let length = u32::try_from(request.len()).expect("a small number");
    request[0..4].copy_from_slice(&length.to_ne_bytes());
    request[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
    request[6..8].copy_from_slice(&REQUEST_DUMP.to_ne_bytes());
    request[HEADER_BYTES] = family;
    request[HEADER_BYTES + 1] = IPPROTO_TCP;
    request[HEADER_BYTES + 4..HEADER_BYTES + 8].copy_from_slice(&LISTENING.to_ne_bytes());
    request
}

/// Reads one datagram of the answer; whether it was the last.
fn read(mut datagram: &[u8], found: &mut Vec<Listener>) -> io::Result<bool> {
    let broken = || io::Error::new(io::ErrorKind::InvalidData, "an answer of another shape");
    while datagram.len() >= HEADER_BYTES {
        let length = u32::from_ne_bytes(datagram[0..4].try_into().expect("four bytes")) as usize;
        let kind = u16::from_ne_bytes(datagram[4..6].try_into().expect("two bytes"));
        let body = datagram.get(HEADER_BYTES..length).ok_or_else(broken)?;
        match kind {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => {
                let code = body.get(0..4).ok_or_else(broken)?;
                let code = i32::from_ne_bytes(code.try_into().expect("four bytes"));
                return Err(io::Error::from_raw_os_error(code.saturating_neg()));
            }
            _ => found.push(listener(body).ok_or_else(broken)?),
        }
        datagram = &datagram[length.next_multiple_of(4).min(datagram.len())..];
    }
    Ok(false)
}

/// From `struct inet_diag_msg`: the family, and in its id (from byte 4 on) port and address, both in network order.
fn listener(message: &[u8]) -> Option<Listener> {
    let port = u16::from_be_bytes(message.get(4..6)?.try_into().ok()?);
    let address = match *message.first()? {
        AF_INET => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(message.get(8..12)?).ok()?)),
        AF_INET6 => {
            IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(message.get(8..24)?).ok()?)).to_canonical()
        }
        _ => return None,
    };
    Some(Listener { address, port })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{SocketAddr, TcpListener, TcpStream};

    #[test]
    fn what_listens_is_told_and_connections_are_not() {
        let (four, six) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("[::1]:0"));
        let connected = TcpStream::connect(four.local_addr().unwrap()).unwrap();
        let found = listeners().unwrap();
        let is_told = |at: SocketAddr| found.contains(&Listener { address: at.ip(), port: at.port() });
        assert!(is_told(four.local_addr().unwrap()), "{found:?}");
        if let Ok(six) = six {
            assert!(is_told(six.local_addr().unwrap()), "{found:?}");
        }
        assert!(!is_told(connected.local_addr().unwrap()), "{found:?}");
    }

    #[test]
    fn more_than_one_datagram_is_read_to_its_end() {
        let many: Vec<TcpListener> = (0..600).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let found = listeners().unwrap();
        for listener in &many {
            let at = listener.local_addr().unwrap();
            assert!(found.contains(&Listener { address: at.ip(), port: at.port() }), "{at}");
        }
    }

    #[test]
    fn an_answer_of_another_shape_is_an_error() {
        let mut found = Vec::new();
        let mut short = request(AF_INET);
        short[0] = 200;
        assert!(read(&short, &mut found).is_err(), "longer than what came");
        let mut refused = [0; HEADER_BYTES + 4];
        refused[0] = 20;
        refused[4] = 2;
        refused[HEADER_BYTES..].copy_from_slice(&(-2_i32).to_ne_bytes());
        assert_eq!(read(&refused, &mut found).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
