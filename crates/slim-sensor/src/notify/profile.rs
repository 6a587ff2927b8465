//! The program of the container's own seccomp profile, run on calls that wait: what it would have answered.

use super::listener::Waiting;

/// Actions of `linux/seccomp.h`.
const RETURN_ACTION: u32 = 0xffff_0000;
const RETURN_ERROR: u32 = 0x0005_0000;
const RETURN_DATA: u32 = 0xffff;

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
    /// From `struct sock_filter`s.
    pub fn read(bytes: &[u8]) -> Self {
        let instruction = |bytes: &[u8; 8]| {
            let [a, b, if_true, if_false, v, w, x, y] = *bytes;
            Instruction {
                code: u16::from_ne_bytes([a, b]),
                if_true,
                if_false,
                value: u32::from_ne_bytes([v, w, x, y]),
            }
        };
        Self(bytes.as_chunks::<8>().0.iter().map(instruction).collect())
    }

    /// The error that the profile has for this call; `None` where it lets it through. What it kills for is never told, so
    /// that it need not be known here.
    pub fn refuses(&self, call: &Waiting) -> Option<i32> {
        let action = self.run(call)?;
        (action & RETURN_ACTION == RETURN_ERROR).then_some((action & RETURN_DATA).cast_signed())
    }

    /// The kernel's filter machine, as far as libseccomp's programs use it. `None` for a program that is empty or does
    /// something else.
    fn run(&self, call: &Waiting) -> Option<u32> {
        let (mut at, mut loaded) = (0, 0_u32);
        loop {
            let Instruction { code, if_true, if_false, value } = *self.0.get(at)?;
            at += 1;
            let jump = |holds: bool| usize::from(if holds { if_true } else { if_false });
            match code {
                0x20 => loaded = word(call, value)?,
                0x05 => at += value as usize,
                0x15 => at += jump(loaded == value),
                0x25 => at += jump(loaded > value),
                0x35 => at += jump(loaded >= value),
                0x45 => at += jump(loaded & value != 0),
                0x54 => loaded &= value,
                0x06 => return Some(value),
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

    fn program(instructions: &[(u16, u8, u8, u32)]) -> Profile {
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
        ]);
        assert_eq!(profile.refuses(&call(2, 0x3f << 32)), Some(7));
        assert_eq!(profile.refuses(&call(2, 0x3f)), None);
        assert_eq!(profile.refuses(&call(1, 0)), None);
    }

    #[test]
    fn no_program_and_one_that_runs_away_refuse_nothing() {
        assert_eq!(Profile::default().refuses(&call(1, 0)), None);
        assert_eq!(program(&[(0x05, 0, 0, 100)]).refuses(&call(1, 0)), None);
        assert_eq!(program(&[(0x20, 0, 0, 4096), (0x06, 0, 0, RETURN_ERROR)]).refuses(&call(1, 0)), None);
    }
}
