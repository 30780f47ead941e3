//! The one table of error reasons: reason ↔ gRPC code ↔ HTTP status ↔ OpenAI `type` and `code`, and for each
//! whether it may be retried, by the caller or at the same deployment, may fall back, and counts against a
//! circuit breaker. Nothing else in the mesh decides any of these from a status code.

use tonic::Code;

/// What a caller, and the mesh itself, may do about a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remedy {
    /// The caller may send the same request again.
    pub retry: bool,
    /// The same deployment may be asked again: it may well answer then.
    pub again: bool,
    /// Another deployment may be asked instead, before anything was passed on.
    pub fallback: bool,
    /// It is evidence against the deployment.
    pub breaker: bool,
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident $text:literal $code:ident $http:literal $kind:literal $openai:expr, $title:literal, $retry:tt $again:tt $fallback:tt $breaker:tt;)*) => {
        /// Why a request failed. Travels as `google.rpc.ErrorInfo.reason` in the domain `penstock`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[doc = $doc])+ $name,)*
        }

        impl Reason {
            /// Every reason, in the order of the table.
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)*];

            /// The reason's name on the wire, such as `MODEL_NOT_FOUND`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Reason::$name => $text,)* }
            }

            /// The reason of that name.
            pub fn parse(text: &str) -> Option<Reason> {
                match text { $($text => Some(Reason::$name),)* _ => None }
            }

            /// The gRPC code.
            pub const fn code(self) -> Code {
                match self { $(Reason::$name => Code::$code,)* }
            }

            /// The HTTP status.
            pub const fn http_status(self) -> u16 {
                match self { $(Reason::$name => $http,)* }
            }

            /// `error.type` of the OpenAI error object.
            pub const fn openai_type(self) -> &'static str {
                match self { $(Reason::$name => $kind,)* }
            }

            /// `error.code` of the OpenAI error object.
            pub const fn openai_code(self) -> Option<&'static str> {
                match self { $(Reason::$name => $openai,)* }
            }

            /// The RFC 9457 `title`: the same for every occurrence.
            pub const fn title(self) -> &'static str {
                match self { $(Reason::$name => $title,)* }
            }

            /// What may be done about it.
            pub const fn remedy(self) -> Remedy {
                match self { $(Reason::$name => Remedy { retry: yes!($retry), again: yes!($again), fallback: yes!($fallback), breaker: yes!($breaker) },)* }
            }
        }
    };
}

macro_rules! yes {
    (+) => {
        true
    };
    (-) => {
        false
    };
}

reasons! {
    //                                                                                                   retry, again, fallback, breaker
    /// The body is not JSON.
    MalformedJson "MALFORMED_JSON" InvalidArgument 400 "invalid_request_error" Some("invalid_json"), "The body is not valid JSON", - - - -;
    /// The request is well-formed and not valid; the violations name the fields.
    InvalidRequest "INVALID_REQUEST" InvalidArgument 422 "invalid_request_error" Some("invalid_value"), "The request is not valid", - - - -;
    /// No deployment of the model can do what the request needs; the violations name the fields.
    Unsupported "UNSUPPORTED" InvalidArgument 422 "invalid_request_error" Some("unsupported_parameter"), "The model cannot do what the request needs", - - + -;
    /// No deployment of the model answers this kind of request at all.
    NotOffered "NOT_OFFERED" NotFound 404 "invalid_request_error" Some("operation_not_offered"), "The model does not answer this kind of request", - - + -;
    /// The HTTP request itself is wrong: a header, an encoding.
    BadRequest "BAD_REQUEST" InvalidArgument 400 "invalid_request_error" Some("bad_request"), "The HTTP request is not valid", - - - -;
    /// The body has a content type or an encoding that the route does not take.
    UnsupportedMediaType "UNSUPPORTED_MEDIA_TYPE" InvalidArgument 415 "invalid_request_error" Some("unsupported_media_type"), "The content type is not supported", - - - -;
    /// The body is larger than the limit.
    RequestTooLarge "REQUEST_TOO_LARGE" ResourceExhausted 413 "invalid_request_error" Some("request_too_large"), "The request is too large", - - - -;
    /// No credential, or one that is unknown, expired or revoked: never said which.
    InvalidApiKey "INVALID_API_KEY" Unauthenticated 401 "invalid_request_error" Some("invalid_api_key"), "The API key is missing or not valid", - - - -;
    /// The key lacks the scope.
    PermissionDenied "PERMISSION_DENIED" PermissionDenied 403 "permission_error" Some("permission_denied"), "The API key may not do this", - - - -;
    /// The key may not use the model.
    ModelNotAllowed "MODEL_NOT_ALLOWED" PermissionDenied 403 "permission_error" Some("model_not_allowed"), "The API key may not use this model", - - - -;
    /// No model has that name.
    ModelNotFound "MODEL_NOT_FOUND" NotFound 404 "invalid_request_error" Some("model_not_found"), "The model does not exist", - - - -;
    /// No object has that id.
    NotFound "NOT_FOUND" NotFound 404 "invalid_request_error" Some("not_found"), "The object does not exist", - - - -;
    /// No route has that path.
    UnknownRoute "UNKNOWN_ROUTE" Unimplemented 404 "invalid_request_error" Some("unknown_url"), "The URL does not exist", - - - -;
    /// The route exists, for another method.
    MethodNotAllowed "METHOD_NOT_ALLOWED" Unimplemented 405 "invalid_request_error" Some("method_not_allowed"), "The method is not allowed", - - - -;
    /// The service does not implement the call.
    Unimplemented "UNIMPLEMENTED" Unimplemented 501 "invalid_request_error" Some("unimplemented"), "The call is not implemented", - - - -;
    /// The object changed or exists already.
    Conflict "CONFLICT" Aborted 409 "invalid_request_error" Some("conflict"), "The object is in another state", + - - -;
    /// A rate limit has not enough left; it will have later.
    RateLimitExceeded "RATE_LIMIT_EXCEEDED" ResourceExhausted 429 "rate_limit_error" Some("rate_limit_exceeded"), "The rate limit is exceeded", + - - -;
    /// The request alone is larger than a rate limit's bucket: it can never pass.
    RequestExceedsLimit "REQUEST_EXCEEDS_LIMIT" ResourceExhausted 429 "rate_limit_error" Some("request_exceeds_limit"), "The request is larger than the rate limit allows", - - - -;
    /// The answer was to come from the cache alone, and it has none.
    NotCached "NOT_CACHED" NotFound 504 "invalid_request_error" Some("not_cached"), "The answer is not in the cache", - - - -;
    /// Prompt and answer do not fit into the model's context.
    ContextLengthExceeded "CONTEXT_LENGTH_EXCEEDED" InvalidArgument 400 "invalid_request_error" Some("context_length_exceeded"), "The prompt is longer than the model's context", - - + -;
    /// The engine's content filter refused.
    ContentFiltered "CONTENT_FILTERED" FailedPrecondition 400 "invalid_request_error" Some("content_filter"), "The engine's content filter refused the request", - - - -;
    /// The engine says that the request is wrong.
    EngineRejected "ENGINE_REJECTED" InvalidArgument 400 "invalid_request_error" Some("engine_rejected"), "The engine rejected the request", - - - -;
    /// The engine does not have the model any more.
    EngineModelMissing "ENGINE_MODEL_MISSING" Unavailable 503 "server_error" Some("model_unavailable"), "The engine does not have the model", + - + -;
    /// The engine refused our credential.
    EngineCredentials "ENGINE_CREDENTIALS" Unavailable 502 "server_error" Some("engine_credentials"), "The engine refused the gateway's credential", - - + +;
    /// The engine cannot be reached.
    EngineUnreachable "ENGINE_UNREACHABLE" Unavailable 503 "server_error" Some("engine_unreachable"), "The engine cannot be reached", + - + +;
    /// The engine closed the connection before it answered: it may not even have seen the request.
    EngineReset "ENGINE_RESET" Unavailable 502 "server_error" Some("engine_reset"), "The engine closed the connection without an answer", + + + +;
    /// All places on the deployment are taken, and its queue is full. The engine was not asked.
    EngineBusy "ENGINE_BUSY" Unavailable 503 "overloaded_error" Some("engine_busy"), "All places on the deployment are taken", + + + -;
    /// The deployment failed too often and is left alone for a while. The engine was not asked.
    CircuitOpen "CIRCUIT_OPEN" Unavailable 503 "server_error" Some("circuit_open"), "The deployment is left alone for a while", + - + -;
    /// The engine has too much to do, or limits us.
    EngineOverloaded "ENGINE_OVERLOADED" Unavailable 503 "server_error" Some("engine_overloaded"), "The engine is overloaded", + + + -;
    /// The engine is loading the model.
    ModelLoading "MODEL_LOADING" Unavailable 503 "server_error" Some("model_loading"), "The engine is loading the model", + + + -;
    /// The engine failed.
    EngineFailed "ENGINE_FAILED" Unavailable 502 "server_error" Some("engine_failed"), "The engine failed", + + + +;
    /// The engine's answer cannot be understood.
    EngineBadAnswer "ENGINE_BAD_ANSWER" Unavailable 502 "server_error" Some("engine_bad_answer"), "The engine's answer is not valid", + - + +;
    /// The engine's answer ended before it was whole.
    EngineCut "ENGINE_CUT" Unavailable 502 "server_error" Some("engine_cut"), "The engine's answer was cut", + - + +;
    /// The engine was silent for too long.
    EngineTimeout "ENGINE_TIMEOUT" DeadlineExceeded 504 "server_error" Some("engine_timeout"), "The engine did not answer in time", + - + +;
    /// No deployment of the model is left to ask.
    ModelUnavailable "MODEL_UNAVAILABLE" Unavailable 503 "server_error" Some("model_unavailable"), "No deployment of the model is available", + - + -;
    /// A service of the mesh cannot be reached.
    ServiceUnavailable "SERVICE_UNAVAILABLE" Unavailable 503 "server_error" Some("service_unavailable"), "A service of the gateway is not available", + - - -;
    /// Too much to do.
    Overloaded "OVERLOADED" Unavailable 503 "overloaded_error" Some("overloaded"), "The gateway is overloaded", + - - -;
    /// Shutting down.
    Draining "DRAINING" Unavailable 503 "server_error" Some("draining"), "The gateway is shutting down", + - - -;
    /// The caller's deadline, or the default one, passed.
    DeadlineExceeded "DEADLINE_EXCEEDED" DeadlineExceeded 504 "server_error" Some("timeout"), "The deadline passed", + - - -;
    /// The caller left. Seen in logs only.
    Cancelled "CANCELLED" Cancelled 499 "client_error" Some("client_closed_request"), "The caller closed the request", - - - -;
    /// A bug of ours.
    Internal "INTERNAL" Internal 500 "server_error" Some("internal_error"), "The gateway failed", + - - -;
}

impl Reason {
    /// The reason to assume for a status that carries none of ours.
    pub const fn from_code(code: Code) -> Reason {
        match code {
            Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => Reason::Internal,
            Code::Cancelled => Reason::Cancelled,
            Code::InvalidArgument | Code::FailedPrecondition => Reason::InvalidRequest,
            // What tonic says of a message that is larger than it decodes.
            Code::OutOfRange => Reason::RequestTooLarge,
            Code::DeadlineExceeded => Reason::DeadlineExceeded,
            Code::NotFound => Reason::NotFound,
            Code::AlreadyExists | Code::Aborted => Reason::Conflict,
            Code::PermissionDenied => Reason::PermissionDenied,
            Code::ResourceExhausted => Reason::Overloaded,
            Code::Unimplemented => Reason::Unimplemented,
            Code::Unavailable => Reason::ServiceUnavailable,
            Code::Unauthenticated => Reason::InvalidApiKey,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_parse_back() {
        let names: HashSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.as_str()), Some(*reason));
        }
        assert_eq!(Reason::parse("model_not_found"), None);
    }

    #[test]
    fn statuses_are_errors_and_client_errors_never_count_against_an_engine() {
        for reason in Reason::ALL {
            assert!((400..600).contains(&reason.http_status()), "{reason:?}");
            assert_ne!(reason.code(), Code::Ok, "{reason:?}");
            if reason.http_status() < 500 {
                assert!(!reason.remedy().breaker, "{reason:?}");
            }
        }
    }
}
