//! Where Podman's Docker-compatible API takes something else than Docker's.

use bollard::models::ContainerCreateBody;
use std::io::{self, Write};
use tempfile::NamedTempFile;

const SECCOMP: &str = "seccomp=";

/// Whether a seccomp profile stands in the request itself. Docker takes nothing else; Podman takes a path.
pub(super) fn has_profile_inside(body: &ContainerCreateBody) -> bool {
    options(body).iter().any(|option| profile(option).is_some())
}

/// Puts the profiles of the request into files, which must live until Podman has made the container.
///
/// # Errors
/// When a file cannot be written.
pub(super) fn profiles_by_path(body: &mut ContainerCreateBody) -> io::Result<Vec<NamedTempFile>> {
    let mut files = Vec::new();
    let host_config = body.host_config.as_mut();
    for option in host_config.and_then(|config| config.security_opt.as_mut()).into_iter().flatten() {
        let Some(text) = profile(option) else { continue };
        let mut file = NamedTempFile::with_prefix("docker-slim-seccomp-")?;
        file.write_all(text.as_bytes())?;
        file.flush()?;
        *option = format!("{SECCOMP}{}", file.path().display());
        files.push(file);
    }
    Ok(files)
}

fn options(body: &ContainerCreateBody) -> &[String] {
    body.host_config.as_ref().and_then(|config| config.security_opt.as_deref()).unwrap_or_default()
}

fn profile(option: &str) -> Option<&str> {
    option.strip_prefix(SECCOMP).filter(|value| value.trim_start().starts_with('{'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::HostConfig;

    fn body(options: &[&str]) -> ContainerCreateBody {
        let security_opt = Some(options.iter().map(|&option| option.to_owned()).collect());
        let host_config = Some(HostConfig { security_opt, ..HostConfig::default() });
        ContainerCreateBody { host_config, ..ContainerCreateBody::default() }
    }

    #[test]
    fn a_profile_in_the_request_becomes_a_file_and_other_options_stay() {
        let mut request =
            body(&["no-new-privileges", "seccomp={\"defaultAction\":1}", "seccomp=/etc/x.json"]);
        assert!(has_profile_inside(&request));
        let files = profiles_by_path(&mut request).unwrap();
        assert_eq!(std::fs::read_to_string(files[0].path()).unwrap(), "{\"defaultAction\":1}");
        let path = format!("seccomp={}", files[0].path().display());
        assert_eq!(options(&request), ["no-new-privileges", &path, "seccomp=/etc/x.json"]);
        assert!(!has_profile_inside(&request));
        assert!(!has_profile_inside(&body(&["seccomp=unconfined"])));
    }
}
