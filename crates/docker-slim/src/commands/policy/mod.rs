//! `docker-slim policy`: shows, compares, combines, checks and compiles policies.

mod place;
mod told;

pub use place::{Found, load};

use super::output::{counted, print};
use crate::arguments::{
    ClientArguments, GlobalArguments, MergeRule, PolicyCheckArguments, PolicyCommand, PolicyCommandArguments,
    PolicyCompileArguments, PolicyDiffArguments, PolicyFileArgument, PolicyForm, PolicyMergeArguments,
    PolicyShowArguments,
};
use crate::failure::Failure;
use slim_build::PolicyKind;
use slim_launch::{LaunchFile, Machine};
use slim_policy::{Format, Missing, SeccompProfile, intersection, union};
use std::io::Write;

/// A profile does not allow what it must.
const DOES_NOT_HOLD: u8 = 7;

/// Runs one of the commands about policies.
pub fn run(global: &GlobalArguments, arguments: &PolicyCommandArguments) -> Result<(), Failure> {
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
        write(found.file(kind(wanted))?);
        return Ok(());
    }
    if let Some(format) = format(arguments.format) {
        write(&found.written(format, arguments.after_entrypoint)?);
        return Ok(());
    }
    let profile = found.profile()?;
    let entrypoint = found.entrypoint_profile()?;
    let decided = found.decided()?;
    if arguments.after_entrypoint && entrypoint.is_none() {
        return Err(found.no_entrypoint());
    }
    let document = serde_json::json!({
        "version": 1,
        "policy": arguments.policy,
        "files": found.files.iter().map(|file| serde_json::json!({
            "kind": file.kind.word(), "name": file.name, "size": file.bytes.len(),
            "digest": slim_image::Digest::of(&file.bytes),
        })).collect::<Vec<_>>(),
        "seccomp": profile,
        "entrypoint_seccomp": entrypoint,
        "decided": decided,
    });
    let shown = told::Shown {
        found: &found,
        decided: decided.as_ref(),
        profile: &profile,
        entrypoint: entrypoint.as_ref(),
        after_entrypoint: arguments.after_entrypoint,
    };
    print(global, || shown.told(), &document);
    Ok(())
}

/// Nobody is left to be told when stdout is closed.
fn write(bytes: &[u8]) {
    let _ = std::io::stdout().lock().write_all(bytes);
}

/// `None`: for people.
fn format(argument: PolicyForm) -> Option<Format> {
    Some(match argument {
        PolicyForm::Text => return None,
        PolicyForm::Docker => Format::Docker,
        PolicyForm::Podman => Format::Podman,
        PolicyForm::Oci => Format::Oci,
        PolicyForm::Kubernetes => Format::Kubernetes,
        PolicyForm::KubernetesLocalhost => Format::KubernetesLocalhost,
        PolicyForm::Systemd => Format::Systemd,
    })
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
    let (missing, architectures): (Vec<Missing>, _) = match &need.trace {
        Some(trace) => (profile.lacks_of_trace(trace), profile.lacks_architectures_of_trace(trace)),
        None => {
            let needed = need.profile()?;
            (profile.lacks_of_profile(&needed), profile.lacks_architectures(&needed))
        }
    };
    let holds = missing.is_empty() && architectures.is_empty();
    let document = serde_json::json!({
        "holds": holds, "missing": missing, "missing_architectures": architectures,
    });
    let text = || told::missing(&arguments.policy, &arguments.need, &missing, &architectures);
    print(global, text, &document);
    if holds { Ok(()) } else { Err(Failure::silent(DOES_NOT_HOLD)) }
}

fn compile(global: &GlobalArguments, arguments: &PolicyCompileArguments) -> Result<(), Failure> {
    let profile = load(global, &arguments.client, &arguments.policy)?.profile()?;
    let filter = profile.compile().map_err(|error| Failure::usage(error.to_string()))?;
    let instructions = filter.len();
    let file = LaunchFile {
        program: arguments.program.as_ref().map(|path| path.as_bytes().to_vec()),
        set_no_new_privileges: !arguments.keep_privileges,
        filter,
        ..LaunchFile::new(Machine::host())
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
        PolicyFileArgument::Policy => PolicyKind::Decided,
        PolicyFileArgument::Seccomp => PolicyKind::Seccomp,
        PolicyFileArgument::EntrypointSeccomp => PolicyKind::EntrypointSeccomp,
        PolicyFileArgument::AppArmor => PolicyKind::AppArmor,
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
    String::from_utf8(found.seccomp_json()?)
        .map_err(|_| Failure::usage(format!("use the policy {word}: its profile is no text")))
}
