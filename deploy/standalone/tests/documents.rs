//! The documents against the code and the tree: README's table of errors is the table of reasons, its table of
//! keys has every key of the example, the example states the defaults, and no document links to nowhere.

#![allow(clippy::expect_used, clippy::unwrap_used)] // a test's helpers are outside of #[test] functions

use std::{fs, path::Path};

use penstock_chassis::{
    HealthConfig, ServerConfig, ShutdownConfig, TelemetryConfig,
    config::{Document, Environment},
};
use penstock_proto::Reason;

const DOCUMENTS: [&str; 5] =
    ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "deploy/kubernetes/README.md"];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn read(document: &str) -> String {
    fs::read_to_string(root().join(document)).expect(document)
}

#[test]
fn readme_lists_every_error_as_it_is() {
    let readme = read("README.md");
    let is_error = |line: &&str| line.starts_with("| 4") || line.starts_with("| 5");
    let rows: Vec<&str> = readme.lines().filter(is_error).filter(|line| line.contains('`')).collect();
    let names: Vec<_> = Reason::ALL.iter().map(|reason| format!("`{}`", reason.as_str())).collect();
    assert_eq!(rows.len(), names.len(), "one row for each reason");
    for (reason, (row, name)) in Reason::ALL.iter().zip(rows.iter().zip(names)) {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let grpc = snake(&format!("{:?}", reason.code()));
        let code = reason.openai_code().map(|code| format!("`{code}`")).unwrap_or_default();
        let retry = if reason.remedy().retry { "yes" } else { "" };
        let status = reason.http_status().to_string();
        assert_eq!(cells[..4], [status.as_str(), &grpc, &name, &code], "{row}");
        assert_eq!(cells[5], retry, "{row}");
    }
}

/// `NotFound` → `NOT_FOUND`.
fn snake(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_uppercase());
    }
    snake
}

#[test]
fn readme_lists_every_key_of_the_example() {
    let readme = read("README.md");
    let table: Vec<&str> =
        readme.lines().filter(|line| line.starts_with('|') || line.contains("`listen`")).collect();
    let example = read("penstock.example.toml");
    let mut keys = 0;
    for line in example.lines() {
        let line = line.strip_prefix("# ").unwrap_or(line);
        let Some((key, _)) = line.split_once(" = ") else { continue };
        if key.is_empty() || !key.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
            continue;
        }
        keys += 1;
        let cell = format!("`{key}`");
        assert!(table.iter().any(|row| row.contains(&cell)), "README's table lacks {cell}");
    }
    assert!(keys > 40, "the example was not read as it is written: {keys} keys");
}

#[test]
fn the_example_states_the_defaults() {
    let example = read("penstock.example.toml");
    let (stated, default) = (settings(Some(&example)), settings(None));
    for (stated, default) in stated.iter().zip(&default) {
        assert_eq!(stated, default);
    }
}

/// Every setting with a default, as text.
fn settings(file: Option<&str>) -> Vec<String> {
    let mut document = Document::parse(file, Environment::default()).unwrap();
    let environment = Environment::default();
    let mut settings = vec![
        format!("{:?}", ShutdownConfig::read(&mut document)),
        format!("{:?}", HealthConfig::read(&mut document, &[])),
        format!("{:?}", TelemetryConfig::read(&mut document)),
        format!("{:?}", penstock_alerts::Config::read(&mut document, true)),
    ];
    let ports = ["facade", "router", "auth", "rate_limiter", "cache", "inference_adapter"];
    for (service, port) in ports.into_iter().zip(4000..) {
        let mut section = document.section(service);
        settings.push(format!("{service}: {:?}", ServerConfig::read(&mut section, port, port + 5400)));
        settings.push(match service {
            "facade" => format!("{:?}", penstock_facade::Config::read(&mut section)),
            "router" => {
                let deployments = ["simulated".to_owned()];
                let mut config = penstock_router::Config::read(&mut section, &mut document, &deployments);
                // The example has a model, and there is none without a file.
                config.routing.models.clear();
                format!("{config:?}")
            }
            "auth" => format!("{:?}", penstock_auth::Config::read(&mut section, &environment)),
            "rate_limiter" => {
                format!("{:?}", penstock_rate_limiter::Config::read(&mut section, &mut document))
            }
            "cache" => {
                format!("{:?}", penstock_cache::Config::read(&mut section, Path::new("penstock-data")))
            }
            _ => String::new(),
        });
    }
    settings
}

#[test]
fn links_lead_somewhere() {
    for document in DOCUMENTS {
        let text = read(document);
        let folder = Path::new(document).parent().unwrap();
        for (_, rest) in text.match_indices("](").map(|(at, _)| text.split_at(at + 2)) {
            let link = rest.split(')').next().unwrap();
            let (path, anchor) = link.split_once('#').map_or((link, None), |(p, a)| (p, Some(a)));
            if path.contains("://") || path.starts_with("mailto:") {
                continue;
            }
            let target = root().join(folder).join(path);
            assert!(path.is_empty() || target.exists(), "{document}: {link}");
            if let (true, Some(anchor)) = (path.is_empty(), anchor) {
                assert!(headings(&text).any(|heading| heading == anchor), "{document}: #{anchor}");
            }
        }
    }
}

/// The anchors of a document's headings, as renderers make them.
fn headings(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter(|line| line.starts_with('#')).map(|line| {
        let kept = line.trim_start_matches('#').trim().to_lowercase();
        kept.chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect()
    })
}
