//! Puts events together to a Trace.

use crate::event::{Event, Header};
use crate::marks::Marks;
use crate::preflight;
use crate::program::{CallSets, CallsKey};
use crate::table::{self, ACCESS};
use slim_trace::{
    Abi, Access, FileAccess, Listening, Mount, Phase, Process, ProcessId, Socket, SystemCalls, Trace,
    TracedPath, Transport,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

const ENOENT: i32 = -2;
const ENOTDIR: i32 = -20;
/// `open_how.flags`, and what the eBPF program adds for a file that the call made.
const O_ACCMODE: u64 = 3;
const O_TRUNC: u64 = 0o1000;
const MADE: u64 = 1 << 32;

/// Everything seen so far.
pub struct Gathered {
    processes: BTreeMap<u32, Process>,
    parents: HashMap<u32, u32>,
    current: HashMap<u32, u32>,
    files: HashMap<(Vec<u8>, u32), (BTreeSet<Access>, BTreeSet<Phase>)>,
    calls: BTreeMap<CallsKey, CallSets>,
    sockets: BTreeSet<(u32, u16, u16, u16, bool)>,
    pub listening: BTreeSet<Listening>,
    pub last_activity: Instant,
    phase: Phase,
}

impl Gathered {
    pub fn new() -> Self {
        Self {
            processes: BTreeMap::new(),
            parents: HashMap::new(),
            current: HashMap::new(),
            files: HashMap::new(),
            calls: BTreeMap::new(),
            sockets: BTreeSet::new(),
            listening: BTreeSet::new(),
            last_activity: Instant::now(),
            phase: Phase::Startup,
        }
    }

    pub fn enter_phase(&mut self, phase: Phase) {
        self.phase = phase;
    }

    /// Takes an event. `Some(pid)`: this process was stopped and waits to be watched in full.
    pub fn take(&mut self, event: Event<'_>, marks: Option<&Marks>) -> Option<i32> {
        self.last_activity = Instant::now();
        match event {
            Event::Path { header, base, path } => self.path(header, base, path),
            Event::Fork(header) => self.fork(header),
            Event::Exec { header, file, name, arguments } => {
                self.exec(header, file, name, arguments, marks);
                return (header.abi == 1).then_some(header.tgid.cast_signed());
            }
            Event::Socket(header) => {
                let (family, kind) = (header.flags as u16, (header.flags >> 16 & 0xf) as u16);
                self.sockets.insert((
                    header.process,
                    family,
                    kind,
                    (header.flags >> 32) as u16,
                    header.result < 0,
                ));
            }
            Event::Listen { header, address } => self.listen(header, address),
            Event::Calls { header, bits } => {
                let key = CallsKey { process: header.process, phase: header.phase, abi: header.abi };
                if let Some(sets) = CallSets::from_bytes(bits) {
                    self.add_calls(key, sets);
                }
            }
        }
        None
    }

    pub fn add_calls(&mut self, key: CallsKey, sets: CallSets) {
        let old = self.calls.entry(key).or_insert(CallSets {
            called: [0; 8],
            passed: [0; 8],
            refused: [0; 8],
            missing: [0; 8],
        });
        for word in 0..sets.called.len() {
            old.called[word] |= sets.called[word];
            old.passed[word] |= sets.passed[word];
            old.refused[word] |= sets.refused[word];
            old.missing[word] |= sets.missing[word];
        }
    }

    /// A file that was opened, as fanotify tells it. Whether it counted.
    pub fn opened(&mut self, tgid: u32, path: &[u8], executed: bool) -> bool {
        let Some(process) = self.current.get(&tgid).copied() else { return false };
        if self.processes.get(&process).is_none_or(|process| process.executable.is_none()) {
            return false;
        }
        if path.first() != Some(&b'/') || path.ends_with(b" (deleted)") {
            return true;
        }
        self.last_activity = Instant::now();
        self.record(
            path.to_vec(),
            process,
            if executed { Access::Execute } else { Access::Open },
            self.phase,
        );
        true
    }

    fn record(&mut self, path: Vec<u8>, process: u32, access: Access, phase: Phase) {
        let (accesses, phases) = self.files.entry((path, process)).or_default();
        accesses.insert(access);
        phases.insert(phase);
    }

    fn path(&mut self, header: Header, base: &[u8], path: &[u8]) {
        let base = if base.is_empty() { b"/" } else { base };
        // A changed root: what the program calls absolute lies below it.
        let relative = path.strip_prefix(b"/").filter(|_| base != b"/").unwrap_or(path);
        let joined = TracedPath::join(base, relative).as_bytes().to_vec();
        let phase = phase_of(header.phase);
        let mut each = |access| self.record(joined.clone(), header.process, access, phase);
        if header.result == ENOENT || header.result == ENOTDIR {
            each(Access::Missing);
            return;
        }
        each(ACCESS.get(usize::from(header.access)).copied().unwrap_or(Access::Stat));
        if header.flags & O_ACCMODE != 0 || header.flags & O_TRUNC != 0 {
            each(Access::Write);
        }
        if header.flags & MADE != 0 {
            each(Access::Create);
        }
    }

    fn fork(&mut self, header: Header) {
        let mut process = self.process(header.other).clone();
        process.began = phase_of(header.phase);
        self.parents.insert(header.process, header.other);
        self.processes.insert(header.process, process);
        self.current.insert(header.tgid, header.process);
    }

    fn process(&mut self, id: u32) -> &Process {
        self.processes.entry(id).or_insert_with(|| Process {
            parent: None,
            began: Phase::Runtime,
            executable: None,
            invoked_as: None,
            interpreter: None,
            shebang: Vec::new(),
            argv: Vec::new(),
        })
    }

    fn exec(&mut self, header: Header, file: &[u8], name: &[u8], arguments: &[u8], marks: Option<&Marks>) {
        let began = phase_of(header.phase);
        self.process(header.other);
        self.parents.insert(header.process, header.other);
        self.current.insert(header.tgid, header.process);
        let runtime = matches!(began, Phase::Runtime | Phase::RuntimeFiltered);
        let argv = arguments.strip_suffix(b"\0").unwrap_or(arguments).split(|byte| *byte == 0);
        let executable = (!runtime && !file.is_empty()).then(|| TracedPath::new(file));
        let mut process = Process {
            parent: None,
            began,
            invoked_as: None,
            interpreter: None,
            shebang: Vec::new(),
            argv: argv.map(slim_image::path::escape).collect(),
            executable,
        };
        if let Some(executable) = process.executable.clone() {
            process.invoked_as = invoked_as(header.tgid, name).filter(|invoked| *invoked != executable);
            self.record(executable.as_bytes().to_vec(), header.process, Access::Execute, began);
            if let Some(invoked) = &process.invoked_as {
                self.record(invoked.as_bytes().to_vec(), header.process, Access::Execute, began);
            }
        }
        self.processes.insert(header.process, process);
        if let Some(marks) = marks {
            self.complete(header.process, marks);
        }
    }

    /// Fills in what an executed file itself says: its ELF interpreter, the interpreters of a script.
    pub fn complete(&mut self, id: u32, marks: &Marks) {
        const HEAD: usize = 64 << 10;
        const SCRIPTS: usize = 4;
        let Some(process) = self.processes.get(&id).cloned() else { return };
        let Some(executable) = &process.executable else { return };
        let head = |path: &[u8]| marks.head(path, HEAD).unwrap_or_default();
        let interpreter = elf_interpreter(&head(executable.as_bytes()));
        let mut shebang = Vec::new();
        let mut script = process.invoked_as.clone();
        while let Some(path) = script.take().filter(|_| shebang.len() < SCRIPTS) {
            script = script_interpreter(&head(path.as_bytes()));
            shebang.extend(script.clone());
        }
        for path in interpreter.iter().chain(&shebang) {
            self.record(path.as_bytes().to_vec(), id, Access::Execute, process.began);
        }
        self.processes.insert(id, Process { interpreter, shebang, ..process });
    }

    /// Those that were exec'ed before there were marks.
    pub fn complete_all(&mut self, marks: &Marks) {
        for id in self.processes.keys().copied().collect::<Vec<_>>() {
            self.complete(id, marks);
        }
    }

    fn listen(&mut self, header: Header, address: &[u8]) {
        const AF_INET: u32 = 2;
        const SOCK_DGRAM: u16 = 2;
        let Ok(bytes) = <[u8; 16]>::try_from(address) else { return };
        let address = if header.other == AF_INET {
            IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]))
        } else {
            IpAddr::V6(Ipv6Addr::from(bytes))
        };
        let transport = if header.access == SOCK_DGRAM { Transport::Udp } else { Transport::Tcp };
        let port = header.flags as u16;
        if port != 0 {
            self.listening.insert(Listening { process: ProcessId(header.process), transport, address, port });
        }
    }

    /// The Trace of all that was seen.
    pub fn into_trace(mut self, image: String, mounts: Vec<Mount>) -> Trace {
        for id in self.calls.keys().map(|key| key.process).collect::<BTreeSet<_>>() {
            self.process(id);
        }
        let numbers: HashMap<u32, ProcessId> =
            self.processes.keys().zip(0..).map(|(id, number)| (*id, ProcessId(number))).collect();
        let number = |id: u32| numbers.get(&id).copied().unwrap_or(ProcessId(0));
        let is_program =
            |id: &u32| self.processes.get(id).is_some_and(|process| process.executable.is_some());
        let mut trace = Trace::empty(image);
        trace.kernel = preflight::release();
        trace.architecture = "amd64".to_owned();
        trace.mounts = mounts;
        trace.files = self
            .files
            .iter()
            .map(|((path, process), (access, phases))| FileAccess {
                path: TracedPath::new(path.clone()),
                process: number(*process),
                access: access.clone(),
                phases: phases.clone(),
            })
            .collect();
        trace.files.sort();
        trace.system_calls =
            self.calls.iter().map(|(key, sets)| system_calls(number(key.process), *key, sets)).collect();
        trace.system_calls.sort();
        trace.sockets = self
            .sockets
            .iter()
            .map(|&(process, family, socket_type, protocol, refused)| Socket {
                process: number(process),
                family,
                socket_type,
                protocol,
                refused,
            })
            .collect();
        trace.sockets.sort();
        trace.listening = self
            .listening
            .iter()
            .map(|listening| Listening { process: number(listening.process.0), ..listening.clone() })
            .collect();
        trace.processes = self
            .processes
            .iter()
            .map(|(id, process)| Process {
                parent: self
                    .parents
                    .get(id)
                    .filter(|parent| is_program(parent))
                    .map(|parent| number(*parent)),
                ..process.clone()
            })
            .collect();
        trace
    }
}

fn phase_of(number: u16) -> Phase {
    match number {
        0 => Phase::Runtime,
        1 => Phase::RuntimeFiltered,
        3 => Phase::Exercise,
        4 => Phase::Shutdown,
        _ => Phase::Startup,
    }
}

fn system_calls(process: ProcessId, key: CallsKey, sets: &CallSets) -> SystemCalls {
    let abi = match key.abi {
        1 => Abi::X86,
        2 => Abi::X32,
        _ => Abi::X86_64,
    };
    let names = |set: [u64; 8]| -> BTreeSet<String> {
        (0..512_u32)
            .filter(|number| set[*number as usize / 64] & (1 << (number % 64)) != 0)
            .map(|number| table::name_of(abi, number))
            .collect()
    };
    let (refused, missing) = (names(sets.refused), names(sets.missing));
    let passed = names(sets.passed);
    // A call without an end (exit) counts as let through.
    let calls = names(sets.called)
        .into_iter()
        .filter(|name| passed.contains(name) || !(refused.contains(name) || missing.contains(name)))
        .collect();
    let mut denied: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (set, error) in [(refused, "EPERM"), (missing, "ENOSYS")] {
        for name in set {
            denied.entry(name).or_default().insert(error.to_owned());
        }
    }
    SystemCalls { process, phase: phase_of(key.phase), abi, calls, denied }
}

/// What was handed to exec, as an absolute path.
fn invoked_as(tgid: u32, name: &[u8]) -> Option<TracedPath> {
    if name.first() == Some(&b'/') {
        return (!name.starts_with(b"/dev/fd/")).then(|| TracedPath::new(name));
    }
    let directory = std::fs::read_link(format!("/proc/{tgid}/cwd")).ok()?;
    Some(TracedPath::join(std::os::unix::ffi::OsStrExt::as_bytes(directory.as_os_str()), name))
}

/// PT_INTERP of an ELF file of either class, from its first bytes.
fn elf_interpreter(head: &[u8]) -> Option<TracedPath> {
    const PT_INTERP: u64 = 3;
    if !head.starts_with(b"\x7fELF") {
        return None;
    }
    let wide = *head.get(4)? == 2;
    let number = |at: usize, bytes: usize| -> Option<u64> {
        let slice = head.get(at..at.checked_add(bytes)?)?;
        Some(slice.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    };
    let (table, entry, count) = if wide {
        (number(32, 8)?, number(54, 2)?, number(56, 2)?)
    } else {
        (number(28, 4)?, number(42, 2)?, number(44, 2)?)
    };
    for index in 0..count {
        let at = usize::try_from(table.checked_add(index.checked_mul(entry)?)?).ok()?;
        if number(at, 4)? == PT_INTERP {
            let (offset, size) = if wide {
                (number(at + 8, 8)?, number(at + 32, 8)?)
            } else {
                (number(at + 4, 4)?, number(at + 16, 4)?)
            };
            let (offset, size) = (usize::try_from(offset).ok()?, usize::try_from(size).ok()?);
            let name = head.get(offset..offset.checked_add(size)?)?;
            let name = name.strip_suffix(b"\0").unwrap_or(name);
            return (name.first() == Some(&b'/')).then(|| TracedPath::new(name));
        }
    }
    None
}

/// The interpreter of a script's `#!` line.
fn script_interpreter(head: &[u8]) -> Option<TracedPath> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let name = line.split(|byte| *byte == b' ' || *byte == b'\t').find(|word| !word.is_empty())?;
    (name.first() == Some(&b'/')).then(|| TracedPath::new(name))
}
