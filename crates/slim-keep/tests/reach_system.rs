//! `--keep reachable`: what the kept files ask the system for at run time.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod support;

use slim_image::{Config, ImageTree, MemoryTree};
use slim_keep::{KeepSet, Level, Note, Settings};
use slim_trace::Access;
use std::path::Path;
use std::process::Command;
use support::{DirectoryTree, Traced, entry, has, kept_with, notes};

fn reachable_with(trace: &Traced, tree: &dyn ImageTree, environment: &[&str]) -> KeepSet {
    let env = environment.iter().map(|pair| (*pair).to_owned()).collect();
    let settings = Settings { level: Level::Reachable, ..Settings::default() };
    kept_with(trace, tree, &Config { env, ..Config::default() }, &settings)
}

fn reachable(trace: &Traced, tree: &dyn ImageTree) -> KeepSet {
    reachable_with(trace, tree, &[])
}

/// A trace of one program that opened these files.
fn opened(paths: &[&str]) -> Traced {
    paths.iter().fold(Traced::new().process("/usr/bin/program"), |trace, path| trace.open(path))
}

fn because(set: &KeepSet, path: &str) -> Vec<String> {
    entry(set, path).because.iter().map(ToString::to_string).collect()
}

/// Which of these paths are kept.
fn of<'p>(set: &KeepSet, candidates: &[&'p str]) -> Vec<&'p str> {
    candidates.iter().copied().filter(|path| has(set, path)).collect()
}

fn compile(code: &str, arguments: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (source, output) = (folder.path().join("source.c"), folder.path().join("output"));
    std::fs::write(&source, code).unwrap();
    let status = Command::new("cc")
        .args(["-nostdlib", "-o", output.to_str().unwrap(), source.to_str().unwrap()])
        .args(arguments)
        .status()
        .unwrap();
    assert!(status.success());
    std::fs::read(output).unwrap()
}

/// A shared object that holds these constants.
fn library(constants: &[&str]) -> Vec<u8> {
    compile(&holding(constants), &["-shared", "-fPIC"])
}

/// One that imports dlopen, too.
fn opener(constants: &[&str]) -> Vec<u8> {
    let code = "extern void *dlopen(const char *, int); void *open_it(void) { return dlopen(0, 1); }";
    compile(&format!("{}{code}", holding(constants)), &["-shared", "-fPIC"])
}

/// A program that a loader loads.
fn dynamic_program(constants: &[&str]) -> Vec<u8> {
    let code = format!("{} void _start(void) {{}}", holding(constants));
    compile(&code, &["-pie", "-fPIE", "-Wl,--dynamic-linker=/lib/ld.so"])
}

/// A program with no libraries.
fn static_program(constants: &[&str], more: &str) -> Vec<u8> {
    compile(&format!("{}{more} void _start(void) {{}}", holding(constants)), &["-static"])
}

fn holding(constants: &[&str]) -> String {
    let mut code = String::new();
    for (index, text) in constants.iter().enumerate() {
        let text = text.replace('"', "\\\"");
        code.push_str(&format!("const char constant_{index}[] = \"{text}\";\n"));
    }
    code
}

#[test]
fn the_services_that_the_switch_names_are_kept_and_no_others() {
    let object = library(&[]);
    let mut tree =
        MemoryTree::new().file("/etc/nsswitch.conf", 0o644, "passwd: files systemd\n#group: winbind\n");
    for name in ["libc.so.6", "libnss_systemd.so.2", "libnss_winbind.so.2", "libnss_nis.so.2"] {
        tree = tree.file(format!("/usr/lib/{name}").as_str(), 0o644, &object);
    }
    let set = reachable(&opened(&["/usr/lib/libc.so.6"]), &tree);
    assert!(has(&set, "/usr/lib/libnss_systemd.so.2"));
    assert_eq!(of(&set, &["/usr/lib/libnss_winbind.so.2", "/usr/lib/libnss_nis.so.2"]), [""; 0]);
    assert_eq!(
        because(&set, "/usr/lib/libnss_systemd.so.2"),
        ["is opened at run time by /usr/lib/libc.so.6 as libnss_systemd.so.2"]
    );
    let settings = Settings { level: Level::Reachable, without_name_services: true, ..Settings::default() };
    let set = kept_with(&opened(&["/usr/lib/libc.so.6"]), &tree, &Config::default(), &settings);
    assert!(!has(&set, "/usr/lib/libnss_systemd.so.2"));
}

#[test]
fn at_the_level_of_what_was_observed_nothing_of_this_is_kept() {
    let tree = MemoryTree::new()
        .file("/etc/nsswitch.conf", 0o644, "passwd: systemd\n")
        .file("/usr/lib/libc.so.6", 0o644, library(&[]))
        .file("/usr/lib/libnss_systemd.so.2", 0o644, library(&[]));
    let trace = opened(&["/usr/lib/libc.so.6"]);
    let set = kept_with(&trace, &tree, &Config::default(), &Settings::default());
    assert!(!has(&set, "/usr/lib/libnss_systemd.so.2"));
}

#[test]
fn the_modules_that_service_files_name_come_with_pam() {
    let object = library(&[]);
    let mut tree = MemoryTree::new()
        .file("/etc/pam.d/other", 0o644, "auth\trequired\tpam_deny.so\n@include common-auth\n")
        .file(
            "/etc/pam.d/common-auth",
            0o644,
            "auth [success=1 default=ignore] pam_unix.so nullok\n# pam_no.so\n",
        )
        .file("/etc/shadow", 0o640, "root:*:1::::::\n")
        .file("/usr/sbin/unix_chkpwd", 0o2755, "x");
    for name in ["libpam.so.0", "security/pam_deny.so", "security/pam_unix.so", "security/pam_no.so"] {
        tree = tree.file(format!("/usr/lib/x86_64-linux-gnu/{name}").as_str(), 0o644, &object);
    }
    let set = reachable(&opened(&["/usr/lib/x86_64-linux-gnu/libpam.so.0"]), &tree);
    for path in [
        "/etc/pam.d/common-auth",
        "/usr/lib/x86_64-linux-gnu/security/pam_deny.so",
        "/usr/lib/x86_64-linux-gnu/security/pam_unix.so",
        "/etc/shadow",
        "/usr/sbin/unix_chkpwd",
    ] {
        assert!(has(&set, path), "{path}");
    }
    assert!(!has(&set, "/usr/lib/x86_64-linux-gnu/security/pam_no.so"));
    let without = reachable(&opened(&["/usr/lib/x86_64-linux-gnu/other.so"]), &tree);
    assert!(!has(&without, "/etc/pam.d/other"));
}

#[test]
fn common_converters_and_that_of_the_environment_come_with_their_index() {
    let index = "alias ISO8859-1// ISO-8859-1//\nmodule ISO-8859-1// INTERNAL ISO8859-1 1\n\
        module INTERNAL ISO-8859-1// ISO8859-1 1\nmodule EUC-JP// INTERNAL EUC-JP 1\nmodule BIG5// INTERNAL BIG5 1\n";
    let extra = "module KOI8-R// INTERNAL KOI8-R 1 # Russian\nalias KOI8// KOI8-R//\n";
    let mut tree = MemoryTree::new()
        .file("/usr/lib/gconv/gconv-modules", 0o644, index)
        .file("/usr/lib/gconv/gconv-modules.cache", 0o644, "x")
        .file("/usr/lib/gconv/gconv-modules.d/extra.conf", 0o644, extra);
    for name in ["ISO8859-1", "EUC-JP", "BIG5", "KOI8-R"] {
        tree = tree.file(format!("/usr/lib/gconv/{name}.so").as_str(), 0o644, library(&[]));
    }
    let asked = opened(&["/usr/lib/gconv/gconv-modules.cache"]);
    let set = reachable_with(&asked, &tree, &["LANG=ru_RU.KOI8-R", "PATH=/bin"]);
    let converters = ["/usr/lib/gconv/ISO8859-1.so", "/usr/lib/gconv/KOI8-R.so", "/usr/lib/gconv/BIG5.so"];
    assert_eq!(of(&set, &converters), converters[..2]);
    assert!(has(&set, "/usr/lib/gconv/gconv-modules") && !has(&set, "/usr/lib/gconv/EUC-JP.so"));
    let set = reachable(&opened(&["/usr/lib/other"]), &tree);
    assert_eq!(of(&set, &converters), [""; 0]);
}

#[test]
fn providers_engines_and_configuration_come_with_the_library_that_says_where_they_lie() {
    let object = library(&[]);
    let tree = MemoryTree::new()
        .file("/opt/tls/lib/libcrypto.so.3", 0o644, library(&["OPENSSLDIR: \"/opt/tls/own\""]))
        .file("/opt/tls/lib/ossl-modules/legacy.so", 0o644, &object)
        .file("/opt/tls/lib/ossl-modules/fips.so", 0o644, &object)
        .file("/opt/tls/lib/engines-3/afalg.so", 0o644, &object)
        .symlink("/opt/tls/own/openssl.cnf", "/etc/real.cnf")
        .file("/etc/real.cnf", 0o644, "x")
        .file("/etc/ssl/openssl.cnf", 0o644, "another library's");
    let set = reachable(&opened(&["/opt/tls/lib/libcrypto.so.3"]), &tree);
    for path in ["/opt/tls/lib/ossl-modules/legacy.so", "/opt/tls/lib/engines-3/afalg.so", "/etc/real.cnf"] {
        assert!(has(&set, path), "{path}");
    }
    assert_eq!(of(&set, &["/opt/tls/lib/ossl-modules/fips.so", "/etc/ssl/openssl.cnf"]), [""; 0]);
    let certified = tree.file("/opt/tls/own/fipsmodule.cnf", 0o644, "x");
    let set = reachable(&opened(&["/opt/tls/lib/libcrypto.so.3"]), &certified);
    assert!(has(&set, "/opt/tls/lib/ossl-modules/fips.so"));
}

#[test]
fn a_library_that_opens_others_says_which_in_its_constants() {
    let needed = ["libneed.so.1", "libfound.so.2", "libnowhere.so", "text that names libtext.so"];
    let object = library(&[]);
    let mut tree = MemoryTree::new().file("/usr/lib/libopens.so", 0o644, opener(&needed)).file(
        "/usr/lib/libsilent.so",
        0o644,
        library(&["libunwanted.so"]),
    );
    for name in ["libfound.so.2", "libtext.so", "libunwanted.so"] {
        tree = tree.file(format!("/usr/lib/{name}").as_str(), 0o644, &object);
    }
    let set = reachable(&opened(&["/usr/lib/libopens.so", "/usr/lib/libsilent.so"]), &tree);
    assert!(has(&set, "/usr/lib/libfound.so.2"));
    assert_eq!(of(&set, &["/usr/lib/libtext.so", "/usr/lib/libunwanted.so"]), [""; 0]);
    let remarks = set.notes.iter().filter(|note| !matches!(note, Note::Application { .. })).count();
    assert_eq!(remarks, 0, "what is not in the image is no remark: {:?}", notes(&set));
}

#[test]
fn a_note_names_what_is_opened_and_the_first_that_is_there_is_kept() {
    let json = r#"[{\\\"feature\\\":\\\"a\\\",\\\"priority\\\":\\\"recommended\\\",\\\"soname\\\":[\\\"libnone.so.9\\\",\\\"libfirst.so.2\\\",\\\"libsecond.so.1\\\"]},{\\\"priority\\\":\\\"suggested\\\",\\\"soname\\\":[\\\"libsuggested.so\\\"]}]"#;
    let code = format!(
        "__asm__(\".section .note.dlopen,\\\"a\\\",%note\\n.balign 4\\n.long 4\\n.long 2f-1f\\n.long 0x407c0c0a\\n\
         .asciz \\\"FDO\\\"\\n1: .asciz \\\"{json}\\\"\\n2: .balign 4\\n.previous\\n\");"
    );
    let object = library(&[]);
    let mut tree =
        MemoryTree::new().file("/usr/lib/libnoted.so", 0o644, compile(&code, &["-shared", "-fPIC"]));
    for name in ["libfirst.so.2", "libsecond.so.1", "libsuggested.so"] {
        tree = tree.file(format!("/usr/lib/{name}").as_str(), 0o644, &object);
    }
    let set = reachable(&opened(&["/usr/lib/libnoted.so"]), &tree);
    assert!(has(&set, "/usr/lib/libfirst.so.2"));
    assert_eq!(of(&set, &["/usr/lib/libsecond.so.1", "/usr/lib/libsuggested.so"]), [""; 0]);
}

#[test]
fn libraries_with_a_directory_of_plugins_bring_it() {
    let object = library(&[]);
    let mut tree = MemoryTree::new()
        .file("/etc/sasl2/app.conf", 0o644, "x")
        .file("/etc/krb5.conf", 0o644, "x")
        .file("/usr/share/icu/72.1/icudt72l.dat", 0o644, "x")
        .file("/usr/share/icu/72.1/install-sh", 0o755, "x");
    for name in
        ["libsasl2.so.2", "libkrb5.so.3", "libicuuc.so.72", "sasl2/libplain.so", "krb5/plugins/a/spake.so"]
    {
        tree = tree.file(format!("/usr/lib/{name}").as_str(), 0o644, &object);
    }
    let family = [
        "/usr/lib/sasl2/libplain.so",
        "/etc/sasl2/app.conf",
        "/usr/lib/krb5/plugins/a/spake.so",
        "/etc/krb5.conf",
    ];
    let set = reachable(&opened(&["/usr/lib/libsasl2.so.2"]), &tree);
    assert_eq!(of(&set, &family), family[..2]);
    let set = reachable(&opened(&["/usr/lib/libkrb5.so.3"]), &tree);
    assert_eq!(of(&set, &family), family[2..]);
    let set = reachable(&opened(&["/usr/lib/libicuuc.so.72"]), &tree);
    assert_eq!(
        of(&set, &["/usr/share/icu/72.1/icudt72l.dat", "/usr/share/icu/72.1/install-sh"]),
        ["/usr/share/icu/72.1/icudt72l.dat"]
    );
}

/// A program with coders of pictures, one of them opened, and a configuration.
fn coders(configuration: &str) -> MemoryTree {
    let object = library(&[]);
    let mut tree = MemoryTree::new()
        .file("/etc/program.conf", 0o644, configuration)
        .file("/usr/lib/program/coders/README", 0o644, "x")
        .file("/usr/lib/program/coders/gif.la", 0o644, "x");
    for name in ["png.so", "gif.so", "tiff.so"] {
        tree = tree.file(format!("/usr/lib/program/coders/{name}").as_str(), 0o644, &object);
    }
    tree
}

const CODERS: [&str; 4] = [
    "/usr/lib/program/coders/gif.la",
    "/usr/lib/program/coders/gif.so",
    "/usr/lib/program/coders/tiff.so",
    "/usr/lib/program/coders/README",
];

#[test]
fn siblings_of_an_object_under_a_name_that_the_program_made_up_are_kept() {
    let trace = opened(&["/etc/program.conf", "/usr/lib/program/coders/png.so"]);
    let set = reachable(&trace, &coders("formats = png gif\n"));
    assert_eq!(of(&set, &CODERS), CODERS[..3]);
}

#[test]
fn siblings_of_an_object_that_a_text_names_stay_out() {
    let trace = opened(&["/etc/program.conf", "/usr/lib/program/coders/png.so"]);
    let set = reachable(&trace, &coders("load_module coders/png.so;\n"));
    assert_eq!(of(&set, &CODERS), [""; 0]);
    let mut trace = opened(&["/usr/lib/program/coders/png.so"]);
    trace.0.processes[0].argv.push("--coder=/usr/lib/program/coders/png.so".to_owned());
    assert_eq!(of(&reachable(&trace, &coders("")), &CODERS), [""; 0]);
    let trace = opened(&["/usr/lib/program/coders/png.so"]);
    assert_eq!(of(&reachable_with(&trace, &coders(""), &["CODER=png.so"]), &CODERS), [""; 0]);
}

#[test]
fn what_another_file_needs_by_name_is_no_plugin() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("libown.so"), library(&[])).unwrap();
    let path = folder.path().join("libown.so");
    let needs = compile("", &["-shared", "-fPIC", "-Wl,--no-as-needed", path.to_str().unwrap()]);
    let needs = String::from_utf8_lossy(&needs).contains("libown.so").then_some(needs).unwrap();
    let tree = MemoryTree::new()
        .file("/opt/program/lib/libown.so", 0o644, library(&[]))
        .file("/opt/program/lib/libsibling.so", 0o644, library(&[]))
        .file("/usr/lib/libneeds.so", 0o644, needs);
    let set = reachable(&opened(&["/opt/program/lib/libown.so", "/usr/lib/libneeds.so"]), &tree);
    assert!(!has(&set, "/opt/program/lib/libsibling.so"));
}

#[test]
fn a_large_directory_of_plugins_is_a_remark() {
    let tree = coders("").file("/usr/lib/program/coders/huge.so", 0o644, vec![0; 25 << 20]);
    let set = reachable(&opened(&["/usr/lib/program/coders/png.so"]), &tree);
    assert_eq!(of(&set, &CODERS), [""; 0]);
    assert!(notes(&set)[0].contains("/usr/lib/program/coders holds 26 MB of plug-ins"), "{:?}", notes(&set));
}

#[test]
fn a_plugin_that_needs_much_more_than_its_siblings_is_a_remark() {
    let mut huge = library(&[]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("libhuge.so");
    std::fs::write(&path, &huge).unwrap();
    huge.resize(9 << 20, 0);
    let place = format!("-L{}", folder.path().display());
    let heavy = compile("", &["-shared", "-fPIC", "-Wl,--no-as-needed", &place, "-l:libhuge.so"]);
    let tree = coders("").file("/usr/lib/program/coders/svg.so", 0o644, heavy).file(
        "/usr/lib/libhuge.so",
        0o644,
        huge,
    );
    let set = reachable(&opened(&["/usr/lib/program/coders/png.so"]), &tree);
    assert_eq!(of(&set, &CODERS), CODERS[..3]);
    assert_eq!(of(&set, &["/usr/lib/program/coders/svg.so", "/usr/lib/libhuge.so"]), [""; 0]);
    assert!(notes(&set)[0].contains("/usr/lib/program/coders/svg.so"), "{:?}", notes(&set));
    let seen = opened(&["/usr/lib/program/coders/png.so", "/usr/lib/libhuge.so"]);
    assert!(has(&reachable(&seen, &tree), "/usr/lib/program/coders/svg.so"), "what it needs is there");
}

#[test]
fn the_locale_that_the_environment_names_is_kept_without_the_others() {
    let tree = MemoryTree::new()
        .file("/usr/lib/libc.so.6", 0o644, library(&[]))
        .file("/usr/lib/locale/de_DE.utf8/LC_CTYPE", 0o644, "x")
        .file("/usr/lib/locale/fr_FR.utf8/LC_CTYPE", 0o644, "x")
        .file("/usr/lib/locale/locale-archive", 0o644, "x")
        .file("/usr/share/locale/locale.alias", 0o644, "x");
    let locales = [
        "/usr/lib/locale/de_DE.utf8/LC_CTYPE",
        "/usr/lib/locale/fr_FR.utf8/LC_CTYPE",
        "/usr/lib/locale/locale-archive",
    ];
    let trace = opened(&["/usr/lib/libc.so.6"]);
    let of_environment = |environment: &str| of(&reachable_with(&trace, &tree, &[environment]), &locales);
    assert_eq!(of_environment("LANG=de_DE.UTF-8"), locales[..1]);
    assert_eq!(of_environment("LC_ALL=en_US.UTF-8"), locales[2..], "it may be in the archive");
    assert_eq!(of_environment("LANG=C"), [""; 0]);
    assert_eq!(of_environment("LANG=../fr_FR.utf8"), [""; 0]);
}

#[test]
fn an_archive_of_all_locales_is_a_remark() {
    let tree = MemoryTree::new().file("/usr/lib/libc.so.6", 0o644, library(&[])).file(
        "/usr/lib/locale/locale-archive",
        0o644,
        vec![0; 17 << 20],
    );
    let set = reachable_with(&opened(&["/usr/lib/libc.so.6"]), &tree, &["LANG=de_DE.UTF-8"]);
    assert!(!has(&set, "/usr/lib/locale/locale-archive"));
    assert!(notes(&set)[0].contains("LANG=de_DE.UTF-8 may be one of them"), "{:?}", notes(&set));
}

/// As the real one, it can be run.
fn c_library() -> Vec<u8> {
    let constants = ["/usr/share/zoneinfo", "/usr/share/zoneinfo/more"];
    let interpreter = "__attribute__((section(\".interp\"))) const char interpreter[] = \"/lib/ld.so\";";
    compile(&format!("{}{interpreter}", holding(&constants)), &["-shared", "-fPIC", "-Wl,-soname,libc.so.6"])
}

fn zones() -> MemoryTree {
    MemoryTree::new()
        .file("/usr/lib/libc.so.6", 0o755, c_library())
        .file("/usr/share/zoneinfo/Etc/UTC", 0o644, "x")
        .file("/usr/share/zoneinfo/Europe/Berlin", 0o644, "x")
        .file("/usr/share/zoneinfo/Europe/Paris", 0o644, "x")
        .file("/usr/share/zoneinfo/right/Europe/Paris", 0o644, "x")
        .symlink("/etc/localtime", "/usr/share/zoneinfo/Etc/UTC")
}

const ZONES: [&str; 4] = [
    "/usr/share/zoneinfo/Etc/UTC",
    "/usr/share/zoneinfo/Europe/Berlin",
    "/usr/share/zoneinfo/Europe/Paris",
    "/usr/share/zoneinfo/right/Europe/Paris",
];

#[test]
fn the_local_zone_and_that_of_the_environment_are_kept_without_the_others() {
    let trace = opened(&["/usr/lib/libc.so.6"]);
    assert_eq!(of(&reachable(&trace, &zones()), &ZONES), ZONES[..1]);
    assert_eq!(of(&reachable_with(&trace, &zones(), &["TZ=:Europe/Berlin"]), &ZONES), ZONES[..2]);
    assert_eq!(of(&reachable_with(&trace, &zones(), &["TZ=CET-1CEST"]), &ZONES), ZONES[..1]);
}

#[test]
fn a_program_that_was_seen_to_take_a_zone_by_name_gets_all() {
    let trace = opened(&["/usr/lib/libc.so.6", "/usr/share/zoneinfo/Europe/Paris"]);
    assert_eq!(of(&reachable(&trace, &zones()), &ZONES), ZONES[..3]);
    let trace = opened(&["/usr/lib/libc.so.6", "/usr/share/zoneinfo/Etc/UTC"]);
    assert_eq!(of(&reachable(&trace, &zones()), &ZONES), ZONES[..1], "that is the local one");
    let set =
        reachable_with(&opened(&["/usr/share/zoneinfo/Europe/Berlin"]), &zones(), &["TZ=Europe/Berlin"]);
    assert_eq!(of(&set, &ZONES), ZONES[1..2]);
}

#[test]
fn a_static_program_whose_constants_show_it_gets_zones_and_nothing_else() {
    let rust = static_program(&["/usr/share/zoneinfo/usr/lib/zoneinfo"], "");
    let of_c = static_program(&["/usr/share/zoneinfo"], "");
    for (program, expected) in [(rust, &ZONES[..3]), (of_c, &ZONES[..1])] {
        let tree = zones().file("/server", 0o755, program).file("/etc/nsswitch.conf", 0o644, "hosts: dns\n");
        let set = reachable(&opened(&["/server"]), &tree);
        assert_eq!(of(&set, &ZONES), expected);
        assert!(!has(&set, "/usr/lib/libc.so.6"));
    }
}

#[test]
fn a_dynamic_program_that_names_the_zones_gets_them_unless_it_has_its_own() {
    let by_name = dynamic_program(&["/usr/share/zoneinfo"]);
    let with_icu = dynamic_program(&["/usr/share/zoneinfo", "ICU_TIMEZONE_FILES_DIR"]);
    for (program, expected) in [(by_name, &ZONES[..3]), (with_icu, &ZONES[..1])] {
        let tree = zones().file("/server", 0o755, program);
        assert_eq!(of(&reachable(&opened(&["/server", "/usr/lib/libc.so.6"]), &tree), &ZONES), expected);
    }
}

#[test]
fn a_program_in_go_gets_zones_where_it_calls_for_them() {
    let section = |name: &str, text: &str| {
        format!(
            "__attribute__((section(\"{name}\"))) const char section_{}[] = \"{text}\";",
            name.replace('.', "_")
        )
    };
    for (function, expected) in
        [("time.LoadLocation", &ZONES[..3]), ("time.LoadLocationFromTZData", &ZONES[..1])]
    {
        let more = section(".go.buildinfo", "x") + &section(".gopclntab", &format!("a\\0{function}\\0b"));
        let program = static_program(&["...../usr/share/zoneinfo/....."], &more);
        let set = reachable(&opened(&["/server"]), &zones().file("/server", 0o755, program));
        assert_eq!(of(&set, &ZONES), expected, "{function}");
    }
}

#[test]
fn hashed_certificates_are_kept_where_the_library_has_no_bundle() {
    let crypto = library(&["OPENSSLDIR: \"/usr/lib/ssl\""]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("libcrypto.so.3");
    std::fs::write(&path, &crypto).unwrap();
    let ssl = compile(
        "",
        &[
            "-shared",
            "-fPIC",
            "-Wl,--no-as-needed",
            &format!("-L{}", folder.path().display()),
            "-l:libcrypto.so.3",
        ],
    );
    let tree = MemoryTree::new()
        .file("/usr/lib/libcrypto.so.3", 0o644, crypto)
        .file("/usr/lib/libssl.so.3", 0o644, ssl)
        .symlink("/usr/lib/ssl/certs", "/etc/ssl/certs")
        .symlink("/etc/ssl/certs/5ad8a5d6.0", "Root.pem")
        .symlink("/etc/ssl/certs/Root.pem", "/usr/share/ca-certificates/Root.crt")
        .file("/usr/share/ca-certificates/Root.crt", 0o644, "x")
        .file("/usr/share/ca-certificates/Unused.crt", 0o644, "x");
    let places = [
        "/etc/ssl/certs/5ad8a5d6.0",
        "/usr/share/ca-certificates/Root.crt",
        "/usr/share/ca-certificates/Unused.crt",
    ];
    let trace = opened(&["/usr/lib/libssl.so.3"]);
    let set = reachable(&trace, &tree);
    assert_eq!(of(&set, &places), places[..2]);
    assert!(has(&set, "/usr/lib/ssl/certs"));
    let with_bundle = tree.symlink("/usr/lib/ssl/cert.pem", "/etc/bundle").file("/etc/bundle", 0o644, "x");
    let set = reachable(&trace, &with_bundle);
    assert_eq!(of(&set, &places), [""; 0]);
    assert!(has(&set, "/etc/bundle"));
}

#[test]
fn certificates_that_the_environment_names_are_kept() {
    let tree = MemoryTree::new()
        .file("/usr/lib/liba.so", 0o644, library(&[]))
        .file("/srv/authority.pem", 0o644, "x")
        .file("/srv/more/a.pem", 0o644, "x")
        .file("/usr/bin/tool", 0o755, "x");
    let environment = ["NODE_EXTRA_CA_CERTS=/srv/authority.pem", "SSL_CERT_DIR=/srv/more:/usr/bin"];
    let set = reachable_with(&opened(&["/usr/lib/liba.so"]), &tree, &environment);
    assert_eq!(
        of(&set, &["/srv/authority.pem", "/srv/more/a.pem", "/usr/bin/tool"]),
        ["/srv/authority.pem", "/srv/more/a.pem"]
    );
}

#[test]
fn a_static_program_gets_single_certificates_only_where_there_is_no_bundle() {
    let program = static_program(&["/etc/ssl/certs/ca-certificates.crt/etc/pki"], "");
    let tree = MemoryTree::new().file("/server", 0o755, program).file("/etc/ssl/certs/Root.pem", 0o644, "x");
    assert!(has(&reachable(&opened(&["/server"]), &tree), "/etc/ssl/certs/Root.pem"));
    let tree = tree.file("/etc/ssl/certs/ca-certificates.crt", 0o644, "x");
    let set = reachable(&opened(&["/server"]), &tree);
    assert_eq!(
        of(&set, &["/etc/ssl/certs/Root.pem", "/etc/ssl/certs/ca-certificates.crt"]),
        ["/etc/ssl/certs/ca-certificates.crt"]
    );
}

#[test]
fn common_terminals_and_that_of_the_environment_come_with_the_library() {
    let tree = MemoryTree::new()
        .file("/usr/lib/libtinfo.so.6", 0o644, library(&[]))
        .file("/usr/lib/terminfo/x/xterm", 0o644, "x")
        .file("/usr/share/terminfo/r/rxvt", 0o644, "x")
        .file("/usr/share/terminfo/w/wyse50", 0o644, "x");
    let terminals =
        ["/usr/lib/terminfo/x/xterm", "/usr/share/terminfo/r/rxvt", "/usr/share/terminfo/w/wyse50"];
    let set = reachable_with(&opened(&["/usr/lib/libtinfo.so.6"]), &tree, &["TERM=rxvt"]);
    assert_eq!(of(&set, &terminals), terminals[..2]);
    assert_eq!(of(&reachable(&opened(&["/usr/lib/other"]), &tree), &terminals), [""; 0]);
}

/// Parts of this machine with its C library and OpenSSL.
const OF_THE_MACHINE: [&str; 9] = [
    "/etc/ld.so.cache",
    "/etc/nsswitch.conf",
    "/etc/pam.d",
    "/etc/ssl",
    "/lib",
    "/lib64",
    "/usr/bin/openssl",
    "/usr/lib/ssl",
    "/usr/lib/x86_64-linux-gnu",
];

#[test]
fn what_this_machines_own_libraries_open_is_kept_and_stays_small() {
    let tree = DirectoryTree::parts(Path::new("/"), &OF_THE_MACHINE);
    let library = "/usr/lib/x86_64-linux-gnu/libcrypto.so.3";
    if tree.entry(&library.into()).is_none()
        || tree.entry(&"/usr/lib/x86_64-linux-gnu/libpam.so.0".into()).is_none()
    {
        return;
    }
    let trace = Traced::new()
        .process("/usr/bin/openssl")
        .touch("/usr/bin/openssl", &[Access::Execute])
        .open(library)
        .open("/usr/lib/x86_64-linux-gnu/libpam.so.0");
    let observed = kept_with(&trace, &tree, &Config::default(), &Settings::default());
    let set = reachable(&trace, &tree);
    for path in [
        "/usr/lib/x86_64-linux-gnu/ossl-modules/legacy.so",
        "/usr/lib/x86_64-linux-gnu/security/pam_unix.so",
        "/usr/lib/x86_64-linux-gnu/libgcc_s.so.1",
        "/etc/ssl/openssl.cnf",
        "/etc/pam.d/other",
    ] {
        assert!(has(&set, path), "{path}");
    }
    assert!(!has(&set, "/usr/lib/x86_64-linux-gnu/libunistring.so.2"));
    let (more, less) = (set.figures().bytes, observed.figures().bytes);
    assert!(more - less < 4_000_000, "{less} grew to {more}");
}
