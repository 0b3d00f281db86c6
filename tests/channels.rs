//! Services that keep something between two messages: one thread, one page, one public incident, one silence, one mark. The
//! doubles of Slack, PagerDuty, Statuspage and Grafana refuse what is known to be refused by the services;
//! Alertmanager is the real one.

#[path = "support/http.rs"]
mod http;
#[path = "support/told.rs"]
mod told;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use http::{Request, Server, Temper};
use rollback_prod::nouns::inventory::{Channel, Matcher, Notify};
use rollback_prod::nouns::record::{Repeat, What};
use rollback_prod::nouns::secret::Secret;
use rollback_prod::nouns::share::Share;
use rollback_prod::tell::known::Known;
use rollback_prod::tell::message::{self, Message};
use rollback_prod::tell::notify::{Delivery, Outbox};
use rollback_prod::tell::render::Templates;
use serde_json::{Value, json};
use told::{Told, full_run, no_secrets, put_back_run};

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

// --- Slack: api.slack.com/methods/chat.postMessage and chat.update -----------------------------------------------------

fn slack(before: &[Request], request: &Request) -> (u16, String) {
    let body = json_of(request);
    let refuse = |error: &str| (200, json!({ "ok": false, "error": error }).to_string());
    if !header(request, "authorization").starts_with("bearer xoxb-") {
        return refuse("invalid_auth");
    }
    if !header(request, "content-type").starts_with("application/json") {
        return refuse("missing_post_type");
    }
    if !body["text"].is_string() || body["text"].as_str().is_some_and(|text| text.len() > 40_000) {
        return refuse("no_text");
    }
    let stamp = |n: usize| format!("1503435956.{n:06}");
    match line_of(request).as_str() {
        "post /api/chat.postmessage" => {
            if !["#incidents", "C0INCIDENTS"].contains(&body["channel"].as_str().unwrap_or_default()) {
                return refuse("channel_not_found");
            }
            let parent = body["thread_ts"].as_str();
            if parent.is_some_and(|parent| !(0..before.len()).any(|n| stamp(n) == parent)) {
                return refuse("thread_not_found");
            }
            (200, json!({ "ok": true, "channel": "C0INCIDENTS", "ts": stamp(before.len()), "message": { "text": "x".repeat(4000) } }).to_string())
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
            (200, json!({ "ok": true, "channel": "C0INCIDENTS", "ts": body["ts"], "text": body["text"] }).to_string())
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
    let server = Server::start(Temper::Says(429, "retry-after: 30\r\n", ""));
    let notify = notify(slack_channel(&server, "xoxb-0123456789"));
    let folder = folder("slack-late");
    let [begin, end, _] = messages(&full_run());
    let outbox = Outbox::open(&folder);
    outbox.post(&notify, &begin);
    assert_eq!(failed(&outbox.deliver(&notify).await), ["answers 429: (Retry-After: 30)"]);
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

// --- PagerDuty: developer.pagerduty.com, Events API v2 -----------------------------------------------------------------

fn pagerduty(_: &[Request], request: &Request) -> (u16, String) {
    let body = json_of(request);
    let refuse = |why: &str| {
        (400, json!({ "status": "invalid event", "message": "Event object is invalid", "errors": [why] }).to_string())
    };
    if body["routing_key"].as_str().is_none_or(|key| key.len() != 32) {
        return refuse("'routing_key' is invalid");
    }
    let action = body["event_action"].as_str().unwrap_or_default();
    if !["trigger", "acknowledge", "resolve"].contains(&action) {
        return refuse("'event_action' is not one of trigger, acknowledge, resolve");
    }
    if body["dedup_key"].as_str().is_none_or(|key| key.is_empty() || key.len() > 255) {
        return refuse("'dedup_key' is missing or too long");
    }
    if action == "trigger" {
        let payload = &body["payload"];
        if payload["summary"].as_str().is_none_or(|summary| summary.is_empty() || summary.chars().count() > 1024) {
            return refuse("'payload.summary' is missing or too long");
        }
        if !payload["source"].is_string() {
            return refuse("'payload.source' is missing or blank");
        }
        if !["critical", "error", "warning", "info"].contains(&payload["severity"].as_str().unwrap_or_default()) {
            return refuse(
                "'payload.severity' is invalid (must be one of the following: 'critical', 'warning', 'error' or 'info')",
            );
        }
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
    assert_eq!(events[0]["payload"]["custom_details"]["escalate"][0], "team lead after 15m");
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

// --- Statuspage: developer.statuspage.io, incidents ---------------------------------------------------------------------

fn statuspage(before: &[Request], request: &Request) -> (u16, String) {
    if header(request, "authorization") != "oauth 89a229ce1a8dbcf9ff30430fbe35eb4c" {
        return (401, json!({ "error": "Could not authenticate" }).to_string());
    }
    let incident = &json_of(request)["incident"];
    let status = incident["status"].as_str().unwrap_or_default();
    if !["investigating", "identified", "monitoring", "resolved"].contains(&status) {
        return (422, json!({ "error": ["Status is not included in the list"] }).to_string());
    }
    let states = ["operational", "under_maintenance", "degraded_performance", "partial_outage", "major_outage"];
    let components = incident["components"].as_object().into_iter().flatten();
    if components.into_iter().any(|(_, state)| !states.contains(&state.as_str().unwrap_or_default())) {
        return (422, json!({ "error": ["Component status is not included in the list"] }).to_string());
    }
    match line_of(request).as_str() {
        "post /v1/pages/kctbh9vrtdwd/incidents" if incident["name"].is_string() => {
            (201, json!({ "updates": "x".repeat(3000), "id": "p31zjtct2jer", "status": status }).to_string())
        }
        "patch /v1/pages/kctbh9vrtdwd/incidents/p31zjtct2jer" if !before.is_empty() => {
            (200, json!({ "id": "p31zjtct2jer", "status": status }).to_string())
        }
        other => (404, other.to_owned()),
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

// --- Grafana: its HTTP API, annotations ---------------------------------------------------------------------------------

fn grafana(before: &[Request], request: &Request) -> (u16, String) {
    if !header(request, "authorization").starts_with("bearer glsa_") {
        return (401, json!({ "message": "Unauthorized" }).to_string());
    }
    let body = json_of(request);
    match line_of(request).as_str() {
        "post /api/annotations" if body["text"].is_string() && body["time"].is_i64() && body["tags"].is_array() => {
            (200, json!({ "message": "Annotation added", "id": 1124 + before.len() }).to_string())
        }
        "patch /api/annotations/1124" if body["timeEnd"].is_i64() => {
            (200, json!({ "message": "Annotation patched" }).to_string())
        }
        other => (400, other.to_owned()),
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

// --- Alertmanager: Debian's ---------------------------------------------------------------------------------------------

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
