//! The blobs of one table of an SQLite database, as <https://sqlite.org/fileformat2.html> has it. Only what rpm's database
//! needs: tables with a row id, the last column taken.
//!
//! Bytes come from strangers: every page is gone through once at most, and nothing lies outside of the file.

use std::collections::BTreeSet;

const MAGIC: &[u8] = b"SQLite format 3\0";
/// The first page begins with the database's header.
const HEADER: usize = 100;
const INTERIOR: u8 = 5;
const LEAF: u8 = 13;
const DAMAGED: &str = "it is damaged";

type Result<T> = std::result::Result<T, &'static str>;

/// The last column of every row of a table.
///
/// # Errors
/// What is wrong with the database.
pub(super) fn blobs(database: &[u8], table: &[u8]) -> Result<Vec<Vec<u8>>> {
    let pages = Pages::new(database)?;
    let root = pages.root(table)?;
    let rows = pages.rows(root)?;
    rows.iter().map(|row| Ok(columns(row)?.last().copied().unwrap_or_default().to_vec())).collect()
}

struct Pages<'a> {
    database: &'a [u8],
    size: usize,
    /// Bytes of a page that are used.
    usable: usize,
}

impl<'a> Pages<'a> {
    fn new(database: &'a [u8]) -> Result<Self> {
        if !database.starts_with(MAGIC) || database.len() < HEADER {
            return Err("it is no SQLite database");
        }
        let size = match u16::from_be_bytes([database[16], database[17]]) {
            1 => 65_536,
            size => usize::from(size),
        };
        let usable = size.checked_sub(usize::from(database[20])).filter(|usable| *usable >= 480);
        Ok(Self { database, size, usable: usable.ok_or(DAMAGED)? })
    }

    /// A page by its number, counted from 1.
    fn page(&self, number: usize) -> Result<&'a [u8]> {
        let start = number.checked_sub(1).and_then(|before| before.checked_mul(self.size)).ok_or(DAMAGED)?;
        let end = start.checked_add(self.usable).ok_or(DAMAGED)?;
        self.database.get(start..end).ok_or(DAMAGED)
    }

    /// The first page of a table, from the table of tables: type, name, table, root page, text.
    fn root(&self, table: &[u8]) -> Result<usize> {
        for row in self.rows(1)? {
            if let [b"table", name, _, root, _] = columns(&row)?[..]
                && name == table
            {
                return Ok(root.iter().fold(0, |number, byte| (number << 8) | usize::from(*byte)));
            }
        }
        Err("it has no table of packages")
    }

    /// The rows of a table, in their order.
    fn rows(&self, root: usize) -> Result<Vec<Vec<u8>>> {
        let (mut rows, mut pending, mut seen) = (Vec::new(), vec![root], BTreeSet::new());
        // Rows of a sound database do not overlap.
        let mut bytes = 0;
        while let Some(number) = pending.pop() {
            if !seen.insert(number) {
                return Err(DAMAGED);
            }
            let page = self.page(number)?;
            let start = if number == 1 { HEADER } else { 0 };
            let kind = *page.get(start).ok_or(DAMAGED)?;
            let cells = usize::from(short(page, start + 3)?);
            let pointers = start + if kind == INTERIOR { 12 } else { 8 };
            let cells = (0..cells).map(|cell| short(page, pointers + 2 * cell).map(usize::from));
            match kind {
                LEAF => {
                    for cell in cells {
                        let row = self.payload(page, cell?, &mut seen)?;
                        bytes += row.len();
                        if row.is_empty() || bytes > self.database.len() {
                            return Err(DAMAGED);
                        }
                        rows.push(row);
                    }
                }
                INTERIOR => {
                    let mut below = cells.map(|cell| long(page, cell?)).collect::<Result<Vec<_>>>()?;
                    below.push(long(page, start + 8)?);
                    pending.extend(below.into_iter().rev());
                }
                _ => return Err(DAMAGED),
            }
        }
        Ok(rows)
    }

    /// A row: the part in its cell, and what runs over to pages of its own.
    fn payload(&self, page: &[u8], cell: usize, seen: &mut BTreeSet<usize>) -> Result<Vec<u8>> {
        let (length, at) = varint(page, cell)?;
        let (_, at) = varint(page, at)?;
        let length =
            usize::try_from(length).ok().filter(|length| *length <= self.database.len()).ok_or(DAMAGED)?;
        let most = self.usable - 35;
        let least = (self.usable - 12) * 32 / 255 - 23;
        let here = match least + length.saturating_sub(least) % (self.usable - 4) {
            _ if length <= most => length,
            here if here <= most => here,
            _ => least,
        };
        let mut payload = page.get(at..at + here).ok_or(DAMAGED)?.to_vec();
        let mut next = if here < length { long(page, at + here)? } else { 0 };
        while payload.len() < length {
            if !seen.insert(next) {
                return Err(DAMAGED);
            }
            let page = self.page(next)?;
            let part = (length - payload.len()).min(self.usable - 4);
            payload.extend_from_slice(&page[4..4 + part]);
            next = long(page, 0)?;
        }
        Ok(payload)
    }
}

/// The columns of a row: a header of their types, then their values.
fn columns(row: &[u8]) -> Result<Vec<&[u8]>> {
    let (header, mut at) = varint(row, 0)?;
    let header = usize::try_from(header).map_err(|_| DAMAGED)?;
    let (mut columns, mut value) = (Vec::new(), header);
    while at < header {
        let (kind, next) = varint(row, at)?;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return Err(DAMAGED),
            _ => (kind - 12) / 2,
        };
        let end = usize::try_from(length).ok().and_then(|length| value.checked_add(length)).ok_or(DAMAGED)?;
        columns.push(row.get(value..end).ok_or(DAMAGED)?);
        (at, value) = (next, end);
    }
    Ok(columns)
}

/// A number of one to nine bytes, seven bits each (the ninth has eight), and where it ends.
fn varint(bytes: &[u8], at: usize) -> Result<(u64, usize)> {
    let mut number = 0;
    for index in 0..9 {
        let byte = *bytes.get(at + index).ok_or(DAMAGED)?;
        if index == 8 {
            return Ok(((number << 8) | u64::from(byte), at + 9));
        }
        number = (number << 7) | u64::from(byte & 0x7f);
        if byte < 0x80 {
            return Ok((number, at + index + 1));
        }
    }
    Err(DAMAGED)
}

fn short(bytes: &[u8], at: usize) -> Result<u16> {
    let bytes = bytes.get(at..at + 2).and_then(|bytes| bytes.try_into().ok());
    bytes.map(u16::from_be_bytes).ok_or(DAMAGED)
}

fn long(bytes: &[u8], at: usize) -> Result<usize> {
    let bytes = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    bytes.and_then(|bytes| usize::try_from(u32::from_be_bytes(bytes)).ok()).ok_or(DAMAGED)
}
