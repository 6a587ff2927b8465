//! Commands that were run inside the container, with what they said. Running them is the engine's work; here they are
//! written down and compared.

use crate::recording::{Body, INLINE_BYTES};
use serde::{Deserialize, Serialize};
use slim_image::Digest;
use std::fmt;

/// A command with its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecExchange {
    pub argv: Vec<String>,
    pub exit_code: i64,
    pub stdout: Body,
    pub stderr: Body,
}

/// What a command does now that it did not do before; the expected value first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecDifference {
    ExitCode {
        argv: Vec<String>,
        expected: i64,
        found: i64,
    },
    Stdout {
        argv: Vec<String>,
        expected: Body,
        found: Body,
    },
    /// The command was not run.
    NotRun {
        argv: Vec<String>,
    },
}

impl ExecExchange {
    #[must_use]
    pub fn new(argv: Vec<String>, exit_code: i64, stdout: &[u8], stderr: &[u8]) -> Self {
        Self { argv, exit_code, stdout: Body::whole(stdout), stderr: Body::whole(stderr) }
    }
}

impl Body {
    /// A body that is known as a whole.
    #[must_use]
    pub fn whole(bytes: &[u8]) -> Self {
        let text = (bytes.len() <= INLINE_BYTES && !bytes.is_empty())
            .then(|| std::str::from_utf8(bytes).ok().map(str::to_owned))
            .flatten();
        Self { length: bytes.len() as u64, digest: Digest::of(bytes), complete: true, text }
    }
}

/// Every difference in exit code and standard output, in order. What differs between two runs in the fat container
/// (`again`) is no difference. Standard error is written down but not compared: it is for people.
#[must_use]
pub fn compare_exec(
    fat: &[ExecExchange],
    again: Option<&[ExecExchange]>,
    slim: &[ExecExchange],
) -> Vec<ExecDifference> {
    let mut differences = Vec::new();
    for (index, expected) in fat.iter().enumerate() {
        let argv = expected.argv.clone();
        let Some(found) = slim.get(index).filter(|found| found.argv == argv) else {
            differences.push(ExecDifference::NotRun { argv });
            continue;
        };
        let second = again.and_then(|again| again.get(index)).filter(|second| second.argv == argv);
        let stable_code = second.is_none_or(|second| second.exit_code == expected.exit_code);
        let stable_stdout = second.is_none_or(|second| second.stdout == expected.stdout);
        if stable_code && found.exit_code != expected.exit_code {
            let (expected, found) = (expected.exit_code, found.exit_code);
            differences.push(ExecDifference::ExitCode { argv, expected, found });
        } else if stable_stdout && found.stdout.digest != expected.stdout.digest {
            let (expected, found) = (expected.stdout.clone(), found.stdout.clone());
            differences.push(ExecDifference::Stdout { argv, expected, found });
        }
    }
    differences
}

impl fmt::Display for ExecDifference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ExitCode { argv, expected, found } => {
                write!(formatter, "`{}`: exit code {found} instead of {expected}", argv.join(" "))
            }
            Self::Stdout { argv, expected, found } => {
                let (expected, found) = (expected.clone(), found.clone());
                write!(formatter, "`{}`: output: {}", argv.join(" "), crate::Aspect::Body { expected, found })
            }
            Self::NotRun { argv } => write!(formatter, "`{}`: it was not run", argv.join(" ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(exit_code: i64, stdout: &str) -> Vec<ExecExchange> {
        vec![ExecExchange::new(
            vec!["app".to_owned(), "-v".to_owned()],
            exit_code,
            stdout.as_bytes(),
            b"noise",
        )]
    }

    fn told(fat: &[ExecExchange], again: Option<&[ExecExchange]>, slim: &[ExecExchange]) -> Vec<String> {
        compare_exec(fat, again, slim).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn exit_code_and_output_are_compared_and_told() {
        let fat = ran(0, "1.2");
        assert_eq!(told(&fat, None, &ran(0, "1.2")), [""; 0]);
        assert_eq!(told(&fat, None, &ran(127, "")), ["`app -v`: exit code 127 instead of 0"]);
        let expected = r#"`app -v`: output: body "1.3" instead of "1.2" (at character 2)"#;
        assert_eq!(told(&fat, None, &ran(0, "1.3")), [expected]);
        assert_eq!(told(&fat, None, &[]), ["`app -v`: it was not run"]);
    }

    #[test]
    fn output_that_changes_from_run_to_run_is_not_compared() {
        assert_eq!(told(&ran(0, "a"), Some(&ran(0, "b")), &ran(0, "c")), [""; 0]);
        assert_eq!(told(&ran(0, "a"), Some(&ran(1, "a")), &ran(2, "a")), [""; 0]);
    }

    #[test]
    fn noise_on_standard_error_is_no_difference() {
        let mut slim = ran(0, "a");
        slim[0].stderr = Body::whole(b"other noise");
        assert_eq!(told(&ran(0, "a"), None, &slim), [""; 0]);
    }
}
