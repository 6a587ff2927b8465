//! A policy for Kubernetes: as a `SeccompProfile` of the security-profiles-operator, and as the part of a pod that names a
//! file in the kubelet's folder.
//!
//! YAML is written by hand, since libraries write no comments. All text in it is quoted as JSON, which YAML contains.

use crate::formats::docker::{ArgumentJson, action};
use crate::formats::rules::{Form, Rule};
use slim_image::path::is_unprintable;
use std::fmt::Write as _;

/// How long a name may be (DNS label).
const NAME_MOST: usize = 63;

/// The custom resource.
pub(crate) fn profile(form: &Form, name: &str) -> String {
    let mut text = format!(
        "apiVersion: security-profiles-operator.x-k8s.io/v1beta1\nkind: SeccompProfile\nmetadata:\n  name: {}\nspec:\n  \
         defaultAction: {}\n  architectures:\n",
        label(name),
        action(&form.default).0
    );
    for architecture in &form.architectures {
        let _ = writeln!(text, "    - {architecture}");
    }
    text.push_str("  syscalls:\n");
    for rule in &form.rules {
        write_rule(&mut text, rule);
    }
    text
}

fn write_rule(text: &mut String, rule: &Rule) {
    let (action, errno) = action(&rule.action);
    if let Some(comment) = &rule.comment {
        let _ = writeln!(text, "    # {}", one_line(comment));
    }
    let _ = writeln!(text, "    - action: {action}");
    if let Some(errno) = errno {
        let _ = writeln!(text, "      errnoRet: {errno}");
    }
    text.push_str("      names:\n");
    for name in &rule.names {
        let _ = writeln!(text, "        - {name}");
    }
    if !rule.arguments.is_empty() {
        text.push_str("      args:\n");
    }
    for argument in &rule.arguments {
        let ArgumentJson { index, value, value_two, op } = ArgumentJson::from(argument);
        let _ = writeln!(
            text,
            "        - index: {index}\n          value: {value}\n          valueTwo: {value_two}\n          op: {op}"
        );
    }
}

/// The part of a pod; where its file goes stands in the comment.
pub(crate) fn localhost(name: &str) -> String {
    let label = label(name);
    format!(
        "# The profile in the form of OCI (docker-slim policy show --format oci) goes to this path on every node:\n\
         #   /var/lib/kubelet/seccomp/profiles/{label}.json\n\
         # The form of Docker is read there by CRI-O alone; containerd reads that of OCI.\n\
         securityContext:\n  seccompProfile:\n    type: Localhost\n    localhostProfile: profiles/{label}.json\n"
    )
}

/// A name that Kubernetes takes: lower-case letters, digits and dashes, a letter or digit at both ends.
fn label(name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' })
        .collect();
    let short: String = plain.trim_matches('-').chars().take(NAME_MOST).collect();
    let label = short.trim_end_matches('-');
    if label.is_empty() { "image".to_owned() } else { label.to_owned() }
}

/// A comment ends with its line: paths hold anything.
pub(crate) fn one_line(comment: &str) -> String {
    comment.chars().map(|letter| if is_unprintable(letter) { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_what_kubernetes_takes() {
        assert_eq!(label("registry.local/Team/app"), "registry-local-team-app");
        assert_eq!(label("--"), "image");
        assert_eq!(label(&"a-".repeat(60)).len(), 63);
        assert_eq!(one_line("a\nb"), "a b");
        assert_eq!(one_line("a\u{2028}b\u{2029}c\u{85}d"), "a b c d");
    }
}
