//! A look at an engine: whether it is there, whether it has the model, and what it says of it. Free: nothing is
//! generated or loaded. What an engine says about itself is asked for rarely, and anew after it was gone.

use std::{sync::PoisonError, time::Duration};

use bytes::Bytes;
use futures_util::future::join4;
use penstock_proto::Reason;
use tokio::time::Instant;

use super::{STUDY_TIMEOUT, Upstream};
use crate::{
    engine::{Detail, Dialect, Learnt, url},
    error::Fault,
};

/// How long an engine's word on a model is taken for granted: it changes with a restart.
const DETAIL_AGE: Duration = Duration::from_secs(60);

/// What the looks so far have found.
#[derive(Debug, Default)]
pub(super) struct Looked {
    listed: Learnt,
    detailed: Learnt,
    detailed_at: Option<Instant>,
    /// The model is in memory.
    loaded: Option<bool>,
}

/// The answer to the main question, if something that could be an engine gave it: a list of models that is not even
/// JSON comes from a web server, or from a proxy before an engine that is gone (D9).
fn understood<D: Dialect>(answer: Bytes) -> Result<Bytes, Fault> {
    let is_json = || serde_json::from_slice::<serde::de::IgnoredAny>(&answer).is_ok();
    if D::CHECK == D::MODELS && !is_json() {
        return Err(Fault::new(Reason::EngineBadAnswer, "the engine's list of models is not JSON"));
    }
    Ok(answer)
}

impl<D: Dialect> Upstream<D> {
    /// Looks at the engine; says how long the main question took.
    ///
    /// # Errors
    /// It is not there, or its list shows that it does not have the model.
    pub(super) async fn look(&self, timeout: Duration) -> Result<Duration, Fault> {
        // Side by side, and the side questions a little shorter: they must not cost the answer to the main one.
        let side = timeout.mul_f32(0.9);
        let ((check, latency), list, detail, running) =
            join4(self.main(timeout), self.list(side), self.detail(side), self.running(side)).await;
        let check = match check.and_then(understood::<D>) {
            // It answers: that a server lacks the page does not make it unable to generate (D7).
            Err(Fault { reason: Reason::EngineModelMissing | Reason::EngineRejected, .. }) => None,
            Err(Fault { reason: Reason::NotOffered, .. }) => None,
            Err(fault) => {
                let mut looked = self.looked();
                (looked.detailed_at, looked.loaded) = (None, None);
                drop(looked);
                return Err(fault);
            }
            Ok(body) => Some(body),
        };
        let list = if D::CHECK == D::MODELS { check } else { list };
        let lacks = list.as_deref().is_some_and(|list| D::lacks(list, &self.target.model));
        self.looked().loaded = running;
        self.learn(list.as_deref(), detail.as_deref());
        if lacks {
            return Err(Fault::new(Reason::EngineModelMissing, "the engine does not list the model"));
        }
        Ok(latency)
    }

    /// The main question, and how long the answer took.
    async fn main(&self, timeout: Duration) -> (Result<Bytes, Fault>, Duration) {
        let began = Instant::now();
        let url = url::<D>(&self.target.endpoint, D::CHECK);
        let answer = self.http.page(url, &self.target.headers, timeout).await;
        (answer, began.elapsed())
    }

    /// Whether the model is in memory, where the engine has a list of those.
    async fn running(&self, timeout: Duration) -> Option<bool> {
        let list = self.get(D::RUNNING?, timeout).await.ok()?;
        Some(D::models(&list)?.iter().any(|one| D::is_it(one, &self.target.model)))
    }

    /// Asks what must be known before the first request. Without an answer requests go on without it.
    pub(super) async fn study(&self) {
        if D::DETAIL_FIRST && self.target.learnt().shown.is_none() {
            let detail = self.detail(STUDY_TIMEOUT).await;
            self.learn(None, detail.as_deref());
        }
    }

    async fn get(&self, path: &str, timeout: Duration) -> Result<Bytes, Fault> {
        let url = url::<D>(&self.target.endpoint, path);
        self.http.get(url, &self.target.headers, timeout).await
    }

    async fn list(&self, timeout: Duration) -> Option<Bytes> {
        if D::CHECK == D::MODELS { None } else { self.get(D::MODELS, timeout).await.ok() }
    }

    async fn detail(&self, timeout: Duration) -> Option<Bytes> {
        let known = self.looked().detailed_at;
        if known.is_some_and(|at| at.elapsed() < DETAIL_AGE) {
            return None;
        }
        let Detail { path, body } = D::detail(&self.target)?;
        let url = url::<D>(&self.target.endpoint, &path);
        match body {
            Some(body) => self.http.query(url, body, &self.target.headers, timeout).await.ok(),
            None => self.http.get(url, &self.target.headers, timeout).await.ok(),
        }
    }

    fn learn(&self, list: Option<&[u8]>, detail: Option<&[u8]>) {
        let mut looked = self.looked();
        if let Some(list) = list {
            looked.listed = D::listed(list, &self.target);
        }
        if let Some(detail) = detail {
            looked.detailed = D::detailed(detail);
            looked.detailed_at = Some(Instant::now());
        }
        let learnt = Learnt { loaded: looked.loaded, ..Learnt::default() };
        let learnt = learnt.over(&looked.detailed).over(&looked.listed);
        drop(looked);
        *self.target.learnt.lock().unwrap_or_else(PoisonError::into_inner) = learnt;
    }

    fn looked(&self) -> std::sync::MutexGuard<'_, Looked> {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
