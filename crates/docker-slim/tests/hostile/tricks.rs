//! The tricks that a layer can play, and what must be true after each of them.

use crate::archive::{Header, Tar};

/// One trick.
pub struct Trick {
    pub name: &'static str,
    /// Plain tar streams, the base first.
    pub layers: Vec<Vec<u8>>,
    pub after: After,
}

/// What must be true after it, whichever way the image came.
pub enum After {
    /// It does not come in; the message says why.
    Refused(&'static str),
    /// It comes in, and shows these paths and no others: a directory, `=text` of a file, `>target` of a link.
    Shows(&'static [&'static str]),
}

use After::{Refused, Shows};

fn tar() -> Tar {
    Tar::default()
}

fn trick<const N: usize>(name: &'static str, layers: [Tar; N], after: After) -> Trick {
    Trick { name, layers: layers.into_iter().map(Tar::end).collect(), after }
}

/// `outside` is a file beside the store, which nothing may touch.
pub fn tricks(outside: &str) -> Vec<Trick> {
    [paths(outside), links(outside), layers(), marks(), names(), sizes(), kinds()]
        .into_iter()
        .flatten()
        .collect()
}

fn paths(outside: &str) -> Vec<Trick> {
    vec![
        trick("a name that climbs out", [tar().file("../../../outside/file", "x")], Refused("leads out")),
        trick("a name that goes in and out", [tar().file("a/../../outside/file", "x")], Refused("leads out")),
        trick("a name that stays in by way of ..", [tar().file("a/../b", "x")], Refused("leads out")),
        trick("a directory that is its parent", [tar().directory("..")], Refused("leads out")),
        trick("an absolute name", [tar().file("/etc/passwd", "x")], Shows(&["/etc", "/etc/passwd=x"])),
        trick("slashes and dots", [tar().file(".//a/./b", "x")], Shows(&["/a", "/a/b=x"])),
        trick("the root as a link", [tar().symlink("./", outside)], Refused("the root")),
        trick("the root as a file", [tar().file("/", "x")], Shows(&[])),
        trick("no name", [tar().file("", "x")], Refused("the root")),
    ]
}

fn links(outside: &str) -> Vec<Trick> {
    let folder = outside.rsplit_once('/').map_or("/", |(folder, _)| folder);
    vec![
        trick(
            "a link out, and a file through it",
            [tar().symlink("a", folder).file("a/file", "changed")],
            Refused(""),
        ),
        trick(
            "a link to the root, and a file through it",
            [tar().symlink("a", "/").file("a/b", "x")],
            Shows(&["/a>/", "/b=x"]),
        ),
        trick(
            "a link above the root, and a file through it",
            [tar().symlink("a", "../../..").file("a/b", "x")],
            Shows(&["/a>../../..", "/b=x"]),
        ),
        trick(
            "a link to itself, and a file through it",
            [tar().symlink("a", "a").file("a/b", "x")],
            Refused(""),
        ),
        trick(
            "a magic link, and a file through it",
            [tar().symlink("a", "/proc/self/root").file("a/file", "x")],
            Refused(""),
        ),
        trick("a file over a link", [tar().symlink("a", "/etc/passwd").file("a", "x")], Shows(&["/a=x"])),
        trick("a link to nothing", [tar().symlink("a", "")], Refused("link to nothing")),
        trick("a hard link out", [tar().hard_link("a", "../../../outside/file")], Refused("leads out")),
        trick("an absolute hard link", [tar().hard_link("a", "/etc/passwd")], Refused("not there")),
        trick(
            "a hard link through a link out",
            [tar().symlink("out", folder).hard_link("a", "out/file")],
            Refused("not there"),
        ),
        trick(
            "a hard link to a link out",
            [tar().symlink("out", "/etc/shadow").hard_link("a", "out")],
            Shows(&["/a>/etc/shadow", "/out>/etc/shadow"]),
        ),
        trick(
            "a hard link to a later entry",
            [tar().hard_link("a", "b").file("b", "x")],
            Refused("not there"),
        ),
        trick("a hard link to itself", [tar().hard_link("a", "a")], Refused("not there")),
        trick(
            "a hard link to itself that is there",
            [tar().file("a", "x").hard_link("a", "a")],
            Shows(&["/a=x"]),
        ),
        trick("a hard link to a directory", [tar().directory("d").hard_link("a", "d")], Refused("directory")),
        trick(
            "a hard link in the place of its target's folder",
            [tar().file("d/f", "x").hard_link("d", "d/f")],
            Refused(""),
        ),
        trick(
            "a directory replaced by a link, and a file through it",
            [tar().directory("e").file("a/f", "x").symlink("a", "e").file("a/g", "y")],
            Shows(&["/a>e", "/e", "/e/g=y"]),
        ),
        trick(
            "a directory replaced by a link out",
            [tar().file("a/f", "x").symlink("a", "/etc").file("a/g", "y")],
            Refused(""),
        ),
    ]
}

fn layers() -> Vec<Trick> {
    vec![
        trick(
            "a link of a lower layer, and a file through it",
            [tar().symlink("etc", "/").file("passwd", "lower"), tar().file("etc/passwd", "x")],
            Shows(&["/etc", "/etc/passwd=x", "/passwd=lower"]),
        ),
        trick(
            "a link out of a lower layer, and a file through it",
            [tar().symlink("etc", "../../../outside"), tar().file("etc/file", "x")],
            Shows(&["/etc", "/etc/file=x"]),
        ),
        trick(
            "a hard link to a lower layer",
            [tar().file("a", "x"), tar().hard_link("b", "a")],
            Refused("not there"),
        ),
        trick(
            "a directory of a lower layer becomes a link",
            [tar().file("a/b", "x"), tar().symlink("a", "/etc")],
            Shows(&["/a>/etc"]),
        ),
        trick(
            "a link of a lower layer becomes a directory",
            [tar().symlink("a", "/etc"), tar().directory("a").file("a/b", "x")],
            Shows(&["/a", "/a/b=x"]),
        ),
    ]
}

fn marks() -> Vec<Trick> {
    let lower = || tar().file("a/b", "x").file("c", "y");
    vec![
        trick("a mark for .", [lower(), tar().file("a/.wh..", "")], Refused("hides nothing")),
        trick("a mark for ..", [lower(), tar().file("a/.wh...", "")], Refused("hides nothing")),
        trick("a mark for /", [lower(), tar().file(".wh.", "")], Refused("hides nothing")),
        trick("a mark with a path in it", [lower(), tar().file(".wh.a/b", "")], Refused("marks a name")),
        trick("a mark through ..", [lower(), tar().file("a/../.wh.c", "")], Refused("leads out")),
        trick(
            "a mark for what is not there",
            [lower(), tar().file(".wh.d", "")],
            Shows(&["/a", "/a/b=x", "/c=y"]),
        ),
        trick(
            "a mark and its name",
            [lower(), tar().file("c", "z").file(".wh.c", "")],
            Shows(&["/a", "/a/b=x", "/c=z"]),
        ),
        trick("a mark that is a link", [lower(), tar().symlink(".wh.c", "/etc")], Shows(&["/a", "/a/b=x"])),
        trick(
            "an opaque mark through a link of its layer",
            [lower(), tar().directory("a").symlink("l", "a").file("l/.wh..wh..opq", "")],
            Shows(&["/a", "/c=y", "/l>a"]),
        ),
        trick(
            "an opaque mark in a file's place",
            [lower(), tar().file("c/.wh..wh..opq", "")],
            Shows(&["/a", "/a/b=x", "/c"]),
        ),
        trick("an opaque root", [lower(), tar().file(".wh..wh..opq", "")], Shows(&["/a", "/a/b=x", "/c=y"])),
        trick(
            "what aufs leaves",
            [lower(), tar().file(".wh..wh.plnk/1.2", "z").file(".wh..wh.aufs", "")],
            Shows(&["/a", "/a/b=x", "/c=y"]),
        ),
        trick(
            "overlayfs's own attributes",
            [
                lower(),
                tar()
                    .records(&[
                        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
                        ("SCHILY.xattr.user.overlay.opaque", b"y"),
                    ])
                    .directory("a")
                    .records(&[("SCHILY.xattr.trusted.overlay.redirect", b"/c")])
                    .file("d", "z"),
            ],
            Shows(&["/a", "/a/b=x", "/c=y", "/d=z"]),
        ),
    ]
}

fn names() -> Vec<Trick> {
    vec![
        trick("a name with a zero byte", [tar().file(b"a\0b", "x")], Refused("malformed")),
        trick(
            "a target with a zero byte",
            [tar().records(&[("linkpath", b"a\0b")]).symlink("c", "d")],
            Refused("malformed"),
        ),
        trick("a name with a newline", [tar().file("a\nb", "x")], Shows(&["/a\\x0ab=x"])),
        trick("a name that is no UTF-8", [tar().file(b"\xff\xfe", "x")], Shows(&["/\\xff\\xfe=x"])),
        trick("a name with an escape sequence", [tar().file("\x1b[2J", "x")], Shows(&["/\\x1b[2J=x"])),
        trick("a name of 256 bytes", [tar().file("n".repeat(256), "x")], Refused("255 bytes")),
        trick(
            "a name of 5000 bytes",
            [tar().file("d/".repeat(2500) + "x", "x")],
            Refused("longer than any path"),
        ),
        trick(
            "a target of 5000 bytes",
            [tar().records(&[("linkpath", &[b'l'; 5000])]).symlink("a", "b")],
            Refused("longer than any path"),
        ),
        trick(
            "names that differ by case alone",
            [tar().file("Readme", "1").file("README", "2").file("readme", "3")],
            Shows(&["/README=2", "/Readme=1", "/readme=3"]),
        ),
        trick("a name twice", [tar().file("a", "first").file("a", "second")], Shows(&["/a=second"])),
        trick(
            "a name as a file, a folder, a file",
            [tar().file("a", "1").file("a/b", "2").file("a", "3")],
            Shows(&["/a=3"]),
        ),
    ]
}

fn sizes() -> Vec<Trick> {
    let sized = |size: &'static [u8]| tar().header(&Header { name: b"a", size, ..Header::default() });
    let record = |size: &'static [u8]| tar().records(&[("size", size)]).file("a", "x");
    vec![
        trick("a size below zero", [sized(&[0xff; 12])], Refused("no valid size")),
        trick(
            "a size beyond all numbers",
            [sized(b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")],
            Refused("no valid size"),
        ),
        trick("a size that is none", [sized(b"-1")], Refused("no valid size")),
        trick("a size beyond the end", [sized(b"77777777777")], Refused("")),
        trick("a record's size below zero", [record(b"-1")], Refused("malformed")),
        trick("a record's size beyond the end", [record(b"18446744073709551615")], Refused("")),
        trick(
            "a record's size beyond all numbers",
            [record(b"99999999999999999999999")],
            Refused("malformed"),
        ),
        trick(
            "a link with a size",
            [tar()
                .header(&Header {
                    name: b"l",
                    kind: b'2',
                    link: b"/x",
                    size: b"77777777777",
                    ..Header::default()
                })
                .file("a", "x")],
            Shows(&["/a=x", "/l>/x"]),
        ),
        trick(
            "a sparse file of the old kind",
            [tar().header(&Header { name: b"a", kind: b'S', ..Header::default() })],
            Refused("of type 0x53"),
        ),
        trick(
            "a sparse file of the new kind",
            [tar()
                .records(&[("GNU.sparse.major", b"1"), ("GNU.sparse.realsize", b"9999999999")])
                .file("a", "x")],
            Refused("malformed"),
        ),
        trick(
            "an extension of four gigabytes",
            [tar().header(&Header { name: b"pax", kind: b'x', size: b"37777777777", ..Header::default() })],
            Refused("bytes long"),
        ),
        trick(
            "extensions without end",
            [(0..5000)
                .fold(tar(), |tar, number| tar.records(&[(&format!("k{number}"), &[b'v'; 600])]))
                .file("a", "x")],
            Refused("bytes long"),
        ),
        trick(
            "an attribute of 100 kB",
            [tar().records(&[("SCHILY.xattr.user.a", &[b'v'; 100_000])]).file("a", "x")],
            Refused("malformed"),
        ),
        trick(
            "an attribute without a name",
            [tar().records(&[("SCHILY.xattr.", b"v")]).file("a", "x")],
            Refused("malformed"),
        ),
    ]
}

fn kinds() -> Vec<Trick> {
    vec![
        trick(
            "a device that hides",
            [tar().file("a", "x"), tar().device("a", b'3', (0, 0))],
            Refused("would hide"),
        ),
        trick(
            "a device whose number wraps to the one that hides",
            [tar().file("a", "x"), tar().device("a", b'3', (0x1000, 0))],
            Refused("no device of that number"),
        ),
        trick(
            "owned by nobody",
            [tar().records(&[("uid", b"4294967295")]).file("a", "x")],
            Refused("means none"),
        ),
        trick(
            "an owner beyond all numbers",
            [tar().records(&[("uid", b"4294967296")]).file("a", "x")],
            Refused("malformed"),
        ),
        trick(
            "of no known type",
            [tar().header(&Header { name: b"a", kind: b'Z', ..Header::default() })],
            Refused("of type 0x5a"),
        ),
        trick("all bits of a mode", [tar().file_with("a", 0o7777777, "x")], Shows(&["/a=x"])),
    ]
}
