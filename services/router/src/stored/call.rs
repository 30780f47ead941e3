//! Calls about what is stored: who calls, where the caller's things are, and what is told when the store says no.
//! What a store that cannot be asked says is not for callers.

use penstock_chassis::CallContext;
use penstock_proto::{Error, Reason, cache::v1::ObjectKey};
use tonic::{Request, Status};

use crate::service::{RETRY_AFTER, Router};

/// Who calls, and for what.
pub(crate) struct Call<T> {
    pub(crate) context: CallContext,
    pub(crate) tenant: String,
    pub(crate) message: T,
}

impl<T> Call<T> {
    /// Where an object of the caller's tenant is.
    pub(crate) fn key(&self, kind: &str, id: &str) -> Option<ObjectKey> {
        Some(ObjectKey { tenant: self.tenant.clone(), kind: kind.to_owned(), id: id.to_owned() })
    }
}

impl Router {
    /// Who makes a call about what is stored.
    pub(crate) async fn call<T>(&self, request: Request<T>) -> Result<Call<T>, Status> {
        let context = CallContext::of(&request);
        let (caller, _, message) = request.into_parts();
        let tenant = self.principal(&context, &caller).await?.tenant.clone();
        Ok(Call { context, tenant, message })
    }
}

/// What a caller is told when the store says no, or says nothing; `missing`, if there is no such object.
pub(crate) fn refused(status: &Status, missing: &'static str) -> Status {
    let error = Error::from(status);
    match error.reason {
        Reason::NotFound => Error::new(Reason::NotFound, missing).into(),
        Reason::InvalidRequest | Reason::DeadlineExceeded | Reason::Overloaded => error.into(),
        _ => Error::new(Reason::ServiceUnavailable, "the store of answers cannot be asked")
            .with_retry_after(RETRY_AFTER)
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use penstock_proto::stored;

    use super::*;

    /// What another service says is not for callers, unless it is about what they asked.
    #[test]
    fn a_store_that_cannot_be_asked_is_unavailable() {
        let told = |status: Status| Error::from(&refused(&status, "x")).reason;
        assert_eq!(told(Status::unavailable("10.0.0.7")), Reason::ServiceUnavailable);
        assert_eq!(told(Status::internal("x")), Reason::ServiceUnavailable);
        assert_eq!(told(Error::new(Reason::NotFound, "x").into()), Reason::NotFound);
        assert_eq!(told(Error::invalid(vec![stored::unknown_cursor()]).into()), Reason::InvalidRequest);
    }
}
