//! The eBPF program in the kernel: loaded, attached, and its maps.

use crate::control_group::{self, Hierarchy};
use crate::error::SensorError;
use crate::event;
use crate::table::{self, Call};
use aya::maps::{Array, HashMap, Map, MapData, RingBuf};
use aya::programs::BtfTracePoint;
use aya::{Btf, Ebpf, EbpfLoader};
use slim_trace::{Abi, Phase};
use std::fs;
use std::os::fd::{AsFd, AsRawFd, RawFd};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/observer.bpf.o"));

/// Programs and their tracepoints, in the order of attaching: what marks tasks comes before what asks for the marks.
const PROGRAMS: [(&str, &str); 6] = [
    ("on_exec", "sched_process_exec"),
    ("on_fork", "sched_process_fork"),
    ("on_end", "sched_process_exit"),
    ("on_exit", "sys_exit"),
    ("on_enter", "sys_enter"),
    ("on_control_group", "cgroup_mkdir"),
];
/// Programs that not every kernel takes; each by itself, and the first that is taken is enough.
const OPTIONAL: [(&str, &str); 2] =
    [("on_submit", "io_uring_submit_req"), ("on_submit_old", "io_uring_submit_sqe")];
/// Where the second of them tells the request first.
const OLD_SUBMIT_KERNEL: (u32, u32) = (5, 19);

const NAME_BYTES: usize = 128;
const CALL_WORDS: usize = 10;
/// Numbers of calls that are looked at lie below this.
pub const CALLS_MAX: u32 = 640;
const LEAST_BUFFER_BYTES: u32 = 4096;
const MOST_BUFFER_BYTES: u32 = 1 << 30;

/// What may be lost, in the order of `enum drop`.
const DROPS: [&str; 8] = [
    "the ring buffer was full",
    "a table of the eBPF program was full",
    "a path was longer than the kernel allows",
    "a path could not be read",
    "a descriptor was closed too early",
    "a socket address could not be read",
    "the name of a program could not be read",
    "the arguments of a program could not be read",
];
const MISSES: &str = "the eBPF program was asked while it was busy";

/// `struct state` of the eBPF program.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct State {
    runtime_root: u64,
    stopped: u32,
    next_process: u32,
}

// SAFETY: plain integers without padding.
unsafe impl aya::Pod for State {}

/// The calls of one process in one phase, a bit a number: made, let through, refused with EPERM, with ENOSYS.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallSets {
    pub called: [u64; CALL_WORDS],
    pub passed: [u64; CALL_WORDS],
    pub refused: [u64; CALL_WORDS],
    pub missing: [u64; CALL_WORDS],
}

// SAFETY: plain integers without padding.
unsafe impl aya::Pod for CallSets {}

/// `struct calls_key` of the eBPF program.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallsKey {
    pub process: u32,
    pub phase: u16,
    pub abi: u16,
}

// SAFETY: plain integers without padding.
unsafe impl aya::Pod for CallsKey {}

/// `struct argued_key` of the eBPF program: a call of the 64-bit ABI with the values of its arguments that matter.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ArguedKey {
    pub process: u32,
    pub phase: u16,
    pub number: u16,
    pub values: [u64; 2],
}

// SAFETY: plain integers without padding.
unsafe impl aya::Pod for ArguedKey {}

/// The loaded program. Detached and gone when dropped.
pub struct Program {
    events: RingBuf<MapData>,
    states: Array<MapData, State>,
    phases: Array<MapData, u32>,
    drops: Array<MapData, u64>,
    calls: HashMap<MapData, CallsKey, CallSets>,
    arguments: HashMap<MapData, ArguedKey, u8>,
    /// The one of the optional programs that the kernel takes.
    optional: Option<&'static str>,
    /// `None` once detached.
    ebpf: Option<Ebpf>,
    /// What was counted at the moment of detaching.
    missed: u64,
}

impl Program {
    /// Loads everything. Nothing is watched before it is attached.
    ///
    /// # Errors
    /// When the kernel refuses a program or has no BTF.
    pub fn load(buffer_bytes: u32, kernel: Option<(u32, u32)>) -> Result<Self, SensorError> {
        let btf = Btf::from_sys_fs().map_err(|_| SensorError::Feature("BTF (/sys/kernel/btf/vmlinux)"))?;
        let (unified, controller) = match control_group::hierarchy() {
            Hierarchy::Unified => (1_u32, 0_u32),
            Hierarchy::Controller(number) => (0, number),
        };
        let mut ebpf = EbpfLoader::new()
            .btf(Some(&btf))
            .override_global("unified", &unified, true)
            .override_global("controller", &controller, true)
            .map_max_entries("events", buffer(buffer_bytes))
            .load(OBJECT)
            .map_err(|error| failed("object", &error))?;
        fill_table(&mut ebpf)?;
        for (name, tracepoint) in PROGRAMS {
            load(&mut ebpf, &btf, name, tracepoint)?;
        }
        let optional = load_optional(&mut ebpf, &btf, kernel);
        let mut program = Self {
            events: take(&mut ebpf, "events", RingBuf::try_from)?,
            states: take(&mut ebpf, "states", Array::try_from)?,
            phases: take(&mut ebpf, "phases", Array::try_from)?,
            drops: take(&mut ebpf, "drops", Array::try_from)?,
            calls: take(&mut ebpf, "system_calls", HashMap::try_from)?,
            arguments: take(&mut ebpf, "arguments_seen", HashMap::try_from)?,
            optional,
            ebpf: None,
            missed: 0,
        };
        program.enter_phase(Phase::Startup)?;
        program.ebpf = Some(ebpf);
        Ok(program)
    }

    /// Attaches everything, to catch the container with this id.
    ///
    /// # Errors
    /// When the kernel refuses a program.
    pub fn attach(&mut self, container: &str) -> Result<(), SensorError> {
        let Some(ebpf) = &mut self.ebpf else { return Ok(()) };
        fill_wanted(ebpf, container)?;
        for (name, _) in PROGRAMS {
            attach(ebpf, name)?;
        }
        if let Some(Err(error)) = self.optional.map(|name| attach(ebpf, name)) {
            tracing::debug!(%error, "io_uring operations are not told; files that they open still are");
        }
        Ok(())
    }

    /// From now on, what the container's own programs do belongs to this phase.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn enter_phase(&mut self, phase: Phase) -> Result<(), SensorError> {
        self.phases.set(0, number(phase), 0).map_err(|error| failed("phases", &error))
    }

    /// From now on, what was told before is told again.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn enter_step(&mut self, step: u16) -> Result<(), SensorError> {
        self.phases.set(1, u32::from(step), 0).map_err(|error| failed("phases", &error))
    }

    /// The process that was stopped at the container's first exec.
    pub fn stopped(&self) -> Option<i32> {
        let state = self.states.get(&0, 0).ok()?;
        (state.stopped != 0).then_some(state.stopped.cast_signed())
    }

    /// The descriptor that is readable when there are events.
    pub fn descriptor(&self) -> RawFd {
        self.events.as_raw_fd()
    }

    /// Hands every waiting event to `each`; how many there were.
    pub fn drain(&mut self, each: &mut dyn FnMut(event::Event<'_>)) -> usize {
        let mut count = 0;
        while let Some(item) = self.events.next() {
            count += 1;
            match event::parse(&item) {
                Some(event) => each(event),
                None => tracing::error!(bytes = item.len(), "an event that this program does not know"),
            }
        }
        count
    }

    /// Ends the watching. What was seen can still be drained.
    pub fn detach(&mut self) {
        if let Some(ebpf) = self.ebpf.take() {
            self.missed = missed(&ebpf);
        }
    }

    /// The calls of all processes that still run, or whose end was not told.
    pub fn calls(&self) -> Vec<(CallsKey, CallSets)> {
        self.calls.iter().flatten().collect()
    }

    /// Every call whose arguments matter, with their values; `None` where there was no room for all of them.
    pub fn arguments(&self) -> Option<Vec<ArguedKey>> {
        let is_lost = self.phases.get(&2, 0).is_ok_and(|lost| lost != 0);
        (!is_lost).then(|| self.arguments.keys().flatten().collect())
    }

    /// What was lost so far, by what it was. Complete only after detaching.
    pub fn drops(&self) -> Vec<(&'static str, u64)> {
        let counted =
            DROPS.iter().zip(self.drops.iter()).filter_map(|(what, count)| Some((*what, count.ok()?)));
        counted.chain([(MISSES, self.missed)]).filter(|(_, count)| *count > 0).collect()
    }
}

impl CallSets {
    /// Reads the sets from an event.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<8>();
        let words: Vec<u64> = words.iter().map(|word| u64::from_ne_bytes(*word)).collect();
        let (sets, more) = words.as_chunks::<CALL_WORDS>();
        let [called, passed, refused, missing] = *sets else { return None };
        (rest.is_empty() && more.is_empty()).then_some(Self { called, passed, refused, missing })
    }

    /// Whether a number is in one of the sets.
    pub fn has(set: &[u64; CALL_WORDS], number: u32) -> bool {
        set.get(number as usize / 64).is_some_and(|word| word & (1 << (number % 64)) != 0)
    }

    /// Notes a call that was made: its outcome, where it is an error, as a number below 0.
    pub fn note(&mut self, number: u32, error: Option<i32>) {
        const EPERM: i32 = -1;
        const ENOSYS: i32 = -38;
        let outcome = match error {
            Some(EPERM) => &mut self.refused,
            Some(ENOSYS) => &mut self.missing,
            _ => &mut self.passed,
        };
        for set in [&mut self.called, outcome] {
            if let Some(word) = set.get_mut(number as usize / 64) {
                *word |= 1 << (number % 64);
            }
        }
    }

    /// Takes a call for made that nobody looked at, unless it is known that it was refused.
    pub fn assume(&mut self, number: u32) {
        if !Self::has(&self.refused, number) && !Self::has(&self.missing, number) {
            self.note(number, None);
        }
    }

    /// Adds what is in `more`.
    pub fn add(&mut self, more: &Self) {
        for (words, more) in [
            (&mut self.called, &more.called),
            (&mut self.passed, &more.passed),
            (&mut self.refused, &more.refused),
            (&mut self.missing, &more.missing),
        ] {
            words.iter_mut().zip(more).for_each(|(word, more)| *word |= more);
        }
    }
}

/// A size that a ring buffer may have: a power of two, a page at least.
fn buffer(wanted: u32) -> u32 {
    wanted.clamp(LEAST_BUFFER_BYTES, MOST_BUFFER_BYTES).next_power_of_two()
}

/// The number of a phase in the eBPF program.
fn number(phase: Phase) -> u32 {
    match phase {
        Phase::Runtime => 0,
        Phase::RuntimeFiltered => 1,
        Phase::Startup => 2,
        Phase::Exercise => 3,
        Phase::Shutdown => 4,
    }
}

fn no_map(name: &'static str) -> SensorError {
    SensorError::Program { name, reason: "the object has no such map".to_owned() }
}

fn take<M, E: std::error::Error>(
    ebpf: &mut Ebpf,
    name: &'static str,
    typed: impl FnOnce(Map) -> Result<M, E>,
) -> Result<M, SensorError> {
    typed(ebpf.take_map(name).ok_or_else(|| no_map(name))?).map_err(|error| failed(name, &error))
}

/// A map that is filled once and then belongs to the programs alone. (One that is taken must live until they are loaded.)
fn borrow<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Map, SensorError> {
    ebpf.map_mut(name).ok_or_else(|| no_map(name))
}

fn fill_wanted(ebpf: &mut Ebpf, container: &str) -> Result<(), SensorError> {
    let mut wanted: HashMap<_, [u8; NAME_BYTES], u32> =
        HashMap::try_from(borrow(ebpf, "wanted")?).map_err(|error| failed("wanted", &error))?;
    for name in control_group::names(container) {
        let mut key = [0; NAME_BYTES];
        let too_long = || SensorError::Program {
            name: "wanted",
            reason: format!("the container id {container} is too long"),
        };
        key.get_mut(..name.len()).ok_or_else(too_long)?.copy_from_slice(name.as_bytes());
        wanted.insert(key, 1, 0).map_err(|error| failed("wanted", &error))?;
    }
    Ok(())
}

fn fill_table(ebpf: &mut Ebpf) -> Result<(), SensorError> {
    let mut table: Array<_, Call> =
        Array::try_from(borrow(ebpf, "table")?).map_err(|error| failed("table", &error))?;
    for (name, call) in table::calls() {
        for (abi, first) in [(Abi::X86_64, 0), (Abi::X86, CALLS_MAX), (Abi::X32, 2 * CALLS_MAX)] {
            if let Some(number) = table::number_of(abi, name).filter(|number| *number < CALLS_MAX) {
                table.set(first + number, call, 0).map_err(|error| failed("table", &error))?;
            }
        }
    }
    Ok(())
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut BtfTracePoint, SensorError> {
    let program = ebpf
        .program_mut(name)
        .ok_or(SensorError::Program { name, reason: "the object has no such program".to_owned() })?;
    program.try_into().map_err(|error| failed(name, &error))
}

fn load(ebpf: &mut Ebpf, btf: &Btf, name: &'static str, tracepoint: &str) -> Result<(), SensorError> {
    program(ebpf, name)?.load(tracepoint, btf).map_err(|error| failed(name, &error))
}

fn attach(ebpf: &mut Ebpf, name: &'static str) -> Result<(), SensorError> {
    program(ebpf, name)?.attach().map_err(|error| failed(name, &error))?;
    Ok(())
}

fn load_optional(ebpf: &mut Ebpf, btf: &Btf, kernel: Option<(u32, u32)>) -> Option<&'static str> {
    for (name, tracepoint) in OPTIONAL {
        if name == "on_submit_old" && kernel.is_none_or(|version| version < OLD_SUBMIT_KERNEL) {
            continue;
        }
        match load(ebpf, btf, name, tracepoint) {
            Ok(()) => return Some(name),
            Err(error) => tracing::debug!(%error, tracepoint, "the kernel does not take an optional program"),
        }
    }
    tracing::debug!("io_uring operations are not told; files that they open still are");
    None
}

/// How often the kernel skipped one of the programs because it ran already on that processor.
fn missed(ebpf: &Ebpf) -> u64 {
    PROGRAMS
        .iter()
        .filter_map(|(name, _)| {
            let Ok(program) = <&BtfTracePoint>::try_from(ebpf.program(name)?) else { return None };
            let descriptor = program.fd().ok()?.as_fd().as_raw_fd();
            let text = fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).ok()?;
            text.lines().find_map(|line| line.strip_prefix("recursion_misses:")?.trim().parse::<u64>().ok())
        })
        .sum()
}

fn failed(name: &'static str, error: &dyn std::error::Error) -> SensorError {
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        reason.push_str(&format!(": {error}"));
        source = error.source();
    }
    // The verifier tells its whole way through the program; what it did not like stands near the end.
    if let Some((before, log)) = reason.split_once("Verifier output:") {
        tracing::debug!(name, log, "the kernel's verifier refused a program");
        let last = log.lines().rev().find(|line| !line.trim().is_empty() && !is_summary(line));
        reason = format!("{before}the verifier says: {}", last.unwrap_or_default().trim());
    }
    SensorError::Program { name, reason }
}

/// Lines behind the verifier's reason.
fn is_summary(line: &str) -> bool {
    ["verification time", "stack depth", "processed ", ":"].iter().any(|start| line.trim().starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_buffer_has_a_size_that_the_kernel_takes() {
        assert_eq!(buffer(0), 4096);
        assert_eq!(buffer(5000), 8192);
        assert_eq!(buffer(8 << 20), 8 << 20);
        assert_eq!(buffer(u32::MAX), 1 << 30);
    }

    #[test]
    fn a_refused_program_is_told_in_one_line() {
        let log = "Permission denied (os error 13). Verifier output: 0: R1=ctx()\n1: (85) call 1\nR1 type=scalar expected=fp\n\
                   verification time 5 usec\nstack depth 8\nprocessed 3 insns\n: Permission denied";
        let SensorError::Program { reason, .. } = failed("on_exit", &std::io::Error::other(log)) else {
            panic!()
        };
        assert_eq!(reason, "Permission denied (os error 13). the verifier says: R1 type=scalar expected=fp");
    }

    #[test]
    fn sets_come_out_of_bytes_in_their_order() {
        let mut bytes = vec![0; 4 * CALL_WORDS * 8];
        bytes[0] = 1;
        bytes[CALL_WORDS * 8] = 2;
        let sets = CallSets::from_bytes(&bytes).unwrap();
        assert!(CallSets::has(&sets.called, 0) && CallSets::has(&sets.passed, 1));
        assert!(!CallSets::has(&sets.called, CALLS_MAX));
        assert_eq!(CallSets::from_bytes(&bytes[1..]), None);
    }
}
