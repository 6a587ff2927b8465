//! With how little the image runs, and how that was found.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The run contract.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContractReport {
    /// File name among the artifacts.
    pub file: String,
    /// Containers that were started to find it; 0: it is what the trace speaks for, and was not tried.
    pub starts: usize,
    /// Whom the program begins as; `None`: root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    pub read_only: bool,
    /// Where it writes what nobody expects to find again.
    pub tmpfs: Vec<String>,
    /// Where it writes besides.
    pub volumes: Vec<String>,
    /// What it would write as well, and does without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused_writes: Vec<String>,
    pub no_new_privileges: bool,
    /// Those that it is to have, each with why.
    pub capabilities: BTreeMap<String, String>,
    /// Processes and threads.
    pub pids: Option<CeilingReport>,
    /// Bytes.
    pub memory: Option<CeilingReport>,
    /// `8000/tcp`.
    pub ports: Vec<String>,
    /// In order; the last one that held is the contract.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tries: Vec<TryReport>,
    /// What the program asked for on the way and did not get.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<RefusedCallReport>,
    /// In words, for the summary.
    pub told: String,
}

/// What was seen at most, and what is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CeilingReport {
    pub peak: u64,
    pub limit: u64,
}

/// One start under terms of a contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TryReport {
    /// `no capabilities, no new privileges, read-only root, ceilings`.
    pub terms: String,
    /// Whether the program did what it did without them.
    pub held: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub why: Vec<String>,
}

/// A system call that a program was refused under the contract and not without it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedCallReport {
    /// The executable.
    pub program: String,
    pub system_call: String,
    /// `EPERM`, `ENOSYS`.
    pub errors: Vec<String>,
    /// Those that were seen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
    /// Whether the contract now has what the call asks for.
    pub repaired: bool,
}

/// `/usr/sbin/nginx: chown (EPERM)`.
impl std::fmt::Display for RefusedCallReport {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: {}", self.program, self.system_call)?;
        if !self.arguments.is_empty() {
            write!(formatter, " [{}]", self.arguments.join("; "))?;
        }
        write!(formatter, " ({})", self.errors.join(", "))
    }
}

impl ContractReport {
    /// Lines of the summary.
    pub(crate) fn lines(&self) -> Vec<String> {
        if self.told.is_empty() {
            return Vec::new();
        }
        let found = if self.starts == 0 { "run contract, not tried" } else { "run contract" };
        let mut lines = vec![format!("{found}: {}", self.told)];
        let refused: Vec<String> =
            self.refused.iter().filter(|refused| !refused.repaired).map(ToString::to_string).collect();
        if !refused.is_empty() {
            lines.push(format!("refused under it, and done without: {}", refused.join(", ")));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_tells_the_contract_and_what_was_refused() {
        let refused = |call: &str, repaired| RefusedCallReport {
            program: "/bin/app".to_owned(),
            system_call: call.to_owned(),
            errors: vec!["EPERM".to_owned()],
            arguments: Vec::new(),
            repaired,
        };
        let report = ContractReport {
            starts: 2,
            told: "CHOWN, a read-only root (2 starts)".to_owned(),
            refused: vec![refused("chown", true), refused("nice", false)],
            ..ContractReport::default()
        };
        assert_eq!(
            report.lines(),
            [
                "run contract: CHOWN, a read-only root (2 starts)",
                "refused under it, and done without: /bin/app: nice (EPERM)",
            ]
        );
        assert!(ContractReport::default().lines().is_empty());
    }
}
