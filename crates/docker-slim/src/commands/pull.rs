//! `docker-slim pull`: an image from a registry to any other place; into an engine where none is named.

use super::copy::transfer;
use crate::arguments::{GlobalArguments, PullArguments};
use crate::failure::Failure;
use crate::settings;

/// Pulls and says what came of it.
pub fn run(global: &GlobalArguments, arguments: &PullArguments) -> Result<(), Failure> {
    transfer(global, settings::pull(arguments)?)
}
