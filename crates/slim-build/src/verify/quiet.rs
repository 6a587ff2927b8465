//! When a program has nothing to do: its processes use next to no processor time.
//!
//! The sensor does not watch here, so this is read from /proc.

use crate::processes::{is_alive, is_at_work, processor_time};
use std::time::{Duration, Instant};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until the processes below `pid` have been quiet for `quiet`, at most `at_last`.
pub async fn until_quiet(pid: i32, quiet: Duration, at_last: Duration) {
    let began = Instant::now();
    let mut since = Instant::now();
    let mut used = processor_time(pid);
    while since.elapsed() < quiet && began.elapsed() < at_last && is_alive(pid) {
        tokio::time::sleep(LOOK).await;
        let now = processor_time(pid);
        if is_at_work(now.saturating_sub(used), quiet) {
            (used, since) = (now, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
