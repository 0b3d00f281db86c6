//! What the words of hooks and changes are told of the run, by their environment.

use std::path::{Path, PathBuf};

use crate::nouns::change::Manner;
use crate::nouns::inventory::{Inventory, Role};
use crate::nouns::names::HostName;
use crate::nouns::plan::Plan;
use crate::nouns::request::Request;
use crate::nouns::side::{Direction, Side};

/// A run, as others may know it.
#[derive(Debug, Clone)]
pub struct AboutRun {
    id: String,
    reason: String,
    service: String,
    environment: String,
    direction: Direction,
    balancers: Vec<HostName>,
    /// The incident folder, once there is one.
    incident: Option<PathBuf>,
}

impl AboutRun {
    /// Before there is a plan.
    pub fn of_request(request: &Request, inventory: &Inventory) -> AboutRun {
        AboutRun {
            id: request.id.to_string(),
            reason: request.reason.clone(),
            service: inventory.service.to_string(),
            environment: inventory.environment.to_string(),
            direction: request.direction,
            balancers: inventory.with_role(Role::Balancer).map(|host| host.name.clone()).collect(),
            incident: None,
        }
    }

    pub fn of_plan(plan: &Plan, incident: &Path) -> AboutRun {
        AboutRun {
            id: plan.id.to_string(),
            reason: plan.reason.clone(),
            service: plan.service.clone(),
            environment: plan.environment.clone(),
            direction: plan.direction,
            balancers: plan.balancers.clone(),
            incident: Some(std::path::absolute(incident).unwrap_or_else(|_| incident.to_path_buf())),
        }
    }

    /// Names and values for words that are run at `step`: the config's own, and what the run is.
    pub fn env(&self, step: &str, manner: &Manner) -> Vec<(String, String)> {
        let own = manner
            .env
            .iter()
            .filter_map(|variable| Some((variable.name.clone(), variable.value.as_ref().ok()?.reveal().to_owned())));
        let colour = |side: Side| self.direction.colour(side).to_string();
        let hosts: Vec<&str> = self.balancers.iter().map(HostName::as_str).collect();
        let incident = self.incident.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        let said = [
            ("ROLLBACK_ID", self.id.clone()),
            ("ROLLBACK_REASON", self.reason.clone()),
            ("ROLLBACK_SERVICE", self.service.clone()),
            ("ROLLBACK_ENV", self.environment.clone()),
            ("ROLLBACK_FROM", colour(Side::From)),
            ("ROLLBACK_TO", colour(Side::To)),
            ("ROLLBACK_STEP", step.to_owned()),
            ("ROLLBACK_HOSTS", hosts.join(",")),
            ("ROLLBACK_INCIDENT", incident),
        ];
        own.chain(said.into_iter().map(|(name, value)| (name.to_owned(), value))).collect()
    }
}
