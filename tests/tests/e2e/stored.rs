//! Stored completions: what `store` keeps, for whom, for how long, and what is never kept.

use http::Method;
use penstock_proto::{
    auth::v1::CreateRequest,
    inference::v1::{
        DeleteStoredCompletionRequest, GetStoredCompletionRequest, ListStoredCompletionsRequest,
        ListStoredMessagesRequest, Metadata, MetadataPair, UpdateStoredCompletionRequest, message::Content,
        stored_completions_client::StoredCompletionsClient,
    },
};
use penstock_tests::{
    Answer, Client, Engine, Mesh, PROMPT_CANARY, Script, Service, Step, Topology, both,
    bounded::until,
    client::{chat, with},
    grpc::{self, channel, create_key, inference, keyed, reason},
};
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";

fn stored(members: Value) -> Value {
    with(with(chat("test-model"), json!({"store": true})), members)
}

fn path(id: &str) -> String {
    format!("{CHAT}/{id}")
}

/// Stores an answer and says its id.
async fn store(client: &Client, members: Value) -> String {
    let answer = client.chat(&stored(members)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    id_of(&answer.json())
}

fn id_of(answer: &Value) -> String {
    answer["id"].as_str().unwrap().to_owned()
}

/// The ids of a list, in its order.
async fn list(client: &Client, query: &str) -> Vec<String> {
    let page = page(client, &format!("{CHAT}{query}")).await;
    page["data"].as_array().unwrap().iter().map(id_of).collect()
}

async fn page(client: &Client, path: &str) -> Value {
    let answer = client.get(path).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let page = answer.json();
    let data = page["data"].as_array().unwrap();
    assert_eq!(page["object"], "list");
    let id = |entry: Option<&Value>| entry.map_or(Value::Null, |entry| entry["id"].clone());
    assert_eq!((&page["first_id"], &page["last_id"]), (&id(data.first()), &id(data.last())));
    page
}

async fn update(client: &Client, id: &str, body: Value) -> Answer {
    client.post(&path(id), body.to_string()).await
}

async fn delete(client: &Client, id: &str) -> Answer {
    client.request(Method::DELETE, &path(id), "").await
}

/// What a stored completion has of the answer that was given.
fn answer_in(stored: &Value) -> Value {
    let members = ["id", "object", "created", "model", "choices", "usage", "system_fingerprint"];
    members.into_iter().map(|member| (member.to_owned(), stored[member].clone())).collect()
}

both! {
    async fn the_whole_life_by_rest(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let client = mesh.client();
        let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "x": 1}}]);
        let asked = stored(json!({
            "metadata": {"b": "1", "a": "2"}, "temperature": 0.5, "seed": 7, "tools": tools, "user": "someone",
            "response_format": {"type": "text"}, "tool_choice": "auto",
        }));
        let given = client.chat(&asked).await;
        assert_eq!(given.text(), "Hello, world!");
        let (id, given) = (id_of(&given.json()), given.json());
        assert!(id.starts_with("chatcmpl-") && !id.contains("scripted"), "{id}");
        let sent: Value = serde_json::from_slice(&engine.call(0).await.body).unwrap();
        assert!(sent.get("store").is_none() && sent.get("metadata").is_none(), "{sent}");

        // At once: it was stored before the end of the answer.
        let got = client.get(&path(&id)).await;
        assert_eq!(got.status, 200, "{got:?}");
        let got = got.json();
        assert_eq!(answer_in(&got), answer_in(&given));
        assert_eq!(got["metadata"], json!({"b": "1", "a": "2"}));
        let parameters = json!({
            "temperature": 0.5, "top_p": null, "seed": 7, "presence_penalty": null, "frequency_penalty": null,
            "tools": tools, "tool_choice": "auto", "response_format": {"type": "text"}, "input_user": "someone",
            "service_tier": null,
        });
        for (name, value) in parameters.as_object().unwrap() {
            assert_eq!(got.get(name), Some(value), "{name}");
        }
        assert!(got["request_id"].as_str().is_some_and(|id| !id.is_empty()));
        assert!(got.get("messages").is_none());

        let updated = update(&client, &id, json!({"metadata": {"c": "3"}})).await.json();
        assert_eq!(updated["metadata"], json!({"c": "3"}));
        assert_eq!(with(updated, json!({"metadata": {}})), with(got, json!({"metadata": {}})));
        assert_eq!(list(&client, "?metadata%5Bc%5D=3").await, [id.as_str()]);
        assert_eq!(list(&client, "?metadata[a]=2").await, Vec::<String>::new());
        let cleared = update(&client, &id, json!({"metadata": null})).await.json();
        assert_eq!(cleared["metadata"], json!({}));

        let gone = delete(&client, &id).await;
        assert_eq!(gone.json(), json!({"object": "chat.completion.deleted", "id": id, "deleted": true}));
        for answer in [client.get(&path(&id)).await, delete(&client, &id).await,
            update(&client, &id, json!({"metadata": {}})).await, client.get(&format!("{}/messages", path(&id))).await] {
            answer.problem(404, "not_found");
        }
        assert_eq!(list(&client, "").await, Vec::<String>::new());
        // Nothing is stored that nobody asked to store.
        for body in [chat("test-model"), with(chat("test-model"), json!({"store": false, "metadata": {"a": "1"}}))] {
            assert_eq!(client.chat(&body).await.status, 200);
        }
        assert_eq!(list(&client, "").await, Vec::<String>::new());
    }
}

both! {
    async fn lists_have_pages_an_order_and_filters(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let client = mesh.client();
        let mut ids = Vec::new();
        for n in 0..5 {
            ids.push(store(&client, json!({"metadata": {"n": n.to_string(), "odd": (n % 2).to_string()}})).await);
        }
        let reversed: Vec<_> = ids.iter().rev().cloned().collect();
        assert_eq!((list(&client, "").await, list(&client, "?order=desc").await), (ids.clone(), reversed));
        let first = page(&client, &format!("{CHAT}?limit=2")).await;
        assert_eq!(first["has_more"], true);
        assert_eq!(list(&client, &format!("?limit=2&after={}", ids[1])).await, ids[2..4]);
        let last = page(&client, &format!("{CHAT}?limit=2&after={}", ids[3])).await;
        assert_eq!((last["has_more"].clone(), last["data"].as_array().unwrap().len()), (json!(false), 1));
        assert_eq!(list(&client, "?metadata[odd]=1").await, [ids[1].clone(), ids[3].clone()]);
        assert_eq!(list(&client, "?metadata[odd]=1&metadata[n]=3&order=desc").await, [ids[3].clone()]);
        assert_eq!(list(&client, "?model=test-model&limit=100").await.len(), 5);
        assert_eq!(list(&client, "?model=test-alias").await.len(), 5, "an alias is its model");
        assert_eq!(list(&client, "?model=other").await.len(), 0);
    }
}

both! {
    async fn messages_are_given_as_they_were_asked(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let client = mesh.client();
        let parts = json!([{"type": "text", "text": PROMPT_CANARY, "own": {"b": 1, "a": [null]}},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}}]);
        let call = json!({"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}});
        let messages = json!([
            {"role": "system", "content": "be brief"}, {"role": "user", "content": parts, "name": "n"},
            {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "content": "42", "tool_call_id": "c1"},
        ]);
        let id = store(&client, json!({"messages": messages})).await;
        let of = |query: &str| format!("{}/messages{query}", path(&id));
        let all = page(&client, &of("")).await;
        let data = all["data"].as_array().unwrap();
        assert_eq!((data.len(), &all["has_more"]), (4, &json!(false)));
        for (index, message) in data.iter().enumerate() {
            assert_eq!(message["id"], json!(format!("{id}-{index}")));
        }
        assert_eq!((&data[0]["content"], &data[0]["content_parts"]), (&json!("be brief"), &Value::Null));
        assert_eq!((&data[1]["content"], &data[1]["content_parts"]), (&Value::Null, &parts));
        assert_eq!((&data[1]["name"], &data[2]["tool_calls"]), (&json!("n"), &json!([call])));
        assert_eq!((&data[3]["content"], &data[3]["tool_call_id"]), (&json!("42"), &json!("c1")));
        let some = page(&client, &of(&format!("?limit=2&order=desc&after={id}-3"))).await;
        assert_eq!((&some["first_id"], &some["last_id"]), (&json!(format!("{id}-2")), &json!(format!("{id}-1"))));
        assert_eq!(some["has_more"], true);
        let unknown = client.get(&of("?after=x")).await.problem(422, "invalid_value");
        assert_eq!(unknown["error"]["param"], "after");
    }
}

both! {
    /// A stream is kept as the plain answer would have been.
    async fn a_streamed_answer_is_stored_as_a_plain_one(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let client = mesh.client();
        let call = |arguments: &str| json!({"index": 0, "function": {"arguments": arguments}});
        let begun = json!({"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":"}});
        let calls = || Script::steps([
            Step::Delta(json!({"role": "assistant", "content": ""})), Step::Text("Let me see".into()),
            Step::Delta(json!({"tool_calls": [begun]})), Step::Delta(json!({"tool_calls": [call("1")]})),
            Step::Delta(json!({"tool_calls": [call("}")]})), Step::Finish("tool_calls"), Step::Usage, Step::Done,
        ]);
        for has_calls in [false, true] {
            engine.next(if has_calls { calls() } else { Script::default() });
            let events = client.stream(&stored(json!({}))).await.rest().await;
            assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
            let chunks: Vec<Value> =
                events[..events.len() - 1].iter().map(|event| serde_json::from_str(event).unwrap()).collect();
            let id = id_of(&chunks[0]);
            let same = |chunk: &Value| (&chunk["id"], &chunk["created"]) == (&chunks[0]["id"], &chunks[0]["created"]);
            assert!(id.starts_with("chatcmpl-") && !id.contains("scripted") && chunks.iter().all(same), "{chunks:?}");
            assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()), "hidden as ever");
            let got = client.get(&path(&id)).await.json();
            assert_eq!((&got["created"], &got["usage"]["prompt_tokens"]), (&chunks[0]["created"], &json!(7)));
            let choice = &got["choices"][0];
            let text: String =
                chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
            assert_eq!(choice["message"]["content"], text);
            if has_calls {
                let whole = json!([{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]);
                assert_eq!((&choice["message"]["tool_calls"], &choice["finish_reason"]), (&whole, &json!("tool_calls")));
            } else {
                // The very same as the one that was asked for plain, but for its name.
                let plain = client.get(&path(&store(&client, json!({})).await)).await.json();
                let nameless = |stored: &Value| with(answer_in(stored), json!({"id": 0, "created": 0}));
                assert_eq!(nameless(&got), nameless(&plain));
            }
        }
    }
}

both! {
    async fn the_whole_life_by_grpc(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let pair = |key: &str, value: &str| MetadataPair { key: key.into(), value: value.into() };
        let metadata = |pairs: Vec<MetadataPair>| Some(Metadata { pairs });
        let mut request = grpc::chat("test-model");
        (request.store, request.metadata, request.stream) = (Some(true), metadata(vec![pair("a", "1")]), true);
        let mut generating = inference(mesh.grpc()).await;
        let mut answer = generating.generate(keyed(mesh.key(), request)).await.unwrap().into_inner();
        let mut ids = Vec::new();
        while let Some(message) = answer.message().await.unwrap() {
            ids.extend(message.chunks.into_iter().map(|chunk| chunk.id));
        }
        ids.dedup();
        let id = ids.pop().unwrap();
        assert!(ids.is_empty(), "one id: {ids:?}");
        // By the facade's port, too: it passes the service on.
        for address in [mesh.grpc(), mesh.address(Service::Facade)] {
            let mut client = StoredCompletionsClient::new(channel(address).await);
            let got = client.get(keyed(mesh.key(), GetStoredCompletionRequest { id: id.clone() })).await.unwrap();
            let got = got.into_inner().completion.unwrap();
            assert_eq!((&got.id, &got.metadata), (&id, &metadata(vec![pair("a", "1")])));
            let delta = got.answer.unwrap().choices.remove(0).delta.unwrap();
            assert_eq!(delta.content.as_deref(), Some("Hello, world!"));
            assert!(got.request.unwrap().input.is_none() && got.lossy.is_empty());
            let filter = ListStoredCompletionsRequest { metadata: got.metadata, ..ListStoredCompletionsRequest::default() };
            let page = client.list(keyed(mesh.key(), filter)).await.unwrap().into_inner();
            assert_eq!((page.completions.len(), page.has_more), (1, false));
            let messages = ListStoredMessagesRequest { id: id.clone(), ..ListStoredMessagesRequest::default() };
            let messages = client.list_messages(keyed(mesh.key(), messages)).await.unwrap().into_inner().messages;
            let content = messages[0].message.as_ref().unwrap().content.clone();
            assert_eq!(content, Some(Content::Text(format!("{PROMPT_CANARY} hello"))));
        }
        let mut client = StoredCompletionsClient::new(channel(mesh.grpc()).await);
        let update = UpdateStoredCompletionRequest { id: id.clone(), metadata: metadata(vec![pair("b", "2")]) };
        let updated = client.update(keyed(mesh.key(), update)).await.unwrap().into_inner().completion.unwrap();
        assert_eq!(updated.metadata, metadata(vec![pair("b", "2")]));
        let refused = client.get(GetStoredCompletionRequest { id: id.clone() }).await.unwrap_err();
        assert_eq!(reason(&refused), "INVALID_API_KEY");
        let twice = UpdateStoredCompletionRequest { id: id.clone(), metadata: metadata(vec![pair("b", ""), pair("b", "")]) };
        assert_eq!(reason(&client.update(keyed(mesh.key(), twice)).await.unwrap_err()), "INVALID_REQUEST");
        let delete = DeleteStoredCompletionRequest { id };
        client.delete(keyed(mesh.key(), delete.clone())).await.unwrap();
        assert_eq!(reason(&client.delete(keyed(mesh.key(), delete)).await.unwrap_err()), "NOT_FOUND");
    }
}

both! {
    /// B10: what is another's is as what never was.
    async fn another_tenant_finds_nothing(topology: Topology) {
        let engine = Engine::start().await;
        let mut mesh = Mesh::over(topology, &engine, "").await;
        let mine = mesh.client();
        let id = store(&mine, json!({"metadata": {"a": "1"}})).await;
        let request = CreateRequest { name: "b".into(), tenant: Some("other".into()), ..CreateRequest::default() };
        let made = create_key(mesh.address(Service::Auth), mesh.key(), request).await;
        mesh.keep_secret(&made.secret);
        let other = mesh.anonymous().with_key(&made.secret);
        let never = "chatcmpl-00000000000000000000000000000000";
        assert_eq!(list(&other, "").await, Vec::<String>::new());
        let by = async |client: &Client, id: &str| {
            let cursor = client.get(&format!("{CHAT}?after={id}")).await.problem(422, "invalid_value");
            let answers = [
                client.get(&path(id)).await, delete(client, id).await,
                update(client, id, json!({"metadata": {}})).await, client.get(&format!("{}/messages", path(id))).await,
            ];
            let said = answers.iter().map(|answer| answer.problem(404, "not_found")["error"].clone());
            said.chain([cursor["error"].clone()]).collect::<Vec<_>>()
        };
        assert_eq!(by(&other, &id).await, by(&other, never).await);
        for client in [mesh.anonymous(), mesh.anonymous().with_key("sk-penstock-nobody")] {
            client.get(&path(&id)).await.problem(401, "invalid_api_key");
            client.get(CHAT).await.problem(401, "invalid_api_key");
            delete(&client, &id).await.problem(401, "invalid_api_key");
        }
        assert_eq!(list(&mine, "").await, [id]);
    }
}

both! {
    /// C8, C11: what was not whole is never kept, nor what was never answered.
    async fn a_cut_answer_is_never_stored(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let client = mesh.client();
        engine.next(Script::broken(["Hello"], Step::Cut));
        let events = client.stream(&stored(json!({}))).await.rest().await;
        assert!(events.last().unwrap().contains("engine_cut"), "{events:?}");
        engine.next(Script::broken(["Hello"], Step::Cut));
        client.chat(&stored(json!({}))).await.problem(502, "engine_cut");
        engine.next(Script::status(400));
        assert_eq!(client.chat(&stored(json!({}))).await.status, 400);
        engine.next(Script::broken(["Hello"], Step::Stall));
        let mut events = client.stream(&stored(json!({}))).await;
        events.next_text().await;
        events.hang_up();
        engine.call(3).await.ended().await;
        // Stored after all that: if any of it were there, it would come first.
        let id = store(&client, json!({})).await;
        assert_eq!(list(&client, "").await, [id]);
    }
}

both! {
    /// A hit of the cache is an answer of its own: with a name of its own.
    async fn a_hit_is_stored_under_another_id(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let client = mesh.client();
        let asked = stored(json!({"temperature": 0}));
        let first = id_of(&client.chat(&asked).await.json());
        let only = client.clone().with_header("cache-control", "only-if-cached");
        let hit = until("the answer to be in the cache", async || {
            let answer = only.chat(&asked).await;
            (answer.status == 200).then_some(answer)
        })
        .await;
        assert_eq!(hit.header("x-penstock-cache"), Some("hit"));
        let second = id_of(&hit.json());
        let mut events = only.stream(&asked).await;
        assert_eq!(events.headers["x-penstock-cache"], "hit");
        let third = id_of(&events.next_json().await);
        assert_eq!(events.rest().await.last().map(String::as_str), Some("[DONE]"));
        let kept = [first.clone(), second.clone(), third.clone()];
        assert_eq!(list(&client, "").await, kept);
        let unkept = only.chat(&with(chat("test-model"), json!({"temperature": 0}))).await.json()["id"].to_string();
        assert!(!kept.iter().any(|kept| unkept.contains(kept)), "{unkept} is what another is kept by");
        let mut kept = Vec::new();
        for id in [first, second, third] {
            let stored = client.get(&path(&id)).await.json();
            kept.push((stored["choices"].clone(), stored["usage"].clone()));
        }
        assert!(kept[0].1["total_tokens"] == 11 && kept.iter().all(|one| *one == kept[0]), "{kept:?}");
        assert_eq!(engine.calls().len(), 1);
    }
}

both! {
    async fn a_killed_process_comes_back_with_them(topology: Topology) {
        let engine = Engine::start().await;
        let mut mesh = Mesh::over(topology, &engine, "").await;
        let client = mesh.client();
        let id = store(&client, json!({"metadata": {"a": "1"}})).await;
        let before = client.get(&path(&id)).await.json();
        mesh.kill(Service::Cache);
        mesh.restart(Service::Cache);
        mesh.ready().await;
        let after = until("the store to be reached again", async || {
            let answer = client.get(&path(&id)).await;
            if answer.status == 503 { None } else { Some(answer.json()) }
        })
        .await;
        assert_eq!(after, before);
        assert_eq!(list(&client, "?metadata[a]=1").await, [id]);
    }
}

both! {
    async fn what_is_too_old_is_gone(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "[cache]\nobjects_ttl = \"1s\"\nobjects = \"memory\"\n").await;
        let client = mesh.client();
        let id = store(&client, json!({})).await;
        until("its time to be up", async || (client.get(&path(&id)).await.status == 404).then_some(())).await;
        assert_eq!(list(&client, "").await, Vec::<String>::new());
    }
}

both! {
    /// G8: the oldest go first.
    async fn size_is_bounded(topology: Topology) {
        let bounds = "[cache]\nobjects_max_bytes = \"1 MiB\"\nobjects_max_bytes_per_tenant = \"1 MiB\"\n\
                      objects_max_entry_bytes = \"512 KiB\"\n";
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, bounds).await;
        let client = mesh.client();
        let long = json!({"messages": [{"role": "user", "content": "x".repeat(300 << 10)}]});
        let mut ids = Vec::new();
        for _ in 0..5 {
            ids.push(store(&client, long.clone()).await);
        }
        assert_eq!(list(&client, "").await, ids[2..]);
        client.get(&path(&ids[0])).await.problem(404, "not_found");
        // E10: one that is too large goes out all the same, and pushes nothing out.
        let larger = json!({"messages": [{"role": "user", "content": "x".repeat(600 << 10)}]});
        let lost = store(&client, larger).await;
        client.get(&path(&lost)).await.problem(404, "not_found");
        assert_eq!(list(&client, "").await, ids[2..]);
        let metrics = mesh.metrics(Service::Router).await;
        assert!(metrics.contains("penstock_not_stored_total 1"), "{metrics}");
        let metrics = mesh.metrics(Service::Cache).await;
        assert!(metrics.contains("penstock_objects 3") && metrics.contains("penstock_objects_evicted_total 2"), "{metrics}");
    }
}

/// E10: without the cache's process answers go out, and what cannot be asked says so. In one process there is
/// none that could be lost alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_store_answers_go_out() {
    let engine = Engine::start().await;
    let mut mesh = Mesh::over(Topology::Mesh, &engine, "").await;
    let client = mesh.client();
    let kept = store(&client, json!({})).await;
    mesh.kill(Service::Cache);
    let answer = client.chat(&stored(json!({}))).await;
    assert_eq!(answer.text(), "Hello, world!");
    let events = client.stream(&stored(json!({}))).await.rest().await;
    assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
    for refused in [client.get(&path(&kept)).await, client.get(CHAT).await, delete(&client, &kept).await] {
        refused.problem(503, "service_unavailable");
    }
    mesh.says(Service::Router, "not stored").await;
    let metrics = mesh.metrics(Service::Router).await;
    assert!(metrics.contains("penstock_not_stored_total 2"), "{metrics}");
    mesh.restart(Service::Cache);
    mesh.ready().await;
    until("the store to be reached again", async || {
        let answer = client.get(CHAT).await;
        (answer.status == 200).then_some(())
    })
    .await;
    assert_eq!(list(&client, "").await, [kept]);
}

both! {
    /// A5: a wrong parameter is named, by REST as by gRPC.
    async fn wrong_queries_and_bodies_are_422_and_name_the_field(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let client = mesh.client();
        let id = store(&client, json!({})).await;
        for (query, field) in [
            ("limit=0", "limit"), ("limit=101", "limit"), ("limit=x", "limit"), ("order=up", "order"),
            ("after=nothing", "after"), ("metdata[a]=1", "metdata[a]"), ("limit=1&limit=2", "limit"),
            (&format!("metadata[{}]=1", "k".repeat(65)), &format!("metadata.{}", "k".repeat(64))),
        ] {
            let problem = client.get(&format!("{CHAT}?{query}")).await.problem(422, "invalid_value");
            assert_eq!(problem["error"]["param"], field, "{query}");
        }
        let messages = client.get(&format!("{}/messages?limit=0", path(&id))).await.problem(422, "invalid_value");
        assert_eq!(messages["error"]["param"], "limit");
        for (body, field) in [
            (json!({}), "metadata"), (json!({"metadata": 1}), "metadata"), (json!({"metadata": {"a": 1}}), "metadata"),
            (json!({"metadata": {}, "model": "x"}), "model"), (json!({"metadata": {"k": "v".repeat(513)}}), "metadata.k"),
        ] {
            let problem = update(&client, &id, body.clone()).await.problem(422, "invalid_value");
            let param = problem["error"]["param"].as_str().unwrap();
            assert!(param.starts_with(field), "{body}: {param}");
        }
        client.post(&path(&id), "{").await.problem(400, "invalid_json");
        let mut by_grpc = StoredCompletionsClient::new(channel(mesh.grpc()).await);
        let limit = ListStoredCompletionsRequest { limit: Some(0), ..ListStoredCompletionsRequest::default() };
        assert_eq!(reason(&by_grpc.list(keyed(mesh.key(), limit)).await.unwrap_err()), "INVALID_REQUEST");
        assert_eq!(client.get(&path(&id)).await.json()["metadata"], json!({}));
    }
}
