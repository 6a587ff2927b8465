//! `docker-slim policy`: shows, compares, combines, checks and compiles policies.

mod place;
mod told;

pub use place::{Found, load};

use super::output::{counted, print};
use crate::arguments::{
    ClientArguments, GlobalArguments, MergeRule, PolicyArguments, PolicyCheckArguments, PolicyCommand,
    PolicyCompileArguments, PolicyDiffArguments, PolicyFileArgument, PolicyMergeArguments,
    PolicyShowArguments,
};
use crate::failure::Failure;
use slim_build::PolicyKind;
use slim_launch::{Machine, PolicyFile};
use slim_policy::{Missing, SeccompProfile, intersection, union};
use std::io::Write;

/// A profile does not allow what it must.
const DOES_NOT_HOLD: u8 = 7;

/// Runs one of the commands about policies.
pub fn run(global: &GlobalArguments, arguments: &PolicyArguments) -> Result<(), Failure> {
    match &arguments.command {
        PolicyCommand::Show(arguments) => show(global, arguments),
        PolicyCommand::Diff(arguments) => diff(global, arguments),
        PolicyCommand::Merge(arguments) => merge(global, arguments),
        PolicyCommand::Check(arguments) => check(global, arguments),
        PolicyCommand::Compile(arguments) => compile(global, arguments),
    }
}

fn show(global: &GlobalArguments, arguments: &PolicyShowArguments) -> Result<(), Failure> {
    let found = load(global, &arguments.client, &arguments.policy)?;
    if let Some(wanted) = arguments.print {
        let bytes = found.file(kind(wanted))?;
        // Nobody is left to be told when stdout is closed.
        let _ = std::io::stdout().lock().write_all(bytes);
        return Ok(());
    }
    let profile = found.profile()?;
    let entrypoint = match found.file(PolicyKind::EntrypointSeccomp) {
        Ok(bytes) => Some(found.read_profile(bytes)?),
        Err(_) => None,
    };
    let document = serde_json::json!({
        "version": 1,
        "policy": arguments.policy,
        "files": found.files.iter().map(|file| serde_json::json!({
            "kind": file.kind.word(), "name": file.name, "size": file.bytes.len(),
            "digest": slim_image::Digest::of(&file.bytes),
        })).collect::<Vec<_>>(),
        "seccomp": profile,
        "entrypoint_seccomp": entrypoint,
    });
    print(global, || told::policy(&found, &profile, entrypoint.as_ref()), &document);
    Ok(())
}

fn diff(global: &GlobalArguments, arguments: &PolicyDiffArguments) -> Result<(), Failure> {
    let read = |word: &str| load(global, &arguments.client, word)?.profile();
    let (before, after) = (read(&arguments.before)?, read(&arguments.after)?);
    let difference = before.difference(&after);
    let text = || told::difference(&difference, arguments.shown.top);
    super::difference::tell(global, arguments.shown, text, &difference, difference.is_empty())
}

fn merge(global: &GlobalArguments, arguments: &PolicyMergeArguments) -> Result<(), Failure> {
    let mut merged: Option<SeccompProfile> = None;
    for word in &arguments.policies {
        let profile = load(global, &arguments.client, word)?.profile()?;
        merged = Some(match (merged, arguments.rule) {
            (None, _) => profile,
            (Some(before), MergeRule::Union) => union(&before, &profile),
            (Some(before), MergeRule::Intersection) => intersection(&before, &profile),
        });
    }
    let Some(merged) = merged else { return Err(Failure::usage("merge: no profile was given")) };
    let Some(output) = &arguments.output else {
        let _ = std::io::stdout().lock().write_all(&merged.to_json());
        return Ok(());
    };
    slim_build::write_whole(output, |file| file.write_all(&merged.to_json()))
        .map_err(|error| Failure::from(error).with_hint("-o names another file"))?;
    let calls = merged.allowed().count();
    let document = serde_json::json!({ "output": output, "system_calls_allowed": calls });
    let profiles = counted(arguments.policies.len(), "profile");
    let text = || format!("{profiles} in {}: {} allowed", output.display(), counted(calls, "system call"));
    print(global, text, &document);
    Ok(())
}

fn check(global: &GlobalArguments, arguments: &PolicyCheckArguments) -> Result<(), Failure> {
    let profile = load(global, &arguments.client, &arguments.policy)?.profile()?;
    let need = load(global, &arguments.client, &arguments.need)?;
    let missing: Vec<Missing> = match &need.trace {
        Some(trace) => profile.lacks_of_trace(trace),
        None => profile.lacks_of_profile(&need.profile()?),
    };
    let document = serde_json::json!({ "holds": missing.is_empty(), "missing": missing });
    print(global, || told::missing(&arguments.policy, &arguments.need, &missing), &document);
    if missing.is_empty() { Ok(()) } else { Err(Failure::silent(DOES_NOT_HOLD)) }
}

fn compile(global: &GlobalArguments, arguments: &PolicyCompileArguments) -> Result<(), Failure> {
    let profile = load(global, &arguments.client, &arguments.policy)?.profile()?;
    let filter = profile.compile().map_err(|error| Failure::usage(error.to_string()))?;
    let instructions = filter.len();
    let file = PolicyFile {
        program: arguments.program.as_ref().map(|path| path.as_bytes().to_vec()),
        set_no_new_privileges: !arguments.keep_privileges,
        filter,
        ..PolicyFile::new(Machine::host())
    };
    let bytes = file.to_bytes().map_err(|error| Failure::usage(error.to_string()))?;
    let output = &arguments.output;
    slim_build::write_whole(output, |file| file.write_all(&bytes))
        .map_err(|error| Failure::from(error).with_hint("-o names another file"))?;
    let document = serde_json::json!({ "output": output, "instructions": instructions, "size": bytes.len() });
    print(global, || format!("{}: {}", output.display(), counted(instructions, "instruction")), &document);
    Ok(())
}

fn kind(argument: PolicyFileArgument) -> PolicyKind {
    match argument {
        PolicyFileArgument::Seccomp => PolicyKind::Seccomp,
        PolicyFileArgument::EntrypointSeccomp => PolicyKind::EntrypointSeccomp,
        PolicyFileArgument::AppArmor => PolicyKind::AppArmor,
        PolicyFileArgument::Run => PolicyKind::Run,
        PolicyFileArgument::Contract => PolicyKind::Contract,
        PolicyFileArgument::Launch => PolicyKind::Launch,
    }
}

/// The text of a seccomp profile that a word names, for a container to run under.
///
/// # Errors
/// When there is none.
pub fn seccomp_text(
    global: &GlobalArguments,
    client: &ClientArguments,
    word: &str,
) -> Result<String, Failure> {
    let found = load(global, client, word)?;
    String::from_utf8(found.file(PolicyKind::Seccomp)?.to_vec())
        .map_err(|_| Failure::usage(format!("use the policy {word}: its profile is no text")))
}
