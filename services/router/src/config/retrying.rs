//! How often a request may be asked of engines beyond the first time: the keys of `[router]` that bound it.

use std::time::Duration;

use penstock_chassis::config::Section;

/// What bounds further attempts.
#[derive(Clone, Debug, PartialEq)]
pub struct Retrying {
    /// How often a request is put to a deployment that it was put to before, and that may well answer now.
    pub retries: u32,
    /// The longest time that an engine may ask for before it is asked again; where it asks for more it is not.
    pub retry_after_max: Duration,
    /// Attempts beyond the first, as a share of the requests of the last ten seconds.
    pub budget: f64,
    /// Such attempts that are always allowed, per second.
    pub budget_min: u64,
}

impl Retrying {
    pub(super) fn read(section: &mut Section) -> Self {
        let waits = Duration::ZERO..=Duration::from_secs(60);
        Self {
            // A hiccup is over by then; what is not is for the next deployment, or for the caller.
            retries: u32::try_from(section.integer("retries", 2, 0..=10)).unwrap_or(2),
            // Longer than that the caller decides better whether to wait.
            retry_after_max: section.duration("retry_after_max", Duration::from_secs(2), waits),
            // What linkerd and Finagle take: engines that fail under load get at most so much more of it.
            budget: section.float("retry_budget", 0.2, 0.0..=1.0),
            // So that light traffic never notices that there is a budget.
            budget_min: section.integer("retry_budget_min", 10, 0..=10_000),
        }
    }
}
