//! Hosts that are alike, told once: what many of them say in the same words stands there once, with their names. Never
//! takes hosts for alike that differ by more than their own names.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::nouns::colour::Colour;
use crate::nouns::names::HostName;

/// Hosts that say the same, once each one's own name is disregarded.
#[derive(Debug)]
pub struct Likes<'h, T> {
    /// What the first of them says.
    pub first: T,
    pub hosts: Vec<&'h HostName>,
    /// Whether the others say that to the letter, and not with their own names in it.
    pub is_to_the_letter: bool,
}

/// Hosts with what they say, by what `said` makes of it, in the order in which it came first.
pub fn likes<'h, T>(each: impl Iterator<Item = (&'h HostName, T)>, said: impl Fn(&T) -> String) -> Vec<Likes<'h, T>> {
    let mut found: Vec<Likes<'h, T>> = Vec::new();
    // A fleet whose hosts all differ is looked up, and not compared with each one before.
    let mut places: HashMap<String, (usize, String)> = HashMap::new();
    for (host, what) in each {
        let to_the_letter = said(&what);
        let at = found.len();
        match places.entry(without_its_name(&to_the_letter, host.as_str())) {
            Entry::Occupied(place) => {
                let (at, first) = place.get();
                found[*at].hosts.push(host);
                found[*at].is_to_the_letter &= *first == to_the_letter;
            }
            Entry::Vacant(place) => {
                place.insert((at, to_the_letter));
                found.push(Likes { first: what, hosts: vec![host], is_to_the_letter: true });
            }
        }
    }
    found
}

/// What stands for the name of each of several hosts.
const ITS_NAME: &str = "<host>";

/// A text in which the host's own name, as a word by itself or as the first part of a longer one, is no more than that.
pub fn without_its_name(text: &str, name: &str) -> String {
    // A number might be a port as well, and blue is a side: where such a word differs, what is said differs.
    let is_a_side = [Colour::Blue, Colour::Green].iter().any(|colour| colour.to_string() == name);
    if is_a_side || !name.contains(|c: char| c.is_ascii_alphabetic()) {
        return text.to_owned();
    }
    let continues = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(name) {
        let (before, from) = rest.split_at(at);
        let after = &from[name.len()..];
        out.push_str(before);
        // The dot of `lb.web1` makes another name of it; that of `web1.example.com` does not.
        let is_cut = out.ends_with(|c| continues(c) || c == '.') || after.starts_with(continues);
        out.push_str(if is_cut { name } else { ITS_NAME });
        rest = after;
    }
    out + rest
}

/// The names of a few, or of the first `shown` and how many more: `web1, web2, … +30`.
pub fn first_of(names: &[impl Borrow<str>], shown: usize) -> String {
    // One name more is no longer than the word that there is one more.
    let shown = if names.len() <= shown + 1 { names.len() } else { shown };
    let first: Vec<&str> = names.iter().take(shown).map(Borrow::borrow).collect();
    match (names.len() - shown, shown) {
        (0, _) => first.join(", "),
        (more, 0) => format!("+{more}"),
        (more, _) => format!("{}, … +{more}", first.join(", ")),
    }
}

/// As [`first_of`], of hosts, as many as stand on a line beside something else.
pub fn few_of(hosts: &[&HostName]) -> String {
    let names: Vec<&str> = hosts.iter().map(|host| host.as_str()).collect();
    first_of(&names, 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> HostName {
        HostName::new(name).expect("a name")
    }

    #[test]
    fn a_name_is_disregarded_where_it_is_the_hosts_own() {
        for (text, name, without) in [
            ("server_name web1.example.com;", "web1", "server_name <host>.example.com;"),
            ("web1 web10 web1-b web1", "web1", "<host> web10 web1-b <host>"),
            ("lb.web1 and xweb1", "web1", "lb.web1 and xweb1"),
            ("/etc/web1/web1.conf", "web1", "/etc/<host>/<host>.conf"),
            ("blue 100", "blue", "blue 100"),
            ("port 8080", "8080", "port 8080"),
            ("web1web1 web1", "web1", "web1web1 <host>"),
        ] {
            assert_eq!(without_its_name(text, name), without, "{text}");
        }
    }

    #[test]
    fn hosts_that_differ_by_more_than_their_names_are_never_told_as_one() {
        let (web1, web2, web3, web4) = (host("web1"), host("web2"), host("web3"), host("web4"));
        let said =
            [(&web1, "of web1: 8080"), (&web2, "of web2: 8080"), (&web3, "of web3: 8081"), (&web4, "of web1: 8080")];
        let found = likes(said.into_iter(), |text| (*text).to_owned());
        let groups: Vec<(usize, bool)> = found.iter().map(|like| (like.hosts.len(), like.is_to_the_letter)).collect();
        // web4 says what web1 says, and it is not its own name.
        assert_eq!(groups, [(2, false), (1, true), (1, true)]);
    }

    #[test]
    fn a_long_list_says_how_many_more() {
        let names: Vec<String> = (1..=32).map(|n| format!("web{n}")).collect();
        assert_eq!(first_of(&names, 2), "web1, web2, … +30");
        assert_eq!(first_of(&names[..3], 2), "web1, web2, web3");
        assert_eq!(first_of(&names, 0), "+32");
        assert_eq!(first_of(&names[..1], 0), "web1");
    }
}
