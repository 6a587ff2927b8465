//! Who owns a file, compared with what the package manager of this machine says itself.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod support;

use slim_image::ImageTree as _;
use slim_keep::Packages;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use support::DirectoryTree;

/// Paths as dpkg names them, each with its package; diverted ones left out.
fn dpkg_says() -> Option<BTreeMap<String, String>> {
    let output = Command::new("dpkg-query").args(["--search", "*bin/*"]).output().ok()?;
    let lines = String::from_utf8(output.stdout).unwrap();
    let owners = lines.lines().filter_map(|line| line.split_once(": "));
    let single = owners.filter(|(package, _)| !package.contains(", ") && !package.starts_with("diversion"));
    Some(single.map(|(package, path)| (path.to_owned(), package.to_owned())).collect())
}

#[test]
fn programs_have_the_owner_that_dpkg_says() {
    let Some(owners) = dpkg_says() else {
        eprintln!("skipped: this machine has no dpkg");
        return;
    };
    let parts = ["/bin", "/sbin", "/usr/bin", "/usr/sbin", "/var/lib/dpkg"];
    let tree = DirectoryTree::parts(Path::new("/"), &parts);
    let packages = Packages::read(&tree).unwrap();
    let mut compared = 0;
    for (path, package) in owners {
        let merged = if tree.entry(&path.as_str().into()).is_some() { path } else { format!("/usr{path}") };
        let merged = merged.as_str().into();
        if tree.entry(&merged).is_none_or(|entry| entry.is_directory()) {
            continue;
        }
        let owner = packages.owner(&merged).unwrap_or_else(|| panic!("{merged} is of {package}"));
        assert_eq!(owner.name.split(':').next(), package.split(':').next(), "{merged}");
        assert!(owner.version.is_some(), "{owner}");
        compared += 1;
    }
    assert!(compared > 50, "{compared}");
    assert!(packages.unread().is_empty(), "{:?}", packages.unread());
}
