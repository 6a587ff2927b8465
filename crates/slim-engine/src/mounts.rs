//! Mounts as `--mount` has them: `docker run`'s short form (`SOURCE:TARGET[:OPTIONS]`, a lone `TARGET`) and its long
//! one (`type=bind,source=…,target=…,readonly`).

use crate::spec::SpecError;
use std::path::{Path, PathBuf};

/// Something of the host's put into the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    pub source: MountSource,
    /// Absolute path in the container.
    pub target: String,
    pub read_only: bool,
    /// Other options of the short form (`z`, `rshared`, `nocopy` …), in order; of a tmpfs: `size=`, `mode=`.
    pub options: Vec<String>,
}

/// Where a mount's contents come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountSource {
    /// A path of the engine's host.
    Bind(PathBuf),
    /// A volume; without a name it lives as long as the container.
    Volume(Option<String>),
    /// Memory.
    Tmpfs,
}

impl Mount {
    /// Understands one `--mount`. Relative sources (`./data`) lie below `directory`.
    ///
    /// # Errors
    /// [`SpecError::Mount`] says what is wrong with it.
    pub fn parse(text: &str, directory: &Path) -> Result<Self, SpecError> {
        let long = ["type=", "source=", "src=", "target=", "dst=", "destination="]
            .iter()
            .any(|key| text.starts_with(key));
        let parsed = if long { parse_long(text, directory) } else { parse_short(text, directory) };
        let mount = parsed.map_err(|reason| SpecError::Mount { text: text.to_owned(), reason })?;
        if !mount.target.starts_with('/') || mount.target.trim_end_matches('/').is_empty() {
            let reason = "the target is no absolute path below /".to_owned();
            return Err(SpecError::Mount { text: text.to_owned(), reason });
        }
        Ok(mount)
    }

    /// The bind's or named volume's short form, as the API wants it.
    #[must_use]
    pub(crate) fn short_form(&self) -> Option<String> {
        let source = match &self.source {
            MountSource::Bind(path) => path.to_str()?.to_owned(),
            MountSource::Volume(name) => name.clone()?,
            MountSource::Tmpfs => return None,
        };
        let mut options: Vec<&str> = self.options.iter().map(String::as_str).collect();
        if self.read_only {
            options.push("ro");
        }
        let options = if options.is_empty() { String::new() } else { format!(":{}", options.join(",")) };
        Some(format!("{source}:{}{options}", self.target))
    }
}

fn parse_short(text: &str, directory: &Path) -> Result<Mount, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => ("", *target, ""),
        [source, target] => (*source, *target, ""),
        [source, target, options] => (*source, *target, *options),
        _ => return Err("it has more than three parts".to_owned()),
    };
    if parts.len() > 1 && source.is_empty() {
        return Err("the source is missing".to_owned());
    }
    let mut mount = Mount {
        source: source_of(source, directory),
        target: target.to_owned(),
        read_only: false,
        options: Vec::new(),
    };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" | "readonly" => mount.read_only = true,
            "rw" => mount.read_only = false,
            other => mount.options.push(other.to_owned()),
        }
    }
    Ok(mount)
}

/// A path is a bind, anything else a volume's name.
fn source_of(source: &str, directory: &Path) -> MountSource {
    match source {
        "" => MountSource::Volume(None),
        _ if source.starts_with('/') => MountSource::Bind(PathBuf::from(source)),
        _ if source == "." || source == ".." || source.starts_with("./") || source.starts_with("../") => {
            MountSource::Bind(directory.join(source))
        }
        _ => MountSource::Volume(Some(source.to_owned())),
    }
}

fn parse_long(text: &str, directory: &Path) -> Result<Mount, String> {
    let (mut kind, mut source, mut target, mut read_only, mut options) =
        ("volume", "", "", false, Vec::new());
    for field in text.split(',') {
        let (key, value) = field.split_once('=').unwrap_or((field, "true"));
        match key.to_ascii_lowercase().as_str() {
            "type" => kind = value,
            "source" | "src" => source = value,
            "target" | "dst" | "destination" => target = value,
            "readonly" | "ro" => read_only = matches!(value, "true" | "1"),
            "bind-propagation" => options.push(value.to_owned()),
            "volume-nocopy" if matches!(value, "true" | "1") => options.push("nocopy".to_owned()),
            "volume-nocopy" => {}
            "tmpfs-size" => options.push(format!("size={value}")),
            "tmpfs-mode" => options.push(format!("mode={value}")),
            _ => return Err(format!("{key:?} is not known")),
        }
    }
    let source = match kind {
        "bind" if source.is_empty() => return Err("a bind needs a source".to_owned()),
        "bind" => MountSource::Bind(directory.join(source)),
        "volume" => MountSource::Volume(Some(source.to_owned()).filter(|name| !name.is_empty())),
        "tmpfs" if !source.is_empty() => return Err("a tmpfs has no source".to_owned()),
        "tmpfs" => MountSource::Tmpfs,
        _ => return Err(format!("type {kind:?} is none of bind, volume, tmpfs")),
    };
    Ok(Mount { source, target: target.to_owned(), read_only, options })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Mount {
        Mount::parse(text, Path::new("/here")).unwrap()
    }

    #[test]
    fn a_path_is_a_bind_and_a_name_is_a_volume() {
        assert_eq!(parse("/a:/b").source, MountSource::Bind("/a".into()));
        assert_eq!(parse("./a:/b").source, MountSource::Bind("/here/./a".into()));
        assert_eq!(parse("data:/b").source, MountSource::Volume(Some("data".into())));
        assert_eq!(parse("/b").source, MountSource::Volume(None));
    }

    #[test]
    fn options_survive_the_way_to_the_api() {
        assert_eq!(parse("/a:/b:ro").short_form().unwrap(), "/a:/b:ro");
        assert_eq!(parse("/a:/b:rw").short_form().unwrap(), "/a:/b");
        assert_eq!(parse("data:/b:nocopy,ro").short_form().unwrap(), "data:/b:nocopy,ro");
        assert_eq!(parse("/b").short_form(), None);
    }

    #[test]
    fn the_same_source_may_be_mounted_twice() {
        // Mint keeps mounts in a map by source and loses one of the two.
        let mounts = [parse("/a:/b"), parse("/a:/c:ro")];
        assert_ne!(mounts[0], mounts[1]);
    }

    #[test]
    fn the_long_form_knows_bind_volume_and_tmpfs() {
        let bind = parse("type=bind,source=/a,target=/b,readonly");
        assert_eq!(bind.short_form().unwrap(), "/a:/b:ro");
        let tmpfs = parse("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1777");
        assert_eq!(
            (tmpfs.source, tmpfs.options),
            (MountSource::Tmpfs, vec!["size=1m".into(), "mode=1777".into()])
        );
        assert_eq!(parse("source=v,target=/b").source, MountSource::Volume(Some("v".into())));
    }

    #[test]
    fn what_is_no_mount_is_refused_with_its_text() {
        for text in [
            "",
            "a",
            "/a:b",
            "/a:/",
            "/a:/b:ro:x",
            ":/b",
            "type=bind,target=/b",
            "type=x,target=/b",
            "type=tmpfs,foo=1,target=/t",
        ] {
            let error = Mount::parse(text, Path::new("/here")).expect_err(text);
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
    }
}
