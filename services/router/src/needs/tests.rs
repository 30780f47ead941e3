//! What is needed, who is passed over, and what is said when nobody is left.

use penstock_proto::inference::v1::{
    ChatInput, ContentParts, FunctionTool, Message, TextInput, Tool, ToolCall,
};
use proptest::prelude::*;

use super::*;

fn message(role: &str, parts: &[&str]) -> Message {
    let part = |kind: &&str| ContentPart { r#type: (*kind).into(), ..ContentPart::default() };
    let content = Content::Parts(ContentParts { parts: parts.iter().map(part).collect() });
    Message { role: role.into(), content: Some(content), ..Message::default() }
}

fn chat(messages: Vec<Message>) -> GenerateRequest {
    GenerateRequest { input: Some(Input::Chat(ChatInput { messages })), ..GenerateRequest::default() }
}

#[test]
fn a_request_needs_what_it_asks_for() {
    let plain = || chat(vec![message("user", &["text"])]);
    let tool = Tool { function: Some(FunctionTool::default()), ..Tool::default() };
    let called = Message { tool_calls: vec![ToolCall::default()], ..message("assistant", &[]) };
    let text = TextInput { logprobs: Some(0), ..TextInput::default() };
    let schema = |json: &str| GenerateRequest { response_format_json: Some(json.into()), ..plain() };
    for (request, needs) in [
        (plain(), Needs::CHAT),
        (chat(vec![message("user", &["text", "image_url"])]), Needs::CHAT.and(Needs::IMAGES)),
        (chat(vec![message("user", &["input_audio"]), message("user", &[])]), Needs::CHAT.and(Needs::AUDIO)),
        (chat(vec![message("user", &[]), message("assistant", &["text"])]), Needs::CHAT.and(Needs::PREFILL)),
        (chat(vec![called]), Needs::CHAT),
        (GenerateRequest { tools: vec![tool], ..plain() }, Needs::CHAT.and(Needs::TOOLS)),
        (GenerateRequest { functions_json: Some("[]".into()), ..plain() }, Needs::CHAT.and(Needs::TOOLS)),
        (schema(r#"{"type":"json_schema"}"#), Needs::CHAT.and(Needs::JSON_SCHEMA)),
        (schema(r#"{"type":"json_object"}"#), Needs::CHAT),
        (GenerateRequest { logprobs: Some(true), ..plain() }, Needs::CHAT.and(Needs::LOGPROBS)),
        (GenerateRequest { logprobs: Some(false), n: Some(1), ..plain() }, Needs::CHAT),
        (GenerateRequest { n: Some(2), ..plain() }, Needs::CHAT.and(Needs::CHOICES)),
        (
            GenerateRequest { input: Some(Input::Text(text)), ..GenerateRequest::default() },
            Needs::COMPLETIONS.and(Needs::LOGPROBS),
        ),
    ] {
        assert_eq!(Needs::of(&request), needs, "{request:?}");
    }
}

#[test]
fn what_nobody_said_is_tried() {
    assert_eq!(Needs::unmet(None), Needs::default());
    assert_eq!(Needs::unmet(Some(&Capabilities::default())), Needs::default());
    let known =
        Capabilities { chat: Some(true), tools: Some(false), vision: Some(false), ..Capabilities::default() };
    assert_eq!(Needs::unmet(Some(&known)), Needs::TOOLS.and(Needs::IMAGES));
    let nothing = Capabilities {
        chat: Some(false),
        completions: Some(false),
        embeddings: Some(false),
        moderations: Some(false),
        tools: Some(false),
        vision: Some(false),
        audio: Some(false),
        json_schema: Some(false),
        prefill: Some(false),
        logprobs: Some(false),
        multiple_choices: Some(false),
        ..Capabilities::default()
    };
    assert_eq!(Needs::unmet(Some(&nothing)), Needs((1 << TABLE.len()) - 1), "each of them is looked at");
}

fn refused(needs: Needs, lacks: &[Needs]) -> Error {
    needs.refusal(lacks.iter().copied())
}

#[test]
fn what_nobody_can_do_is_said() {
    let (tools, images) = (Needs::CHAT.and(Needs::TOOLS), Needs::IMAGES);
    let error = refused(tools.and(Needs::CHOICES), &[Needs::TOOLS.and(Needs::CHOICES), Needs::TOOLS]);
    assert_eq!(error.reason, Reason::Unsupported);
    assert_eq!(error.violations, [Violation::new("tools", "no deployment of the model can use tools")]);

    // Each can be met by somebody, all of it by nobody.
    let error = refused(tools.and(images), &[Needs::TOOLS, images]);
    let fields: Vec<_> = error.violations.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!((error.reason, fields), (Reason::Unsupported, vec!["tools", "messages"]));

    // What only those cannot do that are none for this kind of request is not in the way.
    let error = refused(tools.and(images), &[Needs::CHAT.and(images), Needs::TOOLS]);
    assert_eq!(error.violations, [Violation::new("tools", "no deployment of the model can use tools")]);

    let error = refused(tools, &[Needs::CHAT.and(Needs::TOOLS), Needs::CHAT]);
    assert_eq!(error.reason, Reason::NotOffered);
    assert_eq!(error.message, "no deployment of the model answers chat completions");
}

proptest! {
    /// Whoever lacks what, something is named that is needed.
    #[test]
    fn a_refusal_names_what_is_needed(needs in 1_u16..1 << 11, lacks in prop::collection::vec(0_u16..1 << 11, 1..6)) {
        let lacks: Vec<_> = lacks.into_iter().map(Needs).filter(|lacks| lacks.0 & needs != 0).collect();
        prop_assume!(!lacks.is_empty());
        let error = refused(Needs(needs), &lacks);
        let fields: Vec<_> = Needs(needs).names().map(|need| need.field).collect();
        prop_assert!(error.reason == Reason::NotOffered || !error.violations.is_empty());
        prop_assert!(error.violations.iter().all(|violation| fields.contains(&violation.field.as_str())));
    }
}
