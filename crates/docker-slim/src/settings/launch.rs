//! Flags about the program that stays → settings.

use crate::arguments::{LaunchArguments, LayerChoice, SeccompPhase};
use crate::failure::Failure;
use slim_build::Launch;

/// What `docker-slim launch` is to do in the slim image.
///
/// # Errors
/// When it would have to stand in a layer that other images share.
pub fn settings(arguments: &LaunchArguments, layers: LayerChoice) -> Result<Launch, Failure> {
    let launch = Launch {
        filter: arguments.seccomp_phase == SeccompPhase::Entrypoint,
        file_rules: arguments.landlock,
    };
    if !launch.is_off() && layers == LayerChoice::Preserve {
        return Err(Failure::usage(
            "keep the image's layers (--layers preserve) and put a launcher in the program's place \
             (--seccomp-phase entrypoint, --landlock)",
        )
        .with_hint("--layers flat makes one layer"));
    }
    Ok(launch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_line::tests::build;

    fn of(words: &[&str]) -> Result<Launch, Failure> {
        let arguments = build(words);
        settings(&arguments.launch, arguments.layers)
    }

    #[test]
    fn each_flag_asks_for_its_part() {
        assert!(of(&[]).unwrap().is_off() && of(&["--seccomp-phase=container"]).unwrap().is_off());
        assert_eq!(of(&["--seccomp-phase=entrypoint"]).unwrap(), Launch { filter: true, file_rules: false });
        assert_eq!(of(&["--landlock"]).unwrap(), Launch { filter: false, file_rules: true });
        assert_eq!(of(&["--landlock", "--layers=preserve"]).unwrap_err().exit_code, 2);
    }
}
