//! Lays two recordings side by side: does the slim program answer as the fat one did?
//!
//! Status, content type and body must be the same. What already differs between two runs of the fat program (a clock,
//! a counter, a session) is no difference: such bodies are compared by status and type only.

use crate::recording::{Body, Exchange, Recording, Request, Response};
use std::fmt;

/// Characters of a text that a difference shows.
const SHOWN: usize = 60;

/// One answer that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub request: Request,
    pub aspect: Aspect,
}

/// What is different; the expected value first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Aspect {
    /// There was an answer, and now there is none: why.
    NoAnswer {
        status: u16,
        error: String,
    },
    /// The answer broke off.
    BrokeOff {
        error: String,
    },
    Status {
        expected: u16,
        found: u16,
    },
    ContentType {
        expected: Option<String>,
        found: Option<String>,
    },
    Body {
        expected: Body,
        found: Body,
    },
    /// The request was not made.
    NotAsked,
}

/// Every difference between what the fat program answered and what the slim one answers, in the recording's order.
/// `again` is a second run of the fat program; without one, every difference of bodies counts.
#[must_use]
pub fn compare(fat: &Recording, again: Option<&Recording>, slim: &Recording) -> Vec<Difference> {
    let partner = |recording: &'_ Recording, index: usize, request: &Request| -> Option<Exchange> {
        recording.exchanges.get(index).filter(|exchange| exchange.request == *request).cloned()
    };
    let mut differences = Vec::new();
    for (index, exchange) in fat.exchanges.iter().enumerate() {
        // What the fat program did not answer proves nothing.
        let Some(expected) = &exchange.response else { continue };
        let second = again
            .and_then(|again| partner(again, index, &exchange.request))
            .map(|exchange| exchange.response);
        let stable = match &second {
            None => Stable { answered: true, status: true, content_type: true, body: true },
            Some(second) => Stable::between(expected, second.as_ref()),
        };
        let aspect = match partner(slim, index, &exchange.request) {
            None => Some(Aspect::NotAsked),
            Some(found) => difference(exchange, expected, &found, stable),
        };
        differences.extend(aspect.map(|aspect| Difference { request: exchange.request.clone(), aspect }));
    }
    differences
}

/// What two runs of the fat program have in common.
#[derive(Clone, Copy, Debug)]
struct Stable {
    /// Both answered.
    answered: bool,
    status: bool,
    content_type: bool,
    body: bool,
}

impl Stable {
    fn between(first: &Response, second: Option<&Response>) -> Self {
        let Some(second) = second else {
            return Self { answered: false, status: false, content_type: false, body: false };
        };
        let status = first.status == second.status;
        let content_type = status && first.content_type == second.content_type;
        Self { answered: true, status, content_type, body: content_type && first.body == second.body }
    }
}

fn difference(fat: &Exchange, expected: &Response, slim: &Exchange, stable: Stable) -> Option<Aspect> {
    let Some(found) = &slim.response else {
        // Not answered by the second fat run either: nothing to hold against the slim one.
        let error = slim.error.clone().unwrap_or_default();
        return stable.answered.then_some(Aspect::NoAnswer { status: expected.status, error });
    };
    if stable.status && expected.status != found.status {
        return Some(Aspect::Status { expected: expected.status, found: found.status });
    }
    if stable.content_type && expected.content_type != found.content_type {
        let (expected, found) = (expected.content_type.clone(), found.content_type.clone());
        return Some(Aspect::ContentType { expected, found });
    }
    if let (None, Some(error)) = (&fat.error, &slim.error) {
        return Some(Aspect::BrokeOff { error: error.clone() });
    }
    let comparable = expected.body.complete || expected.body.length == found.body.length;
    if stable.body && comparable && expected.body.digest != found.body.digest {
        return Some(Aspect::Body { expected: expected.body.clone(), found: found.body.clone() });
    }
    None
}

/// `GET http://localhost:8000/: status 500 instead of 200`.
impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.request, self.aspect)
    }
}

impl fmt::Display for Aspect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |kind: &Option<String>| kind.clone().unwrap_or_else(|| "none".to_owned());
        match self {
            Self::NoAnswer { status, error } => {
                write!(formatter, "no answer instead of status {status} ({error})")
            }
            Self::BrokeOff { error } => write!(formatter, "the answer broke off ({error})"),
            Self::Status { expected, found } => write!(formatter, "status {found} instead of {expected}"),
            Self::ContentType { expected, found } => {
                write!(formatter, "content type {} instead of {}", named(found), named(expected))
            }
            Self::Body { expected, found } => write_bodies(formatter, expected, found),
            Self::NotAsked => formatter.write_str("the request was not made"),
        }
    }
}

/// Shows two texts from where they begin to differ, other bodies by length and digest.
fn write_bodies(formatter: &mut fmt::Formatter<'_>, expected: &Body, found: &Body) -> fmt::Result {
    let text = |body: &Body| if body.length == 0 { Some(String::new()) } else { body.text.clone() };
    if let (Some(expected), Some(found)) = (text(expected), text(found)) {
        let same = expected.chars().zip(found.chars()).take_while(|(left, right)| left == right).count();
        let from = same.saturating_sub(SHOWN / 3);
        let part = |text: &str| -> String { text.chars().skip(from).take(SHOWN).collect() };
        return write!(
            formatter,
            "body {:?} instead of {:?} (at character {same})",
            part(&found),
            part(&expected)
        );
    }
    let show = |body: &Body| format!("{} bytes {}", body.length, body.digest.short());
    write!(formatter, "body of {} instead of {}", show(found), show(expected))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::Protocol;
    use slim_image::Digest;

    fn exchange(path: &str, status: u16, content_type: &str, body: &str) -> Exchange {
        let body = Body {
            length: body.len() as u64,
            digest: Digest::of(body),
            complete: true,
            text: Some(body.to_owned()),
        };
        Exchange {
            request: Request::new(80, Protocol::Http, "GET", path),
            response: Some(Response {
                status,
                headers: Vec::new(),
                content_type: Some(content_type.to_owned()),
                body,
            }),
            error: None,
        }
    }

    fn one(status: u16, content_type: &str, body: &str) -> Recording {
        Recording::new(vec![exchange("/", status, content_type, body)])
    }

    fn told(fat: &Recording, again: Option<&Recording>, slim: &Recording) -> Vec<String> {
        compare(fat, again, slim).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn equal_answers_are_no_difference() {
        let fat = one(200, "text/plain", "hello");
        assert_eq!(told(&fat, Some(&fat), &fat), [""; 0]);
    }

    #[test]
    fn each_aspect_is_told_in_words() {
        let fat = one(200, "text/plain", "hello world");
        let cases = [
            (one(500, "text/html", "oh"), "GET http://localhost/: status 500 instead of 200"),
            (
                one(200, "text/html", "hello world"),
                "GET http://localhost/: content type text/html instead of text/plain",
            ),
            (
                one(200, "text/plain", "hello there"),
                r#"GET http://localhost/: body "hello there" instead of "hello world" (at character 6)"#,
            ),
            (Recording::new(Vec::new()), "GET http://localhost/: the request was not made"),
        ];
        for (slim, expected) in cases {
            assert_eq!(told(&fat, Some(&fat), &slim), [expected]);
        }
    }

    #[test]
    fn a_missing_answer_says_why() {
        let fat = one(200, "text/plain", "hello");
        let mut slim = fat.clone();
        slim.exchanges[0].response = None;
        slim.exchanges[0].error = Some("it closed the connection".to_owned());
        let expected = "GET http://localhost/: no answer instead of status 200 (it closed the connection)";
        assert_eq!(told(&fat, None, &slim), [expected]);
        assert_eq!(told(&fat, Some(&fat), &slim), [expected]);
    }

    #[test]
    fn an_answer_that_a_second_fat_run_does_not_give_is_not_demanded() {
        let fat = one(200, "text/plain", "hello");
        let mut silent = fat.clone();
        silent.exchanges[0].response = None;
        assert_eq!(told(&fat, Some(&silent), &silent), [""; 0]);
        assert_eq!(told(&fat, Some(&silent), &Recording::new(Vec::new())).len(), 1, "it must be asked");
    }

    #[test]
    fn a_body_that_differs_between_two_fat_runs_is_not_compared() {
        let (fat, again) = (one(200, "text/plain", "now: 1"), one(200, "text/plain", "now: 2"));
        assert_eq!(told(&fat, Some(&again), &one(200, "text/plain", "now: 3")), [""; 0]);
        assert_eq!(told(&fat, Some(&again), &one(404, "text/plain", "now: 3")).len(), 1);
        assert_eq!(told(&fat, Some(&again), &one(200, "text/html", "now: 3")).len(), 1);
        assert_eq!(told(&fat, None, &one(200, "text/plain", "now: 3")).len(), 1);
    }

    #[test]
    fn a_request_that_the_fat_program_did_not_answer_proves_nothing() {
        let mut fat = one(200, "text/plain", "hello");
        fat.exchanges[0].response = None;
        assert_eq!(told(&fat, None, &one(500, "text/html", "oh")), [""; 0]);
    }

    #[test]
    fn long_bodies_are_told_by_length_and_digest() {
        let (mut fat, mut slim) = (one(200, "image/png", "a"), one(200, "image/png", "bc"));
        for recording in [&mut fat, &mut slim] {
            recording.exchanges[0].response.as_mut().unwrap().body.text = None;
        }
        let told = told(&fat, None, &slim).remove(0);
        assert!(told.starts_with("GET http://localhost/: body of 2 bytes "), "{told}");
        assert!(told.contains(&Digest::of("a").short()), "{told}");
    }
}
