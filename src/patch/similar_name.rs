//! The file that was probably meant when a patch names one that is not there.

use super::refusal::{Refusal, RefusalCode};

/// Names that are offered for one that is missing.
const OFFERED: usize = 3;
/// Names that are compared, and letters of them; a message is worth no more.
const COMPARED: usize = 100_000;
const LETTERS: usize = 200;

/// Adds to each refusal of a missing file the names, of those there are, that come closest to it.
pub fn suggest_names(refusals: &mut [Refusal], names: &[Vec<u8>]) {
    for refusal in refusals {
        let missing = matches!(refusal.code, RefusalCode::TargetMissing);
        let Some(file) = refusal.file.clone().filter(|_| missing) else {
            continue;
        };
        let similar = similar(&file, names);
        if similar.is_empty() {
            continue;
        }
        let list: Vec<String> = similar
            .iter()
            .map(|name| format!("`{}`", String::from_utf8_lossy(&super::quote(name))))
            .collect();
        let help = refusal.help.take().unwrap_or_default();
        refusal.help = Some(format!(
            "did you mean {}? otherwise {help}",
            list.join(" or ")
        ));
        refusal.similar = similar.into_iter().cloned().collect();
    }
}

/// The closest names, the best first: the same file elsewhere, or one that is spelled nearly so.
fn similar<'n>(wanted: &[u8], names: &'n [Vec<u8>]) -> Vec<&'n Vec<u8>> {
    let mut ranked: Vec<(usize, &Vec<u8>)> = names
        .iter()
        .take(COMPARED)
        .filter_map(|name| Some((rank(wanted, name)?, name)))
        .collect();
    ranked.sort();
    ranked
        .into_iter()
        .take(OFFERED)
        .map(|(_, name)| name)
        .collect()
}

/// How far a name is from the wanted one; `None` when nobody would mistake one for the other.
fn rank(wanted: &[u8], name: &[u8]) -> Option<usize> {
    let parts = |path: &[u8]| path.split(|&byte| byte == b'/').count();
    let last = |path: &[u8]| path.rsplit(|&byte| byte == b'/').next().map(<[u8]>::to_vec);
    if last(wanted) == last(name) {
        // The more parts are the same from the end, the better.
        let same = wanted
            .rsplit(|&byte| byte == b'/')
            .zip(name.rsplit(|&byte| byte == b'/'))
            .take_while(|(a, b)| a == b)
            .count();
        return Some(parts(wanted).max(parts(name)) - same);
    }
    let longer = wanted.len().max(name.len());
    if wanted.len().abs_diff(name.len()) > 3 || longer > LETTERS {
        return None;
    }
    let allowed = longer.div_ceil(4).min(3);
    // Behind every file of the same name.
    distance(wanted, name, allowed).map(|distance| 1000 + distance)
}

/// Letters that have to be put in, taken out or changed, if they are at most so many.
fn distance(a: &[u8], b: &[u8], allowed: usize) -> Option<usize> {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(!x.eq_ignore_ascii_case(y));
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
        if row.iter().all(|distance| *distance > allowed) {
            return None;
        }
    }
    row.last().copied().filter(|distance| *distance <= allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_names_come_first() {
        let names: Vec<Vec<u8>> = [
            "src/main.rs",
            "main.rs",
            "lib/src/main.rs",
            "src/mail.rs",
            "README.md",
        ]
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
        let found = |wanted: &str| -> Vec<String> {
            similar(wanted.as_bytes(), &names)
                .into_iter()
                .map(|name| String::from_utf8_lossy(name).into_owned())
                .collect()
        };
        assert_eq!(
            found("app/src/main.rs"),
            ["lib/src/main.rs", "src/main.rs", "main.rs"]
        );
        assert_eq!(found("src/mian.rs"), ["src/main.rs", "src/mail.rs"]);
        assert_eq!(found("readme.md"), ["README.md"]);
        assert!(found("Makefile").is_empty());
    }
}
