//! Platforms: which of a multi-platform image's images is meant.
//!
//! Names are those of the Go tool chain, as every image carries them: `linux/amd64`, `linux/arm/v7`. What other tools
//! call the same thing (`x86_64`, `aarch64`, `armhf`) is understood and written as these.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What an image runs on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// `amd64`, `arm64`, `arm`, …
    pub architecture: String,
    /// `linux`.
    pub os: String,
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    #[serde(rename = "os.features", default, skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// `v7` of `arm`, `v3` of `amd64`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// Why a text is no platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read {0:?} as a platform: it is not os/architecture[/variant], as in linux/arm64 or linux/arm/v7")]
pub struct PlatformError(String);

impl Platform {
    /// A platform without a variant.
    #[must_use]
    pub fn new(os: impl Into<String>, architecture: impl Into<String>) -> Self {
        Self {
            architecture: architecture.into(),
            os: os.into(),
            os_version: None,
            os_features: Vec::new(),
            variant: None,
        }
    }

    /// Linux on the processor that this program was made for.
    #[must_use]
    pub fn host() -> Self {
        Self::new("linux", std::env::consts::ARCH).normal()
    }

    /// The same platform under its usual names: `arm64` has no variant `v8`, `amd64` none called `v1`.
    #[must_use]
    pub fn normal(&self) -> Self {
        let mut platform = self.clone();
        platform.os = platform.os.to_ascii_lowercase();
        let variant = platform.variant.take().unwrap_or_default().to_ascii_lowercase();
        let architecture = platform.architecture.to_ascii_lowercase();
        let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
            ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
            ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
            ("i386" | "i486" | "i586" | "i686" | "x86", _) => ("386", ""),
            ("aarch64" | "arm64", "8" | "v8") => ("arm64", ""),
            ("aarch64" | "arm64", variant) => ("arm64", variant),
            ("armhf", _) => ("arm", "v7"),
            ("armel", _) => ("arm", "v6"),
            ("arm", "" | "7") => ("arm", "v7"),
            ("arm", "5") => ("arm", "v5"),
            ("arm", "6") => ("arm", "v6"),
            ("arm", "8") => ("arm", "v8"),
            ("powerpc64le", variant) => ("ppc64le", variant),
            (architecture, variant) => (architecture, variant),
        };
        let variant = (!variant.is_empty()).then(|| variant.to_owned());
        platform.architecture = architecture.to_owned();
        platform.variant = variant;
        platform
    }

    /// How well an image for `candidate` does for this platform: the smaller the better, `None` for not at all. An `arm`
    /// of a higher variant and an `amd64` of a higher level run what was made for lower ones.
    #[must_use]
    pub fn distance(&self, candidate: &Self) -> Option<u32> {
        let (wanted, offered) = (self.normal(), candidate.normal());
        if (&wanted.os, &wanted.architecture) != (&offered.os, &offered.architecture) {
            return None;
        }
        if wanted.variant == offered.variant {
            return Some(0);
        }
        match wanted.architecture.as_str() {
            "arm" | "amd64" | "arm64" => level(&wanted)?.checked_sub(level(&offered)?),
            _ => None,
        }
    }
}

/// The number in a variant.
fn level(platform: &Platform) -> Option<u32> {
    match (&platform.variant, platform.architecture.as_str()) {
        (None, "arm64") => Some(8),
        (None, _) => Some(1),
        (Some(variant), _) => variant.strip_prefix('v')?.parse().ok(),
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_word = |word: &str| {
            !word.is_empty()
                && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
        };
        let words: Vec<&str> = text.split('/').collect();
        let refuse = || PlatformError(text.to_owned());
        if !words.iter().all(|word| is_word(word)) {
            return Err(refuse());
        }
        let mut platform = match words[..] {
            [os, architecture] | [os, architecture, _] => Self::new(os, architecture),
            _ => return Err(refuse()),
        };
        platform.variant = words.get(2).map(|&variant| variant.to_owned());
        Ok(platform.normal())
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(formatter, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distance(wanted: &str, offered: &str) -> Option<u32> {
        wanted.parse::<Platform>().unwrap().distance(&offered.parse().unwrap())
    }

    #[test]
    fn other_names_mean_the_same_platform() {
        for (text, normal) in [
            ("linux/x86_64", "linux/amd64"),
            ("Linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/amd64/v3", "linux/amd64/v3"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), normal);
        }
    }

    #[test]
    fn a_processor_runs_what_was_made_for_its_forerunners_only() {
        assert_eq!(distance("linux/arm/v7", "linux/arm/v7"), Some(0));
        assert_eq!(distance("linux/arm/v7", "linux/arm/v6"), Some(1));
        assert_eq!(distance("linux/arm/v6", "linux/arm/v7"), None);
        assert_eq!(distance("linux/amd64/v3", "linux/amd64"), Some(2));
        assert_eq!(distance("linux/amd64", "linux/amd64/v3"), None);
        assert_eq!(distance("linux/amd64", "linux/arm64"), None);
        assert_eq!(distance("linux/amd64", "windows/amd64"), None);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "linux", "linux/", "/amd64", "linux/arm/v7/x", "linux/a b"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }
}
