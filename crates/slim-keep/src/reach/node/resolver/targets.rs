//! `exports` and `imports` of a package.json: which target a name has, under which conditions.

use super::LookUp;
use crate::reach::json::Json;
use crate::reach::node::requests::Loader;
use crate::reach::places::join;
use slim_image::TreeError;

impl LookUp<'_> {
    pub(super) fn import_of_package(&mut self, specifier: &[u8], hops: u32) -> Result<bool, TreeError> {
        let Some((scope, manifest)) = self.scope()? else { return Ok(false) };
        let Some(imports) = manifest.get("imports") else { return Ok(false) };
        let Some((target, matched)) = matching(imports.table(), specifier) else { return Ok(false) };
        self.target(&scope, target, &matched, hops, true)
    }

    pub(super) fn exports(
        &mut self,
        package: &[u8],
        exports: &Json,
        rest: &[u8],
        hops: u32,
    ) -> Result<bool, TreeError> {
        let has_paths = exports.table().iter().any(|(key, _)| key.starts_with('.'));
        let subpath = [b".", rest].concat();
        if has_paths {
            let Some((target, matched)) = matching(exports.table(), &subpath) else { return Ok(false) };
            return self.target(package, target, &matched, hops, false);
        }
        Ok(rest.is_empty() && self.target(package, exports, b"", hops, false)?)
    }

    /// What a target of `exports` or `imports` leads to. Conditions that only some versions or settings know are gone
    /// through as well as what follows them. Nested no deeper than JSON may be.
    fn target(
        &mut self,
        package: &[u8],
        target: &Json,
        matched: &[u8],
        hops: u32,
        is_import: bool,
    ) -> Result<bool, TreeError> {
        let Some(left) = self.targets.checked_sub(1) else { return Ok(false) };
        self.targets = left;
        match target {
            Json::Nothing | Json::Yes => Ok(false),
            Json::Text(text) => {
                let path = replace_star(text.as_bytes(), matched);
                if path.starts_with(b"./") {
                    return self.file(&join(package, &path));
                }
                Ok(is_import && !path.starts_with(b"#") && self.specifier(&path, hops + 1)?)
            }
            Json::List(targets) => {
                for target in targets {
                    if self.target(package, target, matched, hops, is_import)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Json::Table(conditions) => {
                let mut is_found = false;
                for (condition, target) in conditions {
                    let weight = weigh(condition, self.loader);
                    if weight == Weight::Never {
                        continue;
                    }
                    is_found |= self.target(package, target, matched, hops, is_import)?;
                    if is_found && weight == Weight::Always {
                        break;
                    }
                }
                Ok(is_found)
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Weight {
    Never,
    /// Some versions or settings know it.
    Sometimes,
    Always,
}

fn weigh(condition: &str, loader: Loader) -> Weight {
    match (condition, loader) {
        ("require", Loader::Require) | ("import", Loader::Import) => Weight::Always,
        ("node" | "default" | "node-addons", _) => Weight::Always,
        ("module-sync" | "production", _) => Weight::Sometimes,
        _ => Weight::Never,
    }
}

/// The target of the best key for a name, and what its star stands for.
fn matching<'j>(table: &'j [(String, Json)], name: &[u8]) -> Option<(&'j Json, Vec<u8>)> {
    if let Some((_, target)) =
        table.iter().rev().find(|(key, _)| key.as_bytes() == name && !key.contains('*'))
    {
        return Some((target, Vec::new()));
    }
    let mut best: Option<(usize, &Json, Vec<u8>)> = None;
    for (key, target) in table {
        let key = key.as_bytes();
        let (start, end) = match key.iter().position(|byte| *byte == b'*') {
            Some(star) => (&key[..star], &key[star + 1..]),
            // A folder, as versions before 17 had it.
            None if key.ends_with(b"/") => (key, &[][..]),
            None => continue,
        };
        let fits = name.len() > start.len() + end.len() && name.starts_with(start) && name.ends_with(end);
        if fits && best.as_ref().is_none_or(|(length, ..)| start.len() > *length) {
            best = Some((start.len(), target, name[start.len()..name.len() - end.len()].to_vec()));
        }
    }
    best.map(|(_, target, matched)| (target, matched))
}

fn replace_star(target: &[u8], matched: &[u8]) -> Vec<u8> {
    if target.ends_with(b"/") {
        return [target, matched].concat();
    }
    let parts: Vec<&[u8]> = target.split(|byte| *byte == b'*').collect();
    parts.join(matched)
}
