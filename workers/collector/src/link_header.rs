//! The header `Link` (RFC 8288), as servers really write it: with other bytes than ASCII, single quotes, titles that
//! look like relations, and anchors. Pure.

/// The header cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LinkError;

/// Returns the target of the link with the relation `next`, percent-encoded where it is not ASCII.
///
/// # Errors
/// [`LinkError`] if the header is no list of links up to there.
pub(crate) fn next_link(header: &[u8]) -> Result<Option<String>, LinkError> {
    // UTF-8 if it is, otherwise Latin-1, in which every byte is a character.
    let text = match std::str::from_utf8(header) {
        Ok(text) => text.to_owned(),
        Err(_) => header.iter().map(|byte| char::from(*byte)).collect(),
    };
    let mut rest = text.trim_start_matches([' ', '\t', ',']);
    while !rest.is_empty() {
        // The target. It may hold commas and semicolons.
        let inside = rest.strip_prefix('<').ok_or(LinkError)?;
        let (target, behind) = inside.split_once('>').ok_or(LinkError)?;
        rest = behind;

        // Its parameters, up to a comma that is outside of quotes.
        let (mut relation, mut anchored) = (None, false);
        loop {
            rest = rest.trim_start();
            let Some(behind) = rest.strip_prefix(';') else { break };
            let (name, value, behind) = parameter(behind)?;
            rest = behind;
            match name.to_ascii_lowercase().as_str() {
                // Only the first one counts (RFC 8288, 3.3).
                "rel" if relation.is_none() => relation = Some(value),
                // A link of another resource than the page (3.2).
                "anchor" => anchored = !value.is_empty(),
                _ => {}
            }
        }
        let is_next = relation
            .is_some_and(|value| value.split_ascii_whitespace().any(|rel| rel.eq_ignore_ascii_case("next")));
        if is_next && !anchored {
            return Ok(Some(percent_encoded(target.trim())));
        }
        match rest.strip_prefix(',') {
            Some(behind) => rest = behind.trim_start_matches([' ', '\t', ',']),
            None if rest.is_empty() => {}
            None => return Err(LinkError),
        }
    }
    Ok(None)
}

/// Reads a parameter after its semicolon. Returns name, value and the rest.
fn parameter(text: &str) -> Result<(&str, String, &str), LinkError> {
    let text = text.trim_start();
    let end = text.find(['=', ';', ',']).unwrap_or(text.len());
    let (name, behind) = text.split_at(end);
    let Some(behind) = behind.strip_prefix('=') else { return Ok((name.trim(), String::new(), behind)) };
    let behind = behind.trim_start();

    // A quoted value, also in single quotes, which some servers write. A backslash takes the next character.
    if let Some(quote @ ('"' | '\'')) = behind.chars().next() {
        let mut value = String::new();
        let mut letters = behind.char_indices().skip(1);
        while let Some((at, letter)) = letters.next() {
            match letter {
                '\\' => value.extend(letters.next().map(|(_, escaped)| escaped)),
                letter if letter == quote => return Ok((name.trim(), value, &behind[at + 1..])),
                letter => value.push(letter),
            }
        }
        return Err(LinkError);
    }
    let end = behind.find([';', ',']).unwrap_or(behind.len());
    let (value, rest) = behind.split_at(end);
    Ok((name.trim(), value.trim().to_owned(), rest))
}

/// Encodes every character of a URL that is not visible ASCII.
fn percent_encoded(url: &str) -> String {
    let mut out = String::with_capacity(url.len());
    for letter in url.chars() {
        if letter.is_ascii_graphic() {
            out.push(letter);
        } else {
            let mut bytes = [0; 4];
            for byte in letter.encode_utf8(&mut bytes).bytes() {
                out.push('%');
                out.push_str(&hex::encode_upper([byte]));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_link_is_found_among_others() {
        for (header, next) in [
            (
                r#"<https://h/a,b?p=1>; rel="prev", <https://h/a,b?p=3>; title="x"; rel="last next""#,
                "https://h/a,b?p=3",
            ),
            ("</p2>; rel=next", "/p2"),
            ("</p2>; rel='next'", "/p2"),
            ("</p2>;rel = \"next\" ; type=x", "/p2"),
            (r#"</p1>; rel="first"; title="a; rel=next", </p2>; rel="next""#, "/p2"),
            (r#"</p1>; rel="prev"; title="a \\" , <x>; rel=next", </p2>; rel="next""#, "/p2"),
            (r#"</p?q=Zürich&page=2>; rel="next""#, "/p?q=Z%C3%BCrich&page=2"),
            (r#"</p1>; rel="prev"; title="zurück", </p2>; rel="NEXT""#, "/p2"),
            (r#"</other>; rel="next"; anchor="/foo", </p2>; rel="next""#, "/p2"),
            (", </p2>; crossorigin; rel=next", "/p2"),
        ] {
            assert_eq!(next_link(header.as_bytes()), Ok(Some(next.to_owned())), "{header}");
        }
        // Latin-1.
        assert_eq!(next_link(b"</p?q=Z\xfcrich>; rel=next"), Ok(Some("/p?q=Z%C3%BCrich".to_owned())));
    }

    #[test]
    fn no_next_link_differs_from_a_header_that_cannot_be_read() {
        for header in ["", r#"</p2>; rel="prev""#, "</p2>", r#"</p2>; rel="nextish""#] {
            assert_eq!(next_link(header.as_bytes()), Ok(None), "{header}");
        }
        for header in
            ["<broken", "/p2; rel=next", r#"</p2>; rel="next"#, "</p1>; rel=\"prev\" </p2>; rel=next"]
        {
            assert_eq!(next_link(header.as_bytes()), Err(LinkError), "{header}");
        }
    }
}
