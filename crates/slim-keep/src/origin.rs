//! What is known of how an image was made, beside its files.

use slim_image::history::HistoryEntry;

/// An image's making. The default: nothing is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The steps, the oldest first; empty where they are not known. A step with `empty_layer` left no layer, and the
    /// others stand for the layers in their order.
    pub history: Vec<HistoryEntry>,
    /// How many layers the base has, where the image's label `org.opencontainers.image.base.digest` names a base that
    /// the caller found and whose layers this image's begin with. The label alone tells no number: the digest is a
    /// manifest's.
    pub labelled_base: Option<usize>,
}
