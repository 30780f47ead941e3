//! What is written in Ollama's API, held to its schemas.

use std::time::Duration;

use super::*;
use crate::ollama::{
    self,
    answer::{Answer, Shape},
    clock::Clock,
    embed, models,
};

#[test]
fn answers_are_as_they_are_described() {
    let full = || {
        let [_, mut chunk] = chunks();
        let delta = chunk.choices[0].delta.as_mut().unwrap();
        delta.function_call = None;
        delta.tool_calls.iter_mut().for_each(|call| call.custom = None);
        delta.tool_calls.truncate(1);
        chunk
    };
    let mut little = full();
    little.choices[0].delta = None;
    (little.usage, little.choices[0].logprobs_json) = (None, None);
    for mut chunk in [little, full()] {
        for (shape, schema) in [(Shape::Chat, "OllamaChat"), (Shape::Prompt, "OllamaGenerate")] {
            if let (Shape::Prompt, Some(delta)) = (shape, &mut chunk.choices[0].delta) {
                delta.tool_calls.clear();
            }
            let answer = || Answer::new(shape, "m".into(), Clock::start());
            conforms(schema, &written(|out| answer().whole(&chunk, out).unwrap()));
            let mut streamed = answer();
            let lines = written(|out| {
                streamed.write(&chunk, out);
                streamed.ping(out);
                assert!(streamed.end(out));
            });
            let lines: Vec<_> = std::str::from_utf8(&lines).unwrap().lines().collect();
            assert!(lines.len() > 1);
            lines.into_iter().for_each(|line| conforms(schema, line.as_bytes()));
        }
    }
}

#[test]
fn vectors_models_and_errors_are_as_they_are_described() {
    let full = EmbedResponse {
        embeddings: vec![Embedding { values: vec![0.5] }],
        usage: Some(Usage::default()),
        ..EmbedResponse::default()
    };
    for answer in [EmbedResponse::default(), full] {
        conforms("OllamaVectors", &embed::write(&answer, Duration::ZERO));
        conforms("OllamaVector", &embed::write_one(&answer));
    }
    let capabilities = Capabilities { chat: Some(true), context_tokens: Some(1), ..Capabilities::default() };
    let full = Model { capabilities: Some(capabilities), loaded: Some(true), ..Model::default() };
    for model in [Model { loaded: Some(true), ..Model::default() }, full] {
        conforms("OllamaShown", &models::write_show(&model));
        conforms("OllamaRunning", &models::write_running(std::slice::from_ref(&model)));
        conforms("OllamaTags", &models::write_tags(&[model]));
    }
    for reason in penstock_proto::Reason::ALL {
        let error = penstock_proto::Error::new(*reason, "x");
        conforms("OllamaError", &written(|out| ollama::write_problem(&error, "r", out)));
    }
}

#[test]
fn refusals_are_in_its_shape() {
    let document = document();
    for (path, methods) in
        document["paths"].as_object().unwrap().iter().filter(|(path, _)| path.starts_with("/api"))
    {
        for operation in methods.as_object().unwrap().values() {
            let responses = operation["responses"].as_object().unwrap();
            assert!(!responses.contains_key("422"), "{path}");
            for (status, answer) in responses.iter().filter(|(status, _)| status.as_str() >= "400") {
                let schema = &answer["content"]["application/json"]["schema"];
                assert_eq!(*schema, reference("OllamaError"), "{path} {status}");
            }
        }
    }
}
