//! Where reports are shown: once, one after the other, or redrawn in place on a terminal.

use std::{
    fmt::Write as _,
    io::{self, Write},
    time::SystemTime,
};

use penstock_proto::status::v1::State;

use super::{
    draw::Style,
    json,
    source::{Answer, Trouble},
    words,
};
use crate::caller::moment;

/// Columns where nobody says how many there are.
const WIDTH: usize = 120;
/// The other screen, without a cursor; and back.
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l";
const LEAVE: &str = "\u{1b}[?25h\u{1b}[?1049l";

/// Says how many columns and rows a terminal has now, if anybody knows.
pub(super) type Window = fn() -> Option<(usize, usize)>;

/// What is shown, and how.
#[derive(Debug)]
pub(super) struct Screen<W> {
    pub(super) out: W,
    pub(super) json: bool,
    pub(super) colour: bool,
    /// Each report follows the one before.
    pub(super) many: bool,
    /// The terminal that is drawn on in place; `None`: reports are appended.
    pub(super) window: Option<Window>,
    /// What to say below a report without details.
    pub(super) hint: Option<&'static str>,
    pub(super) address: String,
    pub(super) last: Option<Answer>,
    /// Since the last report nobody could be asked.
    pub(super) is_lost: bool,
    pub(super) entered: bool,
}

impl<W: Write> Screen<W> {
    /// Shows a report.
    pub(super) fn show(&mut self, answer: Answer, now: SystemTime) -> io::Result<()> {
        self.is_lost = false;
        let text = self.text(&answer, now);
        self.last = Some(answer);
        self.put(&text, now)
    }

    /// Shows that nobody can be asked now: said once where reports are appended.
    pub(super) fn lost(&mut self, trouble: &Trouble, now: SystemTime) -> io::Result<()> {
        let was_lost = std::mem::replace(&mut self.is_lost, true);
        if was_lost && self.window.is_none() {
            return Ok(());
        }
        let said = words::plain(&trouble.to_string());
        if self.json {
            return self.put(&format!("{}\n", json::unreachable(&self.address, &said, now)), now);
        }
        let mut text = format!("{said}\nTrying again until it answers; Ctrl-C ends.\n");
        if let (Some(last), true) = (&self.last, self.window.is_some()) {
            let _ = write!(text, "\nBefore that:\n\n{}", self.text(last, now));
        }
        self.put(&text, now)
    }

    /// Gives the terminal back as it was, with what was shown last.
    pub(super) fn leave(&mut self, now: SystemTime) -> io::Result<()> {
        if !std::mem::take(&mut self.entered) {
            return Ok(());
        }
        self.out.write_all(LEAVE.as_bytes())?;
        if let Some(last) = &self.last {
            let text = self.text(last, now);
            self.out.write_all(text.as_bytes())?;
        }
        self.out.flush()
    }

    /// The state that was seen last. `None`: there was nobody to ask.
    pub(super) fn state(&self) -> Option<State> {
        self.last.as_ref().filter(|_| !self.is_lost).map(|answer| answer.report.state())
    }

    fn text(&self, answer: &Answer, now: SystemTime) -> String {
        if self.json {
            let value = json::report(&self.address, &answer.report, answer.changes.as_deref(), now);
            // One line each, where there is more than one.
            return if self.many { format!("{value}\n") } else { format!("{value:#}\n") };
        }
        let width = self.window.and_then(|window| window()).map_or(WIDTH, |(width, _)| width);
        let style = Style { width, colour: self.colour, now };
        let mut text = style.report(&self.address, &answer.report);
        if let Some(changes) = &answer.changes {
            text.push_str(&style.changes(changes));
        }
        // Who may see details gets the times of checks.
        let components = &answer.report.components;
        let is_bare =
            !components.is_empty() && components.iter().all(|component| component.checked_at.is_none());
        if let Some(hint) = self.hint.filter(|_| is_bare && !answer.report.starting) {
            let _ = writeln!(text, "\n{hint}");
        }
        text
    }

    fn put(&mut self, text: &str, now: SystemTime) -> io::Result<()> {
        match self.window {
            Some(window) if self.many && !self.json => self.redraw(text, window()),
            _ if self.many && !self.json => {
                let at = moment(Some(now.into())).unwrap_or_default();
                write!(self.out, "{at}\n{text}\n")?;
                self.out.flush()
            }
            _ => {
                self.out.write_all(text.as_bytes())?;
                self.out.flush()
            }
        }
    }

    /// Draws over what was drawn before, line by line, so that nothing flickers and nothing scrolls.
    fn redraw(&mut self, text: &str, size: Option<(usize, usize)>) -> io::Result<()> {
        let mut drawing = String::new();
        if !std::mem::replace(&mut self.entered, true) {
            drawing.push_str(ENTER);
        }
        drawing.push_str("\u{1b}[H");
        let rows = size.map_or(usize::MAX, |(_, rows)| rows).saturating_sub(1).max(2);
        let lines = text.lines().count();
        let shown = if lines <= rows { lines } else { rows - 1 };
        for line in text.lines().take(shown) {
            // The rest of the line is from before.
            let _ = writeln!(drawing, "{line}\u{1b}[K");
        }
        if shown < lines {
            let _ = writeln!(drawing, "… {} more lines: make the window higher\u{1b}[K", lines - shown);
        }
        drawing.push_str("\u{1b}[J");
        self.out.write_all(drawing.as_bytes())?;
        self.out.flush()
    }
}
