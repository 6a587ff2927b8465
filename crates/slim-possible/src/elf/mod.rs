//! What of an ELF file matters for its code: sections, where functions begin, which words are pointers, what it imports
//! and exports.
//!
//! Files come from strangers: one that lies about itself is an error of this file, never a panic.

mod code;
mod frames;
mod go;
mod pointers;
mod symbols;

use code::Pieces;
pub(crate) use code::{Code, Failed, tables};
pub(crate) use pointers::{Pointer, Slots};
pub(crate) use symbols::{Export, Import};

use crate::machine::Machine;
use object::LittleEndian;
use object::elf;
use object::read::elf::{Dyn as _, ElfFile64, FileHeader as _, ProgramHeader as _, SectionHeader as _};
use std::collections::BTreeMap;
use std::rc::Rc;

/// A symbol's name. Functions, exports and imports have the same ones, and C++ has long ones.
pub(crate) type Name = Rc<str>;

pub(crate) type File<'data> = ElfFile64<'data, LittleEndian>;

/// Why an ELF file's code cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("it is no 64-bit little-endian ELF file for x86-64 or aarch64")]
    Machine,
    #[error("its section headers were stripped")]
    NoSections,
    #[error("it has 4 GB or more")]
    TooLarge,
    #[error("it is malformed: {0}")]
    Malformed(String),
    #[error("there are more ways between its functions than are followed")]
    Entangled,
}

impl From<object::Error> for Unreadable {
    fn from(error: object::Error) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// What lies in a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contents {
    /// Functions.
    Code,
    /// The linker's stubs that jump through the table of imports.
    Stubs,
    /// The table of addresses that code reads one by one (`.got`, `.got.plt`).
    Table,
    /// Addresses of what runs when the file is loaded and unloaded.
    Started,
    /// Constants that nothing writes to.
    Constants,
    /// Everything else that has bytes.
    Data,
}

/// A section that is loaded and has bytes.
#[derive(Debug)]
pub(crate) struct Section {
    pub contents: Contents,
    pub address: u64,
    /// None of code: [`Binary::show`] has it.
    pub bytes: Vec<u8>,
    size: u64,
    /// Where they lie in the file.
    offset: u64,
}

impl Section {
    pub fn end(&self) -> u64 {
        self.address.saturating_add(self.size)
    }

    pub fn holds_code(&self) -> bool {
        matches!(self.contents, Contents::Code | Contents::Stubs)
    }
}

/// Where a function begins and ends, as far as the file tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub end: u64,
    pub name: Option<Name>,
}

/// One ELF file, taken apart.
pub(crate) struct Binary<'data> {
    pub machine: Machine,
    /// Linked for one address: pointers in it have no relocations.
    pub is_fixed: bool,
    /// 0 where there is none.
    pub entry: u64,
    /// Whether Go's linker made it, which leaves out what nothing reaches.
    pub is_go: bool,
    /// By address.
    pub sections: Vec<Section>,
    code: &'data (dyn Pieces + 'data),
    /// Functions by their first address.
    pub ranges: BTreeMap<u64, Range>,
    /// Words that hold addresses when the program runs.
    pub slots: Slots,
    pub imports: Vec<Import>,
    pub exports: Vec<Export>,
    /// What runs without being called: DT_INIT and DT_FINI.
    pub started: Vec<u64>,
    /// Functions that choose another one while the file is loaded (R_*_IRELATIVE).
    pub resolvers: Vec<u64>,
}

impl<'data> Binary<'data> {
    /// Takes a file apart. `bytes`: its [tables].
    ///
    /// # Errors
    /// When it is none that we can read.
    pub fn read(bytes: &[u8], code: &'data (dyn Pieces + 'data)) -> Result<Self, Unreadable> {
        let file = File::parse(bytes)?;
        let header = file.elf_header();
        let machine = match header.e_machine(LittleEndian) {
            elf::EM_X86_64 => Machine::Amd64,
            elf::EM_AARCH64 => Machine::Arm64,
            _ => return Err(Unreadable::Machine),
        };
        let sections = sections(&file, bytes, code)?;
        if !sections.iter().any(Section::holds_code) {
            return Err(Unreadable::NoSections);
        }
        let mut binary = Self {
            machine,
            is_fixed: header.e_type(LittleEndian) == elf::ET_EXEC,
            entry: header.e_entry(LittleEndian),
            is_go: false,
            sections,
            code,
            ranges: BTreeMap::new(),
            slots: Slots::default(),
            imports: Vec::new(),
            exports: Vec::new(),
            started: started(&file, bytes),
            resolvers: Vec::new(),
        };
        for (start, end) in frames::ranges(&file) {
            binary.add_range(start, Some(end), None);
        }
        if let Some(functions) = go::functions(&file, &binary.sections) {
            binary.is_go = true;
            for (start, end, name) in functions {
                binary.add_range(start, Some(end), name.map(Name::from));
            }
        }
        symbols::read(&file, &mut binary)?;
        pointers::read(&file, &mut binary)?;
        Ok(binary)
    }

    /// The section that an address lies in.
    pub fn section(&self, address: u64) -> Option<&Section> {
        let after = self.sections.partition_point(|section| section.address <= address);
        let section = self.sections.get(after.checked_sub(1)?)?;
        (address < section.end()).then_some(section)
    }

    pub fn is_code(&self, address: u64) -> bool {
        self.section(address).is_some_and(Section::holds_code)
    }

    /// Shows the bytes from an address to another, as far as its section has them.
    pub fn show(&self, start: u64, end: u64, show: &mut dyn FnMut(&[u8])) {
        let Some(section) = self.section(start) else { return };
        let length = usize::try_from(end.min(section.end()).saturating_sub(start)).unwrap_or(0);
        if section.holds_code() {
            self.code.show(section.offset + (start - section.address), length, show);
        } else if let Some(bytes) = self.bytes_at(start) {
            show(&bytes[..length.min(bytes.len())]);
        }
    }

    /// The bytes from an address to the end of its section; `None` in code.
    pub fn bytes_at(&self, address: u64) -> Option<&[u8]> {
        let section = self.section(address).filter(|section| !section.holds_code())?;
        section.bytes.get(usize::try_from(address - section.address).ok()?..)
    }

    /// Adds what one source says of a function: a longer range and a name win.
    fn add_range(&mut self, start: u64, end: Option<u64>, name: Option<Name>) {
        let Some(section) = self.section(start).filter(|section| section.contents == Contents::Code) else {
            return;
        };
        let end = end.filter(|end| *end > start).unwrap_or(start + 1).min(section.end());
        let range = self.ranges.entry(start).or_insert(Range { end, name: None });
        range.end = range.end.max(end);
        // Of two names of one function the first in order, so that equal files tell the same.
        range.name = match (range.name.take(), name) {
            (Some(old), Some(new)) => Some(old.min(new)),
            (old, new) => old.or(new),
        };
    }
}

fn sections(file: &File<'_>, bytes: &[u8], code: &dyn Pieces) -> Result<Vec<Section>, Unreadable> {
    let table = file.elf_section_table();
    let mut sections = Vec::new();
    for header in table.iter() {
        let flags = header.sh_flags(LittleEndian);
        let kind = header.sh_type(LittleEndian);
        if !flags.contains(elf::SHF_ALLOC)
            || flags.contains(elf::SHF_TLS)
            || !matches!(
                kind,
                elf::SHT_PROGBITS | elf::SHT_INIT_ARRAY | elf::SHT_FINI_ARRAY | elf::SHT_PREINIT_ARRAY
            )
        {
            continue;
        }
        let name = table.section_name(LittleEndian, header).unwrap_or_default();
        let contents = if flags.contains(elf::SHF_EXECINSTR) {
            if name.starts_with(b".plt") || name == b".iplt" { Contents::Stubs } else { Contents::Code }
        } else if kind != elf::SHT_PROGBITS {
            Contents::Started
        } else if name.starts_with(b".got") {
            Contents::Table
        } else if !flags.contains(elf::SHF_WRITE) {
            if name.starts_with(b".eh_frame") || name.starts_with(b".gcc_except_table") {
                continue;
            }
            Contents::Constants
        } else {
            Contents::Data
        };
        // Whether the file has it all.
        let size = header.data(LittleEndian, bytes)?.len() as u64;
        let (address, offset) = (header.sh_addr(LittleEndian), header.sh_offset(LittleEndian));
        if address.checked_add(size).is_none() {
            return Err(Unreadable::Malformed("a section ends beyond the address space".to_owned()));
        }
        let is_code = flags.contains(elf::SHF_EXECINSTR);
        let bytes = if is_code { Vec::new() } else { code.read(offset, size) };
        sections.push(Section { contents, address, bytes, size, offset });
    }
    sections.sort_by_key(|section| (section.address, section.size));
    Ok(sections)
}

fn started(file: &File<'_>, bytes: &[u8]) -> Vec<u64> {
    let mut started = Vec::new();
    for segment in file.elf_program_headers() {
        let Ok(Some(dynamic)) = segment.dynamic(LittleEndian, bytes) else { continue };
        for entry in dynamic {
            if matches!(entry.d_tag(LittleEndian), elf::DT_INIT | elf::DT_FINI) {
                started.push(entry.d_val(LittleEndian));
            }
        }
    }
    started
}
