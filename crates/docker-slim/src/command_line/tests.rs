use super::*;
use crate::arguments::{BuildArguments, Command};
use std::collections::BTreeMap;

pub fn parse_with(words: &[&str], environment: &[(&str, &str)]) -> Result<Parsed, Refused> {
    let environment: BTreeMap<&str, &str> = environment.iter().copied().collect();
    let words = std::iter::once("docker-slim").chain(words.iter().copied()).map(OsString::from);
    parse(words.collect(), &|name| environment.get(name).map(OsString::from))
}

/// The arguments of `build` with these flags for an image `x`, without an environment.
pub fn build(flags: &[&str]) -> Box<BuildArguments> {
    build_with(flags, &[])
}

fn build_with(flags: &[&str], environment: &[(&str, &str)]) -> Box<BuildArguments> {
    match parse_with(&[&["build"], flags, &["x"]].concat(), environment).unwrap().arguments.command {
        Command::Build(arguments) => arguments,
        other => panic!("{other:?}"),
    }
}

fn failure(parsed: Result<Parsed, Refused>) -> Failure {
    match parsed {
        Err(Refused::Failure(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_command_line_is_sound() {
    command().debug_assert();
}

#[test]
fn a_flag_works_exactly_when_the_table_says_so() {
    for name in ["build", "profile", "probe"] {
        let command = command();
        let mut known: BTreeSet<String> =
            command.get_arguments().filter_map(Arg::get_long).map(str::to_owned).collect();
        known.extend(long_names(command.find_subcommand(name).unwrap()));
        for flag in rows(name) {
            assert_eq!(known.contains(flag.name), flag.state == State::Works, "{name} --{}", flag.name);
        }
    }
}

#[test]
fn a_switch_takes_a_value_as_in_go() {
    assert!(build(&["--show-clogs"]).common.show_clogs);
    assert!(!build(&["--show-clogs=false"]).common.show_clogs);
    assert!(build(&["--show-clogs=1"]).common.show_clogs);
    assert_eq!(build(&["--http-probe=0"]).common.http.http_probe, Some(false));
    assert_eq!(build(&["--http-probe"]).common.http.http_probe, Some(true));
    assert!(!build(&["--http-probe-full=false"]).common.http.http_probe_full);
}

#[test]
fn flags_work_behind_the_image_too() {
    let parsed = parse_with(&["build", "x", "--tag", "a", "--quiet"], &[]).unwrap();
    assert!(parsed.arguments.global.quiet);
    let Command::Build(arguments) = parsed.arguments.command else { panic!() };
    assert_eq!((arguments.common.image.as_deref(), &arguments.tag[..]), (Some("x"), &["a".to_owned()][..]));
}

#[test]
fn a_variable_stands_in_for_its_flag_and_yields_to_it() {
    let environment = &[("DSLIM_RC_USER", "me"), ("DSLIM_TARGET_TAG", "a, b"), ("DSLIM_RC_EXE", "echo a,b")];
    let arguments = build_with(&[], environment);
    assert_eq!(arguments.common.container.user.as_deref(), Some("me"));
    assert_eq!(arguments.tag, ["a", "b"]);
    assert_eq!(arguments.common.exercise.exec, ["echo a,b"], "a command's commas are its own");
    let arguments = build_with(&["--user", "root", "--tag=c"], environment);
    assert_eq!(arguments.common.container.user.as_deref(), Some("root"));
    assert_eq!(arguments.tag, ["c"]);
}

#[test]
fn the_image_may_come_from_the_environment_and_an_argument_goes_before_it() {
    let environment = &[("DSLIM_TARGET", "other"), ("DSLIM_QUIET", "true")];
    let Command::Build(arguments) = parse_with(&["build"], environment).unwrap().arguments.command else {
        panic!()
    };
    assert_eq!(arguments.common.target.as_deref(), Some("other"));
    assert_eq!(build_with(&[], environment).common.target, None);
    assert!(parse_with(&["version"], environment).unwrap().arguments.global.quiet);
}

#[test]
fn an_empty_variable_says_nothing() {
    assert_eq!(
        build_with(&[], &[("DSLIM_RC_USER", ""), ("DSLIM_SHOW_CLOGS", "")]).common.container.user,
        None
    );
}

#[test]
fn every_working_flag_with_a_variable_takes_its_value_from_there() {
    let command = command();
    let rows = rows("build");
    let inner = command.find_subcommand("build").unwrap();
    let arguments: Vec<&Arg> = command.get_arguments().chain(inner.get_arguments()).collect();
    for flag in rows.iter().filter(|flag| flag.state == State::Works) {
        let Some(variable) = flag.environment else { continue };
        let argument = arguments.iter().find(|argument| argument.get_long() == Some(flag.name)).unwrap();
        let value = match argument.get_possible_values().first() {
            Some(value) => value.get_name().to_owned(),
            None if flag.takes_value => "7".to_owned(),
            None => "true".to_owned(),
        };
        if flag.name == "command-params-file" {
            continue;
        }
        let from_variable = format!("{:?}", parse_with(&["build"], &[(variable, &value)]).unwrap().arguments);
        let word = format!("--{}={value}", flag.name);
        let from_flag = format!("{:?}", parse_with(&["build", &word], &[]).unwrap().arguments);
        assert_eq!(from_variable, from_flag, "{variable}");
    }
}

#[test]
fn a_variable_without_meaning_is_told_and_one_that_does_not_work_yet_is_refused() {
    let parsed = parse_with(&["build", "x"], &[("DSLIM_CHECK_VERSION", "true")]).unwrap();
    assert!(parsed.notices[0].starts_with("DSLIM_CHECK_VERSION has no effect: "), "{:?}", parsed.notices);
    let failure = failure(parse_with(&["build", "x"], &[("DSLIM_COMPOSE_FILE", "a.yml")]));
    assert!(failure.message.contains("DSLIM_COMPOSE_FILE"), "{}", failure.message);
    assert_eq!(failure.exit_code, 2);
    parse_with(&["version"], &[("DSLIM_COMPOSE_FILE", "a.yml")]).unwrap();
}

#[test]
fn an_unknown_flag_is_refused_with_the_nearest_of_ours_or_mints() {
    let refused = failure(parse_with(&["build", "--htp-probe", "x"], &[]));
    assert_eq!(refused.message, "understand --htp-probe: there is no such flag");
    assert_eq!(refused.hint.as_deref(), Some("did you mean --http-probe?"));
    let refused = failure(parse_with(&["build", "x", "--compse-file=a"], &[]));
    assert_eq!(refused.hint.as_deref(), Some("did you mean --compose-file?"));
    let refused = failure(parse_with(&["version", "--include-path", "x"], &[]));
    assert_eq!(refused.message, "use --include-path: this command does not take it");
}

#[test]
fn a_file_of_flags_yields_to_the_environment_and_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flags.json");
    let text = r#"{"tag": ["a", "b,c"], "user": "file", "workdir": "/file", "show-clogs": true,
        "http-probe-retry-count": 2, "--hostname": "h", "keep-perms": true, "network": null}"#;
    std::fs::write(&path, text).unwrap();
    let file = format!("--command-params-file={}", path.display());
    let parsed =
        parse_with(&["build", "x", &file, "--user=flag"], &[("DSLIM_RC_WORKDIR", "/variable")]).unwrap();
    assert!(parsed.notices[0].starts_with("--keep-perms=true has no effect"), "{:?}", parsed.notices);
    let Command::Build(arguments) = parsed.arguments.command else { panic!() };
    let container = &arguments.common.container;
    assert_eq!(arguments.tag, ["a", "b,c"], "a list of JSON's needs no commas");
    assert_eq!(container.user.as_deref(), Some("flag"));
    assert_eq!(container.workdir.as_deref(), Some("/variable"));
    assert_eq!((container.hostname.as_deref(), container.network.as_deref()), (Some("h"), None));
    assert!(arguments.common.show_clogs);
    assert_eq!(arguments.common.http.http_probe_retry_count, 2);

    let by_variable = [("DSLIM_COMMAND_PARAMS_FILE", path.to_str().unwrap())];
    assert_eq!(build_with(&[], &by_variable).tag, ["a", "b,c"]);
    for (text, expected) in [
        (r#"{"tag": {"a": 1}}"#, "--tag has a value of another kind"),
        (r#"{"compose-file": "a"}"#, "--compose-file"),
        (r#"{"no-such-flag": "a"}"#, "--no-such-flag"),
        ("[]", "flags.json"),
    ] {
        std::fs::write(&path, text).unwrap();
        let refused = failure(parse_with(&["build", "x", &file], &[]));
        assert!(refused.message.contains(expected), "{}", refused.message);
    }
}
