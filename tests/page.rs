//! The page of an incident: its pictures are true, nothing in it acts or is loaded, and a browser and a checker of
//! accessibility have nothing to say against it.

#[path = "support/browser.rs"]
mod browser;
#[path = "support/told.rs"]
mod told;

use std::collections::BTreeMap;

use chrono::TimeDelta;
use rollback_prod::nouns::colour::{Colour, Each};
use rollback_prod::nouns::names::HostName;
use rollback_prod::nouns::plan::{Action, Plan};
use rollback_prod::nouns::record::{
    Balancer, DatabaseNow, DatabaseState, Dump, Loss, Second, Status, StepWord, TableLoss, Traffic, What,
};
use rollback_prod::nouns::rules::{Judgement, Opinion, SideFigures};
use rollback_prod::nouns::share::{Serving, Share};
use rollback_prod::tell::history::{self, Past};
use rollback_prod::tell::page;
use rollback_prod::tell::render::Templates;
use told::{Told, began, facts, full_run, host, killed_run, known, no_secrets, plan, put_back_run};

fn page_of(told: &Told, plan: Option<&Plan>) -> String {
    let known = known(plan, None);
    let templates = Templates::built_in();
    let page = page::incident_page(&[told.story(&known)], &templates, &no_secrets());
    assert_eq!(templates.notes(), Vec::<String>::new());
    assert!(!page.contains("The template failed"), "{}", page.chars().take(600).collect::<String>());
    page
}

/// A tag's attribute.
fn attribute<'p>(tag: &'p str, name: &str) -> &'p str {
    let found = tag.split_once(&format!(" {name}=\"")).and_then(|(_, rest)| rest.split_once('"'));
    found.unwrap_or_else(|| panic!("{name} of {tag}")).0
}

fn number(tag: &str, name: &str) -> f64 {
    let said = attribute(tag, name);
    said.trim_end_matches('%').parse().unwrap_or_else(|_| panic!("{name} of {tag}: {said:?} is no number"))
}

/// The tags that begin like that, from `<` to `>`.
fn tags<'p>(page: &'p str, begins: &str) -> Vec<&'p str> {
    page.split('<').filter(|rest| rest.starts_with(begins)).map(|rest| rest.split('>').next().unwrap_or(rest)).collect()
}

/// What stands between a tag and the end of its line.
fn lines_with<'p>(page: &'p str, word: &str) -> Vec<&'p str> {
    page.lines().filter(|line| line.contains(word)).collect()
}

/// Steps of hosts as they are drawn: from and to, in milliseconds.
fn drawn_steps(page: &str) -> BTreeMap<(String, String), Vec<(f64, f64)>> {
    let total = number(tags(page, "div class=\"steps\"")[0], "data-total-ms");
    let rows = lines_with(page, " data-step=\"");
    let of_row = |line: &&str| {
        let bars = tags(line, "rect class=").into_iter().filter(|tag| !tag.contains("\"lane\""));
        let bars = bars.map(|tag| {
            let from = number(tag, "x") / 100.0 * total;
            (from, from + number(tag, "width") / 100.0 * total)
        });
        ((attribute(line, "data-step").to_owned(), attribute(line, "data-host").to_owned()), bars.collect())
    };
    rows.iter().map(of_row).collect()
}

#[test]
fn a_bar_lies_where_the_journal_says_that_the_step_was() {
    let told = full_run();
    let page = page_of(&told, None);
    let drawn = drawn_steps(&page);
    let total = 9_031.0;
    let mut held = 0;
    for entry in &told.0 {
        let What::Outcome { step, host, status, ms, .. } = &entry.what else { continue };
        if *status == Status::Started {
            continue;
        }
        let host = host.as_ref().map_or("here", HostName::as_str);
        let bars = &drawn[&(step.as_str().to_owned(), host.to_owned())];
        let (from, to) = ((entry.at_ms - ms) as f64, entry.at_ms as f64);
        // A hundredth of a percent of the axis, at each end.
        let is_close = |a: f64, b: f64| (a - b).abs() <= total * 0.0002;
        assert!(
            bars.iter().any(|bar| is_close(bar.0, from) && is_close(bar.1, to)),
            "{step:?} {host} {from}–{to}: {bars:?}"
        );
        held += 1;
    }
    assert!(held > 10 && drawn.values().flatten().count() == held, "nothing else is drawn: {held} of {drawn:?}");
    let safe = number(tags(&page, "line class=\"safe\" x1=\"4")[0], "x1") / 100.0 * total;
    assert!((safe - 412.0).abs() < 2.0, "{safe}");
}

#[test]
fn a_step_whose_end_nobody_knows_lasts_until_the_journal_ends() {
    let page = page_of(&killed_run(), None);
    let drawn = drawn_steps(&page);
    let [(from, to)] = drawn[&("switch".to_owned(), "web2".to_owned())][..] else { panic!("{drawn:?}") };
    assert!((from - 200.0).abs() < 1.0 && (to - 390.0).abs() < 1.0, "{from} {to}");
    assert!(lines_with(&page, "data-host=\"web2\"")[0].contains("class=\"unknown\""), "{page}");
}

/// A gradual switch of two balancers, with what the logs counted.
fn gradual_run() -> Told {
    let mut told = Told::begin("release 1.4", &["web1", "web2"]);
    for name in ["web1", "web2"] {
        let traffic =
            Traffic { file: Some(Serving::Green), blue: Share::NONE, answered_by: Some(Colour::Green), status: 200 };
        told = told.at(100, What::Found { host: host(name), traffic: Some(traffic) });
    }
    for (at, percent) in [(1_000, 10), (61_000, 50), (121_000, 100)] {
        for (n, name) in ["web1", "web2"].into_iter().enumerate() {
            let share = Share::percent(percent).expect("a share");
            let at = at + 500 * n as u64;
            told = told.intent(at - 100, StepWord::Switch, name).outcome(
                at,
                StepWord::Switch,
                name,
                Status::Done,
                100,
                "",
            );
            told = told.at(at, What::Balancer { host: host(name), state: Balancer::Shifted, share });
        }
        let figures = |tried| SideFigures { tried, ..SideFigures::default() };
        told = told.at(
            at + 30_000,
            What::Judged(Box::new(Judgement {
                judged: Colour::Blue,
                opinion: Opinion::Good,
                words: "good".into(),
                findings: vec![],
                sides: Each { blue: figures(u64::from(percent) * 10), green: figures(1000 - u64::from(percent) * 10) },
                after_s: 30,
                of_s: 60,
            })),
        );
    }
    told.end(180_000)
}

#[test]
fn the_shares_are_drawn_as_they_were_meant_and_counted() {
    let page = page_of(&gradual_run(), None);
    let chart = tags(&page, "svg class=\"chart\"")[0];
    let (left, right) = (number(chart, "data-left"), number(chart, "data-right"));
    let (from, to) = (number(chart, "data-from-ms"), number(chart, "data-to-ms"));
    let at = |x: f64| from + (x - left) / (right - left) * (to - from);
    let panel = tags(&page, "g class=\"share\"")[0];
    let (top, bottom) = (number(panel, "data-top"), number(panel, "data-bottom"));
    let share = |y: f64| (bottom - y) / (bottom - top) * 100.0;
    let path = attribute(tags(&page, "path class=\"meant\"")[0], "d");
    // M x y, then steps: H x V y
    let steps: Vec<(f64, f64)> = path
        .split('H')
        .skip(1)
        .filter_map(|step| step.split_once('V'))
        .map(|(x, y)| (at(x.parse().expect("x")), share(y.parse().expect("y"))))
        .collect();
    let wanted = [
        (0.0, 0.0),
        (1_000.0, 5.0),
        (1_500.0, 10.0),
        (61_000.0, 30.0),
        (61_500.0, 50.0),
        (121_000.0, 75.0),
        (121_500.0, 100.0),
    ];
    assert_eq!(steps.len(), wanted.len(), "{path}");
    for (drawn, wanted) in steps.iter().zip(wanted) {
        assert!((drawn.0 - wanted.0).abs() < 10.0 && (drawn.1 - wanted.1).abs() < 0.1, "{drawn:?} {wanted:?}");
    }
    let counted: Vec<(f64, f64)> = tags(&page, "circle class=\"seen\"")
        .iter()
        .map(|tag| (at(number(tag, "cx")), share(number(tag, "cy"))))
        .collect();
    for (drawn, wanted) in counted.iter().zip([(31_000.0, 10.0), (91_000.0, 50.0), (151_000.0, 100.0)]) {
        assert!((drawn.0 - wanted.0).abs() < 10.0 && (drawn.1 - wanted.1).abs() < 0.1, "{drawn:?} {wanted:?}");
    }
    assert_eq!(counted.len(), 3);
}

#[test]
fn answers_are_drawn_second_by_second_and_those_of_all_balancers_together() {
    let told = full_run();
    let page = page_of(&told, None);
    let chart = tags(&page, "svg class=\"chart\"")[0];
    let (left, right) = (number(chart, "data-left"), number(chart, "data-right"));
    let (from, to) = (number(chart, "data-from-ms"), number(chart, "data-to-ms"));
    let panel = tags(&page, "g class=\"answers\"")[0];
    let (top, bottom) = (number(panel, "data-top"), number(panel, "data-bottom"));
    let (most, bucket) = (number(panel, "data-most"), number(panel, "data-bucket-s"));
    assert!((bucket - 1.0).abs() < f64::EPSILON, "{bucket}");
    let mut wanted: BTreeMap<i64, (u64, u64)> = BTreeMap::new();
    for entry in &told.0 {
        let What::Errors { seconds, .. } = &entry.what else { continue };
        for Second { at, requests, errors } in seconds {
            let sum = wanted.entry(at * 1000 - began().timestamp_millis()).or_default();
            *sum = (sum.0 + requests, sum.1 + errors);
        }
    }
    let steps = |class: &str| -> Vec<(f64, f64)> {
        let path = attribute(tags(&page, &format!("path class=\"{class}\""))[0], "d");
        // V y H x: so high until there
        path.split('V')
            .skip(1)
            .filter_map(|step| step.split_once('H'))
            .map(|(y, x)| {
                let count = (bottom - y.parse::<f64>().expect("y")) / (bottom - top) * most;
                (from + (x.parse::<f64>().expect("x") - left) / (right - left) * (to - from), count)
            })
            .collect()
    };
    for (class, pick) in [("requests", 0), ("errors", 1)] {
        let drawn = steps(class);
        // The picture shows half a minute before a run that is shorter than that.
        let shown: Vec<(i64, u64)> = wanted
            .iter()
            .filter(|(at, _)| **at >= -30_000)
            .map(|(at, counts)| (at + 1000, if pick == 0 { counts.0 } else { counts.1 }))
            .collect();
        assert_eq!(drawn.len(), shown.len(), "{class}");
        for (drawn, (until, count)) in drawn.iter().zip(shown) {
            assert!((drawn.0 - until as f64).abs() < 15.0, "{class}: until {drawn:?}, not {until}");
            assert!((drawn.1 - count as f64).abs() < most / 900.0, "{class}: {drawn:?}, not {count}");
        }
    }
}

/// A restore that takes rows away.
fn restore_run() -> Told {
    let mut told = full_run();
    told.0.pop();
    if let What::Begun(begun) = &mut told.0[0].what {
        begun.restores = Some("listings_prod".into());
    }
    let table = |name: &str, only_live, only_copy| TableLoss {
        table: name.into(),
        live_rows: Some(10_000),
        copy_rows: Some(9_000),
        only_live: Some(only_live),
        only_copy: Some(only_copy),
        newest_live: Some("2026-11-20 21:14:00.5+00".into()),
        newest_copy: Some("2026-11-20 20:00:00+00".into()),
    };
    told.at(
        8_000,
        What::Dump(Dump {
            host: host("web1"),
            path: "/opt/listings/backups/20.sql.gz".into(),
            bytes: 380_100_000,
            modified: began() - TimeDelta::hours(1),
            tables: 3,
            rows: 27_000,
            problems: vec![],
            passed_over: vec![],
        }),
    )
    .at(
        8_010,
        What::Loss(Loss {
            database: "listings_prod".into(),
            tables: vec![table("public.listings", 1_000, 0), table("public.orders", 250, 40)],
            alike: 1,
            ..Loss::default()
        }),
    )
    .outcome(8_900, StepWord::Restore, "web1", Status::Done, 900, "restored")
    .at(
        8_900,
        What::Database(DatabaseNow {
            host: host("web1"),
            name: "listings_prod".into(),
            state: DatabaseState::Restored,
            swap: None,
            merge: None,
        }),
    )
    .end(9_031)
}

#[test]
fn rows_are_as_long_as_they_are_many() {
    let page = page_of(&restore_run(), None);
    let widths = |class: &str| -> Vec<f64> {
        tags(&page, &format!("rect class=\"{class}\"")).iter().map(|tag| number(tag, "width")).collect()
    };
    assert_eq!(widths("lost"), [100.0, 25.0]);
    assert_eq!(widths("back"), [0.0, 4.0]);
}

/// A whole run on many hosts, one of which fails.
fn many_hosts(count: usize) -> Told {
    let names: Vec<String> = (1..=count).map(|n| format!("web{n}")).collect();
    let mut told = Told::begin("High error rate", &names.iter().map(String::as_str).collect::<Vec<_>>());
    let steps = [
        (StepWord::Lock, 200),
        (StepWord::Switch, 600),
        (StepWord::Drain, 3_000),
        (StepWord::Stop, 4_500),
        (StepWord::Verify, 6_000),
    ];
    for (step, at) in steps {
        for (n, name) in names.iter().enumerate() {
            let (at, ms) = (at + n as u64, 100 + 3 * n as u64);
            let status = if step == StepWord::Stop && name == "web7" { Status::Failed } else { Status::Done };
            told = told.intent(at - ms.min(at), step, name).outcome(at, step, name, status, ms, "as it should be");
            if step == StepWord::Switch {
                told = told.at(at, What::Balancer { host: host(name), state: Balancer::Shifted, share: Share::ALL });
            }
            if step == StepWord::Verify {
                let share = rollback_prod::nouns::record::ErrorShare { requests: 900, errors: 9 };
                let seconds =
                    (-60..60).map(|n| Second { at: began().timestamp() + n, requests: 15, errors: 1 }).collect();
                told = told.at(
                    at,
                    What::Errors {
                        host: host(name),
                        before: share,
                        after: share,
                        seconds,
                        clients_before: None,
                        clients_after: None,
                    },
                );
            }
        }
    }
    told.end(9_000)
}

#[test]
fn many_hosts_are_folded_and_the_one_that_failed_is_named() {
    let told = many_hosts(32);
    let names: Vec<String> = (1..=32).map(|n| format!("web{n}")).collect();
    let plan = plan("High error rate", &names.iter().map(String::as_str).collect::<Vec<_>>());
    let page = page_of(&told, Some(&plan));
    assert!(page.len() < 500_000, "{} bytes", page.len());
    let drawn = drawn_steps(&page);
    assert!(drawn.contains_key(&("stop".to_owned(), "web7".to_owned())), "{:?}", drawn.keys());
    assert!(drawn.contains_key(&("switch".to_owned(), "30 others".to_owned())), "{:?}", drawn.keys());
    assert!(drawn.len() < 25, "{} rows", drawn.len());
}

const HOSTILE: &str = "</title></style><script>alert(1)</script> \"><img src=x onerror=alert(2)> ' onload='alert(3) {{ 7*7 }} \
     javascript:alert(4) \u{1b}[31m \u{202e} &amp; password=hunter2";

#[test]
fn hostile_text_stays_text() {
    let mut told = Told::begin(HOSTILE, &["web1"]);
    if let What::Begun(begun) = &mut told.0[0].what {
        for field in [&mut begun.service, &mut begun.environment, &mut begun.operator, &mut begun.laptop, &mut begun.id]
        {
            *field = HOSTILE.into();
        }
        begun.severity = Some(HOSTILE.into());
        begun.releases = Some(HOSTILE.into());
    }
    let told = told
        .outcome(10, StepWord::Switch, "web1", Status::Failed, 5, HOSTILE)
        .at(11, What::Note { text: HOSTILE.into() })
        .at(12, What::Said { step: StepWord::Hook, host: host("web1"), of: HOSTILE.into(), text: HOSTILE.into() })
        .at(13, What::Noted { by: HOSTILE.into(), text: HOSTILE.into() })
        .at(14, What::Ended { exit: 1, production: HOSTILE.into(), next: HOSTILE.into() });
    let mut plan = plan(HOSTILE, &["web1"]);
    if let Action::Switch { change, .. } = &mut plan.stages[0].steps[0].action {
        change.path = HOSTILE.into();
        change.after.push_str(HOSTILE);
    }
    let page = page_of(&told, Some(&plan));
    for word in ["<script", "<img", "onerror=alert(2)>", "\u{1b}", "\u{202e}", "hunter2", "' onload="] {
        assert!(!page.contains(word), "{word:?} is in the page");
    }
    assert!(!page.contains("49") || page.contains("{{ 7*7 }}"), "nothing is computed");
    // Every tag is one of ours.
    let known = [
        "!doctype",
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "header",
        "main",
        "footer",
        "section",
        "h1",
        "h2",
        "h3",
        "p",
        "span",
        "strong",
        "b",
        "code",
        "ul",
        "li",
        "dl",
        "dt",
        "dd",
        "figure",
        "figcaption",
        "details",
        "summary",
        "div",
        "table",
        "thead",
        "tbody",
        "caption",
        "tr",
        "th",
        "td",
        "pre",
        "svg",
        "rect",
        "line",
        "text",
        "path",
        "g",
        "circle",
        "a",
    ];
    for tag in page.split('<').skip(1) {
        let name: String =
            tag.trim_start_matches('/').chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '!').collect();
        assert!(known.contains(&name.as_str()), "<{}", tag.chars().take(60).collect::<String>());
    }
}

#[test]
fn every_prefix_of_a_journal_makes_a_page() {
    for told in [full_run(), gradual_run(), restore_run()] {
        for length in 0..=told.0.len() {
            let page = page_of(&Told(told.0[..length].to_vec()), None);
            assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"), "{length}:\n{page}");
            assert!(!page.contains("NaN") && !page.contains("inf\""), "{length}:\n{page}");
        }
    }
}

#[test]
fn a_browser_shows_it_without_a_word_and_a_checker_finds_nothing() {
    let names: Vec<String> = (1..=32).map(|n| format!("web{n}")).collect();
    let many = plan("High error rate", &names.iter().map(String::as_str).collect::<Vec<_>>());
    let two = plan("High error rate", &["web1", "web2"]);
    let known_of_two = known(Some(&two), Some(&facts(&["web1", "web2"], &[])));
    let (first, mut second) = (full_run(), put_back_run());
    if let What::Begun(begun) = &mut second.0[0].what {
        begun.service = "portal".into();
    }
    let several = page::incident_page(
        &[first.story(&known_of_two), second.story(&known_of_two)],
        &Templates::built_in(),
        &no_secrets(),
    );
    let pasts: Vec<Past> = [full_run(), put_back_run(), killed_run()]
        .iter()
        .filter_map(|told| history::of_incident("rollback-20261120-211503", std::slice::from_ref(&told.0)))
        .collect();
    let pages = [
        ("full", page_of(&full_run(), Some(&two))),
        ("put-back", page_of(&put_back_run(), Some(&two))),
        ("killed", page_of(&killed_run(), None)),
        ("gradual", page_of(&gradual_run(), None)),
        ("restore", page_of(&restore_run(), None)),
        ("many", page_of(&many_hosts(32), Some(&many))),
        ("several", several),
        ("index", history::index_page(&pasts, began(), &Templates::built_in(), &no_secrets())),
    ];
    browser::holds_all(&pages);
}
