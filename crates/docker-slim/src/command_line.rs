//! From words to parsed arguments: the structs of [`crate::arguments`] with what the table of flags adds to them, and
//! the other places where flags may stand: environment variables, and the file of `--command-params-file`.
//!
//! Precedence: command line, environment, file. Invariant: `command()` depends on nothing but the code, so that help,
//! man pages and the reference are the same everywhere.

use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::flags::{self, Flag, State};
use crate::plugin;
use clap::builder::BoolishValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, CommandFactory, FromArgMatches};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;

/// A flag that may be given several times here, but holds one value with commas of its own in an environment variable.
const ONE_VALUE: &str = "exec";
/// What the value of a switch is called.
const BOOLEAN: &str = "BOOL";
/// Names that look alike are at least this near, as clap has it.
const NEAR: f64 = 0.7;

/// A command line that was understood.
#[derive(Debug)]
pub struct Parsed {
    pub arguments: Arguments,
    /// One line for each flag that has no effect.
    pub notices: Vec<String>,
}

/// A command line that was not, or that asks for help.
#[derive(Debug)]
pub enum Refused {
    Failure(Failure),
    Parser(Box<clap::Error>),
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// The whole command, as it is documented.
pub fn command() -> clap::Command {
    adapted(Arguments::command())
}

/// The long names of all flags of a command and its subcommands, without dashes.
pub fn long_names(command: &clap::Command) -> BTreeSet<String> {
    let mut names: BTreeSet<String> =
        command.get_arguments().filter_map(Arg::get_long).map(str::to_owned).collect();
    for subcommand in command.get_subcommands() {
        names.extend(long_names(subcommand));
    }
    names
}

/// Understands a command line (with the program's name first).
///
/// # Errors
/// Flags that are wrong or do not work yet; a request for help.
pub fn parse(
    words: Vec<OsString>,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Parsed, Refused> {
    let command = command();
    let words = plugin::own_arguments(words, environment, &|word| command.find_subcommand(word).is_some())?;
    let known = long_names(&command);
    let known = |name: &str| known.contains(name);
    let mut screened = flags::screen(words, &known)?;
    let given = matches(&command, &screened.arguments)?;

    let target = Target::of(&command, &given);
    let mut added = Added::default();
    added.environment(&target, environment)?;
    if let Some(path) = target.parameters_file(&added.words) {
        added.file(&target, Path::new(&path), &known)?;
    }
    screened.notices.append(&mut added.notices);

    let end = screened.arguments.iter().position(|word| word == "--").unwrap_or(screened.arguments.len());
    screened.arguments.splice(end..end, added.words);
    let matches = matches(&command, &screened.arguments)?;
    let arguments =
        Arguments::from_arg_matches(&matches).map_err(|error| Refused::Parser(Box::new(error)))?;
    Ok(Parsed { arguments, notices: screened.notices })
}

fn matches(command: &clap::Command, words: &[OsString]) -> Result<ArgMatches, Refused> {
    command.clone().try_get_matches_from(words).map_err(|error| {
        unknown_flag(&error).map_or_else(|| Refused::Parser(Box::new(error)), Refused::Failure)
    })
}

/// An unknown flag, with the nearest one of ours or Mint's.
fn unknown_flag(error: &clap::Error) -> Option<Failure> {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg) else { return None };
    let name = word.strip_prefix("--").filter(|_| error.kind() == ErrorKind::UnknownArgument)?;
    let failure = Failure::usage(format!("understand --{name}: there is no such flag"));
    let known = long_names(&command());
    if known.contains(name) {
        return Some(Failure::usage(format!("use --{name}: this command does not take it")));
    }
    let nearest = known
        .iter()
        .map(String::as_str)
        .chain(flags::table().map(|flag| flag.name))
        .map(|candidate| (strsim::jaro(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness > NEAR)
        .max_by(|one, other| one.0.total_cmp(&other.0));
    Some(match nearest {
        Some((_, nearest)) => failure.with_hint(format!("did you mean --{nearest}?")),
        None => failure.with_hint("--help lists the flags"),
    })
}

/// Whether a command takes this flag of Mint's, or took it there.
fn is_of(command: &str, flag: &Flag) -> bool {
    match (command, flag.group) {
        (_, "global")
        | ("build" | "harden" | "profile", "common")
        | ("build", "build")
        | ("probe", "probe") => true,
        ("probe", "common") => flag.name.starts_with("http-"),
        _ => false,
    }
}

fn adapted(command: clap::Command) -> clap::Command {
    let rows: Vec<Flag> = rows(command.get_name());
    let names: Vec<String> = command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let command = command.mut_args(|argument| documented(boolean(argument), &rows));
    names.into_iter().fold(command, |command, name| command.mut_subcommand(name, adapted))
}

fn rows(command: &str) -> Vec<Flag> {
    flags::table().filter(|flag| is_of(command, flag)).collect()
}

/// A switch, or a flag with this name for its value, that may be given alone or with a value, `--flag=false`, as in Go.
fn boolean(argument: Arg) -> Arg {
    let is_switch = matches!(argument.get_action(), ArgAction::SetTrue);
    let is_open = argument.get_value_names().is_some_and(|names| names == [BOOLEAN]);
    if !is_switch && !is_open {
        return argument;
    }
    let is_off = is_switch && argument.get_default_values().is_empty();
    let argument = argument
        .action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .value_parser(BoolishValueParser::new())
        .hide_possible_values(true)
        .value_name(BOOLEAN);
    if is_off { argument.default_value("false").hide_default_value(true) } else { argument }
}

/// Tells the environment variable in the help.
fn documented(argument: Arg, rows: &[Flag]) -> Arg {
    let row = argument.get_long().and_then(|name| rows.iter().find(|flag| flag.name == name));
    let help = argument.get_help().map(ToString::to_string);
    match (row.and_then(|flag| flag.environment), help) {
        (Some(variable), Some(help)) => argument.help(format!("{help} [env: {variable}]")),
        _ => argument,
    }
}

/// The command that was called, with what was given to it.
struct Target<'a> {
    /// The program's own arguments and those of the called subcommand.
    arguments: Vec<&'a Arg>,
    matches: &'a ArgMatches,
    rows: Vec<Flag>,
}

impl<'a> Target<'a> {
    fn of(command: &'a clap::Command, matches: &'a ArgMatches) -> Self {
        let mut arguments: Vec<&Arg> = command.get_arguments().collect();
        let (name, matches) = matches.subcommand().unwrap_or(("", matches));
        arguments.extend(command.find_subcommand(name).into_iter().flat_map(clap::Command::get_arguments));
        Self { arguments, matches, rows: rows(name) }
    }

    fn argument(&self, name: &str) -> Option<&'a Arg> {
        self.arguments.iter().copied().find(|argument| argument.get_long() == Some(name))
    }

    fn is_given(&self, argument: &Arg) -> bool {
        let is_given = |id: &str| self.matches.value_source(id) == Some(ValueSource::CommandLine);
        // The image may be given in two ways.
        is_given(argument.get_id().as_str()) || (argument.get_id() == "target" && is_given("image"))
    }

    /// The file of `--command-params-file`, from the command line or else from the words added so far.
    fn parameters_file(&self, added: &[OsString]) -> Option<OsString> {
        let argument = self.argument("command-params-file")?;
        let given = self.matches.get_raw(argument.get_id().as_str()).and_then(|mut values| values.next());
        given.map(OsStr::to_owned).or_else(|| {
            let word =
                |word: &OsString| word.to_str()?.strip_prefix("--command-params-file=").map(OsString::from);
            added.iter().find_map(word)
        })
    }
}

/// Words that come from elsewhere than the command line.
#[derive(Default)]
struct Added {
    words: Vec<OsString>,
    /// Ids of the arguments in them.
    ids: BTreeSet<String>,
    notices: Vec<String>,
}

impl Added {
    fn environment(
        &mut self,
        target: &Target<'_>,
        environment: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<(), Failure> {
        for flag in &target.rows {
            let Some(variable) = flag.environment else { continue };
            let Some(value) = environment(variable).filter(|value| !value.is_empty()) else { continue };
            match (target.argument(flag.name), flag.state) {
                (Some(argument), _) if target.is_given(argument) => {}
                (Some(argument), _) => self.add(argument, &separated(argument, &value)),
                (None, State::Notice(why)) => {
                    self.notices.push(format!("{variable} has no effect: {why}"));
                }
                (None, State::NoticeIf(only, why)) if value == only => {
                    self.notices.push(format!("{variable} has no effect: {why}"));
                }
                (None, _) => {
                    return Err(Failure::usage(format!(
                        "go on with {variable}: --{} of DockerSlim does not work {}",
                        flag.name,
                        if matches!(flag.state, State::NoticeIf(..)) { "with this value" } else { "yet" }
                    )));
                }
            }
        }
        Ok(())
    }

    /// Reads `{"flag": value}`; a value is a string, a number, a boolean or a list of them.
    fn file(
        &mut self,
        target: &Target<'_>,
        path: &Path,
        known: &dyn Fn(&str) -> bool,
    ) -> Result<(), Failure> {
        let failed = |reason: String| {
            Failure::usage(format!("read --command-params-file {}: {reason}", path.display()))
        };
        let text = fs::read(path).map_err(|error| failed(error.to_string()))?;
        let values: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))?;
        let mut words = vec![OsString::from("docker-slim")];
        for (name, value) in values {
            let name = name.trim_start_matches('-');
            let is_set = target.argument(name).is_some_and(|argument| {
                target.is_given(argument) || self.ids.contains(argument.get_id().as_str())
            });
            if is_set {
                continue;
            }
            for value in
                plain(value).ok_or_else(|| failed(format!("--{name} has a value of another kind")))?
            {
                words.push(word(name, OsStr::new(&value)));
            }
        }
        let mut screened = flags::screen(words, known)?;
        self.words.extend(screened.arguments.drain(1..));
        self.notices.append(&mut screened.notices);
        Ok(())
    }

    fn add(&mut self, argument: &Arg, values: &[OsString]) {
        let Some(name) = argument.get_long() else { return };
        self.ids.insert(argument.get_id().to_string());
        self.words.extend(values.iter().map(|value| word(name, value)));
    }
}

fn word(name: &str, value: &OsStr) -> OsString {
    let mut word = OsString::from(format!("--{name}="));
    word.push(value);
    word
}

/// A list in a variable is separated by commas.
fn separated(argument: &Arg, value: &OsStr) -> Vec<OsString> {
    let is_list =
        matches!(argument.get_action(), ArgAction::Append) && argument.get_long() != Some(ONE_VALUE);
    match value.to_str() {
        Some(text) if is_list => {
            text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(OsString::from).collect()
        }
        _ => vec![value.to_owned()],
    }
}

/// The texts of a JSON value; `None` where it is an object or nested.
fn plain(value: serde_json::Value) -> Option<Vec<String>> {
    use serde_json::Value;
    let one = |value: Value| match value {
        Value::String(text) => Some(text),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
    };
    match value {
        Value::Null => Some(Vec::new()),
        Value::Array(values) => values.into_iter().map(one).collect(),
        other => one(other).map(|text| vec![text]),
    }
}

#[cfg(test)]
pub mod tests;
