//! What an ELF file says of itself, read from its program headers: section headers may be stripped, and the kernel and
//! the loader do not look at them either.
//!
//! Files come from strangers: sizes are bounded before anything is read, and a file that lies about itself is an error
//! of this file, never a panic.

use crate::contents::Blocks;
use object::elf;
use object::read::elf::{Dyn as _, FileHeader, ProgramHeader as _};
use object::read::{ReadCache, ReadRef};
use object::{Endianness, FileKind};

/// Bytes at the beginning of every ELF file.
pub(crate) const MAGIC: &[u8] = b"\x7fELF";

const DF_1_NODEFLIB: u64 = 0x800;
/// Real files have a dozen program headers.
const PROGRAM_HEADERS_MAX: u32 = 4096;
/// Bytes of a dynamic section; real ones have a kilobyte.
const DYNAMIC_MAX: u64 = 1 << 20;
/// PATH_MAX.
const INTERPRETER_MAX: u64 = 4096;
/// Bytes of a segment of notes; real ones have some hundred.
const NOTES_MAX: u64 = 64 << 10;
/// The note by which a file says what it opens at run time: its type, of the owner `FDO` (the ELF dlopen metadata
/// specification of the UAPI group).
const NOTE_DLOPEN: u32 = 0x407c_0c0a;

/// What decides which files the loader takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Headers {
    pub machine: Machine,
    /// PT_INTERP.
    pub interpreter: Option<Vec<u8>>,
    /// DT_NEEDED and DT_FILTER, in order.
    pub needed: Vec<Vec<u8>>,
    /// DT_AUXILIARY: loaded where they are found.
    pub wanted: Vec<Vec<u8>>,
    /// DT_RPATH, which counts only without a DT_RUNPATH.
    pub rpath: Option<Vec<u8>>,
    pub runpath: Option<Vec<u8>>,
    /// Whether it has a DT_SONAME, which makes it a library: the C library and others can be run, too.
    pub is_library: bool,
    /// DF_1_NODEFLIB: libraries are not looked for in the default directories.
    pub no_default_directories: bool,
    /// Where in the file the dynamic section's names lie, those of symbols among them: start and length.
    pub names: Option<(u64, u64)>,
    /// Contents of the notes about what is opened at run time: JSON.
    pub opened: Vec<Vec<u8>>,
}

/// A loader takes only libraries of its own kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Machine {
    pub is_64: bool,
    pub is_little_endian: bool,
    /// e_machine.
    pub number: u16,
}

/// Why a file cannot be read as ELF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub &'static str);

impl Headers {
    /// Whether this is a program that brings its C library, or needs none. Its file's mode has to say that it is run.
    pub(crate) fn is_static_program(&self) -> bool {
        self.interpreter.is_none() && self.needed.is_empty() && !self.is_library
    }

    /// Whether this is a program that a loader loads.
    pub(crate) fn is_dynamic_program(&self) -> bool {
        self.interpreter.is_some() && !self.is_library
    }
}

type Cache<'b, 'a> = ReadCache<&'b mut Blocks<'a>>;

/// Reads a file's headers; `None` where it is no program or library (an object file, a core dump).
pub(crate) fn read(blocks: &mut Blocks<'_>) -> Result<Option<Headers>, Malformed> {
    let cache = ReadCache::new(blocks);
    match FileKind::parse(&cache).map_err(|_| Malformed("it is neither 32-bit nor 64-bit ELF"))? {
        FileKind::Elf32 => read_class::<elf::FileHeader32<Endianness>>(&cache, false),
        FileKind::Elf64 => read_class::<elf::FileHeader64<Endianness>>(&cache, true),
        _ => Err(Malformed("it is neither 32-bit nor 64-bit ELF")),
    }
}

fn read_class<E: FileHeader<Endian = Endianness>>(
    cache: &Cache<'_, '_>,
    is_64: bool,
) -> Result<Option<Headers>, Malformed> {
    let header = E::parse(cache).map_err(|_| Malformed("its header is cut off"))?;
    let endian = header.endian().map_err(|_| Malformed("its byte order is unknown"))?;
    if !matches!(header.e_type(endian), elf::ET_EXEC | elf::ET_DYN) {
        return Ok(None);
    }
    let count = header.phnum(endian, cache).map_err(|_| Malformed("its program headers are cut off"))?;
    if count > PROGRAM_HEADERS_MAX {
        return Err(Malformed("it has too many program headers"));
    }
    let segments =
        header.program_headers(endian, cache).map_err(|_| Malformed("its program headers are cut off"))?;
    let mut headers = Headers {
        machine: Machine {
            is_64,
            is_little_endian: header.is_little_endian(),
            number: header.e_machine(endian).0,
        },
        interpreter: None,
        needed: Vec::new(),
        wanted: Vec::new(),
        rpath: None,
        runpath: None,
        is_library: false,
        no_default_directories: false,
        names: None,
        opened: Vec::new(),
    };
    for segment in segments {
        match segment.p_type(endian) {
            elf::PT_INTERP => {
                let (offset, size) = segment.file_range(endian);
                let bytes = cache
                    .read_bytes_at(offset, size.min(INTERPRETER_MAX))
                    .map_err(|()| Malformed("the name of its loader is cut off"))?;
                let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
                headers.interpreter = Some(name.to_vec()).filter(|name| !name.is_empty());
            }
            elf::PT_DYNAMIC => read_dynamic::<E>(&mut headers, cache, endian, segments, segment)?,
            elf::PT_NOTE => headers.opened.extend(read_notes::<E>(cache, endian, segment)),
            _ => {}
        }
    }
    Ok(Some(headers))
}

fn read_dynamic<E: FileHeader<Endian = Endianness>>(
    headers: &mut Headers,
    cache: &Cache<'_, '_>,
    endian: Endianness,
    segments: &[E::ProgramHeader],
    dynamic: &E::ProgramHeader,
) -> Result<(), Malformed> {
    const CUT_OFF: Malformed = Malformed("its dynamic section is cut off");
    if dynamic.file_range(endian).1 > DYNAMIC_MAX {
        return Err(Malformed("its dynamic section is too large"));
    }
    let entries = dynamic.dynamic(endian, cache).map_err(|_| CUT_OFF)?.unwrap_or_default();
    let entries = || entries.iter().take_while(|entry| entry.tag(endian) != elf::DT_NULL);
    let value = |tag| entries().find(|entry| entry.tag(endian) == tag).map(|entry| entry.val(endian));
    let strings = value(elf::DT_STRTAB).and_then(|address| offset_of::<E>(endian, segments, address));
    let strings_size = value(elf::DT_STRSZ).unwrap_or(0);
    headers.names = strings.map(|start| (start, strings_size));
    let string = |at: u64| {
        let start = strings.ok_or(Malformed("its names are nowhere in the file"))?;
        let range = start.saturating_add(at)..start.saturating_add(strings_size);
        cache.read_bytes_at_until(range, 0).map(<[u8]>::to_vec).map_err(|()| Malformed("a name is cut off"))
    };
    for entry in entries() {
        let value = entry.val(endian);
        match entry.tag(endian) {
            elf::DT_NEEDED | elf::DT_FILTER => headers.needed.push(string(value)?),
            elf::DT_AUXILIARY => headers.wanted.push(string(value)?),
            elf::DT_SONAME => headers.is_library = true,
            elf::DT_RPATH => headers.rpath = Some(string(value)?),
            elf::DT_RUNPATH => headers.runpath = Some(string(value)?),
            elf::DT_FLAGS_1 => headers.no_default_directories = value & DF_1_NODEFLIB != 0,
            _ => {}
        }
    }
    Ok(())
}

/// What a segment of notes says about what is opened at run time. The loader does not look at notes, so that one that
/// cannot be read says nothing.
fn read_notes<E: FileHeader<Endian = Endianness>>(
    cache: &Cache<'_, '_>,
    endian: Endianness,
    segment: &E::ProgramHeader,
) -> Vec<Vec<u8>> {
    let mut opened = Vec::new();
    if segment.file_range(endian).1 > NOTES_MAX {
        return opened;
    }
    if let Ok(Some(mut notes)) = segment.notes(endian, cache) {
        while let Ok(Some(note)) = notes.next() {
            if note.name() == b"FDO" && note.n_type(endian).0 == NOTE_DLOPEN {
                opened.push(note.desc().to_vec());
            }
        }
    }
    opened
}

/// Where in the file an address of the loaded program lies.
fn offset_of<E: FileHeader<Endian = Endianness>>(
    endian: Endianness,
    segments: &[E::ProgramHeader],
    address: u64,
) -> Option<u64> {
    segments.iter().filter(|segment| segment.p_type(endian) == elf::PT_LOAD).find_map(|segment| {
        let (offset, size) = segment.file_range(endian);
        let within = address.checked_sub(segment.p_vaddr(endian).into())?;
        if within < size { offset.checked_add(within) } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Cursor;

    fn headers(bytes: &[u8]) -> Result<Option<Headers>, Malformed> {
        read(&mut Blocks::new(Box::new(Cursor::new(bytes)), bytes.len() as u64))
    }

    /// This very test's program or, where that is static, the machine's `ls`.
    fn real() -> Vec<u8> {
        std::fs::read("/bin/ls").unwrap()
    }

    #[test]
    fn a_real_program_names_its_loader_and_libraries() {
        let headers = headers(&real()).unwrap().unwrap();
        assert!(headers.machine.is_64 && headers.machine.is_little_endian);
        assert!(headers.interpreter.unwrap().starts_with(b"/lib64/ld-linux"));
        assert!(headers.needed.contains(&b"libc.so.6".to_vec()), "{:?}", headers.needed);
    }

    #[test]
    fn a_file_cut_off_anywhere_is_an_error_or_reads_whole() {
        let bytes = real();
        let whole = headers(&bytes).unwrap();
        for length in (0..bytes.len()).step_by(37).chain(0..2048) {
            if let Ok(cut) = headers(&bytes[..length]) {
                assert_eq!(cut, whole, "cut off at {length}");
            }
        }
    }

    #[test]
    fn an_enormous_dynamic_section_is_refused_before_it_is_read() {
        let mut bytes = real();
        let offset = u64::from_le_bytes(bytes[32..40].try_into().unwrap()) as usize;
        let at = (0..20).map(|index| offset + index * 56).find(|at| bytes[*at] == 2).unwrap();
        bytes[at + 32..at + 40].copy_from_slice(&(DYNAMIC_MAX + 1).to_le_bytes());
        assert_eq!(headers(&bytes).unwrap_err(), Malformed("its dynamic section is too large"));
    }

    proptest! {
        #[test]
        fn no_change_of_a_real_program_panics(
            changes in proptest::collection::vec((0_usize..4096, any::<u8>()), 1..16)
        ) {
            let mut bytes = real();
            for (at, value) in changes {
                bytes[at] = value;
            }
            let _ = headers(&bytes);
        }

        #[test]
        fn nothing_that_begins_as_elf_panics(rest in proptest::collection::vec(any::<u8>(), 0..512)) {
            let mut bytes = MAGIC.to_vec();
            bytes.extend(rest);
            let _ = headers(&bytes);
        }
    }
}
