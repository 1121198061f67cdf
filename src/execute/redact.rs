//! Takes out of a text what is another each time, before it is compared with a golden.
//!
//! In this order: ANSI sequences and carriage returns before line ends go away; then the request's own expressions,
//! by name; then ids of ours, paths of temporary files and measured times become words in brackets.

use crate::request::compile;
use regex::bytes::Regex;

/// Colours, titles, and movements of the cursor.
const ANSI: &str = r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-Z\\^-~])";
/// Only before the end of a line: elsewhere it means something.
const RETURN: &str = r"\r+(\n)";
/// What `mktemp`, Python, Go and their like make.
const TEMPORARY: &str =
    r"/(?:var/)?tmp/(?:tmp\.[A-Za-z0-9]{6,12}|tmp[a-z0-9_]{8}|[A-Za-z_.-]+[0-9]{6,})\b";
/// A measured time has a fraction, or a unit below the second. `5s` is rather something that was set.
const DURATION: &str = r"\b(?:[0-9]+\.[0-9]+ ?(?:ns|µs|us|ms|s|secs?|seconds?|m|min|minutes?)|[0-9]+ ?(?:ns|µs|us|ms))\b";

/// What is taken out.
#[derive(Debug)]
pub(super) struct Redactor {
    /// Each with what stands in its place.
    rules: Vec<(Regex, Vec<u8>)>,
}

impl Redactor {
    /// For the run of that id, with the request's own expressions in the order of their names.
    pub(super) fn new<'a>(run: &str, own: impl Iterator<Item = (&'a String, &'a String)>) -> Self {
        let mut rules = Vec::new();
        let mut add = |pattern: &str, word: &str| {
            // The request's were compiled when it was read, ours in a test.
            if let Ok(regex) = compile(pattern) {
                rules.push((regex, word.as_bytes().to_vec()));
            }
        };
        add(ANSI, "");
        for (name, pattern) in own {
            add(pattern, &format!("[{name}]"));
        }
        add(&regex::escape(run), "[run]");
        add(TEMPORARY, "[tmp]");
        add(DURATION, "[time]");
        Self { rules }
    }

    /// The text as a golden holds it.
    pub(super) fn apply(&self, text: &[u8]) -> Vec<u8> {
        let mut text = text.to_vec();
        let returns = compile(RETURN).ok();
        for (index, (regex, word)) in self.rules.iter().enumerate() {
            text = replaced(regex, word, &text);
            if index == 0
                && let Some(returns) = &returns
            {
                text = returns.replace_all(&text, &b"$1"[..]).into_owned();
            }
        }
        text
    }
}

/// Replaces the first group of each match, or the whole match where there is no group; matches of nothing stay.
fn replaced(regex: &Regex, word: &[u8], text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut end = 0;
    for found in regex.captures_iter(text) {
        let part = match regex.captures_len() {
            1 => found.get(0),
            _ => found.get(1),
        };
        let Some(part) = part.filter(|part| !part.is_empty() && part.start() >= end) else {
            continue;
        };
        out.extend_from_slice(&text[end..part.start()]);
        out.extend_from_slice(word);
        end = part.end();
    }
    out.extend_from_slice(&text[end..]);
    out
}

#[cfg(test)]
mod tests {
    use super::{ANSI, DURATION, RETURN, Redactor, TEMPORARY};
    use crate::request::compile;
    use std::collections::BTreeMap;

    fn redacted(own: &[(&str, &str)], text: &str) -> String {
        let own: BTreeMap<_, _> = own
            .iter()
            .map(|(name, regex)| ((*name).to_owned(), (*regex).to_owned()))
            .collect();
        let redactor = Redactor::new("0123456789ab", own.iter());
        String::from_utf8(redactor.apply(text.as_bytes())).expect("text stays text")
    }

    #[test]
    fn our_own_expressions_compile() {
        for pattern in [ANSI, RETURN, TEMPORARY, DURATION] {
            compile(pattern).expect(pattern);
        }
    }

    #[test]
    fn what_differs_each_time_becomes_a_word() {
        for (text, wanted) in [
            (
                "\x1b[1;31mred\x1b[0m \x1b]0;title\x07\x1b(Bplain",
                "red plain",
            ),
            ("a\r\nb\rc\r\r\n", "a\nb\rc\n"),
            ("run 0123456789ab, 0123456789ac", "run [run], 0123456789ac"),
            (
                "/tmp/tmp.AbC123xyz0/x /tmp/tmpab_12cd3/y",
                "[tmp]/x [tmp]/y",
            ),
            (
                "/tmp/go-build123456789/b001 /tmp/mine",
                "[tmp]/b001 /tmp/mine",
            ),
            (
                "in 0.002s, 12ms, 1.5 seconds, 3 µs",
                "in [time], [time], [time], [time]",
            ),
            (
                "sleep 5s; v1.2.3; 100 mops; 10m",
                "sleep 5s; v1.2.3; 100 mops; 10m",
            ),
        ] {
            assert_eq!(redacted(&[], text), wanted);
        }
    }

    #[test]
    fn the_requests_own_expressions_come_first_and_in_order() {
        let own = [
            ("addr", "0x[0-9a-f]+"),
            ("pid", r"pid (\d+)"),
            ("zero", "q*"),
        ];
        assert_eq!(
            redacted(&own, "at 0xff00 pid 17 and pid 18; 17 qq 0.5s"),
            "at [addr] pid [pid] and pid [pid]; 17 [zero] [time]"
        );
        // What an expression names is there as it came, but for colours.
        assert_eq!(
            redacted(&[("took", r"took (\S+)")], "took \x1b[1m0.5s"),
            "took [took]"
        );
    }
}
