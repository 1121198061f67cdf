//! Where text goes: the only place that writes to the standard streams.

use super::args::Global;
use crate::{plan, render};
use std::io::{self, IsTerminal as _, Write as _};

/// The standard streams, and how much to say on them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terminal {
    colour_out: bool,
    colour_err: bool,
    live: bool,
    pub(super) quiet: bool,
    pub(super) verbose: bool,
}

/// Colours with a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Bad,
    Faint,
    Strong,
}

impl Terminal {
    pub(super) fn new(global: &Global) -> Self {
        let capable = std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let wanted = capable && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            colour_out: wanted && io::stdout().is_terminal(),
            colour_err: wanted && io::stderr().is_terminal(),
            live: capable && !global.quiet && io::stderr().is_terminal(),
            quiet: global.quiet,
            verbose: global.verbose > 0,
        }
    }

    /// No colours, nothing left out.
    pub(super) fn plain() -> Self {
        Self {
            colour_out: false,
            colour_err: false,
            live: false,
            quiet: false,
            verbose: false,
        }
    }

    /// Without a moving line, which would write over a question.
    pub(super) fn calm(self) -> Self {
        Self {
            live: false,
            ..self
        }
    }

    /// Whether somebody watches standard error live.
    pub(super) fn is_live(self) -> bool {
        self.live
    }

    /// How findings are drawn on standard error.
    pub(super) fn finding_style(self) -> render::Style {
        if self.colour_err {
            render::Style::Coloured
        } else {
            render::Style::Plain
        }
    }

    /// How a plan is drawn on standard output.
    pub(super) fn plan_style(self) -> plan::Style {
        if self.colour_out {
            plan::Style::Colour
        } else {
            plan::Style::Plain
        }
    }

    /// Text in a tone, for standard output.
    pub(super) fn tone(self, tone: Tone, text: &str) -> String {
        paint(self.colour_out, tone, text)
    }

    /// Writes text to standard output as it is.
    pub(super) fn print(self, text: &str) {
        self.out(text.as_bytes());
    }

    /// Writes bytes to standard output as they are.
    pub(super) fn out(self, bytes: &[u8]) {
        // A reader that went away is not our failure, and there is nobody to tell.
        let mut stdout = io::stdout().lock();
        let _gone = stdout.write_all(bytes).and_then(|()| stdout.flush());
    }

    /// Writes bytes to standard error as they are.
    pub(super) fn err(self, bytes: &[u8]) {
        let _gone = io::stderr().lock().write_all(bytes);
    }

    /// Says on standard error what went wrong.
    pub(super) fn error(self, message: &str) {
        let label = paint(self.colour_err, Tone::Bad, "error");
        self.err(format!("{label}: {}\n", visible(message)).as_bytes());
    }

    /// Says on standard error what to try.
    pub(super) fn help(self, message: &str) {
        let label = paint(self.colour_err, Tone::Strong, "help");
        self.err(format!("{label}: {}\n", visible(message)).as_bytes());
    }

    /// Says on standard error where there is more to read; only to somebody who watches.
    pub(super) fn hint(self, message: &str) {
        if self.live {
            let text = paint(self.colour_err, Tone::Faint, &visible(message));
            self.err(format!("{text}\n").as_bytes());
        }
    }

    /// Says something on standard error that is worth knowing.
    pub(super) fn note(self, message: &str) {
        if !self.quiet {
            let label = paint(self.colour_err, Tone::Strong, "note");
            self.err(format!("{label}: {}\n", visible(message)).as_bytes());
        }
    }
}

fn paint(colour: bool, tone: Tone, text: &str) -> String {
    let code = match tone {
        Tone::Good => "32",
        Tone::Bad => "1;31",
        Tone::Faint => "2",
        Tone::Strong => "1",
    };
    if colour {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// Text of a program, safe to show: control characters (but line ends and tabs) and characters that reorder or hide
/// others become visible escapes.
pub(super) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            _ if plan::is_hidden(c) => out.extend(c.escape_unicode()),
            _ => out.push(c),
        }
    }
    out
}

/// A panic because of a closed pipe would be reported as a bug; `print` ignores closed pipes instead.
pub(super) fn quiet_broken_pipes() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let payload = info
            .payload()
            .downcast_ref::<String>()
            .map_or("", String::as_str);
        if !payload.contains("Broken pipe") {
            report(info);
        }
    }));
}

/// `PYRO_LOG` (for instance `debug`, `pyro::machine=trace`), or `-vv`.
pub(super) fn start_log(verbose: u8) {
    let asked = std::env::var_os("PYRO_LOG").is_some();
    if asked || verbose > 1 {
        let env = env_logger::Env::new().filter_or("PYRO_LOG", "debug");
        env_logger::Builder::from_env(env)
            .target(env_logger::Target::Stderr)
            .init();
    }
}

#[cfg(test)]
mod tests {
    use super::visible;

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        assert_eq!(
            visible("a\x1b]0;x\x07\u{9b}1m\r\u{202e}b\u{200b}\n\tc"),
            "a\\u{1b}]0;x\\u{7}\\u{9b}1m\\u{d}\\u{202e}b\\u{200b}\n\tc"
        );
    }
}
