//! What a probe is asked to do, and whom it is aimed at: plain values, named as Mint's flags are.

use crate::command::ProbeCommand;
use crate::reach::Reach;
use crate::spec::ApiSpec;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// How to probe over HTTP. The field's doc names the flag that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// Container ports to probe, in this order (`--http-probe-ports`); empty: whatever listens.
    pub ports: Vec<u16>,
    /// The commands to run on each port (`--http-probe-cmd`, `--http-probe-cmd-file`); empty: GET / and crawl.
    pub commands: Vec<ProbeCommand>,
    /// Specifications whose operations are all tried on each port, after the commands (`--http-probe-apispec`,
    /// `--http-probe-apispec-file`). One that no port serves counts as a failure.
    pub api_specs: Vec<ApiSpec>,
    /// How long to wait until a port listens. Zero: take what listens now.
    pub listen_timeout: Duration,
    /// Waited before anything else, because the user asked for it (`--http-probe-start-wait`).
    pub start_wait: Duration,
    /// How often a request is made again that got no answer (`--http-probe-retry-count`); 0: it is made once.
    pub retry_count: u32,
    /// The longest wait between two attempts (`--http-probe-retry-wait`). Waits start at 25 ms and double.
    pub retry_wait: Duration,
    /// How long a port may refuse connections or answer 502, 503 or 504 until it counts as that port's true answer.
    pub ready_timeout: Duration,
    /// How long to wait for the first answer on a port before it counts as not speaking HTTP.
    pub first_answer_timeout: Duration,
    /// How long a request of a command may take (`--http-probe-client-timeout`).
    pub client_timeout: Duration,
    /// The same for requests of the crawler (`--http-probe-client-timeout-crawl`).
    pub client_timeout_crawl: Duration,
    /// Whether commands that say nothing of it crawl (`--http-probe-crawl`).
    pub crawl: bool,
    /// Where crawling ends.
    pub crawl_limits: CrawlLimits,
    /// How many commands may be under way at once (`--http-probe-concurrency`). Only neighbours that change nothing
    /// (GET, HEAD) are; a POST waits for what stands before it, and is waited for.
    pub concurrency: usize,
    /// Probe every port, also after one has answered (`--http-probe-full`).
    pub full: bool,
    /// Count answers 400 to 499 as failures (`--http-probe-fail-on-status-4xx`).
    pub fail_on_status_4xx: bool,
    /// Count answers 500 to 599 as failures (`--http-probe-fail-on-status-5xx`).
    pub fail_on_status_5xx: bool,
    /// Bytes of a body that are read; the rest is left.
    pub max_body_bytes: u64,
}

/// Where crawling ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrawlLimits {
    /// Steps from page to page, the first page being 1 (`--http-crawl-max-depth`). Scripts, styles and pictures
    /// belong to the page that shows them.
    pub depth: usize,
    /// Requests of one crawl (`--http-crawl-max-page-count`).
    pub pages: usize,
    /// Requests under way at once (`--http-crawl-concurrency`).
    pub concurrency: usize,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            ports: Vec::new(),
            commands: Vec::new(),
            api_specs: Vec::new(),
            listen_timeout: Duration::from_secs(30),
            start_wait: Duration::ZERO,
            retry_count: 5,
            retry_wait: Duration::from_secs(8),
            ready_timeout: Duration::from_secs(10),
            first_answer_timeout: Duration::from_secs(10),
            client_timeout: Duration::from_secs(30),
            client_timeout_crawl: Duration::from_secs(10),
            crawl: true,
            crawl_limits: CrawlLimits::default(),
            concurrency: 5,
            full: true,
            fail_on_status_4xx: false,
            fail_on_status_5xx: false,
            max_body_bytes: 32 << 20,
        }
    }
}

impl Default for CrawlLimits {
    fn default() -> Self {
        Self { depth: 3, pages: 1000, concurrency: 10 }
    }
}

/// The program to probe.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// Host pid of a process in the container: its network namespace is entered. `None`: dialled from here.
    pub pid: Option<i32>,
    /// Who enters it in our place, where that process is not of this machine or may not be looked at.
    pub reach: Option<Arc<dyn Reach>>,
    /// The container's own address; without one, loopback.
    pub address: Option<IpAddr>,
    /// TCP ports that may be worth a try: exposed by the image, or seen by the trace.
    pub ports: Vec<u16>,
}
