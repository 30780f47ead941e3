//! What a request for `auto` is taken for, and which model it goes to.

use penstock_proto::{
    adapter::v1::Price,
    auth::v1::Principal,
    inference::v1::{
        ChatInput, ContentPart, ContentParts, Message, TextInput, Tool, generate_request::Input,
        message::Content, prompt::Kind,
    },
    status::v1::State,
};
use proptest::prelude::*;

use super::*;
use crate::{
    config::{ModelConfig, Routing, Target},
    decision::Steering,
    registry::Deployment,
};

fn config() -> AutoConfig {
    let [simple, medium, complex] = ["small", "middle", "large"].map(str::to_owned);
    AutoConfig { simple, medium, complex, ..AutoConfig::default() }
}

fn chat(texts: &[&str]) -> GenerateRequest {
    let message = |text: &&str| Message {
        role: "user".into(),
        content: Some(Content::Text((*text).into())),
        ..Message::default()
    };
    let messages = texts.iter().map(message).collect();
    GenerateRequest { input: Some(Input::Chat(ChatInput { messages })), ..GenerateRequest::default() }
}

fn class_of(request: &GenerateRequest) -> (Class, String) {
    let (class, reasons) = classify(&config(), request, Needs::of(request));
    (class, reasons.join(", "))
}

#[test]
fn a_request_is_taken_for_what_speaks_for_it() {
    let long = "word ".repeat(1000);
    let translate = format!("Translate: {long}");
    let book = "word ".repeat(10_000);
    let summary = format!("Summarize: {book}");
    let tools = |count| GenerateRequest { tools: vec![Tool::default(); count], ..chat(&["hi"]) };
    let image = ContentPart { r#type: "image_url".into(), ..ContentPart::default() };
    let parts = Content::Parts(ContentParts { parts: vec![image] });
    let image = Message { role: "user".into(), content: Some(parts), ..Message::default() };
    let image = GenerateRequest {
        input: Some(Input::Chat(ChatInput { messages: vec![image] })),
        ..GenerateRequest::default()
    };
    let schema =
        GenerateRequest { response_format_json: Some(r#"{"type":"json_schema"}"#.into()), ..chat(&["hi"]) };
    let prompt = penstock_proto::inference::v1::Prompt { kind: Some(Kind::Text("explain".into())) };
    let text = Input::Text(TextInput { prompt: Some(prompt), ..TextInput::default() });
    let text = GenerateRequest { input: Some(text), ..GenerateRequest::default() };
    for (request, class, reasons) in [
        (chat(&["hi"]), Class::Simple, "short and plain"),
        (chat(&[&long]), Class::Medium, "1250 tokens"),
        (chat(&[&book]), Class::Complex, "12500 tokens"),
        (chat(&[&translate]), Class::Simple, "1252 tokens, one class less for the word `translate`"),
        (chat(&[&summary]), Class::Medium, "12502 tokens, one class less for the word `summarize`"),
        (chat(&["x"; 8]), Class::Medium, "8 messages"),
        (chat(&["x"; 30]), Class::Complex, "30 messages"),
        (chat(&["Please EXPLAIN it"]), Class::Medium, "the word `explain`"),
        (chat(&["Prove it, step by step"]), Class::Complex, "the word `prove`"),
        (chat(&["this is improved"]), Class::Simple, "short and plain"),
        (chat(&["prove it", "thanks"]), Class::Simple, "short and plain"),
        (chat(&["```rust"]), Class::Medium, "code"),
        (tools(1), Class::Medium, "1 tools"),
        (tools(8), Class::Complex, "8 tools"),
        (image, Class::Medium, "an image"),
        (schema, Class::Medium, "a JSON Schema"),
        (text, Class::Medium, "the word `explain`"),
    ] {
        assert_eq!(class_of(&request), (class, reasons.to_owned()));
    }
}

proptest! {
    /// Any text, cut anywhere, is read without harm, and not more of it than is said.
    #[test]
    fn any_text_is_read(texts in prop::collection::vec("\\PC{0,40}", 0..4), times in 1..2000_usize) {
        let texts: Vec<_> = texts.iter().map(|text| text.repeat(times)).collect();
        let request = chat(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        // Lower case may be longer than upper case, but not many times.
        prop_assert!(last_said(&request).len() <= 3 * READ_MAX_BYTES);
        prop_assert!(!class_of(&request).1.is_empty());
    }
}

struct Models(Vec<Deployment>);

impl Models {
    /// One deployment each of small, middle and large, at prices of 1, 10 and 100 dollars for a million tokens.
    fn new() -> Self {
        let deployment = |(id, price): (&str, f64)| Deployment {
            id: id.into(),
            price: Some(Price { input: price, output: price }),
            ..Deployment::default()
        };
        Self([("small", 1.0), ("middle", 10.0), ("large", 100.0)].map(deployment).into())
    }

    fn with(mut self, id: &str, change: impl Fn(&mut Deployment)) -> Self {
        self.0.iter_mut().filter(|one| one.id == id).for_each(change);
        self
    }

    /// The model that a request goes to with its class and the reasons, or why not.
    fn ask(
        &self,
        request: &GenerateRequest,
        allowed: &[&str],
        max_cost: Option<f64>,
    ) -> Result<(String, String), Reason> {
        let model = |name: &str| ModelConfig {
            name: name.into(),
            deployments: vec![Target { id: name.into(), weight: 1.0, priority: 1 }],
            ..ModelConfig::default()
        };
        let routing =
            Routing { models: ["small", "middle", "large"].map(model).into(), auto: Some(config()) };
        let reported: Vec<_> = self.0.iter().cloned().map(Into::into).collect();
        let registry = Registry::new(&routing, &reported);
        let allowed_models = allowed.iter().map(ToString::to_string).collect();
        let asked = Asked {
            name: "auto",
            needs: Needs::of(request),
            prompt_tokens: 500_000,
            completion_tokens: 500_000,
            principal: &Principal { allowed_models, ..Principal::default() },
            steering: &Steering { max_cost, ..Steering::default() },
            request: Some(request),
            counts: false,
            attempts: 4,
            all: false,
        };
        let decided = crate::choose::decide(&registry, &asked).map_err(|error| error.reason)?;
        assert_eq!(decided.decision.how, Match::Auto);
        let class = decided.decision.classification.unwrap();
        decided.route.map_err(|error| error.reason)?;
        Ok((decided.model.name.to_string(), class.reasons.join(", ")))
    }
}

#[test]
fn what_cannot_be_used_is_passed_over_upwards_for_ability_and_downwards_for_cost() {
    let went = |model: &str, reasons: &str| Ok((model.to_owned(), reasons.to_owned()));
    let medium = chat(&["explain"]);
    let models = Models::new();
    assert_eq!(models.ask(&medium, &[], None), went("middle", "the word `explain`"));
    assert_eq!(
        models.ask(&medium, &[], Some(5.0)),
        went("small", "the word `explain`, medium: its model costs too much")
    );
    assert_eq!(models.ask(&medium, &[], Some(0.5)), Err(Reason::Unsupported), "none is so cheap");

    let down = Models::new().with("middle", |one| one.state = State::Down);
    let reasons = "the word `explain`, medium: no deployment of its model works";
    assert_eq!(down.ask(&medium, &[], None), went("large", reasons));
    let all_down =
        down.with("small", |one| one.state = State::Down).with("large", |one| one.state = State::Down);
    assert_eq!(all_down.ask(&medium, &[], None).unwrap().0, "middle", "it is tried all the same");

    let picture = chat(&["hi"]);
    let unable = Models::new().with("small", |one| one.lacks = Needs::CHAT);
    assert_eq!(
        unable.ask(&picture, &[], None),
        went("middle", "short and plain, simple: its model cannot do what is asked")
    );
}

/// B7: `auto` opens no model that the key may not use, unless the key may use `auto`.
#[test]
fn auto_gives_no_rights() {
    let (models, medium) = (Models::new(), chat(&["explain"]));
    assert_eq!(models.ask(&medium, &["auto"], None).unwrap().0, "middle");
    assert_eq!(models.ask(&medium, &["middle"], None).unwrap().0, "middle");
    let (model, reasons) = models.ask(&medium, &["small"], None).unwrap();
    assert_eq!(model, "small");
    assert!(reasons.contains("medium: the API key may not use its model"), "{reasons}");
    assert_eq!(models.ask(&medium, &["other"], None), Err(Reason::ModelNotAllowed));
}
