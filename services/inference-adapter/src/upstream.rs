//! HTTP to engines, written once for every dialect: one request, its head, its timeouts, its limits. An engine
//! is stopped by dropping what is returned here; nothing is ever detached. No redirect is followed, no proxy
//! is used, an engine's text is never passed on or logged.

mod look;
mod reading;
pub(crate) mod status;

use std::{
    collections::HashMap,
    fmt,
    marker::PhantomData,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER},
};
use http_body::Body as _;
use penstock_chassis::CallContext;
use penstock_proto::{
    Reason,
    inference::v1::{
        Capabilities, CountTokensResponse, EmbedRequest, EmbedResponse, Extension, GenerateRequest,
        GenerateResponse, ModerateRequest, ModerateResponse, generate_request::Input,
    },
    metadata::REQUEST_ID,
};
use prometheus_client::metrics::counter::Counter;
use reqwest::{Body, Client, RequestBuilder, Url};
use tokio::time::{Instant, timeout, timeout_at};

use self::{look::Looked, reading::Reading};
use crate::{
    answer::Answer,
    engine::{
        AnswerStream, Ask, Dialect, Engine, Reader as _, Target, deny::denied, optional::understood, url,
    },
    error::{Error, Fault},
    metrics::EngineMetrics,
    vectors::{append, check_dimensions, check_size, parts},
};

/// Bytes of an error's body that are read to classify it: more is no error message.
const ERROR_MAX_BYTES: usize = 64 << 10;
/// How long an error's body is waited for: engines send it with the head, and the status says enough.
const ERROR_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of a check's or a listing's answer: thousands of models fit.
const LISTING_MAX_BYTES: usize = 4 << 20;
/// How long an engine may take to describe a model: it reads a file.
const STUDY_TIMEOUT: Duration = Duration::from_secs(2);
/// How long counting may take: a book is cut into tokens in a second or two.
pub(crate) const COUNT_TIMEOUT: Duration = Duration::from_secs(30);
/// Larger vectors are read off the threads that serve streams: reading this much takes some milliseconds.
const INLINE_MAX_BYTES: usize = 512 << 10;
/// Connections to an engine that are kept for later.
const POOL_MAX_IDLE: usize = 256;
/// An idle connection is given up before the engine does: uvicorn, under vLLM and most others, closes after
/// 5 s, and a request that meets the close is lost.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// Times and sizes that bound every call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Limits {
    /// Until the connection stands.
    pub(crate) connect_timeout: Duration,
    /// From the request to the first token of a stream.
    pub(crate) first_token_timeout: Duration,
    /// Between tokens of a stream.
    pub(crate) stall_timeout: Duration,
    /// From the request to the whole of an answer that is not streamed.
    pub(crate) answer_timeout: Duration,
    /// From the request to the end of a stream.
    pub(crate) total_timeout: Duration,
    /// One frame of a stream.
    pub(crate) frame_max_bytes: usize,
    /// An answer that is not streamed.
    pub(crate) answer_max_bytes: usize,
    /// Texts of one request for vectors.
    pub(crate) embedding_batch_max: usize,
}

/// The HTTP client of all engines, with the limits. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    client: Client,
    has_tls: bool,
    limits: Limits,
    metrics: EngineMetrics,
    /// One for each time that a connection may take, which is a matter of the client.
    clients: Arc<Mutex<HashMap<Duration, Client>>>,
}

impl Http {
    /// `has_tls`: some engine is reached over TLS. Only then are the system's certificates read: a container
    /// for local engines may have none, and they take time at the start.
    pub(crate) fn new(limits: Limits, has_tls: bool, metrics: EngineMetrics) -> Result<Self, Error> {
        // Fails only if another part of the process chose a provider already: as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = client(has_tls, limits.connect_timeout)?;
        let clients = HashMap::from([(limits.connect_timeout, client.clone())]);
        Ok(Self { client, limits, metrics, clients: Arc::new(Mutex::new(clients)), has_tls })
    }

    /// Whether engines can be reached over TLS.
    pub(crate) fn has_tls(&self) -> bool {
        self.has_tls
    }

    /// What bounds every call.
    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// The same for a deployment with limits of its own.
    pub(crate) fn with(&self, limits: Limits) -> Self {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let own = clients.entry(limits.connect_timeout).or_insert_with(|| {
            // What could be built once can be built again.
            client(self.has_tls, limits.connect_timeout).unwrap_or_else(|_| self.client.clone())
        });
        Self { client: own.clone(), limits, ..self.clone() }
    }

    /// Gets a small document.
    pub(crate) async fn get(
        &self,
        url: Url,
        headers: &[(HeaderName, HeaderValue)],
        at_most: Duration,
    ) -> Result<Bytes, Fault> {
        self.fetch(self.client.get(url), headers, false, at_most).await
    }

    /// Gets a small document that the engine need not have.
    async fn page(
        &self,
        url: Url,
        headers: &[(HeaderName, HeaderValue)],
        at_most: Duration,
    ) -> Result<Bytes, Fault> {
        self.fetch(self.client.get(url), headers, true, at_most).await
    }

    /// Gets a small document that has to be asked for by a POST.
    async fn query(
        &self,
        url: Url,
        body: Vec<u8>,
        headers: &[(HeaderName, HeaderValue)],
        at_most: Duration,
    ) -> Result<Bytes, Fault> {
        let request = self.client.post(url).header(CONTENT_TYPE, "application/json").body(body);
        self.fetch(request, headers, false, at_most).await
    }

    async fn fetch(
        &self,
        mut request: RequestBuilder,
        headers: &[(HeaderName, HeaderValue)],
        optional: bool,
        at_most: Duration,
    ) -> Result<Bytes, Fault> {
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let fetch = async {
            let response = Response::from(request.send().await.map_err(|error| of_transport(&error))?);
            if response.status() == StatusCode::OK {
                return collect(response.into_body(), LISTING_MAX_BYTES).await;
            }
            Err(refusal(response, optional).await)
        };
        timeout(at_most, fetch).await.unwrap_or_else(|_| Err(silent()))
    }
}

fn client(needs_tls: bool, connect_timeout: Duration) -> Result<Client, reqwest::Error> {
    let builder = if needs_tls { Client::builder() } else { Client::builder().tls_certs_only([]) };
    builder
        .user_agent(concat!("penstock/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .tcp_nodelay(true)
        .connect_timeout(connect_timeout)
        .pool_max_idle_per_host(POOL_MAX_IDLE)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        // Engines speak HTTP/1.1, and one connection each makes cancellation a close.
        .http1_only()
        .build()
}

/// One model on one engine that is spoken to over HTTP.
pub(crate) struct Upstream<D> {
    target: Target,
    http: Http,
    looked: Mutex<Looked>,
    malformed: Counter,
    dialect: PhantomData<D>,
}

impl<D> fmt::Debug for Upstream<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").field("target", &self.target).finish_non_exhaustive()
    }
}

impl<D: Dialect> Upstream<D> {
    pub(crate) fn new(target: Target, http: &Http) -> Self {
        Self {
            malformed: http.metrics.malformed(&target.deployment),
            target,
            http: http.clone(),
            looked: Mutex::default(),
            dialect: PhantomData,
        }
    }

    fn fault(&self, fault: Fault) -> Error {
        fault.of(&self.target.deployment)
    }

    /// Refuses what no caller may say to this engine.
    fn admit(&self, extensions: &[Extension]) -> Result<(), Error> {
        if extensions.is_empty() {
            return Ok(());
        }
        denied(extensions, D::DENIED, &self.target.deny).map_err(Error::Request)
    }

    async fn answer(&self, request: &GenerateRequest, context: &CallContext) -> Result<AnswerStream, Error> {
        self.admit(&request.extensions)?;
        self.study().await;
        let ask = D::generate(&understood(request, D::OPTIONAL), &self.target)?;
        let limits = self.http.limits;
        let patience = if request.stream { limits.first_token_timeout } else { limits.answer_timeout };
        let deadline = Instant::now() + patience;
        // Every engine has conversations, not every one continues texts.
        let optional = matches!(request.input, Some(Input::Text(_)));
        let asked = timeout_at(deadline, self.ask(request.stream, optional, ask, context)).await;
        let response = asked.unwrap_or_else(|_| Err(silent())).map_err(|fault| self.fault(fault))?;
        let answer = Answer::new(request, unix_now()).below(D::prompt_max(request, &self.target));
        match kind_of::<D>(&response, request.stream).map_err(|fault| self.fault(fault))? {
            Shape::Stream => {
                let deployment = Arc::clone(&self.target.deployment);
                let malformed = self.malformed.clone();
                let body = response.into_body();
                Ok(Reading::<D>::new(body, answer, deployment, malformed, limits, deadline).boxed())
            }
            Shape::Plain => {
                let read = timeout_at(deadline, collect(response.into_body(), limits.answer_max_bytes)).await;
                let body = read.unwrap_or_else(|_| Err(silent())).map_err(|fault| self.fault(fault))?;
                let message = plain::<D>(&body, answer).map_err(|fault| self.fault(fault))?;
                Ok(stream::once(std::future::ready(Ok(message))).boxed())
            }
        }
    }

    /// Sends a request that is answered in one piece; returns the body.
    async fn whole(&self, ask: Ask, context: &CallContext) -> Result<Bytes, Fault> {
        let limits = self.http.limits;
        let exchange = async {
            let response = self.ask(false, true, ask, context).await?;
            match kind_of::<D>(&response, false)? {
                Shape::Stream => {
                    Err(Fault::bad_answer("the engine's answer is of an unexpected content type"))
                }
                Shape::Plain => collect(response.into_body(), limits.answer_max_bytes).await,
            }
        };
        timeout(limits.answer_timeout, exchange).await.unwrap_or_else(|_| Err(silent()))
    }

    /// The vectors of texts that are few enough for the engine.
    async fn vectors(&self, request: &EmbedRequest, context: &CallContext) -> Result<EmbedResponse, Error> {
        let body = self.whole(D::embed(request, &self.target)?, context).await;
        let body = body.map_err(|fault| self.fault(fault))?;
        let answer = if body.len() <= INLINE_MAX_BYTES {
            D::embedded(&body, request)
        } else {
            let request = request.clone();
            // Not a task: it is waited for, and ends by itself.
            let reading = tokio::task::spawn_blocking(move || D::embedded(&body, &request));
            let broken = Fault::new(Reason::Internal, "the engine's answer could not be read");
            reading.await.unwrap_or(Err(broken))
        };
        let answer = answer.map_err(|fault| self.fault(fault))?;
        check_dimensions(request, &answer)?;
        Ok(answer)
    }

    /// The vectors of all texts: part after part, so that one caller takes one place on the engine.
    async fn all_vectors(
        &self,
        request: &EmbedRequest,
        context: &CallContext,
    ) -> Result<EmbedResponse, Error> {
        self.admit(&request.extensions)?;
        self.study().await;
        let parts = parts(request, self.http.limits.embedding_batch_max);
        if parts.is_empty() {
            let answer = self.vectors(request, context).await?;
            check_size(&answer).map_err(|fault| self.fault(fault))?;
            return Ok(answer);
        }
        let mut whole = None;
        for part in parts {
            let answer = self.vectors(&part, context).await?;
            append(&mut whole, answer).map_err(|fault| self.fault(fault))?;
        }
        Ok(whole.unwrap_or_default())
    }

    /// The tokens of a request's input, as the engine counts them. `None`: it does not, whether it lacks the path or
    /// answers with something else.
    async fn tokens(&self, request: &GenerateRequest, context: &CallContext) -> Result<Option<i64>, Error> {
        self.admit(&request.extensions)?;
        let Some(ask) = D::count(&understood(request, D::OPTIONAL), &self.target)? else { return Ok(None) };
        let asked = timeout(COUNT_TIMEOUT, self.whole(ask, context)).await;
        match asked.unwrap_or_else(|_| Err(silent())) {
            Ok(body) => Ok(D::counted(&body)),
            Err(Fault { reason: Reason::NotOffered | Reason::EngineBadAnswer, .. }) => Ok(None),
            Err(fault) => Err(self.fault(fault)),
        }
    }

    /// Sends the request; returns a head that says 200. `optional`: the engine need not have the path.
    async fn ask(
        &self,
        stream: bool,
        optional: bool,
        ask: Ask,
        context: &CallContext,
    ) -> Result<Response<Body>, Fault> {
        let mut request = self
            .http
            .client
            .post(url::<D>(&self.target.endpoint, ask.path))
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(
                ACCEPT,
                HeaderValue::from_static(if stream { D::STREAM_TYPE } else { "application/json" }),
            )
            .body(ask.body);
        if let Ok(id) = HeaderValue::from_str(context.request_id()) {
            request = request.header(REQUEST_ID, id);
        }
        for (name, value) in self.target.headers.iter() {
            request = request.header(name, value);
        }
        let response = Response::from(request.send().await.map_err(|error| of_transport(&error))?);
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        Err(refusal(response, optional).await)
    }
}

impl<D: Dialect> Engine for Upstream<D> {
    fn generate<'a>(
        &'a self,
        request: &'a GenerateRequest,
        context: &'a CallContext,
    ) -> BoxFuture<'a, Result<AnswerStream, Error>> {
        self.answer(request, context).boxed()
    }

    fn embed<'a>(
        &'a self,
        request: &'a EmbedRequest,
        context: &'a CallContext,
    ) -> BoxFuture<'a, Result<EmbedResponse, Error>> {
        self.all_vectors(request, context).boxed()
    }

    fn moderate<'a>(
        &'a self,
        request: &'a ModerateRequest,
        context: &'a CallContext,
    ) -> BoxFuture<'a, Result<ModerateResponse, Error>> {
        async move {
            self.admit(&request.extensions)?;
            let body = self.whole(D::moderate(request, &self.target)?, context).await;
            body.and_then(|body| D::moderated(&body, request)).map_err(|fault| self.fault(fault))
        }
        .boxed()
    }

    fn counts(&self) -> bool {
        D::COUNTS
    }

    fn count<'a>(
        &'a self,
        request: &'a GenerateRequest,
        context: &'a CallContext,
    ) -> BoxFuture<'a, Result<Option<CountTokensResponse>, Error>> {
        let counted = |tokens| CountTokensResponse { input_tokens: tokens, estimated: false };
        async move { Ok(self.tokens(request, context).await?.map(counted)) }.boxed()
    }

    fn check(&self, timeout: Duration) -> BoxFuture<'_, Result<Duration, Fault>> {
        self.look(timeout).boxed()
    }

    fn capabilities(&self) -> Capabilities {
        self.target.learnt().capabilities
    }

    fn loaded(&self) -> Option<bool> {
        self.target.learnt().loaded
    }
}

enum Shape {
    Stream,
    Plain,
}

/// What the head promises, or that it is not an answer at all.
fn kind_of<D: Dialect>(response: &Response<Body>, stream: bool) -> Result<Shape, Fault> {
    if response.headers().get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(Fault::bad_answer("the engine sent a compressed answer that nobody asked for"));
    }
    let declared = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = declared.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    let is = |kind: &str| essence.eq_ignore_ascii_case(kind);
    if stream && (is(D::STREAM_TYPE) || essence.is_empty()) {
        Ok(Shape::Stream)
    } else if is("application/json") || essence.is_empty() {
        Ok(Shape::Plain)
    } else {
        Err(Fault::bad_answer("the engine's answer is of an unexpected content type"))
    }
}

fn plain<D: Dialect>(body: &[u8], mut answer: Answer) -> Result<GenerateResponse, Fault> {
    let chunk = D::Reader::default().plain(body)?;
    if chunk.choices.is_empty() {
        return Err(Fault::bad_answer("the engine's answer has no choices"));
    }
    let mut chunks = Vec::with_capacity(1);
    answer.take(chunk, &mut chunks)?;
    answer.end(&mut chunks)?;
    Ok(GenerateResponse { chunks })
}

/// Reads a body of at most `max` bytes.
async fn collect(mut body: Body, max: usize) -> Result<Bytes, Fault> {
    if body.size_hint().lower() > max as u64 {
        return Err(too_large());
    }
    let mut collected = BytesMut::new();
    while let Some(data) = std::future::poll_fn(|cx| next_data(&mut body, cx)).await {
        let data = data?;
        if collected.len() + data.len() > max {
            return Err(too_large());
        }
        collected.extend_from_slice(&data);
    }
    Ok(collected.freeze())
}

fn too_large() -> Fault {
    Fault::bad_answer("the engine's answer is over the size limit")
}

/// The next data of a body; trailers are of no interest.
fn next_data(body: &mut Body, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
    loop {
        match std::task::ready!(Pin::new(&mut *body).poll_frame(cx)) {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Poll::Ready(Some(Ok(data)));
                }
            }
            Some(Err(_)) => {
                let cut = Fault::new(Reason::EngineCut, "the connection to the engine broke");
                return Poll::Ready(Some(Err(cut)));
            }
            None => return Poll::Ready(None),
        }
    }
}

/// What a head that is not 200 means. `optional`: the engine need not have the path.
async fn refusal(response: Response<Body>, optional: bool) -> Fault {
    let status = response.status();
    let retry_after = response.headers().get(RETRY_AFTER).cloned();
    // Without its body an error is still known by its status.
    let body = timeout(ERROR_TIMEOUT, collect(response.into_body(), ERROR_MAX_BYTES)).await;
    let body = body.ok().and_then(Result::ok).unwrap_or_default();
    if optional && status::no_such_path(status.as_u16(), &body) {
        return Fault::new(
            Reason::NotOffered,
            "its engine answers no such requests, name a model whose engine does",
        );
    }
    let retry_after = retry_after.as_ref().and_then(|value| value.to_str().ok());
    status::fault(status.as_u16(), retry_after, &body, SystemTime::now())
}

/// What it means that there is no head. The error's own text is left out: it may hold the engine's.
fn of_transport(error: &reqwest::Error) -> Fault {
    if error.is_connect() || error.is_timeout() {
        Fault::new(Reason::EngineUnreachable, "the engine cannot be connected to")
    } else if error.is_builder() {
        Fault::new(Reason::Internal, "the request to the engine cannot be built")
    } else {
        Fault::new(Reason::EngineReset, "the engine closed the connection without an answer")
    }
}

/// An engine that said nothing in time.
pub(crate) fn silent() -> Fault {
    Fault::new(Reason::EngineTimeout, "the engine was silent for too long")
}

/// A prompt that an engine would cut, or has cut.
pub(crate) fn prompt_too_long() -> Fault {
    Fault::new(Reason::ContextLengthExceeded, "the prompt is longer than the context of the deployment")
}

/// The time in Unix seconds.
pub(crate) fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
