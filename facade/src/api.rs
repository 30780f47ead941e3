//! The APIs that the facade speaks. Which one a request is in, its path tells: so errors are written in its shape
//! and name its fields, also where nothing could be read of it.

use crate::{messages, ollama, responses};

/// An API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    /// OpenAI's, all but responses; and everything of our own.
    Completions,
    /// OpenAI's responses.
    Responses,
    /// Anthropic's messages.
    Messages,
    /// Ollama's own.
    Ollama,
}

impl Api {
    /// The API of a path, whether there is such a route or not.
    pub(crate) fn of(path: &str) -> Self {
        let under =
            |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        match () {
            () if under("/v1/responses") => Api::Responses,
            () if under("/v1/messages") => Api::Messages,
            () if under("/api") => Api::Ollama,
            () => Api::Completions,
        }
    }

    /// What a field of the contract, as a violation names it, is called here.
    pub(crate) fn field(self, field: String) -> String {
        match self {
            Api::Completions => field,
            Api::Responses => responses::field(field),
            Api::Messages => messages::field(field),
            Api::Ollama => ollama::field(field),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_tells_the_api() {
        for (path, api) in [
            ("/v1/chat/completions", Api::Completions),
            ("/v1/responses", Api::Responses),
            ("/v1/responses/resp_1/cancel", Api::Responses),
            ("/v1/responsesx", Api::Completions),
            ("/v1/messages/count_tokens", Api::Messages),
            ("/api/chat", Api::Ollama),
            ("/api", Api::Ollama),
            ("/apichat", Api::Completions),
        ] {
            assert_eq!(Api::of(path), api, "{path}");
        }
    }
}
