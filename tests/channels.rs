//! Services that keep something between two messages: one thread, one page, one public incident, one silence, one mark. The
//! doubles of Slack, PagerDuty, Statuspage and Grafana refuse what their published descriptions do not have, and answer as
//! these say; each names what it follows, as it was read on 1 Dec 2026. Alertmanager is the real one.

#[path = "support/http.rs"]
mod http;
#[path = "support/published.rs"]
mod published;
#[path = "support/told.rs"]
mod told;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use http::{Request, Server, Temper};
use published::{Of, Shape, TEXT, WORDS, odd};
use rollback_prod::incident::alarm::{Alarm, Bad};
use rollback_prod::nouns::colour::Colour;
use rollback_prod::nouns::inventory::{Channel, Contacts, Escalation, Matcher, Notify};
use rollback_prod::nouns::record::{Repeat, What};
use rollback_prod::nouns::secret::Secret;
use rollback_prod::nouns::share::Share;
use rollback_prod::tell::alarm::Voice;
use rollback_prod::tell::known::Known;
use rollback_prod::tell::message::{self, Message};
use rollback_prod::tell::notify::{Delivery, Outbox};
use rollback_prod::tell::render::Templates;
use serde_json::{Value, json};
use told::{Told, full_run, no_secrets, put_back_run};

/// How a service plays.
type Play = fn(&[Request], &Request) -> (u16, String);

fn notify(channel: Channel) -> Notify {
    Notify { timeout: Duration::from_secs(5), channels: vec![channel] }
}

fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("channels-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder of the test's own");
    folder
}

/// The three messages of an incident.
fn messages(told: &Told) -> [Message; 3] {
    let (templates, known) = (Templates::built_in(), Known::default());
    let verdict = told.0.iter().collect::<rollback_prod::nouns::production::Production>().verdict(false);
    let before = Told(told.0[..1].to_vec());
    let over = Told(told.0.clone()).at(7_200_000, What::Resolved { by: "carol".into(), text: "1.4.1 is out".into() });
    [
        message::begin_message(&[before.story(&known)], &templates, &no_secrets()),
        message::end_message(&[told.story(&known)], &verdict, &templates, &no_secrets()),
        message::resolved_message(&[over.story(&known)], &templates, &no_secrets()),
    ]
}

fn failed(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().filter_map(|delivery| delivery.outcome.clone().err()).collect()
}

fn json_of(request: &Request) -> Value {
    if request.body.is_empty() { Value::Null } else { serde_json::from_str(&request.body).expect("JSON") }
}

/// `post /api/chat.postMessage`
fn line_of(request: &Request) -> String {
    let line = request.head.lines().next().unwrap_or_default();
    line.trim_end_matches(" http/1.1").to_owned()
}

fn header<'r>(request: &'r Request, name: &str) -> &'r str {
    request.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).unwrap_or_default().trim()
}

// --- Slack --------------------------------------------------------------------------------------------------------------
//
// slackapi/slack-api-specs, web-api/slack_web_openapi_v2.json, version 1.7.0 (bc08db4, 3 Sep 2021): the arguments of
// chat.postMessage and chat.update, their answers, and the words of their errors; `C…` and `1503435956.000247` are its patterns.
// slackapi/node-slack-sdk, packages/web-api/src/types/request/chat.ts (46185c5) has the same arguments as JSON, and
// packages/types/src/block-kit/blocks.ts (26af43f) the limits of blocks: 150 characters in a header, 3000 in a section, ten
// fields of 2000, ten elements of a context. docs.slack.dev/reference/methods/chat.postmessage: `text` best within 4000.
// A limit of its own, 429 with Retry-After, comes before a method is looked at.

const PLAIN: Shape =
    Shape { needs: &[("type", Of::Word(&["plain_text"])), ("text", WORDS)], may: &[("emoji", Of::Flag)] };

/// A text object of so many characters at most.
macro_rules! plain_text {
    ($most:literal) => {
        Of::Shape(&Shape {
            needs: &[("type", Of::Word(&["plain_text"])), ("text", Of::Text(1, $most))],
            may: &[("emoji", Of::Flag)],
        })
    };
}

const BLOCK: Of = Of::ByType(&[
    ("header", Shape { needs: &[("text", plain_text!(150))], may: &[] }),
    (
        "section",
        Shape { needs: &[], may: &[("text", plain_text!(3000)), ("fields", Of::List(1, 10, &plain_text!(2000)))] },
    ),
    ("context", Shape { needs: &[("elements", Of::List(1, 10, &Of::Shape(&PLAIN)))], may: &[] }),
]);

const BLOCKS: Of = Of::List(1, 50, &BLOCK);

const POST_MESSAGE: Shape = Shape {
    needs: &[("channel", WORDS), ("text", Of::Text(1, 4000))],
    may: &[("blocks", BLOCKS), ("mrkdwn", Of::Flag), ("thread_ts", Of::Text(17, 17))],
};

/// It has no `mrkdwn`.
const UPDATE: Shape = Shape {
    needs: &[("channel", WORDS), ("ts", Of::Text(17, 17)), ("text", Of::Text(1, 4000))],
    may: &[("blocks", BLOCKS)],
};

fn slack(before: &[Request], request: &Request) -> (u16, String) {
    let body = json_of(request);
    let refuse = |error: &str| (200, json!({ "ok": false, "error": error }).to_string());
    if !header(request, "authorization").starts_with("bearer xoxb-") {
        return refuse("invalid_auth");
    }
    if !header(request, "content-type").starts_with("application/json") {
        return refuse("missing_post_type");
    }
    let method = line_of(request);
    let shape = if method.ends_with("chat.update") { &UPDATE } else { &POST_MESSAGE };
    if let Some(why) = odd(&body, &Of::Shape(shape)) {
        return refuse(&format!("invalid_arg_name: {why}"));
    }
    let stamp = |n: usize| format!("1503435956.{n:06}");
    match method.as_str() {
        "post /api/chat.postmessage" => {
            if !["#incidents", "C0INCIDENTS"].contains(&body["channel"].as_str().unwrap_or_default()) {
                return refuse("channel_not_found");
            }
            let parent = body["thread_ts"].as_str();
            if parent.is_some_and(|parent| !(0..before.len()).any(|n| stamp(n) == parent)) {
                return refuse("cannot_reply_to_message");
            }
            let ts = stamp(before.len());
            let message = json!({ "type": "message", "ts": ts, "text": "x".repeat(4000) });
            (200, json!({ "ok": true, "channel": "C0INCIDENTS", "ts": ts, "message": message }).to_string())
        }
        "post /api/chat.update" => {
            // The real one takes no names here.
            if body["channel"] != "C0INCIDENTS" {
                return refuse("channel_not_found");
            }
            let is_known = (0..before.len()).any(|n| body["ts"] == stamp(n));
            if !is_known {
                return refuse("message_not_found");
            }
            let (ts, text) = (&body["ts"], &body["text"]);
            let message = json!({ "text": text });
            (
                200,
                json!({ "ok": true, "channel": "C0INCIDENTS", "ts": ts, "text": text, "message": message }).to_string(),
            )
        }
        other => (404, other.to_owned()),
    }
}

fn slack_channel(server: &Server, token: &str) -> Channel {
    let url = format!("http://127.0.0.1:{}/api", server.port);
    Channel::SlackThread { token: Secret::new(token.to_owned()), channel: "#incidents".into(), url }
}

#[tokio::test]
async fn an_incident_is_one_thread_whose_first_message_says_how_it_stands() {
    let server = Server::start(Temper::Plays(slack));
    let notify = notify(slack_channel(&server, "xoxb-0123456789"));
    let folder = folder("slack");
    let [begin, end, over] = messages(&full_run());
    for message in [&begin, &end, &over] {
        // Each by another process: what has to be remembered is on disk.
        let outbox = Outbox::open(&folder);
        outbox.post(&notify, message);
        assert_eq!(failed(&outbox.deliver(&notify).await), Vec::<String>::new());
    }
    let seen = server.seen();
    let lines: Vec<String> = seen.iter().map(line_of).collect();
    let (post, update) = ("post /api/chat.postmessage", "post /api/chat.update");
    assert_eq!(lines, [post, update, post, update, post]);
    let bodies: Vec<Value> = seen.iter().map(json_of).collect();
    assert_eq!(bodies[0]["blocks"][0]["text"]["text"], "listings: rolling back to blue");
    assert_eq!(bodies[1]["blocks"][0]["text"]["text"], "listings: rolled back to blue");
    assert_eq!(bodies[3]["blocks"][0]["text"]["text"], "listings: rollback-20261120-211503 is over");
    assert_eq!(bodies[2]["thread_ts"], bodies[1]["ts"]);
    assert_eq!(bodies[4]["text"], "listings: rollback-20261120-211503 is over: carol calls it over: 1.4.1 is out");
    let outbox = std::fs::read_to_string(folder.join("outbox.jsonl")).expect("an outbox");
    assert!(!outbox.contains("xoxb-"), "{outbox}");
}

#[tokio::test]
async fn a_thread_that_could_not_begin_begins_later_and_a_reason_is_told() {
    let server = Server::start(Temper::Says(429, "retry-after: 30\r\n", "{\"ok\":false,\"error\":\"ratelimited\"}"));
    let notify = notify(slack_channel(&server, "xoxb-0123456789"));
    let folder = folder("slack-late");
    let [begin, end, _] = messages(&full_run());
    let outbox = Outbox::open(&folder);
    outbox.post(&notify, &begin);
    assert_eq!(
        failed(&outbox.deliver(&notify).await),
        ["answers 429: {\"ok\":false,\"error\":\"ratelimited\"} (Retry-After: 30)"]
    );
    server.becomes(Temper::Plays(slack));
    outbox.post(&notify, &end);
    assert_eq!(failed(&outbox.deliver(&notify).await), Vec::<String>::new());
    let lines: Vec<String> = server.seen().iter().skip(1).map(line_of).collect();
    assert_eq!(lines, ["post /api/chat.postmessage", "post /api/chat.update", "post /api/chat.postmessage"]);

    let outbox = Outbox::open(&self::folder("slack-auth"));
    let wrong = self::notify(slack_channel(&server, "wrong-token-of-somebody"));
    outbox.post(&wrong, &begin);
    assert_eq!(failed(&outbox.deliver(&wrong).await), ["chat.postMessage: invalid_auth"]);
}

// --- PagerDuty ----------------------------------------------------------------------------------------------------------
//
// PagerDuty/api-schema, reference/events-v2/openapiv3.json, version 2.0 (06b017d, 24 Sep 2025): the event, its payload, and
// both answers. PagerDuty/developer-docs, docs/events-API-v2/02-Trigger-Events.md (9422439, 19 Aug 2026): a summary of 1024
// characters, a key of 255, and what becomes of events with one key; 01-Overview.md: 512 kB, and 429 to be tried again later.

const LINK: Shape = Shape { needs: &[("href", WORDS)], may: &[("text", TEXT)] };

const PAYLOAD: Shape = Shape {
    needs: &[
        ("summary", Of::Text(1, 1024)),
        ("source", WORDS),
        ("severity", Of::Word(&["critical", "warning", "error", "info"])),
    ],
    may: &[
        ("timestamp", Of::Time),
        ("component", TEXT),
        ("group", TEXT),
        ("class", TEXT),
        ("custom_details", Of::Object),
    ],
};

const TRIGGER: Shape = Shape {
    needs: &[
        ("payload", Of::Shape(&PAYLOAD)),
        ("event_action", Of::Word(&["trigger"])),
        ("routing_key", Of::Text(32, 32)),
    ],
    may: &[
        ("dedup_key", Of::Text(1, 255)),
        ("client", TEXT),
        ("client_url", TEXT),
        ("links", Of::List(0, usize::MAX, &Of::Shape(&LINK))),
    ],
};

/// Of whatever else is sent with these nothing is used.
const LATER: Shape = Shape {
    needs: &[
        ("routing_key", Of::Text(32, 32)),
        ("event_action", Of::Word(&["acknowledge", "resolve"])),
        ("dedup_key", Of::Text(1, 255)),
    ],
    may: &[],
};

fn pagerduty(_: &[Request], request: &Request) -> (u16, String) {
    let body = json_of(request);
    let shape = if body["event_action"] == "trigger" { &TRIGGER } else { &LATER };
    let too_large = (request.body.len() > 512 << 10).then(|| "it is larger than 512 kB".to_owned());
    if let Some(why) = odd(&body, &Of::Shape(shape)).or(too_large) {
        let refusal = json!({ "status": "invalid event", "message": "Event object is invalid", "errors": [why] });
        return (400, refusal.to_string());
    }
    (202, json!({ "status": "success", "message": "Event processed", "dedup_key": body["dedup_key"] }).to_string())
}

async fn paged(name: &str, told: &Told) -> Vec<Value> {
    let server = Server::start(Temper::Plays(pagerduty));
    let url = format!("http://127.0.0.1:{}/v2/enqueue", server.port);
    let notify = notify(Channel::PagerDuty { key: Secret::new("0123456789abcdef0123456789abcdef"), url });
    let folder = folder(name);
    for message in messages(told) {
        let outbox = Outbox::open(&folder);
        outbox.post(&notify, &message);
        assert_eq!(failed(&outbox.deliver(&notify).await), Vec::<String>::new());
    }
    let outbox = std::fs::read_to_string(folder.join("outbox.jsonl")).expect("an outbox");
    assert!(!outbox.contains("0123456789abcdef"), "the key is not kept: {outbox}");
    server.seen().iter().map(json_of).collect()
}

fn actions(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["event_action"].as_str()).collect()
}

#[tokio::test]
async fn an_incident_is_one_page() {
    let mut told = full_run();
    if let What::Begun(begun) = &mut told.0[0].what {
        begun.escalate = vec!["team lead after 15m".into()];
    }
    let events = paged("pager", &told).await;
    assert_eq!(actions(&events), ["trigger", "acknowledge", "resolve"]);
    assert!(
        events.iter().all(|event| event["dedup_key"] == "rollback-prod/listings/rollback-20261120-211503"),
        "{events:#?}"
    );
    assert_eq!(events[0]["payload"]["severity"], "error");
    assert_eq!(events[0]["payload"]["custom_details"]["escalate"], "team lead after 15m");
}

#[tokio::test]
async fn a_rollback_that_failed_pages_once_more_and_with_what_is_true() {
    let events = paged("pager-failed", &put_back_run()).await;
    assert_eq!(actions(&events), ["trigger", "trigger", "resolve"]);
    let summary = events[1]["payload"]["summary"].as_str().unwrap_or_default();
    assert!(summary.starts_with("listings: rollback failed and put back: NOT mitigated"), "{summary}");
}

#[tokio::test]
async fn a_release_that_goes_out_well_pages_nobody() {
    let mut told = full_run();
    if let What::Begun(begun) = &mut told.0[0].what {
        begun.gradual = Some(Repeat { command: "switch --to green".into(), last: Share::ALL });
    }
    assert_eq!(actions(&paged("pager-switch", &told).await), ["resolve"]);
}

#[tokio::test]
async fn where_nobody_is_hurt_nobody_is_got_out_of_bed() {
    let mut told = full_run();
    if let What::Begun(begun) = &mut told.0[0].what {
        begun.environment = "staging".into();
    }
    assert_eq!(actions(&paged("pager-staging", &told).await), Vec::<&str>::new());
}

/// A watch that found green bad: what is said first, when two are called, and when it is over.
fn messages_of_a_watch(incidents: &Path) -> Vec<Message> {
    let contact = |minutes: u64, name: &str| Escalation { after: Duration::from_secs(60 * minutes), name: name.into() };
    let ladder = vec![contact(15, "team lead"), contact(60, "head of engineering")];
    let contacts = Contacts { oncall: Some("bob".into()), commander: None, escalate: ladder.clone() };
    let (templates, redactor) = (Templates::built_in(), no_secrets());
    let (cure, look) = ("rollback-prod --reason '…'", "rollback-prod status");
    let voice = Voice { contacts: &contacts, cure, look, templates: &templates, redactor: &redactor };
    let bad = Bad {
        service: "listings".into(),
        environment: "prod".into(),
        judged: Colour::Green,
        words: "green 8.0 % of 412 (95 %: 5.8-11.0): bad".into(),
        production: "traffic on green on 2 of 2 hosts".into(),
        operator: "alice".into(),
        laptop: "alice-laptop".into(),
    };
    let mut alarm = Alarm::raise(incidents, told::began(), bad).expect("a folder");
    let mut said = vec![voice.bad(&alarm)];
    for contact in &ladder {
        let now = told::began() + contact.after;
        alarm.counts(&contact.to_string());
        said.push(voice.paged(&alarm, contact, now));
    }
    said.push(voice.over(&alarm, "carol", "rolled back by hand"));
    said
}

#[tokio::test]
async fn whoever_is_called_next_has_a_page_of_his_own_and_all_of_them_end() {
    let server = Server::start(Temper::Plays(pagerduty));
    let url = format!("http://127.0.0.1:{}/v2/enqueue", server.port);
    let notify = notify(Channel::PagerDuty { key: Secret::new("0123456789abcdef0123456789abcdef"), url });
    let folder = folder("pager-watch");
    for message in messages_of_a_watch(&folder) {
        let outbox = Outbox::open(&folder);
        outbox.post(&notify, &message);
        assert_eq!(failed(&outbox.deliver(&notify).await), Vec::<String>::new());
    }
    let events: Vec<Value> = server.seen().iter().map(json_of).collect();
    let of = |event: &Value| {
        let key = event["dedup_key"].as_str().unwrap_or_default().to_owned();
        format!("{} {}", event["event_action"].as_str().unwrap_or_default(), key)
    };
    let watch = "rollback-prod/listings/watch-20261120-211503";
    // A trigger with the key of a page that somebody has acknowledged would tell nobody.
    let expected = ["trigger", "trigger/1", "trigger/2", "resolve", "resolve/1", "resolve/2"].map(|event| {
        let (action, number) = event.split_once('/').map_or((event, String::new()), |(a, n)| (a, format!("/{n}")));
        format!("{action} {watch}{number}")
    });
    assert_eq!(events.iter().map(of).collect::<Vec<_>>(), expected);
    let summary = |n: usize| events[n]["payload"]["summary"].as_str().unwrap_or_default().to_owned();
    assert!(
        summary(0).starts_with("listings: green is judged bad: nothing was changed; traffic on green"),
        "{}",
        summary(0)
    );
    assert!(
        summary(2).starts_with("listings: green is bad for 1 h 00 min; head of engineering is called"),
        "{}",
        summary(2)
    );
    assert_eq!(events[1]["payload"]["custom_details"]["contact"], "team lead after 15m");
}

#[tokio::test]
async fn the_other_channels_of_people_hear_of_a_watch_and_the_public_does_not() {
    let public = Channel::Statuspage {
        page: "kctbh9vrtdwd".into(),
        component: None,
        token: Secret::new("89a229ce1a8dbcf9ff30430fbe35eb4c"),
        url: "http://127.0.0.1:1".into(),
    };
    let (thread, hook) = (Server::start(Temper::Plays(slack)), Server::start(Temper::Says(200, "", "ok")));
    let channels = vec![slack_channel(&thread, "xoxb-0123456789"), Channel::Webhook { url: hook.url("/") }, public];
    let notify = Notify { timeout: Duration::from_secs(5), channels };
    let folder = folder("others-watch");
    for message in messages_of_a_watch(&folder) {
        let outbox = Outbox::open(&folder);
        outbox.post(&notify, &message);
        assert_eq!(failed(&outbox.deliver(&notify).await), Vec::<String>::new());
    }
    let lines: Vec<String> = thread.seen().iter().map(line_of).collect();
    let (post, update) = ("post /api/chat.postmessage", "post /api/chat.update");
    assert_eq!(lines, [post, update, post, update, post, update, post], "one thread");
    let told: Vec<Value> = hook.seen().iter().map(json_of).collect();
    let of =
        |field: &str| told.iter().map(|body| body[field].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>();
    assert_eq!(of("event"), ["watch.bad", "watch.paged", "watch.paged", "watch.resolved"]);
    assert_eq!(of("state"), ["investigating", "investigating", "investigating", "resolved"]);
    assert_eq!(told[3]["production"], "carol calls it over: rolled back by hand");
}

// --- Statuspage ---------------------------------------------------------------------------------------------------------
//
// Statuspage's own OpenAPI document (v1) as sbecker59/statuspage-api-client-go has it, api/v1/statuspage/api/openapi.yaml
// (8524717, 20 May 2023): postPagesPageIdIncidents and patchPagesPageIdIncidents, a name of 255 characters and a body of 25000,
// the words of both states, 201 and 200 with the incident, errors with a `message`, and 420 or 429 above one request a second.

/// What both calls take.
const INCIDENT: &[(&str, Of)] = &[
    (
        "status",
        Of::Word(&[
            "investigating",
            "identified",
            "monitoring",
            "resolved",
            "scheduled",
            "in_progress",
            "verifying",
            "completed",
        ]),
    ),
    ("body", Of::Text(1, 25_000)),
    ("component_ids", Of::List(1, usize::MAX, &WORDS)),
    (
        "components",
        Of::Map(&Of::Word(&[
            "operational",
            "under_maintenance",
            "degraded_performance",
            "partial_outage",
            "major_outage",
        ])),
    ),
    ("deliver_notifications", Of::Flag),
];

const CREATED: Shape = Shape {
    needs: &[("incident", Of::Shape(&Shape { needs: &[("name", Of::Text(1, 255))], may: INCIDENT }))],
    may: &[],
};

/// What is told of an incident that is there keeps its name.
const UPDATED: Shape = Shape { needs: &[("incident", Of::Shape(&Shape { needs: &[], may: INCIDENT }))], may: &[] };

fn statuspage(before: &[Request], request: &Request) -> (u16, String) {
    let refuse = |status: u16, why: &str| (status, json!({ "message": why }).to_string());
    if header(request, "authorization") != "oauth 89a229ce1a8dbcf9ff30430fbe35eb4c" {
        return refuse(401, "Could not authenticate");
    }
    let body = json_of(request);
    let is_new = request.head.starts_with("post ");
    if let Some(why) = odd(&body, &Of::Shape(if is_new { &CREATED } else { &UPDATED })) {
        return refuse(422, &why);
    }
    let incident = |more: usize| {
        let updates = [json!({ "id": "zdr9wnkl7l1j", "incident_id": "p31zjtct2jer", "body": "x".repeat(more) })];
        json!({ "id": "p31zjtct2jer", "page_id": "kctbh9vrtdwd", "status": body["incident"]["status"], "incident_updates": updates })
            .to_string()
    };
    match line_of(request).as_str() {
        "post /v1/pages/kctbh9vrtdwd/incidents" => (201, incident(3000)),
        "patch /v1/pages/kctbh9vrtdwd/incidents/p31zjtct2jer" if !before.is_empty() => (200, incident(0)),
        _ => refuse(404, "The requested resource could not be found."),
    }
}

#[tokio::test]
async fn the_public_is_told_without_a_host_or_a_reason() {
    let server = Server::start(Temper::Plays(statuspage));
    let notify = notify(Channel::Statuspage {
        page: "kctbh9vrtdwd".into(),
        component: Some("8kbf7d35c070".into()),
        token: Secret::new("89a229ce1a8dbcf9ff30430fbe35eb4c"),
        url: format!("http://127.0.0.1:{}", server.port),
    });
    let folder = folder("statuspage");
    for message in messages(&full_run()) {
        let outbox = Outbox::open(&folder);
        outbox.post(&notify, &message);
        assert_eq!(failed(&outbox.deliver(&notify).await), Vec::<String>::new());
    }
    let bodies: Vec<Value> = server.seen().iter().map(json_of).collect();
    let told: Vec<(&str, &str)> = bodies
        .iter()
        .map(|body| {
            let incident = &body["incident"];
            let component = incident["components"]["8kbf7d35c070"].as_str().unwrap_or_default();
            (incident["status"].as_str().unwrap_or_default(), component)
        })
        .collect();
    assert_eq!(told, [("investigating", "partial_outage"), ("monitoring", "operational"), ("resolved", "operational")]);
    let said = format!("{bodies:?}");
    for word in ["web1", "Error rate 12 %", "alice", "blue", "green"] {
        assert!(!said.contains(word), "{word:?} is nobody's business there: {said}");
    }
}

// --- Grafana ------------------------------------------------------------------------------------------------------------
//
// grafana/grafana, public/api-merged.json, as grafana/grafana-openapi-client-go generates it (6029e6c, 24 Jul 2026):
// models/post_annotations_cmd.go, patch_annotations_cmd.go and post_annotation_ok_body.go; 200, 400, 401, 403, 404, 500.

const ANNOTATION: &[(&str, Of)] = &[
    ("tags", Of::List(0, usize::MAX, &WORDS)),
    ("time", Of::Whole),
    ("timeEnd", Of::Whole),
    ("dashboardUID", TEXT),
    ("panelId", Of::Whole),
    ("data", Of::Object),
];

const ADDED: Shape = Shape { needs: &[("text", WORDS)], may: ANNOTATION };

const PATCHED: Shape = Shape {
    needs: &[],
    may: &[
        ("id", Of::Whole),
        ("tags", Of::List(0, usize::MAX, &WORDS)),
        ("text", WORDS),
        ("time", Of::Whole),
        ("timeEnd", Of::Whole),
        ("data", Of::Object),
    ],
};

fn grafana(before: &[Request], request: &Request) -> (u16, String) {
    let says = |status: u16, why: &str| (status, json!({ "message": why }).to_string());
    if !header(request, "authorization").starts_with("bearer glsa_") {
        return says(401, "Unauthorized");
    }
    let shape = if request.head.starts_with("post ") { &ADDED } else { &PATCHED };
    if let Some(why) = odd(&json_of(request), &Of::Shape(shape)) {
        return says(400, &why);
    }
    match line_of(request).as_str() {
        "post /api/annotations" => {
            (200, json!({ "message": "Annotation added", "id": 1124 + before.len() }).to_string())
        }
        "patch /api/annotations/1124" => says(200, "Annotation patched"),
        _ => says(404, "Not found"),
    }
}

#[tokio::test]
async fn a_run_is_a_mark_from_its_beginning_to_its_end() {
    let server = Server::start(Temper::Plays(grafana));
    let url = format!("http://127.0.0.1:{}", server.port);
    let notify = notify(Channel::Grafana { url, token: Secret::new("glsa_0123456789") });
    let folder = folder("grafana");
    for message in messages(&full_run()) {
        let outbox = Outbox::open(&folder);
        outbox.post(&notify, &message);
        assert_eq!(failed(&outbox.deliver(&notify).await), Vec::<String>::new());
    }
    let seen = server.seen();
    assert_eq!(seen.iter().map(line_of).collect::<Vec<_>>(), ["post /api/annotations", "patch /api/annotations/1124"]);
    assert_eq!(json_of(&seen[0])["tags"], json!(["rollback-prod", "listings", "prod"]));
}

// --- None of them ------------------------------------------------------------------------------------------------------

/// A run of which everything is said at length, by people who put in what they have.
fn verbose_run() -> Told {
    let mut told = put_back_run();
    if let What::Begun(begun) = &mut told.0[0].what {
        begun.reason = "a <reason> & more: \u{1F525}".repeat(40_000);
        begun.releases = Some("green 1.4.0 → blue 1.3.2, ".repeat(100));
        begun.oncall = Some("somebody with a name ".repeat(60));
        begun.operator = "alice".repeat(200);
        begun.escalate = (0..80).map(|n| format!("the {n}th of the leads & more after {n}m")).collect();
        begun.balancers = (0..3000).map(|n| told::host(&format!("web{n}.eu-central.example.com"))).collect();
    }
    told
}

#[tokio::test]
async fn the_longest_message_is_one_that_each_service_takes() {
    let plays: [(&str, Play); 4] =
        [("slack", slack), ("pagerduty", pagerduty), ("statuspage", statuspage), ("grafana", grafana)];
    for (name, play) in plays {
        let server = Server::start(Temper::Plays(play));
        let url = format!("http://127.0.0.1:{}", server.port);
        let channel = match name {
            "slack" => slack_channel(&server, "xoxb-0123456789"),
            "pagerduty" => Channel::PagerDuty { key: Secret::new("0123456789abcdef0123456789abcdef"), url },
            "statuspage" => Channel::Statuspage {
                page: "kctbh9vrtdwd".into(),
                component: None,
                token: Secret::new("89a229ce1a8dbcf9ff30430fbe35eb4c"),
                url,
            },
            _ => Channel::Grafana { url, token: Secret::new("glsa_0123456789") },
        };
        let notify = notify(channel);
        let folder = folder(&format!("verbose-{name}"));
        for message in messages(&verbose_run()) {
            let outbox = Outbox::open(&folder);
            outbox.post(&notify, &message);
            assert_eq!(failed(&outbox.deliver(&notify).await), Vec::<String>::new(), "{name}");
        }
        assert!(server.seen().len() > 1, "{name}");
    }
    // What an incoming webhook of Slack takes is the same, without a channel.
    let webhook: Shape =
        Shape { needs: &[("text", Of::Text(1, 4000))], may: &[("blocks", BLOCKS), ("mrkdwn", Of::Flag)] };
    for message in messages(&verbose_run()).iter().chain(&messages(&full_run())) {
        let said = odd(&message.slack, &Of::Shape(Box::leak(Box::new(Shape { ..webhook }))));
        assert_eq!(said, None, "{}", message.slack);
    }
}

#[test]
fn a_double_refuses_what_nobody_published() {
    let event = json!({
        "routing_key": "0".repeat(32), "event_action": "trigger", "dedup_key": "x",
        "payload": { "summary": "s", "source": "laptop", "severity": "error", "timestamp": "2026-11-20T21:15:03Z" },
    });
    type Change = fn(&mut Value);
    let asked = |change: Change| {
        let mut event = event.clone();
        change(&mut event);
        let request = Request { head: "post /v2/enqueue http/1.1\n".into(), body: event.to_string() };
        let (status, said) = pagerduty(&[], &request);
        (status, serde_json::from_str::<Value>(&said).expect("JSON")["errors"][0].as_str().map(str::to_owned))
    };
    assert_eq!(asked(|_| {}), (202, None));
    let odd: [(Change, &str); 6] = [
        (|event| event["payload"]["severity"] = "P1".into(), "payload.severity: \"P1\" is none of"),
        (|event| event["payload"]["summary"] = "s".repeat(1025).into(), "payload.summary: 1025 characters"),
        (|event| event["payload"]["source"] = Value::Null, "payload.source: null is of another type"),
        (|event| event["payload"]["timestamp"] = "now".into(), "payload.timestamp: \"now\" is no time"),
        (|event| event["details"] = json!({}), "details: nobody reads it there"),
        (|event| event["routing_key"] = "short".into(), "routing_key: 5 characters"),
    ];
    for (change, why) in odd {
        let (status, said) = asked(change);
        assert!(status == 400 && said.as_deref().is_some_and(|said| said.starts_with(why)), "{why}: {said:?}");
    }
}

// --- Alertmanager: Debian's, whose api/v2/openapi.yaml (prometheus/alertmanager 68fb2d5, 22 Aug 2026) has the same requests -

/// The real one, on ports that were free a moment ago; ended with the test.
struct Alertmanager {
    child: Child,
    url: String,
}

impl Alertmanager {
    fn start(folder: &Path) -> Alertmanager {
        let free = || {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            listener.local_addr().expect("an address").port()
        };
        let config = folder.join("alertmanager.yml");
        std::fs::write(&config, "route:\n  receiver: none\nreceivers:\n  - name: none\n").expect("a config");
        let port = free();
        let mut command = Command::new("prometheus-alertmanager");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", folder.join("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}")).arg("--cluster.listen-address=");
        let child =
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("scripts/lab install has installed it");
        let server = Alertmanager { child, url: format!("http://127.0.0.1:{port}") };
        let until = Instant::now() + Duration::from_secs(30);
        while Instant::now() < until && server.get("/-/ready").is_none() {
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    fn get(&self, path: &str) -> Option<String> {
        let said =
            Command::new("curl").args(["-fsS", "--max-time", "2"]).arg(format!("{}{path}", self.url)).output().ok()?;
        said.status.success().then(|| String::from_utf8_lossy(&said.stdout).into_owned())
    }

    fn silences(&self) -> Vec<Value> {
        let said = self.get("/api/v2/silences").expect("it answers");
        serde_json::from_str(&said).expect("JSON")
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn alerts_are_silent_while_a_run_is_at_it() {
    let folder = folder("alertmanager");
    let server = Alertmanager::start(&folder);
    let matcher = |name: &str, value: &str, is_regex| Matcher {
        name: name.into(),
        value: value.into(),
        is_regex,
        is_equal: true,
    };
    let matchers = vec![matcher("service", "listings", false), matcher("env", "prod.*", true)];
    let notify = notify(Channel::Alertmanager { url: server.url.clone(), matchers });
    let [begin, end, over] = messages(&full_run());
    let outbox = Outbox::open(&folder);
    outbox.post(&notify, &begin);
    assert_eq!(failed(&outbox.deliver(&notify).await), Vec::<String>::new());
    let [silence] = &server.silences()[..] else { panic!("{:?}", server.silences()) };
    assert_eq!(silence["status"]["state"], "active", "{silence}");
    assert_eq!(silence["matchers"].as_array().map(Vec::len), Some(2), "{silence}");
    assert_eq!(silence["createdBy"], "rollback-prod (alice)");
    drop(outbox);
    for message in [end, over] {
        let outbox = Outbox::open(&folder);
        outbox.post(&notify, &message);
        assert_eq!(failed(&outbox.deliver(&notify).await), Vec::<String>::new());
    }
    assert_eq!(server.silences()[0]["status"]["state"], "expired", "{:?}", server.silences());
}
