//! slim-engine.
