//! Exercises a program: finds the ports that it listens on, speaks HTTP to them, crawls what they serve, and records
//! every request with its answer; replays a recording against another container and compares.
//!
//! Nothing here prints, reads the environment or sleeps for a fixed time. Everything that touches the network runs on
//! one thread of its own, inside the container's network namespace where it may enter it ([`netns`]); the functions
//! here block until that thread is done.
#![forbid(unsafe_code)]

mod command;
mod command_file;
mod compare;
mod cookies;
mod crawl;
mod error;
mod exec;
mod form;
mod generate;
mod http;
mod link_header;
mod links;
mod netns;
mod outcome;
mod ports;
mod probe;
mod reach;
mod readiness;
mod recording;
mod replay;
mod session;
mod settings;
mod sock_diag;
mod spec;
mod tls;
mod upload;
mod websocket;

pub use command::{CommandError, ProbeCommand};
pub use compare::{Aspect, Difference, compare};
pub use error::ProbeError;
pub use exec::{ExecDifference, ExecExchange, compare_exec};
pub use netns::shares_network;
pub use outcome::{Outcome, PortOutcome, PortState};
pub use ports::{Listener, Port};
pub use probe::{Progress, probe};
pub use reach::{Here, Reach, Reaching, Sockets, Stream, connect_from, sockets_of};
pub use readiness::{Others, wait_listening};
pub use recording::{
    Body, Content, Exchange, Header, Protocol, Recording, RecordingError, Request, Response, VERSION,
};
pub use replay::replay;
pub use settings::{CrawlLimits, HttpSettings, Target};
pub use spec::{ApiSpec, SpecError};

/// Set by the caller to end a probe early; it is looked at every few milliseconds.
pub type CancelFlag = std::sync::Arc<std::sync::atomic::AtomicBool>;
