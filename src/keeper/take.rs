//! What the keeper makes of what its clients say.

use super::client::{Client, Use};
use super::log::say;
use super::message::{Answer, Ask, FromKeeper, Status, ToKeeper};
use super::serve::Service;
use pyro_protocol::Frame;
use pyro_protocol::frame::STREAM_CALL;
use pyro_protocol::message::{Failure, FailureCode, GuestMessage, Hello, HostMessage, Op};

/// Who may use the workspace at the same time: the channels of the agent.
const CLIENTS: usize = 64;
/// The channel of every client, as it numbers it.
pub(super) const THEIRS: u32 = 1;

/// What a client says is no part of the protocol.
#[derive(Debug)]
pub(super) struct Nonsense;

impl Service<'_> {
    /// Takes a frame of a client.
    pub(super) fn take(&mut self, number: u32, frame: &Frame) -> Result<(), Nonsense> {
        match frame.head.channel {
            0 => self.take_own(number, frame),
            THEIRS if self.admit(number) => {
                if let Some(client) = self.clients.get_mut(&number) {
                    client.spoken = true;
                    client.visits |= opens_terminal(frame);
                    let typed = client.visits && !frame.body.is_empty();
                    self.outbox.forward(number, frame);
                    if typed {
                        self.touch_at_times();
                    }
                }
                Ok(())
            }
            THEIRS => Ok(()),
            _ => Err(Nonsense),
        }
    }

    /// Whether a client may use the workspace; if not, it is told.
    fn admit(&mut self, number: u32) -> bool {
        let others = self.clients.values().filter(|client| client.is_counted());
        let full = others.count() >= CLIENTS;
        let Some(client) = self.clients.get_mut(&number) else {
            return false;
        };
        match client.uses {
            Use::Workspace => true,
            Use::TurnedAway(_) => false,
            Use::Unknown if full => {
                client.outbox.message(
                    THEIRS,
                    0,
                    &GuestMessage::ChannelFailed(Failure {
                        code: FailureCode::TooLarge,
                        message: format!("use the workspace: {CLIENTS} clients do already"),
                        path: None,
                    }),
                );
                client.turn_away();
                say("turned away a client: there are too many");
                false
            }
            Use::Unknown => {
                client.uses = Use::Workspace;
                self.touch();
                true
            }
        }
    }

    /// Takes a frame that is for the keeper itself.
    fn take_own(&mut self, number: u32, frame: &Frame) -> Result<(), Nonsense> {
        let call = frame.head.call;
        if frame.head.stream != STREAM_CALL || !frame.body.is_empty() {
            return Err(Nonsense);
        }
        if let Ok(message) = serde_json::from_slice::<HostMessage>(&frame.header) {
            return match message {
                HostMessage::Hello(hello) => {
                    let answer = GuestMessage::Hello(Hello {
                        generation: hello.generation.min(self.status.generation),
                        version: env!("CARGO_PKG_VERSION").to_owned(),
                    });
                    if let Some(client) = self.clients.get_mut(&number) {
                        client.outbox.message(0, call, &answer);
                    }
                    self.admit(number);
                    Ok(())
                }
                HostMessage::Cancel | HostMessage::Close => Ok(()),
                HostMessage::Call(_) => Err(Nonsense),
            };
        }
        let answer = match serde_json::from_slice(&frame.header) {
            Ok(ToKeeper::Keeper(Ask::Status)) => Answer::Status(Box::new(self.status())),
            Ok(ToKeeper::Keeper(Ask::Stop)) => {
                self.stopping = true;
                Answer::Stopping
            }
            Err(_) => {
                // A newer client may know more words.
                let said = serde_json::from_slice::<serde_json::Value>(&frame.header);
                said.ok()
                    .and_then(|said| said.get("keeper").map(drop))
                    .ok_or(Nonsense)?;
                let own = env!("CARGO_PKG_VERSION");
                Answer::Refused(format!(
                    "ask the keeper that: it is pyro {own} and does not know it"
                ))
            }
        };
        if let Some(client) = self.clients.get_mut(&number) {
            client.outbox.message(0, call, &FromKeeper::Keeper(answer));
        }
        Ok(())
    }

    fn status(&mut self) -> Status {
        let count = |which: fn(&Client) -> bool| {
            let clients = self.clients.values().filter(|client| which(client));
            u32::try_from(clients.count()).unwrap_or(u32::MAX)
        };
        let clients = count(Client::is_counted);
        let visitors = count(|client| client.is_counted() && client.visits);
        let expires = self.expires_in().and(self.ttl);
        Status {
            clients,
            visitors,
            expires_at_ms: expires.map(|ttl| self.expires_at(ttl).as_millis()),
            ..self.status.clone()
        }
    }
}

/// Whether a client runs a program on a terminal: somebody is there.
fn opens_terminal(frame: &Frame) -> bool {
    frame.head.stream == STREAM_CALL
        && memchr::memmem::find(&frame.header, b"\"terminal\"").is_some()
        && matches!(
            serde_json::from_slice(&frame.header),
            Ok(HostMessage::Call(op)) if matches!(&*op, Op::ExecRun(run) if run.terminal.is_some())
        )
}
