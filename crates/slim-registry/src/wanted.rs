//! Work in several parts, of which none goes on once one of them failed: whoever started them goes on only when they have
//! ended, so that nothing is written where everybody thinks that it is over. Where whoever waits for them is broken off
//! they are told as well, and end by themselves.

use futures_util::{StreamExt, stream};
use std::io::{self, Read};
use tokio::sync::watch;

/// Whether a part's work is still wanted: no other one failed, and whoever waits for it has not been broken off.
#[derive(Clone, Debug)]
pub(crate) struct Wanted(watch::Receiver<()>);

impl Wanted {
    pub(crate) fn holds(&self) -> bool {
        self.0.has_changed().is_ok()
    }

    /// Comes back once it is not.
    pub(crate) async fn ends(&mut self) {
        while self.0.changed().await.is_ok() {}
    }

    /// # Errors
    /// It is wanted no more. Only who waits for none of this any more, or has another error, comes across this one.
    pub(crate) fn check(&self) -> io::Result<()> {
        self.holds().then_some(()).ok_or_else(|| io::Error::other("another part of this failed"))
    }

    /// The same bytes, as long as somebody wants them.
    pub(crate) fn read<R: Read>(self, inner: R) -> impl Read {
        WhileWanted { inner, wanted: self }
    }
}

struct WhileWanted<R> {
    inner: R,
    wanted: Wanted,
}

impl<R: Read> Read for WhileWanted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.wanted.check()?;
        self.inner.read(buffer)
    }
}

/// Parts that belong together.
pub(crate) struct Together {
    sender: watch::Sender<()>,
    wanted: Wanted,
}

impl Together {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = watch::channel(());
        Self { sender, wanted: Wanted(receiver) }
    }

    /// For each part.
    pub(crate) fn wanted(&self) -> Wanted {
        self.wanted.clone()
    }

    /// Does the parts, as many at a time as `parallel` says. After the first failure no other one begins; those that have
    /// begun are told, and waited for.
    ///
    /// # Errors
    /// The first failure.
    pub(crate) async fn each<E>(
        self,
        parts: Vec<impl Future<Output = Result<(), E>>>,
        parallel: usize,
    ) -> Result<(), E> {
        let Self { sender, mut wanted } = self;
        let mut sender = Some(sender);
        let parts = stream::iter(parts).take_until(async move { wanted.ends().await });
        let mut done = std::pin::pin!(parts.buffer_unordered(parallel));
        let mut outcome = Ok(());
        while let Some(one) = done.next().await {
            if outcome.is_ok() && one.is_err() {
                outcome = one;
                sender = None;
            }
        }
        drop(sender);
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[tokio::test(flavor = "multi_thread")]
    async fn after_a_failure_nothing_begins_and_nothing_goes_on() {
        let (begun, at_work) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let together = Together::new();
        let part = |part, wanted: Wanted| {
            let (begun, at_work) = (&begun, &at_work);
            async move {
                begun.fetch_add(1, Ordering::SeqCst);
                if part == 2 {
                    return Err("the third failed");
                }
                at_work.fetch_add(1, Ordering::SeqCst);
                let endless = move || {
                    let copied = io::copy(&mut wanted.read(io::repeat(0)), &mut io::sink());
                    std::thread::sleep(Duration::from_millis(50));
                    copied
                };
                let broken_off = tokio::task::spawn_blocking(endless).await.unwrap();
                at_work.fetch_sub(1, Ordering::SeqCst);
                broken_off.map(drop).map_err(|_| "broken off")
            }
        };
        let parts = (0..100).map(|number| part(number, together.wanted())).collect();
        let outcome = together.each(parts, 3);
        assert_eq!(outcome.await, Err("the third failed"));
        assert_eq!((begun.into_inner(), at_work.into_inner()), (3, 0));
    }

    #[tokio::test]
    async fn whoever_waits_may_be_broken_off_and_the_work_ends_too() {
        let (sender, ended) = tokio::sync::oneshot::channel();
        let together = Together::new();
        let wanted = together.wanted();
        let part = async move {
            tokio::task::spawn_blocking(move || {
                while wanted.holds() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                sender.send(())
            });
            std::future::pending::<Result<(), ()>>().await
        };
        let waiting = together.each(vec![part], 1);
        assert!(tokio::time::timeout(Duration::from_millis(20), waiting).await.is_err());
        assert!(tokio::time::timeout(Duration::from_secs(60), ended).await.is_ok());
    }
}
