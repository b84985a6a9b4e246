//! Lines of the log that are not longer than an operator's screen.

use std::io::{self, Write};

use serde_json::Value;
use tracing_subscriber::fmt::MakeWriter;

/// Most characters of a line, the mark included.
const LONGEST: usize = 500;
/// Fewest characters that a text in a JSON line is cut to.
const LEAST: usize = 32;

/// The form of the log's lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineForm {
    /// Text for a terminal.
    Text,
    /// One JSON object a line. A cut line is still one.
    Json,
}

/// Makes writers that shorten long lines.
pub(super) struct ShortLineMaker<M> {
    form: LineForm,
    make: M,
}

/// A writer that shortens each line and passes it on.
pub(super) struct ShortLineWriter<W> {
    form: LineForm,
    to: W,
}

impl<M> ShortLineMaker<M> {
    /// Shortens lines of this form on their way to the writers that `make` gives.
    pub(super) fn new(form: LineForm, make: M) -> Self {
        Self { form, make }
    }
}

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for ShortLineMaker<M> {
    type Writer = ShortLineWriter<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        ShortLineWriter { form: self.form, to: self.make.make_writer() }
    }
}

impl<W: Write> Write for ShortLineWriter<W> {
    /// Writes one event. `tracing_subscriber` hands over whole events.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        // A byte is at least a character at most, so that most events are passed on as they are.
        if event.len() <= LONGEST {
            self.to.write_all(event)?;
            return Ok(event.len());
        }
        let text = String::from_utf8_lossy(event);
        for line in text.split_inclusive('\n') {
            let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
            let short = match self.form {
                LineForm::Text => cut_text(line, LONGEST),
                LineForm::Json => cut_json(line),
            };
            write!(self.to, "{short}{end}")?;
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Returns the text with at most `longest` characters. A cut text ends with a mark that has the number of the
/// omitted characters.
fn cut_text(text: &str, longest: usize) -> String {
    let length = text.chars().count();
    if length <= longest {
        return text.to_owned();
    }

    // Colours must not run on behind a cut.
    let reset = if text.contains('\u{1b}') { "\u{1b}[0m" } else { "" };
    // The mark's own length depends on the number in it. The number of all characters has the most digits.
    let room = longest.saturating_sub(mark(length).chars().count() + reset.len());
    let kept: String = text.chars().take(room).collect();
    let mark = mark(length - kept.chars().count());
    format!("{kept}{reset}{mark}")
}

/// Returns the mark of a cut.
fn mark(omitted: usize) -> String {
    format!("… ({omitted} more characters)")
}

/// Returns a JSON line with at most [`LONGEST`] characters. Its longest texts are cut, so that it stays JSON.
fn cut_json(line: &str) -> String {
    let Ok(mut value) = serde_json::from_str::<Value>(line) else { return cut_text(line, LONGEST) };

    // Each round takes a quarter of every text's room, until the line is short enough.
    let mut room = LONGEST;
    while room >= LEAST {
        let short = value.to_string();
        if short.chars().count() <= LONGEST {
            return short;
        }
        room = room * 3 / 4;
        // Time, level and target are short, and an operator filters by them.
        for part in ["fields", "span", "spans"] {
            if let Some(part) = value.get_mut(part) {
                cut_values(part, room);
            }
        }
    }

    // Many short fields: the head and the message say the most.
    let message = value["fields"]["message"].as_str().map(|text| cut_text(text, LONGEST / 4));
    let head = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    serde_json::json!({
        "timestamp": head("timestamp"), "level": head("level"), "target": head("target"),
        "fields": {"message": message.unwrap_or_default(), "omitted": "the other fields are too long"},
    })
    .to_string()
}

/// Cuts every text of the value to `room` characters. A text that was cut before is cut again at its own end.
fn cut_values(value: &mut Value, room: usize) {
    match value {
        Value::String(text) => *text = cut_text(text, room),
        Value::Array(items) => items.iter_mut().for_each(|item| cut_values(item, room)),
        Value::Object(object) => object.values_mut().for_each(|item| cut_values(item, room)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_falls_between_characters_and_leaves_a_mark() {
        for letter in ["a", "é", "€", "𝄞"] {
            let cut = cut_text(&letter.repeat(1000), LONGEST);
            // The mark keeps room for the number of all characters, which can have a digit more.
            assert!((LONGEST - 1..=LONGEST).contains(&cut.chars().count()));
            assert!(cut.starts_with(letter) && cut.ends_with("more characters)"), "{cut}");
        }
        assert_eq!(cut_text(&"é".repeat(500), LONGEST), "é".repeat(500));
        let coloured = cut_text(&format!("\u{1b}[33m{}", "a".repeat(600)), LONGEST);
        assert!(coloured.chars().count() <= LONGEST);
        assert!(coloured.contains("\u{1b}[0m…"), "{coloured}");
    }

    #[test]
    fn a_json_line_of_many_fields_keeps_its_message() {
        let fields: serde_json::Map<String, Value> =
            (0..200).map(|number| (format!("field{number}"), Value::from(number))).collect();
        let mut line =
            serde_json::json!({"timestamp": "2026", "level": "WARN", "target": "sluice", "fields": fields});
        line["fields"]["message"] = Value::from("it failed");
        let cut = cut_json(&line.to_string());
        assert!(cut.chars().count() <= LONGEST, "{cut}");
        let value: Value = serde_json::from_str(&cut).unwrap();
        assert_eq!((&value["level"], &value["fields"]["message"]), (&"WARN".into(), &"it failed".into()));
    }

    #[test]
    fn every_line_of_an_event_is_cut_for_itself() {
        let mut out = Vec::new();
        let event = format!("{}\nshort\n{}\n", "a".repeat(700), "b".repeat(501));
        ShortLineWriter { form: LineForm::Text, to: &mut out }.write_all(event.as_bytes()).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lengths: Vec<usize> = text.lines().map(|line| line.chars().count()).collect();
        // The mark keeps room for the number of all characters, which can have a digit more.
        let full = LONGEST - 1..=LONGEST;
        assert!(lengths.len() == 3 && lengths[1] == 5, "{lengths:?}");
        assert!(full.contains(&lengths[0]) && full.contains(&lengths[2]), "{lengths:?}");
        assert!(text.starts_with("aaa") && text.contains("\nshort\nbbb"), "{text}");
    }
}
