//! `docker-slim push`: an image from an engine or from files into a registry.

use super::copy::transfer;
use crate::arguments::{GlobalArguments, PushArguments};
use crate::failure::Failure;
use crate::settings;

/// Pushes and says what came of it.
pub fn run(global: &GlobalArguments, arguments: &PushArguments) -> Result<(), Failure> {
    transfer(global, settings::push(arguments)?)
}
