//! The closure of real programs: libraries made here by the C compiler, and this machine's own, against what `ldd` says.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod support;

use slim_image::{Config, ImagePath, ImageTree, Kind};
use slim_keep::{Context, KeepSet, Reason, Seed, close};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use support::{DirectoryTree, check, has, kinds, notes, paths};

/// Where this machine's libraries lie.
const SYSTEM: [&str; 10] = [
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib64",
    "/usr/local/lib",
];

/// A folder in which small C libraries and programs are made.
struct Workshop(tempfile::TempDir);

impl Workshop {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn root(&self) -> &Path {
        self.0.path()
    }

    /// The path of something in the folder, as text.
    fn path(&self, path: &str) -> String {
        self.root().join(path).to_str().unwrap().to_owned()
    }

    fn compile(&self, output: &str, code: &str, arguments: &[&str]) {
        let output = self.root().join(output);
        fs::create_dir_all(output.parent().unwrap()).unwrap();
        let source = self.root().join("source.c");
        fs::write(&source, code).unwrap();
        let status = Command::new("cc")
            .current_dir(self.root())
            .args(["-o", output.to_str().unwrap(), source.to_str().unwrap(), "-Wl,--no-as-needed"])
            .args(arguments)
            .status()
            .unwrap();
        assert!(status.success());
        fs::remove_file(source).unwrap();
    }

    /// A shared library `lib<name>.so` in `directory` that needs nothing but what `arguments` say.
    fn library(&self, directory: &str, name: &str, arguments: &[&str]) {
        let code = format!("int {name}(void) {{ return 1; }}");
        let soname = format!("-Wl,-soname,lib{name}.so");
        let arguments = [&["-shared", "-fPIC", "-nostdlib", &soname], arguments].concat();
        self.compile(&format!("{directory}/lib{name}.so"), &code, &arguments);
    }

    fn program(&self, path: &str, arguments: &[&str]) {
        self.compile(path, "int main(void) { return 0; }", arguments);
    }

    /// This folder with the machine's libraries beside it, at their own paths.
    fn with_the_machine(&self) -> DirectoryTree {
        let mut parts = SYSTEM.to_vec();
        parts.push(self.root().to_str().unwrap());
        DirectoryTree::parts(Path::new("/"), &parts)
    }
}

fn closure_with(tree: &dyn ImageTree, program: &str, config: &Config) -> KeepSet {
    let seeds = vec![Seed::program(program, Reason::Entrypoint { word: program.to_owned() })];
    let set = close(seeds, &Context::new(tree, config)).unwrap();
    check(&set, tree);
    set
}

fn closure(tree: &dyn ImageTree, program: &str) -> KeepSet {
    closure_with(tree, program, &Config::default())
}

/// The files that the closure found by following ELF headers, on this machine.
fn libraries(set: &KeepSet) -> BTreeSet<String> {
    set.entries
        .iter()
        .filter(|(_, kept)| {
            kept.because
                .iter()
                .any(|reason| matches!(reason, Reason::NeededLibrary { .. } | Reason::ElfInterpreter { .. }))
        })
        .map(|(path, _)| path.to_string())
        .collect()
}

/// What the machine's own loader finds, resolved, and what it misses.
fn ldd(program: &str, library_path: Option<&str>) -> (BTreeSet<String>, BTreeSet<String>) {
    let mut command = Command::new("ldd");
    command.arg(program).env_remove("LD_LIBRARY_PATH");
    if let Some(library_path) = library_path {
        command.env("LD_LIBRARY_PATH", library_path);
    }
    let output = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let (mut found, mut missing) = (BTreeSet::new(), BTreeSet::new());
    for line in output.lines().map(str::trim) {
        if let Some((name, _)) = line.split_once(" => not found") {
            missing.insert(name.to_owned());
            continue;
        }
        let path = line.split_once(" => ").map_or(line, |(_, path)| path);
        let path = path.split(" (").next().unwrap();
        if path.starts_with('/') {
            found.insert(fs::canonicalize(path).unwrap().to_str().unwrap().to_owned());
        }
    }
    (found, missing)
}

#[test]
fn the_closure_of_this_machines_programs_is_what_ldd_prints() {
    let mut parts = SYSTEM.to_vec();
    let programs =
        ["/usr/bin/ls", "/usr/bin/bash", "/usr/bin/perl", "/usr/bin/curl", "/usr/bin/git", "/usr/bin/gdb"];
    parts.extend(programs);
    let tree = DirectoryTree::parts(Path::new("/"), &parts);
    let mut compared = 0;
    for program in programs.into_iter().filter(|program| tree.entry(&ImagePath::from(*program)).is_some()) {
        let (found, missing) = ldd(program, None);
        if found.is_empty() {
            continue;
        }
        let set = closure(&tree, program);
        assert_eq!(libraries(&set), found, "{program}");
        assert_eq!(notes(&set).len(), missing.len(), "{program}: {:?}", notes(&set));
        compared += 1;
    }
    assert!(compared > 0, "no program to compare with");
}

/// The closure is enough: the programs run where there is nothing else.
#[test]
fn programs_run_in_a_root_that_holds_their_closure_only() {
    let programs = ["/usr/bin/bash", "/usr/bin/ls", "/usr/bin/sort"];
    let mut parts = SYSTEM.to_vec();
    parts.extend(["/bin", "/usr/bin/bash", "/usr/bin/ls", "/usr/bin/sort"]);
    let tree = DirectoryTree::parts(Path::new("/"), &parts);
    let mut seeds = vec![Seed::object("/bin", Reason::WorkingDirectory)];
    seeds.extend(programs.map(|program| Seed::program(program, Reason::WorkingDirectory)));
    let set = close(seeds, &Context::new(&tree, &Config::default())).unwrap();
    let root = tempfile::tempdir().unwrap();
    for (path, kept) in &set.entries {
        let (from, to) = (Path::new("/").join(path.to_string()), root.path().join(&path.to_string()[1..]));
        match &kept.entry.kind {
            Kind::Directory => fs::create_dir_all(to).unwrap(),
            Kind::Symlink { target } => {
                std::os::unix::fs::symlink(std::str::from_utf8(target).unwrap(), to).unwrap();
            }
            _ => drop(fs::copy(from, to).unwrap()),
        }
    }
    let output = Command::new("chroot")
        .arg(root.path())
        .args(["/bin/bash", "-c", "ls / | sort -r"])
        .env("PATH", "/usr/bin:/usr/sbin")
        .output()
        .unwrap();
    let (text, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if error.contains("Operation not permitted") {
        eprintln!("skipped: chroot needs root");
        return;
    }
    assert!(text.contains("usr\n") && output.status.success(), "{text}{error}");
    assert!(set.entries.len() < 60, "{:?}", paths(&set));
}

#[test]
fn runpath_counts_for_the_object_itself_and_rpath_for_what_it_loads() {
    let shop = Workshop::new();
    shop.library("lib", "inner", &[]);
    shop.library("lib", "outer", &["-Llib", "-linner"]);
    let link = ["-Llib", "-Wl,-rpath-link,lib", "-louter", "-Wl,-rpath,$ORIGIN/../lib"];
    shop.program("bin/new", &[&link[..], &["-Wl,--enable-new-dtags"]].concat());
    shop.program("bin/old", &[&link[..], &["-Wl,--disable-new-dtags"]].concat());
    let tree = shop.with_the_machine();

    for (program, finds_inner) in [("bin/new", false), ("bin/old", true)] {
        let program = shop.path(program);
        let (found, missing) = ldd(&program, None);
        let set = closure(&tree, &program);
        assert_eq!(libraries(&set), found);
        assert_eq!(has(&set, &shop.path("lib/libinner.so")), finds_inner);
        assert_eq!(missing.contains("libinner.so"), !finds_inner);
        assert_eq!(notes(&set).len(), missing.len(), "{:?}", notes(&set));
    }
}

#[test]
fn the_environments_library_path_comes_before_runpath_and_behind_rpath() {
    let shop = Workshop::new();
    shop.library("first", "x", &[]);
    shop.library("second", "x", &[]);
    let link = ["-Lfirst", "-lx", "-Wl,-rpath,$ORIGIN/../first"];
    shop.program("bin/new", &[&link[..], &["-Wl,--enable-new-dtags"]].concat());
    shop.program("bin/old", &[&link[..], &["-Wl,--disable-new-dtags"]].concat());
    let tree = shop.with_the_machine();
    let second = shop.path("second");
    let config = Config { env: vec![format!("LD_LIBRARY_PATH=:{second}")], ..Config::default() };
    for program in ["bin/new", "bin/old"] {
        let program = shop.path(program);
        let set = closure_with(&tree, &program, &config);
        assert_eq!(libraries(&set), ldd(&program, Some(&second)).0, "{program}");
    }
}

#[test]
fn the_links_to_a_library_and_its_variants_for_newer_processors_are_kept() {
    let shop = Workshop::new();
    shop.library("opt/lib", "x", &[]);
    shop.library("opt/lib/glibc-hwcaps/x86-64-v2", "x", &[]);
    shop.library("opt/lib/glibc-hwcaps/x86-64-v3", "x", &[]);
    shop.program("bin/tool", &["-Lopt/lib", "-lx", "-Wl,-rpath,$ORIGIN/../alias"]);
    fs::rename(shop.path("opt/lib/libx.so"), shop.path("opt/lib/libx.so.1.2")).unwrap();
    std::os::unix::fs::symlink("libx.so.1.2", shop.path("opt/lib/libx.so")).unwrap();
    std::os::unix::fs::symlink("opt/lib", shop.path("alias")).unwrap();
    let set = closure(&shop.with_the_machine(), &shop.path("bin/tool"));
    for path in [
        "alias",
        "opt/lib/libx.so",
        "opt/lib/libx.so.1.2",
        "opt/lib/glibc-hwcaps/x86-64-v2/libx.so",
        "opt/lib/glibc-hwcaps/x86-64-v3/libx.so",
    ] {
        assert!(has(&set, &shop.path(path)), "{path}");
    }
    assert!(notes(&set).is_empty(), "{:?}", notes(&set));
}

#[test]
fn a_library_of_another_machine_is_passed_over() {
    let shop = Workshop::new();
    shop.library("wrong", "x", &[]);
    shop.library("right", "x", &[]);
    shop.program("bin/tool", &["-Lright", "-lx", "-Wl,-rpath,$ORIGIN/../wrong:$ORIGIN/../right"]);
    let wrong = shop.path("wrong/libx.so");
    let mut bytes = fs::read(&wrong).unwrap();
    bytes[18..20].copy_from_slice(&183_u16.to_le_bytes());
    fs::write(&wrong, bytes).unwrap();
    let set = closure(&shop.with_the_machine(), &shop.path("bin/tool"));
    assert!(!has(&set, &wrong));
    assert!(has(&set, &shop.path("right/libx.so")));
}

#[test]
fn a_name_with_a_slash_is_a_path() {
    let shop = Workshop::new();
    shop.compile("lib/plain", "int f(void) { return 1; }", &["-shared", "-fPIC", "-nostdlib"]);
    shop.program("bin/tool", &[&shop.path("lib/plain")]);
    let set = closure(&shop.with_the_machine(), &shop.path("bin/tool"));
    assert!(has(&set, &shop.path("lib/plain")), "{:?}", notes(&set));
}

/// Whole images made in a folder: nothing of this machine lies in them.
#[test]
fn an_image_without_an_index_has_its_libraries_found_through_configuration_and_defaults() {
    let shop = Workshop::new();
    shop.library("usr/lib/x86_64-linux-gnu", "usual", &[]);
    shop.library("opt/configured", "configured", &[]);
    shop.library("opt/nowhere", "nowhere", &[]);
    let search = ["-Lusr/lib/x86_64-linux-gnu", "-Lopt/configured", "-Lopt/nowhere"];
    let link = ["-nostdlib", "-lusual", "-lconfigured", "-lnowhere", "-Wl,--dynamic-linker=/lib64/ld.so"];
    shop.program("bin/tool", &[&search[..], &link[..]].concat());
    fs::create_dir_all(shop.path("etc")).unwrap();
    fs::write(shop.path("etc/ld.so.conf"), "/opt/configured\n").unwrap();
    let set = closure(&DirectoryTree::new(shop.root()), "/bin/tool");
    assert_eq!(
        paths(&set),
        ["/bin/tool", "/opt/configured/libconfigured.so", "/usr/lib/x86_64-linux-gnu/libusual.so"]
    );
    assert_eq!(
        notes(&set),
        [
            "the library libnowhere.so that /bin/tool needs is not where the loader looks for it",
            "the loader /lib64/ld.so that /bin/tool names is not in the image"
        ]
    );
}

#[test]
fn a_program_that_wants_no_default_directories_gets_none() {
    let shop = Workshop::new();
    shop.library("usr/lib", "usual", &[]);
    let link = ["-Lusr/lib", "-lusual", "-nostdlib", "-Wl,-z,nodefaultlib"];
    shop.program("bin/tool", &link);
    let set = closure(&DirectoryTree::new(shop.root()), "/bin/tool");
    assert!(!has(&set, "/usr/lib/libusual.so"));
}

#[test]
fn musl_searches_its_own_directories_and_is_its_own_c_library() {
    let shop = Workshop::new();
    shop.library("lib", "c", &[]);
    fs::rename(shop.path("lib/libc.so"), shop.path("lib/ld-musl-x86_64.so.1")).unwrap();
    shop.library("usr/local/lib", "own", &[]);
    shop.library("opt/lib", "inner", &[]);
    shop.library("opt/lib", "outer", &["-Lopt/lib", "-linner"]);
    shop.library("stub", "c", &[]);
    let search = ["-Lusr/local/lib", "-Lopt/lib", "-Lstub", "-Wl,-rpath-link,opt/lib"];
    let link = [
        "-nostdlib",
        "-lown",
        "-louter",
        "-lc",
        "-Wl,-rpath,/opt/lib",
        "-Wl,--enable-new-dtags",
        "-Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1",
    ];
    shop.program("bin/tool", &[&search[..], &link[..]].concat());
    fs::remove_dir_all(shop.path("stub")).unwrap();
    let set = closure(&DirectoryTree::new(shop.root()), "/bin/tool");
    // With musl a RUNPATH counts for what the libraries need, too.
    assert_eq!(
        paths(&set),
        [
            "/bin/tool",
            "/lib/ld-musl-x86_64.so.1",
            "/opt/lib/libinner.so",
            "/opt/lib/libouter.so",
            "/usr/local/lib/libown.so"
        ]
    );
    assert_eq!(notes(&set), [""; 0]);
}

#[test]
fn the_index_decides_where_it_names_a_library() {
    let shop = Workshop::new();
    shop.library("opt/far", "x", &[]);
    shop.library("usr/lib", "x", &[]);
    shop.program("bin/tool", &["-nostdlib", "-Lusr/lib", "-lx", "-Wl,--dynamic-linker=/lib64/ld.so"]);
    fs::create_dir_all(shop.path("etc")).unwrap();
    fs::create_dir_all(shop.path("lib64")).unwrap();
    // The machine's ldconfig writes the index of the folder as of a root of its own.
    fs::write(shop.path("etc/ld.so.conf"), "/opt/far\n").unwrap();
    let ldconfig = Command::new("/sbin/ldconfig").args(["-r", shop.root().to_str().unwrap()]).status();
    if !ldconfig.is_ok_and(|status| status.success()) {
        eprintln!("skipped: ldconfig -r needs root");
        return;
    }
    fs::write(shop.path("etc/ld.so.conf"), "").unwrap();
    let set = closure(&DirectoryTree::new(shop.root()), "/bin/tool");
    assert!(has(&set, "/opt/far/libx.so"));
    assert!(!has(&set, "/usr/lib/libx.so"));
    assert_eq!(kinds(&set, "/opt/far/libx.so"), ["needed-library"]);
}
