//! Rule: an ELF file needs its loader and its libraries.
//!
//! [`headers`] reads what a file says, [`search`] looks for libraries where the loader would, [`cache`] and
//! [`configuration`] read the loader's own files, [`constants`] what names a program's constants hold.

pub(crate) mod cache;
pub(crate) mod configuration;
pub(crate) mod constants;
pub(crate) mod headers;
pub(crate) mod search;

pub(crate) use headers::Headers;
pub(crate) use search::Libraries;
