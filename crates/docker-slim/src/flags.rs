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
    /// The same for this value; any other would change the image or the exercise in a way that we do not.
    NoticeIf(&'static str, &'static str),
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
            "not-yet" => State::NotYet,
            other => match other.strip_prefix("notice-if=") {
                Some(value) => State::NoticeIf(value, why),
                None => unreachable!("the table's states are checked by a test"),
            },
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
        let (name, value) = match argument.to_str().and_then(|text| text.strip_prefix("--")) {
            Some(text) => text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value))),
            None => ("", None),
        };
        let row =
            (!name.is_empty() && !known(name)).then(|| table().find(|flag| flag.name == name)).flatten();
        let Some(flag) = row.filter(|flag| flag.state != State::Works) else {
            screened.arguments.push(argument);
            continue;
        };
        let value = match value {
            Some(value) => value.to_owned(),
            None if flag.takes_value => {
                arguments.next().map(|value| value.to_string_lossy().into_owned()).unwrap_or_default()
            }
            None => "true".to_owned(),
        };
        screened.notices.push(notice(&flag, &value)?);
    }
    Ok(screened)
}

/// What is said of a flag that is taken without effect.
fn notice(flag: &Flag, value: &str) -> Result<String, Failure> {
    let name = flag.name;
    match flag.state {
        State::Notice(why) => Ok(format!("--{name} has no effect: {why}")),
        State::NoticeIf(only, why) if value == only => Ok(format!("--{name}={value} has no effect: {why}")),
        State::NoticeIf(only, why) => Err(Failure::usage(format!(
            "go on with --{name}={value}: only --{name}={only} can be had, {why}"
        ))),
        State::Works | State::NotYet => {
            Err(Failure::usage(format!("go on with --{name}: this flag of DockerSlim does not work yet")))
        }
    }
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
    fn a_flag_with_one_value_that_can_be_had_is_taken_with_it_and_refused_with_any_other() {
        let screened = screen_words(&["--include-new=false", "x"]).unwrap();
        assert!(screened.notices[0].starts_with("--include-new=false has no effect: "));
        assert_eq!(screened.arguments, ["x"]);
        let failure = screen_words(&["x", "--include-new"]).unwrap_err();
        assert!(failure.message.contains("--include-new=true"), "{}", failure.message);
    }

    #[test]
    fn every_row_of_the_table_is_whole() {
        for line in TABLE.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let columns: Vec<&str> = line.split('\t').collect();
            let [_, name, kind, variable, state, why] = columns[..] else { panic!("{line:?}") };
            assert!(["bool", "value"].contains(&kind), "{name}");
            assert!(variable == "-" || variable.starts_with("DSLIM_"), "{name}");
            let is_notice = state == "notice" || state.starts_with("notice-if=");
            assert!(is_notice || ["works", "not-yet"].contains(&state), "{name}");
            assert_eq!(is_notice, why != "-", "{name} says why exactly where it has no meaning");
        }
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
