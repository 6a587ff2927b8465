//! Telling a supervisor of the calls that a container's programs make: seccomp's user notification.
//!
//! Where a socket lies in the container's folder, whoever listens there is told. The last filter before the exec is then
//! the profile's, changed: what it allows is told and goes on when the listener says so, unless it is one of the calls that
//! are made all the time ([`hot`]); what it refuses with an error is told too, and it is the supervisor, who has the
//! profile's own program, that answers with the error. (The kernel lets an error of one filter win over the notification
//! of another, so that of two filters the listener would never hear of what the profile refuses.)
//!
//! What is handed over, in one message on a stream: four bytes `SLM1`; the number of the profile's instructions
//! and that of the calls not always told, two u32; those instructions; the numbers of those calls, u32 each, of
//! this machine's own ABI; all in the machine's byte order; and with the first byte the listener as a descriptor.
//! Invariant: the container does not outlive its supervisor. The keeper holds the connection, and kills the container when
//! it ends ([`hold`]).

use super::filter::{self, INSTRUCTION_BYTES, Instruction};
use super::record::{Folder, Process};
use nix::libc;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;

/// The socket's name in the container's folder.
pub(super) const SOCKET: &str = "calls.sock";
const MAGIC: [u8; 4] = *b"SLM1";

/// `BPF_LD|BPF_W|BPF_ABS`, `BPF_JMP|BPF_JEQ|BPF_K`, `BPF_JMP|BPF_JA`, `BPF_RET|BPF_K` of `linux/bpf_common.h`.
const LOAD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP: u16 = 0x05;
const RETURN: u16 = 0x06;
/// Places in `struct seccomp_data`.
const NUMBER: u32 = 0;
const MACHINE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// AUDIT_ARCH_* of `linux/audit.h`.
#[cfg(target_arch = "x86_64")]
const THIS_MACHINE: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const THIS_MACHINE: u32 = 0xC000_00B7;

/// Calls that every program makes all the time and that name no file: not told. They are taken for made.
const HOT: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_close,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_ioctl,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_ctl,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_gettimeofday,
    libc::SYS_getcpu,
    libc::SYS_getrandom,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_accept4,
    libc::SYS_shutdown,
    libc::SYS_setsockopt,
    libc::SYS_getsockopt,
    libc::SYS_sendfile,
    libc::SYS_splice,
    libc::SYS_timerfd_settime,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_sigaltstack,
    libc::SYS_tgkill,
    libc::SYS_restart_syscall,
    libc::SYS_sched_yield,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getppid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
];
#[cfg(target_arch = "x86_64")]
const HOT_HERE: &[libc::c_long] = &[libc::SYS_poll, libc::SYS_select, libc::SYS_epoll_wait, libc::SYS_time];
#[cfg(not(target_arch = "x86_64"))]
const HOT_HERE: &[libc::c_long] = &[];

/// A connection to the supervisor. Copies of it are one.
#[derive(Clone, Debug)]
pub(super) struct Supervisor(Arc<UnixStream>);

/// Connects to the container's supervisor; `None` where it has none.
///
/// # Errors
/// When one was there and is gone: the program must not run unseen.
pub(super) fn connect(folder: &Folder) -> io::Result<Option<Supervisor>> {
    if !folder.join(SOCKET).exists() {
        return Ok(None);
    }
    // The path of a socket has room for 107 bytes only, that of a folder has more.
    let directory = std::fs::File::open(folder.path())?;
    let path = format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd());
    let connection = UnixStream::connect(path).map_err(|error| {
        io::Error::new(error.kind(), format!("reach the observer of the container's calls: {error}"))
    })?;
    Ok(Some(Supervisor(Arc::new(connection))))
}

/// Kills the container as soon as its supervisor is gone, who would leave it with calls that nobody answers.
pub(super) fn hold(supervisor: &Supervisor, program: Process) {
    let connection = Arc::clone(&supervisor.0);
    thread::spawn(move || {
        // Nothing is ever said: this comes back when the other end is closed.
        let ended = (&*connection).read(&mut [0]);
        tracing::debug!(?ended, "the supervisor is gone");
        let _ = super::signals::send(program, libc::SIGKILL);
    });
}

impl Supervisor {
    /// Loads a profile's program so that the supervisor is told, and hands it the listener. The call that does so is the
    /// only one of ours that is not told.
    ///
    /// # Errors
    /// The kernel's: it is older than 5.5, or somebody is told already.
    #[expect(
        unsafe_code,
        reason = "a message whose address the filter knows before it is loaded cannot be made otherwise"
    )]
    pub(super) fn load(&self, profile: Option<&[Instruction]>) -> io::Result<()> {
        /// One descriptor, as `cmsg(3)` lays it out.
        #[repr(C)]
        struct Control {
            header: libc::cmsghdr,
            descriptor: i32,
            _to_the_next_word: i32,
        }
        let mut bytes = announcement(profile.unwrap_or_default());
        let mut data = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        let mut control = Control {
            header: libc::cmsghdr {
                // SAFETY: it only calculates.
                cmsg_len: unsafe { libc::CMSG_LEN(size_of::<i32>() as u32) } as usize,
                cmsg_level: libc::SOL_SOCKET,
                cmsg_type: libc::SCM_RIGHTS,
            },
            descriptor: -1,
            _to_the_next_word: 0,
        };
        let control = &raw mut control;
        let message = libc::msghdr {
            msg_name: std::ptr::null_mut(),
            msg_namelen: 0,
            msg_iov: &raw mut data,
            msg_iovlen: 1,
            msg_control: control.cast(),
            msg_controllen: size_of::<Control>(),
            msg_flags: 0,
        };
        let socket = self.0.as_raw_fd();
        let handover = Handover { socket: socket.cast_unsigned(), message: (&raw const message) as u64 };
        let program = telling(profile, Some(handover));
        let listener = load_listened(&program)?;
        // SAFETY: `control` is alive and nobody else's.
        unsafe { (*control).descriptor = listener };
        loop {
            // SAFETY: the message and what it points to are alive.
            let sent = unsafe { libc::sendmsg(socket, &raw const message, libc::MSG_NOSIGNAL) };
            if sent >= 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
}

fn announcement(profile: &[Instruction]) -> Vec<u8> {
    // Of sendto(2) only some calls are told.
    let hot: Vec<u32> = hot().into_iter().chain([libc::SYS_sendto as u32]).collect();
    let mut bytes = MAGIC.to_vec();
    for number in [length(profile.len()), length(hot.len())] {
        bytes.extend(number.to_ne_bytes());
    }
    bytes.extend(profile.iter().flat_map(|instruction| instruction.bytes()));
    bytes.extend(hot.iter().flat_map(|number| number.to_ne_bytes()));
    debug_assert_eq!(bytes.len(), 12 + profile.len() * INSTRUCTION_BYTES + hot.len() * 4);
    bytes
}

fn length(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Loads a program with a listener, whose descriptor is closed by an exec. A signal does not take a call back that the
/// supervisor has read, where the kernel can do so (since 5.19): Go's runtime interrupts its own threads all the time.
fn load_listened(program: &[Instruction]) -> io::Result<i32> {
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    match filter::set(program, flags | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => filter::set(program, flags),
        loaded => loaded,
    }
}

/// Numbers of calls that are not told.
pub(super) fn hot() -> Vec<u32> {
    HOT.iter().chain(HOT_HERE).filter_map(|number| u32::try_from(*number).ok()).collect()
}

/// The one call that hands the listener over: sendmsg(2) of this message to this socket. It must not be told, since nobody
/// hears it yet, nor refused.
#[derive(Clone, Copy)]
struct Handover {
    socket: u32,
    message: u64,
}

/// The profile's program, changed as the module's text says.
fn telling(profile: Option<&[Instruction]>, handover: Option<Handover>) -> Vec<Instruction> {
    let mut program = handover.map(handing_over).unwrap_or_default();
    let profile = profile.unwrap_or_default();
    for (at, instruction) in profile.iter().enumerate() {
        // Behind the profile's own program lies what decides on the calls that it allows.
        let to_the_end = step(JUMP, length(profile.len() - at - 1));
        program.push(match (instruction.code, instruction.value & libc::SECCOMP_RET_ACTION_FULL) {
            (RETURN, libc::SECCOMP_RET_ALLOW | libc::SECCOMP_RET_LOG) => to_the_end,
            (RETURN, libc::SECCOMP_RET_ERRNO) => step(RETURN, libc::SECCOMP_RET_USER_NOTIF),
            _ => *instruction,
        });
    }
    program.extend(all_but_hot());
    program
}

fn step(code: u16, value: u32) -> Instruction {
    Instruction { code, if_true: 0, if_false: 0, value }
}

/// Goes on if what was loaded is this, else skips so many instructions more.
fn unless(value: u32, skip: u8) -> Instruction {
    Instruction { code: JUMP_IF_EQUAL, if_true: 0, if_false: skip, value }
}

fn handing_over(handover: Handover) -> Vec<Instruction> {
    let Handover { socket, message } = handover;
    let [low, high] = [message, message >> 32].map(|half| (half & 0xffff_ffff) as u32);
    let wanted = [
        (MACHINE, THIS_MACHINE),
        (NUMBER, libc::SYS_sendmsg as u32),
        (ARGUMENTS, socket),
        (ARGUMENTS + 8, low),
        (ARGUMENTS + 12, high),
    ];
    let mut program = Vec::new();
    for (index, (place, value)) in wanted.into_iter().enumerate() {
        // To the instruction behind the return: what is left of the pairs, and that one.
        let skip = u8::try_from((wanted.len() - index - 1) * 2 + 1).expect("five pairs are few");
        program.extend([step(LOAD, place), unless(value, skip)]);
    }
    program.push(step(RETURN, libc::SECCOMP_RET_ALLOW));
    program
}

fn all_but_hot() -> Vec<Instruction> {
    let tell = step(RETURN, libc::SECCOMP_RET_USER_NOTIF);
    let go_on = step(RETURN, libc::SECCOMP_RET_ALLOW);
    let mut program = vec![step(LOAD, MACHINE), unless(THIS_MACHINE, 0), step(LOAD, NUMBER)];
    let hot = hot();
    for (index, number) in hot.iter().enumerate() {
        // Behind the numbers come six instructions, then the one that goes on.
        let skip =
            u8::try_from(hot.len() - index - 1 + 6).expect("there are fewer hot calls than a jump reaches");
        program.push(Instruction { code: JUMP_IF_EQUAL, if_true: skip, if_false: 0, value: *number });
    }
    // sendto(2) names no file where it has no address.
    program.extend([
        unless(libc::SYS_sendto as u32, 4),
        step(LOAD, ARGUMENTS + 4 * 8),
        unless(0, 2),
        step(LOAD, ARGUMENTS + 4 * 8 + 4),
        Instruction { code: JUMP_IF_EQUAL, if_true: 1, if_false: 0, value: 0 },
        tell,
        go_on,
    ]);
    // Another machine's numbers are told whatever they are.
    let to_tell = program.len() - 2 - 2;
    program[1].if_false = u8::try_from(to_tell).expect("there are fewer hot calls than a jump reaches");
    program
}

#[cfg(test)]
mod tests {
    use super::super::{filter, seccomp};
    use super::*;
    use std::collections::BTreeMap;

    const X86: u32 = 0x4000_0003;

    /// What a program answers: the kernel's machine, as far as these programs need it.
    fn run(program: &[Instruction], number: u32, machine: u32, arguments: [u64; 6]) -> u32 {
        let word = |at: u32| match at {
            NUMBER => number,
            MACHINE => machine,
            _ => {
                let (index, high) = ((at - ARGUMENTS) / 8, at % 8 == 4);
                (arguments[index as usize] >> if high { 32 } else { 0 }) as u32
            }
        };
        let (mut at, mut loaded) = (0, 0);
        loop {
            let Instruction { code, if_true, if_false, value } = program[at];
            at += 1;
            let jump = |holds: bool| usize::from(if holds { if_true } else { if_false });
            match code {
                LOAD => loaded = word(value),
                JUMP => at += value as usize,
                JUMP_IF_EQUAL => at += jump(loaded == value),
                0x25 => at += jump(loaded > value),
                0x35 => at += jump(loaded >= value),
                0x45 => at += jump(loaded & value != 0),
                0x54 => loaded &= value,
                RETURN => return value,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    fn profile() -> Vec<Instruction> {
        filter::compile(&seccomp::compile(seccomp::DEFAULT, &[]).unwrap()).unwrap()
    }

    fn number(name: &str) -> u32 {
        let numbers: BTreeMap<&str, libc::c_long> = BTreeMap::from([
            ("read", libc::SYS_read),
            ("openat", libc::SYS_openat),
            ("mount", libc::SYS_mount),
            ("sendto", libc::SYS_sendto),
            ("sendmsg", libc::SYS_sendmsg),
            ("clone", libc::SYS_clone),
        ]);
        u32::try_from(numbers[name]).unwrap()
    }

    #[test]
    fn all_but_the_hot_calls_are_told_and_so_is_what_the_profile_refuses() {
        const NOTHING: [u64; 6] = [0; 6];
        let (tell, go_on) = (libc::SECCOMP_RET_USER_NOTIF, libc::SECCOMP_RET_ALLOW);
        for profile in [None, Some(profile())] {
            let program = telling(profile.as_deref(), None);
            for (name, expected) in [("read", go_on), ("openat", tell), ("mount", tell), ("clone", tell)] {
                assert_eq!(run(&program, number(name), THIS_MACHINE, NOTHING), expected, "{name}");
            }
            for hot in hot() {
                assert_eq!(run(&program, hot, THIS_MACHINE, NOTHING), go_on, "{hot}");
            }
            assert_eq!(run(&program, number("sendto"), THIS_MACHINE, NOTHING), go_on);
            for address in [1, 1 << 40] {
                let arguments = [3, 0, 0, 0, address, 16];
                assert_eq!(run(&program, number("sendto"), THIS_MACHINE, arguments), tell);
            }
        }
        let program = telling(Some(&profile()), None);
        assert_eq!(run(&program, 3, X86, NOTHING), tell, "every call of another machine is told");
    }

    #[test]
    fn only_the_one_message_is_handed_over_unseen() {
        let handover = Handover { socket: 9, message: 0x7fff_1234_5678 };
        let refusing = [step(RETURN, libc::SECCOMP_RET_ERRNO | 1)];
        let program = telling(Some(&refusing), Some(handover));
        let sent = |socket, message, machine| {
            run(&program, number("sendmsg"), machine, [socket, message, 0, 0, 0, 0])
        };
        assert_eq!(sent(9, 0x7fff_1234_5678, THIS_MACHINE), libc::SECCOMP_RET_ALLOW);
        for (socket, message, machine) in
            [(8, 0x7fff_1234_5678, THIS_MACHINE), (9, 0x1234_5678, THIS_MACHINE), (9, 0x7fff_1234_5678, X86)]
        {
            assert_eq!(sent(socket, message, machine), libc::SECCOMP_RET_USER_NOTIF);
        }
    }

    #[test]
    fn what_kills_is_not_told() {
        let killing = [step(RETURN, libc::SECCOMP_RET_KILL_PROCESS)];
        let program = telling(Some(&killing), None);
        assert_eq!(run(&program, number("read"), THIS_MACHINE, [0; 6]), libc::SECCOMP_RET_KILL_PROCESS);
    }
}
