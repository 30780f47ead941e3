//! Of all errors that a request met on its way the one that tells its caller most.

use penstock_proto::{Error, Reason};

/// What was heard so far.
#[derive(Debug, Default)]
pub(super) struct Verdict(Option<Error>);

impl Verdict {
    /// Takes note of an error. What an engine said tells more than that one was not asked, and that more than that
    /// one cannot do it; of the same the last, or where one is to come back the soonest.
    pub(super) fn hear(&mut self, error: Error) {
        let better = match &self.0 {
            None => true,
            Some(known) if weight(known.reason) != weight(error.reason) => {
                weight(known.reason) < weight(error.reason)
            }
            Some(known) if is_unasked(known.reason) => match (known.retry_after, error.retry_after) {
                (Some(known), Some(new)) => new < known,
                (known, _) => known.is_none(),
            },
            Some(_) => true,
        };
        if better {
            self.0 = Some(error);
        }
    }

    /// The error to go out.
    pub(super) fn into_error(self, past_deadline: bool) -> Error {
        self.0.unwrap_or_else(|| match past_deadline {
            true => Error::new(Reason::DeadlineExceeded, "the deadline passed"),
            false => Error::new(Reason::ModelUnavailable, "no deployment of the model is available"),
        })
    }
}

/// The engine was not asked at all: it is left alone, or has no place.
pub(super) fn is_unasked(reason: Reason) -> bool {
    matches!(reason, Reason::CircuitOpen | Reason::EngineBusy)
}

fn weight(reason: Reason) -> u8 {
    match reason {
        Reason::Unsupported | Reason::NotOffered => 0,
        reason if is_unasked(reason) => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn verdict(errors: &[(Reason, Option<u64>)]) -> (Reason, Option<u64>) {
        let mut verdict = Verdict::default();
        for (reason, retry_after) in errors {
            let retry_after = retry_after.map(Duration::from_secs);
            verdict.hear(Error { retry_after, ..Error::new(*reason, "x") });
        }
        let error = verdict.into_error(false);
        (error.reason, error.retry_after.map(|after| after.as_secs()))
    }

    #[test]
    fn the_last_of_the_engines_errors_goes_out() {
        use Reason::*;
        assert_eq!(verdict(&[]), (ModelUnavailable, None));
        assert_eq!(verdict(&[(EngineFailed, None), (EngineTimeout, None)]), (EngineTimeout, None));
        assert_eq!(verdict(&[(EngineFailed, None), (CircuitOpen, Some(1))]), (EngineFailed, None));
        assert_eq!(verdict(&[(CircuitOpen, Some(1)), (EngineFailed, None)]), (EngineFailed, None));
        assert_eq!(verdict(&[(Unsupported, None), (EngineBusy, Some(9))]), (EngineBusy, Some(9)));
        assert_eq!(verdict(&[(EngineFailed, None), (NotOffered, None)]), (EngineFailed, None));
    }

    #[test]
    fn of_those_that_were_not_asked_the_soonest_goes_out() {
        use Reason::*;
        for (soonest, errors) in [
            ((EngineBusy, Some(2)), [(CircuitOpen, Some(9)), (EngineBusy, Some(2))]),
            ((CircuitOpen, Some(3)), [(CircuitOpen, Some(3)), (EngineBusy, Some(8))]),
            ((EngineBusy, Some(8)), [(CircuitOpen, None), (EngineBusy, Some(8))]),
            ((EngineBusy, Some(8)), [(EngineBusy, Some(8)), (CircuitOpen, None)]),
        ] {
            assert_eq!(verdict(&errors), soonest);
        }
    }
}
