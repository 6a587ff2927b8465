//! Flags about what the slim image says of itself → edits of its config.

use super::text::{command, pair, pairs, paths, ports};
use crate::arguments::ImageArguments;
use crate::failure::Failure;
use slim_build::{ConfigEdits, Persist};
use std::collections::BTreeSet;

/// The edits.
///
/// # Errors
/// What is wrong with a flag.
pub fn edits(arguments: &ImageArguments) -> Result<ConfigEdits, Failure> {
    for variable in &arguments.new_env {
        pair("--new-env", variable)?;
    }
    let set = |texts: &[String]| texts.iter().cloned().collect::<BTreeSet<_>>();
    Ok(ConfigEdits {
        persist: persist(arguments.image_overrides.as_deref().unwrap_or_default())?,
        entrypoint: command("--new-entrypoint", arguments.new_entrypoint.as_deref())?,
        cmd: command("--new-cmd", arguments.new_cmd.as_deref())?,
        workdir: arguments.new_workdir.clone(),
        env: arguments.new_env.clone(),
        labels: pairs("--new-label", &arguments.new_label)?,
        expose: ports("--new-expose", &arguments.new_expose)?.into_iter().collect(),
        volumes: paths("--new-volume", &arguments.new_volume)?.into_iter().collect(),
        remove_env: set(&arguments.remove_env),
        remove_labels: set(&arguments.remove_label),
        remove_expose: ports("--remove-expose", &arguments.remove_expose)?,
        remove_volumes: set(&arguments.remove_volume),
    })
}

/// `all`, or words separated by commas.
fn persist(text: &str) -> Result<BTreeSet<Persist>, Failure> {
    if text == "all" {
        return Ok(Persist::ALL.iter().map(|(_, setting)| *setting).collect());
    }
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    words
        .map(|word| {
            let known = Persist::ALL.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
            known.map(|(_, setting)| *setting).ok_or_else(|| {
                let names: Vec<&str> = Persist::ALL.iter().map(|(name, _)| *name).collect();
                Failure::usage(format!("understand --image-overrides {text}: {word:?} is no setting"))
                    .with_hint(format!("settings are all, {}", names.join(", ")))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_line::tests::build;

    fn of(word: &str) -> ConfigEdits {
        edits(&build(&[word]).edits).unwrap()
    }

    #[test]
    fn every_flag_about_the_image_sets_its_edit() {
        let default = ConfigEdits::default;
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let set = |text: &str| BTreeSet::from([text.to_owned()]);
        for (flag, expected) in [
            ("--quiet", default()),
            ("--new-entrypoint=a 'b c'", ConfigEdits { entrypoint: Some(texts(&["a", "b c"])), ..default() }),
            ("--new-entrypoint= ", ConfigEdits { entrypoint: Some(Vec::new()), ..default() }),
            (r#"--new-cmd=["a"]"#, ConfigEdits { cmd: Some(texts(&["a"])), ..default() }),
            ("--new-cmd= ", ConfigEdits { cmd: Some(Vec::new()), ..default() }),
            ("--new-workdir=/w", ConfigEdits { workdir: Some("/w".to_owned()), ..default() }),
            ("--new-env=A=1", ConfigEdits { env: texts(&["A=1"]), ..default() }),
            (
                "--new-label=a=1",
                ConfigEdits { labels: [("a".to_owned(), "1".to_owned())].into(), ..default() },
            ),
            ("--new-expose=80-81", ConfigEdits { expose: texts(&["80/tcp", "81/tcp"]), ..default() }),
            ("--new-volume=/v", ConfigEdits { volumes: texts(&["/v"]), ..default() }),
            ("--remove-env=A", ConfigEdits { remove_env: set("A"), ..default() }),
            ("--remove-label=a", ConfigEdits { remove_labels: set("a"), ..default() }),
            ("--remove-expose=53/udp", ConfigEdits { remove_expose: set("53/udp"), ..default() }),
            ("--remove-volume=/v", ConfigEdits { remove_volumes: set("/v"), ..default() }),
            (
                "--image-overrides=env,CMD",
                ConfigEdits { persist: [Persist::Env, Persist::Cmd].into(), ..default() },
            ),
        ] {
            assert_eq!(of(flag), expected, "{flag}");
        }
        assert_eq!(of("--image-overrides=all").persist.len(), Persist::ALL.len());
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_flag() {
        for (flag, value) in [
            ("--image-overrides", "env,user"),
            ("--new-env", "A"),
            ("--new-label", "a"),
            ("--new-expose", "x"),
            ("--new-volume", "v"),
            ("--remove-expose", "x"),
            ("--new-cmd", "[1]"),
        ] {
            let refused = edits(&build(&[&format!("{flag}={value}")]).edits).unwrap_err().message;
            assert!(refused.contains(flag) && refused.contains(value), "{refused}");
        }
    }
}
