//! Events as the eBPF program writes them into the ring buffer.

/// `struct event` of the eBPF program, without the bytes behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub kind: u16,
    pub phase: u16,
    pub process: u32,
    pub tgid: u32,
    pub other: u32,
    pub access: u16,
    pub abi: u16,
    pub result: i32,
    pub flags: u64,
}

const HEADER_BYTES: usize = 48;

/// Flag of a path event: the call made the file.
pub const FLAG_MADE: u64 = 1 << 32;
/// Flag of a path event: the path lies below its base even if it begins with a slash.
pub const FLAG_BELOW: u64 = 1 << 33;

/// One event, with the bytes that came behind its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// `base` is the directory that the path starts from; for an absolute path the root, seen from the container's.
    Path {
        header: Header,
        base: &'a [u8],
        path: &'a [u8],
    },
    /// `directory` is the working directory, where `name` is relative.
    Exec {
        header: Header,
        file: &'a [u8],
        name: &'a [u8],
        arguments: &'a [u8],
        directory: &'a [u8],
    },
    Fork(Header),
    Exit(Header),
    Socket(Header),
    Listen {
        header: Header,
        address: &'a [u8],
    },
    Calls {
        header: Header,
        bits: &'a [u8],
    },
}

impl Event<'_> {
    pub fn header(&self) -> Header {
        match self {
            Self::Path { header, .. }
            | Self::Exec { header, .. }
            | Self::Fork(header)
            | Self::Exit(header)
            | Self::Socket(header)
            | Self::Listen { header, .. }
            | Self::Calls { header, .. } => *header,
        }
    }
}

/// Reads one event; `None` for bytes that are none.
pub fn parse(bytes: &[u8]) -> Option<Event<'_>> {
    let (head, data) = bytes.split_at_checked(HEADER_BYTES)?;
    let u16_at = |at: usize| u16::from_ne_bytes([head[at], head[at + 1]]);
    let u32_at = |at: usize| u32::from_ne_bytes(head[at..at + 4].try_into().expect("four bytes"));
    let header = Header {
        kind: u16_at(0),
        phase: u16_at(2),
        process: u32_at(4),
        tgid: u32_at(8),
        other: u32_at(12),
        access: u16_at(16),
        abi: u16_at(18),
        result: u32_at(20).cast_signed(),
        flags: u64::from_ne_bytes(head[24..32].try_into().expect("eight bytes")),
    };
    let (path, rest) = data.split_at_checked(u32_at(32) as usize)?;
    let (base, rest) = rest.split_at_checked(u32_at(36) as usize)?;
    let (arguments, rest) = rest.split_at_checked(u32_at(40) as usize)?;
    let directory = rest.get(..u32_at(44) as usize)?;
    Some(match header.kind {
        0 => Event::Path { header, base, path },
        1 => Event::Exec { header, file: base, name: path, arguments, directory },
        2 => Event::Fork(header),
        3 => Event::Exit(header),
        4 => Event::Socket(header),
        5 => Event::Listen { header, address: path.get(..16)? },
        6 => Event::Calls { header, bits: path },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_or_foreign_bytes_are_no_event() {
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&[0; HEADER_BYTES - 1]), None);
        assert_eq!(parse(&[9; HEADER_BYTES + 100]), None);
    }

    #[test]
    fn a_path_comes_before_its_base() {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[32] = 3;
        bytes[36] = 4;
        bytes.extend(b"a/b/etc");
        let Some(Event::Path { base, path, .. }) = parse(&bytes) else { panic!("no path event") };
        assert_eq!((base, path), (&b"/etc"[..], &b"a/b"[..]));
    }

    #[test]
    fn lengths_beyond_the_data_are_refused() {
        for at in [32, 36, 40, 44] {
            let mut bytes = vec![0; HEADER_BYTES + 2];
            bytes[at] = 3;
            assert_eq!(parse(&bytes), None);
        }
    }
}
