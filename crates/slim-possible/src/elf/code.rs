//! An ELF file of which only what is wanted is read: its tables at once and for a short time, code piece by piece. Big programs
//! are not held in memory.

use super::Unreadable;
use object::LittleEndian;
use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader as _, SectionHeader as _};
use slim_image::Contents;
use std::cell::RefCell;
use std::io::{self, Read as _, SeekFrom};

/// Read at once.
const WINDOW: usize = 256 << 10;
/// Sections that are tables as well, by name: they have the type of data.
const TABLES: [&[u8]; 3] = [b".eh_frame", b".gopclntab", b".data.rel.ro.gopclntab"];
const HEADER: usize = size_of::<FileHeader64<LittleEndian>>();
const SECTION_HEADER: u64 = size_of::<elf::SectionHeader64<LittleEndian>>() as u64;
const PROGRAM_HEADER: u64 = size_of::<elf::ProgramHeader64<LittleEndian>>() as u64;

/// Why a file could not be read.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The image does not give it.
    Io(io::Error),
    Unreadable(Unreadable),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Unreadable> for Failed {
    fn from(why: Unreadable) -> Self {
        Self::Unreadable(why)
    }
}

/// Reads a file's tables: headers, symbols, relocations, unwind records. All else (code, constants, data, debugging
/// information) is holes, which take no memory. A malformed file has holes elsewhere, and is found malformed by whoever takes
/// it apart.
pub(crate) fn tables(contents: &mut dyn Contents) -> Result<Vec<u8>, Failed> {
    let size = contents.seek(SeekFrom::End(0))?;
    if u32::try_from(size).is_err() {
        return Err(Unreadable::TooLarge.into());
    }
    let mut file = Partly { bytes: vec![0; usize::try_from(size).expect("less than 4 GB")], contents };
    file.read(0, HEADER as u64)?;
    if !file.bytes.starts_with(b"\x7fELF\x02\x01") {
        return Err(Unreadable::Machine.into());
    }
    let Ok(header) = FileHeader64::<LittleEndian>::parse(file.bytes.as_slice()) else {
        return Ok(file.bytes);
    };
    let (sections, programs) = (header.e_shoff(LittleEndian), header.e_phoff(LittleEndian));
    let counts = (header.e_shnum(LittleEndian), header.e_phnum(LittleEndian));
    file.read(programs, u64::from(counts.1) * PROGRAM_HEADER)?;
    // The first header tells how many there are where the number has no room.
    file.read(sections, SECTION_HEADER)?;
    let first = section(&file.bytes, sections);
    let count = match counts.0 {
        0 => first.map_or(0, |first| first.sh_size(LittleEndian)),
        count => count.into(),
    };
    file.read(sections, count.saturating_mul(SECTION_HEADER))?;
    let headers: Vec<_> = (0..count)
        .map_while(|index| {
            section(&file.bytes, sections.saturating_add(index.saturating_mul(SECTION_HEADER)))
        })
        .collect();
    for section in headers.iter().filter(|section| section.sh_type(LittleEndian) != elf::SHT_PROGBITS) {
        if let Some((offset, size)) = section.file_range(LittleEndian) {
            file.read(offset, size)?;
        }
    }
    // Now there are names.
    let tables: Vec<(u64, u64)> = match super::File::parse(file.bytes.as_slice()) {
        Ok(parsed) => {
            let table = parsed.elf_section_table();
            let named = table.iter().filter(|section| {
                let name = table.section_name(LittleEndian, section).unwrap_or_default();
                TABLES.contains(&name)
            });
            named.filter_map(|section| section.file_range(LittleEndian)).collect()
        }
        Err(_) => Vec::new(),
    };
    for (offset, size) in tables {
        file.read(offset, size)?;
    }
    Ok(file.bytes)
}

fn section(bytes: &[u8], at: u64) -> Option<elf::SectionHeader64<LittleEndian>> {
    let from = usize::try_from(at).ok()?;
    let bytes = bytes.get(from..from.checked_add(usize::try_from(SECTION_HEADER).ok()?)?)?;
    object::from_bytes::<elf::SectionHeader64<LittleEndian>>(bytes).ok().map(|(section, _)| *section)
}

struct Partly<'a> {
    bytes: Vec<u8>,
    contents: &'a mut dyn Contents,
}

impl Partly<'_> {
    /// Reads a part, as far as the file has it.
    fn read(&mut self, offset: u64, length: u64) -> io::Result<()> {
        let end = usize::try_from(offset.saturating_add(length)).unwrap_or(usize::MAX).min(self.bytes.len());
        let Some(part) = usize::try_from(offset).ok().and_then(|offset| self.bytes.get_mut(offset..end))
        else {
            return Ok(());
        };
        self.contents.seek(SeekFrom::Start(offset))?;
        self.contents.read_exact(part)
    }
}

/// Where a file's code comes from.
pub(crate) trait Pieces {
    /// Shows the bytes at an offset of the file; fewer at its end.
    fn show(&self, offset: u64, length: usize, show: &mut dyn FnMut(&[u8]));

    /// The bytes at an offset of the file; fewer at its end.
    fn read(&self, offset: u64, length: u64) -> Vec<u8>;
}

/// The code of a file, read where it is looked at.
pub(crate) struct Code<'data>(RefCell<Window<'data>>);

struct Window<'data> {
    contents: &'data mut dyn Contents,
    /// Where `bytes` lie in the file.
    offset: u64,
    bytes: Vec<u8>,
    /// The first failure: what was to be read then is as if it were not there.
    failed: Option<io::Error>,
}

impl<'data> Code<'data> {
    pub fn new(contents: &'data mut dyn Contents) -> Self {
        Self(RefCell::new(Window { contents, offset: 0, bytes: Vec::new(), failed: None }))
    }

    /// What went wrong meanwhile.
    pub fn failure(self) -> Option<io::Error> {
        self.0.into_inner().failed
    }
}

impl Pieces for Code<'_> {
    fn show(&self, offset: u64, length: usize, show: &mut dyn FnMut(&[u8])) {
        let mut window = self.0.borrow_mut();
        if offset < window.offset || offset + length as u64 > window.offset + window.bytes.len() as u64 {
            window.move_to(offset, length.max(WINDOW));
        }
        let from = usize::try_from(offset - window.offset).unwrap_or(usize::MAX).min(window.bytes.len());
        show(&window.bytes[from..from.saturating_add(length).min(window.bytes.len())]);
    }

    fn read(&self, offset: u64, length: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.0.borrow_mut().read(offset, length, &mut bytes);
        bytes
    }
}

impl Window<'_> {
    fn move_to(&mut self, offset: u64, length: usize) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        bytes.shrink_to(WINDOW);
        self.read(offset, length as u64, &mut bytes);
        (self.offset, self.bytes) = (offset, bytes);
    }

    fn read(&mut self, offset: u64, length: u64, bytes: &mut Vec<u8>) {
        let read = self.contents.seek(SeekFrom::Start(offset)).and_then(|_| {
            let mut part = io::Read::take(&mut *self.contents, length);
            part.read_to_end(bytes)
        });
        if let Err(error) = read {
            bytes.clear();
            self.failed.get_or_insert(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn pieces_are_what_the_file_has_wherever_they_lie() {
        let bytes: Vec<u8> = (0..WINDOW * 3).map(|at| (at % 251) as u8).collect();
        let mut contents = Cursor::new(bytes.clone());
        let code = Code::new(&mut contents);
        for (offset, length) in [(0, 10), (WINDOW - 5, 10), (7, 3), (WINDOW, WINDOW * 2), (WINDOW * 3 - 2, 9)]
        {
            let end = (offset + length).min(bytes.len());
            code.show(offset as u64, length, &mut |piece| {
                assert!(piece == &bytes[offset..end], "{offset} {length}");
            });
        }
        code.show(1 << 40, 5, &mut |piece| assert!(piece.is_empty()));
        assert!(code.failure().is_none());
    }

    #[test]
    fn the_tables_of_a_file_are_as_they_are_and_its_code_is_left_out() {
        let path = "/proc/self/exe";
        let whole = std::fs::read(path).unwrap();
        let parts = tables(&mut std::fs::File::open(path).unwrap()).unwrap();
        assert_eq!(parts.len(), whole.len());
        let file = super::super::File::parse(whole.as_slice()).unwrap();
        let (mut code, mut others) = (0, 0);
        for header in file.elf_section_table().iter() {
            let Some((offset, size)) = header.file_range(LittleEndian) else { continue };
            let range = usize::try_from(offset).unwrap()..usize::try_from(offset + size).unwrap();
            let flags = header.sh_flags(LittleEndian);
            if flags.contains(elf::SHF_EXECINSTR) {
                code += usize::from(parts[range.clone()].iter().all(|byte| *byte == 0));
            } else if header.sh_type(LittleEndian) != elf::SHT_PROGBITS {
                assert!(parts[range.clone()] == whole[range], "{:#x}", offset);
                others += 1;
            }
        }
        assert!(code > 0 && others > 5, "{code} {others}");
    }
}
