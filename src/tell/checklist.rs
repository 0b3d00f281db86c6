//! What is left for people: the runbook's list, ticked where the journal proves it, what to do next, and the
//! postmortem's first action items. Never ticks what nobody proved.

use serde::Serialize;

use crate::nouns::record::{AppState, Begun, DatabaseState, Entry, Status, StepWord, What};
use crate::tell::story::{
    Ending, Standing, Story, all_done, begun, database, newest, some_traffic_moved, towards, traffic_safe,
};

#[derive(Debug, Clone, Serialize)]
pub(super) struct Check {
    is_done: bool,
    text: String,
}

impl Check {
    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

/// The runbook's list, ticked where the journal proves it.
pub(super) fn checklist(story: &Story<'_>, ending: &Ending) -> Vec<Check> {
    let entries = story.entries;
    let begun = begun(entries);
    let apps = begun.map(|begun| begun.apps.clone()).unwrap_or_default();
    let greens: Vec<AppState> = apps.iter().filter_map(|host| ending.from(host)).collect();
    let check = |is_done: bool, text: &str| Check { is_done, text: text.to_owned() };
    let green_stopped = if greens.contains(&AppState::Kept) {
        check(false, "green stopped: kept running, as `--keep-green` says")
    } else {
        check(
            !apps.is_empty() && greens.len() == apps.len() && greens.iter().all(|g| *g == AppState::Stopped),
            "green stopped",
        )
    };
    let smoke =
        newest(entries, StepWord::Verify, None).map(|(status, detail)| (status, detail.contains("smoke command")));
    let smoke = match smoke {
        Some((Status::Done, true)) => check(true, "smoke tests passed"),
        Some((Status::Failed | Status::Unknown, true)) => check(false, "smoke tests passed: FAILED, see the timeline"),
        Some((Status::Started, _)) => check(false, "smoke tests passed: cut off"),
        Some((Status::Skipped, true) | (_, false)) | None => check(false, "smoke tests passed: none were run"),
    };
    let has_file = |begins: &str| {
        entries.iter().any(|entry| matches!(&entry.what, What::Captured(captured) if captured.file.starts_with(begins)))
    };
    let database = database(entries);
    let database = match (database.map(|database| database.state), begun.and_then(|begun| begun.restores.as_ref())) {
        (None, None) => check(true, "database: untouched"),
        (Some(DatabaseState::Restored), _) => check(true, "database: restored, checked on the copy and live"),
        (Some(DatabaseState::TakenBack), _) => check(true, "database: taken back to what it was before the restore"),
        (Some(DatabaseState::Unknown), _) => check(false, "database: NOT KNOWN, see the timeline"),
        (Some(DatabaseState::AsItWas) | None, Some(_)) => check(false, "database: NOT restored, as it was"),
        (Some(DatabaseState::AsItWas), None) => check(true, "database: as it was"),
    };
    if let Some(incident) = begun.and_then(|begun| begun.undoes.as_ref()) {
        let to = towards(entries);
        let safe = traffic_safe(entries).is_some() && ending.is_all_there();
        let traffic = match begun.is_some_and(|begun| begun.traffic_stays) {
            true => check(true, "traffic: the incident did not move it, untouched"),
            false => check(safe, &format!("traffic on {to}, proven on every balancer")),
        };
        return vec![check(true, &format!("takes {incident} back")), database, traffic, smoke];
    }
    if begun.is_some_and(Begun::is_partial) {
        let mut list = vec![check(begun.is_some_and(|begun| !begun.reason.trim().is_empty()), "reason recorded")];
        list.extend(made(ending));
        list.push(check(true, "traffic untouched"));
        list.push(check(matches!(newest(entries, StepWord::Notify, None), Some((Status::Done, _))), "team notified"));
        return list;
    }
    if begun.is_some_and(|begun| begun.gradual.is_some()) {
        let held = newest(entries, StepWord::Hold, None);
        let held =
            held.map_or(check(false, "no share was held"), |(status, detail)| check(status == Status::Done, detail));
        return vec![
            check(ending.is_all_there(), &format!("all shares of {} given and proven", towards(entries))),
            held,
            smoke,
            check(matches!(newest(entries, StepWord::Notify, None), Some((Status::Done, _))), "team notified"),
        ];
    }
    let baked = newest(entries, StepWord::Judge, None).map(|(status, detail)| check(status == Status::Done, detail));
    let mut list = vec![
        check(begun.is_some_and(|begun| !begun.reason.trim().is_empty()), "reason recorded"),
        check(traffic_safe(entries).is_some() && ending.is_all_there(), "traffic on blue, proven on every balancer"),
        check(all_done(entries, StepWord::Drain), "green drained"),
        green_stopped,
        check(all_done(entries, StepWord::Verify), "blue healthy after the switch"),
        smoke,
        check(has_file("green-rollback-"), "green's logs archived"),
        check(matches!(newest(entries, StepWord::Notify, None), Some((Status::Done, _))), "team notified"),
        database,
    ];
    list.extend(made(ending));
    list.extend(baked);
    list
}

/// The changes that were meant, each with whether it is what it should be.
fn made(ending: &Ending) -> Vec<Check> {
    let changes = ending.changes().into_iter();
    changes.map(|(name, is_done)| Check { is_done, text: format!("change {name} made") }).collect()
}

/// What a person does next.
pub(super) fn steps(ending: &Ending, has_patterns: bool, entries: &[Entry]) -> Vec<String> {
    let exit = ending.verdict.exit;
    let mut steps: Vec<&str> = Vec::new();
    if begun(entries).is_some_and(|begun| begun.gradual.is_some()) {
        steps.push(match exit {
            0 | 4 if ending.is_split() => {
                "Both sides have traffic: go on with more steps, or take it back with `rollback-prod --reason '…'`."
            }
            0 | 4 => "The other side is left as it was: where it runs it is the way back, until nobody wants to go back any more.",
            3 => "All traffic is back where it was. Find out why the release was judged bad before it gets traffic again.",
            8 | 130 => "Traffic stands at the share above: go on with the command above, or take it back with `rollback-prod --reason '…'`.",
            1 => "Nothing was changed. Remove the cause named above, and see that `rollback-prod check` finds nothing.",
            _ => "Find out what the balancers serve before anything else: `rollback-prod status`.",
        });
        if has_patterns {
            steps.push("Start the search for the cause with the error patterns above.");
        }
        return steps.into_iter().map(str::to_owned).collect();
    }
    if begun(entries).is_some_and(Begun::is_partial) {
        steps.push(match exit {
            0 => "Hold the pipeline: the next deploy must not bring back what was taken back here.",
            1 => "Nothing was changed. Remove the cause named above, and see that `rollback-prod check` finds nothing.",
            3 => "Everything is as it was. Remove the cause named above, and run it again.",
            4 => "Some of it is made and some of it not: the list above says which; take the rest back with `rollback-prod undo`, or run it again.",
            _ => "Look at what is NOT KNOWN on its host before anything else; to run it again is safe.",
        });
        return steps.into_iter().map(str::to_owned).collect();
    }
    match ending.standing {
        Standing::Unknown => steps.extend([
            "Find out what the balancers named above serve before anything else: `rollback-prod status`; the same by hand: `rollback-prod manual`.",
            "Run the rollback again: it looks first, and does only what is left.",
        ]),
        Standing::Failed if exit == 5 || some_traffic_moved(entries) => {
            steps.extend([
                "Some balancers still send to green: run the rollback again for them, or go by hand: `rollback-prod manual`.",
                "If it cannot be done soon, take the hosts that differ out of rotation.",
            ]);
        }
        Standing::Failed => steps.extend([
            "The incident is NOT mitigated: production is as it was. Remove the cause named above, see that `rollback-prod check` finds nothing, and run it again.",
        ]),
        Standing::Mitigating => steps.push("Run the rollback again: it looks first, and does only what is left."),
        Standing::Resolved => {}
    }
    if matches!(ending.standing, Standing::Mitigating | Standing::Resolved) {
        steps.push("Watch errors and latency for 30 minutes before calling it over.");
        steps.push("Hold the pipeline: the next deploy must not bring this release back.");
        if has_patterns {
            steps.push("Start the search for the cause with the error patterns above.");
        }
        steps.push("Fill in `POSTMORTEM.md` while memory is fresh.");
    }
    steps.into_iter().map(str::to_owned).collect()
}

/// The postmortem's first action items: what this run itself found wanting.
pub(super) fn actions(gaps: &[String], notes: &[String], ending: &Ending) -> Vec<String> {
    let left = ending.verdict.left.iter().map(|left| format!("Not done in the run: {left}"));
    let gaps = gaps.iter().map(|gap| format!("Close the gap in the evidence: {gap}"));
    let notes = notes.iter().map(|note| format!("Look into: {note}"));
    left.chain(gaps).chain(notes).collect()
}
