//! Claims about what Python files reach, on trees made by hand.

use crate::{KeepSet, Level, Settings, keep};
use slim_image::{Config, ImagePath, MemoryTree};
use slim_trace::{Access, FileAccess, Phase, Process, ProcessId, Trace, TracedPath};
use std::collections::BTreeSet;

const SITE: &str = "/usr/local/lib/python3.11/site-packages";
const LIBRARY: &str = "/usr/local/lib/python3.11";

/// An interpreter with a small library, and these files below `/`.
fn tree(files: &[(&str, &str)]) -> MemoryTree {
    let library = [
        ("os.py", "import stat, abc\ndef popen():\n    import subprocess\n"),
        ("stat.py", ""),
        ("abc.py", "def main():\n    import doctest\nif __name__ == '__main__':\n    import pdb\n"),
        ("subprocess.py", "import signal\n"),
        ("signal.py", ""),
        ("doctest.py", ""),
        ("pdb.py", ""),
        ("json/__init__.py", "from .decoder import JSONDecoder\nfrom .encoder import JSONEncoder\n"),
        ("json/decoder.py", "import re\n"),
        ("json/encoder.py", ""),
        ("json/tool.py", "import argparse\n"),
        ("re.py", ""),
        ("argparse.py", ""),
        ("pool/__init__.py", "def lazy():\n    from . import worker\n    import argparse\n"),
        ("pool/worker.py", ""),
        ("encodings/__init__.py", ""),
        ("encodings/utf_8.py", ""),
        ("encodings/big5.py", "import _codecs_tw\n"),
        ("encodings/koi8_r.py", ""),
        ("lib-dynload/_codecs_tw.cpython-311-x86_64-linux-gnu.so", "x"),
        ("lib-dynload/_codecs_tw.cpython-310-x86_64-linux-gnu.so", "x"),
        ("zoneinfo/__init__.py", ""),
        ("unittest/__init__.py", ""),
    ];
    let mut tree = MemoryTree::new().file("/usr/local/bin/python3", 0o755, "x");
    for (path, text) in library {
        tree = tree.file(format!("{LIBRARY}/{path}").as_str(), 0o644, text);
    }
    for (path, text) in files {
        tree = tree.file(*path, 0o644, *text);
    }
    tree
}

/// A trace in which Python opened these files.
fn opened(paths: &[&str]) -> Trace {
    let mut trace = Trace::empty("sha256:00");
    trace.processes.push(Process {
        parent: None,
        began: Phase::Startup,
        executable: Some(TracedPath::new("/usr/local/bin/python3")),
        invoked_as: None,
        interpreter: None,
        shebang: Vec::new(),
        argv: vec!["python3".to_owned()],
    });
    trace.files = paths
        .iter()
        .map(|path| FileAccess {
            path: TracedPath::new(*path),
            process: ProcessId(0),
            access: BTreeSet::from([Access::Open]),
            phases: BTreeSet::from([Phase::Startup]),
        })
        .collect();
    trace
}

fn reachable_with(tree: &MemoryTree, opened_files: &[&str], config: &Config) -> KeepSet {
    // All of it is the base's: nothing is kept as the application's own.
    let settings = Settings { level: Level::Reachable, base_layers: Some(1), ..Settings::default() };
    keep(&opened(opened_files), &tree.clone().of_one_layer(), config, &settings).unwrap()
}

fn reachable(tree: &MemoryTree, opened_files: &[&str]) -> KeepSet {
    let config = Config {
        working_dir: "/app".to_owned(),
        env: vec!["PATH=/usr/local/bin".to_owned()],
        ..Config::default()
    };
    reachable_with(tree, opened_files, &config)
}

/// The kept files below a directory.
fn below(set: &KeepSet, directory: &str) -> Vec<String> {
    let files = set.entries.iter().filter(|(_, kept)| !kept.entry.is_directory());
    let names = files.filter_map(|(path, _)| path.to_string().strip_prefix(directory).map(str::to_owned));
    names.map(|name| name.trim_start_matches('/').to_owned()).collect()
}

#[test]
fn imports_of_the_application_are_followed_at_any_depth() {
    let tree = tree(&[
        ("/app/main.py", "import shop.cart\ndef later():\n    from shop import views\n    import json\n"),
        ("/app/shop/__init__.py", ""),
        ("/app/shop/cart.py", "from .prices import total\nfrom . import taxes as t\n"),
        ("/app/shop/prices.py", "try:\n    import fast\nexcept ImportError:\n    from .. import none\n"),
        ("/app/shop/taxes.py", "if TYPE_CHECKING:\n    import unittest\n"),
        ("/app/shop/views.py", "import importlib\nimportlib.import_module('.lazy', __package__)\n"),
        ("/app/shop/lazy.py", ""),
        ("/app/shop/unused.py", ""),
        ("/app/space/inner/deep.py", ""),
        ("/app/run.py", "import space.inner.deep\n"),
    ]);
    let set = reachable(&tree, &["/app/main.py"]);
    assert_eq!(
        below(&set, "/app"),
        [
            "main.py",
            "shop/__init__.py",
            "shop/cart.py",
            "shop/lazy.py",
            "shop/prices.py",
            "shop/taxes.py",
            "shop/views.py"
        ]
    );
    assert_eq!(below(&set, LIBRARY), ["json/__init__.py", "json/decoder.py", "json/encoder.py", "re.py"]);
    let because: Vec<String> =
        set.entries[&ImagePath::from("/app/shop/lazy.py")].because.iter().map(ToString::to_string).collect();
    assert_eq!(because, ["is imported by /app/shop/views.py:2 as .lazy"]);
    assert_eq!(below(&reachable(&tree, &["/app/run.py"]), "/app"), ["run.py", "space/inner/deep.py"]);
}

#[test]
fn the_standard_library_is_followed_as_far_as_importing_it_goes() {
    let library = |names: &[&str], app: &str| {
        let tree = tree(&[("/app/main.py", app)]);
        let paths: Vec<String> = names.iter().map(|name| format!("{LIBRARY}/{name}")).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).chain(["/app/main.py"]).collect();
        below(&reachable(&tree, &paths), LIBRARY)
    };
    // Not loaded: what its functions import does not count, but for its own package.
    assert_eq!(
        library(&[], "import os, pool\n"),
        ["abc.py", "os.py", "pool/__init__.py", "pool/worker.py", "stat.py"]
    );
    // Loaded: it does, unless it is there for running the module.
    assert_eq!(library(&["os.py"], ""), ["abc.py", "os.py", "signal.py", "stat.py", "subprocess.py"]);
    assert_eq!(library(&["abc.py"], ""), ["abc.py"]);
}

#[test]
fn strings_that_name_modules_count_in_the_application_only() {
    let files = [
        ("/app/shop/__init__.py", ""),
        (
            "/app/shop/settings.py",
            "import json\nAPPS = ['shop.apps.Config', 'users', 'auth.backends', 'json.tool', 're']\n",
        ),
        ("/app/shop/apps.py", ""),
        ("/app/shop/wsgi.py", "x = 'text.decode'.encode('big5')\n"),
        ("/app/users/__init__.py", ""),
        ("/app/other/__init__.py", ""),
        ("/app/re.py", ""),
        ("/usr/local/lib/python3.11/site-packages/auth/__init__.py", "x = 'auth.unused'\n"),
        ("/usr/local/lib/python3.11/site-packages/auth/backends.py", ""),
        ("/usr/local/lib/python3.11/site-packages/auth/unused.py", ""),
    ];
    let set = reachable(&tree(&files), &["/app/shop/settings.py", "/app/shop/wsgi.py"]);
    assert_eq!(
        below(&set, "/app"),
        ["shop/__init__.py", "shop/apps.py", "shop/settings.py", "shop/wsgi.py", "users/__init__.py"]
    );
    assert_eq!(below(&set, SITE), ["auth/__init__.py", "auth/backends.py"]);
    assert!(set.contains(&format!("{LIBRARY}/json/tool.py").as_str().into()));
    assert_eq!(below(&set, &format!("{LIBRARY}/encodings")), ["__init__.py", "big5.py", "utf_8.py"]);
    assert_eq!(
        below(&set, &format!("{LIBRARY}/lib-dynload")),
        ["_codecs_tw.cpython-311-x86_64-linux-gnu.so"]
    );
}

#[test]
fn the_configuration_and_scripts_name_modules() {
    let files = [
        ("/app/shop/__init__.py", ""),
        ("/app/shop/main.py", "import re\n"),
        ("/app/shop/settings.py", ""),
        ("/app/shop/worker.py", ""),
        ("/app/shop/__main__.py", ""),
        ("/app/shop/unused.py", ""),
    ];
    let tree = tree(&files).file("/bin/sh", 0o755, "x").file(
        "/usr/local/bin/start",
        0o755,
        "#!/bin/sh\npython3 -m shop\nexec celery -A shop.worker worker\n",
    );
    let config = Config {
        entrypoint: vec!["start".to_owned()],
        cmd: vec!["gunicorn".to_owned(), "--bind=0.0.0.0".to_owned(), "shop.main:create_app()".to_owned()],
        working_dir: "/app".to_owned(),
        env: vec!["PATH=/usr/local/bin".to_owned(), "SETTINGS=shop.settings".to_owned()],
        ..Config::default()
    };
    let set = reachable_with(&tree, &[], &config);
    assert_eq!(
        below(&set, "/app"),
        ["shop/__init__.py", "shop/__main__.py", "shop/main.py", "shop/settings.py", "shop/worker.py"]
    );
    assert!(set.contains(&format!("{LIBRARY}/re.py").as_str().into()));
}

#[test]
fn a_package_that_imports_by_unknown_names_is_kept_whole() {
    let site = |files: &[(&str, &str)]| {
        let tree = tree(&[("/app/main.py", "import web, plain\n")]);
        files
            .iter()
            .fold(tree, |tree, (path, text)| tree.file(format!("{SITE}/{path}").as_str(), 0o644, *text))
    };
    let set = reachable(
        &site(&[
            ("web/__init__.py", "from .loader import load\n"),
            ("web/loader.py", "def load(name):\n    return import_module(name)\n"),
            ("web/drivers/one.py", "import optional\n"),
            ("web/drivers/_two.cpython-311-x86_64-linux-gnu.so", "x"),
            ("web/tests/case.py", ""),
            ("optional.py", ""),
            ("plain/__init__.py", ""),
            ("plain/unused.py", ""),
            ("decoy/__init__.py", ""),
        ]),
        &["/app/main.py"],
    );
    assert_eq!(
        below(&set, SITE),
        [
            "optional.py",
            "plain/__init__.py",
            "web/__init__.py",
            "web/drivers/_two.cpython-311-x86_64-linux-gnu.so",
            "web/drivers/one.py",
            "web/loader.py"
        ]
    );
}

#[test]
fn metadata_data_and_libraries_come_with_their_package() {
    let site = [
        ("web/__init__.py", ""),
        ("web/py.typed", ""),
        ("web/cacert.pem", "x"),
        ("web/templates/admin/base.html", "x"),
        ("web/templates/tests/base.html", "x"),
        ("web/sub/__init__.py", ""),
        ("web/sub/other.html", "x"),
        ("web.libs/libq-1.so.5", "x"),
        ("Web-1.0.dist-info/METADATA", "x"),
        ("Web-1.0.dist-info/RECORD", "web/__init__.py,,\n"),
        ("Web-1.0.dist-info/LICENSE", "x"),
        ("PyYAML-6.0.dist-info/RECORD", "yaml/__init__.py,,\n_yaml/__init__.py,,\n"),
        ("PyYAML-6.0.dist-info/entry_points.txt", "x"),
        ("yaml/__init__.py", ""),
        ("decoy-1.0.dist-info/RECORD", "decoy/__init__.py,,\n"),
        ("decoy/__init__.py", ""),
        ("decoy.libs/libd.so", "x"),
    ];
    let tree = site.iter().fold(tree(&[("/app/main.py", "import web, yaml\n")]), |tree, (path, text)| {
        tree.file(format!("{SITE}/{path}").as_str(), 0o644, *text)
    });
    let set = reachable(&tree, &["/app/main.py"]);
    assert_eq!(
        below(&set, SITE),
        [
            "PyYAML-6.0.dist-info/RECORD",
            "PyYAML-6.0.dist-info/entry_points.txt",
            "Web-1.0.dist-info/METADATA",
            "Web-1.0.dist-info/RECORD",
            "web.libs/libq-1.so.5",
            "web/__init__.py",
            "web/cacert.pem",
            "web/templates/admin/base.html",
            "yaml/__init__.py"
        ]
    );
}

#[test]
fn compiled_files_come_for_the_interpreter_in_use() {
    let tree = tree(&[
        ("/app/main.py", "import late\n"),
        ("/app/late.py", ""),
        ("/app/__pycache__/late.cpython-311.pyc", "x"),
        ("/app/__pycache__/late.cpython-310.pyc", "x"),
        ("/app/__pycache__/unused.cpython-311.pyc", "x"),
    ]);
    let set = reachable(&tree, &["/app/main.py"]);
    assert_eq!(below(&set, "/app"), ["__pycache__/late.cpython-311.pyc", "late.py", "main.py"]);
}

#[test]
fn packages_are_found_through_path_files_and_python_path() {
    let tree = tree(&[
        ("/app/main.py", "import linked, added, given\n"),
        ("/usr/local/lib/python3.11/site-packages/x.pth", "# comment\n/opt/linked\nimport hook\n../added\n"),
        (
            "/usr/local/lib/python3.11/site-packages/hook.py",
            "def find():\n    import heavy\n    __import__(name)\n",
        ),
        ("/usr/local/lib/python3.11/site-packages/heavy.py", ""),
        ("/opt/linked/linked.py", ""),
        ("/usr/local/lib/python3.11/added/added.py", ""),
        ("/srv/packages/given/__init__.py", ""),
        ("/srv/packages/given/data.txt", "x"),
        ("/srv/packages/given-1.dist-info/METADATA", "x"),
        ("/srv/packages/decoy/__init__.py", ""),
    ]);
    let config = Config {
        working_dir: "/app".to_owned(),
        env: vec!["PATH=/usr/local/bin".to_owned(), "PYTHONPATH=/srv/packages".to_owned()],
        ..Config::default()
    };
    let set = reachable_with(&tree, &["/app/main.py", &format!("{SITE}/hook.py")], &config);
    assert_eq!(below(&set, "/opt"), ["linked/linked.py"]);
    assert_eq!(
        below(&set, "/srv"),
        ["packages/given-1.dist-info/METADATA", "packages/given/__init__.py", "packages/given/data.txt"]
    );
    assert!(set.contains(&format!("{LIBRARY}/added/added.py").as_str().into()));
    assert!(!set.contains(&format!("{SITE}/heavy.py").as_str().into()));
}

#[test]
fn time_zones_come_with_what_reads_them() {
    let tree = tree(&[
        ("/app/main.py", "def zone():\n    from zoneinfo import ZoneInfo\n"),
        ("/usr/share/zoneinfo/Europe/Berlin", "x"),
        ("/usr/share/zoneinfo/right/Europe/Berlin", "x"),
        ("/usr/share/zoneinfo/tzdata.zi", "x"),
    ]);
    let set = reachable(&tree, &["/app/main.py"]);
    assert_eq!(below(&set, "/usr/share/zoneinfo"), ["Europe/Berlin", "tzdata.zi"]);
    assert!(below(&reachable(&tree, &[]), "/usr/share").is_empty());
}

#[test]
fn a_compiled_module_that_was_not_loaded_brings_its_neighbours() {
    let site = [
        ("fast/__init__.py", ""),
        ("fast/core.cpython-311-x86_64-linux-gnu.so", "x"),
        ("fast/helper.py", ""),
        ("fast/other/__init__.py", ""),
    ];
    let tree =
        site.iter().fold(tree(&[("/app/main.py", "from fast import core\n")]), |tree, (path, text)| {
            tree.file(format!("{SITE}/{path}").as_str(), 0o644, *text)
        });
    let core = format!("{SITE}/fast/core.cpython-311-x86_64-linux-gnu.so");
    let all = ["fast/__init__.py", "fast/core.cpython-311-x86_64-linux-gnu.so", "fast/helper.py"];
    assert_eq!(below(&reachable(&tree, &["/app/main.py"]), SITE), all);
    assert_eq!(below(&reachable(&tree, &["/app/main.py", &core]), SITE), all[..2]);
}

#[test]
fn odd_files_and_cyclic_links_do_no_harm() {
    let mut tree = tree(&[
        (
            "/app/main.py",
            "import a.b.c.d, é, .., \0\nfrom ..... import x\nimport_module('/etc.passwd')\n__import__('...')\n",
        ),
        ("/app/__init__.py", ""),
        ("/__init__.py", ""),
    ]);
    tree = tree.symlink("/app/a", "b").symlink("/app/b", "a").symlink("/app/main2.py", "main2.py");
    tree = tree.file("/app/bad.py", 0o644, [0xff, 0xfe, 0, b'\n'].repeat(1000));
    let set = reachable(&tree, &["/app/main.py", "/app/bad.py", "/app/a"]);
    assert!(set.contains(&"/app/main.py".into()));
}

#[test]
fn another_distribution_counts_where_it_is_declared_or_in_use() {
    let site = [
        (
            "web/__init__.py",
            "def lazy():\n    import needed, optional, used\n    import used.more\n    import bare\n",
        ),
        ("web-1.dist-info/METADATA", "Requires-Dist: needed>=1\nRequires-Dist: optional; extra == 'all'\n"),
        ("needed/__init__.py", ""),
        ("needed-1.dist-info/METADATA", "x"),
        ("optional/__init__.py", ""),
        ("optional-1.dist-info/METADATA", "x"),
        ("used/__init__.py", ""),
        ("used/more.py", ""),
        ("used-1.dist-info/METADATA", "x"),
        ("bare.py", ""),
    ];
    let tree =
        site.iter().fold(tree(&[("/app/main.py", "import web\nimport used\n")]), |tree, (path, text)| {
            tree.file(format!("{SITE}/{path}").as_str(), 0o644, *text)
        });
    let kept = below(&reachable(&tree, &["/app/main.py"]), SITE);
    let modules: Vec<&String> = kept.iter().filter(|path| path.ends_with(".py")).collect();
    assert_eq!(
        modules,
        ["bare.py", "needed/__init__.py", "used/__init__.py", "used/more.py", "web/__init__.py"]
    );
}

#[test]
fn tests_that_are_kept_with_the_application_are_not_followed() {
    let tree = tree(&[
        ("/app/main.py", ""),
        ("/app/tests/helper.py", "import json\n"),
        ("/app/test_main.py", "import pool\n"),
    ]);
    let set = reachable(&tree, &["/app/main.py"]);
    assert!(below(&set, LIBRARY).is_empty());
    let settings =
        Settings { level: Level::Reachable, include_path: vec!["/app".into()], ..Settings::default() };
    let set = keep(&opened(&["/app/main.py"]), &tree, &Config::default(), &settings).unwrap();
    assert!(set.contains(&"/app/tests/helper.py".into()) && below(&set, LIBRARY).is_empty());
}

#[test]
fn a_virtual_environment_hides_the_systems_packages() {
    let files = |settings| {
        tree(&[
            ("/venv/pyvenv.cfg", settings),
            ("/venv/lib/python3.11/site-packages/web.py", "import helper\n"),
            ("/usr/local/lib/python3.11/site-packages/helper.py", ""),
        ])
    };
    let loaded = ["/venv/lib/python3.11/site-packages/web.py", "/usr/local/lib/python3.11/os.py"];
    let helper = ImagePath::new(format!("{SITE}/helper.py"));
    let hidden = reachable(&files("home = /usr/local/bin\ninclude-system-site-packages = false\n"), &loaded);
    assert!(!hidden.contains(&helper));
    let shown = reachable(&files("home = /usr/local/bin\ninclude-system-site-packages = true\n"), &loaded);
    assert!(shown.contains(&helper));
}

#[test]
fn an_environment_that_nothing_ran_in_is_found_by_its_settings() {
    let tree = tree(&[
        ("/venv/pyvenv.cfg", "home = /usr/local/bin\ninclude-system-site-packages = false\n"),
        ("/venv/bin/python", ""),
        ("/venv/lib/python3.11/site-packages/web/__init__.py", "import json, helper\n"),
        ("/usr/local/lib/python3.11/site-packages/helper.py", ""),
    ]);
    let config = Config {
        entrypoint: vec!["/venv/bin/python".to_owned(), "-c".to_owned(), "from web import x".to_owned()],
        env: vec!["PATH=/venv/bin".to_owned()],
        ..Config::default()
    };
    let set = reachable_with(&tree, &[], &config);
    assert_eq!(below(&set, "/venv/lib"), ["python3.11/site-packages/web/__init__.py"]);
    assert!(!set.contains(&ImagePath::new(format!("{SITE}/helper.py"))));
    assert!(set.contains(&format!("{LIBRARY}/json/decoder.py").as_str().into()));
}
