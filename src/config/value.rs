//! What one text means by itself: URLs, sizes, options of ssh. Each answer is the end of a sentence that
//! begins with the text. Never says where the text stands.

use crate::nouns::inventory::Matcher;

/// A host, and a port that can be: what no URL can be asked without.
pub(super) fn host_of_url(url: &str) -> Result<(), &'static str> {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = after_scheme.split(['/', '?', '#']).next().unwrap_or_default();
    let server = authority.rsplit_once('@').map_or(authority, |(_, server)| server);
    let (host, port) = match server.rsplit_once(']') {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => server.split_once(':').map_or((server, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Err("names no host");
    }
    match port.map(str::parse::<u16>) {
        Some(Err(_) | Ok(0)) => Err("has no port from 1 to 65535"),
        Some(Ok(_)) | None => Ok(()),
    }
}

/// A mail server as lettre takes it.
pub(super) fn check_smtp(url: &str) -> Result<(), &'static str> {
    if !(url.starts_with("smtp://") || url.starts_with("smtps://")) {
        return Err("is not an smtp:// or smtps:// URL");
    }
    if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("has white space or a control character in it");
    }
    host_of_url(url)
}

/// `{service="listings", env=~"prod.*"}`, as Alertmanager and Prometheus write it.
pub(super) fn matchers(text: &str) -> Result<Vec<Matcher>, &'static str> {
    const NOT: &str = "is not labels in braces";
    let mut rest = text.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).ok_or(NOT)?.trim();
    let mut found = Vec::new();
    while !rest.is_empty() {
        let name = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let (label, after) = rest.split_at(name);
        let after = after.trim_start();
        let operators = [("=~", true, true), ("!~", true, false), ("!=", false, false), ("=", false, true)];
        let (operator, is_regex, is_equal) =
            operators.into_iter().find(|(operator, _, _)| after.starts_with(operator)).ok_or(NOT)?;
        let quoted = after[operator.len()..].trim_start().strip_prefix('"').ok_or(NOT)?;
        let mut value = String::new();
        let mut chars = quoted.char_indices();
        let end = loop {
            match chars.next().ok_or(NOT)? {
                (at, '"') => break at,
                (_, '\\') => value.push(chars.next().ok_or(NOT)?.1),
                (_, c) => value.push(c),
            }
        };
        if label.is_empty() || label.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(NOT);
        }
        found.push(Matcher { name: label.to_owned(), value, is_regex, is_equal });
        rest = quoted[end + 1..].trim_start();
        match rest.strip_prefix(',') {
            Some(more) => rest = more.trim_start(),
            None if rest.is_empty() => {}
            None => return Err(NOT),
        }
    }
    // Without any it would silence everything.
    let says_something = found.iter().any(|of| of.is_equal && !of.value.is_empty() && of.value != ".*");
    if says_something { Ok(found) } else { Err("would silence alerts of others, too") }
}

/// `256MB` in bytes.
pub(super) fn size(text: &str) -> Result<u64, &'static str> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err("is not a size");
    }
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return Err("does not end in B, KB, MB, GB, KiB, MiB or GiB"),
    };
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)) {
        Some(0) => Err("is nothing at all"),
        Some(bytes) => Ok(bytes),
        None => Err("is more than any disk holds"),
    }
}

/// Why an option of ssh is refused, and what to do instead; `None` when it may be passed.
///
/// Everything that is not named here is the operator's: `ProxyCommand` and `ProxyJump` above all.
pub(super) fn refused_ssh_option(option: &str) -> Option<(&'static str, Option<&'static str>)> {
    const FORM: Option<&str> = Some("for example \"KexAlgorithms=curve25519-sha256\"");
    let split = option.find(|c: char| c == '=' || c.is_ascii_whitespace());
    let Some((key, value)) = split.map(|index| option.split_at(index)) else {
        return Some(("is not Key=value", FORM));
    };
    // As ssh reads it: white space, at most one =, white space; quotes around the value.
    let value = value.trim_start();
    let value = value.strip_prefix('=').unwrap_or(value).trim();
    let key_is_word = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric());
    if !key_is_word || value.is_empty() || option.chars().any(|c| c.is_control() && c != '\t') {
        return Some(("is not Key=value", FORM));
    }
    let value = value.trim_matches('"').to_ascii_lowercase();
    let is_off = ["no", "off", "false"].contains(&value.as_str());
    match key.to_ascii_lowercase().as_str() {
        "stricthostkeychecking" if is_off => {
            Some(("would talk to any host that answers", Some("put the hosts' keys into known_hosts")))
        }
        "userknownhostsfile"
            if value.split_whitespace().any(|file| matches!(file.trim_matches('"'), "/dev/null" | "none")) =>
        {
            Some(("would forget which hosts are ours", Some("put the hosts' keys into known_hosts")))
        }
        "forwardagent" if !is_off => Some(("would lend your keys to the hosts", Some("leave it out"))),
        "permitlocalcommand" if is_off => None,
        "permitlocalcommand" | "localcommand" => {
            Some(("would run a command here for each connection", Some("leave it out")))
        }
        "controlpath" | "controlmaster" | "controlpersist" => {
            Some(("is set by rollback-prod, which keeps one connection to each host", Some("leave it out")))
        }
        "connecttimeout" => Some(("is set by rollback-prod", Some("set ssh.connect_timeout"))),
        "batchmode" if is_off => Some(("would wait for a password that nobody types", Some("leave it out"))),
        "requesttty" | "remotecommand" | "sessiontype" | "stdinnull" | "forkafterauthentication" => {
            Some(("would change what a remote command is", Some("leave it out")))
        }
        // What these bring in cannot be seen from here.
        "include" | "match" | "host" => Some(("belongs into an ssh config", Some("name the file in ssh.config"))),
        _ => None,
    }
}
