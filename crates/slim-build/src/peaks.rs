//! The most memory and the most processes that a container had at once, as the kernel counts them for its control group.
//!
//! The counts go with the group when the container ends, so they are read while it runs. The kernel's own peaks are read
//! where it has them (`memory.peak`, `memory.max_usage_in_bytes`, `pids.peak`), else how many there are at each look.

use slim_policy::Peaks;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// Files of a control group in the order in which they are asked, v2's and v1's names of the same thing.
const MEMORY: [&str; 3] = ["memory.peak", "memory.max_usage_in_bytes", "memory.current"];
const PIDS: [&str; 2] = ["pids.peak", "pids.current"];

/// Looks at a container's control groups while it runs.
pub struct Watcher {
    memory: Option<PathBuf>,
    pids: Option<PathBuf>,
    seen: Mutex<Peaks>,
}

impl Watcher {
    /// Of the control groups that a process of the container is in.
    #[must_use]
    pub fn of(pid: i32) -> Self {
        let groups = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("cgroup"));
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let folders = folders(&groups.unwrap_or_default(), &mounts);
        let first = |names: &[&str]| {
            let mut files = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
            files.find(|file| file.exists())
        };
        Self { memory: first(&MEMORY), pids: first(&PIDS), seen: Mutex::default() }
    }

    /// Looks on and on; it never ends by itself.
    pub async fn watch(&self) -> std::convert::Infallible {
        loop {
            self.look();
            tokio::time::sleep(LOOK).await;
        }
    }

    /// One look more, and the most that was seen.
    #[must_use]
    pub fn peaks(&self) -> Peaks {
        self.look();
        *self.seen.lock().expect("no holder of this lock panics")
    }

    fn look(&self) {
        let number = |file: &Option<PathBuf>| -> Option<u64> {
            fs::read_to_string(file.as_ref()?).ok()?.trim().parse().ok()
        };
        let now = Peaks { pids: number(&self.pids), memory: number(&self.memory) };
        let mut seen = self.seen.lock().expect("no holder of this lock panics");
        *seen = seen.max(now);
    }
}

/// The folders of the control groups in `/proc/PID/cgroup`, one a hierarchy. The top of a hierarchy counts everybody's
/// processes, so it is none of them.
fn folders(groups: &str, mounts: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        if path == "/" {
            continue;
        }
        found.extend(mounts.lines().filter_map(|mount| {
            let (left, right) = mount.split_once(" - ")?;
            let mut right = right.split(' ');
            let is_this = match (right.next()?, controllers.is_empty()) {
                ("cgroup2", true) => true,
                ("cgroup", false) => {
                    let options = right.nth(1)?;
                    controllers
                        .split(',')
                        .all(|controller| options.split(',').any(|option| option == controller))
                }
                _ => false,
            };
            let mut left = left.split(' ').skip(3);
            let (root, place) = (left.next()?, left.next()?);
            let below = Path::new(path).strip_prefix(root).ok()?;
            is_this.then(|| Path::new(place).join(below))
        }));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "31 24 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                          32 24 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                          33 24 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
                          34 24 0:30 /part /mnt/part rw - cgroup cgroup rw,pids\n\
                          35 24 0:31 / / rw - overlay overlay rw\n";

    fn of(groups: &str) -> Vec<String> {
        folders(groups, MOUNTS).into_iter().map(|folder| folder.display().to_string()).collect()
    }

    #[test]
    fn a_group_lies_below_the_mount_of_its_hierarchy() {
        assert_eq!(
            of("4:memory:/docker/1\n2:cpu,cpuacct:/docker/1\n0::/docker/1\n"),
            [
                "/sys/fs/cgroup/memory/docker/1",
                "/sys/fs/cgroup/cpu,cpuacct/docker/1",
                "/sys/fs/cgroup/unified/docker/1"
            ]
        );
        assert_eq!(of("8:pids:/part/docker/1\n"), ["/mnt/part/docker/1"], "a part of a hierarchy is mounted");
        assert_eq!(of("8:pids:/other/1\n4:memory:/\n"), [""; 0], "not mounted here; everybody's");
    }

    #[test]
    fn a_process_that_is_gone_has_no_peaks() {
        assert_eq!(Watcher::of(i32::MAX).peaks(), Peaks::default());
    }
}
