//! How the fat image was made, as far as the engine and the image itself tell: where its base ends.

use slim_engine::Engine;
use slim_image::{Reference, SourceImage};
use slim_keep::Origin;

/// The manifest digest of the base, and its name (OCI image specification, "Annotations"). Builders set them as labels,
/// too.
const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";
const BASE_NAME: &str = "org.opencontainers.image.base.name";

/// What is known. What the engine does not tell is not known: no error, for the keep-set does without.
pub(crate) async fn find(engine: &dyn Engine, source: &SourceImage) -> Origin {
    let id = source.id.to_string();
    let (history, labelled_base) =
        tokio::join!(engine.image_history(&id, source.layer_diff_ids.len()), labelled_base(engine, source));
    let history = history.unwrap_or_else(|error| {
        tracing::debug!("no history: failed to {error}");
        Vec::new()
    });
    Origin { history, labelled_base }
}

/// How many layers the base has that the labels name, where the engine holds it. A label alone tells a digest and no
/// layers, and images inherit labels: only a base whose layers the image begins with counts.
async fn labelled_base(engine: &dyn Engine, source: &SourceImage) -> Option<usize> {
    let labels = &source.config.labels;
    let digest = labels.get(BASE_DIGEST).filter(|digest| !digest.is_empty())?;
    let repository = labels.get(BASE_NAME).and_then(|name| name.parse::<Reference>().ok());
    let named = repository.map(|reference| format!("{}@{digest}", reference.repository));
    for reference in named.into_iter().chain([digest.clone()]) {
        if let Ok(base) = engine.inspect_image(&reference).await {
            return layers_in_common(&base, source);
        }
    }
    None
}

/// The number of a base's layers, where an image begins with all of them and has more.
fn layers_in_common(base: &SourceImage, image: &SourceImage) -> Option<usize> {
    let (base, image) = (&base.layer_diff_ids, &image.layer_diff_ids);
    (!base.is_empty() && base.len() < image.len() && image.starts_with(base)).then_some(base.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use slim_image::{Config, Digest};

    fn image(layers: &[&str]) -> SourceImage {
        SourceImage {
            id: Digest::of(b"id"),
            reference: String::new(),
            tags: Vec::new(),
            digests: Vec::new(),
            architecture: "amd64".to_owned(),
            variant: None,
            os: "linux".to_owned(),
            os_version: None,
            created: None,
            author: None,
            size: 0,
            config: Config::default(),
            layer_diff_ids: layers.iter().map(|layer| Digest::of(layer.as_bytes())).collect(),
        }
    }

    #[test]
    fn only_layers_that_an_image_begins_with_are_its_bases() {
        let common = |base: &[&str], of: &[&str]| layers_in_common(&image(base), &image(of));
        assert_eq!(common(&["a", "b"], &["a", "b", "c"]), Some(2));
        for base in [&["b"][..], &["a", "x"], &["a", "b", "c"], &[]] {
            assert_eq!(common(base, &["a", "b", "c"]), None, "{base:?}");
        }
    }
}
