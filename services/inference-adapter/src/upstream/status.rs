//! What an engine's refusal means: its status, its `Retry-After` and, where the status says too little, words
//! in its error. The text itself goes no further.

use std::time::{Duration, SystemTime};

use penstock_proto::Reason;
use serde_json::Value;

use crate::error::Fault;

/// Longest pause that an engine may ask for: more is a mistake, and somebody is waiting.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// What a status other than 200 means.
pub(crate) fn fault(status: u16, retry_after: Option<&str>, body: &[u8], now: SystemTime) -> Fault {
    let words = Words::of(body);
    let reason = match status {
        // 402: the account that the credential stands for is empty. Nothing that the caller could mend.
        401..=403 => Reason::EngineCredentials,
        400 | 404 | 413 | 422 if words.context_too_long() => Reason::ContextLengthExceeded,
        400 | 404 if words.filtered() => Reason::ContentFiltered,
        404 => Reason::EngineModelMissing,
        400 if words.model_missing() => Reason::EngineModelMissing,
        408 => Reason::EngineTimeout,
        425 | 429 | 529 => Reason::EngineOverloaded,
        503 if words.loading() => Reason::ModelLoading,
        503 => Reason::EngineOverloaded,
        500 if words.context_too_long() => Reason::ContextLengthExceeded,
        400..500 => Reason::EngineRejected,
        _ => Reason::EngineFailed,
    };
    let retry_after = retry_after
        .and_then(|text| pause(text, now))
        .filter(|_| matches!(reason, Reason::EngineOverloaded | Reason::ModelLoading | Reason::EngineFailed));
    Fault { reason, what: format!("the engine answered with HTTP status {status}").into(), retry_after }
}

/// Whether an engine says that it does not have the path at all: a 404 that is not about the model, a 405, a 501.
pub(crate) fn no_such_path(status: u16, body: &[u8]) -> bool {
    match status {
        404 => {
            let words = Words::of(body);
            !words.code.contains("model") && !words.message.contains("model")
        }
        405 | 501 => true,
        _ => false,
    }
}

/// What an error inside an answer with status 200 means; `json` is the value of its member `error`.
pub(crate) fn engine_error(json: &[u8]) -> Fault {
    let words = Words::of(json);
    if words.context_too_long() {
        Fault::new(Reason::ContextLengthExceeded, "the prompt is longer than the model's context")
    } else if words.filtered() {
        Fault::new(Reason::ContentFiltered, "the engine's content filter refused the request")
    } else if words.overloaded() {
        Fault::new(Reason::EngineOverloaded, "the engine said in its answer that it is overloaded")
    } else if words.credentials() {
        Fault::new(Reason::EngineCredentials, "the engine refused the credential in its answer")
    } else if let Some(status) = words.status.filter(|status| !(500..503).contains(status)) {
        let fault = fault(status, None, json, SystemTime::now());
        Fault { what: "the engine reported an error in its answer".into(), ..fault }
    } else {
        Fault::new(Reason::EngineFailed, "the engine reported an error in its answer")
    }
}

/// `Retry-After` in seconds or as a date, capped; `None`: it is absurd.
fn pause(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    let pause = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok()?,
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(now).ok()?,
    };
    Some(pause.min(RETRY_AFTER_MAX))
}

/// Code, type and message of an error, in lower case.
#[derive(Debug, Default)]
struct Words {
    code: String,
    message: String,
    /// The code, where it is an HTTP status, as a number or as a text.
    status: Option<u16>,
}

impl Words {
    fn of(body: &[u8]) -> Self {
        let Ok(value) = serde_json::from_slice::<Value>(body) else { return Self::default() };
        let error = value.get("error").filter(|error| !error.is_null()).unwrap_or(&value);
        let word = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default().to_lowercase();
        let message = error.as_str().map_or_else(|| word("message"), str::to_lowercase);
        let status = error.get("code").and_then(|code| match code {
            Value::Number(number) => number.as_u64().and_then(|number| u16::try_from(number).ok()),
            Value::String(text) => text.parse().ok(),
            _ => None,
        });
        let status = status.filter(|status| (400..600).contains(status));
        Self { code: format!("{} {}", word("code"), word("type")), message, status }
    }

    fn context_too_long(&self) -> bool {
        ["context_length", "exceed_context_size"].iter().any(|code| self.code.contains(code))
            || [
                "context length",
                "context size",
                "context window",
                "context limit",
                "maximum model length",
                "prompt is too long",
            ]
            .iter()
            .any(|words| self.message.contains(words))
    }

    fn overloaded(&self) -> bool {
        ["overloaded", "rate_limit"].iter().any(|code| self.code.contains(code))
    }

    fn credentials(&self) -> bool {
        ["authentication_error", "permission_error", "billing_error"]
            .iter()
            .any(|code| self.code.contains(code))
    }

    fn filtered(&self) -> bool {
        ["content_filter", "content_policy"].iter().any(|code| self.code.contains(code))
    }

    fn model_missing(&self) -> bool {
        ["model_not_found", "model_not_exist"].iter().any(|code| self.code.contains(code))
    }

    fn loading(&self) -> bool {
        self.message.contains("loading") || self.code.contains("loading")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As FastAPI, llama.cpp and Ollama say it, and as vLLM, OpenAI and Ollama say that a model is missing.
    #[test]
    fn a_path_that_is_missing_is_told_from_a_model_that_is() {
        for (status, body) in [
            (404, r#"{"detail":"Not Found"}"#),
            (404, r#"{"error":{"code":404,"message":"File Not Found","type":"not_found_error"}}"#),
            (404, "404 page not found"),
            (405, r#"{"detail":"Method Not Allowed"}"#),
            (
                501,
                r#"{"error":{"code":501,"message":"This server does not support embeddings.","type":"not_supported_error"}}"#,
            ),
        ] {
            assert!(no_such_path(status, body.as_bytes()), "{status} {body}");
        }
        for (status, body) in [
            (
                404,
                r#"{"error":{"message":"The model `x` does not exist.","type":"NotFoundError","code":404}}"#,
            ),
            (404, r#"{"error":{"message":"?","type":"invalid_request_error","code":"model_not_found"}}"#),
            (404, r#"{"error":"model 'x' not found"}"#),
            (400, ""),
            (500, ""),
        ] {
            assert!(!no_such_path(status, body.as_bytes()), "{status} {body}");
        }
    }

    fn reason(status: u16, body: &str) -> Reason {
        fault(status, None, body.as_bytes(), SystemTime::now()).reason
    }

    #[test]
    fn d2_d4_statuses_have_reasons() {
        for (status, expected) in [
            (401, Reason::EngineCredentials),
            (402, Reason::EngineCredentials),
            (403, Reason::EngineCredentials),
            (404, Reason::EngineModelMissing),
            (400, Reason::EngineRejected),
            (413, Reason::EngineRejected),
            (418, Reason::EngineRejected),
            (422, Reason::EngineRejected),
            (429, Reason::EngineOverloaded),
            (503, Reason::EngineOverloaded),
            (529, Reason::EngineOverloaded),
            (101, Reason::EngineFailed),
            (204, Reason::EngineFailed),
            (302, Reason::EngineFailed),
            (304, Reason::EngineFailed),
            (500, Reason::EngineFailed),
            (502, Reason::EngineFailed),
            (524, Reason::EngineFailed),
        ] {
            assert_eq!(reason(status, "<html>"), expected, "{status}");
        }
    }

    #[test]
    fn d8_d12_words_tell_more_where_a_status_says_too_little() {
        assert_eq!(reason(503, r#"{"error":{"code":503,"message":"Loading model"}}"#), Reason::ModelLoading);
        assert_eq!(
            reason(400, r#"{"error":{"code":"context_length_exceeded","message":""}}"#),
            Reason::ContextLengthExceeded
        );
        assert_eq!(
            reason(
                400,
                r#"{"object":"error","message":"This model's maximum context length is 4096 tokens.","code":400}"#
            ),
            Reason::ContextLengthExceeded
        );
        assert_eq!(
            reason(400, r#"{"error":{"type":"exceed_context_size_error","code":400}}"#),
            Reason::ContextLengthExceeded
        );
        assert_eq!(reason(400, r#"{"error":{"code":"content_filter"}}"#), Reason::ContentFiltered);
        assert_eq!(reason(404, r#"{"error":"model 'x' not found"}"#), Reason::EngineModelMissing);
    }

    #[test]
    fn numeric_codes_in_an_answer_mean_what_the_status_would() {
        let reason = |json: &str| engine_error(json.as_bytes()).reason;
        assert_eq!(reason(r#"{"code":429,"message":"x"}"#), Reason::EngineOverloaded);
        assert_eq!(reason(r#"{"code":"503","message":"Loading model"}"#), Reason::ModelLoading);
        assert_eq!(reason(r#"{"code":400,"message":"x"}"#), Reason::EngineRejected);
        assert_eq!(reason(r#"{"code":500,"message":"x"}"#), Reason::EngineFailed);
        assert_eq!(reason(r#"{"code":7,"message":"x"}"#), Reason::EngineFailed);
    }

    #[test]
    fn the_engines_text_goes_no_further() {
        let fault = fault(500, None, br#"{"error":{"message":"secret prompt"}}"#, SystemTime::now());
        assert!(!fault.what.contains("secret"));
    }

    #[test]
    fn d3_retry_after_is_seconds_or_a_date_capped_and_sane() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let wait = |text| fault(429, Some(text), b"", now).retry_after.map(|pause| pause.as_millis());
        assert_eq!(wait("2"), Some(2000));
        assert_eq!(wait("0.5"), Some(500));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:40 GMT"), Some(3000));
        assert_eq!(wait("999999999"), Some(60_000));
        for absurd in ["-1", "soon", "", "NaN", "inf", "1e400", "Sun, 06 Nov 1994 08:49:30 GMT"] {
            assert_eq!(wait(absurd), None, "{absurd}");
        }
    }
}
