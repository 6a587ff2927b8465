//! A value that a schema allows: the specification's own example where it has one, else its default, else the first of
//! an enumeration, else something of the type and format.
//!
//! Invariant: a sample is bounded in depth, values and bytes, whatever the schema's references do.

use super::document::Document;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Steps into a schema: each reference, property, item and alternative is one.
const DEEPEST: usize = 24;
/// Schemas looked at for one command.
const NODES: usize = 4000;
/// Bytes of examples copied for one command.
const BYTES: usize = 1 << 20;
/// Properties of one object, members of one list.
const MEMBERS: usize = 256;
/// Items made for a list that wants more than one.
const ITEMS: u64 = 8;
/// Letters made for a text that wants many.
const LETTERS: u64 = 4096;

/// Makes the samples of one command.
pub(super) struct Sampler<'a> {
    pub document: &'a Document,
    nodes_left: usize,
    bytes_left: usize,
    /// References that are being followed: one that leads back to itself ends there.
    open: Vec<&'a str>,
}

impl<'a> Sampler<'a> {
    pub fn new(document: &'a Document) -> Self {
        Self { document, nodes_left: NODES, bytes_left: BYTES, open: Vec::new() }
    }

    /// `None` where the schema says nothing, or leads in a circle.
    pub fn sample(&mut self, schema: &'a Value) -> Option<Value> {
        self.schema(schema, 0)
    }

    /// A copy of an example, as far as the budget goes.
    pub fn copy(&mut self, value: &Value) -> Option<Value> {
        let left = self.bytes_left.checked_sub(size(value, self.bytes_left))?;
        self.bytes_left = left;
        Some(value.clone())
    }

    /// The properties of an object's schema, those of its parts included.
    pub fn properties(&mut self, schema: &'a Value) -> BTreeMap<&'a str, &'a Value> {
        let mut found = BTreeMap::new();
        self.collect_properties(schema, 0, &mut found);
        found
    }

    fn collect_properties(
        &mut self,
        schema: &'a Value,
        depth: usize,
        found: &mut BTreeMap<&'a str, &'a Value>,
    ) {
        let Some(schema) = self.document.resolved(schema).filter(|_| self.spend(depth)) else { return };
        for part in list(schema, "allOf") {
            self.collect_properties(part, depth + 1, found);
        }
        for alternatives in ["oneOf", "anyOf"] {
            if let Some(first) = list(schema, alternatives).find(|schema| !is_null(schema)) {
                self.collect_properties(first, depth + 1, found);
            }
        }
        found.extend(members(schema, "properties"));
    }

    /// Whether there is budget for one more schema at this depth.
    fn spend(&mut self, depth: usize) -> bool {
        let left = self.nodes_left.checked_sub(1).filter(|_| depth <= DEEPEST);
        self.nodes_left = left.unwrap_or(self.nodes_left);
        left.is_some()
    }

    fn schema(&mut self, schema: &'a Value, depth: usize) -> Option<Value> {
        if !self.spend(depth) {
            return None;
        }
        if let Some(given) = given(schema) {
            return self.copy(given);
        }
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            if self.open.contains(&reference) {
                return None;
            }
            let target = self.document.target(reference)?;
            self.open.push(reference);
            let sample = self.schema(target, depth + 1);
            self.open.pop();
            return sample;
        }
        if schema.get("allOf").is_some() {
            return self.all_of(schema, depth);
        }
        let alternative = self.first_alternative(schema, depth);
        match (alternative, kind(schema)) {
            // The properties that stand beside the alternatives hold for each of them.
            (Some(Value::Object(mut sample)), "object") => {
                sample.extend(self.object(schema, depth));
                Some(Value::Object(sample))
            }
            (Some(sample), _) => Some(sample),
            (None, "object") => Some(Value::Object(self.object(schema, depth))),
            (None, "array") => Some(Value::Array(self.array(schema, depth))),
            (None, "string") => Some(Value::String(text(schema))),
            (None, "integer" | "number") => Some(number(schema)),
            (None, "boolean") => Some(Value::Bool(true)),
            (None, _) => None,
        }
    }

    fn first_alternative(&mut self, schema: &'a Value, depth: usize) -> Option<Value> {
        let mut alternatives = list(schema, "oneOf").chain(list(schema, "anyOf"));
        alternatives.find_map(|schema| if is_null(schema) { None } else { self.schema(schema, depth + 1) })
    }

    /// Every part's properties together; for anything but objects, the first part that gives something.
    fn all_of(&mut self, schema: &'a Value, depth: usize) -> Option<Value> {
        let mut merged = Map::new();
        let mut other = None;
        for part in list(schema, "allOf") {
            match self.schema(part, depth + 1) {
                Some(Value::Object(members)) => merged.extend(members),
                sample => other = other.or(sample),
            }
        }
        merged.extend(self.object(schema, depth));
        if merged.is_empty() && other.is_some() { other } else { Some(Value::Object(merged)) }
    }

    /// All properties but those that only answers hold. A required one that cannot be made is a text.
    fn object(&mut self, schema: &'a Value, depth: usize) -> Map<String, Value> {
        let required: Vec<&str> = list(schema, "required").filter_map(Value::as_str).collect();
        let mut object = Map::new();
        let properties: BTreeMap<&str, &Value> = members(schema, "properties").collect();
        for (name, property) in properties {
            if property.get("readOnly") == Some(&Value::Bool(true)) {
                continue;
            }
            let made = self.schema(property, depth + 1);
            if let Some(value) = made.or_else(|| required.contains(&name).then(|| "text".into())) {
                object.insert(name.to_owned(), value);
            }
        }
        object
    }

    fn array(&mut self, schema: &'a Value, depth: usize) -> Vec<Value> {
        let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(1).clamp(1, ITEMS);
        let Some(items) = schema.get("items") else { return Vec::new() };
        (0..least).map_while(|_| self.schema(items, depth + 1)).collect()
    }
}

/// What the specification itself gives for a value.
fn given(schema: &Value) -> Option<&Value> {
    let examples = || list(schema, "examples").next();
    let enumerated = || list(schema, "enum").find(|value| !value.is_null());
    let named = |name: &str| schema.get(name).filter(|value| !value.is_null());
    named("example")
        .or_else(|| named("x-example"))
        .or_else(examples)
        .or_else(|| named("const"))
        .or_else(|| named("default"))
        .or_else(enumerated)
}

/// The schema's type; inferred where it is left out, empty where nothing tells.
pub(super) fn kind(schema: &Value) -> &str {
    let named = match schema.get("type") {
        Some(Value::String(kind)) => Some(kind.as_str()),
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null"),
        _ => None,
    };
    let has = |names: &[&str]| names.iter().any(|name| schema.get(name).is_some());
    match named {
        Some(kind) => kind,
        None if has(&["properties", "additionalProperties"]) => "object",
        None if has(&["items"]) => "array",
        None if has(&["format", "pattern", "minLength", "maxLength"]) => "string",
        None if has(&["minimum", "maximum", "multipleOf"]) => "number",
        None => "",
    }
}

fn is_null(schema: &Value) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("null")
}

pub(super) fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.get(name).and_then(Value::as_array).into_iter().flatten().take(MEMBERS)
}

pub(super) fn members<'a>(
    value: &'a Value,
    name: &str,
) -> impl Iterator<Item = (&'a str, &'a Value)> + use<'a> {
    let members = value.get(name).and_then(Value::as_object).into_iter().flatten();
    members.map(|(name, value)| (name.as_str(), value)).take(MEMBERS)
}

/// Bytes that a copy takes, about; counting stops beyond `limit`.
fn size(value: &Value, limit: usize) -> usize {
    const NODE: usize = 32;
    match value {
        Value::String(text) => NODE + text.len(),
        Value::Array(values) => sum(values.iter().map(|value| (0, value)), limit),
        Value::Object(members) => sum(members.iter().map(|(name, value)| (name.len() + NODE, value)), limit),
        _ => NODE,
    }
}

fn sum<'a>(parts: impl Iterator<Item = (usize, &'a Value)>, limit: usize) -> usize {
    let mut total = 32;
    for (extra, value) in parts {
        if total > limit {
            break;
        }
        total += extra + size(value, limit - total);
    }
    total
}

fn text(schema: &Value) -> String {
    let made = match schema.get("format").and_then(Value::as_str).unwrap_or_default() {
        "date" => "2024-01-01",
        "date-time" => "2024-01-01T00:00:00Z",
        "time" => "00:00:00Z",
        "duration" => "PT1S",
        "uuid" => "00000000-0000-4000-8000-000000000001",
        "email" | "idn-email" => "user@example.com",
        "uri" | "url" | "iri" => "http://localhost/",
        "uri-reference" => "/",
        "hostname" | "idn-hostname" => "localhost",
        "ipv4" => "127.0.0.1",
        "ipv6" => "::1",
        "byte" => "dGV4dA==",
        "password" => "Passw0rd!",
        _ => "text",
    };
    let limit = |name: &str| schema.get(name).and_then(Value::as_u64);
    let mut made = made.to_owned();
    while (made.len() as u64) < limit("minLength").unwrap_or(0).min(LETTERS) {
        made.push('x');
    }
    if let Some(most) = limit("maxLength") {
        made.truncate(usize::try_from(most).unwrap_or(usize::MAX).min(made.len()));
    }
    made
}

/// One, or the nearest number that the bounds allow.
fn number(schema: &Value) -> Value {
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    // `exclusiveMinimum` is a flag up to OpenAPI 3.0, and a number since.
    let exclusive = |flag: &str, limit: &str| match schema.get(flag) {
        Some(Value::Bool(true)) => (bound(limit), true),
        Some(Value::Number(_)) => (bound(flag), true),
        _ => (bound(limit), false),
    };
    let step = bound("multipleOf").filter(|step| *step > 0.0 && step.is_finite());
    let unit = step.unwrap_or(1.0);
    let mut value = step.unwrap_or(1.0);
    if let (Some(least), is_open) = exclusive("exclusiveMinimum", "minimum")
        && value <= least
    {
        value = (least / unit).ceil() * unit;
        if is_open && value <= least {
            value += unit;
        }
    }
    if let (Some(most), is_open) = exclusive("exclusiveMaximum", "maximum")
        && value >= most
    {
        value = (most / unit).floor() * unit;
        if is_open && value >= most {
            value -= unit;
        }
    }
    #[expect(clippy::cast_possible_truncation, reason = "whole numbers of this size are exact")]
    if value.fract() == 0.0 && value.abs() < 9e15 {
        return (value as i64).into();
    }
    serde_json::Number::from_f64(value).map_or(Value::from(1), Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document(schemas: Value) -> Document {
        let whole = json!({"openapi": "3.0.0", "s": schemas});
        Document::parse(whole.to_string().as_bytes()).unwrap()
    }

    fn sample(schema: Value) -> Option<Value> {
        let document = document(
            json!({"it": schema, "Pet": {"type": "object", "properties": {"name": {"type": "string"},
            "parent": {"$ref": "#/s/Pet"}, "young": {"type": "array", "items": {"$ref": "#/s/Pet"}}}}}),
        );
        Sampler::new(&document).sample(&document.root["s"]["it"])
    }

    #[test]
    fn examples_come_before_defaults_before_enumerations_before_types() {
        let schema = |members: Value| sample(members).unwrap();
        assert_eq!(
            schema(json!({"type": "string", "enum": ["c"], "default": "b", "example": "a"})),
            json!("a")
        );
        assert_eq!(
            schema(json!({"type": ["null", "string"], "examples": ["a", "b"], "default": "c"})),
            json!("a")
        );
        assert_eq!(schema(json!({"enum": [null, "c"], "default": null})), json!("c"));
        assert_eq!(schema(json!({"const": 7, "type": "integer"})), json!(7));
        assert_eq!(schema(json!({"type": ["null", "boolean"]})), json!(true));
    }

    #[test]
    fn numbers_and_texts_keep_their_bounds() {
        for (schema, expected) in [
            (json!({"type": "integer"}), json!(1)),
            (json!({"type": "integer", "minimum": 10}), json!(10)),
            (json!({"type": "integer", "minimum": 10, "exclusiveMinimum": true}), json!(11)),
            (json!({"type": "integer", "exclusiveMinimum": 10, "multipleOf": 5}), json!(15)),
            (json!({"type": "number", "maximum": 0.5, "multipleOf": 0.25}), json!(0.25)),
            (json!({"type": "integer", "maximum": -3}), json!(-3)),
            (json!({"minimum": 1e300}), json!(1e300)),
            (json!({"type": "string", "minLength": 6}), json!("textxx")),
            (json!({"type": "string", "maxLength": 2}), json!("te")),
            (json!({"type": "string", "format": "date"}), json!("2024-01-01")),
            (json!({"format": "uuid"}), json!("00000000-0000-4000-8000-000000000001")),
        ] {
            assert_eq!(sample(schema.clone()), Some(expected), "{schema}");
        }
    }

    #[test]
    fn an_object_has_its_properties_and_a_list_its_items() {
        let schema = json!({"required": ["any"], "properties": {
            "id": {"type": "integer", "readOnly": true}, "tags": {"type": "array", "minItems": 2, "items": {"type": "string"}},
            "any": {}, "left": {}, "when": {"oneOf": [{"type": "null"}, {"type": "string", "format": "date"}]}}});
        assert_eq!(
            sample(schema),
            Some(json!({"any": "text", "tags": ["text", "text"], "when": "2024-01-01"}))
        );
        assert_eq!(sample(json!({})), None);
        assert_eq!(sample(json!(true)), None);
    }

    #[test]
    fn parts_are_put_together() {
        let schema = json!({"allOf": [{"properties": {"a": {"type": "integer"}}}, {"$ref": "#/s/Pet"}],
            "properties": {"b": {"type": "boolean"}}});
        assert_eq!(sample(schema), Some(json!({"a": 1, "b": true, "name": "text", "young": []})));
        assert_eq!(
            sample(json!({"allOf": [{"type": "string", "format": "date"}]})),
            Some(json!("2024-01-01"))
        );
        let both = json!({"properties": {"a": {"type": "integer"}}, "anyOf": [{"properties": {"b": {"type": "integer"}}}]});
        assert_eq!(sample(both), Some(json!({"a": 1, "b": 1})));
    }

    #[test]
    fn circles_and_schemas_that_multiply_end() {
        assert_eq!(sample(json!({"$ref": "#/s/it"})), None);
        assert_eq!(sample(json!({"$ref": "#/s/Pet"})), Some(json!({"name": "text", "young": []})));
        let mut schemas = Map::new();
        for level in 0..20 {
            let next = json!({"$ref": format!("#/s/{}", level + 1)});
            let properties: Map<String, Value> =
                (0..20).map(|name| (name.to_string(), next.clone())).collect();
            schemas.insert(level.to_string(), json!({"properties": properties}));
        }
        let document = document(Value::Object(schemas));
        let mut sampler = Sampler::new(&document);
        let made = sampler.sample(&document.root["s"]["0"]).unwrap();
        assert_eq!(sampler.nodes_left, 0);
        assert!(made.to_string().len() < 100 * NODES);
        assert!(sampler.properties(&document.root["s"]["0"]).is_empty());
    }

    #[test]
    fn examples_are_copied_as_far_as_the_budget_goes() {
        let large = json!({"example": "x".repeat(BYTES / 3)});
        let document =
            document(json!({"it": {"properties": {"a": large, "b": large, "c": large, "d": large}}}));
        let made = Sampler::new(&document).sample(&document.root["s"]["it"]).unwrap();
        assert_eq!(made.as_object().unwrap().len(), 2);
    }
}
