//! Errors as Anthropic's API has them.

use bytes::{BufMut as _, BytesMut};
use penstock_proto::Error;

use crate::{json::write::value, problem::write_violations};

/// Writes the body of an error: also what an event `error` holds.
pub(crate) fn write(error: &Error, request_id: &str, out: &mut BytesMut) {
    out.put_slice(b"{\"type\":\"error\",\"error\":{\"type\":");
    value(out, kind(error.reason.http_status()));
    out.put_slice(b",\"message\":");
    value(out, &*error.message);
    // By this the tool runners of Anthropic's SDKs know that they are to send the whole conversation each time.
    if error.violations.iter().any(|violation| violation.field == "thread") {
        out.put_slice(
            b",\"details\":{\"error_code\":\"thread_unsupported_request\",\"unsupported\":[\"thread\"]}",
        );
    }
    out.put_slice(b"},\"request_id\":");
    value(out, request_id);
    write_violations(error, out);
    out.put_u8(b'}');
}

fn kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 => "overloaded_error",
        504 => "timeout_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

#[cfg(test)]
mod tests {
    use penstock_proto::Violation;
    use serde_json::{Value, json};

    use super::*;

    /// The tool runners of Anthropic's SDKs ask for a thread first; by the details they go on without.
    #[test]
    fn who_asks_for_a_thread_hears_what_to_do() {
        let written = |field: &str| {
            let mut out = BytesMut::new();
            write(&Error::invalid(vec![Violation::new(field, "x")]), "r", &mut out);
            serde_json::from_slice::<Value>(&out).unwrap()
        };
        let details = json!({"error_code": "thread_unsupported_request", "unsupported": ["thread"]});
        assert_eq!(written("thread")["error"]["details"], details);
        assert_eq!(written("threads")["error"].get("details"), None);
    }
}
