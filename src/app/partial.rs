//! `partial`: what else of a release goes back, while traffic stays. The story is a rollback's, with another request.

use super::load::Opened;
use super::services::changes_named;
use crate::cli::Command;
use crate::nouns::request::Request;

/// The requests of a partial rollback, of the services that have any of the changes.
///
/// # Errors
/// A name that the config does not have.
pub(super) fn requests(
    asked: Vec<(Opened, Request)>,
    command: &Option<Command>,
) -> Result<Vec<(Opened, Request)>, String> {
    let Some(Command::Partial { changes, reason, insistence, .. }) = command else { return Ok(asked) };
    let (services, requests): (Vec<Opened>, Vec<Request>) = asked.into_iter().unzip();
    let named = changes_named("partial", changes, &services)?;
    let all = services.into_iter().zip(requests).zip(named).filter(|(_, changes)| !changes.is_empty());
    let partial = all.map(|((opened, request), changes)| {
        let request = Request {
            reason: reason.clone().unwrap_or_default(),
            from_is_kept: true,
            is_forced: insistence.force,
            takes_over: insistence.takes_over(),
            bake: None,
            changes,
            to_release: None,
            migrate_down: None,
            is_partial: true,
            ..request
        };
        (opened, request)
    });
    Ok(partial.collect())
}
