//! Syntax trees of source text. The parsers take any bytes: what they cannot understand is an ERROR node among nodes
//! that they could, so one odd line does not hide the rest of a file.

use tree_sitter::{Node, Parser, Tree};

/// The languages that rules read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    Bash,
    JavaScript,
    Php,
    Python,
    Ruby,
}

/// The syntax tree of a text; `None` where the parser gives up.
pub(crate) fn parse(language: Language, text: &[u8]) -> Option<Tree> {
    let grammar = match language {
        Language::Bash => tree_sitter_bash::LANGUAGE.into(),
        Language::JavaScript => tree_sitter_javascript::LANGUAGE.into(),
        Language::Php => tree_sitter_php::LANGUAGE_PHP.into(),
        Language::Python => tree_sitter_python::LANGUAGE.into(),
        Language::Ruby => tree_sitter_ruby::LANGUAGE.into(),
    };
    let mut parser = Parser::new();
    parser.set_language(&grammar).ok()?;
    parser.parse(text, None)
}

/// Every node of a tree, parents before children, in the order of the text.
pub(crate) fn nodes(tree: &Tree) -> impl Iterator<Item = Node<'_>> {
    // A cursor, never recursion: the depth is the text's to choose.
    let mut cursor = tree.walk();
    let mut is_over = false;
    std::iter::from_fn(move || {
        if is_over {
            return None;
        }
        let node = cursor.node();
        if !cursor.goto_first_child() {
            while !cursor.goto_next_sibling() {
                if !cursor.goto_parent() {
                    is_over = true;
                    break;
                }
            }
        }
        Some(node)
    })
}

/// The bytes of a node.
pub(crate) fn text_of<'t>(node: Node<'_>, text: &'t [u8]) -> &'t [u8] {
    text.get(node.byte_range()).unwrap_or_default()
}

/// The line that a node begins in, from 1.
pub(crate) fn line_of(node: Node<'_>) -> u32 {
    u32::try_from(node.start_position().row + 1).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_odd_line_does_not_hide_the_rest() {
        let text = b"import os\n)))( $$$\nimport json\n";
        let tree = parse(Language::Python, text).unwrap();
        let imports: Vec<u32> =
            nodes(&tree).filter(|node| node.kind() == "import_statement").map(line_of).collect();
        assert_eq!(imports, [1, 3]);
    }

    #[test]
    fn depth_is_no_danger() {
        for (language, text) in [
            (Language::Bash, "$(".repeat(100_000)),
            (Language::JavaScript, "[".repeat(100_000)),
            (Language::Php, format!("<?php {}", "(".repeat(100_000))),
            (Language::Python, "(".repeat(100_000)),
            (Language::Ruby, "[".repeat(100_000)),
        ] {
            if let Some(tree) = parse(language, text.as_bytes()) {
                assert!(nodes(&tree).count() > 0, "{language:?}");
            }
        }
    }
}
