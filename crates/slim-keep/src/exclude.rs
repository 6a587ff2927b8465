//! Paths that the user wants out, whatever else says that they are needed.

use crate::error::KeepError;
use globset::{Glob, GlobBuilder, GlobMatcher};
use slim_image::ImagePath;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Patterns of paths: `*` and `?` stay within one component, `**` goes over any number of them.
#[derive(Clone, Debug, Default)]
pub struct Exclusions(Vec<(String, GlobMatcher)>);

impl Exclusions {
    /// Reads the patterns.
    ///
    /// # Errors
    /// When one is no pattern.
    pub fn new(patterns: &[String]) -> Result<Self, KeepError> {
        patterns
            .iter()
            .map(|pattern| match glob(pattern) {
                Ok(glob) => Ok((pattern.clone(), glob.compile_matcher())),
                Err(source) => Err(KeepError::Pattern { pattern: pattern.clone(), source }),
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The first pattern that a path, or a directory above it, matches.
    #[must_use]
    pub fn matching(&self, path: &ImagePath) -> Option<&str> {
        if self.0.is_empty() || path.is_root() {
            return None;
        }
        let above = path.ancestors();
        self.0.iter().find_map(|(pattern, matcher)| {
            let hit = std::iter::once(path)
                .chain(&above)
                .filter(|path| !path.is_root())
                .any(|path| matcher.is_match(Path::new(OsStr::from_bytes(path.as_bytes()))));
            hit.then_some(pattern.as_str())
        })
    }
}

/// A glob whose `*` does not go over a slash.
pub(crate) fn glob(pattern: &str) -> Result<Glob, globset::Error> {
    GlobBuilder::new(pattern).literal_separator(true).backslash_escape(true).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(pattern: &str, path: &str) -> bool {
        Exclusions::new(&[pattern.to_owned()]).unwrap().matching(&path.into()).is_some()
    }

    #[test]
    fn one_star_stays_in_its_component_and_two_do_not() {
        assert!(hit("/usr/share/doc/*", "/usr/share/doc/a"));
        assert!(!hit("/usr/*/a", "/usr/share/doc/a"));
        assert!(hit("/usr/**/a", "/usr/share/doc/a"));
        assert!(hit("/**/*.md", "/srv/a.md"));
    }

    #[test]
    fn what_lies_below_an_excluded_directory_goes_with_it() {
        assert!(hit("/usr/share/doc", "/usr/share/doc/a/b"));
        assert!(!hit("/usr/share/doc", "/usr/share/documents"));
    }

    #[test]
    fn the_root_stays() {
        assert!(!hit("/**", "/"));
        assert!(!hit("/", "/a"));
    }

    #[test]
    fn a_bad_pattern_is_named() {
        let error = Exclusions::new(&["/a/[".to_owned()]).unwrap_err();
        assert!(error.to_string().contains("/a/["), "{error}");
    }
}
