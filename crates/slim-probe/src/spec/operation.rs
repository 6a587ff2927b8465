//! The operations of a specification, in the order in which they are tried, each as a command.

use super::body::{self, Payload};
use super::document::{Document, Version};
use super::parameter::{Parameter, Place, filled, joined, parameters};
use super::sample::{Sampler, list, members};
use crate::command::ProbeCommand;
use crate::form;
use crate::recording::Header;
use hyper::header::{HeaderName, HeaderValue};
use serde_json::Value;
use std::collections::BTreeMap;
use std::str::FromStr as _;
use url::Url;

/// Commands of one specification.
const COMMANDS: usize = 1000;
/// Bytes of all their bodies.
const BODY_BYTES: usize = 16 << 20;
/// Bytes of a path with its query, and of a header's value; servers take no more.
const LINE_BYTES: usize = 4096;
/// Headers that are the client's own, or tell it how to write the message.
const CLIENTS_OWN: &[&str] = &[
    "accept",
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The methods, in the order in which their operations are tried: those that read, that make and change, that delete.
const METHODS: &[(&str, u8)] =
    &[("get", 0), ("head", 0), ("options", 0), ("post", 1), ("put", 1), ("patch", 1), ("delete", 2)];

#[derive(Clone, Copy)]
struct Operation<'a> {
    method: &'static str,
    template: &'a str,
    item: &'a Value,
    described: &'a Value,
}

/// The commands for every operation. `at` is where the specification is served; a prefix stands in for its base path.
pub(super) fn commands(document: &Document, at: &str, prefix: Option<&str>) -> Vec<ProbeCommand> {
    let mut bytes_left = BODY_BYTES;
    let mut commands = Vec::new();
    for operation in operations(document) {
        let base = prefix.map_or_else(|| base_path(document, &operation, at), str::to_owned);
        let Some(command) = operation.command(document, &base) else { continue };
        let bytes = command.body.as_ref().map_or(0, |body| body.as_bytes().len());
        let Some(left) = bytes_left.checked_sub(bytes) else { break };
        bytes_left = left;
        commands.push(command);
    }
    commands
}

fn operations(document: &Document) -> Vec<Operation<'_>> {
    let mut found = BTreeMap::new();
    let paths = document.root.get("paths").and_then(Value::as_object);
    for (template, item) in paths.into_iter().flatten() {
        let Some(item) = document.resolved(item) else { continue };
        for (position, (method, group)) in METHODS.iter().enumerate() {
            let Some(described) = item.get(*method).filter(|described| described.is_object()) else {
                continue;
            };
            let operation = Operation { method, template, item, described };
            found.insert((*group, template.as_str(), position), operation);
        }
    }
    found.into_values().take(COMMANDS).collect()
}

/// The path that the first server, or `basePath`, puts before every other; without a slash at its end.
fn base_path(document: &Document, operation: &Operation<'_>, at: &str) -> String {
    let named = match document.version {
        Version::Swagger2 => document.root.get("basePath").and_then(Value::as_str).unwrap_or("/").to_owned(),
        Version::OpenApi3 => {
            let holders = [operation.described, operation.item, &document.root];
            let server = holders.into_iter().find_map(|holder| list(holder, "servers").next());
            server.map_or("/".to_owned(), server_url)
        }
    };
    let spec = Url::parse("http://localhost/").and_then(|origin| origin.join(at));
    let path = spec.and_then(|spec| spec.join(&named)).map(|url| url.path().to_owned());
    // What a scheme of its own leads to is no path.
    path.ok().filter(|path| path.starts_with('/')).unwrap_or_default().trim_end_matches('/').to_owned()
}

/// A server's address with its variables filled in.
fn server_url(server: &Value) -> String {
    let mut url = server.get("url").and_then(Value::as_str).unwrap_or("/").to_owned();
    for (name, variable) in members(server, "variables") {
        let value = variable.get("default").or_else(|| list(variable, "enum").next());
        let value = value.and_then(Value::as_str).unwrap_or_default();
        if url.len() + value.len() < LINE_BYTES {
            url = url.replacen(&format!("{{{name}}}"), value, 1);
        }
    }
    url
}

impl<'a> Operation<'a> {
    /// `None` where the operation cannot be asked for: its path would be too long.
    fn command(&self, document: &'a Document, base: &str) -> Option<ProbeCommand> {
        let mut sampler = Sampler::new(document);
        let parameters = parameters(document, self.item, self.described);
        let mut path = self.path(&mut sampler, &parameters, base);
        let mut query = Vec::new();
        for parameter in wanted(&parameters, Place::Query) {
            let value = parameter.value(&mut sampler);
            query.extend(parameter.pairs(document, &value));
        }
        if !query.is_empty() {
            path.push(if path.contains('?') { '&' } else { '?' });
            path += &form::urlencoded(query.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        }
        if path.len() > LINE_BYTES {
            return None;
        }
        let mut command = ProbeCommand::get(&path);
        command.method = self.method.to_ascii_uppercase();
        command.crawl = Some(false);
        command.headers = headers(&mut sampler, &parameters);
        if let Some(Payload { content_type, content }) = self.body(&mut sampler, &parameters) {
            command.set_body(header_value(&content_type).then_some(content_type), content);
        }
        Some(command)
    }

    fn path(
        &self,
        sampler: &mut Sampler<'a>,
        parameters: &BTreeMap<(Place, &'a str), Parameter<'a>>,
        base: &str,
    ) -> String {
        let filled = filled(self.template, |name| {
            let unknown = Parameter { name, place: Place::Path, required: true, description: &Value::Null };
            let value = match parameters.get(&(Place::Path, name)) {
                Some(parameter) => parameter.value(sampler),
                None => unknown.value(&mut Sampler::new(sampler.document)),
            };
            let text = joined(&value, ",");
            if text.is_empty() { "1".to_owned() } else { text }
        });
        let slash = if filled.starts_with('/') { "" } else { "/" };
        format!("{base}{slash}{filled}").replace('#', "%23")
    }

    /// A body that may be left out is sent only where the method usually has one.
    fn body(
        &self,
        sampler: &mut Sampler<'a>,
        parameters: &BTreeMap<(Place, &'a str), Parameter<'a>>,
    ) -> Option<Payload> {
        let usual = matches!(self.method, "post" | "put" | "patch");
        match sampler.document.version {
            Version::OpenApi3 => {
                let described = sampler.document.resolved(self.described.get("requestBody")?)?;
                let required = described.get("required") == Some(&Value::Bool(true));
                if usual || required { body::of_request(sampler, described) } else { None }
            }
            Version::Swagger2 => {
                let required = parameters.values().any(|parameter| {
                    parameter.required && matches!(parameter.place, Place::Body | Place::Form)
                });
                let holder = if self.described.get("consumes").is_some() {
                    self.described
                } else {
                    &sampler.document.root
                };
                let consumes: Vec<&str> = list(holder, "consumes").filter_map(Value::as_str).collect();
                if usual || required { body::of_parameters(sampler, parameters, &consumes) } else { None }
            }
        }
    }
}

/// The required parameters that stand in this place.
fn wanted<'s, 'a>(
    parameters: &'s BTreeMap<(Place, &'a str), Parameter<'a>>,
    place: Place,
) -> impl Iterator<Item = &'s Parameter<'a>> {
    parameters.values().filter(move |parameter| parameter.place == place && parameter.required)
}

/// The required headers and cookies. What cannot stand in a header is left out.
fn headers<'a>(
    sampler: &mut Sampler<'a>,
    parameters: &BTreeMap<(Place, &'a str), Parameter<'a>>,
) -> Vec<Header> {
    let mut headers = Vec::new();
    for parameter in wanted(parameters, Place::Header) {
        let name = parameter.name.to_ascii_lowercase();
        let value = joined(&parameter.value(sampler), ",");
        let is_ours = CLIENTS_OWN.contains(&name.as_str());
        if !is_ours && HeaderName::from_str(&name).is_ok() && header_value(&value) {
            headers.push(Header { name, value });
        }
    }
    let mut cookies = Vec::new();
    for parameter in wanted(parameters, Place::Cookie) {
        cookies.push(format!("{}={}", parameter.name, joined(&parameter.value(sampler), ",")));
    }
    let cookies = cookies.join("; ");
    if !cookies.is_empty() && header_value(&cookies) {
        headers.push(Header { name: "cookie".to_owned(), value: cookies });
    }
    headers
}

fn header_value(text: &str) -> bool {
    text.len() <= LINE_BYTES && HeaderValue::from_str(text).is_ok()
}
