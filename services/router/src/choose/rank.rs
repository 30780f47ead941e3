//! The deployments of one model in the order in which they are asked for a request: tiers first, and inside a tier
//! by the model's strategy. Only as many as can be asked are put in order.

use std::sync::atomic::Ordering::Relaxed;

use super::Chooser;
use crate::{
    config::Strategy,
    decision::{Candidate, Considered, Vetoes},
    hash,
    registry::{Deployment, Model, Place},
};

/// One in so many decisions puts those on probation first in their tier: enough that they recover under light
/// traffic, and few enough that a bad one costs little. How many at once get through their adapter says.
const PROBATION_SHARE: f64 = 0.1;
/// How long it takes to load a model where nobody said: some gigabytes from a disk.
const LOAD_SECONDS: f64 = 30.0;

/// A deployment that may be asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    /// Index of its place in the model.
    place: usize,
    /// Its tier: down, priority, probation, from the highest bits to the lowest. Lower comes first.
    tier: u32,
    /// Its place in the tier: lower comes first, and of those that are alike the lower `tie`.
    key: f64,
    tie: f64,
    score: Option<f64>,
}

/// The deployments of a model.
#[derive(Debug)]
pub(super) struct Ranked<'a> {
    pub(super) model: &'a Model,
    /// Those that may be asked; as many as were wanted in order, then the others.
    pub(super) open: Vec<Slot>,
    pub(super) vetoed: Vec<(&'a Place, Vetoes)>,
}

impl Ranked<'_> {
    /// The first `most` of those that may be asked.
    pub(super) fn candidates(&self, most: usize) -> impl Iterator<Item = Candidate> {
        self.places(0..most).map(|(_, place)| self.candidate(place))
    }

    /// Those of `range` in the order, as they were considered.
    pub(super) fn considered(
        &self,
        range: std::ops::Range<usize>,
        vetoes: Vetoes,
    ) -> impl Iterator<Item = Considered> {
        self.places(range).map(move |(slot, place)| self.consider(place, slot.score, vetoes))
    }

    /// Those that may not be asked.
    pub(super) fn refused(&self) -> impl Iterator<Item = Considered> {
        self.vetoed.iter().map(|(place, vetoes)| self.consider(place, None, *vetoes))
    }

    fn places(&self, range: std::ops::Range<usize>) -> impl Iterator<Item = (&Slot, &Place)> {
        let slots = self.open.iter().skip(range.start).take(range.end.saturating_sub(range.start));
        slots.filter_map(|slot| Some((slot, self.model.places.get(slot.place)?)))
    }

    fn candidate(&self, place: &Place) -> Candidate {
        Candidate { model: self.model.name.clone(), deployment: place.deployment.clone() }
    }

    fn consider(&self, place: &Place, score: Option<f64>, vetoes: Vetoes) -> Considered {
        Considered {
            candidate: self.candidate(place),
            score,
            vetoes,
            weight: place.weight,
            priority: place.priority,
        }
    }
}

impl<R: FnMut() -> f64> Chooser<'_, R> {
    /// The deployments of `model`, the first `most` in order.
    pub(super) fn rank<'m>(&mut self, model: &'m Model, most: usize) -> Ranked<'m> {
        let mut ranked = Ranked { model, open: Vec::with_capacity(model.places.len()), vetoed: Vec::new() };
        self.turn = self.take_turn(model);
        let probation_first = (self.random)() < PROBATION_SHARE;
        let is_alone = model.places.len() == 1;
        for (index, place) in model.places.iter().enumerate() {
            let mut vetoes = self.vetoes(&place.deployment);
            if place.weight <= 0.0 && !is_alone {
                vetoes = vetoes.and(Vetoes::WEIGHT);
            }
            if vetoes.is_empty() {
                let tier = tier(place, probation_first);
                ranked.open.push(Slot { place: index, tier, key: 0.0, tie: 0.0, score: None });
            } else {
                ranked.vetoed.push((place, vetoes));
            }
        }
        // Places are in order of priority: most often there is nothing to do.
        if !ranked.open.is_sorted_by_key(|slot| slot.tier) {
            ranked.open.sort_by_key(|slot| slot.tier);
        }
        let mut left = most;
        for tier in ranked.open.chunk_by_mut(|one, other| one.tier == other.tier) {
            if left == 0 {
                break;
            }
            self.order(model, tier, left);
            left = left.saturating_sub(tier.len());
        }
        ranked
    }

    /// Puts the first `most` of a tier in order.
    fn order(&mut self, model: &Model, tier: &mut [Slot], most: usize) {
        self.weigh(model, tier);
        let by_key = |a: &Slot, b: &Slot| a.key.total_cmp(&b.key).then(a.tie.total_cmp(&b.tie));
        let first = if most < tier.len() { tier.select_nth_unstable_by(most, by_key).0 } else { &mut *tier };
        first.sort_unstable_by(by_key);
        if model.config.strategy == Strategy::LeastLatency {
            for slot in first.iter_mut() {
                slot.score = model.places.get(slot.place).map(|place| self.wait(place));
            }
            // The power of two choices: the first two were drawn by weight, the better of them is asked first.
            if let [one, other, ..] = first
                && other.score < one.score
            {
                std::mem::swap(one, other);
            }
        }
    }

    /// Gives every slot of a tier its key.
    fn weigh(&mut self, model: &Model, tier: &mut [Slot]) {
        let places = |slot: &Slot| model.places.get(slot.place);
        match model.config.strategy {
            Strategy::Weighted | Strategy::LeastLatency => {
                for slot in tier {
                    slot.key = self.draw(places(slot));
                }
            }
            Strategy::RoundRobin => self.in_turns(model, tier),
            Strategy::Affinity => self.send_alike_alike(model, tier),
            // They are in the order of the file already.
            Strategy::Priority => {
                for slot in tier {
                    slot.key = as_f64(slot.place);
                }
            }
            strategy => {
                for slot in tier {
                    slot.tie = self.draw(places(slot));
                    slot.score = places(slot).and_then(|place| self.score(strategy, place));
                    slot.key = slot.score.unwrap_or(f64::INFINITY);
                }
            }
        }
    }

    /// What a strategy that measures gives a deployment; `None`: it cannot be known.
    fn score(&self, strategy: Strategy, place: &Place) -> Option<f64> {
        let deployment = &place.deployment;
        match strategy {
            Strategy::LeastBusy => Some(f64::from(deployment.load.in_flight()) / place.weight),
            Strategy::Cheapest => self.cost(deployment),
            Strategy::LoadedFirst => {
                let in_flight = f64::from(deployment.load.in_flight());
                // So many it works on at once; who says nothing works on one.
                let places = f64::from(deployment.max_concurrent.max(1));
                Some(self.first_token(deployment) * (1.0 + in_flight / places) + load_seconds(deployment))
            }
            _ => None,
        }
    }

    /// A number that puts deployments in an order at random by weight: who has the lowest comes first as often as
    /// its weight says (Efraimidis and Spirakis, 2006, by logarithms).
    fn draw(&mut self, place: Option<&Place>) -> f64 {
        race((self.random)(), place)
    }

    /// Seconds to the first token if one more request comes; 0 if nothing was seen yet, so that it is tried.
    fn wait(&self, place: &Place) -> f64 {
        self.first_token(&place.deployment) * f64::from(place.deployment.load.in_flight().saturating_add(1))
    }

    /// Whose turn it is: one for a request, however many tiers there are.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // from 0 to 2^32
    fn take_turn(&mut self, model: &Model) -> u64 {
        let is_own = std::mem::replace(&mut self.is_own, false);
        match model.config.strategy {
            // Who only wants to know whose turn it is takes none.
            Strategy::RoundRobin if self.asked.all => model.turn.load(Relaxed),
            Strategy::RoundRobin if is_own => model.turn.fetch_add(1, Relaxed),
            // Of a model that is seldom asked instead the turns are for those who ask for it.
            Strategy::RoundRobin => ((self.random)() * f64::from(u32::MAX)) as u64,
            _ => 0,
        }
    }

    /// One after the other; where weights differ along a sequence that is spread evenly (Weyl's, by the golden
    /// ratio), so that shares hold over any stretch and no state is shared but a counter.
    fn in_turns(&self, model: &Model, tier: &mut [Slot]) {
        let turn = self.turn;
        let weight = |slot: &Slot| model.places.get(slot.place).map_or(0.0, |place| place.weight);
        let total: f64 = tier.iter().map(weight).sum();
        let even = tier.first().map_or(0.0, weight);
        let first = if tier.iter().all(|slot| weight(slot).total_cmp(&even).is_eq()) {
            usize::try_from(turn % tier.len() as u64).unwrap_or_default()
        } else {
            let mut left = hash::share(turn.wrapping_mul(hash::GOLDEN)) * total;
            let reached = tier.iter().position(|slot| {
                left -= weight(slot);
                left < 0.0
            });
            reached.unwrap_or_default()
        };
        let count = tier.len();
        for (index, slot) in tier.iter_mut().enumerate() {
            slot.key = as_f64((index + count - first) % count);
        }
    }

    /// Rendezvous hashing by weight: each deployment draws by the hash of what is asked and its own, so that another
    /// one moves only what it takes. Who has more than its share in hand comes after the others (bounded loads:
    /// Mirrokni, Thorup, Zadimoghaddam, 2018).
    fn send_alike_alike(&mut self, model: &Model, tier: &mut [Slot]) {
        let key = self.affinity(model);
        let in_flight = |slot: &Slot| {
            model.places.get(slot.place).map_or(0.0, |place| f64::from(place.deployment.load.in_flight()))
        };
        let weight = |slot: &Slot| model.places.get(slot.place).map_or(0.0, |place| place.weight);
        let requests: f64 = tier.iter().map(in_flight).sum::<f64>() + 1.0;
        let total: f64 = tier.iter().map(weight).sum();
        for slot in tier {
            // Never less than one: their sum must hold all requests.
            let most = (model.config.affinity.load_factor * requests * weight(slot) / total).ceil();
            slot.key = if in_flight(slot) + 1.0 > most { 1.0 } else { 0.0 };
            let place = model.places.get(slot.place);
            slot.tie = match (key, place) {
                (Some(key), Some(place)) => race(hash::share(hash::mix(key ^ place.hash)), Some(place)),
                _ => self.draw(place),
            };
        }
    }
}

fn race(random: f64, place: Option<&Place>) -> f64 {
    // 0 has no logarithm.
    -random.max(f64::MIN_POSITIVE).ln() / place.map_or(1.0, |place| place.weight)
}

/// Seconds until the model is in the memory of the deployment.
pub(super) fn load_seconds(deployment: &Deployment) -> f64 {
    match deployment.loaded {
        Some(false) => deployment.load_time.map_or(LOAD_SECONDS, |time| time.as_secs_f64()),
        _ => 0.0,
    }
}

/// Those that are down come after all others, then priority decides; those on probation come last in their tier,
/// but first now and then.
fn tier(place: &Place, probation_first: bool) -> u32 {
    let on_probation = place.deployment.is_on_probation();
    // One whose breaker lets it recover is called down as long as nobody has tried.
    let is_down = place.deployment.is_down() && !on_probation;
    let probation = match (on_probation, probation_first) {
        (true, true) => 0,
        (false, _) => 1,
        (true, false) => 2,
    };
    u32::from(is_down) << 31 | u32::try_from(place.priority).unwrap_or(u32::MAX >> 3) << 2 | probation
}

#[allow(clippy::cast_precision_loss)] // a place in a list
fn as_f64(index: usize) -> f64 {
    index as f64
}
