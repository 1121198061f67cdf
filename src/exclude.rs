//! Which paths of a host tree are left out: gitignore patterns of the request, and `.gitignore` files where they
//! count. Patterns in, answers out; whoever asks reads the `.gitignore` files.

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::rc::Rc;

/// A `.gitignore` that is larger than this does not count; nobody writes one by hand.
pub const MAX_GITIGNORE: u64 = 1 << 20;

/// Why a path is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// A pattern of the request names it.
    Excluded,
    /// A `.gitignore` file names it.
    Ignored,
}

impl Why {
    /// In one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Excluded => "excluded",
            Self::Ignored => "ignored",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is left out of a tree. Paths are relative to its top.
#[derive(Debug, Clone)]
pub struct Exclude {
    patterns: Gitignore,
    gitignore: bool,
}

/// The `.gitignore` files that count in one directory, the nearest first.
#[derive(Debug, Clone, Default)]
pub struct Level(Option<Rc<(Gitignore, Self)>>);

impl Exclude {
    /// Nothing is left out.
    pub fn nothing() -> Self {
        Self {
            patterns: Gitignore::empty(),
            gitignore: false,
        }
    }

    /// From the patterns of a request; `gitignore` says whether `.gitignore` files count too. A pattern that cannot
    /// be read is passed over: [`bad_pattern`] says which one that is.
    pub fn new(patterns: &[String], gitignore: bool) -> Self {
        let mut builder = GitignoreBuilder::new("");
        for pattern in patterns {
            // Told by whoever plans.
            let _ = builder.add_line(None, pattern);
        }
        Self {
            patterns: builder.build().unwrap_or_else(|_| Gitignore::empty()),
            gitignore,
        }
    }

    /// Whether anything can be left out at all.
    pub fn is_nothing(&self) -> bool {
        self.patterns.is_empty() && !self.gitignore
    }

    /// What counts in a directory (empty for the top) that lies in one where `above` counts. `read` gives the bytes
    /// of its `.gitignore`, where it has one; it is not called where none counts.
    pub fn enter(
        &self,
        above: &Level,
        dir: &[u8],
        read: impl FnOnce() -> Option<Vec<u8>>,
    ) -> Level {
        // What git keeps for itself is never ignored, whatever it is called.
        if !self.gitignore || is_gits_own(dir) {
            return Level::default();
        }
        let Some(text) = read() else {
            return above.clone();
        };
        let mut builder = GitignoreBuilder::new(Path::new(OsStr::from_bytes(dir)));
        for line in String::from_utf8_lossy(&text).lines() {
            // As git does: a line that is no pattern says nothing.
            let _ = builder.add_line(None, line);
        }
        match builder.build() {
            Ok(patterns) => Level(Some(Rc::new((patterns, above.clone())))),
            Err(_) => above.clone(),
        }
    }

    /// Why a path is left out, if it is; `level` is that of the directory it lies in. What lies below a directory
    /// that is left out is not asked about.
    pub fn why(&self, level: &Level, path: &[u8], is_directory: bool) -> Option<Why> {
        if self.is_nothing() {
            return None;
        }
        let name = Path::new(OsStr::from_bytes(path));
        if self.patterns.matched(name, is_directory).is_ignore() {
            return Some(Why::Excluded);
        }
        let mut level = level;
        while let Level(Some(inner)) = level {
            match inner.0.matched(name, is_directory) {
                Match::Ignore(_) if !is_gits_own(path) => return Some(Why::Ignored),
                Match::Ignore(_) | Match::Whitelist(_) => return None,
                Match::None => level = &inner.1,
            }
        }
        None
    }

    /// Whether `.gitignore` files count.
    pub fn reads_gitignores(&self) -> bool {
        self.gitignore
    }

    /// Whether a pattern of the request names a path, or a directory above it.
    pub fn names(&self, path: &[u8], is_directory: bool) -> bool {
        let path = Path::new(OsStr::from_bytes(path));
        let matched = self
            .patterns
            .matched_path_or_any_parents(path, is_directory);
        matched.is_ignore()
    }

    /// Why a path is left out, with the directories above it asked first; `read` gives the `.gitignore` of one.
    pub fn why_below(
        &self,
        path: &[u8],
        is_directory: bool,
        mut read: impl FnMut(&[u8]) -> Option<Vec<u8>>,
    ) -> Option<Why> {
        let mut level = self.enter(&Level::default(), b"", || read(b""));
        for (end, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            let dir = &path[..end];
            if let Some(why) = self.why(&level, dir, true) {
                return Some(why);
            }
            level = self.enter(&level, dir, || read(dir));
        }
        self.why(&level, path, is_directory)
    }
}

/// What is wrong with a pattern, if anything is.
pub fn bad_pattern(pattern: &str) -> Option<String> {
    let mut builder = GitignoreBuilder::new("");
    let added = builder.add_line(None, pattern);
    added.err().map(|error| error.to_string())
}

fn is_gits_own(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').any(|part| part == b".git")
}

#[cfg(test)]
mod tests {
    use super::{Exclude, Why};

    fn why(exclude: &Exclude, path: &str, is_directory: bool) -> Option<Why> {
        exclude.why_below(path.as_bytes(), is_directory, |dir| match dir {
            b"" => Some(b"*.o\n/build/\nlogs\n!keep.o\n".to_vec()),
            b"sub" => Some(b"!special.o\nlocal\n".to_vec()),
            _ => None,
        })
    }

    #[test]
    fn patterns_are_those_of_gitignore() {
        let patterns = ["/target/", "*.tmp", "!keep.tmp"].map(str::to_owned);
        let exclude = Exclude::new(&patterns, false);
        for (path, is_directory, expected) in [
            ("target", true, Some(Why::Excluded)),
            ("target", false, None),
            ("sub/target", true, None),
            ("target/debug/a", false, Some(Why::Excluded)),
            ("a/b.tmp", false, Some(Why::Excluded)),
            ("a/keep.tmp", false, None),
            // Not asked for.
            ("a.o", false, None),
        ] {
            assert_eq!(why(&exclude, path, is_directory), expected, "{path}");
        }
    }

    #[test]
    fn gitignore_files_count_where_they_lie() {
        let exclude = Exclude::new(&["secret".to_owned()], true);
        for (path, is_directory, expected) in [
            ("a.o", false, Some(Why::Ignored)),
            ("keep.o", false, None),
            ("sub/special.o", false, None),
            ("sub/other.o", false, Some(Why::Ignored)),
            ("sub/local", false, Some(Why::Ignored)),
            ("local", false, None),
            ("build", true, Some(Why::Ignored)),
            ("sub/build", true, None),
            // A branch may be called like a build product.
            (".git/logs/HEAD", false, None),
            (".git/objects/a.o", false, None),
            ("secret", false, Some(Why::Excluded)),
        ] {
            assert_eq!(why(&exclude, path, is_directory), expected, "{path}");
        }
    }
}
