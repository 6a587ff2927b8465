use super::super::Packages;
use super::{header::Header, sqlite};
use proptest::prelude::*;
use slim_image::MemoryTree;

/// Written by rpm 4.18: `alpha`, whose header runs over to further pages, and `beta`. Tables of indices were dropped.
const DATABASE: &[u8] = include_bytes!("../../../tests/fixtures/rpmdb.sqlite");
const PLACE: &str = "/usr/lib/sysimage/rpm/rpmdb.sqlite";

fn image() -> MemoryTree {
    MemoryTree::new()
        .file(PLACE, 0o644, DATABASE)
        .file("/usr/bin/alpha", 0o755, "x")
        .file("/usr/share/alpha/a-file-with-a-name-that-is-long-60", 0o644, "x")
        .file("/etc/alpha.conf", 0o644, "x")
        .file("/usr/bin/beta", 0o755, "x")
        .file("/usr/bin/own", 0o755, "x")
}

#[test]
fn rpm_owns_what_the_headers_of_its_database_list() {
    let packages = Packages::read(&image()).unwrap();
    let owner = |path: &str| packages.owner(&path.into()).map(ToString::to_string);
    assert_eq!(owner("/usr/bin/alpha").as_deref(), Some("rpm alpha 2:1.5-3"));
    let last = "/usr/share/alpha/a-file-with-a-name-that-is-long-60";
    assert_eq!(owner(last).as_deref(), Some("rpm alpha 2:1.5-3"));
    assert_eq!(owner("/usr/bin/beta").as_deref(), Some("rpm beta 0.1-3"));
    assert_eq!(owner("/usr/bin/own"), None);
    assert!(packages.is_configuration(&"/etc/alpha.conf".into()));
    assert!(!packages.is_configuration(&"/usr/bin/alpha".into()));
    assert!(packages.unread().is_empty(), "{:?}", packages.unread());
}

#[test]
fn a_database_that_is_not_read_whole_is_told() {
    let told = |tree: MemoryTree| {
        let packages = Packages::read(&tree).unwrap();
        packages
            .unread()
            .iter()
            .map(|unread| format!("{}: {}", unread.record, unread.why))
            .collect::<Vec<_>>()
    };
    let log = "/usr/lib/sysimage/rpm/rpmdb.sqlite-wal";
    let changes = "it holds changes to rpm's database that are not read";
    assert_eq!(told(image().file(log, 0o644, "x")), [format!("{log}: {changes}")]);
    assert!(told(image().file(log, 0o644, "")).is_empty());
    let format = "this format of rpm's database is not read";
    for place in ["/var/lib/rpm/Packages", "/usr/lib/sysimage/rpm/Packages.db"] {
        assert_eq!(told(MemoryTree::new().file(place, 0o644, "x")), [format!("{place}: {format}")]);
    }
    assert_eq!(
        told(MemoryTree::new().file(PLACE, 0o644, "x")),
        [format!("{PLACE}: it is no SQLite database")]
    );
    let half = &DATABASE[..DATABASE.len() / 2];
    assert_eq!(told(MemoryTree::new().file(PLACE, 0o644, half)), [format!("{PLACE}: it is damaged")]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_database_with_any_bytes_changed_is_read_or_refused(
        changes in proptest::collection::vec((0..DATABASE.len(), any::<u8>()), 1..20), near in any::<bool>()
    ) {
        let mut database = DATABASE.to_vec();
        for (place, byte) in changes {
            // Headers of the database and of its pages are where it matters most.
            let place = if near { place / 4096 * 4096 + place % 16 } else { place };
            database[place] = byte;
        }
        let rows = sqlite::blobs(&database, b"Packages").unwrap_or_default();
        prop_assert!(rows.iter().map(Vec::len).sum::<usize>() <= database.len());
        rows.iter().for_each(|row| drop(Header::read(row)));
    }

    #[test]
    fn any_bytes_are_a_header_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let counted = [&[0, 0, 0, 4, 0, 0, 0, 64][..], &bytes].concat();
        for bytes in [&bytes, &counted] {
            drop(Header::read(bytes));
        }
    }
}
