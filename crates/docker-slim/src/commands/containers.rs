//! `docker-slim ps`, `logs`, `start`, `exec`, `top`, `inspect`, `stop`, `rm`: the containers of the embedded engine.

use super::handing_on::{self, can_hand_on};
use crate::arguments::{
    EngineName, ExecArguments, GlobalArguments, InspectArguments, LogsArguments, OutputFormat, PsArguments,
    RmArguments, StartArguments, StopArguments, TopArguments,
};
use crate::console::{self, RawTerminal};
use crate::failure::Failure;
use crate::settings;
use slim_build::BuildError;
use slim_engine::embedded::{Connection, Listed, Stream};
use slim_engine::{ContainerState, EmbeddedEngine, Engine, EngineError, ExecSpec};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::time::{Duration, SystemTime};

/// So long what a command wrote last is waited for.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Does work with the embedded engine on an async runtime. `command`: what Docker calls it.
pub fn with_embedded<T>(
    global: &GlobalArguments,
    command: &str,
    work: impl AsyncFnOnce(EmbeddedEngine) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let is_other = matches!(global.engine, Some(EngineName::Docker | EngineName::Podman));
    if is_other || settings::flags_name_an_address(global) {
        let failure =
            Failure::usage(format!("{command} with another engine: this command is the embedded engine's"));
        return Err(failure.with_hint(format!("docker {command} does that")));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::from(BuildError::Bug(format!("start the async runtime: {error}"))))?;
    let store = super::own_store::open(global).map_err(failed)?;
    let done = runtime.block_on(work(EmbeddedEngine::new(store, settings::OWN_BINARY)));
    runtime.shutdown_timeout(Duration::from_secs(2));
    done
}

pub fn failed(error: EngineError) -> Failure {
    Failure::from(BuildError::from(error))
}

/// `ps`.
pub fn list(global: &GlobalArguments, arguments: &PsArguments) -> Result<(), Failure> {
    let all = with_embedded(global, "ps", async |engine| engine.list().await.map_err(failed))?;
    let shown: Vec<Listed> = all.into_iter().filter(|one| arguments.all || one.state.running).collect();
    let text = match global.output_format {
        OutputFormat::Json => format!("{:#}\n", serde_json::Value::from_iter(shown.iter().map(as_json))),
        OutputFormat::Text => table(&shown, SystemTime::now()),
    };
    // Nobody is left to be told when stdout is closed.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(())
}

fn as_json(one: &Listed) -> serde_json::Value {
    serde_json::json!({
        "id": one.id.as_str(), "name": one.name, "image": one.image, "command": one.command,
        "created": one.created, "status": one.state.status, "exit_code": one.state.exit_code,
        "error": one.state.error, "pid": one.state.pid, "network": one.state.network_mode,
        "addresses": one.state.addresses, "ports": ports(one), "health": one.state.health,
    })
}

fn ports(one: &Listed) -> Vec<String> {
    let told = one.state.ports.iter();
    told.map(|port| format!("{}:{}->{}/{}", port.host_ip, port.host_port, port.container_port, port.protocol))
        .collect()
}

fn table(shown: &[Listed], now: SystemTime) -> String {
    const COMMAND: usize = 24;
    let heads = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAME"];
    let mut rows = vec![heads.map(str::to_owned)];
    for one in shown {
        let mut command = one.command.join(" ");
        if command.chars().count() > COMMAND {
            command = command.chars().take(COMMAND - 1).chain(['…']).collect();
        }
        let status = match &one.state {
            state if !state.error.is_empty() => format!("failed ({})", state.exit_code),
            state if state.status == "exited" => format!("exited ({})", state.exit_code),
            ContainerState { health: Some(health), .. } => format!("{} ({health})", one.state.status),
            state => state.status.clone(),
        };
        let name = one.name.clone().unwrap_or_default();
        let created = ago(one.created, now);
        let id = one.id.short().to_owned();
        rows.push([
            id,
            one.image.clone(),
            command.escape_debug().to_string(),
            created,
            status,
            ports(one).join(", "),
            name,
        ]);
    }
    aligned(&rows)
}

/// Columns beside each other; a row may lack the last ones.
fn aligned<R: AsRef<[String]>>(rows: &[R]) -> String {
    let rows = || rows.iter().map(AsRef::as_ref);
    let columns = rows().map(<[String]>::len).max().unwrap_or_default();
    let width =
        |column: usize| rows().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    let line = |row: &[String]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("   ").trim_end())
    };
    rows().map(line).collect()
}

fn ago(created: u64, now: SystemTime) -> String {
    let made = SystemTime::UNIX_EPOCH + Duration::from_secs(created);
    let seconds = now.duration_since(made).unwrap_or_default().as_secs();
    let units = [(86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];
    let (length, unit) = units.into_iter().find(|(length, _)| seconds >= *length).unwrap_or((1, "second"));
    let count = seconds / length;
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

/// `logs`: to the end, or until nobody reads.
pub fn logs(global: &GlobalArguments, arguments: &LogsArguments) -> Result<(), Failure> {
    let mut broken = None;
    let each = |stream: Stream, bytes: &[u8]| match hand_on(stream, bytes) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            broken = Some(error);
            ControlFlow::Break(())
        }
    };
    with_embedded(global, "logs", async |engine| {
        let id = engine.find_container(&arguments.container).await.map_err(failed)?;
        let written = if arguments.follow {
            engine.follow(&id, each).await.map(drop)
        } else {
            engine.written(&id, each).await
        };
        written.map_err(failed)
    })?;
    match broken {
        Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::usage(format!("write the log: {error}")))
        }
        _ => Ok(()),
    }
}

fn hand_on(stream: Stream, bytes: &[u8]) -> io::Result<()> {
    match stream {
        Stream::Output => {
            let mut output = io::stdout().lock();
            output.write_all(bytes).and_then(|()| output.flush())
        }
        Stream::Errors => io::stderr().lock().write_all(bytes),
    }
}

/// `start`.
pub fn start(global: &GlobalArguments, arguments: &StartArguments) -> Result<(), Failure> {
    each(global, "start", &arguments.containers, async |engine, id| engine.start(id).await)
}

/// `exec`: the command's exit code is ours.
pub fn execute(global: &GlobalArguments, arguments: &ExecArguments) -> Result<(), Failure> {
    can_hand_on(arguments.interactive, arguments.tty)?;
    let command = ExecSpec {
        argv: arguments.command.clone(),
        user: arguments.user.clone(),
        env: arguments.env.clone(),
        working_directory: arguments.workdir.clone(),
        stdin: None,
    };
    let size = console::size().filter(|_| arguments.tty);
    let connection = Connection { input: arguments.interactive, tty: arguments.tty, size };
    let code = with_embedded(global, "exec", async |engine| {
        let id = engine.find_container(&arguments.container).await.map_err(failed)?;
        let (streams, execution) = engine.begin_execution(&id, &command, connection).await.map_err(failed)?;
        // From here on every key is the command's.
        let _raw = if connection.tty && connection.input { RawTerminal::take().ok() } else { None };
        let copies = handing_on::hand_on(streams);
        let ended = execution.wait().await;
        for copy in copies {
            // What could not be written has nobody left who reads it; a process that the command left behind may hold its
            // streams open for ever.
            let _ = tokio::time::timeout(LAST_WORDS, copy).await;
        }
        ended.map_err(failed)
    })?;
    match code {
        0 => Ok(()),
        code => Err(Failure::silent(u8::try_from(code).unwrap_or(u8::MAX))),
    }
}

/// `top`.
pub fn top(global: &GlobalArguments, arguments: &TopArguments) -> Result<(), Failure> {
    let rows = with_embedded(global, "top", async |engine| {
        let id = engine.find_container(&arguments.container).await.map_err(failed)?;
        engine.top(&id, &arguments.options).await.map_err(failed)
    })?;
    let text = match global.output_format {
        OutputFormat::Json => format!("{:#}\n", serde_json::json!(rows)),
        OutputFormat::Text => aligned(&rows),
    };
    // Nobody is left to be told when stdout is closed.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(())
}

/// `inspect`: a JSON array, whatever the format of other output.
pub fn inspect(global: &GlobalArguments, arguments: &InspectArguments) -> Result<(), Failure> {
    let told = with_embedded(global, "inspect", async |engine| {
        let mut named = Vec::new();
        for name in &arguments.containers {
            named.push((name, engine.find_container(name).await.map_err(failed)?));
        }
        let all = engine.list().await.map_err(failed)?;
        let mut told = Vec::new();
        for (name, id) in named {
            // One that has just gone.
            let gone = || {
                failed(EngineError::ContainerNotFound {
                    action: "inspect the container".to_owned(),
                    id: name.clone(),
                })
            };
            told.push(in_full(all.iter().find(|one| one.id == id).ok_or_else(gone)?));
        }
        Ok(serde_json::Value::Array(told))
    })?;
    let _ = writeln!(std::io::stdout().lock(), "{told:#}");
    Ok(())
}

/// What a list tells, and more.
fn in_full(one: &Listed) -> serde_json::Value {
    let mut told = as_json(one);
    let mounts = one.state.mounts.iter().map(|mount| {
        serde_json::json!({
            "target": mount.target, "source": mount.source, "kind": mount.kind, "name": mount.name,
            "writable": mount.writable,
        })
    });
    told["mounts"] = mounts.collect();
    told["labels"] = serde_json::json!(one.state.labels);
    told["image_id"] = one.state.image.clone().into();
    told["out_of_memory"] = one.state.out_of_memory.into();
    told["tty"] = one.state.tty.into();
    told["health"] = serde_json::json!(one.health);
    told
}

/// `stop`.
pub fn stop(global: &GlobalArguments, arguments: &StopArguments) -> Result<(), Failure> {
    let grace = Duration::from_secs(arguments.time);
    each(global, "stop", &arguments.containers, async |engine, id| engine.stop(id, grace).await)
}

/// `rm`.
pub fn remove(global: &GlobalArguments, arguments: &RmArguments) -> Result<(), Failure> {
    each(global, "rm", &arguments.containers, async |engine, id| engine.remove(id, arguments.force).await)
}

/// Goes on after a container that fails; the first failure is told.
fn each(
    global: &GlobalArguments,
    command: &str,
    names: &[String],
    work: impl AsyncFn(&EmbeddedEngine, &slim_engine::ContainerId) -> Result<(), EngineError>,
) -> Result<(), Failure> {
    with_embedded(global, command, async |engine| {
        let mut first = None;
        for name in names {
            let done = match engine.find_container(name).await {
                Ok(id) => work(&engine, &id).await,
                Err(error) => Err(error),
            };
            match done {
                Ok(()) if global.quiet => {}
                Ok(()) => drop(writeln!(std::io::stdout().lock(), "{name}")),
                Err(error) if first.is_none() => first = Some(error),
                Err(error) => tracing::error!("failed to {error}"),
            }
        }
        first.map_or(Ok(()), |error| Err(failed(error)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use slim_engine::ContainerId;

    #[test]
    fn the_list_is_a_table_that_people_know() {
        let one = Listed {
            id: ContainerId::new("0123456789abcdef"),
            name: Some("web".to_owned()),
            image: "app:1".to_owned(),
            command: vec!["/bin/server".to_owned(), "--with=many words in it".to_owned()],
            created: 1_000,
            state: ContainerState {
                status: "exited".to_owned(),
                exit_code: 3,
                ports: vec![slim_engine::PublishedPort {
                    container_port: 80,
                    protocol: slim_engine::Protocol::Udp,
                    host_ip: "127.0.0.1".parse().unwrap(),
                    host_port: 8080,
                }],
                ..ContainerState::default()
            },
            health: None,
        };
        let well = Listed {
            id: ContainerId::new("abcdef0123456789"),
            command: vec!["/bin/well".to_owned()],
            state: ContainerState {
                status: "running".to_owned(),
                running: true,
                health: Some("healthy".to_owned()),
                ..ContainerState::default()
            },
            ..one.clone()
        };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000 + 7_300);
        insta::assert_snapshot!(table(&[one, well], now), @r"
        CONTAINER ID   IMAGE   COMMAND                    CREATED       STATUS              PORTS                    NAME
        0123456789ab   app:1   /bin/server --with=many…   2 hours ago   exited (3)          127.0.0.1:8080->80/udp   web
        abcdef012345   app:1   /bin/well                  2 hours ago   running (healthy)                            web
        ");
    }
}
