//! PAM: libpam reads the file of a service in `/etc/pam.d` (or `/etc/pam.conf`) and opens the modules that it names
//! (pam.conf(5)).
//!
//! All service files are kept, since which one a program asks for is decided at run time; they and the modules are small.
//! Modules that no service file names stay out.

use super::{World, directory_of, is_library};
use crate::reach::Via;
use crate::reach::seeds::{Asks, below};
use crate::seed::Seed;
use slim_image::{ImagePath, TreeError};

const SERVICES: &str = "/etc/pam.d";
const SERVICE_MAX: u64 = 256 << 10;
/// Where modules lie where not beside the library.
const MODULE_DIRECTORIES: [&str; 4] =
    ["/lib/security", "/lib64/security", "/usr/lib/security", "/usr/lib64/security"];
/// What modules read.
const CONFIGURATION: [&str; 4] = ["/etc/pam.conf", "/etc/security", "/etc/environment", "/etc/login.defs"];
/// What the module for passwords reads, and runs where it may not read that.
const PASSWORDS: [&str; 5] =
    ["/etc/shadow", "/etc/gshadow", "/sbin/unix_chkpwd", "/usr/sbin/unix_chkpwd", "/usr/bin/unix_chkpwd"];

/// What libpam, once kept, opens.
pub(super) fn seeds(world: &World<'_>, path: &ImagePath) -> Result<Vec<Seed>, TreeError> {
    if !is_library(path, "libpam") {
        return Ok(Vec::new());
    }
    let context = world.context;
    let asks = |what| Asks::new(Via::DynamicLibrary, path, what);
    let mut seeds = vec![asks(SERVICES).tree(SERVICES)];
    seeds.extend(CONFIGURATION.iter().map(|path| asks(path).tree(path)));
    let directories: Vec<ImagePath> = std::iter::once(directory_of(path).join("security"))
        .chain(MODULE_DIRECTORIES.iter().map(|directory| ImagePath::from(*directory)))
        .collect();
    let mut files = vec![ImagePath::from("/etc/pam.conf")];
    if let Some(services) = context.walk(SERVICES.as_bytes(), true).found() {
        files.extend(context.tree.read_dir(services).into_iter().map(|name| services.join(name)));
    }
    for file in files {
        let text = context.read(file.as_bytes(), SERVICE_MAX)?;
        for (line, module) in modules(&text) {
            let asks = Asks { line: Some(line), ..Asks::new(Via::DynamicLibrary, &file, module) };
            if module.starts_with(b"/") {
                seeds.push(asks.object(module));
                continue;
            }
            let places = directories.iter().map(|directory| below(directory, module));
            seeds.extend(
                places
                    .filter(|place| context.file(place.as_bytes()).is_some())
                    .map(|place| asks.object(&place)),
            );
            if module == b"pam_unix.so" {
                seeds.extend(PASSWORDS.iter().map(|path| asks.program(path)));
            }
        }
    }
    Ok(seeds)
}

/// The modules that a service file names, with their lines: the first word that is one's name, since what stands before
/// it (service, type, `[success=1 default=ignore]`) and behind it has no fixed number of words.
fn modules(text: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let lines = (1..).zip(text.split(|byte| *byte == b'\n'));
    lines.filter_map(|(number, line)| {
        let line = line.trim_ascii();
        if line.starts_with(b"#") || line.starts_with(b"@") {
            return None;
        }
        let mut words = line.split(u8::is_ascii_whitespace);
        let module = words.find(|word| word.ends_with(b".so") && !word.contains(&b'='))?;
        // A name with a slash is taken from the directory of modules, or is absolute.
        let is_below = !module.split(|byte| *byte == b'/').any(|part| part == b"..");
        is_below.then_some((number, module))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_found_behind_any_control() {
        let text = b"#auth required pam_no.so\nauth\t[success=1 default=ignore]\tpam_unix.so nullok\n\
            @include common-auth\n-session optional /opt/x/pam_x.so a.so\nauth include system-auth\n";
        let found: Vec<(u32, &[u8])> = modules(text).collect();
        assert_eq!(found, [(2, &b"pam_unix.so"[..]), (4, b"/opt/x/pam_x.so")]);
    }
}
