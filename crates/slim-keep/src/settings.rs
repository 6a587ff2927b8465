//! What the user says about what to keep.

use slim_image::ImagePath;

/// Resolved flags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Kept with everything below.
    pub include_path: Vec<ImagePath>,
    /// Programs and libraries, kept with all that they need.
    pub include_bin: Vec<ImagePath>,
    /// Programs by name, looked up on the image's PATH.
    pub include_exe: Vec<String>,
    /// Globs of paths that are taken out last; `**` goes over any number of components.
    pub exclude_pattern: Vec<String>,
}
