//! Credentials as `docker login` and `podman login` store them: in `config.json` and `auth.json`, in plain or through
//! credential helpers. Which files are asked is handed in.

use crate::error::RegistryError;
use crate::name::{RepositoryName, credential_keys, helper_key};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// The user name by which helpers say that the secret is an identity token.
const TOKEN_USER: &str = "<token>";
/// What helpers say where they have nothing, on stdout, with exit code 1.
const NOT_FOUND: &str = "credentials not found";

/// Who we are.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    Password {
        user: String,
        password: String,
    },
    /// A refresh token of the registry's own token service.
    IdentityToken(String),
}

impl fmt::Debug for Credentials {
    /// Secrets reach no log.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { user, .. } => write!(formatter, "password of {user}"),
            Self::IdentityToken(_) => formatter.write_str("identity token"),
        }
    }
}

/// Where credentials are looked for.
#[derive(Clone, Debug, Default)]
pub struct CredentialSources {
    /// Docker's `config.json`, Podman's `auth.json`: the first that has an entry is taken; missing files are skipped.
    pub files: Vec<PathBuf>,
    /// `PATH` for credential helpers; `None`: this process's own.
    pub helper_path: Option<OsString>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AuthFile {
    auths: BTreeMap<String, AuthEntry>,
    creds_store: Option<String>,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AuthEntry {
    /// Base64 of `user:password`.
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

/// What a helper answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: String,
}

/// The credentials for a repository; `None` where no file has any.
///
/// # Errors
/// A file that is there and cannot be read or understood, a helper that fails.
pub async fn find(
    sources: &CredentialSources,
    location: &RepositoryName,
) -> Result<Option<Credentials>, RegistryError> {
    for path in &sources.files {
        let Some(file) = read(path)? else { continue };
        let keys = credential_keys(location);
        let helper = keys.iter().find_map(|key| file.cred_helpers.get(key));
        if let Some(helper) = helper.or(file.creds_store.as_ref()).filter(|helper| !helper.is_empty())
            && let Some(found) = ask_helper(sources, helper, helper_key(&location.registry)).await?
        {
            return Ok(Some(found));
        }
        let entry = keys.iter().find_map(|key| {
            file.auths.iter().find(|(stored, _)| same_place(stored, key)).map(|(_, entry)| entry)
        });
        if let Some(found) = entry.map(|entry| of_entry(path, entry)).transpose()?.flatten() {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn read(path: &Path) -> Result<Option<AuthFile>, RegistryError> {
    let failed = |reason: String| RegistryError::Credentials { from: path.display().to_string(), reason };
    match std::fs::read(path) {
        Ok(bytes) if bytes.is_empty() => Ok(None),
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| failed(error.to_string())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// Old files write keys as addresses: `https://host/v1/` is `host`.
fn same_place(stored: &str, key: &str) -> bool {
    let bare = |text: &'_ str| -> String {
        let text = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
        let text = text.trim_end_matches('/');
        text.strip_suffix("/v1").or_else(|| text.strip_suffix("/v2")).unwrap_or(text).to_owned()
    };
    stored == key || (stored.starts_with("http") && bare(stored) == bare(key))
}

fn of_entry(path: &Path, entry: &AuthEntry) -> Result<Option<Credentials>, RegistryError> {
    if let Some(token) = entry.identitytoken.as_ref().filter(|token| !token.is_empty()) {
        return Ok(Some(Credentials::IdentityToken(token.clone())));
    }
    if let (Some(user), Some(password)) = (&entry.username, &entry.password) {
        return Ok(Some(Credentials::Password { user: user.clone(), password: password.clone() }));
    }
    let Some(auth) = entry.auth.as_ref().filter(|auth| !auth.is_empty()) else { return Ok(None) };
    let malformed = || RegistryError::Credentials {
        from: path.display().to_string(),
        reason: "an \"auth\" is no base64 of user:password".to_owned(),
    };
    let decoded = STANDARD.decode(auth.trim()).map_err(|_| malformed())?;
    let text = String::from_utf8(decoded).map_err(|_| malformed())?;
    let (user, password) = text.split_once(':').ok_or_else(malformed)?;
    // Docker's own files are said to end in NUL now and then.
    let password = password.trim_end_matches('\0');
    Ok(Some(Credentials::Password { user: user.to_owned(), password: password.to_owned() }))
}

/// `docker-credential-NAME get`, the server on stdin.
async fn ask_helper(
    sources: &CredentialSources,
    helper: &str,
    server: &str,
) -> Result<Option<Credentials>, RegistryError> {
    let program = format!("docker-credential-{helper}");
    let failed = |reason: String| RegistryError::Credentials { from: program.clone(), reason };
    if helper.contains('/') {
        return Err(failed("the name of a helper has no slash".to_owned()));
    }
    let mut command = Command::new(&program);
    if let Some(path) = &sources.helper_path {
        command.env("PATH", path);
    }
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read has its reasons; its exit code tells.
        let _ = stdin.write_all(format!("{server}\n").as_bytes()).await;
    }
    let output = child.wait_with_output().await.map_err(|error| failed(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        if text.contains(NOT_FOUND) {
            return Ok(None);
        }
        let said = format!("{}{}", text.trim(), String::from_utf8_lossy(&output.stderr).trim());
        return Err(failed(format!("{}: {said}", output.status)));
    }
    let answer: HelperAnswer = serde_json::from_slice(&output.stdout)
        .map_err(|_| failed("its answer is not understood".to_owned()))?;
    Ok(match answer {
        HelperAnswer { username, secret } if username == TOKEN_USER => {
            Some(Credentials::IdentityToken(secret))
        }
        HelperAnswer { username, secret } if username.is_empty() && secret.is_empty() => None,
        HelperAnswer { username: user, secret: password } => Some(Credentials::Password { user, password }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    async fn found(
        json: &str,
        image: &str,
        helpers: &[(&str, &str)],
    ) -> Result<Option<Credentials>, RegistryError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        std::fs::write(&file, json).unwrap();
        for (name, script) in helpers {
            let path = folder.path().join(format!("docker-credential-{name}"));
            std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        }
        let sources = CredentialSources {
            files: vec![folder.path().join("missing.json"), file],
            helper_path: Some(format!("{}:/usr/bin:/bin", folder.path().display()).into()),
        };
        find(&sources, &RepositoryName::of(&image.parse().unwrap())).await
    }

    fn password(user: &str, password: &str) -> Option<Credentials> {
        Some(Credentials::Password { user: user.into(), password: password.into() })
    }

    #[tokio::test]
    async fn an_entry_is_read_and_the_most_special_wins() {
        // "me:pa:ss" and "team:x".
        let json = r#"{"auths": {"h:5000": {"auth": "bWU6cGE6c3M="}, "h:5000/team": {"auth": "dGVhbTp4"}}}"#;
        assert_eq!(found(json, "h:5000/a", &[]).await.unwrap(), password("me", "pa:ss"));
        assert_eq!(found(json, "h:5000/team/a", &[]).await.unwrap(), password("team", "x"));
        assert_eq!(found(json, "other:5000/a", &[]).await.unwrap(), None);
    }

    #[tokio::test]
    async fn the_default_registry_is_found_under_its_old_address() {
        let json = r#"{"auths": {"https://index.docker.io/v1/": {"auth": "bWU6cGE6c3M="}}}"#;
        assert_eq!(found(json, "node", &[]).await.unwrap(), password("me", "pa:ss"));
        let json = r#"{"auths": {"https://h:5000/v2/": {"identitytoken": "t"}}}"#;
        assert_eq!(found(json, "h:5000/a", &[]).await.unwrap(), Some(Credentials::IdentityToken("t".into())));
    }

    #[tokio::test]
    async fn a_helper_is_asked_for_the_registry_and_its_answer_taken() {
        let script = r#"read server; [ "$server" = h:5000 ] || exit 3
            echo '{"ServerURL":"h","Username":"helped","Secret":"s"}'"#;
        let json = r#"{"auths": {"h:5000": {}}, "credsStore": "one"}"#;
        assert_eq!(found(json, "h:5000/a", &[("one", script)]).await.unwrap(), password("helped", "s"));
        let json = r#"{"credHelpers": {"h:5000": "two"}, "credsStore": "one"}"#;
        let token = r#"echo '{"ServerURL":"h","Username":"<token>","Secret":"t"}'"#;
        assert_eq!(
            found(json, "h:5000/a", &[("two", token)]).await.unwrap(),
            Some(Credentials::IdentityToken("t".into()))
        );
    }

    #[tokio::test]
    async fn a_helper_that_has_nothing_is_no_error_and_one_that_fails_is() {
        let json = r#"{"auths": {"h:5000": {"auth": "bWU6cGE6c3M="}}, "credsStore": "one"}"#;
        let nothing = "echo 'credentials not found in native keychain'; exit 1";
        assert_eq!(found(json, "h:5000/a", &[("one", nothing)]).await.unwrap(), password("me", "pa:ss"));
        let error = found(json, "h:5000/a", &[("one", "echo locked; exit 1")]).await.unwrap_err();
        assert!(error.to_string().contains("docker-credential-one") && error.to_string().contains("locked"));
        assert_eq!(error.exit_code(), 2);
        assert!(found(json, "h:5000/a", &[]).await.is_err(), "a helper that is not installed");
    }

    #[tokio::test]
    async fn a_broken_file_is_named() {
        let error = found("{", "h:5000/a", &[]).await.unwrap_err().to_string();
        assert!(error.contains("config.json"), "{error}");
        let error = found(r#"{"auths": {"h:5000": {"auth": "%"}}}"#, "h:5000/a", &[]).await.unwrap_err();
        assert!(error.to_string().contains("base64"), "{error}");
    }

    #[test]
    fn secrets_are_not_in_what_is_logged() {
        let token = Credentials::IdentityToken("grand-token".into());
        assert_eq!(
            format!("{:?} {token:?}", password("me", "hunter2")),
            "Some(password of me) identity token"
        );
    }
}
