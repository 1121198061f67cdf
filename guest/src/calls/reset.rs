//! `tree.reset`: the trees as they were at a mark, and nothing else: no program lives on, nothing new is left.
//!
//! ```text
//!  1. every program is ended
//!  2. what differs is found, by one walk; the files to come are made on the stage
//!  3. the reset is noted: from here on it happens, whoever is killed
//!  4. extra paths go, missing ones come, modes and times are set; the note goes
//! ```
//! Until 3 nothing has changed. Doing 2 to 4 again comes to the same end, so an agent that finds the note does that.

mod dress;
mod put_back;
#[cfg(test)]
mod tests;
mod todo;

use super::World;
use super::journal::{self, point};
use super::mark::{self, broken};
use super::quiet::Hush;
use super::store::{self, Mark, Which};
use crate::serve::port::Port;
use crate::tree::{self, Links, kernel, refusal};
use pyro_protocol::message::{Failure, FailureCode, Records, Reply, TreeReset};
use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd as _, OwnedFd};
use todo::Todo;

/// The folder of staged files and removed paths, beside the tree that they belong to.
const CORNER: &str = ".pyro-reset";

/// Puts the trees back.
///
/// # Errors
/// Where there is no such mark, a program lives on, or there is no room; then nothing has changed. Where the kernel
/// refuses a change later on, the sandbox has ended.
pub(super) fn trees(
    world: &World,
    port: &Port,
    hush: &mut Hush<'_>,
    op: &TreeReset,
) -> Result<Reply, Failure> {
    if (op.token.as_ref()).is_some_and(|token| !store::is_token(token)) {
        let message = "note the reset: its token is one line, with something in it";
        return Err(refusal(FailureCode::BadRequest, message));
    }
    let _turn = world.turn(port)?;
    let targets = targets(world, &op.to)?;
    let ended = hush.end(port)?;
    let mut records = Records {
        programs: (ended > 0).then_some(ended),
        ..Records::default()
    };
    let goal = (op.to.as_str(), op.token.as_deref());
    apply(world, goal, &targets, &mut || port.check(), &mut records)?;
    Ok(Reply::Records(records))
}

/// Finishes the reset that an agent before this one had begun, if one had.
///
/// # Errors
/// What the kernel says.
pub(super) fn finish(world: &World) -> Result<(), Failure> {
    let Some(resetting) = store::resetting(world).map_err(|error| broken(&error))? else {
        return Ok(());
    };
    let targets = targets(world, &resetting.to)?;
    apply(
        world,
        (&resetting.to, resetting.token.as_deref()),
        &targets,
        &mut || Ok(()),
        &mut Records::default(),
    )
}

fn targets(world: &World, name: &str) -> Result<Vec<(Which, Mark)>, Failure> {
    let work = mark::load(world, name, Which::Work)?;
    if !work.kept && name != store::BASELINE {
        let message = format!("go back to `{name}`: its contents were not kept");
        return Err(refusal(FailureCode::Io, message));
    }
    let mut targets = vec![(Which::Work, work)];
    // Where nobody marked it, it is nobody's wish that it is put back.
    for which in [Which::System, Which::Layer] {
        if let Some(mark) = store::load(world, name, which).map_err(|error| broken(&error))? {
            targets.push((which, mark));
        }
    }
    Ok(targets)
}

fn apply(
    world: &World,
    (name, token): (&str, Option<&str>),
    targets: &[(Which, Mark)],
    check: &mut dyn FnMut() -> Result<(), Failure>,
    records: &mut Records,
) -> Result<(), Failure> {
    let mut staged = Vec::new();
    for (which, target) in targets {
        let Some(root) = world.root(*which).map_err(|error| broken(&error))? else {
            continue;
        };
        let place = Place::new(world, *which, root)?;
        // Often it is the very mark that is gone back to.
        let is_target = world.latest().as_deref() == Some(name);
        let latest = (!is_target).then(|| store::latest(world, *which));
        let latest = latest.transpose().map_err(|error| broken(&error))?;
        let latest = latest.as_ref().unwrap_or(target);
        let mut todo = Todo::find(&place, latest, target, check)?;
        todo.stage(world, &place, target, check)?;
        staged.push((place, todo, target));
    }
    passes(b"")?;
    store::begin_reset(world, name, token).map_err(|error| broken(&error))?;
    for (place, todo, target) in &mut staged {
        // Noted: who comes next does it again. This agent's sandbox is neither old nor new.
        let before = records.entries;
        let mut done = todo.run(world, place, target, records);
        if place.which == Which::Layer && records.entries != before {
            done = done.and_then(|()| renew(world));
        }
        if let Err(failure) = done {
            let message = format!("put the trees back: {}", failure.message);
            return Err(Failure {
                code: FailureCode::SandboxEnded,
                message,
                path: failure.path,
            });
        }
    }
    for (place, todo, target) in &staged {
        // Without it more has to be read the next time.
        let _ = todo.note(world, place, target);
    }
    passes(b"")?;
    store::end_reset(world, token).map_err(|error| broken(&error))?;
    world.set_latest(store::CURRENT);
    Ok(())
}

/// The overlay sees what was done to its layer.
fn renew(world: &World) -> Result<(), Failure> {
    let renewed = world.layer().map_or(Ok(()), |layer| (layer.renew)());
    renewed.map_err(|error| super::agent_failure("mount the system tree anew", &error))
}

/// A tree, and a corner beside it on the same mount.
struct Place<'a> {
    world: &'a World,
    which: Which,
    root: OwnedFd,
    above: OwnedFd,
    corner: OwnedFd,
}

impl<'a> Place<'a> {
    fn new(world: &'a World, which: Which, root: OwnedFd) -> Result<Self, Failure> {
        let made = || {
            let above = match which {
                Which::Work => world
                    .stage()?
                    .try_clone_to_owned()
                    .map_err(|_| Errno::MFILE)?,
                // No program sees the top of it.
                Which::System => root.try_clone().map_err(|_| Errno::MFILE)?,
                Which::Layer => {
                    let layer = world.layer().ok_or(Errno::NOENT)?;
                    layer.folder.try_clone().map_err(|_| Errno::MFILE)?
                }
            };
            journal::remove_all(above.as_fd(), CORNER.as_bytes());
            fs::mkdirat(&above, CORNER, Mode::RWXU)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let corner = fs::openat(&above, CORNER, flags, Mode::empty())?;
            Ok((above, corner))
        };
        let (above, corner) = made().map_err(|errno| kernel(errno, "stage", b""))?;
        Ok(Self {
            world,
            which,
            root,
            above,
            corner,
        })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let away = self.world.fresh_name();
        let rename = |stage| fs::renameat(&self.above, CORNER, stage, away.as_str());
        match self.world.stage().and_then(rename) {
            Ok(()) => self.world.throw_away(away.into_bytes()),
            // Not on the mount of the stage.
            Err(_) => journal::remove_all(self.above.as_fd(), CORNER.as_bytes()),
        }
    }
}

/// Where a test lets the kernel refuse, or an agent end.
fn passes(path: &[u8]) -> Result<(), Failure> {
    point().map_err(|errno| kernel(errno, "put back", path))
}

fn parent(root: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let above = tree::split(path).map_or(&b""[..], |(above, _)| above);
    tree::open_parent(root, above, Links::Refuse)
}

/// The directory of the latest path, open: paths come in order, and nobody else is in the tree.
struct Parent<'a> {
    root: &'a OwnedFd,
    open: Option<(Vec<u8>, OwnedFd)>,
}

impl<'a> Parent<'a> {
    fn new(root: &'a OwnedFd) -> Self {
        Self { root, open: None }
    }

    fn of(&mut self, path: &[u8]) -> Result<&OwnedFd, Errno> {
        let above = tree::split(path).map_or(&b""[..], |(above, _)| above);
        let open = match self.open.take() {
            Some(open) if open.0 == above => open,
            Some(_) | None => (above.to_vec(), parent(self.root, path)?),
        };
        Ok(&self.open.insert(open).1)
    }
}

fn last(path: &[u8]) -> &[u8] {
    tree::split(path).map_or(path, |(_, name)| name)
}
