//! Every way to name a path, in a real container: what the sensor tells of it.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]
#![expect(clippy::print_stderr, reason = "a test that cannot run says why")]

mod support;

use slim_trace::Access::{self, *};
use slim_trace::{Abi, Trace};
use support::{Image, accesses, has, programs_calls, ready};

/// What `fixtures/paths.c` does in /m, marker by marker.
const EXPECTED: &[(&str, &[Access])] = &[
    ("open", &[Open]),
    ("openat_directory", &[Open]),
    ("open_path", &[Open]),
    ("open_write", &[Open, Write]),
    ("made", &[Open, Write, Create]),
    ("append", &[Open, Append]),
    ("append_made", &[Open, Append, Create]),
    ("append_truncated", &[Open, Write]),
    ("creat", &[Open, Write, Create]),
    ("creat_old", &[Open, Write]),
    ("openat2", &[Open]),
    ("in_root", &[Open]),
    ("through_proc", &[Open]),
    ("missing", &[Missing]),
    ("open/below", &[Missing]),
    ("stat", &[Stat]),
    ("lstat", &[Stat]),
    ("fstatat", &[Stat]),
    ("statx", &[Stat]),
    ("statfs", &[Stat]),
    ("access", &[Stat]),
    ("faccessat", &[Stat]),
    ("faccessat2", &[Stat]),
    ("getxattr", &[Stat]),
    ("lgetxattr", &[Stat]),
    ("listxattr", &[Stat]),
    ("llistxattr", &[Stat]),
    ("inotify", &[Stat]),
    ("readlink", &[ReadLink]),
    ("readlinkat", &[ReadLink]),
    ("listed", &[Open, List]),
    ("truncate", &[Write]),
    ("ftruncate", &[Open, Write]),
    ("chmod", &[ChangeAttributes]),
    ("fchmod", &[Open, ChangeAttributes]),
    ("fchmodat", &[ChangeAttributes]),
    ("chown", &[ChangeAttributes]),
    ("lchown", &[ChangeAttributes]),
    ("fchown", &[Open, ChangeAttributes]),
    ("fchownat", &[ChangeAttributes]),
    ("utime", &[ChangeAttributes]),
    ("utimes", &[ChangeAttributes]),
    ("futimesat", &[ChangeAttributes]),
    ("utimensat", &[ChangeAttributes]),
    ("futimens", &[Open, ChangeAttributes]),
    ("mkdir", &[Create]),
    ("mkdirat", &[Create]),
    ("mknod", &[Open, Create]),
    ("mknodat", &[Create]),
    ("symlink", &[Create]),
    ("symlinkat", &[Create]),
    ("flock", &[Open, Lock]),
    ("flock_exclusive", &[Open, LockExclusive]),
    ("fcntl", &[Open, Lock]),
    ("fcntl_exclusive", &[Open, Write, LockExclusive]),
    ("fcntl_get", &[Open]),
    ("link_old", &[Open, LinkFrom]),
    ("link_new", &[Create, LinkTo]),
    ("linkat_old", &[Open, LinkFrom]),
    ("linkat_new", &[Create, LinkTo]),
    ("rename_old", &[RenameFrom]),
    ("rename_new", &[RenameTo]),
    ("renameat_old", &[RenameFrom]),
    ("renameat_new", &[RenameTo]),
    ("renameat2_old", &[RenameFrom]),
    ("renameat2_new", &[RenameTo]),
    ("unlink", &[Remove]),
    ("unlinkat", &[Remove]),
    ("rmdir", &[Remove]),
    ("bound", &[Bind, Connect]),
    ("refused", &[Bind, Connect]),
    ("nobody", &[Missing]),
    ("sendto", &[Bind, Connect]),
    ("sendmsg", &[Bind, Connect]),
    ("sendmmsg", &[Bind, Connect]),
    ("exec_missing", &[Missing]),
    ("exec_refused", &[Stat]),
    ("chdir", &[ChangeDirectory]),
    ("chdir/relative", &[Open]),
    ("chdir/../to_chdir", &[ChangeDirectory]),
    ("chdir/./relative", &[Open]),
    ("fchdir", &[Open, ChangeDirectory]),
    ("jail", &[ChangeDirectory]),
    ("jail/inside", &[Open]),
    ("jail/inside_access", &[Stat]),
];

/// Markers that the program makes itself, or that are missing.
const ABSENT: &[&str] = &[
    "made",
    "append_made",
    "creat",
    "missing",
    "open/below",
    "mkdir",
    "mkdirat",
    "mknod",
    "mknodat",
    "symlink",
    "symlinkat",
    "link_new",
    "linkat_new",
    "rename_new",
    "renameat_new",
    "renameat2_new",
    "bound",
    "refused",
    "nobody",
    "sendto",
    "sendmsg",
    "sendmmsg",
    "exec_missing",
    "readlink",
    "readlinkat",
    "chdir/../to_chdir",
    "chdir/./relative",
];
const FOLDERS: &[&str] = &["listed", "rmdir", "chdir", "fchdir", "jail"];
const LENGTHS: std::ops::RangeInclusive<usize> = 254..=258;

fn image(test: &str) -> Image {
    let image = Image::new(test);
    for folder in FOLDERS {
        std::fs::create_dir(image.path("m").join(folder)).unwrap();
    }
    for (name, _) in EXPECTED.iter().filter(|(name, _)| !ABSENT.contains(name) && !FOLDERS.contains(name)) {
        image.file(&format!("m/{name}"), "marker");
    }
    for name in ["fchdir/relative", "longest", "int80_open", "int80_stat64", "setxattr", "removexattr"] {
        image.file(&format!("m/{name}"), "marker");
    }
    for length in LENGTHS {
        image.file(&format!("m/longer{length}"), "marker");
    }
    std::os::unix::fs::symlink("chdir", image.path("m/to_chdir")).unwrap();
    for name in ["readlink", "readlinkat"] {
        std::os::unix::fs::symlink("open", image.path("m").join(name)).unwrap();
    }
    image
}

/// All markers whose accesses are other than expected.
fn differences(trace: &Trace) -> Vec<String> {
    EXPECTED
        .iter()
        .filter_map(|(name, expected)| {
            let seen = accesses(trace, format!("/m/{name}"));
            let expected = expected.iter().copied().collect();
            (seen != expected).then(|| format!("/m/{name}: saw {seen:?} instead of {expected:?}"))
        })
        .collect()
}

/// `/m////…longerNNN` of this length, as the program named it.
fn long(length: usize) -> String {
    format!("/m{}longer{length}", "/".repeat(length - 11))
}

fn check(image: &Image) -> Trace {
    let container = image.create(&["--security-opt", "seccomp=unconfined"], &[]);
    let observer = container.start();
    assert_eq!(
        container.wait(),
        "0",
        "{}",
        support::run("sh", &["-c", &format!("docker logs {} 2>&1", container.id)])
    );
    let trace = observer.finish().unwrap();
    assert_eq!(differences(&trace), Vec::<String>::new());
    for length in LENGTHS {
        assert!(has(&trace, &long(length), Open), "a path of {length} bytes");
        assert!(has(&trace, &format!("/m/longer{length}"), Open), "fanotify of a path of {length} bytes");
    }
    let longest = format!("/m{}longest", "/".repeat(3978));
    assert!(has(&trace, &longest, Open), "a path of nearly 4096 bytes");
    assert_eq!(accesses(&trace, b"/m/caf\xe9"), [Missing].into());
    trace
}

#[test]
fn every_path_call_is_told_with_what_it_did() {
    if !ready() {
        return;
    }
    let image = image("paths");
    image.compiled("paths", "paths.c", &[]);
    image.import(&["CMD [\"/paths\"]"]);
    let trace = check(&image);
    assert_eq!(accesses(&trace, "/m/int80_open"), [Open].into());
    assert_eq!(accesses(&trace, "/m/int80_stat64"), [Stat].into());
    let through_old_door: Vec<_> = programs_calls(&trace).filter(|calls| calls.abi == Abi::X86).collect();
    assert_eq!(through_old_door.len(), 1);
    assert_eq!(through_old_door[0].calls, ["open", "stat64"].map(str::to_owned).into());
    let families: Vec<(u16, u16)> =
        trace.sockets.iter().map(|socket| (socket.family, socket.socket_type)).collect();
    assert!(
        families.contains(&(1, 2)) && families.contains(&(1, 1)) && families.contains(&(16, 3)),
        "{families:?}"
    );
}

#[test]
fn a_32_bit_program_is_seen_as_well_as_a_64_bit_one() {
    if !ready() {
        return;
    }
    let image = image("paths32");
    if !image.compiled("paths", "paths.c", &["-m32"]) {
        eprintln!("skipped: the compiler makes no 32-bit programs (gcc-multilib)");
        return;
    }
    image.import(&["CMD [\"/paths\"]"]);
    let trace = check(&image);
    assert!(programs_calls(&trace).all(|calls| calls.abi == Abi::X86));
    let calls = support::calls(&trace);
    for call in ["stat64", "fstatat64", "renameat2", "openat2", "execve"] {
        assert!(calls.contains(call), "{call}: {calls:?}");
    }
}
