//! From a path to what it names: `/v2/<name>/…`, where a name may hold slashes and words that mean something elsewhere.

use slim_image::{Digest, Reference};

/// What a path names. What cannot be a digest or a tag stays text: whether that is "unknown" or "invalid" depends on
/// what is done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Version,
    Blob {
        repository: String,
        digest: String,
    },
    Uploads {
        repository: String,
    },
    Upload {
        repository: String,
        id: String,
    },
    Manifest {
        repository: String,
        which: String,
    },
    Tags {
        repository: String,
    },
    Referrers {
        repository: String,
        digest: String,
    },
    /// The name of the repository is none.
    BadName(String),
    Nothing,
}

/// From a repository's name and a path's last segment.
type Named = fn(String, String) -> Route;

impl Route {
    pub(super) fn of(path: &str) -> Self {
        // Of what digests, tags and names hold, the colon alone is written in another way by some clients.
        let path = path.replace("%3A", ":").replace("%3a", ":");
        let Some(rest) = path.strip_prefix("/v2") else { return Self::Nothing };
        if matches!(rest, "" | "/") {
            return Self::Version;
        }
        let segments: Vec<&str> = rest.trim_start_matches('/').split('/').collect();
        // From the end: a repository may be called `a/blobs`.
        let (name, route): (_, Named) = match &segments[..] {
            [name @ .., "blobs", "uploads", ""] | [name @ .., "blobs", "uploads"] => {
                (name, |repository, _| Self::Uploads { repository })
            }
            [name @ .., "blobs", "uploads", _] => (name, |repository, id| Self::Upload { repository, id }),
            [name @ .., "blobs", _] => (name, |repository, digest| Self::Blob { repository, digest }),
            [name @ .., "manifests", _] => (name, |repository, which| Self::Manifest { repository, which }),
            [name @ .., "tags", "list"] => (name, |repository, _| Self::Tags { repository }),
            [name @ .., "referrers", _] => {
                (name, |repository, digest| Self::Referrers { repository, digest })
            }
            _ => return Self::Nothing,
        };
        let (name, last) = (name.join("/"), segments.last().copied().unwrap_or_default().to_owned());
        if is_name(&name) { route(name, last) } else { Self::BadName(name) }
    }
}

/// Whether a repository may be called this; then it is also a path below a folder that leads nowhere else.
pub(super) fn is_name(name: &str) -> bool {
    let text = format!("localhost/{name}");
    text.parse::<Reference>().is_ok_and(|reference| reference.repository == text)
}

/// A tag, a digest, or neither.
pub(super) enum Reading {
    Tag(String),
    Digest(Digest),
    Neither,
}

impl Reading {
    pub(super) fn of(text: &str) -> Self {
        if let Ok(digest) = text.parse() {
            return Self::Digest(digest);
        }
        let named = format!("localhost/x:{text}");
        match named.parse::<Reference>() {
            Ok(reference) if reference.tag.as_deref() == Some(text) => Self::Tag(text.to_owned()),
            _ => Self::Neither,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_what_the_specification_says() {
        let repository = || "a/b".to_owned();
        let text = |text: &str| text.to_owned();
        for (path, route) in [
            ("/v2/", Route::Version),
            ("/v2", Route::Version),
            ("/v2/a/b/blobs/sha256:1", Route::Blob { repository: repository(), digest: text("sha256:1") }),
            ("/v2/a/b/blobs/sha256%3A1", Route::Blob { repository: repository(), digest: text("sha256:1") }),
            ("/v2/a/b/blobs/uploads/", Route::Uploads { repository: repository() }),
            ("/v2/a/b/blobs/uploads/x", Route::Upload { repository: repository(), id: text("x") }),
            ("/v2/a/b/manifests/1", Route::Manifest { repository: repository(), which: text("1") }),
            ("/v2/a/b/tags/list", Route::Tags { repository: repository() }),
            ("/v2/a/b/referrers/x", Route::Referrers { repository: repository(), digest: text("x") }),
            ("/", Route::Nothing),
            ("/v2/a/b", Route::Nothing),
        ] {
            assert_eq!(Route::of(path), route, "{path}");
        }
    }

    #[test]
    fn a_repository_may_be_called_like_a_part_of_a_path() {
        assert_eq!(
            Route::of("/v2/a/blobs/manifests/1"),
            Route::Manifest { repository: "a/blobs".into(), which: "1".into() }
        );
        assert_eq!(Route::of("/v2/tags/tags/list"), Route::Tags { repository: "tags".into() });
    }

    #[test]
    fn names_that_lead_elsewhere_are_none() {
        for name in ["..", "a/..", "../a", "_uploads", "a//b", "", "A", "a/_tags", "a:b", "a@b"] {
            assert!(!is_name(name), "{name}");
            assert!(matches!(Route::of(&format!("/v2/{name}/tags/list")), Route::BadName(_)), "{name}");
        }
        assert!(is_name("a/b.c/d-e__f"));
    }

    #[test]
    fn a_tag_is_told_from_a_digest_and_from_neither() {
        assert!(matches!(Reading::of("1.2-x_Y"), Reading::Tag(_)));
        assert!(matches!(Reading::of(&Digest::of("x").to_string()), Reading::Digest(_)));
        for neither in [".x", "sha256:1", "a/b", "..", "", "a@b"] {
            assert!(matches!(Reading::of(neither), Reading::Neither), "{neither}");
        }
    }
}
