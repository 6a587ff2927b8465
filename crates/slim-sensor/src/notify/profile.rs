//! The program of the container's own seccomp profile, run on calls that wait: what it would have answered.

use super::listener::Waiting;

/// Actions of `linux/seccomp.h`.
const RETURN_ACTION: u32 = 0xffff_0000;
const RETURN_ERROR: u32 = 0x0005_0000;
const RETURN_DATA: u32 = 0xffff;

/// Instructions of `linux/bpf_common.h`: a word of the call's data is loaded, compared with a constant, returned from.
const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_AT_LEAST: u16 = 0x35;
const JUMP_ANY: u16 = 0x45;
const AND: u16 = 0x54;
const RETURN: u16 = 0x06;
/// Bytes of `struct seccomp_data`.
const DATA: u32 = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    value: u32,
}

/// A filter program of the kernel's; an empty one allows everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile(Vec<Instruction>);

impl Profile {
    /// From `struct sock_filter`s. `None` where it does what libseccomp's programs do not: what it would refuse is not known
    /// then, and nothing may be let through for that.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let instruction = |bytes: &[u8; 8]| {
            let [a, b, if_true, if_false, v, w, x, y] = *bytes;
            Instruction {
                code: u16::from_ne_bytes([a, b]),
                if_true,
                if_false,
                value: u32::from_ne_bytes([v, w, x, y]),
            }
        };
        let (instructions, rest) = bytes.as_chunks::<8>();
        let program = Self(instructions.iter().map(instruction).collect());
        (rest.is_empty() && program.is_understood()).then_some(program)
    }

    /// That all instructions are of those that [`Self::run`] knows, load what is there and jump within the program.
    fn is_understood(&self) -> bool {
        let is_within = |at: usize, by: usize| at + 1 + by < self.0.len();
        self.0.iter().enumerate().all(|(at, instruction)| {
            let Instruction { code, if_true, if_false, value } = *instruction;
            match code {
                LOAD => value.is_multiple_of(4) && value < DATA && is_within(at, 0),
                JUMP => is_within(at, value as usize),
                JUMP_EQUAL | JUMP_GREATER | JUMP_AT_LEAST | JUMP_ANY => {
                    is_within(at, if_true.into()) && is_within(at, if_false.into())
                }
                AND => is_within(at, 0),
                RETURN => true,
                _ => false,
            }
        })
    }

    /// The error that the profile has for this call; `None` where it lets it through. What it kills for is never told, so
    /// that it need not be known here.
    pub fn refuses(&self, call: &Waiting) -> Option<i32> {
        let action = self.run(call)?;
        (action & RETURN_ACTION == RETURN_ERROR).then_some((action & RETURN_DATA).cast_signed())
    }

    /// The kernel's filter machine, as far as libseccomp's programs use it. `None` for an empty program.
    fn run(&self, call: &Waiting) -> Option<u32> {
        let (mut at, mut loaded) = (0, 0_u32);
        loop {
            let Instruction { code, if_true, if_false, value } = *self.0.get(at)?;
            at += 1;
            let jump = |holds: bool| usize::from(if holds { if_true } else { if_false });
            match code {
                LOAD => loaded = word(call, value)?,
                JUMP => at += value as usize,
                JUMP_EQUAL => at += jump(loaded == value),
                JUMP_GREATER => at += jump(loaded > value),
                JUMP_AT_LEAST => at += jump(loaded >= value),
                JUMP_ANY => at += jump(loaded & value != 0),
                AND => loaded &= value,
                RETURN => return Some(value),
                _ => return None,
            }
        }
    }
}

/// A word of `struct seccomp_data`.
fn word(call: &Waiting, at: u32) -> Option<u32> {
    let half = |value: u64| (if at.is_multiple_of(8) { value } else { value >> 32 } & 0xffff_ffff) as u32;
    match at {
        0 => Some(call.number),
        4 => Some(call.machine),
        8 | 12 => Some(half(call.instruction)),
        _ => call.arguments.get((at as usize).checked_sub(16)? / 8).map(|argument| half(*argument)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(instructions: &[(u16, u8, u8, u32)]) -> Option<Profile> {
        let bytes: Vec<u8> = instructions
            .iter()
            .flat_map(|(code, if_true, if_false, value)| {
                [&code.to_ne_bytes()[..], &[*if_true, *if_false], &value.to_ne_bytes()].concat()
            })
            .collect();
        Profile::read(&bytes)
    }

    fn call(number: u32, first: u64) -> Waiting {
        let arguments = [first, 0, 0, 0, 0, 0];
        crate::notify::listener::tests::waiting(number, arguments)
    }

    #[test]
    fn a_masked_argument_decides() {
        // The second call is refused with 7 where bits of the mask are set in the upper half of its argument.
        let profile = program(&[
            (0x20, 0, 0, 0),
            (0x15, 0, 4, 2),
            (0x20, 0, 0, 20),
            (0x54, 0, 0, 0xf0),
            (0x15, 0, 1, 0x30),
            (0x06, 0, 0, RETURN_ERROR | 7),
            (0x06, 0, 0, 0x7fff_0000),
        ])
        .unwrap();
        assert_eq!(profile.refuses(&call(2, 0x3f << 32)), Some(7));
        assert_eq!(profile.refuses(&call(2, 0x3f)), None);
        assert_eq!(profile.refuses(&call(1, 0)), None);
    }

    #[test]
    fn no_program_refuses_nothing_and_one_that_is_not_understood_is_none() {
        assert_eq!(Profile::default().refuses(&call(1, 0)), None);
        assert_eq!(program(&[]), Some(Profile::default()));
        let end = (RETURN, 0, 0, RETURN_ERROR);
        assert!(program(&[(LOAD, 0, 0, 0), end]).is_some());
        // Away from the program, data that is not there, an instruction of no such program, no end.
        for wrong in [(JUMP, 0, 0, 100), (JUMP_EQUAL, 0, 1, 7), (LOAD, 0, 0, 4096), (0x87, 0, 0, 0)] {
            assert_eq!(program(&[wrong, end]), None, "{wrong:?}");
        }
        assert_eq!(program(&[end, (LOAD, 0, 0, 0)]), None);
    }
}
