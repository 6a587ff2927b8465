//! The eBPF program in the kernel: loaded, attached, and its maps.

use crate::control_group::{self, Hierarchy};
use crate::error::SensorError;
use crate::event;
use crate::table::{self, CALLS_MAX, Call};
use aya::maps::{Array, HashMap, MapData, RingBuf};
use aya::programs::BtfTracePoint;
use aya::{Btf, Ebpf, EbpfLoader};
use slim_trace::{Abi, Phase};
use std::os::fd::{AsRawFd, RawFd};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/observer.bpf.o"));

/// Programs and their tracepoints. The order matters: what marks tasks comes before what asks for the marks.
const PROGRAMS: [(&str, &str); 6] = [
    ("on_exec", "sched_process_exec"),
    ("on_fork", "sched_process_fork"),
    ("on_end", "sched_process_exit"),
    ("on_exit", "sys_exit"),
    ("on_enter", "sys_enter"),
    ("on_control_group", "cgroup_mkdir"),
];
const NAME_BYTES: usize = 128;
const CALL_WORDS: usize = 8;

/// What may be lost, in the order of `enum drop`.
const DROPS: [&str; 4] = [
    "the ring buffer was full",
    "a table of the eBPF program was full",
    "a path could not be read",
    "a path was longer than the kernel allows",
];

/// `struct state` of the eBPF program.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct State {
    runtime_root: u64,
    phase: u32,
    stopped: u32,
    next_process: u32,
    spare: u32,
}

// SAFETY: plain integers without padding.
unsafe impl aya::Pod for State {}

/// The calls of one process in one phase, a bit a number: made, let through, refused with EPERM, with ENOSYS.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// The loaded program. Detached and gone when dropped.
pub struct Program {
    events: RingBuf<MapData>,
    states: Array<MapData, State>,
    drops: Array<MapData, u64>,
    calls: HashMap<MapData, CallsKey, CallSets>,
    _ebpf: Ebpf,
}

impl Program {
    /// Loads and attaches everything, to catch the container with this id.
    ///
    /// # Errors
    /// When the kernel refuses a program or has no BTF.
    pub fn load(container: &str, buffer_bytes: u32) -> Result<Self, SensorError> {
        let btf = Btf::from_sys_fs().map_err(|_| SensorError::Feature("BTF (/sys/kernel/btf/vmlinux)"))?;
        let (unified, controller) = match control_group::hierarchy() {
            Hierarchy::Unified => (1_u32, 0_u32),
            Hierarchy::Controller(number) => (0, number),
        };
        let mut ebpf = EbpfLoader::new()
            .btf(Some(&btf))
            .override_global("unified", &unified, true)
            .override_global("controller", &controller, true)
            .map_max_entries("events", buffer_bytes)
            .load(OBJECT)
            .map_err(|error| failed("object", &error))?;
        fill(&mut ebpf, container)?;
        let mut program = Self {
            events: RingBuf::try_from(take(&mut ebpf, "events")?)
                .map_err(|error| failed("events", &error))?,
            states: Array::try_from(take(&mut ebpf, "states")?).map_err(|error| failed("states", &error))?,
            drops: Array::try_from(take(&mut ebpf, "drops")?).map_err(|error| failed("drops", &error))?,
            calls: HashMap::try_from(take(&mut ebpf, "system_calls")?)
                .map_err(|error| failed("system_calls", &error))?,
            _ebpf: ebpf,
        };
        program.enter_phase(Phase::Startup)?;
        for (name, tracepoint) in PROGRAMS {
            attach(&mut program._ebpf, &btf, name, tracepoint)?;
        }
        Ok(program)
    }

    /// From now on, what the container's own programs do belongs to this phase.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn enter_phase(&mut self, phase: Phase) -> Result<(), SensorError> {
        let mut state = self.states.get(&0, 0).map_err(|error| failed("states", &error))?;
        state.phase = number(phase);
        // The eBPF program changes the other fields: only at moments when this one is not written.
        self.states.set(0, state, 0).map_err(|error| failed("states", &error))
    }

    /// The descriptor that is readable when there are events.
    pub fn descriptor(&self) -> RawFd {
        self.events.as_raw_fd()
    }

    /// Hands every waiting event to `each`.
    pub fn drain(&mut self, each: &mut dyn FnMut(event::Event<'_>)) {
        while let Some(item) = self.events.next() {
            match event::parse(&item) {
                Some(event) => each(event),
                None => tracing::error!(bytes = item.len(), "an event that this program does not know"),
            }
        }
    }

    /// The calls of all processes that still run, or whose end was not told.
    pub fn calls(&self) -> Vec<(CallsKey, CallSets)> {
        self.calls.iter().flatten().collect()
    }

    /// What was lost so far, by what it was.
    pub fn drops(&self) -> Vec<(&'static str, u64)> {
        DROPS
            .iter()
            .zip(self.drops.iter())
            .filter_map(|(what, count)| count.ok().filter(|count| *count > 0).map(|count| (*what, count)))
            .collect()
    }
}

impl CallSets {
    /// Reads the sets from an event.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut sets = Self { called: [0; 8], passed: [0; 8], refused: [0; 8], missing: [0; 8] };
        let words: Vec<u64> = bytes
            .chunks_exact(8)
            .map(|word| u64::from_ne_bytes(word.try_into().expect("eight bytes")))
            .collect();
        let (sets_of_words, rest) = words.as_chunks::<CALL_WORDS>();
        let [called, passed, refused, missing] = sets_of_words else { return None };
        (sets.called, sets.passed, sets.refused, sets.missing) = (*called, *passed, *refused, *missing);
        rest.is_empty().then_some(sets)
    }
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

fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<aya::maps::Map, SensorError> {
    ebpf.take_map(name).ok_or(SensorError::Program { name, reason: "the object has no such map".to_owned() })
}

/// A map that is filled once and then belongs to the programs alone. (One that is taken must live until they are loaded.)
fn borrow<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut aya::maps::Map, SensorError> {
    ebpf.map_mut(name).ok_or(SensorError::Program { name, reason: "the object has no such map".to_owned() })
}

fn fill(ebpf: &mut Ebpf, container: &str) -> Result<(), SensorError> {
    let mut wanted: HashMap<_, [u8; NAME_BYTES], u32> =
        HashMap::try_from(borrow(ebpf, "wanted")?).map_err(|error| failed("wanted", &error))?;
    for name in control_group::names(container) {
        let mut key = [0; NAME_BYTES];
        key.get_mut(..name.len())
            .ok_or(SensorError::Program {
                name: "wanted",
                reason: format!("the container id {container} is too long"),
            })?
            .copy_from_slice(name.as_bytes());
        wanted.insert(key, 1, 0).map_err(|error| failed("wanted", &error))?;
    }
    let mut table: Array<_, Call> =
        Array::try_from(borrow(ebpf, "table")?).map_err(|error| failed("table", &error))?;
    for (name, call) in table::calls() {
        for (abi, first) in [(Abi::X86_64, 0), (Abi::X86, CALLS_MAX)] {
            if let Some(number) = table::number_of(abi, name).filter(|number| *number < CALLS_MAX) {
                table.set(first + number, call, 0).map_err(|error| failed("table", &error))?;
            }
        }
    }
    Ok(())
}

fn attach(ebpf: &mut Ebpf, btf: &Btf, name: &'static str, tracepoint: &str) -> Result<(), SensorError> {
    let program = ebpf
        .program_mut(name)
        .ok_or(SensorError::Program { name, reason: "the object has no such program".to_owned() })?;
    let program: &mut BtfTracePoint = program.try_into().map_err(|error| failed(name, &error))?;
    program.load(tracepoint, btf).map_err(|error| failed(name, &error))?;
    program.attach().map_err(|error| failed(name, &error))?;
    Ok(())
}

fn failed(name: &'static str, error: &dyn std::error::Error) -> SensorError {
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        reason.push_str(&format!(": {error}"));
        source = error.source();
    }
    SensorError::Program { name, reason }
}
