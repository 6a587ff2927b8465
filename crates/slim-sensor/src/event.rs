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
    pub base_bytes: u32,
    pub path_bytes: u32,
    pub spare: u64,
}

const HEADER_BYTES: usize = 48;

/// What a number in `Header::kind` means: `enum event_kind` of the eBPF program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    Path { header: Header, base: &'a [u8], path: &'a [u8] },
    Exec { header: Header, file: &'a [u8], name: &'a [u8], arguments: &'a [u8] },
    Fork(Header),
    Socket(Header),
    Listen { header: Header, address: &'a [u8] },
    Calls { header: Header, bits: &'a [u8] },
}

/// Reads one event; `None` for bytes that are none.
pub fn parse(bytes: &[u8]) -> Option<Event<'_>> {
    let (head, data) = bytes.split_at_checked(HEADER_BYTES)?;
    let u16_at = |at: usize| u16::from_ne_bytes([head[at], head[at + 1]]);
    let u32_at = |at: usize| u32::from_ne_bytes(head[at..at + 4].try_into().expect("four bytes"));
    let u64_at = |at: usize| u64::from_ne_bytes(head[at..at + 8].try_into().expect("eight bytes"));
    let header = Header {
        kind: u16_at(0),
        phase: u16_at(2),
        process: u32_at(4),
        tgid: u32_at(8),
        other: u32_at(12),
        access: u16_at(16),
        abi: u16_at(18),
        result: i32::from_ne_bytes(head[20..24].try_into().expect("four bytes")),
        flags: u64_at(24),
        base_bytes: u32_at(32),
        path_bytes: u32_at(36),
        spare: u64_at(40),
    };
    let (path, rest) = data.split_at_checked(header.path_bytes as usize)?;
    Some(match header.kind {
        0 => Event::Path { header, base: rest.get(..header.base_bytes as usize)?, path },
        1 => {
            let (file, rest) = rest.split_at_checked(header.base_bytes as usize)?;
            Event::Exec {
                header,
                file,
                name: path,
                arguments: rest.get(..usize::try_from(header.spare).ok()?)?,
            }
        }
        2 => Event::Fork(header),
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
        bytes[32] = 4;
        bytes[36] = 3;
        bytes.extend(b"a/b/etc");
        let Some(Event::Path { base, path, .. }) = parse(&bytes) else { panic!("no path event") };
        assert_eq!((base, path), (&b"/etc"[..], &b"a/b"[..]));
    }
}
