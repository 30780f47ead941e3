//! What becomes of an answer that breaks after its first content: the caller sees one whole answer, made by going on
//! or by saying it again, or an error. Never a doubled text, never a gap, never a cut answer that looks whole (C8).

use penstock_tests::{
    Engine, Mesh, Script, Service, Step, Topology, both,
    bounded::{until, within},
    client::{chat, with},
    engine::{Call, End},
    grpc::{self, inference, keyed},
};
use serde_json::{Value, json};

/// Kinds of engines that go on from what was said.
const CONTINUING: [&str; 4] = ["vllm", "llama-cpp", "ollama", "anthropic"];
const SETTINGS: &str = "[inference_adapter]\nstall_timeout = \"300ms\"\n";

fn deployment(id: &str, kind: &str, engine: &Engine) -> String {
    let endpoint = if kind == "ollama" { engine.url() } else { engine.v1() };
    format!(
        "[[deployments]]\nid = \"{id}\"\nengine = \"{kind}\"\nendpoint = \"{endpoint}\"\n\
         model = \"engine-model\"\napi_key_env = \"ENGINE_KEY\"\n"
    )
}

/// A model whose first deployment is OpenAI's and whose second one is of this kind. One for each break: whoever has
/// just broken an answer is not asked first the next time.
fn two(name: &str, policy: &str, first: &Engine, kind: &str, second: &Engine) -> String {
    format!(
        "{}{}[[models]]\nname = \"{name}\"\nafter_commit = \"{policy}\"\n\
         deployments = [\"{name}-1\", {{ id = \"{name}-2\", priority = 2 }}]\n",
        deployment(&format!("{name}-1"), "openai", first),
        deployment(&format!("{name}-2"), kind, second),
    )
}

async fn start(topology: Topology, models: &str) -> Mesh {
    Mesh::start(topology, &format!("{SETTINGS}{models}")).await
}

fn with_usage(model: &str) -> Value {
    with(chat(model), json!({"stream_options": {"include_usage": true}}))
}

/// The ways in which an answer breaks.
fn endings() -> [(&'static str, Step); 3] {
    let error = json!({"error": {"message": "boom", "code": 500}}).to_string();
    [("cut", Step::Cut), ("stall", Step::Stall), ("error", Step::Event(error))]
}

/// A stream as its caller saw it.
#[derive(Debug, Default)]
struct Seen {
    events: Vec<Value>,
    done: bool,
}

impl Seen {
    async fn of(mesh: &Mesh, body: &Value) -> Seen {
        let mut events = mesh.client().stream(body).await.rest().await;
        let done = events.pop_if(|last| last == "[DONE]").is_some();
        Seen { events: events.iter().map(|event| serde_json::from_str(event).unwrap()).collect(), done }
    }

    fn text(&self) -> String {
        self.events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect()
    }

    fn usage(&self) -> &Value {
        &self.events.last().unwrap()["usage"]
    }

    /// One whole answer, with one of everything that there is one of.
    fn whole(&self, text: &str, name: &str) {
        assert_eq!((self.text().as_str(), self.done), (text, true), "{name}: {:?}", self.events);
        let choices = || self.events.iter().flat_map(|event| event["choices"].as_array().unwrap());
        let count = |is: fn(&Value) -> bool| choices().filter(|choice| is(choice)).count();
        assert_eq!(count(|choice| !choice["finish_reason"].is_null()), 1, "{name}: {:?}", self.events);
        assert_eq!(count(|choice| choice["delta"]["role"].is_string()), 1, "{name}: {:?}", self.events);
        for event in &self.events {
            for same in ["id", "created", "model", "system_fingerprint"] {
                assert_eq!(event[same], self.events[0][same], "{name} {same}: {event}");
            }
            assert!(event.get("error").is_none(), "{name}: {event}");
        }
    }

    /// An error, and nothing that looks like an end.
    fn broken(&self, text: &str, code: &str, name: &str) {
        assert_eq!((self.text().as_str(), self.done), (text, false), "{name}: {:?}", self.events);
        assert_eq!(self.events.last().unwrap()["error"]["code"], code, "{name}: {:?}", self.events);
        let ends = self.events.iter().filter(|event| event["choices"][0]["finish_reason"].is_string());
        assert_eq!(ends.count(), 0, "{name}: {:?}", self.events);
    }
}

/// What the assistant is said to have begun with.
fn prefill(call: &Call) -> Option<String> {
    let body = call.json();
    let last = body["messages"].as_array().unwrap().last().unwrap().clone();
    (last["role"] == "assistant").then(|| last["content"].as_str().unwrap().to_owned())
}

fn total(metrics: &str, metric: &str, labels: &str) -> u64 {
    let lines = metrics.lines().filter(|line| line.starts_with(metric) && line.contains(labels));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

both! {
    async fn another_engine_goes_on_from_what_was_said(topology: Topology) {
        let (first, second) = (Engine::start().await, Engine::start().await);
        let mut models = String::new();
        for kind in CONTINUING {
            for (ending, _) in endings() {
                let policy = if ending == "cut" { "continue" } else { "best" };
                models += &two(&format!("{kind}-{ending}"), policy, &first, kind, &second);
            }
        }
        let mesh = start(topology, &models).await;
        for kind in CONTINUING {
            // Said of an engine that refuses white space at the end, and of one that repeats itself.
            let (told, rest) = match kind {
                "anthropic" => ("Hello,", vec![" wor", "ld!"]),
                "llama-cpp" => ("Hello, ", vec!["Hel", "lo, world", "!"]),
                _ => ("Hello, ", vec!["wor", "ld!"]),
            };
            for (ending, step) in endings() {
                let model = format!("{kind}-{ending}");
                first.next(Script::broken(["Hello", ", "], step));
                second.next(Script::texts(rest.clone()));
                let seen = Seen::of(&mesh, &with_usage(&model)).await;
                seen.whole("Hello, world!", &model);
                let call = second.calls().pop().unwrap();
                assert_eq!(prefill(&call).as_deref(), Some(told), "{model}");
                let body = call.json();
                let told_so = (body["continue_final_message"] == true, body["add_generation_prompt"] == false);
                assert_eq!(told_so, (kind == "vllm", kind == "vllm"), "{model}: {body}");
                // The engine counted 7 with the 2 of the prefill; the caller has those 2 and what came after.
                let usage = seen.usage();
                let completion = 2 + rest.len();
                assert_eq!(usage["prompt_tokens"], 5, "{model}: {usage}");
                assert_eq!(usage["completion_tokens"], completion, "{model}: {usage}");
                assert_eq!(usage["total_tokens"], 5 + completion, "{model}: {usage}");
                assert_eq!(usage["estimated"], true, "{model}: {usage}");
                assert_eq!(usage["penstock"]["discarded_tokens"], 7, "{model}: {usage}");
            }
        }
        assert_eq!((first.calls().len(), second.calls().len()), (12, 12));
        let metrics = mesh.metrics(Service::Router).await;
        assert_eq!(total(&metrics, "penstock_resumed_total", "how=\"continue\",outcome=\"ok\""), 12, "{metrics}");
    }
}

both! {
    /// Who is not known to go on says it again; what is the same is left out.
    async fn another_engine_says_it_again(topology: Topology) {
        let (first, second) = (Engine::start().await, Engine::start().await);
        let mut models = String::new();
        for (ending, _) in endings() {
            models += &two(&format!("best-{ending}"), "best", &first, "openai", &second);
            models += &two(&format!("replay-{ending}"), "replay", &first, "vllm", &second);
        }
        let mesh = start(topology, &models).await;
        for policy in ["best", "replay"] {
            for (ending, step) in endings() {
                let model = format!("{policy}-{ending}");
                first.next(Script::broken(["Hel", "lo, "], step));
                let seen = Seen::of(&mesh, &with_usage(&model)).await;
                seen.whole("Hello, world!", &model);
                assert_eq!(prefill(&second.calls().pop().unwrap()), None, "{model}");
                let usage = seen.usage();
                assert_eq!((&usage["prompt_tokens"], &usage["completion_tokens"]), (&json!(7), &json!(4)), "{model}");
                assert_eq!((&usage["total_tokens"], usage["estimated"] == true), (&json!(11), false), "{model}");
                assert_eq!(usage["penstock"]["discarded_tokens"], 9, "{model}: {usage}");
            }
        }
        assert_eq!((first.calls().len(), second.calls().len()), (6, 6));
        // An answer that did not break says nothing of all that.
        let seen = Seen::of(&mesh, &with_usage("best-cut")).await;
        seen.whole("Hello, world!", "unbroken");
        assert!(seen.usage().get("penstock").is_none(), "{}", seen.usage());
    }
}

both! {
    async fn another_answer_is_not_passed_off_as_the_rest_of_this_one(topology: Topology) {
        let (first, second) = (Engine::start().await, Engine::start().await);
        let others = [("a", vec!["Goodbye"]), ("b", vec!["Hell", "O, world!"]), ("c", vec!["Hello"])];
        let models = others.each_ref().map(|(model, _)| two(model, "replay", &first, "openai", &second));
        let mesh = start(topology, &models.concat()).await;
        for (model, other) in others {
            let name = format!("{other:?}");
            first.next(Script::broken(["Hello", ", "], Step::Cut));
            second.next(Script::texts(other));
            Seen::of(&mesh, &chat(model)).await.broken("Hello, ", "engine_cut", &name);
        }
        assert_eq!((first.calls().len(), second.calls().len()), (3, 3), "nobody is asked until it fits");
        let metrics = mesh.metrics(Service::Router).await;
        assert_eq!(total(&metrics, "penstock_resumed_total", "how=\"replay\",outcome=\"diverged\""), 3, "{metrics}");
    }
}

both! {
    async fn an_engine_that_refuses_a_prefill_says_it_again(topology: Topology) {
        let (first, second) = (Engine::start().await, Engine::start().await);
        let models = two("best", "best", &first, "vllm", &second) + &two("continue", "continue", &first, "vllm", &second);
        let mesh = start(topology, &models).await;
        second.answering(|body| match body["messages"].as_array().unwrap().last().unwrap()["role"].as_str() {
            Some("assistant") => Script::status(400),
            _ => Script::default(),
        });
        first.next(Script::broken(["Hello", ", "], Step::Cut));
        Seen::of(&mesh, &chat("best")).await.whole("Hello, world!", "best");
        assert_eq!((first.calls().len(), second.calls().len()), (1, 2));
        first.always(Script::broken(["Hello", ", "], Step::Cut));
        Seen::of(&mesh, &chat("continue")).await.broken("Hello, ", "engine_cut", "continue");
        // The first one is not known to go on either: nobody asks it for what it was not told to do.
        assert_eq!((first.calls().len(), second.calls().len()), (2, 3));
    }
}

both! {
    async fn an_error_it_is_where_the_configuration_says_so(topology: Topology) {
        let (first, second) = (Engine::start().await, Engine::start().await);
        let models = endings().map(|(ending, _)| two(ending, "error", &first, "vllm", &second));
        let mesh = start(topology, &models.concat()).await;
        for ((model, step), code) in endings().into_iter().zip(["engine_cut", "engine_timeout", "engine_failed"]) {
            first.next(Script::broken(["Hello"], step));
            Seen::of(&mesh, &chat(model)).await.broken("Hello", code, code);
        }
        assert_eq!((first.calls().len(), second.calls().len()), (3, 0));
    }
}

fn call(id: &str, arguments: &str) -> Step {
    let mut call = json!({"index": 0, "function": {"arguments": arguments}});
    if !id.is_empty() {
        call["id"] = json!(id);
        call["type"] = json!("function");
        call["function"]["name"] = json!("add");
    }
    Step::Delta(json!({"tool_calls": [call]}))
}

both! {
    /// Neither is worth anything if its halves do not fit: from two engines they come byte for byte or not at all.
    async fn calls_and_answers_of_a_form_are_never_glued(topology: Topology) {
        let (first, second) = (Engine::start().await, Engine::start().await);
        let models = ["best", "continue"].map(|policy| {
            ["call", "other", "schema"].map(|case| two(&format!("{policy}-{case}"), policy, &first, "vllm", &second)).concat()
        });
        let mesh = start(topology, &models.concat()).await;
        let role = || Step::Delta(json!({"role": "assistant", "content": ""}));
        let cut = Script::steps([role(), call("call_1", ""), call("", "{\"a\": 1, "), Step::Cut]);
        let whole = |arguments| Script::steps([role(), call("call_2", ""), call("", arguments), Step::Finish("tool_calls"), Step::Usage, Step::Done]);
        first.next(cut.clone());
        second.next(whole("{\"a\": 1, \"b\": 2}"));
        let seen = Seen::of(&mesh, &chat("best-call")).await;
        seen.whole("", "a call");
        let calls: Vec<_> = seen.events.iter().filter_map(|event| event["choices"][0]["delta"]["tool_calls"].get(0)).collect();
        let ids: Vec<_> = calls.iter().filter_map(|call| call["id"].as_str()).collect();
        assert_eq!(ids, ["call_1"], "{calls:?}");
        let arguments: String = calls.iter().filter_map(|call| call["function"]["arguments"].as_str()).collect();
        assert_eq!(arguments, "{\"a\": 1, \"b\": 2}");
        // Other arguments are another call.
        first.next(cut.clone());
        second.next(whole("{\"b\": 2}"));
        Seen::of(&mesh, &chat("best-other")).await.broken("", "engine_cut", "another call");

        let schema = json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}});
        first.next(Script::broken(["{\"a\""], Step::Cut));
        second.next(Script::texts(["{\"a\": 1}"]));
        Seen::of(&mesh, &with(chat("best-schema"), schema.clone())).await.whole("{\"a\": 1}", "a schema");
        assert!(second.calls().iter().all(|call| prefill(call).is_none()));
        // Where nothing but going on is allowed nobody is asked.
        let asked = second.calls().len();
        for (script, body) in [(cut, chat("continue-call")), (Script::broken(["{"], Step::Cut), with(chat("continue-schema"), schema))] {
            first.next(script);
            assert!(!Seen::of(&mesh, &body).await.done);
        }
        assert_eq!(second.calls().len(), asked);
    }
}

both! {
    /// A hiccup of the only engine there is; but one that was silent for so long would be so again.
    async fn the_same_engine_is_asked_once_more_if_there_is_no_other(topology: Topology) {
        let engine = Engine::start().await;
        let models = format!(
            "{}[[models]]\nname = \"m\"\ndeployments = [\"only\"]\n", deployment("only", "openai", &engine),
        );
        let mesh = start(topology, &models).await;
        engine.next(Script::broken(["Hello"], Step::Cut));
        Seen::of(&mesh, &chat("m")).await.whole("Hello, world!", "once more");
        assert_eq!(engine.calls().len(), 2);
        engine.next(Script::broken(["Hello"], Step::Stall));
        Seen::of(&mesh, &chat("m")).await.broken("Hello", "engine_timeout", "silent");
        assert_eq!(engine.calls().len(), 3);
        // D5: once more, and no third time.
        engine.always(Script::broken(["Hello"], Step::Cut));
        Seen::of(&mesh, &chat("m")).await.broken("Hello", "engine_cut", "again and again");
        assert_eq!(engine.calls().len(), 5);
    }
}

both! {
    async fn an_answer_may_break_again_but_not_for_ever(topology: Topology) {
        let engines = [Engine::start().await, Engine::start().await, Engine::start().await, Engine::start().await];
        let mut models = "[router]\nattempts = 3\n".to_owned();
        for model in ["twice", "ever"] {
            let mut targets = Vec::new();
            for (engine, n) in engines.iter().zip(1..) {
                models += &deployment(&format!("{model}-{n}"), "vllm", engine);
                targets.push(format!("{{ id = \"{model}-{n}\", priority = {n} }}"));
            }
            models += &format!("[[models]]\nname = \"{model}\"\ndeployments = [{}]\n", targets.join(", "));
        }
        let mesh = start(topology, &models).await;
        let calls = || engines.each_ref().map(|engine| engine.calls().len());
        for (engine, texts) in engines.iter().zip([["Hel", "lo"], [", ", "wor"]]) {
            engine.next(Script::broken(texts, Step::Cut));
        }
        engines[2].next(Script::texts(["ld", "!"]));
        let seen = Seen::of(&mesh, &with_usage("twice")).await;
        seen.whole("Hello, world!", "twice broken");
        assert_eq!(calls(), [1, 1, 1, 0]);
        assert_eq!(prefill(&engines[2].call(0).await).as_deref(), Some("Hello, wor"));
        // 10 bytes were said: 3 tokens, which the last engine read as well, and 2 came from it.
        let usage = seen.usage();
        assert_eq!((&usage["prompt_tokens"], &usage["completion_tokens"]), (&json!(4), &json!(5)), "{usage}");
        // The prompt twice, the 2 tokens of the first, which the second one read, and the 1 of the second.
        assert_eq!(usage["penstock"]["discarded_tokens"], 4 + 2 + 4 + 2 + 1, "{usage}");
        for engine in &engines {
            engine.always(Script::broken(["x"], Step::Cut));
        }
        Seen::of(&mesh, &chat("ever")).await.broken("xxx", "engine_cut", "for ever");
        assert_eq!(calls(), [2, 2, 2, 0], "more than three attempts");
    }
}

both! {
    /// D9: what breaks after the last word was said has cost the caller nothing, and nobody is asked to say it again.
    async fn what_breaks_after_its_end_is_whole(topology: Topology) {
        let (first, second) = (Engine::start().await, Engine::start().await);
        let endings = [("cut", Step::Cut), ("stall", Step::Stall)];
        let models = endings.each_ref().map(|(name, _)| two(name, "best", &first, "openai", &second));
        let mesh = start(topology, &models.concat()).await;
        for (name, step) in endings {
            first.next(Script::steps([Step::Text("Hello".into()), Step::Finish("stop"), step]));
            let seen = Seen::of(&mesh, &with_usage(name)).await;
            seen.whole("Hello", name);
            assert_eq!(seen.usage()["estimated"], true, "{name}: {}", seen.usage());
        }
        assert_eq!((first.calls().len(), second.calls().len()), (2, 0));
    }
}

both! {
    /// C1: also while somebody goes on.
    async fn a_caller_that_leaves_stops_whoever_goes_on(topology: Topology) {
        let (first, second) = (Engine::start().await, Engine::start().await);
        let slow = "[inference_adapter]\nstall_timeout = \"20s\"\n";
        let stalls = [
            ("before-head", "vllm", Script::default().after(Step::Stall)),
            ("skipping", "openai", Script::broken(["Hel"], Step::Stall)),
            ("after-head", "vllm", Script::steps([Step::Delta(json!({"role": "assistant"})), Step::Stall])),
        ];
        let models = stalls.each_ref().map(|(model, kind, _)| two(model, "best", &first, kind, &second));
        let mesh = Mesh::start(topology, &format!("{slow}{}", models.concat())).await;
        for (index, (model, _, script)) in stalls.into_iter().enumerate() {
            first.next(Script::broken(["Hello"], Step::Cut));
            second.next(script);
            let mut events = mesh.client().stream(&chat(model)).await;
            assert_eq!(events.next_text().await, "Hello");
            let call = second.call(index).await;
            events.hang_up();
            assert_eq!(call.ended().await, End::ClientGone, "{model}");
        }
        assert_eq!((first.calls().len(), second.calls().len()), (3, 3));
    }
}

both! {
    /// The caller pays for what it got, and never for what was thrown away. Whoever did not ask for usage, too.
    async fn the_bill_is_for_what_the_caller_got(topology: Topology) {
        let (first, second) = (Engine::start().await, Engine::start().await);
        let models = two("goes-on", "best", &first, "vllm", &second) + &two("again", "best", &first, "openai", &second);
        let mesh = start(topology, &models).await;
        for (model, rest, tokens) in [("goes-on", vec!["world", "!"], 9), ("again", vec!["Hello", ", world!"], 9)] {
            first.next(Script::broken(["Hello", ", "], Step::Cut));
            second.next(Script::texts(rest));
            let seen = Seen::of(&mesh, &chat(model)).await;
            seen.whole("Hello, world!", model);
            assert!(seen.events.iter().all(|event| event.get("usage").is_none()), "{:?}", seen.events);
            let labels = format!("model=\"{model}\"");
            until("the bill", async || {
                let metrics = mesh.metrics(Service::Router).await;
                (total(&metrics, "penstock_tokens_total", &labels) == tokens).then_some(())
            }).await;
        }
    }
}

both! {
    async fn callers_by_grpc_see_one_answer(topology: Topology) {
        let (first, second) = (Engine::start().await, Engine::start().await);
        let mesh = start(topology, &two("m", "best", &first, "vllm", &second)).await;
        first.next(Script::broken(["Hello", ", "], Step::Cut));
        second.next(Script::texts(["world", "!"]));
        let mut client = inference(mesh.grpc()).await;
        let mut request = grpc::chat("m");
        request.stream = true;
        request.max_tokens = Some(10);
        let mut answer = client.generate(keyed(mesh.key(), request)).await.unwrap().into_inner();
        let (mut text, mut ends) = (String::new(), 0);
        while let Some(message) = within("a message", answer.message()).await.unwrap() {
            for choice in message.chunks.into_iter().flat_map(|chunk| chunk.choices) {
                text += &choice.delta.unwrap_or_default().content.unwrap_or_default();
                ends += usize::from(choice.finish_reason.is_some());
            }
        }
        assert_eq!((text.as_str(), ends), ("Hello, world!", 1));
        assert_eq!(second.call(0).await.json()["max_tokens"], 8, "what was said counts");
    }
}

both! {
    /// An answer of two engines is no answer that any of them would give again; one that was said again is.
    async fn what_was_continued_is_not_kept_in_the_cache(topology: Topology) {
        let (first, second) = (Engine::start().await, Engine::start().await);
        let models = two("goes-on", "best", &first, "vllm", &second) + &two("again", "best", &first, "openai", &second);
        let mesh = start(topology, &models).await;
        let body = |model| with(chat(model), json!({"temperature": 0}));
        for (model, rest) in [("goes-on", ", world!"), ("again", "Hello, world!")] {
            first.next(Script::broken(["Hello"], Step::Cut));
            second.next(Script::texts([rest]));
            Seen::of(&mesh, &body(model)).await.whole("Hello, world!", model);
        }
        until("the cache to know what was said again", async || {
            let asked = with(body("again"), json!({"stream": false}));
            let answer = mesh.client().with_header("cache-control", "only-if-cached").chat(&asked).await;
            (answer.header("x-penstock-cache") == Some("hit")).then(|| {
                assert!(answer.json()["usage"].get("penstock").is_none(), "nothing was thrown away for this one");
            })
        }).await;
        // That came later, so the other one would be there by now.
        let only = mesh.client().with_header("cache-control", "only-if-cached");
        only.chat(&body("goes-on")).await.problem(504, "not_cached");
    }
}

both! {
    /// C11: what is kept for the caller is what the caller got.
    async fn what_is_stored_is_the_whole_answer(topology: Topology) {
        let (first, second) = (Engine::start().await, Engine::start().await);
        let mesh = start(topology, &two("m", "best", &first, "vllm", &second)).await;
        first.next(Script::broken(["Hello", ", "], Step::Cut));
        second.next(Script::texts(["world", "!"]));
        let seen = Seen::of(&mesh, &with(with_usage("m"), json!({"store": true}))).await;
        seen.whole("Hello, world!", "stored");
        let id = seen.events[0]["id"].as_str().unwrap();
        let stored = mesh.client().get(&format!("/v1/chat/completions/{id}")).await;
        assert_eq!(stored.text(), "Hello, world!");
        assert_eq!(&stored.json()["usage"], seen.usage());
        let messages = stored.json()["messages"].clone();
        assert!(messages.is_null() || !messages.to_string().contains("assistant"), "the prefill is nobody's: {messages}");
    }
}
