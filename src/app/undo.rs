//! `undo`: what a rollback changed is read back from its folder, and the same story is told in the other direction.

use super::load::Opened;
use crate::cli::Insistence;
use crate::incident::past;
use crate::nouns::inventory::{Inventory, Role};
use crate::nouns::names::IncidentId;
use crate::nouns::request::{Request, Undoing};
use crate::nouns::side::Direction;

/// What is to be taken back of which service: in the reverse of the order in which it was done.
///
/// # Errors
/// Why there is nothing to take back.
pub(super) fn requests(
    asked: Vec<(Opened, Request)>,
    named: Option<&str>,
    insistence: &Insistence,
) -> Result<Vec<(Opened, Request)>, String> {
    let incidents = asked.first().map(|(opened, _)| opened.inventory.incidents.clone()).unwrap_or_default();
    let found = past::find(&incidents, named)?;
    let is_single = found.len() == 1 && asked.iter().all(|(opened, _)| opened.inventory.is_alone);
    let incident = found.first().map(|undoing| undoing.incident.to_string()).unwrap_or_default();
    let changed: Vec<String> = found.iter().map(|undoing| undoing.service.clone()).collect();
    let mut asked = asked;
    let mut requests = Vec::new();
    for undoing in found.into_iter().rev() {
        // A config of one service may call it otherwise by now.
        let is_it = |opened: &Opened| is_single || opened.inventory.service.as_str() == undoing.service;
        let Some(place) = asked.iter().position(|(opened, _)| is_it(opened)) else { continue };
        let (opened, request) = asked.remove(place);
        can_be_undone(&opened.inventory, &undoing)?;
        requests.push((opened, self::request(request, undoing, insistence)));
    }
    match requests.is_empty() {
        true => {
            Err(format!("{incident} changed {}, and none of that is asked for or in the config", changed.join(", ")))
        }
        false => Ok(requests),
    }
}

fn can_be_undone(inventory: &Inventory, undoing: &Undoing) -> Result<(), String> {
    if undoing.is_of_a_database() && inventory.database.is_none() {
        return Err(format!("{} changed a database, and the config has no [database]", undoing.incident));
    }
    let is_known = |balancer: &str| inventory.with_role(Role::Balancer).any(|host| host.name.as_str() == balancer);
    if !undoing.files.is_empty() && !undoing.files.keys().any(|host| is_known(host.as_str())) {
        return Err(format!("none of the hosts that {} changed is in the config", undoing.incident));
    }
    Ok(())
}

/// The request of an undo: typing the command is the consent to move traffic, as a reason is.
fn request(request: Request, undoing: Undoing, insistence: &Insistence) -> Request {
    Request {
        reason: reason(&undoing.incident),
        direction: Direction::to(undoing.to),
        from_is_kept: true,
        is_forced: insistence.force,
        takes_over: insistence.takes_over(),
        bake: None,
        changes: Vec::new(),
        to_release: None,
        migrate_down: None,
        undo: Some(undoing),
        ..request
    }
}

fn reason(incident: &IncidentId) -> String {
    format!("undo of {incident}")
}
