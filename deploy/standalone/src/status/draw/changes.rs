//! Draws the changes of state that a process has seen, each on a line, with its reason behind it or below.

use std::fmt::Write as _;

use penstock_proto::status::v1::Change;

use super::{NAME_MAX, REASON_LINES_MAX, Style, WIDTH_MIN, word};
use crate::{
    caller::moment,
    status::words::{self, plain},
};

/// Columns of a moment and of the space around it.
const MOMENT: usize = 2 + 20 + 2;

impl Style {
    /// Changes of state, as the process lists them: the newest first.
    pub(in crate::status) fn changes(self, changes: &[Change]) -> String {
        let mut text = String::from("\nchanges, the newest first\n");
        if changes.is_empty() {
            text.push_str("  none\n");
        }
        for change in changes {
            self.change(&mut text, change);
        }
        text
    }

    fn change(self, text: &mut String, change: &Change) {
        let width = self.width.max(WIDTH_MIN);
        let at = moment(change.at).unwrap_or_else(|| "?".to_owned());
        let name = if change.name.is_empty() { "(the process)" } else { &change.name };
        let name = words::cut(&plain(name), NAME_MAX);
        let (from, to) = (words::state(change.from()), change.to());
        let reason = plain(&change.detail);
        // Writing to a string cannot fail.
        let _ = write!(text, "  {at:<20}  {name}  {from} → {}", self.state(to));
        let used = MOMENT + format!("{name}  {from} → {}", word(to)).chars().count();
        if reason.is_empty() {
            text.push('\n');
        } else if used + 2 + reason.chars().count() <= width {
            let _ = writeln!(text, "  {reason}");
        } else {
            text.push('\n');
            for line in words::wrapped(&reason, width.saturating_sub(MOMENT), REASON_LINES_MAX) {
                let _ = writeln!(text, "{:MOMENT$}{line}", "");
            }
        }
    }
}
