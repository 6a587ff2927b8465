//! From the words of a command to the programs that it runs: `exec gosu app env A=1 server -c x` runs three.

use super::words::{UNKNOWN, Values};

/// Commands that a shell does itself.
const BUILTINS: [&str; 48] = [
    ".", ":", "[", "alias", "bg", "bind", "break", "builtin", "caller", "cd", "command", "compgen",
    "complete", "continue", "declare", "dirs", "disown", "echo", "enable", "eval", "exec", "exit", "export",
    "false", "fg", "getopts", "hash", "jobs", "kill", "let", "local", "popd", "printf", "pushd", "pwd",
    "read", "readonly", "return", "set", "shift", "shopt", "source", "test", "trap", "true", "type",
    "ulimit", "umask",
];
/// More of them; none takes arguments that matter.
const MORE_BUILTINS: [&str; 6] = ["mapfile", "readarray", "times", "unalias", "unset", "wait"];
pub(super) const SHELLS: [&str; 9] = ["ash", "bash", "dash", "ksh", "mksh", "posh", "rbash", "sh", "zsh"];

/// A command whose arguments hold another.
struct Runner {
    name: &'static str,
    /// Options that take the next word.
    with_value: &'static [&'static str],
    /// Words that come before the command.
    operands: usize,
}

const fn runner(name: &'static str, with_value: &'static [&'static str], operands: usize) -> Runner {
    Runner { name, with_value, operands }
}

const RUNNERS: [Runner; 42] = [
    runner("builtin", &[], 0),
    runner("busybox", &[], 0),
    runner("catatonit", &[], 0),
    runner(
        "chpst",
        &["-u", "-U", "-b", "-e", "-/", "-n", "-l", "-L", "-m", "-d", "-o", "-p", "-f", "-c", "-t"],
        0,
    ),
    runner("chroot", &[], 1),
    runner("chrt", &["-T", "-P", "-D"], 1),
    runner("command", &[], 0),
    runner("dbus-run-session", &["--config-file", "--dbus-daemon"], 0),
    runner("doas", &["-u", "-C", "-a"], 0),
    runner("dumb-init", &["-r", "--rewrite"], 0),
    runner("env", &["-u", "--unset", "-C", "--chdir"], 0),
    runner("envdir", &[], 1),
    runner("exec", &["-a"], 0),
    runner("fakeroot", &["-i", "-s", "-l", "-b"], 0),
    runner("faketime", &["-p"], 1),
    runner("flock", &["-w", "--timeout", "-E", "--conflict-exit-code"], 1),
    runner("gosu", &[], 1),
    runner("ionice", &["-c", "--class", "-n", "--classdata"], 0),
    runner("nice", &["-n", "--adjustment"], 0),
    runner("nohup", &[], 0),
    runner("numactl", &["-m", "-N", "-C", "-i", "-p"], 0),
    runner("parallel", &["-j", "--jobs"], 0),
    runner("s6-envdir", &[], 1),
    runner("s6-setuidgid", &[], 1),
    runner("setarch", &[], 1),
    runner(
        "setpriv",
        &[
            "--reuid",
            "--regid",
            "--ruid",
            "--rgid",
            "--euid",
            "--egid",
            "--groups",
            "--inh-caps",
            "--ambient-caps",
            "--bounding-set",
            "--securebits",
            "--pdeathsig",
            "--selinux-label",
            "--apparmor-profile",
        ],
        0,
    ),
    runner("setsid", &[], 0),
    runner("setuidgid", &[], 1),
    runner("softlimit", &["-m", "-d", "-s", "-l", "-a", "-o", "-p", "-f", "-c", "-r", "-t"], 0),
    runner("stdbuf", &["-i", "-o", "-e"], 0),
    runner("strace", &["-e", "-o", "-p", "-s", "-u"], 0),
    runner("su-exec", &[], 1),
    runner(
        "sudo",
        &["-u", "--user", "-g", "--group", "-h", "-p", "-C", "-r", "-t", "-T", "-U", "-D", "-R"],
        0,
    ),
    runner("taskset", &[], 1),
    runner("time", &["-f", "-o"], 0),
    runner("timeout", &["-k", "--kill-after", "-s", "--signal"], 1),
    runner("tini", &["-p", "-e"], 0),
    runner("tini-static", &["-p", "-e"], 0),
    runner("unbuffer", &[], 0),
    runner("unshare", &["-S", "-G", "-R", "-w"], 0),
    runner("with-contenv", &[], 0),
    runner(
        "xargs",
        &["-I", "-n", "-P", "-d", "-L", "-s", "-a", "-E", "--max-args", "--max-procs", "--delimiter"],
        0,
    ),
];
/// Commands that run what stands behind `--`.
const BEHIND_DASHES: [&str; 5] = ["dockerize", "wait-for", "wait-for-it", "wait-for-it.sh", "wait-for.sh"];

/// What a command of a script comes down to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A program is run, or asked for.
    Run { name: String, arguments: Vec<Values> },
    /// A builtin is given these words; those that name files count.
    Test { arguments: Vec<Values> },
    /// Text that a shell reads as commands.
    Text(String),
    /// A file that the shell reads in its own place.
    Source(Values),
    /// A file that another shell runs.
    Script(Values),
    /// A directory whose files are run.
    Directory(Values),
    /// Where the commands after it run.
    Into(Values),
}

/// The steps of one command. `is_function` tells what the script defines itself.
pub(super) fn steps(words: Vec<Values>, is_function: &dyn Fn(&str) -> bool) -> Vec<Step> {
    let mut steps = Vec::new();
    // The words, and whether a shell looks at them: behind `env` only programs count.
    let mut ahead = vec![(words, true)];
    let mut left = 64;
    while let Some((words, by_shell)) = ahead.pop() {
        let Some((names, arguments)) = words.split_first() else { continue };
        for name in names.iter().filter(|name| !name.contains(UNKNOWN) && !name.is_empty()) {
            left -= 1;
            if left == 0 {
                return steps;
            }
            if let Some((name, more)) = split(name) {
                let words = std::iter::once(name).chain(more);
                let words = words.map(|word| Values::from([word.to_owned()])).chain(arguments.to_vec());
                ahead.push((words.collect(), by_shell));
            } else if by_shell && is_function(name) {
                steps.push(Step::Test { arguments: arguments.to_vec() });
            } else if by_shell && is_builtin(name) {
                builtin(name, arguments, &mut steps, &mut ahead);
            } else {
                steps.push(Step::Run { name: name.clone(), arguments: arguments.to_vec() });
                program(name, arguments, &mut steps, &mut ahead);
            }
        }
    }
    steps
}

/// A value of several words: `PYTHON="python3 -u"`.
fn split(name: &str) -> Option<(&str, impl Iterator<Item = &str>)> {
    let mut words = name.split_ascii_whitespace();
    let first = words.next()?;
    (first.len() < name.len()).then_some((first, words))
}

type Ahead = Vec<(Vec<Values>, bool)>;

fn is_builtin(name: &str) -> bool {
    BUILTINS.contains(&name) || MORE_BUILTINS.contains(&name)
}

fn builtin(name: &str, arguments: &[Values], steps: &mut Vec<Step>, ahead: &mut Ahead) {
    let operands = || arguments.iter().filter(|values| !values.iter().any(|value| value.starts_with('-')));
    match name {
        "." | "source" => steps.extend(operands().next().cloned().map(Step::Source)),
        "cd" | "pushd" => steps.extend(operands().next().cloned().map(Step::Into)),
        "eval" => steps.extend(texts(arguments).map(Step::Text)),
        "trap" => {
            steps.extend(arguments.iter().filter(|values| !is(values, "--")).take(1).flat_map(text_steps))
        }
        "type" | "hash" => steps.extend(operands().flat_map(asked)),
        "command" if arguments.first().is_some_and(|first| is(first, "-v") || is(first, "-V")) => {
            steps.extend(operands().flat_map(asked));
        }
        "command" | "builtin" | "exec" => behind_options(name, arguments, steps, ahead),
        // What follows is "$@" of the commands below, as in `set -- server "$@"; exec "$@"`.
        "set" => {
            if let Some(at) = arguments.iter().position(|values| is(values, "--")) {
                let words = &arguments[at + 1..];
                if words.first().is_some_and(|first| !first.iter().any(|value| value.starts_with('-'))) {
                    ahead.push((words.to_vec(), false));
                }
            }
        }
        "[" | "test" => steps.push(Step::Test { arguments: arguments.to_vec() }),
        _ => {}
    }
}

fn program(name: &str, arguments: &[Values], steps: &mut Vec<Step>, ahead: &mut Ahead) {
    let name = name.rsplit('/').next().unwrap_or_default();
    let after = |options: &[&str]| {
        let at = arguments.iter().position(|values| options.iter().any(|option| is(values, option)))?;
        arguments.get(at + 1)
    };
    match name {
        _ if SHELLS.contains(&name) => shell(arguments, steps),
        "find" => {
            let mut rest = arguments;
            let runs = |values: &Values| {
                ["-exec", "-execdir", "-ok", "-okdir"].iter().any(|action| is(values, action))
            };
            while let Some(at) = rest.iter().position(runs) {
                rest = &rest[at + 1..];
                let end =
                    rest.iter().position(|values| is(values, ";") || is(values, "+")).unwrap_or(rest.len());
                ahead.push((rest[..end].to_vec(), false));
            }
        }
        "which" => steps.extend(arguments.iter().flat_map(asked)),
        "run-parts" => steps.extend(arguments.last().cloned().map(Step::Directory)),
        "su" | "runuser" => {
            let text = after(&["-c", "--command"]).cloned();
            steps.extend(text.iter().flat_map(text_steps));
            steps.extend(after(&["-s", "--shell"]).into_iter().flat_map(asked));
            if text.is_none() && after(&["-u", "--user"]).is_some() {
                ahead.push((skip_options(arguments, &["-u", "--user", "-g", "-G", "-s"], 0), false));
            }
        }
        "start-stop-daemon" => {
            steps.extend(after(&["--exec", "-x", "--startas", "-a"]).into_iter().flat_map(asked));
        }
        "watch" => steps.extend(texts(&skip_options(arguments, &["-n", "--interval"], 0)).map(Step::Text)),
        _ if BEHIND_DASHES.contains(&name) => {
            if let Some(at) = arguments.iter().position(|values| is(values, "--")) {
                ahead.push((arguments[at + 1..].to_vec(), false));
            }
        }
        _ => behind_options(name, arguments, steps, ahead),
    }
}

/// `sh -c TEXT`, `sh FILE`.
fn shell(arguments: &[Values], steps: &mut Vec<Step>) {
    let mut rest = arguments.iter();
    while let Some(values) = rest.next() {
        let Some(option) = values.iter().find(|value| value.starts_with(['-', '+'])) else {
            steps.push(Step::Script(values.clone()));
            return;
        };
        let is_long = option.starts_with("--");
        if !is_long && option.contains('c') {
            steps.extend(rest.find(|values| !starts_with_dash(values)).into_iter().flat_map(text_steps));
            return;
        }
        if !is_long && option.ends_with(['o', 'O']) {
            rest.next();
        }
        if !is_long && option.contains('s') {
            return;
        }
    }
}

fn behind_options(name: &str, arguments: &[Values], steps: &mut Vec<Step>, ahead: &mut Ahead) {
    let Some(runner) = RUNNERS.iter().find(|runner| runner.name == name) else { return };
    if name == "env"
        && let Some(at) = arguments.iter().position(|values| is(values, "-S") || is(values, "--split-string"))
    {
        steps.extend(texts(&arguments[at + 1..]).map(Step::Text));
        return;
    }
    let words = skip_options(arguments, runner.with_value, runner.operands);
    ahead.push((words, false));
}

/// What stands behind options with their values, assignments and so many operands.
fn skip_options(arguments: &[Values], with_value: &[&str], mut operands: usize) -> Vec<Values> {
    let mut at = 0;
    while let Some(values) = arguments.get(at) {
        at += 1;
        if is(values, "--") {
            // `gosu user -- program` does not exist; `tini -- program` does.
            continue;
        }
        if with_value.iter().any(|option| is(values, option)) {
            at += 1;
        } else if starts_with_dash(values) || is_assignment(values) {
        } else if operands > 0 {
            operands -= 1;
        } else {
            return arguments[at - 1..].to_vec();
        }
    }
    Vec::new()
}

fn starts_with_dash(values: &Values) -> bool {
    values.iter().any(|value| value.starts_with('-'))
}

fn is_assignment(values: &Values) -> bool {
    values.iter().any(|value| {
        value.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        })
    })
}

fn is(values: &Values, word: &str) -> bool {
    values.len() == 1 && values.contains(word)
}

/// A program that is asked for by name.
fn asked(values: &Values) -> impl Iterator<Item = Step> + '_ {
    let names = values.iter().filter(|name| !name.starts_with('-') && !name.contains(UNKNOWN));
    names.map(|name| Step::Run { name: name.clone(), arguments: Vec::new() })
}

fn text_steps(values: &Values) -> impl Iterator<Item = Step> + '_ {
    values.iter().filter(|text| !text.is_empty()).map(|text| Step::Text(readable(text)))
}

/// The words joined, as `eval` reads them.
fn texts(arguments: &[Values]) -> impl Iterator<Item = String> {
    let first: Vec<&str> = arguments.iter().filter_map(|values| values.first()).map(String::as_str).collect();
    let text = readable(&first.join(" "));
    std::iter::once(text).filter(|text| !text.trim().is_empty())
}

/// Text for the parser: what is not known becomes a variable that nothing sets.
fn readable(text: &str) -> String {
    text.replace(UNKNOWN, "${__unknown}")
}
