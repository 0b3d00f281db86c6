//! One of the services of a config, and the order in which they go back. Pure.

use super::inventory::Inventory;
use super::names::{ChangeName, ServiceName};

/// What a config says of one service; mostly it is the only one.
#[derive(Debug, Clone)]
pub struct Service {
    pub inventory: Inventory,
    /// Whom it needs: they go back after it.
    pub after: Vec<ServiceName>,
    /// Changes that it has as all the others have them, from the top of the file: they are made once.
    pub shared: Vec<ChangeName>,
}

impl Service {
    pub fn name(&self) -> &ServiceName {
        &self.inventory.service
    }
}

/// The services in the order of a rollback: who needs another one goes back before it, and else as they stand in the file.
///
/// # Errors
/// Those of which each waits for another one of them.
pub fn in_order(services: Vec<Service>) -> Result<Vec<Service>, Vec<ServiceName>> {
    let mut left = services;
    let mut ordered = Vec::new();
    while !left.is_empty() {
        let is_needed = |service: &Service| {
            left.iter().any(|other| other.name() != service.name() && other.after.contains(service.name()))
        };
        let Some(next) = left.iter().position(|service| !is_needed(service)) else {
            return Err(circle(&left));
        };
        ordered.push(left.remove(next));
    }
    Ok(ordered)
}

/// Of services each of which another one waits for a circle, as `after` names them.
fn circle(services: &[Service]) -> Vec<ServiceName> {
    let waits_for = |name: &ServiceName| services.iter().find(|service| service.after.contains(name));
    let mut way: Vec<ServiceName> = services.iter().take(1).map(|service| service.name().clone()).collect();
    while let Some(next) = way.last().and_then(waits_for).map(|service| service.name().clone()) {
        if let Some(begin) = way.iter().position(|name| *name == next) {
            let mut circle = way.split_off(begin);
            circle.reverse();
            return circle;
        }
        way.push(next);
    }
    way
}
