//! Host names to addresses without getaddrinfo, which a static glibc binary cannot use: `/etc/hosts`, then DNS as
//! `/etc/resolv.conf` has it. Other sources of nsswitch.conf (mDNS, LDAP …) are not asked.

use hickory_resolver::config::{ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{Resolver, TokioResolver};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// All addresses of a host, in the order in which they are to be tried.
///
/// # Errors
/// The name has no address, or no name server answered.
pub async fn addresses(host: &str) -> io::Result<Vec<IpAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    if host.trim_end_matches('.').eq_ignore_ascii_case("localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let mut builder = TokioResolver::builder_tokio().unwrap_or_else(|_| {
        // No usable resolv.conf: the hosts file is still there.
        let no_servers = ResolverConfig::from_parts(None, Vec::new(), Vec::new());
        Resolver::builder_with_config(no_servers, TokioRuntimeProvider::default())
    });
    builder.options_mut().use_hosts_file = ResolveHosts::Always;
    let resolver = builder.build().map_err(io::Error::other)?;
    let no_address = || io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
    let found = resolver
        .lookup_ip(host)
        .await
        .map_err(|error| if error.is_no_records_found() { no_address() } else { io::Error::other(error) })?;
    let addresses: Vec<IpAddr> = found.iter().collect();
    if addresses.is_empty() { Err(no_address()) } else { Ok(addresses) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_and_localhost_need_no_name_server() {
        assert_eq!(addresses("10.1.2.3").await.unwrap(), ["10.1.2.3".parse::<IpAddr>().unwrap()]);
        assert_eq!(addresses("::1").await.unwrap(), ["::1".parse::<IpAddr>().unwrap()]);
        assert_eq!(addresses("localhost").await.unwrap()[0], "127.0.0.1".parse::<IpAddr>().unwrap());
    }

    #[tokio::test]
    async fn names_of_the_hosts_file_are_found() {
        let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
        let named = hosts.lines().find_map(|line| {
            let mut words = line.split('#').next()?.split_whitespace();
            let address: IpAddr = words.next()?.parse().ok()?;
            let name = words.find(|name| !name.contains("localhost"))?;
            address.is_ipv4().then(|| (address, name.to_owned()))
        });
        let Some((address, name)) = named else {
            eprintln!("skipped: /etc/hosts names nothing but localhost");
            return;
        };
        assert!(addresses(&name).await.unwrap().contains(&address), "{name}");
    }
}
