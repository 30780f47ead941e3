//! Silences of every kind, on a clock that only moves when everybody waits (C7).

use std::time::Duration;

use axum::{body::Body, response::Response};
use futures_util::{StreamExt as _, stream};
use http_body_util::BodyExt as _;
use penstock_chassis::CallContext;
use penstock_proto::{
    Error, Reason,
    inference::v1::{Choice, Delta, GenerateChunk, GenerateResponse},
};
use tokio::time::{Instant, sleep};
use tonic::Status;

use crate::{
    chat::chunk::{Completions, Shape},
    config::Config,
    stream::respond,
};

const SECOND: Duration = Duration::from_secs(1);

type Message = Result<GenerateResponse, Status>;

fn config(delay: u32, period: u32) -> Config {
    let seconds = |count: u32| (count > 0).then_some(SECOND * count);
    Config { keep_alive_delay: seconds(delay), keep_alive_period: seconds(period), ..Config::default() }
}

fn message(content: &str, finish_reason: Option<&str>) -> Message {
    let delta = Delta { content: Some(content.into()), ..Delta::default() };
    let finish_reason = finish_reason.map(Into::into);
    let choices = vec![Choice { delta: Some(delta), finish_reason, ..Choice::default() }];
    Ok(GenerateResponse { chunks: vec![GenerateChunk { choices, ..GenerateChunk::default() }] })
}

/// The answer to a call that begins after a time, or fails then, and then says each message after a time.
async fn answer(
    config: &Config,
    begins_after: u32,
    failure: Option<Status>,
    messages: Vec<(u32, Message)>,
) -> Result<Response, crate::error::Error> {
    let asking = async move {
        sleep(SECOND * begins_after).await;
        let said = stream::iter(messages).then(|(after, message)| async move {
            sleep(SECOND * after).await;
            message
        });
        let mut answer = tonic::Response::new(said.boxed());
        answer.metadata_mut().insert("x-penstock-model", "m".parse().unwrap());
        failure.map_or(Ok(answer), Err)
    };
    respond(
        asking,
        Completions::new(Shape::Chat, false),
        config,
        CallContext::background(Duration::from_secs(3600)),
    )
    .await
}

/// What comes, and after how many seconds: `:` for a comment, `!` for an error, the text of a chunk, `.` at the end.
async fn heard(body: Body) -> Vec<(u64, String)> {
    let (started, mut body) = (Instant::now(), body);
    let mut heard = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.unwrap().into_data().unwrap();
        let text = std::str::from_utf8(&frame).unwrap();
        let what = match text.strip_prefix("data: ") {
            None => {
                assert_eq!(text, ": ping\n\n");
                ":".to_owned()
            }
            Some("[DONE]\n\n") => ".".to_owned(),
            Some(data) => {
                let data: serde_json::Value = serde_json::from_str(data).unwrap();
                assert!(data.get("error").is_none() || data["error"]["request_id"].is_string());
                data["choices"][0]["delta"]["content"].as_str().unwrap_or("!").to_owned()
            }
        };
        heard.push((started.elapsed().as_secs(), what));
    }
    heard
}

fn said(expected: &[(u64, &str)]) -> Vec<(u64, String)> {
    expected.iter().map(|(after, what)| (*after, (*what).to_owned())).collect()
}

#[tokio::test(start_paused = true)]
async fn before_the_first_token_the_head_goes_out_after_the_delay() {
    let started = Instant::now();
    let messages = vec![(0, message("a", None)), (0, message("b", Some("stop")))];
    let response = answer(&config(15, 10), 42, None, messages).await.unwrap();
    assert_eq!(started.elapsed(), 15 * SECOND);
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
    assert!(!response.headers().contains_key("x-penstock-model"), "nobody knows it yet");
    let expected = said(&[(0, ":"), (10, ":"), (20, ":"), (27, "a"), (27, "b"), (27, ".")]);
    assert_eq!(heard(response.into_body()).await, expected);
}

#[tokio::test(start_paused = true)]
async fn an_answer_within_the_delay_has_its_own_head() {
    let response = answer(&config(15, 10), 14, None, vec![(0, message("a", Some("stop")))]).await.unwrap();
    assert_eq!(response.headers()["x-penstock-model"], "m");
    assert_eq!(heard(response.into_body()).await, said(&[(0, "a"), (0, ".")]));
    let busy = Status::from(Error::new(Reason::EngineOverloaded, "busy"));
    let error = answer(&config(15, 10), 14, Some(busy), vec![]).await.unwrap_err();
    assert_eq!(Error::from(&error).reason, Reason::EngineOverloaded);
}

/// C8: what fails after the head is told in the stream, and never as an end.
#[tokio::test(start_paused = true)]
async fn a_failure_after_the_delay_is_told_in_the_stream() {
    let busy = Status::from(Error::new(Reason::EngineOverloaded, "busy"));
    let response = answer(&config(15, 10), 30, Some(busy), vec![]).await.unwrap();
    assert_eq!(heard(response.into_body()).await, said(&[(0, ":"), (10, ":"), (15, "!")]));
}

#[tokio::test(start_paused = true)]
async fn pauses_between_chunks_are_bridged() {
    let messages = vec![
        (0, message("a", None)),
        (9, message("b", None)),
        (9, message("c", None)),
        (25, message("d", Some("stop"))),
    ];
    let response = answer(&config(15, 10), 1, None, messages).await.unwrap();
    let expected = [(0, "a"), (9, "b"), (18, "c"), (28, ":"), (38, ":"), (43, "d"), (43, ".")];
    assert_eq!(heard(response.into_body()).await, said(&expected));
    let cut = Err(Status::from(Error::new(Reason::EngineCut, "cut")));
    let response = answer(&config(15, 10), 1, None, vec![(0, message("a", None)), (12, cut)]).await.unwrap();
    assert_eq!(heard(response.into_body()).await, said(&[(0, "a"), (10, ":"), (12, "!")]));
}

#[tokio::test(start_paused = true)]
async fn each_of_the_two_can_be_switched_off() {
    let messages = || vec![(0, message("a", None)), (60, message("b", Some("stop")))];
    let started = Instant::now();
    let response = answer(&config(0, 50), 600, None, messages()).await.unwrap();
    assert_eq!(started.elapsed(), 600 * SECOND, "without a delay the head waits for the first token");
    let expected = said(&[(0, "a"), (50, ":"), (60, "b"), (60, ".")]);
    assert_eq!(heard(response.into_body()).await, expected);
    let response = answer(&config(15, 0), 600, None, messages()).await.unwrap();
    let expected = said(&[(0, ":"), (585, "a"), (645, "b"), (645, ".")]);
    assert_eq!(heard(response.into_body()).await, expected);
}

/// A period that is shorter than the delay moves the timer forward.
#[tokio::test(start_paused = true)]
async fn the_period_may_be_shorter_than_the_delay() {
    let messages = vec![(0, message("a", None)), (5, message("b", Some("stop")))];
    let response = answer(&config(15, 2), 1, None, messages).await.unwrap();
    let expected = said(&[(0, "a"), (2, ":"), (4, ":"), (5, "b"), (5, ".")]);
    assert_eq!(heard(response.into_body()).await, expected);
}

/// C1: a client that leaves while nothing is said ends the call, before and after the head.
#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_in_a_silence_ends_the_call() {
    let (held, mut dropped) = tokio::sync::oneshot::channel::<()>();
    let asking = async move {
        let _held = held;
        std::future::pending::<()>().await;
        Ok(tonic::Response::new(stream::empty::<Message>().boxed()))
    };
    let config = config(15, 10);
    let context = CallContext::background(Duration::from_secs(3600));
    let mut body =
        respond(asking, Completions::new(Shape::Chat, false), &config, context).await.unwrap().into_body();
    for _ in 0..3 {
        body.frame().await.unwrap().unwrap();
        assert!(
            dropped.try_recv().is_err_and(|error| error == tokio::sync::oneshot::error::TryRecvError::Empty)
        );
    }
    drop(body);
    assert!(dropped.await.is_err());
}
