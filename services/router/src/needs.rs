//! What a request needs of a deployment, against what each is known to be able to do. Who cannot is passed over;
//! if nobody can, that is said. Nothing is ever taken out of a request. What is not known is tried.

use penstock_proto::{
    Error, Reason, Violation,
    inference::v1::{Capabilities, ContentPart, GenerateRequest, generate_request::Input, message::Content},
    validate::asks_for_schema,
};

/// A set of needs: a bit each, in the order of [`TABLE`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs(u16);

/// One need: the field of a request that has it, who can meet it, and what is said if nobody can.
struct Need {
    field: &'static str,
    met: fn(&Capabilities) -> Option<bool>,
    what: &'static str,
}

impl Needs {
    /// Answers in a conversation.
    pub(crate) const CHAT: Needs = Needs(1);
    /// Continues texts.
    pub(crate) const COMPLETIONS: Needs = Needs(1 << 1);
    /// Makes vectors.
    pub(crate) const EMBEDDINGS: Needs = Needs(1 << 2);
    /// Judges texts.
    pub(crate) const MODERATIONS: Needs = Needs(1 << 3);
    const TOOLS: Needs = Needs(1 << 4);
    /// Sees images.
    pub(crate) const IMAGES: Needs = Needs(1 << 5);
    /// Hears sound.
    pub(crate) const AUDIO: Needs = Needs(1 << 6);
    /// Follows a JSON Schema.
    pub(crate) const JSON_SCHEMA: Needs = Needs(1 << 7);
    const PREFILL: Needs = Needs(1 << 8);
    const LOGPROBS: Needs = Needs(1 << 9);
    const CHOICES: Needs = Needs(1 << 10);
    /// The kinds of request: a model that does not do one is no model for it at all.
    const KINDS: Needs = Needs(0b1111);

    const fn and(self, other: Needs) -> Needs {
        Needs(self.0 | other.0)
    }

    /// What is in both.
    pub(crate) fn both(self, other: Needs) -> Needs {
        Needs(self.0 & other.0)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether this one is among them.
    pub(crate) fn has(self, need: Needs) -> bool {
        !self.both(need).is_empty()
    }
}

#[rustfmt::skip]
const TABLE: [Need; 11] = [
    Need { field: "model", met: |known| known.chat, what: "answers chat completions" },
    Need { field: "model", met: |known| known.completions, what: "answers completions" },
    Need { field: "model", met: |known| known.embeddings, what: "makes embeddings" },
    Need { field: "model", met: |known| known.moderations, what: "answers moderations" },
    Need { field: "tools", met: |known| known.tools, what: "can use tools" },
    Need { field: "messages", met: |known| known.vision, what: "can see images" },
    Need { field: "messages", met: |known| known.audio, what: "can hear sound" },
    Need { field: "response_format", met: |known| known.json_schema, what: "can follow a JSON Schema" },
    Need { field: "messages", met: |known| known.prefill, what: "can go on from a message of the assistant" },
    Need { field: "logprobs", met: |known| known.logprobs, what: "gives log probabilities" },
    Need { field: "n", met: |known| known.multiple_choices, what: "gives more than one choice" },
];

impl Needs {
    /// What `request` needs.
    pub(crate) fn of(request: &GenerateRequest) -> Needs {
        let mut needs = match &request.input {
            Some(Input::Text(text)) => {
                if text.logprobs.is_some() {
                    Needs::COMPLETIONS.and(Needs::LOGPROBS)
                } else {
                    Needs::COMPLETIONS
                }
            }
            Some(Input::Chat(chat)) => {
                let parts = chat.messages.iter().filter_map(|message| match &message.content {
                    Some(Content::Parts(parts)) => Some(&parts.parts),
                    _ => None,
                });
                let needs = parts.flatten().map(of_part).fold(Needs::CHAT, Needs::and);
                let is_prefill = chat.messages.last().is_some_and(|last| {
                    last.role == "assistant" && last.tool_calls.is_empty() && last.function_call.is_none()
                });
                if is_prefill { needs.and(Needs::PREFILL) } else { needs }
            }
            None => Needs::default(),
        };
        let schema = request.response_format_json.as_deref();
        for (need, is_there) in [
            (Needs::TOOLS, !request.tools.is_empty() || request.functions_json.is_some()),
            (Needs::JSON_SCHEMA, schema.is_some_and(asks_for_schema)),
            (Needs::LOGPROBS, request.logprobs == Some(true)),
            (Needs::CHOICES, request.n.is_some_and(|n| n > 1)),
        ] {
            if is_there {
                needs = needs.and(need);
            }
        }
        needs
    }

    /// What a deployment is known to be unable to do.
    pub(crate) fn unmet(known: Option<&Capabilities>) -> Needs {
        let Some(known) = known else { return Needs::default() };
        let lacks = TABLE.iter().zip(0..).filter(|(need, _)| (need.met)(known) == Some(false));
        lacks.fold(Needs::default(), |needs, (_, bit)| needs.and(Needs(1 << bit)))
    }

    /// Why none of several deployments can be asked, of which each is known to lack some of this:
    /// [`Reason::NotOffered`] if none does this kind of request at all, else [`Reason::Unsupported`] with a violation
    /// for each need that none can meet.
    pub(crate) fn refusal(self, lacks: impl Iterator<Item = Needs>) -> Error {
        let kind = self.both(Needs::KINDS);
        let lacks = lacks.map(|lacks| lacks.both(self));
        let lacks: Vec<_> = lacks.filter(|lacks| lacks.both(kind).is_empty()).collect();
        if lacks.is_empty()
            && let Some(kind) = kind.names().next()
        {
            return Error::new(Reason::NotOffered, format!("no deployment of the model {}", kind.what));
        }
        let violation = |need: &Need, rest: &str| {
            Violation::new(need.field, format!("no deployment of the model {}{rest}", need.what))
        };
        let by_all = lacks.iter().copied().fold(self, Needs::both);
        let violations = if by_all.is_empty() {
            let by_some = lacks.into_iter().fold(Needs::default(), Needs::and);
            by_some.names().map(|need| violation(need, " together with all else that is asked for")).collect()
        } else {
            by_all.names().map(|need| violation(need, "")).collect()
        };
        Error::unsupported(violations)
    }

    fn names(self) -> impl Iterator<Item = &'static Need> {
        TABLE
            .iter()
            .zip(0..)
            .filter(move |(_, bit)| !self.both(Needs(1 << bit)).is_empty())
            .map(|(need, _)| need)
    }
}

fn of_part(part: &ContentPart) -> Needs {
    match part.r#type.as_str() {
        "image_url" => Needs::IMAGES,
        "input_audio" => Needs::AUDIO,
        _ => Needs::default(),
    }
}

#[cfg(test)]
mod tests;
