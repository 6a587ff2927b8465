//! Rule: what the user's flags ask for.

use crate::context::Context;
use crate::error::KeepError;
use crate::reason::Reason;
use crate::seed::Seed;
use crate::settings::Settings;

/// The paths of `--include-path`, `--include-bin` and `--include-exe`.
///
/// # Errors
/// When the image does not have one of them.
pub(crate) fn seeds(context: &Context<'_>, settings: &Settings) -> Result<Vec<Seed>, KeepError> {
    let mut seeds = Vec::new();
    for path in &settings.include_path {
        let reason = included("--include-path", path);
        if context.walk(path.as_bytes(), true).found().is_none() {
            return Err(not_found("--include-path", path));
        }
        seeds.push(Seed { run: true, ..Seed::tree(path, reason) });
    }
    for path in &settings.include_bin {
        if context.file(path.as_bytes()).is_none() {
            return Err(not_found("--include-bin", path));
        }
        seeds.push(Seed::program(path, included("--include-bin", path)));
    }
    for name in &settings.include_exe {
        let program = context.program(name).ok_or_else(|| not_found("--include-exe", name))?;
        seeds.push(Seed::program(program, included("--include-exe", name)));
    }
    Ok(seeds)
}

fn included(flag: &str, value: impl ToString) -> Reason {
    Reason::Included { flag: flag.to_owned(), value: value.to_string() }
}

fn not_found(flag: &'static str, value: impl ToString) -> KeepError {
    KeepError::IncludeNotFound { flag, value: value.to_string() }
}
