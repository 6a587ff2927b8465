//! What to ask a program: commands as `--http-probe-cmd` and `--http-probe-cmd-file` give them, in Mint's grammar.

use crate::recording::{Content, Header, Protocol, Request};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::{fs, io};
use url::Url;

const METHODS: &[&str] = &["HEAD", "GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"];

/// One request to make on a port, and whether to crawl from its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeCommand {
    /// `None`: whatever the port speaks, tried as http, then https.
    pub protocol: Option<Protocol>,
    /// Upper case.
    pub method: String,
    /// Path and query; percent-encoded when it is sent.
    pub path: String,
    /// Only on this port; `None`: on every port.
    pub port: Option<u16>,
    pub headers: Vec<Header>,
    pub body: Option<Content>,
    /// `None`: as [`crate::HttpSettings::crawl`] says.
    pub crawl: Option<bool>,
}

/// Why a command, or a file of them, cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error("understand the probe command {0:?}: the form is [[[crawl:]PROTOCOL:]METHOD:]PATH")]
    Form(String),
    #[error(
        "understand the probe command {command:?}: {method:?} is none of HEAD, GET, POST, PUT, DELETE, PATCH, OPTIONS"
    )]
    Method { command: String, method: String },
    #[error("understand the probe command {command:?}: {protocol:?} is none of http, https, http2, http2c")]
    Protocol { command: String, protocol: String },
    #[error("understand the probe command {command:?}: header {header:?} is not NAME: VALUE")]
    Header { command: String, header: String },
    #[error("understand the probe command {command:?}: {field} is not supported yet")]
    Unsupported { command: String, field: String },
    #[error("read the probe commands in {path}: {source}")]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("read {path}: {source}")]
    File { path: PathBuf, source: io::Error },
}

impl ProbeCommand {
    /// A request for a path, with everything else left open.
    #[must_use]
    pub fn get(path: &str) -> Self {
        Self {
            protocol: None,
            method: "GET".to_owned(),
            path: path.to_owned(),
            port: None,
            headers: Vec::new(),
            body: None,
            crawl: None,
        }
    }

    /// The request that this command makes on a port.
    #[must_use]
    pub fn request(&self, port: u16, protocol: Protocol) -> Request {
        Request {
            port,
            protocol: self.protocol.unwrap_or(protocol),
            method: self.method.clone(),
            path: encoded(&self.path),
            headers: self.headers.clone(),
            body: self.body.clone(),
        }
    }

    /// Reads a file of commands: `{"commands": [{"protocol", "method", "resource", "port", "headers", "body",
    /// "body_file", "username", "password", "crawl"}]}`. `body_file` is relative to the file's own folder.
    ///
    /// # Errors
    /// When the file or a body cannot be read, or a command is not understood.
    pub fn read_file(path: &Path) -> Result<Vec<Self>, CommandError> {
        let bytes = fs::read(path).map_err(|source| CommandError::File { path: path.to_owned(), source })?;
        let file: CommandFile = serde_json::from_slice(&bytes)
            .map_err(|source| CommandError::Json { path: path.to_owned(), source })?;
        let folder = path.parent().unwrap_or(Path::new("."));
        file.commands.into_iter().map(|entry| entry.command(folder)).collect()
    }
}

/// `[[[crawl:]PROTOCOL:]METHOD:]PATH`; the path begins with a slash, so colons in it are its own.
impl FromStr for ProbeCommand {
    type Err = CommandError;

    fn from_str(text: &str) -> Result<Self, CommandError> {
        let form = || CommandError::Form(text.to_owned());
        let (prefix, path) = match text.find('/') {
            Some(0) => ("", text),
            Some(slash) => (text[..slash].strip_suffix(':').ok_or_else(form)?, &text[slash..]),
            None => return Err(form()),
        };
        let mut command = Self::get(path);
        if prefix.is_empty() {
            return if text.starts_with('/') { Ok(command) } else { Err(form()) };
        }
        // Whatever else is left out, `crawl` may stand before the path.
        let prefix = match prefix.split_once(':') {
            Some(("crawl", rest)) => {
                command.crawl = Some(true);
                rest
            }
            None if prefix == "crawl" => {
                command.crawl = Some(true);
                return Ok(command);
            }
            _ => prefix,
        };
        let mut words = prefix.rsplit(':');
        command.method = method(words.next().unwrap_or_default(), text)?;
        if let Some(word) = words.next().filter(|word| !word.is_empty()) {
            command.protocol = Some(protocol(word, text)?);
        }
        if words.next().is_some_and(|word| !word.is_empty()) {
            return Err(form());
        }
        if words.next().is_some() { Err(form()) } else { Ok(command) }
    }
}

fn method(word: &str, command: &str) -> Result<String, CommandError> {
    let method = if word.is_empty() { "GET".to_owned() } else { word.to_ascii_uppercase() };
    if METHODS.contains(&method.as_str()) {
        Ok(method)
    } else {
        Err(CommandError::Method { command: command.to_owned(), method: word.to_owned() })
    }
}

fn protocol(word: &str, command: &str) -> Result<Protocol, CommandError> {
    match word.to_ascii_lowercase().as_str() {
        "http" => Ok(Protocol::Http),
        "https" => Ok(Protocol::Https),
        "http2" => Ok(Protocol::Http2),
        "http2c" => Ok(Protocol::Http2c),
        _ => Err(CommandError::Protocol { command: command.to_owned(), protocol: word.to_owned() }),
    }
}

/// Path and query, percent-encoded where they need it, without a fragment.
fn encoded(path: &str) -> String {
    let mut url = Url::parse("http://localhost/").expect("the address is well-formed");
    let path = path.split_once('#').map_or(path, |(path, _)| path);
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    url.set_path(path);
    url.set_query(query);
    url[url::Position::BeforePath..].to_owned()
}

/// Mint's file of commands.
#[derive(Deserialize)]
struct CommandFile {
    commands: Vec<CommandEntry>,
}

/// One of its entries. Fields that are not known yet are refused, since they would change the exercise.
#[derive(Deserialize)]
struct CommandEntry {
    #[serde(default)]
    protocol: String,
    #[serde(default)]
    method: String,
    #[serde(default = "root")]
    resource: String,
    #[serde(default)]
    port: u16,
    #[serde(default)]
    headers: Vec<String>,
    #[serde(default)]
    body: String,
    #[serde(default)]
    body_file: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    crawl: bool,
    #[serde(flatten)]
    others: std::collections::BTreeMap<String, serde_json::Value>,
}

fn root() -> String {
    "/".to_owned()
}

impl CommandEntry {
    fn command(self, folder: &Path) -> Result<ProbeCommand, CommandError> {
        let name = format!("{} {}", self.method, self.resource).trim_start().to_owned();
        let is_empty = |value: &serde_json::Value| {
            matches!(value, serde_json::Value::Null) || value == false || value == ""
        };
        if let Some((field, _)) = self.others.iter().find(|(_, value)| !is_empty(value)) {
            return Err(CommandError::Unsupported { command: name, field: field.clone() });
        }
        if !self.resource.starts_with('/') {
            return Err(CommandError::Form(self.resource));
        }
        let mut headers =
            self.headers.iter().map(|line| header(line, &name)).collect::<Result<Vec<_>, _>>()?;
        if !self.username.is_empty() {
            let credentials = BASE64_STANDARD.encode(format!("{}:{}", self.username, self.password));
            headers.push(Header { name: "authorization".to_owned(), value: format!("Basic {credentials}") });
        }
        let body = if !self.body_file.is_empty() {
            let path = folder.join(&self.body_file);
            Some(Content::of(fs::read(&path).map_err(|source| CommandError::File { path, source })?))
        } else {
            (!self.body.is_empty()).then_some(Content::Text(self.body))
        };
        Ok(ProbeCommand {
            protocol: if self.protocol.is_empty() { None } else { Some(protocol(&self.protocol, &name)?) },
            method: method(&self.method, &name)?,
            path: self.resource,
            port: (self.port != 0).then_some(self.port),
            headers,
            body,
            // Mint's files say only true; what they leave out is no request to crawl.
            crawl: Some(self.crawl),
        })
    }
}

fn header(line: &str, command: &str) -> Result<Header, CommandError> {
    let refused = || CommandError::Header { command: command.to_owned(), header: line.to_owned() };
    let (name, value) = line.split_once(':').ok_or_else(refused)?;
    let (name, value) = (name.trim().to_ascii_lowercase(), value.trim().to_owned());
    let valid = hyper::header::HeaderName::from_str(&name).is_ok()
        && hyper::header::HeaderValue::from_str(&value).is_ok();
    if valid { Ok(Header { name, value }) } else { Err(refused()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (Option<bool>, Option<Protocol>, String, String) {
        let command: ProbeCommand = text.parse().unwrap();
        (command.crawl, command.protocol, command.method, command.path)
    }

    fn refusal(text: &str) -> String {
        text.parse::<ProbeCommand>().unwrap_err().to_string()
    }

    #[test]
    fn each_part_before_the_path_may_be_left_out() {
        let full = (Some(true), Some(Protocol::Http2), "POST".to_owned(), "/a:b?c=http://d".to_owned());
        assert_eq!(parse("crawl:http2:POST:/a:b?c=http://d"), full);
        assert_eq!(parse("https:get:/"), (None, Some(Protocol::Https), "GET".to_owned(), "/".to_owned()));
        assert_eq!(parse("delete:/x"), (None, None, "DELETE".to_owned(), "/x".to_owned()));
        assert_eq!(parse("/x"), (None, None, "GET".to_owned(), "/x".to_owned()));
        let crawl = |path: &str| (Some(true), None, "GET".to_owned(), path.to_owned());
        assert_eq!(parse("crawl::GET:/"), crawl("/"));
        assert_eq!(parse("crawl:GET:/x"), crawl("/x"));
        assert_eq!(parse("crawl:/x"), crawl("/x"));
    }

    #[test]
    fn what_is_not_of_the_form_is_refused_and_quoted() {
        for text in ["", "index.html", ":/", "GET/", "a:crawl:http:GET:/", "walk:http:GET:/"] {
            assert!(refusal(text).contains(&format!("{text:?}")), "{text}: {}", refusal(text));
        }
        assert!(refusal("FETCH:/").contains("\"FETCH\" is none of HEAD, GET"));
        assert!(refusal("gopher:GET:/").contains("\"gopher\" is none of http, https"));
    }

    #[test]
    fn a_path_is_percent_encoded_when_it_is_sent() {
        let sent = |path| ProbeCommand::get(path).request(80, Protocol::Http).path;
        assert_eq!(sent("/a b/ü?q=x y#part"), "/a%20b/%C3%BC?q=x%20y");
        assert_eq!(sent("//double"), "//double");
        assert_eq!(sent("/%2e"), "/%2e".replace("%2e", ""));
    }

    #[test]
    fn a_file_gives_headers_bodies_credentials_and_ports() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("body.bin"), [0xff, 1]).unwrap();
        let file = folder.path().join("commands.json");
        fs::write(
            &file,
            r#"{"commands": [
                {"protocol": "http", "method": "POST", "resource": "/a", "port": 8080, "body": "x=1",
                 "headers": ["Content-Type: application/x-www-form-urlencoded"], "username": "me", "password": "pass"},
                {"resource": "/b", "crawl": true, "body_is_form": false},
                {"method": "PUT", "resource": "/c", "body_file": "body.bin"}]}"#,
        )
        .unwrap();
        let [first, second, third] = ProbeCommand::read_file(&file).unwrap().try_into().unwrap();
        let lines: Vec<String> =
            first.headers.iter().map(|line| format!("{}: {}", line.name, line.value)).collect();
        assert_eq!(
            lines,
            ["content-type: application/x-www-form-urlencoded", "authorization: Basic bWU6cGFzcw=="]
        );
        assert_eq!(
            (first.port, first.body, first.crawl),
            (Some(8080), Some(Content::Text("x=1".to_owned())), Some(false))
        );
        assert_eq!((second.method.as_str(), second.protocol, second.crawl), ("GET", None, Some(true)));
        assert_eq!(third.body, Some(Content::Base64(vec![0xff, 1])));
    }

    #[test]
    fn a_file_with_a_field_that_would_be_ignored_is_refused_by_the_fields_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("commands.json");
        for (entry, expected) in [
            (r#"{"resource": "/", "fastcgi": {"root": "/var/www"}}"#, "fastcgi"),
            (r#"{"resource": "/", "headers": ["no colon"]}"#, "no colon"),
            (r#"{"resource": "/", "body_file": "missing"}"#, "missing"),
            (r#"{"resource": 7}"#, "commands.json"),
        ] {
            fs::write(&file, format!(r#"{{"commands": [{entry}]}}"#)).unwrap();
            let error = ProbeCommand::read_file(&file).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
