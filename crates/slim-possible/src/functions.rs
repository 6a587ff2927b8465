//! A file's code divided into functions, and which ones each of them leads to.
//!
//! Boundaries come from symbols and unwind records. Code that neither describes is divided where something leads to it.

use crate::code::{At, Event, sweep};
use crate::elf::{Binary, Contents, Name, Pointer, Range, Unreadable};
use crate::rows::{Rows, index};
use std::collections::{BTreeMap, BTreeSet};

/// Entries of one table of jumps that are read.
const TABLE_MAX: usize = 4096;

/// Ways from function to function that are followed in one file. Real ones have fewer by far; tables that every function of
/// a file names make them more than memory holds.
const EDGES_MAX: usize = 4_000_000;

/// Addresses that code names before they are looked through for those that stand there twice: most do.
const NAMED_AT_FIRST: usize = 64 << 10;

/// Bytes of the longest call.
const CALL: u64 = 7;

/// How one function leads to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum How {
    Calls,
    /// Also what runs into the next function without a jump.
    Jumps,
    /// It names the address, and may hand it to anybody.
    Names,
}

/// What a function leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Target {
    /// Index of a function of the same file.
    Function(u32),
    /// Index of a symbol of the same file's dynamic table.
    Import(u32),
    /// Index of a group of pointers of the same file.
    Data(u32),
}

/// A way from one function to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Edge {
    /// The address of the instruction; of the end for what runs on.
    pub at: u64,
    pub how: How,
    pub target: Target,
    /// The address that control comes to, where it is known.
    pub to: Option<u64>,
}

/// An edge in few bytes: big files have millions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Packed {
    /// Bytes from where the function begins.
    at: u32,
    how: How,
    target: Target,
    /// Bytes from where the target begins.
    to: u32,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Function {
    pub start: u64,
    pub end: u64,
    pub name: Option<Name>,
    /// The next function begins inside of it.
    is_cut: bool,
    /// Whether whoever calls it gets control back.
    pub returns: bool,
    /// One of the linker's stubs: nobody's code.
    pub is_stub: bool,
}

/// What one function's instructions say.
#[derive(Default)]
struct Built {
    edges: Vec<Edge>,
    returns: bool,
    is_stub: bool,
    system_calls: Vec<u64>,
    old_system_calls: Vec<u64>,
    tabled: BTreeSet<u64>,
    named: BTreeSet<u64>,
}

/// All functions of a file, by address.
#[derive(Default)]
pub(crate) struct Functions {
    list: Vec<Function>,
    edges: Rows<Packed>,
    /// Instructions that enter the kernel.
    pub system_calls: Rows<u64>,
    /// Those that do it the 32-bit way.
    pub old_system_calls: Rows<u64>,
    /// Addresses inside that tables of jumps lead to.
    pub tabled: Rows<u64>,
    /// Addresses of data that its instructions name.
    pub named: Rows<u64>,
    /// Groups of pointers that it names.
    pub data: Rows<u32>,
}

impl Functions {
    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn get(&self, function: usize) -> Option<&Function> {
        self.list.get(function)
    }

    /// The index of the function that an address lies in.
    pub fn at(&self, address: u64) -> Option<usize> {
        let after = self.list.partition_point(|function| function.start <= address);
        let index = after.checked_sub(1)?;
        (address < self.list[index].end).then_some(index)
    }

    /// Where a function leads to.
    pub fn edges(&self, function: usize) -> impl Iterator<Item = Edge> {
        let start = self.list.get(function).map_or(0, |function| function.start);
        self.edges.row(function).iter().map(move |edge| {
            let to = match edge.target {
                Target::Function(target) => Some(self.list[target as usize].start + u64::from(edge.to)),
                Target::Import(_) | Target::Data(_) => None,
            };
            Edge { at: start + u64::from(edge.at), how: edge.how, target: edge.target, to }
        })
    }

    /// `ends`: whether an import never gives control back.
    ///
    /// # Errors
    /// When there are more ways between them than are followed.
    pub fn read(binary: &mut Binary<'_>, ends: impl Fn(u32) -> bool) -> Result<Self, Unreadable> {
        let ranges = std::mem::take(&mut binary.ranges);
        let mut regions = BTreeMap::new();
        for section in binary.sections.iter().filter(|section| section.holds_code()) {
            regions.extend(divide(&ranges, section.address, section.end()));
        }
        drop(ranges);
        let pieces: Vec<(u64, u64)> = regions.iter().map(|(start, region)| (*start, region.end)).collect();
        let named = split(binary, &pieces, &mut regions);
        let mut functions = Self::default();
        functions.list.extend(regions.into_iter().map(|(start, Region { end, name, is_cut, .. })| {
            Function { start, end, name, is_cut, ..Function::default() }
        }));
        functions.build(binary, &pieces, &named)?;
        functions.find_returning(ends);
        Ok(functions)
    }

    /// Reads the code once more, now that all functions are known: to keep what the first reading said would take more
    /// memory than the file does.
    fn build(&mut self, binary: &Binary<'_>, pieces: &[(u64, u64)], named: &[u64]) -> Result<(), Unreadable> {
        let (mut events, mut behind) = (Vec::new(), Vec::new());
        let read_piece = |piece: usize, events: &mut Vec<At>| {
            events.clear();
            if let Some((start, end)) = pieces.get(piece) {
                sweep(binary, *start, *end, events);
            }
        };
        read_piece(0, &mut events);
        let mut index = 0;
        for (piece, (_, piece_end)) in pieces.iter().enumerate() {
            read_piece(piece + 1, &mut behind);
            while let Some(&Function { start, end, .. }) = self.list.get(index)
                && start < *piece_end
            {
                let from = events.partition_point(|at| at.address < start);
                let to = events.partition_point(|at| at.address < end);
                let next = events.get(to).or(behind.first());
                let resumes = next.is_some_and(|at| at.address == end && at.event == Event::Resumes);
                let built =
                    Builder { binary, functions: self, named, index }.build(&events[from..to], resumes);
                self.add(index, built);
                if self.edges.entries().len() > EDGES_MAX {
                    return Err(Unreadable::Entangled);
                }
                index += 1;
            }
            std::mem::swap(&mut events, &mut behind);
        }
        Ok(())
    }

    fn add(&mut self, index: usize, built: Built) {
        let function = &mut self.list[index];
        (function.returns, function.is_stub) = (built.returns, built.is_stub);
        let start = function.start;
        let edges = built.edges.into_iter().map(|Edge { at, how, target, to }| {
            let to = match (target, to) {
                (Target::Function(target), Some(to)) => distance(self.list[target as usize].start, to),
                _ => 0,
            };
            Packed { at: distance(start, at), how, target, to }
        });
        self.edges.push(edges);
        self.system_calls.push(built.system_calls);
        self.old_system_calls.push(built.old_system_calls);
        self.tabled.push(built.tabled);
        self.named.push(built.named);
    }

    /// Leaves out what only the search for numbers needs: what one function says several times of another.
    pub fn shrink(&mut self) {
        (self.tabled, self.named) = (Rows::default(), Rows::default());
        (self.system_calls, self.old_system_calls) = (Rows::default(), Rows::default());
        let (mut of, mut seen) = (usize::MAX, BTreeSet::new());
        self.edges.retain(|row, edge| {
            if of != row {
                of = row;
                seen.clear();
            }
            matches!(edge.target, Target::Import(_)) || seen.insert((edge.target, edge.how))
        });
        self.data.shrink();
        self.list.shrink_to_fit();
    }

    /// A function that jumps to one that gives control back gives it back.
    fn find_returning(&mut self, ends: impl Fn(u32) -> bool) {
        let mut jumped_from: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut open = Vec::new();
        for (index, function) in self.list.iter().enumerate() {
            let mut returns = function.returns;
            for edge in self.edges.row(index).iter().filter(|edge| edge.how == How::Jumps) {
                match edge.target {
                    Target::Import(symbol) => returns |= !ends(symbol),
                    Target::Function(to) => jumped_from.entry(to as usize).or_default().push(index),
                    Target::Data(_) => {}
                }
            }
            if returns {
                open.push(index);
            }
        }
        let mut seen = BTreeSet::new();
        while let Some(index) = open.pop() {
            if seen.insert(index) {
                self.list[index].returns = true;
                open.extend(jumped_from.get(&index).into_iter().flatten());
            }
        }
    }

    /// The calls of a function that control does not come back from.
    pub fn last_calls(&self, index: usize, ends: impl Fn(u32) -> bool) -> BTreeSet<u64> {
        let calls = self.edges(index).filter(|edge| edge.how == How::Calls);
        let (mut last, mut others) = (BTreeSet::new(), BTreeSet::new());
        for edge in calls {
            let comes_back = match edge.target {
                Target::Import(symbol) => !ends(symbol),
                Target::Function(to) => self.list[to as usize].returns,
                Target::Data(_) => true,
            };
            if comes_back {
                others.insert(edge.at)
            } else {
                last.insert(edge.at)
            };
        }
        &last - &others
    }
}

struct Region {
    end: u64,
    name: Option<Name>,
    /// Nothing says that a function begins here.
    is_gap: bool,
    /// Something begins where it ends that is part of it as well.
    is_cut: bool,
}

/// Divides a section into what is described as functions, and gaps.
fn divide(ranges: &BTreeMap<u64, Range>, start: u64, end: u64) -> BTreeMap<u64, Region> {
    let mut regions = BTreeMap::new();
    let gap = |end| Region { end, name: None, is_gap: true, is_cut: false };
    let mut at = start;
    let mut ranges = ranges.range(start..end).peekable();
    while let Some((first, range)) = ranges.next() {
        if at < *first {
            regions.insert(at, gap(*first));
        }
        let next = ranges.peek().map_or(end, |(next, _)| **next);
        let last = range.end.min(next);
        regions.insert(
            *first,
            Region { end: last, name: range.name.clone(), is_gap: false, is_cut: range.end > next },
        );
        at = last;
    }
    if at < end {
        regions.insert(at, gap(end));
    }
    regions
}

/// Divides gaps where something leads into them. Returns the addresses that code names, sorted.
fn split(binary: &Binary<'_>, pieces: &[(u64, u64)], regions: &mut BTreeMap<u64, Region>) -> Vec<u64> {
    let gaps: Vec<(u64, u64)> = regions
        .iter()
        .filter(|(_, region)| region.is_gap)
        .map(|(start, region)| (*start, region.end))
        .collect();
    let mut most_named = NAMED_AT_FIRST;
    let is_gap = |address: u64| {
        let after = gaps.partition_point(|(start, _)| *start <= address);
        after.checked_sub(1).is_some_and(|index| address < gaps[index].1)
    };
    let (mut named, mut led, mut padding, mut events) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (start, end) in pieces {
        events.clear();
        sweep(binary, *start, *end, &mut events);
        if events.is_empty() && is_gap(*start) {
            // Between functions there is padding, which nobody runs.
            padding.push(*start);
        }
        for at in &events {
            let (Event::Call(to) | Event::Jump(to) | Event::Branch(to) | Event::Names(to)) = at.event else {
                continue;
            };
            if matches!(at.event, Event::Names(_)) && named.last() != Some(&to) {
                named.push(to);
            }
            if named.len() > most_named {
                sort(&mut named);
                most_named = named.len() * 2 + NAMED_AT_FIRST;
            }
            if is_gap(to) && led.last() != Some(&to) {
                led.push(to);
            }
        }
    }
    for start in padding {
        regions.remove(&start);
    }
    let exported = binary.exports.iter().filter(|export| export.is_function).map(|export| export.address);
    let others = binary.started.iter().copied().chain([binary.entry]);
    for target in led.into_iter().chain(binary.slots.addresses()).chain(exported).chain(others) {
        let Some((start, region)) = regions.range_mut(..=target).next_back() else { continue };
        if !region.is_gap || *start == target || target >= region.end {
            continue;
        }
        let (end, is_cut) = (region.end, region.is_cut);
        (region.end, region.is_cut) = (target, true);
        regions.insert(target, Region { end, name: None, is_gap: true, is_cut });
    }
    sort(&mut named);
    named
}

/// Sorts addresses, each once.
fn sort(addresses: &mut Vec<u64>) {
    addresses.sort_unstable();
    addresses.dedup();
}

/// Bytes from one address to another of the same file.
fn distance(from: u64, to: u64) -> u32 {
    index(usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX))
}

struct Builder<'a, 'data> {
    binary: &'a Binary<'data>,
    functions: &'a Functions,
    /// Addresses that some code of the file names, sorted.
    named: &'a [u64],
    index: usize,
}

impl Builder<'_, '_> {
    /// `next_is_code`: an instruction, not padding, follows directly.
    fn build(&self, events: &[At], next_is_code: bool) -> Built {
        let &Function { start, end, is_cut, .. } = &self.functions.list[self.index];
        let is_stub = self.binary.section(start).is_some_and(|it| it.contents == Contents::Stubs);
        let mut function = Built { is_stub, ..Built::default() };
        let mut runs_on = !events.is_empty();
        for At { address, event } in events {
            let at = *address;
            match *event {
                Event::Call(to) => self.lead(&mut function, at, How::Calls, to),
                Event::Jump(to) | Event::Branch(to) => self.lead(&mut function, at, How::Jumps, to),
                Event::CallThrough(word) => self.through(&mut function, at, How::Calls, word),
                Event::JumpThrough(word) => self.through(&mut function, at, How::Jumps, word),
                Event::Names(word) if is_stub && self.binary.slots.holds(word) => {
                    self.through(&mut function, at, How::Jumps, word);
                }
                Event::Names(address) => self.name(&mut function, at, address),
                Event::SystemCall => function.system_calls.push(at),
                Event::OldSystemCall => function.old_system_calls.push(at),
                Event::JumpAnywhere | Event::Returns => function.returns = true,
                Event::Stops | Event::Resumes => {}
            }
            match event {
                Event::Jump(_)
                | Event::JumpThrough(_)
                | Event::JumpAnywhere
                | Event::Returns
                | Event::Stops => runs_on = false,
                Event::Resumes => runs_on = true,
                _ => {}
            }
        }
        // A call at the end is one that does not come back; unwind records of clone end where the child begins to run.
        let ends_in_call = events.last().is_some_and(|last| {
            matches!(last.event, Event::Call(_) | Event::CallThrough(_)) && last.address + CALL >= end
        });
        if runs_on
            && (is_cut || (next_is_code && !ends_in_call))
            && let Some(next) = self.functions.list.get(self.index + 1)
            && next.start == end
        {
            let target = Target::Function(index(self.index + 1));
            function.edges.push(Edge { at: end, how: How::Jumps, target, to: Some(next.start) });
        }
        function.edges.sort_unstable();
        function.edges.dedup();
        function
    }

    fn lead(&self, function: &mut Built, at: u64, how: How, to: u64) {
        let Some(found) = self.functions.at(to) else { return };
        if found != self.index || (to == self.functions.list[found].start && how == How::Calls) {
            function.edges.push(Edge { at, how, target: Target::Function(index(found)), to: Some(to) });
        }
    }

    fn through(&self, function: &mut Built, at: u64, how: How, word: u64) {
        function.named.insert(word);
        for pointer in self.binary.slots.at(word) {
            match pointer {
                Pointer::Address(to) => self.lead(function, at, how, to),
                Pointer::Import(symbol) => {
                    function.edges.push(Edge { at, how, target: Target::Import(symbol), to: None });
                }
            }
        }
    }

    fn name(&self, function: &mut Built, at: u64, address: u64) {
        if self.binary.is_code(address) {
            let found = self.functions.at(address);
            if address != self.functions.list[self.index].start && found == Some(self.index) {
                function.tabled.insert(address);
            } else if let Some(found) = found {
                let target = Target::Function(index(found));
                function.edges.push(Edge { at, how: How::Names, target, to: Some(address) });
            }
            return;
        }
        self.through(function, at, How::Names, address);
        if function.edges.len() <= EDGES_MAX {
            self.table(function, at, address);
        }
    }

    /// Tables of jumps hold distances from their own beginning, or addresses.
    fn table(&self, function: &mut Built, at: u64, table: u64) {
        let mut targets = BTreeSet::new();
        let Some(section) = self.binary.section(table) else { return };
        // It ends where something else begins.
        let next = self.named.partition_point(|address| *address <= table);
        let next = self.named.get(next).copied().unwrap_or(u64::MAX);
        let end = next.min(section.end());
        if table.is_multiple_of(4) && section.contents != Contents::Table {
            let end = end.min(table.saturating_add(TABLE_MAX as u64 * 4));
            self.binary.show(table, end, &mut |bytes| {
                let distances = bytes.chunks_exact(4).map(|entry| {
                    let distance = i32::from_le_bytes(entry.try_into().expect("a chunk of four"));
                    table.wrapping_add_signed(distance.into())
                });
                targets.extend(distances.take_while(|target| self.binary.is_code(*target)));
            });
        }
        for word in (table..end).step_by(8).take(TABLE_MAX) {
            if !self.binary.slots.holds(word) {
                break;
            }
            targets.extend(self.binary.slots.at(word).filter_map(Pointer::address));
        }
        for target in targets {
            match self.functions.at(target) {
                Some(found) if found == self.index => {
                    function.tabled.insert(target);
                }
                Some(found) => {
                    let how =
                        if self.functions.list[found].start == target { How::Names } else { How::Jumps };
                    let leads = Target::Function(index(found));
                    function.edges.push(Edge { at, how, target: leads, to: Some(target) });
                }
                None => {}
            }
        }
    }
}
