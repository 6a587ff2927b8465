//! A run of the fat program that nobody watches: in a build from a trace, what the program uses is known already, and the
//! run is there to know what it does, for the verification.
//!
//! It stands in the sensor's place behind its seam, so that the exercise is the same. What the sensor would have seen
//! comes from /proc of the engine's machine, which needs no capability.

use crate::error::BuildError;
use crate::subject::{self, Shared};
use crate::vantage::{Followed, Vantage};
use slim_engine::{ContainerId, Engine};
use slim_image::SourceImage;
use slim_sensor::processes::is_at_work;
use slim_sensor::{Observer, SensorError, Started};
use slim_trace::{Listening, Phase, Trace};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Starts a created container. The process id is 0 when the program has ended already.
///
/// # Errors
/// When it does not start.
pub(crate) async fn start(
    engine: &dyn Engine,
    vantage: &Vantage,
    source: &SourceImage,
    id: &ContainerId,
    trace: &Arc<Trace>,
) -> Result<(Shared, i32), BuildError> {
    engine.start(id).await?;
    let state = engine.inspect(id).await?;
    if !state.running && state.exit_code != 0 {
        return Err(subject::died(engine, source, id, "the program failed").await);
    }
    let pid = state.pid.and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
    let followed = vantage.follow(pid, true).await?;
    let observer: Box<dyn Observer> = Box::new(Unobserved {
        pid,
        followed,
        trace: Arc::clone(trace),
        activity: Mutex::new(Activity { used: Duration::ZERO, last: Instant::now() }),
    });
    Ok((Arc::new(Mutex::new(observer)), pid))
}

struct Unobserved {
    pid: i32,
    followed: Followed,
    trace: Arc<Trace>,
    activity: Mutex<Activity>,
}

/// Processor time used when the program was last active.
struct Activity {
    used: Duration,
    last: Instant,
}

impl Observer for Unobserved {
    fn wait_started(&mut self, _timeout: Duration) -> Result<Started, SensorError> {
        Ok(Started { pid: self.pid })
    }

    fn enter_phase(&mut self, _phase: Phase) {}

    /// What the trace saw listening, as far as something listens there now.
    fn listening(&self) -> Vec<Listening> {
        let open = self.followed.open_ports();
        let listens = |listening: &&Listening| open.contains(&(listening.transport, listening.port));
        self.trace.listening.iter().filter(listens).cloned().collect()
    }

    fn last_activity(&self) -> Instant {
        let mut activity = self.activity.lock().unwrap_or_else(PoisonError::into_inner);
        let used = self.followed.processor_time();
        if is_at_work(used.saturating_sub(activity.used), activity.last.elapsed()) {
            *activity = Activity { used, last: Instant::now() };
        }
        activity.last
    }

    fn finish(self: Box<Self>) -> Result<Trace, SensorError> {
        Ok(Arc::unwrap_or_clone(self.trace))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slim_trace::{ProcessId, Transport};
    use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};

    fn unobserved(ports: &[(Transport, u16)]) -> Unobserved {
        let mut trace = Trace::empty("sha256:0");
        trace.listening = ports
            .iter()
            .map(|&(transport, port)| Listening {
                process: ProcessId(0),
                transport,
                address: IpAddr::V4(Ipv4Addr::LOCALHOST),
                port,
            })
            .collect();
        let pid = i32::try_from(std::process::id()).unwrap();
        Unobserved {
            pid,
            followed: Followed::Here(pid),
            trace: Arc::new(trace),
            activity: Mutex::new(Activity { used: Duration::ZERO, last: Instant::now() }),
        }
    }

    #[test]
    fn ports_of_the_trace_are_open_when_something_is_bound_to_them() {
        let (tcp, udp) = (TcpListener::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let (tcp, udp) = (
            tcp.local_addr().map(|at| (tcp, at.port())).unwrap(),
            udp.local_addr().map(|at| (udp, at.port())).unwrap(),
        );
        let observer = unobserved(&[(Transport::Tcp, tcp.1), (Transport::Udp, udp.1), (Transport::Tcp, 1)]);
        let found: Vec<u16> = observer.listening().iter().map(|listening| listening.port).collect();
        assert_eq!(found, [tcp.1, udp.1]);
    }

    #[test]
    fn a_process_at_work_is_active() {
        let observer = unobserved(&[]);
        let first = observer.last_activity();
        let began = Instant::now();
        let mut sum = 0_u64;
        while observer.last_activity() == first {
            sum = std::hint::black_box(sum.wrapping_add(1));
            assert!(began.elapsed() < Duration::from_secs(60), "work goes unseen");
        }
    }

    #[test]
    fn a_program_that_is_gone_listens_on_nothing() {
        let gone = Unobserved { followed: Followed::Here(0), ..unobserved(&[(Transport::Tcp, 80)]) };
        assert!(gone.listening().is_empty());
    }
}
