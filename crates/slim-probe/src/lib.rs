//! slim-probe.
