//! Bodies of forms: `multipart/form-data` (RFC 7578) and `application/x-www-form-urlencoded`.
//!
//! Invariant: equal parts give equal bytes, the boundary included, so that a recording is the same every time.

use sha2::{Digest as _, Sha256};
use slim_image::Digest;
use std::fmt::Write as _;

/// One field of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub name: String,
    /// `None`: a plain value.
    pub file: Option<FilePart>,
    pub bytes: Vec<u8>,
}

/// What makes a field a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FilePart {
    pub name: String,
    pub media_type: String,
}

impl Part {
    pub fn value(name: &str, value: &str) -> Self {
        Self { name: name.to_owned(), file: None, bytes: value.as_bytes().to_vec() }
    }

    pub fn file(name: &str, file_name: &str, media_type: &str, bytes: Vec<u8>) -> Self {
        let file = FilePart { name: file_name.to_owned(), media_type: media_type.to_owned() };
        Self { name: name.to_owned(), file: Some(file), bytes }
    }
}

/// The value of `content-type` and the body.
pub(crate) fn multipart(parts: &[Part]) -> (String, Vec<u8>) {
    let boundary = boundary(parts);
    let mut body = Vec::new();
    for part in parts {
        let mut head =
            format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"", quoted(&part.name));
        if let Some(file) = &part.file {
            let media_type: String = file.media_type.chars().filter(|letter| !letter.is_control()).collect();
            write!(head, "; filename=\"{}\"\r\nContent-Type: {media_type}", quoted(&file.name))
                .expect("a string takes what is written");
        }
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(b"\r\n\r\n");
        body.extend_from_slice(&part.bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={boundary}"), body)
}

/// The body of a form of plain values.
pub(crate) fn urlencoded<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// A line that no part holds: taken from the parts' own digest, so that it cannot be written into them beforehand
/// other than by chance.
fn boundary(parts: &[Part]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.bytes.len().to_le_bytes());
        hash.update(&part.bytes);
    }
    let digest = Digest::from_bytes(hash.finalize().into()).to_string();
    let digits: String = digest.chars().rev().take(24).collect();
    format!("docker-slim-{digits}")
}

/// As browsers escape names (WHATWG HTML, multipart form data).
fn quoted(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_multipart_body_is_what_browsers_send_and_the_same_every_time() {
        let parts = [Part::value("a", "1"), Part::file("up\"load", "x\n.png", "image/png", vec![0, 0xff])];
        let (content_type, body) = multipart(&parts);
        let boundary = content_type.strip_prefix("multipart/form-data; boundary=").unwrap();
        assert!(
            boundary.len() <= 70 && boundary.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        );
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--{boundary}\r\nContent-Disposition: \
             form-data; name=\"up%22load\"; filename=\"x%0A.png\"\r\nContent-Type: image/png\r\n\r\n"
        );
        let tail = format!("\r\n--{boundary}--\r\n");
        assert_eq!(body, [head.as_bytes(), &[0, 0xff], tail.as_bytes()].concat());
        assert_eq!(multipart(&parts), (content_type.clone(), body));
        assert_ne!(multipart(&[Part::value("a", "2")]).0, content_type);
    }

    #[test]
    fn a_urlencoded_body_escapes_what_it_must() {
        assert_eq!(urlencoded([("a b", "c&d"), ("é", "")]), "a+b=c%26d&%C3%A9=");
    }
}
