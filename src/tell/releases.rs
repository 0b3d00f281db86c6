//! What each side runs, and what blue could be put back to, in words. Pure.

use crate::hosts::facts::{EarlierSeen, Facts};
use crate::nouns::colour::Colour;
use crate::nouns::earlier::THE_ONE_BEFORE;
use crate::nouns::inventory::{Host, Inventory, Role};
use crate::nouns::redact::printable;

/// So many of a host are shown; nobody goes back further at night.
const MOST: usize = 12;

/// The whole picture for people.
pub fn table(inventory: &Inventory, facts: &Facts) -> String {
    let mut text = format!("{} / {}\n", inventory.service, inventory.environment);
    for host in inventory.with_role(Role::App) {
        text.push_str(&format!("\n{}\n", host.name));
        for line in lines(facts, host) {
            text.push_str(&format!("  {}\n", printable(&line)));
        }
    }
    if inventory.earlier.is_none() {
        text.push_str("\nwhat blue could be put back to, the config does not say: [blue] earlier\n");
    }
    text.push('\n');
    text
}

fn lines(facts: &Facts, host: &Host) -> Vec<String> {
    let seen = match facts.host(&host.name).map(|facts| &facts.seen) {
        Some(Ok(seen)) => seen,
        Some(Err(not_known)) => return vec![format!("not reached: {}", not_known.why)],
        None => return vec!["not asked".to_owned()],
    };
    let mut lines: Vec<String> = Colour::BOTH
        .iter()
        .map(|colour| {
            let app = seen.app(*colour);
            let release = app.release.as_ref().map_or("release not known", |release| release.name.as_str());
            format!("{colour:<6} {release}; {}", app.state)
        })
        .collect();
    let Some(kept) = facts.earlier(&host.name) else { return lines };
    if let Some(unknown) = &kept.unknown {
        lines.push(format!("what blue could be put back to is not known: {}", unknown.why));
        return lines;
    }
    let width = kept.releases.iter().take(MOST).map(|release| release.name.chars().count()).max().unwrap_or(0);
    let mut shown: Vec<&str> = Vec::new();
    for release in kept.releases.iter().take(MOST) {
        // The one before may be what is run already.
        if shown.contains(&release.name.as_str()) {
            continue;
        }
        shown.push(&release.name);
        let mark = if Some(release.name.as_str()) == kept.name_now() { "now" } else { "" };
        let also = release.also.iter().map(|also| format!("  {}", also.chars().take(12).collect::<String>()));
        let also: String = also.collect();
        lines.push(format!("  {mark:<4} {:width$}{also}  {}", release.name, release.about).trim_end().to_owned());
    }
    if kept.releases.len() > MOST {
        lines.push(format!("       and {} older ones", kept.releases.len() - MOST));
    }
    lines
}

/// The release before the one that blue is put to now, where that is the same on every host.
pub fn before_all(inventory: &Inventory, facts: &Facts) -> Option<String> {
    let before = |kept: &EarlierSeen| {
        let earlier = inventory.earlier.as_ref()?;
        let (release, _) = kept.change_to(earlier, THE_ONE_BEFORE).ok().or_else(|| {
            // Of packages nobody knows which one was run before; the next older one is shown.
            let place = kept.releases.iter().position(|release| Some(release.name.as_str()) == kept.name_now())?;
            kept.change_to(earlier, &kept.releases.get(place + 1)?.name).ok()
        })?;
        Some(release.name)
    };
    let all = inventory.with_role(Role::App).map(|host| before(facts.earlier(&host.name)?));
    let all: Option<Vec<String>> = all.collect();
    let all = all?;
    let first = all.first()?;
    all.iter().all(|name| name == first).then(|| first.clone())
}
