//! One pair of byte streams that carries any number of conversations.

use std::future::poll_fn;
use std::io;
use std::task::Poll;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};
use yamux::{Config, Connection, ConnectionError, Mode};

/// A conversation's bytes.
pub(crate) type Stream = Compat<yamux::Stream>;

/// The connection below them, not yet in use.
pub(crate) struct Link<T>(Connection<Compat<T>>);

/// Opens conversations over a link that somebody else drives.
#[derive(Clone, Debug)]
pub(crate) struct Opener(mpsc::UnboundedSender<oneshot::Sender<Stream>>);

impl<T: AsyncRead + AsyncWrite + Unpin> Link<T> {
    /// The side that opens conversations.
    pub fn near(bytes: T) -> Self {
        Self(Connection::new(bytes.compat(), Config::default(), Mode::Client))
    }

    /// The side that answers them.
    pub fn far(bytes: T) -> Self {
        Self(Connection::new(bytes.compat(), Config::default(), Mode::Server))
    }

    /// The next conversation that the other side opens; `None` when it is gone.
    pub async fn accept(&mut self) -> io::Result<Option<Stream>> {
        match poll_fn(|context| self.0.poll_next_inbound(context)).await {
            None => Ok(None),
            Some(Ok(stream)) => Ok(Some(stream.compat())),
            // Who has closed its end shows as this, too, where something was still on its way there.
            Some(Err(ConnectionError::Io(error))) if is_gone(&error) => Ok(None),
            Some(Err(error)) => Err(io::Error::other(error)),
        }
    }

    /// Carries conversations until the other side is gone, and says how that showed.
    pub async fn drive(mut self, mut wanted: mpsc::UnboundedReceiver<oneshot::Sender<Stream>>) -> String {
        let mut waits: Option<oneshot::Sender<Stream>> = None;
        let mut all_asked = false;
        poll_fn(|context| {
            loop {
                if waits.is_none() && !all_asked {
                    match wanted.poll_recv(context) {
                        Poll::Ready(Some(sender)) => waits = Some(sender),
                        Poll::Ready(None) => all_asked = true,
                        Poll::Pending => {}
                    }
                }
                if waits.is_some() {
                    match self.0.poll_new_outbound(context) {
                        Poll::Ready(Ok(stream)) => {
                            // Whoever asked may have given up.
                            if let Some(sender) = waits.take() {
                                drop(sender.send(stream.compat()));
                            }
                            continue;
                        }
                        Poll::Ready(Err(error)) => return Poll::Ready(error.to_string()),
                        Poll::Pending => {}
                    }
                }
                return match self.0.poll_next_inbound(context) {
                    // The far side opens none.
                    Poll::Ready(Some(Ok(_))) => continue,
                    Poll::Ready(Some(Err(error))) => Poll::Ready(error.to_string()),
                    Poll::Ready(None) => Poll::Ready("it closed the connection".to_owned()),
                    Poll::Pending => Poll::Pending,
                };
            }
        })
        .await
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof
    )
}

impl Opener {
    pub fn new() -> (Self, mpsc::UnboundedReceiver<oneshot::Sender<Stream>>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// # Errors
    /// When the link is gone.
    pub async fn open(&self) -> io::Result<Stream> {
        let gone = || io::Error::new(io::ErrorKind::BrokenPipe, "the sidecar container is gone");
        let (sender, receiver) = oneshot::channel();
        self.0.send(sender).map_err(|_| gone())?;
        receiver.await.map_err(|_| gone())
    }
}
