//! Without root: a user namespace in which we are root, entered by the whole program before it does anything.
//!
//! Inside, the store, the containers and their observer are what they are for root. Outside, all of it is the user's own, or
//! belongs to the ids that `/etc/subuid` and `/etc/subgid` give the user (newuidmap(1) and newgidmap(1) map them). Without
//! such a range there is one id, root's. While containers run, all of the user's programs are in the namespace that these
//! are in: only from there may they be joined, and signals be sent to those of their programs that are other users.

use super::containers::living_keeper;
use super::record::Folder;
use nix::sched::{CloneFlags, setns, unshare};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs a command of this program as root of a user namespace of its own, or of the one of the containers that run in the
/// store at this path, in place of what runs. Comes back only with the reason why it cannot.
pub fn become_root(helper: &str, store: &Path, command: &[OsString]) -> io::Error {
    Command::new("/proc/self/exe")
        .arg0("docker-slim")
        .args([helper, "as-root"])
        .arg(store)
        .args(command)
        .exec()
}

/// Enters the namespace and becomes the command. No other thread may run.
pub(super) fn enter(store: &Path, command: &[&OsStr]) -> u8 {
    let entered = if joined(store) { be_root() } else { entered() };
    let error = match entered {
        Ok(()) => Command::new("/proc/self/exe").arg0("docker-slim").args(command).exec(),
        Err(error) => error,
    };
    let hint = "hint: are user namespaces allowed (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone)?";
    let _ = io::Write::write_all(
        &mut io::stderr(),
        format!("error: failed to enter a user namespace: {error}\n{hint}\n").as_bytes(),
    );
    3
}

/// Joins the namespace of a container that runs. Whoever owns a namespace may (user_namespaces(7)); nothing else is joined.
fn joined(store: &Path) -> bool {
    let of = |pid: u32| File::open(format!("/proc/{pid}/ns/user"));
    running(store)
        .into_iter()
        .any(|pid| of(pid).is_ok_and(|file| setns(file, CloneFlags::CLONE_NEWUSER).is_ok()))
}

/// The keepers of the containers that run in the store. (Programs may be in a namespace that they made themselves.)
fn running(store: &Path) -> Vec<u32> {
    let Ok(folders) = fs::read_dir(store.join("containers")) else { return Vec::new() };
    let keepers = folders.flatten().filter_map(|folder| living_keeper(&Folder::new(folder.path())));
    keepers.map(|keeper| keeper.pid).collect()
}

fn entered() -> io::Result<()> {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let pid = std::process::id();
    // It stays outside, where the ids are the user's, and waits until there is something to map.
    let mut mapper = Command::new("/proc/self/exe")
        .args([super::HELPER_COMMAND, "map-users", &pid.to_string()])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    unshare(CloneFlags::CLONE_NEWUSER)?;
    drop(mapper.stdin.take());
    if !mapper.wait()?.success() {
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("0 {uid} 1\n"))?;
        fs::write("/proc/self/gid_map", format!("0 {gid} 1\n"))?;
    }
    be_root()
}

fn be_root() -> io::Result<()> {
    let (user, group) = (rustix::process::Uid::ROOT, rustix::process::Gid::ROOT);
    rustix::thread::set_thread_res_gid(group, group, group)?;
    rustix::thread::set_thread_res_uid(user, user, user)?;
    Ok(())
}

/// Maps root of a process's new user namespace to us, and all others to the ids that we may use. The program's exit code.
pub(super) fn map(pid: &OsStr) -> u8 {
    // Its end says that the namespace is there.
    let _ = io::stdin().read_to_end(&mut Vec::new());
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let name = user_name(uid);
    let mapped = |program: &str, ranges: &str, own: u32| -> Option<()> {
        let text = fs::read_to_string(ranges).ok()?;
        let ranges = ranges_of(&text, uid, name.as_deref());
        if ranges.is_empty() {
            return None;
        }
        let mut command = Command::new(program);
        command.arg(pid).args(["0", &own.to_string(), "1"]);
        let mut inside = 1_u32;
        for (first, count) in ranges {
            command.args([inside, first, count].map(|number| number.to_string()));
            inside = inside.checked_add(count)?;
        }
        command.stdin(Stdio::null()).status().ok()?.success().then_some(())
    };
    // Groups first: what stays half done is not mapped at all by the one who waits, who may not write over it.
    let done = mapped("newgidmap", "/etc/subgid", gid).and_then(|()| mapped("newuidmap", "/etc/subuid", uid));
    u8::from(done.is_none())
}

fn user_name(uid: u32) -> Option<String> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let line = users.lines().find(|line| line.split(':').nth(2) == Some(&uid.to_string()))?;
    line.split(':').next().map(str::to_owned)
}

/// First id and count of each range that a user has: `name:100000:65536` or `1000:100000:65536`.
fn ranges_of(text: &str, uid: u32, name: Option<&str>) -> Vec<(u32, u32)> {
    let uid = uid.to_string();
    text.lines()
        .filter_map(|line| {
            let mut fields = line.trim().split(':');
            let owner = fields.next()?;
            let (first, count) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
            (owner == uid || Some(owner) == name).then_some((first, count))
        })
        .filter(|(_, count)| *count > 0)
        .collect()
}

/// Whether this user namespace may not set groups, as those of one user.
pub(super) fn keeps_groups() -> bool {
    fs::read_to_string("/proc/self/setgroups").is_ok_and(|text| text.trim() == "deny")
}

#[cfg(test)]
mod tests {
    use super::super::record::{Process, write};
    use super::*;

    #[test]
    fn containers_that_run_have_a_keeper_and_others_do_not() {
        let store = tempfile::tempdir().unwrap();
        assert!(running(store.path()).is_empty());
        let this = Process::of(std::process::id()).unwrap();
        let gone = Process { start_time: this.start_time + 1, ..this };
        for (name, keeper) in [("one", Some(this)), ("two", Some(gone)), ("three", None)] {
            let folder = store.path().join("containers").join(name);
            fs::create_dir_all(&folder).unwrap();
            write(&folder.join("keeper.json"), &keeper).unwrap();
        }
        assert_eq!(running(store.path()), [this.pid]);
    }

    #[test]
    fn a_user_has_ranges_by_name_and_by_number() {
        let text = "ada:100000:65536\n1000:300000:10\neve:1:1\nada:broken:3\nada:9:0\n";
        assert_eq!(ranges_of(text, 1000, Some("ada")), [(100_000, 65_536), (300_000, 10)]);
        assert_eq!(ranges_of(text, 1001, None), []);
    }
}
