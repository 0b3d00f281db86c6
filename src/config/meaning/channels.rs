//! The channels of the messages. What is wrong in the file is a problem; what is wrong outside it is a warning, and that
//! channel is left out. Never says what an address is: it may be a secret.

use std::time::Duration;

use super::{Meaning, label};
use crate::config::env_file::is_variable_name;
use crate::config::file;
use crate::config::findings::Place;
use crate::config::tree::ALTERNATIVES;
use crate::config::value::{check_smtp, host_of_url, matchers};
use crate::config::variables::{left_out, look_up};
use crate::nouns::inventory::{Channel, Contacts, Escalation, Matcher, Notify};
use crate::nouns::names::HttpUrl;
use crate::nouns::secret::Secret;

/// A day later nobody counts from the beginning.
const LATEST_ESCALATION: Duration = Duration::from_secs(24 * 60 * 60);

/// Where a channel's address comes from, and its place in the file.
struct Address {
    value: String,
    path: String,
    place: Place,
    variable: Option<String>,
}

impl Meaning<'_, '_, '_> {
    pub(super) fn notify(&mut self, notify: &file::NotifyTable, service: &str) -> Option<Notify> {
        let timeout = self.wait("notify.timeout", &notify.timeout);
        let mut channels = Vec::new();
        if let Some(slack) = &notify.slack {
            channels.extend(self.slack_thread(slack));
        }
        if let Some(slack) = notify.slack.as_ref().filter(|slack| slack.token_env.is_none()) {
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
        if let Some(table) = &notify.pagerduty {
            channels.extend(self.pagerduty(table));
        }
        if let Some(table) = &notify.statuspage {
            channels.extend(self.statuspage(table));
        }
        if let Some(table) = &notify.alertmanager {
            channels.extend(self.alertmanager(table, service));
        }
        if let Some(table) = &notify.grafana {
            channels.extend(self.grafana(table));
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

    /// A channel by a token, where the table has one.
    fn slack_thread(&mut self, slack: &file::SlackTable) -> Option<Channel> {
        let path = "notify.slack";
        let Some(env) = &slack.token_env else {
            if slack.channel.is_some() || slack.url.is_some() {
                self.wrong(path, "channel and url go with token_env");
            }
            return None;
        };
        self.exactly_one(path, ALTERNATIVES[1])?;
        let token = self.secret_of(path, "token_env", env);
        let url = self.base_url(path, &slack.url, "https://slack.com/api");
        let Some(channel) = &slack.channel else {
            self.wrong(path, "a token needs the channel that it writes into").hint =
                Some("for example channel = \"C0INCIDENTS\"".into());
            return None;
        };
        let channel = self.text(&format!("{path}.channel"), channel);
        Some(Channel::SlackThread { token: token?, channel: channel?, url: url? })
    }

    fn pagerduty(&mut self, table: &file::PagerdutyTable) -> Option<Channel> {
        let path = "notify.pagerduty";
        let key = self.secret_of(path, "routing_key_env", table.routing_key_env.as_ref()?);
        let url = self.base_url(path, &table.url, "https://events.pagerduty.com/v2/enqueue");
        Some(Channel::PagerDuty { key: key?, url: url? })
    }

    fn statuspage(&mut self, table: &file::StatuspageTable) -> Option<Channel> {
        let path = "notify.statuspage";
        let token = self.secret_of(path, "token_env", table.token_env.as_ref()?);
        let url = self.base_url(path, &table.url, "https://api.statuspage.io");
        let page = table.page.as_ref().and_then(|page| self.id_in_url(&format!("{path}.page"), page));
        let component = match &table.component {
            Some(component) => Some(self.id_in_url(&format!("{path}.component"), component)?),
            None => None,
        };
        Some(Channel::Statuspage { page: page?, component, token: token?, url: url? })
    }

    fn alertmanager(&mut self, table: &file::AlertmanagerTable, service: &str) -> Option<Channel> {
        let path = "notify.alertmanager";
        let url = self.base_url(path, &table.url, "");
        let matchers = match &table.silence {
            None => {
                vec![Matcher { name: "service".to_owned(), value: service.to_owned(), is_regex: false, is_equal: true }]
            }
            Some(text) => match matchers(text) {
                Ok(matchers) => matchers,
                Err(why) => {
                    self.wrong(&format!("{path}.silence"), why).hint =
                        Some("for example '{service=\"listings\"}'".into());
                    return None;
                }
            },
        };
        Some(Channel::Alertmanager { url: url?, matchers })
    }

    fn grafana(&mut self, table: &file::GrafanaTable) -> Option<Channel> {
        let path = "notify.grafana";
        let token = self.secret_of(path, "token_env", table.token_env.as_ref()?);
        let url = self.base_url(path, &table.url, "");
        Some(Channel::Grafana { url: url?, token: token? })
    }

    /// Who is told when it lasts.
    pub(super) fn contacts(&mut self, contacts: &file::ContactsTable) -> Option<Contacts> {
        let escalate: Vec<Option<Escalation>> = contacts
            .escalate
            .iter()
            .enumerate()
            .map(|(n, row)| {
                let path = format!("contacts.escalate.{n}");
                let after = self.duration(&format!("{path}.after"), row.after.as_ref()?, LATEST_ESCALATION);
                let name = self.text(&format!("{path}.name"), row.name.as_ref()?);
                Some(Escalation { after: after?, name: name? })
            })
            .collect();
        let mut escalate = escalate.into_iter().collect::<Option<Vec<Escalation>>>()?;
        escalate.sort_by_key(|row| row.after);
        Some(Contacts { oncall: contacts.oncall.clone(), commander: contacts.commander.clone(), escalate })
    }

    /// The secret that a variable holds. One that is not set costs the channel, and not the rollback.
    fn secret_of(&mut self, path: &str, key: &str, env: &str) -> Option<Secret> {
        let path = format!("{path}.{key}");
        if !is_variable_name(env) {
            let hint = format!("for example {:?}, without the $", "PAGERDUTY_ROUTING_KEY");
            self.wrong(&path, "is not the name of a variable").hint = Some(hint);
            return None;
        }
        let place = self.tree.nearest(&path).place;
        let channel = path.split('.').nth(1).unwrap_or_default();
        let why = match look_up(self.reading.variable, env) {
            Ok(value) if value.trim().is_empty() || value.chars().any(char::is_control) => {
                format!("the value of the variable {env} is empty, or has a control character in it")
            }
            Ok(value) => return Some(Secret::new(value.trim().to_owned())),
            Err(why) => why,
        };
        self.findings.warning(place, format!("{why}; {}", left_out(channel)));
        None
    }

    /// An address that is no secret, without the slash at its end.
    pub(super) fn base_url(&mut self, path: &str, url: &Option<String>, theirs: &str) -> Option<String> {
        let Some(url) = url else { return (!theirs.is_empty()).then(|| theirs.to_owned()) };
        let url = self.word(&format!("{path}.url"), url, HttpUrl::new)?;
        Some(url.as_str().trim_end_matches('/').to_owned())
    }

    /// What becomes a part of an address.
    fn id_in_url(&mut self, path: &str, id: &str) -> Option<String> {
        if !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')) {
            return Some(id.to_owned());
        }
        self.wrong(path, format!("{id:?} is no ID; it is letters and digits"));
        None
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
