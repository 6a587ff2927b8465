//! What a program says in its log of things that it was refused: the C library's words for the errors that a contract
//! makes. A program that goes on all the same does not do what it did.

/// How many lines say what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Complaints {
    pub not_permitted: usize,
    pub read_only: usize,
    pub no_room: usize,
}

/// strerror(3) of EPERM and EACCES.
const NOT_PERMITTED: [&str; 2] = ["operation not permitted", "permission denied"];
/// Of EROFS.
const READ_ONLY: [&str; 1] = ["read-only file system"];
/// Of ENOMEM and EAGAIN.
const NO_ROOM: [&str; 3] = ["cannot allocate memory", "resource temporarily unavailable", "out of memory"];

impl Complaints {
    /// The complaints in a log.
    #[must_use]
    pub fn in_log(log: &[u8]) -> Self {
        let mut found = Self::default();
        for line in log.split(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(line).to_lowercase();
            let says = |words: &[&str]| usize::from(words.iter().any(|word| line.contains(word)));
            found.not_permitted += says(&NOT_PERMITTED);
            found.read_only += says(&READ_ONLY);
            found.no_room += says(&NO_ROOM);
        }
        found
    }

    /// Those that are more than in another run.
    #[must_use]
    pub fn beyond(self, other: Self) -> Self {
        Self {
            not_permitted: self.not_permitted.saturating_sub(other.not_permitted),
            read_only: self.read_only.saturating_sub(other.read_only),
            no_room: self.no_room.saturating_sub(other.no_room),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_said_more_often_counts() {
        let usual = Complaints::in_log(b"open: Permission denied\nstarted\n");
        let now =
            Complaints::in_log(b"open: Permission denied\nmkdir() failed (30: Read-only file system)\n");
        assert_eq!(now.beyond(usual), Complaints { read_only: 1, ..Complaints::default() });
        assert!(usual.beyond(now).is_empty());
    }
}
