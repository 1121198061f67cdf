//! Moments, as receipts write them.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// A moment in UTC with milliseconds; shows itself as RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    millis: u64,
}

impl Timestamp {
    /// This moment. Only the outermost layer asks for it.
    pub fn now() -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// Milliseconds since 1970.
    pub const fn from_millis(millis: u64) -> Self {
        Self { millis }
    }

    /// Milliseconds since 1970.
    pub const fn as_millis(self) -> u64 {
        self.millis
    }

    /// So much later.
    #[must_use]
    pub const fn plus_millis(self, millis: u64) -> Self {
        Self::from_millis(self.millis.saturating_add(millis))
    }

    /// Milliseconds since 1970.
    pub const fn millis(self) -> u64 {
        self.millis
    }

    /// The moment that a [`Timestamp`] was shown as: `2026-11-22T09:30:00.123Z`; nothing else is read.
    pub fn parse(text: &str) -> Option<Self> {
        let number = |from: usize, to: usize| {
            let digits = text.get(from..to)?;
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| digits.parse::<u64>().ok())?
        };
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let (hour, minute) = (number(11, 13)?, number(14, 16)?);
        let (second, milli) = (number(17, 19)?, number(20, 23)?);
        // The inverse of `date`.
        let shifted_year = year.checked_sub(u64::from(month <= 2))?;
        let (era, year_of_era) = (shifted_year / 400, shifted_year % 400);
        let shifted_month = if month > 2 { month - 3 } else { month + 9 };
        let day_of_year = (153 * shifted_month + 2) / 5 + day.checked_sub(1)?;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = (era * 146_097 + day_of_era).checked_sub(719_468)?;
        let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
        let moment = Self::from_millis(seconds * 1000 + milli);
        // What is not spelled as we do, or is no date, comes out otherwise.
        (moment.to_string() == text).then_some(moment)
    }

    /// The moment in [compact](Self::compact) form.
    pub fn parse_compact(text: &str) -> Option<Self> {
        let (date, time) = text.split_once('T')?;
        let part = |text: &str, from, to| text.get(from..to).map(str::to_owned);
        let date = [part(date, 0, 4)?, part(date, 4, 6)?, part(date, 6, 8)?].join("-");
        let time = [
            part(time, 0, 2)?,
            part(time, 2, 4)?,
            time.get(4..)?.to_owned(),
        ]
        .join(":");
        Self::parse(&format!("{date}T{time}"))
    }

    /// Fit for a file name, and in order: `20261122T093000.123Z`.
    pub fn compact(self) -> String {
        self.to_string().replace(['-', ':'], "")
    }

    /// Year, month, day. The days-to-civil algorithm of Howard Hinnant's `chrono`-compatible date algorithms.
    fn date(self) -> (u64, u64, u64) {
        let shifted = self.millis / 86_400_000 + 719_468;
        let era = shifted / 146_097;
        let day_of_era = shifted % 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 {
            shifted_month + 3
        } else {
            shifted_month - 9
        };
        (year_of_era + era * 400 + u64::from(month <= 2), month, day)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.date();
        let (seconds, millis) = (self.millis / 1000 % 86_400, self.millis % 1000);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Timestamp;

    #[test]
    fn known_moments() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_795_339_800_123, "2026-11-22T09:30:00.123Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(Timestamp::from_millis(millis).to_string(), text);
            assert_eq!(Timestamp::parse(text).map(Timestamp::millis), Some(millis));
        }
        for wrong in [
            "",
            "2026-02-30T00:00:00.000Z",
            "2026-00-01T00:00:00.000Z",
            "1969-12-31T23:59:59.999Z",
            "2026-11-22T09:30:00.123+00:00",
            "2026-11-22 09:30:00.123Z",
            "2026-11-22T24:00:00.000Z",
            "\u{fc}\u{fc}-11-22T09:30:00.123Z",
        ] {
            assert_eq!(Timestamp::parse(wrong), None, "{wrong}");
        }
        assert_eq!(Timestamp::from_millis(0).compact(), "19700101T000000.000Z");
    }
}
