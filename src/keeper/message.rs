//! What clients and keepers say to each other besides the frames that go through: on channel 0, call 0, stream 0.
//!
//! ```text
//!  client  --{"keeper": "status"}-->             keeper
//!          <--{"keeper": {"status": {..}}}--
//!          --{"keeper": "stop"}-->
//!          <--{"keeper": "stopping"}--           the connection ends when everything has
//! ```
//! Fields may be added; who does not know a field passes over it.

use pyro_protocol::boot::Ids;
use serde::{Deserialize, Serialize};

/// To a keeper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToKeeper {
    /// Something for the keeper itself.
    Keeper(Ask),
}

/// What a keeper can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// How it is. It also reads its time to live anew. Who only asks this does not count as using the workspace.
    Status,
    /// To end the machine, and itself.
    Stop,
}

/// From a keeper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromKeeper {
    /// Its answer.
    Keeper(Answer),
}

/// What a keeper answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To [`Ask::Status`].
    Status(Box<Status>),
    /// To [`Ask::Stop`]: it has begun to.
    Stopping,
    /// To what it does not know: completes "could not ...".
    Refused(String),
}

/// How a keeper and its machine are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Of the keeper's program.
    pub version: String,
    /// The newest vocabulary that it and its agent know.
    pub generation: u32,
    /// Milliseconds since 1970.
    pub started_at_ms: u64,
    /// Who uses the workspace now.
    pub clients: u32,
    /// Of these, who is at a terminal in it.
    #[serde(default)]
    pub visitors: u32,
    /// The agent's process id on the host, for people.
    pub agent_pid: i32,
    /// The ids that the machine has.
    pub ids: Ids,
    /// What of its isolation is weaker than usual on this kernel.
    pub notes: Vec<String>,
    /// When it will end if nobody uses it: milliseconds since 1970.
    #[serde(default)]
    pub expires_at_ms: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_of_the_specification() {
        let text = |message| serde_json::to_string(&message).expect("serialises");
        assert_eq!(
            text(ToKeeper::Keeper(Ask::Status)),
            r#"{"keeper":"status"}"#
        );
        assert_eq!(text(ToKeeper::Keeper(Ask::Stop)), r#"{"keeper":"stop"}"#);
        let answer = FromKeeper::Keeper(Answer::Stopping);
        let text = serde_json::to_string(&answer).expect("serialises");
        assert_eq!(text, r#"{"keeper":"stopping"}"#);
        assert!(serde_json::from_str::<ToKeeper>(r#"{"keeper":"dance"}"#).is_err());
    }
}
