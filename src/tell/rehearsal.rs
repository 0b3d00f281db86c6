//! What a drill came to: a rollback and its undo, held against the runbook's checklist and the targets; and when the next one
//! is due, in words and for a calendar. Pure. Never counts what nobody proved.

use std::time::Duration;

use chrono::{DateTime, Offset, TimeDelta, Utc};

use crate::nouns::inventory::DrillDue;
use crate::nouns::record::{Drill, Entry, Rehearsal, What};
use crate::nouns::units::span;
use crate::tell::checklist::checklist;
use crate::tell::known::Known;
use crate::tell::story::{Story, begun, ending};
use crate::tell::times::measured;

/// What held of the runbook, and what did not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Score {
    pub held: Vec<String>,
    pub missed: Vec<String>,
}

impl Score {
    fn count(&mut self, holds: bool, what: String) {
        if holds { self.held.push(what) } else { self.missed.push(what) }
    }
}

/// The journals of both runs, by service; no undo where the rollback had changed nothing, or nobody knows what.
pub fn score(rollback: &[Vec<Entry>], undo: Option<&[Vec<Entry>]>) -> Score {
    let mut score = Score::default();
    let known = Known::default();
    for entries in rollback {
        let of = if rollback.len() > 1 {
            begun(entries).map_or(String::new(), |begun| format!("{}: ", begun.service))
        } else {
            String::new()
        };
        let story = Story { known: &known, entries, local_offset: Utc.fix() };
        let ending = ending(entries);
        score.count(ending.verdict.exit == 0, format!("{of}rollback done and proven: {}", ending.verdict.production));
        for check in checklist(&story, &ending) {
            score.count(check.is_done(), format!("{of}{}", check.text()));
        }
        for measure in measured(entries, begun(entries)) {
            if let Some(words) = measure.against_target() {
                score.count(measure.is_met(), format!("{of}{words}"));
            }
        }
        let gaps = entries.iter().filter(|entry| matches!(entry.what, What::Gap { .. })).count();
        score.count(gaps == 0, format!("{of}evidence without a gap ({gaps})"));
    }
    match undo {
        None => score.count(false, "taken back again: it was not".to_owned()),
        Some(journals) => {
            for entries in journals {
                let ending = ending(entries);
                score.count(ending.verdict.exit == 0, format!("taken back again: {}", ending.verdict.production));
            }
        }
    }
    score
}

/// What is overdue, in words with what to type.
pub fn overdue(due: &DrillDue, rehearsals: &[Rehearsal], drills: &[Drill], now: DateTime<Utc>) -> Vec<String> {
    let mut said = Vec::new();
    let last = rehearsals.iter().map(|rehearsal| rehearsal.time).max();
    if let Some(ago) = is_over(last, due.every, now) {
        said.push(format!(
            "a drill is overdue ({ago}, and drill.every is {}): rollback-prod --env staging drill",
            days(due.every)
        ));
    }
    if let Some(every) = due.verify_every {
        let last = drills.iter().filter(|drill| drill.would_serve).map(|drill| drill.time).max();
        if let Some(ago) = is_over(last, every, now) {
            said.push(format!(
                "a verified dump is overdue ({ago}, and drill.verify_every is {}): rollback-prod backups verify",
                days(every)
            ));
        }
    }
    said
}

/// How long ago, where that is longer than it should be.
fn is_over(last: Option<DateTime<Utc>>, every: Duration, now: DateTime<Utc>) -> Option<String> {
    let Some(last) = last else { return Some("none is on record".to_owned()) };
    let ago = (now - last).to_std().unwrap_or_default();
    (ago > every).then(|| format!("the last was {} ago", span(ago)))
}

fn days(every: Duration) -> String {
    humantime::format_duration(every).to_string()
}

/// The next drill and those after it as an entry of a calendar (RFC 5545).
pub fn calendar(service: &str, due: &DrillDue, rehearsals: &[Rehearsal], now: DateTime<Utc>) -> String {
    let every = TimeDelta::from_std(due.every).unwrap_or(TimeDelta::days(90)).max(TimeDelta::days(1));
    let last = rehearsals.iter().map(|rehearsal| rehearsal.time).max();
    let next = last.map_or(now, |last| last + every).max(now) + TimeDelta::days(1);
    let lines = [
        "BEGIN:VCALENDAR".to_owned(),
        "VERSION:2.0".to_owned(),
        "PRODID:-//rollback-prod//drill//EN".to_owned(),
        "BEGIN:VEVENT".to_owned(),
        // The same whenever it is made: an imported one is changed, and not doubled.
        format!("UID:drill-{service}@rollback-prod"),
        format!("DTSTAMP:{}", now.format("%Y%m%dT%H%M%SZ")),
        format!("DTSTART:{}", next.format("%Y%m%dT100000Z")),
        "DURATION:PT1H".to_owned(),
        format!("RRULE:FREQ=DAILY;INTERVAL={}", every.num_days()),
        format!("SUMMARY:Rollback drill of {service}"),
        "DESCRIPTION:rollback-prod --env staging drill\\n\\nA real rollback there\\, taken back again\\, with a score."
            .to_owned(),
        "END:VEVENT".to_owned(),
        "END:VCALENDAR".to_owned(),
    ];
    lines.map(|line| folded(&line)).join("")
}

/// No line is longer than 75 octets; what is left goes on behind a space.
fn folded(line: &str) -> String {
    let mut out = String::new();
    let mut used = 0;
    for c in line.chars() {
        if used + c.len_utf8() > 74 {
            out.push_str("\r\n ");
            used = 1;
        }
        out.push(c);
        used += c.len_utf8();
    }
    out.push_str("\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-11-20T21:15:03Z".parse().expect("a time")
    }

    fn rehearsal(days_ago: i64) -> Rehearsal {
        Rehearsal { time: now() - TimeDelta::days(days_ago), ..Rehearsal::begun(now(), "listings", "staging", "alice") }
    }

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn what_is_overdue_is_said_with_what_to_type() {
        let due = DrillDue { every: 90 * DAY, verify_every: Some(7 * DAY) };
        let said = overdue(&due, &[rehearsal(200), rehearsal(97)], &[], now());
        assert_eq!(
            said,
            [
                "a drill is overdue (the last was 97 days 0 h ago, and drill.every is 2months 29days 2h 52m 48s): rollback-prod --env staging drill",
                "a verified dump is overdue (none is on record, and drill.verify_every is 7days): rollback-prod backups verify",
            ]
        );
        let good = Drill { time: now() - TimeDelta::days(6), ..Drill::begun(now(), "listings_prod") };
        assert_eq!(overdue(&due, &[rehearsal(89)], std::slice::from_ref(&good), now()), Vec::<String>::new());
        assert_eq!(
            overdue(&due, &[rehearsal(89)], &[good.failed("torn".into())], now()).len(),
            1,
            "a bad dump verifies nothing"
        );
    }

    #[test]
    fn a_calendar_takes_the_next_one_and_those_after_it() {
        let due = DrillDue { every: 90 * DAY, verify_every: None };
        let said = calendar("listings", &due, &[rehearsal(10)], now());
        assert!(said.contains("\r\nDTSTART:20270209T100000Z\r\n"), "{said}");
        assert!(said.contains("\r\nRRULE:FREQ=DAILY;INTERVAL=90\r\n"), "{said}");
        assert!(said.split("\r\n").all(|line| line.len() <= 75 && !line.contains('\n')), "{said}");
        assert!(said.starts_with("BEGIN:VCALENDAR\r\n") && said.ends_with("END:VCALENDAR\r\n"), "{said}");
    }
}
