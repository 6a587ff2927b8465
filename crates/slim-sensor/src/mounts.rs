//! What lies where in a container: its mounts, as mountinfo tells them.
//!
//! Paths count when they lie on the root file system or on the anonymous volume of an image VOLUME.

use slim_image::ImagePath;
use slim_trace::{Mount, MountKind};

/// The mounts of a container, sorted by path. An anonymous volume where the image has a VOLUME holds the image's own
/// content; engines give such volumes names of 64 hexadecimal digits.
pub fn parse(table: &str, image_volumes: &[ImagePath]) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = table.lines().filter_map(|line| mount(line, image_volumes)).collect();
    // A root that is no mount point is not among the mounts.
    if !mounts.iter().any(|mount| mount.kind == MountKind::Root) {
        mounts.push(Mount { path: ImagePath::root(), kind: MountKind::Root, file_system: String::new() });
    }
    // Of several mounts at one place the last one is seen.
    mounts.reverse();
    mounts.sort_by(|one, two| one.path.cmp(&two.path));
    mounts.dedup_by(|later, first| later.path == first.path);
    mounts
}

fn mount(line: &str, image_volumes: &[ImagePath]) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut columns = before.split(' ').skip(3);
    let (source, target) = (columns.next()?, columns.next()?);
    let path = ImagePath::new(unescape(target));
    let kind = if path.is_root() {
        MountKind::Root
    } else if is_anonymous_volume(source) && image_volumes.contains(&path) {
        MountKind::ImageVolume
    } else {
        MountKind::Other
    };
    Some(Mount { path, kind, file_system: after.split(' ').next()?.to_owned() })
}

/// `…/volumes/<64 hexadecimal digits>/_data`, with Docker and Podman.
fn is_anonymous_volume(source: &str) -> bool {
    let mut parts = source.rsplit('/');
    parts.next() == Some("_data")
        && parts
            .next()
            .is_some_and(|name| name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()))
        && parts.next() == Some("volumes")
}

/// Whether a path lies on what came from the image. One with `..` may lead anywhere, since links are not resolved here:
/// it counts.
pub fn counts(path: &[u8], mounts: &[Mount]) -> bool {
    if path.split(|byte| *byte == b'/').any(|component| component == b"..") {
        return true;
    }
    let path = ImagePath::new(path);
    let deepest = mounts
        .iter()
        .filter(|mount| path.is_within(&mount.path))
        .max_by_key(|mount| mount.path.as_bytes().len());
    deepest.is_none_or(|mount| mount.kind != MountKind::Other)
}

/// mountinfo writes space, tab, newline and backslash in octal.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let octal =
            behind.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &rest[4..];
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOLUME: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn mounts() -> Vec<Mount> {
        let table = format!(
            "1 0 0:50 / / rw - overlay overlay rw\n\
             2 1 0:51 / /proc rw - proc proc rw\n\
             3 1 8:1 /var/lib/docker/volumes/{VOLUME}/_data /data rw - ext4 /dev/vda rw\n\
             4 1 8:1 /var/lib/docker/volumes/named/_data /named rw - ext4 /dev/vda rw\n\
             5 1 8:1 /var/lib/docker/containers/{VOLUME}/hosts /etc/hosts rw - ext4 /dev/vda rw\n\
             6 1 8:1 /home/me/a\\040b /my\\040data rw - ext4 /dev/vda rw\n\
             7 3 8:1 /secret /data/secret rw - ext4 /dev/vda rw\n"
        );
        parse(&table, &["/data".into(), "/named".into(), "/etc/hosts".into()])
    }

    #[test]
    fn only_the_anonymous_volume_of_an_image_volume_is_the_images() {
        let kinds: Vec<(String, MountKind)> =
            mounts().iter().map(|mount| (mount.path.to_string(), mount.kind)).collect();
        let other = |path: &str| (path.to_owned(), MountKind::Other);
        assert_eq!(
            kinds,
            [
                ("/".to_owned(), MountKind::Root),
                ("/data".to_owned(), MountKind::ImageVolume),
                other("/data/secret"),
                other("/etc/hosts"),
                other("/my data"),
                other("/named"),
                other("/proc"),
            ]
        );
    }

    #[test]
    fn paths_count_by_the_deepest_mount_above_them() {
        let mounts = mounts();
        for path in ["/", "/etc/passwd", "/data", "/data/x", "/process", "/proc/../etc/passwd"] {
            assert!(counts(path.as_bytes(), &mounts), "{path}");
        }
        for path in ["/proc", "/proc/self/exe", "/named/x", "/data/secret/x", "//etc/./hosts"] {
            assert!(!counts(path.as_bytes(), &mounts), "{path}");
        }
    }

    #[test]
    fn there_is_always_a_root() {
        let mounts = parse("2 1 0:51 / /proc rw - proc proc rw\n", &[]);
        assert_eq!(
            mounts.iter().map(|mount| mount.kind).collect::<Vec<_>>(),
            [MountKind::Root, MountKind::Other]
        );
        assert_eq!(parse("nonsense\n", &[]).len(), 1);
    }

    #[test]
    fn of_two_mounts_at_one_place_the_last_one_is_seen() {
        let table = "1 0 0:50 / / rw - overlay overlay rw\n2 1 0:51 / /x rw - tmpfs a rw\n3 1 0:52 / /x rw - ext4 b rw\n";
        assert_eq!(parse(table, &[])[1].file_system, "ext4");
    }
}
