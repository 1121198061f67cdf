//! Which workspace is meant: by id, or by name.

use super::error::FindError;
use super::open::Registry;
use super::record::{Record, WorkspaceId};
use super::row::{SELECT, parse};
use crate::request::did_you_mean;

/// The fewest characters of an id for which ids that begin so are told.
const SHORTEST: usize = 4;
/// How many of them are told.
const MOST: usize = 3;

impl Registry {
    /// The workspace that `name_or_id` means. What looks like an id is one: no name does.
    ///
    /// # Errors
    /// Where there is none, where several bear the name, or what is known about it cannot be understood.
    pub fn find(&mut self, name_or_id: &str) -> Result<Record, FindError> {
        let column = match WorkspaceId::parse(name_or_id) {
            Some(_) => "id",
            None => "name",
        };
        let order = "ORDER BY w.last_activity_at DESC, w.created_at DESC, w.id";
        let mut found = self.read("find the workspace", |db| {
            let mut statement = db.prepare(&format!("{SELECT} WHERE w.{column} = ?1 {order}"))?;
            let rows = statement.query_map([name_or_id], |row| Ok(parse(row)))?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?)
        })?;
        let Some(only) = found.pop() else {
            return Err(FindError::NotFound {
                given: name_or_id.to_owned(),
                near: self.near(name_or_id)?,
            });
        };
        if found.is_empty() {
            return Ok(only?);
        }
        found.push(only);
        let id = |found: Result<Record, super::Damaged>| match found {
            Ok(record) => Some(record.id),
            Err(damaged) => WorkspaceId::parse(&damaged.id),
        };
        Err(FindError::Ambiguous {
            given: name_or_id.to_owned(),
            ids: found.into_iter().filter_map(id).collect(),
        })
    }

    /// Ids that begin so, and the name that comes closest.
    fn near(&mut self, given: &str) -> Result<Vec<String>, FindError> {
        let all: Vec<(String, Option<String>)> = self.read("find the workspace", |db| {
            let mut statement = db.prepare("SELECT id, name FROM workspace ORDER BY id")?;
            let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })?;
        let ids = all.iter().map(|(id, _)| id);
        let mut near: Vec<_> = ids
            .filter(|id| given.len() >= SHORTEST && id.starts_with(&given.to_ascii_lowercase()))
            .take(MOST)
            .cloned()
            .collect();
        let names = all.iter().filter_map(|(_, name)| name.as_deref());
        near.extend(did_you_mean(given, names).map(str::to_owned));
        Ok(near)
    }
}
