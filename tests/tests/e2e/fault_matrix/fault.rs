//! One row of the matrix: what the engine does, and what must come of it in each cell: by stream or not, with
//! another deployment to go to or without.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use penstock_tests::{Script, Step, outcome::Outcome};
use serde_json::{Value, json};

/// What every engine would say if nothing were wrong.
pub(super) const WHOLE: &str = "One two three four five.";
/// What those say that break after the first content.
pub(super) const BEGUN: [&str; 2] = ["One two ", "three "];
/// What one says that never ends.
pub(super) const ON: &str = "On and on. ";

/// What a caller may see.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sees {
    /// The whole answer of this text, ended for this reason.
    Whole(&'static str, &'static str),
    /// An error of this status, with one of these codes.
    Refused(u16, &'static [&'static str]),
    /// An error event with one of these codes behind a beginning of the answer, and no `[DONE]`.
    Broken(&'static [&'static str]),
}

impl Sees {
    pub(super) fn fits(&self, outcome: &Outcome) -> bool {
        match (self, outcome) {
            (Sees::Whole(says, ends), Outcome::Whole { text, finish }) => text == says && finish == ends,
            (Sees::Refused(is, codes), Outcome::Refused { status, code, .. }) => {
                is == status && codes.contains(&code.as_str())
            }
            (Sees::Broken(codes), Outcome::Broken { text, code }) => {
                let is_beginning = WHOLE.starts_with(text) || text.starts_with(ON);
                is_beginning && codes.contains(&code.as_str())
            }
            _ => false,
        }
    }
}

/// What must come of a request: what the caller sees, and how often each engine may be asked for it.
#[derive(Clone, Debug)]
pub(super) struct Expect {
    pub(super) sees: Sees,
    pub(super) sick: RangeInclusive<usize>,
    pub(super) well: RangeInclusive<usize>,
}

/// The same with another deployment to go to, and without.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) away: Expect,
    pub(super) alone: Expect,
}

impl Case {
    /// Nothing is wrong with it.
    pub(super) fn harmless() -> Case {
        Case::told(Sees::Whole(WHOLE, "stop"))
    }

    /// The caller is told, and nobody else is asked.
    pub(super) fn told(sees: Sees) -> Case {
        let expect = Expect { sees, sick: 1..=1, well: 0..=0 };
        Case { away: expect.clone(), alone: expect }
    }

    /// Lost before the first content: another one answers, else this is the error. Never asked twice.
    pub(super) fn lost(status: u16, codes: &'static [&'static str]) -> Case {
        let away = Expect { sees: Sees::Whole(WHOLE, "stop"), sick: 1..=1, well: 1..=1 };
        let alone = Expect { sees: Sees::Refused(status, codes), sick: 1..=1, well: 0..=0 };
        Case { away, alone }
    }

    /// Lost after the first content: another one goes on unseen, else the same one may be asked once more.
    pub(super) fn broken(codes: &'static [&'static str]) -> Case {
        let away = Expect { sees: Sees::Whole(WHOLE, "stop"), sick: 1..=1, well: 1..=1 };
        let alone = Expect { sees: Sees::Broken(codes), sick: 1..=2, well: 0..=0 };
        Case { away, alone }
    }

    /// Where nobody else is left, the same one may be asked again, twice at most.
    pub(super) fn again(mut self) -> Case {
        self.alone.sick = *self.alone.sick.start()..=3;
        self
    }

    /// The same one may be asked again at once, also where others are left.
    pub(super) fn at_once(mut self) -> Case {
        self.away.sick = 1..=2;
        self.again()
    }

    /// With another one to go to, this is to come of it instead.
    pub(super) fn away(
        mut self,
        sees: Sees,
        sick: RangeInclusive<usize>,
        well: RangeInclusive<usize>,
    ) -> Case {
        self.away = Expect { sees, sick, well };
        self
    }

    /// With nobody else to go to, this is to come of it instead.
    pub(super) fn alone(mut self, sees: Sees, sick: RangeInclusive<usize>) -> Case {
        self.alone = Expect { sees, sick, well: 0..=0 };
        self
    }
}

/// What an engine plays for its call of this number, for this request.
pub(super) type Plays = Arc<dyn Fn(usize, &Value) -> Script + Send + Sync>;

/// One row.
pub(super) struct Fault {
    pub(super) name: &'static str,
    /// What the sick one plays. `None`: nothing listens on its port.
    pub(super) plays: Option<Plays>,
    pub(super) other: Plays,
    pub(super) stream: Case,
    pub(super) plain: Case,
    /// Further lines of the configuration of the sick one, of the other one, and of their model.
    pub(super) sick: &'static str,
    pub(super) well: &'static str,
    pub(super) model: &'static str,
    /// Kind of the engine of the other one.
    pub(super) engine: &'static str,
    /// The caller's own deadline for a stream.
    pub(super) deadline: Option<&'static str>,
    /// As often is it asked, one after the other; each time the same must come of it.
    pub(super) requests: usize,
    /// The sick one is not asked again sooner than this.
    pub(super) pause: Duration,
    /// The caller is told to wait at least so many seconds, where it sees an error.
    pub(super) retry_after: Option<u64>,
    /// The other one is asked to go on from what was said. Where it is not said that it can, nobody may be.
    pub(super) prefills: bool,
}

impl Fault {
    /// The same comes of it by stream or not.
    pub(super) fn new(
        name: &'static str,
        plays: impl Fn(usize, bool) -> Script + Send + Sync + 'static,
        case: Case,
    ) -> Fault {
        Fault {
            name,
            plays: Some(Arc::new(move |number, body: &Value| plays(number, body["stream"] == json!(true)))),
            other: Arc::new(|_, body| says_whole(body)),
            stream: case.clone(),
            plain: case,
            sick: "",
            well: "",
            model: "",
            engine: "openai",
            deadline: None,
            requests: 1,
            pause: Duration::ZERO,
            retry_after: None,
            prefills: false,
        }
    }

    /// Without a stream this comes of it instead.
    pub(super) fn plain(self, plain: Case) -> Fault {
        Fault { plain, ..self }
    }

    /// What the other one plays instead of the whole answer.
    pub(super) fn other(mut self, plays: impl Fn(usize, &Value) -> Script + Send + Sync + 'static) -> Fault {
        self.other = Arc::new(plays);
        self
    }
}

/// The whole answer, cut elsewhere than the sick one cuts it; or what is left of it, if the request holds its
/// beginning as the last message.
pub(super) fn says_whole(body: &Value) -> Script {
    says(WHOLE, body)
}

/// As `says_whole`, of another text.
pub(super) fn says(whole: &str, body: &Value) -> Script {
    let last = body["messages"].as_array().and_then(|messages| messages.last());
    let begun = last.filter(|last| last["role"] == "assistant").and_then(|last| last["content"].as_str());
    let left = whole.strip_prefix(begun.unwrap_or_default()).unwrap_or(whole);
    let pieces: Vec<String> =
        left.chars().collect::<Vec<_>>().chunks(7).map(|piece| piece.iter().collect()).collect();
    Script::texts(pieces)
}

/// The whole answer as a script.
pub(super) fn whole() -> Script {
    Script::texts([WHOLE])
}

/// The first content, then `ending`.
pub(super) fn begun(ending: Step) -> Script {
    Script::broken(BEGUN, ending)
}

/// A role and no content, as most engines begin.
pub(super) fn role() -> Step {
    Step::Delta(json!({"role": "assistant", "content": ""}))
}

/// A chunk of a stream with this text, as one line of an SSE body.
pub(super) fn event(text: &str) -> String {
    let choice = json!({"index": 0, "delta": {"content": text}, "finish_reason": null});
    let chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "engine-model", "choices": [choice]});
    format!("data: {chunk}\n\n")
}
