//! The forms that a seccomp policy is written in; one file a form. Equal policies give equal bytes.

mod comment;
mod docker;
mod kubernetes;
mod oci;
mod rules;
mod systemd;

pub(crate) use comment::allow_comment;

use crate::policy::Policy;
use crate::profile::SeccompProfile;
use rules::Form;

/// For whom a policy is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `docker run --security-opt seccomp=FILE`.
    Docker,
    /// `podman run --security-opt seccomp=FILE`: the same file.
    Podman,
    /// `linux.seccomp` of an OCI runtime's `config.json`; also what a kubelet's local file must be, since containerd
    /// reads that form there and CRI-O both.
    Oci,
    /// A `SeccompProfile` of Kubernetes' security-profiles-operator, YAML.
    Kubernetes,
    /// A Kubernetes `securityContext` that names the profile in the kubelet's folder, YAML.
    KubernetesLocalhost,
    /// Settings of a systemd unit, as a drop-in file.
    Systemd,
}

impl Policy {
    /// The policy for somebody. `name`: what it is called where the form has names.
    #[must_use]
    pub fn written(&self, format: Format, name: &str) -> Vec<u8> {
        written(&Form::from(self), format, name)
    }

    /// The profile as JSON, ending in a line feed. The same policy gives the same bytes.
    #[must_use]
    pub fn seccomp_json(&self) -> Vec<u8> {
        docker::json(&Form::from(self))
    }
}

impl SeccompProfile {
    /// The profile for somebody. `name`: what it is called where the form has names. Forms that cannot compare arguments, or
    /// tell one refusal from another, leave that out.
    #[must_use]
    pub fn written(&self, format: Format, name: &str) -> Vec<u8> {
        written(&Form::from(self), format, name)
    }

    /// The profile as Docker's JSON, ending in a line feed. Equal profiles give equal bytes.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        docker::json(&Form::from(self))
    }
}

fn written(form: &Form, format: Format, name: &str) -> Vec<u8> {
    match format {
        Format::Docker | Format::Podman => docker::json(form),
        Format::Oci => oci::json(form),
        Format::Kubernetes => kubernetes::profile(form, name).into_bytes(),
        Format::KubernetesLocalhost => kubernetes::localhost(name).into_bytes(),
        Format::Systemd => systemd::drop_in(form, name).into_bytes(),
    }
}
