//! The near side: the way to a sidecar that runs already.

use crate::follow::Followed;
use crate::link::{Link, Opener, Stream};
use crate::observe::Prepared;
use crate::protocol::{Actors, Answer, BEAT, HELLO, Open, Reached, SILENCE, expect, greeted, send};
use slim_probe::{Reach, Reaching, Sockets};
use slim_sensor::SensorError;
use slim_sensor::processes::Acting;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A sidecar at work. It ends when the last holder of this is gone.
pub struct Sidecar {
    opener: Opener,
    /// Why it is gone.
    loss: watch::Receiver<Option<String>>,
    /// The tasks that carry and beat.
    tasks: [JoinHandle<()>; 2],
}

impl fmt::Debug for Sidecar {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Sidecar").field("loss", &*self.loss.borrow()).finish_non_exhaustive()
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Sidecar {
    /// Greets a sidecar over its standard input and output. `diagnostics`: what it wrote to standard error by now.
    ///
    /// # Errors
    /// [`SensorError::SidecarGone`] when it is not there, or another version.
    pub async fn connect<R, W>(
        output: R,
        input: W,
        diagnostics: impl Fn() -> String + Send + 'static,
    ) -> Result<Arc<Self>, SensorError>
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let (mut output, mut input) = (output, input);
        let hello = async {
            input.write_all(HELLO.as_bytes()).await?;
            input.flush().await?;
            greeted(&mut output).await
        };
        let greeted = tokio::time::timeout(SILENCE, hello).await;
        if let Err(error) = greeted.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            return Err(gone(&error.to_string(), &diagnostics()));
        }
        let link = Link::near(tokio::io::join(output, input));
        let (opener, wanted) = Opener::new();
        let (lost, loss) = watch::channel(None);
        let lost = Arc::new(lost);
        let beat = tokio::spawn(beat(opener.clone(), Arc::clone(&lost)));
        let carry = tokio::spawn(async move {
            let reason = link.drive(wanted).await;
            // What it said last may be under way.
            tell(&lost, with(&reason, &diagnostics()));
        });
        Ok(Arc::new(Self { opener, loss, tasks: [carry, beat] }))
    }

    /// Waits until the sidecar is gone, and says why.
    pub async fn lost(&self) -> SensorError {
        let mut loss = self.loss.clone();
        let reason = match loss.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => "its connection was given up".to_owned(),
        };
        SensorError::SidecarGone { reason }
    }

    /// Whether it may watch containers.
    ///
    /// # Errors
    /// What is missing.
    pub async fn check(&self) -> Result<(), SensorError> {
        match self.ask(&Open::Check).await.map_err(|error| self.failed(&error))? {
            Answer::Done => Ok(()),
            Answer::Fault(fault) => Err(fault.into()),
            other => Err(unexpected(&other)),
        }
    }

    /// An observer that watches nothing yet, with a ring buffer of this size.
    ///
    /// # Errors
    /// When the sidecar's kernel does not let it, or it is gone.
    pub async fn prepare(self: &Arc<Self>, buffer_bytes: u32) -> Result<Prepared, SensorError> {
        let stream = self.open(&Open::Observe { buffer_bytes }).await.map_err(|error| self.failed(&error))?;
        Prepared::new(stream, Arc::clone(self)).await
    }

    /// Follows a process. `ports`: what it has open, too.
    ///
    /// # Errors
    /// When the sidecar is gone.
    pub async fn follow(self: &Arc<Self>, pid: i32, ports: bool) -> Result<Followed, SensorError> {
        let stream = self.open(&Open::Follow { pid, ports }).await.map_err(|error| self.failed(&error))?;
        Followed::new(stream).await.map_err(|error| self.failed(&error))
    }

    /// Whom a process and those below it act as.
    ///
    /// # Errors
    /// When the sidecar is gone.
    pub async fn acting(&self, pid: i32) -> Result<Acting, SensorError> {
        let Actors(acting) = self.ask(&Open::Acting { pid }).await.map_err(|error| self.failed(&error))?;
        Ok(acting)
    }

    /// A failed conversation, told by why the sidecar is gone, where it is.
    pub(crate) fn failed(&self, error: &io::Error) -> SensorError {
        let reason = self.loss.borrow().clone().unwrap_or_else(|| error.to_string());
        SensorError::SidecarGone { reason }
    }

    async fn open(&self, about: &Open) -> io::Result<Stream> {
        let mut stream = self.opener.open().await?;
        send(&mut stream, about).await?;
        Ok(stream)
    }

    async fn ask<T: serde::de::DeserializeOwned>(&self, about: &Open) -> io::Result<T> {
        expect(&mut self.open(about).await?).await
    }

    async fn reach(&self, about: &Open) -> io::Result<(Reached, Stream)> {
        let mut stream = self.open(about).await?;
        match expect(&mut stream).await? {
            Reached::Failed { number: Some(number), .. } => Err(io::Error::from_raw_os_error(number)),
            Reached::Failed { text, .. } => Err(io::Error::other(text)),
            reached => Ok((reached, stream)),
        }
    }
}

impl Reach for Sidecar {
    fn sockets(&self, pid: i32) -> Reaching<'_, Sockets> {
        Box::pin(async move {
            match self.reach(&Open::Sockets { pid }).await? {
                (Reached::Sockets(sockets), _) => Ok(sockets),
                _ => Err(io::ErrorKind::InvalidData.into()),
            }
        })
    }

    fn connect(&self, pid: i32, address: SocketAddr) -> Reaching<'_, Box<dyn slim_probe::Stream>> {
        Box::pin(async move {
            let (_, stream) = self.reach(&Open::Connect { pid, address }).await?;
            Ok(Box::new(stream) as Box<dyn slim_probe::Stream>)
        })
    }
}

pub(crate) fn unexpected(answer: &Answer) -> SensorError {
    SensorError::SidecarGone { reason: format!("it answered something else than was asked: {answer:?}") }
}

fn gone(reason: &str, diagnostics: &str) -> SensorError {
    SensorError::SidecarGone { reason: with(reason, diagnostics) }
}

/// A reason with what the sidecar wrote about it, where it wrote something.
fn with(reason: &str, diagnostics: &str) -> String {
    match diagnostics.trim() {
        "" => reason.to_owned(),
        said => format!("{reason}; it said: {said}"),
    }
}

/// The first reason stands.
fn tell(lost: &watch::Sender<Option<String>>, reason: String) {
    lost.send_if_modified(|told| {
        let is_first = told.is_none();
        told.get_or_insert(reason);
        is_first
    });
}

/// Shows the far side that we are here, and sees that it is.
async fn beat(opener: Opener, lost: Arc<watch::Sender<Option<String>>>) {
    let beats = async {
        let mut stream = opener.open().await?;
        send(&mut stream, &Open::Beat).await?;
        loop {
            stream.write_all(&[0]).await?;
            stream.flush().await?;
            let echo = tokio::time::timeout(SILENCE, stream.read_u8()).await;
            if echo.is_err() {
                tell(&lost, format!("it was silent for {} s", SILENCE.as_secs()));
                return Ok(());
            }
            echo.unwrap_or(Ok(0))?;
            tokio::time::sleep(BEAT).await;
        }
    };
    let ended: io::Result<()> = beats.await;
    // The link itself knows better why.
    tracing::debug!(?ended, "the sidecar is no longer asked whether it is there");
}
