//! The embedded engine's store: where it is not root who asks for it, this program begins anew as root of a user namespace of
//! its own, where the store and all containers are the user's.

use crate::arguments::GlobalArguments;
use crate::settings;
use slim_engine::EngineError;
use slim_engine::embedded::{HELPER_COMMAND, Store, user_namespace};

/// Opens the store. Whoever is not root is, in the program that runs in place of this one.
pub fn open(global: &GlobalArguments) -> Result<Store, EngineError> {
    let root = settings::store_root(global);
    if !settings::is_root() {
        let error = user_namespace::become_root(HELPER_COMMAND, &root, &settings::command_line());
        return Err(EngineError::Store {
            action: "begin anew as root of a user namespace, to open".to_owned(),
            path: root,
            reason: error.to_string(),
        });
    }
    Ok(Store::open(&root)?.with_unpack_limit(global.unpack_limit))
}
