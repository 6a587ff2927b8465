//! Whether the HTTP probe's outcome is good enough to go on.

use crate::settings::HttpJudgement;
use slim_probe::Outcome;

/// What is made of a probe's outcome.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Good,
    /// Good enough, but a person should know.
    Tell(String),
    Failed {
        what: String,
        hint: &'static str,
    },
}

/// Judges an outcome. `required`: HTTP was asked for by name.
#[must_use]
pub fn judge(outcome: &Outcome, required: bool, judgement: HttpJudgement) -> Verdict {
    let HttpJudgement { fail_on_nothing, most_failures } = judgement;
    if !outcome.speaks_http() && !required {
        return Verdict::Tell(
            "nothing in the container speaks HTTP: observed is its start (exercise it with --exec, or hold it \
             with --continue-after signal)"
                .to_owned(),
        );
    }
    if let Some((what, hint)) = nothing_good(outcome) {
        return if fail_on_nothing { Verdict::Failed { what, hint } } else { Verdict::Tell(what) };
    }
    match most_failures {
        Some(most) if outcome.failures > most => Verdict::Failed {
            what: format!("{} of {} requests failed", outcome.failures, outcome.requests),
            hint: "--http-probe-exit-on-failure-count sets how many are too many",
        },
        _ => Verdict::Good,
    }
}

/// Why nothing was answered well, with a hint.
fn nothing_good(outcome: &Outcome) -> Option<(String, &'static str)> {
    if !outcome.speaks_http() {
        return Some((
            format!("nothing answered HTTP on {}", outcome.ports_tried()),
            "without --http-probe a program that speaks no HTTP is just started; --exec runs a command in it",
        ));
    }
    if outcome.answers_below_500 == 0 {
        return Some((
            format!("all {} requests were answered with a server error (5xx)", outcome.requests),
            "the program may need settings or a service: --env, --mount, --network",
        ));
    }
    (outcome.failures == outcome.requests).then(|| {
        (
            format!("all {} requests failed", outcome.requests),
            "--http-probe-fail-on-status-4xx counts answers 400 to 499 as failures; --http-probe-cmd names other requests",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use slim_probe::{Body, Exchange, PortOutcome, PortState, Protocol, Recording, Request, Response};

    /// An outcome with answers of these statuses; `failures` as the probe counted them.
    fn outcome(statuses: &[u16], failures: usize) -> Outcome {
        let request = || Request {
            port: 80,
            protocol: Protocol::Http,
            method: "GET".to_owned(),
            path: "/".to_owned(),
            headers: Vec::new(),
            body: None,
        };
        let exchange = |status: &u16| Exchange {
            request: request(),
            response: Some(Response {
                status: *status,
                headers: Vec::new(),
                content_type: None,
                body: Body::whole(b""),
            }),
            error: None,
        };
        Outcome {
            recording: Recording::new(statuses.iter().map(exchange).collect()),
            requests: statuses.len(),
            failures,
            answers_below_500: statuses.iter().filter(|status| **status < 500).count(),
            ports: vec![PortOutcome { port: 80, state: PortState::NotListening }],
            fallback: None,
        }
    }

    fn is_failed(outcome: &Outcome, required: bool, judgement: HttpJudgement) -> bool {
        matches!(judge(outcome, required, judgement), Verdict::Failed { .. })
    }

    #[test]
    fn a_program_without_http_fails_only_where_http_was_asked_for() {
        let nothing = outcome(&[], 0);
        assert!(is_failed(&nothing, true, HttpJudgement::default()));
        assert!(matches!(judge(&nothing, false, HttpJudgement::default()), Verdict::Tell(_)));
    }

    #[test]
    fn with_exit_on_failure_off_nothing_good_is_only_told() {
        let lenient = HttpJudgement { fail_on_nothing: false, ..HttpJudgement::default() };
        for outcome in [outcome(&[], 0), outcome(&[500, 503], 0), outcome(&[404], 1)] {
            assert!(is_failed(&outcome, true, HttpJudgement::default()));
            assert!(matches!(judge(&outcome, true, lenient), Verdict::Tell(_)));
        }
    }

    #[test]
    fn as_many_failures_as_the_count_says_are_too_many() {
        let three = HttpJudgement { most_failures: Some(2), ..HttpJudgement::default() };
        assert!(!is_failed(&outcome(&[200, 404, 404], 2), true, three));
        assert!(is_failed(&outcome(&[200, 404, 404, 404], 3), true, three));
        assert_eq!(judge(&outcome(&[200, 404], 1), true, HttpJudgement::default()), Verdict::Good);
    }
}
