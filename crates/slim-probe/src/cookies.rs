//! Cookies of one probe or one replay, so that a login in a list of commands holds for what comes after it.
//!
//! Invariant: cookies are taken only from answers to requests that change something, which are made alone. So it never
//! depends on timing which request carries which cookie, and a replay carries them where the probe did. They are not
//! part of the recorded request: a replay has its own, from its own answers.

use crate::recording::{Header, Request, Response};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Cookies of one port.
const COOKIES: usize = 50;
/// Bytes of a name and its value.
const BYTES: usize = 4096;

/// The cookies by port and name. Path and domain do not matter: there is one program.
#[derive(Debug, Default)]
pub(crate) struct Cookies(Mutex<BTreeMap<u16, BTreeMap<String, String>>>);

impl Cookies {
    /// The request as it is sent: with the port's cookies, unless it names its own.
    pub fn added_to(&self, request: &Request) -> Request {
        let mut sent = request.clone();
        let jars = self.jars();
        let cookies = jars.get(&request.port).filter(|cookies| !cookies.is_empty());
        if let Some(cookies) = cookies
            && !request.headers.iter().any(|header| header.name == "cookie")
        {
            let pairs: Vec<String> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            sent.headers.push(Header { name: "cookie".to_owned(), value: pairs.join("; ") });
        }
        sent
    }

    /// Takes the cookies that the answer to this request sets.
    pub fn take(&self, request: &Request, response: &Response) {
        if request.is_safe() {
            return;
        }
        let mut jars = self.jars();
        let cookies = jars.entry(request.port).or_default();
        for header in response.headers.iter().filter(|header| header.name == "set-cookie") {
            let Some((name, value, is_over)) = parsed(&header.value) else { continue };
            if is_over {
                cookies.remove(name);
            } else if cookies.len() < COOKIES || cookies.contains_key(name) {
                cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    /// What a panic elsewhere left behind is as good as before: each cookie is put in at once.
    fn jars(&self) -> MutexGuard<'_, BTreeMap<u16, BTreeMap<String, String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Name and value, and whether the cookie is taken back: servers do so with an age of zero or a date in the far past.
fn parsed(line: &str) -> Option<(&str, &str, bool)> {
    let mut parts = line.split(';');
    let (name, value) = parts.next()?.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    let is_sendable = |text: &str| text.bytes().all(|byte| (b' '..0x7f).contains(&byte));
    if name.is_empty() || name.len() + value.len() > BYTES || !is_sendable(name) || !is_sendable(value) {
        return None;
    }
    let is_over = |part: &str| match part.split_once('=') {
        Some((attribute, age)) if attribute.trim().eq_ignore_ascii_case("max-age") => {
            age.trim().parse::<i64>().is_ok_and(|age| age <= 0)
        }
        Some((attribute, date)) if attribute.trim().eq_ignore_ascii_case("expires") => {
            date.contains("1970") || date.contains("-70 ")
        }
        _ => false,
    };
    Some((name, value, parts.any(is_over)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::{Body, Protocol};
    use slim_image::Digest;

    fn sent(cookies: &Cookies, port: u16) -> Option<String> {
        let request = cookies.added_to(&Request::new(port, Protocol::Http, "GET", "/"));
        request.headers.into_iter().map(|header| header.value).next()
    }

    fn take(cookies: &Cookies, method: &str, lines: &[&str]) {
        let header = |line: &&str| Header { name: "set-cookie".to_owned(), value: (*line).to_owned() };
        let body = Body { length: 0, digest: Digest::of(""), complete: true, text: None };
        let headers = lines.iter().map(header).collect();
        let response = Response { status: 200, headers, content_type: None, body };
        cookies.take(&Request::new(80, Protocol::Http, method, "/"), &response);
    }

    #[test]
    fn cookies_are_kept_by_port_and_name_and_taken_back() {
        let cookies = Cookies::default();
        take(&cookies, "POST", &["b=1; Path=/x; HttpOnly", "a = 2=3 ;Max-Age=60", "none", "=x", "c=é"]);
        assert_eq!(sent(&cookies, 80).as_deref(), Some("a=2=3; b=1"));
        assert_eq!(sent(&cookies, 81), None);
        take(&cookies, "POST", &["a=; Max-Age=0", "b=4"]);
        assert_eq!(sent(&cookies, 80).as_deref(), Some("b=4"));
        take(&cookies, "DELETE", &["b=; expires=Thu, 01 Jan 1970 00:00:00 GMT"]);
        assert_eq!(sent(&cookies, 80), None);
    }

    #[test]
    fn answers_to_requests_that_change_nothing_set_no_cookies() {
        let cookies = Cookies::default();
        take(&cookies, "GET", &["a=1"]);
        assert_eq!(sent(&cookies, 80), None);
    }

    #[test]
    fn a_request_that_names_its_own_cookies_gets_no_others() {
        let cookies = Cookies::default();
        take(&cookies, "POST", &["a=1"]);
        let mut request = Request::new(80, Protocol::Http, "GET", "/");
        request.headers.push(Header { name: "cookie".to_owned(), value: "own=1".to_owned() });
        assert_eq!(cookies.added_to(&request), request);
    }

    #[test]
    fn a_server_cannot_fill_the_memory_with_cookies() {
        let cookies = Cookies::default();
        let lines: Vec<String> = (0..100).map(|name| format!("{name}=x")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        take(&cookies, "POST", &lines);
        take(&cookies, "POST", &[&format!("long={}", "x".repeat(BYTES))]);
        assert_eq!(sent(&cookies, 80).unwrap().split("; ").count(), COOKIES);
    }
}
