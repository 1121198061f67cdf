//! What the loop remembers of a client, and how it reads what the client says.

use crate::tree::refusal;
use pyro_protocol::Op;
use pyro_protocol::message::{Failure, FailureCode, HostMessage};
use std::collections::HashMap;

/// Calls of one channel at the same time.
pub(super) const MAX_CALLS: usize = 256;
/// Gaps in the numbers of a channel's calls that are remembered; older ones count as used.
const MAX_GAPS: usize = 1024;

/// One client of the link.
#[derive(Debug, Default)]
pub(super) struct Channel {
    /// From the client's number of a call to ours.
    pub(super) calls: HashMap<u32, u64>,
    /// Broke the rules: nothing counts until the client closes it.
    pub(super) failed: bool,
    used: Used,
}

impl Channel {
    /// Takes a number for a new call; whether it was free.
    pub(super) fn take(&mut self, call: u32) -> bool {
        self.used.insert(call)
    }

    /// Whether a call had this number.
    pub(super) fn had(&self, call: u32) -> bool {
        self.used.contains(call)
    }
}

/// Numbers that were used, as ranges: as a rule a single one.
#[derive(Debug, Default)]
struct Used(Vec<(u32, u32)>);

impl Used {
    fn contains(&self, number: u32) -> bool {
        let after = self.0.partition_point(|&(first, _)| first <= number);
        after > 0 && self.0[after - 1].1 >= number
    }

    fn insert(&mut self, number: u32) -> bool {
        if self.contains(number) {
            return false;
        }
        let at = self.0.partition_point(|&(first, _)| first <= number);
        let joins_before = at > 0 && self.0[at - 1].1.checked_add(1) == Some(number);
        let joins_after = self
            .0
            .get(at)
            .is_some_and(|&(first, _)| number.checked_add(1) == Some(first));
        match (joins_before, joins_after) {
            (true, true) => {
                self.0[at - 1].1 = self.0[at].1;
                self.0.remove(at);
            }
            (true, false) => self.0[at - 1].1 = number,
            (false, true) => self.0[at].0 = number,
            (false, false) => self.0.insert(at, (number, number)),
        }
        if self.0.len() > MAX_GAPS {
            self.0[0].1 = self.0[1].1;
            self.0.remove(1);
        }
        true
    }
}

/// What a header on stream 0 turned out to be.
#[derive(Debug)]
pub(super) enum Said {
    /// A message of the vocabulary.
    Message(HostMessage),
    /// A call that cannot be carried out; only the call fails.
    BadCall(Failure),
    /// Nothing that can be understood; the channel fails.
    Nonsense(Failure),
}

/// Reads a header.
pub(super) fn read(header: &[u8]) -> Said {
    let error = match serde_json::from_slice::<HostMessage>(header) {
        Ok(message) => return Said::Message(message),
        Err(error) => error,
    };
    let value = serde_json::from_slice::<serde_json::Value>(header).unwrap_or_default();
    let op = value.get("call").and_then(|call| {
        call.as_str().or_else(|| {
            call.as_object()
                .filter(|map| map.len() == 1)?
                .keys()
                .next()
                .map(String::as_str)
        })
    });
    match op {
        Some(op) if Op::NAMES.contains(&op) => Said::BadCall(refusal(
            FailureCode::BadRequest,
            format!("read the arguments of {op}: {error}"),
        )),
        Some(op) => {
            let op: String = op.chars().take(64).collect();
            Said::BadCall(refusal(
                FailureCode::UnknownOp,
                format!("do {op}: this agent does not know it"),
            ))
        }
        None => Said::Nonsense(refusal(
            FailureCode::BadRequest,
            format!("read a message: {error}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::{Said, Used, read};
    use pyro_protocol::message::FailureCode;

    #[test]
    fn used_numbers_are_remembered_in_bounded_memory() {
        let mut used = Used::default();
        for number in [5, 3, 4, 0, u32::MAX] {
            assert!(used.insert(number) && !used.insert(number));
        }
        assert_eq!(used.0, [(0, 0), (3, 5), (u32::MAX, u32::MAX)]);
        for number in (10..100_000).step_by(2) {
            used.insert(number);
        }
        assert!(used.0.len() <= super::MAX_GAPS);
        assert!(used.contains(99_998) && !used.contains(99_999));
    }

    #[test]
    fn headers_fail_as_narrowly_as_they_can() {
        for (header, code) in [
            (
                &br#"{"call":{"time.travel":{}}}"#[..],
                Some(FailureCode::UnknownOp),
            ),
            (br#"{"call":"time.travel"}"#, Some(FailureCode::UnknownOp)),
            (
                br#"{"call":{"file.read":{"path":1}}}"#,
                Some(FailureCode::BadRequest),
            ),
            (br#"{"call":{}}"#, None),
            (br#"{"call":{"a":1,"b":2}}"#, None),
            (br#"{"dance":{}}"#, None),
            (b"", None),
            (b"\xff", None),
        ] {
            match (read(header), code) {
                (Said::BadCall(failure), Some(code)) => assert_eq!(failure.code, code),
                (Said::Nonsense(_), None) => {}
                (other, _) => panic!("{} is {other:?}", String::from_utf8_lossy(header)),
            }
        }
    }
}
