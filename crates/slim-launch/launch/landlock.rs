//! File rules, as far as this kernel keeps them.
//!
//! A newer Landlock knows more rights. Those that the kernel does not know are left out, from what is ruled on and from
//! what is granted, so that an older kernel is less strict and never stricter. The one exception is version 1, which
//! refuses what is granted by REFER: there a policy that grants it does without Landlock.

use crate::format::{Policy, Rule, right};
use crate::report::Failure;
use crate::sys::{self, Beneath, Errno};
use core::ffi::CStr;

/// The version of Landlock's interface here; 0: none, or one that we may not use.
pub fn version() -> u32 {
    sys::landlock_version().ok().and_then(|version| u32::try_from(version).ok()).unwrap_or(0)
}

/// Confines this process, and what it becomes.
pub fn confine(policy: &Policy<'_>) -> Result<(), Failure<'static>> {
    if !policy.has_file_rules() {
        return Ok(());
    }
    let mut version = version();
    if version == 1 && policy.rules().any(|rule| rule.rights & right::REFER != 0) {
        version = 0;
    }
    let known = right::known_to(version);
    let handled = policy.handled & known;
    if handled == 0 {
        return match policy.requires_file_rules() {
            true => Err(Failure::NoLandlock),
            false => Ok(()),
        };
    }
    let refused = |errno| Failure::Refused { what: "make a Landlock ruleset", errno };
    let ruleset = sys::landlock_create(handled).map_err(refused)?;
    for rule in policy.rules() {
        add(ruleset, &rule, handled)?;
    }
    match sys::landlock_restrict(ruleset) {
        Ok(_) => sys::close(ruleset),
        Err(Errno::EPERM) => return Err(Failure::NeedsNoNewPrivileges { what: "apply the file rules" }),
        Err(errno) => return Err(Failure::Refused { what: "apply the file rules", errno }),
    }
    Ok(())
}

/// What is not there needs no rule; what may not be seen cannot have one.
fn add(ruleset: usize, rule: &Rule<'_>, handled: u64) -> Result<(), Failure<'static>> {
    let Ok(path) = CStr::from_bytes_with_nul(rule.path) else { return Ok(()) };
    let file = match sys::open(path, sys::NAME_ONLY | sys::CLOSE_ON_EXEC) {
        Ok(file) => file,
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES) => return Ok(()),
        Err(errno) => return Err(Failure::Refused { what: "find a path of the file rules", errno }),
    };
    let rights = rule.rights & handled;
    let grant = |rights| {
        let parent = i32::try_from(file).unwrap_or(-1);
        if rights == 0 { Ok(0) } else { sys::landlock_add(ruleset, &Beneath { allowed: rights, parent }) }
    };
    // EINVAL: what was a directory is a file here, over which there are fewer rights.
    let added = match grant(rights) {
        Err(Errno::EINVAL) => grant(rights & right::OF_FILES),
        other => other,
    };
    sys::close(file);
    added.map(|_| ()).map_err(|errno| Failure::Refused { what: "add a file rule", errno })
}
