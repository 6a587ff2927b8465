//! What the text of a PHP file includes, and the names of classes that it mentions.

use crate::context::Context;
use crate::reach::places::{because, directory_of, fitting, join};
use crate::reach::syntax::{self, Language, line_of, text_of};
use crate::reach::value::{Value, either, product};
use crate::reason::Via;
use crate::seed::Seed;
use slim_image::ImagePath;
use std::collections::{BTreeMap, BTreeSet};
use tree_sitter::Node;

/// Expressions inside expressions that are looked into.
const DEPTH: u32 = 24;
/// The compiled-in `include_path` of distributions and of the official images.
const INCLUDE_PATH: [&str; 4] =
    ["/usr/share/php", "/usr/local/lib/php", "/usr/share/pear", "/usr/share/php8"];

/// What a file asks for.
#[derive(Default)]
pub(super) struct Found {
    /// Each with its line.
    pub includes: Vec<(u32, Value)>,
    /// Full names of classes, functions and constants, without the backslash in front.
    pub names: BTreeSet<Vec<u8>>,
}

pub(super) fn read(path: &ImagePath, text: &[u8]) -> Found {
    let mut found = Found::default();
    let Some(tree) = syntax::parse(Language::Php, text) else { return found };
    let constants = constants(&tree, text);
    let evaluation = Evaluation { path, text, constants };
    for node in syntax::nodes(&tree) {
        match node.kind() {
            "include_expression"
            | "include_once_expression"
            | "require_expression"
            | "require_once_expression" => {
                let Some(what) = node.named_child(0) else { continue };
                found
                    .includes
                    .extend(evaluation.values(what, DEPTH).into_iter().map(|value| (line_of(node), value)));
            }
            "qualified_name" => {
                let name = text_of(node, text);
                found.names.insert(name.strip_prefix(b"\\").unwrap_or(name).to_vec());
            }
            "namespace_use_declaration" => group(node, text, &mut found.names),
            _ => {}
        }
    }
    found
}

/// The names of `use A\B\{C, D};`.
fn group(declaration: Node<'_>, text: &[u8], names: &mut BTreeSet<Vec<u8>>) {
    let children: Vec<Node<'_>> = declaration.named_children(&mut declaration.walk()).collect();
    let Some(prefix) = children.iter().find(|child| child.kind() == "namespace_name") else { return };
    let Some(body) = declaration.child_by_field_name("body") else { return };
    for clause in body.named_children(&mut body.walk()) {
        if let Some(name) = clause.named_child(0) {
            names.insert([text_of(*prefix, text), b"\\", text_of(name, text)].concat());
        }
    }
}

/// Constants that the file gives once: `define('X', …)` and `const X = …`.
fn constants<'t>(tree: &'t tree_sitter::Tree, text: &'t [u8]) -> BTreeMap<&'t [u8], Option<Node<'t>>> {
    let mut constants = BTreeMap::new();
    for node in syntax::nodes(tree) {
        let (name, value) = match node.kind() {
            "const_element" => (node.named_child(0), node.named_child(1)),
            "function_call_expression"
                if node
                    .child_by_field_name("function")
                    .is_some_and(|name| text_of(name, text) == b"define") =>
            {
                let arguments = node.child_by_field_name("arguments");
                let argument = |index| arguments.and_then(|list| list.named_child(index)?.named_child(0));
                (argument(0).and_then(|name| name.named_child(0)), argument(1))
            }
            "assignment_expression" => (node.child_by_field_name("left"), node.child_by_field_name("right")),
            _ => continue,
        };
        if let (Some(name), Some(value)) = (name, value) {
            let name = text_of(name, text);
            let known = constants.contains_key(name);
            constants.insert(name, (!known).then_some(value));
        }
    }
    constants
}

struct Evaluation<'t> {
    path: &'t ImagePath,
    text: &'t [u8],
    constants: BTreeMap<&'t [u8], Option<Node<'t>>>,
}

impl<'t> Evaluation<'t> {
    fn values(&self, node: Node<'t>, depth: u32) -> Vec<Value> {
        let unknown = || vec![Value::unknown()];
        let Some(depth) = depth.checked_sub(1) else { return unknown() };
        match node.kind() {
            "string" | "encapsed_string" => vec![self.string(node)],
            "parenthesized_expression" | "argument" => {
                node.named_child(0).map_or_else(unknown, |child| self.values(child, depth))
            }
            "binary_expression" => {
                let operator =
                    node.child_by_field_name("operator").map(|operator| text_of(operator, self.text));
                let side = |name| node.child_by_field_name(name).map(|side| self.values(side, depth));
                match (operator, side("left"), side("right")) {
                    (Some(b"."), Some(left), Some(right)) => product(&left, &right),
                    (Some(b"??"), Some(left), Some(right)) => either(left, right),
                    _ => unknown(),
                }
            }
            "name" | "variable_name" => match text_of(node, self.text) {
                b"__DIR__" => vec![Value::anchored(directory_of(self.path.as_bytes()))],
                b"__FILE__" => vec![Value::anchored(self.path.as_bytes())],
                b"DIRECTORY_SEPARATOR" | b"DS" => vec![Value::known("/")],
                name => match self.constants.get(name) {
                    Some(Some(value)) => self.values(*value, depth),
                    _ => unknown(),
                },
            },
            "function_call_expression" => self.call(node, depth),
            _ => unknown(),
        }
    }

    fn call(&self, node: Node<'t>, depth: u32) -> Vec<Value> {
        let arguments = node.child_by_field_name("arguments");
        let argument = |index| arguments.and_then(|list| list.named_child(index));
        let name = node.child_by_field_name("function").map(|name| text_of(name, self.text));
        let (Some(name), Some(first)) = (name, argument(0)) else { return vec![Value::unknown()] };
        match name.strip_prefix(b"\\").unwrap_or(name) {
            b"realpath" => self.values(first, depth),
            b"dirname" => {
                let levels = argument(1).and_then(|node| std::str::from_utf8(text_of(node, self.text)).ok());
                let levels: u32 = levels.and_then(|levels| levels.parse().ok()).unwrap_or(1);
                let mut values = self.values(first, depth);
                for value in &mut values {
                    for _ in 0..levels.min(DEPTH) {
                        value.prefix = directory_of(&value.prefix).to_vec();
                    }
                    if value.rest.is_some() {
                        *value = Value::unknown();
                    }
                }
                values
            }
            _ => vec![Value::unknown()],
        }
    }

    fn string(&self, node: Node<'t>) -> Value {
        let mut value = Value::default();
        for child in node.named_children(&mut node.walk()) {
            let part = match child.kind() {
                "string_content" => Value::known(text_of(child, self.text)),
                "escape_sequence" => Value::known(text_of(child, self.text).get(1..).unwrap_or_default()),
                _ => Value::unknown(),
            };
            value = value.then(&part);
        }
        value
    }
}

/// The files that the includes of a file mean.
pub(super) fn seeds(context: &Context<'_>, path: &ImagePath, found: &Found) -> Vec<Seed> {
    let folder = directory_of(path.as_bytes());
    let working = context.environment.working_directory.as_bytes();
    let mut seeds = Vec::new();
    for (line, value) in &found.includes {
        if let Some(name) = value.whole().filter(|name| !name.is_empty()) {
            let reason = because(Via::Php, path, Some(*line), name);
            let places =
                [folder, working].into_iter().chain(INCLUDE_PATH.iter().map(|place| place.as_bytes()));
            let places: BTreeSet<Vec<u8>> = places.map(|place| join(place, name)).collect();
            seeds.extend(
                places
                    .iter()
                    .filter(|place| context.file(place).is_some())
                    .map(|place| Seed::object(place, reason.clone())),
            );
        } else if value.anchored && !value.prefix.is_empty() {
            let suffix = value.rest.as_deref().unwrap_or_default();
            let reason = because(Via::Php, path, Some(*line), &[&value.prefix, &b"*"[..], suffix].concat());
            let files = fitting(context, &value.prefix, suffix);
            seeds.extend(
                files
                    .iter()
                    .filter(|file| {
                        matches!(crate::reach::places::ending(file.file_name()), b"php" | b"inc" | b"phtml")
                    })
                    .map(|file| Seed::object(file, reason.clone())),
            );
        }
    }
    seeds
}
