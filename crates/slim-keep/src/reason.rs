//! Why a path is in the keep-set, as a value that reports and `explain` read.

use serde::{Deserialize, Serialize};
use slim_image::ImagePath;
use slim_image::path::unescape;
use slim_trace::{Access, Phase};
use std::collections::BTreeSet;
use std::fmt;

/// One reason for keeping a path. Its [`Display`](fmt::Display) is a sentence that fits after the path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Reason {
    /// The program touched it while it was watched.
    Traced { program: String, access: BTreeSet<Access>, phases: BTreeSet<Phase> },
    /// A symlink that a look-up of `to` followed.
    SymlinkOnTheWay { to: ImagePath },
    /// A directory that a look-up of `to` (escaped text, as the program named it) went through.
    OnTheWay { to: String },
    /// A directory above a kept path.
    ParentOf { path: ImagePath },
    /// A shared library, asked for under this name.
    NeededLibrary { by: ImagePath, soname: String },
    /// The loader that an ELF file names.
    ElfInterpreter { of: ImagePath },
    /// The interpreter in a script's `#!` line, or the program that `env` looks up for it.
    Shebang { of: ImagePath },
    /// The source beside a compiled Python file: Python looks at the source's time before it takes the compiled one.
    PythonSource { of: ImagePath },
    /// A word of ENTRYPOINT or CMD names it.
    Entrypoint { word: String },
    /// A word of HEALTHCHECK names it.
    Healthcheck { word: String },
    /// A directory that holds nothing in the image, or nothing but sockets, pid and lock files.
    EmptyDirectory,
    /// WORKDIR.
    WorkingDirectory,
    /// Part of what the image holds under a VOLUME: engines fill new volumes from it.
    Volume { volume: ImagePath },
    /// The home directory of the image's user.
    Home { user: String },
    /// A directory that programs take for granted, as `/tmp`.
    TemporaryDirectory,
    /// A directory that something was mounted on.
    MountPoint,
    /// A file that libraries of the system look for.
    System { what: SystemPart },
    /// Certificates of authorities.
    Certificates,
    /// The program listed the directory that holds it.
    ListedBy { directory: ImagePath, program: String },
    /// A kept file can reach it without having been seen to: `what` is the name under which `from` asks for it (a
    /// module, a command, a path), at this line (from 1) where the rule knows one.
    Reachable { via: Via, from: ImagePath, line: Option<u32>, what: String },
    /// A flag asked for it.
    Included { flag: String, value: String },
    /// A slim image without it was run for verification and looked for it.
    Repaired { round: u32 },
}

/// By which rule a kept file reaches another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Via {
    /// It is one of the application's own files; `from` is the file or directory that makes it one.
    Application,
    /// A library that is opened at run time by name: NSS, PAM, gconv, providers, plug-ins.
    DynamicLibrary,
    /// A command that a script calls.
    ShellCommand,
    /// A module that a Python file imports.
    PythonImport,
    /// What Python looks for beside a module or package that it imports: metadata, data, bundled libraries.
    PythonCompanion,
    /// A module that a JavaScript file requires or imports.
    NodeImport,
    /// What Node.js looks for beside a module: package.json, add-ons, views.
    NodeCompanion,
    Ruby,
    Php,
    Java,
    Perl,
    DotNet,
    Erlang,
    /// An absolute path in the text of a configuration file or script.
    NamedPath,
    Locale,
    TimeZone,
    Certificates,
    Terminal,
    /// A file of the package that `from` is of.
    Package,
}

/// Which part of the system looks for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SystemPart {
    /// Names of users and groups.
    Accounts,
    /// The C library's look-up of hosts, users and services.
    NameService,
    /// What distribution this is.
    Distribution,
    /// The loader's index of libraries.
    Loader,
}

impl Reason {
    /// The kind as it stands in the file, for counting.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Traced { .. } => "traced",
            Self::SymlinkOnTheWay { .. } => "symlink-on-the-way",
            Self::OnTheWay { .. } => "on-the-way",
            Self::ParentOf { .. } => "parent-of",
            Self::NeededLibrary { .. } => "needed-library",
            Self::ElfInterpreter { .. } => "elf-interpreter",
            Self::Shebang { .. } => "shebang",
            Self::PythonSource { .. } => "python-source",
            Self::Entrypoint { .. } => "entrypoint",
            Self::Healthcheck { .. } => "healthcheck",
            Self::EmptyDirectory => "empty-directory",
            Self::WorkingDirectory => "working-directory",
            Self::Volume { .. } => "volume",
            Self::Home { .. } => "home",
            Self::TemporaryDirectory => "temporary-directory",
            Self::MountPoint => "mount-point",
            Self::System { .. } => "system",
            Self::Certificates => "certificates",
            Self::ListedBy { .. } => "listed-by",
            Self::Reachable { .. } => "reachable",
            Self::Included { .. } => "included",
            Self::Repaired { .. } => "repaired",
        }
    }

    /// The name of the path that this one is kept for, as it was asked for; `None` where the reason stands by itself.
    #[must_use]
    pub fn kept_for(&self) -> Option<Vec<u8>> {
        let path = match self {
            Self::SymlinkOnTheWay { to: path }
            | Self::ParentOf { path }
            | Self::NeededLibrary { by: path, .. }
            | Self::ElfInterpreter { of: path }
            | Self::Shebang { of: path }
            | Self::PythonSource { of: path }
            | Self::Reachable { from: path, .. } => path.as_bytes().to_vec(),
            Self::Traced { program: name, .. }
            | Self::ListedBy { program: name, .. }
            | Self::OnTheWay { to: name } => unescape(name).filter(|path| path.first() == Some(&b'/'))?,
            Self::Entrypoint { .. }
            | Self::Healthcheck { .. }
            | Self::EmptyDirectory
            | Self::WorkingDirectory
            | Self::Volume { .. }
            | Self::Home { .. }
            | Self::TemporaryDirectory
            | Self::MountPoint
            | Self::System { .. }
            | Self::Certificates
            | Self::Repaired { .. }
            | Self::Included { .. } => return None,
        };
        Some(path)
    }

    /// How many reasons of this kind a path keeps; more of them say nothing new. `None`: all, of who needs a library or a
    /// loader, since by that it is known what each program loads.
    pub(crate) fn most_of_kind(&self) -> Option<usize> {
        match self {
            Self::NeededLibrary { .. } | Self::ElfInterpreter { .. } => None,
            Self::Traced { .. } => Some(8),
            Self::OnTheWay { .. } | Self::SymlinkOnTheWay { .. } => Some(2),
            Self::ParentOf { .. } => Some(1),
            _ => Some(4),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Traced { program, access, phases } => {
                let access: Vec<&str> = access.iter().map(|access| access_words(*access)).collect();
                let phases: Vec<&str> = phases.iter().map(|phase| phase_word(*phase)).collect();
                write!(formatter, "{program} {} during {}", access.join(", "), phases.join(", "))
            }
            Self::SymlinkOnTheWay { to } => write!(formatter, "is a symlink on the way to {to}"),
            Self::OnTheWay { to } => write!(formatter, "was gone through when {to} was looked for"),
            Self::ParentOf { path } => write!(formatter, "holds {path}"),
            Self::NeededLibrary { by, soname } => {
                write!(formatter, "is the library {soname} that {by} needs")
            }
            Self::ElfInterpreter { of } => write!(formatter, "is the loader of {of}"),
            Self::Shebang { of } => write!(formatter, "runs the script {of}"),
            Self::PythonSource { of } => {
                write!(formatter, "is the source that Python checks before it uses {of}")
            }
            Self::Entrypoint { word } => write!(formatter, "is named by ENTRYPOINT or CMD as {word}"),
            Self::Healthcheck { word } => write!(formatter, "is named by HEALTHCHECK as {word}"),
            Self::EmptyDirectory => formatter.write_str("is empty in the image, and programs may expect it"),
            Self::WorkingDirectory => formatter.write_str("is WORKDIR"),
            Self::Volume { volume } => write!(formatter, "is what the image holds under the VOLUME {volume}"),
            Self::Home { user } => write!(formatter, "is the home directory of {user}"),
            Self::TemporaryDirectory => formatter.write_str("is a directory that programs take for granted"),
            Self::MountPoint => formatter.write_str("is a directory that something was mounted on"),
            Self::System { what } => formatter.write_str(match what {
                SystemPart::Accounts => "tells the names of users and groups",
                SystemPart::NameService => "is how the C library looks up hosts and users",
                SystemPart::Distribution => "tells what distribution this is",
                SystemPart::Loader => "is the loader's index of libraries",
            }),
            Self::Certificates => formatter.write_str("holds the certificates of authorities"),
            Self::ListedBy { directory, program } => {
                write!(formatter, "is in {directory}, which {program} listed")
            }
            Self::Reachable { via: Via::Package, from, what, .. } => {
                write!(formatter, "is of the package {what}, as {from} is")
            }
            Self::Reachable { via, from, line, what } => {
                write!(formatter, "{} {from}", via_words(*via))?;
                if let Some(line) = line {
                    write!(formatter, ":{line}")?;
                }
                if what.is_empty() { Ok(()) } else { write!(formatter, " as {what}") }
            }
            Self::Included { flag, value } if value.is_empty() => {
                write!(formatter, "was asked for by {flag}")
            }
            Self::Included { flag, value } => write!(formatter, "was asked for by {flag} {value}"),
            Self::Repaired { round } => write!(formatter, "repaired in round {round}"),
        }
    }
}

fn access_words(access: Access) -> &'static str {
    match access {
        Access::Open => "opened it",
        Access::Execute => "ran it",
        Access::Stat => "asked for its attributes",
        Access::ReadLink => "read its target",
        Access::ChangeDirectory => "worked in it",
        Access::List => "listed it",
        Access::Connect => "connected to it",
        Access::Bind => "bound it",
        Access::Write => "wrote to it",
        Access::Append => "added to its end",
        Access::Create => "made it",
        Access::ChangeAttributes => "changed its attributes",
        Access::RenameFrom => "renamed it",
        Access::RenameTo => "replaced it",
        Access::Remove => "removed it",
        Access::Mount => "named it in a mount",
        Access::Lock | Access::LockExclusive => "locked it",
        Access::LinkFrom => "gave it another name",
        Access::LinkTo => "made it as another name",
        Access::Missing => "found it missing",
    }
}

fn via_words(via: Via) -> &'static str {
    match via {
        Via::Application => "is the application's own, as",
        Via::DynamicLibrary => "is opened at run time by",
        Via::ShellCommand => "is called by",
        Via::PythonImport | Via::NodeImport => "is imported by",
        Via::PythonCompanion | Via::NodeCompanion => "is looked for beside",
        Via::Ruby | Via::Php | Via::Java | Via::Perl | Via::DotNet | Via::Erlang => "is loaded by",
        Via::NamedPath => "is named in",
        Via::Locale => "is the locale asked for by",
        Via::TimeZone => "is the time zone asked for by",
        Via::Certificates => "are the certificates asked for by",
        Via::Terminal => "describes the terminal for",
        Via::Package => "is of the same package as",
    }
}

fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Runtime | Phase::RuntimeFiltered => "the container runtime's work",
        Phase::Startup => "startup",
        Phase::Exercise => "exercise",
        Phase::Shutdown => "shutdown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_reads_as_a_sentence_behind_its_path() {
        let traced = Reason::Traced {
            program: "/usr/bin/node".to_owned(),
            access: BTreeSet::from([Access::Open, Access::Stat]),
            phases: BTreeSet::from([Phase::Startup, Phase::Exercise]),
        };
        insta::assert_snapshot!(traced, @"/usr/bin/node opened it, asked for its attributes during startup, exercise");
        let library = Reason::NeededLibrary { by: "/bin/ls".into(), soname: "libc.so.6".to_owned() };
        insta::assert_snapshot!(library, @"is the library libc.so.6 that /bin/ls needs");
    }

    #[test]
    fn the_kind_is_what_the_file_says() {
        for reason in [
            Reason::EmptyDirectory,
            Reason::PythonSource { of: "/a".into() },
            Reason::SymlinkOnTheWay { to: "/a".into() },
            Reason::System { what: SystemPart::NameService },
        ] {
            let value = serde_json::to_value(&reason).unwrap();
            assert_eq!(value["kind"], reason.kind());
            assert_eq!(serde_json::from_value::<Reason>(value).unwrap(), reason);
        }
    }
}
