//! Flags about files → settings of slim-keep.

use super::files::lines;
use crate::arguments::{KeepArguments, KeepLevel};
use crate::failure::Failure;
use slim_image::ImagePath;
use slim_keep::{Certificates, Level, Permissions, Settings};
use std::collections::BTreeMap;

/// Where programs leave lock files.
const LOCK_FILES: [&str; 2] = ["/run/lock/**", "/var/lock/**"];

/// What to keep beyond the observed.
///
/// # Errors
/// What is wrong with a flag, or a file of them.
pub fn settings(arguments: &KeepArguments) -> Result<Settings, Failure> {
    let mut permissions = BTreeMap::new();
    let mut paths =
        |flag, values: &[String], file| paths(flag, &lines(values, flag, file)?, &mut permissions);
    let include_path =
        paths("--include-path", &arguments.include_path, arguments.include_path_file.as_deref())?;
    let preserve_path =
        paths("--preserve-path", &arguments.preserve_path, arguments.preserve_path_file.as_deref())?;
    let include_bin = paths("--include-bin", &arguments.include_bin, arguments.include_bin_file.as_deref())?;
    let include_dir_bins = paths("--include-dir-bins", &arguments.include_dir_bins, None)?;
    let wanted = lines(&arguments.path_perms, "--path-perms", arguments.path_perms_file.as_deref())?;
    for text in wanted {
        let (path, given) = split(&text).ok_or_else(|| {
            Failure::usage(format!("understand --path-perms {text}: the form is PATH:MODE[#UID[#GID]]"))
        })?;
        permissions.insert(image_path("--path-perms", path)?, given);
    }
    let mut exclude_pattern = arguments.exclude_pattern.clone();
    if arguments.exclude_varlock_files {
        exclude_pattern.extend(LOCK_FILES.map(str::to_owned));
    }
    Ok(Settings {
        level: level(arguments.keep),
        base_layers: arguments.base_layers,
        include_path,
        preserve_path,
        include_bin,
        include_exe: lines(&arguments.include_exe, "--include-exe", arguments.include_exe_file.as_deref())?,
        include_dir_bins,
        include_shell: arguments.include_shell,
        include_workdir: arguments.include_workdir,
        include_zoneinfo: arguments.include_zoneinfo,
        include_distro_info: arguments.include_distro_info,
        certificates: certificates(arguments),
        without_healthcheck: !arguments.include_healthcheck,
        without_name_services: !arguments.include_oslibs_net,
        permissions,
        exclude_pattern,
    })
}

/// What is kept where no flag says anything.
pub fn usual() -> Settings {
    Settings { level: Level::Reachable, ..Settings::default() }
}

fn level(level: KeepLevel) -> Level {
    match level {
        KeepLevel::Observed => Level::Observed,
        KeepLevel::Reachable => Level::Reachable,
        KeepLevel::Package => Level::Package,
    }
}

fn certificates(arguments: &KeepArguments) -> Certificates {
    let all = arguments.include_cert_all;
    Certificates {
        bundles: all != Some(false) || arguments.include_cert_bundles_only,
        directories: all == Some(true) || arguments.include_cert_dirs,
        sources: all == Some(true),
        key_directories: arguments.include_cert_pk_dirs || arguments.include_cert_pk_all,
        authority_keys: arguments.include_cert_pk_all,
    }
}

/// Paths, each with permissions behind it or without.
fn paths(
    flag: &str,
    texts: &[String],
    permissions: &mut BTreeMap<ImagePath, Permissions>,
) -> Result<Vec<ImagePath>, Failure> {
    let mut paths = Vec::new();
    for text in texts {
        let path = match split(text) {
            Some((path, given)) => {
                let path = image_path(flag, path)?;
                permissions.insert(path.clone(), given);
                path
            }
            None => image_path(flag, text)?,
        };
        paths.push(path);
    }
    Ok(paths)
}

fn image_path(flag: &str, text: &str) -> Result<ImagePath, Failure> {
    if text.starts_with('/') {
        Ok(ImagePath::new(text))
    } else {
        Err(Failure::usage(format!("understand {flag} {text}: paths in the image begin with /")))
    }
}

/// Splits `PATH:MODE[#UID[#GID]]`; `None` where no permissions stand behind the path. As in Mint, three digits leave
/// the set-user-id, set-group-id and sticky bits alone.
fn split(text: &str) -> Option<(&str, Permissions)> {
    let (path, words) = text.rsplit_once(':')?;
    let mut words = words.split('#');
    let digits = words.next()?;
    let is_mode =
        (1..=4).contains(&digits.len()) && digits.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
    let mode = u32::from_str_radix(digits, 8).ok().filter(|_| is_mode)?;
    let mut number = || match words.next() {
        None => Some(None),
        Some(word) => word.parse().ok().map(Some),
    };
    let (uid, gid) = (number()?, number()?);
    let is_whole = words.next().is_none();
    is_whole.then_some((path, Permissions { mode, with_special: digits.len() == 4, uid, gid }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_line::tests::build;

    fn of(words: &[&str]) -> Settings {
        settings(&build(words).keep).unwrap()
    }

    fn refusal(words: &[&str]) -> String {
        settings(&build(words).keep).unwrap_err().message
    }

    /// What is kept without flags.
    fn default() -> Settings {
        Settings { exclude_pattern: LOCK_FILES.map(str::to_owned).to_vec(), ..usual() }
    }

    #[test]
    fn every_flag_about_files_sets_its_setting() {
        let path = |path: &str| vec![ImagePath::from(path)];
        let certificates = |certificates: Certificates| Settings { certificates, ..default() };
        let standard = Certificates::default;
        let patterns = |patterns: &[&str]| patterns.iter().map(|text| (*text).to_owned()).collect();
        for (flag, expected) in [
            ("--quiet", default()),
            ("--keep=observed", Settings { level: Level::Observed, ..default() }),
            ("--keep=reachable", default()),
            ("--keep=package", Settings { level: Level::Package, ..default() }),
            ("--base-layers=3", Settings { base_layers: Some(3), ..default() }),
            ("--include-path=/a", Settings { include_path: path("/a"), ..default() }),
            ("--preserve-path=/a", Settings { preserve_path: path("/a"), ..default() }),
            ("--include-bin=/a", Settings { include_bin: path("/a"), ..default() }),
            ("--include-dir-bins=/a", Settings { include_dir_bins: path("/a"), ..default() }),
            ("--include-exe=a", Settings { include_exe: vec!["a".to_owned()], ..default() }),
            ("--include-shell", Settings { include_shell: true, ..default() }),
            ("--include-workdir", Settings { include_workdir: true, ..default() }),
            ("--include-oslibs-net=false", Settings { without_name_services: true, ..default() }),
            ("--include-healthcheck=false", Settings { without_healthcheck: true, ..default() }),
            ("--include-distro-info", Settings { include_distro_info: true, ..default() }),
            ("--include-zoneinfo", Settings { include_zoneinfo: true, ..default() }),
            (
                "--include-cert-all",
                certificates(Certificates { directories: true, sources: true, ..standard() }),
            ),
            ("--include-cert-all=false", certificates(Certificates { bundles: false, ..standard() })),
            ("--include-cert-bundles-only", default()),
            ("--include-cert-dirs", certificates(Certificates { directories: true, ..standard() })),
            (
                "--include-cert-pk-all",
                certificates(Certificates { key_directories: true, authority_keys: true, ..standard() }),
            ),
            ("--include-cert-pk-dirs", certificates(Certificates { key_directories: true, ..standard() })),
            (
                "--exclude-pattern=/a/**",
                Settings { exclude_pattern: patterns(&["/a/**", LOCK_FILES[0], LOCK_FILES[1]]), ..default() },
            ),
            ("--exclude-varlock-files=false", Settings { exclude_pattern: Vec::new(), ..default() }),
        ] {
            assert_eq!(of(&[flag]), expected, "{flag}");
        }
        let words = ["--include-cert-all=false", "--include-cert-bundles-only"];
        assert_eq!(of(&words), default());
    }

    #[test]
    fn every_list_may_stand_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list");
        std::fs::write(&path, "# a comment\n\n  /b  \n/c:640#1#2\n").unwrap();
        let file = |flag: &str| format!("--{flag}-file={}", path.display());
        let paths = |texts: &[&str]| texts.iter().map(|text| ImagePath::from(*text)).collect::<Vec<_>>();
        assert_eq!(
            of(&["--include-path=/a", &file("include-path")]).include_path,
            paths(&["/a", "/b", "/c"])
        );
        assert_eq!(of(&[&file("preserve-path")]).preserve_path, paths(&["/b", "/c"]));
        assert_eq!(of(&[&file("include-bin")]).include_bin, paths(&["/b", "/c"]));
        assert_eq!(of(&[&file("include-exe")]).include_exe, ["/b", "/c:640#1#2"]);
        let wanted = Permissions { mode: 0o640, with_special: false, uid: Some(1), gid: Some(2) };
        assert_eq!(of(&[&file("include-path")]).permissions, BTreeMap::from([("/c".into(), wanted)]));
        std::fs::write(&path, "/d:1777#5\n").unwrap();
        let wanted = Permissions { mode: 0o1777, with_special: true, uid: Some(5), gid: None };
        assert_eq!(of(&[&file("path-perms")]).permissions, BTreeMap::from([("/d".into(), wanted)]));
        assert!(refusal(&["--include-exe-file=/none"]).contains("/none"));
    }

    #[test]
    fn permissions_need_their_form_and_a_path_may_hold_colons() {
        assert_eq!(of(&["--include-path=/a:b"]).include_path, [ImagePath::from("/a:b")]);
        let wanted = Permissions { mode: 0o755, ..Permissions::default() };
        assert_eq!(of(&["--path-perms=/a:b:755"]).permissions, BTreeMap::from([("/a:b".into(), wanted)]));
        for text in ["/a", "/a:", "/a:888", "/a:755#x", "/a:755#1#2#3", "/a:77777"] {
            assert!(refusal(&["--path-perms", text]).contains(text), "{text}");
        }
        assert!(refusal(&["--path-perms=a:755"]).contains("begin with /"));
        assert!(refusal(&["--include-path=a"]).contains("--include-path a"));
    }
}
