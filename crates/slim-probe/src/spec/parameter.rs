//! Parameters of an operation: their values, and how they stand in a path, a query, headers or a form.

use super::document::{Document, Version};
use super::sample::{Sampler, kind, list};
use serde_json::Value;
use std::collections::BTreeMap;
use url::form_urlencoded::byte_serialize;

/// Where a parameter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Path,
    Query,
    Header,
    Cookie,
    /// Swagger 2: the body itself.
    Body,
    /// Swagger 2: a field of a form.
    Form,
}

/// A parameter of an operation.
#[derive(Clone, Copy)]
pub(super) struct Parameter<'a> {
    pub name: &'a str,
    pub place: Place,
    pub required: bool,
    pub description: &'a Value,
}

/// The parameters of an operation, those of its path included, by place and name. The operation's own win.
pub(super) fn parameters<'a>(
    document: &'a Document,
    item: &'a Value,
    operation: &'a Value,
) -> BTreeMap<(Place, &'a str), Parameter<'a>> {
    let described = list(item, "parameters").chain(list(operation, "parameters"));
    let read = |description: &'a Value| {
        let description = document.resolved(description)?;
        let name = description.get("name")?.as_str()?;
        let place = match description.get("in")?.as_str()? {
            "path" => Place::Path,
            "query" => Place::Query,
            "header" => Place::Header,
            "cookie" => Place::Cookie,
            "body" => Place::Body,
            "formData" => Place::Form,
            _ => return None,
        };
        let required = description.get("required") == Some(&Value::Bool(true));
        Some(((place, name), Parameter { name, place, required, description }))
    };
    described.filter_map(read).collect()
}

impl<'a> Parameter<'a> {
    /// Its value: an example of its own, else a sample of its schema, else something that its name suggests.
    pub fn value(&self, sampler: &mut Sampler<'a>) -> Value {
        let document = sampler.document;
        let own = example(document, self.description);
        let schema = self.schema(document);
        let made = own.and_then(|own| sampler.copy(own)).or_else(|| sampler.sample(schema));
        match made {
            Some(value) if !self.is_vague(schema, &value) => value,
            _ => named(self.name),
        }
    }

    /// A made-up text says less than the name does: an `id` is rather `1`.
    fn is_vague(&self, schema: &Value, value: &Value) -> bool {
        self.place == Place::Path && value == "text" && schema.get("format").is_none()
    }

    /// In OpenAPI 3 a member; in Swagger 2 the parameter itself.
    fn schema(&self, document: &'a Document) -> &'a Value {
        if document.version == Version::Swagger2 && self.place != Place::Body {
            return self.description;
        }
        let of_content = || self.description.get("content")?.as_object()?.values().next()?.get("schema");
        self.description.get("schema").or_else(of_content).unwrap_or(&Value::Null)
    }

    /// As it stands in a query or an urlencoded form: one pair or several.
    pub fn pairs(&self, document: &'a Document, value: &Value) -> Vec<(String, String)> {
        let single = |text: String| vec![(self.name.to_owned(), text)];
        if self.description.get("content").is_some() {
            return single(value.to_string());
        }
        let member = |name: &str| self.description.get(name).and_then(Value::as_str).unwrap_or_default();
        let is_repeated = match document.version {
            Version::Swagger2 => member("collectionFormat") == "multi",
            Version::OpenApi3 => self.description.get("explode") != Some(&Value::Bool(false)),
        };
        let separator = match (member("collectionFormat"), member("style")) {
            ("ssv", _) | (_, "spaceDelimited") => " ",
            ("tsv", _) => "\t",
            ("pipes", _) | (_, "pipeDelimited") => "|",
            _ => ",",
        };
        match value {
            Value::Array(values) if is_repeated => {
                values.iter().map(|value| (self.name.to_owned(), plain(value))).collect()
            }
            Value::Object(members) if member("style") == "deepObject" => {
                members.iter().map(|(name, value)| (format!("{}[{name}]", self.name), plain(value))).collect()
            }
            Value::Object(members) if is_repeated => {
                members.iter().map(|(name, value)| (name.clone(), plain(value))).collect()
            }
            value => single(joined(value, separator)),
        }
    }

    /// Whether a form sends it as a file.
    pub fn is_file(&self) -> bool {
        kind(self.description) == "file"
    }
}

/// `example`, or the first of `examples`, which OpenAPI 3 keeps by name.
pub(super) fn example<'a>(document: &'a Document, described: &'a Value) -> Option<&'a Value> {
    let named = || {
        let examples = described.get("examples")?.as_object()?;
        examples.values().find_map(|example| document.resolved(example)?.get("value"))
    };
    described.get("example").or_else(|| described.get("x-example")).or_else(named)
}

/// A value for a parameter of which only the name is known.
fn named(name: &str) -> Value {
    let name = name.to_ascii_lowercase();
    match name.as_str() {
        "page" | "limit" | "offset" | "size" | "count" | "version" => 1.into(),
        _ if name.ends_with("id") || name.ends_with("number") || name.ends_with("num") => 1.into(),
        _ if name.contains("email") => "user@example.com".into(),
        _ if name.contains("date") => "2024-01-01".into(),
        _ => "text".into(),
    }
}

/// A value as it stands in a field: a text without quotes, what has parts as JSON.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// A list or an object in one text, as paths and headers hold them.
pub(super) fn joined(value: &Value, separator: &str) -> String {
    match value {
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(separator),
        Value::Object(members) => {
            let parts: Vec<String> =
                members.iter().flat_map(|(name, value)| [name.clone(), plain(value)]).collect();
            parts.join(separator)
        }
        other => plain(other),
    }
}

/// Puts values for the names in braces. `value` gives one for each name; it is percent-encoded here.
pub(super) fn filled(template: &str, mut value: impl FnMut(&str) -> String) -> String {
    let mut path = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        path.push_str(before);
        let Some((name, after)) = after.split_once('}') else {
            rest = after;
            continue;
        };
        path.push_str(&encoded(&value(name)));
        rest = after;
    }
    path + rest
}

/// One segment of a path: slashes and percent signs in it are its own.
fn encoded(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}
