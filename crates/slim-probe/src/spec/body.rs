//! Bodies of an operation's request: JSON, forms, texts and files, made from examples and schemas.

use super::document::Document;
use super::parameter::{Parameter, Place, example, plain};
use super::sample::{Sampler, kind, list, members};
use crate::form::{self, Part};
use crate::generate::{Generated, media_type_of};
use crate::recording::Content;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A body with its media type.
pub(super) struct Payload {
    pub content_type: String,
    pub content: Content,
}

/// How a media type is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Json,
    UrlEncoded,
    Multipart,
    Text,
    /// `*/*`: JSON is as good as any.
    Any,
    Bytes,
    Xml,
}

impl Kind {
    fn of(media_type: &str) -> Self {
        let bare = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match bare.as_str() {
            "application/x-www-form-urlencoded" => Self::UrlEncoded,
            "*/*" | "application/*" => Self::Any,
            bare if bare.ends_with("json") => Self::Json,
            bare if bare.starts_with("multipart/") => Self::Multipart,
            bare if bare.ends_with("xml") => Self::Xml,
            bare if bare.starts_with("text/") => Self::Text,
            _ => Self::Bytes,
        }
    }
}

/// A field of a form.
struct Field {
    name: String,
    value: Value,
    /// Media type, where it is a file.
    file: Option<String>,
}

/// The body that OpenAPI 3 describes under `requestBody`, in the simplest of its media types. `None` where none can be
/// made: XML has to be given as an example.
pub(super) fn of_request<'a>(sampler: &mut Sampler<'a>, described: &'a Value) -> Option<Payload> {
    let described = sampler.document.resolved(described)?;
    let mut media: Vec<(Kind, &str, &Value)> =
        members(described, "content").map(|(name, media)| (Kind::of(name), name, media)).collect();
    media.sort_by_key(|(kind, name, _)| (*kind, *name));
    media.into_iter().find_map(|(kind, name, media)| of_media(sampler, kind, name, media))
}

fn of_media<'a>(sampler: &mut Sampler<'a>, kind: Kind, name: &str, media: &'a Value) -> Option<Payload> {
    let schema = media.get("schema").unwrap_or(&Value::Null);
    let given = example(sampler.document, media).and_then(|given| sampler.copy(given));
    match kind {
        Kind::Json | Kind::Any => {
            let value = given.or_else(|| sampler.sample(schema));
            let name = if kind == Kind::Any { "application/json" } else { name };
            Some(json(name, value))
        }
        Kind::UrlEncoded | Kind::Multipart => {
            let fields = fields(sampler, schema, media.get("encoding").unwrap_or(&Value::Null), given);
            Some(form(kind, fields))
        }
        Kind::Text | Kind::Xml => {
            let text = given.or_else(|| sampler.sample(schema)).filter(Value::is_string);
            let text = if kind == Kind::Text { text.or(Some("text".into())) } else { text }?;
            let content_type = if name == "text/*" { "text/plain" } else { name };
            Some(Payload { content_type: content_type.to_owned(), content: Content::Text(plain(&text)) })
        }
        Kind::Bytes => {
            let generated = made_up(name);
            let content_type = if name.contains('*') { generated.media_type() } else { name };
            let content = Content::of(generated.bytes().to_vec());
            Some(Payload { content_type: content_type.to_owned(), content })
        }
    }
}

/// The body that Swagger 2 describes among the parameters. `consumes` are the media types that it may have.
pub(super) fn of_parameters<'a>(
    sampler: &mut Sampler<'a>,
    parameters: &BTreeMap<(Place, &'a str), Parameter<'a>>,
    consumes: &[&str],
) -> Option<Payload> {
    if let Some(body) = parameters.values().find(|parameter| parameter.place == Place::Body) {
        let described = body.description;
        let given = example(sampler.document, described).and_then(|given| sampler.copy(given));
        let value = given.or_else(|| sampler.sample(described.get("schema").unwrap_or(&Value::Null)));
        let is_json = |name: &&&str| matches!(Kind::of(name), Kind::Json | Kind::Any);
        let name = consumes.iter().find(is_json).filter(|name| !name.contains('*'));
        return Some(json(name.unwrap_or(&"application/json"), value));
    }
    let mut fields = Vec::new();
    for parameter in parameters.values().filter(|parameter| parameter.place == Place::Form) {
        if parameter.is_file() {
            let file = Some(Generated::Text.media_type().to_owned());
            fields.push(Field { name: parameter.name.to_owned(), value: Value::Null, file });
            continue;
        }
        let value = parameter.value(sampler);
        for (name, text) in parameter.pairs(sampler.document, &value) {
            fields.push(Field { name, value: text.into(), file: None });
        }
    }
    if fields.is_empty() {
        return None;
    }
    let is = |wanted: Kind| consumes.iter().any(|name| Kind::of(name) == wanted);
    let has_file = fields.iter().any(|field| field.file.is_some());
    let is_multipart = has_file || (is(Kind::Multipart) && !is(Kind::UrlEncoded));
    Some(form(if is_multipart { Kind::Multipart } else { Kind::UrlEncoded }, fields))
}

/// A body of which nothing is known is an empty object.
fn json(media_type: &str, value: Option<Value>) -> Payload {
    let value = value.unwrap_or_else(|| Value::Object(Map::new()));
    Payload { content_type: media_type.to_owned(), content: Content::Text(value.to_string()) }
}

/// A form's fields: the example's where there is one, otherwise every property that is not only answered.
fn fields<'a>(
    sampler: &mut Sampler<'a>,
    schema: &'a Value,
    encoding: &'a Value,
    given: Option<Value>,
) -> Vec<Field> {
    let whole = given.or_else(|| sampler.sample(schema));
    let Some(Value::Object(mut values)) = whole else { return Vec::new() };
    let properties = sampler.properties(schema);
    let mut fields = Vec::new();
    for (name, property) in properties {
        let Some(value) = values.remove(name) else { continue };
        let encoding = encoding.get(name).and_then(|encoding| encoding.get("contentType"));
        let file = file_type(sampler.document, property, encoding.and_then(Value::as_str));
        fields.push(Field { name: name.to_owned(), value, file });
    }
    fields.extend(values.into_iter().map(|(name, value)| Field { name, value, file: None }));
    fields
}

/// The media type of a property that is a file, or a list of files.
fn file_type(document: &Document, property: &Value, encoding: Option<&str>) -> Option<String> {
    let property = document.resolved(property)?;
    let item = match (kind(property), property.get("items")) {
        ("array", Some(items)) => document.resolved(items)?,
        _ => property,
    };
    let alternatives =
        || list(item, "anyOf").chain(list(item, "oneOf")).filter_map(|schema| document.resolved(schema));
    let member = |schema: &Value, name: &str| schema.get(name).and_then(Value::as_str).map(str::to_owned);
    let is_binary =
        |schema: &Value| kind(schema) == "file" || member(schema, "format").as_deref() == Some("binary");
    let is_file = is_binary(item) || alternatives().any(is_binary) || item.get("contentMediaType").is_some();
    let is_pictured = encoding.is_some_and(|media_type| media_type.starts_with("image/"));
    (is_file || is_pictured).then(|| {
        let named = encoding.map(|names| names.split(',').next().unwrap_or_default().trim().to_owned());
        named.or_else(|| member(item, "contentMediaType")).unwrap_or_else(|| "text/plain".to_owned())
    })
}

fn form(kind: Kind, fields: Vec<Field>) -> Payload {
    if kind == Kind::UrlEncoded {
        let pairs: Vec<(String, String)> = fields.iter().flat_map(pairs).collect();
        let body = form::urlencoded(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let content_type = "application/x-www-form-urlencoded".to_owned();
        return Payload { content_type, content: Content::Text(body) };
    }
    let mut parts = Vec::new();
    for field in &fields {
        if let Some(media_type) = &field.file {
            let generated = made_up(media_type);
            let media_type = if media_type.contains('*') { generated.media_type() } else { media_type };
            let bytes = generated.bytes().to_vec();
            parts.push(Part::file(&field.name, generated.file_name(), media_type, bytes));
        } else {
            parts.extend(pairs(field).into_iter().map(|(name, value)| Part::value(&name, &value)));
        }
    }
    let (content_type, body) = form::multipart(&parts);
    Payload { content_type, content: Content::of(body) }
}

/// A list is the same field several times.
fn pairs(field: &Field) -> Vec<(String, String)> {
    match &field.value {
        Value::Array(values) => values.iter().map(|value| (field.name.clone(), plain(value))).collect(),
        value => vec![(field.name.clone(), plain(value))],
    }
}

/// What stands in for a file of this media type.
fn made_up(media_type: &str) -> Generated {
    let all = [Generated::Png, Generated::Jpeg, Generated::Gif, Generated::Json];
    let fits = |generated: &Generated| media_type_of(generated.file_name()) == media_type;
    let picture = media_type.starts_with("image/").then_some(Generated::Png);
    all.into_iter().find(fits).or(picture).unwrap_or(Generated::Text)
}
