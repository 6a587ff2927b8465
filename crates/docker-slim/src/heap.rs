//! The heap of the C library, told to be small.
//!
//! The stages run one after the other on threads of a pool, and each leaves next to nothing. glibc gives every thread a
//! heap of its own and keeps what was freed in it, so that the stages' peaks would add up: 180 MB instead of 100 for an
//! image of 1 GB.

use std::ffi::c_int;

/// Heaps that threads share.
const HEAPS: c_int = 2;
/// Bytes that may lie free at the end of a heap before they go back to the kernel.
const FREE_AT_THE_END: c_int = 128 << 10;

/// Limits the heap. To be called before the first thread is made.
#[expect(unsafe_code, reason = "the C library's allocator can be told by no other way than its own function")]
pub fn keep_small() {
    for (setting, value) in [(libc::M_ARENA_MAX, HEAPS), (libc::M_TRIM_THRESHOLD, FREE_AT_THE_END)] {
        // SAFETY: mallopt(3) takes two integers by value, and no other thread exists yet. A setting that is not known
        // changes nothing.
        unsafe { libc::mallopt(setting, value) };
    }
}
