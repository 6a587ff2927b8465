//! What one file's code says by itself: its functions, the system calls that each makes, and what it does not tell.

use crate::code::{Effect, convention, lift};
use crate::data::Data;
use crate::elf::{self, Binary, Code, Export, Failed, Import, Pointer, Unreadable, tables};
use crate::functions::{Edge, Functions, How, Target};
use crate::machine::Machine;
use crate::rows::index;
use crate::values::{Body, Place, Value, Values, load};
use slim_image::Contents;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hasher as _};
use std::rc::Rc;

/// Sums and loads within each other, handed on to callers.
const NESTING_MAX: u32 = 6;
/// Hand-ups to callers in one file.
const HANDED_UP_MAX: usize = 200_000;

/// What a function does by itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Made {
    /// Numbers of system calls, each with the instruction that gives the number or makes the call.
    pub calls: BTreeMap<u64, u64>,
    /// Instructions whose system call's number is not known.
    pub unknown: BTreeSet<u64>,
    /// The system call whose number the function's caller gives.
    pub asks: Option<u64>,
}

/// What libraries say of their functions to those who call them.
#[derive(Default)]
pub(crate) struct Known {
    /// Functions that are given a system call's number, with where it lies on entry.
    pub wrappers: BTreeMap<String, Values>,
    /// Functions that do not come back.
    pub ends: BTreeSet<String>,
}

impl Known {
    pub fn add(&mut self, facts: &Facts) {
        for (name, values) in &facts.wrappers {
            self.wrappers.entry(name.clone()).or_default().extend(values.iter().cloned());
        }
        let mut before: Option<&str> = None;
        for export in facts.by_name.iter().map(|index| &facts.exports[*index as usize]) {
            // Of several of one name the first that is a function's tells.
            if before == Some(&export.name) {
                continue;
            }
            let Some(function) = facts.functions.at(export.address) else { continue };
            before = Some(&export.name);
            if facts.functions.get(function).is_some_and(|function| !function.returns) {
                self.ends.insert(export.name.to_string());
            }
        }
    }
}

/// One file's code.
pub(crate) struct Facts {
    pub machine: Machine,
    /// Whether Go's linker made it: it has left out what nothing reaches.
    pub is_go: bool,
    pub functions: Functions,
    pub data: Data,
    /// By function; most do nothing.
    pub made: BTreeMap<usize, Made>,
    pub imports: Vec<Import>,
    pub exports: Vec<Export>,
    /// What each export is: a function, or the group of pointers that an object has.
    pub exported: Vec<Option<Target>>,
    /// Indices of `exports`, by name.
    by_name: Vec<u32>,
    pub entry: Option<usize>,
    /// What runs, or may be called by anybody, as soon as the file is loaded.
    pub loaded: Vec<Target>,
    /// Constants that could be names of symbols, of a file that looks symbols up by name: a hash of each, sorted.
    strings: Vec<u64>,
    /// Exported functions that are given a number, with where it lies on entry.
    pub wrappers: BTreeMap<String, Values>,
    /// Symbols whose callers in this file were asked for the number.
    pub asked: BTreeSet<u32>,
}

impl Facts {
    /// Reads one file. `known`: what libraries that were read before say of their functions.
    ///
    /// # Errors
    /// When the file's code cannot be read, or the image does not give it.
    pub fn read(contents: &mut dyn Contents, known: &Known, looks_up: bool) -> Result<Self, Failed> {
        let bytes = tables(contents)?;
        let code = Code::new(contents);
        // Its tables are not needed longer than that.
        let binary = Binary::read(&bytes, &code);
        drop(bytes);
        let facts = binary.and_then(|binary| Self::of(binary, known, looks_up));
        match code.failure() {
            Some(error) => Err(error.into()),
            None => Ok(facts?),
        }
    }

    fn of(mut binary: Binary<'_>, known: &Known, looks_up: bool) -> Result<Self, Unreadable> {
        let imports = std::mem::take(&mut binary.imports);
        let ends =
            |symbol: u32| imports.get(symbol as usize).is_some_and(|it| known.ends.contains(&*it.name));
        let mut functions = Functions::read(&mut binary, ends)?;
        let mut data = Data::read(&binary, &mut functions);
        let mut numbers = Numbers::new(&binary, &functions, &imports, known);
        numbers.find();
        let (made, wrappers, asked) = (numbers.made, numbers.wrappers, numbers.asked);
        let exports = std::mem::take(&mut binary.exports);
        let mut by_name: Vec<u32> = (0..index(exports.len())).collect();
        by_name.sort_by(|one, other| exports[*one as usize].name.cmp(&exports[*other as usize].name));
        let looks_up = looks_up
            || imports.iter().any(|import| is_look_up(&import.name))
            || exports.iter().any(|export| is_look_up(&export.name));
        let strings = if looks_up { strings(&binary) } else { Vec::new() };
        let loaded = loaded(&binary, &functions, &data);
        let exported = exports.iter().map(|export| {
            let function = functions.at(export.address).map(|found| Target::Function(index(found)));
            function.or_else(|| data.at(export.address).map(|found| Target::Data(index(found))))
        });
        let exported = exported.collect();
        functions.shrink();
        data.shrink();
        Ok(Self {
            machine: binary.machine,
            is_go: binary.is_go,
            made,
            imports,
            exports,
            exported,
            by_name,
            entry: functions.at(binary.entry),
            loaded,
            strings,
            wrappers,
            asked,
            functions,
            data,
        })
    }

    /// What people call a function: its symbol, or its address.
    pub fn label(&self, function: usize) -> String {
        self.functions.get(function).map_or_else(String::new, |function| match &function.name {
            Some(name) => name.to_string(),
            None => format!("{:#x}", function.start),
        })
    }

    /// The exports of a name: their indices, in the order of the file.
    pub fn named(&self, name: &str) -> impl Iterator<Item = usize> {
        let name_of = |index: u32| &*self.exports[index as usize].name;
        let first = self.by_name.partition_point(|index| name_of(*index) < name);
        let found = self.by_name[first..].iter().map(|index| *index as usize);
        found.take_while(move |index| &*self.exports[*index].name == name)
    }

    /// Whether one of the file's constants may be this name.
    pub fn may_spell(&self, name: &str) -> bool {
        self.strings.binary_search(&hash(name.as_bytes())).is_ok()
    }
}

/// Whether a function finds symbols by name.
pub(crate) fn is_look_up(name: &str) -> bool {
    matches!(name, "dlsym" | "dlvsym")
}

/// Whether a function calls whatever function its caller's data names: libffi's, by which Python's ctypes, Ruby's Fiddle and
/// PHP's FFI let scripts call libraries.
pub(crate) fn is_foreign_call(name: &str) -> bool {
    matches!(name, "ffi_call" | "ffi_call_go")
}

fn loaded(binary: &Binary<'_>, functions: &Functions, data: &Data) -> Vec<Target> {
    let mut loaded = BTreeSet::new();
    let function = |address: u64| functions.at(address).map(|found| Target::Function(index(found)));
    loaded.extend(binary.started.iter().filter_map(|address| function(*address)));
    for (at, pointer) in binary.slots.iter() {
        if binary.section(at).is_some_and(|section| section.contents == elf::Contents::Started) {
            loaded.extend(match pointer {
                Pointer::Address(address) => function(address),
                Pointer::Import(symbol) => Some(Target::Import(symbol)),
            });
        }
    }
    loaded.extend(data.unnamed().map(Target::Data));
    loaded.extend(binary.resolvers.iter().filter_map(|address| function(*address)));
    loaded.into_iter().collect()
}

/// Constants that could be names of symbols.
fn strings(binary: &Binary<'_>) -> Vec<u64> {
    let mut found = Vec::new();
    let sections = binary.sections.iter();
    for section in sections.filter(|it| matches!(it.contents, elf::Contents::Constants | elf::Contents::Data))
    {
        for text in section.bytes.split(|byte| *byte == 0) {
            let is_name = text.len() > 1
                && text.len() < 256
                && !text[0].is_ascii_digit()
                && text.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
            if is_name {
                found.push(hash(text));
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    found.shrink_to_fit();
    found
}

fn hash(text: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(text);
    hasher.finish()
}

/// Where control comes from to an address: the function's index, the instruction, and whether it is a call.
type Caller = (usize, u64, How);

/// The ways that control takes, each with the function that it begins in.
fn led(functions: &Functions) -> impl Iterator<Item = (usize, Edge)> {
    let all = (0..functions.len()).flat_map(|index| functions.edges(index).map(move |edge| (index, edge)));
    all.filter(|(_, edge)| edge.how != How::Names)
}

/// The search for the numbers of a file's system calls.
struct Numbers<'a, 'data> {
    binary: &'a Binary<'data>,
    functions: &'a Functions,
    imports: &'a [Import],
    known: &'a Known,
    /// Addresses inside of functions that others lead to, sorted.
    entered: Vec<u64>,
    /// Of the addresses that were asked about.
    callers: HashMap<u64, Vec<Caller>>,
    /// Of the functions of libraries that are given a number.
    import_callers: BTreeMap<u32, Vec<Caller>>,
    bodies: HashMap<usize, Rc<Body>>,
    cells: HashMap<u64, Values>,
    /// Values that callers have to tell: where control comes in, the value, the system call.
    open: Vec<(u64, Value, u64)>,
    seen: HashSet<(u64, Value)>,
    made: BTreeMap<usize, Made>,
    wrappers: BTreeMap<String, Values>,
    asked: BTreeSet<u32>,
}

impl<'a, 'data> Numbers<'a, 'data> {
    fn new(
        binary: &'a Binary<'data>,
        functions: &'a Functions,
        imports: &'a [Import],
        known: &'a Known,
    ) -> Self {
        let mut entered = Vec::new();
        let mut import_callers: BTreeMap<u32, Vec<Caller>> = BTreeMap::new();
        for (index, edge) in led(functions) {
            match (edge.target, edge.to) {
                (Target::Import(symbol), _) => {
                    let import = imports.get(symbol as usize);
                    if import.is_some_and(|import| known.wrappers.contains_key(&*import.name)) {
                        import_callers.entry(symbol).or_default().push((index, edge.at, edge.how));
                    }
                }
                (Target::Function(to), Some(address)) => {
                    if functions.get(to as usize).is_some_and(|function| function.start != address) {
                        entered.push(address);
                    }
                }
                (Target::Function(_), None) | (Target::Data(_), _) => {}
            }
        }
        entered.sort_unstable();
        entered.dedup();
        Self {
            binary,
            functions,
            imports,
            known,
            entered,
            callers: HashMap::new(),
            import_callers,
            bodies: HashMap::new(),
            cells: HashMap::new(),
            open: Vec::new(),
            seen: HashSet::new(),
            made: BTreeMap::new(),
            wrappers: BTreeMap::new(),
            asked: BTreeSet::new(),
        }
    }

    fn find(&mut self) {
        let number = Place::Register(convention(self.binary.machine).number);
        let functions = self.functions;
        for index in 0..functions.len() {
            let old = functions.old_system_calls.row(index);
            if !old.is_empty() {
                self.made(index).unknown.extend(old);
            }
            for site in functions.system_calls.row(index) {
                let body = self.body(index);
                let values = body.values(number, body.index(*site));
                self.settle(index, *site, values);
            }
        }
        for (symbol, callers) in std::mem::take(&mut self.import_callers) {
            let Some(values) =
                self.imports.get(symbol as usize).and_then(|it| self.known.wrappers.get(&*it.name))
            else {
                continue;
            };
            self.asked.insert(symbol);
            for (index, at, how) in callers {
                for value in values {
                    self.ask(index, at, how, value, at);
                }
            }
        }
        let mut handed = 0;
        while !self.open.is_empty() {
            let round = std::mem::take(&mut self.open);
            self.find_callers(&round);
            for (entry, value, site) in round {
                handed += 1;
                if handed > HANDED_UP_MAX {
                    self.give_up(entry, site);
                    continue;
                }
                for (index, at, how) in self.callers.get(&entry).cloned().unwrap_or_default() {
                    self.ask(index, at, how, &value, site);
                }
            }
        }
        for export in self.binary.exports.iter().filter(|export| export.is_function) {
            let Some(index) = self.functions.at(export.address) else { continue };
            if self.made.get(&index).is_none_or(|made| made.asks.is_none()) {
                continue;
            }
            let values = self.seen.iter().filter(|(entry, _)| *entry == export.address);
            let values: Values = values.map(|(_, value)| value.clone()).collect();
            if !values.is_empty() {
                self.wrappers.entry(export.name.to_string()).or_default().extend(values);
            }
        }
    }

    fn give_up(&mut self, entry: u64, site: u64) {
        if let Some(index) = self.functions.at(entry) {
            self.made(index).unknown.insert(site);
        }
    }

    fn made(&mut self, function: usize) -> &mut Made {
        self.made.entry(function).or_default()
    }

    /// Looks for the callers of what is asked about for the first time. All callers of everything are too many to keep.
    fn find_callers(&mut self, round: &[(u64, Value, u64)]) {
        let asked = round.iter().map(|(entry, ..)| *entry);
        let new: HashSet<u64> = asked.filter(|entry| !self.callers.contains_key(entry)).collect();
        if new.is_empty() {
            return;
        }
        for (index, edge) in led(self.functions) {
            if let Some(to) = edge.to.filter(|to| new.contains(to)) {
                self.callers.entry(to).or_default().push((index, edge.at, edge.how));
            }
        }
        for entry in new {
            self.callers.entry(entry).or_default();
        }
    }

    fn body(&mut self, index: usize) -> Rc<Body> {
        if let Some(body) = self.bodies.get(&index) {
            return Rc::clone(body);
        }
        let range = self.functions.get(index).map_or((0, 0), |function| (function.start, function.end));
        let steps = lift(self.binary, range.0, range.1);
        let ends = |symbol: u32| {
            self.imports.get(symbol as usize).is_some_and(|import| self.known.ends.contains(&*import.name))
        };
        let last_calls = self.functions.last_calls(index, ends);
        let entered = |address| self.entered.binary_search(&address).is_ok();
        let tabled = self.functions.tabled.row(index);
        let body = Rc::new(Body::new(convention(self.binary.machine), steps, &last_calls, entered, tabled));
        self.bodies.insert(index, Rc::clone(&body));
        body
    }

    /// What a function's caller says of a value that lies where the function begins.
    fn ask(&mut self, index: usize, at: u64, how: How, value: &Value, site: u64) {
        let body = self.body(index);
        let step = body.index(at);
        let told = self.told(&body, step, how, value);
        // In the caller the call is where the number is given.
        let site = if told.iter().all(|value| matches!(value, Value::Constant(_))) { at } else { site };
        self.settle_at(index, at, site, told);
    }

    /// A value of a called function in its caller's terms.
    fn told(&mut self, body: &Body, step: usize, how: How, value: &Value) -> Values {
        match value {
            Value::Constant(_) => Values::from([value.clone()]),
            Value::Stack(_) | Value::Unknown => Values::from([Value::Unknown]),
            Value::Entry(_, place) => {
                let place = match *place {
                    Place::Register(register) => Place::Register(register),
                    Place::Stack(offset) => {
                        let pushed = match how {
                            How::Calls => convention(self.binary.machine).return_address,
                            How::Jumps | How::Names => 0,
                        };
                        let Some(depth) = body.depth(step) else { return Values::from([Value::Unknown]) };
                        Place::Stack(depth.wrapping_sub(pushed).wrapping_add(offset))
                    }
                };
                body.values(place, step)
            }
            Value::Sum(value, more) => {
                self.told(body, step, how, value).into_iter().map(|value| value.plus(*more)).collect()
            }
            Value::Loaded(base, offset) => {
                let mut found = Values::new();
                for base in self.told(body, step, how, base) {
                    match base.plus(*offset) {
                        Value::Stack(offset) => found.extend(body.values(Place::Stack(offset), step)),
                        Value::Unknown => {
                            found.insert(Value::Unknown);
                        }
                        address => {
                            found.insert(load(address));
                        }
                    }
                }
                found
            }
        }
    }

    fn settle(&mut self, index: usize, site: u64, values: Values) {
        self.settle_at(index, site, site, values);
    }

    /// Notes what the number of a system call may be.
    fn settle_at(&mut self, index: usize, at: u64, site: u64, values: Values) {
        let mut open: Vec<Value> = values.into_iter().collect();
        let mut seen = BTreeSet::new();
        while let Some(value) = open.pop() {
            if !seen.insert(value.clone()) {
                continue;
            }
            match self.read_memory(&value) {
                Some(values) => open.extend(values),
                None => self.note(index, at, site, value),
            }
        }
    }

    fn note(&mut self, index: usize, at: u64, site: u64, value: Value) {
        match (value.entry(), &value) {
            (_, Value::Constant(number)) => {
                // The kernel looks at 32 bits; -1 is what is put there to make no call.
                let number = u64::from(u32::try_from(number & 0xffff_ffff).expect("32 bits"));
                self.made(index).calls.entry(number).or_insert(at);
            }
            (Some(entry), _) if value.nesting() <= NESTING_MAX => {
                if let Some(index) = self.functions.at(entry)
                    && self.functions.get(index).is_some_and(|function| function.start == entry)
                {
                    self.made(index).asks.get_or_insert(site);
                }
                if self.seen.insert((entry, value.clone())) {
                    self.open.push((entry, value, site));
                }
            }
            _ => {
                self.made(index).unknown.insert(at);
            }
        }
    }

    /// What a value that lies at a fixed address may be.
    fn read_memory(&mut self, value: &Value) -> Option<Values> {
        match value {
            Value::Loaded(base, offset) => {
                let address = match base.as_ref() {
                    Value::Constant(address) => address.wrapping_add(*offset).cast_unsigned(),
                    base => {
                        let values = self.read_memory(base)?;
                        return Some(values.into_iter().map(|it| load(it.plus(*offset))).collect());
                    }
                };
                Some(self.cell(address))
            }
            Value::Sum(base, more) => {
                let values = self.read_memory(base)?;
                Some(values.into_iter().map(|value| value.plus(*more)).collect())
            }
            _ => None,
        }
    }

    /// What the file's own code puts at an address, and what the file has there.
    fn cell(&mut self, address: u64) -> Values {
        if let Some(values) = self.cells.get(&address) {
            return values.clone();
        }
        // Not again while it is being found out.
        self.cells.insert(address, Values::new());
        let mut values = Values::new();
        match self.binary.section(address).map(|section| section.contents) {
            // What it begins with; what is stored there is added below.
            Some(elf::Contents::Constants | elf::Contents::Data) if !self.binary.slots.holds(address) => {
                let bytes = self.binary.bytes_at(address).and_then(|bytes| bytes.get(..4));
                values.extend(bytes.map(|bytes| {
                    let number = u32::from_le_bytes(bytes.try_into().expect("four bytes"));
                    Value::Constant(number.into())
                }));
            }
            Some(_) => {
                values.insert(Value::Unknown);
            }
            None => {}
        }
        let functions = self.functions;
        for index in 0..functions.len() {
            if functions.named.row(index).binary_search(&address).is_err() {
                continue;
            }
            let body = self.body(index);
            for (at, step) in body.steps().iter().enumerate() {
                for effect in &step.effects {
                    match effect {
                        Effect::Store(memory, source)
                            if body
                                .addresses(*memory, at)
                                .contains(&Value::Constant(address.cast_signed())) =>
                        {
                            values.extend(body.source(source, at));
                        }
                        // Whoever is handed the address may write there.
                        Effect::Set(_, crate::code::Source::Constant(value))
                            if value.cast_unsigned() == address =>
                        {
                            values.insert(Value::Unknown);
                        }
                        _ => {}
                    }
                }
            }
        }
        if values.is_empty() {
            values.insert(Value::Unknown);
        }
        self.cells.insert(address, values.clone());
        values
    }
}
