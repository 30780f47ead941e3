//! REST equals gRPC: each case of `fixtures/golden` is asked for by each API and by gRPC, plainly and as a stream,
//! and all must say the same. What was said by REST stands in a transcript beside the case, so that a
//! change of the wire is seen in review. `PENSTOCK_GOLDEN=write` writes the transcripts anew.

mod faces;

use std::fs;

use penstock_proto::{Reason, inference::v1::GenerateChunk};
use penstock_tests::{
    Engine, Mesh, Topology, both,
    bounded::within,
    contract,
    exact::Json,
    golden::{self, Case},
    grpc::{inference, keyed, reason},
};
use tonic::Status;
use tonic_types::StatusExt as _;

/// What a caller by gRPC got: chunks, and an error if it was none that is whole.
struct ByGrpc {
    chunks: Vec<GenerateChunk>,
    error: Option<Status>,
}

/// What a caller by REST got: events or one answer, and an error if there was one.
struct ByRest {
    status: u16,
    said: Vec<Json>,
    done: bool,
    error: Option<Json>,
}

async fn by_grpc(mesh: &Mesh, request: &Json) -> ByGrpc {
    let mut grpc = inference(mesh.grpc()).await;
    let call = grpc.generate(keyed(mesh.key(), contract::request(request)));
    let mut answer = match within("Generate", call).await {
        Ok(answer) => answer.into_inner(),
        Err(error) => return ByGrpc { chunks: Vec::new(), error: Some(error) },
    };
    let mut chunks = Vec::new();
    loop {
        match within("a message or the end", answer.message()).await {
            Ok(Some(message)) => chunks.extend(message.chunks),
            Ok(None) => return ByGrpc { chunks, error: None },
            Err(error) => return ByGrpc { chunks, error: Some(error) },
        }
    }
}

async fn by_rest(mesh: &Mesh, request: &Json) -> ByRest {
    let pending = mesh.client().send(http::Method::POST, "/v1/chat/completions", request.to_string()).await;
    let events = pending.head().await;
    let status = events.status;
    let streamed = events.headers["content-type"].to_str().unwrap().starts_with("text/event-stream");
    if !streamed {
        let answer = Json::parse(std::str::from_utf8(&events.whole().await.body).unwrap());
        let error = (status != 200).then(|| answer.clone());
        return ByRest { status, said: vec![answer], done: error.is_none(), error };
    }
    let mut said = events.rest().await;
    let done = said.last().is_some_and(|last| last == "[DONE]");
    said.truncate(said.len() - usize::from(done));
    let mut said: Vec<Json> = said.iter().map(|event| Json::parse(event)).collect();
    let error = said.pop_if(|last| *last.get("error") != Json::Null);
    ByRest { status, said, done, error }
}

/// The same verdict: reason, message, and every field that is wrong.
fn compare_errors(rest: &ByRest, grpc: &ByGrpc) {
    let (Some(by_rest), Some(by_grpc)) = (&rest.error, &grpc.error) else {
        assert!(
            rest.error.is_none() && grpc.error.is_none(),
            "by REST {:?}, by gRPC {:?}",
            rest.error,
            grpc.error
        );
        return;
    };
    let reason = Reason::parse(&reason(by_grpc)).expect("a reason of the table");
    let error = by_rest.get("error");
    assert_eq!(error.get("code").as_text(), reason.openai_code(), "{by_rest} / {by_grpc:?}");
    assert_eq!(error.get("message").as_text(), Some(by_grpc.message()), "{by_rest}");
    if rest.status != 200 {
        assert_eq!(rest.status, reason.http_status(), "{by_rest}");
        let details = by_grpc.get_error_details();
        let by_grpc: Vec<_> =
            details.bad_request().into_iter().flat_map(|found| &found.field_violations).collect();
        let by_grpc: Vec<_> =
            by_grpc.iter().map(|one| (one.field.as_str(), one.description.as_str())).collect();
        let text = |one: &'_ Json, name: &str| one.get(name).as_text().unwrap().to_owned();
        let by_rest: Vec<_> = by_rest
            .get("errors")
            .items()
            .iter()
            .map(|one| (text(one, "field"), text(one, "message")))
            .collect();
        let by_rest: Vec<_> =
            by_rest.iter().map(|(field, message)| (field.as_str(), message.as_str())).collect();
        assert_eq!(by_rest, by_grpc, "the same violations");
    }
}

fn assert_same(one: &Json, other: &Json, what: &str) {
    let (one, other) = (golden::settled(one), golden::settled(other));
    assert!(one.says_the_same(&other), "{what}:\n{one}\n{other}");
}

/// A plain answer as it is compared with the sum of a stream: no text is no text, in whatever way.
fn bare(answer: &Json, with_usage: bool) -> Json {
    let mut answer = answer.clone();
    answer.take("object");
    if !with_usage {
        answer.take("usage");
    }
    if let Json::List(mut choices) = answer.take("choices") {
        for choice in &mut choices {
            let mut message = choice.take("message");
            for name in ["content", "refusal"] {
                if message.get(name).as_text() == Some("") {
                    message.take(name);
                }
            }
            choice.set("message", message);
        }
        answer.set("choices", Json::List(choices));
    }
    answer
}

async fn play(case: &Case, mesh: &Mesh, engine: &Engine) -> String {
    let mut transcript = String::new();
    let mut answers = Vec::new();
    for stream in [false, true] {
        let request = case.asking(stream);
        let so_far = engine.calls().len();
        engine.always(case.script(stream));
        let rest = by_rest(mesh, &request).await;
        let grpc = by_grpc(mesh, &request).await;
        let asked: Vec<_> = engine.calls()[so_far..].iter().map(|call| call.body.clone()).collect();
        assert!(asked.iter().all(|body| *body == asked[0]), "both ask the engine the same: {asked:?}");
        compare_errors(&rest, &grpc);
        if rest.error.is_none() || stream {
            assert!(rest.done || rest.error.is_some(), "an end without [DONE] and without an error");
            assert!(!(stream && rest.done && rest.error.is_some()), "[DONE] after an error");
            let object = if stream { "chat.completion.chunk" } else { "chat.completion" };
            let said: Vec<_> = rest.said.iter().filter(|_| rest.status == 200).cloned().collect();
            let content = if stream { "delta" } else { "message" };
            let by_grpc: Vec<_> = grpc.chunks.iter().map(|chunk| contract::chunk(chunk, content)).collect();
            assert_eq!(said.len(), by_grpc.len(), "as many chunks:\n{said:#?}\n{by_grpc:#?}");
            for (mut by_rest, by_grpc) in said.into_iter().zip(by_grpc) {
                assert_eq!(by_rest.take("object").as_text(), Some(object));
                assert_same(&by_rest, &by_grpc, "by REST and by gRPC");
            }
            let ids: Vec<_> = rest.said.iter().map(|chunk| (chunk.get("id"), chunk.get("created"))).collect();
            assert!(ids.iter().all(|one| *one == ids[0]), "one id and one time throughout: {ids:?}");
        }
        if let Some(body) = asked.first() {
            transcript += &format!("== The engine is asked\n{}\n", String::from_utf8_lossy(body));
        }
        transcript +=
            &format!("== {}: {}\n", if stream { "A stream" } else { "A plain answer" }, rest.status);
        for said in rest.said.iter().chain(rest.error.iter().filter(|_| stream && rest.status == 200)) {
            transcript += &format!("{}\n", golden::settled(said));
        }
        if stream && rest.status == 200 {
            transcript += if rest.done { "[DONE]\n" } else { "(no [DONE])\n" };
        }
        if let Some(error) = &grpc.error {
            transcript += &format!("by gRPC: {:?} {}\n", error.code(), reason(error));
        }
        answers.push(rest);
    }
    let [plain, stream] = &answers[..] else { panic!("two answers") };
    if plain.error.is_none() && stream.error.is_none() {
        let usage = case.wants_usage();
        let sum = golden::sum(&stream.said);
        assert_same(
            &bare(&plain.said[0], usage),
            &bare(&sum, usage),
            "a plain answer and the sum of its stream",
        );
    }
    transcript
}

both! {
    async fn by_every_api_and_by_grpc_the_same_is_said(topology: Topology) {
        let engine = Engine::start().await;
        // An answer from the cache would hide what the engine said, and so would a breaker or a spent budget.
        let settings = "[router]\ncache_mode = \"off\"\nretry_budget_min = 10_000\n\
            [inference_adapter.breaker]\nminimum_calls = 1_000_000\n";
        let mesh = Mesh::over(topology, &engine, settings).await;
        let write = std::env::var("PENSTOCK_GOLDEN").is_ok_and(|value| value == "write");
        let mut changed = Vec::new();
        for case in golden::cases() {
            #[allow(clippy::print_stdout)] // which case it was, if one of them panics
            { println!("{}", case.name); }
            let mut transcript = play(&case, &mesh, &engine).await;
            transcript += &faces::play(&case, &mesh, &engine).await;
            let file = golden::folder().join(format!("{}.transcript", case.name));
            let known = fs::read_to_string(&file).unwrap_or_default();
            if write && topology == Topology::Standalone {
                fs::write(&file, transcript).unwrap();
            } else if known != transcript {
                changed.push(format!("{}\n--- known\n{known}--- now\n{transcript}", case.name));
            }
        }
        let remedy = "look at the difference; PENSTOCK_GOLDEN=write keeps it";
        assert!(changed.is_empty(), "{remedy}\n{}", changed.join("\n"));
    }
}
