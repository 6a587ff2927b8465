//! no-new-privileges: without it the kernel lets nobody but CAP_SYS_ADMIN install a filter, since a set-uid program under a
//! filter can be made to fail where it should not.

use crate::format::Policy;
use crate::report::Failure;
use crate::sys;

const SET_NO_NEW_PRIVILEGES: usize = 38;
const GET_NO_NEW_PRIVILEGES: usize = 39;

/// Sets it where the policy says so.
pub fn prepare(policy: &Policy<'_>) -> Result<(), Failure<'static>> {
    if policy.sets_no_new_privileges() {
        sys::prctl(SET_NO_NEW_PRIVILEGES, 1)
            .map_err(|errno| Failure::Refused { what: "set no-new-privileges", errno })?;
    }
    Ok(())
}

pub fn has_no_new_privileges() -> bool {
    sys::prctl(GET_NO_NEW_PRIVILEGES, 0) == Ok(1)
}
