//! Claims about what shell scripts reach: idioms, real scripts, and hostile ones.

use super::*;
use crate::{KeepSet, Level, Note, Settings, keep};
use slim_image::{Config, Healthcheck, MemoryTree};
use slim_trace::Trace;
use std::time::{Duration, Instant};

/// Programs that the trees of these tests have; a script that names none of them keeps none.
const PROGRAMS: [&str; 44] = [
    "awk",
    "basename",
    "bash",
    "cat",
    "chmod",
    "chown",
    "curl",
    "cut",
    "date",
    "dirname",
    "dumb-init",
    "env",
    "envsubst",
    "find",
    "gosu",
    "grep",
    "gunzip",
    "head",
    "id",
    "initdb",
    "ls",
    "mkdir",
    "mktemp",
    "mysqld",
    "nginx",
    "nice",
    "od",
    "pg_ctl",
    "postgres",
    "psql",
    "python3",
    "readlink",
    "redis-server",
    "run-parts",
    "sed",
    "setpriv",
    "sleep",
    "sort",
    "stat",
    "su-exec",
    "timeout",
    "tini",
    "touch",
    "xargs",
];

fn tree() -> MemoryTree {
    let tree = MemoryTree::new().file("/bin/sh", 0o755, "x").file("/bin/bash", 0o755, "x");
    PROGRAMS.iter().fold(tree, |tree, name| tree.file(format!("/usr/bin/{name}").as_str(), 0o755, "x"))
}

fn reachable(tree: &MemoryTree, config: &Config) -> KeepSet {
    // All of it is the base's: nothing is kept as the application's own.
    let settings = Settings { level: Level::Reachable, base_layers: Some(1), ..Settings::default() };
    keep(&Trace::empty("sha256:00"), &tree.clone().of_one_layer(), config, &settings).unwrap()
}

fn started(program: &str) -> Config {
    Config {
        entrypoint: vec![program.to_owned()],
        working_dir: "/work".to_owned(),
        env: vec!["PATH=/usr/bin:/bin".to_owned(), "DATA=/data".to_owned()],
        ..Config::default()
    }
}

fn files(set: &KeepSet) -> Vec<String> {
    let files = set.entries.iter().filter(|(_, kept)| !kept.entry.is_directory());
    files.map(|(path, _)| path.to_string()).collect()
}

/// The names of programs in /usr/bin that this script keeps.
fn called(script: &str) -> Vec<String> {
    let set = reachable(&tree().file("/start", 0o755, script), &started("/start"));
    files(&set).iter().filter_map(|path| path.strip_prefix("/usr/bin/")).map(str::to_owned).collect()
}

#[test]
fn commands_are_found_wherever_they_stand() {
    let script = r#"#!/bin/sh
cat a | sort && grep b || sed c; awk d &
x=$(date) y=`id`
( touch e ) { mkdir f; }
if ! ls g; then head; elif stat h; then cut; else od; fi
case "$1" in start) chmod;; *) chown ;; esac
work() { while sleep 1; do mktemp; done; }
cat <<END
$(dirname "$0")
END
diff <(readlink a) /none
"#;
    let names = [
        "awk", "cat", "chmod", "chown", "cut", "date", "dirname", "grep", "head", "id", "ls", "mkdir",
        "mktemp", "od", "readlink", "sed", "sleep", "sort", "stat", "touch",
    ];
    assert_eq!(called(script), names);
}

#[test]
fn what_runs_another_command_is_followed_through() {
    for (line, programs) in [
        ("exec gosu postgres id", &["gosu", "id"][..]),
        ("exec setpriv --reuid app --clear-groups env A=1 date", &["date", "env", "setpriv"]),
        ("nice -n 5 timeout -k 5 10 cat", &["cat", "nice", "timeout"]),
        ("find . -name x -exec grep -q a {} \\; -exec chmod 1 {} +", &["chmod", "find", "grep"]),
        ("ls | xargs -n 1 -I{} stat {}", &["ls", "stat", "xargs"]),
        ("tini -g -- su-exec app sleep 1", &["sleep", "su-exec", "tini"]),
        ("dumb-init --rewrite 15:3 -- sh -ec 'id; date'", &["date", "dumb-init", "id"]),
        ("trap 'touch /x; kill $!' TERM", &["touch"]),
        ("eval 'od | head'", &["head", "od"]),
        ("su - app -c \"cut -f 1 | sort\"", &["cut", "sort"]),
        ("command -v curl >/dev/null && x", &["curl"]),
        ("type psql; hash awk", &["awk", "psql"]),
        ("set -- postgres \"$@\"; exec \"$@\"", &["postgres"]),
        ("env -S 'sed -n 1p'", &["env", "sed"]),
        ("busybox sh -c 'id'", &["id"]),
        ("gosu app sh <<END\nod | head\nEND", &["gosu", "head", "od"]),
    ] {
        assert_eq!(called(&format!("#!/bin/bash\n{line}\n")), programs, "{line}");
    }
}

#[test]
fn variables_with_constant_values_are_commands_too() {
    for (line, programs) in [
        ("PYTHON=python3; $PYTHON x", &["python3"][..]),
        ("if true; then GET='curl -f'; else GET=cat; fi; $GET x", &["cat", "curl"]),
        ("BIN=/usr/bin; \"$BIN\"/psql", &["psql"]),
        ("run=( nice -n 1 mysqld --a ); run+=( --b ); \"${run[@]}\" --c", &["mysqld", "nice"]),
        (": \"${TOOL:=awk}\"; $TOOL", &["awk"]),
        ("${TOOL:-sed} x", &["sed"]),
        ("for tool in id od; do $tool; done", &["id", "od"]),
        ("tool=$(command -v date); $tool", &["date"]),
        ("local=1; $unknown x; \"$1\"", &[]),
    ] {
        assert_eq!(called(&format!("#!/bin/bash\n{line}\n")), programs, "{line}");
    }
}

#[test]
fn functions_builtins_and_words_are_no_commands() {
    let script =
        "#!/bin/sh\ncat() { :; }\nsort() { :; }\ncat a; sort b\necho id date\nprintf sed\n# grep\nx='awk'\n";
    assert!(called(script).is_empty());
    assert_eq!(called("#!/bin/sh\ncat() { command cat; }\ncat\n"), ["cat"]);
    assert_eq!(called("#!/bin/sh\n[ -x /usr/bin/id ] && [[ -e /usr/bin/od ]]\n"), ["id", "od"]);
}

#[test]
fn the_scripts_own_path_is_looked_at() {
    let tree = tree().file("/opt/app/bin/tool", 0o755, "x").file("/opt/other/bin/tool", 0o755, "x").file(
        "/start",
        0o755,
        "#!/bin/sh\nHOME_OF=/opt/app\nexport PATH=\"$HOME_OF/bin:$PATH\"\ntool\n",
    );
    let set = reachable(&tree, &started("/start"));
    assert!(set.contains(&"/opt/app/bin/tool".into()));
    assert!(!set.contains(&"/opt/other/bin/tool".into()));
}

#[test]
fn files_that_are_read_in_place_are_part_of_the_script() {
    let tree = tree()
        .file(
            "/start",
            0o755,
            "#!/bin/sh\n. \"$(dirname \"$0\")/lib/common.sh\"\n$FETCH x\n. \"$DIR/$1.sh\"\nfail id\n",
        )
        .file("/lib/common.sh", 0o644, "FETCH=curl\nDIR=/lib/parts\nfail() { date; }\n")
        .file("/lib/parts/one.sh", 0o644, "sed x\n")
        .file("/lib/parts/two.sh", 0o644, "awk x\n")
        .file("/lib/parts/three.txt", 0o644, "od x\n");
    let set = reachable(&tree, &started("/start"));
    assert_eq!(
        files(&set),
        [
            "/bin/sh",
            "/lib/common.sh",
            "/lib/parts/one.sh",
            "/lib/parts/two.sh",
            "/start",
            "/usr/bin/awk",
            "/usr/bin/curl",
            "/usr/bin/date",
            "/usr/bin/dirname",
            "/usr/bin/sed"
        ]
    );
    let because = &set.entries[&ImagePath::from("/usr/bin/awk")].because;
    let sentences: Vec<String> = because.iter().map(ToString::to_string).collect();
    assert_eq!(sentences, ["is called by /lib/parts/two.sh:1 as awk"]);
}

#[test]
fn paths_among_arguments_are_kept_and_directories_without_contents() {
    let tree = tree()
        .file("/etc/app.conf", 0o644, "x")
        .file("/etc/motd", 0o644, "x")
        .file("/etc/in", 0o644, "x")
        .file("/data/full/file", 0o644, "x")
        .file(
            "/start",
            0o755,
            "#!/bin/sh\nserver --config=/etc/app.conf\ncat /etc/motd\nwork < /etc/in\nls \"$DATA/full\"\n",
        );
    let set = reachable(&tree, &started("/start"));
    for path in ["/etc/app.conf", "/etc/motd", "/etc/in", "/data/full"] {
        assert!(set.contains(&path.into()), "{path}");
    }
    assert!(!set.contains(&"/data/full/file".into()));
}

#[test]
fn scripts_of_other_languages_and_of_other_shells_are_kept() {
    let tree = tree()
        .file("/app/manage.py", 0o644, "x")
        .file("/work/here.py", 0o644, "x")
        .file("/work/plain", 0o644, "od\n")
        .file("/start", 0o755, "#!/bin/sh\ncd /app\npython3 -u manage.py migrate\npython3 here.py\nsh -e ./plain\npython3 -m here\n");
    let set = reachable(&tree, &started("/start"));
    for path in ["/app/manage.py", "/work/here.py", "/work/plain", "/usr/bin/od"] {
        assert!(set.contains(&path.into()), "{path}");
    }
}

#[test]
fn the_lines_of_the_configuration_are_scripts() {
    let healthcheck = |words: &[&str]| Healthcheck {
        test: words.iter().map(|word| (*word).to_owned()).collect(),
        ..Healthcheck::default()
    };
    let config = Config {
        cmd: vec!["/bin/sh".to_owned(), "-c".to_owned(), "X=$(date) && exec nice -n 3 mysqld".to_owned()],
        healthcheck: Some(healthcheck(&["CMD-SHELL", "test \"$(curl x | head)\" = ok"])),
        ..started("")
    };
    let config = Config { entrypoint: Vec::new(), ..config };
    let set = reachable(&tree(), &config);
    assert_eq!(
        files(&set),
        ["/bin/sh", "/usr/bin/curl", "/usr/bin/date", "/usr/bin/head", "/usr/bin/mysqld", "/usr/bin/nice"]
    );
    let settings = Settings { level: Level::Reachable, without_healthcheck: true, ..Settings::default() };
    let set = keep(&Trace::empty("sha256:00"), &tree(), &config, &settings).unwrap();
    assert!(!set.contains(&"/usr/bin/curl".into()));
}

#[test]
fn an_entrypoint_of_the_kind_that_databases_have_is_understood() {
    let script = r#"#!/usr/bin/env bash
set -Eeo pipefail
file_env() {
	local var="$1"; local fileVar="${var}_FILE"; local def="${2:-}"
	if [ "${!var:-}" ] && [ "${!fileVar:-}" ]; then printf >&2 'error: both %s and %s\n' "$var" "$fileVar"; exit 1; fi
	local val="$def"
	if [ "${!fileVar:-}" ]; then val="$(< "${!fileVar}")"; fi
	export "$var"="$val"; unset "$fileVar"
}
_is_sourced() { [ "${#FUNCNAME[@]}" -ge 2 ] && [ "${FUNCNAME[0]}" = '_is_sourced' ]; }
create_directories() {
	local user; user="$(id -u)"
	mkdir -p "$PGDATA"
	chmod 00700 "$PGDATA" || :
	if [ "$user" = '0' ]; then
		find "$PGDATA" \! -user postgres -exec chown postgres '{}' +
	fi
}
init_database() {
	eval 'initdb --username="$POSTGRES_USER" --pwfile=<(printf "%s\n" "$POSTGRES_PASSWORD") '"$POSTGRES_INITDB_ARGS"' "$@"'
}
process_sql() {
	local query_runner=( psql -v ON_ERROR_STOP=1 --no-psqlrc )
	if [ -n "$POSTGRES_DB" ]; then query_runner+=( --dbname "$POSTGRES_DB" ); fi
	PGHOST= PGHOSTADDR= "${query_runner[@]}" "$@"
}
process_init_files() {
	local f
	for f; do
		case "$f" in
			*.sh) if [ -x "$f" ]; then "$f"; else . "$f"; fi ;;
			*.sql.gz) printf '%s: running %s\n' "$0" "$f"; gunzip -c "$f" | process_sql ;;
			*.sql.xz) xzcat "$f" | process_sql ;;
		esac
	done
}
temp_server_start() {
	set -- "$@" -c listen_addresses='' -p "${PGPORT:-5432}"
	PGUSER="${PGUSER:-$POSTGRES_USER}" pg_ctl -D "$PGDATA" -o "$(printf '%q ' "$@")" -w start
}
_main() {
	if [ "${1:0:1}" = '-' ]; then set -- postgres "$@"; fi
	if [ "$1" = 'postgres' ]; then
		create_directories
		if [ "$(id -u)" = '0' ]; then exec gosu postgres "$BASH_SOURCE" "$@"; fi
		ls /docker-entrypoint-initdb.d/ > /dev/null
		init_database; temp_server_start "$@"; process_init_files /docker-entrypoint-initdb.d/*
		cat <<-'EOM'
			ready; date
		EOM
	fi
	exec "$@"
}
if ! _is_sourced; then _main "$@"; fi
"#;
    let names = [
        "bash", "cat", "chmod", "chown", "env", "find", "gosu", "gunzip", "id", "initdb", "ls", "mkdir",
        "pg_ctl", "postgres", "psql",
    ];
    assert_eq!(called(script), names);
}

#[test]
fn an_entrypoint_of_the_kind_that_servers_have_is_understood() {
    let redis = r#"#!/bin/sh
set -e
if [ "${1#-}" != "$1" ] || [ "${1%.conf}" != "$1" ]; then set -- redis-server "$@"; fi
if [ "$1" = 'redis-server' -a "$(id -u)" = '0' ]; then
	find . \! -user redis -exec chown redis '{}' +
	exec gosu redis "$0" "$@"
fi
um="$(umask)"; if [ "$um" = '0022' ]; then umask 0077; fi
exec "$@"
"#;
    assert_eq!(called(redis), ["chown", "find", "gosu", "id", "redis-server"]);
    let tree = tree()
        .file("/docker-entrypoint.d/10-listen.sh", 0o755, "#!/bin/sh\nsed -i x /etc/nginx/default.conf\n")
        .file("/docker-entrypoint.d/15-local.envsh", 0o755, "touch x\n")
        .file("/docker-entrypoint.d/20-env.sh", 0o755, "#!/bin/sh\nauto() { local t; t=$(mktemp); envsubst < $t; }\nauto\n")
        .file("/etc/nginx/default.conf", 0o644, "x")
        .file("/start", 0o755, r#"#!/bin/sh
set -e
entrypoint_log() { if [ -z "${QUIET_LOGS:-}" ]; then echo "$@"; fi; }
if [ "$1" = "nginx" ] || [ "$1" = "nginx-debug" ]; then
    if /usr/bin/find "/docker-entrypoint.d/" -mindepth 1 -maxdepth 1 -type f -print -quit 2>/dev/null | read v; then
        find "/docker-entrypoint.d/" -follow -type f -print | sort -V | while read -r f; do
            case "$f" in
                *.envsh) if [ -x "$f" ]; then . "$f"; fi ;;
                *.sh) if [ -x "$f" ]; then "$f"; fi ;;
            esac
        done
    fi
fi
for f in /docker-entrypoint.d/*.sh; do "$f"; done
for f in /docker-entrypoint.d/*.envsh; do . "$f"; done
exec "$@"
"#);
    let set = reachable(&tree, &started("/start"));
    assert_eq!(
        files(&set),
        [
            "/bin/sh",
            "/docker-entrypoint.d/10-listen.sh",
            "/docker-entrypoint.d/15-local.envsh",
            "/docker-entrypoint.d/20-env.sh",
            "/etc/nginx/default.conf",
            "/start",
            "/usr/bin/envsubst",
            "/usr/bin/find",
            "/usr/bin/mktemp",
            "/usr/bin/sed",
            "/usr/bin/sort",
            "/usr/bin/touch"
        ]
    );
}

#[test]
fn scripts_that_read_each_other_come_to_an_end() {
    let tree = tree()
        .file(
            "/start",
            0o755,
            "#!/bin/sh\n. /other\nsh /start\neval \"eval 'eval id'\"\nx=\"$x$x/\"\nx=\"$x$x\"\n",
        )
        .file("/other", 0o755, "#!/bin/sh\n. /start\n. /other\nbash /other\ntrap 'trap \"od\" 0' 1\n");
    let set = reachable(&tree, &started("/start"));
    assert!(set.contains(&"/usr/bin/id".into()) && set.contains(&"/usr/bin/od".into()));
}

#[test]
fn any_bytes_end_in_bounded_time() {
    let tree = tree();
    let context = Context::new(&tree, &Config::default());
    let start = Instant::now();
    for text in [
        "$(".repeat(50_000),
        "\"${a:-".repeat(50_000),
        "eval ".repeat(50_000),
        "x=$x$x;".repeat(50_000),
        "a='b c';for i in $a $a $a; do $i $i; done\n".repeat(5_000),
        "{ ( if ".repeat(50_000),
        "`".repeat(100_001),
    ] {
        read(&context, None, &Rc::from(text.into_bytes())).unwrap();
    }
    read(&context, None, &Rc::from((0..=255).cycle().take(100_000).collect::<Vec<u8>>())).unwrap();
    assert!(start.elapsed() < Duration::from_secs(120), "{:?}", start.elapsed());
}

#[test]
fn the_scripts_of_this_machine_are_read_in_bounded_time() {
    let tree = tree();
    let context = Context::new(&tree, &Config::default());
    let (mut scripts, mut calls, mut odd) = (0, 0, 0);
    let place = ImagePath::from("/script");
    for file in std::fs::read_dir("/usr/bin").unwrap().chain(std::fs::read_dir("/usr/sbin").unwrap()) {
        let Ok(text) = std::fs::read(file.unwrap().path()) else { continue };
        let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        if !line.starts_with(b"#!") || !line.ends_with(b"sh") && !line.ends_with(b"sh -e") {
            continue;
        }
        let start = Instant::now();
        let script = read(&context, Some(&place), &Rc::from(text)).unwrap();
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
        (scripts, calls) = (scripts + 1, calls + script.calls.len());
        odd += script.odd.len();
    }
    println!("{scripts} scripts, {calls} calls, {odd} of them odd");
}

#[test]
fn words_that_cannot_be_read_are_taken_for_commands_and_a_note_says_so() {
    let tree = tree().file("/start", 0o755, "#!/bin/sh\nid\n)) curl ;; fi od x\ndate\n");
    let set = reachable(&tree, &started("/start"));
    for path in ["/usr/bin/id", "/usr/bin/date"] {
        assert!(set.contains(&path.into()), "{path}");
    }
    let is_remark = |note: &&Note| matches!(note, Note::NotFollowed { .. });
    let notes: Vec<String> = set.notes.iter().filter(is_remark).map(ToString::to_string).collect();
    assert_eq!(
        notes,
        [
            "what /start reaches is not known (line 3 cannot be read as shell); words there that may be commands are taken for such"
        ]
    );
}
