//! Compiles the launcher: a static binary without libc, which no target of cargo's can be beside a library that has one.
//! The compiler is called as cargo would call it; nothing else is needed than what links every program here.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The most that the launcher may have, in bytes.
const SIZE_LIMIT: u64 = 64 << 10;

fn main() {
    println!("cargo:rerun-if-changed=launch");
    println!("cargo:rerun-if-changed=src/format.rs");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=CARGO_ENCODED_RUSTFLAGS");
    let variable = |name: &str| env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"));
    let output = PathBuf::from(variable("OUT_DIR")).join("launch");
    let mut command = Command::new(variable("RUSTC"));
    command
        .args(["--crate-name", "launch", "--crate-type", "bin", "--edition", "2024", "launch/main.rs"])
        .args(["--target", &variable("TARGET"), "-C", "opt-level=z", "-C", "panic=abort"])
        .args(["-C", "codegen-units=1", "-C", "strip=symbols", "-C", "debuginfo=0"])
        .args(["-C", "relocation-model=static", "-C", "target-feature=+crt-static"])
        .args(["-C", "link-args=-nostartfiles -nostdlib -nodefaultlibs -static -Wl,--build-id=none"])
        .args(["-C", "link-args=-Wl,-z,noexecstack -Wl,-z,norelro -Wl,-z,noseparate-code -Wl,--gc-sections"])
        .args(["-D", "warnings"]);
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        command.args(["-C", &format!("linker={linker}")]);
    }
    // The path of this machine's folder must not be in the binary: it is the same wherever it is made.
    command.arg(format!("--remap-path-prefix={}=", variable("CARGO_MANIFEST_DIR")));
    let status = command.arg("-o").arg(&output).status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("the launcher in crates/slim-launch/launch does not compile ({status})"),
        Err(error) => panic!("the compiler could not be run: {error}"),
    }
    check_size(&output);
}

fn check_size(output: &Path) {
    let size = std::fs::metadata(output).expect("the compiler wrote the launcher").len();
    assert!(size <= SIZE_LIMIT, "the launcher has {size} bytes, more than {SIZE_LIMIT}");
}
