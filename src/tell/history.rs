//! What was before: every incident and drill of a folder, newest first, for a terminal, for a program and as a page. What each
//! one was is concluded from its own journal, as its report does it. Reads no file, and knows no clock.

use chrono::{DateTime, FixedOffset, TimeDelta, Utc};
use serde::Serialize;

use crate::nouns::record::{Begun, Drill, Entry, Rehearsal, plural};
use crate::nouns::redact::{Redactor, cut, printable};
use crate::nouns::units::{duration, limit};
use crate::tell::known::Known;
use crate::tell::page::fill;
use crate::tell::render::{Name, Templates, redacted};
use crate::tell::several;
use crate::tell::story::{Story, begun, ending, resolved, service_words, title, traffic_safe};

/// The page beside the incident folders.
pub const INDEX: &str = "index.html";

/// An incident or a drill, in a few words.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Past {
    /// Of an incident its folder's name; a drill has none.
    pub id: Option<String>,
    /// `rollback`, `undo`, `switch`, `partial`, `drill`.
    pub kind: &'static str,
    pub began: DateTime<Utc>,
    pub service: String,
    pub title: String,
    /// In the word of status pages.
    pub status: &'static str,
    /// `good`, `warn` or `bad`.
    pub tone: &'static str,
    /// `None` where the run was killed.
    pub exit: Option<u8>,
    pub reason: String,
    pub operator: String,
    /// From the beginning of the run until all traffic was safe.
    pub traffic_safe_ms: Option<u64>,
    pub target_ms: Option<u64>,
    /// When somebody called it over.
    pub resolved: Option<DateTime<Utc>>,
}

/// What an incident was, by the journals of its services; `None` where they do not even begin.
pub fn of_incident(folder: &str, journals: &[Vec<Entry>]) -> Option<Past> {
    let known = Known::default();
    let utc = FixedOffset::east_opt(0)?;
    let stories: Vec<Story<'_>> =
        journals.iter().map(|entries| Story { known: &known, entries, local_offset: utc }).collect();
    let first = journals.first()?;
    let begun = begun(first)?;
    let endings: Vec<_> = journals.iter().map(|entries| ending(entries)).collect();
    let (title, status) = match &stories[..] {
        [_] => (title(&service_words(Some(begun)), &endings[0], Some(begun)), endings[0].standing),
        several => {
            let verdict = several::verdict(several);
            (several::title(several, &verdict), several::standing(several, &verdict))
        }
    };
    // All traffic is safe with the last of them.
    let safe: Option<Vec<u64>> = journals.iter().map(|entries| traffic_safe(entries).map(|safe| safe.at_ms)).collect();
    let is_cut_off = endings.iter().any(|ending| ending.is_cut_off);
    Some(Past {
        id: Some(folder.to_owned()),
        kind: kind(begun),
        began: first.first()?.time,
        service: several::group_words(&stories),
        title,
        status: status.word(),
        tone: status.tone(),
        exit: endings.iter().map(|ending| ending.verdict.exit).max().filter(|_| !is_cut_off),
        reason: begun.reason.clone(),
        operator: begun.operator.clone(),
        traffic_safe_ms: safe.and_then(|safe| safe.into_iter().max()),
        target_ms: begun.targets_ms.iter().find(|(name, _)| name == "traffic").map(|(_, ms)| *ms),
        resolved: resolved(first).map(|(entry, _, _)| entry.time),
    })
}

fn kind(begun: &Begun) -> &'static str {
    if begun.undoes.is_some() {
        "undo"
    } else if begun.is_partial() {
        "partial"
    } else if begun.gradual.is_some() {
        "switch"
    } else {
        "rollback"
    }
}

/// A dump that was tried.
pub fn of_drill(drill: &Drill) -> Past {
    let what = match (&drill.dump, drill.would_serve) {
        (Some(dump), true) => format!("{dump} would have served"),
        (Some(dump), false) => format!("{dump} would NOT have served"),
        (None, _) => "there is no dump that would have served".to_owned(),
    };
    let is_good = drill.would_serve && drill.missed.is_empty();
    Past {
        id: None,
        kind: "drill",
        began: drill.time,
        service: drill.database.clone(),
        title: format!("{}: {what}", drill.database),
        status: if is_good { "Passed" } else { "Failed" },
        tone: if is_good { "good" } else { "bad" },
        exit: Some(u8::from(!is_good)),
        reason: drill.why.iter().chain(&drill.missed).cloned().collect::<Vec<_>>().join("; "),
        operator: String::new(),
        traffic_safe_ms: None,
        target_ms: None,
        resolved: None,
    }
}

/// A rollback that was tried and taken back.
pub fn of_rehearsal(rehearsal: &Rehearsal) -> Past {
    let (held, of) = (rehearsal.held.len(), rehearsal.held.len() + rehearsal.missed.len());
    Past {
        id: None,
        kind: "drill",
        began: rehearsal.time,
        service: rehearsal.service.clone(),
        title: format!("{} on {}: {held} of {of} held", rehearsal.service, rehearsal.environment),
        status: if rehearsal.missed.is_empty() { "Passed" } else { "Failed" },
        tone: if rehearsal.missed.is_empty() { "good" } else { "warn" },
        exit: None,
        reason: rehearsal.missed.join("; "),
        operator: rehearsal.operator.clone(),
        traffic_safe_ms: None,
        target_ms: None,
        resolved: None,
    }
}

impl Past {
    /// `0.41 s (target 60 s: met)`
    fn safe_words(&self) -> Option<String> {
        let took = self.traffic_safe_ms?;
        Some(match self.target_ms {
            Some(target) => {
                let verdict = if took <= target { "met" } else { "missed" };
                format!("{} (target {}: {verdict})", duration(took), limit(target))
            }
            None => duration(took),
        })
    }

    fn is_missed(&self) -> bool {
        self.traffic_safe_ms.zip(self.target_ms).is_some_and(|(took, target)| took > target)
    }
}

/// One line each, in columns, and how the times were lately.
pub fn table(pasts: &[Past], now: DateTime<Utc>) -> String {
    if pasts.is_empty() {
        return "no incident and no drill is on record here\n".to_owned();
    }
    let cells: Vec<[String; 6]> = pasts
        .iter()
        .map(|past| {
            [
                past.began.format("%Y-%m-%d %H:%M").to_string(),
                past.id.clone().unwrap_or_else(|| past.kind.to_owned()),
                past.status.to_owned(),
                past.safe_words().map_or("–".to_owned(), |words| format!("safe after {words}")),
                if past.operator.is_empty() { "–".to_owned() } else { printable(&past.operator) },
                cut(&printable(&past.reason), 60),
            ]
        })
        .collect();
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..5).map(width).collect();
    let mut text = String::new();
    for row in &cells {
        let padded = widths.iter().zip(row).map(|(width, cell)| {
            let missing = width - cell.chars().count();
            format!("{cell}{}  ", " ".repeat(missing))
        });
        text.push_str(format!("{}{}", padded.collect::<String>(), row[5]).trim_end());
        text.push('\n');
    }
    if let Some(trend) = trend(pasts, now) {
        text.push_str(&format!("\n{trend}\n"));
    }
    text
}

/// What times are compared over.
const QUARTER: TimeDelta = TimeDelta::days(90);

/// The middle one of the times until traffic was safe, of the last quarter and of the one before.
fn trend(pasts: &[Past], now: DateTime<Utc>) -> Option<String> {
    let of = |from: DateTime<Utc>, to: DateTime<Utc>| {
        let within = pasts.iter().filter(|past| past.kind == "rollback" && past.began > from && past.began <= to);
        let mut times: Vec<u64> = within.filter_map(|past| past.traffic_safe_ms).collect();
        times.sort_unstable();
        let median = times.get(times.len() / 2).copied()?;
        Some(format!("{} of {}", duration(median), plural(times.len(), "rollback")))
    };
    let lately = of(now - QUARTER, now)?;
    let before = of(now - QUARTER - QUARTER, now - QUARTER);
    let before = before.map_or(String::new(), |before| format!("; {before} in the 90 days before"));
    Some(format!("until all traffic was safe: in the middle {lately} in the last 90 days{before}"))
}

/// What the page's template gets.
#[derive(Debug, Serialize)]
struct Index {
    title: String,
    now: String,
    rows: Vec<IndexRow>,
    trend: Option<String>,
    chart: Option<TimesChart>,
    /// How many of each word: `12 Resolved`.
    counts: Vec<Count>,
}

#[derive(Debug, Serialize)]
struct Count {
    count: usize,
    word: String,
    tone: &'static str,
}

#[derive(Debug, Serialize)]
struct IndexRow {
    when: String,
    kind: &'static str,
    /// Where its page is.
    link: Option<String>,
    title: String,
    status: &'static str,
    tone: &'static str,
    safe: Option<String>,
    is_missed: bool,
    reason: String,
    operator: String,
    resolved: Option<String>,
}

/// Times until traffic was safe over a year, on a scale on which ten times as long is one step up.
#[derive(Debug, Serialize)]
struct TimesChart {
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    /// Ten to that power, in seconds, at the lower and at the upper end.
    from_power: i32,
    to_power: i32,
    says: String,
    lines: Vec<Mark>,
    months: Vec<Mark>,
    target: Option<f64>,
    dots: Vec<TimeDot>,
}

#[derive(Debug, Serialize)]
struct Mark {
    at: f64,
    label: String,
}

#[derive(Debug, Serialize)]
struct TimeDot {
    id: String,
    x: f64,
    y: f64,
    is_missed: bool,
}

/// The page over all of them.
pub fn index_page(pasts: &[Past], now: DateTime<Utc>, templates: &Templates, redactor: &Redactor) -> String {
    let services: Vec<&str> = {
        let mut names: Vec<&str> =
            pasts.iter().filter(|past| past.id.is_some()).map(|past| past.service.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    };
    let of = if services.is_empty() { String::new() } else { format!(" of {}", services.join(", ")) };
    let mut counts: Vec<Count> = Vec::new();
    for past in pasts {
        let word = if past.kind == "drill" { format!("drill {}", past.status) } else { past.status.to_owned() };
        match counts.iter_mut().find(|count| count.word == word) {
            Some(count) => count.count += 1,
            None => counts.push(Count { count: 1, word, tone: past.tone }),
        }
    }
    let index = Index {
        title: format!("Incidents{of}"),
        now: now.format("%Y-%m-%d %H:%M UTC").to_string(),
        rows: pasts.iter().map(row).collect(),
        trend: trend(pasts, now),
        chart: chart(pasts, now),
        counts,
    };
    fill(Name::Incidents, &redacted(&index, redactor), templates)
}

fn row(past: &Past) -> IndexRow {
    IndexRow {
        when: past.began.format("%Y-%m-%d %H:%M").to_string(),
        kind: past.kind,
        link: past.id.as_ref().map(|id| format!("{id}/{}", crate::incident::folder::PAGE)),
        title: past.title.clone(),
        status: past.status,
        tone: past.tone,
        safe: past.safe_words(),
        is_missed: past.is_missed(),
        reason: past.reason.clone(),
        operator: past.operator.clone(),
        resolved: past.resolved.map(|at| at.format("%Y-%m-%d %H:%M").to_string()),
    }
}

const YEAR: TimeDelta = TimeDelta::days(365);
const WIDTH: f64 = 720.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 708.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 174.0;

fn chart(pasts: &[Past], now: DateTime<Utc>) -> Option<TimesChart> {
    let from = now - YEAR;
    let told: Vec<(&Past, u64)> = pasts
        .iter()
        .filter(|past| past.kind == "rollback" && past.began >= from && past.began <= now)
        .filter_map(|past| Some((past, past.traffic_safe_ms?)))
        .collect();
    let target = told.first().and_then(|(past, _)| past.target_ms);
    let power = |ms: u64| (ms.max(1) as f64 / 1000.0).log10();
    let all = || told.iter().map(|(_, ms)| *ms).chain(target).map(power);
    let least = all().reduce(f64::min)?.floor();
    let most = all().reduce(f64::max)?.ceil().max(least + 1.0);
    let rounded = |number: f64| (number * 100.0).round() / 100.0;
    let y = |power: f64| rounded(BOTTOM - (power - least) / (most - least) * (BOTTOM - TOP));
    let x = |at: DateTime<Utc>| {
        rounded(LEFT + (at - from).num_seconds() as f64 / YEAR.num_seconds() as f64 * (RIGHT - LEFT))
    };
    let dots = told.iter().map(|(past, ms)| TimeDot {
        id: past.id.clone().unwrap_or_default(),
        x: x(past.began),
        y: y(power(*ms)),
        is_missed: past.is_missed(),
    });
    let missed = told.iter().filter(|(past, _)| past.is_missed()).count();
    let mut lines = Vec::new();
    let mut at = least;
    while at <= most {
        let ms = 10_f64.powf(at) * 1000.0;
        lines.push(Mark {
            at: y(at),
            label: if ms < 1000.0 { format!("{:.2} s", ms / 1000.0) } else { format!("{:.0} s", ms / 1000.0) },
        });
        at += 1.0;
    }
    let quarters = [270, 180, 90, 0].map(|days| now - TimeDelta::days(days));
    Some(TimesChart {
        width: WIDTH,
        height: BOTTOM + 26.0,
        left: LEFT,
        right: RIGHT,
        top: TOP,
        bottom: BOTTOM,
        from_power: least as i32,
        to_power: most as i32,
        says: format!(
            "Time until all traffic was safe: {} in the last year, {missed} of them later than the target. The same stands in the table below.",
            plural(told.len(), "rollback")
        ),
        lines,
        months: quarters.iter().map(|at| Mark { at: x(*at), label: at.format("%b %Y").to_string() }).collect(),
        target: target.map(|target| y(power(target))),
        dots: dots.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(days_ago: i64, safe_ms: u64) -> Past {
        let now: DateTime<Utc> = "2026-11-20T21:15:03Z".parse().expect("a time");
        Past {
            id: Some(format!("rollback-{days_ago}")),
            kind: "rollback",
            began: now - TimeDelta::days(days_ago),
            service: "listings".into(),
            title: "listings: rolled back to blue".into(),
            status: "Resolved",
            tone: "good",
            exit: Some(0),
            reason: "High error rate".into(),
            operator: "alice".into(),
            traffic_safe_ms: Some(safe_ms),
            target_ms: Some(60_000),
            resolved: None,
        }
    }

    #[test]
    fn a_dot_is_as_high_as_the_time_was_long() {
        let now: DateTime<Utc> = "2026-11-20T21:15:03Z".parse().expect("a time");
        let pasts = [past(0, 412), past(365, 90_000), past(400, 1)];
        let chart = chart(&pasts, now).expect("there is something to draw");
        assert_eq!((chart.from_power, chart.to_power), (-1, 2));
        let of = |dot: &TimeDot| {
            let power = f64::from(chart.from_power)
                + (chart.bottom - dot.y) / (chart.bottom - chart.top) * f64::from(chart.to_power - chart.from_power);
            10_f64.powf(power) * 1000.0
        };
        let times: Vec<f64> = chart.dots.iter().map(of).collect();
        assert!((times[0] / 412.0 - 1.0).abs() < 0.01 && (times[1] / 90_000.0 - 1.0).abs() < 0.01, "{times:?}");
        assert!((chart.dots[0].x - chart.right).abs() < 0.01 && (chart.dots[1].x - chart.left).abs() < 0.01);
        assert_eq!(chart.dots.iter().map(|dot| dot.is_missed).collect::<Vec<_>>(), [false, true]);
        assert_eq!(chart.dots.len(), 2, "what is older than a year is not drawn");
    }

    #[test]
    fn a_quarter_is_held_against_the_one_before() {
        let now: DateTime<Utc> = "2026-11-20T21:15:03Z".parse().expect("a time");
        let pasts = [past(1, 400), past(10, 600), past(20, 500), past(100, 9_000)];
        assert_eq!(
            trend(&pasts, now).as_deref(),
            Some(
                "until all traffic was safe: in the middle 0.50 s of 3 rollbacks in the last 90 days; 9.0 s of 1 rollback in the 90 days before"
            )
        );
        assert_eq!(trend(&[past(100, 400)], now), None);
    }
}
