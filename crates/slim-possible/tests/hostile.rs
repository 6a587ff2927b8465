//! Files from strangers: whatever an ELF file says of itself, it is an answer or an error of this file.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a failure is a panic")]

mod common;

use common::compile;
use proptest::prelude::*;
use slim_image::{ImagePath, MemoryTree};
use slim_possible::{How, Kept, possible};
use std::collections::BTreeSet;
use std::sync::OnceLock;

const SOURCE: &str = r#"
#include <stdio.h>
#include <unistd.h>
struct operations { const char *name; int (*run)(const char *); };
const struct operations all[] = {{"a", puts}, {"b", unlink}, {"c", rmdir}};
int exported(int which) {
    switch (which) {
    case 0: return puts("0"); case 1: return getpid(); case 2: return syscall(which + 3);
    case 3: return close(which); case 4: return all[which & 1].run("x"); case 5: return 7;
    default: return 0;
    }
}
int main(int count, char **arguments) { return all[count & 1].run("x") + exported(count); }
"#;

fn program() -> &'static [u8] {
    static PROGRAM: OnceLock<Vec<u8>> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let flags = ["-nostartfiles", "-Wl,-e,main", "-rdynamic"];
        std::fs::read(compile("gcc", SOURCE, &flags).file).unwrap()
    })
}

fn analyse(bytes: &[u8]) {
    let tree = MemoryTree::new().file("/bin/one", 0o755, bytes).file("/lib/two", 0o755, program());
    let kept = [
        Kept {
            path: ImagePath::new("/bin/one"),
            how: How::Program { interpreter: Some(ImagePath::new("/lib/two")) },
            needs: vec![ImagePath::new("/lib/two"), ImagePath::new("/lib/none")],
        },
        Kept {
            path: ImagePath::new("/lib/two"),
            how: How::Opened { by: BTreeSet::new() },
            needs: vec![ImagePath::new("/bin/one")],
        },
    ];
    let answer = possible(&tree, &kept).unwrap();
    // A library that is not there is not passed over in silence.
    assert!(!answer.programs[0].is_complete);
}

#[test]
fn a_table_that_all_code_names_is_given_up_and_told() {
    // 1,500 times 4,096 ways: ten times as many would be more than memory holds.
    let source = r#"
        __asm__(".pushsection .text\n"
            "target: .skip 4096, 0x90\nret\n"
            ".globl entangled\n.type entangled, @function\n"
            "entangled:\n.rept 1500\nlea table(%rip), %rax\n.endr\nret\n.size entangled, . - entangled\n"
            ".popsection\n.section .rodata\n.balign 4\n"
            "table:\n.set i, 0\n.rept 4096\n.long target + i - table\n.set i, i + 1\n.endr\n.text\n");
        int main(void) { return 0; }
    "#;
    let flags = ["-nostartfiles", "-nostdlib", "-Wl,-e,main", "-rdynamic"];
    let file = std::fs::read(compile("gcc", source, &flags).file).unwrap();
    let tree = MemoryTree::new().file("/bin/one", 0o755, file);
    let kept = [Kept {
        path: ImagePath::new("/bin/one"),
        how: How::Program { interpreter: None },
        needs: Vec::new(),
    }];
    let answer = possible(&tree, &kept).unwrap();
    let told: Vec<&str> = answer.unread.iter().map(|unread| unread.why.as_str()).collect();
    assert!(told.len() == 1 && told[0].contains("more ways"), "{told:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn bytes_that_were_changed_are_no_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        wide in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(vec![0, 1, 0x7f, 0xff])), 0..6),
    ) {
        let mut bytes = program().to_vec();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        for (at, value) in wide {
            let at = at.index(bytes.len() - 8) & !7;
            bytes[at..at + 8].fill(value);
        }
        analyse(&bytes);
    }

    #[test]
    fn headers_that_lie_are_no_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>()), 1..6),
        in_sections in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>(), 0u32..64), 0..6),
    ) {
        let mut bytes = program().to_vec();
        let sections = usize::try_from(u64::from_le_bytes(bytes[40..48].try_into().unwrap())).unwrap();
        for (at, value) in changes {
            let at = 16 + (at.index(64 + 56 * 10) & !1);
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        for (at, value, shift) in in_sections {
            let at = sections + (at.index(bytes.len() - sections - 8) & !7);
            bytes[at..at + 8].copy_from_slice(&(value >> shift).to_le_bytes());
        }
        analyse(&bytes);
    }

    #[test]
    fn files_that_were_cut_off_are_no_panic(length in any::<prop::sample::Index>()) {
        analyse(&program()[..length.index(program().len())]);
    }
}
