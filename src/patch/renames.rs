//! Which of the files that came are files that went, under another name: of the same content, or mostly of it.
//!
//! The cost is bounded by the sizes of what is compared, never by a clock: the same trees give the same renames.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::diff::{Named, git_mode};
use super::whole_tree::Difference;

/// Hundredths of the larger file that must be in the other one, too; as in git.
const ENOUGH: u64 = 50;
/// Different lines that are compared in all.
const WORK: usize = 20_000_000;

/// A file that went, the one that it became, and how much of it stayed, in hundredths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rename {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) similarity: u32,
}

/// Whether it is no link.
pub(super) fn is_file(side: Named) -> bool {
    git_mode(side.mode) != 0o120_000
}

/// Whether a difference is a file or link that went, or one that came.
pub(super) fn went(difference: &Difference) -> bool {
    difference.old.is_some() && difference.new.is_none()
}

pub(super) fn came(difference: &Difference) -> bool {
    difference.old.is_none() && difference.new.is_some()
}

/// Files that have their content under another name.
pub(super) fn exact(differences: &[Difference]) -> Vec<Rename> {
    type Key = (u64, [u8; 32]);
    let key = |difference: &Difference| -> Option<Key> {
        let side = difference.old.or(difference.new)?;
        // Empty files have nothing that could be known again; a link's section must say that it is one.
        (is_file(side) && side.size > 0).then_some((side.size, side.sha256?))
    };
    let mut by_name: HashMap<(Key, &[u8]), VecDeque<usize>> = HashMap::new();
    let mut by_key: HashMap<Key, BTreeSet<usize>> = HashMap::new();
    for (at, difference) in differences.iter().enumerate().filter(|(_, d)| went(d)) {
        if let Some(key) = key(difference) {
            let name = last(&difference.path);
            by_name.entry((key, name)).or_default().push_back(at);
            by_key.entry(key).or_default().insert(at);
        }
    }
    let mut renames = Vec::new();
    let mut open = Vec::new();
    let mut pair = |from: usize, to: usize| {
        let apart = are_apart(&differences[from].path, &differences[to].path);
        if apart {
            renames.push(Rename {
                from,
                to,
                similarity: 100,
            });
        }
        apart
    };
    // The same last name first, then whatever comes first.
    for (to, difference) in differences.iter().enumerate().filter(|(_, d)| came(d)) {
        let Some(key) = key(difference) else { continue };
        let same = by_name.get_mut(&(key, last(&difference.path)));
        match same.and_then(VecDeque::pop_front) {
            Some(from) if pair(from, to) => {
                by_key.get_mut(&key).map(|left| left.remove(&from));
            }
            Some(_) | None => open.push((key, to)),
        }
    }
    for (key, to) in open {
        if let Some(left) = by_key.get_mut(&key)
            && let Some(&from) = left.first()
            && pair(from, to)
        {
            left.remove(&from);
        }
    }
    renames
}

/// Files whose content is mostly that of another one: `contents` has those to look at.
pub(super) fn similar(
    differences: &[Difference],
    contents: &BTreeMap<usize, Vec<u8>>,
) -> Vec<Rename> {
    // Lines as numbers, so that they are compared in one step; of each how many bytes there are.
    let mut known: HashMap<&[u8], u32> = HashMap::new();
    let mut profiles: BTreeMap<usize, Vec<(u32, u64)>> = BTreeMap::new();
    for (at, bytes) in contents {
        let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            let next = u32::try_from(known.len()).unwrap_or(u32::MAX);
            let number = *known.entry(line).or_insert(next);
            *counts.entry(number).or_default() += line.len() as u64;
        }
        profiles.insert(*at, counts.into_iter().collect());
    }
    let side = |wanted: fn(&Difference) -> bool| {
        let chosen = contents.keys().copied();
        chosen
            .filter(move |&at| wanted(&differences[at]))
            .collect::<Vec<_>>()
    };
    let (from, to) = (side(went), side(came));
    let mut left = WORK;
    let mut found = Vec::new();
    'all: for &to in &to {
        for &from in &from {
            let (a, b) = (contents[&from].len() as u64, contents[&to].len() as u64);
            let larger = a.max(b);
            if a.min(b) * 100 < larger * ENOUGH
                || !are_apart(&differences[from].path, &differences[to].path)
            {
                continue;
            }
            let (a, b) = (&profiles[&from], &profiles[&to]);
            let Some(rest) = left.checked_sub(a.len() + b.len()) else {
                break 'all;
            };
            left = rest;
            let similarity = in_common(a, b) * 100 / larger.max(1);
            if similarity >= ENOUGH {
                let same_name = last(&differences[from].path) == last(&differences[to].path);
                found.push((similarity, same_name, from, to));
            }
        }
    }
    found.sort_by(|a, b| (b.0, b.1, a.2, a.3).cmp(&(a.0, a.1, b.2, b.3)));
    let (mut gone, mut made) = (BTreeSet::new(), BTreeSet::new());
    let mut renames = Vec::new();
    for (similarity, _, from, to) in found {
        if !gone.contains(&from) && made.insert(to) {
            gone.insert(from);
            renames.push(Rename {
                from,
                to,
                // All lines may be the same ones in another order; that is not the same content.
                similarity: u32::try_from(similarity.min(99)).unwrap_or(99),
            });
        }
    }
    renames
}

fn in_common(a: &[(u32, u64)], b: &[(u32, u64)]) -> u64 {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    let mut bytes = 0;
    while let (Some((line, size)), Some((other, other_size))) = (a.peek(), b.peek()) {
        match line.cmp(other) {
            std::cmp::Ordering::Less => drop(a.next()),
            std::cmp::Ordering::Greater => drop(b.next()),
            std::cmp::Ordering::Equal => {
                bytes += size.min(other_size);
                a.next();
                b.next();
            }
        }
    }
    bytes
}

fn last(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or(path)
}

/// Neither lies below the other: a file that becomes a directory with itself in it is better told as two changes.
fn are_apart(a: &[u8], b: &[u8]) -> bool {
    let is_below = |path: &[u8], above: &[u8]| {
        path.strip_prefix(above)
            .is_some_and(|rest| rest.starts_with(b"/"))
    };
    !is_below(a, b) && !is_below(b, a)
}
