//! What registries answer: errors, pages, addresses.

use crate::error::RegistryError;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, LINK, LOCATION};
use hyper::{Response, StatusCode};
use serde::Deserialize;
use url::Url;

/// Errors are short; what is longer is not read to its end.
const ERROR_LIMIT: usize = 64 << 10;

/// The sentence of an error answer: what the registry says, else its status.
pub(crate) fn reason(status: StatusCode, body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let said = serde_json::from_slice::<Errors>(body).map(|answer| {
        let sentence = |entry: Entry| match (entry.code, entry.message) {
            (code, message) if message.is_empty() => code,
            (code, message) if code.is_empty() => message,
            (code, message) => format!("{code}: {message}"),
        };
        answer.errors.into_iter().map(sentence).collect::<Vec<_>>().join("; ")
    });
    match said {
        Ok(said) if !said.is_empty() => format!("{} {said}", status.as_u16()),
        _ => status.to_string(),
    }
}

/// The error that an answer is; `what` is the thing that was asked for, where 404 means that it is not there.
pub(crate) async fn error(
    response: Response<Incoming>,
    registry: &str,
    action: &str,
    what: Option<&str>,
) -> RegistryError {
    let status = response.status();
    let body = Limited::new(response.into_body(), ERROR_LIMIT).collect().await;
    let reason = reason(status, &body.map(|body| body.to_bytes()).unwrap_or_default());
    let (registry, action) = (registry.to_owned(), action.to_owned());
    match (status, what) {
        (StatusCode::UNAUTHORIZED, _) => RegistryError::Unauthorized { action, registry, reason },
        (StatusCode::FORBIDDEN, _) => RegistryError::Denied { action, registry, reason },
        (StatusCode::NOT_FOUND, Some(what)) => {
            RegistryError::NotFound { what: what.to_owned(), registry, reason }
        }
        _ => RegistryError::Refused { action, registry, status: status.as_u16(), reason },
    }
}

/// Where an answer sends us, absolute.
pub(crate) fn location(headers: &HeaderMap, asked: &Url) -> Option<Url> {
    asked.join(headers.get(LOCATION)?.to_str().ok()?).ok()
}

/// The next page of a list (RFC 8288: `<address>; rel="next"`), absolute.
pub(crate) fn next_page(headers: &HeaderMap, asked: &Url) -> Option<Url> {
    headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok()).find_map(|value| {
        let (address, parameters) = value.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = parameters.split(';').any(|parameter| {
            let parameter: String =
                parameter.chars().filter(|character| !" \"".contains(*character)).collect();
            parameter.eq_ignore_ascii_case("rel=next")
        });
        is_next.then(|| asked.join(address).ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_registry_says_is_told_and_else_the_status() {
        let body = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no such tag","detail":{}}]}"#;
        assert_eq!(reason(StatusCode::NOT_FOUND, body), "404 MANIFEST_UNKNOWN: no such tag");
        assert_eq!(reason(StatusCode::BAD_GATEWAY, b"<html>"), "502 Bad Gateway");
        assert_eq!(reason(StatusCode::BAD_GATEWAY, br#"{"errors":[]}"#), "502 Bad Gateway");
    }

    #[test]
    fn the_next_page_is_found_relative_or_absolute() {
        let asked = Url::parse("http://h:5000/v2/a/tags/list?n=2").unwrap();
        let next = |value: &str| {
            let headers = HeaderMap::from_iter([(LINK, value.parse().unwrap())]);
            next_page(&headers, &asked).map(|url| url.to_string())
        };
        assert_eq!(
            next("</v2/a/tags/list?n=2&last=b>; rel=\"next\""),
            Some("http://h:5000/v2/a/tags/list?n=2&last=b".to_owned())
        );
        assert_eq!(next("<http://o/x>; title=a; rel=next"), Some("http://o/x".to_owned()));
        assert_eq!(next("</x>; rel=prev"), None);
        assert_eq!(next("nonsense"), None);
    }
}
