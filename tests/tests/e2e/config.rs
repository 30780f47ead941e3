//! Configuration: every mistake with its line, the environment over the file, and nothing half applied (H1).

use std::{
    fs,
    path::{Path, PathBuf},
};

use penstock_tests::{
    Engine, Topology, both,
    client::chat,
    mesh,
    mesh::{Plan, one_model},
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/config")
}

/// One bad file for each mistake; its first lines say what must be said of it: `# expect: …`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mistake_is_explained_with_its_line() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let expected: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# expect: ")).collect();
        let file = path.display().to_string();
        let (code, output, errors) = mesh::run(&["check-config", &file], &[]).await;
        let said = format!("{output}{errors}");
        if name.starts_with("good") {
            assert_eq!(code, 0, "{name}: {said}");
            continue;
        }
        assert!(!expected.is_empty(), "{name} says not what to expect");
        let mistakes =
            said.lines().filter(|line| line.contains("line ") || line.contains("not in the file")).count();
        let all_said = expected.iter().all(|line| said.contains(line));
        if code == 0 || !all_said || mistakes != expected.len() {
            wrong.push(format!("{name} must say only\n{}\nand says\n{said}", expected.join("\n")));
        }
        // Starting says the same, and starts nothing.
        let data = tempfile::tempdir().unwrap();
        let data_dir = data.path().join("data").display().to_string();
        let (code, output, errors) =
            mesh::run(&["up", "--config", &file, "--data-dir", &data_dir], &[]).await;
        assert_ne!(code, 0, "{name}");
        let started = format!("{output}{errors}");
        assert!(said.lines().all(|line| started.contains(line)), "{name}: {started}");
        assert!(!Path::new(&data_dir).exists(), "{name}: something was applied");
        seen += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen >= 20, "only {seen} fixtures");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_is_valid() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../penstock.example.toml");
    let (code, output, errors) = mesh::run(&["check-config", &example.display().to_string()], &[]).await;
    assert_eq!(code, 0, "{output}{errors}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_admin_key_and_wrong_variables_are_mistakes() {
    let good = folder().join("good.toml").display().to_string();
    for (name, value) in [
        ("PENSTOCK_ADMIN_KEY", "too short"),
        ("PENSTOCK_FACADE__LISTEN", "nowhere"),
        ("PENSTOCK_FACADE__LISTN", "127.0.0.1:1"),
        ("PENSTOCK_ROUTER__AUTH_TIMEOUT", "long"),
    ] {
        let (code, output, errors) = mesh::run(&["check-config", &good], &[(name, value)]).await;
        let said = format!("{output}{errors}");
        assert_ne!(code, 0, "{name}: {said}");
        assert!(said.contains(name), "{said}");
        assert!(name != "PENSTOCK_ADMIN_KEY" || !said.contains(value), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_are_not_there_and_commands_that_are_not_known() {
    let (code, output, errors) = mesh::run(&["check-config", "/nowhere/penstock.toml"], &[]).await;
    assert!(code != 0 && format!("{output}{errors}").contains("/nowhere/penstock.toml"), "{output}{errors}");
    for wrong in
        [&["serve", "nobody"][..], &["nonsense"], &["up", "--nonsense"], &["up", "--config", "/nowhere"]]
    {
        let (code, _, errors) = mesh::run(wrong, &[]).await;
        assert!(code != 0 && !errors.is_empty(), "{wrong:?}");
    }
}

both! {
    /// Defaults, then the file, then the environment.
    async fn the_environment_wins_over_the_file(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Plan::new(topology, &one_model(&engine))
            .env("PENSTOCK_MODELS__0__NAME", "renamed")
            .env("PENSTOCK_MODELS__0__ALIASES", "one, two")
            .env("PENSTOCK_FACADE__BODY_MAX_BYTES", "1 KiB")
            .start()
            .await;
        for name in ["renamed", "one", "two"] {
            assert_eq!(mesh.client().chat(&chat(name)).await.text(), "Hello, world!");
        }
        mesh.client().chat(&chat("test-model")).await.problem(404, "model_not_found");
        mesh.client().chat(&chat(&"x".repeat(1100))).await.problem(413, "request_too_large");
    }
}
