//! Additions to every command of the command line: examples and exit codes in `--help`, and `--output`.

use clap::{Arg, Command};

/// A command by its path below `sluice`, and its examples.
const EXAMPLES: &[(&str, &str)] = &[
    ("run", "  sluice run masker -c masker.yaml"),
    ("run collector", "  sluice run collector -c job.yaml --once    end when what was due is done"),
    ("run masker", "  sluice run masker -c masker.yaml"),
    ("run normaliser", "  sluice run normaliser -c normaliser.yaml"),
    ("run sink", "  sluice run sink -c sink.yaml"),
    (
        "plan",
        "  sluice plan -c apply.yaml                     the changes, and the refusals\n  \
           sluice plan -c apply.yaml --proof             the way of every sensitive leaf, without a server\n  \
           sluice plan -c apply.yaml --output json       for programs",
    ),
    ("apply", "  sluice apply -c apply.yaml"),
    (
        "verify",
        "  sluice verify -c apply.yaml --lake lake       drift, and leaks in topics and tables\n  \
           sluice verify -c apply.yaml --conservation    records = written + dead letters + skipped",
    ),
    ("dead-letters", "  sluice dead-letters ls -c apply.yaml"),
    ("dead-letters ls", "  sluice dead-letters ls -c apply.yaml --class datum"),
    (
        "dead-letters show",
        "  sluice dead-letters show -c apply.yaml --topic club.member.v1 --partition 0 --offset 42",
    ),
    (
        "dead-letters replay",
        "  sluice dead-letters replay --worker masker -c masker.yaml         how many there are\n  \
           sluice dead-letters replay --worker masker -c masker.yaml --yes   write the results",
    ),
    (
        "replay",
        "  sluice replay --worker masker -c masker.yaml --topic club.member.v1 --since 2026-05-01T00:00:00Z",
    ),
    ("collector", "  sluice collector check -c job.yaml"),
    ("collector check", "  sluice collector check -c job.yaml --neighbours"),
    ("collector try", "  sluice collector try -c job.yaml --id N14228"),
    ("collector run", "  sluice collector run -c job.yaml --once"),
    ("collector status", "  sluice collector status -c job.yaml --output json"),
    ("collector dead", "  sluice collector dead -c job.yaml --most 20"),
    (
        "collector retry",
        "  sluice collector retry -c job.yaml --id N14228\n  sluice collector retry -c job.yaml --all\n  sluice collector retry -c job.yaml --rejected",
    ),
    ("collector rejected", "  sluice collector rejected -c job.yaml"),
    ("collector forget", "  sluice collector forget -c job.yaml --id N14228"),
    ("collector migrate", "  sluice collector migrate -c job.yaml --print"),
    ("topics", "  sluice topics -c apply.yaml --contract member"),
    (
        "tail",
        "  sluice tail club.member.masked.v1 -c apply.yaml                           the newest 10 records\n  \
           sluice tail club.member.masked.v1 -c apply.yaml --from 2h --where 'visits > 3' --follow",
    ),
    (
        "get",
        "  sluice get club.member.masked.v1 '1:Zm9v...' -c apply.yaml                the newest record of a key\n  \
           sluice get club.member.v1 m1 -c apply.yaml --as stewards --all --from 7d",
    ),
    (
        "sql",
        "  sluice sql --lake lake                       a prompt; a statement ends at its semicolon\n  \
           sluice sql --lake lake < statements.sql\n  \
           sluice sql --lake lake --output parquet --to m.parquet 'SELECT * FROM club_member_masked_v1'\n  \
           sluice sql --lake lake 'SELECT count(*) FROM club_member_masked_v1'\n  \
           sluice sql --lake lake --output csv 'SELECT id, visits FROM club_member_masked_v1' > visits.csv",
    ),
    ("wire", "  sluice wire check < records.jsonl"),
    (
        "wire check",
        "  echo '{\"schema\": {\"type\": \"record\", \"name\": \"R\", \"fields\": []}, \"datum\": \"\"}' | sluice wire check",
    ),
    (
        "wire patch",
        "  sluice wire patch --policy policy.json --key pseudonym:1=pseudonym.key < records.jsonl",
    ),
    ("wire explain", "  sluice wire explain value.avsc policy.json"),
    ("contract", "  sluice contract test"),
    (
        "contract new",
        "  sluice contract new --topic club.member.v1 --samples members.jsonl --key id\n  \
           sluice contract new --topic club.member.v1 --subject club.member.v1-value -c apply.yaml",
    ),
    ("contract test", "  sluice contract test club.member.v1 --accept"),
    ("catalogue", "  sluice catalogue --schemas schemas --out site"),
    ("up", "  sluice up --dir ~/sluice-stack"),
    ("config-schema", "  sluice config-schema masker > masker.schema.json"),
    ("version", "  sluice version --output json"),
    ("completions", "  sluice completions bash > ~/.local/share/bash-completion/completions/sluice"),
];

/// The exit codes in one line, for the help of each command.
const CODES: &str = "Exit codes: 0 done, 1 refused or found, 64 mend the input, 70 a bug, 75 try again; `sluice \
                     --help` has the table.";
/// The same for `plan`.
const PLAN_CODES: &str = "Exit codes: 0 nothing to do, 1 refused, 2 changes and no refusal, 64 mend the input, 70 a \
                          bug, 75 try again. With --proof: 0 or 1.";

/// Adds examples and exit codes to the help of every command below `command`, and `--output` to those without it.
pub(crate) fn with_examples(command: Command) -> Command {
    add_below(command, "")
}

/// Does the same below the command at `path`.
fn add_below(command: Command, path: &str) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| {
        let path = if path.is_empty() { name.clone() } else { format!("{path} {name}") };
        command.mut_subcommand(name, |sub| add_below(add_to(sub, &path), &path))
    })
}

/// Adds examples and exit codes to one command, behind its own words.
fn add_to(command: Command, path: &str) -> Command {
    let command = with_output(command);
    let examples = EXAMPLES.iter().find(|(known, _)| *known == path).map(|(_, text)| *text);
    let codes = if path == "plan" { PLAN_CODES } else { CODES };

    let own = command.get_after_help().map(ToString::to_string);
    let own_long = command.get_after_long_help().map(ToString::to_string);
    let whole = |own: Option<String>| {
        let examples = examples.map(|text| format!("Examples:\n{text}"));
        let parts = [own, examples, Some(codes.to_owned())];
        parts.into_iter().flatten().collect::<Vec<_>>().join("\n\n")
    };

    // A long help is shown in the place of the short one.
    let command = match own_long {
        Some(long) => command.after_long_help(whole(Some(long))),
        None => command,
    };
    command.after_help(whole(own))
}

/// Adds `--output` to a command that has none, for its errors.
fn with_output(command: Command) -> Command {
    if command.has_subcommands() || command.get_arguments().any(|arg| arg.get_id() == "output") {
        return command;
    }
    // The value is read before the command line is parsed, because mistakes in it are printed in this form too.
    let output = Arg::new("output")
        .long("output")
        .value_name("FORM")
        .value_parser(["text", "json"])
        .default_value("text")
        .help("The form of an error");
    command.arg(output)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::CommandLine;

    /// Returns the path of every command below this one.
    fn paths(command: &Command, path: &str) -> Vec<String> {
        let below = command.get_subcommands().flat_map(|sub| {
            let path = format!("{path} {}", sub.get_name()).trim().to_owned();
            let deeper = paths(sub, &path);
            std::iter::once(path).chain(deeper)
        });
        below.collect()
    }

    #[test]
    fn every_command_has_an_example_and_every_example_a_command() {
        let paths = paths(&CommandLine::command(), "");
        for path in &paths {
            assert!(EXAMPLES.iter().any(|(known, _)| known == path), "`sluice {path}` has no example");
        }
        for (known, _) in EXAMPLES {
            assert!(paths.iter().any(|path| path == known), "there is no command `sluice {known}`");
        }
    }

    #[test]
    fn help_shows_the_examples_and_the_exit_codes() {
        let mut command = with_examples(CommandLine::command());
        for (path, words) in
            [("plan", "2 changes"), ("apply", "sluice apply -c"), ("contract", "sluice contract test")]
        {
            let help = command.find_subcommand_mut(path).map(|sub| sub.render_long_help().to_string());
            assert!(help.is_some_and(|help| help.contains(words)), "`sluice {path} --help` lacks `{words}`");
        }
    }

    #[test]
    fn every_command_can_print_its_errors_as_json() {
        let command = with_examples(CommandLine::command());
        for path in paths(&command, "") {
            let found = path.split(' ').try_fold(&command, |command, name| command.find_subcommand(name));
            let takes = found.is_some_and(|command| {
                command.has_subcommands() || command.get_arguments().any(|arg| arg.get_id() == "output")
            });
            assert!(takes, "`sluice {path}` has no --output");
        }
    }
}
