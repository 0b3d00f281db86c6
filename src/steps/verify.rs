//! Asks whoever should serve.

use std::time::Duration;

use crate::hosts::facts::health_urls;
use crate::hosts::program::{Arguments, PATIENCE, Question, Script, UNIT, hex_ports, program, script};
use crate::nouns::colour::Colour;
use crate::nouns::inventory::Inventory;
use crate::nouns::names::HttpUrl;

pub(super) const HEALTH: Script = script!("health");
pub(super) const ACCESS: Script = script!("access");

/// Each health URL of a colour, once, and who listens on its ports.
pub fn health(inventory: &Inventory, colour: Colour) -> Question {
    let app = inventory.app(colour);
    let mut arguments = Arguments::new(inventory);
    arguments.set("ports", hex_ports(app.ports()));
    for (n, url) in health_urls(app).enumerate() {
        arguments.get(&format!("{colour}.health.{n}"), PATIENCE, None, &url);
    }
    Question(program(HEALTH, arguments, Duration::from_secs(20)))
}

/// The probe, once, through a balancer.
pub fn probe(inventory: &Inventory) -> Question {
    let mut arguments = Arguments::new(inventory);
    arguments.get("probe", PATIENCE, inventory.nginx.probe_host.as_deref(), inventory.nginx.probe.as_str());
    Question(program(HEALTH, arguments, Duration::from_secs(10)))
}

/// Statuses in the access logs on both sides of a size.
pub fn access(inventory: &Inventory, sizes: &[(String, u64)]) -> Question {
    let mut arguments = Arguments::new(inventory);
    for (path, size) in sizes {
        arguments.set("log", format!("{path}{UNIT}{size}"));
    }
    Question(program(ACCESS, arguments, Duration::from_secs(20)))
}

/// URLs of the database's health, asked on a host once.
pub fn database_health(inventory: &Inventory, urls: &[HttpUrl]) -> Question {
    let mut arguments = Arguments::new(inventory);
    for (n, url) in urls.iter().enumerate() {
        arguments.get(&format!("database.health.{n}"), PATIENCE, None, url.as_str());
    }
    Question(program(HEALTH, arguments, Duration::from_secs(20)))
}
