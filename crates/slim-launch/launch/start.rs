//! How a process begins: the kernel puts arguments, environment and the auxiliary vector on the stack.

use core::ffi::{CStr, c_char};

#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {begin}",
    "ud2",
    begin = sym begin,
);

#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, xzr",
    "mov x30, xzr",
    "mov x0, sp",
    "bl {begin}",
    "brk #1",
    begin = sym begin,
);

/// What the kernel said.
pub struct Start {
    /// `argv`, ending in a null pointer.
    pub arguments: *const *const u8,
    pub count: usize,
    /// `envp`, ending in a null pointer.
    pub environment: *const *const u8,
    /// AT_EXECFN: the path by which the kernel was asked for this program. Unlike the first argument nobody can make it
    /// up.
    pub called_as: Option<&'static CStr>,
}

/// # Safety
/// `stack` is where the kernel left the stack pointer of a new program.
unsafe extern "C" fn begin(stack: *const usize) -> ! {
    // SAFETY: the layout is that of the System V ABI's process initialisation, on both machines.
    let start = unsafe { read(stack) };
    crate::sys::exit(crate::main(&start))
}

/// # Safety
/// As [`begin`].
unsafe fn read(stack: *const usize) -> Start {
    const AT_NULL: usize = 0;
    const AT_EXECFN: usize = 31;
    // SAFETY: as the caller promises: a count, so many pointers and a null pointer, pointers up to a null pointer, pairs up
    // to AT_NULL; strings end in a zero byte and live as long as the process.
    unsafe {
        let count = *stack;
        let arguments = stack.add(1).cast::<*const u8>();
        let environment = arguments.add(count + 1);
        let mut after = environment;
        while !(*after).is_null() {
            after = after.add(1);
        }
        let mut pair = after.add(1).cast::<usize>();
        let mut called_as = None;
        while *pair != AT_NULL {
            if *pair == AT_EXECFN {
                called_as = Some(CStr::from_ptr(*pair.add(1) as *const c_char));
            }
            pair = pair.add(2);
        }
        Start { arguments, count, environment, called_as }
    }
}

impl Start {
    /// An argument; 0 is the name.
    pub fn argument(&self, at: usize) -> Option<&'static CStr> {
        if at >= self.count {
            return None;
        }
        // SAFETY: there are `count` of them, and they live as long as the process.
        Some(unsafe { CStr::from_ptr((*self.arguments.add(at)).cast()) })
    }

    /// The arguments from one on, as an `argv`.
    pub fn arguments_from(&self, at: usize) -> *const *const u8 {
        // SAFETY: at most one past the last argument, where the null pointer is.
        unsafe { self.arguments.add(at.min(self.count)) }
    }
}
