//! Puts events together to what was seen.

use crate::event::{Event, FLAG_BELOW, Header};
use crate::executable::{elf_interpreter, script_interpreter};
use crate::outcome;
use crate::program::{ArguedKey, CallSets, CallsKey};
use crate::root::Root;
use crate::table::ACCESS;
use slim_trace::{Access, Listening, Phase, Process, ProcessId, Steps, TracedPath, Transport};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

/// How deep the kernel follows scripts that are run by scripts.
const SCRIPTS_MAX: usize = 5;

/// A kind of socket: process, family, type, protocol, whether it was refused.
pub type SocketKind = (u32, u16, u16, u16, bool);

/// How and when a path was touched.
pub type Touches = (BTreeSet<Access>, BTreeSet<Phase>);

/// Everything seen so far. Processes go by the numbers that the eBPF program gave them.
pub struct Gathered {
    pub processes: BTreeMap<u32, Process>,
    pub parents: HashMap<u32, u32>,
    pub files: HashMap<(Vec<u8>, u32), Touches>,
    pub calls: BTreeMap<CallsKey, CallSets>,
    /// `None`: nobody told, or there were too many.
    pub arguments: Option<Vec<ArguedKey>>,
    pub sockets: BTreeSet<SocketKind>,
    pub listening: BTreeSet<Listening>,
    pub steps: Steps,
    /// Nothing was opened since the step began.
    step_is_empty: bool,
    pub last_activity: Instant,
    /// What runs under a process id now, or ran there until a moment ago.
    current: HashMap<u32, u32>,
    /// The container's first program.
    first: Option<u32>,
    /// What an engine runs beside it (a HEALTHCHECK, `docker exec`), and what that runs. That they come and go does not
    /// mean that the program is at work.
    visitors: HashSet<u32>,
    ended: Vec<(u32, u32)>,
    ended_before: Vec<(u32, u32)>,
    phase: Phase,
}

impl Gathered {
    pub fn new() -> Self {
        Self {
            processes: BTreeMap::new(),
            parents: HashMap::new(),
            files: HashMap::new(),
            calls: BTreeMap::new(),
            arguments: None,
            sockets: BTreeSet::new(),
            listening: BTreeSet::new(),
            steps: Steps::default(),
            step_is_empty: false,
            last_activity: Instant::now(),
            current: HashMap::new(),
            first: None,
            visitors: HashSet::new(),
            ended: Vec::new(),
            ended_before: Vec::new(),
            phase: Phase::Startup,
        }
    }

    pub fn enter_phase(&mut self, phase: Phase) {
        self.phase = phase;
    }

    /// Begins the next step of the exercise; its number. Beyond what the eBPF program counts, the last step goes on.
    pub fn next_step(&mut self) -> u16 {
        let step = u16::try_from(self.steps.count + 1).unwrap_or(u16::MAX);
        self.steps.count = u32::from(step);
        self.step_is_empty = true;
        step
    }

    /// What the steps opened. Behind the last request or command a step begins that is none, unless the program goes on.
    pub fn take_steps(&mut self) -> Steps {
        let mut steps = std::mem::take(&mut self.steps);
        steps.count = steps.count.saturating_sub(u32::from(self.step_is_empty));
        steps
    }

    pub fn take(&mut self, event: Event<'_>, root: Option<&Root>) {
        let process = event.header().process;
        match event {
            Event::Path { header, base, path } => self.path(header, base, path),
            Event::Fork(header) => self.fork(header),
            Event::Exit(header) => self.ended.push((header.tgid, header.process)),
            Event::Exec { header, file, name, arguments, directory } => {
                self.exec(header, file, arguments, invoked_as(name, directory));
                if let Some(root) = root {
                    self.complete(header.process, root);
                }
            }
            Event::Socket(header) => self.socket(header),
            Event::Listen { header, address } => self.listen(header, address),
            Event::Calls { header, bits } => {
                let key = CallsKey { process: header.process, phase: header.phase, abi: header.abi };
                if let Some(sets) = CallSets::from_bytes(bits) {
                    self.add_calls(key, &sets);
                }
                return;
            }
        }
        self.is_active(process);
    }

    fn is_active(&mut self, process: u32) {
        let is_runtime = self.processes.get(&process).is_none_or(|process| process.executable.is_none());
        if self.first.is_none() || !(is_runtime || self.visitors.contains(&process)) {
            self.last_activity = Instant::now();
        }
    }

    pub fn add_calls(&mut self, key: CallsKey, sets: &CallSets) {
        self.calls.entry(key).or_default().add(sets);
    }

    /// A file that was opened, as fanotify tells it. Whether a program of the container did.
    pub fn opened(&mut self, tgid: u32, path: &[u8], executed: bool) -> bool {
        let Some(process) = self.current.get(&tgid).copied() else { return false };
        if self.processes.get(&process).is_none_or(|process| process.executable.is_none()) {
            return false;
        }
        self.is_active(process);
        let access = if executed { Access::Execute } else { Access::Open };
        self.record(path.to_vec(), process, access, self.phase);
        true
    }

    /// Ends a round of reading. `caught_up`: nothing of fanotify's waited to be read when the round began. Then the
    /// process ids of those that had ended before it are forgotten: what fanotify has to say of them has been read by
    /// now, and the next one under that id is somebody else. On a busy machine its queue may be many rounds long.
    pub fn end_round(&mut self, caught_up: bool) {
        if !caught_up {
            return;
        }
        for (tgid, process) in std::mem::replace(&mut self.ended_before, std::mem::take(&mut self.ended)) {
            if self.current.get(&tgid) == Some(&process) {
                self.current.remove(&tgid);
            }
        }
    }

    /// The process with this number, which may have been seen in nothing but its calls.
    pub fn process(&mut self, id: u32) -> &Process {
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

    fn record(&mut self, path: Vec<u8>, process: u32, access: Access, phase: Phase) {
        let (accesses, phases) = self.files.entry((path.clone(), process)).or_default();
        accesses.insert(access);
        phases.insert(phase);
        let is_of_a_step = matches!(phase, Phase::Startup | Phase::Exercise);
        if is_of_a_step && path.first() == Some(&b'/') && matches!(access, Access::Open | Access::Execute) {
            self.steps.note(TracedPath::new(path), self.steps.count);
            self.step_is_empty = false;
        }
    }

    fn path(&mut self, header: Header, base: &[u8], path: &[u8]) {
        if path.is_empty() && header.result < 0 {
            return;
        }
        let path = full_path(base, path, header.flags & FLAG_BELOW != 0);
        let asked = ACCESS.get(usize::from(header.access)).copied().unwrap_or(Access::Stat);
        for access in outcome::accesses(asked, header.result, header.flags) {
            self.record(path.clone(), header.process, access, phase_of(header.phase));
        }
    }

    fn fork(&mut self, header: Header) {
        let process = Process { began: phase_of(header.phase), ..self.process(header.other).clone() };
        self.parents.insert(header.process, header.other);
        if self.visitors.contains(&header.other) {
            self.visitors.insert(header.process);
        }
        self.processes.insert(header.process, process);
        self.current.insert(header.tgid, header.process);
    }

    fn exec(&mut self, header: Header, file: &[u8], arguments: &[u8], invoked_as: Option<TracedPath>) {
        let began = phase_of(header.phase);
        let from_runtime = self.process(header.other).executable.is_none();
        self.parents.insert(header.process, header.other);
        self.current.insert(header.tgid, header.process);
        let is_runtime = matches!(began, Phase::Runtime | Phase::RuntimeFiltered);
        if from_runtime && !is_runtime && *self.first.get_or_insert(header.process) != header.process
            || self.visitors.contains(&header.other)
        {
            self.visitors.insert(header.process);
        }
        let executable = (!is_runtime && !file.is_empty()).then(|| TracedPath::new(file));
        let argv = arguments.strip_suffix(b"\0").unwrap_or(arguments).split(|byte| *byte == 0);
        let process = Process {
            parent: None,
            began,
            invoked_as: invoked_as.filter(|invoked| executable.as_ref().is_some_and(|file| file != invoked)),
            interpreter: None,
            shebang: Vec::new(),
            argv: argv.map(slim_image::path::escape).collect(),
            executable,
        };
        for path in process.executable.iter().chain(&process.invoked_as) {
            self.record(path.as_bytes().to_vec(), header.process, Access::Execute, began);
        }
        self.processes.insert(header.process, process);
    }

    /// Fills in what an executed file itself says: its ELF interpreter, the interpreters of a script.
    fn complete(&mut self, id: u32, root: &Root) {
        let Some(process) = self.processes.get(&id).cloned() else { return };
        let Some(executable) = &process.executable else { return };
        let file = |path: &TracedPath| root.file(path.as_bytes()).ok();
        let interpreter = file(executable).and_then(|file| elf_interpreter(&file));
        let mut shebang = Vec::new();
        let mut script = process.invoked_as.clone();
        while let Some(path) = script.filter(|_| shebang.len() < SCRIPTS_MAX) {
            script = file(&path).and_then(|file| script_interpreter(&file));
            shebang.extend(script.clone());
        }
        for path in interpreter.iter().chain(&shebang) {
            self.record(path.as_bytes().to_vec(), id, Access::Execute, process.began);
        }
        self.processes.insert(id, Process { interpreter, shebang, ..process });
    }

    /// Those that were exec'ed before the root was known.
    pub fn complete_all(&mut self, root: &Root) {
        for id in self.processes.keys().copied().collect::<Vec<_>>() {
            self.complete(id, root);
        }
    }

    fn socket(&mut self, header: Header) {
        let [family, kind, protocol] = [0, 16, 32].map(|shift| low(header.flags >> shift));
        self.sockets.insert((header.process, family, kind, protocol, header.result < 0));
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
        let port = low(header.flags);
        if port != 0 {
            self.listening.insert(Listening { process: ProcessId(header.process), transport, address, port });
        }
    }
}

fn low(number: u64) -> u16 {
    u16::try_from(number & 0xffff).expect("sixteen bits fit")
}

/// The phase that a number in the eBPF program stands for.
pub fn phase_of(number: u16) -> Phase {
    match number {
        0 => Phase::Runtime,
        1 => Phase::RuntimeFiltered,
        3 => Phase::Exercise,
        4 => Phase::Shutdown,
        _ => Phase::Startup,
    }
}

/// A path seen from the container's root. For an absolute one the base is the task's own root, which is empty unless it
/// was changed; `below` is for those that count as relative though they begin with a slash.
pub fn full_path(base: &[u8], path: &[u8], below: bool) -> Vec<u8> {
    let base = if base.is_empty() { b"/" } else { base };
    let relative = if below || base != b"/" {
        &path[path.iter().take_while(|byte| **byte == b'/').count()..]
    } else {
        path
    };
    TracedPath::join(base, relative).as_bytes().to_vec()
}

/// What was handed to exec, as an absolute path. A descriptor's name is none.
fn invoked_as(name: &[u8], directory: &[u8]) -> Option<TracedPath> {
    if name.is_empty() || name.starts_with(b"/dev/fd/") {
        return None;
    }
    Some(TracedPath::join(if directory.is_empty() { b"/" } else { directory }, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PID: u32 = 77;

    fn header(process: u32, other: u32) -> Header {
        Header { kind: 0, phase: 2, process, tgid: PID, other, access: 0, abi: 0, result: 0, flags: 0 }
    }

    fn exec(gathered: &mut Gathered, name: &[u8], directory: &[u8]) {
        let event = Event::Exec {
            header: header(1, 0),
            file: b"/bin/busybox",
            name,
            arguments: b"sh\0-c\0\0",
            directory,
        };
        gathered.take(event, None);
    }

    #[test]
    fn paths_start_from_their_base() {
        assert_eq!(full_path(b"", b"/etc/passwd", false), b"/etc/passwd");
        assert_eq!(full_path(b"", b"etc", false), b"/etc");
        assert_eq!(full_path(b"/srv", b"", false), b"/srv");
        assert_eq!(full_path(b"", b"", false), b"/");
    }

    #[test]
    fn absolute_paths_of_a_changed_root_lie_below_it() {
        assert_eq!(full_path(b"/jail", b"/etc/passwd", false), b"/jail/etc/passwd");
        assert_eq!(full_path(b"", b"/etc/passwd", true), b"/etc/passwd");
        assert_eq!(full_path(b"/jail", b"//x", true), b"/jail/x");
    }

    #[test]
    fn a_relative_name_is_completed_with_the_working_directory() {
        assert_eq!(invoked_as(b"./run", b"/srv"), Some(TracedPath::new("/srv/./run")));
        assert_eq!(invoked_as(b"run", b""), Some(TracedPath::new("/run")));
        assert_eq!(invoked_as(b"/dev/fd/3", b""), None);
    }

    #[test]
    fn an_empty_argument_is_an_argument() {
        let mut gathered = Gathered::new();
        exec(&mut gathered, b"/bin/sh", b"");
        assert_eq!(gathered.processes[&1].argv, ["sh", "-c", ""]);
        assert_eq!(gathered.processes[&1].invoked_as, Some(TracedPath::new("/bin/sh")));
    }

    #[test]
    fn opens_of_a_process_that_just_ended_still_count() {
        let mut gathered = Gathered::new();
        assert!(!gathered.opened(PID, b"/a", false), "of nobody we know");
        exec(&mut gathered, b"/bin/sh", b"");
        gathered.take(Event::Exit(header(1, 0)), None);
        gathered.end_round(true);
        assert!(gathered.opened(PID, b"/a", false));
        gathered.end_round(true);
        assert!(!gathered.opened(PID, b"/a", false), "the process id may be somebody else's by now");
    }

    #[test]
    fn opens_that_wait_behind_many_others_still_count() {
        let mut gathered = Gathered::new();
        exec(&mut gathered, b"/bin/sh", b"");
        gathered.take(Event::Exit(header(1, 0)), None);
        for _ in 0..10 {
            gathered.end_round(false);
        }
        assert!(gathered.opened(PID, b"/a", false));
    }

    #[test]
    fn what_an_engine_runs_beside_the_program_is_no_activity_of_it() {
        let mut gathered = Gathered::new();
        exec(&mut gathered, b"/bin/sh", b"");
        let health = |process, other| Event::Exec {
            header: header(process, other),
            file: b"/bin/busybox",
            name: b"/bin/cat",
            arguments: b"cat\0",
            directory: b"",
        };
        let told = |gathered: &Gathered| gathered.last_activity;
        let before = told(&gathered);
        gathered.take(Event::Path { header: header(2, 0), base: b"", path: b"/proc/self/fd" }, None);
        gathered.take(health(3, 2), None);
        gathered.take(Event::Fork(header(4, 3)), None);
        gathered.take(health(5, 4), None);
        gathered.take(Event::Exit(header(5, 0)), None);
        assert_eq!(told(&gathered), before);
        gathered.take(Event::Fork(header(6, 1)), None);
        assert!(told(&gathered) > before);
    }

    #[test]
    fn files_are_noted_with_the_steps_that_opened_them() {
        let mut gathered = Gathered::new();
        exec(&mut gathered, b"/bin/sh", b"");
        let open = |gathered: &mut Gathered, path| {
            gathered.take(Event::Path { header: header(1, 0), base: b"", path }, None);
        };
        for _ in 0..2 {
            assert!(gathered.next_step() > 0);
            open(&mut gathered, b"/a");
        }
        open(&mut gathered, b"/b");
        let steps =
            |path: &str| gathered.steps.files[&TracedPath::new(path)].iter().copied().collect::<Vec<_>>();
        assert_eq!((steps("/bin/busybox"), steps("/a"), steps("/b")), (vec![0], vec![1, 2], vec![2]));
        gathered.next_step();
        assert_eq!(gathered.take_steps().count, 2, "nothing was opened in the third");
    }

    #[test]
    fn a_failed_call_with_an_empty_path_tells_nothing() {
        let mut gathered = Gathered::new();
        let failed = Header { result: -2, ..header(1, 0) };
        gathered.take(Event::Path { header: failed, base: b"/srv", path: b"" }, None);
        assert!(gathered.files.is_empty());
    }
}
