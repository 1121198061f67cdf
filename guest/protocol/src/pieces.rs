//! Contents whose length nobody knows beforehand, because the file may change while it is read: pieces, each after its
//! length in four bytes, the lowest first; a piece of no length is the end.
//!
//! ```text
//!  05 00 00 00  h e l l o   02 00 00 00  !  \n   00 00 00 00
//! ```

/// What stands before a piece of this length, or at the end (0).
pub fn head(length: u32) -> [u8; 4] {
    length.to_le_bytes()
}

/// Takes the head of the next piece from the beginning of `bytes`: its length, 0 at the end. Nothing where the head is
/// not whole yet.
pub fn split(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*head), rest))
}

#[cfg(test)]
mod tests {
    use super::{head, split};

    #[test]
    fn a_head_reads_back() {
        for length in [0, 1, 65_536, u32::MAX] {
            let bytes = [&head(length)[..], b"rest"].concat();
            assert_eq!(split(&bytes), Some((length, &b"rest"[..])));
        }
        assert_eq!(split(b"\x01\0\0"), None);
    }
}
