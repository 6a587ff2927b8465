//! Words that hold addresses when the program runs: by relocation, and in a file linked for one address by what they are.

use super::{Binary, File, Unreadable};
use crate::machine::Machine;
use object::read::elf::{Rela as _, SectionHeader as _, Sym as _};
use object::{LittleEndian, elf};

/// What a word points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Pointer {
    Address(u64),
    /// Index into [`Binary::imports`].
    Import(u32),
}

/// Words that hold addresses, by where they lie; a word may have several.
#[derive(Default)]
pub(crate) struct Slots(Vec<(u64, Pointer)>);

impl Slots {
    /// Sorts what was found; of one word it stays in the order that it was found in.
    fn new(mut found: Vec<(u64, Pointer)>) -> Self {
        found.sort_by_key(|(at, _)| *at);
        found.shrink_to_fit();
        Self(found)
    }

    pub fn iter(&self) -> impl Iterator<Item = (u64, Pointer)> {
        self.0.iter().copied()
    }

    /// What a word points at.
    pub fn at(&self, at: u64) -> impl Iterator<Item = Pointer> {
        self.range(at, at).map(|(_, pointer)| pointer)
    }

    pub fn holds(&self, at: u64) -> bool {
        self.at(at).next().is_some()
    }

    /// The words from one to another, that one included.
    pub fn range(&self, first: u64, last: u64) -> impl Iterator<Item = (u64, Pointer)> {
        let from = self.0.partition_point(|(at, _)| *at < first);
        self.0[from..].iter().copied().take_while(move |(at, _)| *at <= last)
    }

    /// The addresses that words hold.
    pub fn addresses(&self) -> impl Iterator<Item = u64> {
        self.iter().filter_map(|(_, pointer)| pointer.address())
    }
}

impl Pointer {
    pub fn address(self) -> Option<u64> {
        match self {
            Self::Address(address) => Some(address),
            Self::Import(_) => None,
        }
    }
}

pub(super) fn read(file: &File<'_>, binary: &mut Binary<'_>) -> Result<(), Unreadable> {
    let mut found = Vec::new();
    for header in file.elf_section_table().iter() {
        if !header.sh_flags(LittleEndian).contains(elf::SHF_ALLOC) {
            continue;
        }
        if let Some((relocations, _)) = header.rela(LittleEndian, file.data())? {
            for relocation in relocations {
                add(file, relocation, binary, &mut found);
            }
        }
        if let Some(packed) = header.relr(LittleEndian, file.data())? {
            for at in packed {
                if let Some(address) = word(binary, at) {
                    found.push((at, Pointer::Address(address)));
                }
            }
        }
    }
    if binary.is_fixed {
        scan(binary, &mut found);
    }
    binary.slots = Slots::new(found);
    Ok(())
}

fn add(
    file: &File<'_>,
    relocation: &elf::Rela64<LittleEndian>,
    binary: &mut Binary<'_>,
    found: &mut Vec<(u64, Pointer)>,
) {
    let (absolute, table, jump, relative, resolved) = match binary.machine {
        Machine::Amd64 => (
            elf::R_X86_64_64,
            elf::R_X86_64_GLOB_DAT,
            elf::R_X86_64_JUMP_SLOT,
            elf::R_X86_64_RELATIVE,
            elf::R_X86_64_IRELATIVE,
        ),
        Machine::Arm64 => (
            elf::R_AARCH64_ABS64,
            elf::R_AARCH64_GLOB_DAT,
            elf::R_AARCH64_JUMP_SLOT,
            elf::R_AARCH64_RELATIVE,
            elf::R_AARCH64_IRELATIVE,
        ),
    };
    let kind = relocation.r_type(LittleEndian, false);
    let addend = relocation.r_addend(LittleEndian);
    let at = relocation.r_offset(LittleEndian);
    if kind == resolved {
        binary.resolvers.push(addend.cast_unsigned());
    }
    if kind == relative || kind == resolved {
        found.push((at, Pointer::Address(addend.cast_unsigned())));
    } else if kind == absolute || kind == table || kind == jump {
        let index = relocation.r_sym(LittleEndian, false);
        let symbols = file.elf_dynamic_symbol_table();
        let Ok(symbol) = symbols.symbol(object::SymbolIndex(index as usize)) else { return };
        // What the file defines itself another file may define first, and that one counts then.
        found.push((at, Pointer::Import(index)));
        if !symbol.is_undefined(LittleEndian) {
            let addend = if kind == absolute { addend } else { 0 };
            let address = symbol.st_value(LittleEndian).wrapping_add_signed(addend);
            found.push((at, Pointer::Address(address)));
        }
    }
}

/// Every word that is an address of the file is taken for a pointer: of a function, of a part of one, of data.
fn scan(binary: &Binary<'_>, found: &mut Vec<(u64, Pointer)>) {
    let sections = binary.sections.iter().filter(|section| !section.holds_code());
    for section in sections {
        let skip = usize::try_from(section.address.next_multiple_of(8) - section.address).unwrap_or(0);
        let words = section.bytes.get(skip..).unwrap_or_default().chunks_exact(8);
        for (index, bytes) in words.enumerate() {
            let value = u64::from_le_bytes(bytes.try_into().expect("a chunk of eight"));
            if binary.section(value).is_some() {
                found.push((section.address + (skip + index * 8) as u64, Pointer::Address(value)));
            }
        }
    }
}

/// The word that the file has at an address.
pub(super) fn word(binary: &Binary<'_>, at: u64) -> Option<u64> {
    let bytes = binary.bytes_at(at)?.get(..8)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}
