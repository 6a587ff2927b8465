//! Where an application's own files can lie, and where only the system's do.
//!
//! The system's trees are never taken whole: a runtime built from source in `/usr/local` is nobody's package and still
//! no application, and neither is one in a prefix of its own as `/opt/java` or `/opt/conda`. What there belongs to the
//! application shows by being WORKDIR or by being read from.

use crate::context::Context;
use crate::entrypoint;
use crate::listing::is_fundamental;
use crate::observed::{Observed, counts};
use crate::python;
use slim_image::{Entry, ImagePath, Kind};
use slim_trace::Access;
use std::collections::BTreeSet;

/// Trees in which nothing is the application's, unless the program works in a folder there or reads from one.
const SYSTEM: [&str; 50] = [
    "/bin",
    "/boot",
    "/dev",
    "/etc/alternatives",
    "/etc/apk",
    "/etc/apt",
    "/etc/ca-certificates",
    "/etc/rc0.d",
    "/etc/rc1.d",
    "/etc/rc2.d",
    "/etc/rc3.d",
    "/etc/rc4.d",
    "/etc/rc5.d",
    "/etc/rc6.d",
    "/etc/rcS.d",
    "/etc/yum.repos.d",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/lost+found",
    "/proc",
    "/run",
    "/sbin",
    "/sys",
    "/tmp",
    "/usr",
    "/var/backups",
    "/var/cache",
    "/var/lib/apk",
    "/var/lib/apt",
    "/var/lib/dbus",
    "/var/lib/dnf",
    "/var/lib/dpkg",
    "/var/lib/misc",
    "/var/lib/pacman",
    "/var/lib/pam",
    "/var/lib/polkit-1",
    "/var/lib/python",
    "/var/lib/rpm",
    "/var/lib/sgml-base",
    "/var/lib/systemd",
    "/var/lib/ucf",
    "/var/lib/xml-core",
    "/var/lib/yum",
    "/var/lib/zypp",
    "/var/lock",
    "/var/log",
    "/var/run",
    "/var/tmp",
];
/// A tree within one of these that is configuration, as `/etc` is.
const CONFIGURATION: [&str; 1] = ["/usr/local/etc"];
/// Where folders of applications stand among others of the system's: each with the names that are the system's.
const AMONG_OTHERS: [(&str, &[&str]); 5] = [
    ("/usr", PREFIX_AND_LOCAL),
    ("/usr/local", PREFIX),
    ("/usr/local/share", SHARED),
    ("/usr/share", SHARED),
    ("/usr/src", &[]),
];
const PREFIX_AND_LOCAL: &[&str] = &[
    "bin", "games", "include", "lib", "lib32", "lib64", "libexec", "libx32", "local", "man", "sbin", "share",
    "src",
];
/// What an installation prefix holds.
const PREFIX: &[&str] = &[
    "bin",
    "conda-meta",
    "demo",
    "doc",
    "games",
    "include",
    "info",
    "jmods",
    "legal",
    "lib",
    "lib32",
    "lib64",
    "libexec",
    "libx32",
    "man",
    "pkgs",
    "sample",
    "sbin",
    "share",
    "src",
];
const SHARED: &[&str] = &[
    "X11",
    "aclocal",
    "applications",
    "bash-completion",
    "ca-certificates",
    "common-licenses",
    "dict",
    "doc",
    "doc-base",
    "fish",
    "fontconfig",
    "fonts",
    "gdb",
    "gir-1.0",
    "i18n",
    "icons",
    "icu",
    "info",
    "java",
    "keyrings",
    "lintian",
    "locale",
    "man",
    "mime",
    "misc",
    "nls",
    "nodejs",
    "npm",
    "p11-kit",
    "perl",
    "perl5",
    "pixmaps",
    "pkgconfig",
    "pki",
    "python",
    "python-wheels",
    "python3",
    "ri",
    "ruby",
    "rubygems-integration",
    "sounds",
    "tabset",
    "tcltk",
    "terminfo",
    "themes",
    "vala",
    "xml",
    "zoneinfo",
    "zsh",
];

/// The places of one image.
pub(super) struct Places {
    /// Folders that are the application's, whatever tree they lie in.
    pub opened: BTreeSet<ImagePath>,
    /// Roots of installation prefixes outside of `/usr`.
    prefixes: BTreeSet<ImagePath>,
    /// Whether nothing but `opened` counts.
    narrow: bool,
}

impl Places {
    /// `narrow`: nobody knows which layers are the base's, so that only folders that the application surely has count.
    pub(super) fn find(context: &Context<'_>, observed: &Observed<'_>, narrow: bool) -> Self {
        let mut places = Self { opened: BTreeSet::new(), prefixes: prefixes(context), narrow };
        let working_directory = context.environment.working_directory.as_bytes();
        let working_directory = context.walk(working_directory, true).found().cloned();
        let own = |folder: &ImagePath| !is_fundamental(context, folder) && !is_whole_system(folder);
        places.opened.extend(working_directory.filter(own));
        if narrow {
            places.opened.extend(named(context).filter(|folder| own(folder) && !is_system(folder)));
        }
        let read: BTreeSet<ImagePath> = read_from(context, observed).collect();
        for folder in read.into_iter().filter(|folder| own(folder) && !is_base_of_homes(folder)) {
            let is_of_application = if is_system(&folder) {
                stands_among_others(&folder)
            } else {
                narrow && places.prefix_part(&folder).is_none_or(|part| part.file_name() == b"share")
            };
            if is_of_application {
                places.opened.insert(folder);
            }
        }
        places
    }

    /// The folder that makes a file the application's, or the file itself; `None` where its place says that it is not.
    pub(super) fn of(&self, path: &ImagePath) -> Option<ImagePath> {
        let above = path.ancestors();
        let part = self.prefix_part(path);
        let is_opened = |folder: &&ImagePath| {
            self.opened.contains(*folder) && part.as_ref().is_none_or(|part| folder.is_within(part))
        };
        if let Some(folder) = above.iter().find(is_opened) {
            return Some(folder.clone());
        }
        if self.narrow || part.is_some() || is_system(path) {
            return None;
        }
        Some(above.into_iter().find(|folder| !is_everybodys(folder)).unwrap_or_else(|| path.clone()))
    }

    /// The part (`bin`, `lib` …) of an installation prefix that a path lies in.
    fn prefix_part(&self, path: &ImagePath) -> Option<ImagePath> {
        let above = path.ancestors();
        let within = above.iter().chain([path]).filter(|part| is_named(part, PREFIX));
        within
            .into_iter()
            .find(|part| part.parent().is_some_and(|root| self.prefixes.contains(&root)))
            .cloned()
    }
}

/// Whether a path lies in one of the system's trees.
fn is_system(path: &ImagePath) -> bool {
    let is_within = |trees: &[&str]| {
        trees.iter().any(|tree| {
            let rest = path.as_bytes().strip_prefix(tree.as_bytes());
            rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        })
    };
    is_within(&SYSTEM) && !is_within(&CONFIGURATION)
}

/// Whether a folder is one of the system's trees itself.
fn is_whole_system(folder: &ImagePath) -> bool {
    SYSTEM.iter().any(|tree| tree.as_bytes() == folder.as_bytes())
}

/// Whether a folder of the system's trees can be an application's.
fn stands_among_others(folder: &ImagePath) -> bool {
    let above = folder.ancestors();
    let mut places = above.iter().chain([folder]);
    AMONG_OTHERS.iter().any(|(tree, systems)| {
        let own = places
            .clone()
            .find(|place| place.parent().is_some_and(|above| above.as_bytes() == tree.as_bytes()));
        own.is_some_and(|place| !is_named(place, systems))
    }) && places.all(|place| !is_named(place, &["man", "locale"]))
}

fn is_named(path: &ImagePath, names: &[&str]) -> bool {
    names.iter().any(|name| name.as_bytes() == path.file_name())
}

/// Directories that hold those of several applications.
fn is_everybodys(folder: &ImagePath) -> bool {
    const EVERYBODYS: [&[u8]; 15] = [
        b"/",
        b"/etc",
        b"/home",
        b"/media",
        b"/mnt",
        b"/opt",
        b"/root",
        b"/srv",
        b"/usr",
        b"/usr/local",
        b"/usr/local/etc",
        b"/var",
        b"/var/lib",
        b"/var/spool",
        b"/var/opt",
    ];
    EVERYBODYS.contains(&folder.as_bytes())
}

fn is_base_of_homes(folder: &ImagePath) -> bool {
    matches!(folder.as_bytes(), b"/root" | b"/home")
}

/// The folders of what the command line names, and those that it names itself.
fn named(context: &Context<'_>) -> impl Iterator<Item = ImagePath> {
    let seeds = entrypoint::seeds(context, &context.config, false).into_iter();
    seeds.filter_map(|seed| {
        let found = context.walk(&seed.path, true).found()?.clone();
        if context.entry(&found)?.is_directory() {
            return Some(found);
        }
        // A program in `bin` has its other parts beside that.
        let folder = found.parent()?;
        let above = folder.parent().filter(|above| folder.file_name() == b"bin" && !is_everybodys(above));
        Some(above.unwrap_or(folder))
    })
}

/// Folders from which the program read files that are neither programs nor modules.
fn read_from<'a>(
    context: &'a Context<'_>,
    observed: &'a Observed<'_>,
) -> impl Iterator<Item = ImagePath> + 'a {
    let opened = observed.touches.iter().filter(|touch| {
        let access = &touch.access.access;
        access.contains(&Access::Open)
            && !access.contains(&Access::Execute)
            && touch.access.phases.iter().any(|phase| counts(*phase))
    });
    let files: BTreeSet<&ImagePath> = opened.filter_map(|touch| touch.object.as_ref()).collect();
    files.into_iter().filter_map(|file| {
        let is_file = context.entry(file).is_some_and(|entry| matches!(entry.kind, Kind::File { .. }));
        let is_code = is_shared_object(file.file_name());
        let folder = file.parent().filter(|_| is_file && !is_code)?;
        (!python::is_library(&folder)).then_some(folder)
    })
}

/// `libx.so`, `libx.so.6`.
fn is_shared_object(name: &[u8]) -> bool {
    name.ends_with(b".so") || name.windows(4).any(|part| part == b".so.")
}

/// Folders outside of `/usr` that something was installed into as into `/usr/local`: with `bin`, and with what only
/// runtimes and tool chains have.
fn prefixes(context: &Context<'_>) -> BTreeSet<ImagePath> {
    let is_there = |path: ImagePath| context.entry(&path).is_some();
    let roots = context.tree.walk().filter(|(path, entry)| {
        entry.is_directory() && path.file_name() == b"bin" && !path.is_within(&"/usr".into())
    });
    let roots = roots.filter_map(|(bin, _)| bin.parent()).filter(|root| !root.is_root());
    roots
        .filter(|root| {
            is_there(root.join("pyvenv.cfg"))
                || is_there(root.join("conda-meta"))
                || is_there(root.join("jmods"))
                || has_headers(context, &root.join("include"))
                || has_runtime(context, &root.join("lib"))
        })
        .collect()
}

fn has_headers(context: &Context<'_>, include: &ImagePath) -> bool {
    let names = context.tree.read_dir(include);
    names.into_iter().any(|name| {
        name.ends_with(b".h")
            || [&b"python"[..], b"node", b"ruby"].iter().any(|start| name.starts_with(start))
    })
}

/// The Java runtime's one file of modules, or a language's own library.
fn has_runtime(context: &Context<'_>, lib: &ImagePath) -> bool {
    let is_directory = |name: &[u8]| context.entry(&lib.join(name)).is_some_and(Entry::is_directory);
    context.tree.read_dir(lib).into_iter().any(|name| {
        matches!(name, b"modules" | b"jvm.cfg" | b"rt.jar") && !is_directory(name)
            || (name.starts_with(b"python3.") || name.starts_with(b"pypy3.")) && is_directory(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use slim_image::{Config, MemoryTree};
    use slim_trace::Trace;

    fn of(tree: &MemoryTree, working_dir: &str, path: &str) -> Option<String> {
        let config = Config { working_dir: working_dir.to_owned(), ..Config::default() };
        let context = Context::new(tree, &config);
        let trace = Trace::empty("sha256:00");
        let places = Places::find(&context, &Observed::new(&trace, &context), false);
        places.of(&path.into()).map(|folder| folder.to_string())
    }

    #[test]
    fn the_systems_trees_hold_no_application_and_all_others_do() {
        let tree = MemoryTree::new();
        for path in [
            "/usr/local/bin/a",
            "/usr/local/lib/libx.so",
            "/usr/share/a/b",
            "/usr/src/a/b",
            "/tmp/a",
            "/bin/a",
        ] {
            assert_eq!(of(&tree, "", path), None, "{path}");
        }
        for (path, folder) in [
            ("/srv/www/a/b", "/srv/www"),
            ("/start.sh", "/start.sh"),
            ("/etc/nginx/sites/a", "/etc/nginx"),
            ("/etc/a.conf", "/etc/a.conf"),
            ("/usr/local/etc/php/a.ini", "/usr/local/etc/php"),
            ("/var/lib/notes/notes.db", "/var/lib/notes"),
            ("/binary/a", "/binary"),
        ] {
            assert_eq!(of(&tree, "", path).as_deref(), Some(folder), "{path}");
        }
    }

    #[test]
    fn a_working_directory_in_the_systems_trees_is_the_applications_unless_it_is_one_of_them() {
        let tree =
            MemoryTree::new().dir("/usr/src/app", 0o755).dir("/usr/local/bin", 0o755).dir("/tmp", 0o755);
        assert_eq!(of(&tree, "/usr/src/app", "/usr/src/app/lib/a").as_deref(), Some("/usr/src/app"));
        assert_eq!(of(&tree, "/usr/local/bin", "/usr/local/bin/a"), None);
        assert_eq!(of(&tree, "/tmp", "/tmp/a"), None);
        assert_eq!(of(&tree, "/usr", "/usr/a"), None);
    }

    #[test]
    fn what_is_installed_into_a_prefix_of_its_own_is_no_application_but_what_lies_beside_is() {
        let tree = MemoryTree::new()
            .file("/opt/java/bin/java", 0o755, "x")
            .file("/opt/java/lib/modules", 0o644, "x")
            .file("/app/bin/python", 0o755, "x")
            .file("/app/pyvenv.cfg", 0o644, "x")
            .file("/srv/bin/start", 0o755, "x")
            .file("/srv/lib/a.js", 0o644, "x");
        assert_eq!(of(&tree, "", "/opt/java/lib/server/libjvm.so"), None);
        assert_eq!(of(&tree, "", "/opt/java/conf/a").as_deref(), Some("/opt/java"));
        assert_eq!(of(&tree, "/app", "/app/lib/python3.11/a.py"), None);
        assert_eq!(of(&tree, "/app", "/app/main.py").as_deref(), Some("/app"));
        assert_eq!(of(&tree, "", "/srv/lib/a.js").as_deref(), Some("/srv/lib"));
    }

    #[test]
    fn the_systems_names_are_sorted_for_the_reader() {
        assert!(SYSTEM.is_sorted());
        assert!(SHARED.is_sorted() && PREFIX.is_sorted() && PREFIX_AND_LOCAL.is_sorted());
    }
}
