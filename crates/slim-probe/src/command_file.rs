//! Files of commands, as `--http-probe-cmd-file` takes them: JSON in Mint's format.

use crate::command::{CommandError, ProbeCommand, method, protocol};
use crate::generate::Generated;
use crate::recording::{Content, Header};
use crate::upload::{Names, Source};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use std::fs;
use std::path::Path;
use std::str::FromStr as _;

impl ProbeCommand {
    /// Reads a file of commands: `{"commands": [{"protocol", "method", "resource", "port", "headers", "body",
    /// "body_file", "body_generate", "body_is_form", "form_field_name", "form_file_name", "username", "password",
    /// "crawl"}]}`. `body_file` is relative to the file's own folder. With `body_is_form` the body is sent as the only
    /// file of a form.
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
    body_generate: String,
    #[serde(default)]
    body_is_form: bool,
    #[serde(default)]
    form_field_name: String,
    #[serde(default)]
    form_file_name: String,
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
        let mut command = ProbeCommand {
            protocol: if self.protocol.is_empty() { None } else { Some(protocol(&self.protocol, &name)?) },
            method: method(&self.method, &name)?,
            path: self.resource.clone(),
            port: (self.port != 0).then_some(self.port),
            headers: self.headers(&name)?,
            body: None,
            // Mint's files say only true; what they leave out is no request to crawl.
            crawl: Some(self.crawl),
        };
        if let Some((content_type, body)) = self.content(folder, &name)? {
            command.set_body(content_type, body);
        }
        Ok(command)
    }

    /// The headers, with the credentials as one of them.
    fn headers(&self, name: &str) -> Result<Vec<Header>, CommandError> {
        let mut headers =
            self.headers.iter().map(|line| header(line, name)).collect::<Result<Vec<_>, _>>()?;
        if !self.username.is_empty() || !self.password.is_empty() {
            let credentials = BASE64_STANDARD.encode(format!("{}:{}", self.username, self.password));
            headers.retain(|header| header.name != "authorization");
            headers.push(Header { name: "authorization".to_owned(), value: format!("Basic {credentials}") });
        }
        Ok(headers)
    }

    /// The body with its type.
    fn content(self, folder: &Path, name: &str) -> Result<Option<(Option<String>, Content)>, CommandError> {
        let source = match (!self.body_file.is_empty(), !self.body_generate.is_empty(), !self.body.is_empty())
        {
            (true, false, false) => Source::File(folder.join(&self.body_file)),
            (false, true, false) => {
                Source::Generated(Generated::named(&self.body_generate).ok_or_else(|| {
                    CommandError::Generate { command: name.to_owned(), name: self.body_generate.clone() }
                })?)
            }
            (false, false, true) => Source::Text(self.body),
            (false, false, false) => return Ok(None),
            _ => return Err(CommandError::Bodies { command: name.to_owned() }),
        };
        if self.body_is_form {
            let names = Names { field: &self.form_field_name, file: &self.form_file_name };
            source.in_form(names).map(Some)
        } else {
            source.plain().map(Some)
        }
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
            (r#"{"resource": "/", "body_generate": "generate.sound"}"#, "\"generate.sound\" is none of"),
            (r#"{"resource": "/", "body": "a", "body_generate": "generate.text"}"#, "more than one of body"),
        ] {
            fs::write(&file, format!(r#"{{"commands": [{entry}]}}"#)).unwrap();
            let error = ProbeCommand::read_file(&file).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn bodies_are_made_up_and_wrapped_in_forms_with_the_names_given() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("photo.png"), [0x89]).unwrap();
        let file = folder.path().join("commands.json");
        let entries = [
            r#"{"method": "POST", "resource": "/a", "body_generate": "generate.image.jpeg"}"#,
            r#"{"resource": "/b", "body_generate": "generate.text", "headers": ["Content-Type: text/x-own"]}"#,
            r#"{"resource": "/c", "body_file": "photo.png", "body_is_form": true, "form_field_name": "picture",
                "headers": ["Content-Type: multipart/form-data"]}"#,
            r#"{"resource": "/d", "body": "text", "body_is_form": true, "form_file_name": "own.name"}"#,
        ];
        fs::write(&file, format!(r#"{{"commands": [{}]}}"#, entries.join(","))).unwrap();
        let commands = ProbeCommand::read_file(&file).unwrap();
        let types: Vec<&str> =
            commands.iter().map(|command| command.headers[0].value.split(';').next().unwrap()).collect();
        assert_eq!(types, ["image/jpeg", "text/x-own", "multipart/form-data", "multipart/form-data"]);
        assert!(commands.iter().all(|command| command.headers.len() == 1));
        let body = |index: usize| {
            String::from_utf8_lossy(commands[index].body.as_ref().unwrap().as_bytes()).into_owned()
        };
        assert_eq!(commands[0].body, Some(Content::of(Generated::Jpeg.bytes().to_vec())));
        assert!(
            body(2).contains("name=\"picture\"; filename=\"photo.png\"\r\nContent-Type: image/png\r\n\r\n")
        );
        assert!(
            body(3)
                .contains("name=\"file\"; filename=\"own.name\"\r\nContent-Type: text/plain\r\n\r\ntext\r\n")
        );
    }
}
