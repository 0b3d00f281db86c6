//! Judging by a Prometheus: a real one that scrapes a release of the test's own, with an alert that fires, a queue that grows,
//! and errors; and whatever else may stand behind its address.

#[path = "support/site.rs"]
mod site;
#[path = "support/mod.rs"]
mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use site::{run, until};
use support::lab::Lab;

/// Serves one answer to everybody who connects, until it is dropped with the test.
fn answers(answer: impl Fn(&str) -> Option<String> + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
            let mut head = [0_u8; 4096];
            let n = stream.read(&mut head).unwrap_or(0);
            match answer(&String::from_utf8_lossy(&head[..n])) {
                Some(text) => drop(stream.write_all(text.as_bytes())),
                // It hangs, as long as the test lives.
                None => std::mem::forget(stream),
            }
        }
    });
    port
}

fn http(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

/// A Prometheus on loopback with what it scrapes.
struct Real {
    child: Child,
    port: u16,
    metrics: Arc<Mutex<String>>,
}

impl Real {
    fn start(folder: PathBuf) -> Real {
        let metrics = Arc::new(Mutex::new("queue_depth 1\nbroken 0\n".to_owned()));
        let shown = Arc::clone(&metrics);
        let target = answers(move |_| Some(http("200 OK", &shown.lock().expect("no test panics in there"))));
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
        std::fs::create_dir_all(&folder).expect("make its folder");
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [{0}/rules.yml]\n\
             scrape_configs: [{{ job_name: listings, static_configs: [{{ targets: ['127.0.0.1:{target}'] }}] }}]\n",
            folder.display()
        );
        std::fs::write(folder.join("prometheus.yml"), config).expect("write its config");
        let rules = "groups: [{ name: a, rules: [{ alert: ListingsBroken, expr: broken == 1, labels: { service: listings } }] }]\n";
        std::fs::write(folder.join("rules.yml"), rules).expect("write its rules");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}/prometheus.yml", folder.display()))
            .arg(format!("--storage.tsdb.path={}/data", folder.display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start prometheus (hint: scripts/lab install)");
        let real = Real { child, port, metrics };
        until("it has scraped", || real.knows("queue_depth"));
        real
    }

    fn set(&self, metrics: &str) {
        *self.metrics.lock().expect("no test panics in there") = metrics.to_owned();
    }

    /// Whether a query gives anything.
    fn knows(&self, query: &str) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        let ask = format!("GET /api/v1/query?query={query} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let mut said = String::new();
        let _ = stream.write_all(ask.as_bytes()).and_then(|()| stream.read_to_string(&mut said));
        said.contains("\"value\"")
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is asked for; the queue alone where nothing else is named.
fn config(lab: &Lab, url: &str, more: &str) {
    let queue = "[[judge.prometheus.query]]\nname = \"queue\"\nexpr = \"max(queue_depth)\"\nmax = 100\n";
    lab.config(&format!("[judge.prometheus]\nurl = \"{url}\"\n{more}\n{queue}"));
}

#[test]
fn a_real_prometheus_is_asked_and_whatever_else_answers_there_is_no_data() {
    let lab = Lab::up(&["web1"]);
    let watch = |lasts: &str| run(&lab, &["watch", "--for", lasts]);
    let real = Real::start(lab.folder().join("prometheus"));
    let url = format!("http://127.0.0.1:{}/", real.port);

    // All is well, and nobody comes: its word alone is no verdict.
    let alerts = "alerts = '{service=\"listings\"}'";
    config(&lab, &url, alerts);
    watch("8s").exits(8).never_says("no data: ").says("not enough data to judge green");
    real.set("queue_depth 500\nbroken 0\n");
    watch("1m").exits(7).says("queue: 500, 2 times in a row: bad, limit 100");
    real.set("queue_depth 1\nbroken 1\n");
    until("the alert fires", || real.knows("ALERTS%7Balertstate=%22firing%22%7D"));
    watch("1m").exits(7).says("green is bad: alerts: ListingsBroken fires: bad");
    // A rollback by itself, with that as its reason.
    lab.sh("web1", "systemctl start listings-blue");
    let back = run(&lab, &["watch", "--for", "1m", "--rollback", "--reason", "canary of 1.4"]);
    back.exits(0).says("production: traffic on blue on 1 of 1 host");
    let report = site::kept(&lab, "INCIDENT_REPORT.md");
    back.holds(report.contains("canary of 1.4: alerts: ListingsBroken fires: bad"), &report);
    // Of a share: nobody was asked for anything, which is no data; then half of it fails.
    let errors = "[[judge.prometheus.query]]\nname = \"errors\"\nbad = \"sum(increase(bad_total[1m]))\"\n\
                  of = \"sum(increase(all_total[1m]))\"\nmax = \"5%\"";
    config(&lab, &url, errors);
    watch("4s").exits(8).says("errors: no data: there is no sample");
    real.set("queue_depth 1\nbad_total 0\nall_total 0\n");
    until("it has scraped them", || real.knows("increase(all_total%5B1m%5D)"));
    real.set("queue_depth 1\nbad_total 100\nall_total 200\n");
    until("they have grown", || real.knows("increase(bad_total%5B1m%5D)%3E50"));
    watch("1m").exits(7).says("blue is bad: errors: ").says("limit 5 %: bad");
    // Several series are no number.
    config(&lab, &url, "[[judge.prometheus.query]]\nname = \"up\"\nexpr = \"{__name__=~'queue_depth|up'}\"\nmax = 1");
    watch("4s").exits(8).says("up: no data: the query gives 2 series, and not one number: sum() would");
    config(&lab, &url, "[[judge.prometheus.query]]\nname = \"odd\"\nexpr = \"sum(\"\nmax = 1");
    watch("4s").exits(8).says("odd: no data: it says: ");
    drop(real);
    watch("4s").exits(8).says("queue: no data: ");

    // Whatever else may stand there.
    let page = answers(|_| Some(http("200 OK", "<html>please log in</html>")));
    config(&lab, &format!("http://127.0.0.1:{page}"), "");
    watch("4s").exits(8).says("queue: no data: it answers no JSON of its API");
    let gate = answers(|asked| {
        let is_known = asked.contains("\r\nauthorization: Basic cm9sbGJhY2s6c2VjcmV0\r\n");
        let body =
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1.0,"500"]}]}}"#;
        Some(if is_known { http("200 OK", body) } else { http("401 Unauthorized", "") })
    });
    let gate = format!("http://127.0.0.1:{gate}");
    config(&lab, &gate, "");
    watch("4s").exits(8).says("queue: no data: it answers 401");
    std::fs::write(lab.folder().join(".env.deploy"), "PASSWORD=secret\n").expect("write the variables");
    config(&lab, &gate, "user = \"rollback\"\npassword_env = \"PASSWORD\"");
    watch("1m").exits(7).says("queue: 500, 2 times in a row").never_says("cm9sbGJhY2s6c2VjcmV0");
    config(&lab, &gate, "token_env = \"NOT_SET\"");
    watch("4s").exits(8).says("the variable NOT_SET is not set").says("queue: no data: it answers 401");
    let hangs = answers(|_| None);
    config(&lab, &format!("http://127.0.0.1:{hangs}"), "");
    let hung = watch("8s");
    hung.exits(8).says("queue: no data: ");
    hung.holds(hung.took < Duration::from_secs(20), &format!("it holds up nobody: {:?}", hung.took));

    // What the config cannot mean.
    config(&lab, &url, "alerts = 'ListingsBroken'");
    run(&lab, &["check"]).exits(2).says("judge.prometheus.alerts: is not labels in braces");
    config(&lab, &url, "user = \"a\"");
    run(&lab, &["check"]).exits(2).says("user and password_env go together");
    config(&lab, &url, "[[judge.prometheus.query]]\nname = \"a\"\nbad = \"b\"\nmax = \"1%\"");
    run(&lab, &["check"]).exits(2).says("wants bad and of, or expr");
}
