//! The network of a container: its own name space with the loopback interface, reached from outside by threads that enter
//! it.

use libcontainer::network::link::LinkClient;
use libcontainer::network::wrapper::create_network_client;
use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::thread;

/// Index of the loopback interface in every network name space (`include/net/net_namespace.h`).
const LOOPBACK: u32 = 1;

/// Brings up the loopback interface of a process's network, which is down in a new one.
pub(super) fn bring_up_loopback(pid: u32) -> io::Result<()> {
    let network = Arc::new(File::open(format!("/proc/{pid}/ns/net"))?);
    inside(&network, || {
        LinkClient::new(create_network_client())
            .and_then(|mut client| client.set_up(LOOPBACK))
            .map_err(|error| io::Error::other(format!("bring up the loopback interface: {error}")))
    })
}

/// Does work on a thread of its own in another network.
pub(super) fn inside<T: Send + 'static>(
    network: &Arc<File>,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let network = Arc::clone(network);
    let entered = thread::spawn(move || {
        setns(&*network, CloneFlags::CLONE_NEWNET)?;
        work()
    });
    entered.join().map_err(|_| io::Error::other("the thread in the container's network stopped"))?
}
