//! Flags of the HTTP probe, with Mint's names.

use clap::{ArgAction, Args};
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(next_help_heading = "The HTTP probe")]
pub struct HttpArguments {
    /// Probe the program over HTTP: GET / on every port, then its links. On by default; given by name, a program that
    /// answers no request is an error; `=false` switches it off.
    #[arg(long, value_name = "BOOL")]
    pub http_probe: Option<bool>,
    /// Switch the HTTP probe off.
    #[arg(long)]
    pub http_probe_off: bool,
    /// Make this request on every port, instead of GET / with its links: `[[[crawl:]PROTOCOL:]METHOD:]PATH`; may be
    /// given several times.
    #[arg(long, value_name = "COMMAND")]
    pub http_probe_cmd: Vec<String>,
    /// Make the requests in this JSON file: `{"commands": [{"protocol", "method", "resource", "port", "headers",
    /// "body", "body_file", "username", "password", "crawl"}]}`.
    #[arg(long, value_name = "FILE")]
    pub http_probe_cmd_file: Option<PathBuf>,
    /// Upload a file, or a made-up one: `[[[[PROTOCOL:]FILE_NAME:]FIELD_NAME:]FILE_OR_TYPE:]PATH`; may be given several
    /// times. Types are generate.text, generate.text.json, generate.image, generate.image.jpeg, .png and .gif.
    #[arg(long, value_name = "UPLOAD")]
    pub http_probe_cmd_upload: Vec<String>,
    /// Try every operation of the OpenAPI or Swagger specification that the program serves: `PATH[:PREFIX]`; may be
    /// given several times.
    #[arg(long, value_name = "PATH")]
    pub http_probe_apispec: Vec<String>,
    /// The same for a specification in a file: `FILE[:PREFIX]`; may be given several times.
    #[arg(long, value_name = "FILE")]
    pub http_probe_apispec_file: Vec<String>,
    /// Wait so many seconds before the first request. Not needed for a program that starts slowly: the probe waits
    /// until it answers.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub http_probe_start_wait: u64,
    /// Make no request twice.
    #[arg(long)]
    pub http_probe_retry_off: bool,
    /// How often a request that got no answer is made again.
    #[arg(long, value_name = "NUMBER", default_value_t = 5)]
    pub http_probe_retry_count: u32,
    /// The longest wait between two attempts, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 8)]
    pub http_probe_retry_wait: u64,
    /// Probe these ports of the container, in this order, separated by commas [default: whatever listens].
    #[arg(long, value_name = "PORTS", value_delimiter = ',', action = ArgAction::Append)]
    pub http_probe_ports: Vec<u16>,
    /// Probe every port, also after one has answered.
    #[arg(long, default_value_t = true)]
    pub http_probe_full: bool,
    /// Fail when every request failed (without --http-probe, only a program that answers HTTP at all is judged).
    #[arg(long, default_value_t = true)]
    pub http_probe_exit_on_failure: bool,
    /// Fail when at least so many requests failed; 0: however many.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub http_probe_exit_on_failure_count: usize,
    /// Count answers with status 500 to 599 as failures.
    #[arg(long)]
    pub http_probe_fail_on_status_5xx: bool,
    /// Count answers with status 400 to 499 as failures.
    #[arg(long)]
    pub http_probe_fail_on_status_4xx: bool,
    /// How many requests that change nothing may be under way at once.
    #[arg(long, value_name = "NUMBER", default_value_t = 5)]
    pub http_probe_concurrency: usize,
    /// Follow the links of what the requests bring.
    #[arg(long, default_value_t = true)]
    pub http_probe_crawl: bool,
    /// How long a request may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub http_probe_client_timeout: u64,
    /// How long a request of the crawler may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub http_probe_client_timeout_crawl: u64,
    /// How many steps the crawler goes from page to page.
    #[arg(long, value_name = "NUMBER", default_value_t = 3)]
    pub http_crawl_max_depth: usize,
    /// How many requests one crawl makes.
    #[arg(long, value_name = "NUMBER", default_value_t = 1000)]
    pub http_crawl_max_page_count: usize,
    /// How many requests of a crawl may be under way at once.
    #[arg(long, value_name = "NUMBER", default_value_t = 10)]
    pub http_crawl_concurrency: usize,
}
