//! The reference is what the table says. `UPDATE_DOCS=1` writes it anew.

#[test]
fn the_reference_is_up_to_date() {
    let path = crate::harness::root().join("docs/reference/request.md");
    let now = pyro::request::reference();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &now).expect("the reference can be written");
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(
        kept, now,
        "run the test with UPDATE_DOCS=1 and look at the difference"
    );
}
