//! `partial`: what else of a release goes back, while traffic stays. The story is a rollback's, with another request.

use crate::cli::Command;
use crate::nouns::inventory::Inventory;
use crate::nouns::names::ChangeName;
use crate::nouns::plan::TakesOver;
use crate::nouns::request::Request;

/// The request of a partial rollback.
///
/// # Errors
/// A name that the config does not have.
pub(super) fn request(request: Request, inventory: &Inventory, command: &Option<Command>) -> Result<Request, String> {
    let Some(Command::Partial { changes, reason, insistence, .. }) = command else { return Ok(request) };
    let takes_over = if insistence.take_over { TakesOver::Anybody } else { TakesOver::Nobody };
    Ok(Request {
        reason: reason.clone().unwrap_or_default(),
        from_is_kept: true,
        is_forced: insistence.force,
        takes_over,
        bake: None,
        changes: named("partial", changes, inventory)?,
        to_release: None,
        migrate_down: None,
        is_partial: true,
        ..request
    })
}

/// The changes of those names, each once, in the order in which they were typed.
///
/// # Errors
/// A name that the config does not have.
pub(super) fn named(by: &str, names: &[String], inventory: &Inventory) -> Result<Vec<ChangeName>, String> {
    let mut found: Vec<ChangeName> = Vec::new();
    for name in names.iter().map(|name| name.trim()).filter(|name| !name.is_empty()) {
        let Some(change) = inventory.changes.iter().find(|change| change.name.as_str() == name) else {
            let known: Vec<&str> = inventory.changes.iter().map(|change| change.name.as_str()).collect();
            let known = match known.is_empty() {
                true => "it has no [change.NAME] at all".to_owned(),
                false => format!("it has {}", known.join(", ")),
            };
            return Err(format!("{by} names the change {name:?}, which the config does not have; {known}"));
        };
        if !found.contains(&change.name) {
            found.push(change.name.clone());
        }
    }
    Ok(found)
}
