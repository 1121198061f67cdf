//! `mark.remove`: a mark is forgotten, and with it the contents that no other mark needs.
//!
//! What the mark knew about the trees is kept without its contents, so that the next look reads no more than before.

use super::World;
use super::mark::{broken, check_name};
use super::pack::Pack;
use super::store::{self, Known, Mark, Place, Which, Writer};
use crate::serve::port::Port;
use crate::tree::refusal;
use pyro_protocol::message::{Failure, FailureCode, MarkRemove, Records, Reply};
use std::io;

/// Where contents begin and end in the marks' pack.
type Range = (u64, u64);

/// Forgets a mark.
///
/// # Errors
/// Where there is none of this name, or the disk refuses; then it is there as before.
pub(super) fn mark(world: &World, port: &Port, op: &MarkRemove) -> Result<Reply, Failure> {
    check_name(&op.name)?;
    if op.name == store::BASELINE {
        let message = "forget the mark `baseline`: it is what the workspace began as";
        return Err(refusal(FailureCode::BadRequest, message));
    }
    let _turn = world.turn(port)?;
    if !store::exists(world, &op.name, Which::Work).map_err(|error| broken(&error))? {
        let message = format!("forget the mark `{}`: there is none of this name", op.name);
        return Err(refusal(FailureCode::NotFound, message));
    }
    forget(world, &op.name)
        .map(Reply::Records)
        .map_err(|error| broken(&error))
}

fn forget(world: &World, name: &str) -> io::Result<Records> {
    let mut needed = Vec::new();
    let mut light = Vec::new();
    for (other, which) in store::all(world)? {
        // Of the baseline, the host keeps the contents.
        if other == name || (other == store::BASELINE && which == Which::Work) {
            continue;
        }
        let Some(mark) = store::load_file(world, &other, which)? else {
            continue;
        };
        if mark.kept {
            needed.extend(mark.paths.iter().filter_map(range));
        } else {
            light.push((other, which, mark));
        }
    }
    let needed = union(needed);
    let mut records = Records::default();
    let mut all = needed.clone();
    for which in Which::ALL {
        let Some(mark) = store::load_file(world, name, which)? else {
            continue;
        };
        records.entries += mark.paths.len() as u64;
        all.extend(mark.paths.iter().filter_map(range));
        if world.latest().as_deref() == Some(name) {
            light.retain(|(other, of, _)| (other.as_str(), *of) != (store::CURRENT, which));
            light.push((store::CURRENT.to_owned(), which, mark));
        }
    }
    records.bytes = length(&union(all)) - length(&needed);
    // First nobody speaks of what is going to go, then it goes.
    for (other, which, mark) in &light {
        without(world, (other, *which), mark, &needed)?;
    }
    store::remove(world, name, Which::Work)?;
    if world.latest().as_deref() == Some(name) {
        world.set_latest(store::CURRENT);
    }
    store::remove(world, name, Which::System)?;
    store::remove(world, name, Which::Layer)?;
    // Where somebody reads, the room comes back with the next one that is forgotten.
    if let Ok(_alone) = world.reading.try_write() {
        Pack::open(world)?.release(&needed);
    }
    Ok(records)
}

/// Writes a mark anew that knows no contents but those that somebody needs.
fn without(
    world: &World,
    (name, which): (&str, Which),
    mark: &Mark,
    needed: &[Range],
) -> io::Result<()> {
    let mut writer = Writer::new(world, name, which, mark.complete_ns, false)?;
    for known in &mark.paths {
        let is_needed = range(known).is_none_or(|range| covers(needed, range));
        if is_needed {
            writer.put(known)?;
        } else {
            let mut known = known.clone();
            known.entry.pack_offset = Place::Nowhere.offset();
            writer.put(&known)?;
        }
    }
    writer.keep()
}

fn range(known: &Known) -> Option<Range> {
    match Place::of(&known.entry) {
        Place::Ours(begin) => Some((begin, begin.saturating_add(known.entry.size))),
        Place::Baseline(_) | Place::Nowhere => None,
    }
}

/// Sorted, and apart from each other.
fn union(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable();
    let mut out: Vec<Range> = Vec::with_capacity(ranges.len());
    for (begin, end) in ranges {
        match out.last_mut() {
            Some(last) if begin <= last.1 => last.1 = last.1.max(end),
            _ => out.push((begin, end)),
        }
    }
    out
}

fn length(ranges: &[Range]) -> u64 {
    ranges.iter().map(|(begin, end)| end - begin).sum()
}

/// Whether one of `ranges`, which come from [`union`], holds all of another.
fn covers(ranges: &[Range], (begin, end): Range) -> bool {
    let after = ranges.partition_point(|range| range.0 <= begin);
    (after.checked_sub(1).and_then(|at| ranges.get(at))).is_some_and(|range| end <= range.1)
}
