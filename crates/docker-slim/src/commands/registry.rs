//! `docker-slim registry serve`: a registry out of a folder, until it is told to stop.

use super::output::print;
use super::with_registry::with_registry;
use crate::arguments::{GlobalArguments, RegistryArguments, RegistryCommand, ServeArguments};
use crate::failure::Failure;
use crate::settings;
use slim_build::Person;
use slim_registry::{Server, ServerError};
use std::io::Write;

/// Runs one of the commands about our own registry.
pub fn run(global: &GlobalArguments, arguments: &RegistryArguments) -> Result<(), Failure> {
    match &arguments.command {
        RegistryCommand::Serve(arguments) => serve(global, arguments),
    }
}

fn serve(global: &GlobalArguments, arguments: &ServeArguments) -> Result<(), Failure> {
    let settings = settings::serve(global, arguments);
    with_registry(global, async |_, outside| {
        let server = Server::bind(&settings).await.map_err(refused)?;
        let address = server.address();
        if !address.ip().is_loopback() && !global.quiet {
            // Nobody is left to be told when stderr is closed.
            let _ = writeln!(
                std::io::stderr().lock(),
                "{:<10}whoever reaches {address} can read, write and delete: the registry knows no users and no TLS",
                "notice"
            );
        }
        let root = settings.root.display().to_string();
        let text = || format!("registry at {address}, in {root}; Ctrl-C ends it");
        print(global, text, &serde_json::json!({"address": address, "root": root}));
        server.run(outside.interrupted()).await;
        Ok(())
    })
}

fn refused(error: ServerError) -> Failure {
    let hint = match &error {
        ServerError::Listen { .. } => "--listen names another address or port",
        ServerError::Store(_) => "--root names another folder",
    };
    Failure::usage(error.to_string()).with_hint(hint)
}
