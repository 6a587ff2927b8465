//! The forms that a seccomp policy is written in; one file a form. Equal policies give equal bytes.

mod comment;
mod docker;
mod kubernetes;
mod oci;
mod rules;
mod systemd;

pub(crate) use comment::allow_comment;

use crate::policy::Policy;

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
        match format {
            Format::Docker | Format::Podman => self.seccomp_json(),
            Format::Oci => oci::json(self),
            Format::Kubernetes => kubernetes::profile(self, name).into_bytes(),
            Format::KubernetesLocalhost => kubernetes::localhost(name).into_bytes(),
            Format::Systemd => systemd::drop_in(self, name).into_bytes(),
        }
    }
}
