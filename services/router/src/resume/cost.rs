//! What a resumed answer cost the caller, and what was thrown away: as far as no engine has counted it, estimated.

use penstock_proto::inference::v1::{Extension, Usage};

use crate::{
    said::{Said, tokens_of_bytes},
    splice::Splice,
};

/// The member of the usage that tells what was thrown away.
const PENSTOCK: &str = "penstock";

/// Leaves out what was thrown away: for who gets the answer from the cache nothing was.
pub(crate) fn without_discarded(usage: &mut Usage) {
    usage.extensions.retain(|extension| extension.name != PENSTOCK);
}

/// Tokens of an answer that is made by more than one engine.
#[derive(Debug, Default)]
pub(super) struct Cost {
    /// Engines that broke.
    broken: i64,
    /// What they read beyond the prompt, and said.
    broken_tokens: i64,
    /// What was said before the one began that speaks now, if it goes on from there.
    before: i64,
    /// What that one was told of it.
    prefill: i64,
}

impl Cost {
    /// The engine that spoke broke, after `said`.
    pub(super) fn broke(&mut self, said: &Said, splice: Option<Splice>) {
        self.broken += 1;
        self.broken_tokens += self.prefill + (said.tokens() - self.before).max(0);
        if let Some(Splice::Continue(join)) = splice {
            self.broken_tokens += tokens_of_bytes(join.dropped);
        }
        (self.before, self.prefill) = (0, 0);
    }

    /// Another one begins.
    pub(super) fn begins(&mut self, said: &Said, splice: &Splice) {
        if let Splice::Continue(join) = splice {
            self.before = said.tokens();
            self.prefill = tokens_of_bytes(join.prefill().len());
        }
    }

    /// Makes the usage of the last engine that of the whole answer: what the caller got, and the prompt once.
    pub(super) fn put_into(&self, usage: &mut Usage, splice: &Splice) {
        let mut dropped = 0;
        if let Splice::Continue(join) = splice {
            dropped = tokens_of_bytes(join.dropped).min(usage.completion_tokens);
            usage.prompt_tokens = usage.prompt_tokens.saturating_sub(self.prefill).max(1);
            usage.completion_tokens =
                usage.completion_tokens.saturating_sub(dropped).saturating_add(self.before);
            usage.total_tokens = usage.prompt_tokens.saturating_add(usage.completion_tokens);
            usage.estimated = true;
            // Details of a part only.
            usage.extensions.clear();
        }
        let prompts = usage.prompt_tokens.saturating_mul(self.broken);
        let discarded = prompts.saturating_add(self.broken_tokens).saturating_add(dropped);
        without_discarded(usage);
        let json = format!("{{\"discarded_tokens\":{discarded}}}");
        usage.extensions.push(Extension { name: PENSTOCK.to_owned(), json });
    }
}
