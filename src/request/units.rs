//! Durations, sizes and digests, each in the one grammar that requests, plans and receipts share.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A span of time as a request writes it: an integer and `ms`, `s`, `m`, `h` or `d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(u64);

/// A number of bytes as a request writes it: an integer and `B`, `KiB`, `MiB` or `GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(u64);

/// The sha256 of some bytes: `sha256:` and 64 hex digits in data, 12 hex digits for people.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

/// A share of processors as a request writes it: a whole number, or text such as `1.5`. In thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cpus(u64);

/// More than any machine has.
const MOST_CPUS: u64 = 8192;

const DURATION_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];
const SIZE_UNITS: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// An integer and a unit; `Err` holds the nearest right form, where one can be told.
fn parse(text: &str, units: &[(&str, u64)], fallback: &str) -> Result<u64, Option<String>> {
    let trimmed = text.trim();
    let digits = trimmed.len()
        - trimmed
            .trim_start_matches(|c: char| c.is_ascii_digit())
            .len();
    let (number, unit) = trimmed.split_at(digits);
    let exact = units
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, factor)| *factor);
    if let (Ok(number), Some(factor)) = (number.parse::<u64>(), exact)
        && trimmed == text
        && let Some(value) = number.checked_mul(factor)
    {
        return Ok(value);
    }
    if number.is_empty() || number.parse::<u64>().is_err() {
        return Err(None);
    }
    let wanted = unit.trim().to_ascii_lowercase();
    let alias = match wanted.as_str() {
        "m" if fallback == "B" => "MiB",
        "" => fallback,
        "sec" | "secs" | "second" | "seconds" => "s",
        "min" | "mins" | "minute" | "minutes" => "m",
        "hour" | "hours" | "hr" => "h",
        "day" | "days" => "d",
        "msec" | "millis" | "milliseconds" => "ms",
        "k" | "kb" | "kib" => "KiB",
        "mb" | "mib" => "MiB",
        "g" | "gb" | "gib" => "GiB",
        "b" | "bytes" => "B",
        other => other,
    };
    let known = units
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(alias))
        .map(|(name, _)| *name);
    Err(known.map(|name| format!("{number}{name}")))
}

/// The largest unit that divides the value.
fn show(value: u64, units: &[(&str, u64)]) -> String {
    let (name, factor) = units
        .iter()
        .find(|(_, factor)| value > 0 && value.is_multiple_of(*factor))
        .unwrap_or(&units[units.len() - 1]);
    format!("{}{name}", value / factor)
}

impl Duration {
    /// From milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }
    /// In milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0
    }
    /// Reads `250ms`, `5m`, `1h`.
    ///
    /// # Errors
    /// Where the text is something else; with the nearest right form, where one can be told.
    pub fn parse(text: &str) -> Result<Self, Option<String>> {
        parse(text, &DURATION_UNITS, "s").map(Self)
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&show(self.0, &DURATION_UNITS))
    }
}

impl Size {
    /// From bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }
    /// In bytes.
    pub const fn as_bytes(self) -> u64 {
        self.0
    }
    /// Reads `64KiB`, `1GiB`, `100B`.
    ///
    /// # Errors
    /// Where the text is something else; with the nearest right form, where one can be told.
    pub fn parse(text: &str) -> Result<Self, Option<String>> {
        parse(text, &SIZE_UNITS, "B").map(Self)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&show(self.0, &SIZE_UNITS))
    }
}

impl Cpus {
    /// From thousandths of a processor.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }
    /// In thousandths of a processor.
    pub const fn as_millis(self) -> u64 {
        self.0
    }
    /// From a whole number; not 0, and no more than 8192.
    pub fn whole(number: i64) -> Option<Self> {
        let number = u64::try_from(number).ok()?;
        (1..=MOST_CPUS)
            .contains(&number)
            .then_some(Self(number * 1000))
    }
    /// The number, where it is whole.
    pub const fn as_whole(self) -> Option<u64> {
        match self.0 % 1000 {
            0 => Some(self.0 / 1000),
            _ => None,
        }
    }
    /// Reads `2`, `1.5`, `0.25`: at most three digits after the point; not 0, and no more than 8192.
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, part) = match text.split_once('.') {
            None => (text, "0"),
            Some((whole, part)) => (whole, part),
        };
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
        if !digits(whole) || !digits(part) || whole.len() > 4 || part.len() > 3 {
            return None;
        }
        let whole: u64 = whole.parse().ok()?;
        let part: u64 = format!("{part:0<3}").parse().ok()?;
        let millis = whole * 1000 + part;
        (millis > 0 && millis <= MOST_CPUS * 1000).then_some(Self(millis))
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 1000, self.0 % 1000);
        if part == 0 {
            return write!(f, "{whole}");
        }
        let part = format!("{part:03}");
        write!(f, "{whole}.{}", part.trim_end_matches('0'))
    }
}

impl Digest {
    /// The sha256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// Reads `sha256:` and 64 hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        Self::from_hex(text.strip_prefix("sha256:")?)
    }

    /// Reads 64 hex digits.
    pub fn from_hex(hex: &str) -> Option<Self> {
        let hex = hex.as_bytes();
        let mut out = [0; 32];
        if hex.len() != 64 {
            return None;
        }
        for (byte, pair) in out.iter_mut().zip(hex.chunks_exact(2)) {
            let digit = |c: u8| {
                char::from(c)
                    .to_digit(16)
                    .and_then(|d| u8::try_from(d).ok())
            };
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(out))
    }

    /// 64 hex digits.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// 12 hex digits, for people.
    pub fn short(&self) -> String {
        self.hex().split_at(12).0.to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
impl schemars::JsonSchema for Digest {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Digest".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "`sha256:` and 64 hex digits.",
            "type": "string",
            "pattern": "^sha256:[0-9a-f]{64}$",
        })
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| serde::de::Error::custom("not `sha256:` and 64 hex digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Cpus, Duration, Size};

    #[test]
    fn one_grammar() {
        assert_eq!(Duration::parse("5m").map(Duration::as_millis), Ok(300_000));
        assert_eq!(
            Duration::parse("250ms").map(|d| d.to_string()),
            Ok("250ms".into())
        );
        assert_eq!(Size::parse("64KiB").map(Size::as_bytes), Ok(65_536));
        assert_eq!(Size::from_bytes(1 << 30).to_string(), "1GiB");
        assert_eq!(Size::from_bytes(0).to_string(), "0B");
    }

    #[test]
    fn shares_of_processors() {
        for (text, millis, shown) in [
            ("2", 2000, "2"),
            ("1.5", 1500, "1.5"),
            ("0.250", 250, "0.25"),
            ("2.0", 2000, "2"),
            ("8192", 8_192_000, "8192"),
        ] {
            let cpus = Cpus::parse(text).expect(text);
            assert_eq!((cpus.as_millis(), cpus.to_string()), (millis, shown.into()));
        }
        for text in [
            "", "0", "0.0", ".5", "1.", "1.2345", "-1", "1,5", "8192.001", "99999", "1e3", " 1",
        ] {
            assert_eq!(Cpus::parse(text), None, "{text}");
        }
        assert_eq!(Cpus::whole(0), None);
    }

    #[test]
    fn the_nearest_right_form_is_told() {
        for (text, near) in [
            ("60", "60s"),
            ("5 min", "5m"),
            ("5 m", "5m"),
            ("2 hours", "2h"),
        ] {
            assert_eq!(Duration::parse(text), Err(Some(near.into())), "{text}");
        }
        assert_eq!(Size::parse("64K"), Err(Some("64KiB".into())));
        assert_eq!(Size::parse("64M"), Err(Some("64MiB".into())));
        assert_eq!(Size::parse("1gb"), Err(Some("1GiB".into())));
        for text in ["", "soon", "-1s", "1.5h", "99999999999999999999s"] {
            assert_eq!(Duration::parse(text), Err(None), "{text}");
        }
    }
}
