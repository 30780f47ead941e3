//! Responses that are kept: gone on from by their ids, given back, made while nobody waits, ended and deleted; and
//! what is another's, or came to nothing.

mod background;

use std::time::Duration;

use http::Method;
use penstock_proto::{
    auth::v1::CreateRequest,
    inference::v1::{
        CancelResponseRequest, DeleteResponseRequest, GenerateRequest, GetResponseRequest, ResponseStatus,
        ResponseTerms, StartResponseRequest, responses_client::ResponsesClient,
    },
};
use penstock_tests::{
    Answer, Client, Engine, Mesh, PROMPT_CANARY, Script, Service, Step, Topology, both,
    bounded::until,
    client::with,
    engine::End,
    grpc::{self, channel, create_key, keyed, reason},
    mesh::{Plan, one_model},
};
use serde_json::{Value, json};

const RESPONSES: &str = "/v1/responses";
const NEVER: &str = "resp_00000000000000000000000000000000";

fn asked(input: &str, members: Value) -> Value {
    with(json!({"model": "test-model", "input": input}), members)
}

fn path(id: &str) -> String {
    format!("{RESPONSES}/{id}")
}

async fn post(client: &Client, body: &Value) -> Answer {
    client.post(RESPONSES, body.to_string()).await
}

/// Asks for a response, which must come.
async fn create(client: &Client, body: &Value) -> Value {
    let answer = post(client, body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let response = answer.json();
    let id = response["id"].as_str().unwrap();
    assert!(id.starts_with("resp_") && id.len() == 5 + 32, "{id}");
    response
}

fn id(response: &Value) -> String {
    response["id"].as_str().unwrap().to_owned()
}

async fn get(client: &Client, id: &str) -> Value {
    let answer = client.get(&path(id)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

async fn delete(client: &Client, id: &str) -> Answer {
    client.request(Method::DELETE, &path(id), "").await
}

async fn cancel(client: &Client, id: &str) -> Answer {
    client.post(&format!("{}/cancel", path(id)), "").await
}

async fn items(client: &Client, id: &str, query: &str) -> Value {
    let answer = client.get(&format!("{}/input_items{query}", path(id))).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let page = answer.json();
    let data = page["data"].as_array().unwrap();
    assert_eq!(page["object"], "list");
    let id = |entry: Option<&Value>| entry.map_or(Value::Null, |entry| entry["id"].clone());
    assert_eq!((&page["first_id"], &page["last_id"]), (&id(data.first()), &id(data.last())));
    page
}

/// Asks for a response as a stream, which must come whole, and says what it was at the end.
async fn stream(client: &Client, body: Value) -> Value {
    let streamed = post(client, &with(body, json!({"stream": true}))).await;
    let text = String::from_utf8(streamed.body.to_vec()).unwrap();
    let last = text.lines().filter_map(|line| line.strip_prefix("data: ")).next_back().unwrap();
    let last: Value = serde_json::from_str(last).unwrap();
    assert_eq!(last["type"], "response.completed", "{text}");
    last["response"].clone()
}

/// A whole response without the moment at which it was whole: it is given out a moment after it is kept.
fn timeless(response: &Value) -> Value {
    assert!(response["completed_at"].as_i64() >= response["created_at"].as_i64(), "{response}");
    with(response.clone(), json!({"completed_at": null}))
}

/// Waits until a response has this status.
async fn reaches(client: &Client, id: &str, status: &str) -> Value {
    until(&format!("the response to be {status}"), async || {
        let response = get(client, id).await;
        (response["status"] == status).then_some(response)
    })
    .await
}

/// The roles and texts that reached the engine.
async fn heard(engine: &Engine, call: usize) -> Vec<(String, String)> {
    let body = engine.call(call).await.json();
    let messages = body["messages"].as_array().unwrap();
    let text = |value: &Value| value.as_str().map(str::to_owned).unwrap_or_default();
    messages.iter().map(|message| (text(&message["role"]), text(&message["content"]))).collect()
}

fn said(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(role, text)| ((*role).to_owned(), (*text).to_owned())).collect()
}

async fn another_tenant(mesh: &mut Mesh) -> Client {
    let request =
        CreateRequest { name: "b".into(), tenant: Some("other".into()), ..CreateRequest::default() };
    let made = create_key(mesh.address(Service::Auth), mesh.key(), request).await;
    mesh.keep_secret(&made.secret);
    mesh.anonymous().with_key(&made.secret)
}

both! {
    /// The engine hears the whole conversation, and of instructions only those of the request itself.
    async fn a_chain_of_three(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let client = mesh.client();
        for text in ["one", "two", "three"] {
            engine.next(Script::texts([text]));
        }
        let first = create(&client, &asked("1?", json!({"instructions": "be brief", "metadata": {"a": "1"}}))).await;
        let second = create(&client, &asked("2?", json!({"previous_response_id": id(&first)}))).await;
        let input = json!([{"role": "user", "content": "3?"}, {"role": "user", "content": "really"}]);
        let third = json!({"model": "test-model", "input": input, "instructions": "be kind",
            "previous_response_id": id(&second)});
        let third = create(&client, &third).await;
        assert_eq!(heard(&engine, 0).await, said(&[("system", "be brief"), ("user", "1?")]));
        assert_eq!(heard(&engine, 1).await, said(&[("user", "1?"), ("assistant", "one"), ("user", "2?")]));
        let whole = [("system", "be kind"), ("user", "1?"), ("assistant", "one"), ("user", "2?"),
            ("assistant", "two"), ("user", "3?"), ("user", "really")];
        assert_eq!(heard(&engine, 2).await, said(&whole));
        assert_eq!(third["previous_response_id"], second["id"]);
        assert_eq!((&third["instructions"], &second["instructions"]), (&json!("be kind"), &Value::Null));
        for response in [&first, &second, &third] {
            let kept = get(&client, &id(response)).await;
            assert_eq!(timeless(&kept), timeless(response), "what is kept is what was answered");
        }
        // What the third one answers, without its instructions, in pages of either order.
        let all = items(&client, &id(&third), "?order=asc").await;
        let texts = |page: &Value| -> Vec<Value> {
            page["data"].as_array().unwrap().iter().map(|item| item["content"][0]["text"].clone()).collect()
        };
        assert_eq!(texts(&all), ["1?", "one", "2?", "two", "3?", "really"]);
        let newest = items(&client, &id(&third), "?limit=2").await;
        assert_eq!((texts(&newest), &newest["has_more"]), (vec![json!("really"), json!("3?")], &json!(true)));
        let after = newest["last_id"].as_str().unwrap();
        let older = items(&client, &id(&third), &format!("?limit=4&after={after}")).await;
        assert_eq!((texts(&older).len(), &older["has_more"]), (4, &json!(false)));
        for (query, field) in [("limit=0", "limit"), ("after=x", "after"), ("order=up", "order"), ("b=1", "b")] {
            let wrong = client.get(&format!("{}/input_items?{query}", path(&id(&third)))).await;
            assert_eq!(wrong.problem(422, "invalid_value")["error"]["param"], field);
        }
    }
}

both! {
    /// Calls and what they gave back are gone on from as what they are.
    async fn a_tool_in_two_turns(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let client = mesh.client();
        let call = json!({"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}});
        engine.next(Script::steps([
            Step::Delta(json!({"role": "assistant", "content": null, "tool_calls": [call]})),
            Step::Finish("tool_calls"), Step::Usage, Step::Done,
        ]));
        let tools = json!([{"type": "function", "name": "f", "parameters": {"type": "object"}}]);
        let first = stream(&client, asked("?", json!({"tools": tools}))).await;
        let called = &first["output"][0];
        assert_eq!((&called["type"], &called["call_id"]), (&json!("function_call"), &json!("c1")));
        let output = json!([{"type": "function_call_output", "call_id": "c1", "output": "42"}]);
        let second = json!({"model": "test-model", "input": output, "previous_response_id": id(&first), "tools": tools});
        create(&client, &second).await;
        let sent = engine.call(1).await.json();
        let messages = sent["messages"].as_array().unwrap();
        assert_eq!(messages.len(), 3, "{sent}");
        assert_eq!(messages[1]["tool_calls"][0]["id"], "c1");
        assert_eq!((&messages[2]["role"], &messages[2]["tool_call_id"], &messages[2]["content"]),
            (&json!("tool"), &json!("c1"), &json!("42")));
        // The same by naming the call, without the rest of the conversation; and beside it, where it is not doubled.
        let named = json!([{"type": "item_reference", "id": called["id"]}, output[0]]);
        for (call, previous, expected) in [(2, Value::Null, 2), (3, json!(id(&first)), 3)] {
            let body = json!({"model": "test-model", "input": named, "previous_response_id": previous, "tools": tools});
            create(&client, &body).await;
            let sent = engine.call(call).await.json();
            assert_eq!(sent["messages"].as_array().unwrap().len(), expected, "{sent}");
        }
        let gone = called["id"].as_str().unwrap().replace("fc_", "msg_");
        let wrong = json!({"model": "test-model", "input": [output[0], {"type": "item_reference", "id": gone}]});
        let missing = post(&client, &wrong).await.problem(404, "not_found");
        assert_eq!(missing["error"]["param"], "input[1].id");
        assert_eq!(engine.calls().len(), 4);
    }
}

both! {
    /// A11: an id is short and what it names may be long, so it may not be named as often as a body holds it.
    async fn what_is_named_again_and_again_is_refused(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let client = mesh.client();
        engine.next(Script::texts(["x".repeat(100_000)]));
        let long = id(&create(&client, &asked("?", json!({}))).await).replace("resp_", "msg_");
        let named = |times: usize| {
            let item = json!({"type": "item_reference", "id": format!("{long}_0")});
            json!({"model": "test-model", "input": vec![item; times]})
        };
        let wrong = post(&client, &named(1024)).await;
        assert_eq!(wrong.status, 413, "{wrong:?}");
        // Beside the whole conversation it is said once, however often it is named.
        let previous = json!({"previous_response_id": long.replace("msg_", "resp_")});
        create(&client, &with(named(1024), previous.clone())).await;
        let wrong = post(&client, &with(named(1025), previous)).await.problem(422, "invalid_value");
        assert_eq!(wrong["error"]["param"], "input[1024].id");
        assert_eq!(engine.calls().len(), 2);
    }
}

both! {
    async fn what_was_streamed_is_what_is_kept(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let client = mesh.client();
        let response = stream(&client, asked("?", json!({}))).await;
        assert_eq!(timeless(&get(&client, &id(&response)).await), timeless(&response));
        let replay = client.get(&format!("{}?stream=true&starting_after=2", path(&id(&response)))).await;
        assert!(replay.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream")));
        let replay = String::from_utf8(replay.body.to_vec()).unwrap();
        let numbered: Vec<Value> = replay.lines().filter_map(|line| line.strip_prefix("data: "))
            .map(|data| serde_json::from_str(data).unwrap()).collect();
        assert_eq!(numbered[0]["sequence_number"], 3, "{replay}");
        assert_eq!(timeless(&numbered.last().unwrap()["response"]), timeless(&response));
        let next = asked("and?", json!({"previous_response_id": id(&response)}));
        create(&client, &next).await;
        let whole = [("user", "?"), ("assistant", "Hello, world!"), ("user", "and?")];
        assert_eq!(heard(&engine, 1).await, said(&whole));
    }
}

both! {
    /// B10: what is another's is as what never was. What is deleted, or was not to be kept, is not there either.
    async fn what_is_not_there_for_this_caller(topology: Topology) {
        let engine = Engine::start().await;
        let mut mesh = Mesh::over(topology, &engine, "").await;
        let client = mesh.client();
        let mine = id(&create(&client, &asked("?", json!({}))).await);
        let other = another_tenant(&mut mesh).await;
        let told = async |client: &Client, id: &str| {
            let go_on = post(client, &asked("?", json!({"previous_response_id": id}))).await;
            let item = json!([{"type": "item_reference", "id": format!("{}_0", id.replace("resp_", "msg_"))}]);
            let named = post(client, &json!({"model": "test-model", "input": item})).await;
            let answers = [
                client.get(&path(id)).await, delete(client, id).await, cancel(client, id).await,
                client.get(&format!("{}/input_items", path(id))).await, go_on, named,
            ];
            let errors = answers.iter().map(|answer| answer.problem(404, "not_found")["error"].to_string());
            errors.map(|error| error.replace(id.trim_start_matches("resp_"), "…")).collect::<Vec<_>>()
        };
        let never = told(&client, NEVER).await;
        assert!(never[4].contains("Previous response with id 'resp_…' not found."), "{never:?}");
        assert!(never[4].contains("\"previous_response_id\"") && never[5].contains("input[0].id"), "{never:?}");
        assert_eq!(told(&other, &mine).await, never);
        for nobody in [mesh.anonymous(), mesh.anonymous().with_key("sk-penstock-nobody")] {
            nobody.get(&path(&mine)).await.problem(401, "invalid_api_key");
            delete(&nobody, &mine).await.problem(401, "invalid_api_key");
        }
        cancel(&client, &mine).await.problem(400, "bad_request");
        let gone = delete(&client, &mine).await;
        assert_eq!(gone.json(), json!({"id": mine, "object": "response", "deleted": true}));
        let unkept = create(&client, &asked("?", json!({"store": false}))).await;
        assert_eq!(unkept["store"], false);
        for id in [mine, id(&unkept)] {
            assert_eq!(told(&client, &id).await, never);
        }
        assert_eq!(engine.calls().len(), 2, "nobody asked an engine what it could not know");
    }
}

both! {
    /// A3, G8: a conversation does not grow beyond what a request may be.
    async fn a_conversation_that_has_become_too_large(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "[facade]\nbody_max_bytes = \"64 KiB\"\n").await;
        let client = mesh.client();
        let long = "x".repeat(40 << 10);
        let first = create(&client, &asked(&long, json!({}))).await;
        let second = post(&client, &asked(&long, json!({"previous_response_id": id(&first)}))).await;
        second.problem(413, "request_too_large");
        create(&client, &asked("short", json!({"previous_response_id": id(&first)}))).await;
        assert_eq!(engine.calls().len(), 2);
    }
}

both! {
    /// C11: an answer that was not whole is no response to go on from.
    async fn a_cut_answer_is_never_kept(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let client = mesh.client();
        engine.next(Script::broken(["Hello"], Step::Cut));
        post(&client, &asked("?", json!({}))).await.problem(502, "engine_cut");
        let metrics = mesh.metrics(Service::Cache).await;
        assert!(metrics.contains("penstock_objects 0"), "{metrics}");
    }
}

both! {
    async fn what_is_too_old_is_gone(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "[cache]\nobjects_ttl = \"1s\"\nobjects = \"memory\"\n").await;
        let client = mesh.client();
        let old = id(&create(&client, &asked("?", json!({}))).await);
        until("its time to be up", async || (client.get(&path(&old)).await.status == 404).then_some(())).await;
        let go_on = post(&client, &asked("?", json!({"previous_response_id": old}))).await;
        go_on.problem(404, "not_found");
        assert_eq!(engine.calls().len(), 1);
    }
}

both! {
    /// The same by gRPC, at the router and at the facade's port.
    async fn the_whole_life_by_grpc(topology: Topology) {
        let engine = Engine::playing(Script::gated(["Hello"])).await;
        let mesh = Mesh::over(topology, &engine, "").await;
        for (call, address) in [mesh.grpc(), mesh.address(Service::Facade)].into_iter().enumerate() {
            let mut client = ResponsesClient::new(channel(address).await);
            let terms = Some(ResponseTerms::default());
            let mut request = grpc::chat("test-alias");
            (request.store, request.response) = (Some(true), terms);
            let unkept = StartResponseRequest { request: Some(GenerateRequest {
                store: None, ..request.clone()
            }) };
            assert_eq!(reason(&client.start(keyed(mesh.key(), unkept)).await.unwrap_err()), "INVALID_REQUEST");
            let start = StartResponseRequest { request: Some(request) };
            assert_eq!(reason(&client.start(start.clone()).await.unwrap_err()), "INVALID_API_KEY");
            let begun = client.start(keyed(mesh.key(), start)).await.unwrap();
            assert!(begun.metadata().contains_key("x-penstock-decision"));
            let begun = begun.into_inner().response.unwrap();
            assert_eq!((begun.status(), begun.background), (ResponseStatus::InProgress, true));
            assert!(begun.request.as_ref().is_some_and(|request| request.input.is_none()));
            engine.call(call).await;
            engine.open(2);
            let get = GetResponseRequest { id: begun.id.clone(), without_input: false };
            let made = until("the response to be made", async || {
                let got = client.get(keyed(mesh.key(), get.clone())).await.unwrap().into_inner().response.unwrap();
                (got.status() == ResponseStatus::Completed).then_some(got)
            })
            .await;
            let request = made.request.unwrap();
            assert_eq!(request.model, "test-model", "under its registered name");
            assert_eq!(request.input, grpc::chat("test-alias").input);
            assert_eq!(made.answer.unwrap().id, begun.id);
            let cancel = CancelResponseRequest { id: begun.id.clone() };
            let kept = client.cancel(keyed(mesh.key(), cancel)).await.unwrap().into_inner().response.unwrap();
            assert_eq!(kept.status(), ResponseStatus::Completed);
            let delete = DeleteResponseRequest { id: begun.id };
            client.delete(keyed(mesh.key(), delete.clone())).await.unwrap();
            assert_eq!(reason(&client.delete(keyed(mesh.key(), delete)).await.unwrap_err()), "NOT_FOUND");
        }
    }
}

/// E10: a response that cannot be kept is not begun, and says so; one that somebody waits for goes out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_store_nothing_is_begun() {
    let engine = Engine::start().await;
    let mut mesh = Mesh::over(Topology::Mesh, &engine, "").await;
    let client = mesh.client();
    let kept = id(&create(&client, &asked("?", json!({}))).await);
    mesh.kill(Service::Cache);
    let refused = post(&client, &asked("?", json!({"background": true}))).await;
    refused.problem(503, "service_unavailable");
    let go_on = post(&client, &asked("?", json!({"previous_response_id": kept}))).await;
    go_on.problem(503, "service_unavailable");
    client.get(&path(&kept)).await.problem(503, "service_unavailable");
    assert_eq!(engine.calls().len(), 1, "nobody is asked for what would be lost");
    let answer = create(&client, &asked(PROMPT_CANARY, json!({}))).await;
    assert_eq!(answer["status"], "completed");
}
