//! The program: flags → settings → one file per command. The only crate that prints, reads the environment and exits.
#![forbid(unsafe_code)]

mod arguments;
mod commands;
mod failure;
mod flags;
mod outside;
mod settings;
mod terminal;

use arguments::{Arguments, OutputFormat};
use clap::{CommandFactory, Parser};
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let known = arguments::long_names(&Arguments::command());
    let screened = match flags::screen(std::env::args_os(), &|name| known.contains(name)) {
        Ok(screened) => screened,
        Err(failure) => return failure.tell(OutputFormat::Text),
    };
    let arguments = match Arguments::try_parse_from(screened.arguments) {
        Ok(arguments) => arguments,
        Err(error) => return failure::usage(&error),
    };
    if !arguments.global.quiet {
        for notice in screened.notices {
            // Nobody is left to be told when stderr is closed.
            let _ = writeln!(std::io::stderr().lock(), "{:<10}{notice}", "notice");
        }
    }
    commands::run(arguments)
}
