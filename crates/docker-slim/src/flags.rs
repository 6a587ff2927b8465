//! The one table of flags: every flag that Mint has, and what becomes of it here.
//!
//! Invariant: a flag that would change the image or the exercise is never ignored. It works, or it is refused by name
//! (exit 2); only flags that have no meaning here are taken with a notice. The table is data (`flags.tsv`).

use crate::failure::Failure;
use std::ffi::OsString;

const TABLE: &str = include_str!("flags.tsv");

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Which of Mint's commands has it: `global`, `common` (build and profile), `build`, …
    pub group: &'static str,
    /// Without the dashes.
    pub name: &'static str,
    /// Whether a value follows as an argument of its own.
    pub takes_value: bool,
    /// The environment variable, with its prefix.
    pub environment: Option<&'static str>,
    pub state: State,
}

/// What becomes of a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Works,
    /// Taken, with a line that says why it has no meaning here.
    Notice(&'static str),
    /// Refused by name.
    NotYet,
}

/// The table, in its own order.
pub fn table() -> impl Iterator<Item = Flag> {
    TABLE.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(row)
}

fn row(line: &'static str) -> Flag {
    let mut columns = line.split('\t');
    let mut next = || columns.next().expect("every row of the table has six columns");
    let (group, name, kind, environment, state, why) = (next(), next(), next(), next(), next(), next());
    Flag {
        group,
        name,
        takes_value: kind == "value",
        environment: (environment != "-").then_some(environment),
        state: match state {
            "works" => State::Works,
            "notice" => State::Notice(why),
            _ => State::NotYet,
        },
    }
}

/// A command line without the flags that have no meaning here.
#[derive(Debug)]
pub struct Screened {
    pub arguments: Vec<OsString>,
    /// One line for each flag that was taken away.
    pub notices: Vec<String>,
}

/// Takes away flags that have no meaning here and refuses those that do not work yet. Flags that the program itself
/// knows (`known`, without dashes) pass whatever the table says; unknown ones pass, too, to be refused by clap.
///
/// # Errors
/// A flag of Mint that does not work yet.
pub fn screen(
    arguments: impl IntoIterator<Item = OsString>,
    known: &dyn Fn(&str) -> bool,
) -> Result<Screened, Failure> {
    let mut screened = Screened { arguments: Vec::new(), notices: Vec::new() };
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            screened.arguments.push(argument);
            screened.arguments.extend(arguments);
            break;
        }
        let (name, value_attached) = match argument.to_str().and_then(|text| text.strip_prefix("--")) {
            Some(text) => text.split_once('=').map_or((text, false), |(name, _)| (name, true)),
            None => ("", false),
        };
        let row =
            (!name.is_empty() && !known(name)).then(|| table().find(|flag| flag.name == name)).flatten();
        match row.map(|flag| (flag, flag.state)) {
            Some((flag, State::Notice(why))) => {
                screened.notices.push(format!("--{name} has no effect: {why}"));
                if flag.takes_value && !value_attached {
                    arguments.next();
                }
            }
            Some((_, State::NotYet)) => {
                return Err(Failure::usage(format!(
                    "go on with --{name}: this flag of DockerSlim does not work yet"
                )));
            }
            Some((_, State::Works)) | None => screened.arguments.push(argument),
        }
    }
    Ok(screened)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen_words(words: &[&str]) -> Result<Screened, Failure> {
        screen(words.iter().map(OsString::from), &|name| name == "tag")
    }

    #[test]
    fn a_flag_without_meaning_goes_with_its_value_and_says_so() {
        let screened = screen_words(&[
            "build",
            "--sensor-ipc-mode",
            "proxy",
            "--check-version=false",
            "--tag",
            "a",
            "x",
        ])
        .unwrap();
        assert_eq!(screened.arguments, ["build", "--tag", "a", "x"]);
        assert_eq!(screened.notices.len(), 2);
        assert!(screened.notices[0].starts_with("--sensor-ipc-mode has no effect: "));
    }

    #[test]
    fn a_flag_that_does_not_work_yet_is_refused_by_name() {
        let failure = screen_words(&["build", "--compose-file", "a.yml", "x"]).unwrap_err();
        assert_eq!(failure.exit_code, 2);
        assert!(failure.message.contains("--compose-file"));
    }

    #[test]
    fn an_unknown_flag_is_left_to_the_parser() {
        assert_eq!(screen_words(&["--htp-probe", "x"]).unwrap().arguments, ["--htp-probe", "x"]);
    }

    #[test]
    fn what_follows_two_dashes_is_no_flag() {
        assert_eq!(screen_words(&["--", "--compose-file"]).unwrap().arguments, ["--", "--compose-file"]);
    }

    #[test]
    fn the_table_holds_mints_flags_once_a_group() {
        let mut seen = std::collections::BTreeSet::new();
        for flag in table() {
            assert!(seen.insert((flag.group, flag.name)), "--{} stands twice in {}", flag.name, flag.group);
        }
        assert!(seen.len() > 300, "the table has {} rows", seen.len());
    }
}
