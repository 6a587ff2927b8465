//! The launcher as a process: what it installs is kept by the kernel, by the program and by all that the program starts.
//! Needs no root; what a kernel without Landlock cannot show is told and left out.
#![cfg(target_arch = "x86_64")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a failure is a panic, and a test that is left out says so"
)]

use slim_launch::format::right;
use slim_launch::{BINARY, FileRules, Instruction, LaunchFile, Machine};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0000 | 1;
const KILL: u32 = 0x8000_0000;
/// chown, fchown, lchown, fchownat.
const OWNERS: [i64; 4] = [libc::SYS_chown, libc::SYS_fchown, libc::SYS_lchown, libc::SYS_fchownat];

fn instruction(code: u16, if_true: u8, if_false: u8, operand: u32) -> Instruction {
    Instruction { code, if_true, if_false, operand }
}

/// Everything but these calls, written by hand: the launcher's tests need no compiler of filters.
fn all_but(calls: &[i64]) -> Vec<Instruction> {
    const LOAD: u16 = 0x20;
    const JUMP_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let mut filter = vec![
        instruction(LOAD, 0, 0, 4),
        instruction(JUMP_EQUAL, 1, 0, Machine::Amd64.number()),
        instruction(RETURN, 0, 0, KILL),
        instruction(LOAD, 0, 0, 0),
    ];
    for call in calls {
        filter.push(instruction(JUMP_EQUAL, 0, 1, u32::try_from(*call).unwrap()));
        filter.push(instruction(RETURN, 0, 0, EPERM));
    }
    filter.push(instruction(RETURN, 0, 0, ALLOW));
    filter
}

struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let place = Self { folder };
        place.install("launch");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn install(&self, name: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, BINARY).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn policy(&self, policy: &LaunchFile) {
        fs::write(self.path("policy"), policy.to_bytes().unwrap()).unwrap();
    }

    /// `launch --policy policy -- words`.
    fn launch(&self, words: &[&str]) -> Output {
        let flags = ["--policy".into(), self.path("policy"), "--".into()];
        Command::new(self.path("launch")).args(flags).args(words).output().unwrap()
    }
}

fn told(output: &Output) -> (i32, String) {
    let text = [output.stdout.clone(), output.stderr.clone()].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8(text).unwrap())
}

fn filtering(calls: &[i64]) -> LaunchFile {
    LaunchFile { set_no_new_privileges: true, filter: all_but(calls), ..LaunchFile::new(Machine::host()) }
}

/// Grants what programs of this machine need to run, and these paths besides.
fn ruling(grants: &[(&Path, u64)]) -> LaunchFile {
    let system = right::READ_FILE | right::READ_DIRECTORY | right::EXECUTE;
    let usual = ["/usr", "/bin", "/lib", "/lib64", "/dev"].map(|path| (path.as_bytes().to_vec(), system));
    let grants = grants.iter().map(|(path, rights)| (path.to_str().unwrap().as_bytes().to_vec(), *rights));
    let rules = usual.into_iter().chain(grants).collect();
    LaunchFile {
        set_no_new_privileges: true,
        file_rules: Some(FileRules { handled: right::ALL, rules, required: true }),
        ..LaunchFile::new(Machine::host())
    }
}

fn has_landlock() -> bool {
    // SAFETY: the kernel is asked for a version and given no address.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, 0, 0, 1) };
    if version < 1 {
        eprintln!("left out: this kernel has no Landlock");
    }
    version >= 1
}

#[test]
fn the_launcher_is_a_small_static_file_that_needs_nothing_of_an_image() {
    assert!(BINARY.len() <= 64 << 10, "{} bytes", BINARY.len());
    let place = Place::new();
    let headers = Command::new("readelf").arg("-lW").arg(place.path("launch")).output().unwrap();
    let headers = String::from_utf8(headers.stdout).unwrap();
    assert!(
        headers.contains("LOAD") && !headers.contains("INTERP") && !headers.contains("DYNAMIC"),
        "{headers}"
    );
}

#[test]
fn a_refused_call_stays_refused_in_the_program_and_in_what_it_starts() {
    let place = Place::new();
    place.policy(&filtering(&OWNERS));
    let script = "touch \"$1/f\" && ! chown 0 \"$1/f\" && sh -c '! chown 0 \"$1/f\"' sh \"$1\" && echo held";
    let (code, text) =
        told(&place.launch(&["sh", "-c", script, "sh", place.folder.path().to_str().unwrap()]));
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("held") && text.contains("Operation not permitted"), "{text}");
    place.policy(&filtering(&[]));
    let (code, text) = told(&place.launch(&["chown", &id(), place.path("f").to_str().unwrap()]));
    assert_eq!(code, 0, "without the filter: {text}");
}

fn id() -> String {
    String::from_utf8(Command::new("id").arg("-u").output().unwrap().stdout).unwrap().trim().to_owned()
}

#[test]
fn arguments_environment_and_exit_code_are_the_programs_own() {
    let place = Place::new();
    place.policy(&filtering(&OWNERS));
    let launch = place.path("launch");
    let output = Command::new(launch)
        .arg(format!("--policy={}", place.path("policy").display()))
        .args(["sh", "-c", "echo \"$0|$1|$MARK\"; exit 7", "--policy", "a b"])
        .env("MARK", "here")
        .output()
        .unwrap();
    assert_eq!(told(&output), (7, "--policy|a b|here\n".to_owned()));
}

#[test]
fn what_cannot_run_is_told_apart_by_its_exit_code() {
    let place = Place::new();
    place.policy(&filtering(&OWNERS));
    let text = place.path("text");
    fs::write(&text, "no program").unwrap();
    let (code, said) = told(&place.launch(&["no-such-program"]));
    assert_eq!(code, 127);
    assert_eq!(said, "docker-slim launch: failed to run no-such-program: no such file or directory\n");
    assert_eq!(told(&place.launch(&[text.to_str().unwrap()])).0, 126);
    fs::set_permissions(&text, fs::Permissions::from_mode(0o755)).unwrap();
    let (code, said) = told(&place.launch(&[text.to_str().unwrap()]));
    assert!(code == 126 && said.contains("exec format error"), "{code} {said}");
    assert_eq!(told(&place.launch(&[])).0, 125);
}

#[test]
fn it_ends_also_where_its_filter_refuses_that() {
    let place = Place::new();
    place.policy(&filtering(&[libc::SYS_exit_group]));
    let mut launched = Command::new(place.path("launch"))
        .args(["--policy".into(), place.path("policy"), "--".into(), "no-such-program".into()])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while launched.try_wait().unwrap().is_none() {
        if began.elapsed() > Duration::from_secs(30) {
            launched.kill().unwrap();
            panic!("it does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_policy_that_is_missing_damaged_or_for_another_machine_runs_nothing() {
    let place = Place::new();
    let refuses = |what: &str| {
        let (code, text) = told(&place.launch(&["touch", place.path("ran").to_str().unwrap()]));
        assert_eq!(code, 125, "{text}");
        assert!(text.contains(what), "{text}");
        assert!(!place.path("ran").exists());
    };
    refuses("no such file");
    let mut bytes = filtering(&OWNERS).to_bytes().unwrap();
    bytes[60] ^= 1;
    fs::write(place.path("policy"), &bytes).unwrap();
    refuses("damaged");
    fs::write(place.path("policy"), vec![0; (1 << 20) + 1]).unwrap();
    refuses("no policy");
    fs::write(place.path("policy"), LaunchFile::new(Machine::Arm64).to_bytes().unwrap()).unwrap();
    refuses("another kind of machine");
    let nonsense = vec![instruction(0xffff, 0, 0, 0)];
    place.policy(&LaunchFile { filter: nonsense, ..filtering(&[]) });
    refuses("install the filter: invalid argument");
}

#[test]
fn without_no_new_privileges_and_capability_it_says_what_it_needs() {
    let place = Place::new();
    place.policy(&LaunchFile { set_no_new_privileges: false, ..filtering(&OWNERS) });
    let run = |privileges: &[&str]| {
        let policy = format!("--policy={}", place.path("policy").display());
        // Root by number without the one capability, which a container has not either.
        let mut command = match id().as_str() {
            "0" => {
                let mut command = Command::new("setpriv");
                command.args(["--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]).args(privileges);
                command.arg(place.path("launch"));
                command
            }
            _ if privileges.is_empty() => Command::new(place.path("launch")),
            _ => {
                let mut command = Command::new("setpriv");
                command.args(privileges).arg(place.path("launch"));
                command
            }
        };
        told(&command.args([&policy, "echo", "ran"]).output().unwrap())
    };
    let (code, text) = run(&[]);
    assert_eq!(code, 125, "{text}");
    assert!(text.contains("needs no-new-privileges or CAP_SYS_ADMIN") && text.contains("hint: "), "{text}");
    assert_eq!(run(&["--no-new-privs"]), (0, "ran\n".to_owned()));
}

#[test]
fn file_rules_refuse_every_other_path() {
    if !has_landlock() {
        return;
    }
    let place = Place::new();
    for folder in ["data", "conf", "other"] {
        fs::create_dir(place.path(folder)).unwrap();
        fs::write(place.path(folder).join("f"), folder).unwrap();
    }
    let change = right::ALL & !right::EXECUTE;
    place.policy(&ruling(&[
        (&place.path("data"), change),
        (&place.path("conf/f"), right::READ_FILE),
        (&place.path("not/there"), change),
    ]));
    let run = |script: &str| {
        let folder = place.folder.path().to_str().unwrap();
        told(&place.launch(&["sh", "-c", &format!("cd /; cd() {{ :; }}; P={folder}; {script}")]))
    };
    assert_eq!(run("cat $P/conf/f && echo new >$P/data/f && mv $P/data/f $P/data/g && cat $P/data/g").0, 0);
    for refused in [
        "cat $P/other/f",
        "cat /etc/passwd",
        "echo x >$P/conf/f",
        "echo x >$P/conf/new",
        "rm $P/other/f",
        "mkdir $P/other/d",
        "ls /etc",
        "cp /bin/true $P/data/true && $P/data/true",
        "mv $P/data/g $P/other/g",
    ] {
        let (code, text) = run(refused);
        assert_ne!(code, 0, "{refused}");
        assert!(text.contains("denied") || text.contains("cross-device"), "{refused}: {text}");
    }
}

#[test]
fn file_rules_and_filter_hold_together_and_check_tells_of_both() {
    if !has_landlock() {
        return;
    }
    let place = Place::new();
    place.policy(&LaunchFile { filter: all_but(&OWNERS), ..ruling(&[(place.folder.path(), right::ALL)]) });
    let script = "touch $1/f && ! chown 0 $1/f && ! cat /etc/passwd && echo held";
    let (code, text) =
        told(&place.launch(&["sh", "-c", script, "sh", place.folder.path().to_str().unwrap()]));
    assert!(code == 0 && text.contains("held"), "{text}");
    let policy = place.path("policy");
    let check =
        Command::new(place.path("launch")).args(["--check", "--policy"]).arg(policy).output().unwrap();
    let (code, text) = told(&check);
    assert_eq!(code, 0);
    assert!(
        text.starts_with("filter: 13 instructions\nfile rules: 6\nlandlock of this kernel: version "),
        "{text}"
    );
}

#[test]
fn in_the_programs_place_it_becomes_the_program_that_the_policy_names() {
    let place = Place::new();
    // A root of its own, in which there is nothing but launchers: the program is one as well, under its own name.
    place.install("root/bin/server");
    place.install("root/bin/launch");
    let folder = place.path("root/.docker-slim");
    fs::create_dir(&folder).unwrap();
    let policy = |program: Option<&str>| LaunchFile {
        program: program.map(|path| path.as_bytes().to_vec()),
        ..filtering(&OWNERS)
    };
    let run = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--root"]).arg(place.path("root"));
        told(&command.args(["/bin/server", "--version"]).output().unwrap())
    };
    fs::write(folder.join("launch.policy"), policy(Some("/bin/launch")).to_bytes().unwrap()).unwrap();
    let (code, text) = run();
    if text.contains("unshare:") {
        eprintln!("left out: no user namespaces here ({text})");
        return;
    }
    assert_eq!((code, text.as_str()), (0, "docker-slim launch, policy version 1\n"));
    fs::write(folder.join("launch.policy"), policy(None).to_bytes().unwrap()).unwrap();
    let (code, text) = run();
    assert!(code == 125 && text.contains("names none"), "{code} {text}");
}
