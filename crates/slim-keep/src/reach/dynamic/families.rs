//! Libraries that open whatever lies in a directory of their own: a table.

use super::{World, directory_of, is_library};
use crate::reach::Via;
use crate::reach::seeds::{Asks, below, places};
use crate::seed::Seed;
use slim_image::ImagePath;

/// One library and where its plug-ins and their configuration lie.
struct Family {
    library: &'static str,
    /// Below the library's own directory.
    beside: &'static [&'static str],
    elsewhere: &'static [&'static str],
    /// Variables of the environment that name other places.
    variables: &'static [&'static str],
}

const FAMILIES: [Family; 4] = [
    Family {
        library: "libsasl2",
        beside: &["sasl2"],
        elsewhere: &["/etc/sasl2", "/usr/lib/sasl2"],
        variables: &["SASL_PATH", "SASL_CONF_PATH"],
    },
    Family {
        library: "libkrb5",
        beside: &["krb5/plugins"],
        elsewhere: &["/etc/krb5.conf", "/etc/krb5.conf.d"],
        variables: &["KRB5_CONFIG"],
    },
    Family {
        library: "libgssapi_krb5",
        beside: &["gss"],
        elsewhere: &["/etc/gss"],
        variables: &["GSS_MECH_CONFIG"],
    },
    Family {
        library: "libp11-kit",
        beside: &["pkcs11"],
        elsewhere: &["/usr/share/p11-kit/modules", "/etc/pkcs11"],
        variables: &[],
    },
];

/// What lies in the library libicudata comes as a needed one; ICU's data may also be in files of their own, in a directory
/// for each version.
const ICU: &str = "libicuuc";
const ICU_DATA: [&str; 2] = ["/usr/share/icu", "/usr/local/share/icu"];

/// What a library of the table, once kept, opens.
pub(super) fn seeds(world: &World<'_>, path: &ImagePath) -> Vec<Seed> {
    let mut seeds = Vec::new();
    for family in FAMILIES.iter().filter(|family| is_library(path, family.library)) {
        let asks = |what| Asks::new(Via::DynamicLibrary, path, what);
        let directory = directory_of(path);
        seeds.extend(family.beside.iter().map(|name| asks(name).tree(below(&directory, name))));
        seeds.extend(family.elsewhere.iter().map(|place| asks(place).tree(place)));
        for name in family.variables {
            seeds.extend(places(world.context, name).map(|place| asks(name).tree(place)));
        }
    }
    if is_library(path, ICU) {
        seeds.extend(icu(world, path));
    }
    seeds
}

fn icu(world: &World<'_>, path: &ImagePath) -> Vec<Seed> {
    let context = world.context;
    let directories = ICU_DATA.iter().map(|place| ImagePath::from(*place)).flat_map(|place| {
        let versions: Vec<ImagePath> =
            context.tree.read_dir(&place).into_iter().map(|name| place.join(name)).collect();
        versions
    });
    let named = places(context, "ICU_DATA").map(ImagePath::new);
    let is_data = |name: &&[u8]| name.starts_with(b"icudt") && name.ends_with(b".dat");
    let mut seeds = Vec::new();
    for directory in directories.chain(named) {
        for name in context.tree.read_dir(&directory).into_iter().filter(is_data) {
            seeds.push(Asks::new(Via::DynamicLibrary, path, name).object(directory.join(name)));
        }
    }
    seeds
}
