//! `docker-slim collector`: serves the files of the image it runs in, over standard input and output. Hidden; started
//! by a build inside a second container of the fat image.

use crate::failure::Failure;
use slim_image::collector::{ServeOptions, serve};

/// Serves until the other side says goodbye.
pub fn run() -> Result<(), Failure> {
    serve(std::io::stdin().lock(), std::io::stdout().lock(), &ServeOptions::container())
        .map_err(|error| Failure::new(error.to_string(), 1))
}
