//! When a program has nothing to do: its processes use next to no processor time.
//!
//! The sensor does not watch here, so this is read from /proc of the engine's machine.

use crate::vantage::Followed;
use slim_sensor::processes::is_at_work;
use std::time::{Duration, Instant};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until a process and those below it have been quiet for `quiet`, at most `at_last`.
pub async fn until_quiet(followed: &Followed, quiet: Duration, at_last: Duration) {
    let began = Instant::now();
    let mut since = Instant::now();
    let mut used = followed.processor_time();
    while since.elapsed() < quiet && began.elapsed() < at_last && followed.is_alive() {
        tokio::time::sleep(LOOK).await;
        let now = followed.processor_time();
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
            until_quiet(
                &Followed::Here(i32::try_from(child.id()).unwrap()),
                Duration::from_millis(300),
                at_last,
            )
            .await;
            assert_eq!(began.elapsed() < at_last, is_quiet, "{script}");
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
