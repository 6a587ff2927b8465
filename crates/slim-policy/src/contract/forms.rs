//! The contract as ready lines: for `docker run`, a compose service, a Kubernetes pod, a quadlet.
//!
//! Invariant: whatever is put into YAML or a unit file is quoted there, whatever it holds.

use crate::contract::Contract;
use slim_image::ImagePath;
use slim_trace::Transport;
use std::fmt::Write;

/// What the lines name besides the contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forms<'a> {
    pub contract: &'a Contract,
    /// What the image is called.
    pub image: &'a str,
    /// What a service is called: letters, digits and dashes.
    pub name: &'a str,
    /// File of the seccomp profile, beside the contract.
    pub seccomp: &'a str,
    /// Name of the AppArmor profile, where one is to be loaded.
    pub apparmor: &'a str,
    /// Its file.
    pub apparmor_file: &'a str,
}

impl Forms<'_> {
    /// The settings as options of `docker run`, without ports and profiles.
    #[must_use]
    pub fn options(contract: &Contract) -> Vec<String> {
        let mut options: Vec<String> = contract.user.iter().map(|user| format!("--user={user}")).collect();
        options.push("--cap-drop=ALL".to_owned());
        options.extend(contract.capabilities.keys().map(|name| format!("--cap-add={name}")));
        if contract.no_new_privileges {
            options.push("--security-opt=no-new-privileges".to_owned());
        }
        if contract.read_only {
            options.push("--read-only".to_owned());
            let tmpfs = |path: &ImagePath| format!("--tmpfs={path}:{}", tmpfs_options(contract, path));
            options.extend(contract.tmpfs.keys().map(tmpfs));
        }
        let own = contract.volumes.iter().filter(|(_, volume)| !volume.of_the_image);
        options.extend(own.map(|(path, _)| format!("--volume={path}")));
        options.extend(contract.pids.map(|pids| format!("--pids-limit={}", pids.limit)));
        options.extend(contract.memory.map(|memory| format!("--memory={}", memory.limit)));
        options
    }

    /// One command that starts a container, with the profile of the current folder.
    #[must_use]
    pub fn docker_run(&self) -> String {
        let mut words = vec!["docker run --detach".to_owned()];
        words.extend(self.contract.ports.iter().map(|port| format!("--publish={}:{port}", port.port)));
        words.push(shell_quoted(&format!("--security-opt=seccomp={}", self.seccomp)));
        words.extend(Self::options(self.contract).iter().map(|option| shell_quoted(option)));
        words.push(shell_quoted(self.image));
        format!(
            "# Where AppArmor is on: apparmor_parser --replace {}, and --security-opt=apparmor={}\n{}\n",
            shell_quoted(self.apparmor_file),
            shell_quoted(self.apparmor),
            words.join(" \\\n  ")
        )
    }

    /// A compose file with one service.
    #[must_use]
    pub fn compose(&self) -> String {
        let contract = self.contract;
        let mut text =
            format!("services:\n  {}:\n    image: {}\n", in_compose(self.name), in_compose(self.image));
        if let Some(user) = &contract.user {
            line(&mut text, 4, format_args!("user: {}", in_compose(user)));
        }
        list(&mut text, "ports", contract.ports.iter().map(|port| format!("{}:{port}", port.port)));
        list(&mut text, "cap_drop", ["ALL".to_owned()]);
        list(&mut text, "cap_add", contract.capabilities.keys().cloned());
        let mut security = vec![format!("seccomp:./{}", self.seccomp)];
        if contract.no_new_privileges {
            security.push("no-new-privileges:true".to_owned());
        }
        list(&mut text, "security_opt", security);
        line(
            &mut text,
            4,
            format_args!("# Where AppArmor is on, after apparmor_parser --replace {}:", self.apparmor_file),
        );
        line(&mut text, 4, format_args!("#   - apparmor:{}", self.apparmor));
        if contract.read_only {
            line(&mut text, 4, format_args!("read_only: true"));
            let tmpfs = |path: &ImagePath| format!("{path}:{}", tmpfs_options(contract, path));
            list(&mut text, "tmpfs", contract.tmpfs.keys().map(tmpfs));
        }
        list(&mut text, "volumes", contract.volumes.keys().map(ToString::to_string));
        if let Some(pids) = contract.pids {
            line(&mut text, 4, format_args!("pids_limit: {}  # {} seen", pids.limit, pids.peak));
        }
        if let Some(memory) = contract.memory {
            line(&mut text, 4, format_args!("mem_limit: {}  # {} seen", memory.limit, memory.peak));
        }
        text
    }

    /// A pod. Kubernetes limits processes for the node, not for a container, and fills no volumes: comments say so.
    #[must_use]
    pub fn kubernetes(&self) -> String {
        let contract = self.contract;
        let mut text = format!(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\nspec:\n  containers:\n    - name: {name}\n      image: {}\n",
            quoted(self.image),
            name = quoted(self.name)
        );
        if !contract.ports.is_empty() {
            line(&mut text, 6, format_args!("ports:"));
        }
        for port in &contract.ports {
            let protocol = match port.transport {
                Transport::Tcp => "TCP",
                Transport::Udp => "UDP",
            };
            line(
                &mut text,
                8,
                format_args!("- containerPort: {}\n          protocol: {protocol}", port.port),
            );
        }
        self.security_context(&mut text);
        if let Some(memory) = contract.memory {
            line(&mut text, 6, format_args!("resources:"));
            line(&mut text, 8, format_args!("limits:"));
            line(
                &mut text,
                10,
                format_args!("memory: {}Mi  # {} bytes seen", memory.limit >> 20, memory.peak),
            );
        }
        if let Some(pids) = contract.pids {
            line(
                &mut text,
                6,
                format_args!(
                    "# {} processes seen; the kubelet's podPidsLimit should not be below {}",
                    pids.peak, pids.limit
                ),
            );
        }
        self.kubernetes_volumes(&mut text);
        text
    }

    fn security_context(&self, text: &mut String) {
        let contract = self.contract;
        line(text, 6, format_args!("securityContext:"));
        if let Some((user, group)) = contract.user.as_deref().and_then(numeric) {
            line(text, 8, format_args!("runAsUser: {user}"));
            if let Some(group) = group {
                line(text, 8, format_args!("runAsGroup: {group}"));
            }
            line(text, 8, format_args!("runAsNonRoot: {}", user != 0));
        }
        line(text, 8, format_args!("allowPrivilegeEscalation: {}", !contract.no_new_privileges));
        line(text, 8, format_args!("privileged: false"));
        line(text, 8, format_args!("readOnlyRootFilesystem: {}", contract.read_only));
        line(text, 8, format_args!("capabilities:"));
        line(text, 10, format_args!("drop: [\"ALL\"]"));
        if !contract.capabilities.is_empty() {
            let names: Vec<String> = contract.capabilities.keys().map(|name| quoted(name)).collect();
            line(text, 10, format_args!("add: [{}]", names.join(", ")));
        }
        line(text, 8, format_args!("seccompProfile:"));
        line(
            text,
            10,
            format_args!(
                "# Below the kubelet's seccomp folder, in the form of OCI: docker-slim policy show --format oci"
            ),
        );
        line(text, 10, format_args!("type: Localhost"));
        line(text, 10, format_args!("localhostProfile: {}", quoted(&format!("profiles/{}", self.seccomp))));
        line(text, 8, format_args!("# Where AppArmor is on and {} is loaded:", self.apparmor_file));
        line(
            text,
            8,
            format_args!(
                "# appArmorProfile: {{type: Localhost, localhostProfile: {}}}",
                quoted(self.apparmor)
            ),
        );
    }

    fn kubernetes_volumes(&self, text: &mut String) {
        let contract = self.contract;
        let mounts: Vec<&ImagePath> = contract.tmpfs.keys().chain(contract.volumes.keys()).collect();
        if mounts.is_empty() {
            return;
        }
        line(text, 6, format_args!("volumeMounts:"));
        for (index, path) in mounts.iter().copied().enumerate() {
            line(
                text,
                8,
                format_args!("- name: written-{index}\n          mountPath: {}", quoted(&path.to_string())),
            );
        }
        line(text, 2, format_args!("volumes:"));
        for (index, path) in mounts.iter().copied().enumerate() {
            line(text, 4, format_args!("- name: written-{index}"));
            if contract.tmpfs.contains_key(path) {
                line(text, 6, format_args!("emptyDir: {{medium: Memory}}"));
            } else {
                let holds_files = contract.volumes.get(path).is_some_and(|volume| volume.holds_files);
                let why = if holds_files {
                    "  # the image holds files there: fill it first, or take a claim that holds them"
                } else {
                    "  # or a claim, where the data is to be kept"
                };
                line(text, 6, format_args!("emptyDir: {{}}{why}"));
            }
        }
    }

    /// A quadlet, `<name>.container`, for podman.
    #[must_use]
    pub fn quadlet(&self) -> String {
        let contract = self.contract;
        let mut lines = vec!["[Container]".to_owned(), format!("Image={}", self.image)];
        lines.extend(contract.user.iter().map(|user| match user.split_once(':') {
            Some((user, group)) => format!("User={user}\nGroup={group}"),
            None => format!("User={user}"),
        }));
        lines.extend(contract.ports.iter().map(|port| format!("PublishPort={}:{port}", port.port)));
        lines.push("DropCapability=all".to_owned());
        lines.extend(contract.capabilities.keys().map(|name| format!("AddCapability={name}")));
        lines.push(format!("NoNewPrivileges={}", contract.no_new_privileges));
        lines.push(format!("SeccompProfile=/etc/containers/{}", self.seccomp));
        lines.push(format!("# Where AppArmor is on and {} is loaded:", self.apparmor_file));
        lines.push(format!("# PodmanArgs=--security-opt=apparmor={}", self.apparmor));
        if contract.read_only {
            lines.push("ReadOnly=true".to_owned());
            // Podman would lay some of its own.
            lines.push("ReadOnlyTmpfs=false".to_owned());
            let tmpfs = |path: &ImagePath| unit(&format!("{path}:{}", tmpfs_options(contract, path)));
            lines.extend(contract.tmpfs.keys().map(|path| format!("Tmpfs={}", tmpfs(path))));
        }
        lines.extend(contract.volumes.keys().map(|path| format!("Volume={}", unit(&path.to_string()))));
        lines.extend(contract.pids.map(|pids| format!("# {} seen\nPidsLimit={}", pids.peak, pids.limit)));
        lines.extend(
            contract
                .memory
                .map(|memory| format!("# {} bytes seen\nPodmanArgs=--memory={}", memory.peak, memory.limit)),
        );
        format!("{}\n\n[Install]\nWantedBy=default.target\n", lines.join("\n"))
    }
}

/// As `--tmpfs` takes them: the owner and mode of the directory below.
pub(super) fn tmpfs_options(contract: &Contract, path: &ImagePath) -> String {
    contract.tmpfs.get(path).map(super::Tmpfs::options).unwrap_or_default()
}

impl super::Tmpfs {
    /// `mode=1777,uid=0,gid=0`, with `exec` where programs are run from it; as `--tmpfs` takes them.
    #[must_use]
    pub fn options(&self) -> String {
        let exec = if self.exec { ",exec" } else { "" };
        format!("mode={:04o},uid={},gid={}{exec}", self.owner.mode, self.owner.user, self.owner.group)
    }
}

/// `1000` or `1000:1000`.
fn numeric(user: &str) -> Option<(u32, Option<u32>)> {
    match user.split_once(':') {
        Some((user, group)) => Some((user.parse().ok()?, Some(group.parse().ok()?))),
        None => Some((user.parse().ok()?, None)),
    }
}

fn line(text: &mut String, indent: usize, what: std::fmt::Arguments<'_>) {
    // Writing to a string never fails.
    let _ = writeln!(text, "{:indent$}{what}", "");
}

fn list(text: &mut String, name: &str, items: impl IntoIterator<Item = String>) {
    let mut items = items.into_iter().peekable();
    if items.peek().is_some() {
        line(text, 4, format_args!("{name}:"));
    }
    for item in items {
        line(text, 6, format_args!("- {}", in_compose(&item)));
    }
}

/// JSON's strings are YAML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A `$` would be a variable.
fn in_compose(text: &str) -> String {
    quoted(&text.replace('$', "$$"))
}

/// A `%` would be a specifier of systemd.
fn unit(text: &str) -> String {
    text.replace('%', "%%")
}

fn shell_quoted(text: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_=./:,@+".contains(character);
    if text.chars().all(is_plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
