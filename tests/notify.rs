//! Messages over real sockets: a small HTTP server and a small mail server, each with a temper. Every port is one that
//! the system gave.

#[path = "support/http.rs"]
mod http;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::{Server, Temper};
use rollback_prod::nouns::colour::Colour;
use rollback_prod::nouns::inventory::{
    App, Channel, Contacts, Evidence, HealthWith, Host, Inventory, Layout, Nginx, Notify, Reach, ReleaseSaid, Role,
    Run, SshSettings, Targets, Tickets, Verify,
};
use rollback_prod::nouns::names::{Environment, HostName, HttpUrl, RemotePath, ServiceName, SshDestination, UnitName};
use rollback_prod::nouns::rules::{Bake, Judging, Rules};
use rollback_prod::nouns::secret::Secret;
use rollback_prod::tell::message::{Event, Gist, Message};
use rollback_prod::tell::notify::{self, Delivery, Outbox};
use serde_json::{Value, json};

/// One mail as the server took it.
#[derive(Debug, Clone, Default)]
struct Mail {
    from: String,
    to: Vec<String>,
    data: String,
}

/// A mail server that speaks as much of RFC 5321 as a mail needs, and refuses who is on its list.
fn smtp_server(refuses: &'static str) -> (u16, Arc<Mutex<Vec<Mail>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let mails: Arc<Mutex<Vec<Mail>>> = Arc::default();
    let taken = Arc::clone(&mails);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let taken = Arc::clone(&taken);
            std::thread::spawn(move || converse(stream.expect("a connection"), refuses, &taken));
        }
    });
    (port, mails)
}

fn converse(mut stream: TcpStream, refuses: &str, taken: &Mutex<Vec<Mail>>) {
    let mut reader = BufReader::new(stream.try_clone().expect("the same socket"));
    let mut mail = Mail::default();
    let mut say = |text: &str| stream.write_all(text.as_bytes());
    if say("220 test ESMTP\r\n").is_err() {
        return;
    }
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let upper = line.trim_end().to_uppercase();
        let said = if upper.starts_with("EHLO") {
            say("250-test\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n")
        } else if upper.starts_with("MAIL FROM:") {
            mail.from = line.trim_end()["MAIL FROM:".len()..].to_owned();
            say("250 ok\r\n")
        } else if upper.starts_with("RCPT TO:") {
            let to = line.trim_end()["RCPT TO:".len()..].to_owned();
            if !refuses.is_empty() && to.contains(refuses) {
                say("550 5.1.1 no such user here\r\n")
            } else {
                mail.to.push(to);
                say("250 ok\r\n")
            }
        } else if upper == "DATA" {
            if say("354 go on\r\n").is_err() {
                return;
            }
            loop {
                line.clear();
                if reader.read_line(&mut line).unwrap_or(0) == 0 {
                    return;
                }
                if line == ".\r\n" {
                    break;
                }
                mail.data.push_str(line.strip_prefix('.').unwrap_or(&line));
            }
            taken.lock().expect("the server's mails").push(std::mem::take(&mut mail));
            say("250 taken\r\n")
        } else if upper == "QUIT" {
            let _ = say("221 bye\r\n");
            return;
        } else if upper == "RSET" || upper == "NOOP" {
            mail = Mail::default();
            say("250 ok\r\n")
        } else {
            say("502 not here\r\n")
        };
        if said.is_err() {
            return;
        }
    }
}

fn gist(moment: &str) -> Gist {
    Gist {
        event: if moment == "begin" { Event::Begin } else { Event::End },
        incident: "rollback-20261120-211503".into(),
        service: "listings".into(),
        environment: "prod".into(),
        title: "listings: rolled back to blue".into(),
        status: "Resolved".into(),
        production: "traffic on blue".into(),
        next: None,
        severity: None,
        reason: "High error rate".into(),
        operator: "alice".into(),
        laptop: "alice-laptop".into(),
        hosts: vec!["web1".into()],
        escalate: vec![],
        paged: vec![],
        began_ms: 0,
        is_rollback: true,
        is_safe: true,
    }
}

fn message(moment: &str) -> Message {
    Message {
        gist: gist(moment),
        id: format!("rollback-20261120-211503.{moment}"),
        service: "listings".into(),
        environment: "prod".into(),
        subject: format!("[ROLLBACK] listings: {moment} – grün"),
        text: format!("{moment}: traffic on blue\n.a line that begins with a dot\nGrüße\n"),
        slack: json!({ "text": moment }),
        webhook: json!({ "event": moment }),
    }
}

fn notify(channels: Vec<Channel>) -> Notify {
    Notify { timeout: Duration::from_millis(900), channels }
}

fn folder(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("notify-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).expect("a folder of the test's own");
    path
}

fn lines(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("outbox.jsonl")).expect("an outbox");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|err| panic!("{err}: {line}"))).collect()
}

fn states(folder: &Path) -> Vec<String> {
    lines(folder)
        .iter()
        .map(|line| format!("{} {}", line["channel"].as_str().unwrap_or("?"), line["state"].as_str().unwrap_or("?")))
        .collect()
}

fn errors(deliveries: &[Delivery]) -> Vec<String> {
    deliveries
        .iter()
        .map(|delivery| format!("{}: {}", delivery.channel, delivery.outcome.clone().err().unwrap_or_default()))
        .collect()
}

#[tokio::test]
async fn every_channel_gets_its_own_form_of_the_message() {
    let slack = Server::start(Temper::Says(200, "", "ok"));
    let hook = Server::start(Temper::Says(202, "", ""));
    let (smtp, mails) = smtp_server("");
    let notify = notify(vec![
        Channel::Slack { webhook: slack.url("/services/T0/B0/abcdefghijklmnopqrstuvwx") },
        Channel::Email {
            smtp: Secret::new(format!("smtp://127.0.0.1:{smtp}")),
            from: "Rollback <rollback@example.com>".into(),
            to: vec!["oncall@example.com".into(), "Bob <bob@example.com>".into()],
        },
        Channel::Webhook { url: hook.url("/hook?key=0123456789abcdef0") },
    ]);
    let folder = folder("forms");
    let outbox = Outbox::open(&folder);
    outbox.post(&notify, &message("end"));
    outbox.post(&notify, &message("end"));
    let mut deliveries = outbox.deliver(&notify).await;
    deliveries.sort_by(|a, b| a.channel.cmp(&b.channel));
    assert_eq!(errors(&deliveries), ["email: ", "slack: ", "webhook: "]);

    let request = &slack.seen()[0];
    assert!(request.head.starts_with("post /services/t0/b0/"), "{request:?}");
    assert_eq!(serde_json::from_str::<Value>(&request.body).expect("JSON"), json!({ "text": "end" }));
    let request = &hook.seen()[0];
    assert!(request.head.contains("idempotency-key: rollback-20261120-211503.end"), "{request:?}");
    assert!(request.head.contains("content-type: application/json"), "{request:?}");
    assert_eq!(serde_json::from_str::<Value>(&request.body).expect("JSON"), json!({ "event": "end" }));

    let mails = mails.lock().expect("mails").clone();
    assert_eq!(mails.len(), 1, "{mails:#?}");
    assert!(mails[0].from.starts_with("<rollback@example.com>"), "{mails:#?}");
    assert_eq!(mails[0].to, ["<oncall@example.com>", "<bob@example.com>"]);
    assert!(mails[0].data.contains("Message-ID: <rollback-20261120-211503.end@example.com>"), "{mails:#?}");
    assert!(mails[0].data.contains("References: <rollback-20261120-211503.begin@example.com>"), "{mails:#?}");
    assert!(mails[0].data.contains("Subject: "), "{mails:#?}");

    // private, and without any address
    let mode = std::fs::metadata(folder.join("outbox.jsonl")).expect("an outbox").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(folder.join("outbox.jsonl")).expect("an outbox");
    for secret in ["127.0.0.1", "abcdefghijklmnopqrstuvwx", "0123456789abcdef0"] {
        assert!(!text.contains(secret), "{text}");
    }
    assert_eq!(outbox.trouble(), None);
    assert!(outbox.deliver(&notify).await.is_empty(), "what was sent is not sent again");
    assert_eq!((slack.seen().len(), hook.seen().len()), (1, 1));
}

#[tokio::test]
async fn a_refusal_is_told_and_tried_again_by_the_next_delivery() {
    let slack = Server::start(Temper::Says(429, "retry-after: 30\r\n", "rate_limited"));
    let hook = Server::start(Temper::Says(500, "", "oh no"));
    let closes = Server::start(Temper::Closes);
    let notify = notify(vec![
        Channel::Slack { webhook: slack.url("/services/x") },
        Channel::Webhook { url: hook.url("/a") },
        Channel::Webhook { url: closes.url("/b") },
    ]);
    let folder = folder("refusal");
    let outbox = Outbox::open(&folder);
    outbox.post(&notify, &message("begin"));
    let mut deliveries = outbox.deliver(&notify).await;
    deliveries.sort_by(|a, b| a.channel.cmp(&b.channel));
    let said = errors(&deliveries);
    assert_eq!(said[0], "slack: answers 429: rate_limited (Retry-After: 30)");
    assert_eq!(said[1], "webhook 1: answers 500: oh no");
    assert!(said[2].starts_with("webhook 2: ") && said[2].len() > 12, "{said:?}");

    slack.becomes(Temper::Says(200, "", "ok"));
    hook.becomes(Temper::Says(200, "", ""));
    closes.becomes(Temper::Says(200, "", ""));
    outbox.post(&notify, &message("end"));
    let deliveries = outbox.deliver(&notify).await;
    assert!(deliveries.iter().all(|delivery| delivery.outcome.is_ok()), "{deliveries:#?}");
    let order: Vec<String> = slack.seen().into_iter().map(|request| request.body).collect();
    assert_eq!(order, [r#"{"text":"begin"}"#, r#"{"text":"begin"}"#, r#"{"text":"end"}"#]);
    let last = lines(&folder).pop().expect("lines");
    assert_eq!(last["state"], "sent");
}

#[tokio::test]
async fn slack_says_ok_or_it_was_not_taken() {
    let slack = Server::start(Temper::Says(200, "", "<html>log in</html>"));
    let notify = notify(vec![Channel::Slack { webhook: slack.url("/services/x") }]);
    let outbox = Outbox::open(&folder("html"));
    outbox.post(&notify, &message("begin"));
    assert_eq!(errors(&outbox.deliver(&notify).await), ["slack: answers 200: <html>log in</html>"]);
}

#[tokio::test]
async fn a_secret_is_not_carried_to_where_a_redirect_points() {
    let other = Server::start(Temper::Says(200, "", "ok"));
    let target: &'static str = Box::leak(format!("location: http://127.0.0.1:{}/x\r\n", other.port).into_boxed_str());
    let hook = Server::start(Temper::Says(307, target, ""));
    let notify = notify(vec![Channel::Webhook { url: hook.url("/a") }]);
    let outbox = Outbox::open(&folder("redirect"));
    outbox.post(&notify, &message("begin"));
    assert_eq!(errors(&outbox.deliver(&notify).await), ["webhook: answers 307"]);
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn a_server_that_hangs_costs_the_timeout_and_nobody_elses_message() {
    let hangs = Server::start(Temper::Hangs);
    // accepts and says nothing: lettre waits for its greeting
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let smtp = silent.local_addr().expect("an address").port();
    let good = Server::start(Temper::Says(200, "", ""));
    let notify = notify(vec![
        Channel::Slack { webhook: hangs.url("/services/x") },
        Channel::Email {
            smtp: Secret::new(format!("smtp://127.0.0.1:{smtp}")),
            from: "a@example.com".into(),
            to: vec!["b@example.com".into()],
        },
        Channel::Webhook { url: good.url("/") },
    ]);
    let folder = folder("hangs");
    let outbox = Outbox::open(&folder);
    outbox.post(&notify, &message("begin"));
    let began = Instant::now();
    let beside = notify::deliver_beside(&outbox, &notify);
    assert!(began.elapsed() < Duration::from_millis(200), "it goes on beside the work");
    let mut deliveries = notify::wait_for(beside).await;
    let took = began.elapsed();
    assert!(took < notify.timeout + Duration::from_millis(600), "{took:?}");
    deliveries.sort_by(|a, b| a.channel.cmp(&b.channel));
    let good_ones: Vec<bool> = deliveries.iter().map(|delivery| delivery.outcome.is_ok()).collect();
    assert_eq!(good_ones, [false, false, true], "{deliveries:#?}");
    // The second message finds the same servers hanging, and costs no more either.
    outbox.post(&notify, &message("end"));
    let began = Instant::now();
    let deliveries = outbox.deliver(&notify).await;
    assert!(began.elapsed() < notify.timeout + Duration::from_millis(600), "{:?}", began.elapsed());
    assert_eq!(deliveries.iter().filter(|delivery| delivery.outcome.is_ok()).count(), 1, "{deliveries:#?}");
    assert_eq!(deliveries.len(), 5, "{deliveries:#?}");
}

#[tokio::test]
async fn an_error_never_says_the_address() {
    let gone = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let notify = notify(vec![
        Channel::Slack {
            webhook: Secret::new(format!("http://127.0.0.1:{gone}/services/T0/B0/abcdefghijklmnopqrstuvwx")),
        },
        Channel::Webhook { url: Secret::new("no url at all: s3cr3t-s3cr3t") },
        Channel::Webhook { url: Secret::new("ftp://example.com/s3cr3t-s3cr3t") },
        Channel::Email {
            smtp: Secret::new(format!("smtp://mailer:s3cr3t-s3cr3t@127.0.0.1:{gone}")),
            from: "a@example.com".into(),
            to: vec!["b@example.com".into()],
        },
        Channel::Email { smtp: Secret::new("nonsense s3cr3t-s3cr3t"), from: "not an address".into(), to: vec![] },
    ]);
    let folder = folder("address");
    let outbox = Outbox::open(&folder);
    outbox.post(&notify, &message("begin"));
    let deliveries = outbox.deliver(&notify).await;
    assert_eq!(deliveries.len(), 5, "{deliveries:#?}");
    let text = format!("{deliveries:?}{}", std::fs::read_to_string(folder.join("outbox.jsonl")).expect("an outbox"));
    assert!(deliveries.iter().all(|delivery| delivery.outcome.is_err()), "{deliveries:#?}");
    assert!(!text.contains("s3cr3t") && !text.contains("abcdefghijklmnopqrstuvwx"), "{text}");
}

#[tokio::test]
async fn one_address_that_is_gone_costs_the_others_nothing() {
    let (smtp, mails) = smtp_server("gone@");
    let notify = notify(vec![Channel::Email {
        smtp: Secret::new(format!("smtp://127.0.0.1:{smtp}")),
        from: "a@example.com".into(),
        to: vec!["gone@example.com".into(), "here@example.com".into()],
    }]);
    let folder = folder("gone");
    let outbox = Outbox::open(&folder);
    outbox.post(&notify, &message("begin"));
    let said = errors(&outbox.deliver(&notify).await);
    assert!(said[0].contains("gone@example.com") && said[0].contains("no such user"), "{said:?}");
    assert_eq!(mails.lock().expect("mails").len(), 1);
    assert_eq!(states(&folder), ["0-email queued", "0-email sent"]);
    assert!(outbox.deliver(&notify).await.is_empty());
}

#[tokio::test]
async fn the_page_goes_with_the_mail_that_says_how_it_ended() {
    let (port, mails) = smtp_server("nobody@example.com");
    let notify = notify(vec![Channel::Email {
        smtp: Secret::new(format!("smtp://127.0.0.1:{port}")),
        from: "rollback@example.com".into(),
        to: vec!["oncall@example.com".into()],
    }]);
    let folder = folder("page");
    std::fs::write(folder.join("INCIDENT_REPORT.html"), "<!doctype html><title>the page</title>").expect("a page");
    let outbox = Outbox::open(&folder);
    outbox.post(&notify, &message("begin"));
    outbox.post(&notify, &message("end"));
    assert!(outbox.deliver(&notify).await.iter().all(|delivery| delivery.outcome.is_ok()));
    let mails = mails.lock().expect("the server's mails").clone();
    assert_eq!(mails.len(), 2);
    assert!(!mails[0].data.contains("INCIDENT_REPORT.html"), "{mails:#?}");
    assert!(mails[1].data.contains("Content-Disposition: attachment; filename=\"INCIDENT_REPORT.html\""), "{mails:#?}");
    assert!(mails[1].data.contains("<title>the page</title>"), "{mails:#?}");
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_costs_no_message() {
    let hook = Server::start(Temper::Says(200, "", ""));
    let notify = notify(vec![Channel::Webhook { url: hook.url("/") }]);
    let outbox = Outbox::open(Path::new("/nonexistent/folder"));
    outbox.post(&notify, &message("begin"));
    assert_eq!(errors(&outbox.deliver(&notify).await), ["webhook: "]);
    assert!(outbox.trouble().is_some_and(|trouble| trouble.contains("outbox.jsonl")));
}

fn judging() -> Judging {
    let rules = Rules {
        window: Duration::from_secs(1),
        error_share: None,
        slow: vec![],
        slower: None,
        worse_by: 0.01,
        min_requests: 0,
    };
    Judging { rules, health: 3, restarts: 3, log: None, smoke: None }
}

fn inventory(incidents: PathBuf, notify: Notify) -> Inventory {
    let app = || App {
        colour: rollback_prod::nouns::colour::Colour::Blue,
        servers: vec![],
        reach: Reach::OwnHost,
        health: vec![],
        health_with: HealthWith::default(),
        log: None,
        release: ReleaseSaid::Nowhere,
        run: Run::Systemd(UnitName::new("x.service").expect("a unit")),
        stop_timeout: Duration::from_secs(1),
    };
    let inventory = Inventory {
        prometheus: None,
        service: ServiceName::new("listings").expect("a service"),
        group: ServiceName::new("listings").expect("a service"),
        is_alone: true,
        environment: Environment::new("prod").expect("an environment"),
        sources: vec![],
        incidents,
        hosts: vec![Host {
            name: HostName::new("web1").expect("a host"),
            ssh: SshDestination::new("web1").expect("a destination"),
            roles: vec![Role::Balancer],
        }],
        ssh: SshSettings { config: None, connect_timeout: Duration::from_secs(1), at_once: 32, options: vec![] },
        nginx: Nginx {
            file: RemotePath::new("/etc/nginx/x").expect("a path"),
            layout: Layout::Weights { upstreams: vec!["x".into()], context: None },
            also: vec![],
            container: None,
            template: None,
            probe: HttpUrl::new("http://127.0.0.1/").expect("a URL"),
            probe_host: None,
            proxy_protocol: false,
            sudo: false,
            test: vec!["true".into()],
            reload: vec!["true".into()],
        },
        blue: app(),
        green: app(),
        drain_timeout: Duration::from_secs(1),
        verify: Verify {
            passes: 1,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            public: vec![],
            smoke: None,
        },
        judging: judging(),
        bake: Bake { lasts: Duration::from_secs(1), judging: judging(), is_always: false },
        database: None,
        earlier: None,
        migrations: None,
        changes: Vec::new(),
        hooks: Vec::new(),
        evidence: Evidence {
            files: vec![],
            journal: vec![],
            max_bytes: 1,
            timeout: Duration::from_secs(1),
            redact: vec![],
        },
        notify,
        targets: Targets { traffic: None, rollback: None, restore: None, rto: None, rpo: None },
        contacts: Contacts::default(),
        tickets: Tickets::default(),
        drill: None,
    };
    assert!(inventory.app(Colour::Blue).servers.is_empty());
    inventory
}

#[tokio::test]
async fn the_next_command_sends_what_a_killed_run_left() {
    let hook = Server::start(Temper::Says(200, "", ""));
    let notify = notify(vec![Channel::Webhook { url: hook.url("/") }]);
    let incidents = folder("resend");
    let make = |id: &str| {
        let path = incidents.join(id);
        std::fs::create_dir_all(&path).expect("a folder of the test's own");
        path
    };
    // what a run left that was killed before it could send
    let left = make("rollback-20261120-211503");
    Outbox::open(&left).post(&notify, &message("begin"));
    // a line that a crash cut
    let path = left.join("outbox.jsonl");
    let cut = std::fs::read_to_string(&path).expect("an outbox") + "{\"v\":1,\"ti";
    std::fs::write(&path, cut).expect("written");
    // one of another environment, whose channels are others
    let staging = Message { environment: "staging".into(), ..message("begin") };
    Outbox::open(&make("rollback-20261120-211504")).post(&notify, &staging);
    // one that is days old
    let old = make("rollback-20261120-211505");
    Outbox::open(&old).post(&notify, &message("end"));
    let text = std::fs::read_to_string(old.join("outbox.jsonl")).expect("an outbox");
    let time = serde_json::from_str::<Value>(&text).expect("JSON")["time"].as_str().expect("a time").to_owned();
    std::fs::write(old.join("outbox.jsonl"), text.replace(&time, "2020-01-01T00:00:00Z")).expect("written");
    // one whose run is still at it
    let live = Outbox::open(&make("rollback-20261120-211506"));
    live.post(&notify, &message("begin"));

    let inventory = inventory(incidents, notify);
    let deliveries = notify::wait_for(notify::resend_beside(&inventory)).await;
    assert_eq!(errors(&deliveries), ["webhook: "], "{deliveries:#?}");
    assert_eq!(hook.seen().len(), 1);
    assert_eq!(lines_of(&left).last().map(|line| line["state"].clone()), Some(json!("sent")));
    assert!(notify::wait_for(notify::resend_beside(&inventory)).await.is_empty());
    assert_eq!(live.deliver(&inventory.notify).await.len(), 1);
}

/// As `lines`, past what a crash cut.
fn lines_of(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("outbox.jsonl")).expect("an outbox");
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[tokio::test]
async fn without_channels_nothing_is_asked_or_written() {
    let folder = folder("none");
    let outbox = Outbox::open(&folder);
    let notify = notify(vec![]);
    outbox.post(&notify, &message("begin"));
    assert!(outbox.deliver(&notify).await.is_empty());
    assert_eq!(std::fs::read_to_string(folder.join("outbox.jsonl")).expect("an outbox"), "");
}

#[test]
fn a_proxy_of_the_environment_is_not_asked_for_this_machine() {
    // in a process of its own, whose environment nobody else shares; the proxy is a port where nobody listens
    let output = std::process::Command::new(std::env::current_exe().expect("this test's own program"))
        .args(["--exact", "every_channel_gets_its_own_form_of_the_message", "--nocapture"])
        .env("HTTP_PROXY", "http://127.0.0.1:1")
        .env("ALL_PROXY", "http://127.0.0.1:1")
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
