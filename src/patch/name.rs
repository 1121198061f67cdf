//! File names in patches: git's quoting both ways, and which names are safe to use at all.

use std::fmt;

/// The longest path, and the longest part of one, that Linux takes.
pub(crate) const PATH_MAX: usize = 4096;
const NAME_MAX: usize = 255;
const WORKSPACE: &[u8] = b"/workspace/";

/// A file name as the patch writes it, unquoted, still with its `a/` or `b/`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(Vec<u8>);

impl Name {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    /// The bytes as written.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The first part and the rest, if there is more than one part.
    pub(crate) fn split(&self) -> Option<(&[u8], &[u8])> {
        let at = self.0.iter().position(|&byte| byte == b'/')?;
        Some((&self.0[..at], &self.0[at + 1..]))
    }

    /// The path below the workspace, or why it is none.
    pub(crate) fn safe(&self) -> Result<&[u8], String> {
        let path = self.0.strip_prefix(WORKSPACE).unwrap_or(&self.0);
        check(path).map(|()| path)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({:?})", String::from_utf8_lossy(&self.0))
    }
}

/// Why a relative path must not be used; nothing that passes can leave the workspace by its name alone.
pub(crate) fn check(path: &[u8]) -> Result<(), String> {
    let refuse = |why: &str| Err(why.to_owned());
    if path.is_empty() {
        return refuse("the name is empty");
    }
    if path.len() >= PATH_MAX {
        return refuse("the name is longer than a path may be");
    }
    if path.contains(&0) {
        return refuse("the name contains a NUL byte");
    }
    if path[0] == b'/' {
        return refuse("the name is absolute and not below /workspace");
    }
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" => return refuse("the name has an empty part (`//` or a `/` at its end)"),
            b"." => return refuse("the name has a `.` part"),
            b".." => return refuse("the name has a `..` part"),
            _ if part.len() > NAME_MAX => {
                return refuse("a part of the name is longer than 255 bytes");
            }
            _ if is_git_directory(part) => return refuse("the name leads into a git directory"),
            _ => {}
        }
    }
    Ok(())
}

/// `.git` as any file system may spell it: in any case, with blanks or dots behind it, or by its short name.
fn is_git_directory(part: &[u8]) -> bool {
    let end = part
        .iter()
        .rposition(|byte| !matches!(byte, b' ' | b'.'))
        .map_or(0, |at| at + 1);
    let part = &part[..end];
    part.eq_ignore_ascii_case(b".git") || part.eq_ignore_ascii_case(b"git~1")
}

/// A name as git prints it: in quotes, with C escapes, when a byte of it needs that.
pub fn quote(name: &[u8]) -> Vec<u8> {
    let odd = |byte: &u8| *byte < 0x20 || *byte >= 0x7f || matches!(byte, b'"' | b'\\');
    if !name.iter().any(odd) {
        return name.to_vec();
    }
    let mut out = vec![b'"'];
    for &byte in name {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            0x07 => out.extend(b"\\a"),
            0x08 => out.extend(b"\\b"),
            b'\t' => out.extend(b"\\t"),
            b'\n' => out.extend(b"\\n"),
            0x0b => out.extend(b"\\v"),
            0x0c => out.extend(b"\\f"),
            b'\r' => out.extend(b"\\r"),
            _ if odd(&byte) => out.extend(format!("\\{byte:03o}").bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
    out
}

/// Reads a quoted name from its opening quote on: the name, and what follows the closing quote.
pub(crate) fn unquote(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut rest = text.strip_prefix(b"\"")?;
    let mut name = Vec::new();
    loop {
        let (&byte, tail) = rest.split_first()?;
        rest = tail;
        match byte {
            b'"' => return Some((name, rest)),
            b'\\' => {
                let (&escape, tail) = rest.split_first()?;
                rest = tail;
                name.push(match escape {
                    b'a' => 0x07,
                    b'b' => 0x08,
                    b't' => b'\t',
                    b'n' => b'\n',
                    b'v' => 0x0b,
                    b'f' => 0x0c,
                    b'r' => b'\r',
                    b'"' | b'\\' => escape,
                    b'0'..=b'3' => {
                        let (digits, tail) = rest.split_at_checked(2)?;
                        if !digits.iter().all(|digit| matches!(digit, b'0'..=b'7')) {
                            return None;
                        }
                        rest = tail;
                        ((escape - b'0') << 6) | ((digits[0] - b'0') << 3) | (digits[1] - b'0')
                    }
                    _ => return None,
                });
            }
            _ => name.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_goes_both_ways() {
        for name in [
            &b"plain/x.rs"[..],
            b"sp ace",
            b"\xfc\x01\"\\\n\t/z",
            "ü".as_bytes(),
        ] {
            let quoted = quote(name);
            if quoted[0] == b'"' {
                assert_eq!(unquote(&quoted), Some((name.to_vec(), &b""[..])));
            } else {
                assert_eq!(quoted, name);
            }
        }
        assert_eq!(quote("ü".as_bytes()), b"\"\\303\\274\"");
        assert_eq!(unquote(b"\"open"), None);
        assert_eq!(unquote(b"\"\\9\""), None);
    }

    #[test]
    fn unsafe_names_are_told_apart() {
        for bad in [
            "",
            "/etc/passwd",
            "../x",
            "a/../x",
            "a/..",
            ".",
            "a/./b",
            "a//b",
            "a/",
            ".git",
            "a/.GIT/config",
            ".git./x",
            "a\0b",
            "GIT~1/x",
        ] {
            assert!(Name::new(bad.as_bytes()).safe().is_err(), "{bad:?}");
        }
        for good in [
            "a",
            "a/b.txt",
            ".gitignore",
            "..a",
            "a/...",
            "git",
            ".github/x",
        ] {
            assert_eq!(Name::new(good.as_bytes()).safe(), Ok(good.as_bytes()));
        }
        assert_eq!(Name::new(b"/workspace/a/b").safe(), Ok(&b"a/b"[..]));
        assert!(Name::new(b"/workspace/../b").safe().is_err());
        assert!(Name::new(b"/workspace//etc/passwd").safe().is_err());
        assert!(Name::new(&[b'x'; 256]).safe().is_err());
    }
}
