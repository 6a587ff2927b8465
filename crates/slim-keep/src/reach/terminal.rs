//! Rule: descriptions of terminals (terminfo(5)), for a kept library that looks them up: the terminal of TERM, and the
//! few that people have at the other end of `docker run -it`.

use super::seeds::{Asks, places};
use super::{KeptFile, Rule, Via, World};
use crate::inspect::File;
use crate::seed::Seed;
use slim_image::{ImagePath, TreeError};

const LIBRARIES: [&[u8]; 3] = [b"libtinfo", b"libncurses", b"libtermcap"];
const DIRECTORIES: [&str; 5] = [
    "/etc/terminfo",
    "/lib/terminfo",
    "/usr/lib/terminfo",
    "/usr/local/share/terminfo",
    "/usr/share/terminfo",
];
const COMMON: [&str; 11] = [
    "ansi",
    "dumb",
    "linux",
    "screen",
    "screen-256color",
    "tmux",
    "tmux-256color",
    "vt100",
    "vt220",
    "xterm",
    "xterm-256color",
];

/// The rule.
pub(super) struct Terminal;

impl Rule for Terminal {
    fn follow(&mut self, file: &KeptFile<'_>, world: &World<'_>) -> Result<Vec<Seed>, TreeError> {
        let name = file.path.file_name();
        if !matches!(file.what, File::Elf(_)) || !LIBRARIES.iter().any(|library| name.starts_with(library)) {
            return Ok(Vec::new());
        }
        let environment = &world.context.environment;
        let home = environment.home.as_ref().map(|home| format!("{home}/.terminfo"));
        let directories: Vec<&str> = DIRECTORIES
            .into_iter()
            .chain(home.as_deref())
            .chain(places(world.context, "TERMINFO"))
            .chain(places(world.context, "TERMINFO_DIRS"))
            .collect();
        let mut seeds = Vec::new();
        for terminal in COMMON.into_iter().chain(environment.value("TERM")) {
            seeds.extend(directories.iter().flat_map(|place| description(file.path, place, terminal)));
        }
        Ok(seeds)
    }
}

/// Where the description of a terminal may lie: below its first letter or, where a file system knows no case, that
/// letter's number.
fn description(library: &ImagePath, place: &str, terminal: &str) -> Vec<Seed> {
    let Some(letter) = terminal.bytes().next().filter(|_| !terminal.contains('/')) else { return Vec::new() };
    let asks = Asks::new(Via::Terminal, library, terminal);
    let letters = [(letter as char).to_string(), format!("{letter:x}")];
    letters.iter().map(|letter| asks.object(format!("{place}/{letter}/{terminal}"))).collect()
}
