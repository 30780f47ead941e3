//! Who asked, and until when: the identity, trace and deadline of a call, carried over every hop in metadata.
//! The transport does not do this (it ignores deadlines in process and on stream bodies).

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue};
use opentelemetry::{
    propagation::{Extractor, Injector, TextMapPropagator as _},
    trace::TraceContextExt as _,
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use penstock_proto::metadata::{GRPC_TIMEOUT, HOPS, REQUEST_ID, TRACEPARENT, TRACESTATE};
use tokio::time::Instant;
use tonic::metadata::{MetadataMap, MetadataValue};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Longest request id that is taken over from a caller, in bytes.
const REQUEST_ID_MAX_BYTES: usize = 128;

/// The identity and the deadline of a call. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CallContext {
    /// ASCII without control characters: a header as it is.
    request_id: HeaderValue,
    deadline: Option<Instant>,
    trace: Option<Arc<Trace>>,
    /// Meshes that it has gone through.
    hops: u8,
}

#[derive(Debug)]
struct Trace {
    parent: HeaderValue,
    state: Option<HeaderValue>,
}

impl CallContext {
    /// The context of a call that is being served. Without the server stack in front it is a fresh one.
    pub fn of<T>(request: &tonic::Request<T>) -> Self {
        request.extensions().get::<Self>().cloned().unwrap_or_else(|| Self::new(&HeaderMap::new(), None))
    }

    /// A context for a call that nobody asked for, such as a check.
    pub fn background(timeout: Duration) -> Self {
        Self::new(&HeaderMap::new(), Some(timeout))
    }

    /// The context that HTTP headers ask for: `x-request-id` is taken if it is sane, `traceparent` as it is.
    pub fn from_headers(headers: &HeaderMap, timeout: Duration) -> Self {
        Self::new(headers, Some(timeout))
    }

    /// The context of a gRPC call: as [`CallContext::from_headers`], with the time of `grpc-timeout`, at most
    /// `max_timeout`.
    pub(crate) fn from_rpc_headers(headers: &HeaderMap, max_timeout: Duration) -> Self {
        let asked = headers.get(GRPC_TIMEOUT).and_then(|value| parse_grpc_timeout(value.to_str().ok()?));
        Self::new(headers, Some(asked.map_or(max_timeout, |asked| asked.min(max_timeout))))
    }

    fn new(headers: &HeaderMap, timeout: Option<Duration>) -> Self {
        let trace = headers.get(TRACEPARENT).map(|parent| {
            Arc::new(Trace { parent: parent.clone(), state: headers.get(TRACESTATE).cloned() })
        });
        Self {
            request_id: request_id(headers),
            deadline: timeout.map(|timeout| Instant::now() + timeout),
            trace,
            // A number that is none came from no mesh; a large one is the end of the way in any case.
            hops: headers
                .get(HOPS)
                .map_or(0, |hops| hops.to_str().ok().and_then(|hops| hops.parse().ok()).unwrap_or(u8::MAX)),
        }
    }

    /// Identity of the request, the same on every hop.
    pub fn request_id(&self) -> &str {
        self.request_id.to_str().unwrap_or_default()
    }

    /// The same as a header's value.
    pub fn request_id_header(&self) -> HeaderValue {
        self.request_id.clone()
    }

    /// How many meshes the call has gone through: 0 in the first one.
    pub fn hops(&self) -> u8 {
        self.hops
    }

    /// The moment after which nobody wants the answer. `None`: there is no such moment.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The time left. `None`: there is no deadline.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// The same call with at most this much time left.
    #[must_use]
    pub fn with_timeout(&self, at_most: Duration) -> Self {
        let limit = Instant::now() + at_most;
        let deadline = self.deadline.map_or(limit, |deadline| deadline.min(limit));
        Self { deadline: Some(deadline), ..self.clone() }
    }

    /// The same identity with a deadline of its own, for what is done after the call has ended.
    #[must_use]
    pub fn detached(&self, timeout: Duration) -> Self {
        Self { deadline: Some(Instant::now() + timeout), ..self.clone() }
    }

    /// A request of this call to the next hop: request id, trace and the time left travel as metadata.
    pub fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        if let Some(remaining) = self.remaining() {
            request.set_timeout(remaining);
        }
        let metadata = request.metadata_mut();
        insert(metadata, REQUEST_ID, &self.request_id);
        if self.hops > 0 {
            metadata.insert(HOPS, u16::from(self.hops).into());
        }
        self.inject_trace(metadata);
        request
    }

    /// The current span's trace if it is recorded, else the caller's, untouched.
    fn inject_trace(&self, metadata: &mut MetadataMap) {
        let current = Span::current().context();
        if current.span().span_context().is_valid() {
            TraceContextPropagator::new().inject_context(&current, &mut Metadata(metadata));
        } else if let Some(trace) = &self.trace {
            insert(metadata, TRACEPARENT, &trace.parent);
            if let Some(state) = &trace.state {
                insert(metadata, TRACESTATE, state);
            }
        }
    }

    /// Makes the caller's trace the parent of `span`, which must not have been entered yet.
    pub fn adopt_trace(&self, span: &Span) {
        let Some(trace) = &self.trace else { return };
        let parent = TraceContextPropagator::new().extract(&**trace);
        // Fails only if the span is disabled or there is no telemetry: nothing to adopt then.
        let _ = span.set_parent(parent);
    }
}

fn insert(metadata: &mut MetadataMap, key: &'static str, value: &HeaderValue) {
    if let Ok(value) = MetadataValue::try_from(value.as_bytes()) {
        metadata.insert(key, value);
    }
}

/// The caller's id if it is short and harmless in logs and headers, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let sane = |id: &&HeaderValue| {
        (1..=REQUEST_ID_MAX_BYTES).contains(&id.len()) && id.as_bytes().iter().copied().all(harmless)
    };
    headers.get(REQUEST_ID).filter(sane).cloned().unwrap_or_else(|| {
        let mut buffer = uuid::Uuid::encode_buffer();
        let id = uuid::Uuid::now_v7().simple().encode_lower(&mut buffer);
        // Hexadecimal digits make a header's value.
        HeaderValue::from_str(id).unwrap_or_else(|_| HeaderValue::from_static("-"))
    })
}

/// `<at most 8 digits><H|M|S|m|u|n>`, as the gRPC specification has it.
fn parse_grpc_timeout(text: &str) -> Option<Duration> {
    let unit_at =
        text.len().checked_sub(1).filter(|at| (1..=8).contains(at) && text.is_char_boundary(*at))?;
    let (digits, unit) = text.split_at(unit_at);
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

impl Extractor for Trace {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            TRACEPARENT => self.parent.to_str().ok(),
            TRACESTATE => self.state.as_ref()?.to_str().ok(),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT, TRACESTATE]
    }
}

struct Metadata<'a>(&'a mut MetadataMap);

impl Injector for Metadata<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(value), TRACEPARENT) = (MetadataValue::try_from(&value), key) {
            self.0.insert(TRACEPARENT, value);
        } else if let (Ok(value), TRACESTATE) = (MetadataValue::try_from(&value), key) {
            self.0.insert(TRACESTATE, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (k.parse().unwrap(), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn grpc_timeouts_parse_as_the_specification_has_them() {
        assert_eq!(parse_grpc_timeout("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!(parse_grpc_timeout("1n"), Some(Duration::from_nanos(1)));
        assert_eq!(parse_grpc_timeout("100m"), Some(Duration::from_millis(100)));
        for wrong in ["", "S", "1", "123456789S", "-1S", "+1S", "1x", "1 S", "1é"] {
            assert_eq!(parse_grpc_timeout(wrong), None, "{wrong}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_hop_gets_what_is_left() {
        let call =
            CallContext::from_rpc_headers(&headers(&[("grpc-timeout", "10S")]), Duration::from_secs(60));
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(call.remaining(), Some(Duration::from_secs(6)));
        let next = call.request(());
        assert_eq!(next.metadata().get(GRPC_TIMEOUT).unwrap(), "6000000u");
        assert_eq!(call.with_timeout(Duration::from_secs(1)).remaining(), Some(Duration::from_secs(1)));
        assert_eq!(call.with_timeout(Duration::from_secs(60)).remaining(), Some(Duration::from_secs(6)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_is_capped() {
        let call =
            CallContext::from_rpc_headers(&headers(&[("grpc-timeout", "9H")]), Duration::from_secs(60));
        assert_eq!(call.remaining(), Some(Duration::from_secs(60)));
    }

    #[test]
    fn sane_request_ids_are_taken_over_others_replaced() {
        let id = |value| CallContext::new(&headers(&[(REQUEST_ID, value)]), None).request_id().to_owned();
        assert_eq!(id("abc-1.2_3"), "abc-1.2_3");
        assert_eq!(id("").len(), 32);
        assert_ne!(id("a b"), "a b");
        assert_ne!(id("a\"b"), "a\"b");
    }

    #[test]
    fn the_count_of_meshes_is_handed_on_and_nonsense_ends_the_way() {
        let hops = |value| CallContext::new(&headers(&[(HOPS, value)]), None);
        assert_eq!(CallContext::new(&HeaderMap::new(), None).hops(), 0);
        assert!(CallContext::new(&HeaderMap::new(), None).request(()).metadata().get(HOPS).is_none());
        assert_eq!(hops("3").request(()).metadata().get(HOPS).unwrap(), "3");
        for nonsense in ["-1", "256", "many", ""] {
            assert_eq!(hops(nonsense).hops(), u8::MAX, "{nonsense}");
        }
    }

    #[test]
    fn without_telemetry_the_callers_trace_is_handed_on_untouched() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let call = CallContext::new(&headers(&[(TRACEPARENT, parent), (TRACESTATE, "a=b")]), None);
        let next = call.request(());
        assert_eq!(next.metadata().get(TRACEPARENT).unwrap(), parent);
        assert_eq!(next.metadata().get(TRACESTATE).unwrap(), "a=b");
        assert_eq!(next.metadata().get(REQUEST_ID).unwrap(), call.request_id());
    }
}
