//! Machine code as far as it matters here: where it goes, which addresses it names, and how values move through
//! registers and the stack. What differs between machines ends in this module.

mod amd64;
mod arm64;

use crate::elf::Binary;
use crate::machine::Machine;

/// What an instruction does that other functions may notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Call(u64),
    /// Goes there and does not come back by itself.
    Jump(u64),
    /// May go there.
    Branch(u64),
    /// Calls the address that lies in this word.
    CallThrough(u64),
    /// Jumps to the address that lies in this word.
    JumpThrough(u64),
    /// Jumps to an address that only running tells.
    JumpAnywhere,
    /// Names an address: of code, of a word, of a constant.
    Names(u64),
    /// Enters the kernel.
    SystemCall,
    /// Enters the kernel for a 32-bit call, whose numbers are others.
    OldSystemCall,
    Returns,
    /// Ends what runs here without going anywhere.
    Stops,
    /// The first instruction behind one that ends what runs, padding left out.
    Resumes,
}

/// An event with the address of its instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At {
    pub address: u64,
    pub event: Event,
}

/// Reads code from its first byte to its last, in order.
pub(crate) fn sweep(binary: &Binary<'_>, start: u64, end: u64, events: &mut Vec<At>) {
    binary.show(start, end, &mut |bytes| match binary.machine {
        Machine::Amd64 => amd64::sweep(bytes, start, binary.is_fixed, events),
        Machine::Arm64 => arm64::sweep(bytes, start, events),
    });
}

/// Reads code in full, for following values.
pub(crate) fn lift(binary: &Binary<'_>, start: u64, end: u64) -> Vec<Step> {
    let mut steps = Vec::new();
    binary.show(start, end, &mut |bytes| {
        steps = match binary.machine {
            Machine::Amd64 => amd64::lift(bytes, start),
            Machine::Arm64 => arm64::lift(bytes, start),
        };
    });
    steps
}

/// A register by its number in instructions.
pub(crate) type Register = u8;

/// Memory: at a register, or at a fixed address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Memory {
    pub base: Option<Register>,
    pub offset: i64,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Constant(i64),
    /// A register and something added.
    Sum(Register, i64),
    /// Registers, each with a factor, and something added.
    Total(Vec<(Register, i64)>, i64),
    /// A register, masked.
    Masked(Register, i64),
    /// A register with bits set.
    Joined(Register, i64),
    Loaded(Memory),
    Either(Box<Source>, Box<Source>),
    Unknown,
}

/// What an instruction changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Set(Register, Source),
    Store(Memory, Source),
}

/// Where control goes behind an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    Next,
    Call,
    SystemCall,
    Jump(u64),
    Branch(u64),
    Anywhere,
    Stops,
}

/// One instruction.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub address: u64,
    pub flow: Flow,
    /// It does nothing and fills space.
    pub is_padding: bool,
    pub effects: Vec<Effect>,
}

/// What the calling conventions of a machine fix.
pub(crate) struct Convention {
    pub stack: Register,
    pub frame: Register,
    /// The register with the number of a system call.
    pub number: Register,
    /// Registers that a function may leave changed, a bit each.
    pub changed_by_calls: u32,
    /// Registers that the kernel changes.
    pub changed_by_kernel: u32,
    /// Bytes that a call puts on the stack.
    pub return_address: i64,
}

pub(crate) fn convention(machine: Machine) -> &'static Convention {
    match machine {
        Machine::Amd64 => &amd64::CONVENTION,
        Machine::Arm64 => &arm64::CONVENTION,
    }
}
