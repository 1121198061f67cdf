//! The plan for people: what a reviewer has to see before saying yes. Byte-stable; no raw control character.

use super::summary::{self, HOST_WRITE};
use super::text::{bytes, count, escape, escape_line, grouped};
use super::{
    Certainty, Enforcement, ExistingWorkspace, Plan, PlannedAction, PlannedStep, PlannedWorkspace,
    Slot,
};

/// How many lines of diff a step may take.
const MAX_LINES: usize = 200;
/// How many paths that are left out of the seed are named.
const MAX_LEFT_OUT: usize = 8;

/// How the text looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Text and nothing else.
    Plain,
    /// With ANSI colours.
    Colour,
}

#[derive(Debug, Clone, Copy)]
enum Paint {
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Cyan,
}

impl Style {
    fn paint(self, paint: Paint, text: &str) -> String {
        let code = match paint {
            Paint::Bold => "1",
            Paint::Dim => "2",
            Paint::Red => "31",
            Paint::Green => "32",
            Paint::Yellow => "1;33",
            Paint::Cyan => "36",
        };
        match self {
            Self::Plain => text.to_owned(),
            Self::Colour => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}

/// The plan as text.
pub fn describe(plan: &Plan, style: Style) -> String {
    let mut page = Page {
        out: String::new(),
        style,
    };
    page.header(plan);
    let width = |of: fn(&PlannedStep) -> usize| plan.steps.iter().map(of).max().unwrap_or(0);
    let columns = Columns {
        number: plan.steps.len().to_string().len().max(2),
        id: width(|step| step.id.as_ref().map_or(0, |id| id.as_str().len())),
        verb: width(|step| step.action.verb().len()),
    };
    page.line("");
    for step in &plan.steps {
        page.step(plan, step, &columns);
    }
    if plan.steps.is_empty() {
        page.line("no steps: the workspace is made, and nothing is done in it");
    }
    if !plan.left_out.is_empty() {
        let name = |step: &super::LeftOutStep| match &step.id {
            Some(id) => id.clone(),
            None => format!("#{}", step.number),
        };
        let names: Vec<_> = plan.left_out.iter().map(name).collect();
        page.line("");
        page.field("left out", &format!("not selected: {}", names.join(", ")));
    }
    page.line("");
    let reach = &plan.reach;
    let mut text = format!(
        "host reads {} · host writes {} · exposed {} · network off",
        grouped(reach.host_reads),
        reach.host_writes.len(),
        reach.exposed.len()
    );
    if !reach.host_variables.is_empty() {
        let names = escape(reach.host_variables.join(", "));
        text.push_str(&format!(" · host variables {names}"));
    }
    if reach.secrets > 0 {
        text.push_str(&format!(" · secrets {}", grouped(reach.secrets)));
    }
    page.field("reach", &text);
    if !reach.outside.is_empty() {
        let paths: Vec<_> = reach.outside.iter().map(escape).collect();
        let note = format!("outside of the request's repository: {}", paths.join(", "));
        page.field("", &note);
    }
    page.out
}

struct Columns {
    number: usize,
    id: usize,
    verb: usize,
}

struct Page {
    out: String,
    style: Style,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.out.push_str(line.trim_end_matches(' '));
        self.out.push('\n');
    }

    fn field(&mut self, name: &str, text: &str) {
        let name = self.style.paint(Paint::Bold, &format!("{name:<9}"));
        self.line(&format!("{name}  {text}"));
    }

    fn header(&mut self, plan: &Plan) {
        let digests = format!(
            "request {} · plan {}",
            plan.request_digest.short(),
            plan.digest.short()
        );
        let digests = self.style.paint(Paint::Dim, &digests);
        self.field("plan", &format!("{}   {digests}", escape(&plan.source)));
        for (name, text) in [("name", &plan.name), ("about", &plan.description)] {
            let lines = text.iter().flat_map(|text| text.lines());
            for (index, line) in lines.enumerate() {
                self.field(if index == 0 { name } else { "" }, &escape(line));
            }
        }
        self.workspace(&plan.workspace);
    }

    fn workspace(&mut self, workspace: &PlannedWorkspace) {
        if let Some(ExistingWorkspace { id, name, .. }) = &workspace.existing {
            let name = name
                .as_ref()
                .map_or_else(String::new, |name| format!(" {}", escape(name)));
            self.field(
                "workspace",
                &format!(
                    "{id}{name}, which lives: {} on {}",
                    escape(&workspace.environment_shown),
                    workspace.machine.as_str()
                ),
            );
            self.field(
                "",
                "what is in it is not looked at; every step is checked when it runs",
            );
            self.secrets(workspace);
            return;
        }
        let note = workspace.machine_note.as_ref();
        let note = note.map_or_else(String::new, |note| format!(" ({})", escape(note)));
        self.field(
            "workspace",
            &format!(
                "{} on {}{note}, named {}",
                escape(&workspace.environment_shown),
                workspace.machine.as_str(),
                escape(&workspace.hostname)
            ),
        );
        let limits = |kept: Enforcement| {
            let limits = workspace.limits_shown.iter();
            let limits = limits.filter(|limit| limit.enforcement == kept);
            let limits: Vec<_> = limits
                .map(|limit| format!("{} {}", limit.name, limit.value))
                .collect();
            limits.join(", ")
        };
        let mut name = "limits";
        for (kept, word) in [
            (Enforcement::Enforced, "enforced"),
            (Enforcement::Watched, "watched"),
            (Enforcement::NotEnforced, "not enforced"),
        ] {
            let limits = limits(kept);
            if !limits.is_empty() {
                self.field(name, &format!("{word}: {limits}"));
                name = "";
            }
        }
        match &workspace.seed {
            None => self.field("seed", "none: the workspace begins empty"),
            Some(seed) => {
                self.field("seed", &summary::source(seed));
                for left in seed.left_out.iter().take(MAX_LEFT_OUT) {
                    let path = escape(&left.path.0);
                    self.field("", &format!("left out: {path} ({})", left.reason));
                }
                let more = seed.left_out.len().saturating_sub(MAX_LEFT_OUT) as u64;
                let more = more + seed.left_out_more;
                if more > 0 {
                    self.field("", &format!("left out: {more} more"));
                }
            }
        }
        for (index, path) in workspace.expose.iter().enumerate() {
            let name = if index == 0 { "expose" } else { "" };
            let path = escape(path.as_os_str().as_encoded_bytes());
            self.field(name, &format!("{path} (read-only)"));
        }
        self.secrets(workspace);
        if let Some(keep) = &workspace.keep {
            let when = match keep.always {
                true => "in any case",
                false => "where the run does not pass",
            };
            let ttl = keep.ttl;
            self.field(
                "keep",
                &format!("/workspace, {when}, in pyro's state directory for {ttl}"),
            );
        }
        for note in &workspace.notes {
            self.field("note", &escape(note));
        }
    }

    fn secrets(&mut self, workspace: &PlannedWorkspace) {
        for (index, secret) in workspace.secrets.iter().enumerate() {
            let name = if index == 0 { "secrets" } else { "" };
            let text = match &secret.shown {
                Some(source) => format!("{} from {}", secret.name, escape(source)),
                None => format!("{}, which it keeps", secret.name),
            };
            self.field(name, &text);
        }
    }

    fn step(&mut self, plan: &Plan, step: &PlannedStep, columns: &Columns) {
        let id = step.id.as_ref().map_or("", |id| id.as_str());
        let number = format!("{:>1$}", step.number, columns.number);
        let id = match columns.id {
            0 => String::new(),
            width => format!("{id:<width$}  "),
        };
        let verb = format!("{:<1$}", step.action.verb(), columns.verb);
        let summary = summary::line(plan, &step.action);
        let summary = summary.replace(HOST_WRITE, &self.style.paint(Paint::Yellow, HOST_WRITE));
        let tag = summary::tag(step);
        let paint = match step.certainty {
            Certainty::Exact => Paint::Dim,
            Certainty::Unknown if matches!(step.action, PlannedAction::Exec(_)) => Paint::Dim,
            Certainty::Predicted | Certainty::Unknown => Paint::Yellow,
        };
        let tag = match tag.is_empty() {
            true => tag,
            false => format!("   {}", self.style.paint(paint, &tag)),
        };
        let number = self.style.paint(Paint::Bold, &number);
        let verb = self.style.paint(Paint::Cyan, &verb);
        self.line(&format!("{number}  {id}{verb}  {summary}{tag}"));
        for (heading, text) in summary::details(step) {
            let heading = self.style.paint(Paint::Dim, &format!("{heading:<6}"));
            self.line(&format!("      {heading}  {text}"));
        }
        if step.expect_fails {
            return;
        }
        let mut left = MAX_LINES;
        let mut hidden = 0;
        match &step.action {
            PlannedAction::Write(write) => {
                for (index, file) in write.files.iter().enumerate() {
                    if step.late.iter().any(|late| late.slot == Slot::File(index)) {
                        let path = escape(file.path.as_bytes());
                        self.line(&format!("      ? {path}   known only when it runs"));
                    } else if file.diff.is_empty() {
                        let path = escape(file.path.as_bytes());
                        let size = bytes(file.bytes.len() as u64);
                        self.line(&format!("      = {path}   {size}"));
                    }
                    hidden += self.diff(&file.diff, &mut left);
                }
            }
            PlannedAction::Patch(patch) => hidden = self.diff(&patch.diff, &mut left),
            PlannedAction::Exec(_)
            | PlannedAction::Delete(_)
            | PlannedAction::Move(_)
            | PlannedAction::Read(_)
            | PlannedAction::List(_)
            | PlannedAction::Search(_)
            | PlannedAction::Diff(_)
            | PlannedAction::Sync(_)
            | PlannedAction::Export(_)
            | PlannedAction::Pull(_)
            | PlannedAction::Snapshot(_)
            | PlannedAction::Reset(_)
            | PlannedAction::Refused(_) => {}
        }
        if hidden > 0 {
            let more = count(hidden as u64, "more line", "more lines");
            self.line(&format!("        … {more}"));
        }
    }

    /// Shows a diff; returns how many lines of it are not shown.
    fn diff(&mut self, diff: &[u8], left: &mut usize) -> usize {
        let mut hidden = 0;
        for section in sections(diff) {
            let (sign, paint) = match section.kind {
                Kind::New => ("+", Paint::Green),
                Kind::Deleted => ("-", Paint::Red),
                Kind::Changed => ("~", Paint::Bold),
                Kind::Moved => (">", Paint::Bold),
            };
            let count = |sign: u8| {
                section
                    .body
                    .iter()
                    .filter(|l| l.first() == Some(&sign))
                    .count()
            };
            let head = format!("{sign} {}", escape(section.name));
            let head = self.style.paint(paint, &head);
            self.line(&format!("      {head}   +{} -{}", count(b'+'), count(b'-')));
            for line in section.notes {
                self.line(&format!("        {}", escape(line)));
            }
            for line in section.body {
                if *left == 0 {
                    hidden += 1;
                    continue;
                }
                *left -= 1;
                let text = escape_line(line);
                let text = match line.first() {
                    Some(b'+') => self.style.paint(Paint::Green, &text),
                    Some(b'-') => self.style.paint(Paint::Red, &text),
                    Some(b'@') => self.style.paint(Paint::Cyan, &text),
                    Some(_) | None => text,
                };
                self.line(&format!("        {text}"));
            }
        }
        hidden
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    New,
    Deleted,
    Changed,
    Moved,
}

/// One file of a diff in git's form.
struct Section<'a> {
    name: &'a [u8],
    kind: Kind,
    notes: Vec<&'a [u8]>,
    body: Vec<&'a [u8]>,
}

/// Takes a diff of our own making apart. No line of a hunk begins as a header does.
fn sections(diff: &[u8]) -> Vec<Section<'_>> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    for line in diff.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        if let Some(names) = line.strip_prefix(b"diff --git ") {
            // The same name twice, as `a/NAME b/NAME`.
            let name = &names[..names.len() / 2];
            let name = name
                .strip_prefix(b"a/")
                .or_else(|| name.strip_prefix(b"\"a/")?.strip_suffix(b"\""));
            sections.push(Section {
                name: name.unwrap_or(names),
                kind: Kind::Changed,
                notes: Vec::new(),
                body: Vec::new(),
            });
            continue;
        }
        let Some(section) = sections.last_mut() else {
            continue;
        };
        if !section.body.is_empty() || line.starts_with(b"@@") {
            section.body.push(line);
        } else if line.starts_with(b"new file mode ") {
            section.kind = Kind::New;
            if !line.ends_with(b"644") {
                section.notes.push(line);
            }
        } else if line.starts_with(b"deleted file mode ") {
            section.kind = Kind::Deleted;
        } else if let Some(name) =
            (line.strip_prefix(b"rename to ")).or_else(|| line.strip_prefix(b"copy to "))
        {
            section.kind = Kind::Moved;
            section.name = name;
        } else if !line.starts_with(b"--- ") && !line.starts_with(b"+++ ") {
            section.notes.push(line);
        }
    }
    sections
}
