//! The command's words for every refusal, its exit codes, and what it does to a terminal.

use std::time::{Duration, UNIX_EPOCH};

use clap::Parser;
use penstock_proto::status::v1::{Component, Report};
use tonic::{Code, Status as Refusal};

use super::{
    screen::Window,
    source::{Answer, Trouble},
    *,
};

#[derive(Debug, Parser)]
struct Command {
    #[command(flatten)]
    status: Status,
}

fn parsed(arguments: &[&str]) -> Status {
    Command::try_parse_from([&["status"], arguments].concat()).unwrap().status
}

fn answer(state: State, lines: usize) -> Answer {
    let component = |n: usize| Component { name: format!("part-{n:02}"), ..Component::default() };
    let components = (0..lines).map(component).collect();
    Answer { report: Report { state: state.into(), components, ..Report::default() }, changes: None }
}

fn screen(window: Option<Window>) -> Screen<Vec<u8>> {
    Screen {
        out: Vec::new(),
        json: false,
        colour: false,
        many: true,
        window,
        hint: None,
        address: "http://x".into(),
        last: None,
        is_lost: false,
        entered: false,
    }
}

fn drawn(screen: &mut Screen<Vec<u8>>) -> String {
    String::from_utf8(std::mem::take(&mut screen.out)).unwrap()
}

#[test]
fn history_is_a_number_or_twenty() {
    assert_eq!(parsed(&[]).history, None);
    assert_eq!(parsed(&["--history"]).history, Some(20));
    assert_eq!(parsed(&["--history", "3", "--json"]).history, Some(3));
    Command::try_parse_from(["status", "--history", "many"]).unwrap_err();
}

#[test]
fn the_key_comes_from_a_file_or_the_environment_and_need_not_be() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key").display().to_string();
    let error = parsed(&["--key-file", &file]).source(&Environment::default()).unwrap_err();
    assert!(format!("{error:#}").contains("cannot read the key from"), "{error:#}");
    std::fs::write(&file, "\n").unwrap();
    let error = parsed(&["--key-file", &file]).source(&Environment::default()).unwrap_err();
    assert!(error.to_string().contains("holds no key"), "{error:#}");
    std::fs::write(&file, "sk-x\n").unwrap();
    assert!(parsed(&["--key-file", &file]).source(&Environment::default()).unwrap().has_key());
    assert!(!parsed(&[]).source(&Environment::default()).unwrap().has_key());
    for variable in [API_KEY, ADMIN_KEY] {
        assert!(parsed(&[]).source(&Environment::of([(variable, "sk-x")])).unwrap().has_key());
    }
    let error = parsed(&["--addr", "127.0.0.1:4000"]).source(&Environment::default()).unwrap_err();
    assert!(format!("{error:#}").contains("--addr: 127.0.0.1:4000 is not an address"), "{error:#}");
}

#[test]
fn every_refusal_says_what_to_do() {
    let with = parsed(&[]).source(&Environment::of([(API_KEY, "sk-secret")])).unwrap();
    let without = parsed(&[]).source(&Environment::default()).unwrap();
    let cases = [
        (&with, Code::Unauthenticated, true, "; give another one by --key-file"),
        (&without, Code::Unauthenticated, true, "wants a key: give one by --key-file"),
        (&without, Code::Unimplemented, true, "--addr takes the port of the facade or of a service"),
        (&without, Code::DeadlineExceeded, false, "does not answer in time"),
        (&without, Code::Unavailable, false, "is it still running?"),
        (&without, Code::Unknown, false, "is --addr right?"),
        (&without, Code::ResourceExhausted, false, "cannot tell how it is: "),
    ];
    for (source, code, lasts, expected) in cases {
        let trouble = source.trouble(&Refusal::new(code, "said"));
        let words = trouble.to_string();
        assert!(words.contains(expected) && !words.contains("secret"), "{code:?}: {words}");
        assert_eq!(matches!(trouble, Trouble::Lasting(_)), lasts, "{code:?}");
    }
}

#[tokio::test]
async fn nobody_there_is_said_with_the_cause() {
    let mut source = parsed(&["--addr", "http://127.0.0.1:1"]).source(&Environment::default()).unwrap();
    let trouble = source.ask(None).await.unwrap_err();
    let words = trouble.to_string();
    assert!(
        words.contains("cannot reach Penstock at http://127.0.0.1:1: ") && words.contains("is it running")
    );
    assert!(matches!(trouble, Trouble::Passing(_)));
}

#[test]
fn the_state_is_the_exit_code_and_nobody_to_ask_is_another() {
    let mut screen = screen(None);
    assert_eq!(screen.state(), None);
    for (state, expected) in [(State::Up, 0), (State::Degraded, 0), (State::Down, 1)] {
        screen.show(answer(state, 0), UNIX_EPOCH).unwrap();
        assert_eq!(screen.state().map(code), Some(expected));
    }
    screen.lost(&Trouble::Passing(anyhow::anyhow!("gone")), UNIX_EPOCH).unwrap();
    assert_eq!(screen.state(), None);
}

#[test]
fn a_terminal_is_drawn_over_and_given_back() {
    let mut screen = screen(Some(|| Some((80, 6))));
    screen.show(answer(State::Up, 1), UNIX_EPOCH).unwrap();
    let first = drawn(&mut screen);
    assert!(
        first.starts_with("\u{1b}[?1049h\u{1b}[?25l\u{1b}[H") && first.ends_with("\u{1b}[J"),
        "{first:?}"
    );
    // More than fits is cut: a terminal that scrolls cannot be drawn over.
    screen.show(answer(State::Up, 20), UNIX_EPOCH).unwrap();
    let second = drawn(&mut screen);
    assert_eq!(second.matches('\n').count(), 5, "{second:?}");
    assert!(!second.contains("1049h") && second.contains("… 19 more lines"), "{second:?}");
    screen.lost(&Trouble::Passing(anyhow::anyhow!("gone\u{7}")), UNIX_EPOCH).unwrap();
    let lost = drawn(&mut screen);
    assert!(lost.contains("gone\\u{7}") && lost.contains("Trying again"), "{lost:?}");
    screen.leave(UNIX_EPOCH).unwrap();
    let end = drawn(&mut screen);
    assert!(end.starts_with("\u{1b}[?25h\u{1b}[?1049l") && end.contains("part-19"), "{end:?}");
    screen.leave(UNIX_EPOCH).unwrap();
    assert_eq!(drawn(&mut screen), "");
}

#[test]
fn elsewhere_reports_are_appended_and_a_loss_is_said_once() {
    let gone = || Trouble::Passing(anyhow::anyhow!("gone"));
    let now = UNIX_EPOCH + Duration::from_secs(1);
    let mut text = screen(None);
    text.show(answer(State::Up, 0), now).unwrap();
    text.lost(&gone(), now).unwrap();
    text.lost(&gone(), now).unwrap();
    text.show(answer(State::Up, 0), now).unwrap();
    let expected = "1970-01-01T00:00:01Z\n✓ UP  penstock at http://x\n\n";
    let lost = "1970-01-01T00:00:01Z\ngone\nTrying again until it answers; Ctrl-C ends.\n\n";
    assert_eq!(drawn(&mut text), format!("{expected}{lost}{expected}"));
    let mut json = Screen { json: true, ..screen(None) };
    json.show(answer(State::Up, 2), now).unwrap();
    json.lost(&gone(), now).unwrap();
    json.lost(&gone(), now).unwrap();
    let lines = drawn(&mut json);
    let lines: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        (&lines[0]["reachable"], &lines[1]["reachable"], lines.len()),
        (&true.into(), &false.into(), 2)
    );
    assert_eq!(lines[1]["error"], "gone");
}

#[test]
fn a_report_without_details_says_how_to_get_them() {
    let mut screen = Screen { hint: Some(HINT), ..screen(None) };
    screen.show(answer(State::Up, 2), UNIX_EPOCH).unwrap();
    assert!(drawn(&mut screen).contains(HINT));
    screen.show(answer(State::Up, 0), UNIX_EPOCH).unwrap();
    assert!(!drawn(&mut screen).contains(HINT), "nothing to tell more of");
    let mut detailed = answer(State::Up, 2);
    detailed.report.components[0].checked_at = Some(UNIX_EPOCH.into());
    screen.show(detailed, UNIX_EPOCH).unwrap();
    assert!(!drawn(&mut screen).contains(HINT));
}
