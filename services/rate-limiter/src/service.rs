//! The gRPC face of the limiter: decode, ask, encode.

use std::{sync::Arc, time::Instant};

use penstock_proto::{
    Violation,
    ratelimit::v1::{
        Limit, LimitState, PeekRequest, PeekResponse, ReserveRequest, ReserveResponse, SettleRequest,
        SettleResponse, Subject as SubjectMessage, Unit as UnitMessage, rate_limiter_server::RateLimiter,
    },
};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::{
    bucket::Spec,
    config::{PER_MAX, PER_MIN},
    error::Error,
    limiter::{Level, Limiter, Refusal},
    metrics::Decisions,
    rules::{Subject, Unit},
};

/// Longest name of a key, a tenant or a model, in bytes: as long as a model's name in a request may be.
const NAME_MAX_BYTES: usize = 256;
/// Most limits of a key itself: two units, and a few periods each.
const OWN_LIMITS_MAX: usize = 16;

#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) decisions: Decisions,
}

#[tonic::async_trait]
impl RateLimiter for Service {
    async fn reserve(&self, request: Request<ReserveRequest>) -> Result<Response<ReserveResponse>, Status> {
        let ReserveRequest { subject, tokens } = request.into_inner();
        let subject = subject_from(subject)?;
        match self.limiter.reserve(&subject, tokens, Uuid::now_v7, Instant::now()) {
            Ok(admission) => {
                let unlimited = admission.levels.is_empty();
                let counter = if unlimited { &self.decisions.unlimited } else { &self.decisions.admitted };
                counter.inc();
                Ok(Response::new(ReserveResponse {
                    reservation_id: admission.reservation.map(|id| id.to_string()).unwrap_or_default(),
                    limits: states_of(&admission.levels),
                }))
            }
            Err(refusal) => {
                self.count_refusal(&refusal);
                Err(Error::Refused(refusal).into())
            }
        }
    }

    async fn settle(&self, request: Request<SettleRequest>) -> Result<Response<SettleResponse>, Status> {
        let SettleRequest { reservation_id, tokens } = request.into_inner();
        // An id that is none of ours is like one that has lapsed: there is nothing to settle.
        if let Ok(id) = Uuid::try_parse(&reservation_id) {
            self.limiter.settle(id, tokens, Instant::now());
        }
        Ok(Response::new(SettleResponse {}))
    }

    async fn peek(&self, request: Request<PeekRequest>) -> Result<Response<PeekResponse>, Status> {
        let subject = subject_from(request.into_inner().subject)?;
        let levels = self.limiter.peek(&subject, Instant::now());
        Ok(Response::new(PeekResponse { limits: states_of(&levels) }))
    }
}

impl Service {
    fn count_refusal(&self, refusal: &Refusal) {
        match refusal.retry_after {
            Some(_) => self.decisions.limited.inc(),
            None => self.decisions.too_large.inc(),
        };
    }
}

fn subject_from(message: Option<SubjectMessage>) -> Result<Subject, Error> {
    let Some(message) = message else {
        return Err(Error::Invalid(vec![Violation::new("subject", "is required")]));
    };
    let mut violations = Vec::new();
    let names = [("key_id", &message.key_id), ("tenant", &message.tenant), ("model", &message.model)];
    for (name, value) in names {
        if value.len() > NAME_MAX_BYTES {
            let message = format!("is longer than {NAME_MAX_BYTES} bytes");
            violations.push(Violation::new(format!("subject.{name}"), message));
        }
    }
    let mut own = Vec::with_capacity(message.key_limits.len().min(OWN_LIMITS_MAX));
    if message.key_limits.len() > OWN_LIMITS_MAX {
        violations.push(Violation::new("subject.key_limits", format!("are more than {OWN_LIMITS_MAX}")));
    } else {
        for (index, limit) in message.key_limits.iter().enumerate() {
            own.extend(limit_from(index, limit, &mut violations));
        }
    }
    if !violations.is_empty() {
        return Err(Error::Invalid(violations));
    }
    Ok(Subject { key_id: message.key_id, tenant: message.tenant, model: message.model, own })
}

fn limit_from(index: usize, limit: &Limit, violations: &mut Vec<Violation>) -> Option<(Unit, Spec)> {
    let before = violations.len();
    let mut wrong = |field: &str, message: &str| {
        violations.push(Violation::new(format!("subject.key_limits[{index}].{field}"), message));
    };
    let unit = match limit.unit() {
        UnitMessage::Requests => Some(Unit::Requests),
        UnitMessage::Tokens => Some(Unit::Tokens),
        UnitMessage::Unspecified => None,
    };
    if unit.is_none() {
        wrong("unit", "must be requests or tokens");
    }
    if limit.limit == 0 {
        wrong("limit", "must be at least 1");
    }
    if limit.burst == Some(0) {
        wrong("burst", "must be at least 1");
    }
    let per = limit.per.and_then(|per| std::time::Duration::try_from(per).ok());
    let per = per.filter(|per| (PER_MIN..=PER_MAX).contains(per));
    if per.is_none() {
        wrong("per", "must be from 1 second to 31 days");
    }
    let spec = Spec::new(limit.limit, per?, limit.burst);
    (violations.len() == before).then_some((unit?, spec))
}

fn states_of(levels: &[Level]) -> Vec<LimitState> {
    levels.iter().map(state_of).collect()
}

pub(crate) fn state_of(level: &Level) -> LimitState {
    let unit = match level.unit {
        Unit::Requests => UnitMessage::Requests,
        Unit::Tokens => UnitMessage::Tokens,
    };
    LimitState {
        name: level.name.to_owned(),
        unit: unit.into(),
        limit: level.spec.limit(),
        // A period is at most 31 days; the time to full at most some of them, or for a slow limit with a huge
        // burst whatever the message can say.
        per: level.spec.per().try_into().ok(),
        remaining: level.remaining,
        reset_after: level.reset_after.try_into().ok(),
    }
}

#[cfg(test)]
mod tests;
