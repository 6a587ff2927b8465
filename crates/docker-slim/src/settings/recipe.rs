//! Where the fat image comes from: the engine, its registry, files, or a Dockerfile.

use crate::arguments::{BuildArguments, CommonArguments, GlobalArguments};
use crate::failure::Failure;
use slim_image::Reference;
use slim_image::location::{EngineKind, Location, LocationError, Stored};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The exit code where there is no such image.
const NO_IMAGE: u8 = 4;

/// Where the fat image comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FatImage {
    /// The engine holds it, or may `pull` it; a name that it does not know may be that of files.
    Held { reference: String, pull: bool },
    /// An engine of this kind holds it.
    HeldBy { engine: EngineKind, reference: String },
    /// It is in a registry, whether the engine has one of that name or not.
    Registry(Reference),
    /// It lies in files.
    Stored(Stored),
    /// It is built first.
    Built(Recipe),
}

/// How the fat image is built with `docker build`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// What the image is called.
    pub name: String,
    /// Words behind `docker`.
    pub words: Vec<OsString>,
    /// Variables for it.
    pub environment: Vec<(&'static str, OsString)>,
    pub show_log: bool,
    /// Remove the image at the end.
    pub delete: bool,
}

impl FatImage {
    /// What the engine calls the image; what the user calls it where that is another place.
    pub fn reference(&self) -> String {
        match self {
            Self::Held { reference, .. }
            | Self::HeldBy { reference, .. }
            | Self::Built(Recipe { name: reference, .. }) => reference.clone(),
            Self::Registry(reference) => reference.to_string(),
            Self::Stored(stored) => stored.to_string(),
        }
    }

    /// Understands where an image is said to be.
    ///
    /// # Errors
    /// When it is no place, there is nothing at that path, or this program cannot go there.
    pub fn at(text: String, pull: bool) -> Result<Self, Failure> {
        let usage = |error: LocationError| Failure::usage(error.to_string());
        Ok(match text.parse().map_err(usage)? {
            Location::Plain(reference) => Self::Held { reference, pull },
            Location::Registry(reference) => Self::Registry(reference),
            Location::Engine { engine, name } => Self::HeldBy { engine, reference: name },
            Location::Stored(stored) => Self::Stored(stored),
            Location::Path(path) => match Stored::recognise(&path).map_err(usage)? {
                Some(stored) => Self::Stored(stored),
                None => {
                    return Err(Failure::new(
                        format!("find an image at {path}: there is no such file"),
                        NO_IMAGE,
                    ));
                }
            },
        })
    }
}

/// Where the fat image of `build` comes from.
///
/// # Errors
/// No image, several, or flags of a build without a Dockerfile.
pub fn fat_image(global: &GlobalArguments, arguments: &BuildArguments) -> Result<FatImage, Failure> {
    let recipe = &arguments.recipe;
    let Some(dockerfile) = &recipe.dockerfile else {
        let is_given = recipe.dockerfile_context.is_some()
            || recipe.tag_fat.is_some()
            || recipe.delete_generated_fat_image
            || recipe.show_blogs
            || [&recipe.cbo_add_host, &recipe.cbo_build_arg, &recipe.cbo_cache_from, &recipe.cbo_label]
                .iter()
                .any(|values| !values.is_empty())
            || recipe.cbo_target.is_some()
            || recipe.cbo_network.is_some();
        if is_given {
            return Err(Failure::usage("build the fat image: flags say how, but there is no --dockerfile"));
        }
        return FatImage::at(target(&arguments.common)?, arguments.common.pull);
    };
    let name = match (&recipe.tag_fat, arguments.tag.first()) {
        (Some(name), _) => name.clone(),
        (None, Some(tag)) => fat_name(tag),
        (None, None) => {
            return Err(Failure::usage("name the fat image that --dockerfile builds")
                .with_hint("--tag-fat names it; without, it is the first --tag with .fat"));
        }
    };
    let context = context(arguments)?;
    let mut words = engine_words(global);
    words.extend(["build", "--tag", &name].map(OsString::from));
    // As docker has it: a Dockerfile is looked for in the working directory; Mint looks in the folder, too.
    let dockerfile = if dockerfile.exists() { dockerfile.clone() } else { context.join(dockerfile) };
    words.extend(["--file".into(), dockerfile.into_os_string()]);
    for (flag, values) in [
        ("--add-host", &recipe.cbo_add_host),
        ("--build-arg", &recipe.cbo_build_arg),
        ("--cache-from", &recipe.cbo_cache_from),
        ("--label", &recipe.cbo_label),
    ] {
        words.extend(values.iter().flat_map(|value| [OsString::from(flag), OsString::from(value)]));
    }
    for (flag, value) in [("--target", &recipe.cbo_target), ("--network", &recipe.cbo_network)] {
        words.extend(value.iter().flat_map(|value| [OsString::from(flag), OsString::from(value)]));
    }
    words.extend(["--".into(), context.into_os_string()]);
    Ok(FatImage::Built(Recipe {
        name,
        words,
        environment: environment(global),
        show_log: recipe.show_blogs,
        delete: recipe.delete_generated_fat_image,
    }))
}

/// The image that was named.
///
/// # Errors
/// None, or two.
pub fn target(arguments: &CommonArguments) -> Result<String, Failure> {
    match (&arguments.image, &arguments.target) {
        (Some(image), Some(target)) if image != target => Err(Failure::usage(format!(
            "choose the image: the argument says {image}, --target says {target}"
        ))),
        (Some(name), _) | (None, Some(name)) if !name.trim().is_empty() => Ok(name.clone()),
        _ => {
            Err(Failure::usage("find an image to work on: none was named")
                .with_hint("docker-slim build IMAGE"))
        }
    }
}

/// The folder that the image is built in.
fn context(arguments: &BuildArguments) -> Result<PathBuf, Failure> {
    let named = arguments.common.image.as_ref().or(arguments.common.target.as_ref()).map(PathBuf::from);
    match (&arguments.recipe.dockerfile_context, named) {
        (Some(context), Some(named)) if *context != named => Err(Failure::usage(format!(
            "choose the folder to build in: --dockerfile-context says {}, the argument says {}",
            context.display(),
            named.display()
        ))),
        (context, named) => Ok(context.clone().or(named).unwrap_or_else(|| Path::new(".").to_owned())),
    }
}

/// `app:1` → `app.fat:1`.
fn fat_name(tag: &str) -> String {
    match tag.rsplit_once(':') {
        Some((repository, version)) if !version.contains('/') => format!("{repository}.fat:{version}"),
        _ => format!("{tag}.fat"),
    }
}

/// The docker command finds the engine by the environment, as we do; flags of ours become its own.
fn engine_words(global: &GlobalArguments) -> Vec<OsString> {
    let host = global.host.as_ref().or(global.crt_connection.as_ref());
    let host = host.map(|host| if host.starts_with('/') { format!("unix://{host}") } else { host.clone() });
    let host = host.iter().flat_map(|host| ["--host".into(), OsString::from(host)]);
    let context = global.crt_context.iter().flat_map(|name| ["--context".into(), OsString::from(name)]);
    host.chain(context).collect()
}

fn environment(global: &GlobalArguments) -> Vec<(&'static str, OsString)> {
    let certificates =
        global.tls_cert_path.iter().map(|path| ("DOCKER_CERT_PATH", path.clone().into_os_string()));
    let is_on = global.tls != Some(false) && (global.tls == Some(true) || global.tls_cert_path.is_some());
    let verify =
        (is_on && global.tls_verify != Some(false)).then(|| ("DOCKER_TLS_VERIFY", OsString::from("1")));
    let tls = is_on.then(|| ("DOCKER_TLS", OsString::from("1")));
    certificates.chain(verify).chain(tls).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Command;
    use crate::command_line::tests::parse_with;

    fn of(words: &[&str]) -> Result<FatImage, Failure> {
        let arguments = parse_with(&[&["build"], words].concat(), &[]).unwrap().arguments;
        let Command::Build(build) = arguments.command else { panic!() };
        fat_image(&arguments.global, &build)
    }

    fn recipe(words: &[&str]) -> (String, String) {
        match of(&[&["--dockerfile=Dockerfile.none"], words].concat()).unwrap() {
            FatImage::Built(recipe) => {
                let words: Vec<_> = recipe.words.iter().map(|word| word.to_string_lossy()).collect();
                (recipe.name, words.join(" "))
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_image_is_named_once() {
        let held = |pull| FatImage::Held { reference: "x".to_owned(), pull };
        assert_eq!(of(&["x"]).unwrap(), held(true));
        assert_eq!(of(&["--target", "x", "--pull=false"]).unwrap(), held(false));
        assert_eq!(of(&["x", "--target", "x"]).unwrap(), held(true));
        assert!(of(&["x", "--target", "y"]).is_err());
        assert!(of(&[]).unwrap_err().message.contains("none was named"));
    }

    #[test]
    fn a_place_is_understood_where_a_name_may_stand() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        slim_image::Layout::create(path).unwrap();
        assert!(
            matches!(of(&[path]).unwrap(), FatImage::Stored(stored) if stored.to_string() == format!("oci:{path}"))
        );
        assert!(matches!(of(&["oci:x:1"]).unwrap(), FatImage::Stored(stored) if stored.name() == Some("1")));
        let registry = FatImage::Registry("a/b:1".parse().unwrap());
        assert_eq!(of(&["docker://a/b:1"]).unwrap(), registry);
        let held = FatImage::HeldBy { engine: EngineKind::Podman, reference: "a:1".to_owned() };
        assert_eq!(of(&["podman:a:1"]).unwrap(), held);
        let missing = of(&[&format!("{path}/missing")]).unwrap_err();
        assert_eq!((missing.exit_code, missing.message.contains("no such file")), (4, true));
        assert_eq!(of(&["oci:"]).unwrap_err().exit_code, 2);
    }

    #[test]
    fn every_flag_of_the_recipe_is_handed_to_docker_build() {
        let (name, words) = recipe(&[
            "--tag=app:1",
            "--cbo-add-host=a:10.0.0.1",
            "--cbo-build-arg=A=1",
            "--cbo-build-arg=B=2",
            "--cbo-cache-from=c",
            "--cbo-label=l=1",
            "--cbo-target=stage",
            "--cbo-network=none",
            "--host=tcp://e:1",
            "folder",
        ]);
        assert_eq!(name, "app.fat:1");
        assert_eq!(
            words,
            "--host tcp://e:1 build --tag app.fat:1 --file folder/Dockerfile.none --add-host a:10.0.0.1 \
             --build-arg A=1 --build-arg B=2 --cache-from c --label l=1 --target stage --network none -- folder"
        );
        let (name, words) = recipe(&["--tag-fat=fat", "--dockerfile-context=there"]);
        assert_eq!((name.as_str(), words.ends_with("-- there")), ("fat", true));
        let Ok(FatImage::Built(recipe)) =
            of(&["--dockerfile=d", "--tag=a", "--delete-generated-fat-image", "--show-blogs"])
        else {
            panic!()
        };
        assert!(recipe.delete && recipe.show_log);
    }

    #[test]
    fn flags_of_a_build_without_a_dockerfile_or_a_name_are_refused() {
        for flag in
            ["--tag-fat=a", "--cbo-network=n", "--cbo-label=a=1", "--show-blogs", "--dockerfile-context=a"]
        {
            assert!(of(&["x", flag]).unwrap_err().message.contains("--dockerfile"), "{flag}");
        }
        assert!(of(&["--dockerfile=d"]).unwrap_err().hint.unwrap().contains("--tag-fat"));
        assert!(of(&["--dockerfile=d", "--tag=a", "here", "--dockerfile-context=there"]).is_err());
    }
}
