//! The request for one page, made from the endpoint's templates, the id and the page token. Pure.

use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};
use serde_json::Value;

use crate::pagination::PageSelector;
use crate::template::{TemplateValues, TextTemplate};

/// An endpoint's request before the id is known.
#[derive(Debug, Clone)]
pub(crate) struct RequestTemplate {
    pub(crate) path: TextTemplate,
    pub(crate) query: Vec<(String, TextTemplate)>,
    pub(crate) headers: Vec<(HeaderName, TextTemplate)>,
    /// With a body the request is a POST, without one a GET.
    pub(crate) body: Option<BodyTemplate>,
}

/// A JSON body whose texts are templates.
#[derive(Debug, Clone)]
pub(crate) enum BodyTemplate {
    Text(TextTemplate),
    List(Vec<BodyTemplate>),
    Object(Vec<(String, BodyTemplate)>),
    /// A number, a boolean or null.
    Plain(Value),
}

/// One request. It can be sent any number of times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PageRequest {
    pub(crate) url: Url,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// JSON text. With a body the request is a POST, without one a GET.
    pub(crate) body: Option<String>,
}

impl RequestTemplate {
    /// Tells whether any part of the request depends on the id.
    pub(crate) fn has_id(&self) -> bool {
        self.path.has_id()
            || self.query.iter().any(|(_, value)| value.has_id())
            || self.headers.iter().any(|(_, value)| value.has_id())
            || self.body.as_ref().is_some_and(BodyTemplate::has_id)
    }

    /// Returns the request for one page.
    ///
    /// # Errors
    /// The reason why these values make no request. The id is not in it.
    pub(crate) fn fill(
        &self,
        base: &Url,
        values: TemplateValues<'_>,
        ask: &PageSelector<'_>,
    ) -> Result<PageRequest, &'static str> {
        // The URL. One that the API gave may be relative, and holds its whole query already.
        let first = format!("{}{}", base.as_str().trim_end_matches('/'), self.path.fill_path(values));
        let mut url = Url::parse(&first).map_err(|_| "the endpoint's path with the id: expected a URL")?;
        if let PageSelector::Url(next) = ask {
            url = url.join(next).map_err(|_| "the next page's URL: expected a URL")?;
            if !matches!(url.scheme(), "http" | "https") {
                return Err("the next page's URL: expected http or https");
            }
        } else {
            for (name, value) in &self.query {
                if let Some(value) = value.fill(values) {
                    url.query_pairs_mut().append_pair(name, &value);
                }
            }
        }

        // The headers and the body, without the parts that need an earlier run if there is none.
        let mut headers = Vec::new();
        for (name, value) in &self.headers {
            if let Some(value) = value.fill(values) {
                headers.push((name.clone(), header_value(&value)?));
            }
        }
        let mut body = self.body.as_ref().map(|body| body.fill(values).unwrap_or(Value::Null));

        // The page token.
        match ask {
            PageSelector::Plain | PageSelector::Url(_) => {}
            PageSelector::Query(name, value) => drop(url.query_pairs_mut().append_pair(name, value)),
            PageSelector::Header(name, value) => {
                let name = HeaderName::from_bytes(name.as_bytes())
                    .map_err(|_| "pagination.to_header: expected a header name")?;
                headers.push((name, header_value(value)?));
            }
            PageSelector::Field(path, value) => set(body.get_or_insert_default(), path, value.clone()),
        }
        Ok(PageRequest { url, headers, body: body.map(|body| body.to_string()) })
    }
}

impl BodyTemplate {
    /// Parses the texts of a body as templates. `at` is the path of `value`, for example `body.filter`.
    ///
    /// # Errors
    /// The path of the text that is no template, and the reason.
    pub(crate) fn parse(value: &Value, at: &str) -> Result<Self, (String, String)> {
        Ok(match value {
            Value::String(text) => {
                Self::Text(TextTemplate::body_text(text).map_err(|error| (at.to_owned(), error.to_string()))?)
            }
            Value::Array(items) => {
                let item = |(nth, item)| Self::parse(item, &format!("{at}[{nth}]"));
                Self::List(items.iter().enumerate().map(item).collect::<Result<_, _>>()?)
            }
            Value::Object(fields) => {
                let field = |(name, value): (&String, &Value)| {
                    Ok((name.clone(), Self::parse(value, &format!("{at}.{name}"))?))
                };
                Self::Object(fields.iter().map(field).collect::<Result<_, (String, String)>>()?)
            }
            plain => Self::Plain(plain.clone()),
        })
    }

    /// Tells whether any text of the body depends on the id.
    fn has_id(&self) -> bool {
        match self {
            Self::Text(template) => template.has_id(),
            Self::List(items) => items.iter().any(Self::has_id),
            Self::Object(fields) => fields.iter().any(|(_, value)| value.has_id()),
            Self::Plain(_) => false,
        }
    }

    /// Returns the body's JSON. `None`: the text needs an earlier run and there is none; the list or object
    /// around it leaves it out.
    fn fill(&self, values: TemplateValues<'_>) -> Option<Value> {
        Some(match self {
            Self::Text(template) => Value::String(template.fill(values)?),
            Self::List(items) => Value::Array(items.iter().filter_map(|item| item.fill(values)).collect()),
            Self::Object(fields) => Value::Object(
                fields.iter().filter_map(|(name, value)| Some((name.clone(), value.fill(values)?))).collect(),
            ),
            Self::Plain(value) => value.clone(),
        })
    }
}

/// Sets the value at a dotted path, and makes the objects on the way to it.
fn set(body: &mut Value, path: &str, value: Value) {
    let mut at = body;
    for part in path.split('.') {
        // A plain value on the way is replaced by an object.
        if !at.is_object() {
            *at = Value::Object(serde_json::Map::new());
        }
        debug_assert!(at.is_object(), "the value was made an object");
        let Value::Object(fields) = at else { return };
        at = fields.entry(part).or_insert(Value::Null);
    }
    *at = value;
}

/// Makes a header's value from a text with the id or the page token in it.
fn header_value(text: &str) -> Result<HeaderValue, &'static str> {
    // A line break in an id would otherwise begin a header of its own.
    HeaderValue::from_str(text)
        .map_err(|_| "the id or page token in a header: expected characters that an HTTP header can hold")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn template(body: Option<Value>) -> RequestTemplate {
        RequestTemplate {
            path: TextTemplate::path("/v1/{id}").unwrap(),
            query: vec![
                ("size".into(), TextTemplate::text("50").unwrap()),
                ("since".into(), TextTemplate::text("{since}").unwrap()),
            ],
            headers: vec![(HeaderName::from_static("x-tail"), TextTemplate::text("{id}").unwrap())],
            body: body.map(|body| BodyTemplate::parse(&body, "body").unwrap()),
        }
    }

    fn fill(template: &RequestTemplate, since: Option<&str>, ask: &PageSelector<'_>) -> PageRequest {
        let base = Url::parse("http://h/api/").unwrap();
        template.fill(&base, TemplateValues { id: "N 1", since }, ask).unwrap()
    }

    #[test]
    fn a_get_has_its_query_headers_and_token() {
        let one = fill(&template(None), None, &PageSelector::Query("page", "3".into()));
        assert_eq!(one.url.as_str(), "http://h/api/v1/N%201?size=50&page=3");
        assert_eq!(one.headers[0].1, "N 1");
        assert_eq!(one.body, None);
        let later = fill(&template(None), Some("2013-01-01"), &PageSelector::Header("x-after", "t".into()));
        assert_eq!(later.url.as_str(), "http://h/api/v1/N%201?size=50&since=2013-01-01");
        assert_eq!(later.headers[1], (HeaderName::from_static("x-after"), HeaderValue::from_static("t")));
    }

    #[test]
    fn a_next_url_is_taken_as_it_is() {
        assert_eq!(fill(&template(None), None, &PageSelector::Url("/p?c=2")).url.as_str(), "http://h/p?c=2");
        let base = Url::parse("http://h").unwrap();
        let values = TemplateValues { id: "x", since: None };
        assert!(template(None).fill(&base, values, &PageSelector::Url("file:///etc/passwd")).is_err());
    }

    #[test]
    fn a_body_takes_id_and_cursor() {
        let body = json!({"filter": {"tail": "{id}", "after": "{since}"}, "page": {"size": 50}});
        let first = fill(&template(Some(body.clone())), None, &PageSelector::Plain);
        let read =
            |request: &PageRequest| serde_json::from_str::<Value>(request.body.as_deref().unwrap()).unwrap();
        assert_eq!(read(&first), json!({"filter": {"tail": "N 1"}, "page": {"size": 50}}));
        let next = fill(&template(Some(body)), Some("7"), &PageSelector::Field("page.after", json!("t")));
        let expected = json!({"filter": {"tail": "N 1", "after": "7"}, "page": {"size": 50, "after": "t"}});
        assert_eq!(read(&next), expected);
        let error = BodyTemplate::parse(&json!({"a": ["{x}"]}), "body").unwrap_err();
        assert_eq!(error.0, "body.a[0]");
    }
}
