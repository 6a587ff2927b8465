//! What a text mentions: absolute paths, names behind words that include files, and command lines.
//!
//! No language is parsed: a path is what looks like one and stands where one may begin. Whether the image has it is for
//! others to see. Comments, as far as their line begins as one, mention nothing.

/// How a text is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Every word may be a path.
    Configuration,
    /// Lines are `minute hour day month weekday [user] command`.
    Timetable { with_user: bool },
    /// Paths stand in literals, on one line.
    Source,
}

/// Something that a text mentions, on a line from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mention<'t> {
    pub line: u32,
    pub what: What<'t>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What<'t> {
    /// It may be a glob.
    Path(&'t [u8]),
    /// A relative name that stands behind a word as `include`; it may be a glob.
    Included(&'t [u8]),
    /// A line as a shell or an exec takes it.
    Command(&'t [u8]),
}

/// A path longer than PATH_MAX names nothing.
const PATH_MAX: usize = 4096;
/// Beginnings of lines that are comments.
const COMMENTS: [&[u8]; 6] = [b"#", b"//", b";", b"--", b"dnl ", b"REM "];
/// Words behind which files stand that belong to the one that names them, without case and what surrounds them.
const INCLUDES: [&[u8]; 10] = [
    b"files",
    b"import",
    b"include",
    b"include_dir",
    b"include_if_exists",
    b"included",
    b"includedir",
    b"includeoptional",
    b"includes",
    b"xi:include",
];
/// Keys whose values are command lines: of supervisord, systemd, and what is like them.
const COMMANDS: [&[u8]; 10] = [
    b"cmd",
    b"command",
    b"exec",
    b"execreload",
    b"execstart",
    b"execstartpost",
    b"execstartpre",
    b"execstop",
    b"execstoppost",
    b"run",
];

/// Everything that a text mentions, in its order.
pub(super) fn mentions(text: &[u8], style: Style) -> Vec<Mention<'_>> {
    let mut found = Vec::new();
    let mut comment_ends_at: Option<&[u8]> = None;
    for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        let mut line = line.trim_ascii();
        if let Some(end) = comment_ends_at {
            let Some(at) = memchr::memmem::find(line, end) else { continue };
            comment_ends_at = None;
            line = line[at + end.len()..].trim_ascii();
        }
        for (begin, end) in [(&b"/*"[..], &b"*/"[..]), (b"<!--", b"-->")] {
            if let Some(rest) = line.strip_prefix(begin) {
                match memchr::memmem::find(rest, end) {
                    Some(at) => line = rest[at + end.len()..].trim_ascii(),
                    None => comment_ends_at = Some(end),
                }
            }
        }
        if comment_ends_at.is_some()
            || line.is_empty()
            || COMMENTS.iter().any(|begin| line.starts_with(begin))
        {
            continue;
        }
        let mut add = |what| found.push(Mention { line: number, what });
        if style == Style::Source {
            literals(line, &mut |literal| paths(literal, &mut |path| add(What::Path(path))));
            continue;
        }
        let line = without_tail(line);
        paths(line, &mut |path| add(What::Path(path)));
        match style {
            Style::Timetable { with_user } => {
                if let Some(command) = timetable_command(line, with_user) {
                    add(What::Command(command));
                }
            }
            _ => directive(line, &mut add),
        }
    }
    found
}

/// A line without the comment at its end: behind a blank and `#`, outside quotes.
fn without_tail(line: &[u8]) -> &[u8] {
    let mut quote = None;
    for (at, byte) in line.iter().enumerate() {
        match (quote, byte) {
            (Some(open), byte) if open == *byte => quote = None,
            (None, b'"' | b'\'') => quote = Some(*byte),
            (None, b'#') if at > 0 && line[at - 1].is_ascii_whitespace() => return line[..at].trim_ascii(),
            _ => {}
        }
    }
    line
}

/// The contents of literals that end on their line.
fn literals<'t>(line: &'t [u8], see: &mut dyn FnMut(&'t [u8])) {
    let mut rest = line;
    while let Some(open) = rest.iter().position(|byte| matches!(byte, b'"' | b'\'' | b'`')) {
        let quote = rest[open];
        rest = &rest[open + 1..];
        let mut is_escaped = false;
        let end = rest.iter().position(|byte| {
            let ends = *byte == quote && !is_escaped;
            is_escaped = *byte == b'\\' && !is_escaped;
            ends
        });
        let Some(end) = end else { return };
        see(&rest[..end]);
        rest = &rest[end + 1..];
    }
}

/// The absolute paths in a line.
fn paths<'t>(line: &'t [u8], see: &mut dyn FnMut(&'t [u8])) {
    let mut at = 0;
    while let Some(slash) = memchr::memchr(b'/', &line[at..]).map(|slash| at + slash) {
        let length = line[slash..].iter().take_while(|byte| is_of_a_path(**byte)).count();
        let (path, behind) = (&line[slash..slash + length], line.get(slash + length));
        at = slash + length;
        if !may_begin(&line[..slash]) || path.starts_with(b"//") || length > PATH_MAX {
            continue;
        }
        // Within quotes a blank is part of the name.
        if let Some(quote @ (b'"' | b'\'')) = line[..slash].last()
            && let Some(end) = memchr::memchr(*quote, &line[slash..])
            && end > length
        {
            see(&line[slash..slash + end]);
        }
        // What goes on with a variable or an expression is only the beginning of a path.
        if !matches!(behind, Some(b'$' | b'{' | b'(' | b'\\')) && length > 1 {
            see(path);
        }
    }
}

fn is_of_a_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/._+-@%~*".contains(&byte) || byte >= 0x80
}

/// Whether a path may begin behind this. The slash of `and/or`, `$HOME/bin`, `</tag>` and `-I/usr/include` begins none.
fn may_begin(before: &[u8]) -> bool {
    match before {
        [] => true,
        [.., b'-'] => matches!(before, [b'-'] | [.., b' ' | b'\t' | b'=' | b':', b'-']),
        [.., last] => last.is_ascii_whitespace() || b"\"'`=:([{,>|@!+&;".contains(last),
    }
}

/// What stands behind the first word of a line where that is one that includes files, or a key of a command line.
fn directive<'t>(line: &'t [u8], add: &mut dyn FnMut(What<'t>)) {
    let line = line.strip_prefix(b"- ").unwrap_or(line);
    let is_of_a_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':');
    let start = line.iter().position(is_of_a_word).unwrap_or(line.len());
    let end = line[start..].iter().position(|byte| !is_of_a_word(byte)).map_or(line.len(), |end| start + end);
    let word = line[start..end].to_ascii_lowercase();
    let word = word.strip_suffix(b":").unwrap_or(&word);
    // `include "x"`, `!include x`, `@include x`, `include = x`, `include: x`; not `x.include(…)`.
    if start > 1 || (start == 1 && !b"!@.%".contains(&line[0])) || line.get(end) == Some(&b'(') {
        return;
    }
    let rest = line[end..].trim_ascii_start();
    let assigned = rest.strip_prefix(b"=").map(<[u8]>::trim_ascii);
    let value = assigned.unwrap_or(rest);
    if INCLUDES.contains(&word) {
        let names = value.split(|byte| byte.is_ascii_whitespace() || b"\"';,".contains(byte));
        names.filter(|name| !name.is_empty() && name[0] != b'/').for_each(|name| add(What::Included(name)));
    } else if COMMANDS.contains(&word) && assigned.is_some_and(|value| !value.is_empty()) {
        // Only behind `=`: `run: …` is what a service for builds does with the application, not the application.
        // systemd's marks in front of the program.
        let mark = value.iter().position(|byte| !b"-+!@:".contains(byte)).unwrap_or(0);
        add(What::Command(&value[mark..]));
    }
}

fn timetable_command(line: &[u8], with_user: bool) -> Option<&[u8]> {
    let fields = if line.starts_with(b"@") { 1 } else { 5 } + usize::from(with_user);
    let mut rest = line;
    for field in 0..fields {
        let end = rest.iter().position(u8::is_ascii_whitespace)?;
        // `MAILTO=root`, `PATH=…` are no fields.
        if field == 0 && rest[..end].contains(&b'=') {
            return None;
        }
        rest = rest[end..].trim_ascii_start();
    }
    Some(rest).filter(|rest| !rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn told(text: &str, style: Style) -> Vec<String> {
        let text_of = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        mentions(text.as_bytes(), style)
            .into_iter()
            .map(|mention| match mention.what {
                What::Path(path) => format!("{}:{}", mention.line, text_of(path)),
                What::Included(name) => format!("{}+{}", mention.line, text_of(name)),
                What::Command(line) => format!("{}!{}", mention.line, text_of(line)),
            })
            .collect()
    }

    fn configured(text: &str) -> Vec<String> {
        told(text, Style::Configuration)
    }

    #[test]
    fn paths_are_found_where_they_may_begin() {
        let text =
            "root /srv/www;\nA=/a:/b,/c\n<dir>/usr/x</dir>\nfile:///no unix:/run/s\n[/d] -/opt/e x@/f\n";
        assert_eq!(
            configured(text),
            ["1:/srv/www", "2:/a", "2:/b", "2:/c", "3:/usr/x", "4:/run/s", "5:/d", "5:/opt/e", "5:/f"]
        );
    }

    #[test]
    fn what_only_holds_a_slash_is_no_path() {
        for text in [
            "and/or",
            "$HOME/bin",
            "${a}/b",
            "http://host/a/b",
            "-I/usr/include",
            "a </b>",
            "/",
            "/a/$x",
            "1/2",
        ] {
            assert!(configured(text).is_empty(), "{text}: {:?}", configured(text));
        }
    }

    #[test]
    fn comments_mention_nothing() {
        let text = "# /a\n  ; /b\n// /c\nx /d # /e\n/* /f\n/g\n*/ /h\n<!-- /i -->\n<!--\n/j\n-->\n'#' /k\n";
        assert_eq!(configured(text), ["4:/d", "7:/h", "12:/k"]);
    }

    #[test]
    fn a_blank_within_quotes_is_part_of_the_name() {
        assert_eq!(configured("errorfile \"/etc/a b.http\""), ["1:/etc/a b.http", "1:/etc/a"]);
    }

    #[test]
    fn names_behind_include_are_relative_names() {
        let text = "include mime.types;\nIncludeOptional conf/*.conf\ninclude = 'a.cnf'\n@include common\n\
            !include b.yml\n- include: c.yml\nnot include d\ninclude(e)\nfiles = x/*.ini y.ini\n";
        assert_eq!(
            configured(text),
            [
                "1+mime.types",
                "2+conf/*.conf",
                "3+a.cnf",
                "4+common",
                "5+b.yml",
                "6+c.yml",
                "9+x/*.ini",
                "9+y.ini"
            ]
        );
    }

    #[test]
    fn command_lines_stand_behind_their_keys_and_times() {
        assert_eq!(
            configured("command=worker -z /a\nExecStart=-/usr/bin/x y\n"),
            ["1:/a", "1!worker -z /a", "2:/usr/bin/x", "2!/usr/bin/x y"]
        );
        let table = "MAILTO=root\n*/5 * * * * root /usr/bin/a && b\n@daily root c\n1 2 3\n";
        assert_eq!(
            told(table, Style::Timetable { with_user: true }),
            ["2:/usr/bin/a", "2!/usr/bin/a && b", "3!c"]
        );
        assert_eq!(told("0 0 * * * d e", Style::Timetable { with_user: false }), ["1!d e"]);
    }

    #[test]
    fn in_source_only_literals_count() {
        let text =
            "x = a /b/c\ny = '/etc/d' + \"/e \\\" f\" # '/g'\n// '/h'\nz = `/usr/bin/i -j`\n'open /k\n";
        assert_eq!(told(text, Style::Source), ["2:/etc/d", "2:/e", "2:/g", "4:/usr/bin/i"]);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(text in proptest::collection::vec(any::<u8>(), 0..400), pieces in "[/a '\"#=*;\n<!-]{0,200}") {
            for style in [Style::Configuration, Style::Source, Style::Timetable { with_user: true }] {
                let _ = mentions(&text, style);
                for mention in mentions(pieces.as_bytes(), style) {
                    prop_assert!(mention.line > 0);
                }
            }
        }
    }
}
