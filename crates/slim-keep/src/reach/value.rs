//! What the text of a program tells of a string that it puts together.

/// What an expression can come to, as `condition ? a : b`: more say nothing new.
const ALTERNATIVES: usize = 8;
/// PATH_MAX.
const LENGTH: usize = 4096;

/// What a string is known to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Value {
    /// What it begins with.
    pub prefix: Vec<u8>,
    /// What it ends with after something that is not known; `None` where the prefix is all of it.
    pub rest: Option<Vec<u8>>,
    /// Whether it was made from the place of the file itself.
    pub anchored: bool,
}

impl Value {
    pub(crate) fn known(text: impl Into<Vec<u8>>) -> Self {
        Self { prefix: text.into(), rest: None, anchored: false }
    }

    pub(crate) fn unknown() -> Self {
        Self { prefix: Vec::new(), rest: Some(Vec::new()), anchored: false }
    }

    /// A path made from the place of the file.
    pub(crate) fn anchored(text: impl Into<Vec<u8>>) -> Self {
        Self { anchored: true, ..Self::known(text) }
    }

    /// The whole string, where it is known.
    pub(crate) fn whole(&self) -> Option<&[u8]> {
        if self.rest.is_none() { Some(&self.prefix) } else { None }
    }

    /// The string with another behind it.
    pub(crate) fn then(&self, next: &Self) -> Self {
        let mut value = self.clone();
        value.anchored |= next.anchored;
        match &mut value.rest {
            None => {
                value.prefix.extend_from_slice(&next.prefix);
                value.rest.clone_from(&next.rest);
            }
            Some(rest) => match &next.rest {
                None => rest.extend_from_slice(&next.prefix),
                Some(end) => rest.clone_from(end),
            },
        }
        if value.prefix.len() > LENGTH || value.rest.as_ref().is_some_and(|rest| rest.len() > LENGTH) {
            return Self::unknown();
        }
        value
    }
}

/// Each of the left with each of the right behind it.
pub(crate) fn product(left: &[Value], right: &[Value]) -> Vec<Value> {
    let pairs = left.iter().flat_map(|left| right.iter().map(move |right| left.then(right)));
    pairs.take(ALTERNATIVES).collect()
}

/// Those of the left and those of the right.
pub(crate) fn either(mut left: Vec<Value>, right: Vec<Value>) -> Vec<Value> {
    left.extend(right);
    left.truncate(ALTERNATIVES);
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_hides_the_middle_only() {
        let value =
            [Value::known("a"), Value::unknown(), Value::known("b"), Value::unknown(), Value::known("c")]
                .iter()
                .fold(Value::default(), |value, next| value.then(next));
        assert_eq!((value.prefix, value.rest), (b"a".to_vec(), Some(b"c".to_vec())));
        let many = vec![Value::known("x"); 5];
        assert_eq!(product(&many, &many).len(), ALTERNATIVES);
    }
}
