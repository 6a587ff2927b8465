//! Flags of `diff`.

use clap::Args;

#[derive(Debug, Args)]
pub struct DiffArguments {
    /// Before: an image (name, id or place: `oci:DIRECTORY`, `docker-archive:FILE` …), an image archive (`docker save`), a
    /// `trace.json` or a `keep.json`.
    #[arg(value_name = "A")]
    pub before: String,
    /// After: the same kind of thing.
    #[arg(value_name = "B")]
    pub after: String,
    #[command(flatten)]
    pub shown: DifferenceArguments,
}

/// How differences are shown.
#[derive(Clone, Copy, Debug, Args)]
pub struct DifferenceArguments {
    /// End with exit code 8 when there is a difference.
    #[arg(long)]
    pub exit_code: bool,
    /// Show so many lines of each kind, the most bytes first; 0: all.
    #[arg(long, default_value_t = 50, value_name = "NUMBER")]
    pub top: usize,
}
