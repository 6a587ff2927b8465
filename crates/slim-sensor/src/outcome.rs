//! What a call that named a path did with it, by its result.

use crate::event::FLAG_MADE;
use slim_trace::Access;

const ENOENT: i32 = -2;
const ENOTDIR: i32 = -20;
const O_ACCMODE: u64 = 3;
const O_TRUNC: u64 = 0o1000;
const O_APPEND: u64 = 0o2000;
const O_PATH: u64 = 0o10_000_000;

/// The accesses that a call stands for: what it asked for when it succeeded, and when it failed that the path is not
/// there or that it was looked at.
pub fn accesses(asked: Access, result: i32, flags: u64) -> Vec<Access> {
    match result {
        ENOENT | ENOTDIR => return vec![Access::Missing],
        // Nobody may have listened: the socket was there all the same.
        ..0 if asked == Access::Connect => return vec![Access::Connect],
        ..0 => return vec![Access::Stat],
        _ => {}
    }
    let mut accesses = match asked {
        Access::LinkFrom => vec![Access::Open, asked],
        Access::LinkTo => vec![Access::Create, asked],
        _ => vec![asked],
    };
    if asked == Access::Open && flags & O_PATH == 0 && flags & (O_ACCMODE | O_TRUNC) != 0 {
        let only_at_its_end = flags & (O_APPEND | O_TRUNC) == O_APPEND;
        accesses.push(if only_at_its_end { Access::Append } else { Access::Write });
    }
    if flags & FLAG_MADE != 0 {
        accesses.push(Access::Create);
    }
    accesses
}

#[cfg(test)]
mod tests {
    use super::*;

    const O_RDWR: u64 = 2;
    const EACCES: i32 = -13;
    const ECONNREFUSED: i32 = -111;

    #[test]
    fn a_failed_look_up_is_missing_whatever_was_asked() {
        for asked in [Access::Open, Access::Connect, Access::Remove] {
            assert_eq!(accesses(asked, ENOENT, O_RDWR | FLAG_MADE), [Access::Missing]);
            assert_eq!(accesses(asked, ENOTDIR, 0), [Access::Missing]);
        }
    }

    #[test]
    fn what_was_refused_was_looked_at_and_not_written() {
        assert_eq!(accesses(Access::Open, EACCES, O_RDWR), [Access::Stat]);
        assert_eq!(accesses(Access::Connect, ECONNREFUSED, 0), [Access::Connect]);
    }

    #[test]
    fn both_ends_of_a_link_are_told_from_what_is_opened_and_made() {
        assert_eq!(accesses(Access::LinkFrom, 0, 0), [Access::Open, Access::LinkFrom]);
        assert_eq!(accesses(Access::LinkTo, 0, 0), [Access::Create, Access::LinkTo]);
        assert_eq!(accesses(Access::LinkTo, EACCES, 0), [Access::Stat]);
    }

    #[test]
    fn writing_and_making_are_told_from_reading() {
        assert_eq!(accesses(Access::Open, 0, 0), [Access::Open]);
        assert_eq!(accesses(Access::Open, 0, O_RDWR), [Access::Open, Access::Write]);
        assert_eq!(accesses(Access::Open, 0, O_TRUNC), [Access::Open, Access::Write]);
        assert_eq!(accesses(Access::Open, 0, O_APPEND | 1), [Access::Open, Access::Append]);
        assert_eq!(accesses(Access::Open, 0, O_APPEND | O_TRUNC | 1), [Access::Open, Access::Write]);
        assert_eq!(accesses(Access::Open, 0, O_APPEND), [Access::Open]);
        assert_eq!(accesses(Access::Open, 0, O_PATH | O_RDWR), [Access::Open]);
        assert_eq!(accesses(Access::Open, 0, 1 | FLAG_MADE), [Access::Open, Access::Write, Access::Create]);
    }
}
