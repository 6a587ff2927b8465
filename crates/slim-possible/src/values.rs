//! Following a value back to where it comes from: through registers, the stack and branches, to the entry of its function.
//!
//! What a function cannot tell is told by its callers: a value may be what a register held on entry.

use crate::code::{Convention, Effect, Flow, Memory, Register, Source, Step};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Values that one place may have before nothing is said of it any more.
const VALUES_MAX: usize = 64;
/// Sums and loads that are followed one within the other.
const NESTING_MAX: u32 = 12;
/// Instructions looked at for one value.
const STEPS_MAX: usize = 200_000;

/// Where a value lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Place {
    Register(Register),
    /// Bytes from where the stack pointer stood on entry.
    Stack(i64),
}

/// What a place may hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Value {
    Constant(i64),
    /// An address on the stack, in bytes from where the stack pointer stood on entry.
    Stack(i64),
    /// What lay there when control came to this address from outside of the function.
    Entry(u64, Place),
    Sum(Box<Value>, i64),
    /// What memory holds at a value and an offset.
    Loaded(Box<Value>, i64),
    Unknown,
}

pub(crate) type Values = BTreeSet<Value>;

impl Value {
    pub fn plus(self, more: i64) -> Self {
        match self {
            value if more == 0 => value,
            Self::Constant(value) => Self::Constant(value.wrapping_add(more)),
            Self::Stack(offset) => Self::Stack(offset.wrapping_add(more)),
            Self::Sum(value, offset) => Self::Sum(value, offset.wrapping_add(more)),
            Self::Unknown => Self::Unknown,
            value => Self::Sum(Box::new(value), more),
        }
    }

    /// The address at which control has to come from elsewhere to tell more, where there is one.
    pub fn entry(&self) -> Option<u64> {
        match self {
            Self::Entry(address, _) => Some(*address),
            Self::Sum(value, _) | Self::Loaded(value, _) => value.entry(),
            Self::Constant(_) | Self::Stack(_) | Self::Unknown => None,
        }
    }

    pub fn nesting(&self) -> u32 {
        match self {
            Self::Sum(value, _) | Self::Loaded(value, _) => 1 + value.nesting(),
            _ => 0,
        }
    }
}

/// A function's instructions with how control moves among them.
pub(crate) struct Body {
    convention: &'static Convention,
    steps: Vec<Step>,
    /// By instruction: those that control comes from.
    before: Vec<Vec<usize>>,
    /// By instruction: where the stack pointer stands, from where it stood on entry.
    depth: Vec<Option<i64>>,
    /// Instructions that control comes to from other functions.
    entries: BTreeSet<usize>,
    /// Where the frame pointer stands in all of the function, if in one place.
    frame: Option<i64>,
}

impl Body {
    /// `last_calls`: calls that do not come back; `entered`: addresses that other functions jump to; `tabled`: addresses that tables of jumps lead to, sorted.
    pub fn new(
        convention: &'static Convention,
        steps: Vec<Step>,
        last_calls: &BTreeSet<u64>,
        entered: impl Fn(u64) -> bool,
        tabled: &[u64],
    ) -> Self {
        let index: BTreeMap<u64, usize> =
            steps.iter().enumerate().map(|(index, step)| (step.address, index)).collect();
        let mut before: Vec<Vec<usize>> = vec![Vec::new(); steps.len()];
        let mut anywhere = Vec::new();
        for (at, step) in steps.iter().enumerate() {
            let falls = !matches!(step.flow, Flow::Jump(_) | Flow::Anywhere | Flow::Stops)
                && !last_calls.contains(&step.address);
            if falls && at + 1 < steps.len() {
                before[at + 1].push(at);
            }
            match step.flow {
                Flow::Jump(target) | Flow::Branch(target) => {
                    if let Some(target) = index.get(&target) {
                        before[*target].push(at);
                    }
                }
                Flow::Anywhere => anywhere.push(at),
                _ => {}
            }
        }
        let entries = (0..steps.len()).filter(|at| *at == 0 || entered(steps[*at].address)).collect();
        for at in 1..steps.len() {
            let is_new = before[at].is_empty() && !steps[at].is_padding;
            let is_tabled = tabled.binary_search(&steps[at].address).is_ok() || is_new;
            if is_tabled {
                before[at].extend(&anywhere);
            }
        }
        let mut body = Self { convention, steps, before, depth: Vec::new(), entries, frame: None };
        body.depth = body.depths();
        body.frame = body.frame_pointer();
        body
    }

    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The index of the instruction at or behind an address; the number of instructions where there is none.
    pub fn index(&self, address: u64) -> usize {
        self.steps.partition_point(|step| step.address < address)
    }

    /// Where the stack pointer stands before an instruction.
    pub fn depth(&self, at: usize) -> Option<i64> {
        self.depth.get(at).copied().flatten()
    }

    fn depths(&self) -> Vec<Option<i64>> {
        let mut after: Vec<Vec<usize>> = vec![Vec::new(); self.steps.len()];
        for (at, before) in self.before.iter().enumerate() {
            for from in before {
                after[*from].push(at);
            }
        }
        let mut depth: Vec<Option<i64>> = vec![None; self.steps.len()];
        let mut frame = None;
        let mut open = Vec::new();
        for entry in self.entries.iter().rev() {
            open.push((*entry, 0));
        }
        while let Some((at, here)) = open.pop() {
            if depth[at].is_some() {
                continue;
            }
            depth[at] = Some(here);
            let mut next = here;
            for effect in &self.steps[at].effects {
                let Effect::Set(register, Source::Sum(from, offset)) = effect else { continue };
                if *register == self.convention.stack {
                    next = if *from == self.convention.stack {
                        next.wrapping_add(*offset)
                    } else {
                        frame.map_or(next, |frame: i64| frame.wrapping_add(*offset))
                    };
                } else if *register == self.convention.frame && *from == self.convention.stack {
                    frame = Some(next.wrapping_add(*offset));
                }
            }
            open.extend(after[at].iter().rev().map(|to| (*to, next)));
        }
        depth
    }

    /// One place that the frame pointer is set to from the stack pointer, or none.
    fn frame_pointer(&self) -> Option<i64> {
        let mut found = BTreeSet::new();
        for (at, step) in self.steps.iter().enumerate() {
            for effect in &step.effects {
                match effect {
                    Effect::Set(register, source) if *register == self.convention.frame => match source {
                        Source::Sum(from, offset) if *from == self.convention.stack => {
                            found.insert(self.depth(at)?.wrapping_add(*offset));
                        }
                        // Restored on the way out.
                        Source::Loaded(_) => {}
                        _ => return None,
                    },
                    _ => {}
                }
            }
        }
        (found.len() == 1).then(|| found.first().copied()).flatten()
    }

    /// What a place may hold before an instruction.
    pub fn values(&self, place: Place, at: usize) -> Values {
        let mut budget = STEPS_MAX;
        self.follow(place, at, 0, &mut budget)
    }

    /// What a source makes at an instruction.
    pub fn source(&self, source: &Source, at: usize) -> Values {
        let mut budget = STEPS_MAX;
        self.made(source, at, 0, &mut budget)
    }

    /// The addresses of memory that an instruction names.
    pub fn addresses(&self, memory: Memory, at: usize) -> Values {
        let mut budget = STEPS_MAX;
        self.located(memory, at, 0, &mut budget)
    }

    fn follow(&self, place: Place, at: usize, nesting: u32, budget: &mut usize) -> Values {
        let mut found = Values::new();
        if nesting > NESTING_MAX || self.steps.is_empty() {
            return Values::from([Value::Unknown]);
        }
        if place == Place::Register(self.convention.stack) {
            return Values::from([self.depth(at).map_or(Value::Unknown, Value::Stack)]);
        }
        let mut seen = HashSet::new();
        let mut open = vec![(place, at)];
        while let Some((place, at)) = open.pop() {
            if !seen.insert((place, at)) {
                continue;
            }
            if *budget == 0 || found.len() > VALUES_MAX {
                found.insert(Value::Unknown);
                break;
            }
            *budget -= 1;
            if place == Place::Register(self.convention.stack) {
                found.insert(self.depth(at).map_or(Value::Unknown, Value::Stack));
                continue;
            }
            if self.entries.contains(&at) {
                found.insert(Value::Entry(self.steps[at].address, place));
            }
            let before = if at < self.steps.len() { self.before[at].clone() } else { vec![at - 1] };
            // Padding that nothing runs into is never run; a handler of exceptions is, and from anywhere.
            if before.is_empty() && !self.entries.contains(&at) && !self.steps[at].is_padding {
                found.insert(Value::Unknown);
            }
            for from in before {
                match self.written(place, from) {
                    Written::Not => open.push((place, from)),
                    Written::By(Source::Sum(register, 0)) => open.push((Place::Register(*register), from)),
                    Written::By(source) => found.extend(self.made(source, from, nesting + 1, budget)),
                    Written::Lost => {
                        found.insert(Value::Unknown);
                    }
                }
            }
        }
        found
    }

    /// How an instruction changes a place.
    fn written(&self, place: Place, at: usize) -> Written<'_> {
        let step = &self.steps[at];
        match place {
            Place::Register(register) => {
                for effect in step.effects.iter().rev() {
                    match effect {
                        Effect::Set(to, source) if *to == register => return Written::By(source),
                        _ => {}
                    }
                }
                let changed = match step.flow {
                    Flow::Call => self.convention.changed_by_calls,
                    Flow::SystemCall => self.convention.changed_by_kernel,
                    _ => 0,
                };
                if register < 32 && changed >> register & 1 == 1 { Written::Lost } else { Written::Not }
            }
            Place::Stack(offset) => {
                for effect in step.effects.iter().rev() {
                    let Effect::Store(Memory { base: Some(base), offset: from }, source) = effect else {
                        continue;
                    };
                    let base = if *base == self.convention.stack {
                        self.depth(at)
                    } else if *base == self.convention.frame {
                        self.frame
                    } else {
                        None
                    };
                    if base.is_some_and(|base| base.wrapping_add(*from) == offset) {
                        return Written::By(source);
                    }
                }
                Written::Not
            }
        }
    }

    fn made(&self, source: &Source, at: usize, nesting: u32, budget: &mut usize) -> Values {
        let register = |register: Register, budget: &mut usize| {
            self.follow(Place::Register(register), at, nesting + 1, budget)
        };
        let mapped = |values: Values, map: &dyn Fn(i64) -> i64| -> Values {
            let values = values.into_iter();
            values
                .map(|value| match value {
                    Value::Constant(value) => Value::Constant(map(value)),
                    _ => Value::Unknown,
                })
                .collect()
        };
        match source {
            Source::Constant(value) => Values::from([Value::Constant(*value)]),
            Source::Sum(from, more) => {
                register(*from, budget).into_iter().map(|value| value.plus(*more)).collect()
            }
            Source::Total(parts, offset) => {
                let mut totals = Values::from([Value::Constant(*offset)]);
                for (from, factor) in parts {
                    let part = mapped(register(*from, budget), &|value| value.wrapping_mul(*factor));
                    let sums = totals.iter().flat_map(|total| part.iter().map(move |part| sum(total, part)));
                    totals = sums.collect();
                    if totals.len() > VALUES_MAX {
                        return Values::from([Value::Unknown]);
                    }
                }
                totals
            }
            Source::Masked(from, mask) => mapped(register(*from, budget), &|value| value & mask),
            Source::Joined(from, bits) => mapped(register(*from, budget), &|value| value | bits),
            Source::Loaded(memory) => {
                let mut found = Values::new();
                for address in self.located(*memory, at, nesting + 1, budget) {
                    match address {
                        Value::Stack(offset) => {
                            found.extend(self.follow(Place::Stack(offset), at, nesting + 1, budget));
                        }
                        Value::Unknown => {
                            found.insert(Value::Unknown);
                        }
                        address => {
                            found.insert(load(address));
                        }
                    }
                }
                found
            }
            Source::Either(one, other) => {
                let mut found = self.made(one, at, nesting + 1, budget);
                found.extend(self.made(other, at, nesting + 1, budget));
                found
            }
            Source::Unknown => Values::from([Value::Unknown]),
        }
    }

    fn located(&self, memory: Memory, at: usize, nesting: u32, budget: &mut usize) -> Values {
        let bases = match memory.base {
            None => return Values::from([Value::Constant(memory.offset)]),
            Some(base) if base == self.convention.frame && self.frame.is_some() => {
                Values::from([self.frame.map_or(Value::Unknown, Value::Stack)])
            }
            Some(base) => self.follow(Place::Register(base), at, nesting + 1, budget),
        };
        bases.into_iter().map(|base| base.plus(memory.offset)).collect()
    }
}

fn sum(one: &Value, other: &Value) -> Value {
    match (one, other) {
        (Value::Constant(one), Value::Constant(other)) => Value::Constant(one.wrapping_add(*other)),
        _ => Value::Unknown,
    }
}

/// What lies at an address.
pub(crate) fn load(address: Value) -> Value {
    match address {
        Value::Sum(value, offset) => Value::Loaded(value, offset),
        value => Value::Loaded(Box::new(value), 0),
    }
}

enum Written<'a> {
    Not,
    By(&'a Source),
    /// A call or the kernel may have changed it.
    Lost,
}
