//! Our own registry for a test.

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// `docker-slim registry serve` on a port of its own.
pub struct Served {
    child: Child,
    pub address: String,
    pub notice: String,
}

impl Served {
    /// Its data lies in `served` below the folder.
    pub fn start(folder: &Path, listen: &str) -> Self {
        let notices = folder.join("notices");
        let mut child = Command::new(env!("CARGO_BIN_EXE_docker-slim"))
            .args(["registry", "serve", "--root", "served", "--output-format=json", "--listen", listen])
            .current_dir(folder)
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&notices).unwrap())
            .spawn()
            .unwrap();
        let mut text = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        while lines.read_line(&mut text).unwrap() > 0 && !text.ends_with("}\n") {}
        let document: Value = serde_json::from_str(&text).unwrap();
        let address = document["address"].as_str().unwrap().to_owned();
        Self { child, address, notice: std::fs::read_to_string(notices).unwrap() }
    }

    /// As Ctrl-C does; gives its exit code.
    pub fn stop(mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
