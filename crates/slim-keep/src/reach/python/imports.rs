//! What the text of a Python file asks for: imports wherever they stand, imports by constant name, names of modules in
//! strings, and whether it imports by names that only a run knows.

use crate::reach::syntax::{Language, line_of, parse, text_of};
use std::collections::BTreeSet;
use tree_sitter::Node;

/// Functions that import what they are given.
const IMPORTERS: [&[u8]; 2] = [b"import_module", b"__import__"];
/// Functions that find modules which no text names.
const FINDERS: [&[u8]; 4] = [b"iter_modules", b"walk_packages", b"entry_points", b"iter_entry_points"];
/// Functions that a module of the standard library has for being run, by custom.
const FOR_RUNNING: [&str; 4] = ["_main", "_test", "main", "test"];
/// Longer strings are no names.
const NAME_MAX: usize = 200;

/// What a file asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub imports: Vec<Import>,
    /// Strings that are dotted names, `a.b` or `a.b:c`, and single words; with their lines.
    pub names: BTreeSet<(String, u32)>,
    /// The line of the first import whose name is not constant.
    pub unknown: Option<u32>,
    /// The strings in `__all__`.
    pub all: Vec<String>,
}

/// One import of a module, or of names from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Import {
    /// How many packages up the name begins: 0 for one from the search path.
    pub level: usize,
    /// The module's name, by its parts; may be empty where `level` is not 0.
    pub module: Vec<String>,
    /// What is taken from it, which may be modules; `*` for all.
    pub names: Vec<String>,
    pub line: u32,
    pub place: Place,
}

/// When an import happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// When the module is imported.
    Module,
    /// When one of its functions is called.
    Function,
    /// When the module is run as a script.
    Running,
}

/// What the statements around a node say.
#[derive(Clone, Copy)]
struct Around<'t> {
    /// The outermost function.
    function: Option<Node<'t>>,
    is_running: bool,
}

/// Reads a file.
pub(super) fn asked(text: &[u8]) -> Asked {
    let Some(tree) = parse(Language::Python, text) else { return Asked::default() };
    let mut reader =
        Reader { text, asked: Asked::default(), running: BTreeSet::new(), functions: Vec::new() };
    let mut ahead = vec![(tree.root_node(), Around { function: None, is_running: false })];
    while let Some((node, around)) = ahead.pop() {
        let around = reader.node(node, around);
        let skipped =
            reader.is_for_type_checkers(node).then(|| node.child_by_field_name("consequence")).flatten();
        let guarded = reader.is_main_guard(node).then(|| node.child_by_field_name("consequence")).flatten();
        let children: Vec<Node<'_>> = node.named_children(&mut node.walk()).collect();
        for child in children.into_iter().rev().filter(|child| Some(*child) != skipped) {
            let is_running = around.is_running || Some(child) == guarded;
            ahead.push((child, Around { is_running, ..around }));
        }
    }
    reader.finish()
}

struct Reader<'t> {
    text: &'t [u8],
    asked: Asked,
    /// What the module's `__main__` block names.
    running: BTreeSet<String>,
    /// The outermost function of each import.
    functions: Vec<Option<String>>,
}

impl<'t> Reader<'t> {
    fn node(&mut self, node: Node<'t>, around: Around<'t>) -> Around<'t> {
        match node.kind() {
            "import_statement" => self.import(node, around),
            "import_from_statement" | "future_import_statement" => self.import_from(node, around),
            "call" => self.call(node, around),
            "string" => {
                let line = line_of(node);
                self.asked
                    .names
                    .extend(self.constant(node).filter(|name| is_name(name)).map(|name| (name, line)));
            }
            "assignment" => self.assignment(node),
            "identifier" if around.is_running => {
                self.running.insert(self.string_of(node));
            }
            "function_definition" | "lambda" if around.function.is_none() => {
                return Around { function: Some(node), ..around };
            }
            _ => {}
        }
        around
    }

    fn import(&mut self, node: Node<'t>, around: Around<'t>) {
        for name in fields(node, "name") {
            let name =
                if name.kind() == "aliased_import" { name.child_by_field_name("name") } else { Some(name) };
            if let Some(name) = name {
                let module = self.parts(name);
                self.add(0, module, Vec::new(), node, around);
            }
        }
    }

    fn import_from(&mut self, node: Node<'t>, around: Around<'t>) {
        let mut level = 0;
        let mut module = Vec::new();
        match node.child_by_field_name("module_name") {
            Some(relative) if relative.kind() == "relative_import" => {
                let children: Vec<Node<'_>> = relative.named_children(&mut relative.walk()).collect();
                for child in children {
                    match child.kind() {
                        "import_prefix" => {
                            level = text_of(child, self.text).iter().filter(|byte| **byte == b'.').count();
                        }
                        _ => module = self.parts(child),
                    }
                }
            }
            Some(absolute) => module = self.parts(absolute),
            None => module.push("__future__".to_owned()),
        }
        let mut names: Vec<String> = fields(node, "name")
            .filter_map(|name| {
                if name.kind() == "aliased_import" { name.child_by_field_name("name") } else { Some(name) }
            })
            .map(|name| self.string_of(name))
            .collect();
        let children: Vec<Node<'_>> = node.named_children(&mut node.walk()).collect();
        if children.iter().any(|child| child.kind() == "wildcard_import") {
            names.push("*".to_owned());
        }
        self.add(level, module, names, node, around);
    }

    fn call(&mut self, node: Node<'t>, around: Around<'t>) {
        let Some(function) = node.child_by_field_name("function") else { return };
        let name = text_of(function, self.text).rsplit(|byte| *byte == b'.').next().unwrap_or_default();
        if FINDERS.contains(&name) {
            self.asked.unknown.get_or_insert(line_of(node));
        }
        if !IMPORTERS.contains(&name) {
            return;
        }
        let arguments = node.child_by_field_name("arguments");
        let first = arguments.and_then(|arguments| arguments.named_child(0));
        let Some(module) = first.and_then(|first| self.constant(first)) else {
            self.asked.unknown.get_or_insert(line_of(node));
            return;
        };
        let level = module.bytes().take_while(|byte| *byte == b'.').count();
        let parts = module.split('.').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        self.add(level, parts, Vec::new(), node, around);
    }

    /// `__all__ = ["name"]`.
    fn assignment(&mut self, node: Node<'t>) {
        let is_all =
            node.child_by_field_name("left").is_some_and(|left| text_of(left, self.text) == b"__all__");
        if let Some(right) = node.child_by_field_name("right").filter(|_| is_all) {
            let words: Vec<Node<'_>> = right.named_children(&mut right.walk()).collect();
            let words: Vec<String> = words.into_iter().filter_map(|word| self.constant(word)).collect();
            self.asked.all.extend(words);
        }
    }

    fn add(
        &mut self,
        level: usize,
        module: Vec<String>,
        names: Vec<String>,
        node: Node<'t>,
        around: Around<'t>,
    ) {
        let place = match around {
            Around { is_running: true, .. } => Place::Running,
            Around { function: Some(_), .. } => Place::Function,
            _ => Place::Module,
        };
        let function = around.function.and_then(|function| function.child_by_field_name("name"));
        self.functions.push(function.map(|name| self.string_of(name)));
        self.asked.imports.push(Import { level, module, names, line: line_of(node), place });
    }

    fn finish(mut self) -> Asked {
        for (import, function) in self.asked.imports.iter_mut().zip(&self.functions) {
            let is_running = function
                .as_ref()
                .is_some_and(|name| FOR_RUNNING.contains(&name.as_str()) || self.running.contains(name));
            if import.place == Place::Function && is_running {
                import.place = Place::Running;
            }
        }
        self.asked
    }

    fn is_for_type_checkers(&self, node: Node<'_>) -> bool {
        let condition = Some(node).filter(|node| node.kind() == "if_statement");
        let condition = condition.and_then(|node| node.child_by_field_name("condition"));
        condition.is_some_and(|condition| {
            let text = text_of(condition, self.text);
            text.rsplit(|byte| *byte == b'.').next() == Some(b"TYPE_CHECKING")
        })
    }

    fn is_main_guard(&self, node: Node<'_>) -> bool {
        let condition = Some(node).filter(|node| node.kind() == "if_statement");
        let condition = condition.and_then(|node| node.child_by_field_name("condition"));
        condition.is_some_and(|condition| {
            let text = text_of(condition, self.text);
            let has = |word: &[u8]| text.windows(word.len()).any(|window| window == word);
            has(b"__name__") && has(b"__main__")
        })
    }

    /// The text of a string without substitutions.
    fn constant(&self, node: Node<'_>) -> Option<String> {
        if node.kind() != "string" || node.end_byte() - node.start_byte() > NAME_MAX {
            return None;
        }
        let mut text = String::new();
        let children: Vec<Node<'_>> = node.named_children(&mut node.walk()).collect();
        for child in children {
            match child.kind() {
                "interpolation" => return None,
                "string_content" => text.push_str(std::str::from_utf8(text_of(child, self.text)).ok()?),
                _ => {}
            }
        }
        Some(text)
    }

    fn parts(&self, name: Node<'_>) -> Vec<String> {
        let text = self.string_of(name);
        text.split('.').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
    }

    fn string_of(&self, node: Node<'_>) -> String {
        String::from_utf8_lossy(text_of(node, self.text)).into_owned()
    }
}

fn fields<'t>(node: Node<'t>, name: &str) -> impl Iterator<Item = Node<'t>> + use<'t> {
    let fields: Vec<Node<'t>> = node.children_by_field_name(name, &mut node.walk()).collect();
    fields.into_iter()
}

/// Whether a text can be the name of a module, or of something in one: `a.b`, `a:b`, `a.b:c()`.
pub(super) fn is_name(text: &str) -> bool {
    let text = text.split('(').next().unwrap_or_default();
    let is_identifier = |part: &str| {
        part.chars().next().is_some_and(|first| first.is_alphabetic() || first == '_')
            && part.chars().all(|character| character.is_alphanumeric() || matches!(character, '_' | '-'))
    };
    !text.is_empty() && text.len() <= NAME_MAX && text.split(['.', ':']).all(is_identifier)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imports(text: &str) -> Vec<String> {
        let imports = asked(text.as_bytes()).imports.into_iter().map(|import| {
            let names =
                if import.names.is_empty() { String::new() } else { format!(" {}", import.names.join(",")) };
            let place = match import.place {
                Place::Module => "",
                Place::Function => " (function)",
                Place::Running => " (running)",
            };
            format!("{}{}{names}{place}", ".".repeat(import.level), import.module.join("."))
        });
        imports.collect()
    }

    #[test]
    fn imports_are_found_wherever_they_stand() {
        let text = r#"
from __future__ import annotations
import os, a.b as c
from ..up import (x as y, z,)
from . import sibling
from pkg import *
try:
    import fast
except ImportError:
    import slow
class C:
    import inside
    def method(self):
        from late import thing
if TYPE_CHECKING:
    import types_only
elif True:
    import otherwise
else:
    import at_last
def main():
    import for_main
def run():
    import for_run
if __name__ == "__main__":
    import script
    run()
"#;
        assert_eq!(
            imports(text),
            [
                "__future__ annotations",
                "os",
                "a.b",
                "..up x,z",
                ". sibling",
                "pkg *",
                "fast",
                "slow",
                "inside",
                "late thing (function)",
                "otherwise",
                "at_last",
                "for_main (running)",
                "for_run (running)",
                "script (running)"
            ]
        );
    }

    #[test]
    fn imports_by_constant_name_count_and_others_are_unknown() {
        let text = "import_module('a.b')\nimportlib.import_module('.c', __package__)\n__import__(\"d\")\n";
        assert_eq!(imports(text), ["a.b", ".c", "d"]);
        assert_eq!(asked(text.as_bytes()).unknown, None);
        for text in [
            "import_module(name)",
            "__import__(f'a.{b}')",
            "pkgutil.walk_packages(p)",
            "entry_points(group='x')",
        ] {
            assert_eq!(asked(text.as_bytes()).unknown, Some(1), "{text}");
        }
    }

    #[test]
    fn strings_that_name_modules_are_told() {
        let asked = asked(b"APPS = ['shop.apps.ShopConfig', 'shop', 'not a name', 'x:y', f'a.{b}', '/a.b']\n__all__ = ['one', 'two']\n");
        let names: Vec<&str> = asked.names.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["one", "shop", "shop.apps.ShopConfig", "two", "x:y"]);
        assert_eq!(asked.all, ["one", "two"]);
    }
}
