//! Mistakes on their way between services: those of the adapter's copy of the file are told to whoever asked the
//! router to read its own again.

use penstock_proto::{Error, Violation};
use tonic::Status;

use super::{Mistake, Mistakes, Origin};

impl From<Mistakes> for Error {
    /// INVALID_REQUEST; each mistake is a violation of its key, its place in front of its text.
    fn from(mistakes: Mistakes) -> Self {
        let told = |Mistake { origin, key, message }| Violation::new(key, format!("{origin}: {message}"));
        let count = mistakes.0.len();
        let mut error = Self::invalid(mistakes.0.into_iter().map(told).collect());
        let noun = if count == 1 { "mistake" } else { "mistakes" };
        error.message = format!("the configuration has {count} {noun}: {}", error.message).into();
        error
    }
}

impl From<Mistakes> for Status {
    fn from(mistakes: Mistakes) -> Self {
        Error::from(mistakes).into()
    }
}

impl From<&Error> for Mistakes {
    /// The mistakes that another service told of.
    fn from(error: &Error) -> Self {
        let read = |Violation { field, message }: &Violation| {
            let known =
                message.split_once(": ").and_then(|(place, rest)| Some((Origin::parse(place)?, rest)));
            let (origin, message) = known.unwrap_or((Origin::Missing, message));
            Mistake { origin, key: field.clone(), message: message.to_owned() }
        };
        if error.violations.is_empty() {
            return Self::one(error.message.clone());
        }
        Self(error.violations.iter().map(read).collect())
    }
}

impl Origin {
    /// The place that is written so. Options are those of another process: their names are not known here.
    fn parse(text: &str) -> Option<Self> {
        if let Some(line) = text.strip_prefix("line ") {
            return line.parse().ok().map(Self::Line);
        }
        let variable = text.strip_prefix("environment variable ").map(str::to_owned);
        variable.map(Self::Environment).or_else(|| (text == "not in the file").then_some(Self::Missing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_survive_the_wire() {
        let mistake = |origin: Origin, key: &str| Mistake {
            origin,
            key: key.into(),
            message: "is \"x: y\", not a string".into(),
        };
        let mistakes = Mistakes(vec![
            mistake(Origin::Line(4), "models[0].name"),
            mistake(Origin::Environment("PENSTOCK_A__B".into()), "a.b"),
            mistake(Origin::Missing, ""),
        ]);
        let status = Status::from(mistakes.clone());
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        assert!(status.message().starts_with("the configuration has 3 mistakes: models[0].name: line 4: "));
        assert_eq!(Mistakes::from(&Error::from(&status)), mistakes);
    }
}
