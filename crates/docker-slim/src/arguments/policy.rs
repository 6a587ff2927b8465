//! Flags about what the slim image may do, and those of the commands about policies.

use clap::{Args, Subcommand, ValueEnum};

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
}

#[derive(Debug, Args)]
pub struct PolicyShowArguments {
    /// The image: name or id of the fat image or the slim one, or the `policy.json` that a build wrote.
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// In what form.
    #[arg(long, value_enum, value_name = "FORM", default_value_t = PolicyForm::Text)]
    pub format: PolicyForm,
    /// The tighter policy for the time after the entrypoint's last exec: without what only its scripts and helpers, and
    /// the container runtime, needed.
    #[arg(long)]
    pub after_entrypoint: bool,
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
