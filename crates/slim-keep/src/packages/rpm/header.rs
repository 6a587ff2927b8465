//! One package's header: an index of tags, and the data that they point into. All numbers are big-endian.

const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const FILE_FLAGS: u32 = 1037;
const DIRECTORY_INDEXES: u32 = 1116;
const BASE_NAMES: u32 = 1117;
const DIRECTORY_NAMES: u32 = 1118;
/// RPMFILE_CONFIG.
const CONFIGURATION: u32 = 1;
/// Bytes of an index entry: tag, type, offset, count.
const ENTRY: usize = 16;

/// What is needed of a header.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub name: Vec<u8>,
    /// `epoch:version-release`, without an epoch that is none.
    pub version: Vec<u8>,
    pub files: Vec<File>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct File {
    pub path: Vec<u8>,
    pub is_configuration: bool,
}

impl Header {
    /// Reads a header as it lies in the database: two numbers, the index, the data. `None` where it is damaged.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let count = usize::try_from(number(bytes, 0)?).ok()?;
        let length = usize::try_from(number(bytes, 4)?).ok()?;
        let end = count.checked_mul(ENTRY)?.checked_add(8)?;
        let (index, data) = (bytes.get(8..end)?, bytes.get(end..end.checked_add(length)?)?);
        let tags = Tags { index, data };
        let epoch = tags.numbers(EPOCH).first().map(|epoch| format!("{epoch}:").into_bytes());
        let text = |tag| tags.texts(tag).into_iter().next().unwrap_or_default();
        let version = [&epoch.unwrap_or_default()[..], text(VERSION), b"-", text(RELEASE)].concat();
        let (directories, places) = (tags.texts(DIRECTORY_NAMES), tags.numbers(DIRECTORY_INDEXES));
        let flags = tags.numbers(FILE_FLAGS);
        let mut files = Vec::new();
        for (file, name) in tags.texts(BASE_NAMES).into_iter().enumerate() {
            let place = usize::try_from(*places.get(file)?).ok()?;
            let path = [*directories.get(place)?, name].concat();
            let is_configuration = flags.get(file).is_some_and(|flags| flags & CONFIGURATION != 0);
            files.push(File { path, is_configuration });
        }
        Some(Self { name: tags.texts(NAME).first().map(|name| name.to_vec())?, version, files })
    }
}

struct Tags<'a> {
    index: &'a [u8],
    data: &'a [u8],
}

impl<'a> Tags<'a> {
    /// The beginning of a tag's data, and how many values it has.
    fn find(&self, tag: u32) -> Option<(&'a [u8], usize)> {
        let entry = self.index.chunks_exact(ENTRY).find(|entry| number(entry, 0) == Some(tag))?;
        let offset = usize::try_from(number(entry, 8)?).ok()?;
        Some((self.data.get(offset..)?, usize::try_from(number(entry, 12)?).ok()?))
    }

    /// Texts, each ending with a zero byte.
    fn texts(&self, tag: u32) -> Vec<&'a [u8]> {
        let Some((data, count)) = self.find(tag) else { return Vec::new() };
        data.split(|byte| *byte == 0).take(count).collect()
    }

    fn numbers(&self, tag: u32) -> Vec<u32> {
        let Some((data, count)) = self.find(tag) else { return Vec::new() };
        data.chunks_exact(4).take(count).filter_map(|bytes| number(bytes, 0)).collect()
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}
