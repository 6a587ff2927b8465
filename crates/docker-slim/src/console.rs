//! The person's own terminal while a container has it: raw, so that every key goes to the program in the container, and
//! its size. Invariant: it is as it was before when the value is dropped.

use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use slim_engine::embedded::Size;
use std::io;

/// A terminal in raw mode.
pub struct RawTerminal(Termios);

impl RawTerminal {
    /// Makes standard input's terminal raw.
    ///
    /// # Errors
    /// It is none.
    pub fn take() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Drain, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // The terminal may be gone, and with it whoever would mind.
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.0);
    }
}

/// Whether standard input is a terminal.
pub fn is_there() -> bool {
    isatty(io::stdin())
}

/// How large standard output's terminal is, or standard input's.
pub fn size() -> Option<Size> {
    let size = tcgetwinsize(io::stdout()).or_else(|_| tcgetwinsize(io::stdin())).ok()?;
    Some(Size { rows: size.ws_row, columns: size.ws_col })
}
