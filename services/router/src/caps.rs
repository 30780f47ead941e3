//! What the operator allows one request to ask for, below what OpenAI's specification does: an engine that makes
//! many or endless answers at once may fall over (A6).

use penstock_proto::{
    Error, Violation,
    inference::v1::{GenerateRequest, generate_request::Input},
    validate::CHOICES_MAX,
};

/// The bounds of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Most choices.
    pub n_max: i64,
    /// Most tokens that a caller may ask for in each of them. None: as many as the engine makes.
    pub completion_tokens_max: Option<i64>,
}

impl Default for Caps {
    fn default() -> Self {
        // OpenAI's own bound; what an answer may be long is the model's matter.
        Self { n_max: CHOICES_MAX, completion_tokens_max: None }
    }
}

impl Caps {
    /// Checks a valid request.
    ///
    /// # Errors
    /// It asks for more; every field that does is named, with its cap.
    pub(crate) fn check(&self, request: &GenerateRequest) -> Result<(), Error> {
        let best_of = match &request.input {
            Some(Input::Text(text)) => text.best_of,
            Some(Input::Chat(_)) | None => None,
        };
        let asked = [
            ("n", request.n, Some(self.n_max), "router.n_max"),
            ("best_of", best_of, Some(self.n_max), "router.n_max"),
            ("max_tokens", request.max_tokens, self.completion_tokens_max, "router.completion_tokens_max"),
            (
                "max_completion_tokens",
                request.max_completion_tokens,
                self.completion_tokens_max,
                "router.completion_tokens_max",
            ),
        ];
        let beyond = asked.into_iter().filter_map(|(field, value, cap, key)| {
            let cap = cap.filter(|cap| value.is_some_and(|value| value > *cap))?;
            Some(Violation::new(field, format!("must be at most {cap} on this gateway ({key})")))
        });
        let violations: Vec<_> = beyond.collect();
        if violations.is_empty() { Ok(()) } else { Err(Error::invalid(violations)) }
    }
}

#[cfg(test)]
mod tests {
    use penstock_proto::inference::v1::TextInput;

    use super::*;

    fn beyond(caps: Caps, request: &GenerateRequest) -> Vec<String> {
        let violations = caps.check(request).err().map_or_else(Vec::new, |error| error.violations);
        violations
            .into_iter()
            .map(|violation| format!("{}: {}", violation.field, violation.message))
            .collect()
    }

    /// A6.
    #[test]
    fn what_is_beyond_a_cap_is_named_with_it() {
        let text = TextInput { best_of: Some(5), ..TextInput::default() };
        let request = GenerateRequest {
            n: Some(4),
            max_tokens: Some(100),
            max_completion_tokens: Some(101),
            input: Some(Input::Text(text)),
            ..GenerateRequest::default()
        };
        assert!(beyond(Caps::default(), &request).is_empty());
        assert!(beyond(Caps { n_max: 5, completion_tokens_max: Some(101) }, &request).is_empty());
        assert_eq!(
            beyond(Caps { n_max: 4, completion_tokens_max: Some(100) }, &request),
            [
                "best_of: must be at most 4 on this gateway (router.n_max)",
                "max_completion_tokens: must be at most 100 on this gateway (router.completion_tokens_max)",
            ]
        );
        assert_eq!(beyond(Caps { n_max: 1, completion_tokens_max: Some(1) }, &request).len(), 4);
        // Who asks for nothing asks for nothing beyond a cap.
        let silent = GenerateRequest::default();
        assert!(beyond(Caps { n_max: 1, completion_tokens_max: Some(1) }, &silent).is_empty());
    }
}
