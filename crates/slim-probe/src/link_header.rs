//! Links that stand in an answer's `Link` headers (RFC 8288): paging of an API, or what a page wants preloaded.
//!
//! Reading is lenient, as the RFC's appendix B.3 is: what is not understood is passed over, and ends nothing else.

use crate::links::{Link, relation_kind};
use url::Url;

/// Relations that name a host to get ready for, not something to get.
const HINTS_ONLY: &[&str] = &["preconnect", "dns-prefetch"];

/// The links of one `Link` header of the answer from `address`, in order.
pub(crate) fn of_header(value: &str, address: &Url) -> Vec<Link> {
    let mut links = Vec::new();
    let mut rest = value;
    while let Some((_, after)) = rest.split_once('<') {
        let Some((target, after)) = after.split_once('>') else { break };
        let (relation, after) = relation(after);
        rest = after;
        let is_hint = relation.split_ascii_whitespace().any(|word| HINTS_ONLY.contains(&word));
        let Ok(mut url) = address.join(target.trim()) else { continue };
        if !is_hint && matches!(url.scheme(), "http" | "https") {
            url.set_fragment(None);
            links.push(Link { url, kind: relation_kind(&relation) });
        }
    }
    links
}

/// Reads the parameters of a link up to the comma that ends it: the value of the first `rel`, lower case, and what
/// follows the comma. Quoted values may hold commas and semicolons.
fn relation(parameters: &str) -> (String, &str) {
    let mut relation = None;
    let mut rest = parameters.trim_start();
    while let Some(parameter) = rest.strip_prefix(';') {
        let end = parameter.find(['=', ';', ',']).unwrap_or(parameter.len());
        let (name, after) = parameter.split_at(end);
        let mut value = String::new();
        rest = after;
        if let Some(after) = after.strip_prefix('=') {
            (value, rest) = parameter_value(after.trim_start());
        }
        if name.trim().eq_ignore_ascii_case("rel") {
            relation.get_or_insert_with(|| value.to_ascii_lowercase());
        }
        rest = rest.trim_start();
    }
    let after = rest.split_once(',').map_or("", |(_, after)| after);
    (relation.unwrap_or_default(), after)
}

/// A token, or a quoted string without its quotes and escapes, and what follows it.
fn parameter_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (token, after) = text.split_at(text.find([';', ',']).unwrap_or(text.len()));
        return (token.trim().to_owned(), after);
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((position, letter)) = letters.next() {
        match letter {
            '"' => return (value, &quoted[position + 1..]),
            '\\' => value.extend(letters.next().map(|(_, letter)| letter)),
            _ => value.push(letter),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::links::LinkKind;
    use proptest::prelude::*;

    fn links(value: &str) -> Vec<String> {
        let address = Url::parse("http://localhost:8000/items/list?page=1").unwrap();
        let show = |link: Link| {
            let kind = if link.kind == LinkKind::Page { "page" } else { "requisite" };
            let url = link.url.as_str();
            format!("{kind} {}", url.strip_prefix("http://localhost:8000").unwrap_or(url))
        };
        of_header(value, &address).into_iter().map(show).collect()
    }

    #[test]
    fn each_link_of_a_header_is_resolved_and_told_apart_by_its_relation() {
        let value = r#"<?page=2>; rel="next", </app.css>;rel=preload;as=style , <../other#part>, <http://x.example/>; REL=Up"#;
        assert_eq!(
            links(value),
            ["page /items/list?page=2", "requisite /app.css", "page /other", "page http://x.example/"]
        );
    }

    #[test]
    fn a_quoted_parameter_may_hold_what_else_would_end_it() {
        let value =
            r#"</a>; title="a, <b>; rel=\"preload\""; rel="next last"; rel=preload, </c>; rel = "icon""#;
        assert_eq!(links(value), ["page /a", "requisite /c"]);
    }

    #[test]
    fn hosts_to_get_ready_for_and_other_schemes_are_no_links() {
        assert_eq!(
            links("</>; rel=preconnect, </>; rel=\"dns-prefetch\", <mailto:a@b>; rel=author"),
            [""; 0]
        );
    }

    #[test]
    fn what_is_not_understood_ends_nothing_else() {
        assert_eq!(
            links("garbage, </a>;;; rel, <http://[>; rel=next, </b> junk, </c"),
            ["page /a", "page /b"]
        );
        assert_eq!(links("</a>; rel=\"next"), ["page /a"]);
        assert_eq!(links(""), [""; 0]);
    }

    proptest! {
        #[test]
        fn any_text_ends(value in "(<|>|;|,|=|\"|\\\\|rel|next|/x|é| ){0,30}") {
            links(&value);
        }
    }
}
