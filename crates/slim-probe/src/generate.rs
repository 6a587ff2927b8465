//! Bodies made up for uploads: a text, a JSON document, small valid pictures. Always the same bytes.

/// What can be made up, named as Mint's flags name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Generated {
    Text,
    Json,
    Png,
    Jpeg,
    Gif,
}

impl Generated {
    /// Every name, for a message.
    pub const NAMES: &'static str = "generate.text, generate.text.json, generate.image, generate.image.png, \
         generate.image.jpeg, generate.image.gif";

    /// `generate.image` is a PNG, which every library reads.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "generate.text" => Some(Self::Text),
            "generate.text.json" => Some(Self::Json),
            "generate.image" | "generate.image.png" => Some(Self::Png),
            "generate.image.jpeg" | "generate.image.jpg" => Some(Self::Jpeg),
            "generate.image.gif" => Some(Self::Gif),
            _ => None,
        }
    }

    /// The pictures are 16 × 16 pixels in colour: enough for a thumbnail to be made of them.
    pub fn bytes(self) -> &'static [u8] {
        match self {
            Self::Text => b"This is a text that docker-slim made up.\n",
            Self::Json => b"{\"text\": \"made up by docker-slim\", \"number\": 1, \"list\": [1, 2, 3]}\n",
            Self::Png => include_bytes!("generated/image.png"),
            Self::Jpeg => include_bytes!("generated/image.jpg"),
            Self::Gif => include_bytes!("generated/image.gif"),
        }
    }

    /// A name with the ending that upload filters look for.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Text => "file.txt",
            Self::Json => "file.json",
            Self::Png => "file.png",
            Self::Jpeg => "file.jpg",
            Self::Gif => "file.gif",
        }
    }

    pub fn media_type(self) -> &'static str {
        media_type_of(self.file_name())
    }
}

/// The media type that a file's ending stands for.
pub(crate) fn media_type_of(file_name: &str) -> &'static str {
    let ending = file_name.rsplit_once('.').map_or("", |(_, ending)| ending).to_ascii_lowercase();
    match ending.as_str() {
        "txt" | "log" | "md" => "text/plain",
        "csv" => "text/csv",
        "html" | "htm" => "text/html",
        "json" => "application/json",
        "xml" => "application/xml",
        "pdf" => "application/pdf",
        "zip" => "application/zip",
        "gz" | "tgz" => "application/gzip",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "svg" => "image/svg+xml",
        "webp" => "image/webp",
        "mp3" => "audio/mpeg",
        "mp4" => "video/mp4",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_in_the_message_is_known_and_no_other() {
        for name in Generated::NAMES.split(", ") {
            assert!(Generated::named(name.trim()).is_some(), "{name}");
        }
        assert_eq!(Generated::named("generate.image.bmp"), None);
        assert_eq!(Generated::named("generate"), None);
    }

    #[test]
    fn each_is_what_its_media_type_says() {
        assert!(std::str::from_utf8(Generated::Text.bytes()).is_ok());
        assert!(serde_json::from_slice::<serde_json::Value>(Generated::Json.bytes()).unwrap().is_object());
        let is_between = |kind: Generated, start: &[u8], end: &[u8]| {
            kind.bytes().starts_with(start) && kind.bytes().ends_with(end)
        };
        assert!(is_between(
            Generated::Png,
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x10\0\0\0\x10",
            b"IEND\xaeB`\x82"
        ));
        assert!(is_between(Generated::Jpeg, b"\xff\xd8\xff\xe0\0\x10JFIF", b"\xff\xd9"));
        assert!(is_between(Generated::Gif, b"GIF87a\x10\0\x10\0", b"\0;"));
        assert_eq!(Generated::Jpeg.media_type(), "image/jpeg");
    }
}
