//! What of a request has tokens before anything is answered: what is counted, and nothing else.

use penstock_proto::inference::v1::{
    CountTokensRequest, GenerateRequest, TextInput, generate_request::Input,
};

/// The request without what only bounds or shapes an answer: nobody is asked for one.
pub(crate) fn of_input(CountTokensRequest { request }: CountTokensRequest) -> CountTokensRequest {
    CountTokensRequest { request: request.map(input) }
}

fn input(request: GenerateRequest) -> GenerateRequest {
    let input = request.input.map(|input| match input {
        Input::Text(TextInput { prompt, suffix, .. }) => {
            Input::Text(TextInput { prompt, suffix, ..TextInput::default() })
        }
        chat @ Input::Chat(_) => chat,
    });
    GenerateRequest {
        model: request.model,
        input,
        tools: request.tools,
        tool_choice_json: request.tool_choice_json,
        parallel_tool_calls: request.parallel_tool_calls,
        functions_json: request.functions_json,
        function_call_json: request.function_call_json,
        // Engines tell the model of these.
        response_format_json: request.response_format_json,
        reasoning_effort: request.reasoning_effort,
        optional_extensions: request.optional_extensions,
        extensions: request.extensions,
        ..GenerateRequest::default()
    }
}

#[cfg(test)]
mod tests {
    use penstock_proto::inference::v1::{ChatInput, Extension, Message, StreamOptions, Tool};

    use super::*;

    #[test]
    fn what_the_model_reads_stays_and_what_bounds_its_answer_goes() {
        let chat = ChatInput { messages: vec![Message { role: "user".into(), ..Message::default() }] };
        let read = GenerateRequest {
            model: "m".into(),
            input: Some(Input::Chat(chat)),
            tools: vec![Tool { r#type: "function".into(), ..Tool::default() }],
            tool_choice_json: Some("\"auto\"".into()),
            parallel_tool_calls: Some(false),
            response_format_json: Some("{}".into()),
            reasoning_effort: Some("low".into()),
            optional_extensions: vec!["thinking".into()],
            functions_json: Some("[]".into()),
            function_call_json: Some("\"none\"".into()),
            extensions: vec![Extension { name: "chat_template_kwargs".into(), json: "{}".into() }],
            ..GenerateRequest::default()
        };
        let asked = GenerateRequest {
            stream: true,
            stream_options: Some(StreamOptions::default()),
            temperature: Some(9.0),
            n: Some(0),
            max_tokens: Some(-1),
            logprobs: Some(true),
            store: Some(true),
            user: Some("u".into()),
            ..read.clone()
        };
        let of = |request| of_input(CountTokensRequest { request: Some(request) }).request.unwrap();
        assert_eq!(of(asked), read);
        let text = |echo| TextInput { echo, suffix: Some("s".into()), ..TextInput::default() };
        let text =
            |echo| GenerateRequest { input: Some(Input::Text(text(echo))), ..GenerateRequest::default() };
        assert_eq!(of(text(Some(true))), text(None));
    }
}
