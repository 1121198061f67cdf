//! Somebody enters a workspace: a program on a terminal of its own, and an entry of the history that says that it was,
//! not what was typed.

use super::noted::hidden;
use super::{LivingError, Workspaces};
use crate::keeper;
use crate::machine::{CallId, Link};
use crate::plan::{DEFAULT_ENV, command_line};
use crate::request::{Request, Syntax, emit};
use crate::workspace::registry::{Command, Ended, Entry, Output, Page, State, WorkspaceId};
use crate::workspace::{EndReason, Home, RunDir, Timestamp};
use pyro_protocol::Bytes;
use pyro_protocol::message::{ExecEnd, ExecReport, ExecRun, Op, TerminalSize};
use std::time::{Duration, Instant};

/// The verb of such an entry.
pub(super) const KIND: &str = "enter";
/// From HUP to KILL.
const GRACE_MS: u64 = 5000;
/// Nobody sits at a terminal for longer: ten years.
const NEVER_MS: u64 = 315_360_000_000;
/// Of what is typed, so much is kept back for keys that interrupt.
const RESERVE: u32 = 4 << 10;
/// How often the registry is told that something is typed.
const NOTE: Duration = Duration::from_secs(30);
/// A shell of the workspace: bash where there is one, without the files that would change it, else sh.
const SHELL: &str = "if command -v bash >/dev/null 2>&1; then PS1=$1 exec bash --norc --noprofile; fi; PS1=$2 exec sh";

/// What is to run for somebody who enters.
#[derive(Debug, Clone)]
pub struct Enter<'a> {
    /// The program and its arguments; a shell where there are none.
    pub command: &'a [String],
    /// Where, relative to `/workspace` or absolute inside.
    pub cwd: Option<&'a str>,
    /// Added to what every program finds.
    pub env: &'a [(String, String)],
    /// What `TERM` says.
    pub term: &'a str,
    /// Of the terminal.
    pub size: TerminalSize,
}

/// Somebody is inside. Dropped, the terminal is hung up.
#[derive(Debug)]
pub struct Entered {
    /// The connection.
    pub link: Link,
    /// The program's call on it.
    pub call: CallId,
    /// The workspace.
    pub id: WorkspaceId,
    /// What it is called.
    pub shown: String,
    home: Home,
    run: RunDir,
    sequence: u64,
    resets: u64,
    began: Instant,
    noted: Instant,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Left {
    /// The program ended, and told how.
    Ended(Box<ExecReport>),
    /// Whoever was inside left it as it was.
    Escaped,
    /// The terminal went away, or pyro was told to end.
    HungUp,
    /// There is no workspace around the program any more; see [`Workspaces::why_lost`].
    Lost,
}

impl Left {
    fn outcome(&self) -> &'static str {
        match self {
            Self::Ended(report) => match report.end {
                ExecEnd::NotStarted { .. } => "not_started",
                ExecEnd::Exited { .. }
                | ExecEnd::Signalled { .. }
                | ExecEnd::TimedOut
                | ExecEnd::Cancelled => "ended",
            },
            Self::Escaped => "left",
            Self::HungUp => "hung_up",
            Self::Lost => "lost",
        }
    }

    /// As a shell counts it: 128 and the signal for a program that a signal ended. Nothing where it is not known.
    pub fn exit_code(&self) -> Option<i32> {
        let Self::Ended(report) = self else {
            return None;
        };
        match &report.end {
            ExecEnd::Exited { code } | ExecEnd::NotStarted { code, .. } => Some(*code),
            ExecEnd::Signalled { signal, .. } => Some(128 + signal),
            ExecEnd::TimedOut | ExecEnd::Cancelled => None,
        }
    }
}

impl Workspaces {
    /// Enters a workspace: the program is called for, and its entry in the history begun.
    ///
    /// # Errors
    /// Where there is no such workspace, it is stopped, or what keeps it is older than terminals.
    pub fn enter(&mut self, name_or_id: &str, enter: &Enter<'_>) -> Result<Entered, LivingError> {
        let record = self.find(name_or_id)?;
        Self::started(&record)?;
        let (id, home) = (record.id.clone(), self.home(&record.id)?);
        // What is noted of it is rid of them; the program gets none.
        let names = record.secrets.iter().map(|secret| secret.name.as_str());
        let secrets = home.secrets(names)?;
        let mut link = Link::open(keeper::connect(&home)?).map_err(LivingError::Link)?;
        let shown = record.name.clone().unwrap_or_else(|| id.to_string());
        let op = Op::ExecRun(run(enter, &shown));
        if link.generation() < op.generation() {
            return Err(LivingError::TooOld(id));
        }
        let run = self.state.new_run()?;
        let text = match enter.command {
            [] => "a shell".to_owned(),
            command => hidden(&command_line(command), secrets.redaction()),
        };
        let request = Request::in_workspace(id.as_str()).build();
        let entry = Entry {
            run: run.id().to_owned(),
            kind: KIND.to_owned(),
            request: request.map_or_else(|_| "{}".to_owned(), |it| emit(&it, Syntax::Json)),
            command: Some(Command {
                text,
                cwd: hidden(enter.cwd.unwrap_or("/workspace"), secrets.redaction()),
            }),
            began_at: Self::now(),
            is_activity: true,
        };
        let sequence = self.registry.begin(&id, &entry)?;
        let call = link.call(op);
        link.attend(call, RESERVE);
        let now = Instant::now();
        Ok(Entered {
            link,
            call,
            id,
            shown,
            home,
            run,
            sequence,
            resets: record.reset_count,
            began: now,
            noted: now,
        })
    }

    /// Notes how it ended.
    ///
    /// # Errors
    /// Where the registry refuses. A workspace that is gone has no history to note it in.
    pub fn left(&mut self, entered: Entered, how: &Left) -> Result<(), LivingError> {
        let ended = Ended {
            ended_at: Self::now(),
            outcome: how.outcome().to_owned(),
            exit_code: how.exit_code(),
            duration_ms: u64::try_from(entered.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            stdout: Output::default(),
            stderr: Output::default(),
            receipt: None,
            resets: 0,
        };
        let Entered {
            link,
            id,
            run,
            sequence,
            ..
        } = entered;
        drop(link);
        let noted = match self.registry.record(&id) {
            Ok(_) => self.registry.end(&id, sequence, &ended),
            Err(_) => Ok(()),
        };
        run.remove()?;
        Ok(noted?)
    }

    /// Why there is no workspace around the program any more, as a whole sentence.
    pub fn why_lost(&mut self, entered: &Entered) -> String {
        let shown = &entered.shown;
        let deleted = format!("the workspace {shown} was deleted");
        match self.registry.record(&entered.id) {
            Err(_) => return deleted,
            Ok(record) if record.state == State::Deleting => return deleted,
            Ok(_) => {}
        }
        let ended = entered.home.ended().ok().flatten();
        let since = entered.began.elapsed();
        let ended = ended.filter(|ended| {
            // One of an earlier machine says nothing about this one.
            let now = Timestamp::now().as_millis();
            now.saturating_sub(ended.at_ms) <= u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        });
        match ended.map(|ended| (ended.reason, ended.message)) {
            Some((EndReason::Stopped, _)) => format!("the workspace {shown} was stopped"),
            Some((EndReason::Expired, _)) => {
                format!("the workspace {shown} was stopped because nobody used it for its time")
            }
            Some((EndReason::MachineDied, message)) => {
                let why = message.map_or_else(String::new, |why| format!(" ({why})"));
                format!("the workspace {shown} lost its machine{why}; its files are there")
            }
            None => {
                format!("the process that keeps the workspace {shown} is gone; its files are there")
            }
        }
    }

    /// Whether the workspace was put back meanwhile, which ends everything that runs in it.
    pub fn was_reset(&mut self, entered: &Entered) -> bool {
        let after = Page::After {
            sequence: entered.sequence,
            limit: u32::MAX,
        };
        // It may not be over yet. Looked at first: when it is over, it has been counted.
        let begun = self.registry.history(&entered.id, after);
        let goes_on = begun.is_ok_and(|begun| {
            let mut begun = begun.iter();
            begun.any(|entry| entry.ended_at.is_none() && entry.kind == "reset")
        });
        let record = self.registry.record(&entered.id);
        goes_on || record.is_ok_and(|record| record.reset_count > entered.resets)
    }

    /// How many are inside a workspace at a terminal; none where that cannot be told.
    pub fn inside(&mut self, id: &WorkspaceId) -> u32 {
        let home = self.home(id).ok();
        let status = home.and_then(|home| keeper::status(&home).ok());
        status.map_or(0, |status| status.visitors)
    }
}

impl Entered {
    /// Something was typed: the workspace is being used. The registry is told now and then.
    pub fn typed(&mut self, registry: impl FnOnce() -> Option<Workspaces>) {
        if self.noted.elapsed() < NOTE {
            return;
        }
        self.noted = Instant::now();
        // The keeper knows it in any case.
        if let Some(mut workspaces) = registry() {
            let _noted = workspaces.registry.touch(&self.id, Workspaces::now());
        }
    }
}

fn run(enter: &Enter<'_>, shown: &str) -> ExecRun {
    let mut argv: Vec<String> = enter.command.to_vec();
    let mut env: Vec<(String, String)> = DEFAULT_ENV
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let mut set = |name: &str, value: &str| {
        env.retain(|(known, _)| known != name);
        env.push((name.to_owned(), value.to_owned()));
    };
    set("TERM", enter.term);
    if argv.is_empty() {
        // What a prompt would expand, no name of a workspace needs.
        let plain = |c: &char| !matches!(c, '\\' | '$' | '`' | '!') && !c.is_control();
        let shown: String = shown.chars().filter(plain).collect();
        let prompts = [format!("[{shown}] \\w\\$ "), format!("[{shown}] # ")];
        argv = ["/bin/sh", "-c", SHELL, "sh"].map(str::to_owned).to_vec();
        argv.extend(prompts);
        // What is typed is not kept, here neither.
        set("HISTFILE", "");
    }
    for (name, value) in enter.env {
        set(name, value);
    }
    let bytes = |text: String| Bytes::from(text);
    ExecRun {
        argv: argv.into_iter().map(bytes).collect(),
        cwd: bytes(enter.cwd.unwrap_or_default().to_owned()),
        env: env.into_iter().map(|(k, v)| (bytes(k), bytes(v))).collect(),
        timeout_ms: NEVER_MS,
        grace_ms: GRACE_MS,
        stdin: true,
        spool_limit: 0,
        terminal: Some(enter.size),
        unnamed: false,
    }
}
