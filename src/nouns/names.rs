//! Validated words. A value of one of these types has been checked once, when it was made; whoever
//! holds it need not check again. Never does I/O, and never repairs a bad word: it refuses it.

use std::borrow::Borrow;
use std::fmt;

use serde::Serialize;

/// Why a word was refused; reads as the end of a sentence: `"-x" starts with a dash`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} {why}")]
pub struct BadWord {
    pub word: String,
    pub why: &'static str,
}

macro_rules! word {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The only constructor.
            ///
            /// # Errors
            /// [`BadWord`] with the reason.
            pub fn new(word: impl Into<String>) -> Result<Self, BadWord> {
                let word = word.into();
                let check: fn(&str) -> Option<&'static str> = $check;
                match check(&word) {
                    None => Ok(Self(word)),
                    Some(why) => Err(BadWord { word, why }),
                }
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let word = <String as serde::Deserialize>::deserialize(from)?;
                Self::new(word).map_err(serde::de::Error::custom)
            }
        }
    };
}

word!(
    /// How the config calls a host. It becomes part of local file names, so it is letters, digits,
    /// dots, dashes and underscores only, and never starts with a dot or a dash.
    HostName,
    plain_word
);
word!(
    /// What the config calls a change: `[change.env]`. It becomes part of file names.
    ChangeName,
    plain_word
);
word!(
    /// The service's name: in the report, the messages, and the lock's folder on the hosts.
    ServiceName,
    plain_word
);
word!(
    /// The environment: `prod`, `staging`, …; part of the overlay's file name.
    Environment,
    plain_word
);
word!(
    /// A destination as ssh(1) takes it: `host`, `user@host`, `ssh://user@host:port`, or an alias of
    /// ssh_config. Never starts with a dash, so ssh cannot read it as an option.
    SshDestination,
    |word| {
        if word.is_empty() {
            Some("is empty")
        } else if word.starts_with('-') {
            Some("starts with a dash, which ssh would read as an option")
        } else if word.chars().any(|c| c.is_whitespace() || c.is_control()) {
            Some("has white space or a control character in it")
        } else if word.chars().any(|c| "'\"`$\\;&|<>(){}*?!".contains(c)) {
            Some("has a character in it that no host name or user has")
        } else {
            None
        }
    }
);
word!(
    /// An absolute path on a host.
    RemotePath,
    |word| {
        if !word.starts_with('/') {
            Some("is not an absolute path")
        } else {
            no_control_characters(word)
        }
    }
);
word!(
    /// A unit of systemd, with or without its suffix.
    UnitName,
    |word| {
        if word.is_empty() || word.starts_with('-') {
            Some("is not the name of a systemd unit")
        } else if word.chars().all(|c| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c)) {
            None
        } else {
            Some("has a character in it that no systemd unit has")
        }
    }
);
word!(
    /// A container's or compose service's name.
    ContainerName,
    |word| {
        let first_is_plain = word.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
        if first_is_plain && word.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c)) {
            None
        } else {
            Some("is not the name of a container")
        }
    }
);
word!(
    /// A URL that is asked with GET: `http://` or `https://`.
    HttpUrl,
    |word| {
        if !(word.starts_with("http://") || word.starts_with("https://")) {
            Some("is not an http:// or https:// URL")
        } else if word.chars().any(|c| c.is_whitespace() || c.is_control()) {
            Some("has white space or a control character in it")
        } else {
            None
        }
    }
);
word!(
    /// A server of the upstream as nginx writes it: `host:port`, `[::1]:port`, `unix:/path`.
    ServerAddress,
    |word| {
        if word.is_empty() {
            Some("is empty")
        } else if word.chars().any(|c| c.is_whitespace() || c.is_control() || "{};\"'\\".contains(c)) {
            Some("has a character in it that no server address has")
        } else {
            None
        }
    }
);
word!(
    /// `rollback-YYYYMMDD-HHMMSS`, `switch-…` or `partial-…`, UTC, with `-2`, `-3`, … when two began in one second.
    IncidentId,
    |word| {
        let kinds = ["rollback-", "switch-", "partial-"];
        let tail = kinds.into_iter().find_map(|kind| word.strip_prefix(kind)).unwrap_or("");
        let digits = |s: &str, n: usize| s.len() == n && s.bytes().all(|b| b.is_ascii_digit());
        let mut parts = tail.split('-');
        let date = parts.next().unwrap_or("");
        let time = parts.next().unwrap_or("");
        let extra = parts.next();
        let extra_is_fine = extra.is_none_or(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
        if digits(date, 8) && digits(time, 6) && extra_is_fine && parts.next().is_none() {
            None
        } else {
            Some("is not the name of an incident (rollback-YYYYMMDD-HHMMSS, switch-… or partial-…)")
        }
    }
);

impl ServerAddress {
    /// The port that a TCP server listens on (nginx's default is 80); `None` for a unix socket.
    pub fn port(&self) -> Option<u16> {
        if self.0.starts_with("unix:") {
            return None;
        }
        let after_host = match self.0.rsplit_once(']') {
            Some((_, rest)) => rest.strip_prefix(':'),
            None => self.0.rsplit_once(':').map(|(_, port)| port),
        };
        match after_host {
            None => Some(80),
            Some(port) => port.parse().ok(),
        }
    }

    /// The name or address of a TCP server, without its port and without brackets.
    pub fn host(&self) -> &str {
        match self.0.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, _)) => host,
            None => self.0.split_once(':').map_or(self.0.as_str(), |(host, _)| host),
        }
    }

    /// The name of a TCP server where it is one that has to be looked up, and no address.
    pub fn name(&self) -> Option<&str> {
        let host = self.host();
        let is_address = host.parse::<std::net::IpAddr>().is_ok() || host.eq_ignore_ascii_case("localhost");
        (self.unix_path().is_none() && !is_address).then_some(host)
    }

    /// The path of a unix socket; `None` for a TCP server.
    pub fn unix_path(&self) -> Option<&str> {
        self.0.strip_prefix("unix:")
    }

    /// Whether the server lives on the host that asks: loopback or a unix socket.
    pub fn is_local(&self) -> bool {
        let host = self.0.rsplit_once(':').map_or(self.0.as_str(), |(host, _)| host);
        self.unix_path().is_some() || host == "localhost" || host == "[::1]" || host.starts_with("127.")
    }
}

impl HttpUrl {
    /// The host, without brackets, and the port that it is asked at.
    pub fn server(&self) -> Option<(String, u16)> {
        let (scheme, rest) = self.0.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?;
        let server = authority.rsplit_once('@').map_or(authority, |(_, server)| server);
        let (host, port) = match server.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => server.split_once(':').map_or((server, None), |(host, port)| (host, Some(port))),
        };
        let usual = if scheme == "https" { 443 } else { 80 };
        Some((host.to_owned(), port.map_or(Ok(usual), str::parse).ok()?))
    }

    /// The same of one that shows a certificate.
    pub fn https_server(&self) -> Option<(String, u16)> {
        self.0.starts_with("https://").then(|| self.server()).flatten()
    }
}

/// What hosts have in common, each with its hosts, in the order in which it came first.
pub fn alike<'h, T: PartialEq>(each: impl Iterator<Item = (&'h HostName, T)>) -> Vec<(T, Vec<&'h HostName>)> {
    let mut found: Vec<(T, Vec<&HostName>)> = Vec::new();
    for (host, what) in each {
        match found.iter_mut().find(|(other, _)| *other == what) {
            Some((_, hosts)) => hosts.push(host),
            None => found.push((what, vec![host])),
        }
    }
    found
}

/// `web1, web2`
pub fn listed(hosts: &[&HostName]) -> String {
    hosts.iter().map(|host| host.as_str()).collect::<Vec<_>>().join(", ")
}

/// All names, or the first eight and how many more: a fleet's list is no line.
pub fn some_of(hosts: &[impl Borrow<HostName>]) -> String {
    let shown: Vec<&str> = hosts.iter().take(8).map(|host| host.borrow().as_str()).collect();
    match hosts.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn plain_word(word: &str) -> Option<&'static str> {
    // 64: it becomes part of file names (255 bytes) beside a time and a kind.
    if word.is_empty() {
        Some("is empty")
    } else if word.len() > 64 {
        Some("is longer than 64 characters")
    } else if word.starts_with('.') || word.starts_with('-') {
        Some("starts with a dot or a dash")
    } else if word.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) {
        None
    } else {
        Some("has a character other than letters, digits, dot, dash and underscore")
    }
}

fn no_control_characters(word: &str) -> Option<&'static str> {
    word.chars().any(char::is_control).then_some("has a control character in it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_never_chooses_another_folder() {
        for bad in ["", "../x", "a/b", ".hidden", "-x", "a b", "a\nb", "ü"] {
            assert!(HostName::new(bad).is_err(), "{bad:?} was taken");
        }
        assert_eq!(HostName::new("web-1.example").map(|n| n.to_string()), Ok("web-1.example".into()));
    }

    #[test]
    fn an_ssh_destination_is_never_an_option() {
        for bad in ["-oProxyCommand=x", "a b", "x;y", "$(id)", ""] {
            assert!(SshDestination::new(bad).is_err(), "{bad:?} was taken");
        }
        for good in ["deploy@web1.example.com", "ssh://deploy@web1:2222", "web1", "user@[::1]", "a%b"] {
            assert!(SshDestination::new(good).is_ok(), "{good:?} was refused");
        }
    }

    #[test]
    fn a_servers_port_is_read_as_nginx_reads_it() {
        let port = |s: &str| ServerAddress::new(s).ok().and_then(|a| a.port());
        assert_eq!(port("127.0.0.1:8080"), Some(8080));
        assert_eq!(port("app.internal"), Some(80));
        assert_eq!(port("[::1]:8081"), Some(8081));
        assert_eq!(port("[::1]"), Some(80));
        assert_eq!(port("unix:/run/app.sock"), None);
    }

    #[test]
    fn an_incident_is_named_by_its_utc_second() {
        assert!(IncidentId::new("rollback-20261120-211503").is_ok());
        assert!(IncidentId::new("rollback-20261120-211503-2").is_ok());
        for bad in ["rollback-2026-211503", "rollback-20261120-211503-", "../rollback-20261120-211503", "x"] {
            assert!(IncidentId::new(bad).is_err(), "{bad:?} was taken");
        }
    }
}
