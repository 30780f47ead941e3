//! Schemas of answers: one table of the members that each writer writes, in its order, with the types and comments
//! of the contract. A test writes each with its real writer and holds it to its schema.

mod admin;
mod health;
mod messages;
mod ollama;
mod responses;

use serde_json::{Map, Value, json};

use super::{
    contract::Contract,
    reference,
    requests::{described, nullable},
};

/// What a member holds.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// What the field of the contract has that is named so.
    Field(&'static str),
    /// Always this word.
    Word(&'static str),
    /// One of these words.
    Words(&'static [&'static str]),
    /// A string, a whole number, any number, a flag, an object, an array of strings.
    Text,
    Whole,
    Number,
    Flag,
    Object,
    Objects,
    Texts,
    /// Any JSON; an object of strings; numbers or a string; arrays of numbers.
    Json,
    Labels,
    Vector,
    Vectors,
    /// An object of that schema.
    One(&'static str),
    /// An array of them.
    List(&'static str),
    /// An object of them, by their names.
    Named(&'static str),
}

/// When a member is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Always,
    /// Always, `null` where it has no value.
    OrNull,
    /// Left out where it has no value.
    Sometimes,
    /// Left out, or `null`.
    SometimesOrNull,
}

/// A member: its name, what it holds, when it is there, and what it is if the contract does not say.
type Member = (&'static str, Shape, When, &'static str);

/// An object: its name, the message of the contract that it is made of, what it is if that does not say, members.
struct Answer(&'static str, &'static str, &'static str, &'static [Member]);

use Shape::{
    Field, Flag, Json, Labels, List, Named, Number, Object, Objects, One, Text, Texts, Vector, Vectors,
    Whole, Word, Words,
};
use When::{Always, OrNull, Sometimes, SometimesOrNull};

// One line for each member, as the table that it is.
#[rustfmt::skip]
const ANSWERS: &[Answer] = &[
    Answer("ChatCompletion", "GenerateChunk", "A whole answer.", &[
        ("id", Field("id"), Always, "Identity of the answer."),
        ("object", Word("chat.completion"), Always, "Kind of object."),
        ("created", Field("created"), Always, "Unix seconds."),
        ("model", Field("model"), Always, "Model that gave the answer."),
        ("service_tier", Field("service_tier"), Sometimes, ""),
        ("system_fingerprint", Field("system_fingerprint"), OrNull, ""),
        ("choices", List("ChatChoice"), Always, "One for each of the n choices."),
        ("usage", One("Usage"), OrNull, "Tokens used by the answer."),
    ]),
    Answer("ChatChoice", "", "One choice of a whole answer.", &[
        ("index", Field("Choice.index"), Always, "Which of the n choices."),
        ("message", One("ChatMessage"), Always, "What the assistant says."),
        ("logprobs", Object, OrNull, "Log probabilities, if they were asked for."),
        ("finish_reason", Field("Choice.finish_reason"), OrNull, "stop, length, tool_calls, content_filter or function_call."),
    ]),
    Answer("ChatMessage", "", "What the assistant says.", &[
        ("role", Field("Delta.role"), Always, "assistant."),
        ("content", Field("Delta.content"), OrNull, "Text of the answer."),
        ("refusal", Field("Delta.refusal"), OrNull, "Text of a refusal."),
        ("reasoning_content", Field("Delta.reasoning"), Sometimes, "Text of the model's reasoning."),
        ("tool_calls", List("AnsweredToolCall"), Sometimes, "Tools that the model calls."),
        ("function_call", One("AnsweredFunction"), Sometimes, "The call, as OpenAI's deprecated `function_call`."),
    ]),
    Answer("AnsweredToolCall", "", "A call of a tool.", &[
        ("id", Field("ToolCall.id"), Sometimes, "Identity of the call."),
        ("type", Field("ToolCall.type"), Sometimes, "function, custom, …"),
        ("function", One("AnsweredFunction"), Sometimes, "The function called, for type function."),
        ("custom", One("AnsweredCustomTool"), Sometimes, "The tool called, for type custom."),
    ]),
    Answer("AnsweredFunction", "FunctionCall", "", &[("name", Field("name"), Sometimes, ""), ("arguments", Field("arguments"), Sometimes, "")]),
    Answer("AnsweredCustomTool", "CustomCall", "", &[("name", Field("name"), Sometimes, ""), ("input", Field("input"), Sometimes, "")]),
    Answer("Usage", "Usage", "", &[
        ("prompt_tokens", Field("prompt_tokens"), Always, ""),
        ("completion_tokens", Field("completion_tokens"), Always, ""),
        ("total_tokens", Field("total_tokens"), Always, ""),
        ("estimated", Field("estimated"), Sometimes, ""),
    ]),
    Answer("ChatCompletionChunk", "GenerateChunk", "", &[
        ("id", Field("id"), Always, ""),
        ("object", Word("chat.completion.chunk"), Always, "Kind of object."),
        ("created", Field("created"), Always, ""),
        ("model", Field("model"), Always, ""),
        ("service_tier", Field("service_tier"), Sometimes, ""),
        ("system_fingerprint", Field("system_fingerprint"), OrNull, ""),
        ("choices", List("ChunkChoice"), Always, ""),
        ("usage", One("Usage"), SometimesOrNull, "Tokens used by the whole answer, if they were asked for: null on all chunks but the last."),
    ]),
    Answer("ChunkChoice", "Choice", "", &[
        ("index", Field("index"), Always, ""),
        ("delta", One("ChunkDelta"), Always, "What is new."),
        ("logprobs", Object, OrNull, "Log probabilities, if they were asked for."),
        ("finish_reason", Field("finish_reason"), OrNull, ""),
    ]),
    Answer("ChunkDelta", "Delta", "", &[
        ("role", Field("role"), Sometimes, ""),
        ("content", Field("content"), Sometimes, ""),
        ("refusal", Field("refusal"), Sometimes, ""),
        ("reasoning_content", Field("reasoning"), Sometimes, ""),
        ("tool_calls", List("ToolCallFragment"), Sometimes, ""),
        ("function_call", One("AnsweredFunction"), Sometimes, ""),
    ]),
    Answer("ToolCallFragment", "ToolCall", "A fragment of a call, keyed by index.", &[
        ("index", Field("index"), Sometimes, ""),
        ("id", Field("id"), Sometimes, ""),
        ("type", Field("type"), Sometimes, ""),
        ("function", One("AnsweredFunction"), Sometimes, ""),
        ("custom", One("AnsweredCustomTool"), Sometimes, ""),
    ]),
    Answer("ModelList", "ListModelsResponse", "Models that the key may use, by id.", &[("object", Word("list"), Always, "Kind of object."), ("data", List("Model"), Always, "Sorted by id.")]),
    Answer("Model", "Model", "", &[
        ("id", Field("id"), Always, "What to put into `model`."),
        ("object", Word("model"), Always, "Kind of object."),
        ("created", Field("created"), Always, ""),
        ("owned_by", Field("owned_by"), Always, ""),
        ("aliases", Field("aliases"), Sometimes, ""),
        ("context_length", Field("Capabilities.context_tokens"), Sometimes, ""),
        ("max_model_len", Field("Capabilities.context_tokens"), Sometimes, "The same as context_length, under vLLM's name."),
        ("capabilities", Texts, Sometimes, "What it is known to do: chat, completions, embeddings, tools, vision, … Absent: unknown."),
    ]),
    Answer("StoredCompletion", "GenerateChunk", "A stored answer beside what was asked.", &[
        ("id", Field("id"), Always, "Identity of the answer."),
        ("object", Word("chat.completion"), Always, "Kind of object."),
        ("created", Field("created"), Always, "Unix seconds."),
        ("model", Field("model"), Always, "Model that gave the answer."),
        ("service_tier", Field("service_tier"), OrNull, ""),
        ("system_fingerprint", Field("system_fingerprint"), OrNull, ""),
        ("choices", List("ChatChoice"), Always, "One for each of the n choices."),
        ("usage", One("Usage"), OrNull, "Tokens used by the answer."),
        ("request_id", Field("StoredCompletion.request_id"), Always, ""),
        ("tool_choice", Json, OrNull, "As it was asked."),
        ("seed", Field("GenerateRequest.seed"), OrNull, ""),
        ("top_p", Field("GenerateRequest.top_p"), OrNull, ""),
        ("temperature", Field("GenerateRequest.temperature"), OrNull, ""),
        ("presence_penalty", Field("GenerateRequest.presence_penalty"), OrNull, ""),
        ("frequency_penalty", Field("GenerateRequest.frequency_penalty"), OrNull, ""),
        ("input_user", Field("GenerateRequest.user"), OrNull, ""),
        ("tools", List("Tool"), OrNull, "As they were given."),
        ("metadata", Labels, Always, "What the caller attached."),
        ("response_format", Object, OrNull, "As it was asked."),
    ]),
    Answer("StoredCompletionList", "", "A page of stored answers.", &[
        ("object", Word("list"), Always, "Kind of object."),
        ("data", List("StoredCompletion"), Always, "In the order asked for."),
        ("first_id", Text, OrNull, "Id of the first of the page."),
        ("last_id", Text, OrNull, "What to put into `after` for the next page."),
        ("has_more", Flag, Always, "Whether there are more."),
    ]),
    Answer("StoredMessage", "Message", "A message that a stored answer answers.", &[
        ("id", Field("StoredMessage.id"), Always, ""),
        ("role", Field("role"), Always, ""),
        ("content", Text, OrNull, "What is said, if it was given as a string."),
        ("content_parts", List("ContentPart"), OrNull, "What is said, if it was given as parts."),
        ("name", Field("name"), OrNull, ""),
        ("refusal", Field("refusal"), OrNull, ""),
        ("tool_call_id", Field("tool_call_id"), Sometimes, ""),
        ("reasoning_content", Field("reasoning"), Sometimes, ""),
        ("tool_calls", List("AnsweredToolCall"), Sometimes, ""),
        ("function_call", One("AnsweredFunction"), Sometimes, ""),
    ]),
    Answer("StoredMessageList", "", "A page of messages.", &[
        ("object", Word("list"), Always, "Kind of object."),
        ("data", List("StoredMessage"), Always, "In the order asked for."),
        ("first_id", Text, OrNull, "Id of the first of the page."),
        ("last_id", Text, OrNull, "What to put into `after` for the next page."),
        ("has_more", Flag, Always, "Whether there are more."),
    ]),
    Answer("DeletedCompletion", "", "That it is deleted.", &[
        ("object", Word("chat.completion.deleted"), Always, "Kind of object."),
        ("id", Text, Always, "Id of the answer."),
        ("deleted", Flag, Always, "Always true."),
    ]),
    Answer("Completion", "GenerateChunk", "A continuation, or a piece of one.", &[
        ("id", Field("id"), Always, ""),
        ("object", Word("text_completion"), Always, "Kind of object."),
        ("created", Field("created"), Always, ""),
        ("model", Field("model"), Always, ""),
        ("service_tier", Field("service_tier"), Sometimes, ""),
        ("system_fingerprint", Field("system_fingerprint"), Sometimes, ""),
        ("choices", List("CompletionChoice"), Always, "Choices, or pieces of them."),
        ("usage", One("Usage"), SometimesOrNull, "Tokens used by the whole answer."),
    ]),
    Answer("CompletionChoice", "Choice", "", &[
        ("text", Text, Always, "The continuation, or what is new of it."),
        ("index", Field("index"), Always, ""),
        ("logprobs", Object, OrNull, "Log probabilities, if they were asked for."),
        ("finish_reason", Field("finish_reason"), OrNull, ""),
    ]),
    Answer("EmbeddingList", "EmbedResponse", "", &[
        ("object", Word("list"), Always, "Kind of object."),
        ("data", List("Embedding"), Always, "In the order of the texts."),
        ("model", Field("model"), Always, ""),
        ("usage", One("EmbeddingUsage"), OrNull, ""),
    ]),
    Answer("Embedding", "Embedding", "", &[
        ("object", Word("embedding"), Always, "Kind of object."),
        ("index", Whole, Always, "Which of the texts."),
        ("embedding", Vector, Always, "Its coordinates, or base64 of them if that was asked for."),
    ]),
    Answer("EmbeddingUsage", "Usage", "", &[
        ("prompt_tokens", Field("prompt_tokens"), Always, ""),
        ("total_tokens", Field("total_tokens"), Always, ""),
        ("estimated", Field("estimated"), Sometimes, ""),
    ]),
    Answer("Moderation", "ModerateResponse", "", &[
        ("id", Field("id"), Always, ""),
        ("model", Field("model"), Always, ""),
        ("results", Objects, Always, "As the engine gave them."),
    ]),
    Answer("Problem", "", "What went wrong: RFC 9457, with OpenAI's `error` in it.", &[
        ("type", Text, Always, "`urn:penstock:error:` and the reason."),
        ("title", Text, Always, "The reason in words; the same each time."),
        ("status", Whole, Always, "The HTTP status."),
        ("detail", Text, Always, "What happened, and what to do about it."),
        ("instance", Text, Always, "Path of the request."),
        ("request_id", Text, Always, "Identity of the request, as in `x-request-id` and the logs."),
        ("decision_id", Text, Sometimes, "By which decision it came about, as in `x-penstock-decision`."),
        ("error", One("ErrorObject"), Always, "The same as OpenAI's clients read it."),
        ("errors", List("Violation"), Always, "Every field that is wrong."),
    ]),
    Answer("ErrorObject", "", "OpenAI's error object.", &[
        ("message", Text, Always, "What happened."),
        ("type", Text, Always, "Kind of error, such as invalid_request_error."),
        ("param", Text, OrNull, "The first field that is wrong."),
        ("code", Text, OrNull, "The reason, such as model_not_found."),
        ("request_id", Text, Sometimes, "Identity of the request; in streams only."),
    ]),
    Answer("Violation", "", "A field that is wrong.", &[
        ("field", Text, Always, "Its path, such as messages[0].role."),
        ("message", Text, Always, "What is wrong with it."),
    ]),
    Answer("About", "", "What this is.", &[
        ("name", Word("penstock"), Always, "Always the same."),
        ("version", Text, Always, "The release."),
        ("links", Object, Always, "Paths by what is there."),
    ]),
];

/// All schemas, by name.
pub(super) fn schemas(contract: &Contract) -> Map<String, Value> {
    ANSWERS
        .iter()
        .chain(health::ANSWERS)
        .chain(admin::ANSWERS)
        .chain(messages::ANSWERS)
        .chain(responses::ANSWERS)
        .chain(ollama::ANSWERS)
        .map(|answer| (answer.0.to_owned(), schema(contract, answer)))
        .collect()
}

fn schema(contract: &Contract, Answer(_, message, about, members): &Answer) -> Value {
    let about = if about.is_empty() { contract.comment(message) } else { about };
    let properties: Map<_, _> =
        members.iter().map(|member| (member.0.to_owned(), property(contract, message, member))).collect();
    let required: Vec<_> =
        members.iter().filter(|member| matches!(member.2, Always | OrNull)).map(|member| member.0).collect();
    json!({
        "type": "object",
        "description": about,
        "properties": properties,
        "required": required,
        "additionalProperties": true,
    })
}

fn property(contract: &Contract, message: &str, (name, shape, when, about): &Member) -> Value {
    let mut said = contract.field(message, name).map(|field| field.comment.as_str()).unwrap_or_default();
    let schema = match *shape {
        Field(path) => {
            let (message, field) = path.split_once('.').unwrap_or((message, path));
            let field = contract.field(message, field);
            said = field.map(|field| field.comment.as_str()).unwrap_or_default();
            field.map(|field| field.schema(&reference)).unwrap_or_default()
        }
        Word(word) => json!({"type": "string", "enum": [word]}),
        Words(words) => json!({"type": "string", "enum": words}),
        Text => json!({"type": "string"}),
        Whole => json!({"type": "integer"}),
        Number => json!({"type": "number"}),
        Flag => json!({"type": "boolean"}),
        Object => json!({"type": "object"}),
        Objects => json!({"type": "array", "items": {"type": "object"}}),
        Json => json!({"anyOf": [{"type": "string"}, {"type": "object"}]}),
        Labels => json!({"type": "object", "additionalProperties": {"type": "string"}}),
        Vector => json!({"anyOf": [{"type": "array", "items": {"type": "number"}}, {"type": "string"}]}),
        Vectors => json!({"type": "array", "items": {"type": "array", "items": {"type": "number"}}}),
        Texts => json!({"type": "array", "items": {"type": "string"}}),
        One(name) => reference(name),
        Named(name) => json!({"type": "object", "additionalProperties": reference(name)}),
        List(name) => json!({"type": "array", "items": reference(name)}),
    };
    let schema = if matches!(when, OrNull | SometimesOrNull) { nullable(schema) } else { schema };
    described(schema, if about.is_empty() { said } else { about })
}
