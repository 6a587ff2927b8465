//! SIGKILL at random moments of builds, imports and runs on the embedded engine: what is in the store stays, and what was
//! half-made is gone after the next start. Needs root.
//!
//! `DOCKER_SLIM_TEST_KILLS` says how many (12 by default, which takes about a minute; 50 before a release), and
//! `DOCKER_SLIM_TEST_SEED` which moments: the seed is printed.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test's failure is a panic, and it tells its seed"
)]

mod common;

use common::embedded::{Embedded, archive, busybox_layer, web_server};
use common::run;
use slim_engine::embedded::StoredImage;
use slim_image::Digest;
use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

/// xorshift64: the same numbers for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn setting(name: &str, or: u64) -> u64 {
    std::env::var(name).ok().map_or(or, |text| text.parse().unwrap())
}

/// The images that a person has, by name, each with all of its layers.
#[track_caller]
fn owned(embedded: &Embedded, when: &str) -> BTreeMap<String, Digest> {
    let images: Vec<StoredImage> =
        embedded.engine.store().images().unwrap_or_else(|error| panic!("{when}: {error}"));
    for image in &images {
        let layers = embedded.now(slim_engine::Engine::local_layers(&embedded.engine, &image.id.to_string()));
        for layer in layers.unwrap_or_default() {
            assert!(layer.is_dir(), "{when}: {} of {:?} is gone", layer.display(), image.names);
        }
    }
    let named =
        images.into_iter().flat_map(|image| image.names.into_iter().map(move |name| (name, image.id)));
    named.filter(|(name, _)| !name.contains("temporary")).collect()
}

#[test]
fn no_kill_loses_an_image_or_leaves_what_the_next_start_does_not_sweep() {
    let kills = setting("DOCKER_SLIM_TEST_KILLS", 12);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
    let seed = setting("DOCKER_SLIM_TEST_SEED", now as u64 | 1);
    println!("seed {seed}, {kills} kills");
    let mut random = Random(seed);

    let embedded = Embedded::with_image(&web_server());
    let other = embedded.archive("other:1", &serde_json::json!({"Cmd": ["true"]})).display().to_string();
    embedded.run_slim(&["store", "import", &other]).expect(0);
    // One that is only ever on its way in: another layer, so that it is really unpacked.
    let mut layer = busybox_layer();
    let at = layer.windows(7).position(|bytes| bytes == b"seeded\n").unwrap();
    layer[at] = b'S';
    let third = embedded.folder.path().join("third.tar");
    fs::write(&third, archive("third:1", &layer, &web_server())).unwrap();
    let third = third.display().to_string();
    let began = Instant::now();
    embedded.run_slim(&["build", "--http-probe", "test:1"]).expect(0);
    let length = u64::try_from(began.elapsed().as_millis()).unwrap();
    let before = owned(&embedded, "before");
    assert_eq!(before.keys().collect::<Vec<_>>(), ["other:1", "test.slim:1", "test:1"]);

    for kill in 0..kills {
        let (what, arguments): (&str, Vec<&str>) = match random.below(10) {
            0 => ("import", vec!["store", "import", &third]),
            1 => ("run", vec!["run", "--rm", "test:1"]),
            2 => ("remove", vec!["store", "rm", "third:1"]),
            _ => ("build", vec!["build", "--http-probe", "--tag=killed", "test:1"]),
        };
        let limit = if what == "build" { length } else { length / 4 };
        let moment = Duration::from_millis(random.below(limit.max(1)));
        let mut child =
            embedded.slim(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(moment);
        child.kill().unwrap();
        child.wait().unwrap();
        let when = format!("kill {kill} of seed {seed}, {what} after {moment:?}");
        let mut left = owned(&embedded, &when);
        left.retain(|name, _| !matches!(name.as_str(), "killed:latest" | "third:1"));
        assert_eq!(left, before, "{when}");
    }

    embedded.run_slim(&["build", "--http-probe", "test:1"]).expect(0);
    let when = format!("after seed {seed}");
    let names = run(
        "sh",
        &["-c", &format!("ls -A {0}/layers {0}/containers", embedded.engine.store().path().display())],
    );
    assert!(!names.contains(".incoming"), "{when}: {names}");
    let images = embedded.engine.store().images().unwrap();
    let temporary: Vec<_> =
        images.iter().flat_map(|image| &image.names).filter(|name| name.contains("temporary")).collect();
    assert!(temporary.is_empty(), "{when}: {temporary:?}");
    embedded.expect_nothing();
    // Nothing is there that no image needs.
    let pruned = embedded.engine.store().prune().unwrap();
    assert_eq!((pruned.images, pruned.layers, pruned.blobs), (0, 0, 0), "{when}");
}
