//! Functions by their unwind records, which stripped files keep: a record says where its function begins and ends.

use super::File;
use gimli::{BaseAddresses, CieOrFde, EhFrame, LittleEndian, UnwindSection as _};
use object::{Object as _, ObjectSection as _};

/// First address and end of every function with an unwind record. A table that is malformed ends early.
pub(super) fn ranges(file: &File<'_>) -> Vec<(u64, u64)> {
    let mut ranges = Vec::new();
    let Some(section) = file.section_by_name(".eh_frame") else { return ranges };
    let Ok(bytes) = section.data() else { return ranges };
    let bases = BaseAddresses::default().set_eh_frame(section.address());
    let frames = EhFrame::new(bytes, LittleEndian);
    let mut entries = frames.entries(&bases);
    while let Ok(Some(entry)) = entries.next() {
        let CieOrFde::Fde(partial) = entry else { continue };
        let Ok(record) = partial.parse(|frames, bases, offset| frames.cie_from_offset(bases, offset)) else {
            continue;
        };
        // Records of signal trampolines begin a byte early, for unwinders that look at the byte before (glibc's
        // `__restore_rt`).
        let early = u64::from(record.is_signal_trampoline());
        let start = record.initial_address();
        ranges.push((start.saturating_add(early), start.saturating_add(record.len())));
    }
    ranges
}
