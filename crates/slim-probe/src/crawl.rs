//! Follows what a program serves: links (also those in `Link` headers), scripts, styles, pictures, forms, redirects, on
//! the same origin.
//!
//! Invariant: the order of requests is breadth-first by discovery, whatever order the answers come in, and the limits
//! hold on every server: an endless space of links ends with [`CrawlLimits::pages`](crate::CrawlLimits).

use crate::link_header;
use crate::links::{self, Link, LinkKind};
use crate::ports::Port;
use crate::recording::{Exchange, Protocol, Request};
use crate::session::{Made, Patience, Session};
use futures_util::StreamExt as _;
use std::collections::BTreeSet;
use std::net::IpAddr;
use url::{Host, Position, Url};

/// Steps over requisites and redirects that a crawl goes beyond its depth: a style sheet imports one that loads a font.
const STEPS_BEYOND_DEPTH: usize = 8;

/// Where a crawl happens: links that lead elsewhere are not followed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin<'a> {
    pub port: &'a Port,
    pub protocol: Protocol,
    /// The container's own address: links to it are links to the program.
    pub address: Option<IpAddr>,
}

/// A path to get, and how many steps from the start its page is.
#[derive(Debug)]
struct Visit {
    path: String,
    depth: usize,
}

/// A visited path with what it links to.
struct Visited {
    exchange: Exchange,
    links: Vec<Link>,
    depth: usize,
}

/// Crawls from an answer. `seen` holds the paths that were got before; they are not got again.
pub(crate) async fn crawl(
    session: &Session<'_>,
    origin: Origin<'_>,
    start: &Made,
    seen: &mut BTreeSet<String>,
) -> Vec<Exchange> {
    let limits = session.settings.crawl_limits;
    let mut exchanges = Vec::new();
    let mut pages_left = limits.pages.saturating_sub(1);
    let mut level = Vec::new();
    enqueue(origin, origin.links_of(start), 1, limits.depth, seen, &mut level);
    for _ in 0..limits.depth + STEPS_BEYOND_DEPTH {
        level.truncate(pages_left);
        pages_left -= level.len();
        let visits = futures_util::stream::iter(level.drain(..).map(|visit| session.visit(origin, visit)));
        let mut visited = visits.buffered(limits.concurrency.max(1));
        let mut next = Vec::new();
        while let Some(Visited { exchange, links, depth }) = visited.next().await {
            exchanges.push(exchange);
            if next.len() < pages_left {
                enqueue(origin, links, depth, limits.depth, seen, &mut next);
            }
        }
        drop(visited);
        level = next;
        if level.is_empty() {
            break;
        }
    }
    exchanges
}

/// Follows only the redirects of an answer, at most ten.
pub(crate) async fn follow_redirects(
    session: &Session<'_>,
    origin: Origin<'_>,
    start: &Made,
    seen: &mut BTreeSet<String>,
) -> Vec<Exchange> {
    let mut exchanges = Vec::new();
    let mut link = origin.redirect_of(start);
    while let Some(path) =
        link.and_then(|link| origin.path_of(&link)).filter(|path| seen.insert(path.clone()))
    {
        let request = Request::new(origin.port.number, origin.protocol, "GET", &path);
        let made = session.make(origin.port, request, session.limits(), Patience::Short).await;
        link = origin.redirect_of(&made);
        exchanges.push(made.exchange);
        if exchanges.len() >= 10 {
            break;
        }
    }
    exchanges
}

/// Adds the links that lead to something new within the depth.
fn enqueue(
    origin: Origin<'_>,
    links: Vec<Link>,
    depth: usize,
    deepest: usize,
    seen: &mut BTreeSet<String>,
    level: &mut Vec<Visit>,
) {
    for link in links {
        let depth = if link.kind == LinkKind::Page { depth + 1 } else { depth };
        if depth > deepest {
            continue;
        }
        let Some(path) = origin.path_of(&link.url) else { continue };
        if seen.insert(path.clone()) {
            level.push(Visit { path, depth });
        }
    }
}

impl Session<'_> {
    /// Gets a path. Its body is read for links here and let go, so that few bodies are held at once.
    async fn visit(&self, origin: Origin<'_>, visit: Visit) -> Visited {
        let request = Request::new(origin.port.number, origin.protocol, "GET", &visit.path);
        let made = self.make(origin.port, request, self.crawl_limits(), Patience::Short).await;
        Visited { links: origin.links_of(&made), exchange: made.exchange, depth: visit.depth }
    }
}

impl Origin<'_> {
    /// The address of a request, as a browser would show it.
    fn url_of(self, request: &Request) -> Option<Url> {
        Url::parse(&format!("{}://{}{}", self.protocol.scheme(), request.authority(), request.path)).ok()
    }

    /// The path of an address of this origin. `localhost`, loopback, the wildcard and the container's own address
    /// name the same program.
    fn path_of(self, url: &Url) -> Option<String> {
        let same_host = match url.host()? {
            Host::Domain(name) => name == "localhost",
            Host::Ipv4(address) => self.is_own(IpAddr::V4(address)),
            Host::Ipv6(address) => self.is_own(IpAddr::V6(address)),
        };
        let same = same_host
            && url.scheme() == self.protocol.scheme()
            && url.port_or_known_default() == Some(self.port.number);
        same.then(|| url[Position::BeforePath..Position::AfterQuery].to_owned())
    }

    /// The path that an answer redirects to, within this origin.
    pub fn redirected_path(self, made: &Made) -> Option<String> {
        self.path_of(&self.redirect_of(made)?)
    }

    fn is_own(self, address: IpAddr) -> bool {
        address.is_loopback() || address.is_unspecified() || self.address == Some(address)
    }

    /// Where an answer redirects to.
    fn redirect_of(self, made: &Made) -> Option<Url> {
        let response = made.exchange.response.as_ref()?;
        let location = response.header("location").filter(|_| (300..400).contains(&response.status))?;
        // 307 and 308 ask for the same method again; only a GET may be repeated unasked.
        if matches!(response.status, 307 | 308) && !made.exchange.request.is_safe() {
            return None;
        }
        self.url_of(&made.exchange.request)?.join(location).ok()
    }

    /// What an answer leads to: its redirect, or the links in its headers and its body. A redirect is the same page,
    /// elsewhere.
    fn links_of(self, made: &Made) -> Vec<Link> {
        if let Some(url) = self.redirect_of(made) {
            return vec![Link { url, kind: LinkKind::Requisite }];
        }
        let (Some(response), Some(url)) = (&made.exchange.response, self.url_of(&made.exchange.request))
        else {
            return Vec::new();
        };
        let headers = response.headers.iter().filter(|header| header.name == "link");
        let mut links: Vec<Link> =
            headers.flat_map(|header| link_header::of_header(&header.value, &url)).collect();
        links.extend(match parsed_as(response.content_type.as_deref()) {
            Some(Parsed::Html) => links::of_html(&String::from_utf8_lossy(&made.captured), &url),
            Some(Parsed::Css) => links::of_css(&String::from_utf8_lossy(&made.captured), &url),
            None => Vec::new(),
        });
        links
    }
}

/// Which bodies are read for links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    Html,
    Css,
}

/// A body without a type is taken as a page, as browsers do.
pub(crate) fn parsed_as(content_type: Option<&str>) -> Option<Parsed> {
    match content_type {
        None | Some("text/html" | "application/xhtml+xml") => Some(Parsed::Html),
        Some("text/css") => Some(Parsed::Css),
        Some(_) => None,
    }
}
