//! Escapes text for HTML pages.

use std::fmt;

/// A text that is escaped for the space between tags and for quoted attributes.
pub(crate) struct HtmlText<'a>(pub(crate) &'a str);

impl fmt::Display for HtmlText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => fmt::Write::write_char(f, c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::HtmlText;

    #[test]
    fn nothing_of_a_text_becomes_markup() {
        let text = HtmlText("<script>alert('\"&')</script>").to_string();
        assert_eq!(text, "&lt;script&gt;alert(&#39;&quot;&amp;&#39;)&lt;/script&gt;");
    }
}
