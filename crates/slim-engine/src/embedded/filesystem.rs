//! What a container sees as its files: the image's layers under one of its own, the engine's files, volumes, the user's
//! mounts. All of it is mounted in the mount name space of whoever calls, and goes with that.

use super::control_group;
use super::oci::Bind;
use super::record::{Folder, Network, Record, RecordedSource};
use super::rooted::{Root, copy_directory};
use super::store::Store;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::OFlags;
use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

/// Mounts of ours are seen by nobody else, and go with us; what the host unmounts goes here, too.
pub(super) fn own_mounts() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    Ok(mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>)?)
}

/// Puts the image's layers and the container's own on top of one another.
pub(super) fn mount_root(store: &Store, folder: &Folder, record: &Record) -> io::Result<PathBuf> {
    let made = |name: &str| -> io::Result<PathBuf> {
        let path = folder.join(name);
        fs::create_dir_all(&path).map(|()| path)
    };
    let (root, upper, _work, lower) = (made("root")?, made("upper")?, made("work")?, made("lower")?);
    // The kernel takes one page of options: short names for many layers.
    let mut names = Vec::new();
    for (number, diff_id) in record.layers.iter().enumerate().rev() {
        let link = lower.join(number.to_string());
        if fs::symlink_metadata(&link).is_err() {
            symlink(store.layer_files(diff_id), &link)?;
        }
        names.push(number.to_string());
    }
    if names.is_empty() {
        fs::create_dir_all(lower.join("empty"))?;
        names.push("empty".to_owned());
    }
    // The root folder itself is shown as the topmost layer has it.
    let top = fs::metadata(lower.join(&names[0]))?;
    fs::set_permissions(&upper, fs::Permissions::from_mode(top.mode() & 0o7777))?;
    chown(&upper, Some(top.uid()), Some(top.gid()))?;
    std::env::set_current_dir(&lower)?;
    let options = format!("lowerdir={},upperdir=../upper,workdir=../work,index=off", names.join(":"));
    // Where no controller keeps devices from being used, those of an image lead nowhere.
    let flags = if control_group::is_unified() { MsFlags::MS_NODEV } else { MsFlags::empty() };
    mount(Some("overlay"), &root, Some("overlay"), flags, Some(options.as_str())).map_err(|error| {
        let hint = if error == nix::errno::Errno::EINVAL {
            "; the store must lie on a file system that overlayfs can write to (no overlay, no network): --store-root"
        } else {
            ""
        };
        io::Error::other(format!("mount the container's root: {error}{hint}"))
    })?;
    std::env::set_current_dir("/")?;
    Ok(root)
}

/// The engine's own files, volumes with what the image holds there, and what the user mounts.
pub(super) fn binds(
    store: &Store,
    folder: &Folder,
    record: &Record,
    root: &Root,
    address: IpAddr,
) -> io::Result<Vec<Bind>> {
    let mut binds = Vec::new();
    let taken = |target: &str| record.mounts.iter().any(|mount| mount.target == target);
    for (name, text) in engine_files(record, address) {
        let target = format!("/etc/{name}");
        if !taken(&target) {
            let source = folder.join(name);
            fs::write(&source, text)?;
            fs::set_permissions(&source, fs::Permissions::from_mode(0o644))?;
            binds.push(Bind { source, target, read_only: false });
        }
    }
    for mount in &record.mounts {
        let source = match &mount.source {
            RecordedSource::Bind(path) => path.clone(),
            RecordedSource::Anonymous(name) => {
                let path = folder.volume(name);
                fs::create_dir_all(&path)?;
                seed(root, &mount.target, &path)?;
                path
            }
            RecordedSource::Named(name) => {
                let path = store.volume(name)?;
                seed(root, &mount.target, &path)?;
                path
            }
        };
        binds.push(Bind { source, target: mount.target.clone(), read_only: mount.read_only });
    }
    Ok(binds)
}

/// Fills an empty volume with what the image holds at its place.
fn seed(root: &Root, target: &str, volume: &Path) -> io::Result<()> {
    if fs::read_dir(volume)?.next().is_some() {
        return Ok(());
    }
    let source = match root.at(target, OFlags::RDONLY | OFlags::DIRECTORY) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(());
        }
        source => source?,
    };
    copy_directory(source.as_fd(), File::open(volume)?.as_fd())
}

/// What every engine puts over an image's own files.
fn engine_files(record: &Record, address: IpAddr) -> [(&'static str, String); 3] {
    let Record { hostname, network, .. } = record;
    let mut hosts = match network {
        Network::Host => fs::read_to_string("/etc/hosts").unwrap_or_default(),
        Network::Own | Network::Bridge => format!(
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nff00::0\t\
             ip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n{address}\t{hostname}\n"
        ),
    };
    for host in &record.extra_hosts {
        if let Some((name, address)) = host.split_once([':', '=']) {
            hosts.push_str(&format!("{address}\t{name}\n"));
        }
    }
    [("hosts", hosts), ("hostname", format!("{hostname}\n")), ("resolv.conf", resolver(record))]
}

/// What a resolver of the host's own writes behind the file that points to it.
const BEHIND_SYSTEMD: &str = "/run/systemd/resolve/resolv.conf";

fn resolver(record: &Record) -> String {
    let mut host = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    if record.network == Network::Bridge && reachable_servers(&host).next().is_none() {
        // A server on the host's loopback interface is not one in the container's network.
        host = fs::read_to_string(BEHIND_SYSTEMD).unwrap_or(host);
    }
    let of_host = |word: &str| -> String {
        host.lines().filter(|line| line.starts_with(word)).map(|line| format!("{line}\n")).collect()
    };
    let servers: String = match record.dns.as_slice() {
        [] if record.network == Network::Bridge => {
            reachable_servers(&host).map(|line| format!("{line}\n")).collect()
        }
        [] => of_host("nameserver"),
        own => own.iter().map(|server| format!("nameserver {server}\n")).collect(),
    };
    let search: String = match record.dns_search.as_slice() {
        [] => of_host("search"),
        own => format!("search {}\n", own.join(" ")),
    };
    let options: String = of_host("options");
    format!("{servers}{search}{options}")
}

/// Lines of servers that are not the host's own loopback interface.
fn reachable_servers(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| {
        let server = line.strip_prefix("nameserver").map(str::trim);
        server.is_some_and(|server| server.parse::<IpAddr>().is_ok_and(|address| !address.is_loopback()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_of_the_hosts_loopback_are_none_for_others() {
        let text = "nameserver 127.0.0.53\nsearch a\nnameserver 192.0.2.1\nnameserver ::1\n";
        assert_eq!(reachable_servers(text).collect::<Vec<_>>(), ["nameserver 192.0.2.1"]);
    }
}
