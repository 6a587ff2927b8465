//! Rule: whole jars on the class path, and what a Java runtime opens of its own folder.
//!
//! Which classes a program loads is decided as it runs; the jars it may take them from stand on its command line, in
//! CLASSPATH and in the manifests of other jars. Service files are inside of them.

mod jar;

use super::places::{
    because, below, directory, directory_of, ending, fitting, inside, join, libraries, objects,
};
use super::{KeptFile, Rule, World};
use crate::context::Context;
use crate::inspect::File;
use crate::note::Note;
use crate::reason::{Reason, Via};
use crate::seed::Seed;
use slim_image::path::unescape;
use slim_image::{ImagePath, TreeError};
use std::collections::BTreeSet;

/// Variables whose words are options of the launcher or the virtual machine.
const OPTIONS: [&str; 4] = ["JAVA_OPTS", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"];
/// Options whose next word is a list of places to load from.
const PATH_OPTIONS: [&str; 8] = [
    "--class-path",
    "--module-path",
    "--patch-module",
    "--upgrade-module-path",
    "-classpath",
    "-cp",
    "-jar",
    "-p",
];
/// A trace has the first 4,096 bytes of a command line; one that comes so near may go on.
const ARGUMENTS_SEEN: usize = 4095;
/// A file of options.
const ARGUMENTS_MAX: u64 = 1 << 20;
/// Objects that need a display's libraries.
const OF_DISPLAYS: [&str; 4] = ["libatk-wrapper.so", "libawt_xawt.so", "libjawt.so", "libsplashscreen.so"];
/// Below the runtime's folder, whole.
const TREES: [&str; 4] = ["conf", "lib/jfr", "lib/security", "lib/management"];
/// Below the runtime's folder. Symbols of older versions, sources and modules to link from are for building.
const FILES: [&str; 12] = [
    "lib/jspawnhelper",
    "lib/jvm.cfg",
    "lib/modules",
    "lib/server/classes.jsa",
    "lib/server/libjvm.so",
    "lib/server/libjsig.so",
    "lib/tzdb.dat",
    "lib/currency.data",
    "lib/logging.properties",
    "lib/net.properties",
    "lib/psfontj2d.properties",
    "release",
];

/// The rule.
#[derive(Default)]
pub(super) struct Java {
    /// Folders of runtimes that are kept.
    homes: BTreeSet<ImagePath>,
    /// Jars kept before a runtime was.
    waiting: Vec<ImagePath>,
    /// Programs whose command lines are not known to their end.
    cut: BTreeSet<ImagePath>,
}

impl Rule for Java {
    fn begin(&mut self, world: &World<'_>) -> Result<Vec<Seed>, TreeError> {
        let mut seeds = Vec::new();
        for process in &world.observed.trace.processes {
            let Some(executable) = &process.executable else { continue };
            if executable.as_bytes().rsplit(|byte| *byte == b'/').next() != Some(b"java") {
                continue;
            }
            let program = ImagePath::new(executable.as_bytes());
            let arguments: Vec<Vec<u8>> =
                process.argv.iter().filter_map(|argument| unescape(argument)).collect();
            if arguments.iter().map(|argument| argument.len() + 1).sum::<usize>() >= ARGUMENTS_SEEN {
                seeds.extend(beside_the_known(world.context, &program, &arguments));
                self.cut.insert(program.clone());
            }
            seeds.extend(command_line(world.context, &program, arguments)?);
        }
        Ok(seeds)
    }

    fn follow(&mut self, file: &KeptFile<'_>, world: &World<'_>) -> Result<Vec<Seed>, TreeError> {
        let context = world.context;
        let mut seeds = Vec::new();
        if let Some(home) = home(context, file)
            && self.homes.insert(home.clone())
        {
            seeds.extend(of_runtime(context, &home, file.path));
            seeds.extend(command_line(context, file.path, from_environment(context))?);
            for jar in std::mem::take(&mut self.waiting) {
                seeds.extend(class_path(context, &jar)?);
            }
        }
        if matches!(ending(file.path.file_name()), b"jar" | b"war") {
            if self.homes.is_empty() {
                self.waiting.push(file.path.clone());
            } else {
                seeds.extend(class_path(context, file.path)?);
            }
        }
        Ok(seeds)
    }

    fn notes(&mut self) -> Vec<Note> {
        let cut = std::mem::take(&mut self.cut).into_iter();
        cut.map(|path| Note::NotFollowed {
            path,
            why: "its command line is longer than what was seen of it".to_owned(),
            instead: "all jars in the folders of its class path are kept".to_owned(),
        })
        .collect()
    }
}

/// All jars of the folders that the known part of a class path names.
fn beside_the_known(context: &Context<'_>, program: &ImagePath, arguments: &[Vec<u8>]) -> Vec<Seed> {
    let working = context.environment.working_directory.as_bytes();
    let places = arguments.iter().flat_map(|argument| argument.split(|byte| matches!(byte, b':' | b'=')));
    let jars = places.filter(|place| place.ends_with(b".jar") || place.ends_with(b"/*"));
    let folders: BTreeSet<Vec<u8>> = jars.map(|jar| directory_of(&join(working, jar)).to_vec()).collect();
    let reason = because(Via::Java, program, None, b"class path");
    folders.iter().flat_map(|folder| path_list(context, working, &join(folder, b"*"), &reason)).collect()
}

/// The folder of the runtime that a kept file is the virtual machine or the launcher of.
fn home(context: &Context<'_>, file: &KeptFile<'_>) -> Option<ImagePath> {
    if !matches!(file.path.file_name(), b"libjvm.so" | b"java") || !matches!(file.what, File::Elf(_)) {
        return None;
    }
    let above = file.path.ancestors();
    let candidates = above.into_iter().rev().take(4);
    candidates.into_iter().find(|home| {
        let has = |name: &str| context.file(&join(home.as_bytes(), name.as_bytes())).is_some();
        has("lib/modules") || has("lib/rt.jar")
    })
}

/// What a runtime opens of its own folder, whatever the program does.
fn of_runtime(context: &Context<'_>, home: &ImagePath, runtime: &ImagePath) -> Vec<Seed> {
    let reason = because(Via::Java, runtime, None, b"the runtime");
    let lib = home.join("lib");
    let mut files: Vec<ImagePath> =
        FILES.iter().map(|name| ImagePath::new(join(home.as_bytes(), name.as_bytes()))).collect();
    let has_display = !libraries(context, "libX11.so.").is_empty();
    let mut libraries = below(context, &lib, 1);
    if context.file(lib.join("rt.jar").as_bytes()).is_some() {
        // Java 8: classes in jars, objects in a folder for each machine.
        for folder in inside(context, &lib) {
            libraries.extend(below(context, &folder, 2));
        }
    }
    libraries.retain(|file| {
        let name = file.file_name();
        let is_library = match ending(name) {
            b"so" => has_display || !OF_DISPLAYS.iter().any(|library| library.as_bytes() == name),
            b"jar" => name != b"jrt-fs.jar",
            b"properties" | b"cfg" | b"bfc" => true,
            _ => false,
        };
        is_library && context.file(file.as_bytes()).is_some()
    });
    files.extend(libraries);
    let mut seeds: Vec<Seed> = objects(files, &reason).collect();
    seeds.extend(TREES.map(|name| Seed::tree(join(home.as_bytes(), name.as_bytes()), reason.clone())));
    seeds
}

/// The words of the variables that the launcher and the virtual machine read.
fn from_environment(context: &Context<'_>) -> Vec<Vec<u8>> {
    let variables = &context.environment.variables;
    let mut words: Vec<Vec<u8>> = Vec::new();
    for variable in OPTIONS {
        let value = variables.get(variable).map(String::as_str).unwrap_or_default();
        words.extend(value.split_ascii_whitespace().map(|word| word.as_bytes().to_vec()));
    }
    if let Some(value) = variables.get("CLASSPATH") {
        words.extend([b"-cp".to_vec(), value.as_bytes().to_vec()]);
    }
    words
}

/// The files that the words of a command line name.
fn command_line(
    context: &Context<'_>,
    program: &ImagePath,
    mut words: Vec<Vec<u8>>,
) -> Result<Vec<Seed>, TreeError> {
    let working = context.environment.working_directory.as_bytes().to_vec();
    let mut seeds = Vec::new();
    let files: Vec<Vec<u8>> =
        words.iter().filter_map(|word| Some(word.strip_prefix(b"@")?.to_vec())).collect();
    for file in files {
        let text = context.read(&join(&working, &file), ARGUMENTS_MAX)?;
        let of_file = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        words.extend(of_file.map(|word| word.iter().copied().filter(|byte| *byte != b'"').collect()));
    }
    for (index, word) in words.iter().enumerate() {
        let is_path = index
            .checked_sub(1)
            .is_some_and(|before| PATH_OPTIONS.iter().any(|option| option.as_bytes() == words[before]));
        let reason = because(Via::Java, program, None, word);
        if is_path {
            seeds.extend(path_list(context, &working, word, &reason));
            continue;
        }
        // `--class-path=…`, `-javaagent:…=options`, `-XX:SharedArchiveFile=…`, `-Dsome.configuration=/a/file`.
        for part in word.split(|byte| matches!(byte, b'=' | b':' | b',')).skip(1) {
            let part = part.strip_prefix(b"file:").unwrap_or(part);
            let place = join(&working, part);
            if !part.is_empty() && context.file(&place).is_some() {
                seeds.push(Seed::object(place, reason.clone()));
            }
        }
    }
    Ok(seeds)
}

/// Jars, folders of classes, and `folder/*` for the jars of a folder, with colons between.
fn path_list(context: &Context<'_>, working: &[u8], list: &[u8], reason: &Reason) -> Vec<Seed> {
    let mut seeds = Vec::new();
    for element in list.split(|byte| *byte == b':').filter(|element| !element.is_empty()) {
        let place = join(working, element);
        if let Some(folder) = place.strip_suffix(b"/*") {
            let jars = fitting(context, &[folder, b"/"].concat(), b"");
            let jars = jars.into_iter().filter(|jar| ending(jar.file_name()).eq_ignore_ascii_case(b"jar"));
            seeds.extend(objects(jars, reason));
            continue;
        }
        match directory(context, &place) {
            None => seeds.push(Seed::object(place, reason.clone())),
            // A folder of modules holds jars, one of classes whole packages; neither is ever the system's.
            Some(real) if real.components().count() > 1 => {
                let mut files = below(context, &real, usize::MAX);
                files.retain(|file| {
                    matches!(ending(file.file_name()), b"jar" | b"class" | b"properties" | b"xml")
                });
                seeds.extend(objects(files, reason));
            }
            Some(_) => {}
        }
    }
    seeds
}

/// What a jar's manifest puts on the class path behind it.
fn class_path(context: &Context<'_>, jar: &ImagePath) -> Result<Vec<Seed>, TreeError> {
    let size = context.entry(jar).map(slim_image::Entry::size).unwrap_or_default();
    let failed = |source| TreeError::Read { path: jar.clone(), source };
    let attributes = jar::manifest(&mut context.tree.open(jar)?, size).map_err(failed)?;
    let folder = jar.parent().unwrap_or_else(ImagePath::root);
    let mut seeds = Vec::new();
    for (_, value) in attributes.iter().filter(|(name, _)| name.eq_ignore_ascii_case("Class-Path")) {
        for element in value.split_ascii_whitespace() {
            let path = element.strip_prefix("file:").unwrap_or(element);
            let place = join(folder.as_bytes(), path.as_bytes());
            if context.file(&place).is_some() {
                seeds.push(Seed::object(place, because(Via::Java, jar, None, element.as_bytes())));
            }
        }
    }
    Ok(seeds)
}

#[cfg(test)]
mod tests {
    use super::jar::tests::jar;
    use crate::reach::testing::{Run, elf};
    use slim_image::{Config, MemoryTree};

    const HOME: &str = "/opt/java";

    fn image() -> MemoryTree {
        let mut tree = MemoryTree::new();
        for (name, bytes) in
            [("bin/java", elf()), ("lib/server/libjvm.so", elf()), ("lib/modules", Vec::new())]
        {
            tree = tree.file(format!("{HOME}/{name}").as_str(), 0o755, bytes);
        }
        tree
    }

    fn at_home(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| format!("{HOME}/{name}")).collect()
    }

    #[test]
    fn a_runtime_is_kept_with_what_it_opens_and_without_what_is_for_building() {
        let mut tree = image();
        let opened = [
            "conf/security/java.policy",
            "lib/jspawnhelper",
            "lib/jvm.cfg",
            "lib/libnet.so",
            "lib/security/default.policy",
            "lib/server/classes.jsa",
            "lib/tzdb.dat",
            "release",
        ];
        let left = [
            "lib/ct.sym",
            "lib/src.zip",
            "lib/jrt-fs.jar",
            "lib/libawt_xawt.so",
            "jmods/java.base.jmod",
            "bin/javac",
        ];
        for name in opened.iter().chain(&left) {
            tree = tree.file(format!("{HOME}/{name}").as_str(), 0o644, "");
        }
        tree = tree.symlink(format!("{HOME}/lib/security/cacerts").as_str(), "/etc/ssl/cacerts");
        tree = tree.file("/etc/ssl/cacerts", 0o644, "");
        let mut expected = at_home(&opened);
        expected.extend(at_home(&["lib/modules", "lib/security/cacerts", "lib/server/libjvm.so"]));
        expected.push("/etc/ssl/cacerts".to_owned());
        expected.sort();
        assert_eq!(Run::new(&tree).keep(&["/opt/java/bin/java"]), expected);
    }

    #[test]
    fn the_class_path_is_kept_as_command_line_variables_and_manifests_have_it() {
        let mut tree = image().file("/app/main.jar", 0o644, jar("Class-Path: lib/a.jar none.jar\n"));
        tree = tree.file("/app/lib/a.jar", 0o644, jar("Class-Path: b.jar\n")).file(
            "/app/lib/b.jar",
            0o644,
            "no archive",
        );
        for name in
            ["/app/lib/unused.jar", "/app/more/c.jar", "/app/more/c.txt", "/app/agent.jar", "/app/log.xml"]
        {
            tree = tree.file(name, 0o644, "");
        }
        let config = Config {
            env: vec!["JAVA_TOOL_OPTIONS=-javaagent:/app/agent.jar=x -Dlog=log.xml".to_owned()],
            working_dir: "/app".to_owned(),
            ..Config::default()
        };
        let mut run = Run::new(&tree);
        run.config = config;
        let run =
            run.process("/opt/java/bin/java", &["java", "-Xmx1g", "-cp", "main.jar:more/*:/none", "Main"]);
        let kept = run.keep(&["/opt/java/bin/java"]);
        let kept: Vec<&str> =
            kept.iter().map(String::as_str).filter(|path| path.starts_with("/app")).collect();
        assert_eq!(
            kept,
            [
                "/app/agent.jar",
                "/app/lib/a.jar",
                "/app/lib/b.jar",
                "/app/log.xml",
                "/app/main.jar",
                "/app/more/c.jar"
            ]
        );
    }

    #[test]
    fn a_command_line_that_was_cut_off_keeps_the_folders_that_it_names() {
        let tree = ["a", "b"]
            .iter()
            .fold(image(), |tree, name| tree.file(format!("/app/lib/{name}.jar").as_str(), 0o644, ""));
        let run = |class_path: &str| {
            let run = Run::new(&tree).process("/opt/java/bin/java", &["java", "-cp", class_path]);
            run.keep(&["/opt/java/bin/java"]).iter().filter(|path| path.starts_with("/app")).count()
        };
        assert_eq!(run("/app/lib/a.jar"), 1);
        assert_eq!(run(&"/app/lib/a.jar:".repeat(300)[..4096]), 2);
    }

    #[test]
    fn jars_without_a_runtime_bring_nothing() {
        let tree = MemoryTree::new()
            .file("/app/main.jar", 0o644, jar("Class-Path: a.jar\n"))
            .file("/app/a.jar", 0o644, "")
            .file("/usr/bin/java", 0o755, elf());
        assert!(Run::new(&tree).keep(&["/app/main.jar", "/usr/bin/java"]).is_empty());
    }
}
