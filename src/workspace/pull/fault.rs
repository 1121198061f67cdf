//! Places where a test makes the host refuse, or ends everything as a kill would: before each call that changes
//! something. In the program that is shipped there is nothing here.

use rustix::io::Errno;

/// Passes, but for a test that says otherwise.
///
/// # Errors
/// What the test says.
#[cfg(not(test))]
#[inline]
#[expect(
    clippy::unnecessary_wraps,
    reason = "the same shape as in tests, where it may refuse"
)]
pub(super) fn point() -> Result<(), Errno> {
    Ok(())
}

#[cfg(test)]
pub(super) use in_tests::{Faults, point};

#[cfg(test)]
mod in_tests {
    use super::Errno;
    use std::cell::RefCell;

    type Answer = Box<dyn FnMut(usize) -> Result<(), Errno>>;

    thread_local! {
        static ANSWER: RefCell<Option<(usize, Answer)>> = const { RefCell::new(None) };
    }

    pub(in super::super) fn point() -> Result<(), Errno> {
        ANSWER.with_borrow_mut(|answer| match answer {
            None => Ok(()),
            Some((passed, answer)) => {
                *passed += 1;
                answer(*passed - 1)
            }
        })
    }

    /// As long as it lives, each point of this thread asks it, with the number of points passed.
    #[derive(Debug)]
    pub(in super::super) struct Faults(());

    impl Faults {
        pub(in super::super) fn new(
            answer: impl FnMut(usize) -> Result<(), Errno> + 'static,
        ) -> Self {
            ANSWER.set(Some((0, Box::new(answer))));
            Self(())
        }

        /// How many points were passed.
        pub(in super::super) fn passed() -> usize {
            ANSWER.with_borrow(|answer| answer.as_ref().map_or(0, |(passed, _)| *passed))
        }
    }

    impl Drop for Faults {
        fn drop(&mut self) {
            ANSWER.set(None);
        }
    }
}
