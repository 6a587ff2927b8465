//! From where containers are seen: this machine, or a sidecar beside them. What observers do not tell is asked here: whether
//! a process lives, what it uses, whom it acts as, and what listens in its network.

use slim_engine::ContainerId;
use slim_probe::{Reach, Target};
use slim_sensor::SensorError;
use slim_sensor::processes::{self, Acting};
use slim_sidecar::Sidecar;
use slim_trace::Transport;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// A sidecar at work, and where.
#[derive(Debug)]
pub struct Beside {
    pub sidecar: Arc<Sidecar>,
    pub container: ContainerId,
    /// The name of the engine's machine; `None` where it is this one.
    pub engine_host: Option<String>,
}

/// From where containers are seen. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Vantage {
    Here,
    Beside(Arc<Beside>),
}

/// A process, looked at now and then. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Followed {
    Here(i32),
    Beside(Arc<slim_sidecar::Followed>),
}

impl Vantage {
    /// Follows a process. `ports`: what it has open, too.
    ///
    /// # Errors
    /// When the sidecar is gone.
    pub async fn follow(&self, pid: i32, ports: bool) -> Result<Followed, SensorError> {
        Ok(match self {
            Self::Here => Followed::Here(pid),
            Self::Beside(beside) => Followed::Beside(Arc::new(beside.sidecar.follow(pid, ports).await?)),
        })
    }

    /// Whom a process and those below it act as.
    ///
    /// # Errors
    /// When the sidecar is gone.
    pub async fn acting(&self, pid: i32) -> Result<Acting, SensorError> {
        match self {
            Self::Here => Ok(processes::acting(pid)),
            Self::Beside(beside) => beside.sidecar.acting(pid).await,
        }
    }

    /// Where a container's ports are.
    #[must_use]
    pub fn target(&self, pid: i32, address: Option<IpAddr>, ports: Vec<u16>) -> Target {
        Target { pid: Some(pid), reach: self.reach(), address, ports }
    }

    /// Who reaches containers' networks in our place; `None` where we do it ourselves.
    #[must_use]
    pub fn reach(&self) -> Option<Arc<dyn Reach>> {
        match self {
            Self::Here => None,
            Self::Beside(beside) => Some(Arc::clone(&beside.sidecar) as Arc<dyn Reach>),
        }
    }

    /// The same where the engine's machine is another one: from this one, containers' addresses lead nowhere.
    #[must_use]
    pub fn far_reach(&self) -> Option<Arc<dyn Reach>> {
        self.reach().filter(|_| self.engine_host().is_some())
    }

    /// The name of the engine's machine; `None` where it is this one.
    #[must_use]
    pub fn engine_host(&self) -> Option<&str> {
        match self {
            Self::Here => None,
            Self::Beside(beside) => beside.engine_host.as_deref(),
        }
    }
}

impl Followed {
    /// Whether it runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        match self {
            Self::Here(pid) => processes::is_alive(*pid),
            Self::Beside(followed) => followed.is_alive(),
        }
    }

    /// Processor time of it and all below it.
    #[must_use]
    pub fn processor_time(&self) -> Duration {
        match self {
            Self::Here(pid) => processes::processor_time(*pid),
            Self::Beside(followed) => followed.processor_time(),
        }
    }

    /// Ports that something is bound to in its network.
    #[must_use]
    pub fn open_ports(&self) -> BTreeSet<(Transport, u16)> {
        match self {
            Self::Here(pid) => processes::open_ports(*pid),
            Self::Beside(followed) => followed.open_ports(),
        }
    }
}
