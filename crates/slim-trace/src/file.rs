//! The trace file: JSON, with its version in front.

use crate::trace::{Trace, VERSION};
use serde::Deserialize;

/// The version before calls had arguments.
const WITHOUT_ARGUMENTS: u32 = 1;
/// The version before locks and the ends of links were told.
const WITHOUT_LOCKS: u32 = 2;

/// Why a trace file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    #[error(
        "read the trace: it has version {found}, this program reads versions {WITHOUT_ARGUMENTS} to {VERSION}"
    )]
    Version { found: u32 },
    #[error("read the trace: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("read the trace: {0} names process {1}, which is not in it")]
    NoSuchProcess(&'static str, u32),
}

impl Trace {
    /// The trace as it is written to a file. Equal traces give equal bytes.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a trace has string keys only");
        bytes.push(b'\n');
        bytes
    }

    /// Reads a trace file.
    ///
    /// # Errors
    /// When it has another version, is no trace, or names processes that are not in it.
    pub fn from_json(bytes: &[u8]) -> Result<Self, TraceError> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let Head { version: found } = serde_json::from_slice(bytes)?;
        if !(WITHOUT_ARGUMENTS..=VERSION).contains(&found) {
            return Err(TraceError::Version { found });
        }
        let mut trace: Self = serde_json::from_slice(bytes)?;
        trace.check_processes()?;
        trace.version = VERSION;
        if found <= WITHOUT_ARGUMENTS {
            trace.arguments_are_not_known();
        }
        if found <= WITHOUT_LOCKS {
            trace.locks_are_not_known();
        }
        Ok(trace)
    }

    fn check_processes(&self) -> Result<(), TraceError> {
        let named = (self.processes.iter().filter_map(|process| process.parent).map(|id| ("a process", id)))
            .chain(self.files.iter().map(|file| ("a file", file.process)))
            .chain(self.system_calls.iter().map(|calls| ("a set of system calls", calls.process)))
            .chain(self.arguments.iter().map(|arguments| ("a call's arguments", arguments.process)))
            .chain(self.sockets.iter().map(|socket| ("a socket", socket.process)))
            .chain(self.listening.iter().map(|listening| ("a port", listening.process)))
            .chain(self.io_uring.iter().map(|operation| ("an io_uring operation", operation.process)));
        for (what, id) in named {
            if self.process(id).is_none() {
                return Err(TraceError::NoSuchProcess(what, id.0));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TracedPath;
    use crate::trace::{Access, FileAccess, Phase, Process, ProcessId};

    fn trace() -> Trace {
        let mut trace = Trace::empty("sha256:0");
        trace.processes.push(Process {
            parent: None,
            began: Phase::Startup,
            executable: Some(TracedPath::new("/bin/odd\\\u{7}name")),
            invoked_as: None,
            interpreter: None,
            shebang: Vec::new(),
            argv: vec!["odd".to_owned()],
        });
        trace.files.push(FileAccess {
            path: TracedPath::new(b"/etc/caf\xe9".to_vec()),
            process: ProcessId(0),
            access: [Access::Open, Access::Missing].into(),
            phases: [Phase::Startup].into(),
        });
        trace
    }

    #[test]
    fn a_trace_survives_the_way_through_its_file() {
        assert_eq!(Trace::from_json(&trace().to_json()).unwrap(), trace());
    }

    #[test]
    fn another_version_is_named() {
        let text = String::from_utf8(trace().to_json()).unwrap().replace("\"version\": 3", "\"version\": 99");
        let error = Trace::from_json(text.as_bytes()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "read the trace: it has version 99, this program reads versions 1 to 3"
        );
    }

    #[test]
    fn a_trace_of_the_first_version_is_read_and_knows_nothing_of_arguments() {
        let mut old = trace();
        old.system_calls.push(crate::SystemCalls {
            process: ProcessId(0),
            phase: Phase::Startup,
            abi: crate::Abi::X86_64,
            calls: ["read".to_owned(), "socket".to_owned()].into(),
            denied: std::collections::BTreeMap::new(),
        });
        let mut json: serde_json::Value = serde_json::from_slice(&old.to_json()).unwrap();
        json["version"] = 1.into();
        json.as_object_mut().unwrap().remove("arguments");
        let read = Trace::from_json(json.to_string().as_bytes()).unwrap();
        let socket = crate::CallArguments {
            process: ProcessId(0),
            phase: Phase::Startup,
            call: "socket".to_owned(),
            values: crate::ArgumentValues::Any,
        };
        assert_eq!((read.version, &read.arguments[..]), (VERSION, &[socket][..]));
        assert_eq!(Trace::from_json(&read.to_json()).unwrap(), read);
    }

    #[test]
    fn a_process_that_is_not_there_is_refused() {
        let mut trace = trace();
        trace.files[0].process = ProcessId(7);
        let error = Trace::from_json(&trace.to_json()).unwrap_err();
        assert_eq!(error.to_string(), "read the trace: a file names process 7, which is not in it");
    }

    #[test]
    fn what_is_no_trace_is_refused() {
        for text in ["", "{}", "[]", "{\"version\": 1}"] {
            assert!(Trace::from_json(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
