//! The readers refuse what a strict client would: an event that is missing, that comes twice or too late, and every
//! cut of a stream.

use std::panic::{AssertUnwindSafe, catch_unwind};

use http::HeaderMap;

use super::{Api, Finish, Outcome};
use crate::exact::Json;

/// What a whole stream says by each API: reasoning, a text, and a call in fragments.
fn events(api: Api) -> Vec<String> {
    let data = |lines: &[&str]| lines.iter().map(|line| format!("data: {line}\n\n")).collect();
    let named = |lines: &[&str]| -> Vec<String> {
        let event = |line: &&str| {
            let json = Json::parse(line);
            format!("event: {}\ndata: {line}\n\n", json.get("type").as_text().unwrap())
        };
        lines.iter().map(event).collect()
    };
    match api {
        Api::Chat => data(&[
            r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","reasoning_content":"Hm"},"finish_reason":null}]}"#,
            r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}"#,
            r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]},"finish_reason":null}]}"#,
            r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}"#,
            "[DONE]",
        ]),
        Api::Responses => {
            let (reasoning, message) = (
                r#"{"id":"rs_1","type":"reasoning","summary":[],"content":[{"type":"reasoning_text","text":"Hm"}]}"#,
                r#"{"id":"msg_1","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":"Hi","annotations":[]}]}"#,
            );
            let call = r#"{"id":"fc_1","type":"function_call","status":"completed","call_id":"a","name":"f","arguments":"{}"}"#;
            let object = |status: &str, completed: &str, output: &str| {
                format!(
                    r#"{{"id":"resp_1","object":"response","created_at":1,"completed_at":{completed},"status":"{status}","background":false,"error":null,"incomplete_details":null,"instructions":null,"max_output_tokens":null,"model":"m","output":[{output}],"parallel_tool_calls":true,"previous_response_id":null,"reasoning":{{"effort":null}},"store":true,"temperature":null,"text":{{"format":{{"type":"text"}}}},"tool_choice":"auto","tools":[],"top_p":null,"truncation":"disabled","usage":null,"user":null,"metadata":{{}}}}"#
                )
            };
            let (begun, whole) = (
                object("in_progress", "null", ""),
                object("completed", "2", &format!("{reasoning},{message},{call}")),
            );
            let lines = [
                format!(r#"{{"type":"response.created","response":{begun}"#),
                format!(r#"{{"type":"response.in_progress","response":{begun}"#),
                r#"{"type":"response.output_item.added","output_index":0,"item":{"id":"rs_1","type":"reasoning","summary":[],"content":[]}"#.into(),
                r#"{"type":"response.content_part.added","output_index":0,"item_id":"rs_1","content_index":0,"part":{"type":"reasoning_text","text":""}"#.into(),
                r#"{"type":"response.reasoning_text.delta","output_index":0,"item_id":"rs_1","content_index":0,"delta":"Hm""#.into(),
                r#"{"type":"response.reasoning_text.done","output_index":0,"item_id":"rs_1","content_index":0,"text":"Hm""#.into(),
                r#"{"type":"response.content_part.done","output_index":0,"item_id":"rs_1","content_index":0,"part":{"type":"reasoning_text","text":"Hm"}"#.into(),
                format!(r#"{{"type":"response.output_item.done","output_index":0,"item":{reasoning}"#),
                r#"{"type":"response.output_item.added","output_index":1,"item":{"id":"msg_1","type":"message","status":"in_progress","role":"assistant","content":[]}"#.into(),
                r#"{"type":"response.content_part.added","output_index":1,"item_id":"msg_1","content_index":0,"part":{"type":"output_text","text":"","annotations":[]}"#.into(),
                r#"{"type":"response.output_text.delta","output_index":1,"item_id":"msg_1","content_index":0,"delta":"Hi","logprobs":[]"#.into(),
                r#"{"type":"response.output_text.done","output_index":1,"item_id":"msg_1","content_index":0,"text":"Hi","logprobs":[]"#.into(),
                r#"{"type":"response.content_part.done","output_index":1,"item_id":"msg_1","content_index":0,"part":{"type":"output_text","text":"Hi","annotations":[]}"#.into(),
                format!(r#"{{"type":"response.output_item.done","output_index":1,"item":{message}"#),
                r#"{"type":"response.output_item.added","output_index":2,"item":{"id":"fc_1","type":"function_call","status":"in_progress","call_id":"a","name":"f","arguments":""}"#.into(),
                r#"{"type":"response.function_call_arguments.delta","output_index":2,"item_id":"fc_1","delta":"{}""#.into(),
                r#"{"type":"response.function_call_arguments.done","output_index":2,"item_id":"fc_1","name":"f","arguments":"{}""#.into(),
                format!(r#"{{"type":"response.output_item.done","output_index":2,"item":{call}"#),
                format!(r#"{{"type":"response.completed","response":{whole}"#),
            ];
            let lines: Vec<String> = lines.into_iter().map(|line: String| line + "}").collect();
            named(&lines.iter().map(String::as_str).collect::<Vec<_>>())
        }
        Api::Messages => named(&[
            r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":0,"output_tokens":0}}}"#,
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Hm"}}"#,
            r#"{"type":"content_block_stop","index":0}"#,
            r#"{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}"#,
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Hi"}}"#,
            r#"{"type":"content_block_stop","index":1}"#,
            r#"{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"a","name":"f","input":{}}}"#,
            r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{}"}}"#,
            r#"{"type":"content_block_stop","index":2}"#,
            r#"{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"input_tokens":7,"output_tokens":3}}"#,
            r#"{"type":"message_stop"}"#,
        ]),
        Api::Ollama => [
            r#"{"model":"m","created_at":"2026-11-21T20:08:27.679735077Z","message":{"role":"assistant","content":"","thinking":"Hm"},"done":false}"#,
            r#"{"model":"m","created_at":"2026-11-21T20:08:27.679735077Z","message":{"role":"assistant","content":"Hi"},"done":false}"#,
            r#"{"model":"m","created_at":"2026-11-21T20:08:27.679735077Z","message":{"role":"assistant","content":"","tool_calls":[{"id":"a","function":{"name":"f","arguments":{}}}]},"done":false}"#,
            r#"{"model":"m","created_at":"2026-11-21T20:08:27.679735077Z","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","total_duration":9,"load_duration":0,"prompt_eval_count":7,"prompt_eval_duration":1,"eval_count":3,"eval_duration":1}"#,
        ]
        .map(|line| format!("{line}\n"))
        .into(),
    }
}

/// Reads these events as a stream with status 200; numbered, where the API numbers them.
fn read(api: Api, events: &[String]) -> Outcome {
    let mut headers = HeaderMap::new();
    let kind = if api == Api::Ollama { "application/x-ndjson" } else { "text/event-stream; charset=utf-8" };
    headers.insert("content-type", kind.parse().unwrap());
    headers.insert("x-request-id", "r".parse().unwrap());
    headers.insert("request-id", "r".parse().unwrap());
    let numbered = |(at, event): (usize, &String)| match api {
        Api::Responses => event.replacen("data: {", &format!("data: {{\"sequence_number\":{at},"), 1),
        _ => event.clone(),
    };
    let body: String = events.iter().enumerate().map(numbered).collect();
    api.read(200, &headers, &body)
}

fn refused(api: Api, events: &[String]) -> bool {
    catch_unwind(AssertUnwindSafe(|| read(api, events))).is_err()
}

/// Whether an event only carries a piece, and nothing that is left tells that it was there.
fn is_a_piece(api: Api, at: usize) -> bool {
    match api {
        Api::Chat => at < 3,
        // Deltas; SDKs take a block without any.
        Api::Messages => [2, 5, 8].contains(&at),
        Api::Ollama => at < 3,
        // A text that was told twice is seen, and one that was told by its end alone is not what was told.
        Api::Responses => false,
    }
}

#[test]
fn a_whole_stream_is_read() {
    for api in Api::ALL {
        let Outcome::Whole(said) = read(api, &events(api)) else { panic!("{api:?}") };
        assert_eq!((said.reasoning.as_str(), said.text.as_str()), ("Hm", "Hi"), "{api:?}");
        assert_eq!((said.calls.len(), said.finish), (1, Finish::Calls), "{api:?}");
        assert_eq!((said.calls[0].name.as_str(), said.calls[0].id.as_deref()), ("f", Some("a")), "{api:?}");
    }
}

#[test]
fn an_event_that_is_missing_or_comes_twice_or_too_late_is_refused() {
    for api in Api::ALL {
        let whole = events(api);
        for at in 0..whole.len() {
            let mut without = whole.clone();
            let event = without.remove(at);
            assert!(refused(api, &without) != is_a_piece(api, at), "{api:?} without {event}");
            let mut late = without;
            late.push(event.clone());
            assert!(refused(api, &late) || at + 1 == whole.len(), "{api:?}, too late: {event}");
            let mut twice = whole.clone();
            twice.insert(at, event.clone());
            let seen = refused(api, &twice) || is_a_piece(api, at);
            assert!(seen, "{api:?}, twice: {event}");
        }
    }
}

#[test]
fn a_cut_of_a_stream_is_never_taken_for_whole() {
    for api in Api::ALL {
        let whole = events(api);
        for end in 0..whole.len() {
            assert!(refused(api, &whole[..end]), "{api:?} cut at {end}");
        }
        let mut half = whole.clone();
        let last = half.last_mut().unwrap();
        last.truncate(last.len() / 2);
        assert!(refused(api, &half), "{api:?} cut in the midst of an event");
    }
}

#[test]
fn an_error_in_the_stream_is_the_end_of_it() {
    let openai = r#"{"error":{"message":"no","type":"server_error","param":null,"code":"engine_cut"}}"#;
    let anthropic = r#"{"type":"error","error":{"type":"api_error","message":"no"}}"#;
    for (api, error) in [
        (Api::Chat, format!("data: {openai}\n\n")),
        (Api::Messages, format!("event: error\ndata: {anthropic}\n\n")),
        (Api::Ollama, r#"{"error":"no","code":"engine_cut"}"#.to_owned() + "\n"),
    ] {
        let whole = events(api);
        // After the text, in an open block where there are blocks.
        let after = if api == Api::Messages { 6 } else { 2 };
        let mut broken = whole[..after].to_vec();
        broken.push(error.clone());
        let Outcome::Broken(said, trouble) = read(api, &broken) else { panic!("{api:?}") };
        assert_eq!((said.text.as_str(), trouble.message.as_str()), ("Hi", "no"), "{api:?}");
        broken.push(whole.last().unwrap().clone());
        assert!(refused(api, &broken), "{api:?}: an end behind the error");
        let mut behind = whole.clone();
        behind.push(error);
        assert!(refused(api, &behind), "{api:?}: an error behind the end");
    }
}
