//! Flags of `run` → the container.

use super::files::read;
use super::registry::fetching;
use crate::arguments::{PullPolicy, RunArguments};
use crate::failure::Failure;
use slim_engine::spec::Security;
use slim_engine::{ContainerSpec, Limits, Mount, Overrides, PublishPort};
use slim_registry::ClientSettings;
use std::env;

/// What `run` does.
#[derive(Debug)]
pub struct RunSettings {
    pub spec: ContainerSpec,
    pub pull: PullPolicy,
    pub client: ClientSettings,
}

/// The settings of `run`; `policy` reads the seccomp profile that a word names.
///
/// # Errors
/// What is wrong with a flag, or a file of them.
pub fn run(
    arguments: &RunArguments,
    policy: impl FnOnce(&str) -> Result<String, Failure>,
) -> Result<RunSettings, Failure> {
    Ok(RunSettings {
        spec: container(arguments, policy)?,
        pull: arguments.pull,
        client: fetching(&arguments.fetch)?,
    })
}

fn container(
    arguments: &RunArguments,
    policy: impl FnOnce(&str) -> Result<String, Failure>,
) -> Result<ContainerSpec, Failure> {
    let usage = |error: &dyn std::fmt::Display| Failure::usage(error.to_string());
    let directory =
        env::current_dir().map_err(|error| Failure::usage(format!("find the working directory: {error}")))?;
    let mut publish_ports = Vec::new();
    for text in &arguments.publish {
        publish_ports.extend(PublishPort::parse(text).map_err(|error| usage(&error))?);
    }
    let mounts =
        arguments.volume.iter().map(|text| Mount::parse(text, &directory).map_err(|error| usage(&error)));
    let tmpfs = arguments.tmpfs.iter().map(|text| {
        let (path, options) = text.split_once(':').unwrap_or((text, ""));
        (path.to_owned(), options.to_owned())
    });
    // As `docker run`: a name alone takes the value from here.
    let variable = |text: &String| match text.contains('=') {
        true => Some(text.clone()),
        false => env::var(text).ok().map(|value| format!("{text}={value}")),
    };
    Ok(ContainerSpec {
        image: arguments.image.clone(),
        name: arguments.name.clone(),
        publish_all: arguments.publish_all,
        tty: arguments.tty,
        standard_input: arguments.interactive,
        remove_at_end: arguments.rm && arguments.detach,
        limits: limits(arguments)?,
        overrides: Overrides {
            entrypoint: arguments.entrypoint.clone().map(|program| vec![program]),
            cmd: Some(arguments.command.clone()).filter(|words| !words.is_empty()),
            env: arguments.env.iter().filter_map(variable).collect(),
            user: arguments.user.clone(),
            workdir: arguments.workdir.clone(),
            hostname: arguments.hostname.clone(),
            network: arguments.network.clone(),
            mounts: mounts.collect::<Result<_, _>>()?,
            publish_ports,
            dns: arguments.dns.clone(),
            ..Overrides::default()
        },
        security: Security {
            options: security_options(arguments, policy)?,
            capabilities_added: arguments.cap_add.clone(),
            capabilities_dropped: arguments.cap_drop.clone(),
            read_only_root: arguments.read_only,
            tmpfs: tmpfs.collect(),
        },
        ..ContainerSpec::default()
    })
}

fn limits(arguments: &RunArguments) -> Result<Limits, Failure> {
    const BILLION: f64 = 1e9;
    let memory = arguments.memory.as_deref().map(|text| {
        bytes(text).ok_or_else(|| {
            Failure::usage(format!("understand --memory {text}: a number with k, m or g behind it"))
        })
    });
    let cpus = arguments.cpus.map(|cpus| match cpus {
        #[expect(clippy::cast_possible_truncation, reason = "it is below a billion of billionths")]
        cpus if cpus > 0.0 && cpus < BILLION => Ok((cpus * BILLION) as i64),
        _ => Err(Failure::usage(format!("understand --cpus {cpus}: a number above 0"))),
    });
    Ok(Limits { memory: memory.transpose()?, nano_cpus: cpus.transpose()?, pids: arguments.pids_limit })
}

/// `512m` …, in powers of 1024 as Docker has them.
fn bytes(text: &str) -> Option<i64> {
    let lower = text.to_ascii_lowercase();
    let plain = lower.strip_suffix('b').unwrap_or(&lower);
    let (number, shift) = match plain.chars().last()? {
        'k' => (&plain[..plain.len() - 1], 10),
        'm' => (&plain[..plain.len() - 1], 20),
        'g' => (&plain[..plain.len() - 1], 30),
        _ => (plain, 0),
    };
    number.parse::<i64>().ok().filter(|number| *number > 0)?.checked_mul(1 << shift)
}

/// Engines take a profile's text, people name its file.
fn security_options(
    arguments: &RunArguments,
    policy: impl FnOnce(&str) -> Result<String, Failure>,
) -> Result<Vec<String>, Failure> {
    let mut options = Vec::new();
    for option in &arguments.security_opt {
        match option.strip_prefix("seccomp=") {
            None | Some("unconfined") => options.push(option.clone()),
            Some(file) => options.push(format!("seccomp={}", read("--security-opt seccomp", file.as_ref())?)),
        }
    }
    if let Some(word) = &arguments.policy {
        options.push(format!("seccomp={}", policy(word)?));
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Command;
    use crate::command_line::tests::parse_with;

    fn of(words: &[&str]) -> Result<ContainerSpec, Failure> {
        let arguments = parse_with(&[&["run"], words].concat(), &[]).unwrap().arguments;
        let Command::Run(run_arguments) = arguments.command else { panic!() };
        run(&run_arguments, |word| read("--policy", word.as_ref())).map(|run| run.spec)
    }

    #[test]
    fn flags_stand_before_the_image_and_the_command_behind_it() {
        let spec =
            of(&["-p8080:80", "-e", "A=1", "-v/a:/b:ro", "--rm", "image:1", "ls", "-l", "--read-only"])
                .unwrap();
        assert_eq!(spec.image, "image:1");
        assert_eq!(spec.overrides.cmd.unwrap(), ["ls", "-l", "--read-only"]);
        assert_eq!(
            (spec.overrides.env, spec.overrides.publish_ports[0].host_port),
            (vec!["A=1".to_owned()], Some(8080))
        );
        assert!(spec.overrides.mounts[0].read_only && !spec.security.read_only_root);
    }

    #[test]
    fn limits_are_as_docker_takes_them() {
        let spec =
            of(&["-m", "64m", "--cpus=1.5", "--pids-limit=7", "-dit", "--name=n", "--rm", "x"]).unwrap();
        assert_eq!(
            spec.limits,
            Limits { memory: Some(64 << 20), nano_cpus: Some(1_500_000_000), pids: Some(7) }
        );
        assert!(spec.tty && spec.standard_input && spec.remove_at_end && spec.name.unwrap() == "n");
        assert!(!of(&["--rm", "x"]).unwrap().remove_at_end, "it is removed by whoever waits for it");
        for wrong in ["--memory=x", "--memory=0", "--cpus=0", "--cpus=-1"] {
            assert!(of(&[wrong, "x"]).is_err(), "{wrong:?}");
        }
        assert_eq!((bytes("7"), bytes("2kb"), bytes("1G")), (Some(7), Some(2048), Some(1 << 30)));
    }

    #[test]
    fn a_profile_is_read_from_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.json");
        std::fs::write(&path, "{}").unwrap();
        let path = path.display().to_string();
        for flags in
            [["--policy".to_owned(), path.clone()], ["--security-opt".to_owned(), format!("seccomp={path}")]]
        {
            let spec = of(&[&flags[0], &flags[1], "x"]).unwrap();
            assert_eq!(spec.security.options, ["seccomp={}"]);
        }
        assert!(of(&["--policy=/none", "x"]).unwrap_err().message.contains("/none"));
        let spec = of(&["--security-opt=seccomp=unconfined", "--tmpfs=/tmp:size=1m", "x"]).unwrap();
        assert_eq!(spec.security.options, ["seccomp=unconfined"]);
        assert_eq!(spec.security.tmpfs["/tmp"], "size=1m");
    }
}
