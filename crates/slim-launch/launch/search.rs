//! Becoming the program: by its path, or by its name along PATH as execvp(3) does.

use crate::report::Failure;
use crate::sys::{self, Errno};
use core::ffi::CStr;

/// What execvp(3) of musl searches without PATH, with the folders of the system's own programs before.
const USUAL_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const LONGEST: usize = 4096;

/// Comes back with the reason why the program does not run.
pub fn execute(
    program: &'static CStr,
    arguments: *const *const u8,
    environment: *const *const u8,
) -> Failure<'static> {
    let name = program.to_bytes();
    if name.contains(&b'/') {
        let errno = sys::execute(program.as_ptr().cast(), arguments, environment);
        return Failure::NotExecuted { program, errno };
    }
    let mut seen = Errno::ENOENT;
    let path = path_of(environment).unwrap_or(USUAL_PATH);
    for folder in path.split(|byte| *byte == b':').filter(|_| !name.is_empty()) {
        let mut buffer = [0_u8; LONGEST];
        let folder = if folder.is_empty() { b"." } else { folder };
        let Some(candidate) = join(&mut buffer, folder, program) else { continue };
        match sys::execute(candidate, arguments, environment) {
            Errno::ENOENT | Errno::ENOTDIR => {}
            Errno::EACCES => seen = Errno::EACCES,
            errno => return Failure::NotExecuted { program, errno },
        }
    }
    Failure::NotExecuted { program, errno: seen }
}

fn join(buffer: &mut [u8; LONGEST], folder: &[u8], program: &CStr) -> Option<*const u8> {
    let name = program.to_bytes_with_nul();
    buffer.get_mut(..folder.len())?.copy_from_slice(folder);
    *buffer.get_mut(folder.len())? = b'/';
    let begin = folder.len() + 1;
    buffer.get_mut(begin..begin + name.len())?.copy_from_slice(name);
    Some(buffer.as_ptr())
}

fn path_of(environment: *const *const u8) -> Option<&'static [u8]> {
    let mut at = environment;
    // SAFETY: the environment is the kernel's: strings up to a null pointer, as long as the process lives.
    unsafe {
        while !(*at).is_null() {
            if let Some(path) = CStr::from_ptr((*at).cast()).to_bytes().strip_prefix(b"PATH=") {
                return Some(path);
            }
            at = at.add(1);
        }
    }
    None
}
