//! What the text of a Perl file loads. Only Perl can parse Perl; statements that load modules stand in few forms, each at
//! the beginning of a statement, and a name that means nothing is found nowhere. Documentation and what follows
//! `__END__` is left out.

/// Lines of one statement that are looked at.
const STATEMENT_LINES: usize = 40;
/// Bytes of one statement that are looked at.
const STATEMENT_MAX: usize = 4096;

/// What a file asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ask {
    /// `Some::Module`.
    Module(Vec<u8>),
    /// The path of a file, looked for where modules are.
    File(Vec<u8>),
    /// A file of a folder, by what its path begins and ends with.
    Folder(Vec<u8>, Vec<u8>),
    /// A directory to look for modules in; relative ones from the script's or the working directory.
    Directory(Vec<u8>),
    /// It says that it is this package.
    Package(Vec<u8>),
}

/// Words of which each names modules in quotes.
const LOADERS: [&str; 14] = [
    "aliased",
    "autouse",
    "base",
    "extends",
    "if",
    "load_class",
    "load_module",
    "parent",
    "require_module",
    "superclass",
    "try_load_class",
    "use_module",
    "use_package_optimistically",
    "with",
];

/// `open … '<:encoding(UTF-8)'`: what Perl itself loads for it, and for a string that is read as a file, which no text shows.
const ENCODING_LAYER: &[u8] = b":encoding(";
const OF_ENCODING_LAYERS: [&[u8]; 3] = [b"PerlIO", b"PerlIO::encoding", b"PerlIO::scalar"];

/// Everything asked for, with its line.
pub(super) fn read(text: &[u8]) -> Vec<(u32, Ask)> {
    let mut asks = Vec::new();
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    let mut is_documentation = false;
    let mut package: Vec<u8> = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        if line.first() == Some(&b'=') && line.get(1).is_some_and(u8::is_ascii_alphabetic) {
            is_documentation = !line.starts_with(b"=cut");
            continue;
        }
        if is_documentation || line.trim_ascii_start().starts_with(b"#") {
            continue;
        }
        if matches!(line.trim_ascii(), b"__END__" | b"__DATA__") {
            break;
        }
        let at = u32::try_from(number + 1).unwrap_or(u32::MAX);
        for (position, word) in words(line) {
            let rest = &line[position + word.len()..];
            let statement = || -> Vec<u8> {
                let mut all = rest[..rest.len().min(STATEMENT_MAX)].to_vec();
                for line in lines.iter().skip(number + 1).take(STATEMENT_LINES) {
                    if all.contains(&b';') || all.len() + line.len() > STATEMENT_MAX {
                        break;
                    }
                    all.push(b' ');
                    all.extend_from_slice(line);
                }
                all.split(|byte| *byte == b';').next().unwrap_or_default().to_vec()
            };
            let is_first = begins_statement(&line[..position]);
            let found: Vec<Ask> = match word {
                b"use" | b"no" if is_first => used(rest, &statement),
                b"package" | b"class" if is_first => {
                    package = name(rest).unwrap_or(package);
                    name(rest).map(Ask::Package).into_iter().collect()
                }
                b"require" => required(rest),
                b"do" => quoted(rest).map(Ask::File).into_iter().collect(),
                _ if LOADERS.contains(&std::str::from_utf8(word).unwrap_or_default())
                    && !matches!(word, b"if" | b"base" | b"parent" | b"aliased" | b"autouse")
                    && (is_first || rest.first() == Some(&b'(')) =>
                {
                    names_in(&statement()).into_iter().map(Ask::Module).collect()
                }
                _ => Vec::new(),
            };
            asks.extend(found.into_iter().map(|ask| (at, ask)));
        }
        asks.extend(drivers(line).into_iter().map(|ask| (at, ask)));
        if line.windows(ENCODING_LAYER.len()).any(|part| part == ENCODING_LAYER) {
            asks.extend(OF_ENCODING_LAYERS.map(|name| (at, Ask::Module(name.to_vec()))));
        }
        asks.extend(relatives(line, &package).into_iter().map(|ask| (at, ask)));
    }
    asks
}

/// Names of modules in strings, of the package's own family: what a module loads by a string eval is mostly a variant of
/// its own (`Text::CSV_XS`, `Encode::Byte`, `Math::BigInt::Calc`). Names of other families are mostly data.
fn relatives(line: &[u8], package: &[u8]) -> Vec<Ask> {
    let family = package.split(|byte| *byte == b':').next().unwrap_or_default();
    if family.is_empty() || !line.windows(2).any(|pair| pair == b"::") {
        return Vec::new();
    }
    let is_relative = |name: &Vec<u8>| {
        let is_name = name.iter().all(|byte| is_word(*byte) || *byte == b':') && !name.ends_with(b":");
        is_name && name != package && name.strip_prefix(family).is_some_and(|rest| rest.starts_with(b"::"))
    };
    strings_in(line).into_iter().filter(is_relative).map(Ask::Module).collect()
}

/// `use …;`
fn used(rest: &[u8], statement: &dyn Fn() -> Vec<u8>) -> Vec<Ask> {
    let Some(module) = name(rest) else { return Vec::new() };
    let mut asks = vec![Ask::Module(module.clone())];
    match &module[..] {
        b"lib" => {
            asks.extend(strings_in(&statement()).into_iter().map(Ask::Directory));
        }
        name if LOADERS.contains(&std::str::from_utf8(name).unwrap_or_default()) => {
            let statement = statement();
            asks.extend(names_in(&statement).into_iter().map(Ask::Module));
            if name == b"if" {
                // `use if CONDITION, Module => …`
                let bare = statement.split(|byte| matches!(byte, b',' | b'>')).skip(1).filter_map(self::name);
                asks.extend(bare.map(Ask::Module));
            }
        }
        _ => {}
    }
    asks
}

/// `require Some::Module` and `require "file.pl"`.
fn required(rest: &[u8]) -> Vec<Ask> {
    match (quoted(rest), folder(rest)) {
        (Some(file), _) => vec![Ask::File(file)],
        (None, Some((prefix, suffix))) => vec![Ask::Folder(prefix, suffix)],
        (None, None) => name(rest).map(Ask::Module).into_iter().collect(),
    }
}

/// Drivers of databases are loaded by the name in `dbi:Name:…`.
fn drivers(line: &[u8]) -> Vec<Ask> {
    let mut asks = Vec::new();
    for at in 0..line.len().saturating_sub(4) {
        if line[at..at + 4].eq_ignore_ascii_case(b"dbi:") {
            let driver: Vec<u8> =
                line[at + 4..].iter().copied().take_while(u8::is_ascii_alphanumeric).collect();
            if !driver.is_empty() {
                asks.push(Ask::Module([&b"DBD::"[..], &driver].concat()));
            }
        }
    }
    asks
}

/// The words of a line, with their places: no variables, methods or parts of names.
fn words(line: &[u8]) -> Vec<(usize, &[u8])> {
    let mut words = Vec::new();
    let mut at = 0;
    while at < line.len() {
        if !is_word(line[at]) {
            at += 1;
            continue;
        }
        let end = at + line[at..].iter().take_while(|byte| is_word(**byte)).count();
        let before = at.checked_sub(1).map(|before| line[before]);
        if !matches!(before, Some(b'$' | b'@' | b'%' | b'&' | b':' | b'>')) {
            words.push((at, &line[at..end]));
        }
        at = end;
    }
    words
}

fn begins_statement(before: &[u8]) -> bool {
    matches!(before.trim_ascii_end().last(), None | Some(b';' | b'{' | b'}'))
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The name that a text begins with; none where it is a version, a variable or a string.
fn name(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii_start();
    let length = text.iter().take_while(|byte| is_word(**byte) || matches!(byte, b':' | b'\'')).count();
    let name = text[..length].strip_suffix(b"'").unwrap_or(&text[..length]);
    let is_version = name.first() == Some(&b'v') && name[1..].iter().all(u8::is_ascii_digit);
    let is_name = name.first().is_some_and(|first| first.is_ascii_alphabetic() || *first == b'_');
    (is_name && !is_version && !name.ends_with(b":")).then(|| name.to_vec())
}

/// The string that a text begins with, perhaps in parentheses; none where it holds a variable.
fn quoted(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii_start();
    let text = text.strip_prefix(b"(").unwrap_or(text).trim_ascii_start();
    let quote = *text.first().filter(|quote| matches!(quote, b'"' | b'\''))?;
    let string = text[1..].split(|byte| *byte == quote).next()?;
    let is_constant = quote == b'\'' || !string.iter().any(|byte| matches!(byte, b'$' | b'@'));
    (is_constant && !string.is_empty()).then(|| string.to_vec())
}

/// The ends of a string with one variable in its last component.
fn folder(text: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let text = text.trim_ascii_start();
    let string = text.strip_prefix(b"(").unwrap_or(text).trim_ascii_start().strip_prefix(b"\"")?;
    let string = string.split(|byte| *byte == b'"').next()?;
    let variable = string.iter().position(|byte| *byte == b'$')?;
    let (prefix, rest) = string.split_at(variable);
    let name = rest[1..].iter().take_while(|byte| is_word(**byte) || matches!(byte, b'{' | b'}')).count();
    let suffix = &rest[1 + name..];
    let is_plain = !suffix.iter().any(|byte| matches!(byte, b'$' | b'@' | b'/'));
    (is_plain && prefix.contains(&b'/')).then(|| (prefix.to_vec(), suffix.to_vec()))
}

/// All strings of a statement, those of `qw` too.
fn strings_in(statement: &[u8]) -> Vec<Vec<u8>> {
    let mut strings = Vec::new();
    let mut rest = statement;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\'' | b'q')) {
        let after = &rest[at + 1..];
        if rest[at] == b'q' {
            let list = after.strip_prefix(b"w").map(<[u8]>::trim_ascii_start);
            let open = list.and_then(|list| list.first()).copied();
            let close = match open {
                Some(b'(') => b')',
                Some(b'[') => b']',
                Some(b'{') => b'}',
                Some(b'<') => b'>',
                Some(b'/') => b'/',
                _ => {
                    rest = after;
                    continue;
                }
            };
            let list = &list.unwrap_or_default()[1..];
            let end = list.iter().position(|byte| *byte == close).unwrap_or(list.len());
            strings.extend(
                list[..end]
                    .split(u8::is_ascii_whitespace)
                    .filter(|word| !word.is_empty())
                    .map(<[u8]>::to_vec),
            );
            rest = list.get(end + 1..).unwrap_or_default();
            continue;
        }
        let end = after.iter().position(|byte| *byte == rest[at]).unwrap_or(after.len());
        strings.push(after[..end].to_vec());
        rest = after.get(end + 1..).unwrap_or_default();
    }
    strings
}

/// The strings of a statement that can be names of modules.
fn names_in(statement: &[u8]) -> Vec<Vec<u8>> {
    let strings = strings_in(statement).into_iter();
    strings.filter(|string| name(string).is_some_and(|name| name == *string)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_of_encodings_asks_for_the_modules_that_perl_loads_for_it() {
        let asks: Vec<Ask> =
            read(b"open my $file, '<:encoding(UTF-8)', $path;").into_iter().map(|(_, ask)| ask).collect();
        assert_eq!(asks, OF_ENCODING_LAYERS.map(|name| Ask::Module(name.to_vec())));
    }

    #[test]
    fn a_module_of_the_own_family_in_a_string_counts_and_a_strangers_does_not() {
        let text = b"package Text::CSV;\nmy $xs = 'Text::CSV_XS'; my $other = 'Data::Dumper'; my $self = 'Text::CSV';\n";
        let asks: Vec<Ask> = read(text).into_iter().map(|(_, ask)| ask).collect();
        assert_eq!(asks, [Ask::Package(b"Text::CSV".to_vec()), Ask::Module(b"Text::CSV_XS".to_vec())]);
        assert!(read(b"my $xs = 'Text::CSV_XS';\n").is_empty(), "a script has no family");
    }

    fn asks(text: &str) -> Vec<String> {
        let show = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        read(text.as_bytes())
            .iter()
            .map(|(line, ask)| match ask {
                Ask::Module(name) => format!("{line} {}", show(name)),
                Ask::File(path) => format!("{line} file {}", show(path)),
                Ask::Folder(prefix, suffix) => format!("{line} folder {}*{}", show(prefix), show(suffix)),
                Ask::Directory(path) => format!("{line} directory {}", show(path)),
                Ask::Package(name) => format!("{line} package {}", show(name)),
            })
            .collect()
    }

    #[test]
    fn statements_that_load_are_seen_and_others_are_not() {
        let text = r#"#!/usr/bin/perl
package My::App; use strict; use 5.010; use v5.36; use POSIX qw(floor use);
use lib "$FindBin::Bin/../lib", '/opt/lib';
use parent -norequire, qw(A::B
  C::D); use if $] < 5.01, 'E::F' => 1;
eval { require G::H; 1 } or require "i/j.pl"; require $name; require 5.006;
# use Commented;
my $use = $self->require('x'); my %h = (use => 1); print "please use Other";
extends 'K::L'; my $c = load_class("M::N"); do './settings.pl';
my $db = DBI->connect("dbi:Pg:dbname=x");

=head1 NAME

use Documented;

=cut

use Last;
__END__
use Behind;
"#;
        insta::assert_snapshot!(asks(text).join("\n"), @r"
        2 package My::App
        2 strict
        2 POSIX
        3 lib
        3 directory $FindBin::Bin/../lib
        3 directory /opt/lib
        4 parent
        4 A::B
        4 C::D
        5 if
        5 E::F
        6 G::H
        6 file i/j.pl
        9 K::L
        9 M::N
        9 file ./settings.pl
        10 DBD::Pg
        18 Last
        ");
    }

    #[test]
    fn any_bytes_are_read() {
        for text in
            [&b"use"[..], b"use lib qw(", b"require '", b"\xff\xfe use \xff", b"qw", b"=", b"use parent 'a"]
        {
            read(text);
        }
        assert!(read(&b"use parent ".repeat(2_000)).len() < 10_000);
    }
}
