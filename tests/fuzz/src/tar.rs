//! Archives that a fuzzer can make: it never guesses a checksum, so each header gets the one that it should have.

const BLOCK: usize = 512;
/// Where a header has its size and its checksum.
const SIZE: std::ops::Range<usize> = 124..136;
const SUM: std::ops::Range<usize> = 148..156;

/// The archive with right checksums, wherever the headers are by the sizes that they state.
pub fn mended(data: &[u8]) -> Vec<u8> {
    let mut archive = data.to_vec();
    let mut at = 0;
    while let Some(header) = archive.get_mut(at..at + BLOCK) {
        let size = size(&header[SIZE]);
        if header.iter().any(|byte| *byte != 0) {
            header[SUM].fill(b' ');
            let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
            header[SUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        let Some(next) = size
            .checked_next_multiple_of(BLOCK)
            .and_then(|size| size.checked_add(at + BLOCK))
        else {
            break;
        };
        at = next;
    }
    archive
}

/// Octal digits, as far as they go.
fn size(field: &[u8]) -> usize {
    let digits = field
        .iter()
        .skip_while(|byte| **byte == b' ')
        .take_while(|byte| matches!(byte, b'0'..=b'7'));
    digits.fold(0_usize, |size, digit| {
        size.saturating_mul(8)
            .saturating_add(usize::from(digit - b'0'))
    })
}
