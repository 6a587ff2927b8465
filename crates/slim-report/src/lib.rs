//! slim-report.
