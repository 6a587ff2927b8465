//! What a registry asks for with 401: the `WWW-Authenticate` header (RFC 9110 §11.6.1).

use hyper::HeaderMap;
use hyper::header::WWW_AUTHENTICATE;
use std::collections::BTreeMap;

/// How a registry wants to be convinced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    /// A token of the service at `realm`.
    Bearer {
        realm: String,
        service: Option<String>,
    },
}

impl Challenge {
    /// The best challenge of an answer: a token before a password; `None` where there is none that is known.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut basic = None;
        for value in headers.get_all(WWW_AUTHENTICATE) {
            for (scheme, mut parameters) in value.to_str().map(parse).unwrap_or_default() {
                if scheme.eq_ignore_ascii_case("bearer")
                    && let Some(realm) = parameters.remove("realm")
                {
                    return Some(Self::Bearer { realm, service: parameters.remove("service") });
                }
                if scheme.eq_ignore_ascii_case("basic") {
                    basic = Some(Self::Basic);
                }
            }
        }
        basic
    }
}

/// The challenges of one header: a scheme, and its parameters by lower-case name.
fn parse(mut text: &str) -> Vec<(String, BTreeMap<String, String>)> {
    let mut challenges: Vec<(String, BTreeMap<String, String>)> = Vec::new();
    loop {
        text = text.trim_start_matches([' ', '\t', ',']);
        let end = text.find([' ', '\t', ',', '=']).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        if word.is_empty() {
            return challenges;
        }
        let after = rest.trim_start_matches([' ', '\t']);
        match (after.strip_prefix('='), challenges.last_mut()) {
            (Some(value), Some((_, parameters))) => {
                let (value, rest) = parameter_value(value.trim_start_matches([' ', '\t']));
                parameters.insert(word.to_ascii_lowercase(), value);
                text = rest;
            }
            _ => {
                challenges.push((word.to_owned(), BTreeMap::new()));
                text = after.trim_start_matches('=');
            }
        }
    }
}

/// A token or a quoted string, and what follows it.
fn parameter_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            _ => value.push(character),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_header_is_too_odd_to_be_read(text in "[ -~]{0,80}") {
            parse(&text);
        }

        #[test]
        fn a_quoted_value_is_read_as_it_was_meant(realm in "[ -~]{1,40}", service in "[ -~]{0,40}") {
            let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
            let text = format!("Basic, Bearer realm=\"{}\", service=\"{}\"", quoted(&realm), quoted(&service));
            prop_assert_eq!(challenge(&[&text]), bearer(&realm, Some(&service)));
        }
    }

    fn challenge(values: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        Challenge::of(&headers)
    }

    fn bearer(realm: &str, service: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer { realm: realm.into(), service: service.map(Into::into) })
    }

    #[test]
    fn a_token_service_is_read_with_commas_in_quotes() {
        let text =
            r#"Bearer realm="https://h/token",service="reg, \"istry\"",scope="repository:a:pull,push""#;
        assert_eq!(challenge(&[text]), bearer("https://h/token", Some("reg, \"istry\"")));
        assert_eq!(challenge(&["bearer Realm=https://h/token"]), bearer("https://h/token", None));
    }

    #[test]
    fn a_token_goes_before_a_password_in_one_header_or_two() {
        assert_eq!(challenge(&[r#"Basic realm="x", Bearer realm="https://h""#]), bearer("https://h", None));
        assert_eq!(
            challenge(&[r#"Basic realm="x""#, r#"Bearer realm="https://h""#]),
            bearer("https://h", None)
        );
        assert_eq!(challenge(&[r#"Basic realm="x""#]), Some(Challenge::Basic));
    }

    #[test]
    fn what_is_not_known_is_none() {
        assert_eq!(challenge(&["Negotiate abc==", "Digest realm=\"x\", nonce=\"y\""]), None);
        assert_eq!(challenge(&[]), None);
        assert_eq!(challenge(&["Bearer service=\"no realm\""]), None);
        assert_eq!(challenge(&["Bearer realm=\"never closed"]), bearer("never closed", None));
    }
}
