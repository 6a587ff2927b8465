//! System calls, and nothing around them.

use core::ffi::CStr;

/// What a call gave: a number, or the negated errno as a positive one.
pub type Outcome = Result<usize, Errno>;

/// An errno.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub u16);

impl Errno {
    pub const EPERM: Self = Self(1);
    pub const ENOENT: Self = Self(2);
    pub const EINTR: Self = Self(4);
    pub const ENOEXEC: Self = Self(8);
    pub const EACCES: Self = Self(13);
    pub const ENOTDIR: Self = Self(20);
    pub const EINVAL: Self = Self(22);

    /// In words, as libc says it; empty where the number must do.
    pub const fn text(self) -> &'static str {
        match self.0 {
            1 => "operation not permitted",
            2 => "no such file or directory",
            7 => "argument list too long",
            8 => "exec format error",
            12 => "cannot allocate memory",
            13 => "permission denied",
            20 => "not a directory",
            21 => "is a directory",
            22 => "invalid argument",
            38 => "function not implemented",
            40 => "too many levels of symbolic links",
            95 => "operation not supported",
            _ => "",
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod number {
    pub const READ: usize = 0;
    pub const WRITE: usize = 1;
    pub const CLOSE: usize = 3;
    pub const EXECVE: usize = 59;
    pub const PRCTL: usize = 157;
    pub const EXIT_GROUP: usize = 231;
    pub const OPENAT: usize = 257;
    pub const LANDLOCK_CREATE_RULESET: usize = 444;
    pub const LANDLOCK_ADD_RULE: usize = 445;
    pub const LANDLOCK_RESTRICT_SELF: usize = 446;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub const OPENAT: usize = 56;
    pub const CLOSE: usize = 57;
    pub const READ: usize = 63;
    pub const WRITE: usize = 64;
    pub const EXIT_GROUP: usize = 94;
    pub const PRCTL: usize = 167;
    pub const EXECVE: usize = 221;
    pub const LANDLOCK_CREATE_RULESET: usize = 444;
    pub const LANDLOCK_ADD_RULE: usize = 445;
    pub const LANDLOCK_RESTRICT_SELF: usize = 446;
}

pub const READ_ONLY: usize = 0;
pub const CLOSE_ON_EXEC: usize = 0o2_000_000;
/// O_PATH: a name for the file, no way to read it.
pub const NAME_ONLY: usize = 0o10_000_000;

/// # Safety
/// The call must do nothing to memory that the caller does not own.
#[cfg(target_arch = "x86_64")]
unsafe fn call(number: usize, arguments: [usize; 5]) -> Outcome {
    let result: isize;
    // SAFETY: as the caller promises; the kernel changes rax, rcx and r11 besides.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            in("rdx") arguments[2],
            in("r10") arguments[3],
            in("r8") arguments[4],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    outcome(result)
}

/// # Safety
/// The call must do nothing to memory that the caller does not own.
#[cfg(target_arch = "aarch64")]
unsafe fn call(number: usize, arguments: [usize; 5]) -> Outcome {
    let result: isize;
    // SAFETY: as the caller promises; the kernel changes x0 only.
    unsafe {
        core::arch::asm!(
            "svc #0",
            in("x8") number,
            inlateout("x0") arguments[0] as isize => result,
            in("x1") arguments[1],
            in("x2") arguments[2],
            in("x3") arguments[3],
            in("x4") arguments[4],
            options(nostack),
        );
    }
    outcome(result)
}

/// The kernel gives an errno as a number from -4095 to -1.
fn outcome(result: isize) -> Outcome {
    match result {
        -4095..=-1 => Err(Errno(result.unsigned_abs() as u16)),
        result => Ok(result as usize),
    }
}

/// Opens a path, absolute or relative to the working directory.
pub fn open(path: &CStr, flags: usize) -> Outcome {
    const WORKING_DIRECTORY: usize = -100_isize as usize;
    let arguments = [WORKING_DIRECTORY, path.as_ptr() as usize, flags, 0, 0];
    // SAFETY: the kernel reads the path up to its zero byte.
    unsafe { call(number::OPENAT, arguments) }
}

/// Reads up to the buffer's length, again where a signal came first.
pub fn read(file: usize, buffer: &mut [u8]) -> Outcome {
    loop {
        let arguments = [file, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0];
        // SAFETY: the kernel writes to the buffer, at most its length.
        match unsafe { call(number::READ, arguments) } {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

/// Writes what it can.
pub fn write(file: usize, bytes: &[u8]) -> Outcome {
    // SAFETY: the kernel reads the bytes.
    unsafe { call(number::WRITE, [file, bytes.as_ptr() as usize, bytes.len(), 0, 0]) }
}

pub fn close(file: usize) {
    // SAFETY: no memory is touched.
    let _ = unsafe { call(number::CLOSE, [file, 0, 0, 0, 0]) };
}

/// prctl with plain numbers.
pub fn prctl(option: usize, argument: usize) -> Outcome {
    // SAFETY: the options that are used here (no-new-privileges) take no address.
    unsafe { call(number::PRCTL, [option, argument, 0, 0, 0]) }
}

/// prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program).
pub fn set_filter(program: &FilterProgram) -> Outcome {
    const SET_SECCOMP: usize = 22;
    const FILTER: usize = 2;
    // SAFETY: the kernel copies the instructions, `length` of them, out of the buffer that outlives the call.
    unsafe { call(number::PRCTL, [SET_SECCOMP, FILTER, core::ptr::from_ref(program) as usize, 0, 0]) }
}

/// `struct sock_fprog`.
#[repr(C)]
pub struct FilterProgram {
    pub length: u16,
    pub instructions: *const u8,
}

/// Which version of Landlock there is.
pub fn landlock_version() -> Outcome {
    const VERSION: usize = 1;
    // SAFETY: no address is given.
    unsafe { call(number::LANDLOCK_CREATE_RULESET, [0, 0, VERSION, 0, 0]) }
}

/// Makes a ruleset that rules on these rights over files.
pub fn landlock_create(handled: u64) -> Outcome {
    // SAFETY: the kernel reads the eight bytes that every version of the structure begins with.
    unsafe { call(number::LANDLOCK_CREATE_RULESET, [core::ptr::from_ref(&handled) as usize, 8, 0, 0, 0]) }
}

/// `struct landlock_path_beneath_attr`, which is packed.
#[repr(C, packed)]
pub struct Beneath {
    pub allowed: u64,
    pub parent: i32,
}

pub fn landlock_add(ruleset: usize, rule: &Beneath) -> Outcome {
    const PATH_BENEATH: usize = 1;
    // SAFETY: the kernel reads the structure.
    unsafe {
        call(number::LANDLOCK_ADD_RULE, [ruleset, PATH_BENEATH, core::ptr::from_ref(rule) as usize, 0, 0])
    }
}

pub fn landlock_restrict(ruleset: usize) -> Outcome {
    // SAFETY: no memory is touched.
    unsafe { call(number::LANDLOCK_RESTRICT_SELF, [ruleset, 0, 0, 0, 0]) }
}

/// Becomes another program; comes back only with the reason why not.
pub fn execute(program: *const u8, arguments: *const *const u8, environment: *const *const u8) -> Errno {
    // SAFETY: all three are the kernel's own, or made of them: ending in a zero byte, in a null pointer.
    let outcome =
        unsafe { call(number::EXECVE, [program as usize, arguments as usize, environment as usize, 0, 0]) };
    outcome.err().unwrap_or(Errno(0))
}

pub fn exit(code: u8) -> ! {
    // SAFETY: the process ends here.
    let _ = unsafe { call(number::EXIT_GROUP, [usize::from(code), 0, 0, 0, 0]) };
    // It does not where the filter that was just installed refuses that. An instruction that no processor has ends it.
    // SAFETY: no memory is touched.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        core::arch::asm!("ud2", options(noreturn, nomem, nostack));
        #[cfg(target_arch = "aarch64")]
        core::arch::asm!("udf #0", options(noreturn, nomem, nostack));
    }
}
