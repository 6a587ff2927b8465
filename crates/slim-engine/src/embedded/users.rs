//! Whom a container runs as: names of the image's own `/etc/passwd` and `/etc/group`, as Docker takes them (moby's
//! `github.com/moby/sys/user`, `GetExecUser`).

use super::rooted::Root;
use std::io;

/// Larger files of users are not read to their end.
const MOST: u64 = 16 << 20;

/// A resolved user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups, ascending; the user's own among them, as with Docker since 20.10.18.
    pub groups: Vec<u32>,
    /// What HOME is where nothing else says so.
    pub home: String,
}

/// Finds `user`, `uid`, `user:group`, `uid:gid` …; empty for root.
///
/// # Errors
/// A name that the image does not know; files that cannot be read.
pub(super) fn resolve(root: &Root, user: &str) -> io::Result<User> {
    let text = |path| -> io::Result<String> {
        Ok(root
            .read(path, MOST)?
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default())
    };
    let mut user = find(user, &text("/etc/passwd")?, &text("/etc/group")?)
        .map_err(|reason| io::Error::new(io::ErrorKind::NotFound, reason))?;
    user.groups.push(user.gid);
    user.groups.sort_unstable();
    user.groups.dedup();
    Ok(user)
}

fn find(wanted: &str, passwd: &str, group: &str) -> Result<User, String> {
    let (name, group_name) = wanted.split_once(':').unwrap_or((wanted, ""));
    let number = number(name);
    let is_wanted = |account: &Account<'_>| match name {
        "" => account.uid == 0,
        _ => account.name == name || number == Some(account.uid),
    };
    let account = passwd.lines().filter_map(account).find(is_wanted);
    let mut user = match (&account, number) {
        (Some(account), _) => {
            let home = if account.home.is_empty() { "/" } else { account.home };
            User { uid: account.uid, gid: account.gid, groups: Vec::new(), home: home.to_owned() }
        }
        (None, Some(uid)) => User { uid, gid: 0, groups: Vec::new(), home: "/".to_owned() },
        (None, None) if name.is_empty() => User { uid: 0, gid: 0, groups: Vec::new(), home: "/".to_owned() },
        (None, None) => return Err(format!("the image has no user {name:?} in /etc/passwd")),
    };
    if group_name.is_empty() {
        // The groups that list the user by name.
        let login = account.map_or(name, |account| account.name);
        let lists = |members: &str| members.split(',').any(|member| member == login && !login.is_empty());
        user.groups = group
            .lines()
            .filter_map(members)
            .filter(|(_, _, members)| lists(members))
            .map(|(_, gid, _)| gid)
            .collect();
        user.groups.sort_unstable();
        user.groups.dedup();
        return Ok(user);
    }
    let known = group
        .lines()
        .filter_map(members)
        .find(|(name, gid, _)| *name == group_name || self::number(group_name) == Some(*gid));
    user.gid = known
        .map(|(_, gid, _)| gid)
        .or_else(|| self::number(group_name))
        .ok_or_else(|| format!("the image has no group {group_name:?} in /etc/group"))?;
    Ok(user)
}

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// `name:password:uid:gid:comment:home:shell`.
fn account(line: &str) -> Option<Account<'_>> {
    let fields: Vec<&str> = line.split(':').collect();
    let number = |index: usize| fields.get(index).and_then(|text| number(text));
    Some(Account {
        name: fields[0],
        uid: number(2)?,
        gid: number(3)?,
        home: fields.get(5).copied().unwrap_or(""),
    })
}

/// `name:password:gid:members`.
fn members(line: &str) -> Option<(&str, u32, &str)> {
    let mut fields = line.split(':');
    let (name, gid) = (fields.next()?, fields.nth(1)?);
    Some((name, number(gid)?, fields.next().unwrap_or("")))
}

/// Ids that the kernel takes; the last one means "leave as it is".
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id < u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1001:Node:/home/node:/bin/sh\nbroken\n\
                          empty:x:7:7:::\n";
    const GROUP: &str = "root:x:0:\nnode:x:1001:\ndialout:x:20:node,other\naudio:x:5:node\n";

    fn found(user: &str) -> (u32, u32, Vec<u32>, String) {
        let User { uid, gid, groups, home } = find(user, PASSWD, GROUP).unwrap();
        (uid, gid, groups, home)
    }

    #[test]
    fn names_and_numbers_mean_the_same_user() {
        for user in ["node", "1000"] {
            assert_eq!(found(user), (1000, 1001, vec![5, 20], "/home/node".to_owned()), "{user}");
        }
        assert_eq!(found(""), (0, 0, vec![], "/root".to_owned()));
    }

    #[test]
    fn a_number_needs_no_account() {
        assert_eq!(found("4711"), (4711, 0, vec![], "/".to_owned()));
        assert_eq!(found("4711:4712"), (4711, 4712, vec![], "/".to_owned()));
        assert_eq!(found("empty").3, "/");
    }

    #[test]
    fn a_given_group_leaves_no_other() {
        assert_eq!(found("node:audio"), (1000, 5, vec![], "/home/node".to_owned()));
        assert_eq!(found("node:99").1, 99);
    }

    #[test]
    fn unknown_names_are_refused() {
        assert!(find("nobody", PASSWD, GROUP).unwrap_err().contains("\"nobody\""));
        assert!(find("node:nogroup", PASSWD, GROUP).unwrap_err().contains("\"nogroup\""));
        assert!(find("4294967295", PASSWD, GROUP).is_err(), "that id means no id");
    }

    #[test]
    fn an_image_without_accounts_has_root() {
        assert_eq!(find("", "", "").unwrap(), User { uid: 0, gid: 0, groups: vec![], home: "/".to_owned() });
    }
}
