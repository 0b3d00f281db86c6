//! What people read after a run: golden files under tests/golden (`UPDATE=1 cargo test --test report` rewrites them),
//! and text from outside that must stay text.

#[path = "support/told.rs"]
mod told;

use std::path::{Path, PathBuf};

use rollback_prod::hosts::facts::Facts;
use rollback_prod::nouns::plan::{Action, LeftOut, Plan};
use rollback_prod::nouns::production::{Production, Verdict};
use rollback_prod::nouns::record::{Captured, Pattern, Status, StepWord, What};
use rollback_prod::tell::known::Known;
use rollback_prod::tell::message::{self, Message};
use rollback_prod::tell::render::Templates;
use rollback_prod::tell::report;
use rollback_prod::tell::times;
use told::{Told, facts, full_run, host, killed_run, known, no_secrets, plan, put_back_run};

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
    let known = known(plan, facts);
    let story = told.story(&known);
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
        times::times_line(&[told.story(&Known::default())]).as_deref(),
        Some(
            "traffic safe on blue 0.41 s (target 60 s: met); rollback complete 6.9 s (target 2 min: met); \
             recovery (RTO), counted from the start of this run 0.41 s (target 15 min: met)"
        )
    );
    assert_eq!(times::times_line(&[killed_run().story(&Known::default())]), None);
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
    let known = Known::default();
    let story = told.story(&known);
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
    let known = Known::default();
    let story = told.story(&known);
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
