//! When a program has nothing to do: its processes use next to no processor time.
//!
//! The sensor does not watch here, so this is read from /proc: a container of a local engine is processes of this
//! machine's kernel.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// Of the time looked at, a program may use one part in so many and still be quiet: timers, garbage collection.
const QUIET_PART: u32 = 20;
/// The kernel's unit of processor time in /proc (USER_HZ), fixed in its interface to user space.
const TICK: Duration = Duration::from_millis(10);

/// Whether a process runs. One that has ended may still be there for a while, without memory, files and namespaces.
#[must_use]
pub fn is_alive(pid: i32) -> bool {
    fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"))
        .is_ok_and(|stat| !has_ended(&stat))
}

/// State Z or X: the third field of proc(5)'s `stat`.
fn has_ended(stat: &str) -> bool {
    stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with(['Z', 'X', 'x']))
}

/// Waits until the processes below `pid` have been quiet for `quiet`, at most `at_last`.
pub async fn until_quiet(pid: i32, quiet: Duration, at_last: Duration) {
    let began = Instant::now();
    let mut since = Instant::now();
    let mut used = processor_time(pid);
    while since.elapsed() < quiet && began.elapsed() < at_last && is_alive(pid) {
        tokio::time::sleep(LOOK).await;
        let now = processor_time(pid);
        if now.saturating_sub(used) > (quiet / QUIET_PART).max(TICK) {
            (used, since) = (now, Instant::now());
        }
    }
}

/// Processor time of a process, its children and those of them that have ended.
#[must_use]
pub fn processor_time(pid: i32) -> Duration {
    let mut ticks = 0_u64;
    let mut ahead = vec![pid.to_string()];
    while let Some(pid) = ahead.pop() {
        let folder = Path::new("/proc").join(&pid);
        ticks += fs::read_to_string(folder.join("stat")).ok().and_then(|stat| ticks_of(&stat)).unwrap_or(0);
        for thread in fs::read_dir(folder.join("task")).into_iter().flatten().flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            ahead.extend(children.split_ascii_whitespace().map(str::to_owned));
        }
    }
    TICK.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX))
}

/// utime, stime, cutime and cstime: fields 14 to 17 of proc(5)'s `stat`. The name before them may hold anything, `)` too.
fn ticks_of(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().skip(11).take(4).map(|field| field.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_process_may_look_like_fields() {
        let stat = "7 (a) b) 1 2) S 1 7 7 0 -1 4194560 100 0 0 0 11 12 13 14 20 0 1 0 100 0 0";
        assert_eq!(ticks_of(stat), Some(50));
        assert_eq!(ticks_of("7 (a"), None);
    }

    #[test]
    fn this_process_is_alive_and_has_used_time() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(is_alive(own) && !is_alive(i32::MAX));
        let mut sum = 0_u64;
        while processor_time(own).is_zero() {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
    }

    #[test]
    fn a_process_that_has_ended_and_waits_for_its_parent_is_not_alive() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        while is_alive(pid) {
            std::thread::yield_now();
        }
        assert!(Path::new("/proc").join(pid.to_string()).exists(), "nobody has waited for it yet");
        child.wait().unwrap();
        assert!(!is_alive(pid));
    }

    #[tokio::test]
    async fn a_sleeping_child_is_quiet_and_a_busy_one_is_not() {
        let child = |script: &str| std::process::Command::new("sh").args(["-c", script]).spawn().unwrap();
        for (script, is_quiet) in [("exec sleep 60", true), ("while :; do :; done", false)] {
            let mut child = child(script);
            let began = Instant::now();
            let at_last = Duration::from_secs(1);
            until_quiet(i32::try_from(child.id()).unwrap(), Duration::from_millis(300), at_last).await;
            assert_eq!(began.elapsed() < at_last, is_quiet, "{script}");
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
