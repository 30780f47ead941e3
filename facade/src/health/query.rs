//! What the query of a face says. A parameter that nobody knows is refused: a list with a typo in its filter would
//! be too long. Only `/health` takes any, for its pollers add their own.

use axum::{extract::Query, http::Uri};
use penstock_proto::Violation;

use crate::error::{Error, VIOLATIONS_MAX};

/// Longest name that is repeated in a violation, in characters: it is the client's own text.
const NAME_MAX_CHARS: usize = 64;
/// Most changes of one page, and how many there are if nobody says: LiteLLM's numbers.
const LIMIT_MAX: usize = 1000;
const LIMIT: usize = 100;

/// What a face may be asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) model: Option<String>,
    pub(super) model_id: Option<String>,
    pub(super) service: Option<String>,
    pub(super) name: Option<String>,
    pub(super) limit: Option<usize>,
    pub(super) offset: Option<usize>,
}

impl Asked {
    /// Changes of one page.
    pub(super) fn limit(&self) -> usize {
        self.limit.unwrap_or(LIMIT)
    }

    fn take(&mut self, name: &str, text: &str) -> Result<(), &'static str> {
        let whole = || text.parse().map_err(|_| "must be a whole number");
        match name {
            "model" => self.model = Some(text.to_owned()),
            "model_id" => self.model_id = Some(text.to_owned()),
            "service" => self.service = Some(text.to_owned()),
            "name" => self.name = Some(text.to_owned()),
            "offset" => self.offset = Some(whole()?),
            "limit" => {
                let limit = whole()?;
                if !(1..=LIMIT_MAX).contains(&limit) {
                    return Err("must be from 1 to 1000");
                }
                self.limit = Some(limit);
            }
            _ => return Err(UNKNOWN),
        }
        Ok(())
    }
}

const UNKNOWN: &str = "is not a parameter of this URL";

/// Reads the query of a face that takes these parameters. `strict`: and no others.
///
/// # Errors
/// A parameter is unknown, given twice or of another shape; the violations name every one, up to a bound.
pub(super) fn read(uri: &Uri, known: &[&str], strict: bool) -> Result<Asked, Error> {
    let Ok(Query(pairs)) = Query::<Vec<(String, String)>>::try_from_uri(uri) else {
        return Err(Error::Invalid(vec![Violation::new("query", "is not pairs such as limit=20&offset=40")]));
    };
    let mut asked = Asked::default();
    let mut violations = Vec::new();
    for (index, (name, text)) in pairs.iter().enumerate() {
        let twice = pairs.iter().take(index).any(|(other, _)| other == name);
        let taken = match known.contains(&name.as_str()) {
            false if strict => Err(UNKNOWN),
            false => Ok(()),
            true if twice => Err("is given twice"),
            true => asked.take(name, text),
        };
        if let Err(message) = taken {
            let name: String = name.chars().take(NAME_MAX_CHARS).collect();
            violations.push(Violation::new(name, message));
        }
        if violations.len() == VIOLATIONS_MAX {
            break;
        }
    }
    if violations.is_empty() { Ok(asked) } else { Err(Error::Invalid(violations)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Vec<String> {
        match read(&format!("/health/history?{text}").parse().unwrap(), &["limit", "offset", "name"], true) {
            Ok(_) => vec![],
            Err(Error::Invalid(violations)) => violations.into_iter().map(|one| one.field).collect(),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_page_is_read() {
        let uri = "/?limit=5&offset=2&name=model%2Fa&x=1".parse().unwrap();
        let asked = read(&uri, &["limit", "offset", "name"], false);
        let expected =
            Asked { limit: Some(5), offset: Some(2), name: Some("model/a".into()), ..Asked::default() };
        assert_eq!(asked.unwrap(), expected);
        assert_eq!(read(&"/".parse().unwrap(), &[], true).unwrap().limit(), 100);
    }

    /// A5.
    #[test]
    fn what_is_wrong_is_named() {
        for text in ["limit=0", "limit=1001", "limit=-1", "limit=x", "limit=", "limit=1&limit=1"] {
            assert_eq!(fields(text), ["limit"], "{text}");
        }
        assert_eq!(fields("offset=-1&model=a&limit=1000"), ["offset", "model"]);
        assert_eq!(fields(&format!("{}=1", "x".repeat(999)))[0].len(), NAME_MAX_CHARS);
        assert_eq!(fields(&"x=1&".repeat(999)).len(), VIOLATIONS_MAX);
    }
}
