//! Pointers in a file's data, in groups: whoever names one address of a group may follow all of its pointers.
//!
//! Where an object of data begins and ends stripped files do not tell. Pointers stay together where nothing between them
//! is named by code, by data or by a symbol, and where they lie closer than the fields of a structure may. A group that
//! nothing names is taken as reached when the file is loaded.

use crate::elf::{Binary, Contents, Pointer};
use crate::functions::{Functions, Target};
use crate::rows::{Rows, index};
use std::collections::BTreeSet;

/// Pointers that lie closer are one group, whatever is named between them: fields of a structure are named, too.
const NEAR: u64 = 24;

/// Pointers that are reached together.
#[derive(Clone, Debug, Default)]
struct Group {
    /// Where its section begins; no object lies in two.
    section: u64,
    first: u64,
    /// Where its last pointer lies.
    last: u64,
    /// Something names it.
    is_named: bool,
}

/// All groups of a file, by address.
#[derive(Default)]
pub(crate) struct Data {
    groups: Vec<Group>,
    targets: Rows<Target>,
    /// Addresses of data that something names, sorted.
    named: Vec<u64>,
}

impl Data {
    /// Divides the data, and tells the functions which groups they name.
    pub fn read(binary: &Binary<'_>, functions: &mut Functions) -> Self {
        let of_functions = functions.named.entries().iter().copied();
        let of_exports = binary.exports.iter().map(|export| export.address);
        let all = of_functions.chain(of_exports).chain(binary.slots.addresses());
        let mut named: Vec<u64> = all.filter(|address| !binary.is_code(*address)).collect();
        named.sort_unstable();
        named.dedup();
        let mut data = Self { named, ..Self::default() };
        for (at, _) in binary.slots.iter() {
            // Words of the table of imports are read one by one.
            let section = binary.section(at);
            if section.is_none_or(|section| section.contents != Contents::Table) {
                data.add(at, section.map_or(0, |section| section.address));
            }
        }
        data.link(binary, functions);
        data
    }

    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// What a group's pointers lead to.
    pub fn targets(&self, group: usize) -> &[Target] {
        self.targets.row(group)
    }

    /// The groups that nothing names.
    pub fn unnamed(&self) -> impl Iterator<Item = u32> {
        self.groups.iter().enumerate().filter(|(_, group)| !group.is_named).map(|(group, _)| index(group))
    }

    /// Leaves out what tells groups by address.
    pub fn shrink(&mut self) {
        self.named = Vec::new();
        self.targets.shrink();
        self.groups.shrink_to_fit();
    }

    fn is_named_between(&self, first: u64, last: u64) -> bool {
        let at = self.named.partition_point(|address| *address < first);
        self.named.get(at).is_some_and(|address| *address <= last)
    }

    fn add(&mut self, at: u64, section: u64) {
        let joins = self.groups.last().is_some_and(|group| {
            group.section == section && (at - group.last < NEAR || !self.is_named_between(group.last + 1, at))
        });
        match self.groups.last_mut() {
            Some(group) if joins => group.last = at,
            _ => self.groups.push(Group { section, first: at, last: at, is_named: false }),
        }
    }

    /// The group that an address names, by itself or by the object that begins there.
    pub fn at(&self, address: u64) -> Option<usize> {
        let index = self.groups.partition_point(|group| group.last.saturating_add(8) <= address);
        let group = self.groups.get(index)?;
        let is_near = address >= group.section
            && (address >= group.first
                || group.first - address < NEAR
                || !self.is_named_between(address + 1, group.first));
        is_near.then_some(index)
    }

    fn link(&mut self, binary: &Binary<'_>, functions: &mut Functions) {
        for group in 0..self.groups.len() {
            let Group { first, last, .. } = self.groups[group];
            let mut targets = BTreeSet::new();
            for (at, pointer) in binary.slots.range(first, last) {
                if binary.section(at).is_some_and(|section| section.contents == Contents::Table) {
                    continue;
                }
                match pointer {
                    Pointer::Import(symbol) => {
                        targets.insert(Target::Import(symbol));
                    }
                    Pointer::Address(address) => {
                        targets.extend(functions.at(address).map(|found| Target::Function(index(found))));
                        if let Some(other) = self.at(address).filter(|_| !binary.is_code(address)) {
                            self.groups[other].is_named |= other != group;
                            targets.insert(Target::Data(index(other)));
                        }
                    }
                }
            }
            self.targets.push(targets);
        }
        for export in binary.exports.iter().filter(|export| !binary.is_code(export.address)) {
            if let Some(group) = self.at(export.address) {
                self.groups[group].is_named = true;
            }
        }
        for function in 0..functions.len() {
            let named = functions.named.row(function).iter().filter_map(|address| self.at(*address));
            let named: BTreeSet<usize> = named.collect();
            for group in &named {
                self.groups[*group].is_named = true;
            }
            functions.data.push(named.into_iter().map(index));
        }
    }
}
