//! When a run is over: a note, the end, the report once more, tickets and the history. The program itself, on folders as runs
//! leave them; no host is asked, and the config names one that is not there.

#[path = "support/http.rs"]
mod http;
#[path = "support/published.rs"]
mod published;
mod support;
#[path = "support/told.rs"]
mod told;

use std::io::Write;
use std::path::{Path, PathBuf};

use http::{Request, Server, Temper};
use published::{Of, Shape, TEXT, odd};
use rollback_prod::incident::alarm::{Alarm, Bad};
use rollback_prod::nouns::colour::Colour;
use rollback_prod::nouns::record::{Drill, Entry};
use rollback_prod::tell::known::Known;
use support::{LEAST_CONFIG, Scene, rollback_prod};
use told::{Told, full_run, killed_run, put_back_run};

/// A folder with a config and incidents in it.
struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    fn new(more: &str) -> Desk {
        let folder = tempfile::tempdir().expect("a folder");
        let config = format!("{LEAST_CONFIG}{more}\n");
        std::fs::write(folder.path().join("rollback.toml"), config).expect("a config");
        Desk { folder }
    }

    fn incidents(&self) -> PathBuf {
        self.folder.path().join("incidents")
    }

    /// An incident as a run left it; its first line is of `began`, if that is another time than the told one.
    fn keep(&self, id: &str, told: &Told) -> PathBuf {
        let folder = self.incidents().join(id);
        std::fs::create_dir_all(&folder).expect("a folder");
        let mut text = String::new();
        for entry in &told.0 {
            let mut value = serde_json::to_value(entry).expect("JSON");
            if value["event"] == "begun" {
                value["id"] = id.into();
            }
            text.push_str(&format!("{value}\n"));
        }
        std::fs::write(folder.join("journal.jsonl"), text).expect("a journal");
        let known = serde_json::to_string(&Known::default()).expect("JSON");
        std::fs::write(folder.join("known.json"), known).expect("what was known");
        folder
    }

    fn run(&self, arguments: &[&str]) -> Scene {
        self.run_with(&[], arguments)
    }

    /// The same with variables.
    fn run_with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Scene {
        let mut command = rollback_prod();
        command
            .current_dir(self.folder.path())
            .env_remove("ROLLBACK_CONFIG")
            .env("LOGNAME", "carol")
            .env_remove("SUDO_USER");
        command.env_remove("GITHUB_TOKEN").env_remove("JIRA_TOKEN").envs(variables.iter().copied()).args(arguments);
        Scene::of(&mut command, self.folder.path())
    }
}

const ID: &str = "rollback-20261120-211503";

fn entries(folder: &Path) -> Vec<Entry> {
    rollback_prod::incident::journal::read(&folder.join("journal.jsonl")).expect("a journal")
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|err| panic!("{}: {err}", path.display()))
}

/// The folder's own sums hold.
fn sums_hold(folder: &Path) {
    let said =
        std::process::Command::new("sha256sum").args(["--check", "--quiet", "SHA256SUMS"]).current_dir(folder).output();
    let said = said.expect("sha256sum is there");
    assert!(
        said.status.success(),
        "{}{}",
        String::from_utf8_lossy(&said.stdout),
        String::from_utf8_lossy(&said.stderr)
    );
}

#[test]
fn a_note_stands_in_the_timeline_of_report_and_page() {
    let desk = Desk::new("");
    let folder = desk.keep(ID, &full_run());
    desk.run(&["report"]).exits(0).says("INCIDENT_REPORT.html");
    desk.run(&["note", "db <b>team</b> says: index rebuilt | done"]).exits(0).says("the note is in its timeline");
    assert!(
        text(&folder.join("INCIDENT_REPORT.md"))
            .contains("carol: db &lt;b&gt;team&lt;/b&gt; says: index rebuilt \\| done")
    );
    assert!(text(&folder.join("INCIDENT_REPORT.html")).contains("carol: db &lt;b&gt;team&lt;/b&gt; says"));
    // What the run came to is what it was.
    assert!(text(&folder.join("INCIDENT_REPORT.md")).contains("# listings: rolled back to blue"));
    assert!(text(&folder.join("INCIDENT_REPORT.md")).contains("The run ended after 9.0 s."));
    desk.run(&["note", "x", "--incident", "rollback-19990101-000000"]).exits(1).says("there is no incident").says(ID);
    desk.run(&["note", "to the named one", "--incident", ID]).exits(0);
    assert_eq!(entries(&folder).len(), full_run().0.len() + 2);
}

#[test]
fn a_killed_run_takes_notes_behind_its_cut_line() {
    let desk = Desk::new("");
    let folder = desk.keep(ID, &killed_run());
    let whole = entries(&folder).len();
    let mut journal = std::fs::OpenOptions::new().append(true).open(folder.join("journal.jsonl")).expect("a journal");
    journal.write_all(b"{\"v\":1,\"time\":\"2026").expect("a cut line");
    desk.run(&["note", "the laptop's battery died"]).exits(0);
    desk.run(&["note", "it was charged"]).exits(0);
    assert_eq!(entries(&folder).len(), whole + 2);
    let report = text(&folder.join("INCIDENT_REPORT.md"));
    assert!(report.contains("the journal ends here") && report.contains("carol: it was charged"), "{report}");
    // Hours later a note is added; the run was cut when it was.
    assert!(report.contains("The journal ends in the middle, 0.39 s after the start"), "{report}");
}

#[test]
fn a_line_that_is_damaged_in_the_middle_is_no_line_of_a_crash() {
    let desk = Desk::new("");
    let folder = desk.keep(ID, &full_run());
    let journal = text(&folder.join("journal.jsonl"));
    std::fs::write(folder.join("journal.jsonl"), journal.replacen("\"event\":\"intent\"", "\"event\":\"in", 1))
        .expect("a journal");
    desk.run(&["note", "x"]).exits(1).says("line");
    assert_eq!(text(&folder.join("journal.jsonl")).lines().count(), full_run().0.len(), "nothing was added");
}

#[test]
fn it_is_over_once_and_everybody_who_was_told_of_it_knows() {
    let server = Server::start(Temper::Says(200, "", "ok"));
    let desk = Desk::new(&format!("[notify]\nwebhook = [{{ url = \"http://127.0.0.1:{}/status\" }}]", server.port));
    let folder = desk.keep(ID, &full_run());
    desk.run(&["resolve", "--because", "release 1.4.1 is out"])
        .exits(0)
        .says("it is over, and everybody who was told of it knows");
    let seen = server.seen();
    assert_eq!(seen.len(), 1, "{seen:?}");
    let body: serde_json::Value = serde_json::from_str(&seen[0].body).expect("JSON");
    assert_eq!(body["event"], "rollback.resolved");
    assert_eq!(body["status"], "Resolved");
    assert_eq!(body["production"], "carol calls it over: release 1.4.1 is out");
    desk.run(&["resolve"]).exits(0).says("it was called over before, by carol at").says("nothing is sent again");
    assert_eq!(server.seen().len(), 1, "twice typed is once told");
    assert!(text(&folder.join("INCIDENT_REPORT.md")).contains("| Over | "), "the report says so");
    desk.run(&["history"]).exits(0).says(ID);
}

#[test]
fn a_watch_that_calls_people_is_over_when_somebody_says_so() {
    let server = Server::start(Temper::Says(200, "", "ok"));
    let desk = Desk::new(&format!("[notify]\nwebhook = [{{ url = \"http://127.0.0.1:{}/status\" }}]", server.port));
    let bad = Bad {
        service: "listings".into(),
        environment: "prod".into(),
        judged: Colour::Green,
        words: "green 8.0 % of 412: bad".into(),
        production: "traffic on green on 1 of 1 host".into(),
        operator: "alice".into(),
        laptop: "alice-laptop".into(),
    };
    let now = chrono::Utc::now();
    let alarm = Alarm::raise(&desk.incidents(), now, bad.clone()).expect("a folder");
    alarm.was_paged(now, "team lead after 15m").expect("a line");
    // An incident of before is not what is meant.
    desk.keep(ID, &full_run());
    desk.run(&["resolve", "--because", "rolled back by hand"])
        .exits(0)
        .says(&format!("{}: it is over, and everybody who was told of it knows", alarm.id))
        .never_says("INCIDENT_REPORT.md");
    let seen = server.seen();
    assert!(seen.len() == 1 && seen[0].body.contains("\"event\":\"watch.resolved\""), "{seen:?}");
    desk.run(&["resolve", &alarm.id]).exits(0).says("it was called over before, by carol; nothing is sent again");
    desk.run(&["resolve", "watch-20260101-000000"]).exits(1).says("there is no watch-20260101-000000 in ");
    // Then it is the incident's turn, and whoever takes one back or looks at all of them sees no watch among them.
    desk.run(&["resolve"]).exits(0).says(&format!("{ID}: it is over"));
    desk.run(&["history"]).exits(0).never_says("watch-");
    // One that is older than the newest incident is not meant either.
    let before = "2026-11-19T00:00:00Z".parse().expect("a time");
    Alarm::raise(&desk.incidents(), before, bad.clone()).expect("a folder");
    desk.run(&["resolve"]).exits(0).says("it was called over before, by carol at");
    assert_eq!(server.seen().len(), 2);
    // With an incident that was dealt with after it was raised it is over, too: its pages would stay open, and the next bad
    // release would be taken for the same.
    let alarm = Alarm::raise(&desk.incidents(), now - chrono::TimeDelta::hours(1), bad).expect("a folder");
    let later = (now + chrono::TimeDelta::hours(1)).format("rollback-%Y%m%d-%H%M%S").to_string();
    desk.keep(&later, &full_run());
    desk.run(&["resolve"]).exits(0).says(&format!("{later}: it is over"));
    assert!(Alarm::read(&alarm.folder).expect("it is there").over.is_some());
    assert_eq!(server.seen().len(), 4);
}

#[test]
fn a_server_that_is_down_costs_no_end_and_gets_it_later() {
    let server = Server::start(Temper::Says(503, "", "later"));
    let desk = Desk::new(&format!("[notify]\nwebhook = [{{ url = \"http://127.0.0.1:{}/status\" }}]", server.port));
    let folder = desk.keep(ID, &full_run());
    desk.run(&["resolve"]).exits(0).says("it is over; not everybody knows yet").says("answers 503");
    server.becomes(Temper::Says(200, "", "ok"));
    // The next command that asks hosts sends it; that none answers is another matter.
    desk.run(&["status"]).says("a message of an earlier run was sent now");
    assert!(text(&folder.join("outbox.jsonl")).contains("\"state\":\"sent\""));
}

#[test]
fn a_report_is_made_again_and_a_persons_postmortem_stays() {
    let desk = Desk::new("");
    let folder = desk.keep(ID, &full_run());
    desk.run(&["report"]).exits(0).says("POSTMORTEM.md written again");
    std::fs::write(folder.join("POSTMORTEM.md"), "# ours\n").expect("a file");
    desk.run(&["report", ID]).exits(0).says("POSTMORTEM.md was gone on with, and stays as it is");
    assert_eq!(text(&folder.join("POSTMORTEM.md")), "# ours\n");
    let mode =
        std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(folder.join("INCIDENT_REPORT.html")).expect("a page"));
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_report_of_before_is_not_written_over_by_a_poorer_one() {
    let desk = Desk::new("");
    let folder = desk.keep(ID, &full_run());
    std::fs::remove_file(folder.join("known.json")).expect("it is there");
    std::fs::write(folder.join("INCIDENT_REPORT.md"), "# with all its diffs\n").expect("a file");
    desk.run(&["note", "a year later"]).exits(0);
    desk.run(&["report"]).exits(0).says("knows more than could be written now, and stays as it is");
    assert_eq!(text(&folder.join("INCIDENT_REPORT.md")), "# with all its diffs\n");
    assert!(text(&folder.join("INCIDENT_REPORT.html")).contains("carol: a year later"));
    desk.run(&["note", " "]).exits(2).says("a note needs words");
}

#[test]
fn a_ticket_is_text_to_paste_in_the_trackers_markup() {
    let desk = Desk::new("");
    desk.keep(ID, &put_back_run());
    let github = desk.run(&["report", "--ticket", "github"]);
    github
        .exits(0)
        .says("listings: rollback failed and put back: NOT mitigated")
        .says("### To do")
        .says("- [ ] Not done in the run");
    let jira = desk.run(&["report", ID, "--ticket", "jira"]);
    jira.exits(0).says("h3. To do").says("* Production: ");
    jira.holds(!jira.stdout.contains("###"), "no Markdown in wiki markup");
}

// Tickets that are filed, as it was read on 1 Dec 2026:
//
// GitHub: github/rest-api-description, api.github.com, as the package @octokit/openapi 23.0.2 has it (generated/api.github.com.json):
// POST /repos/{owner}/{repo}/issues with `title` and `body`, 201 with an issue (`html_url`), 403, 404 and 410 with a `message`, 422
// with its `errors`, 503. Jira: Atlassian's OpenAPI 3 document of the cloud, as salto-io/jira-swaggers has it (platform-swagger.v3.json,
// e9edd0e, 16 Jul 2022): IssueUpdateDetails, CreatedIssue (no `html_url`: `id`, `key`, `self`), ErrorCollection with 400, 401, 403.
// Versions 2 and 3 are the same but for texts, which are wiki markup in 2, and 32767 characters at most.

const GITHUB_ISSUE: Shape = Shape { needs: &[("title", Of::Text(1, 256))], may: &[("body", Of::Text(0, 65_536))] };

fn github(_: &[Request], request: &Request) -> (u16, String) {
    let says = |status: u16, body: serde_json::Value| (status, body.to_string());
    let header = |name: &str| request.head.lines().any(|line| line.starts_with(name));
    if !header("authorization: bearer github_pat_11") {
        return says(401, serde_json::json!({ "message": "Bad credentials: github_pat_11SECRET", "status": "401" }));
    }
    if !header("accept: application/vnd.github+json")
        || !header("x-github-api-version: 2022-11-28")
        || !header("user-agent: ")
    {
        return says(403, serde_json::json!({ "message": "Request forbidden by administrative rules" }));
    }
    if !request.head.starts_with("post /repos/example/listings/issues http/1.1") {
        return says(404, serde_json::json!({ "message": "Not Found" }));
    }
    let body = serde_json::from_str(&request.body).expect("JSON");
    if let Some(why) = odd(&body, &Of::Shape(&GITHUB_ISSUE)) {
        let errors = serde_json::json!([{ "resource": "Issue", "code": "custom", "message": why }]);
        return says(422, serde_json::json!({ "message": format!("Validation Failed: {why}"), "errors": errors }));
    }
    says(
        201,
        serde_json::json!({
            "id": 1, "node_id": "MDU6SXNzdWUx", "number": 1347, "title": body["title"], "state": "open",
            "url": "https://api.github.com/repos/example/listings/issues/1347",
            "html_url": "https://github.com/example/listings/issues/1347",
        }),
    )
}

const JIRA_ISSUE: Shape = Shape {
    needs: &[(
        "fields",
        Of::Shape(&Shape {
            needs: &[
                ("project", Of::Shape(&Shape { needs: &[("key", TEXT)], may: &[] })),
                ("issuetype", Of::Shape(&Shape { needs: &[("name", TEXT)], may: &[] })),
                ("summary", Of::Text(1, 255)),
            ],
            may: &[("description", Of::Text(0, 32_767))],
        }),
    )],
    may: &[],
};

fn jira(_: &[Request], request: &Request) -> (u16, String) {
    // bot@example.com:jira-SECRET, as its head was lowered; and one's own Jira with a token alone.
    let logins = ["authorization: basic ym90qgv4yw1wbguuy29tomppcmetu0vduk", "authorization: bearer jira-secret"];
    let refuses = |status: u16, general: &[&str], fields: serde_json::Value| {
        (status, serde_json::json!({ "errorMessages": general, "errors": fields }).to_string())
    };
    if !request.head.lines().any(|line| logins.iter().any(|login| line.starts_with(login))) {
        return refuses(
            401,
            &["Client must be authenticated to access this resource: jira-SECRET"],
            serde_json::json!({}),
        );
    }
    let body: serde_json::Value = serde_json::from_str(&request.body).expect("JSON");
    if let Some(why) = odd(&body, &Of::Shape(&JIRA_ISSUE)) {
        return refuses(400, &[&why], serde_json::json!({}));
    }
    if body["fields"]["issuetype"]["name"] != "Task" {
        return refuses(400, &[], serde_json::json!({ "issuetype": "Specify a valid issue type" }));
    }
    let said = serde_json::json!({ "id": "10000", "key": "OPS-24", "self": "https://jira.example.com/rest/api/2/issue/10000" });
    (201, said.to_string())
}

/// Whatever is left of a secret anywhere below.
fn with_secret(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        match entry.path() {
            path if path.is_dir() => with_secret(&path, found),
            path => {
                let text = String::from_utf8_lossy(&std::fs::read(&path).expect("a file")).into_owned();
                if text.contains("SECRET") {
                    found.push(path);
                }
            }
        }
    }
}

#[test]
fn a_ticket_is_filed_once_and_its_address_stands_in_the_journal() {
    let (hub, jira_at) = (Server::start(Temper::Plays(github)), Server::start(Temper::Plays(jira)));
    let desk = Desk::new(&format!(
        "[tickets]\ngithub = {{ repository = \"example/listings\", token_env = \"GITHUB_TOKEN\", url = \"http://127.0.0.1:{}\" }}\n\
         jira = {{ url = \"http://127.0.0.1:{}/\", project = \"OPS\", user = \"bot@example.com\", token_env = \"JIRA_TOKEN\" }}",
        hub.port, jira_at.port
    ));
    let folder = desk.keep(ID, &put_back_run());
    let github = ["report", "--ticket", "github", "--file"];
    desk.run(&github).exits(1).says("the variable GITHUB_TOKEN is not set, so nothing is filed");
    // What is refused is not there, and may be tried again.
    let wrong = desk.run_with(&[("GITHUB_TOKEN", "github_pat_00SECRET")], &github);
    wrong.exits(1).says("it was not filed: github: answers 401: Bad credentials: ");
    let token = [("GITHUB_TOKEN", "github_pat_11SECRET"), ("JIRA_TOKEN", "jira-SECRET")];
    let filed = desk.run_with(&token, &github);
    filed.exits(0).says(&format!("{ID}: filed: https://github.com/example/listings/issues/1347"));
    let again = desk.run_with(&token, &github);
    again.exits(0).says("already filed: https://github.com/example/listings/issues/1347");
    assert_eq!(hub.seen().len(), 2, "one that was refused, and one");
    let body: serde_json::Value = serde_json::from_str(&hub.seen()[1].body).expect("JSON");
    assert_eq!(body["title"], "listings: rollback failed and put back: NOT mitigated");
    assert!(body["body"].as_str().is_some_and(|text| text.contains("- [ ] Not done in the run")), "{body}");
    assert!(text(&folder.join("INCIDENT_REPORT.md")).contains("carol files it at github: https://github.com/"));
    // The other tracker is another ticket.
    let in_jira = desk.run_with(&token, &["report", ID, "--ticket", "jira", "--file"]);
    in_jira.exits(0).says(&format!("filed: http://127.0.0.1:{}/browse/OPS-24", jira_at.port));
    let mut found = Vec::new();
    with_secret(desk.folder.path(), &mut found);
    assert_eq!(found, Vec::<PathBuf>::new(), "no secret is kept");
    for scene in [wrong, filed, again, in_jira] {
        scene.never_says("SECRET");
    }
    // A report that is made again has it, and what the run came to is what it was.
    desk.run(&["report"]).exits(0);
    assert!(
        text(&folder.join("INCIDENT_REPORT.md")).contains("# listings: rollback failed and put back: NOT mitigated")
    );
    desk.run(&["history"]).exits(0).says("Failed");
}

#[test]
fn what_may_have_been_filed_is_not_filed_again() {
    let server = Server::start(Temper::Closes);
    let config = |more: &str| {
        format!(
            "[tickets]\njira = {{ url = \"http://127.0.0.1:{}\", project = \"OPS\", token_env = \"JIRA_TOKEN\"{more} }}",
            server.port
        )
    };
    let desk = Desk::new(&config(""));
    desk.keep(ID, &full_run());
    let words = ["report", "--ticket", "jira", "--file"];
    let token = [("JIRA_TOKEN", "jira-SECRET")];
    desk.run_with(&token, &words)
        .exits(1)
        .says("whether it was filed is not known: jira: ")
        .never_says("nothing was changed");
    server.becomes(Temper::Plays(jira));
    desk.run_with(&token, &words)
        .exits(1)
        .says(&format!("an earlier try had no answer, and there may be a ticket: look for {ID} in OPS"));
    assert_eq!(server.seen().len(), 1);
    // A server that is not there has none; a name that it does not know is a reason in its own words.
    let other = Desk::new(&config(", issue_type = \"Incident\""));
    other.keep(ID, &full_run());
    other
        .run_with(&token, &words)
        .exits(1)
        .says("it was not filed: jira: answers 400: issuetype: Specify a valid issue type");
    let nobody =
        Desk::new("[tickets]\njira = { url = \"http://127.0.0.1:1\", project = \"OPS\", token_env = \"JIRA_TOKEN\" }");
    nobody.keep(ID, &full_run());
    nobody.run_with(&token, &words).exits(1).says("it was not filed: jira: ");
    nobody.run(&["report", "--ticket", "github", "--file"]).exits(1).says("the config has no [tickets] github");
    nobody.run(&["report", "--file"]).exits(2);
}

#[test]
fn the_history_has_times_beside_targets_newest_first() {
    let desk = Desk::new("");
    desk.run(&["history"]).exits(0).says("no incident and no drill is on record here");
    desk.keep(ID, &full_run());
    desk.run(&["history"]).exits(0).says(ID);
    assert!(!desk.incidents().join("index.html").exists(), "one incident has a page of its own");
    desk.keep("rollback-20261119-101500", &put_back_run());
    let mut drill = Drill::begun("2026-11-21T06:00:00Z".parse().expect("a time"), "listings_prod");
    drill.dump = Some("/opt/listings/backups/20.sql.gz".into());
    let line = serde_json::to_string(&drill).expect("JSON");
    std::fs::write(desk.incidents().join("drills.jsonl"), format!("{line}\nnot a line of ours\n")).expect("a file");
    let scene = desk.run(&["history"]);
    scene.exits(0).says("safe after 0.41 s (target 60 s: met)");
    let at = |word: &str| scene.stdout.find(word).unwrap_or_else(|| panic!("{word} in {}", scene.stdout));
    assert!(at("2026-11-21") < at(ID), "{}", scene.stdout);
    let json = desk.run(&["history", "--json"]);
    json.keeps_to_the_schema();
    let lines: Vec<serde_json::Value> =
        json.stdout.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
    assert_eq!(lines.last().expect("a last line")["event"], "end");
    let of_it = lines.iter().find(|line| line["incident"]["id"] == ID).expect("the incident");
    assert_eq!((&of_it["incident"]["traffic_safe_ms"], &of_it["incident"]["target_ms"]), (&412.into(), &60_000.into()));
    let index = text(&desk.incidents().join("index.html"));
    assert!(index.contains(&format!("href=\"{ID}/INCIDENT_REPORT.html\"")), "{index}");
    assert!(index.contains("drill: listings_prod: /opt/listings/backups/20.sql.gz would have served"), "{index}");
}

#[test]
fn sums_hold_after_all_of_it() {
    let desk = Desk::new("");
    let folder = desk.keep(ID, &full_run());
    desk.run(&["report"]).exits(0);
    rollback_prod::incident::folder::Folder::open(folder.clone()).write_sums().expect("sums");
    sums_hold(&folder);
    desk.run(&["note", "one more"]).exits(0);
    desk.run(&["resolve"]).exits(0);
    sums_hold(&folder);
}
