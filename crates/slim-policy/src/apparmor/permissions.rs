//! What a rule allows with a path.

use slim_trace::Access;
use std::fmt;
use std::ops::AddAssign;

/// What may be done with a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Permissions {
    pub read: bool,
    pub write: bool,
    pub map: bool,
    pub run: bool,
    pub lock: bool,
    pub link: bool,
}

impl Permissions {
    pub const NONE: Self =
        Self { read: false, write: false, map: false, run: false, lock: false, link: false };
    pub const READ: Self = Self { read: true, ..Self::NONE };
    pub const LIBRARY: Self = Self { map: true, ..Self::READ };
    pub const PROGRAM: Self = Self { run: true, ..Self::LIBRARY };
    pub const CHANGE: Self = Self { write: true, ..Self::READ };

    pub fn is_empty(self) -> bool {
        self == Self::NONE
    }

    /// Whether the path may be another afterwards.
    pub fn changes(self) -> bool {
        self.write || self.link
    }

    /// What a way of touching a path needs; listing is another path's matter (its slash at the end).
    pub fn of(access: Access) -> Self {
        match access {
            Access::Open | Access::LinkFrom => Self::READ,
            Access::Execute => Self::PROGRAM,
            // Not `a` for what is only appended to: Linux (6.1) lets such a file be opened then, and refuses every write(2)
            // to it, since it asks for `w` there (`scripts/guest/apparmor` holds that it does).
            Access::Write
            | Access::Append
            | Access::Create
            | Access::Bind
            | Access::Connect
            | Access::ChangeAttributes
            | Access::RenameFrom
            | Access::RenameTo
            | Access::Remove => Self::CHANGE,
            Access::Lock => Self { lock: true, ..Self::NONE },
            // The kernel asks for writing as well, also where the file was opened for reading alone
            // (apparmor_file_lock in security/apparmor/lsm.c).
            Access::LockExclusive => Self { lock: true, write: true, ..Self::NONE },
            Access::LinkTo => Self { link: true, ..Self::NONE },
            // Looking a path up, asking for its attributes and reading a link are not mediated.
            Access::List
            | Access::Stat
            | Access::ReadLink
            | Access::ChangeDirectory
            | Access::Mount
            | Access::Missing => Self::NONE,
        }
    }
}

impl AddAssign for Permissions {
    fn add_assign(&mut self, other: Self) {
        self.read |= other.read;
        self.write |= other.write;
        self.map |= other.map;
        self.run |= other.run;
        self.lock |= other.lock;
        self.link |= other.link;
    }
}

impl fmt::Display for Permissions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = [
            (self.map, "m"),
            (self.read, "r"),
            (self.write, "w"),
            (self.lock, "k"),
            (self.link, "l"),
            (self.run, "ix"),
        ];
        letters.iter().filter(|(has, _)| *has).try_for_each(|(_, letter)| formatter.write_str(letter))
    }
}
