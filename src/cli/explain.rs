//! `pyro explain`: what a code means, an example, and the way out.

use super::args::Explain;
use super::load::{Findings, fail};
use super::table::{cell, table};
use super::terminal::{Terminal, Tone};
use crate::Exit;
use crate::explain::{Explained, Form, codes, explain as look_up};
use crate::render::{Finding, findings};
use crate::request::{Syntax, Values, parse, resolve};
use serde_json::{Value, json};

pub(super) fn explain(args: &Explain, terminal: &Terminal) -> Exit {
    let Some(code) = &args.code else {
        list(args, terminal);
        return Exit::Ok;
    };
    match look_up(code) {
        Ok(found) if args.json => terminal.print(&format!("{:#}\n", data(&found))),
        Ok(found) => terminal.print(&drawn(&found, terminal)),
        Err(meant) => {
            let meant = match meant {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "`pyro explain` lists all".to_owned(),
            };
            let message = format!("no error has the code `{code}`; {meant}");
            fail(
                Findings::json(args.json),
                terminal,
                "unknown-code",
                &message,
            );
            return Exit::Input;
        }
    }
    Exit::Ok
}

fn list(args: &Explain, terminal: &Terminal) {
    let all = codes();
    if args.json {
        let all: Vec<Value> = all.iter().map(data).collect();
        terminal.print(&format!("{:#}\n", json!({ "codes": all })));
        return;
    }
    let mut sections: Vec<&str> = Vec::new();
    for one in &all {
        for meaning in &one.meanings {
            if !sections.contains(&&*meaning.section) {
                sections.push(&meaning.section);
            }
        }
    }
    let mut out = String::new();
    for section in sections {
        let title = terminal.tone(Tone::Strong, section);
        out.push_str(&format!(
            "{}{title}\n",
            if out.is_empty() { "" } else { "\n" }
        ));
        let rows = all.iter().flat_map(|one| {
            let meanings = one
                .meanings
                .iter()
                .filter(|meaning| meaning.section == *section);
            meanings.map(|meaning| vec![cell(""), cell(&one.code), cell(plain(&meaning.text))])
        });
        let rows: Vec<_> = rows.collect();
        for line in table(&rows, terminal).lines() {
            out.push_str(&format!("  {line}\n"));
        }
    }
    terminal.print(&out);
}

fn drawn(found: &Explained, terminal: &Terminal) -> String {
    let mut out = format!("{}\n", terminal.tone(Tone::Strong, &found.code));
    for meaning in &found.meanings {
        out.push_str(&format!(
            "  {}: {}\n",
            meaning.section,
            plain(&meaning.text)
        ));
    }
    if let Some(way_out) = &found.way_out {
        out.push_str(&format!("\nThe way out: {}\n", plain(way_out)));
    }
    for example in &found.examples {
        out.push_str(match example.form {
            Form::Toml | Form::Console | Form::Text => "\nFor example:\n\n",
            Form::Rust => "\nFor example, in Rust code:\n\n",
            Form::Json => "\nFor example, where a host says to the agent:\n\n",
        });
        for line in example.text.lines() {
            out.push_str(format!("    {line}").trim_end());
            out.push('\n');
        }
        let told = match example.form {
            Form::Toml => told(&example.text),
            Form::Console | Form::Json | Form::Rust | Form::Text => String::new(),
        };
        if !told.is_empty() {
            out.push_str(&format!("\nis answered with\n\n{told}"));
        }
    }
    out
}

/// What pyro says about an example where the document alone is wrong; nothing where it takes more to tell.
fn told(example: &str) -> String {
    let style = Terminal::plain().finding_style();
    match parse("request.pyro.toml", example.as_bytes(), Syntax::Toml) {
        Err(errors) => findings(errors.document(), &Vec::<Finding>::from(&errors), style),
        Ok((request, document)) => match resolve(&request, &Values::default()) {
            Err(errors) => {
                let found: Vec<Finding> = errors.iter().map(Finding::from).collect();
                findings(&document, &found, style)
            }
            Ok(_) => String::new(),
        },
    }
}

/// Markdown as text: links lose their targets.
fn plain(markdown: &str) -> String {
    let mut out = String::new();
    let mut rest = markdown;
    while let Some((before, after)) = rest.split_once('[') {
        out.push_str(before);
        match after.split_once("](") {
            Some((text, target)) if target.contains(')') => {
                out.push_str(text);
                rest = target.split_once(')').map_or("", |(_, rest)| rest);
            }
            Some(_) | None => {
                out.push('[');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

fn data(found: &Explained) -> Value {
    let meanings: Vec<Value> = found
        .meanings
        .iter()
        .map(|meaning| json!({ "section": meaning.section, "text": plain(&meaning.text) }))
        .collect();
    json!({
        "code": found.code,
        "meanings": meanings,
        "way_out": found.way_out.as_deref().map(plain),
        "examples": found.examples.iter().map(|example| &example.text).collect::<Vec<_>>(),
    })
}
