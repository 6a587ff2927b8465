//! How many calls each mode allows, beside what the engine allows by itself.

use crate::engine_default::default_count;
use crate::inputs::Inputs;
use crate::mode::Mode;
use crate::policy::{Because, Policy};
use crate::system_calls::decide;
use serde::{Deserialize, Serialize};
use slim_trace::Trace;

/// Numbers of calls that may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// What the image's own programs were seen to make.
    pub observed: usize,
    pub strict: usize,
    pub balanced: usize,
    pub broad: usize,
    /// Docker's default profile, of the calls that programs of this machine can make.
    pub engine_default: usize,
}

/// Counts what each mode would allow, whichever is chosen.
#[must_use]
pub fn counts(trace: &Trace, inputs: &Inputs) -> Counts {
    let of = |mode| decide(trace, &Inputs { mode, ..inputs.clone() });
    let strict = of(Mode::Strict);
    Counts {
        observed: observed(&strict),
        strict: strict.allowed.len(),
        balanced: of(Mode::Balanced).allowed.len(),
        broad: of(Mode::Broad).allowed.len(),
        engine_default: default_count(strict.architecture),
    }
}

fn observed(policy: &Policy) -> usize {
    let is_made = |because: &Because| matches!(because, Because::Program { .. });
    policy.allowed.iter().filter(|call| call.because.iter().any(is_made)).count()
}
