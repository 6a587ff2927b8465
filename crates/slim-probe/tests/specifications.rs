//! Specifications: fetched from the program or read from a file, every operation is tried, recorded and replayed.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::{Reply, Server, html, lines, not_found, probe, probe_told, quick, redirect, target, text};
use slim_probe::{ApiSpec, CancelFlag, HttpSettings, Progress, Recording, compare, replay};

const SPEC: &str = r#"{"openapi": "3.0.0", "servers": [{"url": "/v1"}], "paths": {
    "/pets": {"get": {}, "post": {"requestBody": {"content": {"application/json": {"example": {"name": "Rex"}}}}}},
    "/pets/{id}": {"get": {"parameters": [{"name": "id", "in": "path", "schema": {"type": "integer"}}]}, "delete": {}}}}"#;

fn api(asked: &common::Asked) -> Reply {
    match (asked.method.as_str(), asked.path.as_str()) {
        (_, "/") => html("<a href=/about>about</a>"),
        (_, "/openapi.json") => Reply::Page(200, "application/json", SPEC.to_owned()),
        (_, "/moved") => redirect("/openapi.json"),
        (_, "/broken") => html("not a specification"),
        (_, "/v1/pets" | "/about") => text(asked.body.clone()),
        ("DELETE", "/v1/pets/1") => Reply::Page(204, "text/plain", String::new()),
        _ => not_found(),
    }
}

const OPERATIONS: [&str; 4] =
    ["200 GET /v1/pets", "404 GET /v1/pets/1", "200 POST /v1/pets", "204 DELETE /v1/pets/1"];

fn with(api_specs: Vec<ApiSpec>) -> HttpSettings {
    HttpSettings { api_specs, ..quick() }
}

#[test]
fn a_specification_that_the_program_serves_is_tried_after_the_commands() {
    let server = Server::start(api);
    let (outcome, told) =
        probe_told(&with(vec![ApiSpec::fetched("/openapi.json").unwrap()]), &server.target());
    let before = ["200 GET /", "200 GET /about", "200 GET /openapi.json"];
    assert_eq!(lines(&outcome), [before.as_slice(), &OPERATIONS].concat());
    assert_eq!(outcome.failures, 0);
    assert!(told.contains(&Progress::Specification { name: "/openapi.json".to_owned(), commands: 4 }));
    let posted = server.asked().into_iter().find(|asked| asked.method == "POST").unwrap();
    assert_eq!(
        (posted.body.as_str(), posted.headers["content-type"].as_str()),
        (r#"{"name":"Rex"}"#, "application/json")
    );
    let first = outcome.recording;
    let again = Recording::from_json(&first.to_json()).unwrap();
    let second =
        replay(&again, &quick(), &server.target(), &mut |_| {}, &CancelFlag::default(), &|| true).unwrap();
    assert_eq!(compare(&first, None, &second), []);
}

#[test]
fn a_specification_from_a_file_is_tried_under_its_prefix() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("api.yaml");
    std::fs::write(&path, "swagger: '2.0'\npaths:\n  /pets: {get: {}}\n").unwrap();
    let server = Server::start(api);
    let spec = ApiSpec::read_file(&format!("{}:/v1", path.display())).unwrap();
    let outcome = probe(&with(vec![spec]), &server.target());
    assert_eq!(lines(&outcome), ["200 GET /", "200 GET /about", "200 GET /v1/pets"]);
}

#[test]
fn a_specification_is_found_over_a_redirect() {
    let server = Server::start(api);
    let outcome = probe(&with(vec![ApiSpec::fetched("/moved").unwrap()]), &server.target());
    assert_eq!(lines(&outcome)[2..4], ["302 GET /moved", "200 GET /openapi.json"]);
    assert_eq!(lines(&outcome)[4..], OPERATIONS);
}

#[test]
fn a_specification_that_is_not_there_or_none_is_a_failure_and_says_why() {
    let server = Server::start(api);
    let specs = ["/missing.json", "/broken"].map(|path| ApiSpec::fetched(path).unwrap());
    let outcome = probe(&with(specs.to_vec()), &server.target());
    assert_eq!(lines(&outcome)[2..], ["404 GET /missing.json", "200 GET /broken"]);
    let errors: Vec<&str> =
        outcome.recording.exchanges.iter().filter_map(|exchange| exchange.error.as_deref()).collect();
    assert_eq!(
        errors,
        [
            "read the API specification /missing.json: status 404",
            "read the API specification /broken: it is neither OpenAPI 3 nor Swagger 2"
        ]
    );
    assert_eq!(outcome.failures, 2);
}

#[test]
fn a_specification_that_one_of_several_ports_serves_is_no_failure() {
    let (site, server) = (Server::start(|_| not_found()), Server::start(api));
    let spec = ApiSpec::fetched("/openapi.json").unwrap();
    let outcome = probe(&with(vec![spec]), &target(&[site.port, server.port]));
    assert_eq!(outcome.failures, 0, "{:?}", outcome.recording);
    assert_eq!(site.paths(), ["/", "/openapi.json"]);
    assert_eq!(server.asked().len(), 7);
}
