//! Uploads: `--http-probe-cmd-upload` in Mint's grammar, and the bodies of a file's commands.

use crate::command::{CommandError, ProbeCommand, protocol};
use crate::form::{self, Part};
use crate::generate::{Generated, media_type_of};
use crate::recording::{Content, Header};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// The largest body that is sent: it stands in the recording, so that it can be sent again.
pub(crate) const BODY_BYTES: u64 = 16 << 20;
/// The form's field where none is named; Mint's choice.
const FIELD_NAME: &str = "file";
/// The file's name in the form where none is named and the bytes come from no file; Mint's choice.
const FILE_NAME: &str = "file.data";

/// Where the bytes of a body come from.
pub(crate) enum Source {
    Text(String),
    File(PathBuf),
    Generated(Generated),
}

/// How the form names them; empty: not said.
#[derive(Clone, Copy)]
pub(crate) struct Names<'a> {
    pub field: &'a str,
    pub file: &'a str,
}

impl Source {
    fn bytes(&self) -> Result<Vec<u8>, CommandError> {
        match self {
            Self::Text(text) => Ok(text.clone().into_bytes()),
            Self::File(path) => read_bounded(path),
            Self::Generated(generated) => Ok(generated.bytes().to_vec()),
        }
    }

    fn file_name(&self) -> String {
        let name = match self {
            Self::Text(_) => None,
            Self::File(path) => path.file_name().map(|name| name.to_string_lossy().into_owned()),
            Self::Generated(generated) => Some(generated.file_name().to_owned()),
        };
        name.unwrap_or_else(|| FILE_NAME.to_owned())
    }

    /// The bytes as they are, with their media type where it is known.
    pub fn plain(self) -> Result<(Option<String>, Content), CommandError> {
        let media_type = match &self {
            Self::Generated(generated) => Some(generated.media_type().to_owned()),
            Self::Text(_) | Self::File(_) => None,
        };
        Ok((media_type, Content::of(self.bytes()?)))
    }

    /// A form with the bytes as its only file, as a browser sends it.
    pub fn in_form(self, names: Names<'_>) -> Result<(Option<String>, Content), CommandError> {
        let or = |name: &str, default: String| if name.is_empty() { default } else { name.to_owned() };
        let (field, file) = (or(names.field, FIELD_NAME.to_owned()), or(names.file, self.file_name()));
        let media_type = match &self {
            Self::Text(_) if media_type_of(&file) == "application/octet-stream" => "text/plain",
            Self::Generated(generated) => generated.media_type(),
            Self::Text(_) | Self::File(_) => media_type_of(&file),
        };
        let (content_type, body) = form::multipart(&[Part::file(&field, &file, media_type, self.bytes()?)]);
        Ok((Some(content_type), Content::of(body)))
    }
}

impl ProbeCommand {
    /// Reads `[[[[PROTO:]FORM_FILE_NAME:]FORM_FIELD_NAME:]FILE_OR_GENERATE_TYPE:]PATH` and the file that it names
    /// (relative to the working directory). The file is sent with POST as a form's only field; without one, a text is
    /// made up. The path begins after the last colon that a single slash follows.
    ///
    /// # Errors
    /// When it is not of this form; when the file cannot be read or has more than 16 MiB.
    pub fn upload(text: &str) -> Result<Self, CommandError> {
        let refused = || CommandError::Upload(text.to_owned());
        let (prefix, path) = match path_start(text) {
            Some(0) => ("", text),
            Some(start) => (&text[..start - 1], &text[start..]),
            None => return Err(refused()),
        };
        let mut words = prefix.rsplit(':');
        let mut word = || words.next().unwrap_or_default();
        let (source, field, file, scheme) = (word(), word(), word(), word());
        if words.next().is_some() {
            return Err(refused());
        }
        let source = match Generated::named(source) {
            Some(generated) => Source::Generated(generated),
            None if source.is_empty() => Source::Generated(Generated::Text),
            None if source.starts_with("generate.") && !Path::new(source).exists() => {
                return Err(CommandError::Generate { command: text.to_owned(), name: source.to_owned() });
            }
            None => Source::File(PathBuf::from(source)),
        };
        let (content_type, body) = source.in_form(Names { field, file })?;
        let mut command = Self::get(path);
        command.method = "POST".to_owned();
        command.protocol = if scheme.is_empty() { None } else { Some(protocol(scheme, text)?) };
        command.set_body(content_type, body);
        Ok(command)
    }

    /// Gives the command a body, and its type: a form's always, any other only where the headers name none.
    pub(crate) fn set_body(&mut self, content_type: Option<String>, body: Content) {
        self.body = Some(body);
        let Some(value) = content_type else { return };
        if value.starts_with("multipart/") {
            self.headers.retain(|header| header.name != "content-type");
        }
        if !self.headers.iter().any(|header| header.name == "content-type") {
            self.headers.push(Header { name: "content-type".to_owned(), value });
        }
    }
}

/// Where the request's path begins.
fn path_start(text: &str) -> Option<usize> {
    let is_single = |at: &usize| !text[at + 1..].starts_with('/');
    let after_colon = text.match_indices(":/").map(|(at, _)| at + 1).filter(is_single).last();
    after_colon.or_else(|| text.starts_with('/').then_some(0))
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, CommandError> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(BODY_BYTES + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|source| CommandError::File { path: path.to_owned(), source })?;
    if bytes.len() as u64 > BODY_BYTES {
        return Err(CommandError::TooLarge(path.to_owned()));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::Protocol;

    fn body(command: &ProbeCommand) -> String {
        String::from_utf8_lossy(command.body.as_ref().unwrap().as_bytes()).into_owned()
    }

    /// The two lines of the form's only part that say what it is.
    fn part(text: &str) -> String {
        let body = body(&ProbeCommand::upload(text).unwrap());
        body.lines()
            .skip(1)
            .take(2)
            .collect::<Vec<_>>()
            .join(" | ")
            .replace("Content-Disposition: form-data; ", "")
    }

    #[test]
    fn each_part_before_the_path_may_be_left_out() {
        let full = ProbeCommand::upload("https:photo.gif:picture:generate.image.gif:/up?a=http://b").unwrap();
        assert_eq!(
            (full.protocol, full.method.as_str(), full.path.as_str(), full.crawl),
            (Some(Protocol::Https), "POST", "/up?a=http://b", None)
        );
        assert_eq!(
            part("https:photo.gif:picture:generate.image.gif:/up?a=http://b"),
            "name=\"picture\"; filename=\"photo.gif\" | Content-Type: image/gif"
        );
        for (text, expected) in [
            ("x.bin:pic:generate.image:/up", "name=\"pic\"; filename=\"x.bin\" | Content-Type: image/png"),
            ("pic:generate.image.jpeg:/up", "name=\"pic\"; filename=\"file.jpg\" | Content-Type: image/jpeg"),
            (
                "generate.text.json:/up",
                "name=\"file\"; filename=\"file.json\" | Content-Type: application/json",
            ),
            ("/up", "name=\"file\"; filename=\"file.txt\" | Content-Type: text/plain"),
            (":::generate.text:/up", "name=\"file\"; filename=\"file.txt\" | Content-Type: text/plain"),
        ] {
            assert_eq!(part(text), expected, "{text}");
        }
    }

    #[test]
    fn a_file_is_sent_under_its_own_name_and_its_path_may_hold_slashes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("table.csv");
        std::fs::write(&file, "a,b\n").unwrap();
        let command = ProbeCommand::upload(&format!("{}:/import:now", file.display())).unwrap();
        assert_eq!(command.path, "/import:now");
        assert!(
            body(&command).contains("filename=\"table.csv\"\r\nContent-Type: text/csv\r\n\r\na,b\n\r\n--")
        );
        let types: Vec<&str> = command.headers.iter().map(|header| header.value.as_str()).collect();
        assert!(types[0].starts_with("multipart/form-data; boundary=docker-slim-") && types.len() == 1);
    }

    #[test]
    fn what_is_not_of_the_form_or_cannot_be_read_is_refused_and_quoted() {
        let refusal = |text: &str| ProbeCommand::upload(text).unwrap_err().to_string();
        for text in ["", "upload", "a:http:n:f:generate.text:/up"] {
            assert!(refusal(text).contains(&format!("{text:?}")), "{}", refusal(text));
        }
        assert!(refusal("gopher:n:f:generate.text:/up").contains("\"gopher\" is none of http"));
        assert!(refusal("generate.video:/up").contains("\"generate.video\" is none of generate.text,"));
        assert!(refusal("/missing/file:/up").contains("/missing/file"));
    }

    #[test]
    fn a_file_too_large_for_the_recording_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("large");
        File::create(&file).unwrap().set_len(BODY_BYTES + 1).unwrap();
        let error = ProbeCommand::upload(&format!("{}:/up", file.display())).unwrap_err().to_string();
        assert!(error.contains("large") && error.contains("16 MiB"), "{error}");
        File::options().write(true).open(&file).unwrap().set_len(BODY_BYTES).unwrap();
        assert!(ProbeCommand::upload(&format!("{}:/up", file.display())).is_ok());
    }
}
