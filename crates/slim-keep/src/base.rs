//! Where an image's base ends and its application begins.
//!
//! The first that fits: the user's `--base-layers`; the label that names the base; the history. A history tells in three
//! ways, and the highest counts, of those that layers follow:
//!
//! - by CMD or ENTRYPOINT: base images end with one. An image's own, at the end of its Dockerfile, has no layers behind it.
//! - by steps that are no Dockerfile's: today's Debian images, distroless ones and what `docker import` made end without
//!   CMD, but a Dockerfile's steps look different.
//! - by buildah's remark `FROM name` at the first step of a Dockerfile.

use crate::origin::Origin;
use serde::{Deserialize, Serialize};
use slim_image::ImageTree;
use slim_image::history::HistoryEntry;
use std::fmt;

/// How a Dockerfile's steps begin, as BuildKit writes them.
const INSTRUCTIONS: [&str; 17] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];
/// Before the text of steps that ran nothing, as the classic builder and buildah write them.
const NOTHING_RUN: &str = "#(nop)";
/// Characters of a step that a note shows.
const SHOWN: usize = 60;

/// Where the base ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "known", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Base {
    /// The first so many layers are the base's, as a flag says.
    ByFlag { layers: usize },
    /// As the image's label says.
    ByLabel { layers: usize },
    /// As the image's history says, by this step.
    ByHistory { layers: usize, step: String },
    /// Nobody knows.
    Unknown { why: String },
}

impl Base {
    /// Decides for an image. `flag`: the user's number of layers.
    #[must_use]
    pub fn find(tree: &dyn ImageTree, origin: &Origin, flag: Option<usize>) -> Self {
        let tells_layers = tree.walk().any(|(path, _)| tree.layer_of(path).is_some());
        let steps = origin.history.iter().filter(|step| !step.empty_layer).count();
        let unknown = |why: &str| Self::Unknown { why: why.to_owned() };
        if !tells_layers {
            return unknown(match flag {
                Some(_) => "--base-layers has no effect: it is not known which layer holds which file",
                None => "it is not known which layer holds which file",
            });
        }
        if let Some(layers) = flag {
            return Self::ByFlag { layers };
        }
        if let Some(layers) = origin.labelled_base {
            return Self::ByLabel { layers };
        }
        match end_of_base(&origin.history) {
            Some((layers, step)) => Self::ByHistory { layers, step },
            None if origin.history.is_empty() => unknown("the image has no history"),
            None if steps == 1 => unknown("the image has one layer"),
            None => unknown("the image's history does not show where its base ends"),
        }
    }

    /// The number of the application's first layer, where it is known.
    #[must_use]
    pub fn layers(&self) -> Option<usize> {
        match self {
            Self::ByFlag { layers } | Self::ByLabel { layers } | Self::ByHistory { layers, .. } => {
                Some(*layers)
            }
            Self::Unknown { .. } => None,
        }
    }
}

/// `the base's 3 layers (by history: CMD ["bash"])`.
impl fmt::Display for Base {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (layers, by) = match self {
            Self::ByFlag { layers } => (layers, "--base-layers".to_owned()),
            Self::ByLabel { layers } => (layers, "by label".to_owned()),
            Self::ByHistory { layers, step } => (layers, format!("by history: {step}")),
            Self::Unknown { why } => return write!(formatter, "a base that is not known ({why})"),
        };
        match layers {
            0 => write!(formatter, "no base at all ({by})"),
            1 => write!(formatter, "the base's first layer ({by})"),
            layers => write!(formatter, "the base's {layers} layers ({by})"),
        }
    }
}

/// How many layers the base has, and the last of its steps.
fn end_of_base(history: &[HistoryEntry]) -> Option<(usize, String)> {
    let has_layers = |steps: &[HistoryEntry]| steps.iter().any(|step| !step.empty_layer);
    // Each candidate: how many steps are the base's.
    let by_command = (1..=history.len()).rev().find(|end| {
        let is_command = matches!(instruction(&history[end - 1]), Some("CMD" | "ENTRYPOINT"));
        is_command && has_layers(&history[*end..])
    });
    let foreign = history.iter().take_while(|step| instruction(step).is_none()).count();
    let by_stranger =
        Some(foreign).filter(|end| has_layers(&history[..*end]) && has_layers(&history[*end..]));
    let by_remark = (1..history.len()).rev().find(|end| {
        let comment = history[*end].comment.as_deref().unwrap_or_default();
        comment.starts_with("FROM ") && has_layers(&history[..*end]) && has_layers(&history[*end..])
    });
    let end = [by_command, by_stranger, by_remark].into_iter().flatten().max()?;
    let layers = history[..end].iter().filter(|step| !step.empty_layer).count();
    Some((layers, shown(&history[end - 1])))
}

/// The Dockerfile instruction that a step is of; `None` for one that no Dockerfile has.
fn instruction(step: &HistoryEntry) -> Option<&'static str> {
    let line = line(step);
    let word = line.split([' ', '\t']).next().unwrap_or_default();
    if let Some(known) = INSTRUCTIONS.into_iter().find(|known| *known == word) {
        return Some(known);
    }
    // The classic builder writes what RUN ran: `/bin/sh -c apt-get update`, `|1 A=b /bin/sh -c …`.
    let is_run = line.starts_with('|') || (word.starts_with('/') && line.contains(" -c "));
    is_run.then_some("RUN")
}

/// What a step says, without the classic builder's preface.
fn line(step: &HistoryEntry) -> &str {
    let text = step.created_by.as_deref().unwrap_or_default();
    text.split_once(NOTHING_RUN).map_or(text, |(_, rest)| rest).trim()
}

fn shown(step: &HistoryEntry) -> String {
    let line =
        Some(line(step)).filter(|line| !line.is_empty()).or(step.comment.as_deref()).unwrap_or_default();
    let mut text: String =
        line.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(SHOWN).collect();
    if text.len() < line.len() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps; those with a dash before them left no layer, a remark stands behind `##`.
    fn end(steps: &[&str]) -> Option<(usize, String)> {
        let steps: Vec<HistoryEntry> = steps
            .iter()
            .map(|text| {
                let (line, comment) =
                    text.split_once("##").map_or((*text, None), |(line, rest)| (line, Some(rest)));
                HistoryEntry {
                    created_by: Some(line.trim_start_matches("- ").to_owned()),
                    comment: comment.map(str::to_owned),
                    empty_layer: line.starts_with("- "),
                    ..HistoryEntry::default()
                }
            })
            .collect();
        end_of_base(&steps)
    }

    fn base(layers: usize, step: &str) -> Option<(usize, String)> {
        Some((layers, step.to_owned()))
    }

    #[test]
    fn the_base_ends_with_the_last_command_that_layers_follow_whoever_built_it() {
        let classic = [
            "/bin/sh -c #(nop) ADD file:12 in / ",
            "- /bin/sh -c #(nop)  CMD [\"bash\"]",
            "/bin/sh -c apt-get update",
            "- /bin/sh -c #(nop)  CMD [\"python3\"]",
            "/bin/sh -c #(nop) COPY dir:34 in /app ",
            "- /bin/sh -c #(nop)  ENTRYPOINT [\"/app/run\"]",
            "- /bin/sh -c #(nop)  CMD [\"serve\"]",
        ];
        assert_eq!(end(&classic), base(2, "CMD [\"python3\"]"));
        let buildkit = [
            "ADD rootfs.tar / # buildkit##buildkit.dockerfile.v0",
            "- CMD [\"bash\"]",
            "RUN /bin/sh -c true # buildkit",
            "- CMD [\"app\"]",
        ];
        assert_eq!(end(&buildkit), base(1, "CMD [\"bash\"]"));
    }

    #[test]
    fn a_command_at_the_end_is_the_applications_own() {
        assert_eq!(end(&["COPY app /", "- ENTRYPOINT [\"/app\"]", "- CMD [\"x\"]", "- LABEL a=b"]), None);
        assert_eq!(end(&["ADD a /", "RUN x", "- CMD [\"x\"]"]), None);
        assert_eq!(end(&[]), None);
    }

    #[test]
    fn steps_that_are_no_dockerfiles_are_a_base() {
        let debian = [
            "# debian.sh --arch 'amd64' out/ 'trixie'##debuerreotype 0.15",
            "RUN x # buildkit",
            "- CMD [\"x\"]",
        ];
        assert_eq!(end(&debian), base(1, "# debian.sh --arch 'amd64' out/ 'trixie'"));
        assert_eq!(end(&["##Imported from -", "/bin/sh -c x", "- CMD [\"x\"]"]), base(1, "Imported from -"));
        let distroless = [
            "bazel build //base",
            "bazel build //cc",
            "COPY /app /app # buildkit",
            "- ENTRYPOINT [\"/app\"]",
        ];
        assert_eq!(end(&distroless), base(2, "bazel build //cc"));
        assert_eq!(end(&["bazel build //a", "bazel build //b"]), None);
    }

    #[test]
    fn buildah_says_where_a_dockerfile_begins() {
        let steps =
            ["/bin/sh -c #(nop) ADD file:1 in /", "/bin/sh -c x##FROM docker.io/library/a:1", "/bin/sh -c y"];
        assert_eq!(end(&steps), base(1, "ADD file:1 in /"));
    }

    #[test]
    fn a_word_that_only_begins_like_an_instruction_is_none() {
        let step = |text: &str| HistoryEntry { created_by: Some(text.to_owned()), ..HistoryEntry::default() };
        for text in ["CMDS", "cmd", "", "nix build", "\u{e9}"] {
            assert_eq!(instruction(&step(text)), None, "{text}");
        }
        for text in ["|2 A=1 B=2 /bin/sh -c x", "/bin/bash -o pipefail -c x", "RUN /bin/sh -c x # buildkit"] {
            assert_eq!(instruction(&step(text)), Some("RUN"), "{text}");
        }
    }
}
