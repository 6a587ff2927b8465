//! Flags about what the slim image may do → settings; what names a policy → where it lies.

use crate::arguments::{GlobalArguments, PolicyArguments, SeccompChoice};
use crate::failure::Failure;
use slim_build::Settings;
use slim_image::location::{Form, Location};
use slim_image::{Layout, Reference, Stored};
use slim_policy::Mode;
use std::path::{Path, PathBuf};

/// How much the profile allows.
pub fn apply(arguments: &PolicyArguments, settings: &mut Settings) {
    settings.seccomp = match arguments.seccomp {
        SeccompChoice::Strict => Mode::Strict,
        SeccompChoice::Balanced => Mode::Balanced,
        SeccompChoice::Broad => Mode::Broad,
    };
    settings.seccomp_arguments = arguments.seccomp_args;
}

/// Where a policy lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyPlace {
    /// A profile or a trace.
    File(PathBuf),
    /// The artifacts of a build.
    Folder(PathBuf),
    /// Attached to an image of a layout.
    Layout(Stored),
    /// Attached to an image of a registry.
    Registry(Reference),
}

/// The place that a word names. A name without a transport is an image that was built here, else one in a registry.
///
/// # Errors
/// When it is the place of nothing that has a policy.
pub fn policy_place(global: &GlobalArguments, word: &str) -> Result<PolicyPlace, Failure> {
    let path = Path::new(word);
    if path.is_file() {
        return Ok(PolicyPlace::File(path.to_owned()));
    }
    if path.is_dir() && !Layout::is_at(path) {
        return Ok(PolicyPlace::Folder(path.to_owned()));
    }
    let no_policy = |what: &str| {
        Failure::usage(format!("find a policy at {word}: {what}")).with_hint(
            "a seccomp profile, a folder of artifacts, an image that was built here, oci:FOLDER[:NAME] or docker://NAME",
        )
    };
    let parsed: Result<Location, _> = word.parse();
    match parsed.map_err(|error| Failure::usage(error.to_string()))? {
        Location::Registry(reference) => Ok(PolicyPlace::Registry(reference)),
        Location::Stored(stored) if stored.form == Form::Layout => Ok(PolicyPlace::Layout(stored)),
        Location::Path(text) => match Stored::recognise(&text) {
            Ok(Some(stored)) if stored.form == Form::Layout => Ok(PolicyPlace::Layout(stored)),
            Ok(None) => Err(no_policy("there is nothing")),
            _ => Err(no_policy("it is no OCI layout")),
        },
        Location::Stored(_) => Err(no_policy("nothing can be attached to an image there")),
        Location::Engine { name, .. } => match built_here(global, &name)? {
            Some(folder) => Ok(PolicyPlace::Folder(folder)),
            None => {
                Err(no_policy("it was not built here, and engines keep nothing that is attached to an image"))
            }
        },
        Location::Plain(name) => match built_here(global, &name)? {
            Some(folder) => Ok(PolicyPlace::Folder(folder)),
            None => name
                .parse()
                .map(PolicyPlace::Registry)
                .map_err(|_| no_policy("it is neither a file nor the name of an image")),
        },
    }
}

/// The artifacts of an image's last build below the state path.
pub fn built_here(global: &GlobalArguments, image: &str) -> Result<Option<PathBuf>, Failure> {
    Ok(slim_build::last_artifacts(&super::state_path(global), image)?)
}

/// Whether what is pushed takes its policy with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttachPolicy {
    /// That of the image's last build below the state path, where there is one.
    Built,
    /// That in this folder.
    Folder(PathBuf),
    Off,
}

/// The setting of `--attach-policy`.
#[must_use]
pub fn attach_policy(word: &str) -> AttachPolicy {
    match word {
        "auto" => AttachPolicy::Built,
        "off" => AttachPolicy::Off,
        folder => AttachPolicy::Folder(folder.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_line::tests::parse_with;

    fn place(word: &str) -> Result<PolicyPlace, Failure> {
        let global = parse_with(&["version", "--state-path=/nonexistent"], &[]).unwrap().arguments.global;
        policy_place(&global, word)
    }

    #[test]
    fn places_are_told_apart_by_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("p.json"), "{}").unwrap();
        Layout::create(path("layout")).unwrap();
        let text = |name: &str| path(name).display().to_string();
        assert_eq!(place(&text("p.json")).unwrap(), PolicyPlace::File(path("p.json")));
        assert_eq!(
            place(&folder.path().display().to_string()).unwrap(),
            PolicyPlace::Folder(folder.path().into())
        );
        for word in [text("layout"), format!("oci:{}", text("layout"))] {
            assert!(matches!(place(&word).unwrap(), PolicyPlace::Layout(_)), "{word}");
        }
        for word in ["docker://h:5000/a:1", "h:5000/a:1"] {
            assert_eq!(place(word).unwrap(), PolicyPlace::Registry("h:5000/a:1".parse().unwrap()));
        }
        for word in ["docker-archive:x.tar", "docker-daemon:a", "/nonexistent/x"] {
            assert!(place(word).unwrap_err().hint.unwrap().contains("docker://NAME"), "{word}");
        }
    }
}
