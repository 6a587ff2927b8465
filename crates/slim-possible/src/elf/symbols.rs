//! Names: functions of the full symbol table where it is there, what the dynamic one imports and exports.

use super::{Binary, File, Name, Unreadable};
use object::read::elf::Sym as _;
use object::{LittleEndian, SymbolIndex, elf};
use std::collections::HashMap;

/// A symbol that another file defines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Import {
    pub name: Name,
    /// The version asked for; `None` where any will do.
    pub version: Option<Name>,
    /// May be missing.
    pub is_weak: bool,
}

/// A function that other files may import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Export {
    pub name: Name,
    pub version: Option<Name>,
    /// Whether it is code; objects are exported too, and interesting only as names.
    pub is_function: bool,
    pub address: u64,
}

/// Reads both tables. `imports` has the index of the dynamic symbol, so that relocations find theirs.
pub(super) fn read(file: &File<'_>, binary: &mut Binary<'_>) -> Result<(), Unreadable> {
    let full = file.elf_symbol_table();
    for symbol in full.iter().filter(|symbol| is_function(symbol)) {
        let name = full.symbol_name(LittleEndian, symbol).unwrap_or_default();
        add_function(symbol, &text(name), binary);
    }
    let table = file.elf_dynamic_symbol_table();
    let versions = file.elf_section_table().versions(LittleEndian, file.data())?;
    let mut known: HashMap<u16, Option<Name>> = HashMap::new();
    for (index, symbol) in table.enumerate() {
        let name = text(table.symbol_name(LittleEndian, symbol).unwrap_or_default());
        let version = versions.as_ref().and_then(|versions| {
            let index = versions.version_index(LittleEndian, SymbolIndex(index.0)).index();
            let version = || Some(text(versions.version(index).ok()??.name()));
            known.entry(index.0).or_insert_with(version).clone()
        });
        if is_function(symbol) {
            add_function(symbol, &name, binary);
        }
        let is_weak = symbol.st_bind() == elf::STB_WEAK;
        if !symbol.is_undefined(LittleEndian) && symbol.st_bind() != elf::STB_LOCAL {
            let is_function =
                matches!(symbol.st_type(), elf::STT_FUNC | elf::STT_GNU_IFUNC | elf::STT_NOTYPE);
            let address = symbol.st_value(LittleEndian);
            let export = Export { name: name.clone(), version: version.clone(), is_function, address };
            binary.exports.push(export);
        }
        binary.imports.push(Import { name, version, is_weak });
    }
    Ok(())
}

fn text(name: &[u8]) -> Name {
    String::from_utf8_lossy(name).into()
}

/// Whether the file has the symbol's code.
fn is_function(symbol: &elf::Sym64<LittleEndian>) -> bool {
    !symbol.is_undefined(LittleEndian) && matches!(symbol.st_type(), elf::STT_FUNC | elf::STT_GNU_IFUNC)
}

fn add_function(symbol: &elf::Sym64<LittleEndian>, name: &Name, binary: &mut Binary<'_>) {
    let start = symbol.st_value(LittleEndian);
    let size = symbol.st_size(LittleEndian);
    let name = (!name.is_empty()).then(|| name.clone());
    binary.add_range(start, (size > 0).then(|| start.saturating_add(size)), name);
}
