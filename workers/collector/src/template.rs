//! Request texts with places for the id and for the end of the id's last run.

use std::fmt::Write as _;

/// A text with `{id}` and `{since}` in it, parsed once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TextTemplate {
    parts: Vec<TemplatePart>,
}

/// A template piece.
#[derive(Debug, Clone, PartialEq, Eq)]
enum TemplatePart {
    Text(String),
    Id,
    Since,
}

/// The values that the places are filled with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TemplateValues<'v> {
    pub(crate) id: &'v str,
    /// The highest value of the incremental field in earlier runs; `None` in an id's first run.
    pub(crate) since: Option<&'v str>,
}

/// The reason why a text is not a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateError {
    #[error("expected a `/` at the beginning")]
    NotAbsolute,
    #[error("expected a `}}` after every `{{`")]
    Open,
    #[error("unknown place `{{{0}}}`: expected `{{id}}` or `{{since}}`")]
    Unknown(String),
}

impl TextTemplate {
    /// Parses a path below the base URL.
    ///
    /// # Errors
    /// A [`TemplateError`], for example if the text does not begin with `/`.
    pub(crate) fn path(text: &str) -> Result<Self, TemplateError> {
        if text.starts_with('/') { Self::text(text) } else { Err(TemplateError::NotAbsolute) }
    }

    /// Parses any text.
    ///
    /// # Errors
    /// A [`TemplateError`] for an open or unknown place.
    pub(crate) fn text(text: &str) -> Result<Self, TemplateError> {
        // Texts and places alternate: before each `{…}` is a text, which may be empty.
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (inside, behind) = after.split_once('}').ok_or(TemplateError::Open)?;
            parts.push(TemplatePart::Text(before.to_owned()));
            parts.push(match inside {
                "id" => TemplatePart::Id,
                "since" => TemplatePart::Since,
                _ => return Err(TemplateError::Unknown(inside.to_owned())),
            });
            rest = behind;
        }
        parts.push(TemplatePart::Text(rest.to_owned()));
        Ok(Self { parts })
    }

    /// Parses a text of a body. Braces around anything but a word are text, as in a GraphQL query.
    ///
    /// # Errors
    /// A [`TemplateError`] for an unknown place, for example `{name}`.
    pub(crate) fn body_text(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let (mut plain, mut rest) = (String::new(), text);
        while let Some((before, after)) = rest.split_once('{') {
            plain.push_str(before);
            let word = after.split_once('}').map(|(word, _)| word).unwrap_or_default();
            let place = match word {
                "id" => TemplatePart::Id,
                "since" => TemplatePart::Since,
                word if !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') => {
                    return Err(TemplateError::Unknown(word.to_owned()));
                }
                _ => {
                    plain.push('{');
                    rest = after;
                    continue;
                }
            };
            parts.push(TemplatePart::Text(std::mem::take(&mut plain)));
            parts.push(place);
            rest = after.get(word.len() + 1..).unwrap_or_default();
        }
        plain.push_str(rest);
        parts.push(TemplatePart::Text(plain));
        Ok(Self { parts })
    }

    /// Tells whether the text depends on the id.
    pub(crate) fn has_id(&self) -> bool {
        self.parts.contains(&TemplatePart::Id)
    }

    /// Tells whether the text depends on an earlier run.
    pub(crate) fn has_since(&self) -> bool {
        self.parts.contains(&TemplatePart::Since)
    }

    /// Returns the path for one id. Everything but RFC 3986's unreserved characters of the id is
    /// percent-encoded: an id can never leave its place in the path.
    pub(crate) fn fill_path(&self, values: TemplateValues<'_>) -> String {
        self.filled(values, encode)
    }

    /// Returns the text as it is; the caller encodes it as a whole. `None`: it needs an earlier run and there
    /// is none.
    pub(crate) fn fill(&self, values: TemplateValues<'_>) -> Option<String> {
        let known = values.since.is_some() || !self.has_since();
        known.then(|| self.filled(values, |text, out| out.push_str(text)))
    }

    /// Returns the text with its places filled by `write`.
    fn filled(&self, values: TemplateValues<'_>, write: impl Fn(&str, &mut String)) -> String {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                TemplatePart::Text(text) => out.push_str(text),
                TemplatePart::Id => write(values.id, &mut out),
                // Only a path can have `{since}` without a value: it cannot be left out.
                TemplatePart::Since => write(values.since.unwrap_or_default(), &mut out),
            }
        }
        out
    }
}

/// Appends a text to a path, percent-encoded.
fn encode(text: &str, out: &mut String) {
    // A URL parser takes `.` and `..` for movements in the path even where they are encoded, so no request
    // can carry them as ids. Their dots are encoded twice, and the API answers that no such id exists.
    if matches!(text, "." | "..") {
        out.push_str(&"%252E".repeat(text.len()));
        return;
    }
    for byte in text.bytes() {
        match byte {
            // The unreserved characters of RFC 3986, 2.3.
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            // Writing to a String cannot fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(id: &str) -> TemplateValues<'_> {
        TemplateValues { id, since: None }
    }

    #[test]
    fn the_id_takes_its_place() {
        let template = TextTemplate::path("/v1/aircraft/{id}/flights?of={id}").unwrap();
        assert_eq!(template.fill_path(values("N14228")), "/v1/aircraft/N14228/flights?of=N14228");
    }

    #[test]
    fn an_id_cannot_leave_its_place() {
        let template = TextTemplate::path("/v1/{id}").unwrap();
        assert_eq!(template.fill_path(values("../admin?x=1#y")), "/v1/..%2Fadmin%3Fx%3D1%23y");
        assert_eq!(template.fill_path(values("ü %")), "/v1/%C3%BC%20%25");
        let url = |id| {
            let path = template.fill_path(values(id));
            reqwest::Url::parse(&format!("http://h{path}")).unwrap().path().to_owned()
        };
        assert_ne!(url(".."), "/");
        assert_ne!(url("."), "/v1/");
    }

    #[test]
    fn what_speaks_of_an_earlier_run_is_left_out_of_the_first() {
        let template = TextTemplate::text("gt:{since}").unwrap();
        assert_eq!(template.fill(values("x")), None);
        assert_eq!(template.fill(TemplateValues { id: "x", since: Some("7") }), Some("gt:7".into()));
        assert_eq!(TextTemplate::text("50").unwrap().fill(values("x")), Some("50".into()));
    }

    #[test]
    fn braces_in_a_body_are_text_unless_they_hold_a_word() {
        let query = "query($n: ID!) { node(id: $n) { ... on X { name { a b } } } } # {id}";
        let filled = TextTemplate::body_text(query).unwrap().fill(values("7")).unwrap();
        assert_eq!(filled, query.replace("{id}", "7"));
        assert_eq!(TextTemplate::body_text("{tail}"), Err(TemplateError::Unknown("tail".into())));
        for text in ["{", "{}", "}{", "{ id }", "a{{id}}b"] {
            let filled = TextTemplate::body_text(text).unwrap().fill(values("7")).unwrap();
            assert_eq!(filled, text.replace("{id}", "7"), "{text}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(TextTemplate::path("v1/{id}"), Err(TemplateError::NotAbsolute));
        assert_eq!(TextTemplate::path("/v1/{id"), Err(TemplateError::Open));
        assert_eq!(TextTemplate::path("/v1/{tail}"), Err(TemplateError::Unknown("tail".into())));
        assert!(!TextTemplate::path("/v1/all").unwrap().has_id());
    }
}
