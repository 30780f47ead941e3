//! Answers of OpenAI's responses.

use super::{
    Always, Answer, Flag, Json, Labels, List, Number, Object, Objects, One, OrNull, Sometimes,
    SometimesOrNull, Text, Whole, Word, Words,
};

const STATUSES: &[&str] = &["completed", "incomplete", "failed", "in_progress", "queued", "cancelled"];
const ITEMS: &[&str] = &["reasoning", "message", "function_call", "custom_tool_call"];
const ENDS: &[&str] = &["in_progress", "completed", "incomplete"];

// One line for each member, as the table that it is.
#[rustfmt::skip]
pub(super) const ANSWERS: &[Answer] = &[
    Answer("Response", "", "A response. What the request said is given back in its own words.", &[
        ("id", Text, Always, "Identity of the response."),
        ("object", Word("response"), Always, "Kind of object."),
        ("created_at", Whole, Always, "Unix seconds."),
        ("status", Words(STATUSES), Always, "How far it is."),
        ("background", Flag, Always, "Whether nobody waits for it."),
        ("completed_at", Whole, OrNull, "Unix seconds; null: it is not completed."),
        ("error", One("ResponseError"), OrNull, "What went wrong."),
        ("incomplete_details", One("ResponseIncomplete"), OrNull, "What cut it short."),
        ("model", Text, Always, "Model that gave the answer."),
        ("service_tier", Text, OrNull, "The service tier that was used, if the engine says."),
        ("instructions", Text, OrNull, "As they were given."),
        ("max_output_tokens", Whole, OrNull, "As it was asked."),
        ("max_tool_calls", Whole, OrNull, "As it was asked."),
        ("metadata", Labels, Always, "What the caller attached."),
        ("parallel_tool_calls", Flag, Always, "As it was asked."),
        ("prompt_cache_key", Text, OrNull, "As it was given."),
        ("prompt_cache_retention", Text, OrNull, "As it was asked."),
        ("reasoning", Object, Always, "As it was asked."),
        ("safety_identifier", Text, OrNull, "As it was given."),
        ("store", Flag, Always, "Whether it is kept."),
        ("temperature", Number, OrNull, "As it was asked."),
        ("text", Object, Always, "As it was asked."),
        ("tool_choice", Json, Always, "As it was asked."),
        ("tools", Objects, Always, "As they were given."),
        ("top_logprobs", Whole, OrNull, "As it was asked."),
        ("top_p", Number, OrNull, "As it was asked."),
        ("truncation", Text, Always, "disabled: nothing is left out of a conversation here."),
        ("user", Text, OrNull, "As it was given."),
        ("previous_response_id", Text, OrNull, "The response that it goes on from."),
        ("output", List("ResponseOutput"), Always, "What the model thought, said and called."),
        ("usage", One("ResponseUsage"), OrNull, "Tokens used; null: it goes on, or came to nothing."),
    ]),
    Answer("ResponseOutput", "", "An item of an answer, with the members of its type.", &[
        ("id", Text, Always, "Identity of the item."),
        ("type", Words(ITEMS), Always, "Type of the item."),
        ("status", Words(ENDS), Sometimes, "incomplete: it was cut short. Not of reasoning."),
        ("role", Word("assistant"), Sometimes, "Who speaks, of a message."),
        ("content", List("ResponseContent"), Sometimes, "What is said, of a message; what was thought, of reasoning."),
        ("summary", List("ResponseContent"), Sometimes, "The same, if a summary was asked for, of reasoning."),
        ("encrypted_content", Text, SometimesOrNull, "Always null, of reasoning."),
        ("call_id", Text, Sometimes, "Identity of the call."),
        ("name", Text, Sometimes, "What is called."),
        ("arguments", Text, Sometimes, "JSON text of the arguments, of function_call."),
        ("input", Text, Sometimes, "What the tool is given, of custom_tool_call."),
    ]),
    Answer("ResponseContent", "", "A part of an item.", &[
        ("type", Words(&["output_text", "refusal", "reasoning_text", "summary_text"]), Always, "Type of the part."),
        ("text", Text, Sometimes, "What is said."),
        ("refusal", Text, Sometimes, "What is said of a refusal."),
        ("annotations", Objects, Sometimes, "Always empty."),
        ("logprobs", Objects, Sometimes, "Log probabilities, if they were asked for."),
    ]),
    Answer("ResponseError", "", "What went wrong with a response.", &[
        ("code", Words(&["server_error", "rate_limit_exceeded"]), Always, "Kind of error."),
        ("message", Text, Always, "What happened."),
    ]),
    Answer("ResponseIncomplete", "", "What cut a response short.", &[
        ("reason", Words(&["max_output_tokens", "content_filter"]), Always, "The bound that it met."),
    ]),
    Answer("ResponseUsage", "", "Tokens used.", &[
        ("input_tokens", Whole, Always, "Tokens of the input."),
        ("input_tokens_details", One("ResponseInputDetails"), Always, "Of those."),
        ("output_tokens", Whole, Always, "Tokens generated."),
        ("output_tokens_details", One("ResponseOutputDetails"), Always, "Of those."),
        ("total_tokens", Whole, Always, "Sum of both, as the engine counts it."),
        ("estimated", Flag, Sometimes, "True: the engine did not count, or not all."),
    ]),
    Answer("ResponseInputDetails", "", "Of the tokens of an input.", &[("cached_tokens", Whole, Always, "Those that the engine's cache had.")]),
    Answer("ResponseOutputDetails", "", "Of the tokens generated.", &[("reasoning_tokens", Whole, Always, "Those of reasoning.")]),
    Answer("ResponseInputTokens", "", "The tokens of an input.", &[
        ("object", Word("response.input_tokens"), Always, "Kind of object."),
        ("input_tokens", Whole, Always, "Tokens of the input, tools and instructions included."),
        ("estimated", Flag, Sometimes, "True: the engine cannot count, so they were counted here."),
    ]),
    Answer("ResponseItemList", "", "A page of the items that a response answers.", &[
        ("object", Word("list"), Always, "Kind of object."),
        ("data", List("ResponseItem"), Always, "In the order asked for."),
        ("first_id", Text, OrNull, "Id of the first of the page."),
        ("last_id", Text, OrNull, "What to put into `after` for the next page."),
        ("has_more", Flag, Always, "Whether there are more."),
    ]),
    Answer("DeletedResponse", "", "That it is deleted.", &[
        ("id", Text, Always, "Id of the response."),
        ("object", Word("response"), Always, "Kind of object."),
        ("deleted", Flag, Always, "Always true."),
    ]),
];
