//! The command line as a document: `docs/reference/cli.md` is what the declaration says.

use super::args::Cli;
use clap::builder::StyledStr;
use clap::{Arg, ArgAction, Command, CommandFactory as _};
use std::fmt::Write as _;

/// The reference of every command, as Markdown.
pub fn reference() -> String {
    let mut command = Cli::command();
    command.build();
    let mut out = String::from(
        "# The command line\n\nGenerated from its declaration; `UPDATE_DOCS=1 cargo test reference` writes it anew.\n",
    );
    section(&command, "pyro", &mut out);
    out
}

fn section(command: &Command, name: &str, out: &mut String) {
    let about = command.get_long_about().or_else(|| command.get_about());
    let _infallible = write!(out, "\n## `{name}`\n\n{}\n", text(about));
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let _infallible = write!(out, "\n```text\n{}\n```\n", usage.trim_end());
    let top = name == "pyro";
    let rows: Vec<&Arg> = command
        .get_arguments()
        .filter(|arg| {
            !arg.is_hide_set()
                && !matches!(
                    arg.get_action(),
                    ArgAction::Help
                        | ArgAction::HelpShort
                        | ArgAction::HelpLong
                        | ArgAction::Version
                )
                && (top || !arg.is_global_set())
        })
        .collect();
    if top {
        out.push_str("\nEvery command takes these:\n");
    }
    if !rows.is_empty() {
        out.push_str("\n| argument | meaning |\n|---|---|\n");
        for arg in rows {
            let _infallible = writeln!(out, "| {} | {} |", spelling(arg), meaning(arg));
        }
    }
    if let Some(after) = command.get_after_help() {
        let _infallible = write!(out, "\n{}\n", text(Some(after)));
    }
    for below in command.get_subcommands() {
        section(below, &format!("{name} {}", below.get_name()), out);
    }
}

fn text(styled: Option<&StyledStr>) -> String {
    styled
        .map(ToString::to_string)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// `-q`, `--quiet`; `--var <NAME=VALUE>`; `<REQUEST>`.
fn spelling(arg: &Arg) -> String {
    let value = arg.get_value_names().map(|names| {
        let names: Vec<_> = names.iter().map(|name| format!("<{name}>")).collect();
        names.join(" ")
    });
    let value = value.filter(|_| arg.get_action().takes_values());
    if arg.is_positional() {
        return format!("`{}`", value.unwrap_or_default());
    }
    let long = arg.get_long().map(|long| match &value {
        Some(value) => format!("`--{long} {value}`"),
        None => format!("`--{long}`"),
    });
    let short = arg.get_short().map(|short| format!("`-{short}`"));
    let both: Vec<_> = short.into_iter().chain(long).collect();
    both.join(", ")
}

fn meaning(arg: &Arg) -> String {
    let mut out = text(arg.get_help()).replace('\n', " ").replace('|', "\\|");
    let known = arg.get_possible_values();
    if arg.get_action().takes_values() && !known.is_empty() {
        let known: Vec<_> = known
            .iter()
            .filter(|value| !value.is_hide_set())
            .map(|value| format!("`{}`", value.get_name()))
            .collect();
        let _infallible = write!(out, "; one of {}", known.join(", "));
    }
    let default = arg.get_default_values();
    if arg.get_action().takes_values() && !default.is_empty() {
        let default: Vec<_> = default
            .iter()
            .map(|value| format!("`{}`", value.to_string_lossy()))
            .collect();
        let _infallible = write!(out, "; {} by default", default.join(" "));
    }
    out
}
