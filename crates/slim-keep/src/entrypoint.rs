//! Rule: the programs that ENTRYPOINT, CMD and HEALTHCHECK name are kept even if they were not run, with the files among
//! their arguments.
//!
//! Lines for a shell are read loosely: the commands and words that can be seen without running them.

use crate::context::Context;
use crate::reason::Reason;
use crate::seed::Seed;
use slim_image::Config;

/// What runs shell forms where the image sets no SHELL.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];
pub(crate) const SHELLS: [&str; 6] = ["ash", "bash", "dash", "ksh", "sh", "zsh"];
/// Words before a command's name in a shell line.
const PREFIXES: [&str; 14] = [
    "!", "builtin", "command", "do", "elif", "else", "env", "exec", "if", "nohup", "then", "time", "until",
    "while",
];

/// The programs and files that an image's configuration names.
pub(crate) fn seeds(context: &Context<'_>, config: &Config, with_healthcheck: bool) -> Vec<Seed> {
    let mut seeds = Vec::new();
    let reason = |word: &str| Reason::Entrypoint { word: word.to_owned() };
    command(context, &config.command_line(), &reason, &mut seeds);
    // An entrypoint script ends with exec "$@" as a rule: CMD is then a command of its own.
    if !config.entrypoint.is_empty() {
        command(context, &config.cmd, &reason, &mut seeds);
    }
    let reason = |word: &str| Reason::Healthcheck { word: word.to_owned() };
    match config.healthcheck.as_ref().filter(|_| with_healthcheck).map_or(&[][..], |check| &check.test) {
        [kind, words @ ..] if kind == "CMD" => command(context, words, &reason, &mut seeds),
        [kind, line] if kind == "CMD-SHELL" => {
            let shell = if config.shell.is_empty() {
                SHELL.map(str::to_owned).to_vec()
            } else {
                config.shell.clone()
            };
            let words: Vec<String> = shell.into_iter().chain([line.clone()]).collect();
            command(context, &words, &reason, &mut seeds);
        }
        _ => {}
    }
    seeds
}

fn command(context: &Context<'_>, words: &[String], reason: &dyn Fn(&str) -> Reason, seeds: &mut Vec<Seed>) {
    let Some((name, arguments)) = words.split_first() else { return };
    if let Some(program) = context.program(name) {
        seeds.push(Seed::program(program, reason(name)));
    }
    let is_shell = name.rsplit('/').next().is_some_and(|name| SHELLS.contains(&name));
    let line = arguments.iter().position(|word| is_shell && word.starts_with('-') && word.ends_with('c'));
    match line.and_then(|at| arguments.get(at + 1)) {
        Some(line) => shell_line(context, line, reason, seeds),
        None => arguments.iter().for_each(|word| file(context, word, reason, seeds)),
    }
}

/// Keeps the programs and files that a line for a shell names, as far as they can be seen without running it.
pub(crate) fn shell_line(
    context: &Context<'_>,
    line: &str,
    reason: &dyn Fn(&str) -> Reason,
    seeds: &mut Vec<Seed>,
) {
    let mut is_command = true;
    for word in shell_words(line) {
        match word {
            Word::Operator => is_command = true,
            Word::Text(text) if is_command => {
                let is_assignment = text.split_once('=').is_some_and(|(name, _)| {
                    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                });
                if is_assignment {
                    file(context, &text, reason, seeds);
                    continue;
                }
                if let Some(program) = context.program(&text) {
                    seeds.push(Seed::program(program, reason(&text)));
                }
                is_command = PREFIXES.contains(&text.as_str());
            }
            Word::Text(text) => file(context, &text, reason, seeds),
        }
    }
}

/// Keeps what an argument names: `/etc/app.conf`, `server.js`, `--config=/etc/app.conf`.
fn file(context: &Context<'_>, word: &str, reason: &dyn Fn(&str) -> Reason, seeds: &mut Vec<Seed>) {
    let behind = word.split_once('=').map(|(_, value)| value);
    for name in [Some(word), behind].into_iter().flatten().filter(|name| !name.is_empty()) {
        let path = context.environment.absolute(name);
        if context.walk(path.as_bytes(), true).found().is_some() {
            seeds.push(Seed::program(path, reason(word)));
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Word {
    Text(String),
    /// What ends a command: `;`, `&`, `|`, a line feed, parentheses.
    Operator,
}

/// The words of a shell line, quotes taken away; words with substitutions are left as they stand and name nothing.
fn shell_words(line: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut text: Option<String> = None;
    let mut characters = line.chars();
    let end = |text: &mut Option<String>, words: &mut Vec<Word>| words.extend(text.take().map(Word::Text));
    while let Some(character) = characters.next() {
        match character {
            '\'' => text.get_or_insert_default().extend(characters.by_ref().take_while(|next| *next != '\'')),
            '"' => {
                let text = text.get_or_insert_default();
                while let Some(next) = characters.next() {
                    match next {
                        '"' => break,
                        '\\' => text.extend(characters.next()),
                        next => text.push(next),
                    }
                }
            }
            '\\' => text.get_or_insert_default().extend(characters.next()),
            ';' | '&' | '|' | '\n' | '(' | ')' => {
                end(&mut text, &mut words);
                words.push(Word::Operator);
            }
            '<' | '>' => end(&mut text, &mut words),
            character if character.is_whitespace() => end(&mut text, &mut words),
            character => text.get_or_insert_default().push(character),
        }
    }
    end(&mut text, &mut words);
    words
}
