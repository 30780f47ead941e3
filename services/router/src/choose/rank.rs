//! The deployments of one model in the order in which they are asked for a request: tiers first, and inside a tier
//! by the model's strategy. Only as many as can be asked are put in order.

use std::sync::atomic::Ordering::Relaxed;

use super::Chooser;
use crate::{
    config::Strategy,
    decision::{Candidate, Considered, Vetoes},
    hash,
    registry::{Model, Place},
};

/// One in so many decisions puts those on probation first in their tier: enough that they recover under light
/// traffic, and few enough that a bad one costs little. How many at once get through their adapter says.
const PROBATION_SHARE: f64 = 0.1;
/// A deployment that may be asked. Small: many of them are moved about in every choice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    /// Index of its place in the model.
    place: u32,
    /// Its tier: down, no count of its own, priority, probation, from the highest bits to the lowest. Lower comes
    /// first.
    tier: u32,
    weight: f64,
    /// Its place in the tier, never negative: lower comes first, and of those that are alike the lower `tie`.
    key: f64,
    tie: f64,
}

impl Slot {
    fn place<'a>(&self, model: &'a Model) -> Option<&'a Place> {
        model.places.get(self.place as usize)
    }

    /// What a strategy that measures has given it; `None`: nothing, or it cannot be known.
    fn score(&self, strategy: Strategy) -> Option<f64> {
        match strategy {
            Strategy::LeastLatency | Strategy::LeastBusy | Strategy::Cheapest | Strategy::LoadedFirst => {
                Some(self.key).filter(|key| key.is_finite())
            }
            Strategy::Weighted | Strategy::RoundRobin | Strategy::Affinity | Strategy::Priority => None,
        }
    }
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
        let strategy = self.model.config.strategy;
        self.places(range).map(move |(slot, place)| self.consider(place, slot.score(strategy), vetoes))
    }

    /// Those that may not be asked.
    pub(super) fn refused(&self) -> impl Iterator<Item = Considered> {
        self.vetoed.iter().map(|(place, vetoes)| self.consider(place, None, *vetoes))
    }

    fn places(&self, range: std::ops::Range<usize>) -> impl Iterator<Item = (&Slot, &Place)> {
        let slots = self.open.iter().skip(range.start).take(range.end.saturating_sub(range.start));
        slots.filter_map(|slot| Some((slot, slot.place(self.model)?)))
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
        for (place, index) in model.places.iter().zip(0..) {
            let mut vetoes = self.vetoes(place);
            if place.weight <= 0.0 && !is_alone {
                vetoes = vetoes.and(Vetoes::WEIGHT);
            }
            if vetoes.is_empty() {
                let tier = tier(place, probation_first, self.needs_no_engine(&place.deployment));
                // The only one of a model is asked whatever its weight.
                let weight = if place.weight > 0.0 { place.weight } else { 1.0 };
                ranked.open.push(Slot { place: index, tier, weight, key: f64::INFINITY, tie: 0.0 });
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
        match model.config.strategy {
            Strategy::Weighted => self.draw(tier, most),
            Strategy::LeastLatency => {
                self.draw(tier, most);
                let (first, _) = tier.split_at_mut(most.min(tier.len()));
                for slot in first.iter_mut() {
                    slot.key = slot.place(model).map_or(f64::INFINITY, |place| self.wait(place));
                }
                // The power of two choices: the first two were drawn by weight, the better of them is asked first.
                if let [one, other, ..] = first
                    && other.key < one.key
                {
                    std::mem::swap(one, other);
                }
            }
            Strategy::RoundRobin => self.in_turns(tier, most),
            Strategy::Affinity => {
                self.send_alike_alike(model, tier, most);
                put_first(tier, most);
            }
            // They are in the order of the file already.
            Strategy::Priority => {}
            strategy => {
                for slot in tier.iter_mut() {
                    let score = slot.place(model).and_then(|place| self.score(strategy, place));
                    slot.key = score.unwrap_or(f64::INFINITY);
                    // Of some that are alike the heavier one comes first more often.
                    slot.tie = (self.random)() * slot.place(model).map_or(1.0, |place| place.lightness);
                }
                if tier
                    .iter()
                    .all(|slot| tier.first().is_some_and(|first| slot.key.total_cmp(&first.key).is_eq()))
                {
                    // All are alike, as where nothing is going on.
                    self.draw(tier, most);
                } else {
                    put_first(tier, most);
                }
            }
        }
    }

    /// Draws the first `most` at random by weight, one after the other: none of them twice.
    fn draw(&mut self, tier: &mut [Slot], most: usize) {
        let mut total: f64 = tier.iter().map(|slot| slot.weight).sum();
        let mut left = tier;
        for _ in 0..most {
            let mut share = (self.random)() * total;
            let reached = left.iter().position(|slot| {
                share -= slot.weight;
                share < 0.0
            });
            let drawn = reached.unwrap_or(left.len().saturating_sub(1));
            if drawn < left.len() {
                left.swap(0, drawn);
            }
            let Some((drawn, rest)) = left.split_first_mut() else { return };
            total -= drawn.weight;
            left = rest;
        }
    }

    /// What a strategy that measures gives a deployment; `None`: it cannot be known.
    fn score(&self, strategy: Strategy, place: &Place) -> Option<f64> {
        match strategy {
            Strategy::LeastBusy => Some(f64::from(place.load.in_flight()) * place.lightness),
            Strategy::Cheapest => self.cost(&place.deployment),
            Strategy::LoadedFirst => {
                let in_flight = f64::from(place.load.in_flight());
                Some(self.first_token(&place.load) * (1.0 + in_flight / place.at_once) + place.load_seconds)
            }
            _ => None,
        }
    }

    /// Seconds to the first token if one more request comes; 0 if nothing was seen yet, so that it is tried.
    fn wait(&self, place: &Place) -> f64 {
        self.first_token(&place.load) * f64::from(place.load.in_flight().saturating_add(1))
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
    fn in_turns(&self, tier: &mut [Slot], most: usize) {
        let turn = self.turn;
        let total: f64 = tier.iter().map(|slot| slot.weight).sum();
        let even = tier.first().map_or(0.0, |slot| slot.weight);
        let first = if tier.iter().all(|slot| slot.weight.total_cmp(&even).is_eq()) {
            usize::try_from(turn % tier.len() as u64).unwrap_or_default()
        } else {
            let mut left = hash::share(turn.wrapping_mul(hash::GOLDEN)) * total;
            let reached = tier.iter().position(|slot| {
                left -= slot.weight;
                left < 0.0
            });
            reached.unwrap_or_default()
        };
        let count = tier.len();
        for (index, slot) in tier.iter_mut().enumerate() {
            slot.key = as_f64((index + count - first) % count);
        }
        put_first(tier, most);
    }

    /// Rendezvous hashing by weight: each deployment draws by the hash of what is asked and its own, so that another
    /// one moves only what it takes. Who has more than its share in hand comes after the others (bounded loads:
    /// Mirrokni, Thorup, Zadimoghaddam, 2018).
    fn send_alike_alike(&mut self, model: &Model, tier: &mut [Slot], most: usize) {
        let key = self.affinity(model);
        // For a moment the key is what each has in hand.
        let mut requests = 1.0;
        for slot in tier.iter_mut() {
            slot.key = slot.place(model).map_or(0.0, |place| f64::from(place.load.in_flight()));
            requests += slot.key;
        }
        let total: f64 = tier.iter().map(|slot| slot.weight).sum();
        let each = model.config.affinity.load_factor * requests / total;
        // The lowest ones are wanted, and so many are most likely below this: beyond it near enough is good enough.
        let far = if most < tier.len() { 4.0 * as_f64(most) / total } else { f64::INFINITY };
        for slot in tier {
            // One more would be more than its share, rounded up: the sum of all must hold all requests.
            slot.key = if slot.key >= each * slot.weight { 1.0 } else { 0.0 };
            let random = match (key, slot.place(model)) {
                (Some(key), Some(place)) => hash::share(hash::mix(key ^ place.hash)),
                _ => (self.random)(),
            };
            let lightness = slot.place(model).map_or(1.0, |place| place.lightness);
            let least = (1.0 - random) * lightness;
            slot.tie = if least > far { least } else { race(random) * lightness };
        }
    }
}

/// Puts the `most` with the lowest keys first, in order; of those that are alike those with the lower tie.
fn put_first(tier: &mut [Slot], most: usize) {
    // Numbers that are not negative are in the order of their bits.
    let by_key = |slot: &Slot| (slot.key.to_bits(), slot.tie.to_bits());
    let (first, rest) = tier.split_at_mut(most.min(tier.len()));
    first.sort_unstable_by_key(by_key);
    // Few are wanted of many: most of the rest come after the last of the first, and are left where they are.
    for slot in rest {
        let key = by_key(slot);
        let Some(last) = first.last().copied().filter(|last| key < by_key(last)) else { continue };
        let new = std::mem::replace(slot, last);
        let at = first.partition_point(|one| by_key(one) < key);
        first.copy_within(at..first.len() - 1, at + 1);
        if let Some(place) = first.get_mut(at) {
            *place = new;
        }
    }
}

/// A number that, divided by weights, puts deployments in an order at random: who has the lowest comes first as often
/// as its weight says (Efraimidis and Spirakis, 2006, by logarithms).
fn race(random: f64) -> f64 {
    // 0 has no logarithm.
    -ln(random.max(f64::MIN_POSITIVE))
}

/// The natural logarithm of a positive number, to eight digits: a call into the library costs more than the rest of
/// a draw. The number is m times 2 to the power of e, m near 1, and ln m is a series of (m-1)/(m+1).
#[allow(clippy::cast_precision_loss, clippy::cast_possible_wrap)] // an exponent is small
fn ln(number: f64) -> f64 {
    let bits = number.to_bits();
    let exponent = (bits as i64 - std::f64::consts::FRAC_1_SQRT_2.to_bits() as i64) >> 52;
    let m = f64::from_bits(bits.wrapping_sub((exponent << 52).cast_unsigned()));
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    let series = 1.0 + square * (1.0 / 3.0 + square * (1.0 / 5.0 + square * (1.0 / 7.0)));
    2.0 * s * series + exponent as f64 * std::f64::consts::LN_2
}

/// Those that are down come after all others, and a count that would be an estimate after those that are none; then
/// priority decides. Those on probation come last in their tier, but first now and then.
fn tier(place: &Place, probation_first: bool, estimates: bool) -> u32 {
    // One whose breaker lets it recover is called down as long as nobody has tried.
    let is_down = place.is_down && !place.on_probation;
    let probation = match (place.on_probation, probation_first) {
        (true, true) => 0,
        (false, _) => 1,
        (true, false) => 2,
    };
    // Of an engine that nobody asks it does not matter.
    let is_down = is_down && !estimates;
    let priority = u32::try_from(place.priority).unwrap_or(u32::MAX).min(u32::MAX >> 4);
    u32::from(is_down) << 31 | u32::from(estimates) << 30 | priority << 2 | probation
}

#[allow(clippy::cast_precision_loss)] // a place in a list
fn as_f64(index: usize) -> f64 {
    index as f64
}
