//! What the words of a shell script can be when it runs, as far as the text tells: constants, variables with constant
//! assignments, and the few substitutions by which scripts find their own place.
//!
//! A part that is not known is [`UNKNOWN`] in the value, so that `"$dir/$name.sh"` still tells where and of what kind.

use crate::reach::syntax::text_of;
use std::collections::{BTreeMap, BTreeSet};
use tree_sitter::Node;

/// Stands in a value for what is not known; no word of a shell can hold it.
pub(in crate::reach) const UNKNOWN: char = '\0';
/// Values that are followed of one word; more say that it is data.
const VALUES_MAX: usize = 32;
/// How deep words in words are looked into.
const DEPTH_MAX: usize = 24;
/// Bytes of one value.
const LENGTH_MAX: usize = 64 << 10;

/// What a word can be.
pub(in crate::reach) type Values = BTreeSet<String>;

/// The value of a word that is not known.
pub(in crate::reach) fn unknown() -> Values {
    Values::from([UNKNOWN.to_string()])
}

/// What the variables of a script can be.
#[derive(Debug, Default)]
pub(super) struct Variables {
    values: BTreeMap<String, Values>,
    /// Arrays, as the words that they were made of.
    lists: BTreeMap<String, Vec<Values>>,
    /// `$0`.
    pub program: Option<String>,
}

/// A place in a script: what `$BASH_SOURCE` is, and the text that nodes are of.
#[derive(Clone, Copy)]
pub(super) struct Scope<'s> {
    pub variables: &'s Variables,
    pub file: Option<&'s str>,
    pub text: &'s [u8],
}

impl Variables {
    /// Adds a value that a variable can have.
    pub(super) fn add(&mut self, name: &str, values: Values) {
        let known = self.values.entry(name.to_owned()).or_default();
        for value in values {
            if known.len() < VALUES_MAX {
                known.insert(value);
            }
        }
    }

    /// Adds words to an array.
    pub(super) fn extend_list(&mut self, name: &str, words: Vec<Values>) {
        let list = self.lists.entry(name.to_owned()).or_default();
        list.extend(words);
        list.truncate(256);
    }

    /// What a variable can be; empty where the script never sets it.
    pub(super) fn get(&self, name: &str) -> Values {
        match (self.values.get(name), self.lists.get(name).and_then(|list| list.first())) {
            (Some(values), _) => values.clone(),
            (None, Some(first)) => first.clone(),
            (None, None) => Values::new(),
        }
    }

    /// The words of an array.
    pub(super) fn list(&self, name: &str) -> Option<&Vec<Values>> {
        self.lists.get(name)
    }
}

impl Scope<'_> {
    /// The words that a node becomes: an array is many, and an unquoted value is split where it has blanks.
    pub(super) fn words(&self, node: Node<'_>) -> Vec<Values> {
        if let Some(list) = whole_array(node, self.text).and_then(|name| self.variables.list(&name)) {
            return list.clone();
        }
        let values = self.values(node);
        match (node.kind(), values.first()) {
            ("simple_expansion" | "expansion", Some(only))
                if values.len() == 1 && only.contains([' ', '\n']) =>
            {
                only.split_ascii_whitespace().map(|word| Values::from([word.to_owned()])).collect()
            }
            _ => vec![values],
        }
    }

    /// What a node can be as one word.
    pub(super) fn values(&self, node: Node<'_>) -> Values {
        self.evaluate(node, 0)
    }

    fn evaluate(&self, node: Node<'_>, depth: usize) -> Values {
        if depth > DEPTH_MAX {
            return unknown();
        }
        let text = || std::str::from_utf8(text_of(node, self.text)).ok();
        let one = |text: Option<String>| text.map_or_else(unknown, |text| Values::from([text]));
        match node.kind() {
            "word" | "number" | "variable_name" | "special_variable_name" | "extglob_pattern" => {
                one(text().map(|text| without_backslashes(text, |_| true)))
            }
            "string_content" => {
                one(text().map(|text| without_backslashes(text, |next| "\"\\$`\n".contains(next))))
            }
            "raw_string" => {
                one(text().and_then(|text| Some(text.strip_prefix('\'')?.strip_suffix('\'')?.to_owned())))
            }
            "ansi_c_string" => one(text()
                .and_then(|text| text.strip_prefix("$'")?.strip_suffix('\''))
                .map(|text| without_backslashes(&text.replace("\\n", "\n").replace("\\t", "\t"), |_| true))),
            "string" => self.string(node, depth),
            "command_name" | "translated_string" | "concatenation" => self.joined(named(node), depth),
            "simple_expansion" => named(node).first().map_or_else(unknown, |name| self.variable(*name)),
            "expansion" => self.expansion(node, depth),
            "command_substitution" => self.substitution(node, depth),
            _ => unknown(),
        }
    }

    /// A text in double quotes. The grammar leaves some blanks to no node.
    fn string(&self, node: Node<'_>, depth: usize) -> Values {
        let mut values = Values::from([String::new()]);
        let mut end = node.start_byte() + 1;
        for part in named(node) {
            let between = self.text.get(end..part.start_byte()).unwrap_or_default();
            values = product(&values, &Values::from([String::from_utf8_lossy(between).into_owned()]));
            values = product(&values, &self.evaluate(part, depth + 1));
            end = part.end_byte();
        }
        let rest = self.text.get(end..node.end_byte().saturating_sub(1)).unwrap_or_default();
        product(&values, &Values::from([String::from_utf8_lossy(rest).into_owned()]))
    }

    fn joined(&self, parts: Vec<Node<'_>>, depth: usize) -> Values {
        let start = Values::from([String::new()]);
        parts.into_iter().fold(start, |values, part| product(&values, &self.evaluate(part, depth + 1)))
    }

    /// `$NAME`.
    fn variable(&self, name: Node<'_>) -> Values {
        let name = String::from_utf8_lossy(text_of(name, self.text));
        let of_the_place = match name.as_ref() {
            "0" => self.variables.program.as_deref(),
            "BASH_SOURCE" => self.file,
            _ => None,
        };
        let values = match of_the_place {
            Some(place) => Values::from([place.to_owned()]),
            None => self.variables.get(&name),
        };
        if values.is_empty() { unknown() } else { values }
    }

    /// `${NAME}`, `${NAME:-default}`, `${NAME%/*}` and their kin.
    fn expansion(&self, node: Node<'_>, depth: usize) -> Values {
        let parts = named(node);
        let Some((first, rest)) = parts.split_first() else { return unknown() };
        let name = match first.kind() {
            "subscript" => match first.child_by_field_name("name") {
                Some(name) => name,
                None => return unknown(),
            },
            "variable_name" | "special_variable_name" => *first,
            _ => return unknown(),
        };
        let before = self.text.get(node.start_byte()..name.start_byte()).unwrap_or_default();
        if before.iter().any(|byte| matches!(byte, b'#' | b'!')) {
            return unknown();
        }
        let behind = self.text.get(first.end_byte()..node.end_byte().saturating_sub(1)).unwrap_or_default();
        let values = self.variable(name);
        match behind {
            [] => values,
            [b':', b'-' | b'=', ..] | [b'-' | b'=', ..] => {
                let default = self.joined(rest.to_vec(), depth);
                values.into_iter().chain(default).take(VALUES_MAX).collect()
            }
            [b':', b'+', ..] | [b'+', ..] => {
                let mut other = self.joined(rest.to_vec(), depth);
                other.insert(String::new());
                other
            }
            [b':', b'?', ..] | [b'?', ..] => values,
            b"%/*" | b"%/" => values.iter().map(|value| directory_of(value)).collect(),
            b"##*/" => values.iter().map(|value| name_of(value)).collect(),
            _ => unknown(),
        }
    }

    /// `$(…)`, where it is one of the ways to name a place or a program.
    fn substitution(&self, node: Node<'_>, depth: usize) -> Values {
        let mut commands = Vec::new();
        let mut ahead: Vec<Node<'_>> = named(node).into_iter().rev().collect();
        while let Some(next) = ahead.pop() {
            match next.kind() {
                "command" if commands.len() < 4 => commands.push(next),
                "list" | "redirected_statement" | "compound_statement" | "subshell" => {
                    ahead.extend(named(next).into_iter().rev());
                }
                "file_redirect" => {}
                _ => return unknown(),
            }
        }
        let name = |command: &Node<'_>| {
            command.child_by_field_name("name").map(|name| text_of(name, self.text)).unwrap_or_default()
        };
        let arguments = |command: &Node<'_>| -> Vec<Values> {
            let mut cursor = command.walk();
            let nodes: Vec<Node<'_>> = command.children_by_field_name("argument", &mut cursor).collect();
            nodes.into_iter().map(|argument| self.evaluate(argument, depth + 1)).collect()
        };
        let operand = |command: &Node<'_>| {
            arguments(command).into_iter().rfind(|values| !values.iter().any(|value| value.starts_with('-')))
        };
        let found = match commands.as_slice() {
            [only] => match name(only) {
                b"dirname" => {
                    operand(only).map(|values| values.iter().map(|value| directory_of(value)).collect())
                }
                b"basename" => {
                    let first = arguments(only).into_iter().next();
                    first.map(|values| values.iter().map(|value| name_of(value)).collect())
                }
                b"readlink" | b"realpath" | b"which" | b"command" | b"type" | b"echo" => operand(only),
                _ => None,
            },
            [first, last] if name(first) == b"cd" && name(last) == b"pwd" => operand(first),
            _ => None,
        };
        found.unwrap_or_else(unknown)
    }
}

/// The array that a node is all of: `"${name[@]}"`.
fn whole_array(node: Node<'_>, text: &[u8]) -> Option<String> {
    let expansion = if node.kind() == "string" { named(node).into_iter().next()? } else { node };
    if expansion.kind() != "expansion" {
        return None;
    }
    let subscript = named(expansion).into_iter().next().filter(|first| first.kind() == "subscript")?;
    let is_all = [&b"[@]"[..], b"[*]"].iter().any(|end| text_of(subscript, text).ends_with(end));
    let name = subscript.child_by_field_name("name").filter(|_| is_all)?;
    Some(String::from_utf8_lossy(text_of(name, text)).into_owned())
}

pub(super) fn named<'t>(node: Node<'t>) -> Vec<Node<'t>> {
    node.named_children(&mut node.walk()).collect()
}

/// Every value of one followed by every value of the other.
fn product(left: &Values, right: &Values) -> Values {
    let pairs = left.iter().flat_map(|first| right.iter().map(move |second| (first, second)));
    let joined = pairs.filter(|(first, second)| first.len() + second.len() <= LENGTH_MAX);
    joined.take(VALUES_MAX).map(|(first, second)| format!("{first}{second}")).collect()
}

fn directory_of(path: &str) -> String {
    match path.trim_end_matches('/').rsplit_once('/') {
        Some(("", _)) => "/".to_owned(),
        Some((directory, _)) => directory.to_owned(),
        None => ".".to_owned(),
    }
}

fn name_of(path: &str) -> String {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned()
}

/// Takes away the backslashes before characters that they quote, and line ends that they join.
fn without_backslashes(text: &str, quotes: impl Fn(char) -> bool) -> String {
    let mut result = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some('\n') => {}
                Some(next) if quotes(next) => result.push(next),
                Some(next) => result.extend(['\\', next]),
                None => result.push('\\'),
            },
            UNKNOWN => {}
            character => result.push(character),
        }
    }
    result
}
