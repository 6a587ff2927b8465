//! What the text of a Ruby file requires.

use crate::reach::places::{directory_of, join};
use crate::reach::syntax::{self, Language, line_of, text_of};
use crate::reach::value::{Value, product};
use slim_image::ImagePath;
use tree_sitter::Node;

/// Expressions inside expressions that are looked into.
const DEPTH: u32 = 24;

/// One thing asked for.
pub(super) struct Request {
    pub line: u32,
    /// A path where it begins with a slash, else a name in the load path.
    pub value: Value,
}

pub(super) fn read(path: &ImagePath, text: &[u8]) -> Vec<Request> {
    let mut requests = Vec::new();
    let Some(tree) = syntax::parse(Language::Ruby, text) else { return requests };
    let reading = Reading { path, text };
    for node in syntax::nodes(&tree).filter(|node| node.kind() == "call") {
        let method = node.child_by_field_name("method").map(|method| text_of(method, text));
        let arguments = arguments(node);
        let argument = match method {
            Some(b"require" | b"load" | b"require_dependency" | b"require_relative" | b"gem") => {
                arguments.first()
            }
            Some(b"autoload") => arguments.get(1),
            _ => None,
        };
        let Some(argument) = argument else { continue };
        for mut value in reading.values(*argument, DEPTH) {
            if method == Some(b"require_relative") && !value.prefix.starts_with(b"/") {
                value.prefix = join(directory_of(path.as_bytes()), &value.prefix);
                value.anchored = true;
            }
            requests.push(Request { line: line_of(node), value });
        }
    }
    requests
}

fn arguments(call: Node<'_>) -> Vec<Node<'_>> {
    let Some(list) = call.child_by_field_name("arguments") else { return Vec::new() };
    list.named_children(&mut list.walk()).filter(|node| node.kind() != "comment").collect()
}

struct Reading<'t> {
    path: &'t ImagePath,
    text: &'t [u8],
}

impl Reading<'_> {
    fn values(&self, node: Node<'_>, depth: u32) -> Vec<Value> {
        let unknown = || vec![Value::unknown()];
        let Some(depth) = depth.checked_sub(1) else { return unknown() };
        match node.kind() {
            "string" => {
                let mut values = vec![Value::default()];
                for child in node.named_children(&mut node.walk()) {
                    let part = match child.kind() {
                        "string_content" => vec![Value::known(text_of(child, self.text))],
                        "interpolation" => {
                            child.named_child(0).map_or_else(unknown, |child| self.values(child, depth))
                        }
                        _ => unknown(),
                    };
                    values = product(&values, &part);
                }
                values
            }
            "parenthesized_statements" => {
                node.named_child(0).map_or_else(unknown, |child| self.values(child, depth))
            }
            "binary" => {
                let operator =
                    node.child_by_field_name("operator").map(|operator| text_of(operator, self.text));
                let side = |name| node.child_by_field_name(name).map(|side| self.values(side, depth));
                match (operator, side("left"), side("right")) {
                    (Some(b"+"), Some(left), Some(right)) => product(&left, &right),
                    _ => unknown(),
                }
            }
            "call" => self.call(node, depth),
            _ => match text_of(node, self.text) {
                b"__dir__" => vec![Value::anchored(directory_of(self.path.as_bytes()))],
                b"__FILE__" => vec![Value::anchored(self.path.as_bytes())],
                _ => unknown(),
            },
        }
    }

    /// `File.join`, `File.expand_path`, `File.dirname`; `.` and `..` are left to the look-up.
    fn call(&self, node: Node<'_>, depth: u32) -> Vec<Value> {
        let arguments = arguments(node);
        let argument = |index: usize| {
            arguments.get(index).map(|argument| self.values(*argument, depth)).unwrap_or_default()
        };
        match node.child_by_field_name("method").map(|method| text_of(method, self.text)) {
            Some(b"join") if !arguments.is_empty() => {
                let mut values = argument(0);
                for index in 1..arguments.len() {
                    values = product(&product(&values, &[Value::known("/")]), &argument(index));
                }
                values
            }
            Some(b"expand_path") if arguments.len() == 2 => {
                // `../x` seen from the file itself as if it were a directory, as much old code has it.
                let base: Vec<Value> = argument(1).iter().map(|base| self.folder(base)).collect();
                product(
                    &product(&base, &[Value::known("/")]),
                    &self.less_one_level(argument(0), &argument(1)),
                )
            }
            Some(b"expand_path" | b"realpath" | b"to_s") if arguments.len() == 1 => argument(0),
            Some(b"dirname") if arguments.len() == 1 => {
                argument(0).iter().map(|value| self.folder(value)).collect()
            }
            _ => vec![Value::unknown()],
        }
    }

    fn folder(&self, value: &Value) -> Value {
        match value.whole() {
            Some(path) if path == self.path.as_bytes() => Value::anchored(directory_of(path)),
            Some(path) if value.anchored => Value::anchored(path),
            _ => Value::unknown(),
        }
    }

    /// A file's own name is a level that the first `..` takes away.
    fn less_one_level(&self, values: Vec<Value>, base: &[Value]) -> Vec<Value> {
        let is_file = base.iter().all(|base| base.whole() == Some(self.path.as_bytes()));
        if !is_file {
            return values;
        }
        values
            .into_iter()
            .map(|value| match value.prefix.strip_prefix(b"..") {
                Some(rest) => Value { prefix: [b".", rest].concat(), ..value },
                None => Value::unknown(),
            })
            .collect()
    }
}
