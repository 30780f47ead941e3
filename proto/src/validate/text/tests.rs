//! Texts as strings and as tokens: what may be empty, how many there may be.

use super::super::{count_tokens_request, embed_request, generate_request, moderate_request};
use crate::inference::v1::{
    CountTokensRequest, EmbedRequest, GenerateRequest, ModerateRequest, Prompt, TextInput, TextList,
    TokenList, TokenLists,
    generate_request::Input,
    prompt::{
        self,
        Kind::{Text, Texts, TokenLists as Lists, Tokens},
    },
};

type Request = GenerateRequest;

fn completion(prompt: prompt::Kind) -> Request {
    let text = TextInput { prompt: Some(Prompt { kind: Some(prompt) }), ..TextInput::default() };
    Request { model: "m".into(), input: Some(Input::Text(text)), ..Request::default() }
}

fn fields(request: &Request) -> Vec<String> {
    generate_request(request).into_iter().map(|violation| violation.field).collect()
}

fn texts<const N: usize>(values: [&str; N]) -> TextList {
    TextList { values: values.map(Into::into).into() }
}

#[test]
fn texts_to_continue_are_there_and_bounded() {
    let tokens = |values: &[i64]| TokenList { values: values.into() };
    for fine in [
        Text(String::new()),
        Texts(texts(["a", ""])),
        Tokens(tokens(&[1])),
        Lists(TokenLists { values: vec![tokens(&[1, 2]), tokens(&[3])] }),
    ] {
        assert_eq!(fields(&completion(fine.clone())), Vec::<String>::new(), "{fine:?}");
    }
    for wrong in [Texts(texts([])), Tokens(tokens(&[])), Lists(TokenLists::default())] {
        assert_eq!(fields(&completion(wrong.clone())), ["prompt"], "{wrong:?}");
    }
    let lists = Lists(TokenLists { values: vec![tokens(&[1]), tokens(&[])] });
    assert_eq!(fields(&completion(lists)), ["prompt[1]"]);
    assert_eq!(
        fields(&Request {
            input: Some(Input::Text(TextInput::default())),
            ..completion(Text(String::new()))
        }),
        ["prompt"]
    );

    let with = |stream: bool, n: Option<i64>, logprobs: Option<i64>, best_of: Option<i64>| {
        let mut request = Request { n, stream, max_tokens: Some(0), ..completion(Texts(texts(["a", "b"]))) };
        if let Some(Input::Text(text)) = &mut request.input {
            (text.logprobs, text.best_of) = (logprobs, best_of);
        }
        fields(&request)
    };
    assert!(with(false, Some(2), Some(5), Some(20)).is_empty());
    assert!(with(true, Some(2), Some(0), Some(2)).is_empty());
    assert!(with(false, Some(64), None, None).is_empty());
    assert_eq!(with(false, Some(65), None, None), ["n"], "of both prompts together");
    assert_eq!(with(false, Some(2), Some(6), Some(1)), ["logprobs", "best_of"]);
    assert_eq!(with(false, None, None, Some(21)), ["best_of"]);
    assert_eq!(with(true, None, None, Some(2)), ["best_of"]);
}

#[test]
fn inputs_to_embed_are_there_and_bounded() {
    let check = |kind, dimensions| {
        let input = Some(Prompt { kind });
        let request = EmbedRequest { model: "m".into(), input, dimensions, ..EmbedRequest::default() };
        embed_request(&request).into_iter().map(|violation| violation.field).collect::<Vec<_>>()
    };
    let many = |count| TextList { values: vec!["x".into(); count] };
    let tokens = |count| TokenList { values: vec![1; count] };
    assert!(check(Some(Texts(many(2048))), Some(1)).is_empty());
    assert!(check(Some(Tokens(tokens(2048))), None).is_empty());
    assert_eq!(check(Some(Texts(many(2049))), Some(0)), ["input", "dimensions"]);
    assert_eq!(check(Some(Tokens(tokens(2049))), None), ["input"]);
    assert_eq!(check(Some(Text(String::new())), None), ["input"]);
    assert_eq!(check(Some(Texts(texts(["", "a", ""]))), None), ["input[0]", "input[2]"]);
    assert_eq!(check(Some(Tokens(tokens(0))), None), ["input"]);
    assert_eq!(check(Some(Lists(TokenLists { values: vec![tokens(1), tokens(0)] })), None), ["input[1]"]);
    assert_eq!(check(None, None), ["input"]);
    assert_eq!(
        embed_request(&EmbedRequest::default()).iter().map(|v| v.field.as_str()).collect::<Vec<_>>(),
        ["model", "input"]
    );
}

#[test]
fn what_is_judged_has_its_shape() {
    let check = |json: &str| {
        let request = ModerateRequest { input_json: json.into(), ..ModerateRequest::default() };
        moderate_request(&request).into_iter().map(|violation| violation.field).collect::<Vec<_>>()
    };
    let image = r#"[{"type":"text","text":"x"},{"type":"image_url","image_url":{"url":"data:,x"}}]"#;
    for json in ["\"\"", "[\"a\",\"b\"]", image] {
        assert_eq!(check(json), Vec::<String>::new(), "{json}");
    }
    for (json, expected) in [
        ("", &["input"][..]),
        ("null", &["input"]),
        ("{", &["input"]),
        ("1", &["input"]),
        ("[]", &["input"]),
        ("[\"a\",1]", &["input[1]"]),
        (
            r#"[{},{"type":"text"},{"type":"sound"},{"type":"image_url"},null]"#,
            &["input[0].type", "input[1].text", "input[2].type", "input[3].image_url", "input[4]"],
        ),
    ] {
        assert_eq!(check(json), expected, "{json}");
    }
    let named =
        ModerateRequest { model: Some("a\nb".into()), input_json: "\"x\"".into(), ..Default::default() };
    assert_eq!(moderate_request(&named)[0].field, "model");
}

#[test]
fn what_is_counted_is_valid_if_it_could_be_asked() {
    let fields = |request: Option<GenerateRequest>| {
        let violations = count_tokens_request(&CountTokensRequest { request });
        violations.into_iter().map(|violation| violation.field).collect::<Vec<_>>()
    };
    assert_eq!(fields(None), ["request"]);
    assert_eq!(fields(Some(GenerateRequest::default())), ["model", "messages"]);
}
