//! One profile's part of what was seen: the processes that run under it.

use crate::inputs::Inputs;
use slim_image::ImagePath;
use slim_trace::{Access, FileAccess, Phase, Process, ProcessId, Socket, SystemCalls, Trace};
use std::collections::{BTreeMap, BTreeSet};

/// The processes that run under one profile.
pub(crate) struct Scope<'a> {
    pub trace: &'a Trace,
    pub inputs: &'a Inputs,
    /// The profile's name, without the one that it lies in.
    pub name: String,
    pub own: BTreeSet<ProcessId>,
    /// Whose exec leads into which profile within this one. Only the main profile has any.
    pub helpers: BTreeMap<ImagePath, String>,
    /// The profile that this one lies in, and who runs under that; `None` for the main profile.
    pub within: Option<(String, BTreeSet<ProcessId>)>,
}

impl Scope<'_> {
    pub fn is_main(&self) -> bool {
        self.within.is_none()
    }

    /// What the kernel calls it.
    pub fn full_name(&self) -> String {
        match &self.within {
            Some((above, _)) => format!("{above}//{}", self.name),
            None => self.name.clone(),
        }
    }

    pub fn files(&self) -> impl Iterator<Item = &FileAccess> {
        self.trace.files.iter().filter(|file| self.own.contains(&file.process))
    }

    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        let all = self.trace.processes.iter().zip(0..);
        all.filter(|(_, id)| self.own.contains(&ProcessId(*id))).map(|(process, _)| process)
    }

    /// Sockets that it opened, and those that it may have been handed.
    pub fn sockets(&self) -> impl Iterator<Item = &Socket> {
        let handed = self.within.as_ref().map(|(_, above)| above);
        self.trace.sockets.iter().filter(move |socket| {
            self.own.contains(&socket.process) || handed.is_some_and(|above| above.contains(&socket.process))
        })
    }

    /// Logs of the program that runs it: a helper has them as its output, and the kernel closes what a profile does not
    /// allow when it is entered. No trace shows who writes to what was opened by somebody else.
    pub fn handed_down(&self) -> impl Iterator<Item = &FileAccess> {
        let above = self.within.iter().map(|(_, above)| above);
        above.flat_map(|above| {
            let files = self.trace.files.iter();
            files.filter(|file| above.contains(&file.process) && file.access.contains(&Access::Append))
        })
    }

    /// Calls that its programs made.
    pub fn system_calls(&self) -> impl Iterator<Item = &SystemCalls> {
        let of_program = |phase| matches!(phase, Phase::Startup | Phase::Exercise | Phase::Shutdown);
        let records = self.trace.system_calls.iter();
        records.filter(move |record| of_program(record.phase) && self.own.contains(&record.process))
    }
}
