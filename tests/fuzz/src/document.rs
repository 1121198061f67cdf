//! Documents in both syntaxes. Whatever the bytes are: no panic, every finding has a place in the text and can be
//! drawn; and a request is written and read back as the same request.

use pyro::preflight::Facts;
use pyro::render::{Finding, Style, findings, findings_json};
use pyro::request::{Request, Syntax, Values, canonical_json, emit, parse};

/// Takes a document in TOML.
pub fn toml(data: &[u8]) {
    check(data, Syntax::Toml);
}

/// Takes a document in JSON.
pub fn json(data: &[u8]) {
    check(data, Syntax::Json);
}

fn check(data: &[u8], syntax: Syntax) {
    match parse("fuzz", data, syntax) {
        Ok((request, document)) => {
            round_trip(&request);
            planned(&request, &document);
        }
        Err(errors) => {
            let text = &errors.document().text;
            assert!(!errors.as_slice().is_empty(), "refused for nothing");
            for error in &errors {
                let span = error.span.clone();
                assert!(
                    text.get(span.clone()).is_some(),
                    "{span:?} is no place in {} bytes: {error}",
                    text.len()
                );
                assert!(!error.message.contains(['\n', '\r', '\u{1b}']), "{error:?}");
            }
            let told = Vec::<Finding>::from(&errors);
            let drawn = findings(errors.document(), &told, Style::Plain);
            let raw = |c: char| c.is_control() && c != '\n';
            assert!(
                !drawn.contains(raw),
                "a control character is drawn: {drawn:?}"
            );
            let data = findings_json(errors.document(), &told);
            assert_eq!(data.as_array().map(Vec::len), Some(told.len()));
        }
    }
}

fn round_trip(request: &Request) {
    for syntax in [Syntax::Toml, Syntax::Json] {
        let text = emit(request, syntax);
        match parse("emitted", text.as_bytes(), syntax) {
            Ok((again, _)) => assert_eq!(again, *request, "{text}"),
            Err(errors) => panic!("{errors}\n{text}"),
        }
    }
    let canonical = canonical_json(request);
    match parse("canonical", canonical.as_bytes(), Syntax::Json) {
        Ok((again, _)) => assert_eq!(again, *request, "{canonical}"),
        Err(errors) => panic!("{errors}\n{canonical}"),
    }
}

/// A host of which nothing is known refuses most of it; what it says has a place too.
fn planned(request: &Request, document: &pyro::request::Document) {
    let Ok(resolved) = pyro::request::resolve(request, &Values::default()) else {
        return;
    };
    match pyro::plan::plan(&resolved, &Facts::default(), "fuzz") {
        Ok(plan) => {
            let shown = pyro::plan::describe(&plan, pyro::plan::Style::Plain);
            let raw = |c: char| c.is_control() && c != '\n';
            assert!(
                !shown.contains(raw),
                "a control character is shown: {shown:?}"
            );
            assert_eq!(pyro::plan::to_json(&plan)["format_version"], 1);
        }
        Err(problems) => {
            let told: Vec<_> = problems.as_slice().iter().map(Finding::from).collect();
            assert!(!findings(document, &told, Style::Plain).is_empty());
        }
    }
}
