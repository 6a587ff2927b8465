//! Whether this process may watch containers on this kernel.

use crate::error::SensorError;
use std::fs;
use std::path::Path;

/// `bpf_loop` came with 5.17.
const LEAST_KERNEL: (u32, u32) = (5, 17);

/// PROC_PID_INIT_INO of the kernel.
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Whoever has it needs neither PERFMON nor BPF, which came out of it with Linux 5.8: capabilities(7).
const SYS_ADMIN: u64 = 1 << 21;
const IN_SYS_ADMIN: [&str; 2] = ["PERFMON", "BPF"];

/// Capabilities by their bit in `CapEff`.
const CAPABILITIES: [(&str, u32); 6] = [
    ("DAC_READ_SEARCH", 2),
    ("KILL", 5),
    ("SYS_PTRACE", 19),
    ("SYS_ADMIN", 21),
    ("PERFMON", 38),
    ("BPF", 39),
];

/// Checks capabilities, kernel and BTF.
///
/// # Errors
/// What is missing.
pub fn preflight() -> Result<(), SensorError> {
    let status =
        fs::read_to_string("/proc/self/status").map_err(SensorError::call("read /proc/self/status"))?;
    let missing = missing_capabilities(&status);
    if !missing.is_empty() {
        return Err(SensorError::Capabilities(missing.join(", ")));
    }
    let release = release();
    if version(&release).is_some_and(|version| version < LEAST_KERNEL) {
        return Err(SensorError::Kernel { release, needed: "5.17" });
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Err(SensorError::Feature("BTF (/sys/kernel/btf/vmlinux)"));
    }
    // Process ids in events are those of the machine.
    if fs::read_link("/proc/self/ns/pid").is_ok_and(|namespace| namespace != Path::new(FIRST_PID_NAMESPACE)) {
        return Err(SensorError::PidNamespace);
    }
    Ok(())
}

/// `uname -r`.
pub fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

fn missing_capabilities(status: &str) -> Vec<&'static str> {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or_default();
    let has = |(name, bit): &&(&str, u32)| {
        effective & (1_u64 << bit) != 0 || (IN_SYS_ADMIN.contains(name) && effective & SYS_ADMIN != 0)
    };
    CAPABILITIES.iter().filter(|capability| !has(capability)).map(|(name, _)| *name).collect()
}

/// The first two numbers of a release.
pub fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_capabilities_are_named() {
        assert!(missing_capabilities("CapEff:\t000001ffffffffff\n").is_empty());
        assert_eq!(
            missing_capabilities("CapEff:\t000000c000080000\n"),
            ["DAC_READ_SEARCH", "KILL", "SYS_ADMIN"]
        );
        let without_sys_admin = "CapEff:\t0000003fffdfffff\n";
        assert_eq!(missing_capabilities(without_sys_admin), ["SYS_ADMIN", "PERFMON", "BPF"]);
        assert!(
            missing_capabilities("CapEff:\t0000003fffffffff\n").is_empty(),
            "SYS_ADMIN holds the newer two"
        );
        assert_eq!(missing_capabilities("").len(), CAPABILITIES.len());
    }

    #[test]
    fn a_release_is_compared_by_its_first_two_numbers() {
        assert_eq!(version("6.1.0-56-cloud-amd64"), Some((6, 1)));
        assert_eq!(version("5.17"), Some((5, 17)));
        assert_eq!(version("odd"), None);
    }
}
