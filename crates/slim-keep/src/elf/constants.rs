//! What a program's constants name: libraries that it opens at run time, the directory of time zones, the well-known
//! places of certificates.
//!
//! Constants lie in sections `.rodata*`; where there are no section headers, all that a program cannot write to is taken.
//! Files are read in blocks and never whole into memory, and most libraries not at all: one that does not import dlopen
//! opens nothing.

use super::headers::Headers;
use crate::contents::Blocks;
use crate::context::Context;
use memchr::memmem;
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader as _, SectionHeader as _};
use object::read::{ReadCache, ReadRef as _};
use object::{Endianness, FileKind};
use slim_image::{Entry, ImagePath, TreeError};
use std::collections::BTreeSet;
use std::io::{Read, Seek, SeekFrom};

/// Larger programs are not searched.
const FILE_MAX: u64 = 200 << 20;
/// Constants of a library that are searched; drivers for graphics have 5 MB.
const LIBRARY_MAX: u64 = 16 << 20;
/// Names of symbols that are searched for dlopen.
const NAMES_MAX: u64 = 8 << 20;
const SECTIONS_MAX: u32 = 4096;
const BLOCK: usize = 256 << 10;
/// What the end of a block shares with the next one: longer than anything looked for.
const OVERLAP: usize = 256;
/// NAME_MAX is 255, but libraries have short names.
const SONAME_MAX: usize = 100;
const ZONES: &[u8] = b"/usr/share/zoneinfo";
/// ICU names the directory only to find out which zone `/etc/localtime` is; its zones are part of its own data.
const ICU: &[u8] = b"ICU_TIMEZONE_FILES_DIR";
/// Go's linker drops this function where nothing calls it; what stays are the names of all functions.
const GO_ZONE_BY_NAME: &[u8] = b"\0time.LoadLocation\0";
/// Go, Rust's native-tls-probe and OpenSSL's users look here first.
const CERTIFICATES: [&[u8]; 3] =
    [b"/etc/ssl/certs", b"/etc/pki/tls/certs", b"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"];

/// What the constants of one file name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Constants {
    /// Names of libraries, each a whole string, of a file that imports dlopen.
    pub libraries: BTreeSet<Vec<u8>>,
    /// Whether a program looks time zones up by name.
    pub zones: bool,
    /// Whether a program names places where systems have certificates.
    pub certificates: bool,
}

/// What is worth looking for in programs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub zones: bool,
    pub certificates: bool,
}

/// Where in a file what lies: start and length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Layout {
    constants: Vec<(u64, u64)>,
    /// What else Go's names of functions may lie in; `None` where it is no program in Go.
    go: Option<Vec<(u64, u64)>>,
}

/// What an ELF file's constants name. What cannot be made out says nothing.
///
/// # Errors
/// When the image's files cannot be read.
pub(crate) fn read(
    context: &Context<'_>,
    path: &ImagePath,
    entry: &Entry,
    headers: &Headers,
    wanted: Wanted,
) -> Result<Constants, TreeError> {
    let mut found = Constants::default();
    let is_static = headers.is_static_program();
    let is_program = (headers.is_dynamic_program() || (is_static && entry.mode & 0o111 != 0))
        && (wanted.zones || wanted.certificates);
    if entry.size() > FILE_MAX || !(is_program || headers.names.is_some()) {
        return Ok(found);
    }
    let mut contents = context.tree.open(path)?;
    let failed = |source| TreeError::Read { path: path.clone(), source };
    let mut opens = false;
    let names = headers.names.filter(|(_, length)| *length <= NAMES_MAX);
    each_block(&mut contents, names.as_slice(), &mut |block| {
        opens |= [&b"\0dlopen\0"[..], b"\0dlmopen\0"].iter().any(|name| memmem::find(block, name).is_some());
    })
    .map_err(failed)?;
    if !opens && !is_program {
        return Ok(found);
    }
    let mut blocks = Blocks::new(contents, entry.size());
    let layout = layout(&mut blocks);
    if let Some(source) = blocks.failure.take() {
        return Err(failed(source));
    }
    let Some(layout) = layout else { return Ok(found) };
    let constants: u64 = layout.constants.iter().map(|(_, length)| *length).fold(0, u64::saturating_add);
    if !is_program && constants > LIBRARY_MAX {
        return Ok(found);
    }
    let (mut zones, mut is_icu, mut by_name) = (false, false, false);
    each_block(&mut context.tree.open(path)?, &layout.constants, &mut |block| {
        if opens {
            libraries(block, &mut found.libraries);
        }
        if is_program && wanted.zones {
            zones |= names_zones(block, is_static && layout.go.is_none());
            is_icu |= memmem::find(block, ICU).is_some();
        }
        if is_program && wanted.certificates {
            found.certificates |= CERTIFICATES.iter().any(|place| memmem::find(block, place).is_some());
        }
    })
    .map_err(failed)?;
    if let Some(functions) = layout.go.as_ref().filter(|_| zones) {
        let functions: Vec<(u64, u64)> = layout.constants.iter().chain(functions).copied().collect();
        each_block(&mut context.tree.open(path)?, &functions, &mut |block| {
            by_name |= memmem::find(block, GO_ZONE_BY_NAME).is_some();
        })
        .map_err(failed)?;
    }
    found.zones = zones && !is_icu && (by_name || layout.go.is_none());
    Ok(found)
}

/// The text behind a mark such as `OPENSSLDIR: "`, up to the next quote, in a file's constants.
///
/// # Errors
/// When the image's files cannot be read.
pub(crate) fn quoted_behind(
    context: &Context<'_>,
    path: &ImagePath,
    entry: &Entry,
    mark: &[u8],
) -> Result<Option<Vec<u8>>, TreeError> {
    if entry.size() > FILE_MAX {
        return Ok(None);
    }
    let failed = |source| TreeError::Read { path: path.clone(), source };
    let mut blocks = Blocks::new(context.tree.open(path)?, entry.size());
    let layout = layout(&mut blocks);
    if let Some(source) = blocks.failure.take() {
        return Err(failed(source));
    }
    let mut text = None;
    each_block(&mut context.tree.open(path)?, &layout.unwrap_or_default().constants, &mut |block| {
        let behind = memmem::find(block, mark).map(|at| &block[at + mark.len()..]);
        let end = behind.and_then(|behind| memchr::memchr(b'"', behind).map(|end| &behind[..end]));
        if let Some(end) = end.filter(|_| text.is_none()) {
            text = Some(end.to_vec());
        }
    })
    .map_err(failed)?;
    Ok(text)
}

/// Shows the ranges of a file block by block, each block with the end of the one before it; a range begins behind a NUL.
fn each_block(
    contents: &mut (impl Read + Seek),
    ranges: &[(u64, u64)],
    see: &mut dyn FnMut(&[u8]),
) -> std::io::Result<()> {
    let mut block = Vec::with_capacity(BLOCK + OVERLAP);
    for (start, length) in ranges {
        let mut rest = *length;
        contents.seek(SeekFrom::Start(*start))?;
        block.clear();
        block.push(0);
        while rest > 0 {
            let read = Read::by_ref(contents).take(rest.min(BLOCK as u64)).read_to_end(&mut block)?;
            if read == 0 {
                break;
            }
            rest = rest.saturating_sub(read as u64);
            if rest == 0 {
                block.push(0);
            }
            see(&block);
            block.drain(..block.len().saturating_sub(OVERLAP));
        }
    }
    Ok(())
}

/// Adds each whole string that is a library's name.
fn libraries(block: &[u8], names: &mut BTreeSet<Vec<u8>>) {
    for at in memmem::find_iter(block, b".so") {
        let before = &block[at.saturating_sub(SONAME_MAX)..at];
        let Some(start) = memchr::memrchr(0, before) else { continue };
        let start = at - before.len() + start + 1;
        let behind = &block[at..block.len().min(at + SONAME_MAX)];
        let Some(end) = memchr::memchr(0, behind) else { continue };
        let name = &block[start..at + end];
        if is_soname(name) {
            names.insert(name.to_vec());
        }
    }
}

/// `libfoo.so`, `libfoo.so.1`, `libfoo-2.so.1.0`.
fn is_soname(name: &[u8]) -> bool {
    let Some(rest) = name.strip_prefix(b"lib") else { return false };
    let Some(dot) = memmem::rfind(rest, b".so") else { return false };
    let (stem, version) = (&rest[..dot], &rest[dot + 3..]);
    let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_+.-".contains(byte);
    let is_version = version.is_empty()
        || (version.starts_with(b".")
            && version[1..]
                .split(|byte| *byte == b'.')
                .all(|part| !part.is_empty() && part.iter().all(u8::is_ascii_digit)));
    !stem.is_empty() && stem.iter().all(is_of_name) && is_version
}

/// Whether constants name the directory of time zones. The C library of a static program does so, too, as a string that
/// ends there, and takes from it what TZ says: that is no use by name. Strings of Rust do not end so.
fn names_zones(block: &[u8], with_library_c: bool) -> bool {
    memmem::find_iter(block, ZONES).any(|at| {
        let behind = &block[at + ZONES.len()..];
        !(with_library_c && (behind.starts_with(b"\0") || behind.starts_with(b"/\0") || behind.is_empty()))
    })
}

fn layout(blocks: &mut Blocks<'_>) -> Option<Layout> {
    let cache = ReadCache::new(blocks);
    match FileKind::parse(&cache).ok()? {
        FileKind::Elf32 => layout_of_class::<elf::FileHeader32<Endianness>>(&cache),
        FileKind::Elf64 => layout_of_class::<elf::FileHeader64<Endianness>>(&cache),
        _ => None,
    }
}

fn layout_of_class<E: FileHeader<Endian = Endianness>>(cache: &ReadCache<&mut Blocks<'_>>) -> Option<Layout> {
    let header = E::parse(cache).ok()?;
    let endian = header.endian().ok()?;
    let mut layout = Layout::default();
    // Sections do not overlap; a file that says so would be read again and again.
    let mut rest = cache.len().ok()?;
    let mut take = |(start, length): (u64, u64)| {
        let is_within = length <= rest;
        rest -= if is_within { length } else { 0 };
        is_within.then_some((start, length))
    };
    let mut go = Vec::new();
    let mut is_go = false;
    if header.shnum(endian, cache).is_ok_and(|count| count <= SECTIONS_MAX)
        && let Ok(sections) = header.sections(endian, cache)
    {
        for section in sections.iter() {
            let Some(range) = section.file_range(endian) else { continue };
            let name = sections.section_name(endian, section).unwrap_or_default();
            if name.starts_with(b".rodata") {
                layout.constants.extend(take(range));
            } else if name == b".go.buildinfo" {
                is_go = true;
            } else if name.ends_with(b"gopclntab") || name == b".data.rel.ro" {
                is_go |= name.ends_with(b"gopclntab");
                go.extend(take(range));
            }
        }
    }
    layout.go = Some(go).filter(|_| is_go);
    if layout.constants.is_empty() {
        for segment in header.program_headers(endian, cache).ok()?.iter().take(SECTIONS_MAX as usize) {
            if segment.p_type(endian) == elf::PT_LOAD && segment.p_flags(endian).0 & elf::PF_W.0 == 0 {
                layout.constants.extend(take(segment.file_range(endian)));
            }
        }
    }
    Some(layout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Cursor;

    fn names(block: &[u8]) -> Vec<String> {
        let mut found = BTreeSet::new();
        libraries(block, &mut found);
        found.into_iter().map(|name| String::from_utf8(name).unwrap()).collect()
    }

    #[test]
    fn only_whole_strings_are_names_of_libraries() {
        assert_eq!(names(b"\0libfoo.so.1\0x\0libb-2.so\0"), ["libb-2.so", "libfoo.so.1"]);
        let others: [&[u8]; 6] = [
            b"\0cannot open libfoo.so.1\0",
            b"\0libfoo.so.1 is missing\0",
            b"\0lib%s.so\0",
            b"\0libfoo.so.x\0",
            b"\0/usr/lib/libfoo.so\0",
            b"\0foo.so\0",
        ];
        for other in others {
            assert!(names(other).is_empty(), "{other:?}");
        }
    }

    #[test]
    fn the_c_library_of_a_static_program_is_no_use_of_zones_by_name() {
        assert!(!names_zones(b"\0/usr/share/zoneinfo\0", true));
        assert!(!names_zones(b"\0/usr/share/zoneinfo/\0/share/zoneinfo/\0", true));
        assert!(names_zones(b"\0/usr/share/zoneinfo/usr/lib/zoneinfo", true));
        assert!(names_zones(b"\0/usr/share/zoneinfo\0", false));
    }

    #[test]
    fn what_goes_over_the_end_of_a_block_is_seen_whole() {
        for gap in [BLOCK - 5, BLOCK, BLOCK + 1, 2 * BLOCK - 3] {
            let mut bytes = vec![b'x'; gap];
            bytes.extend(b"\0libfoo.so.1");
            let mut found = BTreeSet::new();
            let length = bytes.len() as u64;
            each_block(&mut Cursor::new(bytes), &[(0, length)], &mut |block| libraries(block, &mut found))
                .unwrap();
            assert_eq!(found.len(), 1, "{gap}");
        }
    }

    #[test]
    fn a_real_program_has_constants() {
        let bytes = std::fs::read("/bin/ls").unwrap();
        let size = bytes.len() as u64;
        let layout = layout(&mut Blocks::new(Box::new(Cursor::new(bytes)), size)).unwrap();
        assert!(matches!(layout.constants[..], [(_, 1..)]), "{layout:?}");
        assert_eq!(layout.go, None);
    }

    proptest! {
        #[test]
        fn no_change_of_a_real_program_panics(
            changes in proptest::collection::vec((0_usize..4096, any::<u8>()), 1..16)
        ) {
            let mut bytes = std::fs::read("/bin/ls").unwrap();
            for (at, value) in changes {
                bytes[at] = value;
            }
            let size = bytes.len() as u64;
            let ranges = layout(&mut Blocks::new(Box::new(Cursor::new(bytes.clone())), size)).unwrap_or_default();
            let mut found = BTreeSet::new();
            let _ = each_block(&mut Cursor::new(bytes), &ranges.constants, &mut |block| libraries(block, &mut found));
        }
    }
}
