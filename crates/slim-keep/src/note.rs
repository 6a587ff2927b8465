//! What a person should know about a decision that no kept path tells.

use crate::base::Base;
use serde::{Deserialize, Serialize};
use slim_image::ImagePath;
use std::fmt;

/// One remark. Its [`Display`](fmt::Display) is a sentence without a full stop.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Note {
    /// A listed directory is a big one of the system: what was only listed is not kept.
    SystemDirectoryListed { directory: ImagePath, program: String, entries: usize, bytes: u64 },
    /// An interpreter listed directories to find modules: what it did not take is not kept.
    ModuleSearch { program: String, directories: usize, entries: usize, bytes: u64 },
    /// A program went over whole trees without reading them: what it only looked at is not kept.
    Sweep { program: String, directories: usize, entries: usize, bytes: u64 },
    /// A library that an ELF file names is not in the image, or not where the loader looks.
    LibraryMissing { by: ImagePath, soname: String },
    /// The loader that an ELF file names is not in the image.
    LoaderMissing { by: ImagePath, loader: String },
    /// A file begins as ELF does but cannot be read as such.
    ElfUnreadable { path: ImagePath, why: String },
    /// A rule cannot tell what a file reaches, and took the wider choice.
    NotFollowed { path: ImagePath, why: String, instead: String },
    /// Which files count as the application's own: those above the base, or those in these folders where the base is not
    /// known. `files` and `bytes`: what is kept for no other reason.
    Application { base: Base, folders: Vec<ImagePath>, files: usize, bytes: u64 },
    /// A record of installed packages cannot be read, so that their files seem to be nobody's.
    PackagesUnread { record: ImagePath, why: String },
    /// An exclude pattern took away what the program used.
    UsedExcluded { pattern: String, entries: usize, first: ImagePath },
}

impl fmt::Display for Note {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SystemDirectoryListed { directory, program, entries, bytes } => write!(
                formatter,
                "{program} listed {directory}; {} in it that nothing used are not kept ({})",
                counted(*entries, "entry", "entries"),
                size(*bytes)
            ),
            Self::ModuleSearch { program, directories, entries, bytes } => write!(
                formatter,
                "{program} searched {} for modules; {} that it did not load are not kept ({})",
                counted(*directories, "directory", "directories"),
                counted(*entries, "entry", "entries"),
                size(*bytes)
            ),
            Self::Sweep { program, directories, entries, bytes } => write!(
                formatter,
                "{program} went over {} without reading them; {} that nothing else used are not kept ({})",
                counted(*directories, "directory", "directories"),
                counted(*entries, "entry", "entries"),
                size(*bytes)
            ),
            Self::LibraryMissing { by, soname } => {
                write!(formatter, "the library {soname} that {by} needs is not where the loader looks for it")
            }
            Self::LoaderMissing { by, loader } => {
                write!(formatter, "the loader {loader} that {by} names is not in the image")
            }
            Self::ElfUnreadable { path, why } => {
                write!(formatter, "{path} looks like a program but cannot be read as one: {why}")
            }
            Self::NotFollowed { path, why, instead } => {
                write!(formatter, "what {path} reaches is not known ({why}); {instead}")
            }
            Self::Application { base, folders, files, bytes } => {
                match base {
                    Base::Unknown { why } if folders.is_empty() => {
                        return write!(formatter, "no folder is known to be the application's own ({why})");
                    }
                    Base::Unknown { why } => {
                        write!(formatter, "files of no package in {} ({why})", listed(folders))?;
                    }
                    known => write!(formatter, "files of no package that came after {known}")?,
                }
                let kept = counted(*files, "is", "are");
                write!(
                    formatter,
                    " count as the application's own; {kept} kept for that alone ({})",
                    size(*bytes)
                )
            }
            Self::PackagesUnread { record, why } => {
                write!(formatter, "which files are of the packages in {record} is not known: {why}")
            }
            Self::UsedExcluded { pattern, entries, first } => write!(
                formatter,
                "--exclude-pattern {pattern} takes away {} that the program used, {first} among them",
                counted(*entries, "path", "paths")
            ),
        }
    }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// The first few of many paths.
fn listed(paths: &[ImagePath]) -> String {
    const SHOWN: usize = 5;
    let mut text = paths.iter().take(SHOWN).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if paths.len() > SHOWN {
        text.push_str(&format!(" and {} more", paths.len() - SHOWN));
    }
    text
}

/// Decimal units, as engines print sizes.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_names_program_place_and_figures() {
        let note = Note::SystemDirectoryListed {
            directory: "/usr/bin".into(),
            program: "/bin/bash".to_owned(),
            entries: 1,
            bytes: 1_234_567,
        };
        insta::assert_snapshot!(note, @"/bin/bash listed /usr/bin; 1 entry in it that nothing used are not kept (1.2 MB)");
    }

    #[test]
    fn sizes_are_decimal() {
        assert_eq!([size(0), size(999), size(1000), size(999_999)], ["0 B", "999 B", "1.0 kB", "1.0 MB"]);
    }
}
