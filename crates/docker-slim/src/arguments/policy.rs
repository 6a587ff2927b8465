//! Flags about what the slim image may do, and those of the commands about policies.

use super::{ClientArguments, DifferenceArguments};
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(next_help_heading = "What the slim image may do")]
pub struct PolicyArguments {
    /// How much the seccomp profile allows: what was seen, what container runtimes need and what every program needs; or
    /// also the harmless relatives of what was seen, at most 40; or also all that the kept programs can do, as far as
    /// Docker's default profile allows it.
    #[arg(long, value_name = "MODE", value_enum, default_value_t = SeccompChoice::Balanced)]
    pub seccomp: SeccompChoice,
    /// Restrict arguments to those that were seen, where they matter: socket families and types, options of prctl,
    /// arch_prctl, personality, ioctl, fcntl and setsockopt, memory that is executable. Not for clone3 and openat2, whose
    /// arguments lie in memory, which seccomp cannot read.
    #[arg(long)]
    pub seccomp_args: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SeccompChoice {
    Strict,
    Balanced,
    Broad,
}

#[derive(Debug, Args)]
pub struct PolicyCommandArguments {
    #[command(subcommand)]
    pub command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Shows what an image may do, each call with its reason, or writes the profile in the format of another program.
    Show(PolicyShowArguments),
    /// Shows how two seccomp profiles differ.
    Diff(PolicyDiffArguments),
    /// Puts seccomp profiles together: what any of them allows, or what all of them do.
    Merge(PolicyMergeArguments),
    /// Tells whether a seccomp profile allows what a trace shows or another profile needs; exit code 7 where it does not.
    Check(PolicyCheckArguments),
    /// Compiles a seccomp profile to the policy file that `docker-slim launch` reads.
    Compile(PolicyCompileArguments),
}

/// Which file of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PolicyFileArgument {
    /// All that was decided, with its reasons.
    Policy,
    Seccomp,
    /// The tighter profile that the launcher installs after the entrypoint.
    EntrypointSeccomp,
    #[value(name = "apparmor")]
    AppArmor,
    /// With how little the image runs.
    Contract,
    /// What the launcher in the image reads.
    Launch,
}

#[derive(Debug, Args)]
pub struct PolicyShowArguments {
    /// The policy: an image that was built here, by the name or id of the fat image or the slim one; `policy.json` or a
    /// seccomp profile; a folder of artifacts; `oci:FOLDER[:NAME]` or `docker://NAME` with a policy attached.
    #[arg(value_name = "REF")]
    pub policy: String,
    /// In what form.
    #[arg(long, value_enum, value_name = "FORM", default_value_t = PolicyForm::Text)]
    pub format: PolicyForm,
    /// The tighter policy for the time after the entrypoint's last exec: without what only its scripts and helpers, and
    /// the container runtime, needed.
    #[arg(long)]
    pub after_entrypoint: bool,
    /// Print this file of it as it is, and nothing else.
    #[arg(long, value_name = "FILE", value_enum, conflicts_with_all = ["format", "after_entrypoint"])]
    pub print: Option<PolicyFileArgument>,
    #[command(flatten)]
    pub client: ClientArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PolicyForm {
    /// For people.
    Text,
    /// For `docker run --security-opt seccomp=FILE`.
    Docker,
    /// For `podman run --security-opt seccomp=FILE`.
    Podman,
    /// `linux.seccomp` of an OCI runtime's configuration; also a kubelet's local file.
    Oci,
    /// A SeccompProfile of Kubernetes' security-profiles-operator.
    Kubernetes,
    /// A Kubernetes securityContext that names the profile in the kubelet's folder.
    KubernetesLocalhost,
    /// Settings of a systemd unit.
    Systemd,
}

#[derive(Debug, Args)]
pub struct PolicyDiffArguments {
    /// Before; as for `show`.
    #[arg(value_name = "A")]
    pub before: String,
    /// After.
    #[arg(value_name = "B")]
    pub after: String,
    #[command(flatten)]
    pub shown: DifferenceArguments,
    #[command(flatten)]
    pub client: ClientArguments,
}

/// How profiles are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MergeRule {
    /// What any of them allows: for recordings, each of which saw a part.
    Union,
    /// What all of them allow: for ceilings, each of which must hold.
    Intersection,
}

#[derive(Debug, Args)]
pub struct PolicyMergeArguments {
    /// The profiles; as for `show`.
    #[arg(value_name = "REF", required = true, num_args = 2..)]
    pub policies: Vec<String>,
    /// How they are put together.
    #[arg(long, value_enum, default_value_t = MergeRule::Union, value_name = "RULE")]
    pub rule: MergeRule,
    /// Where the merged profile goes [default: stdout].
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub client: ClientArguments,
}

#[derive(Debug, Args)]
pub struct PolicyCheckArguments {
    /// The profile that must suffice; as for `show`.
    #[arg(value_name = "REF")]
    pub policy: String,
    /// What it must allow: a trace, or a profile.
    #[arg(value_name = "NEED")]
    pub need: String,
    #[command(flatten)]
    pub client: ClientArguments,
}

#[derive(Debug, Args)]
pub struct PolicyCompileArguments {
    /// The seccomp profile; as for `show`.
    #[arg(value_name = "REF")]
    pub policy: String,
    /// Where the policy file goes.
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    /// The program that the launcher runs where it stands in a program's place; without it the launcher's caller names one.
    #[arg(long, value_name = "PATH")]
    pub program: Option<String>,
    /// Leave no-new-privileges to the engine: the launcher does not set it, and needs it or CAP_SYS_ADMIN.
    #[arg(long)]
    pub keep_privileges: bool,
    #[command(flatten)]
    pub client: ClientArguments,
}

/// Flags of `launch`.
#[derive(Debug, Args)]
pub struct LauncherArguments {
    /// The policy, as `policy compile` writes it.
    #[arg(long, value_name = "FILE", default_value = slim_launch::POLICY)]
    pub policy: PathBuf,
    /// Tell what the policy holds and what this machine makes of it; run nothing.
    #[arg(long)]
    pub check: bool,
    /// Write the launcher to this file, for an image of your own; run nothing.
    #[arg(long, value_name = "FILE")]
    pub install: Option<PathBuf>,
    /// The program and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub command: Vec<std::ffi::OsString>,
}
