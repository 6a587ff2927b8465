//! What a run of the program did, and how two runs differ.
//!
//! Invariant: only what two runs of the fat image have in common counts. Without a second run everything counts.

use crate::complaints::Complaints;
use crate::host::Tested;
use slim_policy::Peaks;
use slim_probe::{ExecDifference, ExecExchange, Recording, compare, compare_exec};
use slim_sensor::processes::{Acting, Credentials};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Lines of output that a difference shows.
const LINES_SHOWN: usize = 5;

/// What one run of the program did, from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Behaviour {
    /// The answers to the recording's requests; `None` where none were made.
    pub answers: Option<Recording>,
    /// The commands that were run inside, in order.
    pub commands: Vec<ExecExchange>,
    /// Exit code of the HEALTHCHECK's command; `None` where there is none, or it took too long.
    pub health: Option<i64>,
    /// TCP ports that it listened on when the exercise was over.
    pub listens: BTreeSet<u16>,
    /// Whom its processes acted as when the exercise was over, and what they might.
    pub acts_as: BTreeSet<Credentials>,
    /// What became of the user's own tests (`--verify-cmd`), in order.
    pub tests: Vec<Tested>,
    pub ending: Ending,
    /// How it lived when its container was started a second time; `None` where it was not.
    pub second: Option<Life>,
    /// How another container lived with a read-only root; `None` where there was none.
    pub read_only: Option<Life>,
    /// What its log tells of things that it was refused.
    pub complaints: Complaints,
    /// The most processes and memory that its container had.
    pub peaks: Peaks,
    /// Its last log lines, for a person.
    pub log: String,
}

/// Whom the processes acted as that were there at both of two moments: those that live on, not a passing helper.
#[must_use]
pub fn acts_as(before: &Acting, after: &Acting) -> BTreeSet<Credentials> {
    before.intersection(after).map(|(_, credentials)| credentials.clone()).collect()
}

/// What a start that is looked at no further came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Life {
    /// It runs; `silent`: a TCP port that it should listen on and does not.
    Up { silent: Option<u16> },
    /// It has ended.
    Ended { exit_code: i64 },
    /// It was never started: why.
    NotStarted { reason: String },
}

impl Behaviour {
    /// Whether the program ended when it should have: by itself, or when it was told to.
    #[must_use]
    pub fn ended_as_planned(&self, by_itself: bool) -> bool {
        match self.ending {
            Ending::ByItself { .. } => by_itself,
            Ending::Stopped { .. } => !by_itself,
            _ => false,
        }
    }

    /// Whether the second start of its container went as the first.
    #[must_use]
    pub fn survives_second_start(&self) -> bool {
        self.second.as_ref().is_some_and(|second| second.is_as(self))
    }
}

impl Life {
    /// Whether a start went as this whole run of the same program: it is up, or ended with the same exit code.
    #[must_use]
    pub fn is_as(&self, run: &Behaviour) -> bool {
        match (self, &run.ending) {
            (Self::Ended { exit_code }, Ending::ByItself { exit_code: expected, .. }) => {
                exit_code == expected
            }
            (Self::Up { silent: None }, Ending::Stopped { .. } | Ending::Killed) => true,
            _ => false,
        }
    }
}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// It did its work, or died during the exercise.
    ByItself { exit_code: i64, output: Vec<u8> },
    /// It was stopped, and ended with this exit code.
    Stopped { exit_code: i64 },
    /// It was to be killed, since it ends on no signal.
    #[default]
    Killed,
    /// It should have ended by itself, but ran on.
    RunsOn,
    /// It was never started: why.
    NotStarted { reason: String },
}

/// Something that the slim program does otherwise than the fat one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    NotStarted {
        reason: String,
    },
    /// It ended when the fat one went on.
    Died {
        exit_code: i64,
    },
    /// It went on when the fat one ended.
    RunsOn,
    ExitCode {
        expected: i64,
        found: i64,
    },
    /// Lines of its output; without those that differ from run to run.
    Output {
        missing: Vec<String>,
        unexpected: Vec<String>,
    },
    Silent {
        port: u16,
    },
    /// Its processes act as others: as whom, and as whom they should.
    ActsAs {
        missing: BTreeSet<Credentials>,
        unexpected: BTreeSet<Credentials>,
    },
    Answer(slim_probe::Difference),
    Command(ExecDifference),
    Health {
        expected: i64,
        found: Option<i64>,
    },
    /// A test of the user's failed.
    Test(Tested),
    /// The second start of its container went otherwise.
    SecondStart(LifeDifference),
    /// A start with a read-only root went otherwise.
    ReadOnly(LifeDifference),
}

/// How a start went otherwise than that of the fat image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LifeDifference {
    NotStarted {
        reason: String,
    },
    /// It ended; `expected`: with this exit code, `None`: not at all.
    Ended {
        expected: Option<i64>,
        found: i64,
    },
    RunsOn,
    Silent {
        port: u16,
    },
}

impl Difference {
    /// Whether it showed in the start with a read-only root only.
    #[must_use]
    pub fn is_of_read_only(&self) -> bool {
        matches!(self, Self::ReadOnly(_))
    }
}

/// Every difference between a run of the fat image and one of the slim image. `again` is a second run of the fat one.
#[must_use]
pub fn differences(fat: &Behaviour, again: Option<&Behaviour>, slim: &Behaviour) -> Vec<Difference> {
    let mut differences = ending(fat, again, slim);
    let is_over = matches!(slim.ending, Ending::NotStarted { .. });
    if is_over {
        return differences;
    }
    let has_died = differences.iter().any(|difference| matches!(difference, Difference::Died { .. }));
    if !has_died {
        differences.extend(silent(fat, again, slim));
        differences.extend(other_actors(fat, again, slim));
    }
    // Of one that does not come up, or ends otherwise, later starts say the same once more.
    let is_well = differences.is_empty();
    // Of a program that died, what it did before still counts; what it was not asked any more does not.
    match (&fat.answers, &slim.answers) {
        (Some(expected), Some(found)) => {
            let second = again.and_then(|again| again.answers.as_ref());
            differences.extend(compare(expected, second, found).into_iter().map(Difference::Answer));
        }
        (Some(expected), None) if !has_died => {
            let found = Recording::new(Vec::new());
            differences.extend(compare(expected, None, &found).into_iter().map(Difference::Answer));
        }
        _ => {}
    }
    let commands = compare_exec(&fat.commands, again.map(|again| again.commands.as_slice()), &slim.commands);
    let counts =
        |difference: &ExecDifference| !(has_died && matches!(difference, ExecDifference::NotRun { .. }));
    differences.extend(commands.into_iter().filter(counts).map(Difference::Command));
    if let Some(expected) = fat.health
        && again.is_none_or(|again| again.health == Some(expected))
        && slim.health != Some(expected)
        && !has_died
    {
        differences.push(Difference::Health { expected, found: slim.health });
    }
    let failed = slim.tests.iter().filter(|test| test.exit_code != Some(0));
    differences.extend(failed.cloned().map(Difference::Test));
    if let Some(again) = again.filter(|_| is_well) {
        differences.extend(later_starts(again, slim));
    }
    differences
}

/// How the second start and the one with a read-only root went, where the fat image survives them. The fat image tells
/// only once, but it had to tell the same as in its first start.
fn later_starts(fat: &Behaviour, slim: &Behaviour) -> Vec<Difference> {
    let mut differences = Vec::new();
    if let (true, Some(expected), Some(found)) = (fat.survives_second_start(), &fat.second, &slim.second) {
        differences.extend(life(expected, found).map(Difference::SecondStart));
    }
    if let (Some(expected), Some(found)) = (&fat.read_only, &slim.read_only)
        && expected.is_as(fat)
    {
        differences.extend(life(expected, found).map(Difference::ReadOnly));
    }
    differences
}

fn life(expected: &Life, found: &Life) -> Option<LifeDifference> {
    match (expected, found) {
        (_, Life::NotStarted { reason }) => Some(LifeDifference::NotStarted { reason: reason.clone() }),
        (Life::Ended { exit_code: expected }, Life::Ended { exit_code: found }) => {
            (expected != found).then_some(LifeDifference::Ended { expected: Some(*expected), found: *found })
        }
        (_, Life::Ended { exit_code }) => Some(LifeDifference::Ended { expected: None, found: *exit_code }),
        (Life::Ended { .. }, Life::Up { .. }) => Some(LifeDifference::RunsOn),
        (Life::Up { silent: None }, Life::Up { silent: Some(port) }) => {
            Some(LifeDifference::Silent { port: *port })
        }
        (Life::Up { .. } | Life::NotStarted { .. }, Life::Up { .. }) => None,
    }
}

/// Requests whose bodies differ between two runs of the fat image.
#[must_use]
pub fn unstable(fat: &Behaviour, again: &Behaviour) -> usize {
    let (Some(first), Some(second)) = (&fat.answers, &again.answers) else { return 0 };
    let body =
        |exchange: &slim_probe::Exchange| exchange.response.as_ref().map(|response| response.body.digest);
    first.exchanges.iter().zip(&second.exchanges).filter(|(one, other)| body(one) != body(other)).count()
}

fn ending(fat: &Behaviour, again: Option<&Behaviour>, slim: &Behaviour) -> Vec<Difference> {
    match (&fat.ending, &slim.ending) {
        (_, Ending::NotStarted { reason }) => vec![Difference::NotStarted { reason: reason.clone() }],
        (
            Ending::ByItself { exit_code: expected, output: expected_output },
            Ending::ByItself { exit_code: found, output: found_output },
        ) => {
            let second = match again.map(|again| &again.ending) {
                Some(Ending::ByItself { exit_code, output }) => Some((*exit_code, output.as_slice())),
                _ => None,
            };
            let mut differences = Vec::new();
            if second.is_none_or(|(code, _)| code == *expected) && found != expected {
                differences.push(Difference::ExitCode { expected: *expected, found: *found });
            }
            differences.extend(output(expected_output, second.map(|(_, output)| output), found_output));
            differences
        }
        (_, Ending::ByItself { exit_code, .. }) => vec![Difference::Died { exit_code: *exit_code }],
        (Ending::ByItself { .. }, _) => vec![Difference::RunsOn],
        (Ending::Stopped { exit_code: expected }, Ending::Stopped { exit_code: found }) => {
            let is_stable = again.is_none_or(|again| again.ending == fat.ending);
            if is_stable && expected != found {
                vec![Difference::ExitCode { expected: *expected, found: *found }]
            } else {
                Vec::new()
            }
        }
        _ => Vec::new(),
    }
}

fn silent(fat: &Behaviour, again: Option<&Behaviour>, slim: &Behaviour) -> Vec<Difference> {
    fat.listens
        .iter()
        .filter(|port| again.is_none_or(|again| again.listens.contains(port)))
        .filter(|port| !slim.listens.contains(port))
        .map(|port| Difference::Silent { port: *port })
        .collect()
}

/// Processes of the one that act as none of the other. What one run of the fat image had and the other did not may be
/// missing; new ones count only where the two runs had the same.
fn other_actors(fat: &Behaviour, again: Option<&Behaviour>, slim: &Behaviour) -> Option<Difference> {
    let again = again.unwrap_or(fat);
    if slim.acts_as.is_empty() {
        return None;
    }
    let stable: BTreeSet<_> = fat.acts_as.intersection(&again.acts_as).cloned().collect();
    let missing: BTreeSet<_> = stable.difference(&slim.acts_as).cloned().collect();
    let unexpected: BTreeSet<_> = if fat.acts_as == again.acts_as {
        slim.acts_as.difference(&fat.acts_as).cloned().collect()
    } else {
        BTreeSet::new()
    };
    (!missing.is_empty() || !unexpected.is_empty()).then_some(Difference::ActsAs { missing, unexpected })
}

/// Compares lines without their order, since stdout and stderr mix by chance. Lines that one run of the fat image wrote
/// and the other did not may be missing; new ones count only where the two runs wrote the same.
fn output(fat: &[u8], again: Option<&[u8]>, slim: &[u8]) -> Option<Difference> {
    let (first, second, found) = (lines(fat), lines(again.unwrap_or(fat)), lines(slim));
    let stable: BTreeMap<&[u8], usize> =
        first.iter().map(|(line, count)| (*line, *count.min(second.get(line).unwrap_or(&0)))).collect();
    let missing = excess(&stable, &found);
    let unexpected = if first == second { excess(&found, &first) } else { Vec::new() };
    (!missing.is_empty() || !unexpected.is_empty()).then_some(Difference::Output { missing, unexpected })
}

fn lines(text: &[u8]) -> BTreeMap<&[u8], usize> {
    let mut lines = BTreeMap::new();
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        *lines.entry(line).or_default() += 1;
    }
    lines
}

/// What `some` has more of than `others`.
fn excess(some: &BTreeMap<&[u8], usize>, others: &BTreeMap<&[u8], usize>) -> Vec<String> {
    some.iter()
        .filter(|(line, count)| **count > *others.get(*line).unwrap_or(&0))
        .map(|(line, _)| String::from_utf8_lossy(line).into_owned())
        .collect()
}

/// One line that says what is different; of output a few lines more, indented.
impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted { reason } => write!(formatter, "the container does not start: {reason}"),
            Self::Died { exit_code } => {
                write!(formatter, "the program ended with exit code {exit_code} and should go on")
            }
            Self::RunsOn => formatter.write_str("the program goes on and should have ended"),
            Self::ExitCode { expected, found } => {
                write!(formatter, "the program ends with exit code {found} instead of {expected}")
            }
            Self::Output { missing, unexpected } => {
                formatter.write_str("the program's output is another one:")?;
                write_lines(formatter, "missing", missing)?;
                write_lines(formatter, "new", unexpected)
            }
            Self::Silent { port } => write!(formatter, "nothing listens on port {port}"),
            Self::ActsAs { missing, unexpected } => {
                formatter.write_str("its processes act as others:")?;
                let lines =
                    |who: &BTreeSet<Credentials>| who.iter().map(ToString::to_string).collect::<Vec<_>>();
                write_lines(formatter, "missing", &lines(missing))?;
                write_lines(formatter, "new", &lines(unexpected))
            }
            Self::Answer(difference) => difference.fmt(formatter),
            Self::Command(difference) => difference.fmt(formatter),
            Self::Health { expected, found: Some(found) } => {
                write!(formatter, "the HEALTHCHECK ends with exit code {found} instead of {expected}")
            }
            Self::Health { expected, found: None } => {
                write!(formatter, "the HEALTHCHECK does not end in time; its exit code was {expected}")
            }
            Self::Test(test) => {
                write!(formatter, "`{}` {}", test.command, test.ending())?;
                test.output.lines().try_for_each(|line| write!(formatter, "\n  {line}"))
            }
            Self::SecondStart(difference) => write!(formatter, "started a second time, {difference}"),
            Self::ReadOnly(difference) => write!(formatter, "with a read-only root, {difference}"),
        }
    }
}

impl fmt::Display for LifeDifference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted { reason } => write!(formatter, "the container does not start: {reason}"),
            Self::Ended { expected: Some(expected), found } => {
                write!(formatter, "the program ends with exit code {found} instead of {expected}")
            }
            Self::Ended { expected: None, found } => {
                write!(formatter, "the program ended with exit code {found} and should go on")
            }
            Self::RunsOn => formatter.write_str("the program goes on and should have ended"),
            Self::Silent { port } => write!(formatter, "nothing listens on port {port}"),
        }
    }
}

fn write_lines(formatter: &mut fmt::Formatter<'_>, what: &str, lines: &[String]) -> fmt::Result {
    for line in lines.iter().take(LINES_SHOWN) {
        write!(formatter, "\n  {what}: {line}")?;
    }
    match lines.len().saturating_sub(LINES_SHOWN) {
        0 => Ok(()),
        more => write!(formatter, "\n  {what}: {more} more"),
    }
}

#[cfg(test)]
#[path = "behaviour/tests.rs"]
mod tests;
