//! Rule: what a .NET assembly's side files name, and the shared frameworks in use.
//!
//! The host resolves every assembly from `X.deps.json` and `X.runtimeconfig.json` beside `X.dll`, and refuses to start
//! where one that they name is missing. Which of a framework's assemblies are loaded is decided as code runs, so a
//! framework of which one file is kept is kept whole, tools for debuggers aside.

use super::json::Json;
use super::places::{because, below, directory, ending, holds, inside, join, libraries, objects};
use super::{KeptFile, Rule, World};
use crate::context::Context;
use crate::inspect::File;
use crate::reason::{Reason, Via};
use crate::seed::Seed;
use slim_image::{ImagePath, TreeError};
use std::collections::BTreeSet;

/// Folders that hold `shared` and `host`, where distributions and the official images put them.
const ROOTS: [&str; 4] = ["/usr/share/dotnet", "/usr/lib/dotnet", "/usr/lib64/dotnet", "/opt/dotnet"];
/// Side files are larger only by mistake.
const JSON_MAX: u64 = 16 << 20;
/// Libraries that the framework's own objects open by name; ICU only where the program is not invariant.
const OPENED: [&str; 3] = ["libssl.so.", "libcrypto.so.", "libgssapi_krb5.so."];
const GLOBALIZATION: [&str; 2] = ["libicuuc.so.", "libicui18n.so."];
/// Of a framework, for debuggers only.
const OF_DEBUGGERS: [&str; 4] =
    ["createdump", "libmscordaccore.so", "libmscordbi.so", "libcoreclrtraceptprovider.so"];

/// The rule.
#[derive(Default)]
pub(super) struct DotNet {
    /// Folders of frameworks that are kept.
    frameworks: BTreeSet<ImagePath>,
    /// Side files that were looked at.
    seen: BTreeSet<ImagePath>,
    opened: bool,
    /// Whether a program was seen that cultures matter to.
    globalized: bool,
}

impl Rule for DotNet {
    fn follow(&mut self, file: &KeptFile<'_>, world: &World<'_>) -> Result<Vec<Seed>, TreeError> {
        let context = world.context;
        let name = file.path.file_name();
        let mut seeds = Vec::new();
        if let Some(framework) = framework_of(file.path) {
            if self.frameworks.insert(framework.clone()) {
                seeds.extend(whole(context, &framework, file.path));
                seeds.extend(self.native(context, file.path));
            }
            return Ok(seeds);
        }
        // A program that carries its runtime with it has it beside its own assemblies.
        if matches!(name, b"libcoreclr.so" | b"libSystem.Native.so") && matches!(file.what, File::Elf(_)) {
            seeds.extend(self.native(context, file.path));
        }
        if ending(name) == b"dll" || name.ends_with(b".deps.json") || name.ends_with(b".runtimeconfig.json") {
            seeds.extend(self.program(context, file.path)?);
        }
        Ok(seeds)
    }
}

impl DotNet {
    /// The side files of a program or library, and what they name.
    fn program(&mut self, context: &Context<'_>, path: &ImagePath) -> Result<Vec<Seed>, TreeError> {
        let name = path.as_bytes();
        let stem = [&b".dll"[..], b".deps.json", b".runtimeconfig.json"]
            .iter()
            .find_map(|ending| name.strip_suffix(*ending))
            .unwrap_or(name);
        let side = |ending: &str| ImagePath::new([stem, ending.as_bytes()].concat());
        let reason = because(Via::DotNet, path, None, b"");
        let mut seeds: Vec<Seed> = objects(
            [".dll", ".dll.config", ".deps.json", ".runtimeconfig.json"]
                .map(side)
                .iter()
                .filter(|side| *side != path),
            &reason,
        )
        .collect();
        let (dependencies, configuration) = (side(".deps.json"), side(".runtimeconfig.json"));
        if context.file(dependencies.as_bytes()).is_some() && self.seen.insert(dependencies.clone()) {
            let json = Json::read(&context.read(dependencies.as_bytes(), JSON_MAX)?);
            seeds.extend(json.map(|json| assemblies(context, &dependencies, &json)).unwrap_or_default());
        }
        if context.file(configuration.as_bytes()).is_some() && self.seen.insert(configuration.clone()) {
            let json = Json::read(&context.read(configuration.as_bytes(), JSON_MAX)?);
            if let Some(json) = json {
                seeds.extend(frameworks(context, &configuration, &json));
                if !is_invariant(context, &json) && !self.globalized {
                    self.globalized = true;
                    let reason = because(Via::DotNet, &configuration, None, b"globalization");
                    seeds.extend(
                        GLOBALIZATION.iter().flat_map(|name| objects(libraries(context, name), &reason)),
                    );
                }
            }
        }
        Ok(seeds)
    }

    fn native(&mut self, context: &Context<'_>, path: &ImagePath) -> Vec<Seed> {
        if std::mem::replace(&mut self.opened, true) {
            return Vec::new();
        }
        let reason = because(Via::DotNet, path, None, b"cryptography");
        OPENED.iter().flat_map(|name| objects(libraries(context, name), &reason)).collect()
    }
}

/// `…/shared/<framework>/<version>` of a file in it.
fn framework_of(path: &ImagePath) -> Option<ImagePath> {
    let above = path.ancestors();
    let shared = above.iter().position(|above| above.file_name() == b"shared")?;
    let framework = above.get(shared + 1)?;
    // `Microsoft.NETCore.App` and its like, not any folder that is called `shared`.
    if !holds(framework.file_name(), b".") {
        return None;
    }
    above
        .get(shared + 2)
        .filter(|version| version.file_name().first().is_some_and(u8::is_ascii_digit))
        .cloned()
}

fn whole(context: &Context<'_>, framework: &ImagePath, path: &ImagePath) -> Vec<Seed> {
    let reason = because(Via::DotNet, path, None, framework.file_name());
    let mut files = below(context, framework, 1);
    files.retain(|file| {
        let name = file.file_name();
        !matches!(ending(name), b"pdb" | b"xml") && !OF_DEBUGGERS.iter().any(|tool| tool.as_bytes() == name)
    });
    let root = framework.ancestors().into_iter().rev().nth(2);
    let resolvers = root.map(|root| below(context, &root.join("host"), 4)).unwrap_or_default();
    objects(
        files.into_iter().chain(resolvers.into_iter().filter(|file| ending(file.file_name()) == b"so")),
        &reason,
    )
    .collect()
}

/// The assemblies and native libraries that a `deps.json` names, where they lie: most beside it, those of one platform in
/// their own folders. Texts of other languages are left to what was seen.
fn assemblies(context: &Context<'_>, path: &ImagePath, json: &Json) -> Vec<Seed> {
    let folder = path.parent().unwrap_or_else(ImagePath::root);
    let mut files: BTreeSet<Vec<u8>> = BTreeSet::new();
    for (_, target) in json.get("targets").map(Json::table).unwrap_or_default() {
        for (_, library) in target.table() {
            for kind in ["runtime", "native"] {
                for (asset, _) in library.get(kind).map(Json::table).unwrap_or_default() {
                    let name = asset.rsplit('/').next().unwrap_or_default();
                    files.insert(join(folder.as_bytes(), name.as_bytes()));
                    files.insert(join(folder.as_bytes(), asset.as_bytes()));
                }
            }
            for (asset, of) in library.get("runtimeTargets").map(Json::table).unwrap_or_default() {
                let platform = of.get("rid").and_then(Json::text).unwrap_or_default();
                if is_for_linux(context, platform) {
                    files.insert(join(folder.as_bytes(), asset.as_bytes()));
                }
            }
        }
    }
    files.retain(|file| context.file(file).is_some());
    objects(files, &because(Via::DotNet, path, None, b"")).collect()
}

/// Whether a platform's name, as `linux-musl-x64`, can be that of the image.
fn is_for_linux(context: &Context<'_>, platform: &str) -> bool {
    let mut parts = platform.split('-');
    if !matches!(parts.next(), Some("linux" | "unix")) {
        return false;
    }
    let is_musl = parts.next() == Some("musl");
    let image_is_musl = directory(context, b"/lib")
        .is_some_and(|lib| context.tree.read_dir(&lib).iter().any(|name| name.starts_with(b"ld-musl-")));
    let machine = platform.rsplit('-').next().unwrap_or_default();
    let loaders: &[&str] = match machine {
        "x64" => &["x86_64", "x86-64"],
        "arm64" => &["aarch64"],
        "arm" | "armel" | "armv6" => &["armhf", "ld-linux.so.3"],
        "x86" => &["ld-linux.so.2", "i386"],
        "s390x" => &["ld64.so.1", "s390x"],
        "ppc64le" => &["ld64.so.2", "powerpc64le"],
        "linux" | "unix" | "musl" => &[],
        _ => return false,
    };
    let names: Vec<ImagePath> = ["/lib", "/lib64"]
        .iter()
        .filter_map(|place| directory(context, place.as_bytes()))
        .flat_map(|place| inside(context, &place))
        .filter(|path| path.file_name().starts_with(b"ld"))
        .collect();
    let fits = |loader: &&str| names.iter().any(|name| holds(name.file_name(), loader.as_bytes()));
    // Where no loader is seen the machine is not known.
    (platform == "unix" || is_musl == image_is_musl || !is_musl)
        && (loaders.is_empty() || names.is_empty() || loaders.iter().any(fits))
}

/// The folders of the frameworks that a `runtimeconfig.json` asks for, the newest version that the host would take.
fn frameworks(context: &Context<'_>, path: &ImagePath, json: &Json) -> Vec<Seed> {
    let Some(options) = json.get("runtimeOptions") else { return Vec::new() };
    let one = options.get("framework").into_iter();
    let mut seeds = Vec::new();
    for framework in one.chain(options.get("frameworks").map(Json::list).unwrap_or_default()) {
        let text = |key| framework.get(key).and_then(Json::text);
        let (Some(name), Some(version)) = (text("name"), text("version")) else { continue };
        let reason = because(Via::DotNet, path, None, name.as_bytes());
        let mut roots: Vec<Vec<u8>> = context.environment.directories("DOTNET_ROOT");
        roots.extend(ROOTS.iter().map(|root| root.as_bytes().to_vec()));
        for root in roots {
            let place = [&root[..], b"/shared/", name.as_bytes()].concat();
            let versions =
                directory(context, &place).map(|place| inside(context, &place)).unwrap_or_default();
            if let Some(folder) = newest(&versions, version) {
                seeds.extend(marker(context, folder, &reason));
            }
        }
    }
    seeds
}

/// One file of a framework: following it brings the others.
fn marker(context: &Context<'_>, folder: &ImagePath, reason: &Reason) -> Option<Seed> {
    let files = below(context, folder, 1);
    let file =
        files.iter().find(|file| file.as_bytes().ends_with(b".deps.json")).or_else(|| files.first())?;
    Some(Seed::object(file.as_bytes(), reason.clone()))
}

/// The newest with the same major version, of the same minor one where there is any.
fn newest<'v>(versions: &'v [ImagePath], wanted: &str) -> Option<&'v ImagePath> {
    let numbers = |text: &[u8]| -> Vec<u64> {
        let parts = text.split(|byte| matches!(byte, b'.' | b'-'));
        parts.map_while(|part| std::str::from_utf8(part).ok()?.parse().ok()).collect()
    };
    let wanted = numbers(wanted.as_bytes());
    let same = |length: usize| {
        let fits = versions.iter().filter(|version| {
            let own = numbers(version.file_name());
            own.len() >= length && own.iter().zip(&wanted).take(length).all(|(own, wanted)| own == wanted)
        });
        fits.max_by_key(|version| numbers(version.file_name()))
    };
    same(2).or_else(|| same(1))
}

/// Whether a program says that cultures do not matter to it.
fn is_invariant(context: &Context<'_>, json: &Json) -> bool {
    let variable = context.environment.variables.get("DOTNET_SYSTEM_GLOBALIZATION_INVARIANT");
    if variable.is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("true")) {
        return true;
    }
    let properties = json.get("runtimeOptions").and_then(|options| options.get("configProperties"));
    properties
        .and_then(|properties| properties.get("System.Globalization.Invariant"))
        .is_some_and(|value| *value == Json::Yes || value.text() == Some("true"))
}

#[cfg(test)]
mod tests {
    use crate::reach::testing::Run;
    use slim_image::{Config, MemoryTree};

    const DEPENDENCIES: &str = r#"{"targets": {".NETCoreApp,Version=v8.0": {
        "web/1.0.0": {"runtime": {"web.dll": {}}},
        "Json/13.0": {"runtime": {"lib/net6.0/Json.dll": {}}, "resources": {"lib/net6.0/de/Json.resources.dll": {"locale": "de"}}},
        "Sqlite/2.1": {"runtimeTargets": {
            "runtimes/linux-x64/native/libsqlite.so": {"rid": "linux-x64", "assetType": "native"},
            "runtimes/linux-arm64/native/libsqlite.so": {"rid": "linux-arm64", "assetType": "native"},
            "runtimes/linux-musl-x64/native/libsqlite.so": {"rid": "linux-musl-x64", "assetType": "native"},
            "runtimes/win-x64/native/sqlite.dll": {"rid": "win-x64", "assetType": "native"}}}}}}"#;

    fn image(properties: &str) -> MemoryTree {
        let configuration = format!(
            r#"{{"runtimeOptions": {{"framework": {{"name": "Microsoft.NETCore.App", "version": "8.0.0"}}, "configProperties": {{{properties}}}}}}}"#
        );
        let mut tree = MemoryTree::new().file("/app/web.runtimeconfig.json", 0o644, configuration).file(
            "/app/web.deps.json",
            0o644,
            DEPENDENCIES,
        );
        let core = "/usr/share/dotnet/shared/Microsoft.NETCore.App";
        for path in [
            "/app/web.dll",
            "/app/Json.dll",
            "/app/Unused.dll",
            "/app/de/Json.resources.dll",
            "/app/runtimes/linux-x64/native/libsqlite.so",
            "/app/runtimes/linux-arm64/native/libsqlite.so",
            "/app/runtimes/linux-musl-x64/native/libsqlite.so",
            "/app/runtimes/win-x64/native/sqlite.dll",
            &format!("{core}/8.0.11/System.Xml.dll"),
            &format!("{core}/8.0.11/Microsoft.NETCore.App.deps.json"),
            &format!("{core}/8.0.11/libmscordbi.so"),
            &format!("{core}/8.0.2/System.Xml.dll"),
            &format!("{core}/9.0.0/System.Xml.dll"),
            "/usr/share/dotnet/host/fxr/8.0.11/libhostfxr.so",
            "/usr/share/dotnet/sdk/8.0.100/dotnet.dll",
            "/lib64/ld-linux-x86-64.so.2",
            "/usr/lib/x86_64-linux-gnu/libicuuc.so.72",
            "/usr/lib/x86_64-linux-gnu/libssl.so.3",
        ] {
            tree = tree.file(path, 0o644, "");
        }
        tree
    }

    #[test]
    fn an_assembly_brings_what_its_side_files_name_and_its_framework() {
        let tree = image("");
        assert_eq!(
            Run::new(&tree).keep(&["/app/web.dll"]),
            [
                "/app/Json.dll",
                "/app/runtimes/linux-x64/native/libsqlite.so",
                "/app/web.deps.json",
                "/app/web.runtimeconfig.json",
                "/usr/lib/x86_64-linux-gnu/libicuuc.so.72",
                "/usr/lib/x86_64-linux-gnu/libssl.so.3",
                "/usr/share/dotnet/host/fxr/8.0.11/libhostfxr.so",
                "/usr/share/dotnet/shared/Microsoft.NETCore.App/8.0.11/Microsoft.NETCore.App.deps.json",
                "/usr/share/dotnet/shared/Microsoft.NETCore.App/8.0.11/System.Xml.dll",
            ]
        );
    }

    #[test]
    fn an_invariant_program_needs_no_cultures() {
        let icu = "/usr/lib/x86_64-linux-gnu/libicuuc.so.72".to_owned();
        let tree = image(r#""System.Globalization.Invariant": true"#);
        assert!(!Run::new(&tree).keep(&["/app/web.dll"]).contains(&icu));
        let tree = image("");
        let mut run = Run::new(&tree);
        run.config =
            Config { env: vec!["DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1".to_owned()], ..Config::default() };
        assert!(!run.keep(&["/app/web.dll"]).contains(&icu));
    }

    #[test]
    fn a_folder_that_is_only_called_shared_is_none_of_a_framework() {
        let tree = MemoryTree::new().file("/srv/shared/my.files/1/a", 0o644, "").file(
            "/srv/shared/x/1/b",
            0o644,
            "",
        );
        assert!(Run::new(&tree).keep(&["/srv/shared/x/1/b"]).is_empty());
    }
}
