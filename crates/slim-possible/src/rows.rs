//! Lists of lists in two allocations: files have a hundred thousand functions, each with a few of everything.

use std::ops::Range;

/// Rows of entries, by index.
#[derive(Clone, Debug)]
pub(crate) struct Rows<T> {
    /// Where each row ends in `entries`.
    ends: Vec<u32>,
    entries: Vec<T>,
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self { ends: Vec::new(), entries: Vec::new() }
    }
}

impl<T> Rows<T> {
    /// Adds a row behind the others.
    pub fn push(&mut self, row: impl IntoIterator<Item = T>) {
        self.entries.extend(row);
        self.ends.push(index(self.entries.len()));
    }

    /// The entries of a row; none of a row that was never added.
    pub fn row(&self, row: usize) -> &[T] {
        &self.entries[self.range(row)]
    }

    /// All entries, row after row.
    pub fn entries(&self) -> &[T] {
        &self.entries
    }

    fn range(&self, row: usize) -> Range<usize> {
        let Some(end) = self.ends.get(row) else { return 0..0 };
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        start as usize..*end as usize
    }

    /// Leaves out entries that are not wanted. `wanted` sees a row's entries in order.
    pub fn retain(&mut self, mut wanted: impl FnMut(usize, &T) -> bool) {
        let (mut row, mut at, mut kept) = (0, 0, 0);
        let ends = std::mem::take(&mut self.ends);
        let mut new_ends = Vec::with_capacity(ends.len());
        self.entries.retain(|entry| {
            while ends[row] <= at {
                new_ends.push(kept);
                row += 1;
            }
            at += 1;
            let is_wanted = wanted(row, entry);
            kept += u32::from(is_wanted);
            is_wanted
        });
        new_ends.resize(ends.len(), kept);
        self.ends = new_ends;
        self.entries.shrink_to_fit();
    }

    /// Gives back what was taken for rows to come.
    pub fn shrink(&mut self) {
        self.ends.shrink_to_fit();
        self.entries.shrink_to_fit();
    }
}

/// An index into what one file has; no file has four billion of anything (`Binary::read` refuses bigger files).
pub(crate) fn index(index: usize) -> u32 {
    u32::try_from(index).expect("a file of less than 4 GB has fewer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_as_they_were_added_less_what_is_not_wanted() {
        let mut rows = Rows::default();
        for row in [vec![], vec![1, 2, 3], vec![], vec![4], vec![5, 6], vec![]] {
            rows.push(row);
        }
        assert_eq!(rows.row(1), [1, 2, 3]);
        assert_eq!(rows.row(9), [0; 0]);
        rows.retain(|row, entry| row != 3 && entry % 2 == 1);
        let all: Vec<&[i32]> = (0..6).map(|row| rows.row(row)).collect();
        assert_eq!(all, [&[][..], &[1, 3], &[], &[], &[5], &[]]);
    }
}
