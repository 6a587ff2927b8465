//! What the kept programs can do, as their machine code shows it: plain values, so that this crate reads no ELF files.

use std::collections::BTreeMap;

/// The calls that the kept programs can make, whether they were seen to or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PossibleCalls {
    /// Each call with the way from a program to it, in words.
    pub calls: BTreeMap<String, String>,
    /// Whether nothing else can be done: each number was found and each file was read.
    pub is_complete: bool,
    /// Places where the number of the call could not be told.
    pub unknown: usize,
    /// What one function does beside a call: call → other call → the function, in words. A function's error path,
    /// clean-up and shutdown stand beside what it does when all goes well.
    pub together: BTreeMap<String, BTreeMap<String, String>>,
}

impl PossibleCalls {
    /// Whether a call can be made, as far as is known.
    #[must_use]
    pub fn has(&self, call: &str) -> bool {
        self.calls.contains_key(call)
    }
}
