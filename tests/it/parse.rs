//! Documents with something wrong in them, and exactly what pyro says.

use pyro::render::{Finding, Style, findings};
use pyro::request::{ErrorCode, ParseErrors, Syntax, parse};
use std::collections::BTreeSet;
use std::path::Path;

fn errors(path: &Path) -> ParseErrors {
    let name = path.file_name().expect("a file").to_string_lossy();
    let bytes = std::fs::read(path).expect("the fixture is readable");
    let syntax = Syntax::of(&name).expect("a fixture is TOML or JSON");
    parse(&name, &bytes, syntax).expect_err("a fixture of `parse_error` does not parse")
}

#[test]
fn mistakes_are_told() {
    let mut seen = BTreeSet::new();
    insta::glob!("../../fixtures/parse_error", "*/request.pyro.*", |path| {
        let errors = errors(path);
        seen.extend(errors.iter().map(|error| error.code));
        let told = Vec::<Finding>::from(&errors);
        let case = path.parent().expect("a case is a directory");
        let json = path
            .extension()
            .is_some_and(|extension| extension == "json");
        let twin = case.join("request.pyro.toml");
        if json && twin.exists() {
            let same = |errors: &ParseErrors| {
                let key = |e: &pyro::request::ParseError| {
                    (
                        e.pointer.clone(),
                        e.code,
                        e.message.clone(),
                        e.help.clone(),
                        e.valid_here.clone(),
                    )
                };
                errors.iter().map(key).collect::<BTreeSet<_>>()
            };
            assert_eq!(
                same(&errors),
                same(&self::errors(&twin)),
                "the same for both syntaxes: {}",
                case.display()
            );
        }
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(case);
        settings.set_snapshot_suffix("");
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.set_input_file("");
        settings.bind(|| {
            let name = if json { "expected_json" } else { "expected" };
            insta::assert_snapshot!(name, findings(errors.document(), &told, Style::Plain));
        });
    });
    let unseen = ErrorCode::ALL
        .iter()
        .filter(|code| !seen.contains(code) && **code != ErrorCode::TooLarge)
        .collect::<Vec<_>>();
    assert!(unseen.is_empty(), "no fixture shows {unseen:?}");
}
