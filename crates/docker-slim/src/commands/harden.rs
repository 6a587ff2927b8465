//! `docker-slim harden`: policy and run contract of an image that stays as it is.

use super::build::{Outcome, run};
use crate::arguments::{GlobalArguments, HardenArguments};
use crate::failure::Failure;
use crate::settings;

/// Hardens, writes the report and prints the result.
pub fn harden(global: &GlobalArguments, arguments: &HardenArguments) -> Result<(), Failure> {
    run(global, &settings::harden(global, arguments)?, Outcome::Contract)
}
