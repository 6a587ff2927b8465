//! What a page or a style sheet links to.
//!
//! Two kinds of links: *requisites* (scripts, styles, pictures), which belong to the page that shows them, and *pages*,
//! which lead on. Order is the document's own, so that a crawl is the same every time.

use scraper::{ElementRef, Html, Selector};
use std::sync::LazyLock;
use url::Url;
use url::form_urlencoded::Serializer;

/// A link, resolved, without its fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub url: Url,
    pub kind: LinkKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkKind {
    Page,
    Requisite,
}

static LINKING: LazyLock<Selector> = LazyLock::new(|| {
    selector(
        "a, area, link, script, img, source, video, audio, track, iframe, frame, embed, object, input, image, use, \
         form, meta, style, [style], [data-src]",
    )
});
static BASE: LazyLock<Selector> = LazyLock::new(|| selector("base[href]"));
static CONTROLS: LazyLock<Selector> = LazyLock::new(|| selector("input, select, textarea, button"));
static OPTIONS: LazyLock<Selector> = LazyLock::new(|| selector("option"));

fn selector(text: &str) -> Selector {
    Selector::parse(text).expect("the selector is well-formed")
}

/// The links of an HTML page at `address`, in document order. Links that cannot be resolved are passed over.
pub(crate) fn of_html(text: &str, address: &Url) -> Vec<Link> {
    let document = Html::parse_document(text);
    let base = document
        .select(&BASE)
        .next()
        .and_then(|element| address.join(element.attr("href")?).ok())
        .unwrap_or_else(|| address.clone());
    let mut found = Found { base, links: Vec::new() };
    for element in document.select(&LINKING) {
        found.element(&element, address);
    }
    found.links
}

/// The links of a style sheet at `address`: `url(…)` and `@import`, in order.
pub(crate) fn of_css(text: &str, address: &Url) -> Vec<Link> {
    let mut found = Found { base: address.clone(), links: Vec::new() };
    found.css(text);
    found.links
}

struct Found {
    base: Url,
    links: Vec<Link>,
}

impl Found {
    fn add(&mut self, reference: &str, kind: LinkKind) {
        if let Ok(url) = self.base.join(reference.trim()) {
            self.add_url(url, kind);
        }
    }

    fn add_url(&mut self, mut url: Url, kind: LinkKind) {
        if matches!(url.scheme(), "http" | "https") {
            url.set_fragment(None);
            self.links.push(Link { url, kind });
        }
    }

    fn element(&mut self, element: &ElementRef<'_>, address: &Url) {
        use LinkKind::{Page, Requisite};
        let (attributes, kind): (&[&str], LinkKind) = match element.value().name() {
            "a" | "area" => (&["href"], Page),
            "iframe" | "frame" => (&["src"], Page),
            "link" => (&["href"], relation_kind(element.attr("rel").unwrap_or_default())),
            "image" | "use" => return self.drawing(element),
            "object" => (&["data"], Requisite),
            "video" => (&["src", "poster"], Requisite),
            "form" => return self.form(element, address),
            "meta" => return self.meta_refresh(element),
            "style" => return self.css(&element.text().collect::<String>()),
            _ => (&["src"], Requisite),
        };
        for attribute in attributes.iter().chain(&["data-src"]) {
            if let Some(value) = element.attr(attribute) {
                self.add(value, kind);
            }
        }
        for attribute in ["srcset", "imagesrcset", "data-srcset"] {
            for candidate in element.attr(attribute).into_iter().flat_map(srcset) {
                self.add(candidate, Requisite);
            }
        }
        if let Some(style) = element.attr("style") {
            self.css(style);
        }
    }

    /// `<use href=…>` in a drawing, or the older `xlink:href`, which the parser puts in a namespace of its own.
    fn drawing(&mut self, element: &ElementRef<'_>) {
        for (_, value) in element.value().attrs().filter(|(name, _)| *name == "href") {
            self.add(value, LinkKind::Requisite);
        }
    }

    /// `<meta http-equiv=refresh content="0; url=/next">`.
    fn meta_refresh(&mut self, element: &ElementRef<'_>) {
        if !element.attr("http-equiv").is_some_and(|value| value.eq_ignore_ascii_case("refresh")) {
            return;
        }
        let Some((_, target)) = element.attr("content").and_then(|content| content.split_once([';', ',']))
        else {
            return;
        };
        let target = target.trim();
        let target = match target.split_once('=') {
            Some((name, value)) if name.trim().eq_ignore_ascii_case("url") => value.trim(),
            _ => target,
        };
        self.add(target.trim_matches(['"', '\'']), LinkKind::Page);
    }

    /// A form that is sent with GET, filled in as it stands.
    fn form(&mut self, form: &ElementRef<'_>, address: &Url) {
        if !form
            .attr("method")
            .is_none_or(|method| method.trim().is_empty() || method.eq_ignore_ascii_case("get"))
        {
            return;
        }
        let action = form.attr("action").map(str::trim).filter(|action| !action.is_empty());
        let target = action.map_or_else(|| Ok(address.clone()), |action| self.base.join(action));
        let Ok(mut url) = target else { return };
        let mut query = Serializer::new(String::new());
        let mut submitted = false;
        for control in form.select(&CONTROLS) {
            if control.attr("disabled").is_some() {
                continue;
            }
            let Some(name) = control.attr("name").filter(|name| !name.is_empty()) else { continue };
            if let Some(value) = control_value(&control, &mut submitted) {
                query.append_pair(name, &value);
            }
        }
        url.set_query(Some(&query.finish()));
        self.add_url(url, LinkKind::Page);
    }

    fn css(&mut self, text: &str) {
        for reference in css_references(text) {
            self.add(&reference, LinkKind::Requisite);
        }
    }
}

/// Which relation leads on, and which belongs to the page. `alternate`, `next`, `canonical` … are pages.
pub(crate) fn relation_kind(relation: &str) -> LinkKind {
    const REQUISITES: &[&str] = &[
        "stylesheet",
        "icon",
        "apple-touch-icon",
        "manifest",
        "preload",
        "modulepreload",
        "prefetch",
        "mask-icon",
    ];
    let relation = relation.to_ascii_lowercase();
    let belongs = relation.split_ascii_whitespace().any(|word| REQUISITES.contains(&word));
    if belongs { LinkKind::Requisite } else { LinkKind::Page }
}

/// What a control of a form sends when nobody has touched it. The first named submit button counts as pressed.
fn control_value(control: &ElementRef<'_>, submitted: &mut bool) -> Option<String> {
    let value = || control.attr("value").unwrap_or_default().to_owned();
    let kind = control.attr("type").unwrap_or_default().to_ascii_lowercase();
    match (control.value().name(), kind.as_str()) {
        ("textarea", _) => Some(control.text().collect()),
        ("select", _) => {
            let mut options = control.select(&OPTIONS).filter(|option| option.attr("disabled").is_none());
            let first = options.next();
            let chosen = first
                .into_iter()
                .chain(options)
                .find(|option| option.attr("selected").is_some())
                .or(first)?;
            let text = || chosen.text().collect::<String>().trim().to_owned();
            Some(chosen.attr("value").map_or_else(text, str::to_owned))
        }
        ("input", "checkbox" | "radio") => {
            control.attr("checked")?;
            Some(control.attr("value").unwrap_or("on").to_owned())
        }
        ("input", "submit") | ("button", "" | "submit") => (!std::mem::replace(submitted, true)).then(value),
        ("input", "button" | "reset" | "file" | "image") | ("button", _) => None,
        _ => Some(value()),
    }
}

/// The addresses in a `srcset`: `a.png 1x, b.png 2x`. A comma ends a candidate only before white space or after a
/// descriptor, since addresses may hold commas.
fn srcset(text: &str) -> Vec<&str> {
    let mut addresses = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|letter: char| letter.is_ascii_whitespace() || letter == ',');
        if rest.is_empty() {
            return addresses;
        }
        let end = rest.find(|letter: char| letter.is_ascii_whitespace()).unwrap_or(rest.len());
        let (address, after) = rest.split_at(end);
        let bare = address.trim_end_matches(',');
        addresses.push(bare);
        rest = if bare.len() < address.len() {
            after
        } else {
            after.split_once(',').map_or("", |(_, next)| next)
        };
    }
}

/// What a style sheet refers to, in order. Comments are passed over; a `data:` address is no reference.
fn css_references(text: &str) -> Vec<String> {
    let mut references = Vec::new();
    let mut rest = text;
    while let Some(position) = rest.find(['/', 'u', 'U', '@']) {
        rest = &rest[position..];
        if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").map_or("", |(_, after)| after);
        } else if let Some(inside) = strip_word(rest, "url(") {
            let (reference, after) = css_value(inside, ')');
            references.push(reference);
            rest = after;
        } else if let Some(after) = strip_word(rest, "@import") {
            let after = after.trim_start();
            if after.starts_with(['"', '\'']) {
                let (reference, after) = css_value(after, ';');
                references.push(reference);
                rest = after;
            } else {
                rest = after;
            }
        } else {
            let mut letters = rest.chars();
            letters.next();
            rest = letters.as_str();
        }
    }
    references.retain(|reference| !reference.is_empty());
    references
}

fn strip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let head = text.get(..word.len())?;
    head.eq_ignore_ascii_case(word).then(|| &text[word.len()..])
}

/// A quoted string, or what stands before `end`.
fn css_value(text: &str, end: char) -> (String, &str) {
    let text = text.trim_start();
    let (quote, body) = match text.chars().next() {
        Some(quote @ ('"' | '\'')) => (quote, &text[1..]),
        _ => (end, text),
    };
    let (value, after) = body.split_once(quote).unwrap_or((body, ""));
    (value.trim().replace('\\', ""), after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> Url {
        Url::parse("http://localhost:8000/dir/page?x=1").unwrap()
    }

    fn html(text: &str) -> Vec<String> {
        paths(of_html(text, &address()))
    }

    fn paths(links: Vec<Link>) -> Vec<String> {
        let show = |link: Link| {
            let kind = if link.kind == LinkKind::Page { "page" } else { "requisite" };
            format!(
                "{kind} {}",
                link.url.as_str().strip_prefix("http://localhost:8000").unwrap_or(link.url.as_str())
            )
        };
        links.into_iter().map(show).collect()
    }

    #[test]
    fn every_element_that_links_is_found_in_document_order() {
        let page = r#"<link rel=stylesheet href=a.css><link rel=next href=/next><script src="/b.js"></script>
            <a href="c#part">c</a><img src=d.png srcset="e.png 1x, f.png 2x"><video poster=g.jpg><source src=h.mp4>
            </video><iframe src=i></iframe><svg><use xlink:href="j.svg#icon"/></svg><object data=k.pdf></object>
            <img data-src=l.png><div style="background: url('m.png')"></div><style>p { background: url(n.png) }</style>"#;
        let expected = [
            "requisite /dir/a.css",
            "page /next",
            "requisite /b.js",
            "page /dir/c",
            "requisite /dir/d.png",
            "requisite /dir/e.png",
            "requisite /dir/f.png",
            "requisite /dir/g.jpg",
            "requisite /dir/h.mp4",
            "page /dir/i",
            "requisite /dir/j.svg",
            "requisite /dir/k.pdf",
            "requisite /dir/l.png",
            "requisite /dir/m.png",
            "requisite /dir/n.png",
        ];
        assert_eq!(html(page), expected);
    }

    #[test]
    fn what_is_no_address_of_a_server_is_passed_over() {
        let page = r#"<a href="mailto:a@b"></a><a href="javascript:go()"></a><img src="data:image/png;base64,AA">
            <a href="http://[broken"></a><a href="tel:1">"#;
        assert_eq!(html(page), [""; 0]);
    }

    #[test]
    fn a_base_element_moves_every_link() {
        assert_eq!(html("<base href=/other/><a href=a></a>"), ["page /other/a"]);
    }

    #[test]
    fn a_form_is_sent_as_it_stands() {
        let page = r#"<form action="/search"><input name=q value="two words"><input type=hidden name=t value=1>
            <input type=checkbox name=c checked><input type=checkbox name=d value=2><input type=radio name=r value=3 checked>
            <select name=s><option>first<option selected value=2>second</select><select name=u><option>only</select>
            <textarea name=a>text</textarea><input disabled name=x value=y><input type=file name=f>
            <button name=go value=Go>Go</button><button name=no value=No>No</button></form>"#;
        assert_eq!(html(page), ["page /search?q=two+words&t=1&c=on&r=3&s=2&u=only&a=text&go=Go"]);
    }

    #[test]
    fn a_form_without_action_goes_to_its_own_page_and_a_post_form_is_not_sent() {
        assert_eq!(
            html("<form><input name=q></form><form method=POST action=/no></form>"),
            ["page /dir/page?q="]
        );
    }

    #[test]
    fn a_meta_refresh_leads_on() {
        assert_eq!(html(r#"<meta http-equiv="Refresh" content="0; URL='/next'">"#), ["page /next"]);
        assert_eq!(html(r#"<meta http-equiv=refresh content=30>"#), [""; 0]);
    }

    #[test]
    fn a_style_sheet_gives_imports_and_addresses_but_not_comments() {
        let sheet = r#"@import "a.css"; @import url(b.css) screen; /* url(no.png) */
            @font-face { src: url("c.woff2") format("woff2"), URL( 'd.woff' ) } p { background: url(e\(1\).png) }
            q { background: url(data:image/png;base64,AA) } @media print { url"#;
        let expected = ["a.css", "b.css", "c.woff2", "d.woff", "e(1"];
        let found = paths(of_css(sheet, &address()));
        assert_eq!(
            found[..4],
            expected[..4].iter().map(|name| format!("requisite /dir/{name}")).collect::<Vec<_>>()[..]
        );
        assert_eq!(found.len(), 5);
    }

    #[test]
    fn an_address_in_a_srcset_may_hold_commas() {
        assert_eq!(srcset("a,b.png 1x,c.png 2x"), ["a,b.png", "c.png"]);
        assert_eq!(srcset(" d.png,  e.png 100w "), ["d.png", "e.png"]);
        assert_eq!(srcset(" , "), [""; 0]);
    }

    #[test]
    fn torn_input_ends() {
        for text in ["url(", "@import", "@import \"a", "/*", "url('", "é@url(é"] {
            css_references(text);
        }
    }
}
