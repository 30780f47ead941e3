//! Requests and answers at random: everything that OpenAI's specification allows, and members that it does not
//! name on every level, with numbers that no double holds and names in no order.

use penstock_tests::exact::Json;
use proptest::{collection::vec, option, prelude::*, sample::select};

type Members = Vec<(String, Json)>;
type Made = BoxedStrategy<Json>;

/// Texts: any characters, those that JSON escapes among them.
fn text() -> BoxedStrategy<String> {
    prop_oneof![
        4 => "\\PC{0,8}",
        1 => "[\u{0}-\u{1f}\"\\\\/\u{7f}\u{2028}\u{feff}]{1,4}",
        1 => Just("👩\u{200d}🚀".to_owned()),
    ]
    .boxed()
}

fn string() -> Made {
    text().prop_map(Json::Text).boxed()
}

fn name() -> Made {
    "[a-zA-Z0-9_-]{1,12}".prop_map(Json::Text).boxed()
}

fn one_of(values: &'static [&'static str]) -> Made {
    select(values).prop_map(Json::text).boxed()
}

fn flag() -> Made {
    any::<bool>().prop_map(Json::Bool).boxed()
}

fn int(range: std::ops::RangeInclusive<i64>) -> Made {
    range.prop_map(Json::int).boxed()
}

/// A number in hundredths, written as people write it.
fn decimal(range: std::ops::RangeInclusive<i64>) -> Made {
    let text = |hundredths: i64| {
        let sign = if hundredths < 0 { "-" } else { "" };
        format!("{sign}{}.{:02}", hundredths.abs() / 100, hundredths.abs() % 100)
    };
    range.prop_map(move |hundredths| Json::Number(text(hundredths))).boxed()
}

fn list(item: Made, size: std::ops::RangeInclusive<usize>) -> Made {
    vec(item, size).prop_map(Json::List).boxed()
}

/// A value that nobody types.
fn anything() -> Made {
    let number = prop_oneof![
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?",
        select(&["-0", "1.50", "1E5", "9007199254740993", "18446744073709551616", "0.1e-7", "1e400"][..])
            .prop_map(str::to_owned),
    ];
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::Bool),
        number.prop_map(Json::Number),
        text().prop_map(Json::Text),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Json::List),
            vec((text(), inner), 0..4).prop_map(|members| Json::Object(unique(members))),
        ]
    })
    .boxed()
}

fn free_object() -> Made {
    vec((text(), anything()), 0..4).prop_map(|members| Json::Object(unique(members))).boxed()
}

fn unique(mut members: Members) -> Members {
    let mut seen = std::collections::HashSet::new();
    members.retain(|(name, _)| seen.insert(name.clone()));
    members
}

/// Members that no specification names. No two differ only by case: that is refused, as ambiguous.
fn unknown() -> BoxedStrategy<Members> {
    let name = "x_[a-z0-9_é漢 \"\\\\.]{0,5}";
    prop_oneof![2 => Just(Vec::new()), 1 => vec((name, anything()), 1..3).prop_map(unique)].boxed()
}

/// An object of these members, each of which is there, or null, or missing; and of unknown ones.
fn object(required: Vec<(&'static str, Made)>, others: Vec<(&'static str, Made)>) -> Made {
    let mut members: Vec<BoxedStrategy<Option<(String, Json)>>> = Vec::new();
    for (name, made) in required {
        members.push(made.prop_map(move |value| Some((name.to_owned(), value))).boxed());
    }
    for (name, made) in others {
        let given = prop_oneof![8 => made, 1 => Just(Json::Null)];
        members.push(option::weighted(0.3, given.prop_map(move |value| (name.to_owned(), value))).boxed());
    }
    let whole = (members, unknown())
        .prop_map(|(members, unknown)| members.into_iter().flatten().chain(unknown).collect::<Members>());
    whole.prop_shuffle().prop_map(Json::Object).boxed()
}

/// Exactly these members, as they are.
fn raw(members: Vec<(&'static str, Made)>) -> Made {
    let (names, values): (Vec<_>, Vec<_>) = members.into_iter().unzip();
    let named = move |values: Vec<Json>| names.iter().map(|name| (*name).to_owned()).zip(values).collect();
    values.prop_map(move |values| Json::Object(named(values))).boxed()
}

fn kind(name: &'static str) -> (&'static str, Made) {
    ("type", Just(Json::text(name)).boxed())
}

fn part() -> Made {
    let image = object(
        vec![("url", "https://example.com/[a-z]{1,5}".prop_map(Json::Text).boxed())],
        vec![("detail", one_of(&["auto", "low", "high"]))],
    );
    let audio =
        object(vec![("data", one_of(&["UklGRg==", "//8="])), ("format", one_of(&["wav", "mp3"]))], vec![]);
    let file = object(
        vec![],
        vec![("file_data", one_of(&["JVBERi0="])), ("file_id", name()), ("filename", string())],
    );
    prop_oneof![
        3 => text_part(),
        1 => object(vec![kind("image_url"), ("image_url", image)], vec![]),
        1 => object(vec![kind("input_audio"), ("input_audio", audio)], vec![]),
        1 => object(vec![kind("file"), ("file", file)], vec![]),
    ]
    .boxed()
}

fn text_part() -> Made {
    object(vec![kind("text"), ("text", string())], vec![])
}

fn content(part: Made) -> Made {
    prop_oneof![string(), list(part, 1..=3)].boxed()
}

fn function_call() -> Made {
    object(vec![("name", name()), ("arguments", string())], vec![])
}

fn call() -> Made {
    let custom = object(vec![("name", name()), ("input", string())], vec![]);
    prop_oneof![
        object(vec![kind("function"), ("id", name()), ("function", function_call())], vec![]),
        object(vec![kind("custom"), ("id", name()), ("custom", custom)], vec![]),
    ]
    .boxed()
}

fn message() -> Made {
    let role = |name: &'static str| ("role", Just(Json::text(name)).boxed());
    let refusal = object(vec![kind("refusal"), ("refusal", string())], vec![]);
    let said = content(prop_oneof![text_part(), refusal].boxed());
    let other = || vec![("name", name())];
    prop_oneof![
        3 => object(vec![role("user"), ("content", content(part()))], other()),
        1 => object(vec![role("system"), ("content", content(text_part()))], other()),
        1 => object(vec![role("developer"), ("content", content(text_part()))], other()),
        1 => object(vec![role("tool"), ("content", content(text_part())), ("tool_call_id", name())], vec![]),
        1 => object(vec![role("function"), ("content", string()), ("name", name())], vec![]),
        2 => object(
            vec![role("assistant"), ("content", said)],
            vec![("name", name()), ("refusal", string()), ("reasoning_content", string())],
        ),
        2 => object(vec![role("assistant"), ("tool_calls", list(call(), 1..=3))], vec![("content", string())]),
        1 => object(vec![role("assistant"), ("function_call", function_call())], vec![("content", string())]),
    ]
    .boxed()
}

fn tool() -> Made {
    let function = object(
        vec![("name", name())],
        vec![("description", string()), ("parameters", free_object()), ("strict", flag())],
    );
    let format = raw(vec![kind("text")]);
    let custom = object(vec![("name", name())], vec![("description", string()), ("format", format)]);
    prop_oneof![
        3 => object(vec![kind("function"), ("function", function)], vec![]),
        1 => object(vec![kind("custom"), ("custom", custom)], vec![]),
    ]
    .boxed()
}

fn tool_choice() -> Made {
    let named = |choice: &'static str| raw(vec![kind(choice), (choice, raw(vec![("name", name())]))]);
    let function = raw(vec![kind("function"), ("function", raw(vec![("name", name())]))]);
    let allowed = raw(vec![("mode", one_of(&["auto", "required"])), ("tools", list(function, 1..=2))]);
    prop_oneof![
        one_of(&["none", "auto", "required"]),
        named("function"),
        named("custom"),
        raw(vec![kind("allowed_tools"), ("allowed_tools", allowed)]),
    ]
    .boxed()
}

fn response_format() -> Made {
    let schema = raw(vec![("name", name()), ("schema", free_object()), ("strict", flag())]);
    prop_oneof![
        raw(vec![kind("text")]),
        raw(vec![kind("json_object")]),
        raw(vec![kind("json_schema"), ("json_schema", schema)]),
    ]
    .boxed()
}

fn logit_bias() -> Made {
    let member = ("[1-9][0-9]{0,5}", int(-100..=100));
    vec(member, 0..4).prop_map(|members| Json::Object(unique(members))).boxed()
}

fn metadata() -> Made {
    vec((text(), string()), 0..4).prop_map(|members| Json::Object(unique(members))).boxed()
}

/// A request.
pub(super) fn request() -> Made {
    let voice = raw(vec![("voice", one_of(&["alloy", "ash"])), ("format", one_of(&["wav", "mp3"]))]);
    let place = raw(vec![kind("approximate"), ("approximate", raw(vec![("city", string())]))]);
    let web = raw(vec![("user_location", place), ("search_context_size", one_of(&["low", "high"]))]);
    let function = raw(vec![("name", name()), ("parameters", free_object())]);
    let stop = prop_oneof!["[a-z\n]{1,5}".prop_map(Json::Text), vec("[a-z\n]{1,5}", 1..=4).prop_map(texts)];
    let whole = object(
        vec![("model", Just(Json::text("test-model")).boxed()), ("messages", list(message(), 1..=4))],
        vec![
            ("temperature", decimal(0..=200)),
            ("top_p", decimal(0..=100)),
            ("n", int(1..=8)),
            ("max_tokens", int(1..=1000)),
            ("max_completion_tokens", int(1..=1000)),
            ("stop", stop.boxed()),
            ("presence_penalty", decimal(-200..=200)),
            ("frequency_penalty", decimal(-200..=200)),
            ("seed", int(i64::MIN..=i64::MAX)),
            ("logprobs", flag()),
            ("top_logprobs", int(0..=20)),
            ("logit_bias", logit_bias()),
            ("user", string()),
            ("tools", list(tool(), 1..=3)),
            ("tool_choice", tool_choice()),
            ("parallel_tool_calls", flag()),
            ("response_format", response_format()),
            ("reasoning_effort", one_of(&["none", "minimal", "low", "medium", "high", "xhigh"])),
            ("service_tier", one_of(&["auto", "default", "flex", "priority"])),
            ("verbosity", one_of(&["low", "medium", "high"])),
            ("modalities", list(one_of(&["text", "audio"]), 1..=2)),
            ("audio", voice),
            ("prediction", raw(vec![kind("content"), ("content", string())])),
            ("web_search_options", web),
            ("prompt_cache_key", string()),
            ("safety_identifier", string()),
            ("functions", list(function, 1..=2)),
            ("function_call", prop_oneof![one_of(&["none", "auto"]), raw(vec![("name", name())])].boxed()),
            ("store", Just(Json::Bool(false)).boxed()),
            ("metadata", metadata()),
            ("stream", flag()),
            (
                "stream_options",
                object(vec![], vec![("include_usage", flag()), ("include_obfuscation", flag())]),
            ),
        ],
    );
    whole.prop_map(agreeing).boxed()
}

fn texts(texts: Vec<String>) -> Json {
    Json::List(texts.into_iter().map(Json::Text).collect())
}

/// Takes out what is wrong beside what is there.
fn agreeing(mut request: Json) -> Json {
    if *request.get("stream") != Json::Bool(true) {
        request.take("stream_options");
    }
    if *request.get("logprobs") != Json::Bool(true) {
        request.take("top_logprobs");
    }
    if *request.get("tools") == Json::Null {
        request.take("tool_choice");
        request.take("parallel_tool_calls");
    }
    if *request.get("functions") == Json::Null {
        request.take("function_call");
    }
    let (tools, functions) = (request.get("tools").clone(), request.get("functions").clone());
    let choice = request.take("tool_choice");
    request
        .members_mut()
        .extend(among(choice, tools.items()).map(|choice| ("tool_choice".to_owned(), choice)));
    let call = request.take("function_call");
    let call = match call {
        Json::Object(_) => Json::Object(vec![("name".into(), functions.items()[0].get("name").clone())]),
        other => other,
    };
    request.members_mut().extend((call != Json::Null).then(|| ("function_call".to_owned(), call)));
    request
}

/// The choice with names of tools that are there; none if there is no such tool, or no choice.
fn among(mut choice: Json, tools: &[Json]) -> Option<Json> {
    let named = |kind: &str| {
        let tool = tools.iter().find(|tool| tool.get("type").as_text() == Some(kind))?;
        Some(Json::Object(vec![("name".into(), tool.get(kind).get("name").clone())]))
    };
    match choice.get("type").as_text().map(str::to_owned).as_deref() {
        Some(kind @ ("function" | "custom")) => choice.set(kind, named(kind)?),
        Some(_) => {
            let mode = choice.get("allowed_tools").get("mode").clone();
            let tool = Json::Object(vec![
                ("type".into(), Json::text("function")),
                ("function".into(), named("function")?),
            ]);
            let allowed = vec![("mode".into(), mode), ("tools".into(), Json::List(vec![tool]))];
            choice.set("allowed_tools", Json::Object(allowed));
        }
        None => {}
    }
    (choice != Json::Null).then_some(choice)
}

/// What one choice says, chunk by chunk; without what is the same on all chunks.
fn choice(index: i64) -> BoxedStrategy<Vec<Json>> {
    let said =
        text().prop_filter("an empty thought is none", |text| !text.is_empty()).prop_map(Json::Text).boxed();
    let piece = prop_oneof![
        4 => object(vec![("content", string())], vec![]),
        1 => object(vec![("reasoning_content", said.clone())], vec![]),
        1 => object(vec![("refusal", said)], vec![]),
    ];
    let ends = select(&["stop", "length", "content_filter"][..]);
    let calls = prop_oneof![2 => Just(Vec::new()), 1 => vec((call(), vec("[a-z{}\"]{0,6}", 0..3)), 1..3)];
    let parts = (vec((piece, chunk_of_choice()), 0..5), calls, ends, vec(chunk_of_choice(), 8));
    let whole = parts.prop_map(move |(pieces, calls, end, shells)| {
        let mut shells = shells.into_iter().cycle();
        let mut shell = |delta: Json| {
            let mut choice = shells.next().unwrap_or(Json::Object(Vec::new()));
            choice.set("delta", delta);
            choice
        };
        let mut choices = vec![shell(Json::parse(r#"{"role":"assistant","content":""}"#))];
        for (delta, mut around) in pieces {
            around.set("delta", delta);
            choices.push(around);
        }
        let called = !calls.is_empty();
        for (at, (mut whole, more)) in calls.into_iter().enumerate() {
            let of_function = *whole.get("function") != Json::Null;
            whole.set("index", Json::int(i64::try_from(at).unwrap()));
            let mut fragments = vec![whole];
            for piece in more {
                let (kind, text) = if of_function { ("function", "arguments") } else { ("custom", "input") };
                let piece = Json::Object(vec![(text.to_owned(), Json::Text(piece))]);
                let index = Json::int(i64::try_from(at).unwrap());
                fragments.push(Json::Object(vec![("index".into(), index), (kind.into(), piece)]));
            }
            for fragment in fragments {
                choices.push(shell(Json::Object(vec![("tool_calls".into(), Json::List(vec![fragment]))])));
            }
        }
        let mut last = shell(Json::Object(Vec::new()));
        last.set("finish_reason", Json::text(if called { "tool_calls" } else { end }));
        choices.push(last);
        choices.iter_mut().for_each(|choice| choice.set("index", Json::int(index)));
        choices
    });
    whole.boxed()
}

/// What a choice has beside its delta.
fn chunk_of_choice() -> Made {
    object(vec![], vec![("logprobs", raw(vec![("content", list(anything(), 0..=2))]))])
}

/// The chunks of an answer, without what is the same on all of them; the last one has the usage.
pub(super) fn answer() -> BoxedStrategy<Vec<Json>> {
    // No tokens at all are no usage: then they are counted.
    let usage = object(
        vec![("prompt_tokens", int(1..=1000)), ("completion_tokens", int(1..=1000))],
        vec![("prompt_tokens_details", free_object())],
    );
    let usage = usage.prop_map(|mut usage| {
        let tokens = |name| usage.get(name).as_int().unwrap();
        let total = tokens("prompt_tokens") + tokens("completion_tokens");
        usage.set("total_tokens", Json::int(total));
        usage
    });
    let choices = prop_oneof![3 => Just(1), 1 => Just(3)];
    let choices = choices.prop_flat_map(|count: i64| (0..count).map(choice).collect::<Vec<_>>());
    // The same on all chunks, also on those that the engine makes without it.
    let shell = object(vec![], vec![("system_fingerprint", Just(Json::text("fp_1")).boxed())]);
    (choices, shell, usage, any::<u64>())
        .prop_map(|(choices, shell, usage, mut order)| {
            let mut left: Vec<_> = choices.into_iter().map(|choice| choice.into_iter().peekable()).collect();
            let mut chunks = Vec::new();
            while left.iter_mut().any(|choice| choice.peek().is_some()) {
                // Whose turn it is, by a generator of its own: a choice that has ended is passed over.
                order = order.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let turn = usize::try_from(order >> 33).unwrap() % left.len();
                if let Some(choice) = left[turn].next() {
                    let mut chunk = shell.clone();
                    chunk.set("choices", Json::List(vec![choice]));
                    chunks.push(chunk);
                }
            }
            let mut last = shell;
            last.set("choices", Json::List(Vec::new()));
            last.set("usage", usage);
            chunks.push(last);
            chunks
        })
        .boxed()
}
