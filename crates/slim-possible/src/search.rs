//! From the files' facts to the answer: what each program reaches, over all the files that it loads.

use crate::elf::Failed;
use crate::facts::{Facts, Known, is_foreign_call, is_look_up};
use crate::functions::{How as Leads, Target};
use crate::possible::{
    Because, Call, FORMAT_VERSION, FileCalls, Frame, Possible, Program, UnknownCall, Unread, base_name,
};
use crate::rows::index;
use crate::scope::{Needs, Scope};
use slim_image::{ImagePath, ImageTree, TreeError};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// Numbers beyond are no system calls of any kernel: what is put there to make none.
const NUMBERS: u64 = 1024;

/// An ELF file that is kept, and how it comes to be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub path: ImagePath,
    pub how: How,
    /// The files that the loader finds for its DT_NEEDED.
    pub needs: Vec<ImagePath>,
}

/// How a file comes to be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// It is run. `interpreter`: the loader that PT_INTERP names; `None` for a static program.
    Program { interpreter: Option<ImagePath> },
    /// Other files need it, or the kernel loads it as interpreter.
    Library,
    /// dlopen loads it, and whoever does may call all that it exports. `by`: the programs that do; empty for all.
    Opened { by: BTreeSet<ImagePath> },
}

/// Finds out which system calls the programs among `kept` can make.
///
/// # Errors
/// When one of the files cannot be read from the image. A file that is no ELF file for a machine that we know is not an
/// error: [`Possible::unread`] names it.
pub fn possible(tree: &dyn ImageTree, kept: &[Kept]) -> Result<Possible, TreeError> {
    let by_path: BTreeMap<&ImagePath, &Kept> = kept.iter().map(|kept| (&kept.path, kept)).collect();
    let interpreters: BTreeSet<&ImagePath> = kept
        .iter()
        .filter_map(|kept| match &kept.how {
            How::Program { interpreter } => interpreter.as_ref(),
            _ => None,
        })
        .collect();
    let mut facts = BTreeMap::new();
    let mut unread = Vec::new();
    // Libraries before those that need them: what they say of their functions is needed there.
    let mut known = Known::default();
    for path in libraries_first(kept, &by_path) {
        match Facts::read(&mut *tree.open(path)?, &known, interpreters.contains(path)) {
            Ok(read) => {
                known.add(&read);
                facts.insert(path, read);
            }
            Err(Failed::Io(source)) => return Err(TreeError::Read { path: path.clone(), source }),
            Err(Failed::Unreadable(why)) => {
                unread.push(Unread { file: path.clone(), why: why.to_string() });
            }
        }
    }
    unread.sort();
    let needs: Needs<'_> = kept.iter().map(|kept| (&kept.path, kept.needs.as_slice())).collect();
    let mut answer = Answer::default();
    for program in kept {
        let How::Program { interpreter } = &program.how else { continue };
        let opened: Vec<&ImagePath> = kept
            .iter()
            .filter(|kept| match &kept.how {
                How::Opened { by } => by.is_empty() || by.contains(&program.path),
                _ => false,
            })
            .map(|kept| &kept.path)
            .collect();
        let scope = Scope::new(&program.path, &opened, &needs);
        let mut search = Search::new(&program.path, scope, &facts, &interpreters);
        search.run(interpreter.as_ref());
        search.tell(&unread, &mut answer);
    }
    Ok(answer.finish(&facts, unread))
}

fn libraries_first<'a>(kept: &'a [Kept], by_path: &BTreeMap<&'a ImagePath, &'a Kept>) -> Vec<&'a ImagePath> {
    let mut order = Vec::new();
    let mut seen = BTreeSet::new();
    for kept in kept {
        // Each file twice: before what it needs, and behind.
        let mut open = vec![(&kept.path, false)];
        while let Some((path, is_behind)) = open.pop() {
            if is_behind {
                order.push(path);
            } else if let Some(kept) = by_path.get(path)
                && seen.insert(path)
            {
                open.push((path, true));
                open.extend(kept.needs.iter().rev().map(|needed| (needed, false)));
            }
        }
    }
    order
}

/// A function or, behind all functions, a group of pointers: its file's place in the scope, and its index there.
type Node = (usize, usize);

/// A function with more calls than this says nothing of what goes together.
const TOGETHER_MAX: usize = 24;

/// What leads to each node that was reached, in four bytes a node: there are millions.
struct Reached {
    /// Where the nodes of each file begin.
    begins: Vec<u32>,
    /// By node: the one that leads there.
    from: Vec<u32>,
}

/// Nothing leads there; nothing but the loader does.
const UNREACHED: u32 = u32::MAX;
const LOADED: u32 = u32::MAX - 1;

impl Reached {
    fn new(facts: &[&Facts]) -> Self {
        let (mut begins, mut nodes) = (Vec::new(), 0);
        for facts in facts {
            begins.push(index(nodes));
            nodes += facts.functions.len() + facts.data.len();
        }
        Self { begins, from: vec![UNREACHED; nodes] }
    }

    fn place(&self, (file, of_file): Node) -> usize {
        self.begins[file] as usize + of_file
    }

    /// Notes that a node is reached; false where it was before.
    fn reach(&mut self, node: Node, from: Option<Node>) -> bool {
        let from = from.map_or(LOADED, |from| index(self.place(from)));
        let place = self.place(node);
        let is_new = self.from[place] == UNREACHED;
        if is_new {
            self.from[place] = from;
        }
        is_new
    }

    /// The node that led to one first.
    fn before(&self, node: Node) -> Option<Node> {
        let from = self.from[self.place(node)];
        if from == UNREACHED || from == LOADED {
            return None;
        }
        let file = self.begins.partition_point(|begin| *begin <= from) - 1;
        // A file without nodes begins where the next one does.
        Some((file, (from - self.begins[file]) as usize))
    }
}

/// The search from one program.
struct Search<'a> {
    program: &'a ImagePath,
    scope: Scope,
    paths: Vec<&'a ImagePath>,
    facts: Vec<&'a Facts>,
    all: &'a BTreeMap<&'a ImagePath, Facts>,
    interpreters: &'a BTreeSet<&'a ImagePath>,
    /// What leads to each function that was reached.
    reached: Reached,
    order: Vec<Node>,
    open: VecDeque<Node>,
    found: HashMap<(usize, u32), Vec<Node>>,
    looked_up: BTreeSet<usize>,
    unknown: BTreeSet<UnknownCall>,
    missing: BTreeSet<Frame>,
}

impl<'a> Search<'a> {
    fn new(
        program: &'a ImagePath,
        scope: Scope,
        all: &'a BTreeMap<&'a ImagePath, Facts>,
        interpreters: &'a BTreeSet<&'a ImagePath>,
    ) -> Self {
        let read: Vec<(&ImagePath, &Facts)> = scope
            .files()
            .into_iter()
            .filter_map(|path| all.get_key_value(path))
            .map(|(path, facts)| (*path, facts))
            .collect();
        let facts: Vec<&Facts> = read.iter().map(|(_, facts)| *facts).collect();
        Self {
            program,
            scope,
            paths: read.iter().map(|(path, _)| *path).collect(),
            reached: Reached::new(&facts),
            facts,
            all,
            interpreters,
            order: Vec::new(),
            open: VecDeque::new(),
            found: HashMap::new(),
            looked_up: BTreeSet::new(),
            unknown: BTreeSet::new(),
            missing: BTreeSet::new(),
        }
    }

    fn run(&mut self, interpreter: Option<&ImagePath>) {
        for file in 0..self.paths.len() {
            let (path, facts) = (self.paths[file], self.facts[file]);
            if (path == self.program || Some(path) == interpreter)
                && let Some(entry) = facts.entry
            {
                self.enter((file, entry), None, Leads::Jumps);
            }
            for target in &facts.loaded {
                self.lead(file, None, *target, Leads::Names, 0);
            }
            if facts.is_go {
                for function in 0..facts.functions.len() {
                    self.enter((file, function), None, Leads::Jumps);
                }
            }
            if self.scope.opened.contains_key(path) {
                for export in facts.exports.iter().filter(|export| export.is_function) {
                    if let Some(function) = facts.functions.at(export.address) {
                        self.enter((file, function), None, Leads::Names);
                    }
                }
            }
            // The loader and the C library look functions up without importing dlsym.
            if self.interpreters.contains(path) || facts.named("dlsym").next().is_some() {
                self.look_up(file, None);
            }
        }
        while let Some(node) = self.open.pop_front() {
            self.order.push(node);
            let (file, function) = node;
            let facts = self.facts[file];
            if let Some(group) = function.checked_sub(facts.functions.len()) {
                for target in facts.data.targets(group) {
                    self.lead(file, Some(node), *target, Leads::Names, 0);
                }
                continue;
            }
            for group in facts.functions.data.row(function) {
                self.lead(file, Some(node), Target::Data(*group), Leads::Names, 0);
            }
            for edge in facts.functions.edges(function) {
                self.lead(file, Some(node), edge.target, edge.how, edge.at);
            }
            for address in facts.made.get(&function).into_iter().flat_map(|made| &made.unknown) {
                self.note_unknown(file, *address);
            }
        }
    }

    fn enter(&mut self, node: Node, from: Option<Node>, how: Leads) {
        let (file, function) = node;
        // Whoever has its address gives it any number.
        if how == Leads::Names
            && let Some(made) = self.facts[file].made.get(&function)
            && let Some(address) = made.asks
        {
            self.note_unknown(file, address);
        }
        if self.reached.reach(node, from) {
            self.open.push_back(node);
        }
    }

    fn lead(&mut self, file: usize, from: Option<Node>, target: Target, how: Leads, at: u64) {
        match target {
            Target::Function(_) | Target::Data(_) => {
                if let Some(node) = self.node(file, target) {
                    self.enter(node, from, how);
                }
            }
            Target::Import(symbol) => {
                let facts = self.facts[file];
                let Some(import) = facts.imports.get(symbol as usize) else { return };
                if is_look_up(&import.name) {
                    self.look_up(file, from);
                }
                if is_foreign_call(&import.name) {
                    self.note_unknown(file, at);
                }
                for node in self.imported(file, symbol) {
                    let asks = self.facts[node.0].made.get(&node.1).is_some_and(|made| made.asks.is_some());
                    if asks && how != Leads::Names && !facts.asked.contains(&symbol) {
                        self.note_unknown(file, at);
                    }
                    self.enter(node, from, how);
                }
            }
        }
    }

    /// Behind the functions of a file come its groups.
    fn node(&self, file: usize, target: Target) -> Option<Node> {
        match target {
            Target::Function(function) => Some((file, function as usize)),
            Target::Data(group) => Some((file, self.facts[file].functions.len() + group as usize)),
            Target::Import(_) => None,
        }
    }

    /// The functions that a file's import means.
    fn imported(&mut self, file: usize, symbol: u32) -> Vec<Node> {
        if let Some(found) = self.found.get(&(file, symbol)) {
            return found.clone();
        }
        let path = self.paths[file];
        let import = &self.facts[file].imports[symbol as usize];
        let defined = self.scope.find(path, import, self.all);
        if defined.is_empty() && !import.is_weak && !import.name.is_empty() {
            self.missing.insert(Frame { file: path.clone(), function: import.name.to_string() });
        }
        let nodes: Vec<Node> = defined
            .into_iter()
            .filter_map(|(path, export)| {
                let file = self.paths.iter().position(|other| *other == path)?;
                self.node(file, self.facts[file].exported[export]?)
            })
            .collect();
        self.found.insert((file, symbol), nodes.clone());
        nodes
    }

    /// Whatever a file's constants name may be looked up by it.
    fn look_up(&mut self, file: usize, from: Option<Node>) {
        if !self.looked_up.insert(file) {
            return;
        }
        for other in (0..self.facts.len()).filter(|other| *other != file) {
            let facts = self.facts[other];
            for export in facts.exports.iter().filter(|export| export.is_function) {
                if self.facts[file].may_spell(&export.name)
                    && let Some(function) = facts.functions.at(export.address)
                {
                    self.enter((other, function), from, Leads::Names);
                }
            }
        }
    }

    fn note_unknown(&mut self, file: usize, address: u64) {
        let facts = self.facts[file];
        let function = facts.functions.at(address);
        let function = function.map_or_else(|| format!("{address:#x}"), |function| facts.label(function));
        self.unknown.insert(UnknownCall { file: self.paths[file].clone(), address, function });
    }

    /// The way to a function, shortened: the last function of each file before the way leaves it.
    fn chain(&self, node: Node) -> Vec<Frame> {
        let mut way = vec![node];
        while let Some(from) = self.reached.before(*way.last().expect("never empty")) {
            way.push(from);
        }
        way.reverse();
        way.retain(|(file, function)| {
            self.facts[*file].functions.get(*function).is_some_and(|function| !function.is_stub)
        });
        let mut chain: Vec<Frame> = Vec::new();
        for (index, (file, function)) in way.iter().enumerate() {
            let leaves = way.get(index + 1).is_none_or(|(next, _)| next != file);
            if leaves {
                let function = self.facts[*file].label(*function);
                chain.push(Frame { file: self.paths[*file].clone(), function });
            }
        }
        chain
    }

    /// Which calls stand in one function, by themselves or through a function of a library that makes one itself: what a
    /// function does when all goes well, and what it does when not.
    fn tell_together(&mut self, answer: &mut Answer) {
        for (file, function) in self.order.clone() {
            let facts = self.facts[file];
            if function >= facts.functions.len() {
                continue;
            }
            let mut calls = self.names(file, function);
            for edge in facts.functions.edges(function).filter(|edge| edge.how != Leads::Names) {
                for (file, callee) in self.called(file, edge.target) {
                    calls.extend(self.names(file, callee));
                }
            }
            // One that calls everything is a table, no path.
            if (2..=TOGETHER_MAX).contains(&calls.len()) {
                let label = format!("{}:{}", base_name(self.paths[file]), facts.label(function));
                answer.join(&calls, &label);
            }
        }
    }

    /// The functions that a call leads to, behind the linker's stubs.
    fn called(&mut self, file: usize, target: Target) -> Vec<Node> {
        match target {
            Target::Import(symbol) => self.imported(file, symbol),
            Target::Data(_) => Vec::new(),
            Target::Function(callee) => {
                let (functions, callee) = (&self.facts[file].functions, callee as usize);
                if functions.get(callee).is_none_or(|function| !function.is_stub) {
                    return vec![(file, callee)];
                }
                let imports = functions.edges(callee).filter_map(|edge| match edge.target {
                    Target::Import(symbol) => Some(symbol),
                    _ => None,
                });
                imports.flat_map(|symbol| self.imported(file, symbol)).collect()
            }
        }
    }

    /// The calls that a function itself makes.
    fn names(&self, file: usize, function: usize) -> BTreeSet<&'static str> {
        let facts = self.facts[file];
        let made = facts.made.get(&function).into_iter().flat_map(|made| made.calls.keys());
        made.filter_map(|number| facts.machine.system_call(*number)).collect()
    }

    fn tell(mut self, unread: &[Unread], answer: &mut Answer) {
        let mut calls = BTreeSet::new();
        for node in &self.order {
            let (file, function) = *node;
            let facts = self.facts[file];
            for number in facts.made.get(&function).into_iter().flat_map(|made| made.calls.keys()) {
                let name = match facts.machine.system_call(*number) {
                    Some(name) => name.to_owned(),
                    None if *number < NUMBERS => format!("#{number}"),
                    None => continue,
                };
                let part = answer.files.entry(self.paths[file].clone()).or_default();
                part.0.entry(name.clone()).or_insert_with(|| facts.label(function));
                if calls.insert(name.clone()) {
                    let because = Because::Code { program: self.program.clone(), chain: self.chain(*node) };
                    answer.calls.entry(name).or_default().insert(because);
                }
            }
        }
        self.tell_together(answer);
        for call in &self.unknown {
            answer.files.entry(call.file.clone()).or_default().1.insert(call.clone());
        }
        let files = self.scope.files();
        let is_read = !unread.iter().any(|unread| files.contains(&&unread.file));
        let is_found = files.iter().all(|path| self.all.contains_key(path));
        if let Some(facts) = self.facts.first() {
            for call in facts.machine.vdso_calls() {
                calls.insert((*call).to_owned());
                answer.calls.entry((*call).to_owned()).or_default().insert(Because::Vdso);
            }
        }
        answer.programs.push(Program {
            path: self.program.clone(),
            calls,
            is_complete: is_read && is_found && self.unknown.is_empty() && self.missing.is_empty(),
            unknown: self.unknown,
            missing: self.missing,
        });
    }
}

/// What is gathered from all programs.
#[derive(Default)]
struct Answer {
    calls: BTreeMap<String, BTreeSet<Because>>,
    programs: Vec<Program>,
    files: BTreeMap<ImagePath, (BTreeMap<String, String>, BTreeSet<UnknownCall>)>,
    together: BTreeMap<String, BTreeMap<String, String>>,
}

impl Answer {
    /// Notes calls of one function. Of several functions that have two of them the first by name is named.
    fn join(&mut self, calls: &BTreeSet<&'static str>, label: &str) {
        for one in calls {
            let others = self.together.entry((*one).to_owned()).or_default();
            for other in calls.iter().filter(|other| *other != one) {
                let named = others.entry((*other).to_owned()).or_insert_with(|| label.to_owned());
                if label < named.as_str() {
                    label.clone_into(named);
                }
            }
        }
    }

    fn finish(self, facts: &BTreeMap<&ImagePath, Facts>, unread: Vec<Unread>) -> Possible {
        let calls = self.calls.into_iter();
        let files = self.files.into_iter();
        Possible {
            format_version: FORMAT_VERSION,
            machine: facts.values().next().map(|facts| facts.machine),
            calls: calls.map(|(system_call, because)| Call { system_call, because }).collect(),
            programs: self.programs,
            files: files.map(|(path, (calls, unknown))| FileCalls { path, calls, unknown }).collect(),
            together: self.together,
            unread,
        }
    }
}
