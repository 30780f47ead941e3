//! The settings of a simulated engine.

use std::time::Duration;

use penstock_chassis::config::Section;

use super::{EVERY, EngineConfig, HOUR};
use crate::engine::{Rates, Settings};

/// The model and the engine.
pub(super) fn read(section: &mut Section, id: &str) -> (String, EngineConfig) {
    for key in ["endpoint", "api_key_env"] {
        if section.string(key).is_some() {
            section.mistake(key, "is not for the simulated engine");
        }
    }
    let model = section.string("model").unwrap_or_else(|| id.to_owned());
    if model == EVERY {
        section.mistake("model", "must be a name: the simulated engine has no list of models");
    }
    let default = Settings::default();
    let rates = Rates {
        error: section.float("error_rate", 0.0, 0.0..=1.0),
        cut: section.float("cut_rate", 0.0, 0.0..=1.0),
        stall: section.float("stall_rate", 0.0, 0.0..=1.0),
    };
    if rates.error + rates.cut + rates.stall > 1.0 {
        section.mistake("stall_rate", "and error_rate and cut_rate must be at most 1 together");
    }
    let settings = Settings {
        delay: section.duration("delay", default.delay, Duration::ZERO..=HOUR),
        tokens_per_second: section.float("tokens_per_second", default.tokens_per_second, 0.1..=1_000_000.0),
        length: length(section),
        rates,
        seed: section.integer("seed", default.seed, 0..=u64::MAX),
        dimensions: section.integer("dimensions", default.dimensions, 1..=16_384),
    };
    (model, EngineConfig::Simulated(settings))
}

/// `"200"` or `"50..200"`: words of an answer, at most as many as a long one has.
fn length(section: &mut Section) -> Option<(u64, u64)> {
    let text = section.string("length")?;
    let (from, to) = text.split_once("..").unwrap_or((&text, &text));
    let range = from.trim().parse().ok().zip(to.trim().parse().ok());
    let range = range.filter(|(from, to)| 1 <= *from && from <= to && *to <= 100_000);
    if range.is_none() {
        section
            .mistake("length", "must be a number of tokens such as \"200\", or a range such as \"50..200\"");
    }
    range
}
