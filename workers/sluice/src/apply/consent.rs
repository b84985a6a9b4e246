//! The operator's consent to a plan.

use std::io::{self, BufRead, Write};

use sluice_runtime::config::ConfigErrors;

/// Checks that a change that takes something away is meant: somebody is asked, or has said `--yes`.
///
/// # Errors
/// Fails with a mistake of usage if `--allow` is given without a terminal and without `--yes`.
pub(super) fn check(allow: bool, yes: bool, on_terminal: bool) -> Result<(), ConfigErrors> {
    if !allow || yes || on_terminal {
        return Ok(());
    }
    let message = "it takes something away, and without a terminal the plan is carried out unseen";
    let hint = "look at `sluice plan --allow`, then add `--yes`".to_owned();
    Err(ConfigErrors::one("--allow", message, Some(hint)))
}

/// Asks whether the plan is to be carried out. Only the word `yes` is a consent; an end of the input is not.
///
/// # Errors
/// Fails if the question cannot be written or the answer cannot be read.
pub(super) fn ask(input: &mut impl BufRead, output: &mut impl Write) -> io::Result<bool> {
    write!(output, "\nCarry out these changes? Only `yes` is taken as consent: ")?;
    output.flush()?;
    let mut answer = String::new();
    input.read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_the_word_yes_carries_a_plan_out() {
        for (answer, expected) in [
            ("yes\n", true),
            ("  yes\r\n", true),
            ("y\n", false),
            ("YES\n", false),
            ("", false),
            ("no\nyes\n", false),
        ] {
            let mut output = Vec::new();
            assert_eq!(ask(&mut answer.as_bytes(), &mut output).unwrap(), expected, "{answer:?}");
            assert!(String::from_utf8(output).unwrap().contains("`yes`"));
        }
    }

    #[test]
    fn without_a_terminal_an_allowance_needs_yes() {
        let rows = [
            (false, false, false, true),
            (true, false, false, false),
            (true, true, false, true),
            (true, false, true, true),
        ];
        for (allow, yes, on_terminal, expected) in rows {
            assert_eq!(check(allow, yes, on_terminal).is_ok(), expected, "{allow} {yes} {on_terminal}");
        }
        assert!(check(true, false, false).unwrap_err().to_string().contains("--yes"));
    }
}
