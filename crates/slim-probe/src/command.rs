//! What to ask a program: commands as `--http-probe-cmd` gives them, in Mint's grammar. Files of commands and uploads
//! have modules of their own.

use crate::generate::Generated;
use crate::recording::{Content, Header, Protocol, Request};
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
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
    #[error(
        "understand the probe command {command:?}: {protocol:?} is none of http, https, http2, http2c, ws, wss"
    )]
    Protocol { command: String, protocol: String },
    #[error("understand the probe command {command:?}: header {header:?} is not NAME: VALUE")]
    Header { command: String, header: String },
    #[error(
        "understand the upload {0:?}: the form is \
         [[[[PROTOCOL:]FORM_FILE_NAME:]FORM_FIELD_NAME:]FILE_OR_GENERATE_TYPE:]PATH"
    )]
    Upload(String),
    #[error("understand the probe command {command:?}: {name:?} is none of {}", Generated::NAMES)]
    Generate { command: String, name: String },
    #[error(
        "understand the probe command {command:?}: more than one of body, body_file and body_generate is given"
    )]
    Bodies { command: String },
    #[error("read {0}: a body of more than 16 MiB does not fit in the recording")]
    TooLarge(PathBuf),
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

pub(crate) fn method(word: &str, command: &str) -> Result<String, CommandError> {
    let method = if word.is_empty() { "GET".to_owned() } else { word.to_ascii_uppercase() };
    if METHODS.contains(&method.as_str()) {
        Ok(method)
    } else {
        Err(CommandError::Method { command: command.to_owned(), method: word.to_owned() })
    }
}

pub(crate) fn protocol(word: &str, command: &str) -> Result<Protocol, CommandError> {
    match word.to_ascii_lowercase().as_str() {
        "http" => Ok(Protocol::Http),
        "https" => Ok(Protocol::Https),
        "http2" => Ok(Protocol::Http2),
        "http2c" => Ok(Protocol::Http2c),
        "ws" => Ok(Protocol::Ws),
        "wss" => Ok(Protocol::Wss),
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
}
