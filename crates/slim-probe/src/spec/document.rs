//! The specification as a tree of values, from JSON or YAML, with its references followed.
//!
//! Invariant: a tree has at most [`NODES`] values, whatever aliases the YAML holds.

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::cell::Cell;
use std::fmt;

/// Values of a specification, a long text counting for several. GitHub's, a large one, has about 400,000.
const NODES: usize = 1_000_000;
/// Bytes of text that count as one more value.
const BYTES_A_NODE: usize = 64;
/// Brackets open at once in YAML, those in texts that are never closed included. Its reader takes 128 levels.
const BRACKETS: usize = 1000;
/// References that lead to references.
const LINKS: usize = 16;

/// A specification.
#[derive(Debug)]
pub(super) struct Document {
    pub root: Value,
    pub version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Swagger2,
    OpenApi3,
}

impl Document {
    /// Reads JSON, or YAML where it is no JSON. The error is a phrase.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let root = match tree(&mut serde_json::Deserializer::from_slice(bytes)) {
            Ok(root) => root,
            Err(error) if bytes.trim_ascii_start().starts_with(b"{") => {
                // JSON in YAML's looser sense is rare; the error of JSON says more.
                yaml(bytes).map_err(|_| format!("no JSON: {error}"))?
            }
            Err(_) => yaml(bytes).map_err(|error| format!("neither JSON nor YAML: {error}"))?,
        };
        let is = |member: &str, first: &str| match root.get(member) {
            Some(Value::String(version)) => version.starts_with(first),
            Some(Value::Number(version)) => version.to_string().starts_with(first),
            _ => false,
        };
        let version = match (is("openapi", "3"), is("swagger", "2")) {
            (true, _) => Version::OpenApi3,
            (_, true) => Version::Swagger2,
            _ => return Err("it is neither OpenAPI 3 nor Swagger 2".to_owned()),
        };
        Ok(Self { root, version })
    }

    /// What a reference within this document points to (`#/components/schemas/Pet`). Others are not followed: they
    /// lead to files and hosts.
    pub fn target(&self, reference: &str) -> Option<&Value> {
        let pointer = reference.strip_prefix('#')?;
        self.root.pointer(pointer).or_else(|| self.root.pointer(&percent_decoded(pointer)?))
    }

    /// The value itself, or what its reference leads to.
    pub fn resolved<'a>(&'a self, value: &'a Value) -> Option<&'a Value> {
        let mut value = value;
        for _ in 0..LINKS {
            match value.get("$ref").and_then(Value::as_str) {
                Some(reference) => value = self.target(reference)?,
                None => return Some(value),
            }
        }
        None
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let (high, low) = (digit()?, digit()?);
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

fn tree<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    let left = Cell::new(NODES);
    Tree { left: &left }.deserialize(deserializer)
}

/// libyaml looks at every open bracket at every token, so a long row of them would take it hours; nobody nests so deep.
fn yaml(bytes: &[u8]) -> Result<Value, String> {
    let mut depth = 0_usize;
    for byte in bytes {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > BRACKETS {
            return Err("it is nested too deeply".to_owned());
        }
    }
    tree(yaml_serde::Deserializer::from_slice(bytes)).map_err(|error| error.to_string())
}

/// Reads a value of any kind and counts.
#[derive(Clone, Copy)]
struct Tree<'a> {
    left: &'a Cell<usize>,
}

impl Tree<'_> {
    fn count<E: serde::de::Error>(self, nodes: usize) -> Result<(), E> {
        let left = self.left.get().checked_sub(nodes).ok_or_else(|| E::custom("it is too large"))?;
        self.left.set(left);
        Ok(())
    }

    fn text<E: serde::de::Error>(self, text: &str) -> Result<String, E> {
        self.count(1 + text.len() / BYTES_A_NODE)?;
        Ok(text.to_owned())
    }
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Value, E> {
        self.count(1).map(|()| Value::Bool(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        self.count(1).map(|()| value.into())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        self.count(1).map(|()| value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        // YAML knows numbers that JSON does not (.inf, .nan).
        self.count(1).map(|()| Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.text(value).map(Value::String)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        self.count(1).map(|()| Value::Null)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<Value, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        self.count(1)?;
        let mut values = Vec::new();
        while let Some(value) = sequence.next_element_seed(self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        self.count(1)?;
        let mut members = Map::new();
        // Keys of YAML may be numbers: `200:` under `responses`.
        while let Some(key) = map.next_key_seed(self)? {
            let name = match key {
                Value::String(name) => name,
                Value::Array(_) | Value::Object(_) => return Err(A::Error::custom("a key is no scalar")),
                other => other.to_string(),
            };
            let value = map.next_value_seed(self)?;
            members.insert(name, value);
        }
        Ok(Value::Object(members))
    }

    fn visit_enum<A: serde::de::EnumAccess<'de>>(self, _: A) -> Result<Value, A::Error> {
        Err(A::Error::custom("tags are not understood"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_and_yaml_are_the_same_tree() {
        let json = Document::parse(
            br#"{"openapi": "3.0.1", "paths": {"/a": {"get": {"x": [1, -2, 1.5, null, true]}}}}"#,
        );
        let yaml =
            Document::parse(b"openapi: 3.0.1\npaths:\n  /a:\n    get:\n      x: [1, -2, 1.5, ~, true]\n");
        assert_eq!(json.unwrap().root, yaml.unwrap().root);
    }

    #[test]
    fn yaml_with_numbers_for_keys_and_aliases_is_read() {
        let yaml = "swagger: 2.0\nx: &x {a: 1}\nresponses: {200: *x, 1.5: b, true: c}\n";
        let document = Document::parse(yaml.as_bytes()).unwrap();
        assert_eq!(document.version, Version::Swagger2);
        assert_eq!(document.root["responses"], json!({"200": {"a": 1}, "1.5": "b", "true": "c"}));
    }

    #[test]
    fn what_is_no_specification_is_refused_with_a_reason() {
        let refusal = |text: &str| Document::parse(text.as_bytes()).unwrap_err();
        assert_eq!(refusal("{}"), "it is neither OpenAPI 3 nor Swagger 2");
        assert_eq!(refusal("<html>"), "it is neither OpenAPI 3 nor Swagger 2");
        assert_eq!(refusal(r#"{"openapi": "4.0"}"#), "it is neither OpenAPI 3 nor Swagger 2");
        assert!(refusal(r#"{"openapi": "3.0", "#).starts_with("no JSON: EOF"), "{}", refusal(r#"{"a": "#));
        assert!(refusal("a: [").starts_with("neither JSON nor YAML: "));
        assert!(
            refusal("").starts_with("neither JSON nor YAML: ") || refusal("").starts_with("it is neither")
        );
    }

    #[test]
    fn aliases_that_multiply_end_with_the_limit_and_not_with_the_memory() {
        let mut yaml = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let last = format!("*a{}", level - 1);
            yaml += &format!("a{level}: &a{level} [{}]\n", vec![last; 10].join(", "));
        }
        // Enough events for the library's own limit to allow a great many repetitions.
        yaml += &format!("b: [{}]\n", vec!["y"; 100_000].join(", "));
        assert!(Document::parse(yaml.as_bytes()).unwrap_err().contains("too large"));
    }

    #[test]
    fn deep_nesting_ends() {
        for text in ["[".repeat(1 << 20), "{\"a\":".repeat(1 << 18), "- ".repeat(1 << 18)] {
            Document::parse(text.as_bytes()).unwrap_err();
        }
    }

    #[test]
    fn references_are_followed_within_the_document_as_far_as_it_is_sane() {
        let document = Document::parse(
            br##"{"openapi": "3", "a/b {c}": {"x": 1}, "r": {"$ref": "#/s"}, "s": {"$ref": "#/a~1b%20%7Bc%7D"},
                "l": {"$ref": "#/l"}, "o": {"$ref": "other.yaml#/x"}, "m": {"$ref": "#/missing"}, "w": {"$ref": 7}}"##,
        )
        .unwrap();
        let resolved = |name: &str| document.resolved(&document.root[name]).cloned();
        assert_eq!(resolved("r"), Some(json!({"x": 1})));
        assert_eq!([resolved("l"), resolved("o"), resolved("m")], [None, None, None]);
        assert_eq!(resolved("w"), Some(json!({"$ref": 7})));
    }
}
