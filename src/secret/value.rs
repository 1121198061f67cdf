//! The value of a secret, and what cannot be one.

use std::fmt;

/// A value that nobody may see. `Debug` says nothing of it, and its memory is overwritten when it is dropped.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

/// Why a value cannot be a secret; completes "the value ...". Says nothing about the value that this does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// There is nothing in it.
    Empty,
    /// It could not be taken out of outputs without taking much else with it.
    TooShort,
    /// No environment of a program holds it.
    TooLong,
    /// It is not UTF-8.
    NotText,
    /// It has a NUL byte.
    Nul,
}

impl Unfit {
    /// One thing to try.
    pub fn help(self) -> &'static str {
        match self {
            Self::TooShort => {
                "what is as short as that is found in outputs by chance; what is no secret goes into `env`"
            }
            Self::Empty => "is the right variable or file named?",
            Self::TooLong | Self::NotText | Self::Nul => {
                "a secret goes into a variable of one program; give it something that fits there, base64 for instance"
            }
        }
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("is empty"),
            Self::TooShort => write!(
                f,
                "has fewer than {} bytes, line breaks at its end not counted",
                Secret::LEAST
            ),
            Self::TooLong => write!(f, "has more than {} bytes", Secret::MOST),
            Self::NotText => f.write_str("is not UTF-8"),
            Self::Nul => f.write_str("has a NUL byte"),
        }
    }
}

impl Secret {
    /// Shorter ones, line breaks at the end not counted, are refused.
    pub const LEAST: usize = 8;
    /// Longer ones are refused.
    pub const MOST: usize = 65_536;

    /// Takes a value, exactly as it is.
    ///
    /// # Errors
    /// Where it cannot be a secret.
    pub fn new(bytes: Vec<u8>) -> Result<Self, Unfit> {
        let secret = Self(bytes);
        let bytes = &secret.0;
        if bytes.is_empty() {
            return Err(Unfit::Empty);
        }
        if bytes.len() > Self::MOST {
            return Err(Unfit::TooLong);
        }
        if bytes.contains(&0) {
            return Err(Unfit::Nul);
        }
        if std::str::from_utf8(bytes).is_err() {
            return Err(Unfit::NotText);
        }
        if without_final_breaks(bytes).len() < Self::LEAST {
            return Err(Unfit::TooShort);
        }
        Ok(secret)
    }

    /// The value itself. Whoever takes it answers for where it goes.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

/// A value without the line breaks at its end, which are no part of what is secret.
pub(super) fn without_final_breaks(bytes: &[u8]) -> &[u8] {
    let end = bytes
        .iter()
        .rposition(|byte| !matches!(byte, b'\n' | b'\r'));
    &bytes[..end.map_or(0, |last| last + 1)]
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.fill(0);
        // Or the writes would be seen to be in vain.
        std::hint::black_box(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::{Secret, Unfit};

    #[test]
    fn what_cannot_be_a_secret_is_refused_and_why() {
        for (value, why) in [
            (&b""[..], Unfit::Empty),
            (b"1234567", Unfit::TooShort),
            (b"1234567\n\r\n", Unfit::TooShort),
            (b"\n\n\n\n\n\n\n\n\n", Unfit::TooShort),
            (b"12345\x0078", Unfit::Nul),
            (b"1234567\xff", Unfit::NotText),
            (&[b'a'; Secret::MOST + 1], Unfit::TooLong),
        ] {
            assert_eq!(Secret::new(value.to_vec()).expect_err("refused"), why);
        }
        for value in [&b"12345678"[..], b"12345678\n", &[b'a'; Secret::MOST]] {
            let secret = Secret::new(value.to_vec()).expect("fits");
            assert_eq!(secret.expose(), value);
            assert_eq!(format!("{secret:?}"), "Secret(..)");
        }
    }
}
