//! Extensions that a caller names as optional: marks for a cache, reasoning in the words of one API. An engine that
//! knows them gets them; others, some of which refuse what they do not know, do without.

use std::borrow::Cow;

use penstock_proto::inference::v1::{Extension, GenerateRequest, generate_request::Input, message::Content};

/// The request as an engine gets it that knows these of its optional extensions.
pub(crate) fn understood<'a>(request: &'a GenerateRequest, known: &[&str]) -> Cow<'a, GenerateRequest> {
    let foreign = |name: &String| !known.contains(&name.as_str());
    if !request.optional_extensions.iter().any(foreign) {
        return Cow::Borrowed(request);
    }
    let mut request = request.clone();
    let names = std::mem::take(&mut request.optional_extensions);
    let leave_out = |extensions: &mut Vec<Extension>| {
        extensions.retain(|extension| !(names.contains(&extension.name) && foreign(&extension.name)));
    };
    leave_out(&mut request.extensions);
    for tool in &mut request.tools {
        leave_out(&mut tool.extensions);
        tool.function.iter_mut().for_each(|function| leave_out(&mut function.extensions));
        tool.custom.iter_mut().for_each(|custom| leave_out(&mut custom.extensions));
    }
    if let Some(Input::Chat(chat)) = &mut request.input {
        for message in &mut chat.messages {
            leave_out(&mut message.extensions);
            for call in &mut message.tool_calls {
                leave_out(&mut call.extensions);
                call.function.iter_mut().for_each(|function| leave_out(&mut function.extensions));
                call.custom.iter_mut().for_each(|custom| leave_out(&mut custom.extensions));
            }
            let Some(Content::Parts(parts)) = &mut message.content else { continue };
            for part in &mut parts.parts {
                leave_out(&mut part.extensions);
                part.image_url.iter_mut().for_each(|image| leave_out(&mut image.extensions));
                part.input_audio.iter_mut().for_each(|audio| leave_out(&mut audio.extensions));
                part.file.iter_mut().for_each(|file| leave_out(&mut file.extensions));
            }
        }
    }
    request.optional_extensions = names;
    Cow::Owned(request)
}

#[cfg(test)]
mod tests {
    use penstock_proto::inference::v1::{
        ChatInput, ContentPart, ContentParts, FunctionCall, FunctionTool, ImageUrl, Message, Tool, ToolCall,
    };

    use super::*;

    #[test]
    fn an_engine_gets_what_it_knows_and_what_nobody_calls_optional() {
        let given =
            || ["mark", "other"].map(|name| Extension { name: name.into(), json: "1".into() }).to_vec();
        let image_url = Some(ImageUrl { extensions: given(), ..ImageUrl::default() });
        let part = ContentPart { image_url, extensions: given(), ..ContentPart::default() };
        let called = Some(FunctionCall { extensions: given(), ..FunctionCall::default() });
        let function = Some(FunctionTool { extensions: given(), ..FunctionTool::default() });
        let message = Message {
            role: "user".into(),
            content: Some(Content::Parts(ContentParts { parts: vec![part] })),
            tool_calls: vec![ToolCall { function: called, extensions: given(), ..ToolCall::default() }],
            extensions: given(),
            ..Message::default()
        };
        let mut request = GenerateRequest {
            input: Some(Input::Chat(ChatInput { messages: vec![message] })),
            tools: vec![Tool { function, extensions: given(), ..Tool::default() }],
            extensions: given(),
            ..GenerateRequest::default()
        };
        assert!(matches!(understood(&request, &[]), Cow::Borrowed(_)));
        request.optional_extensions = vec!["mark".into()];
        assert!(matches!(understood(&request, &["mark"]), Cow::Borrowed(_)));
        let sent = format!("{:?}", understood(&request, &["another"]));
        let mut expected = request.clone();
        let all = format!("{expected:?}");
        assert_eq!((all.matches("\"mark\"").count(), all.matches("\"other\"").count()), (9, 8));
        expected.optional_extensions.clear();
        assert_eq!((sent.matches("\"mark\"").count(), sent.matches("\"other\"").count()), (1, 8));
    }
}
