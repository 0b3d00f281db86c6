//! The container that nginx runs in: how it has the file that is changed, or why a change there would be none.

use std::collections::BTreeMap;

use super::NotKnown;
use crate::nouns::inventory::Host;
use crate::nouns::names::ContainerName;
use crate::nouns::plan::Mounted;

#[derive(Debug, Default, PartialEq)]
pub(super) struct Contained {
    pub mounted: Option<Mounted>,
    /// Names that it finds, with their addresses.
    pub known: BTreeMap<String, String>,
    /// How an operator asks for it: `docker`, or `sudo podman`.
    pub engine: String,
    /// Why its file cannot be changed from the host.
    pub refusal: Option<NotKnown>,
}

impl Contained {
    /// Reads what `place_in_container` in facts.sh says: lines of a word and what it is about.
    pub fn read(name: &ContainerName, host: &Host, said: &str) -> Contained {
        let lines: Vec<(&str, &str)> = said
            .lines()
            .map(|line| line.split_once(' ').unwrap_or((line, "")))
            .map(|(of, it)| (of, it.trim()))
            .collect();
        let one = |word: &str| lines.iter().find(|(of, _)| *of == word).map(|(_, it)| (*it).to_owned());
        let engine = one("engine").unwrap_or_else(|| "docker".to_owned());
        let inside = one("inside").unwrap_or_default();
        let refuse =
            |why: String, command: String| Some(NotKnown { why, hint: Some(format!("ssh {} {command}", host.ssh)) });
        let refusal = if let Some(why) = one("none") {
            let last = said.lines().map(str::trim).rfind(|line| !line.is_empty() && *line != "none").unwrap_or(&why);
            refuse(format!("no container {name} is known there: {last}"), format!("{engine} ps --all"))
        } else if one("stopped").is_some() {
            refuse(format!("container {name} does not run"), format!("{engine} start {name}"))
        } else if let Some(path) = one("missing") {
            refuse(
                format!("{path} is not in container {name}, and no mount of it comes from there"),
                format!("{engine} inspect -f '{{{{json .Mounts}}}}' {name}"),
            )
        } else if let Some(why) = one("closed") {
            refuse(
                format!("container {name} cannot be looked into: {why}"),
                format!("{engine} exec {name} sh -c 'readlink -f /'"),
            )
        } else if let Some(template) = one("template") {
            refuse(
                format!(
                    "{inside} is filled from {template} at each start of container {name}, so a change of it would last until \
                     the next: mount the file itself, and no template of its name"
                ),
                format!("{engine} exec {name} cat {inside}"),
            )
        } else if one("loose").is_some() {
            refuse(
                format!(
                    "{inside} lies in no mount of container {name}, so a change of it would be lost with the container: \
                     mount its folder from the host"
                ),
                format!("{engine} cp {name}:{inside} ."),
            )
        } else if let Some(path) = one("other") {
            refuse(
                format!(
                    "container {name} has another {inside} than what lies at {path}: that took the file's place after the \
                     container had started, and it alone is mounted. Make the container anew, and mount the folder"
                ),
                format!("'{engine} exec {name} cat {inside} | diff - {path}'"),
            )
        } else {
            None
        };
        Contained {
            mounted: Some(Mounted { inside, alone: one("alone").is_some() }).filter(|_| refusal.is_none()),
            known: lines
                .iter()
                .filter_map(|(of, pair)| pair.split_once(' ').filter(|_| *of == "known"))
                .map(|(name, address)| (name.to_owned(), address.to_owned()))
                .collect(),
            engine,
            refusal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nouns::inventory::Role;
    use crate::nouns::names::{HostName, SshDestination};

    #[test]
    fn what_the_host_says_of_the_container_is_a_mount_or_a_reason() {
        let name = ContainerName::new("web").expect("a container");
        let host = Host {
            name: HostName::new("lb1").expect("a host"),
            ssh: SshDestination::new("lb1").expect("a destination"),
            roles: vec![Role::Balancer],
        };
        let read = |said: &str| Contained::read(&name, &host, said);
        let contained = read("engine sudo podman\nknown app-blue 10.89.0.2\ninside /etc/nginx/conf.d/a.conf\nalone\n");
        assert_eq!(contained.mounted, Some(Mounted { inside: "/etc/nginx/conf.d/a.conf".into(), alone: true }));
        assert_eq!(contained.known.get("app-blue").map(String::as_str), Some("10.89.0.2"));
        assert_eq!((contained.engine.as_str(), contained.refusal), ("sudo podman", None));
        for (said, words) in [
            (
                "none \nError: No such container: web\n",
                "no container web is known there: Error: No such container: web",
            ),
            ("engine docker\nstopped\n", "container web does not run"),
            ("engine docker\nmissing /a\n", "/a is not in container web"),
            ("engine docker\nclosed exec: \"sh\": not found\n", "cannot be looked into: exec: \"sh\""),
            ("engine docker\ninside /a\ntemplate /t\nloose\n", "/a is filled from /t at each start"),
            ("engine docker\ninside /a\nloose\n", "/a lies in no mount of container web"),
            ("engine docker\ninside /a\nalone\nother /h\n", "has another /a than what lies at /h"),
        ] {
            let contained = read(said);
            assert_eq!(contained.mounted, None, "{said}");
            let why = contained.refusal.map(|refusal| refusal.why).unwrap_or_default();
            assert!(why.contains(words), "{said}: {why}");
        }
    }
}
