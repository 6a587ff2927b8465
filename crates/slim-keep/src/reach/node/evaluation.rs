//! What an expression of a JavaScript file comes to, as far as the text tells: paths and names are mostly put together
//! from constants, `__dirname` and `path.join`.

use crate::reach::places::directory_of;
use crate::reach::syntax::text_of;
use crate::reach::value::{Value, either, product};
use slim_image::ImagePath;
use std::cell::Cell;
use std::collections::BTreeMap;
use tree_sitter::Node;

/// Expressions inside expressions that are looked into.
const DEPTH: u32 = 40;
/// Expressions of one file that are looked into: names bound to names bound to names multiply.
const STEPS: u32 = 200_000;
/// Evaluates expressions of one file.
pub(super) struct Evaluation<'t> {
    text: &'t [u8],
    file: &'t ImagePath,
    working_directory: &'t str,
    /// Names that are given a value once in the file.
    names: BTreeMap<&'t [u8], Option<Node<'t>>>,
    steps: Cell<u32>,
}

impl<'t> Evaluation<'t> {
    pub(super) fn new(
        file: &'t ImagePath,
        text: &'t [u8],
        working_directory: &'t str,
        nodes: &[Node<'t>],
    ) -> Self {
        let mut names: BTreeMap<&[u8], Option<Node<'t>>> = BTreeMap::new();
        for declarator in nodes.iter().filter(|node| node.kind() == "variable_declarator") {
            let (name, value) =
                (declarator.child_by_field_name("name"), declarator.child_by_field_name("value"));
            if let (Some(name), Some(value)) = (name, value) {
                // Two of one name: scopes differ, and which one counts is not known.
                let known = names.contains_key(text_of(name, text));
                names.insert(text_of(name, text), (!known).then_some(value));
            }
        }
        Self { text, file, working_directory, names, steps: Cell::new(STEPS) }
    }

    /// What an expression comes to: at least one value.
    pub(super) fn values(&self, node: Node<'t>) -> Vec<Value> {
        self.evaluate(node, DEPTH)
    }

    /// The text of a node.
    pub(super) fn text(&self, node: Node<'_>) -> &'t [u8] {
        text_of(node, self.text)
    }

    fn evaluate(&self, node: Node<'t>, depth: u32) -> Vec<Value> {
        let steps = self.steps.get();
        if depth == 0 || steps == 0 {
            return vec![Value::unknown()];
        }
        self.steps.set(steps - 1);
        let field = |name| node.child_by_field_name(name).map(|child| self.evaluate(child, depth - 1));
        let unknown = || vec![Value::unknown()];
        match node.kind() {
            "string" => vec![Value::known(string(node, self.text))],
            "template_string" => self.template(node, depth),
            "parenthesized_expression" | "await_expression" => {
                node.named_child(0).map_or_else(unknown, |child| self.evaluate(child, depth - 1))
            }
            "binary_expression" => {
                let operator = node.child_by_field_name("operator").map(|operator| self.text(operator));
                let (Some(left), Some(right)) = (field("left"), field("right")) else { return unknown() };
                match operator {
                    Some(b"+") => product(&left, &right),
                    Some(b"||" | b"??") => either(left, right),
                    _ => unknown(),
                }
            }
            "ternary_expression" => match (field("consequence"), field("alternative")) {
                (Some(left), Some(right)) => either(left, right),
                _ => unknown(),
            },
            "identifier" => match self.text(node) {
                b"__dirname" => vec![Value::anchored(directory_of(self.file.as_bytes()))],
                b"__filename" => vec![Value::anchored(self.file.as_bytes())],
                name => match self.names.get(name) {
                    Some(Some(value)) => self.evaluate(*value, depth - 1),
                    _ => unknown(),
                },
            },
            "member_expression" => self.member(node, depth),
            "call_expression" | "new_expression" => self.call(node, depth),
            _ => unknown(),
        }
    }

    fn template(&self, node: Node<'t>, depth: u32) -> Vec<Value> {
        let mut values = vec![Value::default()];
        for child in node.named_children(&mut node.walk()) {
            let part = match child.kind() {
                "template_substitution" => child
                    .named_child(0)
                    .map_or_else(|| vec![Value::unknown()], |child| self.evaluate(child, depth - 1)),
                _ => vec![Value::known(piece(child, self.text))],
            };
            values = product(&values, &part);
        }
        values
    }

    fn member(&self, node: Node<'t>, depth: u32) -> Vec<Value> {
        let (object, property) = (node.child_by_field_name("object"), node.child_by_field_name("property"));
        let (Some(object), Some(property)) = (object, property) else { return vec![Value::unknown()] };
        let is_meta = object.kind() == "meta_property" || self.text(object) == b"import.meta";
        match self.text(property) {
            b"url" | b"filename" if is_meta => vec![Value::anchored(self.file.as_bytes())],
            b"dirname" if is_meta => vec![Value::anchored(directory_of(self.file.as_bytes()))],
            // Of a URL.
            b"href" | b"pathname" => self.evaluate(object, depth - 1),
            _ => vec![Value::unknown()],
        }
    }

    fn call(&self, node: Node<'t>, depth: u32) -> Vec<Value> {
        let arguments = arguments(node);
        let argument = |index: usize| {
            let node = arguments.get(index).copied();
            node.map_or_else(|| vec![Value::unknown()], |node| self.evaluate(node, depth - 1))
        };
        match called(node, self.text) {
            b"join" => self.joined(&arguments, depth, false),
            b"resolve" if !is_of_require(node, self.text) => self.joined(&arguments, depth, true),
            b"fileURLToPath" | b"pathToFileURL" | b"normalize" | b"String" | b"toString" => argument(0),
            b"dirname" => argument(0)
                .iter()
                .map(|value| match value.whole() {
                    Some(path) => Value { prefix: directory_of(path).to_vec(), ..value.clone() },
                    None => Value::unknown(),
                })
                .collect(),
            b"cwd" => vec![Value::known(self.working_directory)],
            b"URL" if arguments.len() > 1 => {
                let base = argument(1);
                let directory: Vec<Value> = base
                    .iter()
                    .map(|base| match base.whole() {
                        Some(path) if base.anchored => {
                            Value::anchored([directory_of(path), b"/".as_slice()].concat())
                        }
                        _ => Value::unknown(),
                    })
                    .collect();
                product(&directory, &argument(0))
            }
            _ => vec![Value::unknown()],
        }
    }

    /// `path.join` and `path.resolve`; `.` and `..` are left to the look-up.
    fn joined(&self, arguments: &[Node<'t>], depth: u32, resolves: bool) -> Vec<Value> {
        let mut values = vec![Value::default()];
        for (index, argument) in arguments.iter().enumerate() {
            let next = self.evaluate(*argument, depth - 1);
            if resolves && next.iter().all(|value| value.prefix.starts_with(b"/")) {
                values = next;
                continue;
            }
            if index > 0 {
                values = product(&values, &[Value::known("/")]);
            }
            values = product(&values, &next);
        }
        if resolves {
            for value in values.iter_mut().filter(|value| !value.prefix.starts_with(b"/")) {
                if !value.prefix.is_empty() || value.rest.is_none() {
                    value.prefix = [self.working_directory.as_bytes(), b"/", &value.prefix].concat();
                }
            }
        }
        values
    }
}

/// The arguments of a call, comments aside.
pub(super) fn arguments<'t>(call: Node<'t>) -> Vec<Node<'t>> {
    let Some(list) = call.child_by_field_name("arguments") else { return Vec::new() };
    list.named_children(&mut list.walk()).filter(|node| node.kind() != "comment").collect()
}

/// The last name of what a call calls: `join` of `path.join(…)`.
pub(super) fn called<'t>(call: Node<'_>, text: &'t [u8]) -> &'t [u8] {
    let function = call.child_by_field_name("function").or_else(|| call.child_by_field_name("constructor"));
    function.map_or(&[], |function| last_name(function, text))
}

/// The last name of an expression.
pub(super) fn last_name<'t>(expression: Node<'_>, text: &'t [u8]) -> &'t [u8] {
    match expression.kind() {
        "identifier" | "import" => text_of(expression, text),
        "member_expression" => {
            expression.child_by_field_name("property").map_or(&[], |property| text_of(property, text))
        }
        // `(0, module.function)(…)`, as compilers write it.
        "parenthesized_expression" | "sequence_expression" => {
            let last = expression.named_child_count().checked_sub(1);
            let last = last.and_then(|last| expression.named_child(u32::try_from(last).ok()?));
            match last {
                Some(last)
                    if matches!(last.kind(), "identifier" | "member_expression" | "sequence_expression") =>
                {
                    last_name(last, text)
                }
                _ => &[],
            }
        }
        _ => &[],
    }
}

/// Whether a call is one of `require.resolve` or `import.meta.resolve`, which look modules up.
fn is_of_require(call: Node<'_>, text: &[u8]) -> bool {
    let object =
        call.child_by_field_name("function").and_then(|function| function.child_by_field_name("object"));
    object.is_some_and(|object| {
        let name = text_of(object, text);
        name == b"import.meta" || name.to_ascii_lowercase().ends_with(b"require")
    })
}

/// The value of a string literal.
pub(super) fn string(node: Node<'_>, text: &[u8]) -> Vec<u8> {
    node.named_children(&mut node.walk()).flat_map(|child| piece(child, text)).collect()
}

/// A part of a string or template.
fn piece(node: Node<'_>, text: &[u8]) -> Vec<u8> {
    let bytes = text_of(node, text);
    if node.kind() != "escape_sequence" {
        return bytes.to_vec();
    }
    let number = |digits: &[u8]| {
        let digits = std::str::from_utf8(digits).ok()?.trim_matches(['{', '}']);
        char::from_u32(u32::from_str_radix(digits, 16).ok()?)
    };
    match bytes.get(1) {
        Some(b'x' | b'u') => {
            number(&bytes[2..]).map(|character| character.to_string().into_bytes()).unwrap_or_default()
        }
        Some(b'n') => b"\n".to_vec(),
        Some(b't') => b"\t".to_vec(),
        Some(b'\n' | b'\r') | None => Vec::new(),
        Some(_) => bytes[1..].to_vec(),
    }
}
