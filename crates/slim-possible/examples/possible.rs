//! What a program in a directory can do: `possible ROOT PROGRAM [OPENED...]`, with the seconds and the peak memory it took.
//!
//! Libraries are looked for below ROOT's usual folders. One line a call with the way there; the sums on stderr.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]

use object::read::elf::{Dyn as _, ElfFile64, ProgramHeader as _, SectionHeader as _};
use slim_image::{Contents, Entry, ImagePath, ImageTree, TreeError};
use slim_possible::{How, Kept, possible};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Files of a directory, read when they are wanted.
struct Directory(PathBuf);

impl ImageTree for Directory {
    fn entry(&self, _: &ImagePath) -> Option<&Entry> {
        None
    }

    fn read_dir(&self, _: &ImagePath) -> Vec<&[u8]> {
        Vec::new()
    }

    fn walk(&self) -> Box<dyn Iterator<Item = (&ImagePath, &Entry)> + '_> {
        Box::new(std::iter::empty())
    }

    fn open(&self, path: &ImagePath) -> Result<Box<dyn Contents + '_>, TreeError> {
        let name = String::from_utf8_lossy(path.as_bytes()).into_owned();
        let file = File::open(self.0.join(name.trim_start_matches('/')));
        Ok(Box::new(file.map_err(|source| TreeError::Read { path: path.clone(), source })?))
    }
}

/// Names of DT_NEEDED, and the loader.
fn needed(bytes: &[u8]) -> (Vec<String>, Option<String>) {
    let file = ElfFile64::<object::LittleEndian>::parse(bytes).unwrap();
    let end = object::LittleEndian;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (mut names, mut loader) = (Vec::new(), None);
    let strings = file.elf_section_table().section_by_name(end, b".dynstr");
    let strings = strings.map(|(_, section)| section.data(end, bytes).unwrap());
    for segment in file.elf_program_headers() {
        if let Some(interpreter) = segment.interpreter(end, bytes).unwrap() {
            loader = Some(text(interpreter));
        }
        for entry in segment.dynamic(end, bytes).unwrap().into_iter().flatten() {
            if entry.d_tag(end) == object::elf::DT_NEEDED {
                let at = usize::try_from(entry.d_val(end)).unwrap();
                let name = strings.unwrap()[at..].split(|byte| *byte == 0).next().unwrap();
                names.push(text(name));
            }
        }
    }
    (names, loader)
}

fn find(root: &Path, name: &str) -> Option<String> {
    ["/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu", "/usr/local/lib", "/usr/lib", "/lib64"]
        .into_iter()
        .map(|folder| format!("{folder}/{name}"))
        .find(|path| root.join(path.trim_start_matches('/')).is_file())
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let root = PathBuf::from(arguments.next().expect("possible ROOT PROGRAM [OPENED...]"));
    let named: Vec<String> = arguments.collect();
    let mut kept: BTreeMap<String, Kept> = BTreeMap::new();
    let mut open: Vec<(String, usize)> = named.iter().cloned().zip(0..).collect();
    while let Some((path, depth)) = open.pop() {
        if kept.contains_key(&path) {
            continue;
        }
        let bytes = std::fs::read(root.join(path.trim_start_matches('/'))).unwrap();
        let (names, loader) = needed(&bytes);
        let mut needs: Vec<String> = names.iter().filter_map(|name| find(&root, name)).collect();
        let loader = loader.and_then(|path| find(&root, path.rsplit('/').next().unwrap()));
        needs.extend(loader.clone());
        open.extend(needs.iter().map(|path| (path.clone(), usize::MAX)));
        let how = match depth {
            0 => How::Program { interpreter: loader.as_ref().map(ImagePath::new) },
            usize::MAX => How::Library,
            _ => How::Opened { by: BTreeSet::new() },
        };
        let needs = needs.iter().map(ImagePath::new).collect();
        kept.insert(path.clone(), Kept { path: ImagePath::new(&path), how, needs });
    }
    let kept: Vec<Kept> = kept.into_values().collect();
    // The peak begins anew: what was read above does not count.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let began = std::time::Instant::now();
    let answer = possible(&Directory(root), &kept).unwrap();
    for call in &answer.calls {
        println!("{} {}", call.system_call, call.because.first().unwrap());
    }
    for program in &answer.programs {
        println!(
            "complete {} unknown {:?} missing {:?}",
            program.is_complete, program.unknown, program.missing
        );
    }
    println!("together {:?}", answer.together);
    println!("unread {:?}", answer.unread);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap().to_owned();
    eprintln!(
        "{} files, {} calls, {:.2} s, {peak}",
        kept.len(),
        answer.calls.len(),
        began.elapsed().as_secs_f64()
    );
}
