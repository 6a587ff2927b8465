//! The two machines whose code is read, and the names of their system calls.

use serde::{Deserialize, Serialize};

/// A machine whose code can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Machine {
    Amd64,
    Arm64,
}

impl Machine {
    /// The name of a system call; `None` where no call has this number.
    #[must_use]
    pub fn system_call(self, number: u64) -> Option<&'static str> {
        let number = usize::try_from(number).ok()?;
        match self {
            Self::Amd64 => syscalls::x86_64::Sysno::new(number).map(|call| call.name()),
            // The name that seccomp knows it by, as on x86-64.
            Self::Arm64 if number == 79 => Some("newfstatat"),
            Self::Arm64 => syscalls::aarch64::Sysno::new(number).map(|call| call.name()),
        }
    }

    /// What the vDSO asks the kernel for where it cannot answer by itself (the kernel's `lib/vdso`, and
    /// `arch/*/entry/vdso`).
    pub(crate) fn vdso_calls(self) -> &'static [&'static str] {
        match self {
            Self::Amd64 => &["clock_getres", "clock_gettime", "getcpu", "getrandom", "gettimeofday", "time"],
            Self::Arm64 => &["clock_getres", "clock_gettime", "getrandom", "gettimeofday"],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_number_is_another_call_on_another_machine() {
        assert_eq!(Machine::Amd64.system_call(0), Some("read"));
        assert_eq!(Machine::Arm64.system_call(0), Some("io_setup"));
        assert_eq!(Machine::Arm64.system_call(79), Some("newfstatat"));
        assert_eq!(Machine::Amd64.system_call(1 << 40), None);
    }
}
