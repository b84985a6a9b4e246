//! Texts of HTML pages: escaped, and without the folders of the machine that makes the pages.

use std::fmt;

/// A text that is escaped for the space between tags and for quoted attributes.
pub(crate) struct HtmlText<'a>(pub(crate) &'a str);

/// The parts of a path below the contracts' folder: domain, topic or `views`, file.
const DEPTH: usize = 3;

/// Returns the path of a contract's or view's file below the contracts' folder:
/// `<domain>/views/<name>.sql`. The folders above it are those of one machine.
pub(crate) fn below_the_contracts_folder(file: &str) -> &str {
    let start = file.rmatch_indices('/').nth(DEPTH - 1).map_or(0, |(at, _)| at + 1);
    file.get(start..).unwrap_or(file)
}

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
    use super::{HtmlText, below_the_contracts_folder};

    #[test]
    fn a_published_path_begins_below_the_contracts_folder() {
        for root in ["", "/", "schemas/", "/home/somebody/work/schemas/"] {
            let file = format!("{root}club/views/daily.sql");
            assert_eq!(below_the_contracts_folder(&file), "club/views/daily.sql");
        }
        assert_eq!(below_the_contracts_folder("daily.sql"), "daily.sql");
    }

    #[test]
    fn nothing_of_a_text_becomes_markup() {
        let text = HtmlText("<script>alert('\"&')</script>").to_string();
        assert_eq!(text, "&lt;script&gt;alert(&#39;&quot;&amp;&#39;)&lt;/script&gt;");
    }
}
