//! The bytes of the wire. However they are cut: the same frames or the same error, and never more than was sent.

use pyro_protocol::manifest::Manifest;
use pyro_protocol::{Decoder, Frame, FrameError, GuestMessage, HostMessage};

/// Takes a byte that says how the rest is cut, and the bytes of a link.
pub fn frames(data: &[u8]) {
    let Some((cut, bytes)) = data.split_first() else {
        return;
    };
    let whole = decoded(&[bytes]);
    let pieces: Vec<_> = bytes.chunks(usize::from(*cut).max(1)).collect();
    assert_eq!(decoded(&pieces), whole, "cut after every {cut}");
    let (frames, _) = whole;
    let mut again = Vec::new();
    for frame in &frames {
        frame.encode(&mut again);
        let _ = serde_json::from_slice::<HostMessage>(&frame.header);
        let _ = serde_json::from_slice::<GuestMessage>(&frame.header);
        let _ = Manifest::decode(&frame.body);
    }
    assert!(
        bytes.starts_with(&again),
        "the frames are not what was sent"
    );
    if let Ok(manifest) = Manifest::decode(bytes) {
        assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest));
    }
}

/// The frames before the end, or before the first bytes that are none.
fn decoded(pieces: &[&[u8]]) -> (Vec<Frame>, Option<FrameError>) {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}
