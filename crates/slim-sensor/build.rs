//! Compiles the eBPF program with clang; CO-RE makes the one object fit every kernel.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=bpf");
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    println!("cargo:rerun-if-env-changed=CLANG");
    let object = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("observer.bpf.o");
    let status = Command::new(&clang)
        .args(["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-D__TARGET_ARCH_x86", "-Wall", "-Werror", "-Ibpf"])
        // Debian keeps the kernel's headers of a machine in a folder of its own, where clang for bpf does not look.
        .args(["-idirafter", "/usr/include/x86_64-linux-gnu"])
        .args(["-c", "bpf/observer.bpf.c", "-o"])
        .arg(&object)
        .status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => {
            panic!("{clang} could not compile bpf/observer.bpf.c ({status}); it needs libbpf-dev's headers")
        }
        Err(error) => panic!("{clang} could not be run: {error}; install clang and libbpf-dev"),
    }
    // Debug lines are not needed to load the program, and would make every binary half a megabyte larger.
    let _ = Command::new("llvm-strip").arg("-g").arg(&object).status();
    assert!(fs::metadata(&object).is_ok_and(|data| data.len() > 0), "clang wrote no object");
}
