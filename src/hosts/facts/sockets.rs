//! Who listens on a port, and who is connected to it, as /proc and `lib.sh` write them. Never says whose a listener is.

use std::net::IpAddr;

use serde::Serialize;

use crate::nouns::inventory::App;

#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Listener {
    pub port: u16,
    pub pid: u32,
    /// Its parents, the nearest first, without the first process of the host.
    pub parents: Vec<u32>,
    /// Where it listens, as /proc or ss writes it.
    pub address: String,
    pub exe: String,
    /// In clock ticks after boot: tells a pid from a later one of the same number.
    pub started: String,
    pub cgroup: String,
    /// How the nearest of its parents calls itself.
    pub parent_name: String,
    /// Whether its unit ends with it. Only asked where a unit holds several who listen on our ports.
    pub leads_its_unit: bool,
}

impl Listener {
    /// The service that it belongs to: `listings-blue.service`.
    pub fn unit(&self) -> Option<&str> {
        let mut names = self.cgroup.split('|').filter_map(|group| group.rsplit('/').next());
        names.find(|name| name.ends_with(".service"))
    }

    /// The paths of its cgroups, one for each hierarchy.
    fn groups(&self) -> impl Iterator<Item = &str> {
        self.cgroup.split('|').filter_map(|line| line.splitn(3, ':').nth(2))
    }

    /// Whether it is in that control group, or in one below it.
    pub fn is_in(&self, group: &str) -> bool {
        let is_below = |of: &str| of.strip_prefix(group).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        !group.is_empty() && self.groups().any(is_below)
    }

    /// Whether a cgroup of it is that of a container. An account to which systemd gave its own groups names those below
    /// them as it likes.
    pub fn is_in_container(&self, id: &str) -> bool {
        let names = |path: &str| path.split('/').any(|name| name.contains(id));
        !id.is_empty() && self.groups().any(|path| names(path) && !path.starts_with("/user.slice/"))
    }

    /// Who starts it again when it ends, where its parent is known for that.
    pub fn restarted_by(&self) -> Option<String> {
        // A `systemd` that is not the first process is a user's.
        const SUPERVISORS: &[&str] =
            &["PM2", "supervisord", "runsv", "s6-supervise", "supervise", "circusd", "nodemon", "systemd"];
        let is_one = SUPERVISORS.iter().any(|name| self.parent_name.starts_with(name));
        let parent = self.parents.first().filter(|_| is_one)?;
        Some(format!("{} (pid {parent})", self.parent_name))
    }

    /// The path of its program, also where that was replaced since.
    pub fn program(&self) -> &str {
        self.exe.strip_suffix(" (deleted)").unwrap_or(&self.exe)
    }

    /// How people call it: `pid 812 /usr/bin/python3.11 on port 8081`.
    pub fn describe(&self) -> String {
        format!("pid {} {} on port {}", self.pid, self.exe, self.port)
    }
}

/// Of those that listen the one that the others come from: a pre-forking server's workers end with it, and not it with them.
pub fn first_of(listeners: &[Listener]) -> Option<&Listener> {
    let is_among = |pid: &u32| listeners.iter().any(|other| other.pid == *pid);
    listeners.iter().find(|listener| !listener.parents.iter().any(is_among))
}

/// One line of `connections` in lib.sh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socket {
    state: String,
    /// Whether the port is this end's.
    pub is_here: bool,
    pub port: u16,
    /// The peer as /proc writes it: hexadecimal, in the machine's byte order.
    pub peer: String,
    /// This end, written so too.
    pub address: String,
}

impl Socket {
    pub fn is_listening(&self) -> bool {
        self.state == "0A"
    }

    pub fn is_established(&self) -> bool {
        self.state == "01"
    }

    /// The address of the end that has the port.
    pub fn server_address(&self) -> Option<IpAddr> {
        address(if self.is_here { &self.address } else { &self.peer })
    }

    /// The peer as people write it.
    pub fn peer_address(&self) -> String {
        address(&self.peer).map_or_else(|| self.peer.clone(), |address| address.to_string())
    }
}

/// An address as /proc writes it, or ss (`127.0.0.1`, `[::1]`, `127.0.0.1%lo`); `*` is every one.
fn address(said: &str) -> Option<IpAddr> {
    let of_proc = |hex: &str| -> Option<Vec<u8>> {
        let bytes: Option<Vec<u8>> =
            (0..hex.len() / 2).map(|i| u8::from_str_radix(hex.get(2 * i..2 * i + 2)?, 16).ok()).collect();
        // each 32-bit word stands in the machine's byte order; every host we know of is little-endian
        Some(bytes?.chunks(4).flat_map(|word| word.iter().rev().copied().collect::<Vec<_>>()).collect())
    };
    let hex = Some(said).filter(|said| matches!(said.len(), 8 | 32)).and_then(of_proc).unwrap_or_default();
    if let Ok(four) = <[u8; 4]>::try_from(hex.as_slice()) {
        return Some(IpAddr::from(four));
    }
    let address = match <[u8; 16]>::try_from(hex.as_slice()) {
        Ok(sixteen) => IpAddr::from(sixteen),
        Err(_) if said == "*" => IpAddr::from([0_u8; 4]),
        Err(_) => said.split('%').next()?.trim_matches(['[', ']']).parse().ok()?,
    };
    Some(address.to_canonical())
}

/// Whether whoever asks a server of the colour on that port comes to what listens at this address.
pub(super) fn is_reached(app: &App, port: u16, listens: &str) -> bool {
    let Some(listens) = address(listens) else { return true };
    let servers = || app.servers.iter().filter(|server| server.port() == Some(port));
    // A name, or a port that only the config's way to run it knows, may be any address of the host.
    listens.is_unspecified()
        || servers().next().is_none()
        || servers().any(|server| match server.host() {
            "localhost" => listens.is_loopback(),
            host => host.parse::<IpAddr>().map_or(true, |host| host.to_canonical() == listens),
        })
}

/// Reads what `connections` prints.
pub fn sockets(said: &str) -> Vec<Socket> {
    said.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some(Socket {
                state: words.next()?.to_owned(),
                is_here: words.next()? == "here",
                port: u16::from_str_radix(words.next()?, 16).ok()?,
                peer: words.next()?.to_owned(),
                address: words.nth(2).unwrap_or_default().to_owned(),
            })
        })
        .collect()
}

/// Reads what `described` prints: HEXPORT, PID[,PARENT…], ADDRESS, EXE, STARTED, CGROUP and the parent's name, with unit
/// separators between.
pub fn read_listeners(said: &str) -> Vec<Listener> {
    said.lines()
        .filter_map(|line| {
            let mut words = line.split('\u{1f}').map(str::to_owned);
            let port = u16::from_str_radix(&words.next()?, 16).ok()?;
            let chain = words.next()?;
            let mut chain = chain.split(',').map(str::parse);
            Some(Listener {
                port,
                pid: chain.next()?.ok()?,
                parents: chain.map_while(Result::ok).collect(),
                address: words.next()?,
                exe: words.next()?,
                started: words.next()?,
                cgroup: words.next()?,
                parent_name: words.next().unwrap_or_default(),
                leads_its_unit: false,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_written_as_people_write_it() {
        let said =
            "01 here 1F91 0100007F 1000 4242\n01 here 1F91 0000000000000000FFFF0000 0 1\n0A here 1F91 00000000 0 2\n";
        let sockets = sockets(said);
        assert_eq!(sockets[0].peer_address(), "127.0.0.1");
        assert!(sockets[0].is_established() && sockets[2].is_listening());
        let v6 = Socket {
            state: "01".into(),
            is_here: true,
            port: 1,
            peer: "0000000000000000FFFF00000100007F".into(),
            address: String::new(),
        };
        assert_eq!(v6.peer_address(), "127.0.0.1");
    }

    fn line(words: [&str; 6]) -> String {
        words.join("\u{1f}") + "\n"
    }

    #[test]
    fn a_deleted_program_is_still_named() {
        let seen = read_listeners(
            &(line(["1F91", "77", "0100007F", "/opt/x (deleted)", "123", "0::/a|"])
                + &line(["1F90", "78", "*", "/opt/y", "124", "0::/b b|"])),
        );
        assert_eq!((seen[0].exe.as_str(), seen[0].started.as_str()), ("/opt/x (deleted)", "123"));
        assert_eq!((seen[1].exe.as_str(), seen[1].cgroup.as_str()), ("/opt/y", "0::/b b|"));
    }

    #[test]
    fn a_listener_is_known_with_its_parents_and_its_unit() {
        let seen = read_listeners(
            &(line(["1F91", "77,12,9", "*", "/opt/x", "123", "1:name=systemd:/|0::/app.slice/x.service|"])
                + &line(["1F90", "78", "*", "/opt/y", "1", ""])),
        );
        assert_eq!((seen[0].pid, seen[0].parents.as_slice()), (77, &[12, 9][..]));
        assert_eq!(seen[0].unit(), Some("x.service"));
        assert!(seen[0].is_in("/app.slice") && seen[0].is_in("/app.slice/x.service") && !seen[0].is_in("/app.slice/x"));
        assert!(seen[1].parents.is_empty() && seen[1].unit().is_none() && !seen[1].is_in(""));
    }
}
