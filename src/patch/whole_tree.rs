//! The patch that makes one tree of another: a section for each path that differs, renames found.

use std::collections::BTreeMap;

use super::diff::{Moved, Named, Side, is_binary, moved, moved_whole, named, unified};
use super::renames::{self, Rename};

/// A file larger than this is named, not shown.
const MAX_SHOWN: u64 = 8 << 20;
/// Of all files that are shown, both sides; beyond that the rest is named.
const MAX_ALL_SHOWN: u64 = 64 << 20;
/// Files that are compared with others in search of renames: as large as this, and as many.
const MAX_COMPARED: u64 = 1 << 20;
const MAX_ALL_COMPARED: u64 = 32 << 20;
const MAX_CANDIDATES: usize = 2000;

/// A path that differs, as far as it is known without reading it. Directories and devices have no place in a patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Relative to the tree.
    pub path: Vec<u8>,
    /// The file or link as it was.
    pub old: Option<Named>,
    /// The file or link as it is.
    pub new: Option<Named>,
}

/// A side of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// As it was.
    Old,
    /// As it is.
    New,
}

/// Reads a side of a difference: the file, or the link's target; `None` where there is nothing to read by now.
pub type Load<'a, E> = dyn FnMut(Which, &Difference) -> Result<Option<Vec<u8>>, E> + 'a;

/// The patch of all differences, which are sorted by path.
///
/// # Errors
/// Those of `load`.
pub fn whole_tree<E>(differences: &[Difference], load: &mut Load<'_, E>) -> Result<Vec<u8>, E> {
    let mut maker = Maker {
        differences,
        load,
        held: BTreeMap::new(),
        shown: 0,
    };
    let mut renames = renames::exact(differences);
    maker.hold_candidates(&renames)?;
    renames.extend(renames::similar(differences, &maker.held));
    let sources: BTreeMap<usize, &Rename> =
        renames.iter().map(|rename| (rename.from, rename)).collect();
    let targets: BTreeMap<usize, &Rename> =
        renames.iter().map(|rename| (rename.to, rename)).collect();
    let mut out = Vec::new();
    for at in 0..differences.len() {
        match targets.get(&at) {
            Some(rename) => out.extend(maker.renamed(rename)?),
            // Shown where it went.
            None if sources.contains_key(&at) => {}
            None => out.extend(maker.plain(at)?),
        }
    }
    Ok(out)
}

struct Maker<'a, 'l, E> {
    differences: &'a [Difference],
    load: &'a mut Load<'l, E>,
    /// Contents of files that went or came, by the number of the difference.
    held: BTreeMap<usize, Vec<u8>>,
    shown: u64,
}

impl<E> Maker<'_, '_, E> {
    /// Reads the files that may be renamed ones, as far as that is worth it.
    fn hold_candidates(&mut self, exact: &[Rename]) -> Result<(), E> {
        let known: std::collections::BTreeSet<usize> = exact
            .iter()
            .flat_map(|rename| [rename.from, rename.to])
            .collect();
        let candidates = |wanted: fn(&Difference) -> bool| -> Vec<usize> {
            let all = self.differences.iter().enumerate();
            all.filter(|(at, difference)| {
                let side = difference.old.or(difference.new);
                let fits =
                    |side: Named| renames::is_file(side) && (1..=MAX_COMPARED).contains(&side.size);
                wanted(difference) && !known.contains(at) && side.is_some_and(fits)
            })
            .map(|(at, _)| at)
            .take(MAX_CANDIDATES)
            .collect()
        };
        let (from, to) = (candidates(renames::went), candidates(renames::came));
        if from.is_empty() || to.is_empty() {
            return Ok(());
        }
        let mut left = MAX_ALL_COMPARED;
        for (which, at) in (from.into_iter().map(|at| (Which::Old, at)))
            .chain(to.into_iter().map(|at| (Which::New, at)))
        {
            let difference = &self.differences[at];
            let size = difference
                .old
                .or(difference.new)
                .map_or(0, |side| side.size);
            let Some(rest) = left.checked_sub(size) else {
                break;
            };
            left = rest;
            if let Some(bytes) = (self.load)(which, difference)?
                && !is_binary(&bytes)
            {
                self.held.insert(at, bytes);
            }
        }
        Ok(())
    }

    /// The content of a side, read now unless it was before.
    fn content(&mut self, which: Which, at: usize) -> Result<Option<Vec<u8>>, E> {
        match self.held.remove(&at) {
            Some(bytes) => Ok(Some(bytes)),
            None => (self.load)(which, &self.differences[at]),
        }
    }

    /// Whether sides of these sizes are shown; then they count.
    fn fits(&mut self, sizes: [Option<Named>; 2]) -> bool {
        let sizes = sizes.map(|side| side.map_or(0, |side| side.size));
        let all = self.shown.saturating_add(sizes[0]).saturating_add(sizes[1]);
        let fits = sizes.iter().all(|size| *size <= MAX_SHOWN) && all <= MAX_ALL_SHOWN;
        if fits {
            self.shown = all;
        }
        fits
    }

    fn plain(&mut self, at: usize) -> Result<Vec<u8>, E> {
        let Difference { path, old, new } = &self.differences[at];
        // Where only the mode differs there is nothing to read.
        let same = matches!((old, new), (Some(old), Some(new))
            if old.sha256.is_some() && (old.size, old.sha256) == (new.size, new.sha256));
        if same || !self.fits([*old, *new]) {
            return Ok(named(path, *old, *new));
        }
        let mut read = |which, side: &Option<Named>| match side {
            Some(side) => Ok(self.content(which, at)?.map(|bytes| (bytes, side.mode))),
            None => Ok(None),
        };
        let (old, new) = (read(Which::Old, old)?, read(Which::New, new)?);
        fn borrowed(side: &(Vec<u8>, u32)) -> Side<'_> {
            let (bytes, mode) = side;
            Side { bytes, mode: *mode }
        }
        Ok(unified(
            path,
            old.as_ref().map(borrowed),
            new.as_ref().map(borrowed),
        ))
    }

    fn renamed(&mut self, rename: &Rename) -> Result<Vec<u8>, E> {
        let (from, to) = (&self.differences[rename.from], &self.differences[rename.to]);
        let (Some(old), Some(new)) = (from.old, to.new) else {
            return Ok(Vec::new());
        };
        let how = Moved {
            from: &from.path,
            copied: false,
            similarity: Some(rename.similarity),
        };
        if rename.similarity == 100 {
            return Ok(moved_whole(&to.path, how, old.mode, new.mode));
        }
        let read = [
            self.content(Which::Old, rename.from)?,
            self.content(Which::New, rename.to)?,
        ];
        let [Some(before), Some(after)] = &read else {
            // Both are told, each by itself.
            let gone = read[0].as_ref().map(|bytes| Side {
                bytes,
                mode: old.mode,
            });
            let made = read[1].as_ref().map(|bytes| Side {
                bytes,
                mode: new.mode,
            });
            return Ok([
                unified(&from.path, gone, None),
                unified(&to.path, None, made),
            ]
            .concat());
        };
        let side = |bytes, mode| Side { bytes, mode };
        Ok(moved(
            &to.path,
            how,
            side(before, old.mode),
            side(after, new.mode),
        ))
    }
}
