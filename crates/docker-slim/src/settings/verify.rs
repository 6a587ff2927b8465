//! Flags about how the slim image is proved → settings.

use crate::arguments::{VerifyArguments, VerifyMode};
use crate::failure::Failure;
use slim_build::Verify;

/// How the slim image is proved.
///
/// # Errors
/// When a test is asked for and nothing is to be run.
pub fn settings(arguments: &VerifyArguments) -> Result<Verify, Failure> {
    let mode = match arguments.verify {
        VerifyMode::Off => slim_build::VerifyMode::Off,
        VerifyMode::Report => slim_build::VerifyMode::Report,
        VerifyMode::Strict => slim_build::VerifyMode::Strict,
    };
    if let (slim_build::VerifyMode::Off, Some(command)) = (mode, arguments.verify_cmd.first()) {
        return Err(Failure::usage(format!(
            "run --verify-cmd {command}: verification is off (--verify=off)"
        )));
    }
    Ok(Verify { mode, rounds: arguments.verify_rounds, commands: arguments.verify_cmd.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_line::tests::build;
    use slim_build::VerifyMode as Mode;

    fn of(words: &[&str]) -> Verify {
        settings(&build(words).verify).unwrap()
    }

    #[test]
    fn every_flag_sets_its_setting_and_the_switch_of_before_still_works() {
        assert_eq!(of(&[]), Verify { mode: Mode::Strict, rounds: 3, commands: Vec::new() });
        for (word, mode) in [
            ("--verify", Mode::Strict),
            ("--verify=strict", Mode::Strict),
            ("--verify=true", Mode::Strict),
            ("--verify=report", Mode::Report),
            ("--verify=off", Mode::Off),
            ("--verify=false", Mode::Off),
        ] {
            assert_eq!(of(&[word]).mode, mode, "{word}");
        }
        assert_eq!(of(&["--verify-rounds=0"]).rounds, 0);
        assert_eq!(of(&["--verify-cmd=a", "--verify-cmd", "b c"]).commands, ["a", "b c"]);
    }

    #[test]
    fn a_test_that_would_never_run_is_refused() {
        let failure = settings(&build(&["--verify=off", "--verify-cmd=./test"]).verify).unwrap_err();
        assert_eq!(failure.exit_code, 2);
        assert!(failure.message.contains("./test"), "{}", failure.message);
    }
}
