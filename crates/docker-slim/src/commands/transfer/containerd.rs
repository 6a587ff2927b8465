//! containerd through its own command: images go in and out as OCI archives.

use crate::failure::Failure;
use slim_image::Reference;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::Command;

/// No such engine.
const NO_ENGINE: u8 = 3;
/// The image cannot be had.
const NO_IMAGE: u8 = 4;

/// The `ctr` command. Address and name space are those of its environment (CONTAINERD_ADDRESS, CONTAINERD_NAMESPACE).
#[derive(Clone, Debug)]
pub struct Containerd {
    program: PathBuf,
}

impl Containerd {
    /// `program`: where `ctr` is; `None` where it is nowhere in PATH.
    ///
    /// # Errors
    /// When there is none.
    pub fn new(program: Option<PathBuf>) -> Result<Self, Failure> {
        program.map(|program| Self { program }).ok_or_else(|| {
            Failure::new("talk to containerd: its command, ctr, is not in PATH", NO_ENGINE)
                .with_hint("ctr comes with containerd; or: ctr images export image.tar NAME where it is, and oci-archive:image.tar here")
        })
    }

    /// Writes an image to a file: for this machine's platform as containerd chooses it, or for all of them.
    ///
    /// # Errors
    /// When containerd does not do it: in its own words.
    pub async fn export(&self, name: &str, file: &Path, all_platforms: bool) -> Result<(), Failure> {
        let name = full_name(name);
        let mut words: Vec<&OsStr> = vec!["export".as_ref()];
        words.extend(all_platforms.then_some(OsStr::new("--all-platforms")));
        words.extend([file.as_os_str(), name.as_ref()]);
        self.ctr(&format!("export {name} from containerd"), &words).await
    }

    /// Takes in the images of a file.
    ///
    /// # Errors
    /// When containerd does not do it: in its own words.
    pub async fn import(&self, file: &Path, name: &Reference) -> Result<(), Failure> {
        self.ctr(&format!("import {name} into containerd"), &["import".as_ref(), file.as_os_str()]).await
    }

    async fn ctr(&self, action: &str, words: &[&OsStr]) -> Result<(), Failure> {
        let output = Command::new(&self.program)
            .arg("images")
            .args(words)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|error| {
                Failure::new(format!("{action}: {}: {error}", self.program.display()), NO_ENGINE)
            })?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it does not say why");
        let failure = Failure::new(format!("{action}: {}", last.trim_start_matches("ctr: ")), NO_IMAGE);
        Err(failure.with_hint(
            "`ctr images ls` lists what it holds; CONTAINERD_NAMESPACE and CONTAINERD_ADDRESS say where",
        ))
    }
}

/// containerd knows images by their whole names; ids are left alone.
fn full_name(name: &str) -> String {
    match name.parse::<Reference>() {
        Ok(reference) if !name.starts_with("sha256:") => reference.canonical(),
        _ => name.to_owned(),
    }
}
