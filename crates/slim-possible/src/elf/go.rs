//! Functions of Go programs, by the table that their runtime unwinds with: `.gopclntab`, which stripping leaves.
//!
//! Layouts since Go 1.16 (`src/internal/abi` and `src/debug/gosym/pclntab.go` of Go's source).

use super::{Contents, File, Section};
use object::{Object as _, ObjectSection as _};

/// `go118magic` and `go120magic`; the header is the same.
const MAGIC_118: u32 = 0xffff_fff0;
const MAGIC_120: u32 = 0xffff_fff1;
const FUNCTIONS_MAX: u64 = 4 << 20;
const NAME_MAX: usize = 512;

/// First address, end and name of every function; `None` where Go's linker did not make the file. Empty where the table
/// has a layout that is not known.
pub(super) fn functions(file: &File<'_>, sections: &[Section]) -> Option<Vec<(u64, u64, Option<String>)>> {
    let section =
        [".gopclntab", ".data.rel.ro.gopclntab"].iter().find_map(|name| file.section_by_name(name))?;
    let table = section.data().ok()?;
    let text = sections.iter().find(|section| section.contents == Contents::Code)?.address;
    Some(read(table, text).unwrap_or_default())
}

fn read(table: &[u8], text: u64) -> Option<Vec<(u64, u64, Option<String>)>> {
    if !matches!(number(table, 0)?, MAGIC_118 | MAGIC_120) || *table.get(7)? != 8 {
        return None;
    }
    let word = |index: usize| wide(table, 8 + index * 8);
    let count = word(0)?;
    // Go 1.25 and later leave the start of the text out of the table.
    let start = word(2).filter(|start| *start != 0).unwrap_or(text);
    let names = usize::try_from(word(3)?).ok()?;
    let functions = usize::try_from(word(7)?).ok()?;
    if count > FUNCTIONS_MAX {
        return None;
    }
    let row = |index: u64| {
        let at = functions.checked_add(usize::try_from(index.checked_mul(8)?).ok()?)?;
        Some((number(table, at)?, number(table, at.checked_add(4)?)?))
    };
    let mut found = Vec::new();
    for index in 0..count {
        let (offset, details) = row(index)?;
        let (end, _) = row(index + 1).unwrap_or((offset, 0));
        let name = functions
            .checked_add(details as usize + 4)
            .and_then(|at| number(table, at))
            .and_then(|name| text_at(table, names.checked_add(name as usize)?));
        found.push((start.wrapping_add(offset.into()), start.wrapping_add(end.into()), name));
    }
    Some(found)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn wide(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

fn text_at(bytes: &[u8], at: usize) -> Option<String> {
    let rest = bytes.get(at..)?;
    let end = rest.iter().take(NAME_MAX).position(|byte| *byte == 0)?;
    Some(String::from_utf8_lossy(&rest[..end]).into_owned())
}
