//! The metadata keys that services and callers use. All lower-case, as gRPC wants them.

/// The caller's credential: `Bearer <token>`.
pub const AUTHORIZATION: &str = "authorization";
/// Identity of a request: taken from the caller if sane, else made at the first hop; on every answer.
pub const REQUEST_ID: &str = "x-request-id";
/// W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
/// W3C trace state.
pub const TRACESTATE: &str = "tracestate";
/// Time left, as the gRPC specification has it.
pub const GRPC_TIMEOUT: &str = "grpc-timeout";
/// Router to adapter: which deployment is to answer.
pub const DEPLOYMENT: &str = "x-penstock-deployment";
/// Router to adapter: who waits for a place on the deployment, so that places are shared fairly.
pub const TENANT: &str = "x-penstock-tenant";
/// Router to adapter: estimated tokens of the request, prompt and answer together.
pub const TOKENS: &str = "x-penstock-tokens";
/// Router to adapter: `no`, if the request is not to wait for a place, since it can go elsewhere.
pub const QUEUE: &str = "x-penstock-queue";
/// From a caller: requests of one session go to one deployment where the model's strategy is `affinity`.
pub const SESSION: &str = "x-penstock-session";
/// From a caller: only deployments that have all of these tags, separated by commas.
pub const TAGS: &str = "x-penstock-tags";
/// From a caller: only deployments where the request is expected to cost at most so many US dollars.
pub const MAX_COST: &str = "x-penstock-max-cost";
/// From a caller: only deployments whose first token is expected within so many milliseconds.
pub const MAX_LATENCY: &str = "x-penstock-max-latency";
/// From mesh to mesh: how many meshes the request has gone through, so that a circle ends.
pub const HOPS: &str = "x-penstock-hops";
/// On an answer: the model that gave it, after aliases and fallbacks.
pub const MODEL: &str = "x-penstock-model";
/// On an answer: how many deployments failed before this one.
pub const FALLBACKS: &str = "x-penstock-fallbacks";
/// On an answer: by which decision it came about, for `router.v1.Routing/GetDecision`.
pub const DECISION: &str = "x-penstock-decision";
/// On an answer: `hit`, `miss` or `bypass`.
pub const CACHE: &str = "x-penstock-cache";
/// On an answer that is not streamed: `estimated`, if its usage was counted here because the engine did not.
pub const USAGE: &str = "x-penstock-usage";
/// On a cache hit: age of the answer in whole seconds.
pub const AGE: &str = "age";
/// From a caller: RFC 9111 directives `no-cache`, `no-store`, `max-age=N`, `only-if-cached`.
pub const CACHE_CONTROL: &str = "cache-control";
/// On an answer: requests per period of the tightest request limit.
pub const LIMIT_REQUESTS: &str = "x-ratelimit-limit-requests";
/// On an answer: requests left in the tightest request limit.
pub const REMAINING_REQUESTS: &str = "x-ratelimit-remaining-requests";
/// On an answer: time until that bucket is full, as a Go duration.
pub const RESET_REQUESTS: &str = "x-ratelimit-reset-requests";
/// On an answer: tokens per period of the tightest token limit.
pub const LIMIT_TOKENS: &str = "x-ratelimit-limit-tokens";
/// On an answer: tokens left in the tightest token limit.
pub const REMAINING_TOKENS: &str = "x-ratelimit-remaining-tokens";
/// On an answer: time until that bucket is full, as a Go duration.
pub const RESET_TOKENS: &str = "x-ratelimit-reset-tokens";

/// What an answer of the router may carry in its metadata and a facade hands on as headers.
pub const ANSWER: [&str; 12] = [
    MODEL,
    FALLBACKS,
    DECISION,
    CACHE,
    USAGE,
    AGE,
    LIMIT_REQUESTS,
    REMAINING_REQUESTS,
    RESET_REQUESTS,
    LIMIT_TOKENS,
    REMAINING_TOKENS,
    RESET_TOKENS,
];

/// What a caller may say about the way of a request, and a facade hands on from headers.
pub const STEERING: [&str; 4] = [SESSION, TAGS, MAX_COST, MAX_LATENCY];
