//! A path inside the workspace, checked once at the door.

use std::fmt;

/// A path relative to `/workspace` that cannot leave it by spelling: no `..`, no NUL, no empty or `.` parts.
///
/// Links inside the workspace may still lead elsewhere; the guest checks those when it opens the path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct GuestPath(Vec<u8>);

/// Why some text is not a [`GuestPath`]. Completes "this path ...".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestPathError {
    /// No text.
    Empty,
    /// A part is `..`.
    Parent,
    /// Absolute, and not under `/workspace`.
    Elsewhere,
    /// Contains a NUL byte.
    Nul,
    /// Longer than 4095 bytes, or a part longer than 255.
    TooLong,
}

impl fmt::Display for GuestPathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "is empty",
            Self::Parent => "has a `..` part; write the path it leads to",
            Self::Elsewhere => "is not under `/workspace`",
            Self::Nul => "has a NUL byte",
            Self::TooLong => "is too long: at most 4095 bytes, 255 for each part",
        })
    }
}

impl std::error::Error for GuestPathError {}

impl GuestPath {
    /// `/workspace` itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// Reads a path as a request writes it: relative to `/workspace`, or absolute and under it.
    ///
    /// # Errors
    /// Where it is empty, leaves the workspace by its spelling, or is no path.
    pub fn parse(text: impl AsRef<[u8]>) -> Result<Self, GuestPathError> {
        let text = text.as_ref();
        if text.is_empty() {
            return Err(GuestPathError::Empty);
        }
        if text.contains(&0) {
            return Err(GuestPathError::Nul);
        }
        let relative = match text.strip_prefix(b"/") {
            None => text,
            Some(_) => match text.strip_prefix(b"/workspace") {
                Some(rest) if rest.is_empty() || rest.starts_with(b"/") => rest,
                _ => return Err(GuestPathError::Elsewhere),
            },
        };
        let mut path = Vec::with_capacity(relative.len());
        for part in relative.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => continue,
                b".." => return Err(GuestPathError::Parent),
                _ if part.len() > 255 => return Err(GuestPathError::TooLong),
                _ => {}
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(part);
        }
        if path.len() > 4095 {
            return Err(GuestPathError::TooLong);
        }
        Ok(Self(path))
    }

    /// Relative to `/workspace`; empty for `/workspace` itself.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is `/workspace` itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The directory it lies in; `None` for `/workspace` itself.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        Some(Self(self.0[..end].to_vec()))
    }

    /// The absolute path as commands see it.
    pub fn absolute(&self) -> Vec<u8> {
        let mut out = b"/workspace".to_vec();
        if !self.is_root() {
            out.push(b'/');
            out.extend_from_slice(&self.0);
        }
        out
    }
}

impl fmt::Display for GuestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            f.write_str(".")
        } else {
            f.write_str(&String::from_utf8_lossy(&self.0))
        }
    }
}

impl fmt::Debug for GuestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::{GuestPath, GuestPathError};

    #[test]
    fn spellings_of_one_path_are_one_path() {
        for text in ["a/b", "/workspace/a/b", "./a//b/", "/workspace//a/./b"] {
            assert_eq!(
                GuestPath::parse(text).expect(text).as_bytes(),
                b"a/b",
                "{text}"
            );
        }
        assert!(GuestPath::parse("/workspace").expect("the root").is_root());
        assert!(GuestPath::parse(".").expect("the root").is_root());
    }

    #[test]
    fn what_leaves_the_workspace_is_refused() {
        for (text, error) in [
            ("", GuestPathError::Empty),
            ("a/../b", GuestPathError::Parent),
            ("/etc/passwd", GuestPathError::Elsewhere),
            ("/workspace2/a", GuestPathError::Elsewhere),
            ("/", GuestPathError::Elsewhere),
            ("a\0b", GuestPathError::Nul),
            (&"x".repeat(256), GuestPathError::TooLong),
            (&"x/".repeat(2100), GuestPathError::TooLong),
        ] {
            assert_eq!(GuestPath::parse(text), Err(error), "{text}");
        }
    }
}
