//! Archives made by hand, block by block: what no well-meaning program writes.

use slim_image::Digest;
use slim_image::manifest::media;
use std::fs;
use std::path::Path;

const BLOCK: usize = 512;

/// A tar stream that grows.
#[derive(Clone, Default)]
pub struct Tar(pub Vec<u8>);

/// One header's fields as they are written; the numbers are text, so that they may be anything.
pub struct Header<'a> {
    pub name: &'a [u8],
    pub kind: u8,
    pub link: &'a [u8],
    pub mode: u32,
    pub size: &'a [u8],
    pub device: (u32, u32),
}

impl Default for Header<'_> {
    fn default() -> Self {
        Self { name: b"", kind: b'0', link: b"", mode: 0o644, size: b"0", device: (0, 0) }
    }
}

impl Tar {
    pub fn header(mut self, header: &Header<'_>) -> Self {
        let mut block = [0; BLOCK];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &header.name[..header.name.len().min(100)]);
        put(100, format!("{:07o}", header.mode).as_bytes());
        put(108, b"0000000");
        put(116, b"0000000");
        put(124, header.size);
        put(136, b"7033332000");
        put(156, &[header.kind]);
        put(157, &header.link[..header.link.len().min(100)]);
        put(257, b"ustar\x0000");
        put(329, format!("{:07o}", header.device.0).as_bytes());
        put(337, format!("{:07o}", header.device.1).as_bytes());
        let sum: u32 =
            (0..BLOCK).map(|at| if (148..156).contains(&at) { 32 } else { u32::from(block[at]) }).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&block);
        self
    }

    fn contents(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
        self
    }

    pub fn file(self, name: impl AsRef<[u8]>, text: impl AsRef<[u8]>) -> Self {
        self.file_with(name, 0o644, text)
    }

    pub fn file_with(self, name: impl AsRef<[u8]>, mode: u32, text: impl AsRef<[u8]>) -> Self {
        let (name, text) = (name.as_ref(), text.as_ref());
        let size = format!("{:011o}", text.len());
        self.named(name)
            .header(&Header { name, mode, size: size.as_bytes(), ..Header::default() })
            .contents(text)
    }

    pub fn directory(self, name: &str) -> Self {
        self.header(&Header { name: name.as_bytes(), kind: b'5', mode: 0o755, ..Header::default() })
    }

    pub fn symlink(self, name: &str, link: &str) -> Self {
        self.linked(b'2', name, link)
    }

    pub fn hard_link(self, name: &str, link: &str) -> Self {
        self.linked(b'1', name, link)
    }

    fn linked(self, kind: u8, name: &str, link: &str) -> Self {
        self.header(&Header { name: name.as_bytes(), kind, link: link.as_bytes(), ..Header::default() })
    }

    pub fn device(self, name: &str, kind: u8, device: (u32, u32)) -> Self {
        self.header(&Header { name: name.as_bytes(), kind, device, ..Header::default() })
    }

    /// Extension records (pax) for the next member.
    pub fn records(self, records: &[(&str, &[u8])]) -> Self {
        let mut bytes = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            // The length counts itself.
            let digits = (1..9).find(|digits| (rest + digits).to_string().len() == *digits).unwrap();
            bytes.extend_from_slice(format!("{} {key}=", rest + digits).as_bytes());
            bytes.extend_from_slice(value);
            bytes.push(b'\n');
        }
        let size = format!("{:011o}", bytes.len());
        let header = Header { name: b"pax", kind: b'x', size: size.as_bytes(), ..Header::default() };
        self.header(&header).contents(&bytes)
    }

    fn named(self, name: &[u8]) -> Self {
        if name.len() > 100 || name.contains(&0) { self.records(&[("path", name)]) } else { self }
    }

    pub fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 2 * BLOCK, 0);
        self.0
    }
}

/// An image of these layers, stored as they are; `plain` are their tar streams.
pub struct Image {
    pub layers: Vec<Vec<u8>>,
    pub config: Vec<u8>,
}

impl Image {
    pub fn of(layers: Vec<Vec<u8>>) -> Self {
        let diff_ids: Vec<Digest> = layers.iter().map(Digest::of).collect();
        Self::packed(layers, &diff_ids)
    }

    pub fn packed(layers: Vec<Vec<u8>>, diff_ids: &[Digest]) -> Self {
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/x"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        Self { layers, config: config.to_string().into_bytes() }
    }

    /// As `docker save` writes it.
    pub fn docker_archive(&self) -> Vec<u8> {
        let names: Vec<String> = (0..self.layers.len()).map(|number| format!("{number}/layer.tar")).collect();
        let manifest =
            serde_json::json!([{"Config": "config.json", "RepoTags": ["trick:1"], "Layers": names}]);
        let tar =
            Tar::default().file("manifest.json", manifest.to_string()).file("config.json", &self.config);
        let layers = names.iter().zip(&self.layers);
        layers.fold(tar, |tar, (name, layer)| tar.file(name, layer)).end()
    }

    fn manifest(&self) -> Vec<u8> {
        let descriptor = |kind: &str, bytes: &Vec<u8>| serde_json::json!({"mediaType": kind, "digest": Digest::of(bytes), "size": bytes.len()});
        let layers: Vec<_> = self.layers.iter().map(|layer| descriptor(media::LAYER, layer)).collect();
        serde_json::json!({
            "schemaVersion": 2, "mediaType": media::MANIFEST,
            "config": descriptor(media::CONFIG, &self.config), "layers": layers,
        })
        .to_string()
        .into_bytes()
    }

    /// The files of an OCI layout.
    pub fn layout_files(&self) -> Vec<(String, Vec<u8>)> {
        let manifest = self.manifest();
        let index = serde_json::json!({"schemaVersion": 2, "manifests": [{
            "mediaType": media::MANIFEST, "digest": Digest::of(&manifest), "size": manifest.len(),
            "annotations": {"org.opencontainers.image.ref.name": "trick:1"},
        }]});
        let mut files = vec![
            ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
            ("index.json".to_owned(), index.to_string().into_bytes()),
        ];
        for blob in self.layers.iter().chain([&self.config, &manifest]) {
            let file = (format!("blobs/sha256/{}", Digest::of(blob).hex()), blob.clone());
            if !files.contains(&file) {
                files.push(file);
            }
        }
        files
    }

    pub fn oci_archive(&self) -> Vec<u8> {
        self.layout_files().iter().fold(Tar::default(), |tar, (name, bytes)| tar.file(name, bytes)).end()
    }

    pub fn write_layout(&self, folder: &Path) {
        for (name, bytes) in self.layout_files() {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }

    /// As skopeo's `dir:`.
    pub fn write_directory(&self, folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("version"), "Directory Transport Version: 1.1\n").unwrap();
        fs::write(folder.join("manifest.json"), self.manifest()).unwrap();
        for blob in self.layers.iter().chain([&self.config]) {
            fs::write(folder.join(Digest::of(blob).hex()), blob).unwrap();
        }
    }
}
