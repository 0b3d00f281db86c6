//! The pictures of a page, as numbers for its template: every step of every host along the time, the share that a side was
//! meant to get and the one that it got, answers and errors by second, and rows by table. From the journal's entries alone,
//! so that what is drawn is what is recorded. Knows no SVG and no HTML.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::nouns::colour::Colour;
use crate::nouns::names::HostName;
use crate::nouns::record::{Balancer, Entry, Second, Status, StepWord, What};
use crate::nouns::share::Share;
use crate::nouns::units::{duration, grouped};
use crate::tell::story::{Ending, open_intents, towards, traffic_safe};

/// What a page shows of one service; what there is nothing to show of is none.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Pictures {
    steps: Option<StepsPicture>,
    traffic: Option<TrafficPicture>,
    rows: Vec<RowsBar>,
}

pub(super) fn pictures(entries: &[Entry], ending: &Ending) -> Pictures {
    Pictures { steps: steps(entries, ending), traffic: traffic(entries, ending), rows: rows(entries) }
}

/// A mark on an axis.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Tick {
    /// In percent of the axis, or in units of the picture.
    at: f64,
    label: String,
}

/// Every step of every host along the time. Places and widths are percent of the axis.
#[derive(Debug, Clone, Serialize)]
struct StepsPicture {
    total_ms: u64,
    /// One sentence for those who cannot see it.
    says: String,
    ticks: Vec<Tick>,
    /// When all traffic was safe.
    safe: Option<f64>,
    groups: Vec<StepsGroup>,
}

/// One kind of step.
#[derive(Debug, Clone, Serialize)]
struct StepsGroup {
    /// `switch`, or `change env`.
    name: String,
    hosts: usize,
    /// The worst of all hosts.
    state: &'static str,
    sign: &'static str,
    began: String,
    took: String,
    rows: Vec<StepsRow>,
}

/// One host, or those that have nothing to be named for.
#[derive(Debug, Clone, Serialize)]
struct StepsRow {
    /// A host, `here`, or `29 others`.
    label: String,
    is_others: bool,
    bars: Vec<Bar>,
    state: &'static str,
    sign: &'static str,
    took: String,
}

#[derive(Debug, Clone, Serialize)]
struct Bar {
    x: f64,
    width: f64,
    state: &'static str,
}

/// A step of a host, once.
#[derive(Debug, Clone)]
struct Bout {
    name: String,
    host: Option<HostName>,
    from_ms: u64,
    to_ms: u64,
    status: Status,
}

impl Bout {
    fn took_ms(&self) -> u64 {
        self.to_ms - self.from_ms
    }
}

/// Up to so many hosts each has a row of its own.
const ROWS_OF_A_STEP: usize = 8;
/// Of more of them so many that are not as they should be are named, and so many of the slowest.
const NAMED_BAD: usize = 12;
const NAMED_SLOW: usize = 2;

fn steps(entries: &[Entry], ending: &Ending) -> Option<StepsPicture> {
    let bouts = bouts(entries, ending);
    let total_ms = bouts.iter().map(|bout| bout.to_ms).chain([ending.at_ms]).max().filter(|total| *total > 0)?;
    let mut names: Vec<(&str, Vec<&Bout>)> = Vec::new();
    for bout in &bouts {
        match names.iter_mut().find(|(name, _)| *name == bout.name) {
            Some((_, of_it)) => of_it.push(bout),
            None => names.push((&bout.name, vec![bout])),
        }
    }
    names.sort_by_key(|(_, bouts)| bouts.iter().map(|bout| bout.from_ms).min());
    let groups: Vec<StepsGroup> = names.into_iter().map(|(name, bouts)| group(name, &bouts, total_ms)).collect();
    if groups.is_empty() {
        return None;
    }
    let safe_ms = traffic_safe(entries).map(|safe| safe.at_ms);
    let bad: Vec<&str> = groups.iter().filter(|group| group.state != "done").map(|group| group.name.as_str()).collect();
    let safe = safe_ms.map_or("all traffic was never proven safe".to_owned(), |at| {
        format!("traffic was safe after {}", duration(at))
    });
    let trouble = match bad.is_empty() {
        true => "all of them done".to_owned(),
        false => format!("not all is done in {}", bad.join(", ")),
    };
    Some(StepsPicture {
        total_ms,
        says: format!(
            "{} over {}: {trouble}; {safe}. The same stands in the table below.",
            if groups.len() == 1 { "1 kind of step".to_owned() } else { format!("{} kinds of steps", groups.len()) },
            duration(total_ms)
        ),
        ticks: time_ticks(0, total_ms.cast_signed())
            .map(|(ms, label)| Tick { at: percent(ms.cast_unsigned(), total_ms), label })
            .collect(),
        safe: safe_ms.map(|at| percent(at, total_ms)),
        groups,
    })
}

/// What began and what became of it. What has no end in the journal is not known, and lasts until the journal ends.
fn bouts(entries: &[Entry], ending: &Ending) -> Vec<Bout> {
    let name = |step: StepWord, of: &Option<String>| match of {
        Some(of) => format!("{} {of}", step.as_str()),
        None => step.as_str().to_owned(),
    };
    let ended = entries.iter().filter_map(|entry| match &entry.what {
        What::Outcome { step, host, of, status, ms, .. } if *status != Status::Started => Some(Bout {
            name: name(*step, of),
            host: host.clone(),
            from_ms: entry.at_ms.saturating_sub(*ms),
            to_ms: entry.at_ms,
            status: *status,
        }),
        _ => None,
    });
    let open = open_intents(entries).into_iter().filter_map(|(step, host)| {
        let began = entries.iter().rev().find_map(|entry| match &entry.what {
            What::Intent { step: s, host: h, of, .. } if *s == step && *h == host => Some((entry.at_ms, of.clone())),
            _ => None,
        });
        let (from_ms, of) = began?;
        let to_ms = ending.at_ms.max(from_ms);
        Some(Bout { name: name(step, &of), host: Some(host), from_ms, to_ms, status: Status::Unknown })
    });
    ended.chain(open).collect()
}

fn group(name: &str, bouts: &[&Bout], total_ms: u64) -> StepsGroup {
    let mut of_host: BTreeMap<Option<&HostName>, Vec<&Bout>> = BTreeMap::new();
    for bout in bouts {
        of_host.entry(bout.host.as_ref()).or_default().push(bout);
    }
    let status = worst(bouts);
    let from_ms = bouts.iter().map(|bout| bout.from_ms).min().unwrap_or_default();
    let to_ms = bouts.iter().map(|bout| bout.to_ms).max().unwrap_or_default();
    StepsGroup {
        name: name.to_owned(),
        hosts: of_host.len(),
        state: status.as_str(),
        sign: sign(status),
        began: format!("+{}", duration(from_ms)),
        took: duration(to_ms - from_ms),
        rows: rows_of(of_host.into_values().collect(), total_ms),
    }
}

/// Many hosts are folded: what is not done and what took longest is named, the rest is one row.
fn rows_of(mut of_host: Vec<Vec<&Bout>>, total_ms: u64) -> Vec<StepsRow> {
    if of_host.len() <= ROWS_OF_A_STEP {
        return of_host.iter().map(|bouts| row(bouts, total_ms)).collect();
    }
    let took = |bouts: &Vec<&Bout>| bouts.iter().map(|bout| bout.took_ms()).sum::<u64>();
    of_host.sort_by_cached_key(|bouts| (std::cmp::Reverse(severity(worst(bouts))), std::cmp::Reverse(took(bouts))));
    let bad = of_host.iter().take_while(|bouts| worst(bouts) != Status::Done).count();
    let others = of_host.split_off(bad.min(NAMED_BAD) + NAMED_SLOW);
    let mut rows: Vec<StepsRow> = of_host.iter().map(|bouts| row(bouts, total_ms)).collect();
    let flat: Vec<&Bout> = others.iter().flatten().copied().collect();
    let each = others.iter().map(took);
    let (least, most) = (each.clone().min().unwrap_or_default(), each.max().unwrap_or_default());
    rows.push(StepsRow {
        label: format!("{} others", others.len()),
        is_others: true,
        took: format!("{} to {}", duration(least), duration(most)),
        ..row(&flat, total_ms)
    });
    rows
}

fn row(bouts: &[&Bout], total_ms: u64) -> StepsRow {
    let status = worst(bouts);
    let mut bars: Vec<(u64, u64, Status)> = bouts.iter().map(|bout| (bout.from_ms, bout.to_ms, bout.status)).collect();
    bars.sort_by_key(|(from, _, _)| *from);
    // Of several hosts what overlaps is one bar, as bad as its worst part.
    let mut merged: Vec<(u64, u64, Status)> = Vec::new();
    for (from, to, status) in bars {
        match merged.last_mut() {
            Some((_, end, worst)) if from < *end => {
                *end = to.max(*end);
                if severity(status) > severity(*worst) {
                    *worst = status;
                }
            }
            _ => merged.push((from, to, status)),
        }
    }
    StepsRow {
        label: bouts.first().and_then(|bout| bout.host.as_ref()).map_or("here".to_owned(), ToString::to_string),
        is_others: false,
        bars: merged
            .into_iter()
            .map(|(from, to, status)| Bar {
                x: percent(from, total_ms),
                width: percent(to - from, total_ms),
                state: status.as_str(),
            })
            .collect(),
        state: status.as_str(),
        sign: sign(status),
        took: duration(bouts.iter().map(|bout| bout.took_ms()).sum()),
    }
}

fn worst(bouts: &[&Bout]) -> Status {
    // A step that is done again after it failed is done.
    let mut last: BTreeMap<Option<&HostName>, &Bout> = BTreeMap::new();
    for bout in bouts {
        let newest = last.entry(bout.host.as_ref()).or_insert(bout);
        if bout.to_ms >= newest.to_ms {
            *newest = bout;
        }
    }
    last.values().map(|bout| bout.status).max_by_key(|status| severity(*status)).unwrap_or(Status::Done)
}

fn severity(status: Status) -> u8 {
    match status {
        Status::Done => 0,
        Status::Skipped => 1,
        Status::Started => 2,
        Status::Failed => 3,
        Status::Unknown => 4,
    }
}

/// Beside the colour: nobody needs to tell green from red.
fn sign(status: Status) -> &'static str {
    match status {
        Status::Done => "✓",
        Status::Skipped => "–",
        Status::Started => "…",
        Status::Failed => "✗",
        Status::Unknown => "?",
    }
}

/// What of the traffic went where, and how it was answered. Its coordinates are units of a picture of [`WIDTH`] by
/// [`HEIGHT`]; times are milliseconds since the run began.
#[derive(Debug, Clone, Serialize)]
struct TrafficPicture {
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    from_ms: i64,
    to_ms: i64,
    says: String,
    ticks: Vec<Tick>,
    /// The run: from its beginning to its end.
    run_x: f64,
    run_width: f64,
    safe: Option<f64>,
    share: Option<SharePanel>,
    answers: Option<AnswersPanel>,
    /// The same as text.
    spans: Vec<SpanRow>,
}

/// The share of the side that traffic goes to, over all balancers.
#[derive(Debug, Clone, Serialize)]
struct SharePanel {
    /// `blue`
    side: String,
    top: f64,
    bottom: f64,
    /// What was meant, as a path.
    meant: String,
    /// What was counted, as points.
    observed: Vec<Point>,
    /// Each change of what was meant: when, and in percent.
    steps: Vec<ShareRow>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Point {
    x: f64,
    y: f64,
}

#[derive(Debug, Clone, Serialize)]
struct ShareRow {
    at: String,
    percent: String,
}

/// Requests and errors among them in each bucket of time, over all balancers.
#[derive(Debug, Clone, Serialize)]
struct AnswersPanel {
    top: f64,
    bottom: f64,
    /// Requests in a bucket at the upper end of the axis.
    most: u64,
    half: String,
    full: String,
    bucket_s: i64,
    requests: String,
    errors: String,
}

#[derive(Debug, Clone, Serialize)]
struct SpanRow {
    what: String,
    requests: String,
    errors: String,
    share: String,
}

const WIDTH: f64 = 720.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 712.0;
const PANEL: f64 = 96.0;
const FIRST_TOP: f64 = 26.0;
const BETWEEN: f64 = 46.0;
const BELOW: f64 = 26.0;
/// More steps than that are wider than what is drawn of them.
const MOST_BUCKETS: i64 = 330;
/// What is shown of the time before, at least and at most, in milliseconds.
const BEFORE_MS: (i64, i64) = (30_000, 300_000);
/// A share of fewer requests says nothing.
const ENOUGH: u64 = 20;

fn traffic(entries: &[Entry], ending: &Ending) -> Option<TrafficPicture> {
    let began = entries.first().map(|entry| entry.time.timestamp_millis() - entry.at_ms.cast_signed())?;
    let total_ms = ending.at_ms.max(1).cast_signed();
    let before_ms = total_ms.clamp(BEFORE_MS.0, BEFORE_MS.1);
    let seconds: Vec<Second> = by_second(entries).into_iter().filter(|of| of.at * 1000 >= began - before_ms).collect();
    let meant = meant_shares(entries);
    if seconds.is_empty() && meant.len() < 2 {
        return None;
    }
    let from_ms = seconds.first().map_or(0, |first| first.at * 1000 - began).min(0);
    let to_ms = seconds.last().map_or(0, |last| (last.at + 1) * 1000 - began).max(total_ms);
    let scale = Scale { from_ms, to_ms };
    let to = towards(entries);
    let safe_ms = traffic_safe(entries).map(|safe| safe.at_ms.cast_signed());
    let share = (!meant.is_empty()).then(|| SharePanel {
        side: to.to_string(),
        top: FIRST_TOP,
        bottom: FIRST_TOP + PANEL,
        meant: share_path(&meant, &scale),
        observed: observed_shares(entries, &scale),
        steps: meant
            .iter()
            .map(|(at, share)| ShareRow { at: at_words(*at), percent: format!("{share:.0} %") })
            .collect(),
    });
    let top = if share.is_some() { FIRST_TOP + PANEL + BETWEEN } else { FIRST_TOP };
    let answers = (!seconds.is_empty()).then(|| answers(&seconds, began, top, &scale));
    let spans = spans(&seconds, began, safe_ms, total_ms);
    let panels = if share.is_some() && answers.is_some() { 2.0 * PANEL + BETWEEN } else { PANEL };
    let told = spans.iter().map(|span| format!("{}: {} requests, {} errors", span.what, span.requests, span.errors));
    let shares = meant.iter().map(|(at, share)| format!("{share:.0} % at {}", at_words(*at)));
    Some(TrafficPicture {
        width: WIDTH,
        height: FIRST_TOP + panels + BELOW,
        left: LEFT,
        right: RIGHT,
        from_ms,
        to_ms,
        says: format!(
            "Meant share of {to}: {}. {}",
            shares.collect::<Vec<_>>().join(", "),
            told.collect::<Vec<_>>().join("; ")
        ),
        ticks: time_ticks(from_ms, to_ms).map(|(ms, label)| Tick { at: scale.x(ms), label }).collect(),
        run_x: scale.x(0),
        run_width: rounded(scale.x(total_ms) - scale.x(0)),
        safe: safe_ms.map(|at| scale.x(at)),
        share,
        answers,
        spans,
    })
}

/// From milliseconds since the run began to units of the picture.
struct Scale {
    from_ms: i64,
    to_ms: i64,
}

impl Scale {
    fn x(&self, ms: i64) -> f64 {
        let span = (self.to_ms - self.from_ms).max(1) as f64;
        rounded(LEFT + (ms - self.from_ms) as f64 / span * (RIGHT - LEFT))
    }
}

/// All balancers together, in order.
fn by_second(entries: &[Entry]) -> Vec<Second> {
    let mut all: BTreeMap<i64, Second> = BTreeMap::new();
    let each = entries.iter().filter_map(|entry| match &entry.what {
        What::Errors { seconds, .. } => Some(seconds),
        _ => None,
    });
    for second in each.flatten() {
        let sum = all.entry(second.at).or_insert(Second { at: second.at, requests: 0, errors: 0 });
        sum.requests += second.requests;
        sum.errors += second.errors;
    }
    all.into_values().collect()
}

/// The mean over all balancers of the share that they are to give to whom traffic goes to, in percent, whenever it changes;
/// nothing where it is not known what they gave before.
fn meant_shares(entries: &[Entry]) -> Vec<(i64, f64)> {
    let to = towards(entries);
    let mut shares: BTreeMap<&HostName, Share> = BTreeMap::new();
    let mut before: BTreeMap<&HostName, Share> = BTreeMap::new();
    let mut found: Vec<(i64, f64)> = Vec::new();
    for entry in entries {
        match &entry.what {
            What::Found { host, traffic: Some(traffic) } => {
                let share = match to {
                    Colour::Blue => traffic.blue,
                    Colour::Green => traffic.blue.rest(),
                };
                shares.insert(host, share);
                before.insert(host, share);
            }
            What::Balancer { host, state: Balancer::Shifted, share } => {
                shares.insert(host, *share);
            }
            What::Balancer { host, state: Balancer::Unchanged | Balancer::PutBack, .. } => match before.get(host) {
                Some(was) => {
                    shares.insert(host, *was);
                }
                None => {
                    shares.remove(host);
                }
            },
            // Not known is not drawn: the last that was known stays.
            _ => continue,
        }
        let sum: f64 = shares.values().map(|share| f64::from(share.as_percent())).sum();
        if shares.is_empty() {
            continue;
        }
        // What was found before anything was done is how it was at the beginning.
        let is_found = matches!(entry.what, What::Found { .. });
        let at = if is_found { 0 } else { entry.at_ms.cast_signed() };
        let mean = rounded(sum / shares.len() as f64);
        match found.last_mut() {
            Some((when, last)) if *when == at => *last = mean,
            Some((_, last)) if (*last - mean).abs() < f64::EPSILON => {}
            _ => found.push((at, mean)),
        }
    }
    found
}

fn share_y(percent: f64) -> f64 {
    rounded(FIRST_TOP + PANEL * (1.0 - percent / 100.0))
}

/// Steps from the first moment to the last one.
fn share_path(meant: &[(i64, f64)], scale: &Scale) -> String {
    let Some((at, first)) = meant.first() else { return String::new() };
    // What was found at the beginning was so before it; nobody knows what was before anything else.
    let from = if *at == 0 { scale.from_ms } else { *at };
    let mut path = format!("M{} {}", scale.x(from), share_y(*first));
    for (at, share) in meant {
        path.push_str(&format!("H{}V{}", scale.x(*at), share_y(*share)));
    }
    path.push_str(&format!("H{}", scale.x(scale.to_ms)));
    path
}

/// What the logs counted while somebody judged.
fn observed_shares(entries: &[Entry], scale: &Scale) -> Vec<Point> {
    let to = towards(entries);
    let counted = entries.iter().filter_map(|entry| {
        let What::Judged(judgement) = &entry.what else { return None };
        let (of, other) = (judgement.sides.of(to).tried, judgement.sides.of(to.other()).tried);
        let all = of + other;
        let percent = 100.0 * of as f64 / all as f64;
        (all >= ENOUGH).then(|| Point { x: scale.x(entry.at_ms.cast_signed()), y: share_y(percent) })
    });
    counted.collect()
}

fn answers(seconds: &[Second], began: i64, top: f64, scale: &Scale) -> AnswersPanel {
    let span_s = (scale.to_ms - scale.from_ms) / 1000 + 1;
    let bucket_s = (span_s + MOST_BUCKETS - 1) / MOST_BUCKETS;
    let mut buckets: BTreeMap<i64, (u64, u64)> = BTreeMap::new();
    for second in seconds {
        let bucket = buckets.entry(second.at.div_euclid(bucket_s)).or_default();
        bucket.0 += second.requests;
        bucket.1 += second.errors;
    }
    let most = round_number(buckets.values().map(|(requests, _)| *requests).max().unwrap_or(1).max(1));
    let bottom = top + PANEL;
    let y = |count: u64| rounded(bottom - PANEL * count as f64 / most as f64);
    let path = |pick: fn(&(u64, u64)) -> u64| {
        let mut path = String::new();
        let mut last: Option<i64> = None;
        for (bucket, counts) in &buckets {
            let (from, to) = (bucket * bucket_s * 1000 - began, (bucket + 1) * bucket_s * 1000 - began);
            if last.is_none_or(|last| last + 1 != *bucket) {
                if last.is_some() {
                    path.push_str(&format!("V{bottom}"));
                }
                path.push_str(&format!("{}{} {bottom}", if last.is_none() { "M" } else { "L" }, scale.x(from)));
            }
            path.push_str(&format!("V{}H{}", y(pick(counts)), scale.x(to)));
            last = Some(*bucket);
        }
        path.push_str(&format!("V{bottom}Z"));
        path
    };
    AnswersPanel {
        top,
        bottom,
        most,
        half: if most.is_multiple_of(2) { grouped(most / 2) } else { String::new() },
        full: grouped(most),
        bucket_s,
        requests: path(|(requests, _)| *requests),
        errors: path(|(_, errors)| *errors),
    }
}

/// Before the run, until traffic was safe, and after it.
fn spans(seconds: &[Second], began: i64, safe_ms: Option<i64>, total_ms: i64) -> Vec<SpanRow> {
    let split = safe_ms.unwrap_or(total_ms);
    let until = if safe_ms.is_some() { "until traffic was safe" } else { "during the run" };
    let since = if safe_ms.is_some() { "since then" } else { "after it" };
    let of = |what: &str, is_in: &dyn Fn(i64) -> bool| {
        let within = seconds.iter().filter(|second| is_in(second.at * 1000 - began));
        let (requests, errors) = within.fold((0, 0), |sum, of| (sum.0 + of.requests, sum.1 + of.errors));
        (requests > 0).then(|| SpanRow {
            what: what.to_owned(),
            requests: grouped(requests),
            errors: grouped(errors),
            share: format!("{:.1} %", 100.0 * errors as f64 / requests as f64),
        })
    };
    // A log's second may have begun before: it is of the span in which it ends.
    let rows = [
        of("before the run", &|ms| ms + 999 < 0),
        of(until, &|ms| ms + 999 >= 0 && ms + 999 < split),
        of(since, &|ms| ms + 999 >= split.max(0)),
    ];
    rows.into_iter().flatten().collect()
}

/// What a table loses and gets back.
#[derive(Debug, Clone, Serialize)]
struct RowsBar {
    table: String,
    lost: String,
    back: String,
    /// In percent of the longest bar of all.
    lost_width: f64,
    back_width: f64,
}

/// The ones that lose most are drawn; all are in the report's table.
const TABLES_DRAWN: usize = 12;

fn rows(entries: &[Entry]) -> Vec<RowsBar> {
    let loss = entries.iter().rev().find_map(|entry| match &entry.what {
        What::Loss(loss) => Some(loss),
        _ => None,
    });
    let tables: Vec<(&str, u64, u64)> = loss
        .into_iter()
        .flat_map(|loss| &loss.tables)
        .filter_map(|table| Some((table.table.as_str(), table.only_live?, table.only_copy?)))
        .filter(|(_, lost, back)| lost + back > 0)
        .take(TABLES_DRAWN)
        .collect();
    let longest = tables.iter().map(|(_, lost, back)| *lost.max(back)).max().unwrap_or(1);
    let bar = |(table, lost, back): (&str, u64, u64)| RowsBar {
        table: table.to_owned(),
        lost: grouped(lost),
        back: grouped(back),
        lost_width: percent(lost, longest),
        back_width: percent(back, longest),
    };
    tables.into_iter().map(bar).collect()
}

/// Two digits behind the point: a hundredth of a percent of an axis is less than anybody sees.
fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

fn percent(part: u64, of: u64) -> f64 {
    rounded(100.0 * part as f64 / of.max(1) as f64)
}

/// The next of 1, 2, 5, 10, 20, 50, …
fn round_number(at_least: u64) -> u64 {
    let mut unit = 1_u64;
    loop {
        for step in [1, 2, 5] {
            if unit * step >= at_least {
                return unit * step;
            }
        }
        unit *= 10;
    }
}

const TICK_STEPS_MS: [i64; 20] = [
    10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000,
    1_800_000, 3_600_000, 10_800_000, 86_400_000,
];
const MOST_TICKS: i64 = 7;

/// Round moments from one to another, in milliseconds, with their words.
fn time_ticks(from_ms: i64, to_ms: i64) -> impl Iterator<Item = (i64, String)> {
    let span = (to_ms - from_ms).max(1);
    let step = TICK_STEPS_MS.into_iter().find(|step| span / step <= MOST_TICKS).unwrap_or(span);
    let first = from_ms.div_euclid(step) * step;
    (0..=MOST_TICKS + 2)
        .map(move |n| first + n * step)
        .filter(move |ms| (from_ms..=to_ms).contains(ms))
        .map(move |ms| (ms, tick_words(ms, step)))
}

/// `0`, `0.2 s`, `15 s`, `1:30`, `2:00 h`, before the beginning with a minus.
fn tick_words(ms: i64, step_ms: i64) -> String {
    let sign = if ms < 0 { "−" } else { "" };
    let at = ms.abs();
    match (at, step_ms) {
        (0, _) => "0".to_owned(),
        (_, ..1_000) if at < 60_000 => {
            let digits = if step_ms < 100 { 2 } else { 1 };
            format!("{sign}{:.digits$} s", at as f64 / 1000.0)
        }
        (..60_000, _) => format!("{sign}{} s", at / 1000),
        (..3_600_000, _) => format!("{sign}{}:{:02}", at / 60_000, at / 1000 % 60),
        _ => format!("{sign}{}:{:02} h", at / 3_600_000, at / 60_000 % 60),
    }
}

/// `the beginning`, `+0.41 s`
fn at_words(ms: i64) -> String {
    if ms <= 0 { "the beginning".to_owned() } else { format!("+{}", duration(ms.cast_unsigned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_a_handful_of_round_moments() {
        for (from, to) in [(0, 9_031), (-30_000, 12_000), (0, 412), (-300_000, 1_800_000), (0, 1), (0, 90_000_000)] {
            let ticks: Vec<(i64, String)> = time_ticks(from, to).collect();
            assert!((1..=9).contains(&ticks.len()), "{from} to {to}: {ticks:?}");
            assert!(ticks.iter().all(|(ms, _)| (from..=to).contains(ms)), "{from} to {to}: {ticks:?}");
        }
        let words: Vec<String> = time_ticks(0, 9_031).map(|(_, words)| words).collect();
        assert_eq!(words, ["0", "2 s", "4 s", "6 s", "8 s"]);
        let words: Vec<String> = time_ticks(-30_000, 70_000).map(|(_, words)| words).collect();
        assert_eq!(words, ["−30 s", "−15 s", "0", "15 s", "30 s", "45 s", "1:00"]);
    }

    #[test]
    fn a_scale_ends_at_a_round_number() {
        assert_eq!([1, 2, 3, 7, 11, 450, 51_000].map(round_number), [1, 2, 5, 10, 20, 500, 100_000]);
    }
}
