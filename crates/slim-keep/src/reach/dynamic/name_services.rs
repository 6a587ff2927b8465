//! glibc's look-up of users, hosts and the rest: for each service that `/etc/nsswitch.conf` names it opens
//! `libnss_SERVICE.so.2` (nss(5)). musl has no such thing.

use super::{Loader, Opener, World};
use crate::seed::Seed;
use slim_image::TreeError;
use std::collections::BTreeSet;

const CONFIGURATION: &[u8] = b"/etc/nsswitch.conf";
const CONFIGURATION_MAX: u64 = 1 << 20;

/// What the C library, once kept, opens.
pub(super) fn seeds(
    world: &World<'_>,
    loader: &mut Loader,
    opener: Opener<'_>,
) -> Result<Vec<Seed>, TreeError> {
    let mut seeds = Vec::new();
    if is_glibc(opener.path.file_name()) && world.context.name_services {
        for service in services(&world.context.read(CONFIGURATION, CONFIGURATION_MAX)?) {
            let soname = [b"libnss_", &service[..], b".so.2"].concat();
            seeds.extend(loader.seeds(world, opener, &soname)?);
        }
    }
    Ok(seeds)
}

/// Whether a file is glibc's main part: `libc.so.6`, or `libc-2.31.so`, which that then leads to.
pub(in crate::reach) fn is_glibc(name: &[u8]) -> bool {
    name == b"libc.so.6" || (name.starts_with(b"libc-2.") && name.ends_with(b".so"))
}

/// The services of all databases: `hosts: files [!NOTFOUND=return] dns # comment`.
fn services(text: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut services = BTreeSet::new();
    for line in text.split(|byte| *byte == b'\n') {
        let line = line.split(|byte| *byte == b'#').next().unwrap_or_default();
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let mut is_action = false;
        for word in line[colon + 1..].split(u8::is_ascii_whitespace) {
            is_action |= word.starts_with(b"[");
            let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
            if !is_action && !word.is_empty() && word.iter().all(is_name) {
                services.insert(word.to_vec());
            }
            is_action &= !word.ends_with(b"]");
        }
    }
    services
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_words_behind_the_colon_that_are_no_actions() {
        let text =
            b"# passwd: nis\npasswd: files systemd\nhosts:\tfiles [!UNAVAIL = return] dns # wins\nbroken\n";
        let names: Vec<String> =
            services(text).into_iter().map(|name| String::from_utf8(name).unwrap()).collect();
        assert_eq!(names, ["dns", "files", "systemd"]);
        assert!(services(b"a: ../../x [").is_empty());
    }
}
