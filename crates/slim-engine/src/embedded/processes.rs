//! `docker-slim top`: the processes of a container as `ps` of this machine shows them, as Docker does it (moby,
//! `daemon/top_unix.go`): users have this machine's names, numbers are this machine's.

use super::{EmbeddedEngine, Result, refused};
use crate::engine::ContainerId;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;

/// What `ps` is asked where nothing else is.
const USUAL: &str = "-ef";

impl EmbeddedEngine {
    /// The processes: heads of columns, then a row each. `options`: of `ps`.
    ///
    /// # Errors
    /// A container that does not run; no `ps`; options that it does not understand, or without a column PID.
    pub async fn top(&self, id: &ContainerId, options: &[String]) -> Result<Vec<Vec<String>>> {
        let (id, options) = (id.clone(), options.to_vec());
        self.blocking(move |this| {
            let (_, _, state) = this.state(&id, "show the processes of")?;
            let failed = |error: io::Error| refused("show the processes of", &id, &error);
            let program = state.living_program();
            let program = program.ok_or_else(|| failed(io::Error::other("it is not running")))?;
            let inside = processes_beside(program.pid).map_err(failed)?;
            let listed = list(&options).map_err(failed)?;
            chosen(&listed, &inside).map_err(|reason| failed(io::Error::other(reason)))
        })
        .await
    }
}

/// Those in the process's own process name space, itself among them.
fn processes_beside(pid: u32) -> io::Result<BTreeSet<u32>> {
    let namespace = |pid: u32| -> io::Result<PathBuf> { fs::read_link(format!("/proc/{pid}/ns/pid")) };
    let own = namespace(pid)?;
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc")? {
        let number = entry?.file_name().to_str().and_then(|name| name.parse().ok());
        // One that has just ended is none of them any more.
        found.extend(number.filter(|number| namespace(*number).is_ok_and(|other| other == own)));
    }
    Ok(found)
}

fn list(options: &[String]) -> io::Result<String> {
    let usual = [USUAL.to_owned()];
    let done = Command::new("ps").args(if options.is_empty() { &usual } else { options }).output();
    let done =
        done.map_err(|error| io::Error::new(error.kind(), format!("run ps on this machine: {error}")))?;
    if !done.status.success() {
        return Err(io::Error::other(format!("ps: {}", String::from_utf8_lossy(&done.stderr).trim())));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// The heads and the rows of these processes; what the last column holds may have blanks in it.
fn chosen(listed: &str, inside: &BTreeSet<u32>) -> std::result::Result<Vec<Vec<String>>, String> {
    let mut lines = listed.lines();
    let heads: Vec<String> = lines.next().unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    let pid = heads.iter().position(|head| head == "PID");
    let pid = pid.ok_or_else(|| "the options of ps must show the column PID".to_owned())?;
    let mut table = vec![heads];
    let columns = table[0].len();
    for line in lines {
        let mut words = line.split_whitespace();
        let mut row: Vec<String> = words.by_ref().take(columns - 1).map(str::to_owned).collect();
        row.push(words.collect::<Vec<_>>().join(" "));
        if row.get(pid).and_then(|pid| pid.parse().ok()).is_some_and(|pid| inside.contains(&pid)) {
            table.push(row);
        }
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_those_of_the_container_and_commands_keep_their_words() {
        let listed = "  PID   UID COMMAND\n    1     0 /sbin/init splash\n  222   101 redis-server *:6379\n  223   101 x\n";
        let table = chosen(listed, &BTreeSet::from([222, 9])).unwrap();
        assert_eq!(table, [vec!["PID", "UID", "COMMAND"], vec!["222", "101", "redis-server *:6379"]]);
        assert!(chosen("UID CMD\n", &BTreeSet::new()).unwrap_err().contains("PID"));
        assert!(chosen("", &BTreeSet::new()).is_err());
    }

    #[test]
    fn processes_are_told_by_their_name_space() {
        let own = std::process::id();
        assert!(processes_beside(own).unwrap().contains(&own));
    }
}
