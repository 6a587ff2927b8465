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
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A sidecar at work. It ends when the last holder of this is gone.
pub struct Sidecar {
    opener: Opener,
    /// Why it is gone.
    loss: watch::Receiver<Option<String>>,
    /// The task that carries and beats.
    carry: JoinHandle<()>,
}

impl fmt::Debug for Sidecar {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Sidecar").field("loss", &*self.loss.borrow()).finish_non_exhaustive()
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        self.carry.abort();
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
        Self::patient(output, input, diagnostics, SILENCE).await
    }

    /// One that may be silent for so long and no longer.
    async fn patient<R, W>(
        output: R,
        input: W,
        diagnostics: impl Fn() -> String + Send + 'static,
        patience: Duration,
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
        let greeted = tokio::time::timeout(patience, hello).await;
        if let Err(error) = greeted.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            return Err(gone(&error.to_string(), &diagnostics()));
        }
        let link = Link::near(tokio::io::join(output, input));
        let (opener, wanted) = Opener::new();
        let (lost, loss) = watch::channel(None);
        let silent = silent(opener.clone(), patience);
        let carry = tokio::spawn(async move {
            // Whichever ends first: the link goes with this, and everybody who waits for a word over it is told.
            let reason = tokio::select! {
                reason = link.drive(wanted) => reason,
                reason = silent => reason,
            };
            // What it said last may be under way.
            lost.send_replace(Some(with(&reason, &diagnostics())));
        });
        Ok(Arc::new(Self { opener, loss, carry }))
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

/// Shows the far side that we are here, and ends when nothing is heard of it any more. That the link broke is not silence:
/// the link itself knows better why.
async fn silent(opener: Opener, patience: Duration) -> String {
    let beats = async {
        let mut stream = opener.open().await?;
        send(&mut stream, &Open::Beat).await?;
        loop {
            stream.write_all(&[0]).await?;
            stream.flush().await?;
            match tokio::time::timeout(patience, stream.read_u8()).await {
                Ok(echo) => echo?,
                Err(_) => return io::Result::Ok(()),
            };
            tokio::time::sleep(BEAT).await;
        }
    };
    match beats.await {
        Ok(()) => format!("it was silent for {} s", patience.as_secs()),
        Err(error) => {
            tracing::debug!(%error, "the sidecar is no longer asked whether it is there");
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_that_falls_silent_is_gone_for_everybody_who_waits() {
        const SOON: Duration = Duration::from_secs(30);
        let ((near_in, mut far_in), (mut far_out, near_out)) =
            (tokio::io::duplex(4096), tokio::io::duplex(4096));
        let silent = async {
            // It greets, and then it only ever listens.
            let mut greeting = [0; 4096];
            let length = far_in.read(&mut greeting).await.unwrap();
            far_out.write_all(&greeting[..length]).await.unwrap();
            tokio::io::copy(&mut far_in, &mut tokio::io::sink()).await.unwrap();
            std::future::pending().await
        };
        let asked = async {
            let patience = Duration::from_secs(1);
            let sidecar = Sidecar::patient(near_out, near_in, String::new, patience).await.unwrap();
            tokio::time::timeout(SOON, sidecar.acting(1)).await.expect("it waits for ever")
        };
        let error = tokio::select! {
            answer = asked => answer.unwrap_err(),
            () = silent => unreachable!("it ends by nothing"),
        };
        assert!(error.to_string().contains("silent for 1 s"), "{error}");
    }
}
