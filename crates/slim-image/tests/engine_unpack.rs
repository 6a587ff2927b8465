//! Unpacking what only root may make: whiteouts, devices, owners, attributes. Needs root and a file system with `trusted.`
//! attributes below the folder for temporary files.
#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]

use slim_image::unpack::{Limits, unpack_layer};
use slim_image::{Digest, ImagePath, ImageTree, Kind, OverlayTree};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

fn header(name: &str, kind: tar::EntryType) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_size(0);
    header
}

fn file(name: &str) -> tar::Header {
    header(name, tar::EntryType::Regular)
}

fn layer(mut headers: Vec<tar::Header>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for header in &mut headers {
        header.set_cksum();
        builder.append(header, &b""[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

fn unpack(bytes: &[u8], directory: &Path) -> Result<(), String> {
    fs::create_dir(directory).unwrap();
    unpack_layer(bytes, &Digest::of(bytes), directory, Limits::default())
        .map(drop)
        .map_err(|error| error.to_string())
}

#[test]
fn whiteouts_hide_what_lower_layers_hold_and_nothing_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let lower = [file("gone"), file("d/below"), file("e/below"), file("f/below"), file("kept")];
    // A whiteout before or behind what takes its place in the same layer, and one for everything in a folder.
    let upper = [
        file(".wh.gone"),
        file(".wh.d"),
        file("d/new"),
        file("e/new"),
        file(".wh.e"),
        file("f/.wh..wh..opq"),
        file("f/new"),
        file("f/.wh..wh.plnk"),
    ];
    unpack(&layer(lower.to_vec()), &folder.path().join("lower")).unwrap();
    unpack(&layer(upper.to_vec()), &folder.path().join("upper")).unwrap();
    let tree = OverlayTree::open(&[folder.path().join("lower"), folder.path().join("upper")]).unwrap();
    let paths: Vec<String> = tree.walk().map(|(path, _)| path.to_string()).collect();
    assert_eq!(paths, ["/", "/d", "/d/new", "/e", "/e/new", "/f", "/f/new", "/kept"]);
}

#[test]
fn devices_owners_and_set_id_bits_come_out_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let mut device = header("null", tar::EntryType::Char);
    device.set_device_major(1).unwrap();
    device.set_device_minor(3).unwrap();
    let mut owned = file("owned");
    owned.set_uid(4711);
    owned.set_gid(4712);
    owned.set_mode(0o6755);
    let directory = folder.path().join("layer");
    unpack(&layer(vec![device, owned, header("fifo", tar::EntryType::Fifo)]), &directory).unwrap();
    assert!(fs::metadata(directory.join("null")).unwrap().file_type().is_char_device());
    assert!(fs::metadata(directory.join("fifo")).unwrap().file_type().is_fifo());
    let owned = fs::metadata(directory.join("owned")).unwrap();
    assert_eq!((owned.uid(), owned.gid(), owned.mode() & 0o7777), (4711, 4712, 0o6755));
    let tree = OverlayTree::open(&[directory]).unwrap();
    assert_eq!(
        tree.entry(&ImagePath::new("/null")).unwrap().kind,
        Kind::CharacterDevice { major: 1, minor: 3 }
    );
}

#[test]
fn a_device_that_would_be_a_whiteout_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut device = header("x", tar::EntryType::Char);
    device.set_device_major(0).unwrap();
    device.set_device_minor(0).unwrap();
    let error = unpack(&layer(vec![device]), &folder.path().join("layer")).unwrap_err();
    assert!(error.contains("would hide"), "{error}");
}

#[test]
fn attributes_of_overlayfs_never_come_in_and_file_capabilities_do() {
    let folder = tempfile::tempdir().unwrap();
    let mut builder = tar::Builder::new(Vec::new());
    let capability = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let records: [(&str, &[u8]); 3] = [
        ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
        ("SCHILY.xattr.trusted.overlay.metacopy", b"x"),
        ("SCHILY.xattr.security.capability", capability),
    ];
    builder.append_pax_extensions(records).unwrap();
    let mut header = file("ping");
    header.set_cksum();
    builder.append(&header, &b""[..]).unwrap();
    let directory = folder.path().join("layer");
    unpack(&builder.into_inner().unwrap(), &directory).unwrap();
    let tree = OverlayTree::open(&[directory]).unwrap();
    let attributes = &tree.entry(&ImagePath::new("/ping")).unwrap().xattrs;
    assert_eq!(attributes.keys().collect::<Vec<_>>(), ["security.capability"]);
    assert_eq!(attributes["security.capability"], capability);
}
