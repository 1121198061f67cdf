//! Takes values out of what a step puts out, for the steps after it.

use super::expect::failure;
use crate::plan::PlannedStep;
use crate::receipt::{StepReport, has_secret};
use crate::request::{CaptureSource, compile};
use crate::secret::Redaction;

/// The longest value.
const LONGEST: usize = 64 << 10;

/// Takes the values that `step` captures from one of its texts into the report, and says which are not there.
/// `dropped` bytes after the text are not known. The text has no secrets in it any more; what is left of one is no value.
pub(super) fn take(
    step: &PlannedStep,
    source: CaptureSource,
    (text, dropped): (&[u8], u64),
    secrets: &Redaction,
    report: &mut StepReport,
) {
    for capture in &step.captures {
        if capture.source != source {
            continue;
        }
        let taken = value(&capture.regex, text, dropped).and_then(|value| {
            match has_secret(secrets, &value) {
                true => Err("it has a secret in it, which only `secrets` hands on".to_owned()),
                false => Ok(value),
            }
        });
        match taken {
            Ok(value) => {
                report.captures.insert(capture.name.clone(), value);
            }
            Err(why) => report.failures.push(failure(
                &capture.pointer,
                format!(
                    "`{}` cannot be captured from {}: {why}",
                    capture.name,
                    source.as_str()
                ),
            )),
        }
    }
}

/// Whether a step captures anything from there.
pub(super) fn wants(step: &PlannedStep, source: CaptureSource) -> bool {
    step.captures.iter().any(|capture| capture.source == source)
}

/// The first group of the first match, or the whole match of an expression without groups.
fn value(regex: &str, text: &[u8], dropped: u64) -> Result<String, String> {
    let compiled = compile(regex)?;
    let found = compiled
        .captures(text)
        .ok_or_else(|| format!("nothing matches /{regex}/"))?;
    let whole = found.get(0).map_or(0, |whole| whole.end());
    let value = match compiled.captures_len() {
        1 => found.get(0),
        _ => found.get(1),
    };
    let value = value.ok_or_else(|| format!("the first group of /{regex}/ matches nothing"))?;
    if dropped > 0 && whole == text.len() {
        return Err(format!(
            "the match reaches to the end of what was kept, and {dropped} bytes follow"
        ));
    }
    if value.len() > LONGEST {
        return Err(format!(
            "the value has {} bytes, at most {LONGEST} are handed on",
            value.len()
        ));
    }
    std::str::from_utf8(value.as_bytes())
        .map(str::to_owned)
        .map_err(|_| "the value is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, value};

    #[test]
    fn the_first_group_counts_or_the_whole_match() {
        for (regex, text, wanted) in [
            (r"(\d+) passed", &b"3 passed, 4 passed"[..], "3"),
            (r"\d+ passed", b"3 passed, 4 passed", "3 passed"),
            (r"(\w+)=(\w+)", b"a=b", "a"),
            (r"v(?<number>.*)", b"v 1 \nv2", " 1 "),
            (r"x(y?)", b"x", ""),
            (r"(?s)\A(.*?)\n?\z", b"a\nb\n", "a\nb"),
            (r"(?:no|group)", b"a group", "group"),
        ] {
            assert_eq!(value(regex, text, 0).as_deref(), Ok(wanted), "{regex}");
        }
    }

    #[test]
    fn what_is_no_value_is_told() {
        let long = vec![b'a'; LONGEST + 1];
        for (regex, text, dropped, wanted) in [
            ("x", &b"abc"[..], 0, "nothing matches /x/"),
            (
                "a|(b)",
                b"a",
                0,
                "the first group of /a|(b)/ matches nothing",
            ),
            ("(?-u:.+)", b"\xff", 0, "the value is not UTF-8"),
            (
                "a+",
                &long,
                0,
                "the value has 65537 bytes, at most 65536 are handed on",
            ),
            (
                "b.*",
                b"abc",
                7,
                "the match reaches to the end of what was kept, and 7 bytes follow",
            ),
        ] {
            assert_eq!(value(regex, text, dropped), Err(wanted.to_owned()));
        }
        assert_eq!(value("b", b"abc", 7).as_deref(), Ok("b"));
    }
}
