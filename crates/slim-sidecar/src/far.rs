//! The far side: beside the containers.
//!
//! Each conversation is a task; all end with the connection, or when the near side has been silent for too long. What an
//! observer stopped goes on when the observer is dropped.

use crate::link::{Link, Stream};
use crate::protocol::{
    Actors, Answer, Ask, Fault, HELLO, Open, Process, Reached, SILENCE, State, expect, greeted, receive, send,
};
use slim_sensor::processes::{acting, is_alive, open_ports, processor_time};
use slim_sensor::{Observer, SensorError};
use slim_trace::Listening;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// How often it is looked whether there are news.
const LOOK: Duration = Duration::from_millis(20);
/// Without any, the near side hears this often that there are none.
const NO_NEWS: Duration = Duration::from_millis(100);
/// How long a connection inside of the machine may take.
const CONNECT: Duration = Duration::from_secs(5);

/// Why the far side ended otherwise than it should. The message is a fragment that fits after "failed to".
#[derive(Debug)]
pub enum ServeError {
    /// The other side is not the program that it should be.
    Greeting(io::Error),
    /// The connection broke.
    Link(io::Error),
    /// Nobody has been heard of for a minute.
    Silence,
}

impl std::fmt::Display for ServeError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Greeting(error) => write!(formatter, "talk to the near side: {error}"),
            Self::Link(error) => write!(formatter, "go on talking to the near side: {error}"),
            Self::Silence => formatter.write_str("hear of the near side"),
        }
    }
}

impl std::error::Error for ServeError {}

/// When the near side was last heard of.
type Heard = Arc<Mutex<Instant>>;

/// Serves one near side until it is gone.
///
/// # Errors
/// When it goes otherwise than by closing the connection.
pub async fn serve<R, W>(mut input: R, mut output: W) -> Result<(), ServeError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let hello = async {
        // The near side speaks first, so that neither waits for the other to read.
        greeted(&mut input).await?;
        output.write_all(HELLO.as_bytes()).await?;
        output.flush().await
    };
    tokio::time::timeout(SILENCE, hello)
        .await
        .map_err(|_| ServeError::Silence)?
        .map_err(ServeError::Greeting)?;
    let mut link = Link::far(tokio::io::join(input, output));
    let heard: Heard = Arc::new(Mutex::new(Instant::now()));
    let mut conversations = JoinSet::new();
    let mut look = tokio::time::interval(SILENCE / 10);
    loop {
        tokio::select! {
            accepted = link.accept() => match accepted {
                Ok(Some(stream)) => {
                    let heard = Arc::clone(&heard);
                    conversations.spawn(async move {
                        if let Err(error) = converse(stream, &heard).await {
                            tracing::debug!(%error, "a conversation ended");
                        }
                    });
                }
                Ok(None) => return Ok(()),
                Err(error) => return Err(ServeError::Link(error)),
            },
            Some(_) = conversations.join_next() => {}
            _ = look.tick() => {
                if heard.lock().unwrap_or_else(PoisonError::into_inner).elapsed() > SILENCE {
                    return Err(ServeError::Silence);
                }
            }
        }
    }
}

async fn converse(mut stream: Stream, heard: &Heard) -> io::Result<()> {
    match expect(&mut stream).await? {
        Open::Beat => echo(stream, heard).await,
        Open::Check => {
            let answer = answer(off_thread(slim_sensor::preflight).await);
            send(&mut stream, &answer).await
        }
        Open::Observe { buffer_bytes } => observe(stream, buffer_bytes).await,
        Open::Follow { pid, ports } => follow(stream, pid, ports).await,
        Open::Acting { pid } => send(&mut stream, &Actors(acting(pid))).await,
        Open::Sockets { pid } => {
            let found = blocking(move || slim_probe::sockets_of(pid)).await;
            let reached = found.map_or_else(|error| Reached::failed(&error), Reached::Sockets);
            send(&mut stream, &reached).await
        }
        Open::Connect { pid, address } => {
            match blocking(move || slim_probe::connect_from(pid, address, CONNECT)).await {
                Ok(connection) => carry(stream, connection).await,
                Err(error) => send(&mut stream, &Reached::failed(&error)).await,
            }
        }
    }
}

async fn echo(mut stream: Stream, heard: &Heard) -> io::Result<()> {
    let mut byte = [0];
    while stream.read(&mut byte).await? > 0 {
        *heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        stream.write_all(&byte).await?;
        stream.flush().await?;
    }
    Ok(())
}

async fn carry(mut stream: Stream, connection: std::net::TcpStream) -> io::Result<()> {
    connection.set_nonblocking(true)?;
    let mut connection = tokio::net::TcpStream::from_std(connection)?;
    // Small requests are sent at once; a failure to say so costs time only.
    drop(connection.set_nodelay(true));
    send(&mut stream, &Reached::Connected).await?;
    tokio::io::copy_bidirectional(&mut stream, &mut connection).await.map(|_| ())
}

async fn follow(mut stream: Stream, pid: i32, ports: bool) -> io::Result<()> {
    let mut told = None;
    let mut when = Instant::now();
    let mut look = tokio::time::interval(LOOK);
    loop {
        look.tick().await;
        let used = u64::try_from(processor_time(pid).as_micros()).unwrap_or(u64::MAX);
        let open_ports = if ports { open_ports(pid) } else { Default::default() };
        let process = Process { alive: is_alive(pid), processor_time: used, open_ports };
        let is_news = told.as_ref() != Some(&process);
        if is_news || when.elapsed() >= NO_NEWS {
            send(&mut stream, &process).await?;
            when = Instant::now();
        }
        if !process.alive {
            return stream.shutdown().await;
        }
        told = Some(process);
    }
}

/// One observation, from an observer that watches nothing yet to its trace.
async fn observe(stream: Stream, buffer_bytes: u32) -> io::Result<()> {
    let (asked, mut output) = tokio::io::split(stream);
    let mut asks = asks(asked);
    let prepared = match off_thread(move || slim_sensor::Prepared::new(buffer_bytes)).await {
        Ok(prepared) => prepared,
        Err(error) => return send(&mut output, &Answer::Fault(error.into())).await,
    };
    send(&mut output, &Answer::Done).await?;
    let Some(Ask::Arm { container, image, image_volumes, buffer_bytes }) = asks.recv().await else {
        return Ok(());
    };
    let settings = slim_sensor::Settings { image, image_volumes, buffer_bytes };
    let observer = match off_thread(move || prepared.arm(&container, settings)).await {
        Ok(observer) => observer,
        Err(error) => return send(&mut output, &Answer::Fault(error.into())).await,
    };
    send(&mut output, &Answer::Done).await?;
    watch(observer, asks, output).await
}

/// What the near side asks, as it comes.
fn asks(mut input: ReadHalf<Stream>) -> mpsc::Receiver<Ask> {
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok(Some(ask)) = receive(&mut input).await {
            if sender.send(ask).await.is_err() {
                return;
            }
        }
    });
    receiver
}

async fn watch(
    mut observer: Box<dyn Observer>,
    mut asks: mpsc::Receiver<Ask>,
    mut output: WriteHalf<Stream>,
) -> io::Result<()> {
    let mut news = News::new();
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            ask = asks.recv() => {
                match ask {
                    Some(Ask::Phase(phase)) => observer.enter_phase(phase),
                    Some(Ask::Step) => observer.next_step(),
                    Some(Ask::Finish) => return finish(observer, output).await,
                    // Given up, or another protocol than ours.
                    Some(Ask::Arm { .. }) | None => return Ok(()),
                }
                send(&mut output, &Answer::Done).await?;
            }
            _ = look.tick() => {
                let state = news.of(observer.as_mut());
                if let Some(state) = state {
                    send(&mut output, &Answer::State(state)).await?;
                }
            }
        }
    }
}

async fn finish(observer: Box<dyn Observer>, mut output: WriteHalf<Stream>) -> io::Result<()> {
    let finished = off_thread(move || Ok(observer.finish()?.to_json())).await;
    match finished {
        Ok(trace) => {
            send(&mut output, &Answer::Trace { bytes: trace.len() as u64 }).await?;
            output.write_all(&trace).await?;
        }
        Err(error) => send(&mut output, &Answer::Fault(error.into())).await?,
    }
    output.shutdown().await
}

/// What the near side knows already.
struct News {
    started: Option<i32>,
    failed: bool,
    listening: Vec<Listening>,
    told: Instant,
}

impl News {
    fn new() -> Self {
        Self { started: None, failed: false, listening: Vec::new(), told: Instant::now() }
    }

    /// The state where there is something new in it, or it has not been told for a while.
    fn of(&mut self, observer: &mut dyn Observer) -> Option<State> {
        let idle = observer.last_activity().elapsed();
        let mut state = State {
            idle: u64::try_from(idle.as_micros()).unwrap_or(u64::MAX),
            started: self.started,
            ..State::default()
        };
        let mut is_news = self.told.elapsed() >= NO_NEWS || idle < 2 * LOOK;
        if self.started.is_none() && !self.failed {
            match observer.wait_started(Duration::ZERO) {
                Ok(started) => {
                    self.started = Some(started.pid);
                    state.started = self.started;
                    is_news = true;
                }
                Err(SensorError::NotStarted) => {}
                Err(error) => {
                    self.failed = true;
                    state.not_started = Some(Fault::from(error));
                    is_news = true;
                }
            }
        }
        let listening = observer.listening();
        if listening != self.listening {
            self.listening.clone_from(&listening);
            state.listening = Some(listening);
            is_news = true;
        }
        if is_news {
            self.told = Instant::now();
        }
        is_news.then_some(state)
    }
}

fn answer(done: Result<(), SensorError>) -> Answer {
    match done {
        Ok(()) => Answer::Done,
        Err(error) => Answer::Fault(error.into()),
    }
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SensorError> + Send + 'static,
) -> Result<T, SensorError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(SensorError::Panicked))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
