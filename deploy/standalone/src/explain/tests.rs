//! What is asked for, and what is refused before anybody is asked.

use clap::Parser;
use penstock_proto::inference::v1::generate_request::Input;

use super::*;

#[derive(Debug, Parser)]
struct Command {
    #[command(flatten)]
    explain: Explain,
}

fn parsed(arguments: &[&str]) -> Result<Explain, String> {
    let arguments = [&["explain"], arguments].concat();
    Command::try_parse_from(arguments).map(|command| command.explain).map_err(|error| error.to_string())
}

fn asked(arguments: &[&str]) -> Result<Asked, String> {
    let request = parsed(arguments)?.asked().map_err(|error| format!("{error:#}"))?;
    Ok(request.request.unwrap())
}

fn file(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("request.json");
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

#[test]
fn a_prompt_is_a_conversation() {
    let Asked::Generate(request) = asked(&["--model", "m", "--prompt", "a \"quoted\" text"]).unwrap() else {
        panic!("another request")
    };
    assert!(request.model == "m" && matches!(request.input, Some(Input::Chat(_))));
    assert!(asked(&["--prompt", "x"]).unwrap_err().contains("--model"));
}

#[test]
fn a_file_is_what_its_members_say() {
    let chat = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
    for (text, model) in [(chat.to_owned(), "m"), (format!(r#"{{"request":{chat}}}"#), "m")] {
        let (_folder, path) = file(&text);
        let Asked::Generate(request) = asked(&[&path]).unwrap() else { panic!("{text}") };
        assert_eq!(request.model, model);
        let Asked::Generate(request) = asked(&[&path, "--model", "n"]).unwrap() else { panic!("{text}") };
        assert_eq!(request.model, "n");
    }
    let (_folder, path) = file(r#"{"model":"m","prompt":"x"}"#);
    let Asked::Generate(request) = asked(&[&path]).unwrap() else { panic!("no text") };
    assert!(matches!(request.input, Some(Input::Text(_))));
    let (_folder, path) = file(r#"{"model":"m","input":"x"}"#);
    assert!(matches!(asked(&[&path]).unwrap(), Asked::Embed(_)));
    let (_folder, path) = file(r#"{"endpoint":"/v1/moderations","request":{"input":"x"}}"#);
    assert!(matches!(asked(&[&path]).unwrap(), Asked::Moderate(_)));
    for text in [
        r#"{"model":"m","input":"x","instructions":"y"}"#,
        r#"{"model":"m","input":[{"role":"user","content":"x"}]}"#,
        r#"{"model":"m","max_tokens":9,"system":"y","messages":[{"role":"user","content":"x"}]}"#,
    ] {
        let (_folder, path) = file(text);
        let Asked::Generate(request) = asked(&[&path]).unwrap() else { panic!("{text}") };
        let Some(Input::Chat(chat)) = request.input else { panic!("{text}") };
        assert_eq!(chat.messages.last().unwrap().role, "user", "{text}");
    }
}

#[test]
fn what_is_wrong_is_named_and_what_excludes_each_other_is_refused() {
    let (_folder, path) = file(r#"{"model":"m","messages":[{"role":7}],"temperature":"hot"}"#);
    let error = asked(&[&path]).unwrap_err();
    assert!(error.contains("\n  messages[0].role: ") && error.contains("\n  temperature: "), "{error}");
    let (_folder, path) = file("{");
    assert!(asked(&[&path]).unwrap_err().contains("not JSON"));
    assert!(asked(&["/nowhere/request.json"]).unwrap_err().contains("cannot read"));
    for wrong in [&["--decision", "d", "--model", "m"][..], &["f.json", "--prompt", "x"], &["--nonsense"]] {
        parsed(wrong).unwrap_err();
    }
}

#[test]
fn what_steers_goes_along_as_it_is() {
    let given =
        ["--model", "m", "--session", "s", "--tags", "a,b", "--max-cost", "0.5", "--max-latency", "9"];
    let steering = parsed(&given).unwrap().steering().unwrap();
    let told: Vec<_> = steering.iter().map(|(name, value)| (*name, value.to_str().unwrap())).collect();
    let expected = metadata::STEERING.into_iter().zip(["s", "a,b", "0.5", "9"]);
    assert_eq!(told, expected.collect::<Vec<_>>());
    let error = parsed(&["--model", "m", "--tags", "a\nb"]).unwrap().steering().unwrap_err();
    assert!(error.to_string().contains("x-penstock-tags"), "{error}");
}

#[test]
fn without_a_key_or_an_address_nobody_is_asked() {
    let target = |addr: &str| Target { addr: addr.into(), key_file: None };
    let error = Session::new(&target(DEFAULT_ADDRESS), &Environment::default()).unwrap_err();
    assert!(error.to_string().contains("PENSTOCK_ADMIN_KEY"), "{error}");
    let environment = Environment::of([("PENSTOCK_API_KEY", "k")]);
    Session::new(&target(DEFAULT_ADDRESS), &environment).unwrap();
    let error = Session::new(&target("somewhere"), &environment).unwrap_err();
    assert!(error.to_string().contains("is not an address"), "{error}");
}
