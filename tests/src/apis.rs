//! The APIs of the facade as a strict client of each reads them: a question put in the words of each, and every
//! answer as one neutral thing. Written a second time and apart from the facade: what a strict client would refuse,
//! is refused here.

mod chat;
mod messages;
mod ollama;
mod responses;
mod words;

use std::fmt;

pub use messages::MAX_TOKENS;

use http::{HeaderMap, Method};
use crate::{Client, ENGINE_CANARY, ENGINE_KEY, PROMPT_CANARY, exact::Json, golden};

/// An API by which answers are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// OpenAI's chat completions.
    Chat,
    /// OpenAI's responses.
    Responses,
    /// Anthropic's messages.
    Messages,
    /// Ollama's chat.
    Ollama,
}

/// A whole answer, or what was heard of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The model that answers.
    pub model: String,
    /// The text.
    pub text: String,
    /// The text of a refusal.
    pub refusal: String,
    /// What it tells of its reasoning.
    pub reasoning: String,
    /// The calls of tools, in their order.
    pub calls: Vec<Called>,
    /// Why it ended.
    pub finish: Finish,
    /// What it used.
    pub usage: Option<Usage>,
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Called {
    /// Its id, where the API has one.
    pub id: Option<String>,
    /// The tool.
    pub name: String,
    /// The arguments, read; of a custom tool, and where they are no JSON, a text.
    pub input: Json,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Finish {
    /// It did not.
    #[default]
    Not,
    /// It was at its end.
    Stop,
    /// It was as long as it may be.
    Length,
    /// Tools are to be called.
    Calls,
    /// A filter ended it, or the model refused.
    Filter,
}

/// Tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the question, cached ones among them.
    pub input: i64,
    /// Of the answer.
    pub output: i64,
    /// Of the question, from a cache.
    pub cached: i64,
    /// Of the answer, for reasoning.
    pub reasoning: i64,
    /// Whether these are estimates.
    pub estimated: bool,
}

/// An error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    /// HTTP status; 200 in mid-stream.
    pub status: u16,
    /// The code of OpenAI's error, where the API has it.
    pub code: Option<String>,
    /// The type, where the API has one.
    pub kind: Option<String>,
    /// The message.
    pub message: String,
    /// Every field that is wrong, and why.
    pub fields: Vec<(String, String)>,
}

/// What a caller got: one of the three, or the reader panics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The whole answer.
    Whole(Said),
    /// An error with a status.
    Refused(Trouble),
    /// An answer that says that it broke, and how.
    Broken(Said, Trouble),
}

/// An answer with what came beside it.
#[derive(Clone, Debug)]
pub struct Got {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// The body, as it came.
    pub body: String,
    /// What it is.
    pub outcome: Outcome,
}

impl Api {
    /// All of them.
    pub const ALL: [Api; 4] = [Api::Chat, Api::Responses, Api::Messages, Api::Ollama];
    /// Those beside chat.
    pub const OTHERS: [Api; 3] = [Api::Responses, Api::Messages, Api::Ollama];

    /// Where it is asked.
    pub fn path(self) -> &'static str {
        match self {
            Api::Chat => "/v1/chat/completions",
            Api::Responses => "/v1/responses",
            Api::Messages => "/v1/messages",
            Api::Ollama => "/api/chat",
        }
    }

    /// The question of a chat completion in the words of this API.
    ///
    /// # Errors
    /// It has no words for something: what that is.
    pub fn question(self, chat: &Json, stream: bool) -> Result<Json, String> {
        let mut chat = chat.clone();
        chat.take("stream");
        let options = chat.take("stream_options");
        let mut question = match self {
            Api::Chat => {
                // The others always tell it.
                if stream {
                    chat.set("stream_options", Json::parse(r#"{"include_usage":true}"#));
                }
                chat
            }
            _ if options.others_than(&["include_usage"]) => return Err("stream_options".into()),
            Api::Responses => responses::question(chat)?,
            Api::Messages => messages::question(chat)?,
            Api::Ollama => ollama::question(chat)?,
        };
        if stream || self == Api::Ollama {
            question.set("stream", Json::Bool(stream));
        }
        Ok(question)
    }

    /// What this API shows of an answer that chat shows so.
    pub fn shows(self, chat: &Said) -> Said {
        let mut said = chat.clone();
        match self {
            Api::Chat => {}
            Api::Responses => responses::shown(&mut said),
            Api::Messages => messages::shown(&mut said),
            Api::Ollama => ollama::shown(&mut said),
        }
        said
    }

    /// The status of this API for the status that chat has.
    pub fn status(self, chat: u16) -> u16 {
        match (self, chat) {
            // One status for all that is wrong with a request.
            (Api::Messages | Api::Ollama, 422) => 400,
            _ => chat,
        }
    }

    /// Checks that an error says what chat's says of the same mistake: status, words and headers, the code where the
    /// API has one, and the fields where they are called alike.
    pub fn agrees(self, chat: &Outcome, own: &Outcome) {
        let (by_chat, own) = match (chat, own) {
            (Outcome::Refused(by_chat), Outcome::Refused(own)) => {
                assert_eq!(own.status, self.status(by_chat.status), "{self:?}: {own:?}, by chat {by_chat:?}");
                (by_chat, own)
            }
            (Outcome::Broken(_, by_chat), Outcome::Broken(_, own)) => (by_chat, own),
            (by_chat, own) => panic!("{self:?}: by chat {by_chat}, and {own}"),
        };
        assert_eq!(own.message, by_chat.message, "{self:?}");
        assert_eq!(own.fields, by_chat.fields, "{self:?}");
        match self {
            Api::Messages => {
                let kind = messages::kind(own.status);
                let fits = own.status == 200 || own.kind.as_deref() == Some(kind);
                assert!(fits, "{own:?} is not of type {kind}");
            }
            _ => assert_eq!(own.code, by_chat.code, "{self:?}"),
        }
    }

    /// Asks and reads the answer.
    pub async fn ask(self, client: &Client, question: &Json) -> Got {
        self.ask_raw(client, &question.to_string()).await
    }

    /// As `ask`, with any body.
    pub async fn ask_raw(self, client: &Client, body: &str) -> Got {
        let events = client.send(Method::POST, self.path(), body.to_owned()).await.head().await;
        let (status, headers) = (events.status, events.headers.clone());
        let (body, ended) = events.bytes().await;
        let body = String::from_utf8(body.to_vec()).expect("answers are UTF-8");
        assert!(ended, "{self:?}: the body has no end: {body:.1000}");
        let outcome = self.read(status, &headers, &body);
        Got { status, headers, body, outcome }
    }

    /// What a body with its head is.
    ///
    /// # Panics
    /// A strict client would refuse it, or it says what must not be said.
    pub fn read(self, status: u16, headers: &HeaderMap, body: &str) -> Outcome {
        assert!(!body.contains(ENGINE_KEY), "{self:?}: the engine's key is told");
        let header = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap());
        let kind = header("content-type");
        assert!(!header("x-request-id").is_empty(), "{self:?}: no request id");
        if self == Api::Messages {
            assert_eq!(header("request-id"), header("x-request-id"), "Anthropic's SDKs read request-id");
        }
        if status != 200 {
            for canary in [PROMPT_CANARY, ENGINE_CANARY] {
                assert!(!body.contains(canary), "{self:?}: an error says {canary}: {body}");
            }
            let expected = match self {
                Api::Chat | Api::Responses => "application/problem+json",
                Api::Messages | Api::Ollama => "application/json",
            };
            assert_eq!(kind, expected, "{self:?}: {body}");
            let json = Json::parse(body);
            let id = if self == Api::Messages { "request_id of the body" } else { "request_id" };
            assert_eq!(json.get("request_id").as_text(), Some(header("x-request-id")), "{id}: {body}");
            return Outcome::Refused(Trouble { status, ..self.trouble(&json) });
        }
        match self {
            Api::Ollama if kind.starts_with("application/x-ndjson") => ollama::stream(body),
            Api::Chat if kind.starts_with("text/event-stream") => chat::stream(body),
            Api::Responses if kind.starts_with("text/event-stream") => responses::stream(body),
            Api::Messages if kind.starts_with("text/event-stream") => messages::stream(body),
            _ => {
                assert_eq!(kind, "application/json", "{self:?}: {body:.1000}");
                let json = Json::parse(body);
                Outcome::Whole(match self {
                    Api::Chat => chat::plain(&json),
                    Api::Responses => responses::plain(&json),
                    Api::Messages => messages::plain(&json),
                    Api::Ollama => ollama::plain(&json),
                })
            }
        }
    }

    fn trouble(self, json: &Json) -> Trouble {
        let trouble = match self {
            Api::Chat | Api::Responses => chat::trouble(json),
            Api::Messages => messages::trouble(json),
            Api::Ollama => ollama::trouble(json),
        };
        assert!(!trouble.message.is_empty(), "{self:?}: an error without a message: {json}");
        trouble
    }
}

impl Got {
    /// The whole answer; it must be one.
    pub fn said(&self) -> &Said {
        match &self.outcome {
            Outcome::Whole(said) => said,
            _ => panic!("not a whole answer: {} {:.2000}", self.status, self.body),
        }
    }

    /// The error with a status; it must be one.
    pub fn refused(&self) -> &Trouble {
        match &self.outcome {
            Outcome::Refused(trouble) => trouble,
            _ => panic!("not refused: {} {:.2000}", self.status, self.body),
        }
    }

    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

impl Said {
    /// The same without ids of calls that were made on the way, which differ each time.
    #[must_use]
    pub fn settled(mut self) -> Said {
        let ids = self.calls.iter_mut().filter_map(|call| call.id.as_mut());
        ids.filter(|id| golden::is_made(id)).for_each(|id| *id = "…".into());
        self
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Whole(said) => write!(f, "whole ({:?})", said.finish),
            Outcome::Refused(trouble) => write!(f, "{} {:?}", trouble.status, trouble.code),
            Outcome::Broken(_, trouble) => write!(f, "broken {:?} {:?}", trouble.kind, trouble.code),
        }
    }
}

/// Arguments of a call, read if they are JSON.
fn input(arguments: &str) -> Json {
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(arguments).is_ok();
    if is_json { Json::parse(arguments) } else { Json::text(arguments) }
}

/// The members `errors`, which all shapes of errors have.
fn fields(json: &Json) -> Vec<(String, String)> {
    let text = |one: &Json, name: &str| one.get(name).as_text().expect("a violation has texts").to_owned();
    json.get("errors").items().iter().map(|one| (text(one, "field"), text(one, "message"))).collect()
}
