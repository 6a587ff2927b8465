//! `docker-slim explain`: why a path is in the slim image, or why not and what would bring it in; what was removed.

use super::output::{counted, print};
use crate::arguments::{ExplainArguments, GlobalArguments};
use crate::failure::Failure;
use crate::settings::{self, Question};
use slim_image::{Entry, ImagePath, Kind};
use slim_keep::{
    Answer, By, Explained, Group, KeepFile, KeptPath, Owner, Recorded, RemovedFile, RemovedPath,
};
use slim_report::human;
use std::fs;
use std::path::Path;

/// The files cannot be read, or have another version.
const UNREADABLE: u8 = 4;

/// How many further reasons a person reads; libraries have one for each program that needs them.
const MOST_ALSO: usize = 12;

/// Answers out of the files that the last build left; needs no engine.
pub fn run(global: &GlobalArguments, arguments: &ExplainArguments) -> Result<(), Failure> {
    let settings = settings::explain(global, arguments)?;
    let recorded = read(&settings.keep_file)?;
    match settings.question {
        Question::Paths(paths) => {
            let tree = recorded.tree();
            let explained: Vec<Explained> = paths.iter().map(|path| recorded.explain(path, &tree)).collect();
            let document = serde_json::json!({ "image": recorded.keep.image, "paths": explained });
            let text = || explained.iter().map(told).collect::<Vec<_>>().join("\n\n");
            print(global, text, &document);
        }
        Question::Removed { by, top } => {
            let removed = recorded.removed.as_ref().ok_or_else(|| {
                let path = settings.keep_file.with_file_name(&recorded.keep.removed);
                Failure::new(format!("read {}: there is no such file", path.display()), UNREADABLE)
            })?;
            let groups = removed.groups(by);
            let all = (groups.iter().map(|group| group.bytes).sum::<u64>(), removed.entries.len());
            let shown = &groups[..top.min(groups.len())];
            let document = serde_json::json!({
                "image": removed.image, "by": by.to_string(), "bytes": all.0, "entries": all.1,
                "groups_in_all": groups.len(), "groups": shown,
            });
            print(global, || table(by, shown, groups.len(), all), &document);
        }
    }
    Ok(())
}

/// The `keep.json`, and the file with what was removed beside it.
pub fn read(keep_file: &Path) -> Result<Recorded, Failure> {
    let failed =
        |path: &Path, why: String| Failure::new(format!("read {}: {why}", path.display()), UNREADABLE);
    let bytes = fs::read(keep_file).map_err(|error| failed(keep_file, error.to_string()))?;
    let keep = KeepFile::from_json(&bytes).map_err(|error| failed(keep_file, error.to_string()))?;
    // Only a file's name: what lies elsewhere was not written by a build.
    let name =
        Path::new(&keep.removed).file_name().map(Path::new).unwrap_or(Path::new(slim_keep::REMOVED_FILE));
    let path = keep_file.with_file_name(name);
    let removed = match fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        bytes => {
            let bytes = bytes.map_err(|error| failed(&path, error.to_string()))?;
            Some(RemovedFile::from_json(&bytes).map_err(|error| failed(&path, error.to_string()))?)
        }
    };
    Ok(Recorded { keep, removed })
}

fn told(explained: &Explained) -> String {
    let path = &explained.path;
    let through = match &explained.links[..] {
        [] => String::new(),
        links => {
            format!(" (through {})", links.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
        }
    };
    let mut lines = Vec::new();
    match &explained.answer {
        Answer::Kept { what, chain, also, removed_below, removed_bytes_below } => {
            lines.push(format!("{path}{through}: kept, {}", described_kept(what)));
            for (number, step) in chain.iter().enumerate() {
                let arrow = if number == 0 { String::new() } else { format!("← {}: ", step.path) };
                lines.push(format!("  {arrow}{}", step.told));
            }
            lines.extend(also.iter().take(MOST_ALSO).map(|reason| format!("  also: {reason}")));
            let more = also.len().saturating_sub(MOST_ALSO);
            if more > 0 {
                lines.push(format!("  and {} (keep.json has all)", counted(more, "more reason")));
            }
            if *removed_below > 0 {
                lines.push(format!("  {}", below(*removed_below, *removed_bytes_below)));
            }
        }
        Answer::Removed { what, removed_below, removed_bytes_below, excluded_by, brought_in_by } => {
            lines.push(format!("{path}{through}: removed, {}", described_removed(what)));
            if *removed_below > 0 {
                lines.push(format!("  {}", below(*removed_below, *removed_bytes_below)));
            }
            match excluded_by {
                Some(pattern) => lines.push(format!("  taken away by --exclude-pattern {pattern}")),
                None => lines.push("  nothing used it or needs it, as far as was seen".to_owned()),
            }
            lines.extend(brought_in_by.iter().map(|(flag, what)| format!("  {flag}: {what}")));
        }
        Answer::Unknown { complete, near } => {
            let why = if *complete {
                "the fat image has no such path"
            } else {
                "not kept; what was removed is not known"
            };
            lines.push(format!("{path}{through}: {why}"));
            if !near.is_empty() {
                let near: Vec<String> = near.iter().map(ImagePath::to_string).collect();
                lines.push(format!("  it has {}", near.join(", ")));
            }
        }
    }
    lines.join("\n")
}

fn below(count: usize, bytes: u64) -> String {
    format!("below it, {} of the fat image are not kept ({})", counted(count, "path"), human(bytes))
}

fn described_kept(kept: &KeptPath) -> String {
    let Entry { kind, mode, uid, gid, .. } = &kept.entry;
    let mut parts = vec![kind_told(kind), format!("mode {mode:04o}"), format!("owner {uid}:{gid}")];
    parts.extend(owner_told(&kept.owner));
    parts.extend(kept.digest.map(|digest| digest.to_string()));
    parts.join(", ")
}

fn described_removed(removed: &RemovedPath) -> String {
    let mut parts = vec![kind_told(&removed.kind)];
    parts.extend(removed.same_file_as.as_ref().map(|first| format!("the same file as {first}")));
    parts.extend(owner_told(&removed.owner));
    parts.join(", ")
}

fn kind_told(kind: &Kind) -> String {
    match kind {
        Kind::Directory => "directory".to_owned(),
        Kind::File { size } => format!("file of {}", human(*size)),
        Kind::Symlink { target } => format!("symlink to {}", slim_image::path::escape(target)),
        Kind::CharacterDevice { .. } | Kind::BlockDevice { .. } => "device".to_owned(),
        Kind::Fifo => "fifo".to_owned(),
        Kind::Socket => "socket".to_owned(),
    }
}

fn owner_told(owner: &Owner) -> impl Iterator<Item = String> {
    let package = owner.package.as_ref().map(|package| format!("package {package}"));
    package.into_iter().chain(owner.layer.map(|layer| format!("layer {layer}")))
}

fn table(by: By, shown: &[Group], groups: usize, (bytes, entries): (u64, usize)) -> String {
    let mut lines = vec![format!("{} removed, {}; by {by}:", counted(entries, "path"), human(bytes))];
    for group in shown {
        lines.push(format!("{:>9}  {:>6}  {}", human(group.bytes), group.entries, group.name));
    }
    if shown.len() < groups {
        lines.push(format!("… and {} more (--top 0 shows all)", groups - shown.len()));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use slim_image::{Digest, ImageTree, MemoryTree};
    use slim_keep::{ImageNames, KeepSet, Kept, Made, Reason};

    fn recorded() -> Recorded {
        let tree = MemoryTree::new()
            .file("/app", 0o755, "1234")
            .file("/doc/a", 0o644, "12")
            .file("/b.py", 0o644, "1");
        let kept = |path: &str, reason: Reason| {
            let entry = tree.entry(&path.into()).unwrap().clone();
            (path.into(), Kept { entry, because: [reason].into() })
        };
        let entries = [
            kept("/", Reason::ParentOf { path: "/app".into() }),
            kept("/app", Reason::Entrypoint { word: "/app".to_owned() }),
        ];
        let set = KeepSet { entries: entries.into(), notes: Vec::new() };
        let image = ImageNames { id: Digest::of("fat"), names: vec!["fat:latest".to_owned()] };
        Recorded {
            keep: KeepFile::new(&set, &Made::of(image.clone()), &tree, &()),
            removed: Some(RemovedFile::new(image, &set, &tree, &())),
        }
    }

    #[test]
    fn a_person_reads_what_is_there_what_is_not_and_what_never_was() {
        let recorded = recorded();
        let tree = recorded.tree();
        let text: Vec<String> = ["/", "/doc", "/b.py", "/ap"]
            .iter()
            .map(|path| told(&recorded.explain(path.as_bytes(), &tree)))
            .collect();
        insta::assert_snapshot!(text.join("\n"), @"
        /: kept, directory, mode 0755, owner 0:0
          holds /app
          ← /app: is named by ENTRYPOINT or CMD as /app
          below it, 3 paths of the fat image are not kept (3 B)
        /doc: removed, directory
          below it, 1 path of the fat image are not kept (2 B)
          nothing used it or needs it, as far as was seen
          --include-path /doc: keeps it with all below it
        /b.py: removed, file of 1 B
          nothing used it or needs it, as far as was seen
          --include-path /b.py: keeps it alone
        /ap: the fat image has no such path
          it has /app
        ");
    }

    #[test]
    fn of_many_reasons_a_person_reads_some_and_how_many_there_are() {
        let mut recorded = recorded();
        let reasons = (0..20).map(|number| Reason::Shebang { of: format!("/{number}").as_str().into() });
        let app = recorded.keep.entries.get_mut(&b"/app"[..]).unwrap();
        app.because.extend(reasons);
        let text = told(&recorded.explain(b"/app", &recorded.tree()));
        assert_eq!(text.matches("  also: ").count(), MOST_ALSO);
        assert!(text.ends_with("  and 8 more reasons (keep.json has all)"), "{text}");
    }

    #[test]
    fn what_was_removed_is_a_table_with_the_most_bytes_first() {
        let groups = recorded().removed.unwrap().groups(By::Directory);
        insta::assert_snapshot!(table(By::Directory, &groups[..1], groups.len(), (3, 3)), @"
        3 paths removed, 3 B; by directory:
              2 B       2  /doc
        … and 1 more (--top 0 shows all)
        ");
    }

    #[test]
    fn a_file_of_another_version_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keep.json");
        fs::write(&path, r#"{"version": 1}"#).unwrap();
        let failure = read(&path).unwrap_err();
        assert_eq!(failure.exit_code, UNREADABLE);
        assert!(failure.message.contains("version 1"), "{}", failure.message);
        fs::write(&path, recorded().keep.to_json()).unwrap();
        assert_eq!(read(&path).unwrap().removed, None);
    }
}
