//! Errors as Ollama has them.

use bytes::{BufMut as _, BytesMut};
use penstock_proto::Error;

use crate::{
    json::write::{optional, value},
    problem::write_violations,
};

/// Writes the body of an error: also the last line of a stream that broke off.
pub(crate) fn write(error: &Error, request_id: &str, out: &mut BytesMut) {
    out.put_slice(b"{\"error\":");
    value(out, &*error.message);
    optional(out, "\"code\":", error.reason.openai_code());
    out.put_slice(b",\"request_id\":");
    value(out, request_id);
    write_violations(error, out);
    out.put_u8(b'}');
}
