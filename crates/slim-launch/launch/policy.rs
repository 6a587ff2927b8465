//! The policy file, read whole into a buffer of the binary's own.

use crate::format::{self, Policy};
use crate::report::Failure;
use crate::sys;
use core::cell::UnsafeCell;
use core::ffi::CStr;

#[cfg(target_arch = "x86_64")]
const MACHINE: u32 = format::X86_64;
#[cfg(target_arch = "aarch64")]
const MACHINE: u32 = format::AARCH64;

/// One byte more than is read, which tells a file that is too long. Untouched pages of it cost nothing. Instructions are
/// aligned as the kernel's structure is.
#[repr(align(8))]
struct Buffer(UnsafeCell<[u8; format::SIZE_LIMIT + 1]>);

// SAFETY: there is one thread, and one caller.
unsafe impl Sync for Buffer {}

static BUFFER: Buffer = Buffer(UnsafeCell::new([0; format::SIZE_LIMIT + 1]));

/// Reads a policy. To be called once.
pub fn read(path: &'static CStr) -> Result<Policy<'static>, Failure<'static>> {
    let failed = |errno| Failure::PolicyUnreadable { path, errno };
    let file = sys::open(path, sys::READ_ONLY | sys::CLOSE_ON_EXEC).map_err(failed)?;
    // SAFETY: this is called once, so that nobody else holds the buffer.
    let buffer = unsafe { &mut *BUFFER.0.get() };
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match sys::read(file, rest).map_err(failed)? {
            0 => break,
            more => length += more,
        }
    }
    sys::close(file);
    let bytes = buffer.get(..length).unwrap_or_default();
    Policy::read(bytes, MACHINE).map_err(|reason| Failure::PolicyRefused { path, reason })
}

impl Policy<'static> {
    /// The program that the policy names.
    pub fn program(&self) -> Option<&'static CStr> {
        CStr::from_bytes_with_nul(self.program).ok()
    }
}
