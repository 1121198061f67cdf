//! "Did you mean": the nearest of some words.

/// The candidate that `word` is most likely a misspelling of.
pub(crate) fn did_you_mean<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let lower = word.to_lowercase().replace('-', "_");
    if lower.len() > 64 {
        return None;
    }
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let known = candidate.to_lowercase();
            let distance = distance(&lower, &known);
            let longer = lower.len().max(known.len());
            // `environ`, `desc`: an abbreviation is as good as a slip of the finger.
            let begins =
                lower.len() >= 3 && (known.starts_with(&lower) || lower.starts_with(&known));
            let near =
                distance <= longer.div_ceil(3).min(3) && distance < longer.min(lower.len() + 1);
            (near || begins).then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.chars().collect::<Vec<_>>(), b.chars().collect::<Vec<_>>());
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1)
                .min(row[j - 1] + 1)
                .min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::did_you_mean;

    #[test]
    fn slips_and_abbreviations_are_recognised() {
        let keys = [
            "exec",
            "write",
            "environment",
            "contains",
            "timeout",
            "to",
            "env",
        ];
        for (word, meant) in [
            ("contain", Some("contains")),
            ("exce", Some("exec")),
            ("timout", Some("timeout")),
            ("Write", Some("write")),
            ("environ", Some("environment")),
            ("x", None),
            ("publish", None),
            ("", None),
        ] {
            assert_eq!(did_you_mean(word, keys), meant, "{word}");
        }
    }
}
