//! aarch64. All instructions are 32 bits wide and the few that matter are told apart by a mask each (Arm Architecture
//! Reference Manual, C4); all others leave the register that they write unknown.

use super::{At, Convention, Effect, Event, Flow, Memory, Register, Source, Step};

const SP: Register = 31;
const LINK: Register = 30;
/// XZR and WZR where the encoding of SP means zero; no register has this number.
const ZERO: Register = 32;

/// The procedure call standard for the Arm 64-bit architecture.
pub(super) const CONVENTION: Convention = Convention {
    stack: SP,
    frame: 29,
    number: 8,
    // x0 to x18 and the link register.
    changed_by_calls: 0x4007_ffff,
    changed_by_kernel: 1,
    return_address: 0,
};

/// An instruction's number.
#[derive(Clone, Copy)]
struct Word(u32);

impl Word {
    fn is(self, mask: u32, value: u32) -> bool {
        self.0 & mask == value
    }

    fn bits(self, low: u32, count: u32) -> u32 {
        (self.0 >> low) & ((1 << count) - 1)
    }

    fn signed(self, low: u32, count: u32) -> i64 {
        let value = i64::from(self.bits(low, count));
        let sign = 1 << (count - 1);
        (value ^ sign) - sign
    }

    fn register(self, low: u32) -> Register {
        u8::try_from(self.bits(low, 5)).expect("five bits")
    }

    /// A register where number 31 means zero.
    fn operand(self, low: u32) -> Register {
        match self.register(low) {
            31 => ZERO,
            register => register,
        }
    }

    /// The target of a branch whose offset lies at these bits, in words.
    fn target(self, address: u64, low: u32, count: u32) -> u64 {
        address.wrapping_add_signed(self.signed(low, count) * 4)
    }

    /// NOP and zeros.
    fn is_padding(self) -> bool {
        self.0 == 0xd503_201f || self.0 == 0
    }

    fn is_call(self) -> bool {
        self.is(0xfc00_0000, 0x9400_0000)
    }

    fn is_jump(self) -> bool {
        self.is(0xfc00_0000, 0x1400_0000)
    }

    /// B.cond, CBZ and CBNZ: 19 bits.
    fn is_branch(self) -> bool {
        self.is(0xff00_0000, 0x5400_0000) || self.is(0x7e00_0000, 0x3400_0000)
    }

    /// TBZ and TBNZ: 14 bits.
    fn is_test_branch(self) -> bool {
        self.is(0x7e00_0000, 0x3600_0000)
    }

    /// BR and its variants with pointer authentication.
    fn is_indirect_jump(self) -> bool {
        self.is(0xffff_fc1f, 0xd61f_0000) || self.is(0xfeff_f800, 0xd61f_0800)
    }

    fn is_indirect_call(self) -> bool {
        self.is(0xffff_fc1f, 0xd63f_0000) || self.is(0xfeff_f800, 0xd63f_0800)
    }

    /// RET and its variants with pointer authentication.
    fn is_return(self) -> bool {
        self.is(0xffff_fc1f, 0xd65f_0000) || self.is(0xffff_fbff, 0xd65f_0bff)
    }

    /// ERET, UDF, BRK.
    fn is_stop(self) -> bool {
        self.0 == 0xd69f_03e0 || self.is(0xffff_0000, 0) || self.is(0xffe0_001f, 0xd420_0000)
    }

    fn is_system_call(self) -> bool {
        self.0 == 0xd400_0001
    }

    /// ADRP and ADR with the address that they make.
    fn address(self, at: u64) -> Option<u64> {
        let offset = (self.signed(5, 19) << 2) | i64::from(self.bits(29, 2));
        if self.is(0x9f00_0000, 0x9000_0000) {
            Some((at & !0xfff).wrapping_add_signed(offset << 12))
        } else if self.is(0x9f00_0000, 0x1000_0000) {
            Some(at.wrapping_add_signed(offset))
        } else {
            None
        }
    }

    /// ADD and SUB with an immediate, flags or not.
    fn added(self) -> Option<i64> {
        if !self.is(0x1f80_0000, 0x1100_0000) {
            return None;
        }
        let shift = if self.bits(22, 1) == 1 { 12 } else { 0 };
        let value = i64::from(self.bits(10, 12)) << shift;
        Some(if self.bits(30, 1) == 1 { -value } else { value })
    }

    /// LDR and STR with an unsigned offset, of general or other registers: the offset in bytes.
    fn unsigned_offset(self) -> Option<i64> {
        if !self.is(0x3b00_0000, 0x3900_0000) {
            return None;
        }
        let is_other = self.bits(26, 1) == 1;
        let shift = if is_other && self.bits(23, 1) == 1 { 4 } else { self.bits(30, 2) };
        Some(i64::from(self.bits(10, 12)) << shift)
    }

    /// Any load or store.
    fn is_memory(self) -> bool {
        self.is(0x0a00_0000, 0x0800_0000)
    }

    /// Of a load or store: whether a general register is loaded.
    fn loads_general(self) -> bool {
        if self.bits(26, 1) == 1 {
            return false;
        }
        if self.is(0x3b00_0000, 0x1800_0000) {
            return true; // From a literal.
        }
        if self.is(0x3a00_0000, 0x2800_0000) {
            return self.bits(22, 1) == 1; // A pair.
        }
        if self.is(0x3800_0000, 0x3800_0000) {
            // Atomic operations load, too.
            return self.bits(22, 2) != 0 || self.is(0x3b20_0c00, 0x3820_0000);
        }
        // Exclusive and ordered: stores write whether they worked.
        true
    }
}

fn words(bytes: &[u8], start: u64) -> impl Iterator<Item = (u64, Word)> {
    bytes.chunks_exact(4).enumerate().map(move |(index, bytes)| {
        let word = u32::from_le_bytes(bytes.try_into().expect("a chunk of four"));
        (start + index as u64 * 4, Word(word))
    })
}

pub(super) fn sweep(bytes: &[u8], start: u64, events: &mut Vec<At>) {
    let mut known: [Option<u64>; 32] = [None; 32];
    let mut has_stopped = true;
    for (address, word) in words(bytes, start) {
        let mut add = |event| events.push(At { address, event });
        if has_stopped && !word.is_padding() {
            has_stopped = false;
            add(Event::Resumes);
        }
        if word.is_system_call() {
            add(Event::SystemCall);
        } else if word.is_call() {
            add(Event::Call(word.target(address, 0, 26)));
        } else if word.is_jump() {
            add(Event::Jump(word.target(address, 0, 26)));
            has_stopped = true;
        } else if word.is_branch() {
            add(Event::Branch(word.target(address, 5, 19)));
        } else if word.is_test_branch() {
            add(Event::Branch(word.target(address, 5, 14)));
        } else if word.is_indirect_jump() {
            add(Event::JumpAnywhere);
            has_stopped = true;
        } else if word.is_return() {
            add(Event::Returns);
            has_stopped = true;
        } else if word.is_stop() {
            add(Event::Stops);
            has_stopped = true;
        } else if !word.is_indirect_call() {
            names(word, address, &mut known, &mut add);
        }
    }
}

/// Addresses are made of a page and an offset; what a register holds is kept until it is written again.
fn names(word: Word, address: u64, known: &mut [Option<u64>; 32], add: &mut impl FnMut(Event)) {
    let to = usize::from(word.register(0));
    let from = usize::from(word.register(5));
    if let Some(made) = word.address(address) {
        known[to] = Some(made);
        if word.is(0x9f00_0000, 0x1000_0000) {
            add(Event::Names(made));
        }
    } else if let Some(offset) = word.added() {
        let made = known[from].map(|base| base.wrapping_add_signed(offset));
        if let Some(made) = made {
            add(Event::Names(made));
        }
        known[to] = made;
    } else if word.is_memory() {
        if let (Some(offset), Some(base)) = (word.unsigned_offset(), known[from]) {
            add(Event::Names(base.wrapping_add_signed(offset)));
        } else if word.is(0x3b00_0000, 0x1800_0000) {
            add(Event::Names(word.target(address, 5, 19)));
        } else if let Some(base) = known[from] {
            add(Event::Names(base));
        }
        if word.loads_general() {
            known[to] = None;
        }
    } else {
        known[to] = None;
    }
}

pub(super) fn lift(bytes: &[u8], start: u64) -> Vec<Step> {
    words(bytes, start)
        .map(|(address, word)| Step {
            address,
            flow: flow(word, address),
            is_padding: word.is_padding(),
            effects: effects(word, address),
        })
        .collect()
}

fn flow(word: Word, address: u64) -> Flow {
    if word.is_system_call() {
        Flow::SystemCall
    } else if word.is_call() || word.is_indirect_call() {
        Flow::Call
    } else if word.is_jump() {
        Flow::Jump(word.target(address, 0, 26))
    } else if word.is_branch() {
        Flow::Branch(word.target(address, 5, 19))
    } else if word.is_test_branch() {
        Flow::Branch(word.target(address, 5, 14))
    } else if word.is_indirect_jump() {
        Flow::Anywhere
    } else if word.is_return() || word.is_stop() {
        Flow::Stops
    } else {
        Flow::Next
    }
}

fn sum(register: Register, offset: i64) -> Source {
    if register == ZERO { Source::Constant(offset) } else { Source::Sum(register, offset) }
}

fn effects(word: Word, address: u64) -> Vec<Effect> {
    let to = word.operand(0);
    let set = |source| vec![Effect::Set(to, source)];
    if word.is_call() || word.is_indirect_call() {
        return vec![Effect::Set(LINK, Source::Unknown)];
    }
    if flow(word, address) != Flow::Next {
        return Vec::new();
    }
    if let Some(made) = word.address(address) {
        return set(Source::Constant(made.cast_signed()));
    }
    if let Some(offset) = word.added() {
        // With flags, 31 is zero and the result is thrown away; without, it is the stack pointer.
        let to = if word.bits(29, 1) == 1 { to } else { word.register(0) };
        return vec![Effect::Set(to, Source::Sum(word.register(5), offset))];
    }
    if word.is(0x7f80_0000, 0x5280_0000) {
        return set(Source::Constant(i64::from(word.bits(5, 16)) << (16 * word.bits(21, 2))));
    }
    if word.is(0x7f80_0000, 0x7280_0000) {
        return set(Source::Joined(to, i64::from(word.bits(5, 16)) << (16 * word.bits(21, 2))));
    }
    if word.is(0x7f80_0000, 0x1280_0000) {
        return set(Source::Constant(!(i64::from(word.bits(5, 16)) << (16 * word.bits(21, 2)))));
    }
    // MOV of registers: ORR with zero. ORR with a bitmask of zero is another MOV, of patterns.
    if word.is(0x7fe0_ffe0, 0x2a00_03e0) {
        return set(sum(word.operand(16), 0));
    }
    // SXTW and UXTW.
    if word.is(0xffff_fc00, 0x9340_7c00) {
        return set(sum(word.operand(5), 0));
    }
    // CSEL, CSINC.
    if word.is(0x7fe0_0800, 0x1a80_0000) {
        let more = i64::from(word.bits(10, 1));
        let (one, other) = (sum(word.operand(5), 0), sum(word.operand(16), more));
        return set(Source::Either(Box::new(one), Box::new(other)));
    }
    if word.is_memory() {
        return memory_effects(word, address);
    }
    // All that is left and writes a general register has it at the lowest bits.
    set(Source::Unknown)
}

fn memory_effects(word: Word, address: u64) -> Vec<Effect> {
    let to = word.operand(0);
    let base = word.register(5);
    let is_general = word.bits(26, 1) == 0;
    let at = |offset| Memory { base: Some(base), offset };
    if word.is(0x3b00_0000, 0x1800_0000) {
        let literal = Memory { base: None, offset: word.target(address, 5, 19).cast_signed() };
        return vec![Effect::Set(to, if is_general { Source::Loaded(literal) } else { Source::Unknown })];
    }
    let mut effects = Vec::new();
    if word.is(0x3800_0000, 0x2800_0000) {
        let scale = if is_general { 2 + word.bits(31, 1) } else { 2 + word.bits(30, 2) };
        let offset = word.signed(15, 7) << scale;
        // 1: behind, 3: before, 2 and 0: the base stays.
        let (start, moved) = match word.bits(23, 2) {
            1 => (0, offset),
            3 => (offset, offset),
            _ => (offset, 0),
        };
        for (register, offset) in [(to, start), (word.operand(10), start + (1 << scale))] {
            effects.push(transfer(word, register, at(offset), word.bits(22, 1) == 1 && is_general));
        }
        if moved != 0 {
            effects.push(Effect::Set(base, Source::Sum(base, moved)));
        }
        return effects;
    }
    if let Some(offset) = word.unsigned_offset() {
        return vec![transfer(word, to, at(offset), word.loads_general())];
    }
    if word.is(0x3b20_0000, 0x3800_0000) {
        let offset = word.signed(12, 9);
        let (start, moved) = match word.bits(10, 2) {
            1 => (0, offset),
            3 => (offset, offset),
            _ => (offset, 0),
        };
        effects.push(transfer(word, to, at(start), word.loads_general()));
        if moved != 0 {
            effects.push(Effect::Set(base, Source::Sum(base, moved)));
        }
        return effects;
    }
    if word.loads_general() {
        // Exclusive stores write their state further up.
        effects.push(Effect::Set(to, Source::Unknown));
        effects.push(Effect::Set(word.operand(16), Source::Unknown));
    }
    effects
}

fn transfer(word: Word, register: Register, memory: Memory, is_load: bool) -> Effect {
    let is_general = word.bits(26, 1) == 0;
    match (is_load, is_general) {
        (true, _) => Effect::Set(register, Source::Loaded(memory)),
        (false, true) => Effect::Store(memory, sum(register, 0)),
        // A load of another kind of register changes nothing that is followed.
        (false, false) => Effect::Set(ZERO, Source::Unknown),
    }
}
