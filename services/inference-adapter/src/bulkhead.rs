//! A bulkhead: how many requests a deployment works on at once, and who comes next when there are more. Pure: who
//! waits is told by the caller; how long things took is an argument.

mod fair;

use std::time::Duration;

use self::fair::Fair;
pub(crate) use self::fair::Ticket;

/// How much the last request counts in the mean.
const NEWS: f64 = 0.1;
/// Bounds of a predicted wait: before a second nothing has changed, and after a minute nobody knows.
const PREDICTED_MIN: Duration = Duration::from_secs(1);
const PREDICTED_MAX: Duration = Duration::from_secs(60);

/// The places of a deployment, and who waits for one (`W`).
#[derive(Debug)]
pub(crate) struct Bulkhead<W> {
    places: u32,
    taken: u32,
    queue_max: usize,
    queue: Fair<W>,
    /// How long a place is taken, on average; `None`: not seen yet.
    mean: Option<Duration>,
}

impl<W> Bulkhead<W> {
    pub(crate) fn new(places: u32, queue_max: usize) -> Self {
        Self { places, taken: 0, queue_max, queue: Fair::default(), mean: None }
    }

    /// Requests that have a place.
    pub(crate) fn taken(&self) -> u32 {
        self.taken
    }

    /// Requests that wait for one.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Whether every place is taken.
    pub(crate) fn is_full(&self) -> bool {
        self.taken >= self.places
    }

    /// Takes a place, if one is free. Nobody waits then.
    pub(crate) fn take(&mut self) -> bool {
        let free = !self.is_full();
        self.taken += u32::from(free);
        free
    }

    /// Waits for a place.
    ///
    /// # Errors
    /// Too many do.
    pub(crate) fn wait(&mut self, tenant: &str, tokens: u64, who: W) -> Result<Ticket, W> {
        if self.queue.len() >= self.queue_max {
            return Err(who);
        }
        Ok(self.queue.push(tenant, tokens, who))
    }

    /// Waits no longer; nothing, if its turn has come already.
    pub(crate) fn leave(&mut self, ticket: &Ticket) {
        self.queue.remove(ticket);
    }

    /// A place is given back: who takes it over, as if by `take`; `None`: it is free.
    pub(crate) fn give_back(&mut self) -> Option<W> {
        let next = self.queue.pop();
        if next.is_none() {
            self.taken = self.taken.saturating_sub(1);
            // Nobody had to wait: who had how much does not matter any more.
            self.queue.forget();
        }
        next
    }

    /// All who wait, who wait no longer.
    pub(crate) fn dismiss(&mut self) -> Vec<W> {
        self.queue.drain()
    }

    /// Tenants that are remembered.
    #[cfg(test)]
    fn remembered(&self) -> usize {
        self.queue.tenants()
    }

    /// A request had its place for so long.
    pub(crate) fn took(&mut self, held: Duration) {
        self.mean =
            Some(self.mean.map_or(held, |mean| mean.mul_f64(1.0 - NEWS).saturating_add(held.mul_f64(NEWS))));
    }

    /// How long one that comes now would wait, roughly.
    pub(crate) fn predicted_wait(&self) -> Duration {
        let before = u32::try_from(self.queue.len()).unwrap_or(u32::MAX).saturating_add(1);
        let wait = self.mean.unwrap_or_default().saturating_mul(before) / self.places.max(1);
        wait.clamp(PREDICTED_MIN, PREDICTED_MAX)
    }
}

#[cfg(test)]
mod tests;
