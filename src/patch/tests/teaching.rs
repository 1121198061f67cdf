//! What a refusal tells the writer: its code, its place, and what to do.

use super::*;

const CODE: &str = "fn main() {\n    let name = \"world\";\n\tgreet(name);\n    if a < b && c > d {\n        leave();\n    }\n}\n\nfn leave() {\n    exit(0);\n}\n";

fn head(body: &str) -> String {
    format!("--- a/f\n+++ b/f\n@@ -1,9 +1,9 @@\n{body}")
}

fn only(files: &Files, text: &str) -> Refusal {
    let refusals = run(files, text.as_bytes(), Match::Unique).expect_err("must be refused");
    assert_eq!(refusals.len(), 1, "{refusals:#?}");
    refusals.into_iter().next().expect("one")
}

#[test]
fn each_kind_of_damage_has_its_code() {
    let files = tree(&[("f", CODE)]);
    let cases: &[(&str, &str)] = &[
        // Stale: the context is another, or the line that goes.
        (
            "patch-context-missing",
            " fn main() {\n     let name = \"moon\";\n-\tgreet(name);\n+\tmeet(name);\n",
        ),
        (
            "patch-removed-differs",
            "     let name = \"world\";\n-\tgreet(world);\n+\tmeet(name);\n     if a < b && c > d {\n",
        ),
        (
            "patch-blanks-differ",
            "     let name = \"world\";\n-    greet(name);\n+\tmeet(name);\n     if a < b && c > d {\n",
        ),
        (
            "patch-typographic",
            "     let name = \u{201c}world\u{201d};\n-\tgreet(name);\n+\tmeet(name);\n",
        ),
        (
            "patch-html-escaped",
            "     if a &lt; b &amp;&amp; c &gt; d {\n-        leave();\n+        stay();\n",
        ),
        (
            "patch-line-numbers",
            " 1 | fn main() {\n 2 |     let name = \"world\";\n-3 | \tgreet(name);\n+3 | \tmeet(name);\n",
        ),
        (
            "patch-elided",
            " fn main() {\n ...\n-        leave();\n+        stay();\n",
        ),
        (
            "patch-elided",
            " fn main() {\n     // ... existing code ...\n-        leave();\n+        stay();\n     }\n }\n",
        ),
        (
            "patch-elided",
            " fn main() {\n...\n-        leave();\n+        stay();\n",
        ),
        (
            "patch-escaped",
            "-fn main() {\\n    let name = \"world\";\n+fn main() {\\n    let name = \"moon\";\n",
        ),
        (
            "patch-other-file",
            " class Shelf:\n     def __init__(self):\n-        self.books = []\n+        self.books = {}\n",
        ),
        (
            "patch-already-applied",
            "-fn stay() {\n+fn leave() {\n     exit(0);\n",
        ),
        (
            "patch-cut-off",
            " fn main() {\n     let name = \"world\";\n-\tgreet(name);\n",
        ),
    ];
    for (code, body) in cases {
        // Only the last is cut off: the others have counts that nobody can hold against them.
        let text = match *code {
            "patch-cut-off" => head(body),
            _ => head(body).replace("@@ -1,9 +1,9 @@", "@@ -1 +1 @@"),
        };
        let refusal = only(&files, &text);
        assert_eq!(refusal.code.as_str(), *code, "{text}\n{refusal:#?}");
        assert!(
            refusal.help.is_some() && refusal.patch_line.is_some(),
            "{refusal:#?}"
        );
        assert_eq!(refusal.file.as_deref(), Some(&b"f"[..]), "{refusal:#?}");
        assert_eq!(refusal.hunk, Some(1), "{refusal:#?}");
    }
}

#[test]
fn a_text_that_came_in_another_shape_is_recognised() {
    let files = tree(&[("f", TEN)]);
    let escaped = FIVE.replace('\n', "\\n");
    assert_eq!(codes(&files, &escaped), [RefusalCode::Escaped]);
    let indented: String = FIVE.lines().map(|line| format!("    {line}\n")).collect();
    assert_eq!(codes(&files, &indented), [RefusalCode::Indented]);
}

#[test]
fn the_nearest_place_is_shown_side_by_side() {
    let files = tree(&[(
        "f",
        &format!(
            "zero\nzero\n{}",
            TEN.replace("four", "4\t4").replace("six", "s ix")
        ),
    )]);
    let refusal = only(&files, &FIVE.replace(" four", " 4 4"));
    assert_eq!(
        refusal.nearest,
        Some(NearMiss {
            line: 6,
            distance: Some(2),
            equal: 1,
            of: 3
        })
    );
    assert_eq!((refusal.patch_line, refusal.file_line), (Some(4), Some(6)));
    assert_eq!(
        refusal.comparison(),
        [
            "line 6 expected | 4·4",
            "       found    | 4→4",
            "line 8 expected | six",
            "       found    | s·ix",
        ]
    );
    let hidden = tree(&[("f", "a\nb\u{a0}c\r\n")]);
    let refusal = only(
        &hidden,
        "--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n a\n-b\u{200b}c\n+d\n",
    );
    assert_eq!(
        refusal.comparison(),
        [
            r"line 2 expected | b\u{200b}c",
            r"       found    | b\u{a0}c\r"
        ]
    );
}

#[test]
fn long_lines_are_told_in_part() {
    let long = "x".repeat(1 << 20);
    let files = tree(&[("f", &format!("a\n{long}y\nb\n"))]);
    let refusal = only(
        &files,
        &format!("--- a/f\n+++ b/f\n@@ -1,3 +1,3 @@\n a\n-{long}z\n+z\n b\n"),
    );
    assert_eq!(refusal.code, RefusalCode::RemovedDiffers);
    assert!(refusal.expected[0].ends_with(b"xz\n") && refusal.found[0].ends_with(b"xy\n"));
    assert!(refusal.expected[0].len() < 5000);
    assert!(refusal.comparison().iter().all(|line| line.len() < 1000));
}

#[test]
fn places_and_names_are_offered() {
    let files = tree(&[("src/f.rs", &TEN.repeat(12)), ("src/g.rs", TEN)]);
    let refusal = only(
        &files,
        &FIVE
            .replace("/f", "/src/f.rs")
            .replace("-4,3 +4,3", "-5,3 +5,3"),
    );
    assert_eq!(refusal.code, RefusalCode::Ambiguous);
    assert_eq!(refusal.places, [4, 14, 24, 34, 44, 54, 64, 74]);
    let mut refusals = run(
        &files,
        FIVE.replace("/f", "/lib/f.rs").as_bytes(),
        Match::Unique,
    )
    .expect_err("no such file");
    let names: Vec<Vec<u8>> = files.keys().cloned().collect();
    suggest_names(&mut refusals, &names);
    assert_eq!(refusals[0].code, RefusalCode::TargetMissing);
    assert_eq!(refusals[0].similar, [b"src/f.rs".to_vec()]);
    let help = refusals[0].help.as_deref().expect("help");
    assert!(help.starts_with("did you mean `src/f.rs`?"), "{help}");
}

#[test]
fn what_is_there_in_part_is_not_called_applied() {
    let both = format!("{FIVE}@@ -9,2 +9,2 @@\n-nine\n+NINE\n ten\n");
    let done = TEN.replace("five", "FIVE");
    assert_eq!(
        codes(&tree(&[("f", &done)]), &both),
        [RefusalCode::PartlyApplied]
    );
    let done = done.replace("nine", "NINE");
    assert_eq!(
        codes(&tree(&[("f", &done)]), &both),
        [RefusalCode::AlreadyApplied, RefusalCode::AlreadyApplied]
    );
    // The hash says which of both it is, where it is there.
    let reversed = "diff --git a/f b/f\nindex 587be6b..975fbec 100644\n--- a/f\n+++ b/f\n@@ -1 +1 @@\n-y\n+x\n";
    assert_eq!(
        codes(&tree(&[("f", "x\n")]), reversed),
        [RefusalCode::Reversed]
    );
}

#[test]
fn a_refusal_names_at_most_a_hundred_reasons() {
    let mut text = "--- a/f\n+++ b/f\n".to_owned();
    for line in 1..=500 {
        text.push_str(&format!("@@ -{line} +{line} @@\n-no{line}\n+x\n"));
    }
    let refusals = run(&tree(&[("f", TEN)]), text.as_bytes(), Match::Unique).expect_err("all");
    assert_eq!(refusals.len(), 100);
    assert!(
        refusals[99]
            .message
            .ends_with("400 more reasons like it are not told")
    );
}
