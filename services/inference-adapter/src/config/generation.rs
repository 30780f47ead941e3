//! Configuration of generations that nobody asked for, section `[inference_adapter.generation_probe]`.

use std::time::Duration;

use penstock_chassis::config::Section;

use super::{HOUR, MILLISECOND};

/// Whether it is tried from time to time if deployments generate, and at what cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GenerationProbe {
    /// Of deployments that do not say otherwise.
    pub(crate) enabled: bool,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    /// Of all deployments together, prompts included.
    pub(crate) tokens_per_day: u64,
}

impl GenerationProbe {
    pub(super) fn read(section: &mut Section) -> Self {
        let second = Duration::from_secs(1);
        let mut table = section.table("generation_probe");
        Self {
            // It costs tokens: never without being told so.
            enabled: table.boolean("enabled", false),
            // Rare enough to be cheap; traffic makes it unnecessary.
            interval: table.duration("interval", 300 * second, 100 * MILLISECOND..=24 * HOUR),
            // Longer than a check: the engine has to read the prompt, behind what it is working on.
            timeout: table.duration("timeout", 30 * second, 10 * MILLISECOND..=HOUR),
            // Some dozens of generations; at least one of any template.
            tokens_per_day: table.integer("tokens_per_day", 1000, 64..=1_000_000_000),
        }
    }
}
