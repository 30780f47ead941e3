//! A client's JSON read into a request to continue texts. Only shapes are judged here, as in `chat::request`.

use penstock_proto::{
    inference::v1::{
        Extension, GenerateRequest, Metadata, Prompt, StopSequences, StreamOptions, TextInput,
        generate_request::Input,
    },
    validate,
};

use super::prompt::Texts;
use crate::{
    chat::request::{Pairs, Stop},
    error::Error,
    json::{
        object::{One, object},
        read,
        value::{Flag, Integer, Json, Number, OrDefault, Text},
    },
};

/// The members of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Completion {
    model: String,
    prompt: Option<Prompt>,
    suffix: Option<String>,
    echo: Option<bool>,
    best_of: Option<i64>,
    logprobs: Option<i64>,
    stream: bool,
    stream_options: Option<StreamOptions>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    n: Option<i64>,
    max_tokens: Option<i64>,
    stop: Option<StopSequences>,
    presence_penalty: Option<f64>,
    frequency_penalty: Option<f64>,
    seed: Option<i64>,
    logit_bias_json: Option<String>,
    user: Option<String>,
    store: Option<bool>,
    metadata: Option<Metadata>,
    extensions: Vec<Extension>,
}

object!(Completion {
    "model" => model: OrDefault(Text),
    "prompt" => prompt: Texts,
    "suffix" => suffix: Text,
    "echo" => echo: Flag,
    "best_of" => best_of: Integer,
    "logprobs" => logprobs: Integer,
    "stream" => stream: OrDefault(Flag),
    "stream_options" => stream_options: One::new(),
    "temperature" => temperature: Number,
    "top_p" => top_p: Number,
    "n" => n: Integer,
    "max_tokens" => max_tokens: Integer,
    "stop" => stop: Stop,
    "presence_penalty" => presence_penalty: Number,
    "frequency_penalty" => frequency_penalty: Number,
    "seed" => seed: Integer,
    "logit_bias" => logit_bias_json: Json::OBJECT,
    "user" => user: Text,
    "store" => store: Flag,
    "metadata" => metadata: Pairs,
});

impl From<Completion> for GenerateRequest {
    fn from(completion: Completion) -> Self {
        let text = TextInput {
            prompt: completion.prompt,
            echo: completion.echo,
            suffix: completion.suffix,
            best_of: completion.best_of,
            logprobs: completion.logprobs,
        };
        GenerateRequest {
            model: completion.model,
            input: Some(Input::Text(text)),
            stream: completion.stream,
            stream_options: completion.stream_options,
            temperature: completion.temperature,
            top_p: completion.top_p,
            n: completion.n,
            max_tokens: completion.max_tokens,
            stop: completion.stop,
            presence_penalty: completion.presence_penalty,
            frequency_penalty: completion.frequency_penalty,
            seed: completion.seed,
            logit_bias_json: completion.logit_bias_json,
            user: completion.user,
            store: completion.store,
            metadata: completion.metadata,
            extensions: completion.extensions,
            ..GenerateRequest::default()
        }
    }
}

/// Reads a request.
///
/// # Errors
/// Those of [`read::read`].
pub(crate) fn read(body: &[u8]) -> Result<GenerateRequest, Error> {
    let judge = |completion: &Completion| validate::generate_request(&completion.clone().into());
    read::read(body, judge).map(GenerateRequest::from)
}

#[cfg(test)]
mod tests {
    use penstock_proto::inference::v1::{TextList, TokenList, TokenLists, prompt::Kind};

    use super::*;

    fn prompt(json: &str) -> Result<Kind, String> {
        let request = read(format!(r#"{{"model":"m","prompt":{json}}}"#).as_bytes());
        match request.map(|request| request.input) {
            Ok(Some(Input::Text(TextInput { prompt: Some(Prompt { kind: Some(kind) }), .. }))) => Ok(kind),
            Ok(other) => panic!("{other:?}"),
            Err(error) => {
                let error = penstock_proto::Error::from(&error);
                Err(error
                    .violations
                    .iter()
                    .map(|found| format!("{}: {}", found.field, found.message))
                    .collect())
            }
        }
    }

    #[test]
    fn a_prompt_comes_in_four_shapes() {
        let tokens = |values: &[i64]| TokenList { values: values.to_vec() };
        let texts = |values: &[&str]| {
            Kind::Texts(TextList { values: values.iter().map(ToString::to_string).collect() })
        };
        assert_eq!(prompt(r#""a\n""#), Ok(Kind::Text("a\n".into())));
        assert_eq!(prompt(r#"["a", "b"]"#), Ok(texts(&["a", "b"])));
        assert_eq!(prompt("[]"), Ok(texts(&[])));
        assert_eq!(prompt("[1, -2, 3.0]"), Ok(Kind::Tokens(tokens(&[1, -2, 3]))));
        let lists = TokenLists { values: vec![tokens(&[1]), tokens(&[]), tokens(&[2, 3])] };
        assert_eq!(prompt("[[1],[],[2,3]]"), Ok(Kind::TokenLists(lists)));
    }

    #[test]
    fn another_shape_is_named_with_its_place_and_never_quoted() {
        let shapes =
            "must be a string, an array of strings, an array of tokens or an array of arrays of tokens";
        let item = "must be a string, a token or an array of tokens";
        for (json, field, message) in [
            ("7", "prompt", shapes),
            ("{}", "prompt", shapes),
            ("[null]", "prompt[0]", item),
            (r#"[{"canary":1}]"#, "prompt[0]", item),
            ("[1.5]", "prompt[0]", "must be a whole number"),
            ("[[1],[1e300]]", "prompt[1][0]", "must be a whole number"),
            ("[9223372036854775808]", "prompt[0]", "must be a whole number that 64 bits can hold"),
            (r#"[[1],["canary"]]"#, "prompt[1][0]", "must be a token: a whole number"),
        ] {
            assert_eq!(prompt(json), Err(format!("{field}: {message}")), "{json}");
        }
        for mixed in [r#"["a",1]"#, "[1,[1]]", r#"[[1],"canary"]"#] {
            let said = prompt(mixed).unwrap_err();
            assert!(
                said.ends_with("must be an array of one kind: strings, tokens or arrays of tokens"),
                "{said}"
            );
        }
    }

    #[test]
    fn every_member_is_read_and_others_are_kept() {
        let json = r#"{"model":"m","prompt":"x","suffix":"s","echo":true,"best_of":2,"logprobs":5,"stream":true,
            "stream_options":{"include_usage":true},"temperature":0.5,"top_p":0.9,"n":2,"max_tokens":0,"stop":["a"],
            "presence_penalty":1,"frequency_penalty":-1,"seed":7,"logit_bias":{"5":1},"user":"u","store":true,
            "metadata":{"k":"v"},"response_format":{"type":"text"},"tools":[ 1 ]}"#;
        let request = read(json.as_bytes()).unwrap();
        let Some(Input::Text(text)) = &request.input else { panic!("{request:?}") };
        assert_eq!(
            (text.suffix.as_deref(), text.echo, text.best_of, text.logprobs),
            (Some("s"), Some(true), Some(2), Some(5))
        );
        assert_eq!(
            (request.logprobs, request.n, request.max_tokens, request.seed),
            (None, Some(2), Some(0), Some(7))
        );
        assert_eq!((request.temperature, request.presence_penalty), (Some(0.5), Some(1.0)));
        assert!(
            request.stream && request.store == Some(true) && request.stop.is_some() && request.user.is_some()
        );
        assert_eq!(request.metadata.unwrap().pairs.len(), 1);
        let kept: Vec<_> =
            request.extensions.iter().map(|kept| (kept.name.as_str(), kept.json.as_str())).collect();
        assert_eq!(kept, [("response_format", r#"{"type":"text"}"#), ("tools", "[ 1 ]")]);
    }
}
