//! `docker-slim images`: what the engines that answer hold, and which of it is slim.

use super::choice;
use super::output::print;
use super::with_registry::with_registry;
use crate::arguments::{GlobalArguments, ImagesArguments};
use crate::failure::Failure;
use slim_build::BuildError;
use slim_engine::HeldImage;
use slim_report::human;

/// An image with the engine that holds it.
struct Row {
    engine: String,
    image: HeldImage,
}

/// Lists them.
pub fn run(global: &GlobalArguments, arguments: &ImagesArguments) -> Result<(), Failure> {
    let rows = with_registry(global, async |bars, _| {
        let mut rows = Vec::new();
        for engine in choice::all(global).await? {
            let failed = |error| Failure::from(BuildError::from(error));
            let name = engine.describe().await.map_err(failed)?.name;
            let images = engine.list_images().await.map_err(failed)?;
            rows.extend(images.into_iter().map(|image| Row { engine: name.clone(), image }));
        }
        if rows.is_empty() {
            bars.line("no engine that answers holds an image");
        }
        Ok(rows)
    })?;
    let mut rows: Vec<Row> = rows.into_iter().filter(|row| is_meant(&row.image, arguments)).collect();
    rows.sort_by(|one, other| key(one).cmp(&key(other)));
    let document: Vec<serde_json::Value> = rows.iter().map(as_json).collect();
    if rows.is_empty() && global.output_format == crate::arguments::OutputFormat::Text {
        return Ok(());
    }
    print(global, || table(&rows), &document);
    Ok(())
}

fn is_meant(image: &HeldImage, arguments: &ImagesArguments) -> bool {
    let text = arguments.name.as_deref().unwrap_or_default();
    let is_named = image.names.iter().any(|name| name.contains(text)) || image.id.contains(text);
    is_named && (image.is_slim || !arguments.slim)
}

/// By name, those without one last.
fn key(row: &Row) -> (bool, &[String], &str, &str) {
    let HeldImage { names, id, .. } = &row.image;
    (names.is_empty(), names, &row.engine, id)
}

fn as_json(Row { engine, image }: &Row) -> serde_json::Value {
    serde_json::json!({
        "engine": engine,
        "id": image.id,
        "names": image.names,
        "created": image.created,
        "size": image.size,
        "slim": image.is_slim,
    })
}

/// One line a name.
fn table(rows: &[Row]) -> String {
    let nameless = ["<none>".to_owned()];
    let lines: Vec<(&str, &Row)> = rows
        .iter()
        .flat_map(|row| {
            let names = if row.image.names.is_empty() { &nameless[..] } else { &row.image.names };
            names.iter().map(move |name| (name.as_str(), row))
        })
        .collect();
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or_default().max(4);
    let mut table = vec![format!("{:<width$}  {:<12}  {:>9}  {:<8}  SLIM", "NAME", "ID", "SIZE", "ENGINE")];
    table.extend(lines.into_iter().map(|(name, Row { engine, image })| {
        let id = image.id.strip_prefix("sha256:").unwrap_or(&image.id);
        let slim = if image.is_slim { "yes" } else { "" };
        let line = format!(
            "{name:<width$}  {:<12}  {:>9}  {engine:<8}  {slim}",
            id.get(..12).unwrap_or(id),
            human(image.size)
        );
        line.trim_end().to_owned()
    }));
    table.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(names: &[&str], is_slim: bool) -> Row {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        let id = format!("sha256:{}", "0123456789abcdef".repeat(4));
        Row {
            engine: "docker".to_owned(),
            image: HeldImage { id, names, created: None, size: 5_000_000, is_slim },
        }
    }

    #[test]
    fn every_name_has_its_line_and_slim_ones_say_so() {
        insta::assert_snapshot!(table(&[row(&["app.slim:1", "b:latest"], true), row(&[], false)]), @r"
        NAME        ID                 SIZE  ENGINE    SLIM
        app.slim:1  0123456789ab    5.00 MB  docker    yes
        b:latest    0123456789ab    5.00 MB  docker    yes
        <none>      0123456789ab    5.00 MB  docker
        ");
    }

    #[test]
    fn a_text_and_slimness_choose() {
        let of = |name: Option<&str>, slim| ImagesArguments { name: name.map(str::to_owned), slim };
        let image = row(&["app:1"], false).image;
        assert!(is_meant(&image, &of(None, false)) && is_meant(&image, &of(Some("pp:"), false)));
        assert!(!is_meant(&image, &of(Some("other"), false)) && !is_meant(&image, &of(None, true)));
    }
}
