//! x86-64, decoded by iced-x86.

use super::{At, Convention, Effect, Event, Flow, Memory, Register, Source, Step};
use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess,
    OpKind, Register as Name,
};

const RAX: Register = 0;
const RSP: Register = 4;
const RBP: Register = 5;

/// The System V calling convention; Go's own one has no registers that calls keep, and reloads them from the stack.
pub(super) const CONVENTION: Convention = Convention {
    stack: RSP,
    frame: RBP,
    number: RAX,
    // rax, rcx, rdx, rsi, rdi, r8 to r11.
    changed_by_calls: 0b1111_1100_0111,
    // rax, rcx, r11.
    changed_by_kernel: 0b1000_0000_0011,
    return_address: 8,
};

pub(super) fn sweep(bytes: &[u8], start: u64, is_fixed: bool, events: &mut Vec<At>) {
    let mut decoder = Decoder::with_ip(64, bytes, start, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    let mut has_stopped = true;
    while decoder.can_decode() {
        let position = decoder.position();
        decoder.decode_out(&mut instruction);
        if instruction.is_invalid() {
            // Data among code: the next byte may begin an instruction.
            let _ = decoder.set_position(position + 1);
            decoder.set_ip(start + position as u64 + 1);
            continue;
        }
        let address = instruction.ip();
        let mut add = |event| events.push(At { address, event });
        if has_stopped && !is_padding(&instruction) {
            has_stopped = false;
            add(Event::Resumes);
        }
        let through = instruction.is_ip_rel_memory_operand().then(|| instruction.ip_rel_memory_address());
        match instruction.code() {
            Code::Syscall => add(Event::SystemCall),
            Code::Int_imm8 if instruction.immediate8() == 0x80 => add(Event::OldSystemCall),
            Code::Sysenter => add(Event::OldSystemCall),
            _ => match instruction.flow_control() {
                FlowControl::Call if is_near(&instruction) => {
                    add(Event::Call(instruction.near_branch_target()));
                }
                FlowControl::UnconditionalBranch if is_near(&instruction) => {
                    add(Event::Jump(instruction.near_branch_target()));
                    has_stopped = true;
                }
                FlowControl::ConditionalBranch | FlowControl::XbeginXabortXend if is_near(&instruction) => {
                    add(Event::Branch(instruction.near_branch_target()));
                }
                FlowControl::IndirectCall => {
                    if let Some(word) = through.or_else(|| absolute(&instruction)) {
                        add(Event::CallThrough(word));
                    }
                }
                FlowControl::IndirectBranch => {
                    add(through.map_or(Event::JumpAnywhere, Event::JumpThrough));
                    if let Some(table) = displacement(&instruction, is_fixed) {
                        add(Event::Names(table));
                    }
                    has_stopped = true;
                }
                FlowControl::Return => {
                    add(Event::Returns);
                    has_stopped = true;
                }
                FlowControl::Exception => {
                    add(Event::Stops);
                    has_stopped = true;
                }
                _ => {
                    if instruction.mnemonic() == Mnemonic::Hlt {
                        add(Event::Stops);
                        has_stopped = true;
                    }
                    if let Some(word) = through {
                        add(Event::Names(word));
                    } else if is_fixed {
                        names_when_fixed(&instruction, &mut add);
                    }
                }
            },
        }
    }
}

fn is_padding(instruction: &Instruction) -> bool {
    matches!(instruction.mnemonic(), Mnemonic::Nop | Mnemonic::Int3)
        || instruction.code() == Code::Add_rm8_r8 && instruction.memory_base() == Name::RAX
        || instruction.code() == Code::Xchg_rm16_r16
}

fn is_near(instruction: &Instruction) -> bool {
    matches!(instruction.op0_kind(), OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64)
}

/// The word that `call [address]` goes through.
fn absolute(instruction: &Instruction) -> Option<u64> {
    let is_plain = instruction.memory_base() == Name::None && instruction.memory_index() == Name::None;
    (is_plain && !is_thread(instruction)).then(|| instruction.memory_displacement64())
}

fn is_thread(instruction: &Instruction) -> bool {
    matches!(instruction.memory_segment(), Name::FS | Name::GS)
}

fn displacement(instruction: &Instruction, is_fixed: bool) -> Option<u64> {
    let has_memory = (0..instruction.op_count()).any(|index| instruction.op_kind(index) == OpKind::Memory);
    let counts = is_fixed
        && has_memory
        && !instruction.is_ip_rel_memory_operand()
        && !is_thread(instruction)
        && instruction.memory_displ_size() >= 4;
    counts.then(|| instruction.memory_displacement64())
}

/// A file that is linked for one address names addresses as numbers.
fn names_when_fixed(instruction: &Instruction, add: &mut impl FnMut(Event)) {
    if let Some(address) = displacement(instruction, true) {
        add(Event::Names(address));
    }
    for index in 0..instruction.op_count() {
        if let Some(value) = wide_immediate(instruction, index) {
            add(Event::Names(value.cast_unsigned()));
        }
    }
}

fn wide_immediate(instruction: &Instruction, index: u32) -> Option<i64> {
    match instruction.op_kind(index) {
        OpKind::Immediate32 => Some(i64::from(instruction.immediate32())),
        OpKind::Immediate32to64 => Some(instruction.immediate32to64()),
        OpKind::Immediate64 => Some(instruction.immediate64().cast_signed()),
        _ => None,
    }
}

fn immediate(instruction: &Instruction, index: u32) -> Option<i64> {
    let kind = instruction.op_kind(index);
    let is_one = matches!(
        kind,
        OpKind::Immediate8
            | OpKind::Immediate8to16
            | OpKind::Immediate8to32
            | OpKind::Immediate8to64
            | OpKind::Immediate16
            | OpKind::Immediate32
            | OpKind::Immediate32to64
            | OpKind::Immediate64
    );
    is_one.then(|| instruction.immediate(index).cast_signed())
}

pub(super) fn lift(bytes: &[u8], start: u64) -> Vec<Step> {
    let mut decoder = Decoder::with_ip(64, bytes, start, DecoderOptions::NONE);
    let mut information = InstructionInfoFactory::new();
    let mut steps = Vec::new();
    while decoder.can_decode() {
        let position = decoder.position();
        let instruction = decoder.decode();
        if instruction.is_invalid() {
            let _ = decoder.set_position(position + 1);
            decoder.set_ip(start + position as u64 + 1);
            continue;
        }
        let effects = effects(&instruction, &mut information);
        let is_padding = is_padding(&instruction);
        steps.push(Step { address: instruction.ip(), flow: flow(&instruction), is_padding, effects });
    }
    steps
}

fn flow(instruction: &Instruction) -> Flow {
    if matches!(instruction.code(), Code::Syscall | Code::Int_imm8 | Code::Sysenter) {
        return Flow::SystemCall;
    }
    match instruction.flow_control() {
        FlowControl::Call | FlowControl::IndirectCall => Flow::Call,
        FlowControl::UnconditionalBranch => Flow::Jump(instruction.near_branch_target()),
        FlowControl::ConditionalBranch | FlowControl::XbeginXabortXend => {
            Flow::Branch(instruction.near_branch_target())
        }
        FlowControl::IndirectBranch => Flow::Anywhere,
        FlowControl::Return | FlowControl::Exception => Flow::Stops,
        _ if instruction.mnemonic() == Mnemonic::Hlt => Flow::Stops,
        _ => Flow::Next,
    }
}

/// A general register by its number, whatever its width.
fn number(register: Name) -> Option<Register> {
    let full = register.full_register();
    full.is_gpr64().then(|| u8::try_from(full.number()).expect("sixteen registers"))
}

fn memory(instruction: &Instruction) -> Option<Memory> {
    if is_thread(instruction) || instruction.memory_index() != Name::None {
        return None;
    }
    if instruction.is_ip_rel_memory_operand() {
        return Some(Memory { base: None, offset: instruction.ip_rel_memory_address().cast_signed() });
    }
    let offset = instruction.memory_displacement64().cast_signed();
    match instruction.memory_base() {
        Name::None => Some(Memory { base: None, offset }),
        base => Some(Memory { base: Some(number(base)?), offset }),
    }
}

/// What an operand holds, read as a source.
fn source(instruction: &Instruction, index: u32) -> Source {
    if let Some(value) = immediate(instruction, index) {
        return Source::Constant(value);
    }
    match instruction.op_kind(index) {
        OpKind::Register => match number(instruction.op_register(index)) {
            Some(register) => Source::Sum(register, 0),
            None => Source::Unknown,
        },
        OpKind::Memory => memory(instruction).map_or(Source::Unknown, Source::Loaded),
        _ => Source::Unknown,
    }
}

fn effects(instruction: &Instruction, information: &mut InstructionInfoFactory) -> Vec<Effect> {
    if let Some(effects) = known(instruction) {
        return effects;
    }
    let mut effects = Vec::new();
    for used in information.info(instruction).used_registers() {
        let is_written = matches!(
            used.access(),
            OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
        );
        if let Some(register) = number(used.register()).filter(|register| is_written && *register != RSP) {
            effects.push(Effect::Set(register, Source::Unknown));
        }
    }
    if instruction.op_count() > 0 && instruction.op0_kind() == OpKind::Memory {
        let writes = !matches!(instruction.mnemonic(), Mnemonic::Cmp | Mnemonic::Test | Mnemonic::Bt);
        if let Some(memory) = memory(instruction).filter(|_| writes) {
            effects.push(Effect::Store(memory, Source::Unknown));
        }
    }
    let moved = instruction.stack_pointer_increment();
    if moved != 0 && !matches!(instruction.flow_control(), FlowControl::Call | FlowControl::IndirectCall) {
        effects.push(Effect::Set(RSP, Source::Sum(RSP, moved.into())));
    }
    effects
}

/// Instructions whose meaning matters; `None` for all others, which leave what they write unknown.
fn known(instruction: &Instruction) -> Option<Vec<Effect>> {
    let destination = |index| match instruction.op_kind(index) {
        OpKind::Register => number(instruction.op_register(index)),
        _ => None,
    };
    // Half of a register is written: the rest stays, so that nothing is known.
    let is_narrow = instruction.op0_kind() == OpKind::Register && instruction.op0_register().size() < 4;
    let set = |register, source| Some(vec![Effect::Set(register, source)]);
    match instruction.mnemonic() {
        Mnemonic::Push => {
            let pushed = source(instruction, 0);
            let top = Memory { base: Some(RSP), offset: -8 };
            Some(vec![Effect::Store(top, pushed), Effect::Set(RSP, Source::Sum(RSP, -8))])
        }
        Mnemonic::Pop => {
            let top = Source::Loaded(Memory { base: Some(RSP), offset: 0 });
            Some(vec![Effect::Set(destination(0)?, top), Effect::Set(RSP, Source::Sum(RSP, 8))])
        }
        Mnemonic::Mov if instruction.op0_kind() == OpKind::Memory => {
            Some(vec![Effect::Store(memory(instruction)?, source(instruction, 1))])
        }
        Mnemonic::Mov if !is_narrow => set(destination(0)?, source(instruction, 1)),
        Mnemonic::Movsxd => set(destination(0)?, source(instruction, 1)),
        Mnemonic::Movzx if instruction.op1_kind() == OpKind::Register => {
            set(destination(0)?, source(instruction, 1))
        }
        Mnemonic::Lea if !is_narrow => set(destination(0)?, address(instruction)),
        Mnemonic::Xor | Mnemonic::Sub
            if instruction.op1_kind() == OpKind::Register
                && instruction.op0_kind() == OpKind::Register
                && instruction.op0_register() == instruction.op1_register()
                && !is_narrow =>
        {
            set(destination(0)?, Source::Constant(0))
        }
        // All bits the carry.
        Mnemonic::Sbb if instruction.op0_register() == instruction.op1_register() => {
            set(destination(0)?, either(Source::Constant(0), Source::Constant(-1)))
        }
        Mnemonic::Add | Mnemonic::Sub if !is_narrow => {
            let register = destination(0)?;
            let value = immediate(instruction, 1)?;
            let value = if instruction.mnemonic() == Mnemonic::Sub { value.wrapping_neg() } else { value };
            set(register, Source::Sum(register, value))
        }
        Mnemonic::Inc if !is_narrow => set(destination(0)?, Source::Sum(destination(0)?, 1)),
        Mnemonic::Dec if !is_narrow => set(destination(0)?, Source::Sum(destination(0)?, -1)),
        Mnemonic::And if !is_narrow => {
            let register = destination(0)?;
            let mask = immediate(instruction, 1)?;
            // The stack is aligned: what lies on it is found by what is put there afterwards.
            set(register, if register == RSP { Source::Sum(RSP, 0) } else { Source::Masked(register, mask) })
        }
        Mnemonic::Or if !is_narrow => {
            let register = destination(0)?;
            set(register, Source::Joined(register, immediate(instruction, 1)?))
        }
        Mnemonic::Leave => Some(vec![
            Effect::Set(RSP, Source::Sum(RBP, 8)),
            Effect::Set(RBP, Source::Loaded(Memory { base: Some(RBP), offset: 0 })),
        ]),
        mnemonic if is_conditional_move(mnemonic) => {
            let register = destination(0)?;
            set(register, either(Source::Sum(register, 0), source(instruction, 1)))
        }
        mnemonic if is_conditional_set(mnemonic) => {
            set(destination(0)?, either(Source::Constant(0), Source::Constant(1)))
        }
        _ => None,
    }
}

/// The address that LEA makes; compilers add and multiply with it.
fn address(instruction: &Instruction) -> Source {
    if instruction.memory_index() == Name::None {
        return memory(instruction).map_or(Source::Unknown, |memory| match memory.base {
            Some(base) => Source::Sum(base, memory.offset),
            None => Source::Constant(memory.offset),
        });
    }
    let scale = i64::from(instruction.memory_index_scale());
    let offset = instruction.memory_displacement64().cast_signed();
    let (base, index) = (instruction.memory_base(), instruction.memory_index());
    match (number(base), number(index)) {
        (Some(base), Some(index)) if base == index => Source::Total(vec![(base, scale + 1)], offset),
        (Some(base), Some(index)) => Source::Total(vec![(base, 1), (index, scale)], offset),
        (None, Some(index)) if base == Name::None => Source::Total(vec![(index, scale)], offset),
        _ => Source::Unknown,
    }
}

fn either(one: Source, other: Source) -> Source {
    Source::Either(Box::new(one), Box::new(other))
}

fn is_conditional_move(mnemonic: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(
        mnemonic,
        M::Cmova
            | M::Cmovae
            | M::Cmovb
            | M::Cmovbe
            | M::Cmove
            | M::Cmovg
            | M::Cmovge
            | M::Cmovl
            | M::Cmovle
            | M::Cmovne
            | M::Cmovno
            | M::Cmovnp
            | M::Cmovns
            | M::Cmovo
            | M::Cmovp
            | M::Cmovs
    )
}

fn is_conditional_set(mnemonic: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(
        mnemonic,
        M::Seta
            | M::Setae
            | M::Setb
            | M::Setbe
            | M::Sete
            | M::Setg
            | M::Setge
            | M::Setl
            | M::Setle
            | M::Setne
            | M::Setno
            | M::Setnp
            | M::Setns
            | M::Seto
            | M::Setp
            | M::Sets
    )
}
