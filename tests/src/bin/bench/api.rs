//! The APIs that the facade speaks, as far as the load needs them: how a question is put, and how text is told.

/// An API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    Chat,
    Responses,
    Messages,
    Ollama,
}

impl Api {
    pub(crate) const ALL: [Api; 4] = [Api::Chat, Api::Responses, Api::Messages, Api::Ollama];

    pub(crate) fn path(self) -> &'static str {
        match self {
            Api::Chat => "/v1/chat/completions",
            Api::Responses => "/v1/responses",
            Api::Messages => "/v1/messages",
            Api::Ollama => "/api/chat",
        }
    }

    /// The same question in each; kept by none.
    pub(crate) fn body(self, model: &str, stream: bool, number: usize) -> String {
        let (system, heat) = ("You are a helpful assistant.", u8::from(stream));
        let question = format!("Please answer question number {number} in a few words.");
        let user = format!("{{\"role\":\"user\",\"content\":\"{question}\"}}");
        let said = format!("\"messages\":[{{\"role\":\"system\",\"content\":\"{system}\"}},{user}]");
        let rest = match self {
            Api::Chat => format!("\"temperature\":{heat},{said}"),
            Api::Responses => {
                format!(
                    "\"temperature\":{heat},\"store\":false,\"instructions\":\"{system}\",\"input\":[{user}]"
                )
            }
            Api::Messages => format!(
                "\"temperature\":{heat},\"max_tokens\":100000,\"system\":\"{system}\",\"messages\":[{user}]"
            ),
            Api::Ollama => format!("\"options\":{{\"temperature\":{heat}}},{said}"),
        };
        format!("{{\"model\":\"{model}\",\"stream\":{stream},{rest}}}")
    }

    /// What stands once in each event that brings a piece of text. One that is cut by a frame's end is missed.
    pub(crate) fn piece(self) -> &'static [u8] {
        match self {
            Api::Chat | Api::Ollama => b"\"content\":\"sixteen letters ",
            Api::Responses => b"\"delta\":\"sixteen letters ",
            Api::Messages => b"\"text\":\"sixteen letters ",
        }
    }

    /// What stands near the end of a whole stream, and only there.
    pub(crate) fn end(self) -> &'static [u8] {
        match self {
            Api::Chat => b"data: [DONE]\n\n",
            Api::Responses => b"event: response.completed\n",
            Api::Messages => b"event: message_stop\n",
            Api::Ollama => b"\"done\":true",
        }
    }
}
