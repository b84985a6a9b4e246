//! Request paths with a place for the id.

use std::fmt::Write as _;

/// A path with `{id}` in it, parsed once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Id,
}

/// Why a path is not a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateError {
    #[error("must begin with `/`")]
    NotAbsolute,
    #[error("has a `{{` without `}}`")]
    Open,
    #[error("`{{{0}}}` is not known; only `{{id}}` is")]
    Unknown(String),
    #[error("has no `{{id}}`: every id would ask for the same")]
    NoId,
}

impl Template {
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        if !text.starts_with('/') {
            return Err(TemplateError::NotAbsolute);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (inside, behind) = after.split_once('}').ok_or(TemplateError::Open)?;
            if inside != "id" {
                return Err(TemplateError::Unknown(inside.to_owned()));
            }
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::Id);
            rest = behind;
        }
        parts.push(Part::Text(rest.to_owned()));
        match parts.contains(&Part::Id) {
            true => Ok(Self { parts }),
            false => Err(TemplateError::NoId),
        }
    }

    /// The path for one id. Everything but RFC 3986's unreserved characters of the id is percent-encoded, so that an
    /// id can never climb out of its place in the path.
    pub(crate) fn fill(&self, id: &str) -> String {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Id => encode(id, &mut out),
            }
        }
        out
    }
}

fn encode(text: &str, out: &mut String) {
    // A URL parser takes `.` and `..` for steps in the path even where they are encoded: they cannot be asked for as
    // they are, so their dots are sent doubly encoded, and the API answers that there is no such id.
    if matches!(text, "." | "..") {
        out.push_str(&"%252E".repeat(text.len()));
        return;
    }
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            // Writing to a String cannot fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_takes_its_place() {
        let template = Template::parse("/v1/aircraft/{id}/flights?of={id}").unwrap();
        assert_eq!(template.fill("N14228"), "/v1/aircraft/N14228/flights?of=N14228");
    }

    #[test]
    fn an_id_cannot_leave_its_place() {
        let template = Template::parse("/v1/{id}").unwrap();
        assert_eq!(template.fill("../admin?x=1#y"), "/v1/..%2Fadmin%3Fx%3D1%23y");
        assert_eq!(template.fill("ü %"), "/v1/%C3%BC%20%25");
        let url =
            |id| reqwest::Url::parse(&format!("http://h{}", template.fill(id))).unwrap().path().to_owned();
        assert_ne!(url(".."), "/");
        assert_ne!(url("."), "/v1/");
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(Template::parse("v1/{id}"), Err(TemplateError::NotAbsolute));
        assert_eq!(Template::parse("/v1/{id"), Err(TemplateError::Open));
        assert_eq!(Template::parse("/v1/{tail}"), Err(TemplateError::Unknown("tail".into())));
        assert_eq!(Template::parse("/v1/all"), Err(TemplateError::NoId));
    }
}
