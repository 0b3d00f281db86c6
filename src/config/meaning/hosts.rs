//! The hosts, their roles, and the way to them. Never reaches one.

use super::Meaning;
use super::words::optional;
use crate::config::file::{self, default};
use crate::config::value::refused_ssh_option;
use crate::nouns::change::HERE;
use crate::nouns::inventory::{Host, Role, SshSettings};
use crate::nouns::names::{HostName, SshDestination};

impl Meaning<'_, '_, '_> {
    pub(super) fn hosts(&mut self, written: &[file::HostTable]) -> Option<Vec<Host>> {
        if written.is_empty() {
            self.wrong("host", "there must be at least one host");
            return None;
        }
        let hosts: Vec<Option<Host>> =
            written.iter().enumerate().map(|(index, host)| self.host(&format!("host.{index}"), host)).collect();
        for (index, host) in hosts.iter().enumerate() {
            let earlier = hosts[..index].iter().flatten();
            let Some(host) = host else { continue };
            if host.name.as_str() == HERE {
                let what = format!("{HERE:?} is the machine that this program runs on, wherever a host is named");
                self.wrong(&format!("host.{index}.name"), what);
            }
            // Their files stand in one incident folder, and not every laptop's disk knows Web1 from web1.
            let same_name = |other: &&Host| other.name.as_str().eq_ignore_ascii_case(host.name.as_str());
            if let Some(other) = earlier.clone().find(same_name) {
                let what = format!("there is a host {:?} already", other.name.as_str());
                self.wrong(&format!("host.{index}.name"), what);
            } else if let Some(other) = earlier.clone().find(|other| other.ssh == host.ssh) {
                let what = format!("is where {} is already; two names for one host would be changed twice", other.name);
                self.wrong(&format!("host.{index}.ssh"), what);
            }
        }
        for role in ["balancer", "app"] {
            self.some_host_is(role, "host", written);
        }
        hosts.into_iter().collect()
    }

    /// Looks at the words: a host with another problem still has its roles.
    pub(super) fn some_host_is(&mut self, role: &str, path: &str, hosts: &[file::HostTable]) {
        // A misspelt role is reported already, and may be this one.
        let each_is_known = hosts.iter().all(|host| {
            !host.roles.is_empty() && host.roles.iter().all(|word| default::ROLES.contains(&word.as_str()))
        });
        if each_is_known && !hosts.iter().any(|host| host.roles.iter().any(|word| word == role)) {
            self.wrong(path, format!("no host has the role {role:?}"));
        }
    }

    fn host(&mut self, path: &str, host: &file::HostTable) -> Option<Host> {
        let name = host.name.as_ref().and_then(|word| self.word(&format!("{path}.name"), word, HostName::new));
        let ssh = host.ssh.as_ref().and_then(|word| self.word(&format!("{path}.ssh"), word, SshDestination::new));
        let at = format!("{path}.roles");
        let mut roles = self.each(&at, &host.roles, Self::role);
        if host.roles.is_empty() {
            self.wrong(&at, "is empty").hint = Some(format!("leave it out for {}", default::ROLES.join(", ")));
            return None;
        }
        if let Some(roles) = &mut roles {
            // Said twice is said once.
            *roles = [Role::Balancer, Role::App, Role::Database].into_iter().filter(|r| roles.contains(r)).collect();
        }
        Some(Host { name: name?, ssh: ssh?, roles: roles? })
    }

    fn role(&mut self, path: &str, word: &str) -> Option<Role> {
        self.one_of(path, "role", word, &Role::ALL.map(|role| (role.word(), role)))
    }

    pub(super) fn ssh(&mut self, ssh: &file::SshTable) -> Option<SshSettings> {
        let config = optional(&ssh.config, |text| self.local_path("ssh.config", text));
        let connect_timeout = self.wait("ssh.connect_timeout", &ssh.connect_timeout);
        let options = self.each("ssh.options", &ssh.options, Self::ssh_option);
        Some(SshSettings {
            config: config.ok()?,
            connect_timeout: connect_timeout?,
            at_once: ssh.at_once,
            options: options?,
        })
    }

    fn ssh_option(&mut self, path: &str, option: &str) -> Option<String> {
        match refused_ssh_option(option) {
            None => Some(option.to_owned()),
            Some((what, hint)) => {
                self.wrong(path, format!("{option:?} {what}")).hint = hint.map(String::from);
                None
            }
        }
    }
}
