//! Our registry and the requirements of the OCI distribution specification 1.1, one by one: its endpoints (end-1 to
//! end-13), and what the specification's conformance tests ask of pull, push, discovery and management.
#![allow(clippy::unwrap_used, reason = "a failure is a panic")]

mod support;

use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use slim_image::Digest;
use slim_image::manifest::media;
use support::images::noise;
use support::own::{OwnRegistry, files};

const MISSING: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn descriptor(media_type: &str, digest: &Digest, size: usize) -> Value {
    json!({"mediaType": media_type, "digest": digest, "size": size})
}

/// Puts an image with one layer into a repository; gives the manifest.
async fn image(registry: &OwnRegistry, repository: &str, tag: &str) -> Vec<u8> {
    let config = registry.put_blob(repository, b"{}").await;
    let layer = registry.put_blob(repository, b"layer").await;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media::MANIFEST,
        "config": descriptor(media::CONFIG, &config, 2),
        "layers": [descriptor(media::LAYER, &layer, 5)],
    });
    let manifest = manifest.to_string().into_bytes();
    assert_eq!(registry.put_manifest(repository, tag, &manifest).await.status, StatusCode::CREATED);
    manifest
}

#[tokio::test]
async fn end_1_tells_that_this_is_a_registry() {
    let registry = OwnRegistry::start().await;
    let reply = registry.get("/v2/").await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(reply.header("docker-distribution-api-version"), "registry/2.0");
    assert_eq!(registry.get("/").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn end_2_gives_a_blob_its_head_and_its_parts() {
    let registry = OwnRegistry::start().await;
    let blob = noise(1, 10_000);
    let digest = registry.put_blob("a/b", &blob).await;
    let path = format!("/v2/a/b/blobs/{digest}");
    let reply = registry.get(&path).await;
    assert_eq!((reply.status, &reply.body[..]), (StatusCode::OK, &blob[..]));
    assert_eq!(reply.header("docker-content-digest"), digest.to_string());
    let head = registry.ask(Method::HEAD, &path, &[], "").await;
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (StatusCode::OK, "10000", 0));
    let part = registry.ask(Method::GET, &path, &[("range", "bytes=100-199")], "").await;
    assert_eq!((part.status, &part.body[..]), (StatusCode::PARTIAL_CONTENT, &blob[100..200]));
    assert_eq!(part.header("content-range"), "bytes 100-199/10000");
    let beyond = registry.ask(Method::GET, &path, &[("range", "bytes=10000-")], "").await;
    assert_eq!(beyond.refusal().0, 416);
    assert_eq!(beyond.header("content-range"), "bytes */10000");
}

#[tokio::test]
async fn end_2_has_404_for_what_is_not_there_and_400_for_what_is_no_digest() {
    let registry = OwnRegistry::start().await;
    let digest = registry.put_blob("a", b"x").await;
    let unknown = (404, "BLOB_UNKNOWN".to_owned());
    assert_eq!(registry.get(&format!("/v2/a/blobs/{MISSING}")).await.refusal(), unknown);
    assert_eq!(
        registry.get(&format!("/v2/other/blobs/{digest}")).await.refusal(),
        unknown,
        "of another repository"
    );
    let head = registry.ask(Method::HEAD, &format!("/v2/a/blobs/{MISSING}"), &[], "").await;
    assert_eq!(head.status, StatusCode::NOT_FOUND);
    assert_eq!(registry.get("/v2/a/blobs/sha256:1").await.refusal(), (400, "DIGEST_INVALID".to_owned()));
    assert_eq!(registry.get("/v2/A/blobs/x").await.refusal(), (400, "NAME_INVALID".to_owned()));
    assert_eq!(registry.get("/v2/a/../b/blobs/x").await.refusal(), (400, "NAME_INVALID".to_owned()));
}

#[tokio::test]
async fn end_3_gives_a_manifest_by_tag_and_by_digest_to_the_last_byte() {
    let registry = OwnRegistry::start().await;
    let manifest = image(&registry, "a", "1").await;
    let digest = Digest::of(&manifest);
    for which in ["1".to_owned(), digest.to_string()] {
        let path = format!("/v2/a/manifests/{which}");
        let reply = registry.get(&path).await;
        assert_eq!((reply.status, &reply.body[..]), (StatusCode::OK, &manifest[..]));
        assert_eq!(reply.header("content-type"), media::MANIFEST);
        assert_eq!(reply.header("docker-content-digest"), digest.to_string());
        let head = registry.ask(Method::HEAD, &path, &[], "").await;
        assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
        assert_eq!(head.header("content-length"), manifest.len().to_string());
    }
}

#[tokio::test]
async fn end_3_has_404_for_unknown_manifests_and_repositories() {
    let registry = OwnRegistry::start().await;
    image(&registry, "a", "1").await;
    for which in ["2", MISSING, ".INVALID_MANIFEST_NAME"] {
        let reply = registry.get(&format!("/v2/a/manifests/{which}")).await;
        assert_eq!(reply.refusal(), (404, "MANIFEST_UNKNOWN".to_owned()), "{which}");
    }
    assert_eq!(registry.get("/v2/none/manifests/1").await.refusal(), (404, "NAME_UNKNOWN".to_owned()));
}

#[tokio::test]
async fn end_4a_and_6_take_a_blob_by_post_then_put() {
    let registry = OwnRegistry::start().await;
    let digest = Digest::of("blob");
    let upload = registry.begin("a").await;
    let reply = registry.ask(Method::PUT, &format!("{upload}?digest={digest}"), &[], "blob").await;
    assert_eq!(reply.status, StatusCode::CREATED);
    assert_eq!(reply.header("docker-content-digest"), digest.to_string());
    let blob = registry.get(reply.header("location")).await;
    assert_eq!((blob.status, &blob.body[..]), (StatusCode::OK, &b"blob"[..]));
    assert_eq!(registry.get(&upload).await.refusal(), (404, "BLOB_UPLOAD_UNKNOWN".to_owned()));
}

#[tokio::test]
async fn end_4b_takes_a_blob_with_one_post() {
    let registry = OwnRegistry::start().await;
    let digest = Digest::of("blob");
    let path = format!("/v2/a/blobs/uploads/?digest={digest}");
    let reply = registry.ask(Method::POST, &path, &[], "blob").await;
    assert_eq!(reply.status, StatusCode::CREATED);
    assert_eq!(registry.get(reply.header("location")).await.status, StatusCode::OK);
    let wrong = registry.ask(Method::POST, &path, &[], "other").await;
    assert_eq!(wrong.refusal(), (400, "DIGEST_INVALID".to_owned()));
    assert_eq!(files(&registry.root().join("repositories/a/_uploads")).len(), 0);
}

#[tokio::test]
async fn end_5_takes_a_stream_without_a_range() {
    let registry = OwnRegistry::start().await;
    let upload = registry.begin("a").await;
    let reply = registry.ask(Method::PATCH, &upload, &[], "stream").await;
    assert_eq!((reply.status, reply.header("range")), (StatusCode::ACCEPTED, "0-5"));
    let path = format!("{}?digest={}", reply.header("location"), Digest::of("stream"));
    assert_eq!(registry.ask(Method::PUT, &path, &[], "").await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn end_5_takes_chunks_in_order_and_refuses_others_with_416_without_losing_the_upload() {
    let registry = OwnRegistry::start().await;
    let upload = registry.begin("a").await;
    let chunk = async |range: &str, body: &'static str| {
        registry.ask(Method::PATCH, &upload, &[("content-range", range)], body).await
    };
    let early = chunk("3-5", "def").await;
    assert_eq!(early.refusal(), (416, "BLOB_UPLOAD_INVALID".to_owned()), "out of order");
    let first = chunk("0-2", "abc").await;
    assert_eq!((first.status, first.header("range")), (StatusCode::ACCEPTED, "0-2"));
    let again = chunk("0-2", "abc").await;
    assert_eq!(again.status, StatusCode::RANGE_NOT_SATISFIABLE, "the previous chunk again");
    assert_eq!((again.header("range"), again.header("location")), ("0-2", upload.as_str()));
    assert_eq!(
        chunk("3-9", "def").await.refusal(),
        (400, "SIZE_INVALID".to_owned()),
        "not as long as it says"
    );
    assert_eq!(chunk("x", "def").await.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(chunk("3-5", "def").await.header("range"), "0-5");
    let last = format!("{upload}?digest={}", Digest::of("abcdefghi"));
    let out_of_order = registry.ask(Method::PUT, &last, &[("content-range", "5-7")], "ghi").await;
    assert_eq!(out_of_order.status, StatusCode::RANGE_NOT_SATISFIABLE);
    let ended = registry.ask(Method::PUT, &last, &[("content-range", "6-8")], "ghi").await;
    assert_eq!(ended.status, StatusCode::CREATED);
    assert_eq!(&registry.get(ended.header("location")).await.body[..], b"abcdefghi");
}

#[tokio::test]
async fn end_6_refuses_another_digest_or_none() {
    let registry = OwnRegistry::start().await;
    let upload = registry.begin("a").await;
    let none = registry.ask(Method::PUT, &upload, &[], "x").await;
    assert_eq!(none.refusal(), (400, "DIGEST_INVALID".to_owned()));
    let other = registry.ask(Method::PUT, &format!("{upload}?digest={MISSING}"), &[], "x").await;
    assert_eq!(other.refusal(), (400, "DIGEST_INVALID".to_owned()));
    assert_eq!(registry.get(&format!("/v2/a/blobs/{MISSING}")).await.status, StatusCode::NOT_FOUND);
    assert_eq!(registry.get(&upload).await.status, StatusCode::NOT_FOUND, "what was wrong is not kept");
    let algorithm = registry.begin("a").await;
    let reply = registry.ask(Method::PUT, &format!("{algorithm}?digest=md5:abc"), &[], "x").await;
    assert_eq!(reply.refusal(), (400, "DIGEST_INVALID".to_owned()));
}

#[tokio::test]
async fn end_7_takes_manifests_that_name_what_is_there() {
    let registry = OwnRegistry::start().await;
    let manifest = image(&registry, "a", "1").await;
    let digest = Digest::of(&manifest);
    let by_digest = registry.put_manifest("a", &digest.to_string(), &manifest).await;
    assert_eq!(by_digest.status, StatusCode::CREATED);
    assert_eq!(by_digest.header("docker-content-digest"), digest.to_string());
    assert_eq!(registry.get(by_digest.header("location")).await.status, StatusCode::OK);
    let config = registry.put_blob("a", b"{}").await;
    let no_layers =
        json!({"schemaVersion": 2, "config": descriptor(media::CONFIG, &config, 2), "layers": []});
    let no_layers = no_layers.to_string();
    assert_eq!(registry.put_manifest("a", "2", no_layers.as_bytes()).await.status, StatusCode::CREATED);
    assert_eq!(registry.get("/v2/a/manifests/2").await.header("content-type"), media::MANIFEST);
}

#[tokio::test]
async fn end_7_refuses_what_is_no_manifest_or_names_what_is_not_there() {
    let registry = OwnRegistry::start().await;
    let manifest = image(&registry, "a", "1").await;
    let refusal = async |which: &str, bytes: &[u8]| registry.put_manifest("a", which, bytes).await.refusal();
    assert_eq!(refusal("2", b"{").await, (400, "MANIFEST_INVALID".to_owned()));
    assert_eq!(refusal("2", b"{\"schemaVersion\": 1}").await, (400, "MANIFEST_INVALID".to_owned()));
    assert_eq!(refusal(MISSING, &manifest).await, (400, "DIGEST_INVALID".to_owned()));
    assert_eq!(refusal("sha256:totallywrong", &manifest).await, (400, "DIGEST_INVALID".to_owned()));
    assert_eq!(refusal(".x", &manifest).await, (400, "MANIFEST_INVALID".to_owned()));
    assert_eq!(refusal("2", &vec![b' '; (4 << 20) + 1]).await, (413, "MANIFEST_INVALID".to_owned()));
    let elsewhere = registry.put_manifest("b", "1", &manifest).await;
    assert_eq!(elsewhere.refusal(), (400, "MANIFEST_BLOB_UNKNOWN".to_owned()));
    let index = json!({"schemaVersion": 2, "mediaType": media::INDEX, "manifests": [
        {"mediaType": media::MANIFEST, "digest": MISSING, "size": 1},
    ]});
    let path = "/v2/a/manifests/index";
    let reply = registry.ask(Method::PUT, path, &[("content-type", media::INDEX)], index.to_string()).await;
    assert_eq!(reply.refusal(), (400, "MANIFEST_BLOB_UNKNOWN".to_owned()));
    let lying = registry.ask(Method::PUT, path, &[("content-type", media::INDEX)], manifest).await;
    assert_eq!(lying.refusal(), (400, "MANIFEST_INVALID".to_owned()));
}

#[tokio::test]
async fn end_8_lists_tags_in_order_and_in_pages() {
    let registry = OwnRegistry::start().await;
    for tag in ["b", "10", "C", "a", "2"] {
        image(&registry, "a/b", tag).await;
    }
    let tags = async |query: &str| registry.get(&format!("/v2/a/b/tags/list{query}")).await;
    let all = tags("").await;
    assert_eq!(all.json(), json!({"name": "a/b", "tags": ["10", "2", "C", "a", "b"]}));
    assert!(!all.headers.contains_key("link"));
    let first = tags("?n=2").await;
    assert_eq!(first.json()["tags"], json!(["10", "2"]));
    assert_eq!(first.header("link"), "</v2/a/b/tags/list?n=2&last=2>; rel=\"next\"");
    assert_eq!(tags("?n=2&last=2").await.json()["tags"], json!(["C", "a"]));
    let last = tags("?n=2&last=a").await;
    assert_eq!(last.json()["tags"], json!(["b"]));
    assert!(!last.headers.contains_key("link"), "the last page has no next one");
    assert_eq!(tags("?last=D").await.json()["tags"], json!(["a", "b"]), "after a tag that is not there");
    assert_eq!(tags("?n=0").await.json()["tags"], json!([]));
    assert_eq!(registry.get("/v2/none/tags/list").await.refusal(), (404, "NAME_UNKNOWN".to_owned()));
}

#[tokio::test]
async fn end_9_removes_a_tag_alone_and_a_manifest_with_its_tags() {
    let registry = OwnRegistry::start().await;
    let digest = Digest::of(image(&registry, "a", "1").await);
    image(&registry, "a", "2").await;
    let remove =
        async |which: &str| registry.ask(Method::DELETE, &format!("/v2/a/manifests/{which}"), &[], "").await;
    assert_eq!(remove("1").await.status, StatusCode::ACCEPTED);
    assert_eq!(registry.get("/v2/a/manifests/1").await.status, StatusCode::NOT_FOUND);
    assert_eq!(registry.get(&format!("/v2/a/manifests/{digest}")).await.status, StatusCode::OK);
    assert_eq!(remove(&digest.to_string()).await.status, StatusCode::ACCEPTED);
    assert_eq!(registry.get(&format!("/v2/a/manifests/{digest}")).await.status, StatusCode::NOT_FOUND);
    assert_eq!(registry.get("/v2/a/tags/list").await.json()["tags"], json!([]));
    assert_eq!(remove(&digest.to_string()).await.refusal(), (404, "MANIFEST_UNKNOWN".to_owned()));
    assert!(!registry.root().join("blobs/sha256").join(digest.hex()).exists(), "nor are its contents kept");
}

#[tokio::test]
async fn end_10_removes_a_blob_from_one_repository_only() {
    let registry = OwnRegistry::start().await;
    let digest = registry.put_blob("a", b"x").await;
    registry.put_blob("b", b"x").await;
    let remove = async |repository: &str| {
        registry.ask(Method::DELETE, &format!("/v2/{repository}/blobs/{digest}"), &[], "").await
    };
    assert_eq!(remove("a").await.status, StatusCode::ACCEPTED);
    assert_eq!(registry.get(&format!("/v2/a/blobs/{digest}")).await.status, StatusCode::NOT_FOUND);
    assert_eq!(registry.get(&format!("/v2/b/blobs/{digest}")).await.status, StatusCode::OK);
    assert_eq!(remove("a").await.refusal(), (404, "BLOB_UNKNOWN".to_owned()));
    assert_eq!(remove("b").await.status, StatusCode::ACCEPTED);
    assert_eq!(files(&registry.root().join("blobs")).len(), 0);
}

#[tokio::test]
async fn end_11_takes_a_blob_over_or_begins_an_upload() {
    let registry = OwnRegistry::start().await;
    let digest = registry.put_blob("a", b"x").await;
    let mount = async |query: &str| {
        registry.ask(Method::POST, &format!("/v2/b/c/blobs/uploads/?{query}"), &[], "").await
    };
    let mounted = mount(&format!("mount={digest}&from=a")).await;
    assert_eq!(mounted.status, StatusCode::CREATED);
    assert_eq!(mounted.header("location"), format!("/v2/b/c/blobs/{digest}"));
    assert_eq!(&registry.get(mounted.header("location")).await.body[..], b"x");
    for query in
        [format!("mount={MISSING}&from=a"), format!("mount={digest}&from=none"), format!("mount={digest}")]
    {
        let begun = mount(&query).await;
        assert_eq!(begun.status, StatusCode::ACCEPTED, "{query}");
        assert_eq!(registry.get(begun.header("location")).await.status, StatusCode::NO_CONTENT);
    }
    assert_eq!(mount("mount=x&from=a").await.refusal(), (400, "DIGEST_INVALID".to_owned()));
}

#[tokio::test]
async fn end_12_lists_what_refers_to_a_manifest_there_or_not() {
    let registry = OwnRegistry::start().await;
    let manifest = image(&registry, "a", "1").await;
    let subject = Digest::of(&manifest);
    let empty = registry.put_blob("a", b"{}").await;
    let path = format!("/v2/a/referrers/{subject}");
    let none = registry.get(&path).await;
    assert_eq!((none.status, none.header("content-type")), (StatusCode::OK, media::INDEX));
    assert_eq!(none.json()["manifests"], json!([]));
    let mut digests = Vec::new();
    for (number, kind) in ["application/x-signature", "application/x-sbom"].into_iter().enumerate() {
        let referrer = json!({
            "schemaVersion": 2, "mediaType": media::MANIFEST, "artifactType": kind,
            "config": descriptor(media::EMPTY, &empty, 2), "layers": [],
            "subject": descriptor(media::MANIFEST, &subject, manifest.len()),
            "annotations": {"number": number.to_string()},
        });
        let referrer = referrer.to_string().into_bytes();
        let digest = Digest::of(&referrer);
        let reply = registry.put_manifest("a", &digest.to_string(), &referrer).await;
        assert_eq!((reply.status, reply.header("oci-subject")), (StatusCode::CREATED, &*subject.to_string()));
        digests.push((digest, referrer.len(), kind));
    }
    let all = registry.get(&path).await.json();
    assert_eq!(all["manifests"].as_array().unwrap().len(), 2);
    let (digest, size, kind) = digests[1];
    let filtered = registry.get(&format!("{path}?artifactType=application%2Fx-sbom")).await;
    assert_eq!(filtered.header("oci-filters-applied"), "artifactType");
    assert_eq!(
        filtered.json()["manifests"],
        json!([{"mediaType": media::MANIFEST, "digest": digest, "size": size, "artifactType": kind,
            "annotations": {"number": "1"}}])
    );
    let gone = registry.ask(Method::DELETE, &format!("/v2/a/manifests/{digest}"), &[], "").await;
    assert_eq!(gone.status, StatusCode::ACCEPTED);
    assert_eq!(registry.get(&path).await.json()["manifests"].as_array().unwrap().len(), 1);
    assert_eq!(registry.get("/v2/a/referrers/x").await.refusal(), (400, "DIGEST_INVALID".to_owned()));
}

#[tokio::test]
async fn end_12_tells_the_configurations_type_where_no_other_is_given_and_takes_a_subject_to_come() {
    let registry = OwnRegistry::start().await;
    let config = registry.put_blob("a", b"{}").await;
    let referrer = json!({
        "schemaVersion": 2, "mediaType": media::MANIFEST,
        "config": descriptor("application/x-kind", &config, 2), "layers": [],
        "subject": {"mediaType": media::MANIFEST, "digest": MISSING, "size": 9},
    });
    let reply = registry.put_manifest("a", "r", referrer.to_string().as_bytes()).await;
    assert_eq!((reply.status, reply.header("oci-subject")), (StatusCode::CREATED, MISSING));
    let listed = registry.get(&format!("/v2/a/referrers/{MISSING}")).await.json();
    assert_eq!(listed["manifests"][0]["artifactType"], "application/x-kind");
}

#[tokio::test]
async fn end_13_tells_how_far_an_upload_is() {
    let registry = OwnRegistry::start().await;
    let upload = registry.begin("a").await;
    registry.ask(Method::PATCH, &upload, &[], "0123456789").await;
    let status = registry.get(&upload).await;
    assert_eq!((status.status, status.header("range")), (StatusCode::NO_CONTENT, "0-9"));
    assert_eq!(status.header("location"), upload);
    let elsewhere = upload.replace("/v2/a/", "/v2/b/");
    assert_eq!(registry.get(&elsewhere).await.refusal(), (404, "BLOB_UPLOAD_UNKNOWN".to_owned()));
    assert_eq!(registry.get("/v2/a/blobs/uploads/..").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn end_14_cancels_an_upload() {
    let registry = OwnRegistry::start().await;
    let upload = registry.begin("a").await;
    let cancel = async || registry.ask(Method::DELETE, &upload, &[], "").await;
    assert_eq!(cancel().await.status, StatusCode::NO_CONTENT);
    assert_eq!(cancel().await.refusal(), (404, "BLOB_UPLOAD_UNKNOWN".to_owned()));
    let late = registry.ask(Method::PATCH, &upload, &[], "x").await;
    assert_eq!(late.refusal(), (404, "BLOB_UPLOAD_UNKNOWN".to_owned()));
}

#[tokio::test]
async fn methods_that_an_endpoint_does_not_have_are_told() {
    let registry = OwnRegistry::start().await;
    for (method, path) in
        [(Method::POST, "/v2/"), (Method::PUT, "/v2/a/tags/list"), (Method::GET, "/v2/a/blobs/uploads/")]
    {
        let reply = registry.ask(method, path, &[], "").await;
        assert_eq!(reply.refusal(), (405, "UNSUPPORTED".to_owned()), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_comes_back_while_its_last_request_is_still_read_waits_for_its_turn() {
    use tokio::io::AsyncWriteExt;
    let registry = OwnRegistry::start().await;
    let upload = registry.begin("a").await;
    let mut stream = tokio::net::TcpStream::connect(&registry.address).await.unwrap();
    let head = format!("PATCH {upload} HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n");
    stream.write_all(format!("{head}01234").as_bytes()).await.unwrap();
    while std::fs::metadata(uploaded_file(&registry)).unwrap().len() < 5 {
        tokio::task::yield_now().await;
    }
    let asking = registry.get(&upload);
    let breaking = async {
        stream.write_all(b"567").await.unwrap();
        drop(stream);
    };
    let (status, ()) = tokio::join!(asking, breaking);
    assert_eq!(status.header("range"), "0-7", "everything that came before the connection broke");
}

fn uploaded_file(registry: &OwnRegistry) -> std::path::PathBuf {
    files(&registry.root().join("repositories/a/_uploads")).remove(0)
}
