//! Registries: a client of the OCI distribution protocol, and a server of it on disk.
//!
//! The client ([`client::Client`]) takes resolved settings and never reads the environment. What it fetches is checked
//! against its digest while it streams; nothing that failed the check is left under its name.
#![forbid(unsafe_code)]

mod artifact;
pub mod client;
pub mod error;
pub mod name;
mod partial;
mod pieces;
mod plan;
pub mod server;
mod transfer;
mod wanted;

pub use artifact::{Artifact, ArtifactFile, attach, attached, attached_in_layout};
pub use client::{Client, ClientSettings, Retry};
pub use error::RegistryError;
pub use name::RepositoryName;
pub use plan::Platforms;
pub use server::{Server, ServerError, ServerSettings};
pub use transfer::{From, Selection, To, Transferred, copy, pull, push, transfer};
