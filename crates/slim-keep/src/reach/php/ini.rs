//! php.ini and the folders of further ones: every kept runtime reads those of its own kind at its start, and loads the
//! extensions that they name.

use crate::context::Context;
use crate::reach::places::{because, below, directory, ending, inside, join, objects};
use crate::reason::Via;
use crate::seed::Seed;
use slim_image::ImagePath;

/// Where the official images and distributions keep php.ini; one folder a version in the first.
const VERSIONED: &str = "/etc/php";
const FOLDERS: [&str; 4] = ["/usr/local/etc/php", "/etc", "/usr/local/etc", "/opt/bitnami/php/etc"];
const SCANNED: [&str; 3] = ["conf.d", "php.d", "php-zts.d"];
/// Where extensions lie, each with one folder for each build of PHP.
const EXTENSIONS: [&str; 5] = [
    "/usr/lib/php",
    "/usr/local/lib/php/extensions",
    "/usr/lib64/php",
    "/usr/lib",
    "/opt/bitnami/php/lib/php/extensions",
];

/// The ini files of a runtime.
pub(super) fn of_runtime(context: &Context<'_>, runtime: &ImagePath) -> Vec<Seed> {
    let reason = because(Via::Php, runtime, None, b"php.ini");
    let mut files = Vec::new();
    let mut add = |folder: &ImagePath| {
        files.push(folder.join("php.ini"));
        for scanned in SCANNED {
            files.extend(ini_files(context, &folder.join(scanned)));
        }
    };
    for version in
        directory(context, VERSIONED.as_bytes()).map(|place| inside(context, &place)).unwrap_or_default()
    {
        add(&version.join(kind(runtime.file_name())));
    }
    FOLDERS.iter().for_each(|folder| add(&ImagePath::from(*folder)));
    // Alpine has a folder a version.
    for folder in directory(context, b"/etc").map(|place| inside(context, &place)).unwrap_or_default() {
        if folder.file_name().starts_with(b"php") && folder.file_name() != b"php" {
            add(&folder);
        }
    }
    for folder in context.environment.directories("PHP_INI_SCAN_DIR") {
        files.extend(ini_files(context, &ImagePath::new(folder)));
    }
    files.extend(
        context
            .environment
            .directories("PHPRC")
            .into_iter()
            .map(|folder| ImagePath::new(join(&folder, b"php.ini"))),
    );
    files.retain(|path| context.entry(path).is_some());
    objects(files, &reason).collect()
}

fn ini_files(context: &Context<'_>, folder: &ImagePath) -> Vec<ImagePath> {
    let mut files = below(context, folder, 1);
    files.retain(|path| ending(path.file_name()) == b"ini");
    files
}

/// Which of a version's folders a runtime reads, as Debian names them.
fn kind(runtime: &[u8]) -> &'static str {
    let has = |part: &[u8]| runtime.windows(part.len()).any(|window| window == part);
    if has(b"fpm") {
        "fpm"
    } else if has(b"cgi") {
        "cgi"
    } else if has(b"libphp") {
        if has(b"embed") { "embed" } else { "apache2" }
    } else {
        "cli"
    }
}

/// What an ini file names.
pub(super) fn seeds(context: &Context<'_>, path: &ImagePath, text: &[u8]) -> Vec<Seed> {
    let mut seeds = Vec::new();
    let mut extension_directory = None;
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let Some((key, value)) = setting(line) else { continue };
        let line = u32::try_from(number + 1).ok();
        match key {
            b"extension_dir" => extension_directory = Some(value.to_vec()),
            b"extension" | b"zend_extension" => {
                let reason = because(Via::Php, path, line, value);
                seeds.extend(objects(extensions(context, value, extension_directory.as_deref()), &reason));
            }
            b"auto_prepend_file"
            | b"auto_append_file"
            | b"opcache.preload"
            | b"browscap"
            | b"curl.cainfo"
            | b"openssl.cafile"
            | b"opcache.blacklist_filename" => {
                let place = join(context.environment.working_directory.as_bytes(), value);
                if context.file(&place).is_some() {
                    seeds.push(Seed::object(place, because(Via::Php, path, line, value)));
                }
            }
            _ => {}
        }
    }
    seeds
}

/// A line's key and its value without quotes; `None` for comments, sections and empty values.
fn setting(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let line = line.trim_ascii();
    if line.starts_with(b";") || line.starts_with(b"#") || line.starts_with(b"[") {
        return None;
    }
    let equals = line.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (line[..equals].trim_ascii(), line[equals + 1..].trim_ascii());
    let value = match value.first() {
        Some(quote @ (b'"' | b'\'')) => value[1..].split(|byte| byte == quote).next()?,
        _ => value.split(|byte| *byte == b';').next()?.trim_ascii(),
    };
    (!value.is_empty()).then_some((key, value))
}

/// The files that the name of an extension means.
fn extensions(context: &Context<'_>, name: &[u8], configured: Option<&[u8]>) -> Vec<Vec<u8>> {
    if name.starts_with(b"/") {
        return vec![name.to_vec()];
    }
    let file = if ending(name) == b"so" { name.to_vec() } else { [name, b".so"].concat() };
    let mut places: Vec<Vec<u8>> = configured.map(<[u8]>::to_vec).into_iter().collect();
    for top in EXTENSIONS {
        let folders = directory(context, top.as_bytes()).map(|top| inside(context, &top)).unwrap_or_default();
        for folder in folders {
            if top != "/usr/lib" {
                places.push(folder.as_bytes().to_vec());
            } else if folder.file_name().starts_with(b"php") {
                places.push(folder.join("modules").as_bytes().to_vec());
            }
        }
    }
    let files = places.iter().map(|place| join(place, &file));
    files.filter(|file| context.file(file).is_some()).collect()
}
