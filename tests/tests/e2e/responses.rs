//! OpenAI's responses, whole and as events: what an engine is asked, what a client is told, and what it is told
//! when an answer breaks. What is kept has a file of its own.

use penstock_tests::{Client, Engine, Mesh, Script, Step, Topology, both, client::with, engine::End};
use serde_json::{Value, json};

const PATH: &str = "/v1/responses";

fn asking(members: Value) -> Value {
    with(json!({"model": "test-model", "input": "hi", "store": false}), members)
}

async fn create(client: &Client, members: Value) -> Value {
    let answer = client.post(PATH, asking(members).to_string()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// The events of a stream; their numbers count up.
async fn stream(client: &Client, members: Value) -> Vec<Value> {
    let body = with(asking(members), json!({"stream": true}));
    let events = client.stream_of(PATH, &body).await;
    assert_eq!(events.status, 200);
    let events: Vec<Value> =
        events.rest().await.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number, "{event}");
    }
    events
}

/// The event of that type, which must be there once.
fn only<'a>(events: &'a [Value], kind: &str) -> &'a Value {
    let found: Vec<_> = events.iter().filter(|event| event["type"] == kind).collect();
    assert_eq!(found.len(), 1, "{kind}: {events:?}");
    found[0]
}

/// A response without what no two have in common: ids and times.
fn settled(mut response: Value) -> Value {
    for member in ["id", "created_at", "completed_at"] {
        assert!(!response[member].take().is_null(), "no {member}");
    }
    for item in response["output"].as_array_mut().unwrap() {
        assert!(!item["id"].take().is_null());
    }
    response
}

both! {
    async fn what_is_streamed_is_what_is_given_at_once(topology: Topology) {
        let script = |text: &str| {
            let delta = Step::Delta(json!({"reasoning_content": "hm"}));
            Script::steps([delta, Step::Text(text.to_owned()), Step::Finish("stop"), Step::Usage, Step::Done])
        };
        let engine = Engine::playing(script("Hello")).await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let members = json!({"instructions": "be kind", "reasoning": {"effort": "low", "summary": "auto"},
            "metadata": {"k": "v"}, "temperature": 0.5});
        let whole = create(&mesh.client(), members.clone()).await;
        let events = stream(&mesh.client(), members).await;
        let last = only(&events, "response.completed");
        assert_eq!(settled(last["response"].clone()), settled(whole.clone()));
        assert_eq!(events.last(), Some(last));
        let deltas = events.iter().filter(|event| event["type"] == "response.output_text.delta");
        assert_eq!(deltas.map(|event| event["delta"].as_str().unwrap()).collect::<String>(), "Hello");
        assert_eq!(whole["output"][0]["summary"][0]["text"], "hm");
        assert_eq!(whole["output"][1]["content"][0]["text"], "Hello");
        assert_eq!((&whole["instructions"], &whole["metadata"]), (&json!("be kind"), &json!({"k": "v"})));
        assert_eq!(whole["usage"]["total_tokens"], 10);
        let asked = engine.call(0).await.json();
        assert_eq!(asked["messages"], json!([{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}]));
        assert_eq!((&asked["reasoning_effort"], &asked["temperature"]), (&json!("low"), &json!(0.5)));
        // Nothing of this API alone reaches an engine.
        for member in ["store", "metadata", "instructions", "input", "reasoning", "response"] {
            assert!(asked.get(member).is_none(), "{member}: {asked}");
        }
    }
}

both! {
    async fn a_tool_is_called_and_answered(topology: Topology) {
        let call = json!({"index": 0, "id": "call_1", "type": "function",
            "function": {"name": "add", "arguments": "{\"a\":1}"}});
        let calls = Script::steps([
            Step::Delta(json!({"tool_calls": [call]})), Step::Finish("tool_calls"), Step::Usage, Step::Done,
        ]);
        let engine = Engine::playing(calls).await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let tools = json!([{"type": "function", "name": "add", "parameters": {"type": "object"}, "strict": false}]);
        let first = create(&mesh.client(), json!({"tools": tools, "tool_choice": {"type": "function", "name": "add"}})).await;
        let item = &first["output"][0];
        assert_eq!((&item["type"], &item["call_id"], &item["arguments"]),
            (&json!("function_call"), &json!("call_1"), &json!("{\"a\":1}")));
        assert_eq!(first["tools"], tools);
        let asked = engine.call(0).await.json();
        assert_eq!(asked["tools"][0]["function"]["name"], "add");
        assert_eq!(asked["tool_choice"], json!({"type": "function", "function": {"name": "add"}}));

        let events = stream(&mesh.client(), json!({"tools": tools})).await;
        assert_eq!(only(&events, "response.function_call_arguments.done")["arguments"], "{\"a\":1}");
        assert_eq!(only(&events, "response.output_item.done")["item"]["status"], "completed");

        engine.always(Script::default());
        let input = json!([{"role": "user", "content": "hi"}, item,
            {"type": "function_call_output", "call_id": "call_1", "output": "3"}]);
        let second = create(&mesh.client(), json!({"input": input, "tools": tools})).await;
        assert_eq!(second["output"][0]["content"][0]["text"], "Hello, world!");
        let asked = engine.call(2).await.json();
        let messages = asked["messages"].as_array().unwrap();
        assert_eq!(messages.len(), 3, "{asked}");
        assert_eq!(messages[1]["tool_calls"][0]["function"]["arguments"], "{\"a\":1}");
        assert_eq!((&messages[2]["role"], &messages[2]["tool_call_id"], &messages[2]["content"]),
            (&json!("tool"), &json!("call_1"), &json!("3")));
    }
}

both! {
    async fn images_and_schemas_reach_the_engine(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}});
        let image = "data:image/png;base64,iVBORw0KGgo=";
        let content = json!([{"type": "input_text", "text": "look"}, {"type": "input_image", "image_url": image}]);
        let format = json!({"type": "json_schema", "name": "n", "strict": true, "schema": schema});
        let members = json!({"input": [{"role": "user", "content": content}], "text": {"format": format}});
        let response = create(&mesh.client(), members).await;
        assert_eq!(response["text"]["format"], format);
        let asked = engine.call(0).await.json();
        assert_eq!(asked["messages"][0]["content"][1]["image_url"]["url"], image);
        assert_eq!(asked["response_format"],
            json!({"type": "json_schema", "json_schema": {"name": "n", "strict": true, "schema": schema}}));
    }
}

both! {
    async fn a_failure_before_the_first_token_is_a_status(topology: Topology) {
        let engine = Engine::playing(Script::status(400)).await;
        let mesh = Mesh::over(topology, &engine, "").await;
        for stream in [false, true] {
            let body = asking(json!({"stream": stream})).to_string();
            let answer = mesh.client().post(PATH, body).await;
            assert!((400..500).contains(&answer.status), "{answer:?}");
            assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        }
    }
}

both! {
    /// C8: an answer that breaks off is an error event and a failed response, and is not asked for again.
    async fn an_answer_that_breaks_off_has_failed(topology: Topology) {
        let engine = Engine::playing(Script::broken(["Hel"], Step::Cut)).await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let events = stream(&mesh.client(), json!({})).await;
        let error = only(&events, "error");
        assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{error}");
        assert_eq!(error["error"]["message"], error["message"]);
        let failed = only(&events, "response.failed");
        assert_eq!((&failed["response"]["status"], &failed["response"]["output"]), (&json!("failed"), &json!([])));
        for end in ["response.completed", "response.incomplete", "response.output_item.done"] {
            assert!(events.iter().all(|event| event["type"] != end), "{end}: {events:?}");
        }
    }
}

both! {
    /// C1.
    async fn a_client_that_hangs_up_stops_the_engine(topology: Topology) {
        let engine = Engine::playing(Script::broken(["Hel"], Step::Stall)).await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let mut events = mesh.client().stream_of(PATH, &asking(json!({"stream": true}))).await;
        while events.next_json().await["type"] != "response.output_text.delta" {}
        events.hang_up();
        assert_eq!(engine.call(0).await.ended().await, End::ClientGone);
        assert_eq!(engine.calls().len(), 1);
    }
}

both! {
    async fn what_a_bound_cuts_is_incomplete(topology: Topology) {
        let script = Script::steps([Step::Text("Hel".into()), Step::Finish("length"), Step::Usage, Step::Done]);
        let engine = Engine::playing(script).await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let whole = create(&mesh.client(), json!({"max_output_tokens": 16})).await;
        assert_eq!((&whole["status"], &whole["incomplete_details"]["reason"]), (&json!("incomplete"), &json!("max_output_tokens")));
        let events = stream(&mesh.client(), json!({"max_output_tokens": 16})).await;
        assert_eq!(only(&events, "response.incomplete")["response"]["status"], "incomplete");
        let asked = engine.call(0).await.json();
        assert!(asked["max_tokens"] == 16 || asked["max_completion_tokens"] == 16, "{asked}");
    }
}

both! {
    async fn what_cannot_be_asked_is_refused_before_any_engine(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        for (members, field) in [
            (json!({"tools": [{"type": "web_search"}]}), "tools[0].type"),
            (json!({"truncation": "auto"}), "truncation"),
            (json!({"conversation": "conv_1"}), "conversation"),
            (json!({"max_tokens": 5}), "max_output_tokens"),
            (json!({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]}),
                "input[0].content[0].file_id"),
        ] {
            let answer = mesh.client().post(PATH, asking(members).to_string()).await;
            let problem = answer.problem(422, "invalid_value");
            assert_eq!(problem["error"]["param"], field, "{problem}");
        }
        assert_eq!(engine.calls().len(), 0);
    }
}
