//! What an executed file itself says of the files that the kernel loads with it: its ELF interpreter, or the
//! interpreter of a script.

use slim_trace::TracedPath;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;

/// The kernel reads this much of a script's first line.
const LINE_BYTES: u64 = 256;
/// More program headers than this are not a program (the kernel's own limit is 64 KiB of them).
const HEADERS_MAX: u64 = 1024;
const PATH_BYTES: u64 = 4096;

/// PT_INTERP of an ELF file of either class; `None` where there is none.
pub fn elf_interpreter(file: &File) -> Option<TracedPath> {
    const PT_INTERP: u64 = 3;
    let mut head = [0; 64];
    let read = file.read_at(&mut head, 0).ok()?;
    let head = head.get(..read)?;
    if !head.starts_with(b"\x7fELF") {
        return None;
    }
    let wide = *head.get(4)? == 2;
    let (table, entry, count) = if wide {
        (number(head, 32, 8)?, number(head, 54, 2)?, number(head, 56, 2)?)
    } else {
        (number(head, 28, 4)?, number(head, 42, 2)?, number(head, 44, 2)?)
    };
    for index in 0..count.min(HEADERS_MAX) {
        let mut header = [0; 56];
        let header = header.get_mut(..if wide { 56 } else { 32 })?;
        file.read_exact_at(header, table.checked_add(index.checked_mul(entry)?)?).ok()?;
        if number(header, 0, 4)? == PT_INTERP {
            let (offset, size) = if wide {
                (number(header, 8, 8)?, number(header, 32, 8)?)
            } else {
                (number(header, 4, 4)?, number(header, 16, 4)?)
            };
            let mut name = vec![0; usize::try_from(size.min(PATH_BYTES)).ok()?];
            file.read_exact_at(&mut name, offset).ok()?;
            let name = name.split(|byte| *byte == 0).next()?;
            return (name.first() == Some(&b'/')).then(|| TracedPath::new(name));
        }
    }
    None
}

/// The interpreter that a script's `#!` line names; `None` where there is no such line, or it names a relative path.
pub fn script_interpreter(file: &File) -> Option<TracedPath> {
    let mut head = Vec::new();
    file.take(LINE_BYTES).read_to_end(&mut head).ok()?;
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let name = line.split(|byte| matches!(byte, b' ' | b'\t' | 0)).find(|word| !word.is_empty())?;
    (name.first() == Some(&b'/')).then(|| TracedPath::new(name))
}

/// A little-endian number, as every ABI of this machine writes it.
fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let slice = bytes.get(at..at.checked_add(length)?)?;
    Some(slice.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, SeekFrom, Write};

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        file
    }

    /// An ELF file with one program header, which lies far behind as patchelf puts it.
    fn elf(wide: bool, interpreter: &[u8]) -> Vec<u8> {
        let (table, name) = (8192_u64, 10_000_u64);
        let mut bytes = vec![0; 16_384];
        bytes[..4].copy_from_slice(b"\x7fELF");
        let mut put = |at: usize, value: u64, length: usize| {
            bytes[at..at + length].copy_from_slice(&value.to_le_bytes()[..length])
        };
        let (header, size) = (usize::try_from(table).unwrap(), interpreter.len() as u64);
        put(4, if wide { 2 } else { 1 }, 1);
        put(header, 3, 4);
        if wide {
            put(32, table, 8);
            put(54, 56, 2);
            put(56, 1, 2);
            put(header + 8, name, 8);
            put(header + 32, size, 8);
        } else {
            put(28, table, 4);
            put(42, 32, 2);
            put(44, 1, 2);
            put(header + 4, name, 4);
            put(header + 16, size, 4);
        }
        bytes[10_000..10_000 + interpreter.len()].copy_from_slice(interpreter);
        bytes
    }

    #[test]
    fn an_elf_interpreter_is_found_wherever_it_lies() {
        for wide in [false, true] {
            let found = elf_interpreter(&file(&elf(wide, b"/lib/ld.so\0")));
            assert_eq!(found, Some(TracedPath::new("/lib/ld.so")));
        }
    }

    #[test]
    fn a_broken_elf_file_has_no_interpreter() {
        let whole = elf(true, b"/lib/ld.so\0");
        for length in [0, 3, 4, 5, 40, 63, 64, 8192, 8200, 10_001] {
            assert_eq!(elf_interpreter(&file(&whole[..length])), None, "{length}");
        }
        assert_eq!(elf_interpreter(&file(b"#!/bin/sh\n")), None);
    }

    #[test]
    fn the_first_word_of_a_script_is_its_interpreter() {
        assert_eq!(
            script_interpreter(&file(b"#! /usr/bin/env -S node\n")),
            Some(TracedPath::new("/usr/bin/env"))
        );
        assert_eq!(script_interpreter(&file(b"#!/bin/sh")), Some(TracedPath::new("/bin/sh")));
        assert_eq!(script_interpreter(&file(b"#!sh\n")), None);
        assert_eq!(script_interpreter(&file(b"\x7fELF")), None);
        assert_eq!(script_interpreter(&file(b"#!\n/bin/sh")), None);
    }
}
