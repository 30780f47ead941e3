//! What engines do wrong, and callers that leave.

use super::*;

async fn reason_of(stream: bool, settings: &str, steps: Vec<Step>) -> Reason {
    let (adapter, _engine) = with_engine("openai", settings, move |_| steps.clone()).await;
    adapter.reason(stream).await
}

fn sse(rest: &str) -> Step {
    Step::Write(head("text/event-stream") + rest)
}

#[tokio::test]
async fn c8_a_cut_answer_is_an_error_and_what_was_said_before_it_is_passed_on() {
    let cuts = [
        vec![sse(&events(&[FIRST])), Step::Close],
        vec![sse(&events(&[FIRST])), Step::Write("0\r\n\r\n".into())],
        vec![sse(&(events(&[FIRST, "[DONE]"]) + "0\r\n\r\n"))],
        vec![sse(&(events(&[FIRST]) + "40\r\ndata: {\"half")), Step::Close],
    ];
    for steps in cuts {
        let (adapter, _engine) = with_engine("openai", "", move |_| steps.clone()).await;
        let (chunks, result) = adapter.ask(request(true)).await;
        assert_eq!(text(&chunks), "Hel");
        assert_eq!(penstock_proto::Error::from(&result.unwrap_err()).reason, Reason::EngineCut);
    }
    assert_eq!(reason_of(true, "", vec![sse("0\r\n\r\n")]).await, Reason::EngineCut, "empty");
    assert_eq!(reason_of(true, "", vec![Step::Close]).await, Reason::EngineReset, "no head");
    let short = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{";
    assert_eq!(reason_of(false, "", vec![Step::Write(short.into()), Step::Close]).await, Reason::EngineCut);
}

#[tokio::test]
async fn c5_an_answer_without_done_is_whole_if_it_finished() {
    let (adapter, _engine) =
        with_engine("openai", "", |_| vec![sse(&(events(&[FIRST, SECOND, LAST]) + "0\r\n\r\n"))]).await;
    let (chunks, result) = adapter.ask(request(true)).await;
    result.unwrap();
    let usage = chunks.last().unwrap().usage.as_ref().unwrap();
    // Three to mark the message, three to begin the answer, the role, "canary", and "Hello".
    assert_eq!((usage.prompt_tokens, usage.completion_tokens, usage.total_tokens), (9, 1, 10));
    assert!(usage.estimated && chunks.iter().filter(|chunk| chunk.usage.is_some()).count() == 1);
    let metrics = adapter.chassis.metrics.encode().unwrap();
    assert!(metrics.contains("penstock_engine_estimated_usage_total{deployment=\"d\"} 1"), "{metrics}");
}

/// D10: half of usage, and usage of a plain answer.
#[tokio::test]
async fn d10_usage_that_is_missing_or_senseless_is_counted() {
    for usage in ["", r#","usage":{"prompt_tokens":-1,"completion_tokens":2.0}"#, r#","usage":null"#] {
        let choice = r#"{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}"#;
        let body = format!(r#"{{"id":"c","choices":[{choice}]{usage}}}"#);
        let (adapter, _engine) =
            with_engine("openai", "", move |_| vec![whole("200 OK", "application/json", &body)]).await;
        let (chunks, result) = adapter.ask(request(false)).await;
        result.unwrap();
        let seen = chunks[0].usage.as_ref().unwrap();
        let completion = if usage.contains("2.0") { 2 } else { 1 };
        assert_eq!((seen.prompt_tokens, seen.completion_tokens), (9, completion), "{usage}");
        assert!(seen.estimated && chunks.len() == 1);
    }
}

#[tokio::test]
async fn c6_c9_d9_nonsense_is_a_bad_answer() {
    let long = format!("data: {}", "x".repeat(5000));
    for steps in [
        vec![whole("200 OK", "text/html", "<html>canary</html>")],
        vec![sse(&(events(&["{canary"]) + "0\r\n\r\n"))],
        vec![sse(&piece(&long)), Step::Hold],
        vec![Step::Write(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\n\r\n".into(),
        )],
    ] {
        assert_eq!(reason_of(true, "frame_max_bytes = '4 KiB'", steps).await, Reason::EngineBadAnswer);
    }
    let large = vec![whole("200 OK", "application/json", &format!("\"{}\"", "x".repeat(5000)))];
    assert_eq!(reason_of(false, "answer_max_bytes = '4 KiB'", large).await, Reason::EngineBadAnswer);
    let endless = vec![Step::Write(head("application/json") + &piece(&"x".repeat(5000))), Step::Hold];
    assert_eq!(reason_of(false, "answer_max_bytes = '4 KiB'", endless).await, Reason::EngineBadAnswer);
    for nonsense in ["{}", "[]", "canary"] {
        let steps = vec![whole("200 OK", "application/json", nonsense)];
        assert_eq!(reason_of(false, "", steps).await, Reason::EngineBadAnswer, "{nonsense}");
    }
}

/// A log line that slipped into a stream is skipped and counted, if there is an answer around it.
#[tokio::test]
async fn c6_frames_that_cannot_be_read_are_skipped_in_a_whole_answer() {
    let junk = ["INFO: canary", "{\"choices\":7}", "{"];
    for (times, whole) in [(5, true), (6, false)] {
        let noisy: Vec<&str> =
            junk.repeat(times).into_iter().chain([FIRST, SECOND, LAST, "[DONE]"]).collect();
        let body = events(&noisy) + "0\r\n\r\n";
        let (adapter, _engine) = with_engine("openai", "", move |_| vec![sse(&body)]).await;
        let (chunks, result) = adapter.ask(request(true)).await;
        assert_eq!(result.is_ok(), whole);
        assert_eq!(text(&chunks), if whole { "Hello" } else { "" });
        let counted = format!("malformed_frames_total{{deployment=\"d\"}} {}", if whole { 15 } else { 16 });
        let metrics = adapter.chassis.metrics.encode().unwrap();
        assert!(metrics.contains(&counted), "{metrics}");
    }
    // What could not be read may have been the end: no success, and not the engine's cut either.
    let (adapter, _engine) = with_engine("openai", "", |_| {
        vec![sse(&(events(&[FIRST, SECOND, "{\"choices\"", "[DONE]"]) + "0\r\n\r\n"))]
    })
    .await;
    assert_eq!(adapter.reason(true).await, Reason::EngineBadAnswer);
}

#[tokio::test]
async fn c6_an_event_named_error_is_an_error_also_after_content() {
    let named = piece("event: error\ndata: {\"message\":\"canary\",\"code\":429}\n\n");
    let steps = vec![sse(&(events(&[FIRST]) + &named + &events(&["[DONE]"]) + "0\r\n\r\n"))];
    assert_eq!(reason_of(true, "", steps).await, Reason::EngineOverloaded);
}

#[tokio::test]
async fn c6_an_error_in_the_stream_is_the_engines_failure() {
    let error = r#"{"error":{"message":"canary","code":500}}"#;
    let steps = vec![sse(&(events(&[FIRST, error, "[DONE]"]) + "0\r\n\r\n"))];
    assert_eq!(reason_of(true, "", steps).await, Reason::EngineFailed);
}

#[tokio::test]
async fn d2_d3_d4_statuses_are_told_apart_and_redirects_not_followed() {
    let body = r#"{"error":{"message":"canary"}}"#;
    for (status, expected) in [
        ("401 Unauthorized", Reason::EngineCredentials),
        ("404 Not Found", Reason::EngineModelMissing),
        ("422 Unprocessable", Reason::EngineRejected),
        ("500 Internal", Reason::EngineFailed),
    ] {
        assert_eq!(reason_of(true, "", vec![whole(status, "application/json", body)]).await, expected);
    }
    let redirect = "HTTP/1.1 307 Temporary\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(reason_of(true, "", vec![Step::Write(redirect.into())]).await, Reason::EngineFailed);
    let busy = "HTTP/1.1 429 Busy\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n";
    let (adapter, _engine) = with_engine("openai", "", move |_| vec![Step::Write(busy.into())]).await;
    let error = penstock_proto::Error::from(&adapter.ask(request(true)).await.1.unwrap_err());
    assert_eq!(
        (error.reason, error.retry_after),
        (Reason::EngineOverloaded, Some(std::time::Duration::from_secs(7)))
    );
}

#[tokio::test]
async fn d1_an_engine_that_is_not_there_is_unreachable() {
    let text = "[[deployments]]\nid='d'\nengine='openai'\nmodel='m'\nendpoint='http://127.0.0.1:1'";
    let mut adapter = adapter(Chassis::default(), Some(text), &[]).await;
    assert_eq!(adapter.reason(true).await, Reason::EngineUnreachable);
    let list = adapter.deployments.list(ListRequest {}).await.unwrap().into_inner();
    assert_eq!(list.deployments[0].state(), State::Down);
}

#[tokio::test]
async fn c7_a_silent_engine_times_out_before_and_after_the_first_token() {
    let settings = "first_token_timeout = '50ms'\nanswer_timeout = '50ms'\nstall_timeout = '10m'";
    for stream in [true, false] {
        assert_eq!(reason_of(stream, settings, vec![Step::Hold]).await, Reason::EngineTimeout);
    }
    let headed = vec![sse(&piece(": ping\n\n")), Step::Hold];
    assert_eq!(reason_of(true, settings, headed).await, Reason::EngineTimeout);
    let stalled = vec![sse(&events(&[FIRST])), Step::Hold];
    let settings = "first_token_timeout = '10m'\nstall_timeout = '50ms'";
    assert_eq!(reason_of(true, settings, stalled.clone()).await, Reason::EngineTimeout);
    // However lively it is: there is an end to what it may take.
    let settings = "stall_timeout = '10m'\ntotal_timeout = '50ms'";
    assert_eq!(reason_of(true, settings, stalled).await, Reason::EngineTimeout);
    assert_eq!(reason_of(true, settings, vec![Step::Hold]).await, Reason::EngineTimeout);
}

/// D2: how long an answer gets is up to who asks for it: an engine that talks on is well, one that is silent is not.
#[tokio::test(start_paused = true)]
async fn d2_an_answer_that_takes_too_long_says_nothing_of_the_engine_that_gives_it() {
    for (engine, breaker) in
        [("tokens_per_second = 1\nlength = '5000'", Breaker::Closed), ("delay = '1m'", Breaker::Open)]
    {
        let text = format!(
            "[inference_adapter.breaker]\nminimum_calls = 3\n\
             [[deployments]]\nid = 'd'\nengine = 'simulated'\ntotal_timeout = '10s'\n{engine}"
        );
        let mut adapter = adapter(Chassis::default(), Some(&text), &[]).await;
        for _ in 0..3 {
            assert_eq!(adapter.reason(true).await, Reason::EngineTimeout);
        }
        let one = adapter.deployments.list(ListRequest {}).await.unwrap().into_inner().deployments.remove(0);
        let state = if breaker == Breaker::Closed { State::Up } else { State::Down };
        assert_eq!((one.breaker(), one.state(), one.in_flight), (breaker, state, 0), "{engine}");
    }
}

#[tokio::test]
async fn c1_a_caller_that_leaves_stops_the_engine_in_every_window() {
    for (stream, steps) in [
        (true, vec![sse(&events(&[FIRST])), Step::Hold]),
        (true, vec![sse(""), Step::Hold]),
        (true, vec![Step::Hold]),
        (false, vec![Step::Hold]),
    ] {
        let has_head = matches!(steps.first(), Some(Step::Write(_)));
        let (mut adapter, engine) = with_engine("openai", "", move |_| steps.clone()).await;
        if has_head {
            drop(adapter.open(request(stream)).await.unwrap());
        } else {
            tokio::select! {
                _ = adapter.open(request(stream)) => panic!("answered"),
                () = engine.generation() => {}
            }
        }
        engine.gone.notified().await;
        let list = adapter.deployments.list(ListRequest {}).await.unwrap().into_inner();
        assert_eq!(list.deployments[0].in_flight, 0);
        let metrics = adapter.chassis.metrics.encode().unwrap();
        assert!(
            metrics.contains("penstock_engine_requests_total{deployment=\"d\",outcome=\"cancelled\"} 1"),
            "{metrics}"
        );
    }
}

#[tokio::test]
async fn places_on_a_deployment_are_bounded_and_given_back() {
    let (adapter, _engine) = with_engine("openai", "max_streams_per_deployment = 1\nqueue_max = 0", |_| {
        vec![sse(&events(&[FIRST])), Step::Hold]
    })
    .await;
    let open = adapter.open(request(true)).await.unwrap();
    assert_eq!(adapter.reason(true).await, Reason::EngineBusy);
    drop(open);
    assert!(adapter.open(request(true)).await.is_ok());
}

#[tokio::test]
async fn d8_a_deployment_that_is_gone_is_not_replaced_by_a_guess() {
    let (adapter, engine) = with_engine("openai", "", |_| vec![Step::Close]).await;
    let mut asked = tonic::Request::new(request(true));
    asked.metadata_mut().insert(penstock_proto::metadata::DEPLOYMENT, "other".parse().unwrap());
    let gone = adapter.inference.clone().generate(asked).await.unwrap_err();
    assert_eq!(penstock_proto::Error::from(&gone).reason, Reason::EngineModelMissing);
    let unknown = adapter.ask(GenerateRequest { model: "x".into(), ..request(true) }).await.1.unwrap_err();
    assert_eq!(penstock_proto::Error::from(&unknown).reason, Reason::ModelNotFound);
    assert_eq!(engine.generations(), 0);
}
