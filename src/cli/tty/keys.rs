//! What is typed, and what of it is for pyro: `~` at the beginning of a line, as ssh has it.

/// What somebody wants of pyro itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Wish {
    /// `~ .`: to leave, whatever goes on.
    Leave,
    /// `~ ?`: to know what there is.
    Help,
}

/// Where in a line whoever types is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Begin,
    /// After a `~` at the beginning, which is held back.
    Tilde,
    Inside,
}

/// Takes keys apart.
#[derive(Debug)]
pub(in crate::cli) struct Keys {
    place: Place,
}

impl Keys {
    pub(in crate::cli) fn new() -> Self {
        Self {
            place: Place::Begin,
        }
    }

    /// What of `typed` is for the program, and the first wish, after which nothing more is read.
    pub(in crate::cli) fn take(&mut self, typed: &[u8]) -> (Vec<u8>, Option<Wish>) {
        let mut keys = Vec::with_capacity(typed.len() + 1);
        let mut wish = None;
        for &key in typed {
            match (self.place, key) {
                (Place::Tilde, b'.') => {
                    wish = Some(Wish::Leave);
                    break;
                }
                (Place::Tilde, b'?') => {
                    wish = Some(Wish::Help);
                    self.place = Place::Begin;
                    continue;
                }
                (Place::Begin, b'~') => {
                    self.place = Place::Tilde;
                    continue;
                }
                // Twice for once.
                (Place::Tilde, b'~') => {}
                (Place::Tilde, _) => keys.push(b'~'),
                (Place::Begin | Place::Inside, _) => {}
            }
            keys.push(key);
            self.place = match key {
                b'\r' | b'\n' => Place::Begin,
                _ => Place::Inside,
            };
        }
        (keys, wish)
    }
}

#[cfg(test)]
mod tests {
    use super::{Keys, Wish};

    #[test]
    fn a_tilde_at_the_beginning_of_a_line_is_for_pyro() {
        for (typed, keys, wish) in [
            (&["ls ~.\r"][..], "ls ~.\r", None),
            (&["~."], "", Some(Wish::Leave)),
            (&["x\r", "~", "."], "x\r", Some(Wish::Leave)),
            (&["x\n~.rest"], "x\n", Some(Wish::Leave)),
            (&["~/bin/tool\r"], "~/bin/tool\r", None),
            (&["~~."], "~.", None),
            (&["~", "?"], "", Some(Wish::Help)),
            (&["~?~."], "", Some(Wish::Leave)),
            (&["a~.", "\r~\r~."], "a~.\r~\r", Some(Wish::Leave)),
        ] {
            let mut state = Keys::new();
            let (mut all, mut last) = (Vec::new(), None);
            for piece in typed {
                let (keys, wish) = state.take(piece.as_bytes());
                all.extend(keys);
                last = wish.or(last);
            }
            let shown = String::from_utf8_lossy(&all).into_owned();
            assert_eq!((shown.as_str(), last), (keys, wish), "{typed:?}");
        }
    }
}
