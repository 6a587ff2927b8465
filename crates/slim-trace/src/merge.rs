//! Two traces of one image as one: what either saw was seen.

use crate::trace::{ProcessId, Trace};

/// Why two traces cannot be one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    #[error("they are of different images, {0} and {1}: what one shows says nothing of the other")]
    OtherImage(String, String),
    #[error("they are of different machines, {0} and {1}")]
    OtherArchitecture(String, String),
}

impl Trace {
    /// Whether this trace can be merged with `other`: both must be of one image.
    ///
    /// # Errors
    /// Why not.
    pub fn check_mergeable(&self, other: &Self) -> Result<(), MergeError> {
        if !self.is_of(&other.image, &other.layers) {
            return Err(MergeError::OtherImage(self.image.clone(), other.image.clone()));
        }
        if self.architecture != other.architecture {
            let (one, two) = (self.architecture.clone(), other.architecture.clone());
            return Err(MergeError::OtherArchitecture(one, two));
        }
        Ok(())
    }

    /// The union of two traces, normalised. Processes that are alike become one, so that merging a trace with itself
    /// gives the same trace, and the order of merging does not matter.
    #[must_use]
    pub fn merge(&self, other: &Self) -> Self {
        let mut merged = self.clone();
        let first = u32::try_from(self.processes.len()).expect("a trace has fewer processes than that");
        // One image may have several ids: each engine's own.
        merged.image = (&self.image).max(&other.image).clone();
        merged.layers = (&self.layers).max(&other.layers).clone();
        merged.kernel = (&self.kernel).max(&other.kernel).clone();
        merged.architecture = (&self.architecture).max(&other.architecture).clone();
        merged.steps.join(&other.steps);
        merged.mounts.extend(other.mounts.iter().cloned());
        // A number beyond the other's processes must not come to mean one of ours, or the other way round.
        merged.append(other, &|id| ProcessId(id.0.saturating_add(first)));
        merged.normalise();
        merged
    }

    fn append(&mut self, other: &Self, number: &dyn Fn(ProcessId) -> ProcessId) {
        macro_rules! append {
            ($($list:ident),*) => {$(
                self.$list.retain(|item| (item.process.0 as usize) < self.processes.len());
                self.$list.extend(other.$list.iter().cloned().map(|mut item| {
                    item.process = number(item.process);
                    item
                }));
            )*};
        }
        append!(files, system_calls, arguments, sockets, listening, io_uring);
        self.processes.extend(other.processes.iter().cloned().map(|mut process| {
            process.parent = process.parent.map(number);
            process
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_with_other_ids_for_an_image_have_its_layers_in_common() {
        let with = |id: &str, layers: &[&str]| {
            let layers = layers.iter().map(|layer| (*layer).to_owned()).collect();
            Trace { layers, ..Trace::empty(id) }
        };
        let (docker, containerd) = (with("sha256:1", &["sha256:a"]), with("sha256:2", &["sha256:a"]));
        assert_eq!(docker.check_mergeable(&containerd), Ok(()));
        assert_eq!(docker.merge(&containerd), containerd.merge(&docker));
        let other = with("sha256:2", &["sha256:b"]);
        assert!(matches!(docker.check_mergeable(&other), Err(MergeError::OtherImage(..))));
        // Of older traces nobody knows the layers.
        assert!(with("sha256:1", &[]).check_mergeable(&with("sha256:2", &[])).is_err());
        assert!(docker.is_of("sha256:1", &[]) && !docker.is_of("sha256:2", &[]));
    }
    use crate::TracedPath;
    use crate::trace::{Abi, Access, FileAccess, Phase, Process, SystemCalls};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn process(parent: Option<u32>, name: u8) -> Process {
        Process {
            parent: parent.map(ProcessId),
            began: Phase::Startup,
            executable: Some(TracedPath::new([b'/', b'a' + name])),
            invoked_as: None,
            interpreter: None,
            shebang: Vec::new(),
            argv: Vec::new(),
        }
    }

    prop_compose! {
        fn traces()(
            names in proptest::collection::vec((0_u8..4, any::<u32>()), 1..6),
            files in proptest::collection::vec((0_u8..5, any::<u32>(), any::<bool>()), 0..8),
            calls in proptest::collection::vec((any::<u32>(), 0_u8..3, any::<bool>()), 0..8),
        ) -> Trace {
            let mut trace = Trace::empty("sha256:0");
            let count = u32::try_from(names.len()).unwrap();
            for (index, (name, parent)) in (0..).zip(names) {
                trace.processes.push(process((index > 0 && parent % 3 != 0).then(|| parent % index.max(1)), name));
            }
            for (name, process, missing) in files {
                trace.files.push(FileAccess {
                    path: TracedPath::new([b'/', b'f', b'0' + name]),
                    process: ProcessId(process % count),
                    access: [if missing { Access::Missing } else { Access::Open }].into(),
                    phases: [Phase::Startup].into(),
                });
            }
            for (process, name, denied) in calls {
                let name = format!("call{name}");
                trace.system_calls.push(SystemCalls {
                    process: ProcessId(process % count),
                    phase: Phase::Startup,
                    abi: Abi::X86_64,
                    calls: [name.clone()].into(),
                    denied: if denied { [(name, ["EPERM".to_owned()].into())].into() } else { BTreeMap::new() },
                });
            }
            trace
        }
    }

    #[test]
    fn processes_that_are_alike_become_one_and_parents_come_first() {
        let mut trace = Trace::empty("sha256:0");
        trace.processes = vec![
            process(None, 2),
            process(Some(0), 1),
            process(Some(0), 1),
            process(Some(0), 0),
            process(Some(2), 3),
        ];
        for id in 0..5 {
            let (path, access) = (TracedPath::new([b'/', b'0' + id]), [Access::Open].into());
            trace.files.push(FileAccess {
                path,
                process: ProcessId(id.into()),
                access,
                phases: [Phase::Startup].into(),
            });
        }
        trace.normalise();
        assert_eq!(
            trace.processes,
            [process(None, 2), process(Some(0), 0), process(Some(0), 1), process(Some(2), 3)]
        );
        assert_eq!(trace.files.iter().map(|file| file.process.0).collect::<Vec<_>>(), [0, 2, 2, 1, 3]);
    }

    #[test]
    fn traces_of_two_images_are_not_merged() {
        let (one, two) = (Trace::empty("sha256:1"), Trace::empty("sha256:2"));
        assert_eq!(one.check_mergeable(&one), Ok(()));
        let error = one.check_mergeable(&two).unwrap_err();
        assert!(error.to_string().contains("sha256:1 and sha256:2"), "{error}");
    }

    #[test]
    fn a_parent_that_stands_behind_its_child_is_none() {
        let mut trace = Trace::empty("sha256:0");
        trace.processes = vec![process(Some(1), 0), process(Some(0), 1), process(Some(2), 2)];
        trace.normalise();
        assert_eq!(trace.processes, [process(None, 0), process(Some(0), 1), process(None, 2)]);
    }

    proptest! {
        #[test]
        fn the_order_of_merging_does_not_matter(one in traces(), two in traces(), three in traces()) {
            prop_assert_eq!(one.merge(&two), two.merge(&one));
            prop_assert_eq!(one.merge(&two).merge(&three), one.merge(&two.merge(&three)));
        }

        #[test]
        fn merging_a_trace_with_itself_again_changes_nothing(one in traces()) {
            let once = one.merge(&one);
            prop_assert_eq!(once.merge(&one), once.clone());
            prop_assert_eq!(once.merge(&once), once);
        }

        #[test]
        fn normalising_twice_is_normalising_once(one in traces()) {
            let mut once = one;
            once.normalise();
            let mut twice = once.clone();
            twice.normalise();
            prop_assert_eq!(&twice, &once);
            prop_assert_eq!(once.merge(&Trace::empty("sha256:0")), once);
        }

        #[test]
        fn the_order_of_events_does_not_matter(one in traces()) {
            let (mut forth, mut back) = (one.clone(), one);
            back.files.reverse();
            back.system_calls.reverse();
            forth.normalise();
            back.normalise();
            prop_assert_eq!(forth, back);
        }

        #[test]
        fn a_trace_survives_the_way_through_its_file(one in traces()) {
            prop_assert_eq!(Trace::from_json(&one.to_json()).unwrap(), one);
        }

        #[test]
        fn nothing_seen_is_lost(one in traces(), two in traces()) {
            let merged = one.merge(&two);
            prop_assert!(Trace::from_json(&merged.to_json()).is_ok());
            for file in one.files.iter().chain(&two.files) {
                prop_assert!(merged.files.iter().any(|seen| seen.path == file.path && seen.access.is_superset(&file.access)));
            }
        }
    }
}
