//! States, times and names in words, for text and for JSON. Names come from configuration and from other
//! processes: nothing in them may move the cursor or turn the line around.

use std::{
    fmt::Write as _,
    time::{Duration, SystemTime},
};

use penstock_proto::status::v1::{Kind, State};
use prost_types::Timestamp;

/// Longest name or reason that is looked at, in characters.
const TEXT_MAX: usize = 600;

/// The word for a state: never a colour alone.
pub(crate) fn state(state: State) -> &'static str {
    match state {
        State::Up => "UP",
        State::Degraded => "DEGRADED",
        State::Down => "DOWN",
        State::Unspecified => "UNKNOWN",
    }
}

/// The sign before the word.
pub(super) fn sign(state: State) -> char {
    match state {
        State::Up => '✓',
        State::Degraded => '!',
        State::Down => '✗',
        State::Unspecified => '?',
    }
}

/// The word for a kind; `None`: nothing in particular.
pub(super) fn kind(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Unspecified => None,
        Kind::Part => Some("part"),
        Kind::Store => Some("store"),
        Kind::Service => Some("service"),
        Kind::Deployment => Some("deployment"),
        Kind::Model => Some("model"),
    }
}

/// How long a check took: `0.4 ms`, `120 ms`, `3.1 s`.
pub(crate) fn latency(latency: Option<prost_types::Duration>) -> Option<String> {
    let span = Duration::try_from(latency?).ok()?;
    let milliseconds = span.as_secs_f64() * 1e3;
    Some(match milliseconds {
        ..9.95 => format!("{milliseconds:.1} ms"),
        ..999.5 => format!("{milliseconds:.0} ms"),
        ..59_950.0 => format!("{:.1} s", span.as_secs_f64()),
        _ => age(span),
    })
}

/// How long ago a moment is, as of `now`; moments to come are now: clocks differ.
pub(super) fn ago(moment: Option<Timestamp>, now: SystemTime) -> Option<Duration> {
    let moment = SystemTime::try_from(moment?).ok()?;
    Some(now.duration_since(moment).unwrap_or_default())
}

/// A span in its largest unit, rounded down: `45s`, `3m`, `12h`, `5d`.
pub(super) fn age(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A span in its two largest units: `3h 12m`.
pub(super) fn uptime(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        ..60 => age(span),
        60..3600 => format!("{} {}s", age(span), seconds % 60),
        3600..86_400 => format!("{} {}m", age(span), seconds / 60 % 60),
        _ => format!("{} {}h", age(span), seconds / 3600 % 24),
    }
}

/// Text from elsewhere for a terminal: on one line, nothing in it acts, and not without end.
pub(crate) fn plain(text: &str) -> String {
    let mut safe = String::new();
    for (number, letter) in text.chars().enumerate() {
        if number >= TEXT_MAX {
            safe.push('…');
            break;
        }
        if acts(letter) {
            // Writing to a string cannot fail.
            let _ = write!(safe, "{}", letter.escape_unicode());
        } else {
            safe.push(letter);
        }
    }
    safe
}

/// Whether a character does something to a terminal or to its neighbours, or cannot be seen.
fn acts(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{feff}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// At most `width` characters of a text; what was cut ends with `…`.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    kept + "…"
}

/// A text in lines of at most `width` characters, broken between words where that goes, at most `most` of them.
pub(super) fn wrapped(text: &str, width: usize, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let is_full = lines.len() == most;
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(line) if is_full => {
                *line = cut(&format!("{line} {word}"), width);
                return lines;
            }
            _ => lines.push(cut(word, width)),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short_words() {
        let seconds = Duration::from_secs;
        let cases = [(0, "0s"), (59, "59s"), (60, "1m"), (3599, "59m"), (3600, "1h"), (172_800, "2d")];
        for (span, word) in cases {
            assert_eq!(age(seconds(span)), word);
        }
        let cases = [(59, "59s"), (61, "1m 1s"), (11_520, "3h 12m"), (90_000, "1d 1h")];
        for (span, word) in cases {
            assert_eq!(uptime(seconds(span)), word);
        }
        let cases = [(40, "0.0 ms"), (400, "0.4 ms"), (9_960, "10 ms"), (999_400, "999 ms")];
        let more = [(999_600, "1.0 s"), (59_949_000, "59.9 s"), (61_000_000, "1m")];
        for (microseconds, word) in cases.into_iter().chain(more) {
            let span = prost_types::Duration::try_from(Duration::from_micros(microseconds)).unwrap();
            assert_eq!(latency(Some(span)).as_deref(), Some(word));
        }
        assert_eq!(latency(Some(prost_types::Duration { seconds: -1, nanos: 0 })), None);
    }

    #[test]
    fn moments_to_come_are_now() {
        let now = SystemTime::UNIX_EPOCH;
        assert_eq!(ago(Some(Timestamp { seconds: 5, nanos: 0 }), now), Some(Duration::ZERO));
        assert_eq!(ago(None, now), None);
    }

    #[test]
    fn nothing_in_a_name_acts() {
        assert_eq!(
            plain("a\u{1b}[2Jb\n\u{202e}c\u{200b}\u{7f}ä"),
            "a\\u{1b}[2Jb\\u{a}\\u{202e}c\\u{200b}\\u{7f}ä"
        );
        assert_eq!(plain(&"x".repeat(10_000)).chars().count(), TEXT_MAX + 1);
    }

    #[test]
    fn texts_break_between_words_and_end() {
        assert_eq!(wrapped("one two three", 8, 3), ["one two", "three"]);
        assert_eq!(wrapped("one two three four", 8, 2), ["one two", "three f…"]);
        assert_eq!(wrapped("unbreakable", 5, 2), ["unbr…"]);
        assert_eq!(wrapped("", 5, 2), [""; 0]);
        for width in 0..4 {
            wrapped("one two three", width, 2);
            cut("one", width);
        }
    }
}
