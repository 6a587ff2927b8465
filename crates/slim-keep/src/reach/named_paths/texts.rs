//! Which kept files are texts whose paths count, and how each is read.
//!
//! Configuration: what lies in `/etc`, and what has the name of a configuration and is the application's own or was
//! opened. Source: scripts, and source files of the application. Not so what belongs to a package of a language, lists
//! what there is rather than what is wanted (accounts, shells, package databases), or is made for a person's shell;
//! scripts of a shell have a rule of their own.

use super::mentions::Style;
use crate::context::Context;
use crate::entrypoint::SHELLS;
use crate::inspect::File;
use crate::listing;
use crate::reach::KeptFile;
use slim_image::ImagePath;
use std::collections::BTreeSet;

/// Longer texts are data. Of formats that data often has, much shorter ones, too, unless the program opened them.
const TEXT_MAX: u64 = 512 << 10;
const DATA_MAX: u64 = 64 << 10;
const DATA: [&[u8]; 3] = [b"json", b"txt", b"xml"];
/// Endings of configurations.
const CONFIGURATION: [&[u8]; 21] = [
    b"cache",
    b"cfg",
    b"cnf",
    b"conf",
    b"config",
    b"desktop",
    b"env",
    b"ini",
    b"json",
    b"load",
    b"module",
    b"path",
    b"properties",
    b"service",
    b"socket",
    b"timer",
    b"toml",
    b"txt",
    b"xml",
    b"yaml",
    b"yml",
];
/// Endings of source. Shells have a rule of their own.
const SOURCE: [&[u8]; 13] =
    [b"cjs", b"ejs", b"erb", b"ex", b"exs", b"js", b"lua", b"mjs", b"php", b"pl", b"pm", b"py", b"rb"];
const TYPED_SOURCE: [&[u8]; 2] = [b"ts", b"tcl"];
/// Endings of what is no configuration in `/etc` either.
const OTHERS: [&[u8]; 26] = [
    b"0", b"bash", b"bin", b"cer", b"crt", b"csr", b"css", b"db", b"dtd", b"gif", b"gz", b"htm", b"html",
    b"ico", b"jks", b"js", b"key", b"md", b"mo", b"p12", b"pem", b"png", b"sh", b"so", b"svg", b"zsh",
];
/// What lists what there is, and what only a person's shell reads.
const LISTS: [&str; 33] = [
    "/etc/adduser.conf",
    "/etc/alternatives",
    "/etc/apk",
    "/etc/apt",
    "/etc/bash.bashrc",
    "/etc/ca-certificates.conf",
    "/etc/deluser.conf",
    "/etc/dpkg",
    "/etc/fstab",
    "/etc/group",
    "/etc/gshadow",
    "/etc/init.d",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/login.defs",
    "/etc/mailcap",
    "/etc/manpath.config",
    "/etc/passwd",
    "/etc/profile",
    "/etc/profile.d",
    "/etc/rpm",
    "/etc/shadow",
    "/etc/shells",
    "/etc/skel",
    "/etc/ssl/certs",
    "/lib/apk",
    "/usr/lib/apk",
    "/usr/lib/sysimage",
    "/usr/share/doc",
    "/var/lib/apt",
    "/var/lib/dpkg",
    "/var/lib/rpm",
];
/// Backups that account tools make: `/etc/passwd-`.
const BACKUP: &[u8] = b"-";
/// Where files are of the system or of packages, unless the working directory lies there.
const SYSTEM: [&str; 10] = [
    "/bin",
    "/boot",
    "/lib",
    "/lib32",
    "/lib64",
    "/sbin",
    "/usr",
    "/var/cache",
    "/var/lib/apt",
    "/var/lib/dpkg",
];
/// Where administrators put what is their own.
const OWN: [&str; 3] = ["/usr/local/bin", "/usr/local/etc", "/usr/local/sbin"];
/// Components of paths that are of packages of a language.
const OF_PACKAGES: [&[u8]; 6] =
    [b"bundle", b"dist-packages", b"gems", b"node_modules", b"site-packages", b"site_ruby"];

/// How a kept file is read; `None` where its paths do not count. `opened` is what the program opened.
pub(super) fn style(
    file: &KeptFile<'_>,
    context: &Context<'_>,
    opened: &BTreeSet<ImagePath>,
) -> Option<Style> {
    let path = file.path;
    if !(2..=TEXT_MAX).contains(&file.entry.size()) || is_list(path) || is_of_a_package(path) {
        return None;
    }
    match &file.what {
        File::Elf(_) => None,
        File::Script(line) => {
            let is_program = file.run || file.entry.mode & 0o111 != 0;
            (is_program && !is_for_a_shell(line) && is_text_of_a_program(path)).then_some(Style::Source)
        }
        File::Other => style_of_other(file, context, opened),
    }
}

fn style_of_other(file: &KeptFile<'_>, context: &Context<'_>, opened: &BTreeSet<ImagePath>) -> Option<Style> {
    let path = file.path;
    if is_within(path, &["/etc/cron.d", "/etc/crontab"]) {
        return Some(Style::Timetable { with_user: true });
    }
    if is_within(path, &["/var/spool/cron", "/etc/crontabs"]) {
        return Some(Style::Timetable { with_user: false });
    }
    let ending = ending(path.file_name());
    if is_within(path, &["/etc"]) {
        let is_other = ending.is_some_and(|ending| OTHERS.binary_search(&ending).is_ok());
        return (!is_other).then_some(Style::Configuration);
    }
    let (is_own, is_opened) = (is_own(context, path), opened.contains(path));
    // Text may be written for people: only the program knows.
    let is_data = |ending| {
        let is_long = DATA.contains(&ending) && file.entry.size() > DATA_MAX;
        (is_long || ending == b"txt") && !is_opened
    };
    match ending {
        Some(ending) if SOURCE.binary_search(&ending).is_ok() || TYPED_SOURCE.contains(&ending) => {
            is_own.then_some(Style::Source)
        }
        Some(ending) if CONFIGURATION.binary_search(&ending).is_ok() && !is_data(ending) => {
            (is_own || is_opened).then_some(Style::Configuration)
        }
        Some(_) => None,
        // `Procfile`, `sites-enabled/default`, `conf/commands`.
        None => (is_own && (is_opened || is_among_configuration(path))).then_some(Style::Configuration),
    }
}

/// Whether a path lies in a folder that by its name holds configuration.
fn is_among_configuration(path: &ImagePath) -> bool {
    let parent = path.parent().unwrap_or_else(ImagePath::root);
    matches!(parent.file_name(), b"conf" | b"config" | b"etc" | b"settings")
        || parent.file_name().ends_with(b".d")
}

fn ending(name: &[u8]) -> Option<&[u8]> {
    let dot = name.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > 0 || name.len() > 1)?;
    Some(&name[dot + 1..])
}

fn is_within(path: &ImagePath, places: &[&str]) -> bool {
    places.iter().any(|place| path.is_within(&ImagePath::from(*place)))
}

fn is_list(path: &ImagePath) -> bool {
    is_within(path, &LISTS) || (is_within(path, &["/etc"]) && path.file_name().ends_with(BACKUP))
}

/// Whether a path is of an installed package of a language.
fn is_of_a_package(path: &ImagePath) -> bool {
    let mut components = path.as_bytes().split(|byte| *byte == b'/');
    components
        .any(|component| OF_PACKAGES.binary_search(&component).is_ok() || component.ends_with(b".dist-info"))
}

/// Whether a path is neither the system's nor a package's.
pub(super) fn is_own(context: &Context<'_>, path: &ImagePath) -> bool {
    let work = context.walk(context.environment.working_directory.as_bytes(), true);
    let is_in_work =
        work.found().is_some_and(|work| path.is_within(work) && !listing::is_of_the_system(context, work));
    (is_in_work || is_within(path, &OWN) || !is_within(path, &SYSTEM)) && !is_of_a_package(path)
}

/// Whether a script is a program of its own and no module that has a `#!` line all the same.
fn is_text_of_a_program(path: &ImagePath) -> bool {
    let parent = path.parent().unwrap_or_else(ImagePath::root);
    let is_of_programs = matches!(parent.file_name(), b"bin" | b"sbin" | b"libexec");
    is_of_programs || !is_within(path, &["/usr/lib", "/usr/share", "/lib", "/usr/local/lib"])
}

/// `#!/bin/sh`, `#!/usr/bin/env -S bash -e`.
fn is_for_a_shell(line: &[u8]) -> bool {
    let words =
        line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty() && !word.starts_with(b"-"));
    let mut names = words.map(|word| word.rsplit(|byte| *byte == b'/').next().unwrap_or_default());
    let is_shell = |name: &[u8]| name == b"busybox" || SHELLS.iter().any(|shell| shell.as_bytes() == name);
    match names.next() {
        Some(b"env") => names.find(|name| !name.contains(&b'=')).is_some_and(is_shell),
        Some(name) => is_shell(name),
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_sorted_for_the_search() {
        assert!(
            CONFIGURATION.is_sorted() && SOURCE.is_sorted() && OTHERS.is_sorted() && OF_PACKAGES.is_sorted()
        );
    }

    #[test]
    fn a_script_for_a_shell_is_known_through_env() {
        for line in
            [&b"/bin/sh"[..], b" /bin/bash -e", b"/usr/bin/env bash", b"/usr/bin/env -S A=1 zsh -f", b""]
        {
            assert!(is_for_a_shell(line), "{line:?}");
        }
        for line in [&b"/usr/bin/python3"[..], b"/usr/bin/env node", b"/usr/bin/perl -w"] {
            assert!(!is_for_a_shell(line), "{line:?}");
        }
    }
}
