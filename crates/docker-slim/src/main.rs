//! The program: flags → settings → one file per command. The only crate that prints, reads the environment and exits.
#![deny(unsafe_code)]

mod arguments;
mod command_line;
mod commands;
mod console;
mod failure;
mod flags;
mod heap;
mod outside;
mod plugin;
mod settings;
mod terminal;

use arguments::OutputFormat;
use command_line::{Parsed, Refused};
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    heap::keep_small();
    let parsed = command_line::parse(std::env::args_os().collect(), &|name| std::env::var_os(name));
    let Parsed { arguments, notices } = match parsed {
        Ok(parsed) => parsed,
        Err(Refused::Failure(failure)) => return failure.tell(OutputFormat::Text),
        Err(Refused::Parser(error)) => return failure::usage(&error),
    };
    if !arguments.global.quiet {
        for notice in notices {
            // Nobody is left to be told when stderr is closed.
            let _ = writeln!(std::io::stderr().lock(), "{:<10}{notice}", "notice");
        }
    }
    commands::run(arguments)
}
