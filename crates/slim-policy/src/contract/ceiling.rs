//! Ceilings for processes and memory, from the peaks seen.
//!
//! Invariant: a ceiling is a power of two well above the peak, so that two runs whose peaks differ a little give the same
//! contract.

use serde::Serialize;

/// A ceiling is at least so many times the peak.
const HEADROOM: u64 = 2;
/// No less: a program under load starts threads that nobody saw.
const FEWEST_PIDS: u64 = 32;
/// No less: the runtime itself needs some to start the program.
const LEAST_MEMORY: u64 = 64 << 20;

/// The most that was seen of a container's control group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Peaks {
    /// Processes and threads at once.
    pub pids: Option<u64>,
    /// Bytes, page cache among them.
    pub memory: Option<u64>,
}

/// What was seen, and what is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Ceiling {
    pub peak: u64,
    pub limit: u64,
}

impl Peaks {
    /// The larger of each.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self { pids: self.pids.max(other.pids), memory: self.memory.max(other.memory) }
    }
}

impl Ceiling {
    /// For processes and threads.
    #[must_use]
    pub fn of_pids(peak: u64) -> Self {
        Self::above(peak, FEWEST_PIDS)
    }

    /// For bytes of memory.
    #[must_use]
    pub fn of_memory(peak: u64) -> Self {
        Self::above(peak, LEAST_MEMORY)
    }

    fn above(peak: u64, least: u64) -> Self {
        let wanted = peak.saturating_mul(HEADROOM).max(least);
        Self { peak, limit: wanted.checked_next_power_of_two().unwrap_or(u64::MAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ceiling_has_room_and_does_not_move_with_every_run() {
        assert_eq!(Ceiling::of_pids(1).limit, 32);
        assert_eq!(Ceiling::of_pids(17).limit, Ceiling::of_pids(30).limit);
        for peak in [3_u64 << 20, 90 << 20, 5 << 30] {
            assert!(Ceiling::of_memory(peak).limit >= 2 * peak);
        }
        assert_eq!(Ceiling::of_memory(u64::MAX).limit, u64::MAX);
    }

    #[test]
    fn the_larger_peak_of_each_kind_counts() {
        let one = Peaks { pids: Some(3), memory: None };
        let other = Peaks { pids: Some(2), memory: Some(7) };
        assert_eq!(one.max(other), Peaks { pids: Some(3), memory: Some(7) });
    }
}
