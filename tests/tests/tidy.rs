//! Holds the repository to its own rules: who depends on whom, one owner for each library, the shape of files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Lines of a file at most, its tests included: near 300 it should be split; here it must be.
const LINES_MAX: usize = 600;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Crate → its normal dependencies.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let normal = |package: &Value| {
        package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|dependency| dependency["kind"].is_null())
            .map(|dependency| text(&dependency["name"]))
            .collect()
    };
    metadata["packages"].as_array().unwrap().iter().map(|p| (text(&p["name"]), normal(p))).collect()
}

#[test]
fn crates_depend_only_on_whom_they_may() {
    let services = ["auth", "rate-limiter", "cache", "inference-adapter", "router", "facade"];
    let services = services.map(|service| format!("penstock-{service}"));
    let allowed = |of: &str| -> Vec<String> {
        let both = vec!["penstock-proto".to_owned(), "penstock-chassis".to_owned()];
        match of {
            "penstock-proto" => Vec::new(),
            "penstock-chassis" | "penstock-tests" => vec!["penstock-proto".into()],
            "penstock" => {
                both.into_iter().chain(services.clone()).chain(["penstock-alerts".into()]).collect()
            }
            "penstock-alerts" => both,
            service if services.contains(&service.to_owned()) => both,
            other => panic!("say here whom {other} may depend on"),
        }
    };
    let dependencies = dependencies();
    assert_eq!(dependencies.len(), 11);
    for (of, on) in &dependencies {
        let ours: Vec<_> = on.iter().filter(|name| name.starts_with("penstock")).cloned().collect();
        let allowed = allowed(of);
        assert!(ours.iter().all(|name| allowed.contains(name)), "{of} depends on {ours:?}");
    }
}

#[test]
fn libraries_have_one_owner() {
    let owners: [(&str, &[&str]); 9] = [
        ("axum", &["penstock-facade"]),
        // Two ways out of the mesh, and no third: engines, and the webhooks of alerts.
        ("reqwest", &["penstock-inference-adapter", "penstock-alerts"]),
        ("lettre", &["penstock-alerts"]),
        ("opentelemetry", &["penstock-chassis"]),
        ("opentelemetry_sdk", &["penstock-chassis"]),
        ("opentelemetry-otlp", &["penstock-chassis"]),
        ("redb", &["penstock-auth", "penstock-cache"]),
        ("toml", &["penstock-chassis"]),
        ("clap", &["penstock"]),
    ];
    for (of, on) in dependencies() {
        for (library, owners) in owners {
            let owner = owners.contains(&of.as_str()) || of == "penstock-tests";
            assert!(owner || !on.contains(library), "{of} depends on {library}, which is for {owners:?}");
        }
    }
}

#[test]
fn nothing_foreign_is_needed_to_build() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    for foreign in ["openssl-sys", "native-tls", "aws-lc-sys", "cmake", "prost-build-protoc", "protobuf-src"]
    {
        assert!(!lock.contains(&format!("name = \"{foreign}\"")), "{foreign} is in the lock file");
    }
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            rust_files(&path, found);
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

#[test]
fn files_have_the_shape_of_the_house() {
    let mut files = Vec::new();
    rust_files(root(), &mut files);
    assert!(files.len() > 50, "looked in the wrong place: {files:?}");
    for path in files {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        let text = fs::read_to_string(&path).unwrap();
        assert!(!name.ends_with("/mod.rs"), "{name}: foo.rs and foo/, never mod.rs");
        assert!(text.starts_with("//! "), "{name} does not say what it is");
        let header = text.lines().take_while(|line| line.starts_with("//!")).count();
        // The crate doc of a library is a page of its own.
        assert!(header <= 6 || name.ends_with("/lib.rs"), "{name}: {header} lines of //!");
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{name}: {lines} lines; split it along a seam that has a name");
        let ignored = concat!("#[", "ignore");
        assert!(!text.contains(ignored), "{name} ignores a test");
    }
}
