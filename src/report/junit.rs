//! Runs as JUnit XML: a suite for each run, a case for each step.
//!
//! The dialect is the one that every reader takes: `testsuites`, `testsuite`, `testcase` with at most one `failure`,
//! `error` or `skipped`, then `system-out` and `system-err`.

use crate::receipt::{
    OutputReport, Receipt, RunOutcome, RunReport, Runs, StepOutcome, StepReport, Text,
};
use std::fmt::Write as _;

/// Bytes of an output that a report has.
const MAX_OUTPUT: usize = 64 << 10;
/// What a case is called that stands for a run without a step to blame.
const WHOLE: &str = "the run itself";

/// The runs as an XML document.
pub fn junit(runs: &Runs) -> String {
    let suites: Vec<Suite> = runs.runs.iter().map(suite).collect();
    let mut total = Counts::default();
    for suite in &suites {
        for case in &suite.cases {
            total.add(case);
        }
    }
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _infallible = writeln!(
        out,
        "<testsuites name=\"pyro\"{total} time=\"{}\">",
        seconds(runs.duration_ms)
    );
    for suite in &suites {
        suite.write(&mut out);
    }
    out.push_str("</testsuites>\n");
    out
}

struct Suite {
    name: String,
    /// Further attributes, and properties by name.
    timestamp: Option<String>,
    time: String,
    properties: Vec<(&'static str, String)>,
    cases: Vec<Case>,
}

struct Case {
    name: String,
    class: String,
    time: String,
    verdict: Verdict,
    outputs: Vec<(&'static str, String)>,
}

/// What is wrong with a case, if anything.
enum Verdict {
    Passed,
    Skipped(String),
    /// `failure`: an expectation does not hold, or pyro refused. `error`: nobody knows what would have happened.
    Bad {
        element: &'static str,
        kind: String,
        text: String,
    },
}

#[derive(Default)]
struct Counts {
    tests: usize,
    failures: usize,
    errors: usize,
    skipped: usize,
}

impl Counts {
    fn add(&mut self, case: &Case) {
        self.tests += 1;
        match &case.verdict {
            Verdict::Passed => {}
            Verdict::Skipped(_) => self.skipped += 1,
            Verdict::Bad { element, .. } if *element == "failure" => self.failures += 1,
            Verdict::Bad { .. } => self.errors += 1,
        }
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            tests,
            failures,
            errors,
            skipped,
        } = self;
        write!(
            f,
            " tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\""
        )
    }
}

fn suite(run: &RunReport) -> Suite {
    // Combinations of one request are told apart by it.
    let combination = if run.matrix.is_empty() {
        String::new()
    } else {
        format!(" [{}]", run.matrix)
    };
    let source = &format!("{}{combination}", run.source);
    let whole = |verdict| Case {
        name: WHOLE.to_owned(),
        class: source.clone(),
        time: seconds(0),
        verdict,
        outputs: Vec::new(),
    };
    let error = |kind: &str, text: &str| Verdict::Bad {
        element: "error",
        kind: kind.to_owned(),
        text: text.to_owned(),
    };
    let mut properties = vec![("source", source.clone())];
    let mut cases = Vec::new();
    if let Some(receipt) = &run.receipt {
        properties.push(("run", receipt.run.clone()));
        cases.extend(receipt.steps.iter().map(|step| case(source, receipt, step)));
    }
    if let Some(path) = &run.path {
        properties.push(("receipt", path.clone()));
    }
    let blamed = |wanted| {
        let mut steps = run.receipt.iter().flat_map(|receipt| &receipt.steps);
        steps.any(|step| step.outcome == wanted)
    };
    match run.outcome {
        RunOutcome::Passed | RunOutcome::Failed => {}
        RunOutcome::Cancelled if blamed(StepOutcome::Cancelled) => {}
        RunOutcome::Lost if blamed(StepOutcome::Lost) => {}
        RunOutcome::Cancelled => cases.push(whole(error("cancelled", "interrupted"))),
        RunOutcome::Lost => {
            let lost = run
                .receipt
                .as_ref()
                .and_then(|receipt| receipt.lost.as_ref());
            let why = run.error.as_ref().or(lost).map_or("", String::as_str);
            cases.push(whole(error("lost", why)));
        }
        RunOutcome::NotRun => cases.push(whole(Verdict::Skipped(
            "not begun, because of an interrupt".to_owned(),
        ))),
    }
    Suite {
        name: match &run.name {
            Some(name) => format!("{name}{combination}"),
            None => source.clone(),
        },
        // Readers differ in what they take beyond seconds; it is UTC.
        timestamp: run
            .receipt
            .as_ref()
            .and_then(|receipt| receipt.started_at.get(..19))
            .map(str::to_owned),
        time: seconds(
            run.receipt
                .as_ref()
                .map_or(0, |receipt| receipt.duration_ms),
        ),
        properties,
        cases,
    }
}

fn case(source: &str, receipt: &Receipt, step: &StepReport) -> Case {
    let StepReport {
        number,
        id,
        verb,
        summary,
        ..
    } = step;
    let verdict = match step.outcome {
        StepOutcome::Passed => Verdict::Passed,
        StepOutcome::NotRun => Verdict::Skipped("not run, because of an earlier step".to_owned()),
        StepOutcome::Failed => {
            let refused = step.refusal.as_ref().map(|refusal| refusal.code.clone());
            Verdict::Bad {
                element: "failure",
                kind: refused.unwrap_or_else(|| "expectation".to_owned()),
                text: reasons(step),
            }
        }
        StepOutcome::Cancelled => Verdict::Bad {
            element: "error",
            kind: "cancelled".to_owned(),
            text: "interrupted".to_owned(),
        },
        StepOutcome::Lost => Verdict::Bad {
            element: "error",
            kind: "lost".to_owned(),
            text: receipt.lost.clone().unwrap_or_default(),
        },
    };
    let outputs = [("system-out", &step.stdout), ("system-err", &step.stderr)];
    let outputs = outputs.into_iter().filter_map(|(element, output)| {
        let output = output.as_ref().filter(|output| output.bytes > 0)?;
        Some((element, shown(output)))
    });
    Case {
        name: id
            .clone()
            .unwrap_or_else(|| format!("#{number} {verb} {summary}")),
        class: source.to_owned(),
        time: seconds(step.duration_ms),
        verdict,
        outputs: outputs.collect(),
    }
}

/// Why a step failed, one reason after the other; the first line is a sentence.
fn reasons(step: &StepReport) -> String {
    let mut text = String::new();
    let mut add = |line: &str| {
        if !line.is_empty() {
            text.push_str(line.trim_end_matches('\n'));
            text.push('\n');
        }
    };
    if let Some(refusal) = &step.refusal {
        add(&refusal.message);
        if let Some(help) = &refusal.help {
            add(&format!("help: {help}"));
        }
    }
    for failure in &step.failures {
        add(&failure.message);
        let texts = [
            ("expected:", &failure.expected),
            ("- expected, + actual:", &failure.diff),
        ];
        for (title, text) in texts {
            if let Some(Text { text, .. }) = text {
                add(title);
                add(text);
            }
        }
    }
    text
}

/// An output, or its beginning and end with a line between them that says how much is not here.
fn shown(output: &OutputReport) -> String {
    let head = &output.head.text;
    let tail = output.tail.as_ref().map_or("", |tail| &tail.text);
    if !output.truncated && head.len() <= MAX_OUTPUT {
        return head.clone();
    }
    let (head, tail) = if output.truncated {
        (&**head, tail)
    } else {
        (&**head, &**head)
    };
    let begin = &head[..head.floor_char_boundary(MAX_OUTPUT / 2)];
    let end = &tail[tail.ceil_char_boundary(tail.len().saturating_sub(MAX_OUTPUT / 2))..];
    let bytes = output.bytes;
    format!("{begin}\n[... a part of {bytes} bytes is left out; the receipt has more ...]\n{end}")
}

/// Milliseconds as seconds.
fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

impl Suite {
    fn write(&self, out: &mut String) {
        let mut counts = Counts::default();
        for case in &self.cases {
            counts.add(case);
        }
        let stamp = self.timestamp.as_ref();
        let stamp = stamp.map_or_else(String::new, |stamp| format!(" timestamp=\"{stamp}\""));
        let _infallible = writeln!(
            out,
            "  <testsuite name=\"{}\"{counts} time=\"{}\"{stamp}>\n    <properties>",
            attribute(&self.name),
            self.time
        );
        for (name, value) in &self.properties {
            let value = attribute(value);
            let _infallible = writeln!(out, "      <property name=\"{name}\" value=\"{value}\"/>");
        }
        out.push_str("    </properties>\n");
        for case in &self.cases {
            case.write(out);
        }
        out.push_str("  </testsuite>\n");
    }
}

impl Case {
    fn write(&self, out: &mut String) {
        let _infallible = write!(
            out,
            "    <testcase name=\"{}\" classname=\"{}\" time=\"{}\"",
            attribute(&self.name),
            attribute(&self.class),
            self.time
        );
        if self.outputs.is_empty() && matches!(self.verdict, Verdict::Passed) {
            out.push_str("/>\n");
            return;
        }
        out.push_str(">\n");
        match &self.verdict {
            Verdict::Passed => {}
            Verdict::Skipped(why) => {
                let why = attribute(why);
                let _infallible = writeln!(out, "      <skipped message=\"{why}\"/>");
            }
            Verdict::Bad {
                element,
                kind,
                text,
            } => {
                let message = attribute(text.lines().next().unwrap_or_default());
                let kind = attribute(kind);
                let text = escaped(text);
                let _infallible = writeln!(
                    out,
                    "      <{element} message=\"{message}\" type=\"{kind}\">{text}</{element}>"
                );
            }
        }
        for (element, text) in &self.outputs {
            let text = escaped(text);
            let _infallible = writeln!(out, "      <{element}>{text}</{element}>");
        }
        out.push_str("    </testcase>\n");
    }
}

/// Text between tags. What XML cannot hold at all, such as the escape of a colour, is spelled out.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // Readers would make a line break of it.
            '\r' => out.push_str("&#13;"),
            '\t' | '\n' => out.push(c),
            '\u{fffe}' | '\u{ffff}' => out.extend(c.escape_unicode()),
            c if c < ' ' => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// Text in an attribute.
fn attribute(text: &str) -> String {
    escaped(text)
        .replace('"', "&quot;")
        .replace('\n', "&#10;")
        .replace('\t', "&#9;")
}

#[cfg(test)]
mod tests {
    use super::{attribute, escaped, junit};
    use crate::receipt::{RunOutcome, RunReport, Runs};
    use proptest::prelude::*;

    /// What a reader gets for a text that we wrote.
    fn readable(text: &str) -> String {
        let odd = |c: char| {
            c < ' ' && !matches!(c, '\t' | '\n' | '\r') || matches!(c, '\u{fffe}' | '\u{ffff}')
        };
        let mut out = String::new();
        for c in text.chars() {
            if odd(c) {
                out.extend(c.escape_unicode());
            } else {
                out.push(c);
            }
        }
        out
    }

    proptest! {
        #[test]
        fn any_text_survives(text in prop_oneof![any::<String>(), "[\0-\u{1f}<>&\"'\u{fffe}a]{0,20}"]) {
            let xml = format!("<a b=\"{}\">{}</a>", attribute(&text), escaped(&text));
            let document = roxmltree::Document::parse(&xml).expect("XML");
            let root = document.root_element();
            prop_assert_eq!(root.attribute("b"), Some(&*readable(&text)));
            prop_assert_eq!(root.text().unwrap_or_default(), readable(&text));
        }
    }

    #[test]
    fn runs_without_a_receipt_have_a_case_too() {
        let run = |outcome, error: Option<&str>| RunReport {
            name: None,
            source: "a \"b\".pyro.toml".to_owned(),
            matrix: crate::request::Combination::default(),
            outcome,
            error: error.map(str::to_owned),
            path: None,
            receipt: None,
        };
        let runs = Runs::new(
            vec![
                run(RunOutcome::Lost, Some("could not <begin>")),
                run(RunOutcome::NotRun, None),
                run(RunOutcome::Cancelled, None),
            ],
            1234,
        );
        let xml = junit(&runs);
        let document = roxmltree::Document::parse(&xml).expect("XML");
        let root = document.root_element();
        let count = |name| root.attribute(name);
        assert_eq!(root.attribute("time"), Some("1.234"));
        assert_eq!(
            [
                count("tests"),
                count("failures"),
                count("errors"),
                count("skipped")
            ],
            [Some("3"), Some("0"), Some("2"), Some("1")]
        );
        let mut combined = runs.clone();
        combined.runs[0]
            .matrix
            .0
            .insert("os".to_owned(), "a b".to_owned());
        let xml = junit(&combined);
        let document_of_it = roxmltree::Document::parse(&xml).expect("XML");
        let mut cases = document_of_it.descendants();
        let case = cases.find(|node| node.has_tag_name("testcase"));
        assert_eq!(
            case.and_then(|case| case.attribute("classname")),
            Some("a \"b\".pyro.toml [os=\"a b\"]")
        );
        let error = document
            .descendants()
            .find(|node| node.has_tag_name("error"));
        let error = error.expect("an error");
        assert_eq!(error.attribute("type"), Some("lost"));
        assert_eq!(error.text(), Some("could not <begin>"));
    }
}
