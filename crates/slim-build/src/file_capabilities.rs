//! Capabilities that a program gets from its file (capabilities(7)).

use std::collections::BTreeSet;

/// The extended attribute that holds a file's capabilities.
pub const FILE_CAPABILITIES: &str = "security.capability";
/// By number, from linux/capability.h.
pub const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The permitted set in `struct vfs_ns_cap_data` (linux/capability.h): words of the machine with the lowest byte first.
pub fn file_capabilities(bytes: &[u8]) -> BTreeSet<String> {
    const PERMITTED: [usize; 2] = [4, 12];
    let word =
        |at: usize| bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_le_bytes);
    let bits = u64::from(word(PERMITTED[0])) | u64::from(word(PERMITTED[1])) << 32;
    let names = CAPABILITIES.iter().enumerate().filter(|(bit, _)| bits & (1 << bit) != 0);
    names.map(|(_, name)| (*name).to_owned()).collect()
}
