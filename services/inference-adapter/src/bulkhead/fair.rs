//! Fair queueing by tokens: of the tenants that wait, the one that has had the fewest tokens goes next, and of its
//! requests the oldest (start-time fair queueing). Who comes back after a pause is where the others are: it has saved
//! nothing up, and what it had too much is not forgotten while others wait.

use std::collections::{HashMap, VecDeque};

/// Tenants that are remembered though nothing of theirs waits; more than ever wait at once by default.
const REMEMBERED_MAX: usize = 1024;
/// Tokens of one request at most: more are an estimate that went wrong.
const TOKENS_MAX: u64 = 1 << 32;

/// Requests that wait.
#[derive(Debug)]
pub(super) struct Fair<W> {
    lines: HashMap<String, Line<W>>,
    /// Tokens that the tenant which was served last had had before.
    level: u64,
    waiting: usize,
    tickets: u64,
}

/// The requests of one tenant.
#[derive(Debug)]
struct Line<W> {
    /// Tokens that it has had, as far as that matters.
    had: u64,
    waiting: VecDeque<Waiter<W>>,
}

#[derive(Debug)]
struct Waiter<W> {
    number: u64,
    tokens: u64,
    who: W,
}

/// Who waits, to leave again.
#[derive(Debug)]
pub(crate) struct Ticket {
    tenant: String,
    number: u64,
}

impl<W> Default for Fair<W> {
    fn default() -> Self {
        Self { lines: HashMap::new(), level: 0, waiting: 0, tickets: 0 }
    }
}

impl<W> Fair<W> {
    pub(super) fn len(&self) -> usize {
        self.waiting
    }

    #[cfg(test)]
    pub(super) fn tenants(&self) -> usize {
        self.lines.len()
    }

    pub(super) fn push(&mut self, tenant: &str, tokens: u64, who: W) -> Ticket {
        self.tickets += 1;
        self.waiting += 1;
        let level = self.level;
        let line = self
            .lines
            .entry(tenant.to_owned())
            .or_insert_with(|| Line { had: level, waiting: VecDeque::new() });
        if line.waiting.is_empty() {
            line.had = line.had.max(level);
        }
        line.waiting.push_back(Waiter { number: self.tickets, tokens: tokens.clamp(1, TOKENS_MAX), who });
        Ticket { tenant: tenant.to_owned(), number: self.tickets }
    }

    pub(super) fn remove(&mut self, ticket: &Ticket) {
        let Some(line) = self.lines.get_mut(&ticket.tenant) else { return };
        let before = line.waiting.len();
        line.waiting.retain(|waiter| waiter.number != ticket.number);
        self.waiting -= before - line.waiting.len();
        self.tidy();
    }

    pub(super) fn pop(&mut self) -> Option<W> {
        let next = |line: &&mut Line<W>| line.waiting.front().map(|first| (line.had, first.number));
        let line = self.lines.values_mut().filter(|line| !line.waiting.is_empty()).min_by_key(next)?;
        let Waiter { tokens, who, .. } = line.waiting.pop_front()?;
        self.level = line.had;
        line.had = line.had.saturating_add(tokens);
        self.waiting -= 1;
        self.tidy();
        Some(who)
    }

    pub(super) fn drain(&mut self) -> Vec<W> {
        let lines = std::mem::take(&mut self.lines);
        *self = Self { tickets: self.tickets, ..Self::default() };
        lines.into_values().flat_map(|line| line.waiting).map(|waiter| waiter.who).collect()
    }

    /// Forgets who had how much. Nobody waits.
    pub(super) fn forget(&mut self) {
        if self.waiting == 0 && !self.lines.is_empty() {
            self.drain();
        }
    }

    /// Forgets tenants of which nothing waits and that have not had more than the others.
    fn tidy(&mut self) {
        let level = self.level;
        self.lines.retain(|_, line| !line.waiting.is_empty() || line.had > level);
        if self.lines.len() > self.waiting.saturating_add(REMEMBERED_MAX) {
            self.lines.retain(|_, line| !line.waiting.is_empty());
        }
    }
}
