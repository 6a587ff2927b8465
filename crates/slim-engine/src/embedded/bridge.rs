//! `--network bridge`: a way out of a container's own network, through a pair of virtual interfaces and the host's address.
//!
//! Each container has a pair of its own, with two addresses of a private range that no route of the host leads to, a table
//! of nftables that rewrites its outgoing connections, and, where the host forwards nothing by itself (Docker has it so),
//! two rules of iptables that let its packets pass. From elsewhere than this host nobody gets in. Two programs of the machine do the work:
//! `ip` and `nft`.
//!
//! Invariants: the interfaces go with the container's network, whoever kills whom; a note below [`NOTES`] is there before
//! any rule and until after the last one, so that the next start finds the rules of those that were killed. Forwarding is
//! switched on in the kernel and stays on, as with Docker.

use super::network::inside;
use crate::host;
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

/// A file for each container that has rules: the first of its addresses, and the chain of iptables with its rules, if it needs
/// any.
const NOTES: &str = "/run/docker-slim-bridge";
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";
/// Ranges that are tried, in this order: first address, length of the prefix.
const RANGES: [(Ipv4Addr, u8); 4] = [
    (Ipv4Addr::new(10, 213, 0, 0), 16),
    (Ipv4Addr::new(172, 30, 0, 0), 16),
    (Ipv4Addr::new(10, 77, 0, 0), 16),
    (Ipv4Addr::new(192, 168, 213, 0), 24),
];
/// Two addresses, and the two that a network cannot use.
const OF_A_PAIR: u32 = 4;
/// How the host's ends are called, for rules that mean all of them.
const PREFIX: &str = "dslim";

/// What is not there that this needs; `None` where all is.
pub(super) fn missing() -> Option<String> {
    missing_for(host::is_real_root())
}

fn missing_for(is_root: bool) -> Option<String> {
    if !is_root {
        // Its interface and its rules are the host's.
        let text = "--network bridge needs root; --network host, or none, does not";
        return Some(text.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    let is_there = |program: &&str| {
        std::env::split_paths(&path).chain(usual.clone()).any(|folder| folder.join(program).exists())
    };
    let (program, package) =
        [("ip", "iproute2"), ("nft", "nftables")].into_iter().find(|(name, _)| !is_there(name))?;
    Some(format!(
        "--network bridge needs the program `{program}` (package {package}), which is not there; --network host, or none, \
         needs nothing"
    ))
}

/// Two addresses that nobody else has, for a container that is about to be made. Dropped, it is as if it had never been.
pub(super) struct Reserved {
    id: String,
    host: Ipv4Addr,
    own: Ipv4Addr,
    is_connected: bool,
}

impl Reserved {
    /// Takes a free pair.
    ///
    /// # Errors
    /// No range is free.
    pub(super) fn take(id: &str) -> io::Result<Self> {
        fs::create_dir_all(NOTES)?;
        let _alone = lock()?;
        let routes = routes(&fs::read_to_string("/proc/net/route")?);
        let first = free_pair(&routes, &taken()?).ok_or_else(|| {
            io::Error::other("the host has routes into every private range that --network bridge tries")
        })?;
        let at = |offset: u32| Ipv4Addr::from(u32::from(first) + offset);
        let this = Self { id: id.to_owned(), host: at(1), own: at(2), is_connected: false };
        fs::write(note(id), Note { first, chain: None }.written())?;
        Ok(this)
    }

    /// Of the pair's network.
    fn first(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.host) - 1)
    }

    /// The container's.
    pub(super) fn address(&self) -> IpAddr {
        self.own.into()
    }

    /// Connects the network of a container's first process.
    ///
    /// # Errors
    /// What a program of the machine said.
    pub(super) fn connect(mut self, pid: u32) -> io::Result<()> {
        let interface = interface(&self.id);
        let pid = pid.to_string();
        let (host, own) = (format!("{}/30", self.host), format!("{}/30", self.own));
        let network = Arc::new(File::open(format!("/proc/{pid}/ns/net"))?);
        ip(&["link", "add", &interface, "type", "veth", "peer", "name", "eth0", "netns", &pid])?;
        ip(&["addr", "add", &host, "dev", &interface])?;
        ip(&["link", "set", &interface, "up"])?;
        let gateway = self.host.to_string();
        inside(&network, move || {
            ip(&["addr", "add", &own, "dev", "eth0"])?;
            ip(&["link", "set", "eth0", "up"])?;
            ip(&["route", "add", "default", "via", &gateway])
        })?;
        if fs::read_to_string(FORWARDING)?.trim() != "1" {
            fs::write(FORWARDING, "1")?;
        }
        let rules = rules(&self.id, self.own);
        run(Command::new("nft").args(["-f", "-"]), rules.as_bytes())?;
        let_pass(&self.id, self.first())?;
        self.is_connected = true;
        Ok(())
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if !self.is_connected {
            disconnect(&self.id);
        }
    }
}

/// Takes away what [`Reserved::connect`] made, as far as it is there. A container without a way out is no trouble.
pub(super) fn disconnect(id: &str) {
    let note = note(id);
    let Ok(text) = fs::read_to_string(&note) else { return };
    let chains = Note::read(&text).map_or(CHAINS.to_vec(), |note| Vec::from_iter(note.chain));
    for rule in chains.iter().flat_map(|chain| passes(chain, id)) {
        // Nobody but us makes such rules, but whoever reloads the firewall takes them away.
        let _ = iptables("-D", &rule);
    }
    let table = table(id);
    let removed = run(Command::new("nft").args(["delete", "table", "ip", &table]), b"");
    if let Err(error) = removed
        && !says_that_it_is_gone(&error.to_string())
    {
        tracing::warn!("the table {table} of nftables stays for now: failed to {error}");
        return;
    }
    // It has gone with the container's network already, or goes with it in a moment.
    let _ = ip(&["link", "delete", &interface(id)]);
    let _ = fs::remove_file(note);
}

/// Takes away the rules of containers whose interfaces are gone: their keepers were killed.
pub(super) fn sweep() {
    for entry in fs::read_dir(NOTES).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_id = name.len() == SHORT && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        // One that is being made has no interface yet.
        let is_old = entry
            .metadata()
            .and_then(|data| data.modified())
            .is_ok_and(|time| time.elapsed().is_ok_and(|age| age > std::time::Duration::from_secs(60)));
        let lives = Path::new("/sys/class/net").join(interface(&name)).exists();
        if is_id && is_old && !lives {
            disconnect(&name);
        }
    }
}

/// So much of an id names a container here: names of interfaces have fifteen characters at most.
const SHORT: usize = 10;

fn short(id: &str) -> &str {
    id.get(..SHORT).unwrap_or(id)
}

fn interface(id: &str) -> String {
    format!("{PREFIX}{}", short(id))
}

fn table(id: &str) -> String {
    format!("docker_slim_{}", short(id))
}

fn note(id: &str) -> PathBuf {
    Path::new(NOTES).join(short(id))
}

fn lock() -> io::Result<File> {
    let path = Path::new(NOTES).join(".lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    file.lock()?;
    Ok(file)
}

/// The first addresses of the pairs that containers have.
fn taken() -> io::Result<BTreeSet<Ipv4Addr>> {
    let notes = fs::read_dir(NOTES)?.flatten();
    let first = |text: String| text.lines().next()?.trim().parse().ok();
    Ok(notes.filter_map(|entry| first(fs::read_to_string(entry.path()).ok()?)).collect())
}

/// Where a route leads: network and mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Route {
    network: u32,
    mask: u32,
}

/// The routes of `/proc/net/route` but the default one, and those of our own interfaces.
fn routes(text: &str) -> Vec<Route> {
    // The table shows addresses as the processor has them in memory.
    let number = |field: &str| {
        let shown = u32::from_str_radix(field, 16).ok()?;
        Some(u32::from_be_bytes(shown.to_ne_bytes()))
    };
    text.lines()
        .skip(1)
        .filter(|line| !line.starts_with(PREFIX))
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            Some(Route { network: number(fields.get(1)?)?, mask: number(fields.get(7)?)? })
        })
        .filter(|route| route.mask != 0)
        .collect()
}

/// The first four free addresses of the first range that no route touches.
fn free_pair(routes: &[Route], taken: &BTreeSet<Ipv4Addr>) -> Option<Ipv4Addr> {
    RANGES.into_iter().find_map(|(first, length)| {
        let mask = u32::MAX << (32 - u32::from(length));
        let network = u32::from(first);
        if routes.iter().any(|route| (route.network ^ network) & mask & route.mask == 0) {
            return None;
        }
        let last = network | !mask;
        (network..=last).step_by(OF_A_PAIR as usize).map(Ipv4Addr::from).find(|pair| !taken.contains(pair))
    })
}

/// The container's table: its connections leave under the host's address, and only answers and this machine's own
/// containers come in.
fn rules(id: &str, own: Ipv4Addr) -> String {
    let (table, interface) = (table(id), interface(id));
    format!(
        "table ip {table} {{
    chain postrouting {{
        type nat hook postrouting priority 100; policy accept;
        ip saddr {own} oifname != \"{PREFIX}*\" masquerade
    }}
    chain forward {{
        type filter hook forward priority 0; policy accept;
        oifname \"{interface}\" ct state established,related accept
        oifname \"{interface}\" iifname != \"{PREFIX}*\" drop
    }}
}}
"
    )
}

/// Where the rules of iptables are: where Docker has its users put theirs, if it is there, which comes first then.
const CHAINS: [&str; 2] = ["DOCKER-USER", "FORWARD"];

/// What is known of a container's rules. What the machine looks like when they are taken away says nothing of them: Docker
/// may have come or gone meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Note {
    first: Ipv4Addr,
    chain: Option<&'static str>,
}

impl Note {
    const NO_CHAIN: &'static str = "none";

    fn written(self) -> String {
        format!("{}\n{}\n", self.first, self.chain.unwrap_or(Self::NO_CHAIN))
    }

    /// `None` for one that says nothing of the chain, as they were once written.
    fn read(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let first = lines.next()?.parse().ok()?;
        let chain = match lines.next()? {
            Self::NO_CHAIN => None,
            name => Some(CHAINS.into_iter().find(|chain| *chain == name)?),
        };
        Some(Self { first, chain })
    }
}

/// What is let pass where the host forwards nothing else.
fn passes(chain: &str, id: &str) -> Vec<Vec<String>> {
    let (interface, comment) = (interface(id), format!("docker-slim {}", short(id)));
    let rule = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
    let comment = ["-m", "comment", "--comment", &comment, "-j", "ACCEPT"];
    vec![
        rule(&[&[chain, "-i", &interface], comment.as_slice()].concat()),
        rule(
            &[
                &[chain, "-o", &interface, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED"],
                comment.as_slice(),
            ]
            .concat(),
        ),
        rule(&[&[chain, "-i", &format!("{PREFIX}+"), "-o", &interface], comment.as_slice()].concat()),
    ]
}

fn let_pass(id: &str, first: Ipv4Addr) -> io::Result<()> {
    let Ok(policy) = iptables("-S", &["FORWARD".to_owned()]) else { return Ok(()) };
    if !policy.lines().any(|line| line == "-P FORWARD DROP") {
        return Ok(());
    }
    let is_there = |chain: &&str| iptables("-nL", &[(*chain).to_owned()]).is_ok();
    let chain = CHAINS.into_iter().find(is_there).unwrap_or("FORWARD");
    fs::write(note(id), Note { first, chain: Some(chain) }.written())?;
    passes(chain, id).iter().try_for_each(|rule| iptables("-I", rule).map(drop))
}

fn iptables(verb: &str, rule: &[String]) -> io::Result<String> {
    run(Command::new("iptables").arg("-w").arg(verb).args(rule), b"")
}

/// Whether these are nft's words for a table that is not there. (A program that is not there is told by the number of the error,
/// too.)
fn says_that_it_is_gone(error: &str) -> bool {
    error.contains(": Error: ") && error.ends_with("No such file or directory")
}

fn ip(arguments: &[&str]) -> io::Result<()> {
    run(Command::new("ip").args(arguments), b"").map(drop)
}

/// Runs a program of the machine; its output.
fn run(command: &mut Command, input: &[u8]) -> io::Result<String> {
    let told = format!("{command:?}").replace('"', "");
    let path = std::env::var("PATH").unwrap_or_default();
    let failed = |reason: String| io::Error::other(format!("run `{told}`: {reason}"));
    let mut child = command
        .env("PATH", format!("{path}:/usr/sbin:/sbin:/usr/bin:/bin"))
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // Why it did not read is told by its end.
        let _ = stdin.write_all(input);
    }
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(said.lines().find(|line| !line.is_empty()).unwrap_or("it failed").trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT
eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0
docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
dslim0123456789\t0000D50A\t00000000\t0001\t0\t0\t0\tFCFFFFFF\t0\t0\t0
";

    #[test]
    fn routes_are_read_but_the_default_one_and_our_own() {
        let docker = Route { network: u32::from(Ipv4Addr::new(172, 17, 0, 0)), mask: 0xffff_0000 };
        assert_eq!(routes(TABLE), [docker]);
    }

    #[test]
    fn a_pair_is_free_of_routes_and_of_other_containers() {
        let first = Ipv4Addr::new(10, 213, 0, 0);
        assert_eq!(free_pair(&routes(TABLE), &BTreeSet::new()), Some(first));
        let next = free_pair(&routes(TABLE), &[first].into());
        assert_eq!(next, Some(Ipv4Addr::new(10, 213, 0, 4)));
        // A route that holds the range, or lies in it, takes all of it.
        for (network, mask) in [([10, 0, 0, 0], 0xff00_0000), ([10, 213, 7, 0], 0xffff_ff00)] {
            let route = Route { network: u32::from(Ipv4Addr::from(network)), mask };
            let found = free_pair(&[route], &BTreeSet::new()).unwrap();
            assert_eq!(found, Ipv4Addr::new(172, 30, 0, 0), "{route:?}");
        }
        let all = Route { network: 0, mask: 0x8000_0000 };
        let other = Route { network: 0x8000_0000, mask: 0x8000_0000 };
        assert_eq!(free_pair(&[all, other], &BTreeSet::new()), None);
    }

    #[test]
    fn names_of_interfaces_are_short_enough() {
        let id = "0123456789abcdef".repeat(4);
        assert_eq!(interface(&id).len(), 15);
        assert_eq!(interface(short(&id)), interface(&id), "what a note is named finds the same");
        assert_eq!(table(short(&id)), table(&id));
    }

    #[test]
    fn without_root_there_is_no_bridge_and_the_reason_says_so() {
        let reason = missing_for(false).unwrap();
        assert!(reason.contains("needs root; --network host, or none, does not"), "{reason}");
    }

    #[test]
    fn rules_are_looked_for_where_they_were_put() {
        let first = Ipv4Addr::new(10, 213, 0, 4);
        for chain in [None, Some("DOCKER-USER"), Some("FORWARD")] {
            let note = Note { first, chain };
            assert_eq!(Note::read(&note.written()), Some(note));
        }
        assert_eq!(Note::read("10.213.0.4\n"), None, "one of a version before: both are looked at");
        assert_eq!(Note::read("10.213.0.4\nINPUT\n"), None);
        let own = |rule: &Vec<String>| {
            rule[0] == "FORWARD" && rule.iter().any(|word| word == "docker-slim 0123456789")
        };
        assert!(passes("FORWARD", "0123456789abcdef").iter().all(own));
    }

    #[test]
    fn a_table_is_gone_when_nft_says_so_and_not_when_it_cannot_tell() {
        let words = |reason: &str| format!("run `nft delete table ip x`: {reason}");
        assert!(says_that_it_is_gone(&words("Error: Could not process rule: No such file or directory")));
        assert!(says_that_it_is_gone(&words("Error: No such file or directory")));
        for other in [
            "Operation not permitted (you must be root)",
            "No such file or directory (os error 2)",
            "it failed",
        ] {
            assert!(!says_that_it_is_gone(&words(other)), "{other}");
        }
    }
}
