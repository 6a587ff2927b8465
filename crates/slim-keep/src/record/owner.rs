//! Whose a path of the fat image is.

use crate::packages::Packages;
use serde::{Deserialize, Serialize};
use slim_image::{ImagePath, ImageTree};

/// Knows the package that a path belongs to.
pub trait Owners: Send + Sync {
    /// The package as people write it, its manager's name in front: `dpkg libc6`. `None`: nobody's.
    fn package_of(&self, path: &ImagePath) -> Option<String>;
}

/// Everything is nobody's.
impl Owners for () {
    fn package_of(&self, _path: &ImagePath) -> Option<String> {
        None
    }
}

impl Owners for Packages {
    fn package_of(&self, path: &ImagePath) -> Option<String> {
        self.owner(path).map(|package| format!("{} {}", package.manager, package.name))
    }
}

/// Where a path came from, as far as that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Number of the fat image's layer that holds it, counted from the base (0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
}

impl Owner {
    /// The owner of a path of the fat image.
    #[must_use]
    pub fn of(path: &ImagePath, tree: &dyn ImageTree, owners: &dyn Owners) -> Self {
        Self { layer: tree.layer_of(path), package: owners.package_of(path) }
    }
}
