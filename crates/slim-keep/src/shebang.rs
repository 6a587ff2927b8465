//! Rule: a script that is run needs the interpreter of its `#!` line, and behind `env` the program that is looked up.

use crate::context::Context;
use crate::reason::Reason;
use crate::seed::Seed;
use slim_image::ImagePath;

/// The programs that a script's first line (without `#!`) names.
pub(crate) fn interpreters(context: &Context<'_>, script: &ImagePath, line: &[u8]) -> Vec<Seed> {
    let reason = || Reason::Shebang { of: script.clone() };
    // As Linux's binfmt_script: a path, then one argument up to the end of the line.
    let line = line.trim_ascii();
    let end = line.iter().position(|byte| matches!(byte, b' ' | b'\t' | 0)).unwrap_or(line.len());
    let (interpreter, argument) = (&line[..end], line[end..].trim_ascii());
    if interpreter.is_empty() {
        return Vec::new();
    }
    let interpreter = match interpreter.first() {
        Some(b'/') => interpreter.to_vec(),
        _ => [context.environment.working_directory.as_bytes(), b"/", interpreter].concat(),
    };
    let mut seeds = vec![Seed::program(&interpreter, reason())];
    if interpreter.rsplit(|byte| *byte == b'/').next() == Some(b"env")
        && let Some(program) = behind_env(argument).and_then(|name| context.program(&name))
    {
        seeds.push(Seed::program(program, reason()));
    }
    seeds
}

/// The program that `env ARGUMENT` runs: behind options and assignments; `-S` splits what follows into words.
fn behind_env(argument: &[u8]) -> Option<String> {
    let argument = std::str::from_utf8(argument).ok()?;
    let argument =
        argument.strip_prefix("-S").or_else(|| argument.strip_prefix("--split-string=")).unwrap_or(argument);
    let mut words = argument.split_ascii_whitespace();
    words.find(|word| !word.starts_with('-') && !word.contains('=')).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::close;
    use slim_image::{Config, MemoryTree};

    fn interpreters_of(line: &str) -> Vec<String> {
        let tree = MemoryTree::new().file("/usr/bin/python3", 0o755, "").file("/usr/bin/env", 0o755, "");
        let config = Config::default();
        let context = Context::new(&tree, &config);
        let seeds = interpreters(&context, &"/s".into(), line.as_bytes());
        seeds.into_iter().map(|seed| String::from_utf8(seed.path).unwrap()).collect()
    }

    #[test]
    fn env_is_followed_to_the_program_on_path() {
        assert_eq!(interpreters_of(" /usr/bin/env python3"), ["/usr/bin/env", "/usr/bin/python3"]);
        assert_eq!(interpreters_of("/usr/bin/env -S A=1 python3 -u"), ["/usr/bin/env", "/usr/bin/python3"]);
        assert_eq!(interpreters_of("/usr/bin/env none"), ["/usr/bin/env"]);
        assert_eq!(interpreters_of("/usr/bin/python3 -E\r"), ["/usr/bin/python3"]);
        assert!(interpreters_of("  ").is_empty());
    }

    #[test]
    fn a_script_that_interprets_scripts_is_followed() {
        let tree = MemoryTree::new()
            .file("/app/run", 0o755, "#!/app/inner\n")
            .file("/app/inner", 0o755, "#!/bin/sh\n")
            .file("/bin/busybox", 0o755, "x")
            .symlink("/bin/sh", "busybox");
        let context = Context::new(&tree, &Config::default());
        let seeds = vec![Seed::program("/app/run", Reason::WorkingDirectory)];
        let set = close(seeds, &context).unwrap();
        let paths: Vec<String> = set.entries.keys().map(ToString::to_string).collect();
        assert_eq!(paths, ["/", "/app", "/app/inner", "/app/run", "/bin", "/bin/busybox", "/bin/sh"]);
    }

    #[test]
    fn a_script_that_is_only_read_needs_no_interpreter() {
        let tree = MemoryTree::new().file("/s", 0o755, "#!/bin/sh\n").file("/bin/sh", 0o755, "x");
        let context = Context::new(&tree, &Config::default());
        let set = close(vec![Seed::object("/s", Reason::WorkingDirectory)], &context).unwrap();
        assert!(!set.contains(&"/bin/sh".into()));
    }
}
