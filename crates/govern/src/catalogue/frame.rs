//! The frame that all catalogue pages share.

use crate::html::HtmlText;

const STYLE: &str = include_str!("site.css");
/// The search of the index page.
pub(super) const SEARCH: &str = include_str!("search.js");

/// Returns a whole page around a body. `script` may be empty.
pub(super) fn framed(title: &str, body: &str, script: &str) -> String {
    // The policy forbids the page to load anything. Style and script are inside the page.
    let script = if script.is_empty() { String::new() } else { format!("<script>{script}</script>\n") };
    let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>{STYLE}</style></head>\n<body>\n{body}{script}</body></html>\n",
        HtmlText(title)
    )
}
