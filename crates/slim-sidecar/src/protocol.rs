//! What the two sides say to each other.
//!
//! Both begin with one line that names the protocol and its version ([`HELLO`]), the near side first. After it the byte streams carry
//! conversations, multiplexed by yamux. The near side opens each one with an [`Open`]; what follows is a message at a time,
//! `length: u32 big-endian, JSON`. Only [`Open::Connect`] turns into plain bytes once it is answered, and a trace follows its
//! [`Answer::Trace`] as the bytes of a trace file.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use slim_probe::Sockets;
use slim_sensor::SensorError;
use slim_sensor::processes::Acting;
use slim_trace::{Listening, Phase, Transport};
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The first line of either side. The number is the protocol's version.
pub const HELLO: &str = "docker-slim sidecar 1\n";

/// The near side shows that it is there this often …
pub(crate) const BEAT: Duration = Duration::from_secs(5);
/// … and each side takes the other for gone after so long without one.
pub(crate) const SILENCE: Duration = Duration::from_secs(60);

/// No message is longer; a trace may be.
const LONGEST: u32 = 16 << 20;
/// No trace is longer.
pub(crate) const LONGEST_TRACE: u64 = 1 << 30;

/// What a conversation is about.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Open {
    /// Bytes, each of which is sent back.
    Beat,
    /// Whether containers may be watched. One [`Answer`].
    Check,
    /// An observer; [`Answer::Done`] when it is ready, then an answer to each [`Ask`], and states in between.
    Observe { buffer_bytes: u32 },
    /// How a process is doing, a [`Process`] whenever that changes, until it has ended. `ports`: those it has open, too.
    Follow { pid: i32, ports: bool },
    /// Whom a process and those below it act as. One [`Acting`].
    Acting { pid: i32 },
    /// What listens in a process's network. One [`Reached`].
    Sockets { pid: i32 },
    /// A connection from inside a process's network. One [`Reached`], without sockets.
    Connect { pid: i32, address: SocketAddr },
}

/// What an observer is asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    Arm { container: String, image: String, image_volumes: Vec<slim_sensor::ImagePath>, buffer_bytes: u32 },
    Phase(Phase),
    Step,
    Finish,
}

/// What it says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// That is done.
    Done,
    Fault(Fault),
    /// A trace of so many bytes follows.
    Trace {
        bytes: u64,
    },
    /// No answer, but news.
    State(State),
}

/// How an observation goes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct State {
    /// The container's first process, once it was seen.
    pub started: Option<i32>,
    /// Why it will not be.
    pub not_started: Option<Fault>,
    /// Where that has changed.
    pub listening: Option<Vec<Listening>>,
    /// Microseconds since something new was seen.
    pub idle: u64,
}

/// How a process is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub alive: bool,
    /// Of it and all below it, in microseconds.
    pub processor_time: u64,
    pub open_ports: BTreeSet<(Transport, u16)>,
}

/// What came of asking for credentials.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Actors(pub Acting);

/// What came of reaching into a network.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reached {
    Connected,
    Sockets(Sockets),
    /// The system's error number, where it has one, and its text.
    Failed {
        number: Option<i32>,
        text: String,
    },
}

impl Reached {
    pub fn failed(error: &io::Error) -> Self {
        Self::Failed { number: error.raw_os_error(), text: error.to_string() }
    }
}

/// A [`SensorError`] on its way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Fault {
    NotStarted,
    Dropped { what: String, count: u64, buffer_bytes: u32 },
    Other { message: String, hint: Option<String> },
}

impl From<SensorError> for Fault {
    fn from(error: SensorError) -> Self {
        /// What helps a program that was started by hand helps no container.
        const RESTRICTED: &str = "the engine gives containers less than watching needs, as rootless ones do; let docker-slim run \
                                  as root on the engine's machine, with --observer local";
        match error {
            SensorError::NotStarted => Self::NotStarted,
            SensorError::Dropped { what, count, buffer_bytes } => Self::Dropped { what, count, buffer_bytes },
            error => {
                let hint = match &error {
                    SensorError::Capabilities(_)
                    | SensorError::PidNamespace
                    | SensorError::Program { .. } => Some(RESTRICTED.to_owned()),
                    other => other.hint(),
                };
                Self::Other { message: format!("{error} (in the sidecar container)"), hint }
            }
        }
    }
}

impl From<Fault> for SensorError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::NotStarted => Self::NotStarted,
            Fault::Dropped { what, count, buffer_bytes } => Self::Dropped { what, count, buffer_bytes },
            Fault::Other { message, hint } => Self::Elsewhere { message, hint },
        }
    }
}

/// Sends one message.
pub(crate) async fn send<W: AsyncWrite + Unpin>(stream: &mut W, message: &impl Serialize) -> io::Result<()> {
    let json = serde_json::to_vec(message)?;
    let length = u32::try_from(json.len()).ok().filter(|length| *length <= LONGEST);
    let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a message is too long"))?;
    stream.write_all(&[&length.to_be_bytes()[..], &json].concat()).await?;
    stream.flush().await
}

/// Receives one; `None` where the stream ended before it.
pub(crate) async fn receive<R: AsyncRead + Unpin, T: DeserializeOwned>(
    stream: &mut R,
) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match stream.read(&mut length[..1]).await? {
        0 => return Ok(None),
        _ => stream.read_exact(&mut length[1..]).await?,
    };
    let length = u32::from_be_bytes(length);
    if length > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is too long"));
    }
    let mut json = vec![0; length as usize];
    stream.read_exact(&mut json).await?;
    Ok(Some(serde_json::from_slice(&json)?))
}

/// Receives one that must be there.
pub(crate) async fn expect<R: AsyncRead + Unpin, T: DeserializeOwned>(stream: &mut R) -> io::Result<T> {
    receive(stream).await?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// Reads the other side's first line.
pub(crate) async fn greeted<R: AsyncRead + Unpin>(stream: &mut R) -> io::Result<()> {
    let mut line = Vec::new();
    // A byte at a time: what follows belongs to somebody else.
    while line.last() != Some(&b'\n') && line.len() < HELLO.len() {
        match stream.read_u8().await {
            Ok(byte) => line.push(byte),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        }
    }
    if line == HELLO.as_bytes() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&line);
    let reason = match line.is_empty() {
        true => "it said nothing".to_owned(),
        false => format!("it says {:?}, this program says {:?}", said.trim_end(), HELLO.trim_end()),
    };
    Err(io::Error::new(io::ErrorKind::InvalidData, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_message_comes_out_as_it_went_in_and_a_cut_one_is_an_error() {
        let mut bytes = Vec::new();
        send(&mut bytes, &Open::Follow { pid: 7, ports: true }).await.unwrap();
        let whole: Option<Open> = receive(&mut bytes.as_slice()).await.unwrap();
        assert!(matches!(whole, Some(Open::Follow { pid: 7, ports: true })));
        assert!(receive::<_, Open>(&mut &[][..]).await.unwrap().is_none());
        for length in 1..bytes.len() {
            assert!(receive::<_, Open>(&mut &bytes[..length]).await.is_err(), "{length}");
        }
        assert!(receive::<_, Open>(&mut &[0xff; 8][..]).await.is_err(), "too long");
    }

    #[tokio::test]
    async fn another_version_is_told_by_name() {
        greeted(&mut HELLO.as_bytes()).await.unwrap();
        let other = greeted(&mut &b"docker-slim sidecar 2\n"[..]).await.unwrap_err();
        assert!(other.to_string().contains("sidecar 2"), "{other}");
        assert!(greeted(&mut &b""[..]).await.unwrap_err().to_string().contains("nothing"));
    }

    #[test]
    fn an_error_keeps_its_kind_on_the_way() {
        let dropped = SensorError::Dropped { what: "x".to_owned(), count: 2, buffer_bytes: 4096 };
        assert!(matches!(SensorError::from(Fault::from(dropped)), SensorError::Dropped { count: 2, .. }));
        assert!(matches!(SensorError::from(Fault::from(SensorError::NotStarted)), SensorError::NotStarted));
        let missing = SensorError::from(Fault::from(SensorError::Capabilities("BPF".to_owned())));
        assert!(missing.to_string().contains("BPF") && missing.to_string().contains("sidecar"), "{missing}");
        assert!(missing.hint().unwrap().contains("--observer local"));
    }
}
