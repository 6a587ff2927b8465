//! Flags of `explain` → what is asked, and where the answer lies.

use crate::arguments::{ByArgument, ExplainArguments, GlobalArguments};
use crate::failure::Failure;
use slim_keep::{By, KEEP_FILE};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// There is no such image, or nothing was made of it.
const NO_IMAGE: u8 = 4;

/// What `explain` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainSettings {
    pub keep_file: PathBuf,
    pub question: Question,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    Paths(Vec<Vec<u8>>),
    /// At most so many groups.
    Removed {
        by: By,
        top: usize,
    },
}

/// The settings of `explain`.
///
/// # Errors
/// What is wrong with the flags; that nothing was made of the image.
pub fn explain(global: &GlobalArguments, arguments: &ExplainArguments) -> Result<ExplainSettings, Failure> {
    let question = match (arguments.removed, &arguments.paths[..]) {
        (true, []) => Question::Removed {
            by: match arguments.by {
                ByArgument::Package => By::Package,
                ByArgument::Layer => By::Layer,
                ByArgument::Directory => By::Directory,
                ByArgument::Extension => By::Extension,
            },
            top: if arguments.top == 0 { usize::MAX } else { arguments.top },
        },
        (true, _) => {
            return Err(
                Failure::usage("explain paths and --removed at once").with_hint("ask one after the other")
            );
        }
        (false, []) => {
            return Err(Failure::usage("find something to explain: no path was given")
                .with_hint("docker-slim explain IMAGE /etc/passwd; --removed shows what was removed"));
        }
        (false, paths) => Question::Paths(paths.iter().map(|path| path.clone().into_vec()).collect()),
    };
    Ok(ExplainSettings { keep_file: keep_file(global, &arguments.image)?, question })
}

/// The `keep.json` of an image's last build, or the file itself.
///
/// # Errors
/// When there is none.
pub fn keep_file(global: &GlobalArguments, image: &str) -> Result<PathBuf, Failure> {
    let given = Path::new(image);
    if given.is_file() {
        return Ok(given.to_owned());
    }
    let state_path = global.state_path.as_deref().unwrap_or(Path::new("."));
    let artifacts = slim_build::last_artifacts(state_path, image)?;
    artifacts.map(|artifacts| artifacts.join(KEEP_FILE)).ok_or_else(|| {
        let folder = state_path.join(".images");
        Failure::new(format!("find what a build of {image} left below {}", folder.display()), NO_IMAGE)
            .with_hint(
                "docker-slim build or profile writes it; --state-path names the folder where that was run",
            )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Command;
    use crate::command_line::tests::parse_with;

    fn of(words: &[&str]) -> Result<ExplainSettings, Failure> {
        let arguments = parse_with(&[&["explain"], words].concat(), &[]).unwrap().arguments;
        let Command::Explain(explain_arguments) = arguments.command else { panic!() };
        explain(&arguments.global, &explain_arguments)
    }

    #[test]
    fn a_file_is_taken_as_it_is_and_an_image_needs_a_build() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("any.json");
        std::fs::write(&path, "{}").unwrap();
        let path_text = path.to_str().unwrap();
        let settings = of(&[path_text, "/a", "/b"]).unwrap();
        assert_eq!(settings.keep_file, path);
        assert_eq!(settings.question, Question::Paths(vec![b"/a".to_vec(), b"/b".to_vec()]));
        let failure =
            of(&["no-such-image", "/a", "--state-path", folder.path().to_str().unwrap()]).unwrap_err();
        assert_eq!(failure.exit_code, 4);
        assert!(failure.message.contains("no-such-image"));
        let question = of(&[path_text, "--removed", "--by=package", "--top=0"]).unwrap().question;
        assert_eq!(question, Question::Removed { by: By::Package, top: usize::MAX });
    }

    #[test]
    fn one_thing_is_asked_at_a_time() {
        assert_eq!(of(&["x"]).unwrap_err().exit_code, 2);
        assert_eq!(of(&["x", "/a", "--removed"]).unwrap_err().exit_code, 2);
    }
}
