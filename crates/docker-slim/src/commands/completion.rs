//! `docker-slim completion`: what a shell needs to complete our flags.

use crate::command_line;
use clap_complete::Shell;
use std::io::Write;

/// Writes the completions to stdout.
pub fn run(shell: Shell) {
    // Nobody is left to be told when stdout is closed.
    let _ = std::io::stdout().lock().write_all(&script(shell));
}

fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    let mut command = command_line::command();
    if shell != Shell::Bash {
        clap_complete::generate(shell, &mut command, "docker-slim", &mut script);
        return script;
    }
    // For bash, clap_complete 4.6 writes a hyphen in the program's name in two ways that do not meet: subcommands would
    // complete nothing.
    clap_complete::generate(shell, &mut command, "docker_slim", &mut script);
    String::from_utf8_lossy(&script).replace(" docker_slim\n", " docker-slim\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn every_shell_gets_our_flags() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let text = String::from_utf8(script(shell)).unwrap();
            assert!(text.contains("http-probe-cmd") && text.contains("include-shell"), "{shell}");
        }
    }

    #[test]
    fn bash_completes_the_beginning_of_a_flag() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("completion");
        std::fs::write(&path, script(Shell::Bash)).unwrap();
        let lines = format!(
            "source {}; COMP_WORDS=(docker-slim build --include-sh); COMP_CWORD=2; \
             $(complete -p docker-slim | grep -o ' -F [^ ]*' | cut -c5-) docker-slim --include-sh build; echo \"${{COMPREPLY[@]}}\"",
            path.display()
        );
        let output = Command::new("bash").args(["-c", &lines]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "--include-shell");
    }
}
