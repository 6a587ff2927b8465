//! Network rules from the kinds of sockets that were opened.

use super::scope::Scope;
use std::collections::BTreeSet;

/// Families by number, as socket(2)'s AF_* and AppArmor's own names.
const FAMILIES: [(u16, &str); 36] = [
    (1, "unix"),
    (2, "inet"),
    (3, "ax25"),
    (4, "ipx"),
    (5, "appletalk"),
    (6, "netrom"),
    (7, "bridge"),
    (8, "atmpvc"),
    (9, "x25"),
    (10, "inet6"),
    (11, "rose"),
    (13, "netbeui"),
    (14, "security"),
    (15, "key"),
    (16, "netlink"),
    (17, "packet"),
    (18, "ash"),
    (19, "econet"),
    (20, "atmsvc"),
    (21, "rds"),
    (22, "sna"),
    (23, "irda"),
    (24, "pppox"),
    (25, "wanpipe"),
    (26, "llc"),
    (29, "can"),
    (30, "tipc"),
    (31, "bluetooth"),
    (32, "iucv"),
    (33, "rxrpc"),
    (34, "isdn"),
    (35, "phonet"),
    (36, "ieee802154"),
    (37, "caif"),
    (38, "alg"),
    (40, "vsock"),
];

/// Socket types by number.
const TYPES: [(u16, &str); 6] =
    [(1, "stream"), (2, "dgram"), (3, "raw"), (4, "rdm"), (5, "seqpacket"), (10, "packet")];

/// Of those the ones that a unix socket has.
const OF_UNIX: [(u16, &str); 3] = [(1, "stream"), (2, "dgram"), (5, "seqpacket")];
const UNIX: u16 = 1;

/// One rule for each family and type that was opened and not refused; for unix sockets also the one by which kernels that
/// mediate their peers go.
pub(crate) fn rules(scope: &Scope<'_>) -> BTreeSet<String> {
    let opened = scope.sockets().filter(|socket| !socket.refused);
    opened
        .flat_map(|socket| {
            let own = unix_rule(socket.family, socket.socket_type);
            rule(socket.family, socket.socket_type).into_iter().chain(own)
        })
        .collect()
}

fn unix_rule(family: u16, socket_type: u16) -> Option<String> {
    let (_, named) = OF_UNIX.iter().find(|(number, _)| family == UNIX && *number == socket_type)?;
    Some(format!("unix type={named},"))
}

/// A family without a name in AppArmor 3 has no rule; a type without one is allowed with its whole family.
fn rule(family: u16, socket_type: u16) -> Option<String> {
    let (_, family) = FAMILIES.iter().find(|(number, _)| *number == family)?;
    let named = TYPES.iter().find(|(number, _)| *number == socket_type);
    Some(
        named.map_or_else(|| format!("network {family},"), |(_, named)| format!("network {family} {named},")),
    )
}
