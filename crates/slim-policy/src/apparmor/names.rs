//! Names that a program gives what it makes, and which of their parts are another the next time.
//!
//! A process id, a date, a counter, a random suffix: `/tmp/pymp-x7qk2mza` was seen, `/tmp/pymp-*` is meant.

use slim_image::ImagePath;

/// Directories for temporary files, where names end in letters and digits by chance.
const TEMPORARY: [&str; 4] = ["/tmp", "/var/tmp", "/dev/shm", "/run/shm"];
/// The least that programs put behind a name so that it is theirs alone (mkstemp's).
const RANDOM_LENGTH: usize = 6;

/// A part of a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Piece {
    Fixed(Vec<u8>),
    /// Anything.
    Any,
}

/// Splits a name into what stays and what does not.
pub(super) fn pieces(directory: &ImagePath, name: &[u8]) -> Vec<Piece> {
    let temporary = TEMPORARY.iter().any(|known| directory.is_within(&(*known).into()));
    let mut pieces = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let length = rest.iter().position(|byte| is_separator(*byte)).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(length);
        let separators = behind.iter().position(|byte| !is_separator(*byte)).unwrap_or(behind.len());
        let is_last = separators == behind.len();
        if !word.is_empty() {
            push_word(&mut pieces, word, temporary && is_last);
        }
        push_fixed(&mut pieces, &behind[..separators]);
        rest = &behind[separators..];
    }
    pieces
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b'.' | b'-' | b'+' | b'~' | b'#' | b' ' | b':' | b',' | b'=' | b'@')
}

fn push_word(pieces: &mut Vec<Piece>, word: &[u8], ends_temporary: bool) {
    // mkstemp(3) and its relatives: a prefix in lower case, and what chance has behind it.
    let prefix = [b"tmp".as_slice(), b"temp"].into_iter().rfind(|prefix| word.starts_with(prefix));
    let random = |word: &[u8]| {
        word.iter().any(u8::is_ascii_digit)
            || (word.len() >= RANDOM_LENGTH && (ends_temporary || is_of_mixed_case(word)))
    };
    match prefix.map(|prefix| word.split_at(prefix.len())) {
        Some((prefix, tail)) if random(tail) => {
            push_fixed(pieces, prefix);
            push_any(pieces);
        }
        _ if random(word) => {
            // `worker12`: the word stays, the number does not. A hash keeps nothing.
            let letters =
                word.iter().position(|byte| !byte.is_ascii_lowercase() && *byte != b'_').unwrap_or(0);
            let counted = word[letters..].iter().all(u8::is_ascii_digit);
            push_fixed(pieces, if counted { &word[..letters] } else { b"" });
            push_any(pieces);
        }
        _ => push_fixed(pieces, word),
    }
}

/// Upper case behind lower case and the other way round: words that people write do so three times at most (`ReadMe`).
fn is_of_mixed_case(word: &[u8]) -> bool {
    let changes = word.windows(2).filter(|pair| pair[0].is_ascii_uppercase() != pair[1].is_ascii_uppercase());
    changes.count() > 3
}

fn push_fixed(pieces: &mut Vec<Piece>, bytes: &[u8]) {
    match pieces.last_mut() {
        _ if bytes.is_empty() => {}
        Some(Piece::Fixed(text)) => text.extend_from_slice(bytes),
        _ => pieces.push(Piece::Fixed(bytes.to_vec())),
    }
}

fn push_any(pieces: &mut Vec<Piece>) {
    if pieces.last() != Some(&Piece::Any) {
        pieces.push(Piece::Any);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn expect(path: &str, expected: &str) {
        let path = ImagePath::from(path);
        let name = path.as_bytes().rsplit(|byte| *byte == b'/').next().unwrap();
        let told: String = pieces(&path.parent().unwrap(), name)
            .iter()
            .map(|piece| match piece {
                Piece::Fixed(text) => String::from_utf8_lossy(text).into_owned(),
                Piece::Any => "*".to_owned(),
            })
            .collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn what_chance_and_counters_put_into_names_is_left_open() {
        expect("/tmp/pymp-x7qk2mza", "pymp-*");
        expect("/tmp/pymp-abcdefgh", "pymp-*");
        expect("/tmp/tmpabcd_fgh", "tmp*");
        expect("/tmp/wgunicorn-k3j_8s2d", "wgunicorn-*");
        expect("/data/temp-4711.rdb", "temp-*.rdb");
        expect("/data/appendonly.aof.1.incr.aof", "appendonly.aof.*.incr.aof");
        expect("/var/lib/nginx/body/0000000001", "*");
        expect("/var/log/access.log.2", "access.log.*");
        expect("/var/cache/4f2a9c01d3", "*");
        expect("/var/spool/aBcDeF", "*");
        expect("/run/worker12.sock", "worker*.sock");
        expect("/run/a-1-2", "a-*-*");
    }

    #[test]
    fn names_that_somebody_chose_stay_as_they_are() {
        expect("/run/nginx.pid", "nginx.pid");
        expect("/var/lib/notes/notes.db-journal", "notes.db-journal");
        expect("/data/appendonly.aof.manifest", "appendonly.aof.manifest");
        expect("/var/log/ReadMe", "ReadMe");
        expect("/tmp/sock", "sock");
    }
}
