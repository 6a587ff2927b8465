//! Files that a rule follows only in an image that can run them, whichever of file and runtime is kept first.

use super::KeptFile;
use crate::context::Context;
use slim_image::{ImagePath, TreeError};
use std::rc::Rc;

/// Longer files are no text that a person wrote.
const TEXT_MAX: u64 = 8 << 20;

/// A file and its contents.
pub(crate) type Text = (ImagePath, Rc<[u8]>);

/// Whether a language's runtime is kept, and what was kept before it.
#[derive(Default)]
pub(crate) struct Waiting {
    is_over: bool,
    files: Vec<ImagePath>,
}

impl Waiting {
    /// Hears of one kept file and gives the texts that can be followed now.
    ///
    /// # Errors
    /// When the image's files cannot be read.
    pub(crate) fn hear(
        &mut self,
        file: &KeptFile<'_>,
        context: &Context<'_>,
        is_runtime: bool,
        is_source: bool,
    ) -> Result<Vec<Text>, TreeError> {
        let mut texts = Vec::new();
        if is_runtime && !self.is_over {
            self.is_over = true;
            for path in std::mem::take(&mut self.files) {
                let text = context.read(path.as_bytes(), TEXT_MAX)?;
                texts.push((path, Rc::from(text)));
            }
        }
        if is_source && self.is_over {
            if let Some(text) = file.text()? {
                texts.push((file.path.clone(), text));
            }
        } else if is_source {
            self.files.push(file.path.clone());
        }
        Ok(texts)
    }
}
