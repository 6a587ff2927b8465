//! A process that the far side looks at for us.

use crate::link::Stream;
use crate::protocol::{Process, expect, receive};
use slim_trace::Transport;
use std::collections::BTreeSet;
use std::io;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How a process was doing a moment ago. Where the sidecar is gone, as it was then.
#[derive(Debug)]
pub struct Followed {
    process: watch::Receiver<Process>,
    task: JoinHandle<()>,
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Followed {
    pub(crate) async fn new(mut stream: Stream) -> io::Result<Self> {
        let (sender, process) = watch::channel(expect(&mut stream).await?);
        let task = tokio::spawn(async move {
            while let Ok(Some(process)) = receive(&mut stream).await {
                sender.send_replace(process);
            }
        });
        Ok(Self { process, task })
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.process.borrow().alive
    }

    /// Processor time of it and all below it.
    #[must_use]
    pub fn processor_time(&self) -> Duration {
        Duration::from_micros(self.process.borrow().processor_time)
    }

    /// Ports that something is bound to in its network, where that was asked for.
    #[must_use]
    pub fn open_ports(&self) -> BTreeSet<(Transport, u16)> {
        self.process.borrow().open_ports.clone()
    }
}
