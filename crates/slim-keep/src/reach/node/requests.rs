//! What a JavaScript file asks for: modules, files beside it, directories that it reads whole.

use super::evaluation::{Evaluation, arguments, called, last_name};
use crate::reach::places::holds;
use crate::reach::syntax::{self, Language, line_of, text_of};
use crate::reach::value::Value;
use slim_image::ImagePath;
use std::collections::BTreeSet;
use tree_sitter::Node;

/// Which of Node's two loaders is asked; a package's `exports` may tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Loader {
    Require,
    Import,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Module(Loader, Value),
    /// Perhaps a module: a name handed to something that loads modules by name.
    Name(Vec<u8>),
    /// A file, from the working directory or from the folder of the asking file.
    File(Value),
    /// A directory whose files are listed or served.
    Directory(Value),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub line: u32,
    pub ask: Ask,
}

/// All requests of a file in the order of its text; `None` where it cannot be parsed.
pub(super) fn requests(file: &ImagePath, text: &[u8], working_directory: &str) -> Option<Vec<Request>> {
    let tree = syntax::parse(Language::JavaScript, text)?;
    let nodes: Vec<Node<'_>> = syntax::nodes(&tree).filter(|node| is_of_interest(node.kind())).collect();
    let reading = Reading {
        evaluation: Evaluation::new(file, text, working_directory, &nodes),
        requirers: requirers(&nodes, text),
        parts: nodes
            .iter()
            .filter(|node| node.kind() == "binary_expression")
            .flat_map(|node| ["left", "right"].map(|side| node.child_by_field_name(side)))
            .flatten()
            .map(|part| part.id())
            .collect(),
        text,
    };
    let mut requests = Vec::new();
    for node in nodes {
        let line = line_of(node);
        requests.extend(reading.asks(node).into_iter().map(|ask| Request { line, ask }));
    }
    Some(requests)
}

/// The plain `require("…")` and `from "…"` of a text that is not parsed.
pub(super) fn plain_requests(text: &[u8]) -> Vec<Request> {
    let mut requests = Vec::new();
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        for (word, loader) in [
            (&b"require("[..], Loader::Require),
            (b"import(", Loader::Import),
            (b"from", Loader::Import),
            (b"import", Loader::Import),
        ] {
            let mut rest = line;
            while let Some(at) = rest.windows(word.len()).position(|window| window == word) {
                rest = &rest[at + word.len()..];
                let quoted = rest.trim_ascii_start();
                let Some(quote @ (b'"' | b'\'')) = quoted.first().copied() else { continue };
                if let Some(end) = quoted[1..].iter().position(|byte| *byte == quote) {
                    let ask = Ask::Module(loader, Value::known(&quoted[1..=end]));
                    requests.push(Request { line: u32::try_from(number + 1).unwrap_or(u32::MAX), ask });
                }
            }
        }
    }
    requests
}

fn is_of_interest(kind: &str) -> bool {
    matches!(
        kind,
        "call_expression"
            | "new_expression"
            | "import_statement"
            | "export_statement"
            | "variable_declarator"
            | "assignment_expression"
            | "binary_expression"
            | "template_string"
            | "pair"
    )
}

/// The names that stand for `require`: itself, what it is assigned to, and what `createRequire` gave.
fn requirers<'t>(nodes: &[Node<'_>], text: &'t [u8]) -> BTreeSet<&'t [u8]> {
    let mut names = BTreeSet::from([&b"require"[..]]);
    for node in nodes {
        let (name, value) = match node.kind() {
            "variable_declarator" => ("name", "value"),
            "assignment_expression" => ("left", "right"),
            _ => continue,
        };
        let (Some(name), Some(value)) = (node.child_by_field_name(name), node.child_by_field_name(value))
        else {
            continue;
        };
        let gives_require = match value.kind() {
            "identifier" => text_of(value, text) == b"require",
            "call_expression" => called(value, text) == b"createRequire",
            _ => false,
        };
        if gives_require && name.kind() == "identifier" {
            names.insert(text_of(name, text));
        }
    }
    names
}

struct Reading<'t> {
    evaluation: Evaluation<'t>,
    requirers: BTreeSet<&'t [u8]>,
    /// The operands of sums and the like.
    parts: BTreeSet<usize>,
    text: &'t [u8],
}

impl<'t> Reading<'t> {
    fn asks(&self, node: Node<'t>) -> Vec<Ask> {
        match node.kind() {
            "import_statement" | "export_statement" => {
                let source = node.child_by_field_name("source");
                source.map_or_else(Vec::new, |source| self.modules(Loader::Import, source))
            }
            "call_expression" => self.call(node),
            "new_expression" => match called(node, self.text) {
                b"Worker" => self.files(arguments(node).first().copied()),
                b"URL" => self.anchored(node),
                _ => Vec::new(),
            },
            "binary_expression" | "template_string" => self.anchored(node),
            "pair" => self.pair(node),
            _ => Vec::new(),
        }
    }

    fn modules(&self, loader: Loader, node: Node<'t>) -> Vec<Ask> {
        self.evaluation.values(node).into_iter().map(|value| Ask::Module(loader, value)).collect()
    }

    fn files(&self, node: Option<Node<'t>>) -> Vec<Ask> {
        let values = node.map(|node| self.evaluation.values(node)).unwrap_or_default();
        values.into_iter().filter(|value| !value.prefix.is_empty()).map(Ask::File).collect()
    }

    fn directories(&self, node: Option<Node<'t>>) -> Vec<Ask> {
        let values = node.map(|node| self.evaluation.values(node)).unwrap_or_default();
        values
            .into_iter()
            .filter(|value| value.anchored && value.rest.is_none())
            .map(Ask::Directory)
            .collect()
    }

    /// A path made from the file's own place, whatever it is for.
    fn anchored(&self, node: Node<'t>) -> Vec<Ask> {
        // The whole of a sum counts, not its parts.
        if self.parts.contains(&node.id()) {
            return Vec::new();
        }
        let values = self.evaluation.values(node);
        values.into_iter().filter(|value| value.anchored).map(Ask::File).collect()
    }

    fn name(&self, node: Option<Node<'t>>) -> Vec<Ask> {
        let values = node.map(|node| self.evaluation.values(node)).unwrap_or_default();
        values.iter().filter_map(|value| Some(Ask::Name(value.whole()?.to_vec()))).collect()
    }

    fn call(&self, call: Node<'t>) -> Vec<Ask> {
        let Some(function) = call.child_by_field_name("function") else { return Vec::new() };
        let arguments = arguments(call);
        let first = arguments.first().copied();
        if let Some(loader) = self.loader(function) {
            return first.map_or_else(Vec::new, |first| self.modules(loader, first));
        }
        let constant = |node: Option<Node<'t>>| node.filter(|node| node.kind() == "string");
        match last_name(function, self.text) {
            b"join" | b"resolve" | b"fileURLToPath" => self.anchored(call),
            b"fork" => self.files(first),
            b"spawn" | b"spawnSync" | b"execFile" | b"execFileSync" => {
                let array = arguments.get(1).filter(|node| node.kind() == "array");
                self.files(array.and_then(|array| array.named_child(0)))
            }
            b"static" | b"serveStatic" | b"readdir" | b"readdirSync" => self.directories(first),
            b"set" => match constant(first).map(|first| text_of(first, self.text)) {
                Some(b"'views'" | b"\"views\"") => self.directories(arguments.get(1).copied()),
                Some(b"'view engine'" | b"\"view engine\"") => self.name(arguments.get(1).copied()),
                _ => Vec::new(),
            },
            name if loads_by_name(name) => self.name(constant(first)),
            _ => Vec::new(),
        }
    }

    /// Which loader a function is, if any.
    fn loader(&self, function: Node<'t>) -> Option<Loader> {
        match function.kind() {
            "import" => Some(Loader::Import),
            "identifier" => self.requirers.contains(text_of(function, self.text)).then_some(Loader::Require),
            "call_expression" => (called(function, self.text) == b"createRequire").then_some(Loader::Require),
            "member_expression" => {
                let object = text_of(function.child_by_field_name("object")?, self.text);
                match text_of(function.child_by_field_name("property")?, self.text) {
                    b"require" => Some(Loader::Require),
                    b"resolve" if self.requirers.contains(object) => Some(Loader::Require),
                    b"resolve" if object == b"import.meta" => Some(Loader::Import),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Options that name a module or a script: those of worker pools, loggers and clusters.
    fn pair(&self, pair: Node<'t>) -> Vec<Ask> {
        let (Some(key), Some(value)) = (pair.child_by_field_name("key"), pair.child_by_field_name("value"))
        else {
            return Vec::new();
        };
        match text_of(key, self.text) {
            b"target" if value.kind() == "string" => self.name(Some(value)),
            b"root" | b"directory" | b"views" | b"templates" => self.directories(Some(value)),
            b"exec" | b"filename" | b"script" => {
                let mut asks = self.files(Some(value));
                asks.retain(|ask| matches!(ask, Ask::File(value) if value.rest.is_none()));
                asks
            }
            _ => Vec::new(),
        }
    }
}

/// Whether a function's name says that it loads a module by its name, as `optionalRequire` or `loadPackage`.
fn loads_by_name(name: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    let one_of = |parts: &[&str]| parts.iter().any(|part| holds(&name, part.as_bytes()));
    one_of(&["require"])
        || (one_of(&["load", "import"]) && one_of(&["module", "package", "plugin", "dialect", "driver"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(text: &str) -> Vec<String> {
        let file = ImagePath::from("/app/lib/main.js");
        let mut asks = Vec::new();
        for Request { line, ask } in requests(&file, text.as_bytes(), "/work").unwrap() {
            let show = |value: &Value| {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let rest = value.rest.as_deref().map(|rest| format!("*{}", text(rest)));
                text(&value.prefix) + &rest.unwrap_or_default()
            };
            asks.push(match &ask {
                Ask::Module(Loader::Require, value) => format!("{line} require {}", show(value)),
                Ask::Module(Loader::Import, value) => format!("{line} import {}", show(value)),
                Ask::Name(name) => format!("{line} name {}", String::from_utf8_lossy(name)),
                Ask::File(value) => format!("{line} file {}", show(value)),
                Ask::Directory(value) => format!("{line} directory {}", show(value)),
            });
        }
        asks
    }

    #[test]
    fn modules_are_seen_wherever_they_are_asked_for() {
        let text = r#"
module.exports = require("./a");
const b = cond ? require('b') : tslib.__importStar(require(`c`));
function later() { return (x || require("d")).e(require.resolve('f/g')); }
import h, { i } from "h"; export * from './j'; export { k } from "k";
const l = async () => await import('l');
import "side-effect";
const own = createRequire(import.meta.url); own('m'); createRequire(__filename)("n");
aliased = require; aliased('./o/' + p); module.require('q');
require(first ? './r' : "./s\u002ejs");
"#;
        insta::assert_snapshot!(asks(text).join("\n"), @r"
        2 require ./a
        3 require b
        3 require c
        4 require d
        4 require f/g
        5 import h
        5 import ./j
        5 import k
        6 import l
        7 import side-effect
        8 require m
        8 require n
        9 require ./o/*
        9 require q
        10 require ./r
        10 require ./s.js
        ");
    }

    #[test]
    fn names_are_put_together_as_far_as_they_are_constant() {
        let text = r#"
const folder = path.join(__dirname, "plugins");
require(folder + "/" + name + ".js"); require(`./x/${name}/index.js`); require(name);
new Worker(new URL("./w.js", import.meta.url)); child.fork(path.resolve("scripts", 'job.js'));
spawn(process.execPath, ["tool.js", "-v"]);
fs.readFileSync(__dirname + '/data.json'); readdirSync(folder);
app.set('view engine', 'ejs'); app.set("views", path.join(__dirname, 'views'));
pino({ transport: { target: 'pino-pretty' } }); this._loadDialectModule('pg'); lazyRequire("z");
"#;
        insta::assert_snapshot!(asks(text).join("\n"), @r"
        2 file /app/lib/plugins
        3 require /app/lib/plugins/*.js
        3 file /app/lib/plugins/*.js
        3 require ./x/*/index.js
        3 require *
        4 file /app/lib/./w.js
        4 file /app/lib/./w.js
        4 file /work/scripts/job.js
        5 file tool.js
        6 file /app/lib/data.json
        6 directory /app/lib/plugins
        7 name ejs
        7 directory /app/lib/views
        7 file /app/lib/views
        8 name pino-pretty
        8 name pg
        8 name z
        ");
    }

    #[test]
    fn names_bound_to_themselves_and_to_many_end() {
        assert_eq!(asks("const a = a + a; require(a)").len(), 1);
        let mut text = String::new();
        for number in 0..60 {
            let next = number + 1;
            text.push_str(&format!("const a{number} = a{next} + a{next};\n"));
        }
        text.push_str("const a60 = 'x'; require(a0)");
        assert!(!asks(&text).is_empty());
        assert!(!asks(&format!("require({}'x')", "'y' + ".repeat(20_000))).is_empty());
    }

    #[test]
    fn what_is_not_parsed_still_gives_its_plain_requests() {
        let text = b"a=require(\"x\"),b=require('./y');import z from'z'\nimport \"w\"; require(q)";
        let names: Vec<Vec<u8>> = plain_requests(text)
            .into_iter()
            .filter_map(|request| match request.ask {
                Ask::Module(_, value) => Some(value.prefix),
                _ => None,
            })
            .collect();
        assert_eq!(names, [&b"x"[..], b"./y", b"z", b"w"]);
    }
}
