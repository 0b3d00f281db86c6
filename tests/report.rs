//! What people read after a run: golden files under tests/golden (`UPDATE=1 cargo test --test report` rewrites them),
//! and text from outside that must stay text.

use std::path::{Path, PathBuf};

use chrono::{DateTime, FixedOffset, TimeDelta, Utc};
use rollback_prod::hosts::facts::{AppFacts, Facts, Get, HostFacts, NginxFacts, NotKnown, Seen, Supervision};
use rollback_prod::nginx::SideTexts;
use rollback_prod::nouns::colour::Colour;
use rollback_prod::nouns::names::{HostName, IncidentId};
use rollback_prod::nouns::plan::{
    Action, FileChange, Gate, Guard, LeftOut, Plan, Proof, Stage, StageName, Step, TakesOver, Undo,
};
use rollback_prod::nouns::production::{Production, Verdict};
use rollback_prod::nouns::record::{
    AppState, Balancer, Begun, Captured, Entry, ErrorShare, JOURNAL_VERSION, Pattern, Status, StepWord, What,
};
use rollback_prod::nouns::redact::Redactor;
use rollback_prod::nouns::share::Share;
use rollback_prod::nouns::side::Direction;
use rollback_prod::tell::message::{self, Message};
use rollback_prod::tell::render::Templates;
use rollback_prod::tell::report;
use rollback_prod::tell::story::Story;
use rollback_prod::tell::times;

fn host(name: &str) -> HostName {
    HostName::new(name).expect("a host's name")
}

fn began() -> DateTime<Utc> {
    "2026-11-20T21:15:03.412Z".parse().expect("a time")
}

fn no_secrets() -> Redactor {
    Redactor::new(&[], std::iter::empty())
}

/// A journal as a run would write it.
struct Told(Vec<Entry>);

impl Told {
    fn begin(reason: &str, hosts: &[&str]) -> Told {
        let hosts: Vec<HostName> = hosts.iter().map(|name| host(name)).collect();
        let begun = Begun {
            changes: Vec::new(),
            down_flag: None,
            to_release: None,
            restore_flags: None,
            id: "rollback-20261120-211503".into(),
            program: "rollback-prod 0.1.0".into(),
            service: "listings".into(),
            group: None,
            environment: "prod".into(),
            reason: reason.into(),
            severity: Some("P1".into()),
            operator: "alice".into(),
            laptop: "alice-laptop".into(),
            balancers: hosts.clone(),
            apps: hosts,
            green_is_kept: false,
            restores: None,
            undoes: None,
            direction: Direction::to(Colour::Blue),
            traffic_stays: false,
            releases: Some("green 1.4.0 → blue 1.3.2".to_owned()),
            gradual: None,
            oncall: Some("bob".into()),
            commander: None,
            targets_ms: vec![
                ("traffic".into(), 60_000),
                ("rollback".into(), 120_000),
                ("restore".into(), 600_000),
                ("rto".into(), 900_000),
                ("rpo".into(), 300_000),
            ],
        };
        Told(Vec::new()).at(3, What::Begun(Box::new(begun)))
    }

    fn at(mut self, at_ms: u64, what: What) -> Told {
        let time = began() + TimeDelta::milliseconds(i64::try_from(at_ms).expect("a short run"));
        self.0.push(Entry { v: JOURNAL_VERSION, time, at_ms, service: None, what });
        self
    }

    fn intent(self, at_ms: u64, step: StepWord, on: &str) -> Told {
        self.at(at_ms, What::Intent { step, host: host(on), why: "because".into(), colour: None, of: None })
    }

    fn outcome(self, at_ms: u64, step: StepWord, on: &str, status: Status, ms: u64, detail: &str) -> Told {
        let host = (!on.is_empty()).then(|| host(on));
        self.at(at_ms, What::Outcome { step, host, of: None, status, ms, detail: detail.into() })
    }

    /// The last line, as the judge says.
    fn end(self, at_ms: u64) -> Told {
        let verdict = self.0.iter().collect::<Production>().verdict(false);
        self.at(at_ms, What::Ended { exit: verdict.exit, production: verdict.production, next: verdict.next })
    }

    fn story<'a>(&'a self, plan: Option<&'a Plan>, facts: Option<&'a Facts>) -> Story<'a> {
        Story { plan, facts, entries: &self.0, local_offset: FixedOffset::east_opt(3600).expect("an hour") }
    }
}

const BEFORE: &str =
    "upstream listings_backend {\n    server 127.0.0.1:8080 down;\n    server 127.0.0.1:8081 weight=100;\n}\n";
const AFTER: &str = "upstream listings_backend {\n    server 127.0.0.1:8080 weight=100 max_fails=0;\n    server 127.0.0.1:8081 down;\n}\n";

fn plan(reason: &str, hosts: &[&str]) -> Plan {
    let steps = hosts
        .iter()
        .map(|name| Step {
            host: host(name),
            action: Action::Switch {
                change: FileChange {
                    path: "/etc/nginx/sites-available/listings".into(),
                    before: BEFORE.into(),
                    after: AFTER.into(),
                    also: vec![],
                    mounted: None,
                },
                proof: Proof {
                    who: "blue".into(),
                    pidfile: "/run/nginx.pid".into(),
                    error_logs: vec![],
                    access_logs: vec![],
                    mark: None,
                },
                share: Share::ALL,
                says: "blue 100, green down".into(),
            },
            guard: Guard::FileIsUnchanged { sha256: "0".repeat(64) },
            undo: Undo::NothingToUndo,
            why: "blue 100, green down".into(),
        })
        .collect();
    Plan {
        down: None,
        changes: Vec::new(),
        hooks: Vec::new(),
        id: IncidentId::new("rollback-20261120-211503").expect("an incident"),
        service: "listings".into(),
        environment: "prod".into(),
        direction: Direction::to(Colour::Blue),
        releases: None,
        is_forced: false,
        takes_over: TakesOver::Nobody,
        is_gradual: false,
        among: None,
        balancers: hosts.iter().map(|name| host(name)).collect(),
        reason: reason.into(),
        stages: vec![Stage { name: StageName::Switch, gate: Gate::NoneFailed, steps }],
        notes: vec!["web2: answers cannot be told apart; proven by its workers".into()],
        left_out: vec![],
    }
}

fn unknown<T>() -> Result<T, NotKnown> {
    Err(NotKnown { why: "not asked".into(), hint: None })
}

fn facts(green_on: &[&str], unreachable: &[&str]) -> Facts {
    let app = || AppFacts {
        is_running: Ok(true),
        state: "active (running)".into(),
        listeners: vec![],
        port_is_open: true,
        listener_is_ours: Ok(true),
        health: vec![],
        log_bytes: Err(rollback_prod::hosts::facts::NoLog::NotAsked),
        release: None,
        program: None,
        supervision: Supervision::default(),
    };
    let seen = |name: &str| HostFacts {
        host: host(name),
        seen: Ok(Seen {
            rolled_back: Vec::new(),
            dead_men: Vec::new(),
            user: "deploy".into(),
            uid: 1000,
            login_shell: "/bin/sh".into(),
            system: "Linux".into(),
            noise: String::new(),
            held_up_by: None,
            key_exchange: Some("curve25519-sha256".into()),
            clock_offset_ms: Ok(-4200),
            tools: vec![],
            evidence: vec![],
            journal_is_closed: false,
            hides_processes: false,
            free_kib: Default::default(),
            wanted_rights: Vec::new(),
            missing_rights: Ok(vec![]),
            may_root_shell: false,
            lock: None,
            begun: vec![],
            addresses: vec![],
            nginx: Some(NginxFacts {
                path: unknown(),
                stat: String::new(),
                also: vec![],
                unread: vec![],
                left: None,
                read_instead: None,
                mounted: None,
                loaded: vec![],
                beside: vec![],
                is_link: false,
                known: std::collections::BTreeMap::new(),
                text: unknown(),
                sha256: None,
                is_valid: Ok(()),
                is_loaded: Ok(true),
                defined_in: vec![],
                pidfile: String::new(),
                master: None,
                workers: 2,
                error_logs: vec![],
                access_logs: vec![],
                mentions: vec![],
                kept_names: vec![],
                side_texts: SideTexts::default(),
                probe: Get::default(),
                probe_origin: Default::default(),
                probe_answered_by: Some(Colour::Green),
                mark: None,
            }),
            blue: app(),
            green: app(),
        }),
    };
    let why = || NotKnown { why: "connect: connection refused".into(), hint: None };
    let down = |name: &str| HostFacts { host: host(name), seen: Err(why()) };
    Facts::new(began(), green_on.iter().map(|n| seen(n)).chain(unreachable.iter().map(|n| down(n))).collect())
}

fn full_run() -> Told {
    let mut told = Told::begin("Error rate 12 % since the 21:04 deploy", &["web1", "web2"]);
    for (name, ms) in [("web1", 190), ("web2", 195)] {
        told = told.intent(160, StepWord::Lock, name).outcome(
            ms,
            StepWord::Lock,
            name,
            Status::Done,
            30,
            "candidate accepted",
        );
    }
    for (name, ms) in [("web1", 402), ("web2", 412)] {
        told = told
            .intent(200, StepWord::Switch, name)
            .outcome(ms, StepWord::Switch, name, Status::Done, 183, "blue 100, green down")
            .at(ms, What::Balancer { host: host(name), state: Balancer::Shifted, share: Share::ALL });
    }
    told = told.at(412, What::TrafficSafe { hosts: 2, to: Direction::to(Colour::Blue) });
    for name in ["web1", "web2"] {
        told = told
            .outcome(415, StepWord::Drain, name, Status::Started, 0, "")
            .outcome(2_431, StepWord::Drain, name, Status::Done, 2_016, "no connection to green, no old worker")
            .intent(2_440, StepWord::Stop, name)
            .outcome(4_012, StepWord::Stop, name, Status::Done, 1_570, "green stopped, its port stays closed")
            .at(4_012, What::App { host: host(name), colour: Colour::Green, state: AppState::Stopped });
    }
    for (name, before, after) in [("web1", 145, 1), ("web2", 139, 0)] {
        told = told.outcome(5_500, StepWord::Verify, name, Status::Done, 1_400, "blue answers 3 of 3").at(
            5_500,
            What::Errors {
                host: host(name),
                before: ErrorShare { requests: 1200, errors: before },
                after: ErrorShare { requests: 900, errors: after },
            },
        );
    }
    told.outcome(
        6_900,
        StepWord::Verify,
        "",
        Status::Done,
        1_300,
        "https://listings.example.com/health answers, smoke command passes",
    )
    .at(
        7_000,
        What::Captured(Captured {
            host: Some(host("web1")),
            file: "green-rollback-web1-20261120-211503.log.gz".into(),
            of: "/opt/listings/logs/green.log".into(),
            bytes: 48_211,
            unpacked_bytes: 1_911_402,
            lines: 18_322,
            sha256: "9f2c".repeat(16),
            patterns: vec![
                Pattern {
                    kind: "query".into(),
                    count: 1_204,
                    example: "ERROR query failed: pq: relation \"listings_v2\" does not exist (SQLSTATE 42P01)".into(),
                },
                Pattern {
                    kind: "panic".into(),
                    count: 3,
                    example: "panic: runtime error: index out of range [5]".into(),
                },
            ],
        }),
    )
    .at(
        7_010,
        What::Gap {
            host: Some(host("web2")),
            what: "/opt/listings/logs/green.log".into(),
            why: "it may not be read there".into(),
        },
    )
    .outcome(7_020, StepWord::Evidence, "web1", Status::Done, 6_500, "1 file, 48 KiB, 0 gaps")
    .outcome(8_990, StepWord::Notify, "", Status::Done, 300, "slack, email")
    .end(9_031)
}

fn put_back_run() -> Told {
    let mut told = Told::begin("High error rate", &["web1", "web2"]);
    for name in ["web1", "web2"] {
        told = told
            .intent(200, StepWord::Switch, name)
            .outcome(
                2_300,
                StepWord::Switch,
                name,
                Status::Failed,
                2_100,
                "blue was not seen within 2 s; the old file is in place again",
            )
            .at(2_300, What::Balancer { host: host(name), state: Balancer::PutBack, share: Share::ALL });
    }
    told.end(2_400)
}

/// The process was killed while web2 was being switched.
fn killed_run() -> Told {
    Told::begin("High error rate", &["web1", "web2", "web3"])
        .intent(200, StepWord::Switch, "web1")
        .intent(200, StepWord::Switch, "web2")
        .outcome(390, StepWord::Switch, "web1", Status::Done, 183, "blue 100, green down")
        .at(390, What::Balancer { host: host("web1"), state: Balancer::Shifted, share: Share::ALL })
}

/// The last line's, or what the journal alone says.
fn verdict(told: &Told) -> Verdict {
    let judged = told.0.iter().collect::<Production>().verdict(false);
    match told.0.last().map(|entry| &entry.what) {
        Some(What::Ended { exit, production, next }) => {
            Verdict { exit: *exit, production: production.clone(), next: next.clone(), ..judged }
        }
        _ => judged,
    }
}

fn render(told: &Told, plan: Option<&Plan>, facts: Option<&Facts>) -> (String, String, Message, Message) {
    let templates = Templates::built_in();
    let story = told.story(plan, facts);
    let all = (
        report::incident_report(std::slice::from_ref(&story), &templates, &no_secrets()),
        report::postmortem(std::slice::from_ref(&story), &templates, &no_secrets()),
        message::begin_message(std::slice::from_ref(&story), &templates, &no_secrets()),
        message::end_message(std::slice::from_ref(&story), &verdict(told), &templates, &no_secrets()),
    );
    assert_eq!(templates.notes(), Vec::<String>::new());
    all
}

/// Compares with a golden file, or writes it.
fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        std::fs::write(&path, text).expect("the golden file is written");
        return;
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        wanted == text,
        "{} differs (UPDATE=1 rewrites it):\n{}",
        path.display(),
        similar::TextDiff::from_lines(&wanted, text).unified_diff().header("golden", "now")
    );
}

fn golden_run(name: &str, told: &Told, plan: Option<&Plan>, facts: Option<&Facts>) {
    let (report, postmortem, begin, end) = render(told, plan, facts);
    golden(&format!("{name}.report.md"), &report);
    golden(&format!("{name}.postmortem.md"), &postmortem);
    let pretty = |value: &serde_json::Value| serde_json::to_string_pretty(value).expect("JSON");
    let messages = [begin, end].map(|message| {
        format!(
            "id: {}\nsubject: {}\n\n{}\nslack: {}\n\nwebhook: {}\n",
            message.id,
            message.subject,
            message.text,
            pretty(&message.slack),
            pretty(&message.webhook)
        )
    });
    golden(&format!("{name}.messages.txt"), &messages.join("\n----\n\n"));
}

#[test]
fn a_full_run_reads_well() {
    let plan = plan("Error rate 12 % since the 21:04 deploy", &["web1", "web2"]);
    golden_run("full", &full_run(), Some(&plan), Some(&facts(&["web1", "web2"], &[])));
}

#[test]
fn a_run_that_was_put_back_says_that_nothing_is_mitigated() {
    golden_run("put-back", &put_back_run(), Some(&plan("High error rate", &["web1", "web2"])), None);
}

#[test]
fn a_killed_run_says_what_nobody_knows() {
    let mut plan = plan("High error rate", &["web1", "web2"]);
    plan.left_out.push(LeftOut { host: host("web3"), why: "not reached".into(), is_balancer: true, is_there: false });
    golden_run("killed", &killed_run(), Some(&plan), Some(&facts(&["web1", "web2"], &["web3"])));
}

#[test]
fn a_killed_run_never_calls_an_open_switch_unchanged() {
    let (report, _, _, _) = render(&killed_run(), None, None);
    assert!(report.contains("| web2 | **NOT KNOWN** |"), "{report}");
    assert!(report.contains("the journal ends here"), "{report}");
    assert!(report.contains("| Status | Unknown"), "{report}");
}

#[test]
fn every_prefix_of_a_journal_makes_a_report() {
    let told = full_run();
    for length in 0..=told.0.len() {
        let (report, postmortem, begin, end) = render(&Told(told.0[..length].to_vec()), None, None);
        assert!(report.starts_with("# ") && postmortem.starts_with("# "), "{length} entries:\n{report}");
        assert!(!report.contains("The template failed"), "{length} entries:\n{report}");
        assert_eq!(report.contains("was killed"), length < told.0.len(), "{length} entries:\n{report}");
        assert!(begin.slack["text"].is_string() && end.slack["text"].is_string());
    }
}

#[test]
fn the_times_fit_on_one_line() {
    let told = full_run();
    assert_eq!(
        times::times_line(&[told.story(None, None)]).as_deref(),
        Some(
            "traffic safe on blue 0.41 s (target 60 s: met); rollback complete 6.9 s (target 2 min: met); \
             recovery (RTO), counted from the start of this run 0.41 s (target 15 min: met)"
        )
    );
    assert_eq!(times::times_line(&[killed_run().story(None, None)]), None);
}

#[test]
fn no_section_is_empty() {
    for told in [full_run(), put_back_run(), killed_run()] {
        let (report, postmortem, _, _) = render(&told, None, None);
        for text in [report, postmortem] {
            let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
            for pair in lines.windows(2) {
                assert!(!(pair[0].starts_with("## ") && pair[1].starts_with('#')), "{pair:?} in\n{text}");
            }
            assert!(!text.contains("\n\n\n"), "{text}");
        }
    }
}

const HOSTILE: &str = "it's \"on fire\"; $(touch /tmp/pwned) `id` {{ 7*7 }} {% raw %} | cell\n# heading\n- [x] done\n\
     \u{1b}[31mred\u{202e} <script>alert(1)</script> ![i](http://x/y.png) <!channel> <@U1> & ``` fence\n```\n password=hunter2";

/// The same text wherever text comes from outside.
fn hostile_run() -> Told {
    let text = HOSTILE;
    let mut told = Told::begin(text, &["web1"]);
    if let What::Begun(begun) = &mut told.0[0].what {
        begun.service = text.into();
        begun.environment = text.into();
        begun.operator = text.into();
        begun.laptop = text.into();
        begun.program = text.into();
        begun.severity = Some(text.into());
        begun.oncall = Some(text.into());
        begun.commander = Some(text.into());
    }
    told.outcome(10, StepWord::Switch, "web1", Status::Failed, 5, text)
        .at(11, What::Note { text: text.into() })
        .at(12, What::Gap { host: None, what: text.into(), why: text.into() })
        .at(
            13,
            What::Captured(Captured {
                host: None,
                file: text.into(),
                of: text.into(),
                bytes: 1,
                unpacked_bytes: 1,
                lines: 1,
                sha256: text.into(),
                patterns: vec![Pattern { kind: text.into(), count: 1, example: text.into() }],
            }),
        )
        .at(14, What::Ended { exit: 1, production: text.into(), next: text.into() })
}

/// Markdown outside code: what is left when fences and code spans are taken out, escapes resolved to nothing.
fn active_part(text: &str) -> String {
    let mut out = String::new();
    let mut fence: Option<String> = None;
    for line in text.lines() {
        let ticks: String = line.chars().take_while(|c| *c == '`').collect();
        match &fence {
            Some(open) if line.trim_end() == open => fence = None,
            Some(_) => {}
            None if ticks.len() >= 3 => fence = Some(ticks),
            None => {
                let mut in_code = false;
                let mut chars = line.chars();
                while let Some(c) = chars.next() {
                    match c {
                        '\\' if !in_code => {
                            chars.next();
                        }
                        '`' => in_code = !in_code,
                        _ if !in_code => out.push(c),
                        _ => {}
                    }
                }
                assert!(!in_code, "a code span is left open: {line}");
                out.push('\n');
            }
        }
    }
    assert!(fence.is_none(), "a fence is left open:\n{text}");
    out
}

#[test]
fn hostile_text_arrives_as_text_everywhere() {
    let mut plan = plan(HOSTILE, &["web1"]);
    plan.notes = vec![HOSTILE.into()];
    plan.left_out = vec![LeftOut { host: host("web1"), why: HOSTILE.into(), is_balancer: true, is_there: false }];
    if let Action::Switch { change, .. } = &mut plan.stages[0].steps[0].action {
        change.path = HOSTILE.into();
        change.after.push_str(HOSTILE);
    }
    let (report, postmortem, begin, end) = render(&hostile_run(), Some(&plan), None);
    for text in [&report, &postmortem] {
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
        let active = active_part(text);
        for word in ["<script", "![i]", "<!channel", "# heading", "<@U1"] {
            let is_active = active.lines().any(|line| line.contains(word) && !line.starts_with("# heading"));
            assert!(
                !is_active && !active.lines().any(|line| line.starts_with("# heading")),
                "{word} is active:\n{active}"
            );
        }
        // nothing was run: not by a shell, not by tera
        assert!(text.contains("$(touch /tmp/pwned)") && text.contains("{{ 7\\*7 }}"), "{text}");
        assert!(!text.contains("49"), "{text}");
    }
    assert!(
        report.contains("it's \"on fire\"; $(touch /tmp/pwned) `id` {{ 7*7 }} {% raw %} | cell\n# heading\n"),
        "as typed: {report}"
    );
    // every row of a table has as many cells as its head
    for table in report.split("\n\n").filter(|block| block.starts_with("| ")) {
        let cells = |line: &str| line.replace("\\|", "").matches('|').count();
        let wanted = table.lines().next().map(cells);
        assert!(table.lines().all(|line| Some(cells(line)) == wanted), "{table}");
    }
    for message in [begin, end] {
        let slack = message.slack.to_string();
        assert!(!slack.contains("<!") && !slack.contains("<@") && !slack.contains("\\u001b"), "{slack}");
        let title = message.slack["blocks"][0]["text"]["text"].as_str().expect("a header");
        assert!(title.chars().count() <= 150, "{title}");
        assert!(!message.subject.contains('\n') && !message.text.contains('\u{1b}'), "{message:?}");
        assert!(!format!("{message:?}").contains("hunter2"), "{message:?}");
        assert_eq!(message.webhook["reason"], HOSTILE.replace("hunter2", "[REDACTED]").as_str());
        for field in message.slack["blocks"].as_array().expect("blocks") {
            for field in field["fields"].as_array().into_iter().flatten() {
                assert!(field["text"].as_str().expect("a text").chars().count() <= 2000);
            }
        }
    }
}

#[test]
fn a_very_long_reason_stays_within_what_slack_takes() {
    let told = Told::begin(&"a <b> & c ".repeat(2000), &["web1"]).end(10);
    let (_, _, _, end) = render(&told, None, None);
    assert!(end.slack.to_string().len() < 13_000, "{}", end.slack.to_string().len());
}

fn folder(name: &str, files: &[(&str, &str)]) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("templates-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder of the test's own");
    for (file, text) in files {
        std::fs::write(folder.join(file), text).expect("a file of the test's own");
    }
    folder
}

#[test]
fn a_template_of_the_operators_own_is_used() {
    let folder = folder(
        "own",
        &[
            ("report.md.tera", "# ours: {{ reason }} on {% for row in hosts %}{{ row.host }} {% endfor %}"),
            ("slack.json.tera", "{\"text\": \"{{ reason | mrkdwn }}\", \"channel\": \"#ours\"}"),
            ("mail.txt.tera", "Subject: ours {{ title }}\n\nbody {{ reason }}"),
        ],
    );
    let told = Told::begin("a|b <i> \"q\"", &["web1"]).end(10);
    let templates = Templates::in_folder(&folder);
    let story = told.story(None, None);
    let text = report::incident_report(std::slice::from_ref(&story), &templates, &no_secrets());
    assert_eq!(text, "# ours: a\\|b &lt;i&gt; \"q\" on web1\n");
    let message = message::begin_message(std::slice::from_ref(&story), &templates, &no_secrets());
    assert_eq!(message.slack["text"], "a|b &lt;i&gt; \"q\"");
    assert_eq!(message.subject, "ours listings: rolling back to blue");
    assert_eq!(message.text, "body a|b <i> \"q\"\n");
    assert_eq!(templates.notes(), Vec::<String>::new());
}

#[test]
fn a_broken_template_never_costs_a_report() {
    let folder = folder(
        "broken",
        &[
            ("report.md.tera", "{% if %}"),
            ("postmortem.md.tera", "{{ no_such_thing }}"),
            ("slack.json.tera", "not JSON {{ reason }}"),
            ("webhook.json.tera", "{\"a\": {{ reason }}}"),
            ("mail.txt.tera", "no subject"),
        ],
    );
    let told = full_run();
    let templates = Templates::in_folder(&folder);
    let story = told.story(None, None);
    let (report, postmortem, begin, end) = render(&told, None, None);
    assert_eq!(report::incident_report(std::slice::from_ref(&story), &templates, &no_secrets()), report);
    assert_eq!(report::postmortem(std::slice::from_ref(&story), &templates, &no_secrets()), postmortem);
    assert_eq!(message::begin_message(std::slice::from_ref(&story), &templates, &no_secrets()), begin);
    assert_eq!(message::end_message(std::slice::from_ref(&story), &verdict(&told), &templates, &no_secrets()), end);
    let notes = templates.notes();
    for file in ["report.md.tera", "postmortem.md.tera", "slack.json.tera", "webhook.json.tera", "mail.txt.tera"] {
        assert!(notes.iter().any(|note| note.contains(file) && note.contains("built-in")), "{file}: {notes:#?}");
    }
}

#[test]
fn a_folder_that_is_not_there_replaces_nothing() {
    let templates = Templates::beside(Some(Path::new("/nonexistent/rollback.toml")));
    assert_eq!(templates.notes(), Vec::<String>::new());
}
