//! The fingerprint of a request: what identifies its answer. Whitespace and the order of members in JSON do
//! not change it; how the answer is delivered (streamed or not) and who asks do not either. The tenant is not
//! in it: it is a partition of its own in the cache.

use std::collections::BTreeMap;

use prost::Message as _;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use crate::inference::v1::{Extension, GenerateRequest};

/// Members beyond the contract that do not change the answer.
const IRRELEVANT: [&str; 3] = ["prompt_cache_options", "prompt_cache_retention", "keep_alive"];

/// Deepest nesting that is looked into, as `serde_json` has it where it recurses: raw text it takes at any depth, and
/// what callers by gRPC send may be deeper than a stack.
const DEPTH_MAX: usize = 128;

/// SHA-256 over the canonical form of `request`. The caller has resolved the model name already.
pub fn fingerprint(request: &GenerateRequest) -> [u8; 32] {
    let mut canonical = GenerateRequest {
        stream: false,
        stream_options: None,
        user: None,
        store: None,
        metadata: None,
        response: None,
        service_tier: None,
        prompt_cache_key: None,
        safety_identifier: None,
        ..request.clone()
    };
    let free_form = [
        &mut canonical.logit_bias_json,
        &mut canonical.tool_choice_json,
        &mut canonical.response_format_json,
        &mut canonical.audio_json,
        &mut canonical.prediction_json,
        &mut canonical.web_search_options_json,
        &mut canonical.functions_json,
        &mut canonical.function_call_json,
    ];
    for json in free_form.into_iter().flatten() {
        *json = canonical_json(json);
    }
    for tool in &mut canonical.tools {
        let parameters = tool.function.as_mut().and_then(|function| function.parameters_json.as_mut());
        let format = tool.custom.as_mut().and_then(|custom| custom.format_json.as_mut());
        for json in parameters.into_iter().chain(format) {
            *json = canonical_json(json);
        }
    }
    canonical.extensions.retain(|extension| !IRRELEVANT.contains(&extension.name.as_str()));
    canonical_extensions(&mut canonical.extensions);
    for tool in &mut canonical.tools {
        canonical_extensions(&mut tool.extensions);
    }
    Sha256::digest(canonical.encode_to_vec()).into()
}

fn canonical_extensions(extensions: &mut [Extension]) {
    for extension in &mut *extensions {
        extension.json = canonical_json(&extension.json);
    }
    extensions.sort_by(|a, b| a.name.cmp(&b.name));
}

/// `json` without insignificant whitespace and with sorted members; numbers keep their text. What is not
/// JSON, or nested too deep, stays as it is.
fn canonical_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    match write_canonical(json, DEPTH_MAX, &mut out) {
        Ok(()) => out,
        Err(_) => json.to_owned(),
    }
}

fn write_canonical(json: &str, depth_left: usize, out: &mut String) -> serde_json::Result<()> {
    let deeper = depth_left.checked_sub(1);
    let deeper =
        deeper.ok_or_else(|| <serde_json::Error as serde::de::Error>::custom("is nested too deep"))?;
    let json = json.trim_matches([' ', '\t', '\r', '\n']);
    match json.as_bytes().first() {
        Some(b'{') => {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(json)?;
            for (index, (name, value)) in members.iter().enumerate() {
                out.push(if index == 0 { '{' } else { ',' });
                out.push_str(&serde_json::to_string(name)?);
                out.push(':');
                write_canonical(value.get(), deeper, out)?;
            }
            if members.is_empty() {
                out.push('{');
            }
            out.push('}');
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(json)?;
            out.push('[');
            for (index, value) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_canonical(value.get(), deeper, out)?;
            }
            out.push(']');
        }
        Some(b'"') => {
            let text: String = serde_json::from_str(json)?;
            out.push_str(&serde_json::to_string(&text)?);
        }
        _ => {
            let number_or_literal: &RawValue = serde_json::from_str(json)?;
            out.push_str(number_or_literal.get());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::inference::v1::{
        Prompt, ResponseTerms, StreamOptions, TextInput, TextList, TokenList, generate_request::Input,
        prompt::Kind,
    };

    fn with(name: &str, json: &str) -> GenerateRequest {
        GenerateRequest {
            model: "m".into(),
            extensions: vec![Extension { name: name.into(), json: json.into() }],
            ..GenerateRequest::default()
        }
    }

    #[test]
    fn whitespace_and_order_of_members_do_not_matter() {
        let one = with("x", r#"{"b": [1, 2.50, {"d":null,"c":"\u00e9"}], "a": {}}"#);
        let two = with("x", r#"{"a":{},"b":[1,2.50,{"c":"é","d":null}]}"#);
        assert_eq!(fingerprint(&one), fingerprint(&two));
    }

    #[test]
    fn what_changes_the_answer_changes_the_fingerprint() {
        let base = fingerprint(&with("x", "[1,2]"));
        assert_ne!(base, fingerprint(&with("x", "[2,1]")));
        assert_ne!(base, fingerprint(&with("x", "[1,2.0]")));
        assert_ne!(base, fingerprint(&with("y", "[1,2]")));
        assert_ne!(base, fingerprint(&GenerateRequest { temperature: Some(0.0), ..with("x", "[1,2]") }));
    }

    #[test]
    fn every_member_of_a_text_to_continue_counts() {
        let of = |text: TextInput| {
            fingerprint(&GenerateRequest { input: Some(Input::Text(text)), ..GenerateRequest::default() })
        };
        let prompt = |kind| TextInput { prompt: Some(Prompt { kind: Some(kind) }), ..TextInput::default() };
        let one = || prompt(Kind::Text("1".into()));
        let all = [
            of(one()),
            of(prompt(Kind::Texts(TextList { values: vec!["1".into()] }))),
            of(prompt(Kind::Tokens(TokenList { values: vec![1] }))),
            of(TextInput { echo: Some(true), ..one() }),
            of(TextInput { suffix: Some("x".into()), ..one() }),
            of(TextInput { best_of: Some(2), ..one() }),
            of(TextInput { logprobs: Some(1), ..one() }),
        ];
        let different: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        assert_eq!(of(one()), all[0]);
    }

    #[test]
    fn delivery_and_bookkeeping_do_not_change_it() {
        let plain = GenerateRequest { model: "m".into(), ..GenerateRequest::default() };
        let streamed = GenerateRequest {
            stream: true,
            stream_options: Some(StreamOptions { include_usage: Some(true), extensions: vec![] }),
            user: Some("someone".into()),
            store: Some(true),
            metadata: Some(crate::inference::v1::Metadata::default()),
            response: Some(ResponseTerms { has_instructions: true, ..ResponseTerms::default() }),
            ..with("prompt_cache_retention", r#""24h""#)
        };
        assert_eq!(fingerprint(&plain), fingerprint(&streamed));
        assert_eq!(fingerprint(&plain), fingerprint(&with("keep_alive", "-1")));
        assert_ne!(fingerprint(&plain), fingerprint(&with("options", r#"{"num_ctx":512}"#)));
    }

    #[test]
    fn beyond_serde_jsons_depth_the_text_itself_counts() {
        let deep = "[".repeat(200) + &"]".repeat(200);
        assert_eq!(canonical_json(&deep), deep);
        // Far deeper than any stack; callers by gRPC may send it.
        let deep = "[ ".repeat(50_000) + &"]".repeat(50_000);
        assert_eq!(canonical_json(&deep), deep);
    }

    proptest! {
        #[test]
        fn canonical_form_is_a_fixed_point_and_keeps_the_value(numbers in prop::collection::btree_map(".{0,8}", any::<i64>(), 0..6)) {
            let json = serde_json::to_string_pretty(&numbers).unwrap();
            let once = canonical_json(&json);
            prop_assert_eq!(&canonical_json(&once), &once);
            let back: std::collections::BTreeMap<String, i64> = serde_json::from_str(&once).unwrap();
            prop_assert_eq!(back, numbers);
        }
    }
}
