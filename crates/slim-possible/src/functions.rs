//! A file's code divided into functions, and which ones each of them leads to.
//!
//! Boundaries come from symbols and unwind records. Code that neither describes is divided where something leads to it.

use crate::code::{At, Event, sweep};
use crate::elf::{Binary, Contents, Pointer, Unreadable};
use std::collections::{BTreeMap, BTreeSet};

/// Entries of one table of jumps that are read.
const TABLE_MAX: usize = 4096;

/// Ways from function to function that are followed in one file. Real ones have fewer by far; tables that every function of
/// a file names make them more than memory holds.
const EDGES_MAX: usize = 4_000_000;

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
    Function(usize),
    /// Index of a symbol of the same file's dynamic table.
    Import(u32),
    /// Index of a group of pointers of the same file.
    Data(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Edge {
    /// The address of the instruction; of the end for what runs on.
    pub at: u64,
    pub how: How,
    pub target: Target,
    /// The address that control comes to, where it is known.
    pub to: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Function {
    pub start: u64,
    pub end: u64,
    pub name: Option<String>,
    /// The next function begins inside of it.
    is_cut: bool,
    /// Whether whoever calls it gets control back.
    pub returns: bool,
    /// One of the linker's stubs: nobody's code.
    pub is_stub: bool,
    pub edges: Vec<Edge>,
    /// Instructions that enter the kernel.
    pub system_calls: Vec<u64>,
    /// Those that do it the 32-bit way.
    pub old_system_calls: Vec<u64>,
    /// Addresses inside that tables of jumps lead to.
    pub tabled: BTreeSet<u64>,
    /// Addresses of data that its instructions name.
    pub named: BTreeSet<u64>,
    /// Groups of pointers that it names.
    pub data: Vec<usize>,
}

/// All functions of a file, by address.
pub(crate) struct Functions(pub Vec<Function>);

impl Functions {
    /// The index of the function that an address lies in.
    pub fn at(&self, address: u64) -> Option<usize> {
        let after = self.0.partition_point(|function| function.start <= address);
        let index = after.checked_sub(1)?;
        (address < self.0[index].end).then_some(index)
    }

    /// `ends`: whether an import never gives control back.
    ///
    /// # Errors
    /// When there are more ways between them than are followed.
    pub fn read(binary: &Binary<'_>, ends: impl Fn(u32) -> bool) -> Result<Self, Unreadable> {
        let mut events = Vec::new();
        let mut regions = BTreeMap::new();
        for section in binary.sections.iter().filter(|section| section.holds_code()) {
            for (start, region) in divide(binary, section.address, section.end()) {
                sweep(binary, section, start, region.end, &mut events);
                regions.insert(start, region);
            }
        }
        events.sort_by_key(|at| at.address);
        split(binary, &events, &mut regions);
        let mut functions = Self(
            regions
                .into_iter()
                .map(|(start, region)| Function {
                    start,
                    end: region.end,
                    name: region.name,
                    is_cut: region.is_cut,
                    ..Function::default()
                })
                .collect(),
        );
        let named: BTreeSet<u64> = events
            .iter()
            .filter_map(|at| match at.event {
                Event::Names(address) => Some(address),
                _ => None,
            })
            .collect();
        let mut edges = 0;
        for index in 0..functions.0.len() {
            let (start, end) = (functions.0[index].start, functions.0[index].end);
            let from = events.partition_point(|at| at.address < start);
            let to = events.partition_point(|at| at.address < end);
            let next = events.get(to).filter(|at| at.address == end && at.event == Event::Resumes);
            let builder = Builder { binary, functions: &functions, named: &named, index };
            let built = builder.build(&events[from..to], next.is_some());
            edges += built.edges.len();
            if edges > EDGES_MAX {
                return Err(Unreadable::Entangled);
            }
            functions.0[index] = built;
        }
        functions.find_returning(ends);
        Ok(functions)
    }

    /// A function that jumps to one that gives control back gives it back.
    fn find_returning(&mut self, ends: impl Fn(u32) -> bool) {
        let mut jumped_from: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut open = Vec::new();
        for (index, function) in self.0.iter().enumerate() {
            let mut returns = function.returns;
            for edge in function.edges.iter().filter(|edge| edge.how == How::Jumps) {
                match edge.target {
                    Target::Import(symbol) => returns |= !ends(symbol),
                    Target::Function(to) => jumped_from.entry(to).or_default().push(index),
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
                self.0[index].returns = true;
                open.extend(jumped_from.get(&index).into_iter().flatten());
            }
        }
    }

    /// The calls of a function that control does not come back from.
    pub fn last_calls(&self, index: usize, ends: impl Fn(u32) -> bool) -> BTreeSet<u64> {
        let calls = self.0[index].edges.iter().filter(|edge| edge.how == How::Calls);
        let (mut last, mut others) = (BTreeSet::new(), BTreeSet::new());
        for edge in calls {
            let comes_back = match edge.target {
                Target::Import(symbol) => !ends(symbol),
                Target::Function(to) => self.0[to].returns,
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
    name: Option<String>,
    /// Nothing says that a function begins here.
    is_gap: bool,
    /// Something begins where it ends that is part of it as well.
    is_cut: bool,
}

/// Divides a section into what is described as functions, and gaps.
fn divide(binary: &Binary<'_>, start: u64, end: u64) -> BTreeMap<u64, Region> {
    let mut regions = BTreeMap::new();
    let gap = |end| Region { end, name: None, is_gap: true, is_cut: false };
    let mut at = start;
    let mut ranges = binary.ranges.range(start..end).peekable();
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

/// Divides gaps where something leads into them.
fn split(binary: &Binary<'_>, events: &[At], regions: &mut BTreeMap<u64, Region>) {
    let led = events.iter().filter_map(|at| match at.event {
        Event::Call(to) | Event::Jump(to) | Event::Branch(to) | Event::Names(to) => Some(to),
        _ => None,
    });
    let pointed = binary.slots.values().flatten().filter_map(|pointer| match pointer {
        Pointer::Address(address) => Some(*address),
        Pointer::Import(_) => None,
    });
    let exported = binary.exports.iter().filter(|export| export.is_function).map(|export| export.address);
    let others = binary.started.iter().copied().chain([binary.entry]);
    for target in led.chain(pointed).chain(exported).chain(others) {
        let Some((start, region)) = regions.range_mut(..=target).next_back() else { continue };
        if !region.is_gap || *start == target || target >= region.end {
            continue;
        }
        let (end, is_cut) = (region.end, region.is_cut);
        (region.end, region.is_cut) = (target, true);
        regions.insert(target, Region { end, name: None, is_gap: true, is_cut });
    }
}

struct Builder<'a, 'data> {
    binary: &'a Binary<'data>,
    functions: &'a Functions,
    /// Addresses that some code of the file names.
    named: &'a BTreeSet<u64>,
    index: usize,
}

impl Builder<'_, '_> {
    /// `next_is_code`: an instruction, not padding, follows directly.
    fn build(&self, events: &[At], next_is_code: bool) -> Function {
        let mut function = self.functions.0[self.index].clone();
        let is_stub = self.binary.section(function.start).is_some_and(|it| it.contents == Contents::Stubs);
        function.is_stub = is_stub;
        let mut runs_on = !events.is_empty();
        for At { address, event } in events {
            let at = *address;
            match *event {
                Event::Call(to) => self.lead(&mut function, at, How::Calls, to),
                Event::Jump(to) | Event::Branch(to) => self.lead(&mut function, at, How::Jumps, to),
                Event::CallThrough(word) => self.through(&mut function, at, How::Calls, word),
                Event::JumpThrough(word) => self.through(&mut function, at, How::Jumps, word),
                Event::Names(word) if is_stub && self.binary.slots.contains_key(&word) => {
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
            matches!(last.event, Event::Call(_) | Event::CallThrough(_))
                && last.address + CALL >= function.end
        });
        if runs_on
            && (function.is_cut || (next_is_code && !ends_in_call))
            && let Some(next) = self.functions.0.get(self.index + 1)
            && next.start == function.end
        {
            let target = Target::Function(self.index + 1);
            function.edges.push(Edge { at: function.end, how: How::Jumps, target, to: Some(next.start) });
        }
        function.edges.sort_unstable();
        function.edges.dedup();
        function
    }

    fn lead(&self, function: &mut Function, at: u64, how: How, to: u64) {
        let Some(index) = self.functions.at(to) else { return };
        if index != self.index || (to == function.start && how == How::Calls) {
            function.edges.push(Edge { at, how, target: Target::Function(index), to: Some(to) });
        }
    }

    fn through(&self, function: &mut Function, at: u64, how: How, word: u64) {
        function.named.insert(word);
        for pointer in self.binary.slots.get(&word).into_iter().flatten() {
            match pointer {
                Pointer::Address(to) => self.lead(function, at, how, *to),
                Pointer::Import(symbol) => {
                    function.edges.push(Edge { at, how, target: Target::Import(*symbol), to: None });
                }
            }
        }
    }

    fn name(&self, function: &mut Function, at: u64, address: u64) {
        if self.binary.is_code(address) {
            if address != function.start && self.functions.at(address) == Some(self.index) {
                function.tabled.insert(address);
            } else if let Some(index) = self.functions.at(address) {
                let target = Target::Function(index);
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
    fn table(&self, function: &mut Function, at: u64, table: u64) {
        let mut targets = BTreeSet::new();
        let Some(section) = self.binary.section(table) else { return };
        // It ends where something else begins.
        let next = self.named.range(table + 1..).next().copied().unwrap_or(u64::MAX);
        let end = next.min(section.end());
        let length = usize::try_from((end - table) / 4).unwrap_or(usize::MAX).min(TABLE_MAX);
        if table.is_multiple_of(4)
            && section.contents != Contents::Table
            && let Some(bytes) = self.binary.bytes_at(table)
        {
            for entry in bytes.chunks_exact(4).take(length) {
                let distance = i32::from_le_bytes(entry.try_into().expect("a chunk of four"));
                let target = table.wrapping_add_signed(distance.into());
                if !self.binary.is_code(target) {
                    break;
                }
                targets.insert(target);
            }
        }
        for word in (table..end).step_by(8).take(TABLE_MAX) {
            let Some(pointers) = self.binary.slots.get(&word) else { break };
            targets.extend(pointers.iter().filter_map(|pointer| match pointer {
                Pointer::Address(address) => Some(*address),
                Pointer::Import(_) => None,
            }));
        }
        for target in targets {
            match self.functions.at(target) {
                Some(index) if index == self.index => {
                    function.tabled.insert(target);
                }
                Some(index) => {
                    let how = if self.functions.0[index].start == target { How::Names } else { How::Jumps };
                    let target_ = Target::Function(index);
                    function.edges.push(Edge { at, how, target: target_, to: Some(target) });
                }
                None => {}
            }
        }
    }
}
