//! Pointers in a file's data, in groups: whoever names one address of a group may follow all of its pointers.
//!
//! Where an object of data begins and ends stripped files do not tell. Pointers stay together where nothing between them
//! is named by code, by data or by a symbol, and where they lie closer than the fields of a structure may. A group that
//! nothing names is taken as reached when the file is loaded.

use crate::elf::{Binary, Contents, Pointer};
use crate::functions::{Functions, Target};
use std::collections::BTreeSet;

/// Pointers that lie closer are one group, whatever is named between them: fields of a structure are named, too.
const NEAR: u64 = 24;

/// Pointers that are reached together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    /// Where its section begins; no object lies in two.
    section: u64,
    first: u64,
    /// Where its last pointer lies.
    last: u64,
    pub targets: BTreeSet<Target>,
    /// Something names it.
    pub is_named: bool,
}

/// All groups of a file, by address.
pub(crate) struct Data {
    pub groups: Vec<Group>,
    /// Addresses of data that something names.
    named: BTreeSet<u64>,
}

impl Data {
    /// Divides the data, and tells the functions which groups they name.
    pub fn read(binary: &Binary<'_>, functions: &mut Functions) -> Self {
        let mut named: BTreeSet<u64> = functions.0.iter().flat_map(|it| it.named.iter().copied()).collect();
        named.extend(binary.exports.iter().map(|export| export.address));
        for pointers in binary.slots.values() {
            named.extend(pointers.iter().filter_map(|pointer| match pointer {
                Pointer::Address(address) => Some(*address),
                Pointer::Import(_) => None,
            }));
        }
        named.retain(|address| !binary.is_code(*address));
        let mut data = Self { groups: Vec::new(), named };
        for at in binary.slots.keys() {
            // Words of the table of imports are read one by one.
            let section = binary.section(*at);
            if section.is_none_or(|section| section.contents != Contents::Table) {
                data.add(*at, section.map_or(0, |section| section.address));
            }
        }
        data.link(binary, functions);
        data
    }

    fn add(&mut self, at: u64, section: u64) {
        match self.groups.last_mut() {
            Some(group)
                if group.section == section
                    && (at - group.last < NEAR || self.named.range(group.last + 1..=at).next().is_none()) =>
            {
                group.last = at;
            }
            _ => self.groups.push(Group { section, first: at, last: at, ..Group::default() }),
        }
    }

    /// The group that an address names, by itself or by the object that begins there.
    pub fn at(&self, address: u64) -> Option<usize> {
        let index = self.groups.partition_point(|group| group.last.saturating_add(8) <= address);
        let group = self.groups.get(index)?;
        let is_near = address >= group.section
            && (address >= group.first
                || group.first - address < NEAR
                || self.named.range(address + 1..=group.first).next().is_none());
        is_near.then_some(index)
    }

    fn link(&mut self, binary: &Binary<'_>, functions: &mut Functions) {
        for index in 0..self.groups.len() {
            let Group { first, last, .. } = self.groups[index];
            let mut targets = BTreeSet::new();
            for (at, pointers) in binary.slots.range(first..=last) {
                if binary.section(*at).is_some_and(|section| section.contents == Contents::Table) {
                    continue;
                }
                for pointer in pointers {
                    match pointer {
                        Pointer::Import(symbol) => {
                            targets.insert(Target::Import(*symbol));
                        }
                        Pointer::Address(address) => {
                            targets.extend(functions.at(*address).map(Target::Function));
                            if let Some(other) = self.at(*address).filter(|_| !binary.is_code(*address)) {
                                self.groups[other].is_named |= other != index;
                                targets.insert(Target::Data(other));
                            }
                        }
                    }
                }
            }
            self.groups[index].targets = targets;
        }
        for export in binary.exports.iter().filter(|export| !binary.is_code(export.address)) {
            if let Some(index) = self.at(export.address) {
                self.groups[index].is_named = true;
            }
        }
        for function in &mut functions.0 {
            let named: BTreeSet<usize> = function.named.iter().filter_map(|it| self.at(*it)).collect();
            for index in named {
                self.groups[index].is_named = true;
                function.data.push(index);
            }
        }
    }
}
