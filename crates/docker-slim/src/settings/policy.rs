//! Flags about what the slim image may do → settings; where the policy of an image lies.

use super::explain::keep_file;
use crate::arguments::{GlobalArguments, PolicyArguments, PolicyForm, PolicyShowArguments, SeccompChoice};
use crate::failure::Failure;
use slim_build::Settings;
use slim_policy::{Format, Mode, POLICY_FILE, PolicyFile};
use std::fs;
use std::path::{Path, PathBuf};

/// The file cannot be read, or has another version.
const UNREADABLE: u8 = 4;

/// What `policy show` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyShowSettings {
    pub policy_file: PathBuf,
    /// `None`: for people.
    pub format: Option<Format>,
    pub after_entrypoint: bool,
}

/// How much the profile allows.
pub fn apply(arguments: &PolicyArguments, settings: &mut Settings) {
    settings.seccomp = match arguments.seccomp {
        SeccompChoice::Strict => Mode::Strict,
        SeccompChoice::Balanced => Mode::Balanced,
        SeccompChoice::Broad => Mode::Broad,
    };
    settings.seccomp_arguments = arguments.seccomp_args;
}

/// The settings of `policy show`.
///
/// # Errors
/// When nothing was made of the image.
pub fn policy_show(
    global: &GlobalArguments,
    arguments: &PolicyShowArguments,
) -> Result<PolicyShowSettings, Failure> {
    let format = match arguments.format {
        PolicyForm::Text => None,
        PolicyForm::Docker => Some(Format::Docker),
        PolicyForm::Podman => Some(Format::Podman),
        PolicyForm::Oci => Some(Format::Oci),
        PolicyForm::Kubernetes => Some(Format::Kubernetes),
        PolicyForm::KubernetesLocalhost => Some(Format::KubernetesLocalhost),
        PolicyForm::Systemd => Some(Format::Systemd),
    };
    Ok(PolicyShowSettings {
        policy_file: policy_file(global, &arguments.image)?,
        format,
        after_entrypoint: arguments.after_entrypoint,
    })
}

/// The `policy.json` of an image's last build, or the file itself.
///
/// # Errors
/// When there is none.
pub fn policy_file(global: &GlobalArguments, image: &str) -> Result<PathBuf, Failure> {
    let given = Path::new(image);
    if given.is_file() {
        return Ok(given.to_owned());
    }
    Ok(keep_file(global, image)?.with_file_name(POLICY_FILE))
}

/// Reads a policy file.
///
/// # Errors
/// When it is none, or has another version.
pub fn read_policy(path: &Path) -> Result<PolicyFile, Failure> {
    let failed = |why: String| {
        Failure::new(format!("read {}: {why}", path.display()), UNREADABLE)
            .with_hint("docker-slim build or profile writes it; images built before have none")
    };
    let bytes = fs::read(path).map_err(|error| failed(error.to_string()))?;
    PolicyFile::from_json(&bytes).map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::{Command, PolicyCommand};
    use crate::command_line::tests::parse_with;

    fn of(words: &[&str]) -> Result<PolicyShowSettings, Failure> {
        let arguments = parse_with(&[&["policy", "show"], words].concat(), &[]).unwrap().arguments;
        let Command::Policy(command) = arguments.command else { panic!() };
        let PolicyCommand::Show(show) = command.command;
        policy_show(&arguments.global, &show)
    }

    #[test]
    fn a_file_is_taken_as_it_is_and_an_image_needs_a_build() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("any.json");
        fs::write(&path, "{}").unwrap();
        let settings = of(&[path.to_str().unwrap(), "--format=systemd", "--after-entrypoint"]).unwrap();
        assert_eq!((settings.policy_file.as_path(), settings.format), (&*path, Some(Format::Systemd)));
        assert!(settings.after_entrypoint);
        assert_eq!(read_policy(&path).unwrap_err().exit_code, 4);
        let state_path = folder.path().to_str().unwrap();
        let failure = of(&["no-such-image", "--state-path", state_path]).unwrap_err();
        assert_eq!(failure.exit_code, 4);
    }
}
