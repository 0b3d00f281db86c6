//! When things were: the journal's milliseconds as times of day, and the times that are measured against the config's
//! targets. Reads no clock. Never fills a gap: what has no end in the journal is called not measured.

use chrono::{DateTime, FixedOffset, Offset, TimeDelta, Utc};
use serde::Serialize;

use crate::nouns::colour::Colour;
use crate::nouns::record::{Begun, Entry, Status, StepWord, What};
use crate::nouns::units::{duration, limit};
use crate::tell::several;
use crate::tell::story::{Story, begun, newest_of_any_host, restored_at, towards, traffic_safe};

/// The measured times against `[targets]` on one line, for the last lines of a run; `None` where nothing was measured.
pub fn times_line(stories: &[Story<'_>]) -> Option<String> {
    if let [story] = stories {
        return times_of(story);
    }
    let each = stories.iter().filter_map(|story| Some(format!("{}: {}", several::name(story), times_of(story)?)));
    let each: Vec<String> = each.collect();
    (!each.is_empty()).then(|| each.join(" | "))
}

fn times_of(story: &Story<'_>) -> Option<String> {
    let begun = begun(story.entries);
    let said: Vec<String> = measured(story.entries, begun)
        .into_iter()
        .filter_map(|measure| {
            let target =
                measure.target.map_or(String::new(), |target| format!(" (target {target}: {})", measure.verdict));
            Some(format!("{} {}{target}", measure.what, measure.took?))
        })
        .collect();
    (!said.is_empty()).then(|| said.join("; "))
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Time {
    /// `2026-11-20 21:15:03`
    pub(super) utc: String,
    /// `22:15:03`
    local: String,
    /// Since the run began: `+00:00.4`, after an hour `+26:03:10`.
    offset: String,
}

/// A time that was measured, and what was wanted.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Measure {
    what: &'static str,
    took: Option<String>,
    target: Option<String>,
    /// `met`, `missed`, `not measured`, or nothing where there is no target.
    verdict: &'static str,
}

impl Measure {
    /// `traffic safe on blue 0.41 s (target 60 s: met)`; `None` where there is no target.
    pub(super) fn against_target(&self) -> Option<String> {
        let target = self.target.as_ref()?;
        let took = self.took.as_deref().unwrap_or("not measured");
        Some(format!("{} {took} (target {target}: {})", self.what, self.verdict))
    }

    pub(super) fn is_met(&self) -> bool {
        self.verdict == "met"
    }
}

/// Turns the journal's milliseconds into times of day.
pub(super) struct Clock {
    began: DateTime<Utc>,
    offset: FixedOffset,
}

impl Clock {
    pub(super) fn of(story: &Story<'_>) -> Clock {
        // The process began before its first entry was written.
        let began = story.entries.first().map(|entry| entry.time - milliseconds(entry.at_ms)).unwrap_or_default();
        Clock { began, offset: story.local_offset }
    }

    pub(super) fn time(&self, at_ms: u64) -> Time {
        let utc = self.began + milliseconds(at_ms);
        let tenths = at_ms / 100;
        Time {
            utc: utc.format("%Y-%m-%d %H:%M:%S").to_string(),
            local: utc.with_timezone(&self.offset).format("%H:%M:%S").to_string(),
            offset: match tenths / 36_000 {
                0 => format!("+{:02}:{:02}.{}", tenths / 600, tenths / 10 % 60, tenths % 10),
                hours => format!("+{hours}:{:02}:{:02}", tenths / 600 % 60, tenths / 10 % 60),
            },
        }
    }

    /// `UTC+01:00`; nothing where local time is UTC.
    pub(super) fn zone(&self) -> Option<String> {
        (self.offset.fix().local_minus_utc() != 0).then(|| format!("UTC{}", self.offset))
    }
}

fn milliseconds(ms: u64) -> TimeDelta {
    i64::try_from(ms).ok().and_then(TimeDelta::try_milliseconds).unwrap_or_default()
}

/// What is measured against the targets of the config.
pub(super) fn measured(entries: &[Entry], begun: Option<&Begun>) -> Vec<Measure> {
    let safe = traffic_safe(entries).map(|safe| safe.at_ms);
    let rollback = safe.and_then(|_| rollback_ms(entries));
    let restored = newest_of_any_host(entries, StepWord::Restore).is_some();
    let restore = restore_ms(entries);
    let lost = lost_ms(entries);
    let service_is_back = if restored { restore.and(rollback) } else { safe };
    let target =
        |name: &str| begun.and_then(|begun| begun.targets_ms.iter().find(|(of, _)| of == name)).map(|(_, ms)| *ms);
    // What a rollback promises says nothing of a switch that takes its time.
    let moves_traffic = begun.is_none_or(|begun| !begun.traffic_stays && begun.gradual.is_none());
    let is_recovery = begun.is_none_or(|begun| !begun.is_partial());
    let (on_it, whole) = match towards(entries) {
        Colour::Blue => ("traffic safe on blue", "rollback complete"),
        Colour::Green => ("traffic safe on green", "undo complete"),
    };
    let rows = [
        ("traffic", on_it, safe, moves_traffic),
        ("rollback", whole, rollback, moves_traffic),
        ("restore", "database restored", restore, restored),
        (
            "rto",
            "recovery (RTO), counted from the start of this run",
            service_is_back,
            is_recovery && target("rto").is_some(),
        ),
        ("rpo", "lost data (RPO): the dump's age when it went live", lost, restored),
    ];
    rows.into_iter()
        .filter(|(_, _, _, is_shown)| *is_shown)
        .map(|(name, what, took, _)| Measure {
            what,
            took: took.map(duration),
            target: target(name).map(limit),
            verdict: match (took, target(name)) {
                (None, _) => "not measured",
                (Some(took), Some(target)) if took <= target => "met",
                (Some(_), Some(_)) => "missed",
                (Some(_), None) => "",
            },
        })
        .collect()
}

/// When the last step of the rollback itself was done; evidence, report and messages come after it.
fn rollback_ms(entries: &[Entry]) -> Option<u64> {
    entries.iter().rev().find_map(|entry| {
        let What::Outcome { step, status: Status::Done, .. } = &entry.what else { return None };
        match step {
            StepWord::Lock
            | StepWord::Switch
            | StepWord::Drain
            | StepWord::Stop
            | StepWord::Verify
            | StepWord::Change
            | StepWord::Restore => Some(entry.at_ms),
            StepWord::Connect
            | StepWord::Observe
            | StepWord::Hold
            | StepWord::Judge
            | StepWord::Migrate
            | StepWord::Hook
            | StepWord::Evidence
            | StepWord::Report
            | StepWord::Notify => None,
        }
    })
}

/// How old the restored data is: from the dump to the moment it went live, in milliseconds.
fn lost_ms(entries: &[Entry]) -> Option<u64> {
    let made = entries.iter().rev().find_map(|entry| match &entry.what {
        What::Dump(dump) => Some(dump.modified),
        _ => None,
    })?;
    u64::try_from((restored_at(entries)? - made).num_milliseconds()).ok()
}

/// How long the database's own work took: from the first word of it to the swap.
fn restore_ms(entries: &[Entry]) -> Option<u64> {
    entries.iter().rev().find_map(|entry| match &entry.what {
        What::Outcome { step: StepWord::Restore, status: Status::Done, ms, .. } => Some(*ms),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_as_many_digits_as_somebody_would_say() {
        assert_eq!([412, 9_031, 123_000, 7_500_000].map(duration), ["0.41 s", "9.0 s", "2 min 03 s", "2 h 05 min"]);
        assert_eq!([60_000, 120_000, 90_000, 500].map(limit), ["60 s", "2 min", "90 s", "0.50 s"]);
    }
}
