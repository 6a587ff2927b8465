//! Arguments of system calls where they matter: what a call does to the container or the host depends on them.
//!
//! Invariant: a call whose arguments are not all known says so ([`ArgumentValues::Any`]); joined with anything it stays so.

use crate::trace::{Phase, ProcessId, Trace};
use serde::de::{Deserializer, Error as _};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// How many different values of one call by one process are told; beyond, any value counts as seen.
pub const MOST_VALUES: usize = 32;

/// An argument of a system call, or some bits of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument {
    /// From 0.
    pub index: u8,
    /// The bits that are looked at.
    pub mask: u64,
}

const fn whole(index: u8) -> Argument {
    Argument { index, mask: 0xffff_ffff }
}

/// SOCK_NONBLOCK and SOCK_CLOEXEC lie above them.
const SOCKET_TYPE: Argument = Argument { index: 1, mask: 0xf };

/// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET of clone(2).
const NEW_NAMESPACES: Argument = Argument { index: 0, mask: 0x7E02_0000 };

/// PROT_EXEC.
const EXECUTABLE: Argument = Argument { index: 2, mask: 4 };

/// The calls of the 64-bit interface whose arguments are told, with which; sorted. clone3 and openat2 are not among them:
/// their arguments lie in memory, where a filter cannot look.
pub const ARGUED: [(&str, &[Argument]); 17] = [
    ("arch_prctl", &[whole(0)]),
    ("bpf", &[whole(0)]),
    ("clone", &[NEW_NAMESPACES]),
    ("fcntl", &[whole(1)]),
    ("ioctl", &[whole(1)]),
    ("keyctl", &[whole(0)]),
    ("mmap", &[EXECUTABLE]),
    ("mprotect", &[EXECUTABLE]),
    ("personality", &[whole(0)]),
    ("pkey_mprotect", &[EXECUTABLE]),
    ("prctl", &[whole(0)]),
    ("ptrace", &[whole(0)]),
    ("seccomp", &[whole(0)]),
    ("setsockopt", &[whole(1), whole(2)]),
    ("socket", &[whole(0), SOCKET_TYPE]),
    ("socketpair", &[whole(0), SOCKET_TYPE]),
    ("unshare", &[whole(0)]),
];

/// Which arguments of a call are told; empty for most calls.
#[must_use]
pub fn argued(call: &str) -> &'static [Argument] {
    ARGUED.iter().find(|(name, _)| *name == call).map_or(&[], |(_, arguments)| *arguments)
}

/// The arguments that a process made a call with, in one phase.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CallArguments {
    pub process: ProcessId,
    pub phase: Phase,
    pub call: String,
    pub values: ArgumentValues,
}

/// Values of arguments: `"any"`, or a list of lists, one number for each [`argued`] argument.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ArgumentValues {
    Only(BTreeSet<Vec<u64>>),
    /// Not told, or too many.
    Any,
}

impl ArgumentValues {
    /// Adds what was seen elsewhere.
    pub fn join(&mut self, other: Self) {
        match (&mut *self, other) {
            (Self::Only(values), Self::Only(more)) => {
                values.extend(more);
                if values.len() > MOST_VALUES {
                    *self = Self::Any;
                }
            }
            _ => *self = Self::Any,
        }
    }
}

impl Serialize for ArgumentValues {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Any => serializer.serialize_str("any"),
            Self::Only(values) => values.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ArgumentValues {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Word(String),
            Values(BTreeSet<Vec<u64>>),
        }
        match Form::deserialize(deserializer)? {
            Form::Values(values) => Ok(Self::Only(values)),
            Form::Word(word) if word == "any" => Ok(Self::Any),
            Form::Word(word) => Err(D::Error::custom(format!("{word} is no list of values, nor \"any\""))),
        }
    }
}

impl Trace {
    /// Makes a trace whose writer knew nothing of arguments say so.
    pub(crate) fn arguments_are_not_known(&mut self) {
        for record in &self.system_calls {
            for call in record.calls.iter().filter(|call| !argued(call).is_empty()) {
                let (process, phase, call) = (record.process, record.phase, call.clone());
                self.arguments.push(CallArguments { process, phase, call, values: ArgumentValues::Any });
            }
        }
        self.arguments.sort();
        self.arguments.dedup();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(values: &[u64]) -> ArgumentValues {
        ArgumentValues::Only(values.iter().map(|value| vec![*value]).collect())
    }

    #[test]
    fn the_table_is_sorted_and_no_call_tells_more_than_two_arguments() {
        assert!(ARGUED.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(ARGUED.iter().all(|(_, arguments)| (1..=2).contains(&arguments.len())));
        for call in ["clone3", "openat2", "read"] {
            assert!(argued(call).is_empty(), "{call}");
        }
    }

    #[test]
    fn too_many_values_or_unknown_ones_are_any() {
        let mut values = only(&[1]);
        values.join(only(&[2]));
        assert_eq!(values, only(&[1, 2]));
        values.join(only(&(0..40).collect::<Vec<_>>()));
        assert_eq!(values, ArgumentValues::Any);
        values.join(only(&[1]));
        assert_eq!(values, ArgumentValues::Any);
    }

    #[test]
    fn values_are_read_as_they_are_written() {
        for (values, text) in [(ArgumentValues::Any, "\"any\""), (only(&[2, 1]), "[[1],[2]]")] {
            assert_eq!(serde_json::to_string(&values).unwrap(), text);
            assert_eq!(serde_json::from_str::<ArgumentValues>(text).unwrap(), values);
        }
        assert!(serde_json::from_str::<ArgumentValues>("\"some\"").is_err());
    }
}
