//! What Ollama's API says about how a server keeps house: how long a model stays, how its memory is laid out. No other
//! engine knows these words, nothing that it answers depends on them, and some refuse what they do not know.

use std::borrow::Cow;

use penstock_proto::inference::v1::Extension;

/// The members of a request for an answer without those. What has another shape than Ollama's is another's word.
pub(super) fn without_housekeeping(extensions: &[Extension]) -> Cow<'_, [Extension]> {
    without(extensions, |Extension { name, json }| match name.as_str() {
        "options" => json.starts_with('{'),
        "keep_alive" => true,
        "truncate" | "shift" => matches!(json.as_str(), "true" | "false"),
        _ => false,
    })
}

/// Likewise of a request for vectors: there, other engines have a `truncate` of their own.
pub(super) fn of_vectors(extensions: &[Extension]) -> Cow<'_, [Extension]> {
    without(extensions, |Extension { name, json }| match name.as_str() {
        "options" => json.starts_with('{'),
        "keep_alive" => true,
        _ => false,
    })
}

fn without(extensions: &[Extension], is_left_out: impl Fn(&Extension) -> bool) -> Cow<'_, [Extension]> {
    if !extensions.iter().any(&is_left_out) {
        return Cow::Borrowed(extensions);
    }
    Cow::Owned(extensions.iter().filter(|extension| !is_left_out(extension)).cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_keeps_house_is_left_out() {
        let given: Vec<_> = [
            ("options", r#"{"num_ctx":512}"#),
            ("options", "[1]"),
            ("keep_alive", "\"5m\""),
            ("truncate", "true"),
            ("truncate", "\"END\""),
            ("shift", "false"),
            ("top_k", "40"),
        ]
        .map(|(name, json)| Extension { name: name.into(), json: json.into() })
        .into();
        let left = |extensions: Cow<'_, [Extension]>| -> Vec<String> {
            extensions.iter().map(|one| format!("{}={}", one.name, one.json)).collect()
        };
        let answers = left(without_housekeeping(&given));
        assert_eq!(answers, ["options=[1]", "truncate=\"END\"", "top_k=40"]);
        let vectors = left(of_vectors(&given));
        assert_eq!(vectors, ["options=[1]", "truncate=true", "truncate=\"END\"", "shift=false", "top_k=40"]);
        assert!(matches!(without_housekeeping(&given[6..]), Cow::Borrowed(_)));
    }
}
