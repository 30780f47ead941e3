//! Draws a report as text: a head line, then the tree in aligned columns. Pure: the time and the width are given.

mod changes;

use std::{fmt::Write as _, time::SystemTime};

use penstock_proto::status::v1::{Component, Report, State};

use super::{
    tree::{Counts, Row, Section, What, sections},
    words::{self, plain},
};

/// Longest name that gets a column of its own; a longer one is cut.
const NAME_MAX: usize = 48;
/// Columns that a reason needs to stand beside the rest; with fewer it goes below.
const REASON_MIN: usize = 24;
/// Most lines of one reason below its row.
const REASON_LINES_MAX: usize = 3;
/// Narrowest drawing: what does not fit into it is for the terminal to break.
const WIDTH_MIN: usize = 60;

/// How to draw.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    /// Columns.
    pub(super) width: usize,
    pub(super) colour: bool,
    /// Ages are as of this moment.
    pub(super) now: SystemTime,
}

/// The widths of the columns.
#[derive(Clone, Copy, Debug, Default)]
struct Columns {
    state: usize,
    name: usize,
    latency: usize,
    since: usize,
    check: usize,
}

/// A row in words.
#[derive(Debug)]
struct Line {
    state: Option<State>,
    /// With the lines that lead to it.
    name: String,
    /// The lines that lead on from it, for what stands below.
    below: String,
    latency: String,
    since: String,
    check: String,
    reason: String,
}

impl Style {
    /// The whole report of the process at `address`.
    pub(super) fn report(self, address: &str, report: &Report) -> String {
        let style = Self { width: self.width.max(WIDTH_MIN), ..self };
        let mut text = style.head(address, report);
        let sections: Vec<_> =
            sections(report).into_iter().map(|section| (section.title, style.lines(&section))).collect();
        if sections.is_empty() {
            return text;
        }
        let columns = Columns::of(sections.iter().flat_map(|(_, lines)| lines));
        text.push('\n');
        text.push_str(&columns.heading());
        for (title, lines) in &sections {
            if !title.is_empty() {
                let _ = writeln!(text, "{:indent$}{title}", "", indent = columns.state + 2);
            }
            for line in lines {
                style.line(&mut text, line, columns);
            }
        }
        text
    }

    /// What this is the report of, in a line or two.
    fn head(self, address: &str, report: &Report) -> String {
        let service = if report.service.is_empty() { "penstock" } else { &report.service };
        let mut parts = vec![format!("{} {}", plain(service), plain(&report.version)).trim_end().to_owned()];
        parts.push(format!("at {}", plain(address)));
        let (since, notes) = (words::ago(report.started_at, self.now), &mut Vec::new());
        if report.starting {
            notes.push("starting: not all parts are in place yet".to_owned());
        }
        if report.draining {
            notes.push("draining: finishes what it has and ends".to_owned());
        }
        if report.readiness() != report.state() && report.readiness() != State::Unspecified {
            notes.push(format!("readiness is {}", words::state(report.readiness())));
        }
        let mut text = format!("{}  {}", self.state(report.state()), parts.join(" "));
        if let Some(since) = since {
            let _ = write!(text, ", up for {}", words::uptime(since));
        }
        text.push('\n');
        notes.iter().for_each(|note| {
            let _ = writeln!(text, "  {note}");
        });
        text
    }

    fn lines(self, section: &Section) -> Vec<Line> {
        section.rows.iter().map(|row| self.in_words(row)).collect()
    }

    fn in_words(self, row: &Row) -> Line {
        let (name, below) = lead(&row.guides);
        let (label, component) = match row.what {
            What::Component(component) => (label(&component.name), Some(component)),
            What::Ground { name, component } => (ground(name), component),
            What::More(counts) => {
                let name = format!("{name}… {}", more(counts));
                return Line { state: None, name, ..Line::empty(below) };
            }
        };
        let name = name + &words::cut(&plain(label), NAME_MAX);
        let Some(component) = component else {
            let reason = "not reported".to_owned();
            return Line { state: Some(State::Unspecified), name, reason, ..Line::empty(below) };
        };
        Line { name, below, ..self.facts(component) }
    }

    fn facts(self, component: &Component) -> Line {
        let age = |moment| words::ago(moment, self.now).map(words::age).unwrap_or_default();
        let reason = match component.state() {
            State::Unspecified if component.detail.is_empty() => unknown(component).to_owned(),
            _ => plain(&component.detail),
        };
        Line {
            state: Some(component.state()),
            name: String::new(),
            below: String::new(),
            latency: words::latency(component.latency).unwrap_or_default(),
            since: age(component.since),
            check: age(component.checked_at),
            reason,
        }
    }

    fn line(self, text: &mut String, line: &Line, columns: Columns) {
        let word = line.state.map(word).unwrap_or_default();
        let pad = columns.state.saturating_sub(word.chars().count());
        let state = line.state.map(|state| self.state(state)).unwrap_or_default();
        let row = format!(
            "{state}{:pad$}  {:<name$}  {:>latency$}  {:>since$}  {:>check$}",
            "",
            line.name,
            line.latency,
            line.since,
            line.check,
            name = columns.name,
            latency = columns.latency,
            since = columns.since,
            check = columns.check,
        );
        text.push_str(row.trim_end());
        if line.reason.is_empty() {
            text.push('\n');
            return;
        }
        let beside = columns.width() + 2;
        let room = self.width.saturating_sub(beside);
        if line.reason.chars().count() <= room || room >= REASON_MIN * 2 {
            let row = row.trim_end().chars().count() - state.chars().count() + word.chars().count();
            let _ = write!(text, "{:gap$}", "", gap = beside.saturating_sub(row));
            let mut lines = words::wrapped(&line.reason, room, REASON_LINES_MAX).into_iter();
            text.push_str(&lines.next().unwrap_or_default());
            text.push('\n');
            for more in lines {
                let lead = format!("{:indent$}  {}", "", line.below, indent = columns.state);
                let _ = writeln!(text, "{lead:<beside$}{more}");
            }
            return;
        }
        text.push('\n');
        let lead = format!("{:indent$}  {}", "", line.below, indent = columns.state);
        let room = self.width.saturating_sub(lead.chars().count());
        for more in words::wrapped(&line.reason, room, REASON_LINES_MAX) {
            let _ = writeln!(text, "{lead}{more}");
        }
    }

    fn state(self, state: State) -> String {
        let word = word(state);
        if !self.colour {
            return word;
        }
        let colour = match state {
            State::Up => "32",
            State::Degraded => "33",
            State::Down => "1;31",
            State::Unspecified => "2",
        };
        format!("\u{1b}[{colour}m{word}\u{1b}[0m")
    }
}

impl Line {
    fn empty(below: String) -> Self {
        let nothing = String::new;
        let (name, latency, since, check, reason) = (nothing(), nothing(), nothing(), nothing(), nothing());
        Self { state: None, name, below, latency, since, check, reason }
    }
}

impl Columns {
    fn of<'a>(lines: impl Iterator<Item = &'a Line>) -> Self {
        let length = |text: &str| text.chars().count();
        let first = Self { state: 5, name: 4, latency: 7, since: 5, check: 5 };
        lines.fold(first, |columns, line| Self {
            state: columns.state.max(line.state.map_or(0, |state| length(&word(state)))),
            // A row that only counts may reach over the columns behind it: they are empty.
            name: columns.name.max(if line.state.is_some() { length(&line.name) } else { 0 }),
            latency: columns.latency.max(length(&line.latency)),
            since: columns.since.max(length(&line.since)),
            check: columns.check.max(length(&line.check)),
        })
    }

    /// Of all but the reason.
    fn width(self) -> usize {
        self.state + self.name + self.latency + self.since + self.check + 4 * 2
    }

    fn heading(self) -> String {
        let (state, name) = ("STATE", "NAME");
        let (latency, since, check) = ("LATENCY", "SINCE", "CHECK");
        let Self { state: a, name: b, latency: c, since: d, check: e } = self;
        format!("{state:<a$}  {name:<b$}  {latency:>c$}  {since:>d$}  {check:>e$}  REASON\n")
    }
}

/// Why nothing is known of a component. What others say of theirs was seen once, and is unknown while they are away.
fn unknown(component: &Component) -> &'static str {
    let was_seen = component.checked_at.is_some() || component.since.is_some();
    if was_seen || !component.part_of.is_empty() { "not known at present" } else { "never checked" }
}

fn word(state: State) -> String {
    format!("{} {}", words::sign(state), words::state(state))
}

/// A name as it stands in its own section: what all names there begin with says nothing.
fn label(name: &str) -> &str {
    name.strip_prefix("model/").or_else(|| name.strip_prefix("deployment/")).unwrap_or(name)
}

/// A name below a model: a deployment by its own, another model as what it is.
fn ground(name: &str) -> &str {
    name.strip_prefix("deployment/").unwrap_or(name)
}

fn more(counts: Counts) -> String {
    let Counts { up, degraded, down, unknown } = counts;
    let states =
        [(down, State::Down), (degraded, State::Degraded), (unknown, State::Unspecified), (up, State::Up)];
    let states = states.into_iter().filter(|(count, _)| *count > 0);
    let words: Vec<_> = states.map(|(count, state)| format!("{count} {}", words::state(state))).collect();
    format!("and {} more: {}", up + degraded + down + unknown, words.join(", "))
}

/// The lines that lead to a row, and those that lead past what stands below it.
fn lead(guides: &[bool]) -> (String, String) {
    let past: String = guides.iter().map(|follows| if *follows { "│  " } else { "   " }).collect();
    let above: String = past.chars().take(3 * guides.len().saturating_sub(1)).collect();
    let own = match guides.last() {
        Some(true) => "├─ ",
        Some(false) => "└─ ",
        None => "",
    };
    (above + own, past)
}

#[cfg(test)]
mod tests;
