//! Answers of Anthropic's API.

use super::{Always, Answer, Flag, List, Object, One, OrNull, Sometimes, Text, Whole, Word, Words};

// One line for each member, as the table that it is.
#[rustfmt::skip]
pub(super) const ANSWERS: &[Answer] = &[
    Answer("MessagesMessage", "", "A whole answer.", &[
        ("id", Text, Always, "Identity of the answer."),
        ("type", Word("message"), Always, "Kind of object."),
        ("role", Word("assistant"), Always, "Who speaks."),
        ("model", Text, Always, "Model that gave the answer."),
        ("content", List("MessagesBlock"), Always, "What the assistant says, block by block."),
        ("stop_reason", Words(&["end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal"]), OrNull, "Why it ended; null where it begins, in streams."),
        ("stop_sequence", Text, OrNull, "Which sequence ended it, if the engine says."),
        ("usage", One("MessagesUsage"), Always, "Tokens used by the answer."),
    ]),
    Answer("MessagesBlock", "", "A block, with the members of its type.", &[
        ("type", Words(&["text", "thinking", "redacted_thinking", "tool_use"]), Always, "Type of the block."),
        ("text", Text, Sometimes, "What is said, of type text."),
        ("thinking", Text, Sometimes, "The model's reasoning, of type thinking."),
        ("signature", Text, Sometimes, "What the engine signed it with; empty if it did not."),
        ("data", Text, Sometimes, "What the engine hid, of type redacted_thinking: to be given back as it is."),
        ("id", Text, Sometimes, "Identity of the call, of type tool_use."),
        ("name", Text, Sometimes, "Name of the tool, of type tool_use."),
        ("input", Object, Sometimes, "What the tool is given, of type tool_use."),
    ]),
    Answer("MessagesUsage", "", "Tokens used.", &[
        ("input_tokens", Whole, Always, "Tokens of the input that no cache had or got."),
        ("cache_creation_input_tokens", Whole, Always, "Tokens that the engine's cache got."),
        ("cache_read_input_tokens", Whole, Always, "Tokens that it had."),
        ("output_tokens", Whole, Always, "Tokens generated."),
        ("output_tokens_details", Object, Sometimes, "Of those `thinking_tokens`, if the engine says."),
        ("service_tier", Text, Sometimes, "The service tier that was used, if the engine says."),
        ("estimated", Flag, Sometimes, "True: the engine did not count, so Penstock did."),
    ]),
    Answer("MessagesCount", "CountTokensResponse", "", &[
        ("input_tokens", Whole, Always, ""),
        ("estimated", Flag, Sometimes, ""),
    ]),
    Answer("MessagesModelList", "", "A page of models.", &[
        ("data", List("MessagesModel"), Always, "Sorted by id."),
        ("has_more", Flag, Always, "Whether there are more in the direction of the page."),
        ("first_id", Text, OrNull, "What to put into `before_id` for the page before."),
        ("last_id", Text, OrNull, "What to put into `after_id` for the next page."),
    ]),
    Answer("MessagesModel", "", "A model, as Anthropic's clients read it.", &[
        ("type", Word("model"), Always, "Kind of object."),
        ("id", Text, Always, "What to put into `model`."),
        ("display_name", Text, Always, "The same."),
        ("created_at", Text, Always, "RFC 3339."),
    ]),
    Answer("MessagesError", "", "What went wrong, as Anthropic's clients read it.", &[
        ("type", Word("error"), Always, "Kind of object."),
        ("error", One("MessagesErrorObject"), Always, "What went wrong."),
        ("request_id", Text, Always, "Identity of the request, as in `request-id` and the logs."),
        ("errors", List("Violation"), Always, "Every field that is wrong."),
    ]),
    Answer("MessagesErrorObject", "", "An error.", &[
        ("type", Text, Always, "Kind of error, such as invalid_request_error."),
        ("message", Text, Always, "What happened, and what to do about it."),
    ]),
];
