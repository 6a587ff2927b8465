//! Containers at work: streams, commands inside, logs, the end.

use super::{DockerEngine, Result, calls};
use crate::engine::{ContainerId, Engine, ExecResult, ExecSpec, Logs};
use crate::error::EngineError;
use crate::streams::{Attached, Demultiplexer, Diagnostics, collect_merged, collect_split};
use crate::transport::TransportError;
use bollard::models::ExecConfig;
use futures_util::TryStreamExt;
use http_body_util::{BodyDataStream, BodyExt};
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio_util::io::StreamReader;

/// How much of a command's stdout, and of its stderr, is kept.
const EXEC_BYTES: usize = 1024 * 1024;
/// How much of a container's log is kept.
const LOG_BYTES: usize = 16 * 1024 * 1024;
/// How long an engine may take to write down that a command, whose streams have ended, has ended itself.
const EXEC_END: Duration = Duration::from_secs(10);

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Waited {
    status_code: i64,
    #[serde(default)]
    error: Option<WaitError>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WaitError {
    #[serde(default)]
    message: String,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ExecState {
    running: bool,
    #[serde(default)]
    exit_code: Option<i64>,
}

impl DockerEngine {
    /// `condition`: `not-running`, or `next-exit` for a container that is not started yet.
    pub(super) async fn wait_for_end(&self, id: &ContainerId, condition: &str) -> Result<i64> {
        let action = || format!("wait for container {}", id.short());
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("/containers/{}/wait?condition={condition}", calls::encode(id.as_str())))
            .body(bollard::body_full(bytes::Bytes::new()))
            .map_err(|error| EngineError::Garbled { action: action(), reason: error.to_string() })?;
        let response =
            self.transport.exchange(request).await.map_err(|error| self.broken(action(), &error))?;
        let response =
            self.checked(&action, response).await.map_err(|error| calls::of_container(error, id))?;
        let body = response.into_body().collect().await;
        let bytes = body.map_err(|error| self.broken(action(), &TransportError::from(error)))?.to_bytes();
        if bytes.trim_ascii().is_empty() {
            // An engine that is being shut down ends the answer without one.
            return Err(self.went_away(action(), "the answer is empty".to_owned()));
        }
        let waited: Waited = serde_json::from_slice(&bytes)
            .map_err(|error| EngineError::Garbled { action: action(), reason: error.to_string() })?;
        match waited.error {
            Some(WaitError { message }) if !message.is_empty() => {
                Err(EngineError::Refused { action: action(), status: 500, reason: message })
            }
            _ => Ok(waited.status_code),
        }
    }

    /// Somebody else removes it already: waits for that.
    pub(super) async fn wait_until_removed(&self, id: &ContainerId) -> Result<()> {
        let poll = async {
            loop {
                match self.inspect(id).await {
                    Err(EngineError::ContainerNotFound { .. }) => return Ok(()),
                    Err(error) => return Err(error),
                    Ok(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        };
        tokio::time::timeout(self.call_timeout, poll)
            .await
            .map_err(|_| self.timed_out(format!("remove container {}", id.short()), self.call_timeout))?
    }

    pub(super) async fn read_logs(&self, id: &ContainerId, tail: Option<usize>) -> Result<Logs> {
        let action = || format!("read the log of container {}", id.short());
        let framed = !self.inspect(id).await?.tty;
        let tail = tail.map_or_else(|| "all".to_owned(), |lines| lines.to_string());
        let path = format!("/containers/{}/logs?stdout=1&stderr=1&tail={tail}", calls::encode(id.as_str()));
        let read = async {
            let response = self.transport.get(&path).await.map_err(|error| self.broken(action(), &error))?;
            let response = self.checked(&action, response).await?;
            collect_merged(body_reader(response.into_body()), framed, LOG_BYTES)
                .await
                .map_err(|error| self.went_away(action(), error.to_string()))
        };
        let answer = tokio::time::timeout(self.call_timeout, read)
            .await
            .map_err(|_| self.timed_out(action(), self.call_timeout))?;
        match answer {
            Ok(bytes) => Ok(Logs { bytes, unreadable: None }),
            Err(EngineError::Refused { reason, .. }) if reason.contains("does not support reading") => {
                Ok(Logs { bytes: Vec::new(), unreadable: Some(reason) })
            }
            Err(error) => Err(calls::of_container(error, id)),
        }
    }

    pub(super) async fn attach_streams(&self, id: &ContainerId) -> Result<Attached> {
        let action = || format!("attach to container {}", id.short());
        let tty = self.inspect(id).await?.tty;
        let path =
            format!("/containers/{}/attach?stream=1&stdin=1&stdout=1&stderr=1", calls::encode(id.as_str()));
        let (read, write) = self
            .hijack(&action, &path, String::new())
            .await
            .map_err(|error| calls::of_container(error, id))?;
        let diagnostics = Diagnostics::default();
        let output: Box<dyn AsyncRead + Send + Unpin> =
            if tty { Box::new(read) } else { Box::new(Demultiplexer::new(read, diagnostics.clone())) };
        let input = EndingInput { inner: write, ended: self.watch_end(id) };
        Ok(Attached { input: Box::new(input), output, diagnostics })
    }

    /// Completes when the container, which is not started yet, has ended or is gone.
    fn watch_end(&self, id: &ContainerId) -> oneshot::Receiver<()> {
        let (mut sender, receiver) = oneshot::channel();
        let (engine, id) = (self.clone(), id.clone());
        tokio::spawn(async move {
            tokio::select! {
                // Nobody writes any more.
                () = sender.closed() => {}
                end = engine.wait_for_end(&id, "next-exit") => {
                    tracing::debug!(%id, ?end, "attached container ended");
                    // Whoever listened may be gone by now.
                    let _ = sender.send(());
                }
            }
        });
        receiver
    }

    pub(super) async fn run_inside(&self, id: &ContainerId, command: &ExecSpec) -> Result<ExecResult> {
        let action = || format!("run {:?} in container {}", command.argv.join(" "), id.short());
        let config = ExecConfig {
            cmd: Some(command.argv.clone()),
            user: command.user.clone(),
            env: Some(command.env.clone()).filter(|env| !env.is_empty()),
            working_dir: command.working_directory.clone(),
            attach_stdin: Some(command.stdin.is_some()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..ExecConfig::default()
        };
        let exec = self
            .timed(&action, self.docker.create_exec(id.as_str(), config))
            .await
            .map_err(|error| calls::of_container(error, id))?
            .id;
        let start = r#"{"Detach":false,"Tty":false}"#.to_owned();
        let (read, mut write) =
            self.hijack(&action, &format!("/exec/{}/start", calls::encode(&exec)), start).await?;
        let feed = async {
            if let Some(bytes) = &command.stdin {
                // A command that ends without reading its input breaks the pipe: its exit code tells enough.
                let fed = write.write_all(bytes).await;
                let ended = write.shutdown().await;
                if let Err(error) = fed.and(ended) {
                    tracing::debug!(%error, "a command did not take all of its input");
                }
            }
            // The connection stays open until the output has ended.
            std::future::pending::<()>().await;
        };
        // The end of the output is the end: the engine neither reads nor refuses what is left of the input then.
        let collected = tokio::select! {
            collected = collect_split(read, EXEC_BYTES) => collected,
            () = feed => Err(io::ErrorKind::UnexpectedEof.into()),
        };
        let (stdout, stderr) = collected.map_err(|error| self.went_away(action(), error.to_string()))?;
        let exit_code = self.exec_exit_code(&action, &exec).await?;
        Ok(ExecResult { exit_code, stdout, stderr })
    }

    async fn exec_exit_code(&self, action: &(dyn Fn() -> String + Sync), exec: &str) -> Result<i64> {
        let path = format!("/exec/{}/json", calls::encode(exec));
        let poll = async {
            loop {
                let state: ExecState = self.ask_as(action, &path).await?;
                match state {
                    ExecState { running: false, exit_code: Some(code) } => return Ok(code),
                    _ => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        tokio::time::timeout(EXEC_END, poll).await.map_err(|_| self.timed_out(action(), EXEC_END))?
    }

    /// Posts, and takes over the connection.
    async fn hijack(
        &self,
        action: &(dyn Fn() -> String + Sync),
        path: &str,
        json: String,
    ) -> Result<(impl AsyncRead + Send + Unpin + use<>, impl AsyncWrite + Send + Unpin + use<>)> {
        let exchange = async {
            let answer = self.transport.post_for_stream(path, json).await;
            let response =
                self.checked(action, answer.map_err(|error| self.broken(action(), &error))?).await?;
            if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                let reason =
                    format!("it answers {} and does not hand over the connection", response.status());
                return Err(EngineError::Garbled { action: action(), reason });
            }
            hyper::upgrade::on(response)
                .await
                .map_err(|error| self.broken(action(), &TransportError::from(error)))
        };
        let upgraded = tokio::time::timeout(self.call_timeout, exchange)
            .await
            .map_err(|_| self.timed_out(action(), self.call_timeout))??;
        Ok(tokio::io::split(TokioIo::new(upgraded)))
    }
}

/// A container's standard input. When the container ends without having read it all, the engine neither reads nor
/// closes the connection: a writer would wait for ever without this.
struct EndingInput<W> {
    inner: W,
    ended: oneshot::Receiver<()>,
}

impl<W> EndingInput<W> {
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        // Once it has completed it must not be asked again.
        if self.ended.is_terminated() || Pin::new(&mut self.ended).poll(context).is_ready() {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, "the container has ended"));
        }
        Ok(())
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for EndingInput<W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

/// A response's body as a reader.
fn body_reader(body: Incoming) -> impl AsyncRead + Unpin {
    StreamReader::new(BodyDataStream::new(body).map_err(io::Error::other))
}
