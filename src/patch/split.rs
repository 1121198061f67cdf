//! A patch of a whole tree, file by file.

use super::header::label;
use super::parse;
use std::collections::BTreeMap;

/// How the section of a file begins; no line of its contents does, which all have a sign before them.
const BEGIN: &[u8] = b"diff --git ";

/// What a patch of [`super::whole_tree`] says of each path, as text; of a file that was renamed, under its new path. What is
/// no text has no place in it, nor has what is no patch.
pub fn by_path(text: &[u8]) -> BTreeMap<Vec<u8>, &[u8]> {
    let begins: Vec<usize> = memchr::memmem::find_iter(text, BEGIN)
        .filter(|at| *at == 0 || text[at - 1] == b'\n')
        .collect();
    let ends = begins.iter().skip(1).copied().chain([text.len()]);
    begins
        .iter()
        .zip(ends)
        .filter_map(|(begin, end)| {
            let section = &text[*begin..end];
            let patch = parse(section).ok()?;
            let file = patch.files.first().filter(|file| file.binary.is_none())?;
            Some((label(file)?, section))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::by_path;

    #[test]
    fn each_path_has_its_own_lines() {
        let one =
            "diff --git a/one b/one\n--- a/one\n+++ b/one\n@@ -1 +1 @@\n-a\n+diff --git a/x b/x\n";
        let gone = "diff --git a/k b/k\ndeleted file mode 100644\n--- a/k\n+++ /dev/null\n@@ -1 +0,0 @@\n-f\n";
        let moved = "diff --git a/old b/new name\nsimilarity index 100%\nrename from old\nrename to new name\n";
        let bytes = "diff --git a/raw b/raw\nnew file mode 100644\nBinary files /dev/null and b/raw (2 bytes) differ\n";
        let text = [one, bytes, gone, moved].concat();
        let found = by_path(text.as_bytes());
        let shown: Vec<_> = (found.iter())
            .map(|(path, text)| (String::from_utf8_lossy(path), String::from_utf8_lossy(text)))
            .collect();
        let wanted = [("k", gone), ("new name", moved), ("one", one)];
        assert_eq!(shown, wanted.map(|(path, text)| (path.into(), text.into())));
        assert!(by_path(b"no patch").is_empty());
    }
}
