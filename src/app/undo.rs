//! `undo`: what a rollback changed is read back from its folder, and the same story is told in the other direction.

use crate::cli::Insistence;
use crate::incident::past;
use crate::nouns::inventory::{Inventory, Role};
use crate::nouns::names::IncidentId;
use crate::nouns::request::{Request, Undoing};
use crate::nouns::side::Direction;

/// What is to be taken back.
///
/// # Errors
/// Why there is nothing to take back.
pub(super) fn find(inventory: &Inventory, named: Option<&str>) -> Result<Undoing, String> {
    let undoing = past::find(&inventory.incidents, named)?;
    if undoing.is_of_a_database() && inventory.database.is_none() {
        return Err(format!("{} changed a database, and the config has no [database]", undoing.incident));
    }
    let is_known = |balancer: &str| inventory.with_role(Role::Balancer).any(|host| host.name.as_str() == balancer);
    if !undoing.files.is_empty() && !undoing.files.keys().any(|host| is_known(host.as_str())) {
        return Err(format!("none of the hosts that {} changed is in the config", undoing.incident));
    }
    Ok(undoing)
}

/// The request of an undo: typing the command is the consent to move traffic, as a reason is.
pub(super) fn request(request: Request, undoing: Undoing, insistence: &Insistence) -> Request {
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
