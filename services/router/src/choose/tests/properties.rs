//! What holds of every choice, whatever the deployments are like.

use proptest::prelude::*;

use super::*;
use crate::config::Strategy;

fn any_strategy() -> impl proptest::strategy::Strategy<Value = Strategy> {
    prop::sample::select(STRATEGIES.to_vec())
}

prop_compose! {
    /// A deployment of any condition: priority, weight, state, breaker, what it lacks, how much it has to do.
    fn any_place()(
        priority in 1_u64..4, weight in prop::sample::select(vec![0.0, 0.5, 1.0, 10.0]),
        down in any::<bool>(), breaker in 0..4_i32, soon in any::<bool>(), lacks in any::<bool>(),
        in_flight in 0_usize..5, millis in prop::option::of(1_u64..5000),
    ) -> (u64, f64, Deployment, usize) {
        let load = Load::default();
        if let Some(millis) = millis {
            load.times(false).first_content(Duration::from_millis(millis));
        }
        let retry_at = Instant::now() + if soon { Duration::ZERO } else { Duration::from_secs(60) };
        let deployment = Deployment {
            state: if down { State::Down } else { State::Up },
            breaker: Breaker::try_from(breaker).unwrap(),
            retry_at: Some(retry_at),
            lacks: if lacks { Needs::CHAT } else { Needs::default() },
            load: load.into(),
            ..Deployment::default()
        };
        (priority, weight, deployment, in_flight)
    }
}

proptest! {
    /// Nobody is asked who cannot be, nobody twice, and tiers hold, whatever the strategy.
    #[test]
    fn tiers_hold_and_no_vetoed_one_is_asked(strategy in any_strategy(), places in prop::collection::vec(any_place(), 1..20)) {
        let targets: Vec<_> = places.iter().enumerate().map(|(n, (priority, weight, ..))| target(&format!("d{n}"), *weight, *priority)).collect();
        let mut case = Case::new(strategy, &targets);
        let mut guards = Vec::new();
        for (n, (_, _, deployment, in_flight)) in places.iter().enumerate() {
            *case.at(&format!("d{n}")) = Deployment { id: format!("d{n}"), ..deployment.clone() };
            guards.extend(case.busy(&format!("d{n}"), *in_flight));
        }
        let Ok((route, decision)) = case.choose() else {
            return Ok(());
        };
        let shown = route.candidates.len().min(decision.considered.len());
        let asked = &decision.considered[..shown];
        let mut seen = std::collections::HashSet::new();
        let mut last = (false, 0);
        for (one, candidate) in asked.iter().zip(&route.candidates) {
            prop_assert_eq!(&one.candidate, candidate);
            prop_assert!(one.vetoes.is_empty() && seen.insert(candidate.id().to_owned()));
            let deployment = &candidate.deployment;
            prop_assert!(deployment.retry_at.is_none_or(|at| at <= Instant::now() || deployment.breaker != Breaker::Open));
            prop_assert!(deployment.lacks.is_empty());
            prop_assert!(one.weight > 0.0 || places.len() == 1);
            let tier = (deployment.is_down() && !deployment.is_on_probation(), one.priority);
            prop_assert!(tier >= last);
            last = tier;
        }
        prop_assert!(decision.considered[asked.len()..].iter().all(|one| !one.vetoes.is_empty()));
    }

    /// Of two that were drawn the worse is never asked first.
    #[test]
    fn of_the_first_two_the_better_comes_first(loads in prop::collection::vec((1_u64..1000, 0_usize..9), 2..10)) {
        let mut case = Case::even(Strategy::LeastLatency, loads.len());
        let mut guards = Vec::new();
        for (n, (millis, in_flight)) in loads.iter().enumerate() {
            case.at(&format!("d{n}")).load.times(false).first_content(Duration::from_millis(*millis));
            guards.extend(case.busy(&format!("d{n}"), *in_flight));
        }
        let wait = |id: &str| {
            let (millis, in_flight) = loads[id[1..].parse::<usize>().unwrap()];
            millis * (in_flight as u64 + 1)
        };
        let order = case.order();
        prop_assert!(wait(&order[0]) <= wait(&order[1]), "{:?}", order);
    }

    /// Whatever is asked, no deployment gets more than its share and a bit.
    #[test]
    fn bounded_loads_are_bounded(keys in prop::collection::vec(0_u32..6, 1..80), count in 1_usize..6, factor in 1.0..3.0_f64) {
        let mut case = Case::even(Strategy::Affinity, count);
        case.model.affinity.load_factor = factor;
        let mut guards = Vec::new();
        for (total, key) in keys.into_iter().enumerate() {
            let home = session(&mut case, key);
            guards.extend(case.busy(&home, 1));
            let load = case.at(&home).load.in_flight();
            let most = (factor * (total as f64 + 1.0) / count as f64).ceil();
            prop_assert!(f64::from(load) <= most, "{} of {} on one of {}", load, total + 1, count);
        }
    }
}
