//! What the name in a request says by itself.

use slim_image::ImagePath;

/// `builtinModules` of Node.js 20 to 24; those with `node:` need no list.
pub(super) const BUILT_IN: [&str; 69] = [
    "_http_agent",
    "_http_client",
    "_http_common",
    "_http_incoming",
    "_http_outgoing",
    "_http_server",
    "_stream_duplex",
    "_stream_passthrough",
    "_stream_readable",
    "_stream_transform",
    "_stream_wrap",
    "_stream_writable",
    "_tls_common",
    "_tls_wrap",
    "assert",
    "assert/strict",
    "async_hooks",
    "buffer",
    "child_process",
    "cluster",
    "console",
    "constants",
    "crypto",
    "dgram",
    "diagnostics_channel",
    "dns",
    "dns/promises",
    "domain",
    "events",
    "fs",
    "fs/promises",
    "http",
    "http2",
    "https",
    "inspector",
    "inspector/promises",
    "module",
    "net",
    "os",
    "path",
    "path/posix",
    "path/win32",
    "perf_hooks",
    "process",
    "punycode",
    "querystring",
    "readline",
    "readline/promises",
    "repl",
    "stream",
    "stream/consumers",
    "stream/promises",
    "stream/web",
    "string_decoder",
    "sys",
    "timers",
    "timers/promises",
    "tls",
    "trace_events",
    "tty",
    "url",
    "util",
    "util/types",
    "v8",
    "vm",
    "wasi",
    "worker_threads",
    "zlib",
    "zlib/iter",
];

/// Whether a name is that of a module which Node.js has within itself.
pub(super) fn is_built_in(specifier: &[u8]) -> bool {
    specifier.starts_with(b"node:")
        || BUILT_IN.binary_search_by(|name| name.as_bytes().cmp(specifier)).is_ok()
}

pub(super) fn is_path(specifier: &[u8]) -> bool {
    matches!(specifier, b"." | b"..")
        || [&b"./"[..], b"../", b"/"].iter().any(|start| specifier.starts_with(start))
}

/// The package's name and what follows it: empty, or with its slash. An empty name where there is none.
pub(super) fn package_name(specifier: &[u8]) -> (&[u8], &[u8]) {
    let mut slashes = specifier.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    let end = if specifier.starts_with(b"@") {
        match slashes.next() {
            Some(slash) if slash + 1 < specifier.len() => slashes.next().unwrap_or(specifier.len()),
            _ => 0,
        }
    } else {
        slashes.next().unwrap_or(specifier.len())
    };
    specifier.split_at(end)
}

/// The directory of the package that a path lies in; `None` for what is in no search directory.
pub(in crate::reach::node) fn package_root(path: &ImagePath) -> Option<ImagePath> {
    let bytes = path.as_bytes();
    let within = |name: &[u8]| {
        let at = bytes.windows(name.len()).rposition(|window| window == name)?;
        Some(at + name.len())
    };
    let start = within(b"/node_modules/").or_else(|| {
        let start = within(b"/nodejs/")?;
        (bytes.starts_with(b"/usr/share/nodejs/") || bytes.starts_with(b"/usr/lib/")).then_some(start)
    })?;
    let (name, rest) = package_name(&bytes[start..]);
    (!name.is_empty() && !rest.is_empty()).then(|| ImagePath::new(&bytes[..start + name.len()]))
}
