//! What a side runs: its release as people call it, and what would prove that two sides run the same one. Never looks at a
//! side.

use serde::Serialize;

use super::names::{HostName, alike, some_of};

/// What a side runs on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Release {
    /// `1.4.0`, `listings:1.4.0`, `sha256:3f9a1c2b4d5e`.
    pub name: String,
    /// Two sides with the same run the same release. `None` where what is known of one proves nothing: one program is often
    /// started twice, and what differs is how.
    pub proof: Option<String>,
    /// The folder in which that was found: of two sides in one folder it says nothing of either.
    pub folder: Option<String>,
}

impl Release {
    /// One that says by itself which it is.
    pub fn said(name: String) -> Release {
        Release { proof: Some(name.clone()), name, folder: None }
    }

    /// Whether both are proven to be the same.
    pub fn is(&self, other: &Release) -> bool {
        self.proof.is_some() && self.proof == other.proof && (self.folder.is_none() || self.folder != other.folder)
    }
}

/// What a side runs on all its hosts: `1.4.0`; where they differ `1.4.0 on web1, 1.3.9 on web2`. `None` where that is known
/// of no host.
pub fn names<'r>(releases: impl Iterator<Item = (&'r HostName, &'r Release)>) -> Option<String> {
    let found = alike(releases.map(|(host, release)| (host, release.name.as_str())));
    match found.as_slice() {
        [] => None,
        [(name, _)] => Some((*name).to_owned()),
        several => {
            let each = several.iter().map(|(name, hosts)| format!("{name} on {}", some_of(hosts)));
            Some(each.collect::<Vec<_>>().join(", "))
        }
    }
}
