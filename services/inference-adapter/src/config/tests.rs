//! Tests of the configuration.

use penstock_chassis::config::Environment;

use super::*;

fn read(text: Option<&str>, environment: &[(&str, &str)]) -> (Config, Vec<String>) {
    let mut document = Document::parse(text, Environment::of(environment.iter().copied())).unwrap();
    let mut section = document.section("inference_adapter");
    let config = Config::read(&mut section, &mut document);
    drop(section);
    let mistakes = document.finish().err().map_or_else(Vec::new, |mistakes| mistakes.0);
    (config, mistakes.iter().map(ToString::to_string).collect())
}

#[test]
fn without_a_file_engines_are_looked_for_and_the_simulated_one_is_there() {
    let (config, mistakes) = read(None, &[]);
    assert_eq!(mistakes, Vec::<String>::new());
    assert_eq!(config.discover.len(), 5);
    assert_eq!(config.discover[0].engine.kind, Kind::Ollama);
    assert!(config.discover[1..].iter().all(|place| place.engine.kind == Kind::OpenAi));
    assert_eq!(config.deployments[0].id, SIMULATED);
}

#[test]
fn places_to_look_at_can_be_set() {
    let places = "ollama+http://127.0.0.1:5, http://127.0.0.1:6";
    let (config, _) = read(None, &[("PENSTOCK_INFERENCE_ADAPTER__DISCOVER", places)]);
    let kinds: Vec<_> =
        config.discover.iter().map(|place| (place.engine.kind, place.engine.endpoint.port())).collect();
    assert_eq!(kinds, [(Kind::Ollama, Some(5)), (Kind::OpenAi, Some(6))]);
}

#[test]
fn with_a_file_nothing_is_guessed() {
    let (config, mistakes) = read(Some(""), &[]);
    assert!(config.discover.is_empty() && config.deployments.is_empty() && mistakes.is_empty());
    let (config, _) = read(Some("[inference_adapter]\ndiscover = ['http://gpu:8000']"), &[]);
    assert_eq!((config.discover.len(), config.deployments.len()), (1, 0), "named is not guessed");
}

#[test]
fn h1_every_mistake_has_its_line() {
    let text = "
[[deployments]]
id = 'a'
engine = 'openai'
model = 'm'
endpoint = 'http://user:hunter2@host/v1'
[[deployments]]
id = 'a'
engine = 'simulated'
endpoint = 'http://x'
tokens_per_second = 0
[[deployments]]
engine = 'vlm'
endpoint = 'gpu:8000'
[[deployments]]
id = 'a'
engine = 'ollama'
model = 'm'
api_key_env = 'NOT_SET'
endpoint = 'http://ok'
";
    let (_, mistakes) = read(Some(text), &[]);
    assert_eq!(
        mistakes,
        [
            "line 6: deployments[0].endpoint: must not hold a user or a password; use api_key_env",
            "line 8: deployments[1].id: is \"a\", which another deployment has already",
            "line 10: deployments[1].endpoint: is not for the simulated engine",
            "line 11: deployments[1].tokens_per_second: must be from 0.1 to 1000000",
            "line 12: deployments[2].id: is required",
            "line 13: deployments[2].engine: is \"vlm\"; must be one of \"openai\", \"vllm\", \"llama-cpp\", \"ollama\", \"anthropic\", \"penstock\", \"simulated\"",
            "line 14: deployments[2].endpoint: must be a URL such as \"http://gpu-a:8000/v1\"",
            "line 16: deployments[3].id: is \"a\", which another deployment has already",
            "line 19: deployments[3].api_key_env: names the environment variable NOT_SET, which is not set",
        ]
    );
}

#[test]
fn a_deployment_without_endpoint_is_told_so_once() {
    let (_, mistakes) = read(Some("[[deployments]]\nid = 'a'\nengine = 'openai'\nmodel = 'm'"), &[]);
    assert_eq!(mistakes, ["line 1: deployments[0].endpoint: is required"]);
}

#[test]
fn deployments_say_what_they_can_do_and_what_they_do_not_get() {
    let text = "
[[deployments]]
id = 'a'
engine = 'vllm'
model = 'm'
endpoint = 'http://gpu:8000/v1'
context_tokens = 4096
capabilities = { tools = true, vision = false }
deny = ['top_k']
[[deployments]]
id = 'b'
engine = 'penstock'
model = 'm'
endpoint = 'http://edge:4000'
[[deployments]]
id = 'c'
engine = 'anthropic'
model = 'm'
endpoint = 'https://api.example'
answer_tokens = 100
";
    let (config, mistakes) = read(Some(text), &[]);
    assert_eq!(mistakes, [""; 0]);
    let declared = config.deployments[0].declared;
    assert_eq!(
        (declared.tools, declared.vision, declared.audio, declared.context_tokens),
        (Some(true), Some(false), None, Some(4096))
    );
    assert_eq!(config.deployments[0].deny, ["top_k"]);
    assert!(matches!(config.deployments[1].engine, EngineConfig::Mesh { .. }));
    assert!(matches!(
        config.deployments[2].engine,
        EngineConfig::Remote(RemoteConfig { answer_tokens: Some(100), .. })
    ));
}

#[test]
fn h1_mistakes_of_capabilities_and_denials_have_their_line() {
    let text = "
[[deployments]]
id = 'a'
engine = 'penstock'
model = 'm'
endpoint = 'https://edge:4000'
capabilities = { tool = true }
deny = ['messages']
[[deployments]]
id = 'b'
engine = 'openai'
model = 'm'
endpoint = 'http://x'
answer_tokens = 7
capabilities = { vision = 'yes' }
[inference_adapter]
discover = ['anthropic+https://api.example']
";
    let (_, mistakes) = read(Some(text), &[]);
    for expected in [
        "line 6: deployments[0].endpoint: must be of the form \"http://host:port[,host:port…]\" for another mesh",
        "line 7: deployments[0].capabilities.tool: is not a known key; did you mean `tools`?",
        "line 8: deployments[0].deny: must name members of requests that the gateway does not need itself",
        "line 15: deployments[1].capabilities.vision: is a string, not true or false",
        "line 17: inference_adapter.discover: names an engine that cannot be looked for; use [[deployments]]",
    ] {
        assert!(mistakes.iter().any(|mistake| mistake == expected), "{expected}\n{mistakes:#?}");
    }
    assert!(
        mistakes.iter().any(|mistake| mistake.contains("deployments[1].answer_tokens: is not a known key"))
    );
    assert_eq!(mistakes.len(), 6, "{mistakes:#?}");
}

#[test]
fn a_deployment_without_a_model_stands_for_every_model_of_its_engine() {
    let text = "
[[deployments]]
id = 'a'
engine = 'ollama'
endpoint = 'http://a'
keep_alive = '30m'
context_tokens = 4096
[[deployments]]
id = 'b'
engine = 'openai'
endpoint = 'http://b'
model = '*'
api_key_env = 'KEY'
first_token_timeout = '5s'
[[deployments]]
id = 'c'
engine = 'openai'
endpoint = 'http://c'
model = 'm'
";
    let (config, mistakes) = read(Some(text), &[("KEY", "secret")]);
    assert_eq!(mistakes, Vec::<String>::new());
    assert_eq!(config.deployment_ids().collect::<Vec<_>>(), ["c", "a/", "b/"]);
    let [a, b] = config.discover.as_slice() else { panic!("{:?}", config.discover) };
    assert_eq!((a.id.as_deref(), a.engine.keep_alive_seconds), (Some("a"), Some(1800)));
    assert_eq!((a.engine.context_tokens, a.engine.api_key.is_some()), (Some(4096), false));
    // Ten minutes for who loads the model first.
    assert_eq!(a.terms.limits.first_token_timeout, Duration::from_secs(600));
    assert_eq!(b.terms.limits.first_token_timeout, Duration::from_secs(5));
    assert!(b.engine.api_key.is_some());
    let c = &config.deployments[0].terms;
    assert_eq!(c.limits.first_token_timeout, config.limits.first_token_timeout, "as for every engine");
}

#[test]
fn every_deployment_has_its_own_terms_and_the_usual_ones_where_it_says_nothing() {
    let text = "
[inference_adapter]
answer_timeout = '20s'
max_streams_per_deployment = 7
queue_max = 8
[inference_adapter.breaker]
window = '10s'
probes = 3
[[deployments]]
id = 'a'
engine = 'openai'
endpoint = 'http://a'
connect_timeout = '1s'
stall_timeout = '2s'
total_timeout = '3s'
first_token_timeout = '40s'
tags = ['eu', 'gpu']
price = { input = 0.15, output = 0.6 }
load_time = '20s'
max_concurrent = 1
queue_max = 0
queue_timeout = '4s'
breaker = { minimum_calls = 2, failure_rate = 0.1, open = '1s', open_max = '1s' }
[[deployments]]
id = 'b'
engine = 'simulated'
answer_timeout = '5s'
";
    let (config, mistakes) = read(Some(text), &[]);
    assert_eq!(mistakes, Vec::<String>::new());
    let second = Duration::from_secs(1);
    let Terms { limits, admission, tags, price, load_time } = &config.discover[0].terms;
    assert_eq!(
        (limits.connect_timeout, limits.stall_timeout, limits.total_timeout),
        (second, 2 * second, 3 * second)
    );
    assert_eq!(limits.answer_timeout, 40 * second, "a plain answer waits for its first token, too");
    assert_eq!((tags.as_slice(), *load_time), (&["eu".to_owned(), "gpu".to_owned()][..], Some(20 * second)));
    assert_eq!(price.map(|price| (price.input, price.output)), Some((0.15, 0.6)));
    assert_eq!((admission.max_concurrent, admission.queue_max, admission.queue_timeout), (1, 0, 4 * second));
    let breaker = admission.breaker;
    assert_eq!((breaker.window, breaker.probes, breaker.minimum_calls), (10 * second, 3, 2));
    assert_eq!((breaker.failure_rate, breaker.open, breaker.open_max), (0.1, second, second));
    let Terms { limits, admission, tags, price, load_time } = &config.deployments[0].terms;
    assert_eq!((limits.answer_timeout, limits.total_timeout), (5 * second, 3600 * second));
    assert_eq!((admission.max_concurrent, admission.queue_max, admission.breaker.probes), (7, 8, 3));
    assert!(tags.is_empty() && price.is_none() && load_time.is_none());
}

#[test]
fn terms_that_make_no_sense_have_their_line() {
    let text = "[[deployments]]
id = 'a'
engine = 'simulated'
tags = ['a,b']
price = { input = -1, cached = 2 }
breaker = { open = '10s', open_max = '5s', failure_rate = 2 }
connect_timeout = '1s'
[inference_adapter.breaker]
open = '2m'";
    let (_, mistakes) = read(Some(text), &[]);
    let lines: Vec<_> = mistakes.iter().map(|mistake| mistake.split(' ').nth(1).unwrap()).collect();
    assert_eq!(lines, ["4:", "5:", "5:", "6:", "6:", "7:", "8:"], "{mistakes:?}");
}

#[test]
fn generations_are_made_only_where_the_file_wants_them() {
    let (config, mistakes) = read(None, &[]);
    assert!(
        mistakes.is_empty() && !config.configured().asks_for_generations(config.generation_probe.enabled)
    );
    let probe = config.generation_probe;
    assert_eq!((probe.interval, probe.timeout), (Duration::from_secs(300), Duration::from_secs(30)));
    assert_eq!(probe.tokens_per_day, 1000);
    let simulated = "[[deployments]]\nid = 'a'\nengine = 'simulated'\n";
    let every = "[[deployments]]\nid = 'a'\nengine = 'openai'\nendpoint = 'http://a'\n";
    let on = "[inference_adapter.generation_probe]\nenabled = true\n";
    for (text, expected) in [
        (simulated.to_owned(), false),
        (format!("{simulated}generation_probe = true"), true),
        (format!("{every}generation_probe = true"), true),
        (format!("{on}{simulated}"), true),
        (format!("{on}{simulated}generation_probe = false"), false),
    ] {
        let (config, mistakes) = read(Some(&text), &[]);
        assert_eq!(mistakes, Vec::<String>::new(), "{text}");
        let usual = config.generation_probe.enabled;
        assert_eq!(config.configured().asks_for_generations(usual), expected, "{text}");
    }
    let (_, mistakes) =
        read(Some("[inference_adapter.generation_probe]\ntokens_per_day = 3\nmodel = 'm'"), &[]);
    assert_eq!(mistakes.len(), 2, "{mistakes:?}");
}
