//! Bytes from strangers: whatever a server sends, a probe ends, and says what it saw.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::{Reply, Server, probe, quick};
use proptest::prelude::*;
use slim_probe::{HttpSettings, ProbeCommand, Recording};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

/// What the one server answers next: starting a server for each case would be most of the test.
static ANSWER: LazyLock<Arc<Mutex<Vec<u8>>>> = LazyLock::new(Arc::default);
static SERVER: LazyLock<Server> =
    LazyLock::new(|| Server::raw_answers(|| Reply::Raw(ANSWER.lock().unwrap().clone())));

fn probe_answer(answer: Vec<u8>) -> slim_probe::Outcome {
    *ANSWER.lock().unwrap() = answer;
    let short = Duration::from_millis(300);
    let limits = slim_probe::CrawlLimits { pages: 4, ..Default::default() };
    let settings = HttpSettings {
        retry_count: 0,
        first_answer_timeout: short,
        ready_timeout: short,
        client_timeout: short,
        client_timeout_crawl: short,
        crawl_limits: limits,
        ..quick()
    };
    probe(&settings, &SERVER.target())
}

fn marked_up() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "<a href=",
        "<link rel=x href='",
        "<img srcset=\"",
        "<style>",
        "</style>",
        "url(",
        "@import '",
        "/*",
        "*/",
        ")",
        "'",
        "\"",
        ">",
        "<form action=",
        "<input name=a value=",
        "<select name=s>",
        "<option>",
        "<base href=",
        "/x",
        "?a=b",
        "http://",
        "//[",
        "é",
        "\0",
        "\\",
        ", ",
        " 2x",
        "<meta http-equiv=refresh content=\"0;url=",
        "<svg><use href=#a>",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_for_an_answer_give_an_outcome_that_survives_the_file(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let outcome = probe_answer(bytes);
        prop_assert_eq!(Recording::from_json(&outcome.recording.to_json()).unwrap(), outcome.recording);
    }

    #[test]
    fn any_page_is_crawled_to_an_end(page in marked_up(), css in any::<bool>()) {
        let kind = if css { "text/css" } else { "text/html" };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", page.len());
        let outcome = probe_answer([head.as_bytes(), page.as_bytes()].concat());
        prop_assert!((1..=4).contains(&outcome.requests), "{outcome:?}");
        prop_assert_eq!(outcome.failures, 0, "{:?}", outcome.recording);
    }

    #[test]
    fn any_command_is_understood_or_refused(text in "(crawl|http|https|GET|post|:|/|x|é| |\\?|#){0,8}") {
        if let Ok(command) = text.parse::<ProbeCommand>() {
            let request = command.request(80, slim_probe::Protocol::Http);
            prop_assert!(request.path.starts_with('/') && request.path.is_ascii());
        }
    }
}
