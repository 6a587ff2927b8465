//! JSON as rules read it: text, lists and tables in the order of the file, since the first matching key of a table
//! decides in package.json. Of the rest only truth is told from nothing.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Json {
    /// Null, a number or false.
    Nothing,
    /// True.
    Yes,
    Text(String),
    List(Vec<Json>),
    Table(Vec<(String, Json)>),
}

impl Json {
    /// `None` where the bytes are no JSON.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes)).ok()
    }

    /// The value of a table's key; the last one counts, as everywhere in JSON.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.table().iter().rev().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    pub(crate) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The entries of a table; none of anything else.
    pub(crate) fn table(&self) -> &[(String, Self)] {
        if let Self::Table(entries) = self { entries } else { &[] }
    }

    /// The values of a list; none of anything else.
    pub(crate) fn list(&self) -> &[Self] {
        if let Self::List(values) = self { values } else { &[] }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Json;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Nothing)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(if value { Json::Yes } else { Json::Nothing })
    }

    fn visit_i64<E>(self, _: i64) -> Result<Json, E> {
        Ok(Json::Nothing)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Json, E> {
        Ok(Json::Nothing)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
        Ok(Json::Nothing)
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = values.next_element()? {
            list.push(value);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut table = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            table.push(entry);
        }
        Ok(Json::Table(table))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_keep_their_order() {
        let json = Json::read(b"\xef\xbb\xbf{\"z\": [1, \"a\"], \"b\": {\"c\": null}, \"a\": true}").unwrap();
        let keys: Vec<&str> = json.table().iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["z", "b", "a"]);
        assert_eq!(json.get("z").unwrap().list()[1].text(), Some("a"));
        assert_eq!(json.get("b").unwrap().get("c"), Some(&Json::Nothing));
    }

    #[test]
    fn depth_and_broken_bytes_are_no_danger() {
        assert_eq!(Json::read("[".repeat(100_000).as_bytes()), None);
        assert_eq!(Json::read(b"{\"a\": \"\xff\"}"), None);
        assert_eq!(Json::read(b""), None);
    }
}
