//! slim-build.
