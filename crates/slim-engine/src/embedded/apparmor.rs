//! AppArmor profiles of containers, where the kernel has AppArmor. Profiles are loaded by the machine's own tools; here a
//! process says under which one its next exec runs (`apparmor(7)`, as runc says it).

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Where the kernel shows AppArmor, once securityfs is mounted.
const FOLDER: &str = "/sys/kernel/security/apparmor";
/// Whether it is switched on; there without securityfs, too.
const ENABLED: &str = "/sys/module/apparmor/parameters/enabled";

/// Why no profile can be applied on this machine; `None` where one can.
pub(super) fn missing() -> Option<String> {
    let is_there = Path::new(FOLDER).exists()
        || fs::read_to_string(ENABLED).is_ok_and(|text| text.trim().eq_ignore_ascii_case("y"));
    (!is_there)
        .then(|| "this machine's kernel runs without AppArmor (no /sys/kernel/security/apparmor)".to_owned())
}

/// Has this thread's next exec run under a profile. `/proc` must be the kernel's own.
///
/// # Errors
/// A profile that is not loaded; a `/proc` that is something else.
pub(super) fn apply_at_exec(profile: &str) -> io::Result<()> {
    let failed = |error: io::Error| {
        let reason = match error.kind() {
            io::ErrorKind::NotFound => "it is not loaded (apparmor_parser -r FILE loads it)".to_owned(),
            _ => error.to_string(),
        };
        io::Error::new(error.kind(), format!("apply the AppArmor profile {profile:?}: {reason}"))
    };
    let mut file = attribute().map_err(failed)?;
    file.write_all(format!("exec {profile}").as_bytes()).map_err(failed)
}

/// Kernels since 5.8 have a folder of AppArmor's own; the other one belongs to whichever module comes first.
fn attribute() -> io::Result<File> {
    let open = |path: &str| File::options().write(true).open(path);
    let file = match open("/proc/thread-self/attr/apparmor/exec") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => open("/proc/thread-self/attr/exec"),
        file => file,
    };
    // An image may put files of its own where /proc is not mounted.
    let file = file.map_err(|error| io::Error::other(format!("open the thread's attributes: {error}")))?;
    if rustix::fs::fstatfs(&file)?.f_type != rustix::fs::PROC_SUPER_MAGIC {
        return Err(io::Error::other("/proc of the container is not the kernel's"));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_that_is_not_there_is_refused_by_name() {
        let error = apply_at_exec("surely-no-such-profile").unwrap_err().to_string();
        assert!(error.contains("surely-no-such-profile"), "{error}");
    }
}
