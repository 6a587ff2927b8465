//! slim-keep.
