//! What stands in nobody's way and will be missed afterwards: logs that will not be in the folder, a right that is needed
//! last, and why. Pure: facts in, words out. Never refuses anything.

use crate::hosts::facts::{NoLog, Seen};
use crate::nouns::inventory::{App, Host, Inventory, Role, Run};

/// Remarks about one host, each with the command that mends it where there is one; `stops` is the side that is to be stopped.
pub fn remarks(inventory: &Inventory, host: &Host, seen: &Seen, stops: Option<&App>) -> Vec<String> {
    let mut remarks = Vec::new();
    if host.is(Role::App)
        && let (Some(log), Err(no_log)) = (&inventory.green.log, &seen.green.log_bytes)
        && let Some(why) = missed(host, seen, no_log)
    {
        let green = inventory.green.colour;
        let named = format!("{}: the cause of the incident will not be in the folder", host.name);
        remarks.push(format!("{named}: {green}'s log {log} {why}"));
    }
    for (path, size) in &seen.evidence {
        if let Some(why) = size.as_ref().err().and_then(|no_log| missed(host, seen, no_log)) {
            remarks.push(format!("{}: the folder will lack {path}: it {why}", host.name));
        }
    }
    if let Some(Run::Systemd(unit)) = stops.map(|app| &app.run)
        && host.is(Role::App)
        && !inventory.nginx.sudo
        && seen.uid != 0
    {
        remarks.push(format!(
            "{}: without sudo (nginx.sudo = false) {} stops {unit} only where a rule of polkit allows it: \
             nginx.sudo = true, or --keep-green",
            host.name, seen.user
        ));
    }
    if let Some((program, milliseconds)) = seen.held_up_by {
        remarks.push(format!(
            "{0}: {program} was waited for, {1} s; where its name servers do not answer, sudo and nginx wait for them: \
             ssh {2} 'time getent hosts $(hostname)'",
            host.name,
            milliseconds / 1000,
            host.ssh
        ));
    }
    if seen.journal_is_closed && !inventory.evidence.journal.is_empty() {
        remarks.push(format!(
            "{0}: the journal may not be read by {1}: ssh {2} sudo usermod -aG systemd-journal {1}",
            host.name, seen.user, host.ssh
        ));
    }
    if seen.hides_processes && !reads_all(seen) {
        remarks.push(format!(
            "{0}: /proc hides the processes of others from {1}, nginx's too: mount it with gid= of a group that {1} is in",
            host.name, seen.user
        ));
    }
    remarks
}

/// Whoever may do everything through sudo reads everything, too.
fn reads_all(seen: &Seen) -> bool {
    seen.uid == 0 || seen.may_root_shell
}

/// Why a log will be missing, with its cure.
fn missed(host: &Host, seen: &Seen, no_log: &NoLog) -> Option<String> {
    match no_log {
        NoLog::NotAsked => None,
        NoLog::Missing | NoLog::Is(_) => Some(no_log.to_string()),
        NoLog::Closed { .. } if reads_all(seen) => None,
        NoLog::Closed { group: None } => Some(format!("may not be read by {}", seen.user)),
        NoLog::Closed { group: Some(group) } => {
            Some(format!("may not be read by {0}: ssh {1} sudo usermod -aG {group} {0}", seen.user, host.ssh))
        }
    }
}
