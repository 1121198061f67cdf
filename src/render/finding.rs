//! One thing that is wrong with a request, drawn with carets or as data. Finding it was somebody else's work.

use crate::plan::Problem;
use crate::receipt::PatchReason;
use crate::request::{Document, Location, ParseError, ParseErrors, Pointer, ReferenceError, Span};
use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

/// One thing that is wrong with a request, whichever stage found it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Finding {
    /// Stable, kebab-case.
    pub code: String,
    /// One sentence, without a full stop.
    pub message: String,
    /// Where in the document.
    pub pointer: Pointer,
    /// Where in the text, if that is narrower than what the pointer names.
    pub span: Option<Span>,
    /// A few words for the place itself; may be empty.
    pub label: String,
    /// What could have stood here.
    pub valid_here: Vec<String>,
    /// One thing to try.
    pub help: Option<String>,
    /// More to know, a line each.
    pub notes: Vec<String>,
    /// What the patch engine said, as data.
    pub patch: Option<Box<PatchReason>>,
}

/// Whether the terminal takes colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Text only.
    Plain,
    /// ANSI colours.
    Coloured,
}

/// Longer lines are cut around the caret.
const WIDEST: usize = 120;
/// What stays before the caret when a line is cut.
const LEAD: usize = 40;

impl From<&ParseError> for Finding {
    fn from(error: &ParseError) -> Self {
        Self {
            code: error.code.to_string(),
            message: error.message.clone(),
            pointer: error.pointer.clone(),
            span: Some(error.span.clone()),
            label: error.label.clone(),
            valid_here: error.valid_here.clone(),
            help: error.help.clone(),
            notes: Vec::new(),
            patch: None,
        }
    }
}

impl From<&ReferenceError> for Finding {
    fn from(error: &ReferenceError) -> Self {
        Self {
            code: error.code.to_string(),
            message: error.message.clone(),
            pointer: error.pointer.clone(),
            label: error.label.clone(),
            valid_here: error.valid_here.clone(),
            help: error.help.clone(),
            ..Self::default()
        }
    }
}

impl From<&Problem> for Finding {
    fn from(problem: &Problem) -> Self {
        Self {
            code: problem.code.to_string(),
            message: problem.message.clone(),
            pointer: problem.pointer.clone(),
            help: problem.help.clone(),
            notes: problem.notes.clone(),
            patch: (problem.refusal.as_deref()).map(|refusal| Box::new(refusal.into())),
            ..Self::default()
        }
    }
}

impl From<&ParseErrors> for Vec<Finding> {
    fn from(errors: &ParseErrors) -> Self {
        let mut findings = errors.iter().map(Finding::from).collect::<Self>();
        if let Some(last) = findings.last_mut()
            && errors.untold() > 0
        {
            let more = format!("there are at least {} more mistakes", errors.untold());
            last.notes.push(more);
        }
        findings
    }
}

/// Draws findings one below the other, a blank line between two.
pub fn findings(document: &Document, findings: &[Finding], style: Style) -> String {
    let mut out = String::new();
    for finding in findings {
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&finding.render(document, style));
        out.push('\n');
    }
    out
}

/// The findings as data: a list of `{ code, message, file, line, column, pointer, help, notes }`,
/// and `patch` where the patch engine refused.
pub fn findings_json(document: &Document, findings: &[Finding]) -> serde_json::Value {
    findings
        .iter()
        .map(|finding| finding.json(document))
        .collect()
}

impl Finding {
    /// Draws it with the place it points at; without a final line break.
    pub fn render(&self, document: &Document, style: Style) -> String {
        let renderer = match style {
            Style::Plain => Renderer::plain(),
            Style::Coloured => Renderer::styled(),
        }
        .decor_style(DecorStyle::Ascii);
        let mut group = Level::ERROR
            .primary_title(self.message.clone())
            .id(self.code.clone())
            .elements(self.place(document));
        if !self.valid_here.is_empty() {
            // A name of the document's own may hold a tab, which moves everything behind it.
            let list = self.valid_here.join(", ").replace('\t', "\\t");
            group = group.element(Level::NOTE.with_name("valid here").message(list));
        }
        for note in &self.notes {
            group = group.element(Level::NOTE.message(note.clone()));
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.clone()));
        }
        let report: [Group<'_>; 1] = [group];
        // Messages may name keys of the document, and the document its file.
        visible(&renderer.render(&report))
            .lines()
            .filter(|line| !is_gap(line))
            .map(str::trim_end)
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// The same as data.
    pub fn json(&self, document: &Document) -> serde_json::Value {
        let location = self.location(document);
        let mut finding = serde_json::json!({
            "code": self.code,
            "message": self.message,
            "file": document.name,
            "line": location.as_ref().map(|location| location.line),
            "column": location.as_ref().map(|location| location.column),
            "pointer": self.pointer,
            "help": self.full_help(),
            "notes": self.notes,
        });
        if let Some(patch) = &self.patch {
            finding["patch"] = serde_json::to_value(patch).expect("plain data");
        }
        finding
    }

    /// Label, list and help in one text, for readers who see no carets.
    fn full_help(&self) -> Option<String> {
        let mut parts = Vec::new();
        if self.label.starts_with("did you mean") {
            parts.push(self.label.clone());
        }
        parts.extend(self.help.clone());
        if !self.valid_here.is_empty() {
            parts.push(format!("valid here: {}", self.valid_here.join(", ")));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    fn location(&self, document: &Document) -> Option<Location> {
        match &self.span {
            Some(span) => document.location(span.clone()),
            None => document.locate(&self.pointer),
        }
    }

    fn place<'a>(&'a self, document: &Document) -> Vec<annotate_snippets::Element<'a>> {
        let Some(Location { line, column, span }) = self.location(document) else {
            let pointer = self.pointer.to_string();
            let mark = if pointer.is_empty() { "" } else { "#" };
            let place = format!("{}{mark}{pointer}", document.name);
            return vec![Origin::path(place).into()];
        };
        let origin = Origin::path(document.name.clone())
            .line(line)
            .char_column(column);
        let (source, marked) = excerpt(&document.text, &span);
        let mut annotation = AnnotationKind::Primary.span(marked);
        if !self.label.is_empty() {
            annotation = annotation.label(self.label.as_str());
        }
        let snippet = Snippet::source(source)
            .line_start(line)
            .annotation(annotation);
        vec![origin.into(), snippet.into()]
    }
}

/// Whether the renderer only says here that origin and excerpt are two things; for us they are one.
fn is_gap(line: &str) -> bool {
    let mut in_escape = false;
    let shown = line.chars().filter(|c| {
        let hidden = in_escape || *c == '\x1b';
        in_escape = hidden && *c != 'm';
        !hidden
    });
    shown.collect::<String>().trim() == ":::"
}

/// The line that a span begins in, cut where it is very long, and what of it is marked.
fn excerpt(text: &str, span: &Span) -> (String, Span) {
    let start = text.floor_char_boundary(span.start);
    let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let line_end = text[start..]
        .find('\n')
        .map_or(text.len(), |newline| start + newline);
    let end = text.floor_char_boundary(span.end).clamp(start, line_end);
    let crop_start = match text[line_start..start].char_indices().rev().nth(LEAD) {
        Some((offset, _)) if text[line_start..line_end].chars().nth(WIDEST).is_some() => {
            line_start + offset
        }
        Some(_) | None => line_start,
    };
    let crop_end = text[crop_start..line_end]
        .char_indices()
        .nth(WIDEST)
        .map_or(line_end, |(offset, _)| crop_start + offset);
    let before = if crop_start > line_start { "…" } else { "" };
    let after = if crop_end < line_end { "…" } else { "" };
    let shown = text[crop_start..crop_end].trim_end_matches('\r');
    let shift = |at: usize| {
        let at = at.min(crop_start + shown.len()).max(crop_start);
        before.len() + visible(&text[crop_start..at]).len()
    };
    let source = format!("{before}{}{after}", visible(shown));
    (source, shift(start)..shift(end))
}

/// Without characters that a terminal obeys or that nobody sees. Those below DEL are drawn as pictures anyway.
fn visible(text: &str) -> String {
    let hidden = |c: char| c >= '\u{7f}' && crate::plan::is_hidden(c);
    text.replace(hidden, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::{Finding, Style, findings, findings_json};
    use crate::request::{Document, Pointer, Request, Step, Syntax, parse};

    #[test]
    fn nothing_reaches_the_terminal_that_it_would_obey() {
        let hidden = "\u{9d}\u{7f}\u{85}\u{202e}\u{e0041}\u{200b}";
        for text in [
            format!("{{\"pyro\": 1, \"{hidden}x\": \"{hidden}\", \"{hidden}x\": 1}}"),
            format!(
                "{{\"pyro\": \"{hidden}\", \"step\": [{{\"exec\": [1, \"{hidden}\"], \"id\": \"{hidden}\"}}]}}"
            ),
            format!("{{\"pyro\": 1, {hidden}}}"),
            format!(
                "{{\"pyro\": 1, \"step\": [{{\"read\": \"../{hidden}\", \"expect\": {{\"content\": {{\"matches\": \"({hidden}\"}}}}}}]}}"
            ),
        ] {
            let errors = parse("a.json", text.as_bytes(), Syntax::Json).expect_err("wrong");
            let told = Vec::<Finding>::from(&errors);
            let drawn = findings(errors.document(), &told, Style::Plain);
            let raw = drawn
                .chars()
                .find(|c| *c != '\n' && crate::plan::is_hidden(*c));
            assert_eq!(raw, None, "{drawn:?}");
        }
        // What is marked stays marked.
        let text = "{\"pyro\": 1, \"\u{9d}\": 1, \"x\": 1}";
        let errors = parse("a.json", text.as_bytes(), Syntax::Json).expect_err("wrong");
        let told = Vec::<Finding>::from(&errors);
        let drawn = findings(errors.document(), &told[1..], Style::Plain);
        let (line, marks) = drawn
            .split_once("1 | ")
            .and_then(|(_, rest)| rest.split_once('\n'))
            .expect("a line and its marks");
        let column = marks.find('^').expect("marks") - "  | ".len();
        assert_eq!(line.chars().nth(column + 1), Some('x'), "{drawn}");
    }

    const TEXT: &str = "pyro = 1\n\n[[step]]\nexport = \"src\"\nto = \"out/main.rs\"\n";

    fn exists() -> Finding {
        Finding {
            code: "export-exists".into(),
            message: "`out/main.rs` exists already on the host".into(),
            pointer: Pointer::step(0).at("to"),
            help: Some("add `overwrite = true`, or export to another path".into()),
            notes: vec!["it has 1204 bytes".into()],
            ..Finding::default()
        }
    }

    #[test]
    fn a_finding_of_a_later_stage_points_at_its_value() {
        let (_, document) = parse("a.toml", TEXT.as_bytes(), Syntax::Toml).expect("a request");
        assert_eq!(
            exists().render(&document, Style::Plain),
            "\
error[export-exists]: `out/main.rs` exists already on the host
 --> a.toml:5:6
  |
5 | to = \"out/main.rs\"
  |      ^^^^^^^^^^^^^
  |
  = note: it has 1204 bytes
  = help: add `overwrite = true`, or export to another path"
        );
        assert_eq!(
            findings_json(&document, &[exists()]),
            serde_json::json!([{
                "code": "export-exists",
                "message": "`out/main.rs` exists already on the host",
                "file": "a.toml",
                "line": 5,
                "column": 6,
                "pointer": "/step/0/to",
                "help": "add `overwrite = true`, or export to another path",
                "notes": ["it has 1204 bytes"],
            }])
        );
    }

    #[test]
    fn colour_changes_nothing_but_colour() {
        let (_, document) = parse("a.toml", TEXT.as_bytes(), Syntax::Toml).expect("a request");
        let coloured = findings(&document, &[exists(), exists()], Style::Coloured);
        let escapes = regex::Regex::new("\u{1b}\\[[0-9;]*m").expect("a pattern");
        assert!(coloured.contains('\u{1b}'));
        assert_eq!(
            escapes
                .replace_all(&coloured, "")
                .lines()
                .map(str::trim_end)
                .collect::<Vec<_>>(),
            findings(&document, &[exists(), exists()], Style::Plain)
                .lines()
                .collect::<Vec<_>>()
        );
    }

    #[test]
    fn what_was_built_is_shown_as_it_would_be_written() {
        let request = Request::new("host")
            .step(Step::export("src", "out/main.rs"))
            .build();
        let document = Document::of("request", &request.expect("a request"));
        assert!(
            exists()
                .render(&document, Style::Plain)
                .contains("to = \"out/main.rs\"")
        );
    }
}
