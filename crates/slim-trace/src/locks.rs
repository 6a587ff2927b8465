//! Locks and links in traces that were written before they were told: presumed from the calls of each process.

use crate::trace::{Access, ProcessId, Trace};
use std::collections::BTreeSet;

impl Trace {
    /// Makes a trace whose writer knew nothing of locks and links say what may have been: which file a call was made for
    /// is not known, so that it stands for all that the process opened, or made.
    pub(crate) fn locks_are_not_known(&mut self) {
        let callers = |names: &[&str]| -> BTreeSet<ProcessId> {
            let records = self.system_calls.iter();
            let calling = records.filter(|record| names.iter().any(|name| record.calls.contains(*name)));
            calling.map(|record| record.process).collect()
        };
        let lock_any = callers(&["flock"]);
        // fcntl is called for much else than locks, so that it counts for files that are written only.
        let lock_written = callers(&["fcntl", "fcntl64"]);
        let link = callers(&["link", "linkat"]);
        for file in &mut self.files {
            let has = |access| file.access.contains(&access);
            let locks_any = has(Access::Open) && lock_any.contains(&file.process);
            let locks_written = has(Access::Write) && lock_written.contains(&file.process);
            let made_link = has(Access::Create) && link.contains(&file.process);
            if locks_any || locks_written {
                file.access.insert(if has(Access::Write) { Access::LockExclusive } else { Access::Lock });
            }
            if made_link {
                file.access.insert(Access::LinkTo);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Abi, Access, FileAccess, Phase, ProcessId, SystemCalls, Trace, TracedPath};

    #[test]
    fn traces_of_version_2_presume_locks_and_links_of_who_made_such_calls() {
        let file = |process, path: &str, access: &[Access]| FileAccess {
            path: TracedPath::new(path),
            process: ProcessId(process),
            access: access.iter().copied().collect(),
            phases: [Phase::Startup].into(),
        };
        let calls = |process, calls: &[&str]| SystemCalls {
            process: ProcessId(process),
            phase: Phase::Startup,
            abi: Abi::X86_64,
            calls: calls.iter().map(ToString::to_string).collect(),
            denied: std::collections::BTreeMap::new(),
        };
        let mut trace = Trace::empty("sha256:0");
        trace.files = vec![
            file(0, "/a", &[Access::Open]),
            file(0, "/b", &[Access::Open, Access::Write, Access::Create]),
            file(1, "/c", &[Access::Open]),
            file(1, "/d", &[Access::Open, Access::Write]),
            file(2, "/e", &[Access::Open, Access::Write]),
        ];
        trace.system_calls = vec![calls(0, &["flock", "link"]), calls(1, &["fcntl"]), calls(2, &["read"])];
        trace.locks_are_not_known();
        let seen: Vec<Vec<Access>> =
            trace.files.iter().map(|file| file.access.iter().copied().collect()).collect();
        let expected = [
            vec![Access::Open, Access::Lock],
            vec![Access::Open, Access::Write, Access::Create, Access::LockExclusive, Access::LinkTo],
            vec![Access::Open],
            vec![Access::Open, Access::Write, Access::LockExclusive],
            vec![Access::Open, Access::Write],
        ];
        assert_eq!(seen, expected);
    }
}
