//! The channels of the messages. What is wrong in the file is a problem; what is wrong outside it is a warning, and that
//! channel is left out. Never says what an address is: it may be a secret.

use super::{Meaning, label};
use crate::config::env_file::is_variable_name;
use crate::config::file;
use crate::config::findings::Place;
use crate::config::tree::ALTERNATIVES;
use crate::config::value::{check_smtp, host_of_url};
use crate::config::variables::{left_out, look_up};
use crate::nouns::inventory::{Channel, Notify};
use crate::nouns::names::HttpUrl;
use crate::nouns::secret::Secret;

/// Where a channel's address comes from, and its place in the file.
struct Address {
    value: String,
    path: String,
    place: Place,
    variable: Option<String>,
}

impl Meaning<'_, '_, '_> {
    pub(super) fn notify(&mut self, notify: &file::NotifyTable) -> Option<Notify> {
        let timeout = self.wait("notify.timeout", &notify.timeout);
        let mut channels = Vec::new();
        if let Some(slack) = &notify.slack {
            let webhook =
                self.address("notify.slack", ALTERNATIVES[1], &slack.webhook_env, &slack.webhook).and_then(|address| {
                    self.warn_of_literal(&address, "webhook_env = \"SLACK_WEBHOOK_URL\"");
                    self.http_secret(address, "slack")
                });
            channels.extend(webhook.map(|webhook| Channel::Slack { webhook }));
        }
        if let Some(email) = &notify.email {
            channels.extend(self.email(email));
        }
        for (index, webhook) in notify.webhook.iter().enumerate() {
            let path = format!("notify.webhook.{index}");
            let url = self.address(&path, ALTERNATIVES[3], &webhook.url_env, &webhook.url).and_then(|address| {
                self.warn_of_literal(&address, "url_env = \"STATUS_WEBHOOK_URL\"");
                self.http_secret(address, "webhook")
            });
            channels.extend(url.map(|url| Channel::Webhook { url }));
        }
        Some(Notify { timeout: timeout?, channels })
    }

    fn email(&mut self, email: &file::EmailTable) -> Option<Channel> {
        let path = "notify.email";
        let smtp = self.address(path, ALTERNATIVES[2], &email.smtp_env, &email.smtp).and_then(|address| {
            if address.value.contains('@') {
                self.warn_of_literal(&address, "smtp_env = \"SMTP_URL\"");
            }
            match check_smtp(&address.value) {
                Ok(()) => Some(Secret::new(address.value)),
                Err(why) => self.bad_address(&address, why, "email"),
            }
        });
        let from = email.from.as_ref().and_then(|text| self.mailbox(&format!("{path}.from"), text));
        let at = format!("{path}.to");
        let to = email.to.as_ref().and_then(|texts| self.each(&at, texts, Self::mailbox));
        if email.to.as_ref().is_some_and(Vec::is_empty) {
            self.wrong(&at, "there must be at least one address");
        }
        Some(Channel::Email { smtp: smtp?, from: from?, to: to? })
    }

    fn mailbox(&mut self, path: &str, text: &str) -> Option<String> {
        if text.parse::<lettre::Address>().is_ok() {
            return Some(text.to_owned());
        }
        let node = self.tree.nearest(path);
        match &node.variable {
            Some(name) => {
                let what = format!("the value of the variable {name} is not an email address; {}", left_out("email"));
                self.findings.warning(node.place, what);
            }
            None => {
                self.wrong(path, format!("{text:?} is not an email address"));
            }
        }
        None
    }

    /// The address of a channel, from the variable that `env` names or as it is written.
    fn address(
        &mut self,
        path: &str,
        keys: &[&str],
        env: &Option<String>,
        written: &Option<String>,
    ) -> Option<Address> {
        self.exactly_one(path, keys)?;
        let path = format!("{path}.{}", keys[usize::from(env.is_none())]);
        let node = self.tree.nearest(&path);
        let (place, variable) = (node.place, node.variable.clone());
        let Some(name) = env else {
            return written.clone().map(|value| Address { value, path, place, variable });
        };
        if !is_variable_name(name) {
            // Not quoted: whoever writes the secret here by mistake shall not see it on the screen.
            let hint = format!("for example {:?}, without the $", "SLACK_WEBHOOK_URL");
            self.wrong(&path, "is not the name of a variable").hint = Some(hint);
            return None;
        }
        match look_up(self.reading.variable, name) {
            Ok(value) => Some(Address { value, path, place, variable: Some(name.clone()) }),
            Err(why) => {
                let channel = path.split('.').nth(1).unwrap_or_default();
                self.findings.warning(place, format!("{why}; {}", left_out(channel)));
                None
            }
        }
    }

    fn warn_of_literal(&mut self, address: &Address, instead: &str) {
        if address.variable.is_none() {
            let what = format!("{}: a secret stands in the file", label(&address.path));
            self.findings.warning(address.place, what).hint =
                Some(format!("write {instead} and set the variable in .env.deploy"));
        }
    }

    fn http_secret(&mut self, address: Address, channel: &str) -> Option<Secret> {
        let refused = match HttpUrl::new(address.value.as_str()) {
            Err(bad) => Some(bad.why),
            Ok(_) => host_of_url(&address.value).err(),
        };
        match refused {
            None => Some(Secret::new(address.value)),
            Some(why) => self.bad_address(&address, why, channel),
        }
    }

    /// Says why without the address itself, which may be a secret.
    fn bad_address(&mut self, address: &Address, why: &str, channel: &str) -> Option<Secret> {
        match &address.variable {
            Some(name) => {
                let what = format!("the value of the variable {name} {why}; {}", left_out(channel));
                self.findings.warning(address.place, what);
            }
            None => {
                self.findings.problem(address.place, format!("{}: the address {why}", label(&address.path)));
            }
        }
        None
    }
}
