//! The collector and its client over a directory of this machine.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use proptest::prelude::*;
use slim_image::collector::{Client, CollectorError, ServeOptions, serve};
use slim_image::layer::{LayerEntry, write_layer_to};
use slim_image::{ImagePath, ImageTree, Kind, Listing, TreeError};
use std::fs;
use std::io::{self, Cursor, PipeReader, PipeWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

type Server = JoinHandle<Result<(), CollectorError>>;

fn streams(options: ServeOptions) -> (PipeReader, PipeWriter, Server) {
    let (server_input, client_output) = io::pipe().unwrap();
    let (client_input, server_output) = io::pipe().unwrap();
    let server = std::thread::spawn(move || serve(server_input, server_output, &options));
    (client_input, client_output, server)
}

fn connect(root: &Path, cached: Option<Listing>) -> (Client, Server) {
    let (input, output, server) = streams(ServeOptions::below(root));
    (Client::connect(input, output, &[], cached).unwrap(), server)
}

fn put(root: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn read(tree: &dyn ImageTree, path: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    tree.open(&path.into()).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 % 253) as u8).collect()
}

#[test]
fn lists_what_is_there_as_it_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    put(root, "usr/bin/tool", "elf");
    fs::set_permissions(root.join("usr/bin/tool"), PermissionsExt::from_mode(0o4751)).unwrap();
    fs::hard_link(root.join("usr/bin/tool"), root.join("usr/bin/again")).unwrap();
    put(root, "tmp/x", "");
    fs::set_permissions(root.join("tmp"), PermissionsExt::from_mode(0o1777)).unwrap();
    symlink("usr/bin", root.join("bin")).unwrap();
    fs::write(root.join(std::ffi::OsStr::from_bytes(b"odd\xff\n")), "odd").unwrap();
    let (client, server) = connect(root, None);

    let tool = client.entry(&"/usr/bin/tool".into()).unwrap();
    let on_disk = fs::metadata(root.join("usr/bin/tool")).unwrap();
    assert_eq!((tool.mode, tool.size(), tool.mtime), (0o4751, 3, on_disk.mtime()));
    assert_eq!((tool.uid, tool.gid), (on_disk.uid(), on_disk.gid()));
    assert!(tool.hard_link_group.is_some());
    assert_eq!(client.entry(&"/usr/bin/again".into()), Some(tool));
    assert_eq!(client.entry(&"/tmp".into()).unwrap().mode, 0o1777);
    assert_eq!(client.entry(&"/bin".into()).unwrap().kind, Kind::Symlink { target: b"usr/bin".to_vec() });
    assert_eq!(client.read_dir(&ImagePath::root()), [&b"bin"[..], b"odd\xff\n", b"tmp", b"usr"]);
    assert_eq!(client.walk().count(), 9);
    client.finish().unwrap();
    server.join().unwrap().unwrap();
}

#[test]
fn extended_attributes_are_listed_with_their_values() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "a", "1");
    let path = folder.path().join("a");
    let long = pattern(900);
    for (name, value) in [("user.long", &long[..]), ("user.empty", b""), ("user.b", b"2\n\xff")] {
        if rustix::fs::setxattr(&path, name, value, rustix::fs::XattrFlags::empty()).is_err() {
            println!("skipped: the file system of {} has no extended attributes for users", path.display());
            return;
        }
    }
    let (client, _server) = connect(folder.path(), None);
    let xattrs = &client.entry(&"/a".into()).unwrap().xattrs;
    let expected = [("user.b", &b"2\n\xff"[..]), ("user.empty", b""), ("user.long", &long)];
    assert_eq!(xattrs.iter().map(|(name, value)| (name.as_str(), &value[..])).collect::<Vec<_>>(), expected);
}

#[test]
fn what_the_engine_puts_there_and_the_binary_are_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for name in [
        ".dockerenv",
        "run/.containerenv",
        "etc/hosts",
        "etc/hostname",
        "etc/resolv.conf",
        "etc/mtab",
        "proc/1/exe",
        "dev/null",
        "sys/x",
        "etc/passwd",
        "collector",
        "home/etc/hosts",
    ] {
        put(root, name, "x");
    }
    let options = ServeOptions { binary: root.join("collector"), ..ServeOptions::below(root) };
    let (input, output, _server) = streams(options);
    let client = Client::connect(input, output, &[], None).unwrap();
    let paths: Vec<String> = client.walk().map(|(path, _)| path.to_string()).collect();
    assert_eq!(
        paths,
        [
            "/",
            "/dev",
            "/etc",
            "/etc/passwd",
            "/home",
            "/home/etc",
            "/home/etc/hosts",
            "/proc",
            "/run",
            "/sys"
        ]
    );
}

#[test]
fn a_directory_that_the_engine_touches_has_the_time_of_its_newest_entry() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "etc/passwd", "x");
    put(folder.path(), "etc/hosts", "x");
    let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    fs::File::open(folder.path().join("etc/passwd")).unwrap().set_modified(long_ago).unwrap();
    let (client, _server) = connect(folder.path(), None);
    assert_eq!(client.entry(&"/etc".into()).unwrap().mtime, 1_000_000);
    assert_eq!(client.entry(&"/".into()).unwrap().mtime, 1_000_000);
}

#[test]
fn a_name_whose_other_names_are_hidden_stands_alone() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "etc/hosts", "x");
    fs::hard_link(folder.path().join("etc/hosts"), folder.path().join("hosts")).unwrap();
    let (client, _server) = connect(folder.path(), None);
    assert_eq!(client.entry(&"/hosts".into()).unwrap().hard_link_group, None);
}

#[test]
fn contents_arrive_whole_and_from_any_position() {
    let folder = tempfile::tempdir().unwrap();
    let large = pattern(3_500_001);
    put(folder.path(), "large", &large);
    put(folder.path(), "empty", "");
    let (client, _server) = connect(folder.path(), None);
    assert_eq!(read(&client, "/large"), large);
    assert_eq!(read(&client, "/empty"), b"");
    let mut file = client.open(&"/large".into()).unwrap();
    let mut bytes = [0; 100];
    for position in [3_499_901, 0, 65_500, 1_000_000, 64] {
        file.seek(SeekFrom::Start(position)).unwrap();
        file.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes[..], large[position as usize..position as usize + 100]);
    }
    file.seek(SeekFrom::End(5)).unwrap();
    assert_eq!(file.read(&mut bytes).unwrap(), 0);
    assert!(file.seek(SeekFrom::Current(-10_000_000)).is_err());
}

#[test]
fn many_files_arrive_in_the_order_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let sizes: Vec<usize> =
        (0..400).map(|at| if at % 97 == 5 { 1_300_000 } else { at * 131 % 50_000 }).collect();
    for (at, size) in sizes.iter().enumerate() {
        put(folder.path(), &format!("d/{at}"), pattern(*size));
    }
    let (client, _server) = connect(folder.path(), None);
    let paths: Vec<ImagePath> = (0..400).rev().map(|at| ImagePath::new(format!("/d/{at}"))).collect();
    let mut seen = Vec::new();
    client
        .read_each(&paths, &mut |path, contents| {
            let mut bytes = Vec::new();
            contents
                .read_to_end(&mut bytes)
                .map_err(|source| TreeError::Read { path: path.clone(), source })?;
            // Other files can be read meanwhile.
            assert_eq!(read(&client, "/d/1").len(), sizes[1]);
            seen.push((path.clone(), bytes));
            Ok(())
        })
        .unwrap();
    assert_eq!(seen.len(), 400);
    for (at, (path, bytes)) in (0..400).rev().zip(&seen) {
        assert_eq!(*path, ImagePath::new(format!("/d/{at}")));
        assert_eq!(*bytes, pattern(sizes[at]), "{path}");
    }
}

#[test]
fn a_callers_error_stops_the_reading_and_leaves_the_client_usable() {
    let folder = tempfile::tempdir().unwrap();
    for at in 0..10 {
        put(folder.path(), &format!("{at}"), "text");
    }
    let (client, _server) = connect(folder.path(), None);
    let paths: Vec<ImagePath> = (0..10).map(|at| ImagePath::new(format!("/{at}"))).collect();
    let mut calls = 0;
    let result = client.read_each(&paths, &mut |path, _| {
        calls += 1;
        if calls == 3 { Err(TreeError::NotFound(path.clone())) } else { Ok(()) }
    });
    assert!(matches!(result, Err(TreeError::NotFound(_))));
    assert_eq!(calls, 3);
    assert_eq!(read(&client, "/9"), b"text");
}

#[test]
fn a_file_that_is_gone_is_an_error_that_names_it_and_only_it() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "a", "1");
    put(folder.path(), "b", "2");
    let (client, _server) = connect(folder.path(), None);
    fs::remove_file(folder.path().join("a")).unwrap();
    let error = client.read_each(&["/a".into(), "/b".into()], &mut |_, _| Ok(())).unwrap_err();
    let TreeError::Read { path, source } = error else { panic!("{error}") };
    assert_eq!((path.to_string().as_str(), source.raw_os_error()), ("/a", Some(libc::ENOENT)));
    assert_eq!(read(&client, "/b"), b"2");
}

#[test]
fn a_file_that_became_a_link_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "a", "1");
    let (client, _server) = connect(folder.path(), None);
    fs::remove_file(folder.path().join("a")).unwrap();
    symlink("/etc/passwd", folder.path().join("a")).unwrap();
    assert!(client.open(&"/a".into()).unwrap().read_to_end(&mut Vec::new()).is_err());
}

#[test]
fn what_is_no_file_is_not_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    symlink("x", folder.path().join("link")).unwrap();
    let (client, _server) = connect(folder.path(), None);
    assert!(matches!(client.open(&"/link".into()), Err(TreeError::NotAFile(_))));
    assert!(matches!(client.open(&"/none".into()), Err(TreeError::NotFound(_))));
}

#[test]
fn a_cached_listing_is_used_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "a", "1");
    let (client, _server) = connect(folder.path(), None);
    let listing = client.listing().clone();
    put(folder.path(), "b", "2");
    let (client, _server) = connect(folder.path(), Some(listing.clone()));
    assert_eq!(client.listing(), &listing);
    assert_eq!(read(&client, "/a"), b"1");
}

#[test]
fn the_server_ends_when_the_client_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (client, server) = connect(folder.path(), None);
    drop(client);
    server.join().unwrap().unwrap();
}

#[test]
fn a_layer_is_the_same_from_the_collector_twice() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "usr/a", pattern(100_000));
    put(folder.path(), "usr/b", "b");
    fs::hard_link(folder.path().join("usr/a"), folder.path().join("usr/c")).unwrap();
    let digest = || {
        let (client, _server) = connect(folder.path(), None);
        let entries: Vec<LayerEntry> = client
            .walk()
            .map(|(path, entry)| LayerEntry { path: path.clone(), entry: entry.clone() })
            .collect();
        write_layer_to(&client, &entries, io::sink()).unwrap()
    };
    let first = digest();
    put(folder.path(), "etc/hosts", "the engine was here");
    fs::remove_dir_all(folder.path().join("etc")).unwrap();
    assert_eq!(digest(), first);
}

/// What a client writes, kept.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The server's and the client's whole side of a conversation: hello, list, read a file.
fn conversation() -> (Vec<u8>, Vec<u8>) {
    struct Tee<R>(R, Kept);
    impl<R: Read> Read for Tee<R> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let read = self.0.read(buffer)?;
            self.1.write_all(&buffer[..read])?;
            Ok(read)
        }
    }
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "a/b", pattern(1000));
    symlink("b", folder.path().join("a/c")).unwrap();
    let (said, asked) = (Kept::default(), Kept::default());
    let (server_input, client_output) = io::pipe().unwrap();
    let (client_input, server_output) = io::pipe().unwrap();
    let (options, tee) = (ServeOptions::below(folder.path()), Tee(server_input, asked.clone()));
    let server = std::thread::spawn(move || serve(tee, server_output, &options));
    let client = Client::connect(Tee(client_input, said.clone()), client_output, &[], None).unwrap();
    assert_eq!(read(&client, "/a/b").len(), 1000);
    client.finish().unwrap();
    server.join().unwrap().unwrap();
    let taken = |kept: Kept| kept.0.lock().unwrap().clone();
    (taken(said), taken(asked))
}

fn replay(said: &[u8]) -> Result<(), String> {
    let client = Client::connect(Cursor::new(said.to_vec()), io::sink(), &[], None)
        .map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    let mut file = client.open(&"/a/b".into()).map_err(|error| error.to_string())?;
    file.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    drop(file);
    assert_eq!(bytes, pattern(1000), "what arrives is right or an error");
    client.finish().map_err(|error| error.to_string())
}

#[test]
fn another_version_is_named() {
    // The frame's checksum covers the payload, so the other version has to be framed anew.
    let payload = br#"{"protocol":"docker-slim-collector","version":9}"#;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(b"H");
    hasher.update(payload);
    let mut frame = vec![b'H'];
    frame.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    frame.extend_from_slice(&hasher.finalize().to_le_bytes());
    frame.extend_from_slice(payload);
    let error = Client::connect(Cursor::new(frame.clone()), io::sink(), &[], None).unwrap_err();
    assert!(matches!(error, CollectorError::OtherVersion { version: 9, .. }), "{error}");
    let error = serve(&frame[..], io::sink(), &ServeOptions::below("/nonexistent")).unwrap_err();
    assert!(matches!(error, CollectorError::OtherVersion { version: 9, .. }), "{error}");
}

#[test]
fn a_client_that_failed_stays_failed() {
    let (said, _) = conversation();
    let end = said.len() - 40;
    let client = Client::connect(Cursor::new(said[..end].to_vec()), io::sink(), &[], None).unwrap();
    for _ in 0..2 {
        assert!(client.open(&"/a/b".into()).unwrap().read_to_end(&mut Vec::new()).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn a_damaged_collector_gives_errors_never_wrong_files(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 1..4),
        end in any::<prop::sample::Index>(),
        cut: bool,
    ) {
        let (said, _) = CONVERSATION.clone();
        let mut damaged = said.clone();
        if cut {
            damaged.truncate(end.index(said.len()));
        } else {
            for (at, change) in changes {
                let at = at.index(damaged.len());
                damaged[at] ^= change;
            }
        }
        prop_assert!(damaged == said || replay(&damaged).is_err());
    }

    #[test]
    fn a_damaged_client_ends_the_server_with_an_error(
        at in any::<prop::sample::Index>(), change in 1..=255_u8,
    ) {
        let (_, mut asked) = CONVERSATION.clone();
        let at = at.index(asked.len());
        asked[at] ^= change;
        prop_assert!(serve(&asked[..], io::sink(), &ServeOptions::below("/nonexistent")).is_err());
    }

    #[test]
    fn bytes_from_strangers_end_the_server_with_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        prop_assert!(serve(&bytes[..], io::sink(), &ServeOptions::below("/nonexistent")).is_err());
    }
}

static CONVERSATION: std::sync::LazyLock<(Vec<u8>, Vec<u8>)> = std::sync::LazyLock::new(conversation);

#[test]
fn the_whole_conversation_replays() {
    replay(&conversation().0).unwrap();
}
