//! The reference is what the table says. `UPDATE_DOCS=1` writes it anew.

#[test]
fn the_reference_is_up_to_date() {
    up_to_date("docs/reference/request.md", &pyro::request::reference());
}

#[test]
fn the_reference_of_the_command_line_is_up_to_date() {
    up_to_date("docs/reference/cli.md", &pyro::cli::reference());
}

fn up_to_date(path: &str, now: &str) {
    let path = crate::harness::root().join(path);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, now).expect("the reference can be written");
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(
        kept, now,
        "run the test with UPDATE_DOCS=1 and look at the difference"
    );
}
