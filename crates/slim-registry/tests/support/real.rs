//! Debian's `docker-registry` (the distribution project's own) on a loopback port, with its data in a temporary folder.

use super::wire::free_port;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// `me` with the password `secret`, by bcrypt.
const PASSWORDS: &str = "me:$2b$04$tL9i1kzq4KxP6d/A5iWt/.Ab6POk2ODEZ9sG3kp4uK7gkjPuTeFkC\n";
const STARTS_WITHIN: Duration = Duration::from_secs(30);

/// A registry that ends with the value.
pub struct RealRegistry {
    child: Child,
    folder: TempDir,
    /// `127.0.0.1:port`.
    pub address: String,
}

impl RealRegistry {
    /// Open to everybody.
    pub fn start() -> Self {
        Self::with_auth("")
    }

    /// For `me` with `secret` only.
    pub fn with_password() -> Self {
        Self::with_auth("auth:\n  htpasswd:\n    realm: test\n    path: FOLDER/passwords\n")
    }

    /// With a section of its configuration; FOLDER stands for the registry's folder, in which `prepare` may put files.
    pub fn with_auth(auth: &str) -> Self {
        Self::prepared(auth, |_| {})
    }

    pub fn prepared(auth: &str, prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let root = folder.path().display();
        let auth = auth.replace("FOLDER", &root.to_string());
        fs::write(folder.path().join("passwords"), PASSWORDS).unwrap();
        prepare(folder.path());
        let config = format!(
            "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    \
             rootdirectory: {root}/data\n  delete:\n    enabled: true\nhttp:\n  addr: 127.0.0.1:{port}\n  \
             secret: test\n{auth}"
        );
        let config_path = folder.path().join("config.yml");
        fs::write(&config_path, config).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config_path)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("docker-registry is there: scripts/prepare-machine installs it");
        let mut registry = Self { child, folder, address: format!("127.0.0.1:{port}") };
        registry.wait();
        registry
    }

    fn wait(&mut self) {
        let began = Instant::now();
        while TcpStream::connect(&self.address).is_err() {
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none() && began.elapsed() < STARTS_WITHIN,
                "docker-registry: {ended:?}\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The file in which it keeps a blob.
    pub fn blob_file(&self, digest: &slim_image::Digest) -> PathBuf {
        let hex = digest.hex();
        let blobs = self.folder.path().join("data/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
