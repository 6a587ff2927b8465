//! Puts calls that wait together to what was seen: who made them, what they name, what they become.

use super::calls::{Look, Named, through_socketcall};
use super::handover::Handover;
use super::listener::{Answer, Waiting};
use super::task::{Identity, Program, Task};
use crate::error::SensorError;
use crate::event::{Event, Header};
use crate::gathering::{Gathered, full_path};
use crate::observer::Started;
use crate::program::CallsKey;
use crate::root::Root;
use crate::table::{self, Call, Kind};
use nix::libc;
use slim_image::ImagePath;
use slim_trace::{Abi, Phase, TracedPath};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, UdpSocket};
use std::os::fd::OwnedFd;

/// AUDIT_ARCH_I386 of `linux/audit.h`.
const MACHINE_X86: u32 = 0x4000_0003;
const X32_BIT: u32 = 0x4000_0000;
const SOCKETCALL: u32 = 102;
/// Numbers of the ABIs among the keys of [`CallsKey`].
const ABIS: [(Abi, u16); 3] = [(Abi::X86_64, 0), (Abi::X86, 1), (Abi::X32, 2)];
/// The phases of processes that run no program of the image.
const RUNTIME_FILTERED: u16 = 1;
/// Paths that were told already and are there are not looked at again; when so many are known, they are forgotten.
const SEEN_MAX: usize = 1 << 16;

/// Everything that is known of a container's processes.
pub struct Watcher {
    pub gathered: Gathered,
    pub started: Option<Started>,
    root: Option<Root>,
    image_volumes: Vec<ImagePath>,
    tasks: HashMap<u32, Known>,
    /// Threads by number → their process.
    threads: HashMap<u32, u32>,
    table: HashMap<(u16, u32), (&'static str, Call)>,
    hot: BTreeMap<u32, ()>,
    phase: u16,
    next_process: u32,
    seen: HashSet<Seen>,
    /// Sockets that listen or are bound at a port that the kernel chooses.
    ports: Vec<Port>,
    first: Option<u32>,
}

/// A path that was told: process, call, its flags, and the path.
type Seen = (u32, u16, u32, u64, Vec<u8>);

struct Known {
    task: Task,
    /// Its number among the processes that were seen.
    id: u32,
    is_program: bool,
    executing: Option<Executing>,
    made_children: bool,
}

/// An exec that goes on, or has failed.
struct Executing {
    thread: u32,
    before: Option<Program>,
    named: Named,
    arguments: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Port {
    id: u32,
    process: u32,
    descriptor: i32,
}

impl Watcher {
    pub fn new(image_volumes: Vec<ImagePath>) -> Self {
        let mut rows = HashMap::new();
        for (name, call) in table::calls() {
            for (abi, index) in ABIS {
                if let Some(number) = table::number_of(abi, name) {
                    rows.insert((index, number), (name, call));
                }
            }
        }
        Self {
            gathered: Gathered::new(),
            started: None,
            root: None,
            image_volumes,
            tasks: HashMap::new(),
            threads: HashMap::new(),
            table: rows,
            hot: BTreeMap::new(),
            phase: 2,
            next_process: 1,
            seen: HashSet::new(),
            ports: Vec::new(),
            first: None,
        }
    }

    pub fn enter_phase(&mut self, phase: Phase) {
        self.gathered.enter_phase(phase);
        self.phase = match phase {
            Phase::Runtime => 0,
            Phase::RuntimeFiltered => RUNTIME_FILTERED,
            Phase::Startup => 2,
            Phase::Exercise => 3,
            Phase::Shutdown => 4,
        };
        self.seen.clear();
    }

    pub fn next_step(&mut self) {
        self.gathered.next_step();
        self.seen.clear();
    }

    /// A listener came; these calls are not told from now on.
    pub fn assume(&mut self, hot: &[u32]) {
        self.hot.extend(hot.iter().map(|number| (*number, ())));
    }

    /// Looks at a call, and says what becomes of it.
    ///
    /// # Errors
    /// When the container's root cannot be had: nothing of it would be seen.
    pub fn look(&mut self, from: &Handover, waiting: &Waiting) -> Result<Answer, SensorError> {
        let refused = from.profile.refuses(waiting);
        let answer = refused.map_or(Answer::GoOn, Answer::Fail);
        let Some(process) = self.process_of(waiting.thread, from) else { return Ok(answer) };
        if self.root.is_none() {
            let pid = i32::try_from(process).unwrap_or_default();
            self.root = Some(Root::of_process(pid, &self.image_volumes)?);
        }
        self.settle(process, Some(waiting.thread));
        let (abi, number) = abi_of(waiting);
        let Some(known) = self.tasks.get_mut(&process) else { return Ok(answer) };
        let (id, phase) = (known.id, if known.is_program { self.phase } else { RUNTIME_FILTERED });
        let key = CallsKey { process: id, phase, abi: index_of(abi) };
        self.gathered.calls.entry(key).or_default().note(number, refused.map(|error| -error));
        let header = Header {
            kind: 0,
            phase,
            process: id,
            tgid: process,
            other: 0,
            access: 0,
            abi: key.abi,
            result: 0,
            flags: 0,
        };
        let is_own = |waiting: &Waiting| from.listener.still_waits(waiting);
        self.interpret(waiting, abi, number, refused, header, &is_own);
        Ok(answer)
    }

    /// What the call does, as far as it matters.
    fn interpret(
        &mut self,
        waiting: &Waiting,
        abi: Abi,
        number: u32,
        refused: Option<i32>,
        header: Header,
        is_own: &dyn Fn(&Waiting) -> bool,
    ) {
        let process = header.tgid;
        let name = table::name_of(abi, number);
        match name.as_str() {
            "clone" | "clone3" | "fork" | "vfork" => {
                if let Some(known) = self.tasks.get_mut(&process) {
                    known.made_children = true;
                }
                return;
            }
            "exit" => {
                self.meet_children(process);
                self.threads.remove(&waiting.thread);
                return;
            }
            "exit_group" => {
                self.meet_children(process);
                self.end(process);
                return;
            }
            "chroot" | "pivot_root" | "setns" | "unshare" => {
                if let Some(known) = self.tasks.get_mut(&process) {
                    known.task.moved_root = true;
                }
            }
            _ => {}
        }
        let Some(known) = self.tasks.get_mut(&process) else { return };
        let (mut number, mut arguments) = (number, waiting.arguments);
        if abi == Abi::X86 && number == SOCKETCALL {
            match through_socketcall(&mut known.task, arguments) {
                Some(inner) => (number, arguments) = inner,
                None => return,
            }
        }
        let Some((name, call)) = self.table.get(&(index_of(abi), number)).copied() else { return };
        if matches!(name, "execve" | "execveat") {
            self.meet_children(process);
        } else if !known.is_program {
            return;
        }
        match call.kind {
            Kind::Socket => {
                let flags =
                    arguments[0] & 0xffff | (arguments[1] & 0xf) << 16 | (arguments[2] & 0xffff) << 32;
                let result = if refused.is_some() { -1 } else { 0 };
                self.gathered.take(Event::Socket(Header { flags, result, ..header }), None);
                return;
            }
            Kind::Listen | Kind::Bind if refused.is_none() => {
                let descriptor = (arguments[0] & 0xffff_ffff) as u32 as i32;
                self.ports.push(Port { id: header.process, process, descriptor });
            }
            _ => {}
        }
        let Some(named) = self.names(waiting, abi, name, &call, arguments, refused, header) else { return };
        if !is_own(waiting) {
            // What was read belongs to nobody, or to somebody else.
            return;
        }
        if matches!(name, "execve" | "execveat") {
            self.executes(waiting, named, arguments, name == "execveat", header);
        } else {
            for named in named {
                self.tell(header, &named);
            }
        }
    }

    /// The paths of a call. `None`: they were told already, and are still there.
    #[expect(clippy::too_many_arguments, reason = "a call has that many sides")]
    fn names(
        &mut self,
        waiting: &Waiting,
        abi: Abi,
        name: &'static str,
        call: &Call,
        arguments: [u64; 6],
        refused: Option<i32>,
        header: Header,
    ) -> Option<Vec<Named>> {
        let known = self.tasks.get_mut(&header.tgid)?;
        let container = self.root.as_ref()?;
        // A file that is opened again under the same absolute path, as servers do all the time.
        let mut key = None;
        if call.kind == Kind::Open && refused.is_none() && !known.task.moved_root {
            let at = |index: i8| usize::try_from(index).ok().map_or(0, |index| arguments[index]);
            let path = known.task.string(at(call.first.path))?;
            if path.first() == Some(&b'/') {
                let seen: Seen = (header.process, header.abi, waiting.number, at(call.flags), path);
                if self.seen.contains(&seen) {
                    return None;
                }
                key = Some(seen);
            }
        }
        let mut look =
            Look { task: &mut known.task, container, thread: waiting.thread, abi, name, arguments, refused };
        let named = look.paths(call);
        if let Some(key) = key.filter(|_| named.iter().all(|named| named.result == 0)) {
            if self.seen.len() >= SEEN_MAX {
                self.seen.clear();
            }
            self.seen.insert(key);
        }
        Some(named)
    }

    fn tell(&mut self, header: Header, named: &Named) {
        let Named { access, base, path, result, flags, opened } = named;
        let header = Header { access: *access, result: *result, flags: *flags, ..header };
        self.gathered.take(Event::Path { header, base, path }, None);
        if let Some(opened) = opened {
            self.gathered.opened(header.tgid, opened, false);
        }
    }

    /// An exec that will succeed as far as can be foretold; what it becomes is seen with the next call.
    fn executes(
        &mut self,
        waiting: &Waiting,
        named: Vec<Named>,
        arguments: [u64; 6],
        from_descriptor: bool,
        header: Header,
    ) {
        let Some(named) = named.into_iter().next() else { return };
        let Some(known) = self.tasks.get_mut(&header.tgid) else { return };
        if named.result != 0 {
            if known.is_program {
                self.tell(header, &named);
            }
            return;
        }
        let pointer = arguments[if from_descriptor { 2 } else { 1 }];
        let arguments = argument_list(&mut known.task, pointer);
        known.executing =
            Some(Executing { thread: waiting.thread, before: known.task.program(), named, arguments });
    }

    /// Finds out what became of an exec. `asking`: the thread whose call waits.
    fn settle(&mut self, process: u32, asking: Option<u32>) {
        let Some(known) = self.tasks.get_mut(&process) else { return };
        let Some(executing) = known.executing.take() else { return };
        let now = known.task.program();
        let is_gone = now.is_none() && asking.is_none() && !known.task.lives();
        if (now.is_some() && now != executing.before) || is_gone {
            self.has_become(process, executing);
        } else if asking == Some(executing.thread) {
            // It asks again as who it was: there was no exec.
            let (id, is_program) = (known.id, known.is_program);
            let named = Named { result: -libc::EACCES, ..executing.named };
            if is_program {
                let header = Header {
                    kind: 0,
                    phase: self.phase,
                    process: id,
                    tgid: process,
                    other: 0,
                    access: 0,
                    abi: 0,
                    result: 0,
                    flags: 0,
                };
                self.tell(header, &named);
            }
        } else {
            known.executing = Some(executing);
        }
    }

    fn has_become(&mut self, process: u32, executing: Executing) {
        let id = self.new_id();
        let Some(known) = self.tasks.get_mut(&process) else { return };
        let (before, was_program) = (std::mem::replace(&mut known.id, id), known.is_program);
        known.is_program = true;
        known.made_children = false;
        self.threads.retain(|thread, owner| *owner != process || *thread == process);
        let Executing { named: Named { base, path, .. }, arguments, .. } = executing;
        let invoked = if path.is_empty() { base.clone() } else { full_path(&base, &path, false) };
        let leads_to = |path: &[u8]| {
            self.root.as_ref().and_then(|root| root.find(path, true).ok()).map(|found| found.path)
        };
        let file = known.task.executable().or_else(|| leads_to(&invoked)).unwrap_or_default();
        let arguments = known.task.arguments().filter(|all| !all.is_empty()).unwrap_or(arguments);
        let header = Header {
            kind: 1,
            phase: self.phase,
            process: id,
            tgid: process,
            other: before,
            access: 0,
            abi: 0,
            result: 0,
            flags: 0,
        };
        // A relative name is told with the directory that it is relative to.
        let directory: &[u8] = if path.first() == Some(&b'/') { &[] } else { &base };
        let event = Event::Exec { header, file: &file, name: &path, arguments: &arguments, directory };
        self.gathered.take(event, self.root.as_ref());
        self.open_interpreters(process, id);
        if !was_program && self.first.is_none() {
            self.first = Some(process);
            self.started = Some(Started { pid: i32::try_from(process).unwrap_or_default() });
        }
    }

    /// The kernel opens a program's interpreters itself, and the script.
    fn open_interpreters(&mut self, process: u32, id: u32) {
        let Some(seen) = self.gathered.processes.get(&id) else { return };
        let script = seen.invoked_as.iter().filter(|_| !seen.shebang.is_empty());
        let named: Vec<TracedPath> =
            seen.interpreter.iter().chain(&seen.shebang).chain(script).cloned().collect();
        for path in named {
            let found = self.root.as_ref().and_then(|root| root.find(path.as_bytes(), true).ok());
            if let Some(found) = found {
                self.gathered.opened(process, &found.path, true);
            }
        }
    }

    fn new_id(&mut self) -> u32 {
        self.next_process += 1;
        self.next_process - 1
    }

    /// The process of a thread, which is met for the first time, perhaps.
    fn process_of(&mut self, thread: u32, from: &Handover) -> Option<u32> {
        if let Some(process) = self.threads.get(&thread) {
            return Some(*process);
        }
        let identity = Identity::of(thread)?;
        if !self.tasks.contains_key(&identity.process) {
            self.meet(identity, from.is_first);
        }
        self.threads.insert(thread, identity.process);
        Some(identity.process)
    }

    fn meet(&mut self, identity: Identity, _is_first: bool) {
        let Some(mut task) = Task::open(identity) else { return };
        let parent = self.tasks.get(&identity.parent).map(|known| {
            task.moved_root = known.task.moved_root;
            (known.id, known.is_program)
        });
        let id = self.new_id();
        match parent {
            Some((parent, is_program)) => {
                let phase = if is_program { self.phase } else { RUNTIME_FILTERED };
                let header = Header {
                    kind: 2,
                    phase,
                    process: id,
                    tgid: identity.process,
                    other: parent,
                    access: 0,
                    abi: 0,
                    result: 0,
                    flags: 0,
                };
                self.gathered.take(Event::Fork(header), None);
            }
            // The runtime's own, on its way into the container.
            None => drop(self.gathered.process(id)),
        }
        let is_program = parent.is_some_and(|(_, is_program)| is_program);
        self.tasks
            .insert(identity.process, Known { task, id, is_program, executing: None, made_children: false });
    }

    /// Children that have made no call yet are met before their parent is somebody else, or nobody.
    fn meet_children(&mut self, process: u32) {
        let Some(known) = self.tasks.get_mut(&process).filter(|known| known.made_children) else { return };
        known.made_children = false;
        for child in known.task.children() {
            if !self.tasks.contains_key(&child)
                && let Some(identity) = Identity::of(child)
            {
                self.meet(Identity { parent: process, ..identity }, false);
            }
        }
    }

    fn end(&mut self, process: u32) {
        self.threads.retain(|_, owner| *owner != process);
        self.look_at_ports();
        if let Some(known) = self.tasks.remove(&process) {
            let header = Header {
                kind: 3,
                phase: self.phase,
                process: known.id,
                tgid: process,
                other: 0,
                access: 0,
                abi: 0,
                result: 0,
                flags: 0,
            };
            self.gathered.take(Event::Exit(header), None);
            self.gathered.end_round(true);
            self.gathered.end_round(true);
        }
    }

    /// What can be seen without a call: what execs became, ports, who has gone.
    pub fn tick(&mut self) {
        for process in self.tasks.keys().copied().collect::<Vec<_>>() {
            self.settle(process, None);
            if self.tasks.get(&process).is_some_and(|known| !known.task.lives()) {
                self.end(process);
            }
        }
        self.look_at_ports();
    }

    /// The ports of sockets that were to listen, once they do.
    pub fn look_at_ports(&mut self) {
        let waiting = std::mem::take(&mut self.ports);
        for port in waiting {
            match socket_of(&port) {
                Some(Bound::At { address, kind, number }) => self.listens(port, address, kind, number),
                Some(Bound::NotYet) => self.ports.push(port),
                None => {}
            }
        }
        // A program that binds and never gets a port must not be asked for ever.
        let most = 64;
        let too_many = self.ports.len().saturating_sub(most);
        self.ports.drain(..too_many);
    }

    fn listens(&mut self, port: Port, address: IpAddr, kind: u16, number: u16) {
        let mut bytes = [0; 16];
        let family = match address {
            IpAddr::V4(address) => {
                bytes[..4].copy_from_slice(&address.octets());
                libc::AF_INET
            }
            IpAddr::V6(address) => {
                bytes = address.octets();
                libc::AF_INET6
            }
        };
        let header = Header {
            kind: 5,
            phase: self.phase,
            process: port.id,
            tgid: port.process,
            other: family.cast_unsigned(),
            access: kind,
            abi: 0,
            result: 0,
            flags: u64::from(number),
        };
        self.gathered.take(Event::Listen { header, address: &bytes }, None);
    }

    /// Ends it: what was not told is taken for made, and where the container's files lie is handed on.
    pub fn take(&mut self) -> (Gathered, Vec<slim_trace::Mount>) {
        self.tick();
        let mut gathered = std::mem::replace(&mut self.gathered, Gathered::new());
        let programs: HashSet<u32> = gathered
            .processes
            .iter()
            .filter(|(_, process)| process.executable.is_some())
            .map(|(id, _)| *id)
            .collect();
        for (key, sets) in &mut gathered.calls {
            if key.abi == 0 && programs.contains(&key.process) {
                self.hot.keys().for_each(|number| sets.assume(*number));
            }
        }
        (gathered, self.root.as_ref().map(|root| root.mounts.clone()).unwrap_or_default())
    }
}

/// A socket at a port, or at none yet.
enum Bound {
    At { address: IpAddr, kind: u16, number: u16 },
    NotYet,
}

/// Looks at a socket of a process through a copy of its descriptor. `None` where there is no such socket, or none that
/// listens or is bound to a UDP port.
fn socket_of(port: &Port) -> Option<Bound> {
    use nix::sys::socket::{SockType, getsockopt, sockopt};
    let pid = rustix::process::Pid::from_raw(i32::try_from(port.process).ok()?)?;
    let handle = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()?;
    let flags = rustix::process::PidfdGetfdFlags::empty();
    let socket: OwnedFd = rustix::process::pidfd_getfd(&handle, port.descriptor, flags).ok()?;
    let kind = match getsockopt(&socket, sockopt::SockType).ok()? {
        SockType::Stream => 1,
        SockType::Datagram => 2,
        _ => return None,
    };
    let listens = getsockopt(&socket, sockopt::AcceptConn).ok()?;
    // Sockets of other families have no such address.
    let address = UdpSocket::from(socket).local_addr().ok()?;
    Some(match (kind, listens, address.port()) {
        (1, false, _) | (_, _, 0) => Bound::NotYet,
        (kind, _, number) => Bound::At { address: address.ip(), kind, number },
    })
}

/// The words of an exec's arguments, each with a zero byte behind it, up to a page.
fn argument_list(task: &mut Task, mut pointer: u64) -> Vec<u8> {
    const MOST_BYTES: usize = 4095;
    let mut all = Vec::new();
    while all.len() < MOST_BYTES {
        let Some(address) = task.bytes::<8>(pointer).map(u64::from_ne_bytes).filter(|address| *address != 0)
        else {
            break;
        };
        let Some(word) = task.string(address) else { break };
        all.extend(word);
        all.push(0);
        pointer += 8;
    }
    all
}

fn abi_of(waiting: &Waiting) -> (Abi, u32) {
    match waiting.machine {
        MACHINE_X86 => (Abi::X86, waiting.number),
        _ if waiting.number & X32_BIT != 0 => (Abi::X32, waiting.number & !X32_BIT),
        _ => (Abi::X86_64, waiting.number),
    }
}

fn index_of(abi: Abi) -> u16 {
    ABIS.iter().find(|(one, _)| *one == abi).map_or(0, |(_, index)| *index)
}
