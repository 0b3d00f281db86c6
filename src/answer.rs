//! What a host said to a program that was sent to it, or why it said nothing. Below the facts, which are read from
//! answers, and below `remote`, which fetches them. Never fetches and never judges.

/// What a program answered: its sections in order, and the status it ended with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    pub status: i32,
    pub sections: Vec<(String, Vec<u8>)>,
    /// What the login shell printed before the answer; empty on a quiet host.
    pub noise: String,
    /// What ssh and the host agreed on, as ssh names it: only of the answer that came with the handshake.
    pub key_exchange: Option<String>,
}

impl Answer {
    /// The first section of that name, as text; bytes that are not UTF-8 are replaced.
    pub fn text(&self, name: &str) -> Option<String> {
        self.bytes(name).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    pub fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.sections.iter().find(|(section, _)| section == name).map(|(_, bytes)| bytes.as_slice())
    }

    /// Every section of that name.
    pub fn all(&self, name: &str) -> impl Iterator<Item = String> {
        self.sections
            .iter()
            .filter(move |(section, _)| section == name)
            .map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned())
    }

    /// The status that `ask NAME` noted for a command.
    pub fn status_of(&self, name: &str) -> Option<i32> {
        self.text(&format!("{name}.status"))?.trim().parse().ok()
    }
}

/// Why there is no answer. What a failed *change* did is not known unless it says [`Failure::NotSent`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The host was not reached, so nothing was sent.
    #[error("{why}")]
    NotSent { why: String, hint: Option<String> },
    /// The line was lost, or the answer did not come: what was sent may have happened, or may still happen.
    #[error("no answer: {why}")]
    Unknown { why: String },
}
