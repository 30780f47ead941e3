//! What was taken and waits to be settled. A reservation is settled once or lapses; then its estimate stands.
//! At the bound the oldest lapses early, which errs on the safe side.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use uuid::Uuid;

use crate::{bucket::Spec, rules::Key};

/// Tokens taken out of some buckets under one ticket.
#[derive(Debug)]
pub(crate) struct Reservation {
    pub(crate) ticket: u64,
    pub(crate) tokens: u64,
    pub(crate) buckets: Vec<(Arc<Key>, Spec)>,
}

#[derive(Debug)]
pub(crate) struct Reservations {
    map: HashMap<Uuid, Reservation>,
    /// All of `map`, and some that are settled already, in the order of their time.
    lapsing: VecDeque<(Instant, Uuid)>,
    max: usize,
}

impl Reservations {
    pub(crate) fn new(max: usize) -> Self {
        Self { map: HashMap::new(), lapsing: VecDeque::new(), max }
    }

    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    pub(crate) fn insert(&mut self, id: Uuid, reservation: Reservation, lapses_at: Instant) {
        while self.map.len() >= self.max
            && let Some((_, oldest)) = self.lapsing.pop_front()
        {
            self.map.remove(&oldest);
        }
        self.map.insert(id, reservation);
        self.lapsing.push_back((lapses_at, id));
    }

    /// Takes the reservation out: nobody settles it twice.
    pub(crate) fn remove(&mut self, id: Uuid, now: Instant) -> Option<Reservation> {
        self.lapse(now);
        let reservation = self.map.remove(&id);
        // Settled ones leave the queue when they are half of it: a constant share per settling.
        if self.lapsing.len() > 2 * self.map.len() + 64 {
            self.lapsing.retain(|(_, id)| self.map.contains_key(id));
        }
        reservation
    }

    /// Forgets what has lapsed.
    pub(crate) fn lapse(&mut self, now: Instant) {
        while let Some((at, id)) = self.lapsing.front()
            && (*at <= now || !self.map.contains_key(id))
        {
            self.map.remove(id);
            self.lapsing.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const TTL: Duration = Duration::from_secs(10);

    fn reservation(ticket: u64) -> Reservation {
        Reservation { ticket, tokens: 1, buckets: Vec::new() }
    }

    fn id(number: u64) -> Uuid {
        Uuid::from_u128(u128::from(number))
    }

    #[test]
    fn is_taken_once_and_lapses() {
        let now = Instant::now();
        let mut reservations = Reservations::new(10);
        for number in 0..3 {
            reservations.insert(id(number), reservation(number), now + TTL);
        }
        assert!(reservations.remove(id(0), now).is_some());
        assert!(reservations.remove(id(0), now).is_none());
        assert!(reservations.remove(id(1), now + TTL - Duration::from_nanos(1)).is_some());
        assert!(reservations.remove(id(2), now + TTL).is_none());
        assert_eq!((reservations.len(), reservations.lapsing.len()), (0, 0));
    }

    #[test]
    fn at_the_bound_the_oldest_lapses() {
        let now = Instant::now();
        let mut reservations = Reservations::new(2);
        for number in 0..3 {
            reservations.insert(id(number), reservation(number), now + TTL);
        }
        assert_eq!(reservations.len(), 2);
        assert!(reservations.remove(id(0), now).is_none());
        assert!(reservations.remove(id(2), now).is_some());
    }

    // F8, G8: an old one that stays open does not keep the settled ones behind it.
    #[test]
    fn ten_thousand_cycles_leave_nothing() {
        let now = Instant::now();
        let mut reservations = Reservations::new(100);
        reservations.insert(id(u64::MAX), reservation(0), now + TTL);
        for number in 0..10_000 {
            reservations.insert(id(number), reservation(number), now + TTL);
            assert!(reservations.remove(id(number), now).is_some());
            assert!(reservations.lapsing.len() <= 70);
        }
        assert_eq!(reservations.len(), 1);
    }
}
