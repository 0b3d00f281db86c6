//! `undo`: what a rollback changed is read back from its folder, and the same story is told the other way round.

use crate::cli::Insistence;
use crate::incident::past;
use crate::nouns::inventory::{Inventory, Role};
use crate::nouns::names::IncidentId;
use crate::nouns::plan::{Request, Undoing};

use super::load::Opened;

/// What is to be taken back, on the hosts and in the direction that this means.
///
/// # Errors
/// Why there is nothing to take back.
pub(super) fn turned(loaded: Opened, named: Option<&str>) -> Result<(Opened, Undoing), String> {
    let undoing = past::find(&loaded.inventory.incidents, named)?;
    if undoing.swap.is_some() && loaded.inventory.database.is_none() {
        return Err(format!("{} replaced a database, and the config has no [database]", undoing.incident));
    }
    let mut inventory = loaded.inventory.exchanged();
    if !undoing.files.is_empty() {
        only_moved(&mut inventory, &undoing);
        if inventory.with_role(Role::Balancer).next().is_none() {
            return Err(format!("none of the hosts that {} changed is in the config", undoing.incident));
        }
    }
    Ok((Opened { inventory, ..loaded }, undoing))
}

/// Balancers that the incident did not move are none of this run's.
fn only_moved(inventory: &mut Inventory, undoing: &Undoing) {
    for host in &mut inventory.hosts {
        if !undoing.files.contains_key(&host.name) {
            host.roles.retain(|role| *role != Role::Balancer);
        }
    }
    inventory.hosts.retain(|host| !host.roles.is_empty());
}

/// The request of an undo: typing the command is the consent to move traffic, as a reason is.
pub(super) fn request(request: Request, undoing: Undoing, insistence: &Insistence) -> Request {
    Request {
        reason: reason(&undoing.incident),
        green_is_kept: true,
        is_forced: insistence.force,
        takes_over: insistence.take_over,
        undo: Some(undoing),
        ..request
    }
}

fn reason(incident: &IncidentId) -> String {
    format!("undo of {incident}")
}
