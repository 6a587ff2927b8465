//! The same image, trace and flags give the same digest: the image is made again from the trace alone, through new
//! collectors, and is the same each time.

#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]

mod common;

use common::{Context, engine_is_here, image_id};
use slim_engine::{CollectorSpec, EndpointInputs, Engine};
use slim_image::collector::Client;
use slim_image::layer::write_layer;
use slim_image::{ImageTree, LayerEntry, SlimImage};
use slim_trace::Trace;
use std::fs;
use std::path::{Path, PathBuf};

/// The trace that a build left below its state path.
fn trace_below(state: &Path) -> Trace {
    let image = fs::read_dir(state.join(".images")).unwrap().next().unwrap().unwrap().path();
    Trace::from_json(&fs::read(image.join("artifacts/trace.json")).unwrap()).unwrap()
}

async fn remake(engine: &dyn Engine, image: &str, trace: Trace) -> String {
    let source = engine.inspect_image(image).await.unwrap();
    let spec = CollectorSpec {
        image: image.to_owned(),
        binary: PathBuf::from(env!("CARGO_BIN_EXE_docker-slim")),
        file_name: ".slimtest-collector".to_owned(),
        arguments: vec!["collector".to_owned()],
        labels: std::collections::BTreeMap::new(),
    };
    let collector = slim_engine::start_collector(engine, &spec).await.unwrap();
    let id = collector.id.clone();
    let made = tokio::task::spawn_blocking(move || {
        let volumes = source.config.volume_paths();
        let client = Client::connect(collector.output, collector.input, &volumes, None).unwrap();
        let tree: &dyn ImageTree = &client;
        let kept = slim_keep::keep(&trace, tree, &source.config, &slim_keep::Settings::default()).unwrap();
        let entries: Vec<LayerEntry> = kept
            .entries
            .iter()
            .map(|(path, kept)| LayerEntry { path: path.clone(), entry: kept.entry.clone() })
            .collect();
        let layer = write_layer(tree, &entries, tempfile::NamedTempFile::new().unwrap()).unwrap();
        let config = source.config.clone();
        SlimImage::new(&source, config, layer, None).id().to_string()
    })
    .await
    .unwrap();
    engine.remove(&id, true).await.unwrap();
    made
}

#[test]
fn the_same_trace_gives_the_same_digest_always() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let page = ("/www/index.html", 0o644, "<html><a href=\"/more.html\">more</a></html>");
    let more = ("/www/more.html", 0o600, "<html>more</html>");
    let changes = [common::SERVE, "EXPOSE 8000", "VOLUME /data"];
    let image = context.busybox_image("digest", &[page, more, ("/data/seed", 0o640, "seed")], &changes);
    context.run_slim(&["build", "--http-probe", &image]).expect(0);
    let built = image_id(&format!("{image}.slim")).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for round in 0..3 {
        let made = runtime.block_on(async {
            let inputs =
                EndpointInputs { docker_config_dir: context.path("none"), ..EndpointInputs::default() };
            let engine = slim_engine::connect(&inputs).await.unwrap();
            remake(engine.as_ref(), &image, trace_below(context.folder.path())).await
        });
        assert_eq!(made, built, "in round {round}");
    }
}

#[test]
fn two_whole_builds_give_the_same_digest() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let page = ("/www/index.html", 0o644, "<html>hello</html>");
    let changes = [common::SERVE, "EXPOSE 8000"];
    let image = context.busybox_image("digest-twice", &[page], &changes);
    let ids: Vec<_> = (0..2)
        .map(|_| {
            context.run_slim(&["build", "--http-probe", &image]).expect(0);
            image_id(&format!("{image}.slim"))
        })
        .collect();
    assert_eq!(ids[0], ids[1]);
}
