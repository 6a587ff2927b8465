//! One script with the files that it reads in its own place, as the commands that it can run.
//!
//! First every assignment and function is noted, then every command is looked at, wherever it stands: pipelines, lists,
//! substitutions, subshells, bodies of functions, conditions, arms of `case`. Texts that shells are given as arguments are
//! read as more of the same script.

use super::calls::{SHELLS, Step, steps};
use super::words::{Scope, UNKNOWN, Values, Variables, named};
use crate::context::Context;
use crate::reach::glob;
use crate::reach::syntax::{Language, line_of, nodes, parse, text_of};
use slim_image::{ImagePath, TreeError};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use tree_sitter::{Node, Tree};

/// Longer texts are archives with a script in front: only this much is read.
pub(in crate::reach) const TEXT_MAX: usize = 512 << 10;
/// Files and texts that one script reads.
const PARTS_MAX: usize = 128;
/// Bytes of all of them.
const BYTES_MAX: usize = 2 << 20;
/// Files that one word with wildcards stands for.
const FILES_MAX: usize = 256;

/// Words that are taken for commands where a text cannot be read.
const ODD_MAX: usize = 256;

/// Where something stands: in a file, or in the image's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::reach) struct Place {
    pub file: Option<ImagePath>,
    pub line: u32,
}

/// A program that is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::reach) struct Call {
    pub place: Place,
    pub name: String,
    pub arguments: Vec<Values>,
}

/// What a script does, as far as its text tells.
#[derive(Debug, Default)]
pub(in crate::reach) struct Script {
    pub calls: Vec<Call>,
    /// Words that may be paths: arguments of tests and functions, files that are read.
    pub words: Vec<(Place, Values)>,
    /// Files that the shell reads in its own place.
    pub sourced: BTreeMap<ImagePath, (Place, String)>,
    /// Files that other shells run.
    pub scripts: BTreeMap<ImagePath, (Place, String)>,
    /// Programs in directories that are run whole.
    pub programs: BTreeMap<ImagePath, (Place, String)>,
    /// The first place in each file that is no shell, as far as the grammar knows.
    pub odd: BTreeMap<ImagePath, u32>,
    /// Where commands run: WORKDIR and what `cd` names, absolute.
    pub directories: BTreeSet<String>,
    /// The values of PATH.
    pub paths: Values,
}

/// A text that is read.
struct Part {
    file: Option<ImagePath>,
    /// The line of the file before the text's first.
    before: u32,
    text: Rc<[u8]>,
    tree: Tree,
}

struct Reader<'a> {
    context: &'a Context<'a>,
    parts: Vec<Rc<Part>>,
    texts: BTreeSet<(Option<ImagePath>, Rc<[u8]>)>,
    /// Bytes that may still be taken up.
    left: usize,
    variables: Variables,
    functions: BTreeSet<String>,
    script: Script,
}

/// Reads a script; `file` is where it lies, nowhere if it is a text of the configuration.
///
/// # Errors
/// When the image's files cannot be read.
pub(in crate::reach) fn read(
    context: &Context<'_>,
    file: Option<&ImagePath>,
    text: &Rc<[u8]>,
) -> Result<Script, TreeError> {
    let mut variables = Variables::default();
    for pair in &context.config.env {
        if let Some((name, value)) = pair.split_once('=') {
            variables.add(name, Values::from([value.to_owned()]));
        }
    }
    variables.program = file.map(|file| file.to_string());
    let mut reader = Reader {
        context,
        parts: Vec::new(),
        texts: BTreeSet::new(),
        left: BYTES_MAX,
        variables,
        functions: BTreeSet::new(),
        script: Script::default(),
    };
    reader.script.directories.insert(context.environment.working_directory.clone());
    reader.add(file.cloned(), 0, text);
    reader.source_early()?;
    let mut at = 0;
    while let Some(part) = reader.parts.get(at).cloned() {
        reader.commands(&part)?;
        at += 1;
    }
    reader.script.paths = reader.variables.get("PATH");
    Ok(reader.script)
}

impl Reader<'_> {
    /// Takes a text up and notes what it sets and defines.
    fn add(&mut self, file: Option<ImagePath>, before: u32, text: &Rc<[u8]>) {
        let text: Rc<[u8]> = if text.len() > TEXT_MAX { Rc::from(&text[..TEXT_MAX]) } else { text.clone() };
        if self.parts.len() >= PARTS_MAX
            || text.len() > self.left
            || !self.texts.insert((file.clone(), text.clone()))
        {
            return;
        }
        self.left -= text.len();
        let Some(tree) = parse(Language::Bash, &text) else { return };
        let part = Rc::new(Part { file, before, text, tree });
        self.declare(&part);
        self.parts.push(part);
    }

    fn declare(&mut self, part: &Part) {
        let file = part.file.as_ref().map(ToString::to_string);
        for node in nodes(&part.tree) {
            match node.kind() {
                "variable_assignment" => self.assignment(part, file.as_deref(), node),
                "for_statement" => {
                    let Some(variable) = node.child_by_field_name("variable") else { continue };
                    let mut cursor = node.walk();
                    let words: Vec<Node<'_>> = node.children_by_field_name("value", &mut cursor).collect();
                    let scope = self.scope(part, file.as_deref());
                    let values: Values =
                        words.into_iter().flat_map(|word| scope.words(word)).flatten().collect();
                    let name = String::from_utf8_lossy(text_of(variable, &part.text)).into_owned();
                    self.variables.add(&name, values);
                }
                "function_definition" => {
                    if let Some(name) = node.child_by_field_name("name") {
                        self.functions
                            .insert(String::from_utf8_lossy(text_of(name, &part.text)).into_owned());
                    }
                }
                // `: "${PORT:=8080}"`
                "expansion" => {
                    let [name, default, ..] = named(node)[..] else { continue };
                    let behind = part.text.get(name.end_byte()..node.end_byte()).unwrap_or_default();
                    if name.kind() == "variable_name"
                        && (behind.starts_with(b":=") || behind.starts_with(b"="))
                    {
                        let values = self.scope(part, file.as_deref()).values(default);
                        let name = String::from_utf8_lossy(text_of(name, &part.text)).into_owned();
                        self.variables.add(&name, values);
                    }
                }
                _ => {}
            }
        }
    }

    fn assignment(&mut self, part: &Part, file: Option<&str>, node: Node<'_>) {
        let Some(name) = node.child_by_field_name("name") else { return };
        let name = if name.kind() == "subscript" { name.child_by_field_name("name") } else { Some(name) };
        let Some(name) = name.map(|name| String::from_utf8_lossy(text_of(name, &part.text)).into_owned())
        else {
            return;
        };
        let scope = self.scope(part, file);
        match node.child_by_field_name("value") {
            None => self.variables.add(&name, Values::from([String::new()])),
            Some(value) if value.kind() == "array" => {
                let words = named(value).into_iter().flat_map(|word| scope.words(word)).collect();
                self.variables.extend_list(&name, words);
            }
            Some(value) => {
                let mut values = scope.values(value);
                let operator = part.text.get(node.start_byte()..value.start_byte()).unwrap_or_default();
                if operator.ends_with(b"+=") {
                    let before = self.variables.get(&name);
                    values = before
                        .iter()
                        .flat_map(|left| values.iter().map(move |right| format!("{left}{right}")))
                        .collect();
                }
                self.variables.add(&name, values);
            }
        }
    }

    fn scope<'s>(&'s self, part: &'s Part, file: Option<&'s str>) -> Scope<'s> {
        Scope { variables: &self.variables, file, text: &part.text }
    }

    /// Takes up the files that are read in place before any command is looked at: they set variables.
    fn source_early(&mut self) -> Result<(), TreeError> {
        let mut at = 0;
        while let Some(part) = self.parts.get(at).cloned() {
            at += 1;
            for node in nodes(&part.tree).filter(|node| node.kind() == "command") {
                let name = node.child_by_field_name("name").map(|name| text_of(name, &part.text));
                if matches!(name, Some(b"." | b"source" | b"cd" | b"pushd" | b"builtin" | b"command")) {
                    for step in self.steps(&part, node) {
                        match step {
                            Step::Source(_) | Step::Into(_) => self.step(step, &place(&part, node))?,
                            _ => {}
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn commands(&mut self, part: &Part) -> Result<(), TreeError> {
        let file = part.file.as_ref().map(ToString::to_string);
        for node in nodes(&part.tree) {
            match node.kind() {
                "command" => {
                    for step in self.steps(part, node) {
                        self.step(step, &place(part, node))?;
                    }
                }
                "test_command" => {
                    let words = self.operands(part, file.as_deref(), node);
                    self.script.words.extend(words.into_iter().map(|values| (place(part, node), values)));
                }
                "heredoc_body" => self.document(part, file.as_deref(), node)?,
                "ERROR" => self.odd(part, node)?,
                "file_redirect" => {
                    let is_input = text_of(node, &part.text).trim_ascii_start().starts_with(b"<");
                    if let Some(from) = node.child_by_field_name("destination").filter(|_| is_input) {
                        let values = self.scope(part, file.as_deref()).values(from);
                        self.script.words.push((place(part, node), values));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// `sh <<END`: what stands below is a script.
    fn document(&mut self, part: &Part, file: Option<&str>, body: Node<'_>) -> Result<(), TreeError> {
        let statement = body.parent().and_then(|redirect| redirect.parent());
        let command = statement.and_then(|statement| statement.child_by_field_name("body"));
        let Some(command) = command.filter(|command| command.kind() == "command") else { return Ok(()) };
        let scope = self.scope(part, file);
        let mut words = named(command).into_iter().flat_map(|word| scope.values(word));
        let is_shell = words.any(|word| {
            let name = word.rsplit('/').next().unwrap_or_default();
            SHELLS.contains(&name) || name == "su"
        });
        if is_shell {
            let text = String::from_utf8_lossy(text_of(body, &part.text)).into_owned();
            self.step(Step::Text(text), &place(part, body))?;
        }
        Ok(())
    }

    /// What the grammar cannot read: every word there that stands where a command can begin may be one.
    fn odd(&mut self, part: &Part, error: Node<'_>) -> Result<(), TreeError> {
        if let Some(file) = &part.file {
            self.script.odd.entry(file.clone()).or_insert(part.before + line_of(error));
        }
        let is_word = |word: &Node<'_>| matches!(word.kind(), "word" | "command_name");
        let words = named(error)
            .into_iter()
            .filter(is_word)
            .filter(|word| begins_command(&part.text, word.start_byte()));
        for word in words.take(ODD_MAX) {
            let name = String::from_utf8_lossy(text_of(word, &part.text)).into_owned();
            for step in steps(vec![Values::from([name])], &|name| self.functions.contains(name)) {
                self.step(step, &place(part, word))?;
            }
        }
        Ok(())
    }

    /// The words of `[[ -x /usr/bin/x ]]`.
    fn operands(&self, part: &Part, file: Option<&str>, test: Node<'_>) -> Vec<Values> {
        let scope = self.scope(part, file);
        let mut words = Vec::new();
        let mut ahead = named(test);
        while let Some(node) = ahead.pop() {
            match node.kind() {
                "word" | "string" | "raw_string" | "concatenation" | "simple_expansion" | "expansion" => {
                    words.push(scope.values(node));
                }
                "command_substitution" => {}
                _ => ahead.extend(named(node)),
            }
        }
        words
    }

    fn steps(&self, part: &Part, command: Node<'_>) -> Vec<Step> {
        let file = part.file.as_ref().map(ToString::to_string);
        let scope = self.scope(part, file.as_deref());
        let mut cursor = command.walk();
        let name = command.child_by_field_name("name");
        let arguments: Vec<Node<'_>> = command.children_by_field_name("argument", &mut cursor).collect();
        let words =
            name.into_iter().chain(arguments).flat_map(|node| match (node.kind(), named(node).first()) {
                ("command_name", Some(only)) => scope.words(*only),
                _ => scope.words(node),
            });
        steps(words.collect(), &|name| self.functions.contains(name))
    }

    fn step(&mut self, step: Step, place: &Place) -> Result<(), TreeError> {
        match step {
            Step::Run { name, arguments } => {
                self.script.calls.push(Call { place: place.clone(), name, arguments });
            }
            Step::Test { arguments } => {
                self.script.words.extend(arguments.into_iter().map(|values| (place.clone(), values)));
            }
            Step::Text(text) => {
                let text = Rc::from(text.into_bytes());
                self.add(place.file.clone(), place.line.saturating_sub(1), &text);
            }
            Step::Source(values) => {
                for (path, name) in self.files(&values, true) {
                    if self.script.sourced.insert(path.clone(), (place.clone(), name)).is_none() {
                        let text = self.context.read(path.as_bytes(), TEXT_MAX as u64)?;
                        self.add(Some(path), 0, &Rc::from(text));
                    }
                }
            }
            Step::Script(values) => {
                for (path, name) in self.files(&values, true) {
                    self.script.scripts.entry(path).or_insert((place.clone(), name));
                }
            }
            Step::Directory(values) => {
                let inside: Values = values.iter().map(|directory| format!("{directory}/*")).collect();
                for (path, name) in self.files(&inside, false) {
                    self.script.programs.entry(path).or_insert((place.clone(), name));
                }
            }
            Step::Into(values) => self.into(&values),
        }
        Ok(())
    }

    fn into(&mut self, values: &Values) {
        for value in values.iter().filter(|value| !value.contains(UNKNOWN) && !value.is_empty()) {
            let places: Vec<String> = if value.starts_with('/') {
                vec![value.clone()]
            } else {
                self.script.directories.iter().map(|directory| format!("{directory}/{value}")).collect()
            };
            for place in places {
                let found = self.context.walk(place.as_bytes(), true).found().cloned();
                if let Some(found) =
                    found.filter(|found| self.context.entry(found).is_some_and(|entry| entry.is_directory()))
                    && self.script.directories.len() < 64
                {
                    self.script.directories.insert(found.to_string());
                }
            }
        }
    }

    /// The files that a word can name, with wildcards; a name without slash is looked for on PATH first.
    fn files(&self, values: &Values, on_path: bool) -> BTreeMap<ImagePath, String> {
        let mut files = BTreeMap::new();
        for value in values {
            let is_name = on_path && !value.contains(['/', UNKNOWN]);
            let on_path = self.context.environment.path.iter().filter(|_| is_name);
            let below: Vec<String> = if value.starts_with('/') {
                vec![value.clone()]
            } else {
                on_path
                    .chain(&self.script.directories)
                    .map(|directory| format!("{directory}/{value}"))
                    .collect()
            };
            for path in below {
                let found = glob::files(self.context, &path, FILES_MAX);
                files.extend(found.into_iter().map(|file| (file, value.replace(UNKNOWN, "*"))));
            }
        }
        files
    }
}

/// Whether what stands before a word lets a command begin there.
fn begins_command(text: &[u8], at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default();
    let blanks = before.iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let before = &before[..before.len() - blanks];
    let word = before.iter().rev().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let last = &before[before.len() - word..];
    match before.last() {
        None => true,
        Some(b'\n' | b'|' | b';' | b'&' | b'(' | b')' | b'{' | b'}' | b'!' | b'`') => true,
        _ => [&b"do"[..], b"elif", b"else", b"exec", b"if", b"then", b"until", b"while"].contains(&last),
    }
}

fn place(part: &Part, node: Node<'_>) -> Place {
    Place { file: part.file.clone(), line: part.before + line_of(node) }
}
