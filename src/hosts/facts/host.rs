//! What is true of a host whatever runs on it: clock, room, rights, lock, steps of earlier runs. Never judges it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv6Addr;

use chrono::DateTime;
use chrono::Utc;
use serde::Serialize;

use super::{Asked, NotKnown};
use crate::hosts::program::UNIT;
use crate::nouns::inventory::{App, Host, Run};
use crate::nouns::redact::printable;

/// A step that an earlier run began on a host, and whose end it did not live to see.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct BegunStep {
    /// `rollback-20261120-211503.switch`
    pub name: String,
    pub state: BegunState,
}

#[derive(Debug, Clone, Copy, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum BegunState {
    Runs,
    /// With this status.
    Ended(i32),
    /// It left no status: it was killed, or the host lost its power.
    Killed,
}

impl fmt::Display for BegunStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.state {
            BegunState::Runs => write!(f, "{} still runs", self.name),
            BegunState::Ended(0) => write!(f, "{} was done", self.name),
            BegunState::Ended(status) => write!(f, "{} ended with {status}", self.name),
            BegunState::Killed => write!(f, "{} was killed", self.name),
        }
    }
}

#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Lock {
    pub holder: String,
    pub age_seconds: Option<u64>,
}

/// A name, and on the next line `runs`, a status, or nothing.
pub(super) fn begun(job: &str) -> Option<BegunStep> {
    let mut lines = job.lines();
    let name = lines.next()?.to_owned();
    let state = match lines.next().map(str::trim) {
        Some("runs") => BegunState::Runs,
        Some(status) => status.parse().map_or(BegunState::Killed, BegunState::Ended),
        None => BegunState::Killed,
    };
    Some(BegunStep { name, state })
}

/// The addresses of the host as people write them. `/proc/net/if_inet6` has 32 digits without a colon, in the order of the
/// network, where the peers in `/proc/net/tcp6` are in the machine's.
pub(super) fn addresses(said: &str) -> Vec<String> {
    let written = |line: &str| match u128::from_str_radix(line, 16) {
        Ok(bits) if line.len() == 32 => Ipv6Addr::from(bits).to_string(),
        Ok(_) | Err(_) => line.to_owned(),
    };
    said.lines().map(str::trim).filter(|line| !line.is_empty()).map(written).collect()
}

pub(super) fn clock_offset(said: &str, asked: Asked) -> Result<i64, NotKnown> {
    let seconds: f64 = match said.trim().parse() {
        Ok(seconds) => seconds,
        // busybox knows no %N and leaves it in place
        Err(_) => said
            .trim()
            .trim_end_matches(".%N")
            .parse()
            .map_err(|_| NotKnown { why: format!("date says {:?}", said.trim()), hint: None })?,
    };
    let round_trip = asked.answered - asked.sent;
    let offset = (seconds * 1000.0) as i64 - (asked.sent + round_trip / 2).timestamp_millis();
    // A host that is busy answers late; what the round trip explains is no offset.
    Ok(if offset.abs() <= round_trip.num_milliseconds() / 2 { 0 } else { offset })
}

pub(super) fn free_space(df: &str) -> BTreeMap<String, u64> {
    df.lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            Some((fields.get(5..)?.join(" "), fields.get(3)?.parse().ok()?))
        })
        .collect()
}

/// What `sudo -n` must allow to start a colour, as words.
pub fn rights_to_start(app: &App) -> Vec<Vec<String>> {
    match &app.run {
        Run::Systemd(unit) => vec![["systemctl", "start", unit.as_str()].map(str::to_owned).to_vec()],
        Run::Docker(_) | Run::Compose { .. } | Run::Process { .. } | Run::Command(_) => Vec::new(),
    }
}

/// What `sudo -n` must allow where green may be stopped, and for nothing else.
pub fn rights_to_stop(green: &App) -> Vec<Vec<String>> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    match &green.run {
        Run::Systemd(unit) => vec![
            words(&["systemctl", "--no-block", "stop", unit.as_str()]),
            words(&["systemctl", "kill", "-s", "SIGKILL", unit.as_str()]),
        ],
        Run::Docker(_) | Run::Compose { .. } | Run::Process { .. } | Run::Command(_) => Vec::new(),
    }
}

pub(super) fn rights(said: &str, host: &Host) -> Result<Vec<String>, NotKnown> {
    let said = said.trim();
    if let Some(refused) = said.strip_prefix("refused: ") {
        return Err(NotKnown {
            why: format!("sudo -n: {}", refused.lines().next_back().unwrap_or("refused")),
            hint: Some(format!("ssh {} sudo -n -l", host.ssh)),
        });
    }
    Ok(said
        .lines()
        .filter_map(|line| line.strip_prefix("missing "))
        .map(|words| words.replace('\u{1f}', " "))
        .collect())
}

/// The program that a section of an answer comes from, where one may hang: name servers that do not answer hold up
/// sudo and nginx, an engine that is stuck holds up its own.
pub fn program_behind(section: &str) -> Option<&'static str> {
    match section {
        "rights" => Some("sudo -l"),
        "nginx.dump" => Some("nginx -T"),
        "units" | "mains" => Some("systemctl show"),
        "nginx.container" | "blue.container" | "green.container" => Some("the container's engine"),
        _ => None,
    }
}

/// A release that a run took out of traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RolledBack {
    pub release: String,
    pub at: DateTime<Utc>,
    pub incident: String,
}

impl fmt::Display for RolledBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} was rolled back on {} ({})", self.release, self.at.format("%Y-%m-%d %H:%M UTC"), self.incident)
    }
}

/// Lines of `SECONDS RUN +/- RELEASE`, of several places: of each release the latest counts.
pub(super) fn rolled_back(told: impl Iterator<Item = String>) -> Vec<RolledBack> {
    let mut latest: BTreeMap<String, (bool, RolledBack)> = BTreeMap::new();
    for line in told.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()) {
        let mut words = line.split(UNIT);
        let (Some(when), Some(run), Some(sign), Some(release)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        let when = when.parse().ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        let Some(at) = when.filter(|_| matches!(sign, "+" | "-")) else { continue };
        let seen = RolledBack { release: printable(release), at, incident: printable(run) };
        if latest.get(&seen.release).is_none_or(|(_, known)| known.at <= seen.at) {
            latest.insert(seen.release.clone(), (sign == "+", seen));
        }
    }
    let mut found: Vec<RolledBack> = latest.into_values().filter(|(is_out, _)| *is_out).map(|(_, seen)| seen).collect();
    found.sort_by_key(|seen| std::cmp::Reverse(seen.at));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::facts::sockets;

    #[test]
    fn an_address_of_a_host_reads_as_the_same_address_of_a_peer() {
        let own =
            addresses("127.0.0.1\n198.18.0.2\n00000000000000000000000000000001\nfd000000000000000000000000000abc\n");
        assert_eq!(own, ["127.0.0.1", "198.18.0.2", "::1", "fd00::abc"]);
        let peers = sockets(
            "01 here 1F91 000000FD0000000000000000BC0A0000 0 1\n01 here 1F91 00000000000000000000000001000000 0 2\n",
        );
        for peer in peers {
            assert!(own.contains(&peer.peer_address()), "{} is one of {own:?}", peer.peer_address());
        }
    }
}
