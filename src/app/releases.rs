//! `releases`: what each side runs, and what blue could be put back to. Only asks.

use serde_json::json;

use super::{Run, Session};
use crate::hosts::facts::{EarlierSeen, Facts};
use crate::hosts::remote::ReadOnly;
use crate::hosts::ssh::Ssh;
use crate::nouns::colour::Colour;
use crate::nouns::inventory::Role;
use crate::nouns::names::HostName;
use crate::nouns::production::{Production, Verdict};
use crate::steps::earlier;
use crate::steps::observe::observe;
use crate::tell::releases;

impl Run<'_> {
    /// The releases of all app hosts, service by service.
    pub(super) async fn releases(mut self, fleet: ReadOnly<Ssh>) -> u8 {
        let mut verdicts = Vec::new();
        for session in &mut self.sessions {
            verdicts.push(session.releases(&fleet).await);
        }
        self.end(verdicts)
    }
}

impl Session<'_> {
    async fn releases(&mut self, fleet: &ReadOnly<Ssh>) -> Verdict {
        let journal = self.journal();
        let mut facts = observe(fleet, self.inventory(), self.request.direction, &journal).await;
        self.leave_out_hosts(&facts);
        let inventory = self.inventory();
        if let Some(earlier) = &inventory.earlier {
            facts.earlier = earlier::look(fleet, inventory, &facts, earlier, None).await;
        }
        if self.terminal.is_json() {
            for host in inventory.with_role(Role::App) {
                journal.note(line_of(&facts, &host.name, facts.earlier(&host.name)).to_string());
            }
        }
        self.terminal.text(&releases::table(inventory, &facts));
        let is_known = inventory.with_role(Role::App).all(|host| {
            facts.seen(&host.name).is_some() && facts.earlier(&host.name).is_none_or(|seen| seen.unknown.is_none())
        });
        let before = releases::before_all(inventory, &facts);
        let next = match (is_known, before) {
            (true, Some(name)) => format!("--reason '…' --to {}", shell_words::quote(&name)),
            (true, None) => "--dry-run --reason '…'".to_owned(),
            (false, _) => "check".to_owned(),
        };
        Verdict {
            exit: u8::from(!is_known),
            production: journal.production(Production::words),
            next: self.command(&next),
            left: Vec::new(),
        }
    }
}

/// The same for scripts.
fn line_of(facts: &Facts, host: &HostName, kept: Option<&EarlierSeen>) -> serde_json::Value {
    let runs = |colour: Colour| Some(&facts.seen(host)?.app(colour).release.as_ref()?.name);
    json!({
        "host": host, "reached": facts.seen(host).is_some(), "blue": runs(Colour::Blue), "green": runs(Colour::Green),
        "now": kept.and_then(EarlierSeen::name_now),
        "releases": kept.map(|kept| kept.releases.iter().map(|release| &release.name).collect::<Vec<_>>()),
    })
}
