//! Small programs whose source says what they can do.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a failure is a panic; what is skipped is said")]

mod common;

use common::{analyse, as_image, assert_calls, compile, only};
use slim_image::{ImagePath, MemoryTree};
use slim_possible::{Because, How, Kept, Machine, possible};

const GETPID: &str = "#include <unistd.h>\nint main(void) { return getpid() < 2; }\n";

const INLINED: &str = r#"
static long call(long number) {
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number) : "rcx", "r11", "memory");
    return result;
}
int main(int count, char **arguments) { return call(count > 1 ? 102 : 104) == 0; }
"#;

const TABLE: &str = r#"
long numbers[4] = {39, 102, 104, 110};
static __attribute__((noinline)) long call(long number) {
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number) : "rcx", "r11", "memory");
    return result;
}
int main(int count, char **arguments) { return call(numbers[count & 3]) == 0; }
"#;

const NUMBERED: &str = r#"
#include <unistd.h>
#include <sys/syscall.h>
static __attribute__((noinline)) long twice(long number, int argument) {
    syscall(number, argument);
    return syscall(number, argument + 1);
}
int main(void) { return twice(SYS_getpgid, 0) + syscall(SYS_acct, 0); }
"#;

const POINTED: &str = r#"
#include <sys/socket.h>
#include <sys/mman.h>
typedef int (*listener)(int, int);
struct operations { const char *name; listener run; };
static const struct operations used = {"used", listen};
static const struct operations unused = {"unused", (listener)mlockall};
const struct operations *volatile chosen = &used;
static __attribute__((noinline, used)) const struct operations *never(void) { return &unused; }
int main(void) { return chosen->run(0, 1); }
"#;

const CLEANS_UP: &str = r#"
#include <unistd.h>
int save(int file, const char *name) {
    if (fdatasync(file) == 0) return 0;
    unlink(name);
    return 1;
}
void other(void) { sync(); }
int main(int count, char **arguments) { other(); return save(count, arguments[0]); }
"#;

const LOCKED: &str =
    "#include <sys/mman.h>\nint unused(void) { return mlockall(1); }\nint main(void) { return 0; }\n";

#[test]
fn a_program_can_do_what_libc_does_for_it_and_not_what_it_does_for_others() {
    let program = compile("gcc", GETPID, &[]);
    let possible = analyse(&program.file, &[]);
    assert_calls(
        &possible,
        &["getpid", "exit_group", "mmap", "clock_gettime"],
        &["bind", "mount", "chown", "bpf"],
    );
    assert!(possible.is_complete(), "{:?}", only(&possible).unknown);
    assert_eq!(possible.machine, Some(Machine::Amd64));
}

#[test]
fn a_static_program_can_do_what_its_own_code_does() {
    let program = compile("gcc", GETPID, &["-static"]);
    let possible = analyse(&program.file, &[]);
    assert_calls(&possible, &["getpid", "exit_group", "brk"], &["bind", "mount", "socket"]);
    assert!(possible.is_complete(), "{:?}", only(&possible).unknown);
}

#[test]
fn a_static_program_that_was_stripped_can_do_the_same() {
    let named = compile("gcc", GETPID, &["-static"]);
    let stripped = compile("gcc", GETPID, &["-static", "-s"]);
    let (named, stripped) = (analyse(&named.file, &[]), analyse(&stripped.file, &[]));
    let missing: Vec<_> = only(&named).calls.difference(&only(&stripped).calls).collect();
    assert_eq!(missing, Vec::<&String>::new());
    assert_calls(&stripped, &["getpid"], &["mount"]);
}

#[test]
fn both_numbers_of_an_inlined_call_are_found() {
    let program = compile("gcc", INLINED, &[]);
    let possible = analyse(&program.file, &[]);
    assert_calls(&possible, &["getuid", "getgid"], &["mount"]);
    let file = ImagePath::new(program.file.to_str().unwrap());
    let part = possible.files.iter().find(|part| part.path == file).unwrap();
    assert_eq!(part.calls.keys().collect::<Vec<_>>(), ["getgid", "getuid"]);
    assert!(part.unknown.is_empty());
}

#[test]
fn a_number_from_a_table_is_unknown_and_said_to_be() {
    let program = compile("gcc", TABLE, &[]);
    let possible = analyse(&program.file, &[]);
    let unknown = only(&possible).unknown.first().unwrap();
    assert_eq!(unknown.file, ImagePath::new(program.file.to_str().unwrap()));
    assert!(unknown.address > 0);
    assert!(!only(&possible).is_complete && !possible.is_complete());
}

#[test]
fn numbers_given_to_syscall_are_found_where_they_are_given() {
    let program = compile("gcc", NUMBERED, &["-fno-inline", "-fno-ipa-cp"]);
    let possible = analyse(&program.file, &[]);
    assert_calls(&possible, &["getpgid", "acct"], &["mount", "swapon"]);
    assert!(possible.is_complete(), "{:?}", only(&possible).unknown);
    let because = possible.call("acct").unwrap().because.first().unwrap();
    assert_eq!(because.to_string(), "program → main");
}

#[test]
fn a_function_whose_address_lies_in_reached_data_is_reached() {
    let program = compile("gcc", POINTED, &[]);
    let possible = analyse(&program.file, &[]);
    assert_calls(&possible, &["listen"], &["mount", "accept"]);
}

#[test]
fn who_calls_functions_that_its_data_names_may_do_more_than_is_found() {
    let foreign = compile("gcc", "void ffi_call(void (*called)(void)) { called(); }", &["-shared", "-fPIC"]);
    let library = foreign.file.to_str().unwrap();
    let host = compile("gcc", GETPID, &[]);
    assert!(analyse(&host.file, &[]).is_complete());
    // As Python's ctypes, whose functions are named by scripts.
    let caller = "void ffi_call(void (*)(void)); void call(void (*named)(void)) { ffi_call(named); }";
    let caller = compile("gcc", caller, &["-shared", "-fPIC", library]);
    let possible = analyse(&host.file, std::slice::from_ref(&caller.file));
    let unknown = only(&possible).unknown.first().unwrap();
    assert_eq!(unknown.file, ImagePath::new(caller.file.to_str().unwrap()));
    assert!(!possible.is_complete());
}

#[test]
fn what_a_function_would_do_that_nothing_calls_does_not_count() {
    let program = compile("gcc", LOCKED, &[]);
    assert_calls(&analyse(&program.file, &[]), &["exit_group"], &["mlockall"]);
    // As a library that is opened, all that it exports may be called.
    let library = compile("gcc", LOCKED, &["-shared", "-fPIC"]);
    let host = compile("gcc", GETPID, &[]);
    assert_calls(&analyse(&host.file, &[library.file]), &["mlockall"], &["mount"]);
}

#[test]
fn the_version_that_was_asked_for_is_the_one_that_counts() {
    let library = r#"
#include <unistd.h>
#include <sys/mman.h>
int first(void) { return mlockall(1); }
int second(void) { return getppid(); }
__asm__(".symver first,answer@V1");
__asm__(".symver second,answer@@V2");
"#;
    let versions = "V1 { local: *; };\nV2 { } V1;\n";
    let directory = tempfile::TempDir::new().unwrap();
    let script = directory.path().join("versions");
    std::fs::write(&script, versions).unwrap();
    let script = format!("-Wl,--version-script={}", script.display());
    let library = compile("gcc", library, &["-shared", "-fPIC", "-Wl,-soname,program", &script]);
    let source = "int answer(void);\nint main(void) { return answer(); }\n";
    let path = library.file.to_str().unwrap();
    let run_path = format!("-Wl,-rpath,{}", library.directory.path().display());
    let program = compile("gcc", source, &[path, &run_path]);
    let possible = analyse(&program.file, &[]);
    assert_calls(&possible, &["getppid"], &["mlockall"]);
    assert!(possible.call("getppid").unwrap().because.first().unwrap().to_string().contains("main → "));
}

/// An allocator before libc, a variant for another processor: which one the loader takes is not for us to say.
#[test]
fn what_two_libraries_define_may_be_either() {
    let define =
        |body: &str| format!("#include <unistd.h>\n#include <sys/mman.h>\nint answer(void) {{ {body} }}\n");
    let one = compile("gcc", &define("return getppid();"), &["-shared", "-fPIC", "-Wl,-soname,program"]);
    let two = compile("gcc", &define("return mlockall(1);"), &["-shared", "-fPIC", "-Wl,-soname,./program"]);
    let run_path = format!("-Wl,--no-as-needed,-rpath,{}", one.directory.path().display());
    let (path, other) = (one.file.to_str().unwrap(), two.file.to_str().unwrap());
    let program =
        compile("gcc", "int answer(void);\nint main(void) { return answer(); }\n", &[path, &run_path]);
    let (tree, mut kept) = as_image(&program.file, &[]);
    let tree = tree.file(other, 0o755, std::fs::read(other).unwrap());
    let libc = kept.iter().find(|kept| kept.path == ImagePath::new(path)).unwrap().needs.clone();
    kept.push(Kept { path: ImagePath::new(other), how: How::Library, needs: libc });
    let main = kept.iter_mut().find(|kept| matches!(kept.how, How::Program { .. })).unwrap();
    main.needs.push(ImagePath::new(other));
    assert_calls(&possible(&tree, &kept).unwrap(), &["getppid", "mlockall"], &["mount"]);
}

#[test]
fn what_sets_user_ids_is_found_although_libc_hands_its_number_on_in_memory() {
    let source = "#include <unistd.h>\nint main(void) { return setuid(1); }\n";
    let program = compile("gcc", source, &[]);
    let possible = analyse(&program.file, &[]);
    assert_calls(&possible, &["setuid"], &["setgid", "setgroups"]);
    assert!(possible.is_complete(), "{:?}", only(&possible).unknown);
}

#[test]
fn a_functions_error_path_stands_beside_what_it_does_when_all_goes_well() {
    let program = compile("gcc", CLEANS_UP, &["-fno-inline"]);
    let possible = analyse(&program.file, &[]);
    let beside = |call: &str| possible.together.get(call).cloned().unwrap_or_default();
    assert_eq!(beside("fdatasync").get("unlink").map(String::as_str), Some("program:save"));
    assert_eq!(beside("unlink").get("fdatasync"), beside("fdatasync").get("unlink"));
    assert!(!beside("fdatasync").contains_key("sync"), "another function's");
}

#[test]
fn a_file_that_is_no_code_is_named_and_makes_the_answer_incomplete() {
    let tree = MemoryTree::new().file("/bin/odd", 0o755, "#!/bin/sh\n").file(
        "/bin/cut",
        0o755,
        b"\x7fELF\x02\x01\x01",
    );
    let program = |path: &str| Kept {
        path: ImagePath::new(path),
        how: How::Program { interpreter: None },
        needs: Vec::new(),
    };
    let possible = possible(&tree, &[program("/bin/odd"), program("/bin/cut")]).unwrap();
    assert_eq!(possible.unread.len(), 2);
    assert!(!possible.is_complete() && possible.programs.iter().all(|program| !program.is_complete));
    assert!(possible.calls.is_empty());
}

#[test]
fn equal_files_give_equal_bytes_which_read_back_as_they_were() {
    let program = compile("gcc", NUMBERED, &[]);
    let (one, other) = (analyse(&program.file, &[]), analyse(&program.file, &[]));
    let text = serde_json::to_string_pretty(&one).unwrap();
    assert_eq!(text, serde_json::to_string_pretty(&other).unwrap());
    let back: slim_possible::Possible = serde_json::from_str(&text).unwrap();
    assert_eq!(back, one);
    assert!(one.call("time").unwrap().because.contains(&Because::Vdso));
}

#[test]
fn an_aarch64_program_can_do_what_its_code_does() {
    let compiler = "aarch64-linux-gnu-gcc";
    if std::process::Command::new(compiler).arg("--version").output().is_err() {
        println!("skipped: no {compiler} (Debian: gcc-aarch64-linux-gnu libc6-dev-arm64-cross)");
        return;
    }
    let source = r#"
#include <unistd.h>
#include <sys/syscall.h>
static long inlined(long number) {
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0");
    __asm__ volatile("svc #0" : "=r"(x0) : "r"(x8) : "memory");
    return x0;
}
int main(int count, char **arguments) {
    return getpid() + setuid(1) + inlined(count > 1 ? 174 : 176) + syscall(SYS_acct, 0);
}
"#;
    let program = compile(compiler, source, &["-static"]);
    let possible = analyse(&program.file, &[]);
    assert_eq!(possible.machine, Some(Machine::Arm64));
    let can = ["getpid", "setuid", "getuid", "getgid", "acct", "exit_group", "newfstatat"];
    assert_calls(&possible, &can, &["bind", "mount", "setgid"]);
    assert!(possible.is_complete(), "{:?}", only(&possible).unknown);
}

#[test]
fn a_go_program_can_do_what_its_linker_left_in() {
    let directory = tempfile::TempDir::new().unwrap();
    let source = directory.path().join("main.go");
    let text = "package main\nimport \"syscall\"\nfunc main() { syscall.Getpgid(0); syscall.Mlockall(1) }\n";
    std::fs::write(&source, text).unwrap();
    for flags in ["", "-s -w"] {
        let file = directory.path().join("program");
        let mut go = std::process::Command::new("go");
        go.args(["build", "-ldflags", flags, "-o"]).arg(&file).arg(&source);
        go.env("CGO_ENABLED", "0").env("GOFLAGS", "").env("GO111MODULE", "off");
        go.env("GOCACHE", directory.path().join("cache")).env("GOPATH", directory.path().join("path"));
        let Ok(output) = go.output() else {
            println!("skipped: no go");
            return;
        };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let possible = analyse(&file, &[]);
        assert_calls(&possible, &["getpgid", "mlockall", "futex", "exit_group"], &["bind", "mount"]);
    }
}
