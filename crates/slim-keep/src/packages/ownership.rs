//! Who owns what, read by whoever asks first: it takes part of a second, and is known before anything has run.

use crate::packages::Packages;
use slim_image::{ImageTree, TreeError};
use std::sync::{Arc, Mutex, PoisonError};

/// The packages of one image, once they are known.
#[derive(Debug, Default)]
pub struct Ownership(Mutex<Option<Arc<Packages>>>);

impl Ownership {
    /// The packages of `tree`, always the same one. Who asks while another reads waits for that.
    ///
    /// # Errors
    /// When the image's files cannot be read. Nothing is kept of that: the next one tries again.
    pub fn of(&self, tree: &dyn ImageTree) -> Result<Arc<Packages>, TreeError> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(packages) = known.as_ref() {
            return Ok(Arc::clone(packages));
        }
        let packages = Arc::new(Packages::read(tree)?);
        *known = Some(Arc::clone(&packages));
        Ok(packages)
    }
}
