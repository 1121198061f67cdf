//! What is written down of a request that is executed in a workspace with secrets: the request without them.

use crate::request::{Syntax, parse};
use crate::secret::{Redaction, TAG};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// The request as the history keeps it. Where secrets stand at places that then fit no request any more, its steps are not
/// kept at all.
pub(super) fn hidden(noted: &str, redaction: &Redaction) -> String {
    if redaction.is_none() {
        return noted.to_owned();
    }
    let Ok(mut document) = serde_json::from_str::<Value>(noted) else {
        // No request: a text like any other.
        return String::from_utf8_lossy(&redaction.bytes(noted.as_bytes())).into_owned();
    };
    if !hide(&mut document, redaction) {
        return noted.to_owned();
    }
    let text = document.to_string();
    match parse("history", text.as_bytes(), Syntax::Json) {
        Ok(_) => text,
        Err(_) => withheld(),
    }
}

fn withheld() -> String {
    let why = format!("What was asked is not kept, for secrets stood in it: {TAG}.");
    json!({"pyro": 1, "description": why}).to_string()
}

/// Whether there was anything to take out.
fn hide(value: &mut Value, redaction: &Redaction) -> bool {
    match value {
        Value::String(text) => redaction.string(text),
        Value::Array(items) => items
            .iter_mut()
            .fold(false, |any, item| any | hide(item, redaction)),
        Value::Object(entries) => {
            let mut any = false;
            let mut clean = Map::new();
            for (mut key, mut value) in std::mem::take(entries) {
                any |= match (key.as_str(), &value) {
                    ("base64", Value::String(text)) => match STANDARD.decode(text) {
                        Ok(bytes) => {
                            let hidden = redaction.bytes(&bytes);
                            let changed = *hidden != *bytes;
                            if changed {
                                value = STANDARD.encode(&hidden).into();
                            }
                            // What is no base64 of a secret may be one by itself.
                            changed || hide(&mut value, redaction)
                        }
                        Err(_) => hide(&mut value, redaction),
                    },
                    _ => hide(&mut value, redaction),
                };
                any |= redaction.string(&mut key);
                clean.insert(key, value);
            }
            *entries = clean;
            any
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::hidden;
    use crate::request::{Syntax, parse};
    use crate::secret::{Redaction, Secret};
    use serde_json::{Value, json};

    fn redaction(value: &str) -> Redaction {
        let secret = Secret::new(value.as_bytes().to_vec()).expect("a secret");
        Redaction::of([("NAME", &secret)]).expect("one")
    }

    #[test]
    fn what_is_kept_stays_a_request() {
        let redaction = redaction("raw\"secret-1");
        let step = |step: Value| json!({"pyro": 1, "workspace": "w", "step": [step]}).to_string();
        for (given, wanted) in [
            (
                json!({"exec": ["echo", "raw\"secret-1"]}),
                json!({"exec": ["echo", "[REDACTED]"]}),
            ),
            (
                json!({"exec": "x", "env": {"A": "1raw\"secret-12"}}),
                json!({"exec": "x", "env": {"A": "1[REDACTED]2"}}),
            ),
            (
                json!({"write": {"a": {"base64": "AHJhdyJzZWNyZXQtMQ=="}}}),
                json!({"write": {"a": {"base64": "AFtSRURBQ1RFRF0="}}}),
            ),
            (json!({"read": "note"}), json!({"read": "note"})),
        ] {
            let kept = hidden(&step(given), &redaction);
            assert_eq!(kept, step(wanted));
            parse("kept", kept.as_bytes(), Syntax::Json).expect("a request");
        }
    }

    #[test]
    fn what_is_no_request_is_a_text() {
        let redaction = redaction("raw-secret-1");
        assert_eq!(hidden("sh -c raw-secret-1", &redaction), "sh -c [REDACTED]");
    }

    #[test]
    fn what_could_not_be_a_request_any_more_is_not_kept() {
        let redaction = redaction("checkpoint");
        let noted = json!({"pyro": 1, "step": [{"snapshot": "checkpoint"}]}).to_string();
        let kept = hidden(&noted, &redaction);
        assert!(
            !kept.contains("checkpoint") && kept.contains("[REDACTED]"),
            "{kept}"
        );
        parse("kept", kept.as_bytes(), Syntax::Json).expect("a request");
    }
}
