//! What the tests of a rollback ask of a lab host: its file, its answers, its processes, and what a run left behind.
//! A file of its own, so that a test file includes it with `#[path]` beside `support`.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::support::lab::{Counts, Lab, SITE};
pub use super::support::until;
use super::support::{Scene, rollback_prod};

/// The file behind the link in sites-enabled.
pub const FILE: &str = "/etc/nginx/sites-available/listings";

/// Both files of a shop whose deploy keeps one for each side, and the one that nginx reads.
pub const SIDE_FILES: &str = r#"
cd /etc/nginx/sites-available
for pair in blue:8080 green:8081; do
  sed -e '/server 127.0.0.1/d' -e "s/keepalive 16;/server 127.0.0.1:${pair#*:};\n    keepalive 16;/" -e '/Weight/d' \
    listings >shop-${pair%:*}.conf
done
rm /etc/nginx/sites-enabled/listings"#;

/// The format that `check` prints the lines of, and a log in it.
pub const LOG_FORMAT: &str = "log_format rollback '$msec|$remote_addr|$status|$upstream_addr|$upstream_status|$upstream_response_time|$request_time';\n";

/// Makes a host's log say which server each request went to.
pub fn logs_say_who(lab: &Lab, host: &str) {
    write(lab, host, "/etc/nginx/conf.d/rollback.conf", LOG_FORMAT);
    let site = read(lab, host, FILE).replace("access.log combined;", "rollback.log rollback;");
    write(lab, host, FILE, &site);
    lab.sh(host, "nginx -t 2>/dev/null && systemctl reload nginx");
}

/// A release that is well by its health, and broken for whoever wants anything else.
pub const HALF_BROKEN: &str = r#"
import http.server
class Half(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        is_well = self.path == "/health"
        body = b"green\n"
        self.send_response(200 if is_well else 500)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Instance", "green")
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", 8081), Half).serve_forever()
"#;

/// A reload that says it was done and was not.
pub const LYING_RELOAD: &str = "#!/bin/sh\nexit 0\n";

/// What strikes a switch, and what the run that it struck may end with; -1 where the program itself was killed.
pub type Strike = (&'static str, &'static [i32], fn(&Lab, &mut Running));

pub const STRIKES: &[Strike] = &[
    ("the laptop is killed", &[-1], |_, running| running.signal(Signal::KILL)),
    ("the line is cut for a moment", &[0], |lab, _| {
        lab.cut("web1");
        std::thread::sleep(std::time::Duration::from_millis(1500));
        lab.mend("web1");
    }),
    ("the step is killed on its host", &[0, 3, 4, 5], |lab, _| {
        lab.sh("web1", "pkill -KILL -f 'rp_nonc[e].*rp_mai[n]' || true");
    }),
];

/// The program, in the folder where the lab's config is.
pub fn program(lab: &Lab, words: &[&str]) -> Command {
    let mut command = rollback_prod();
    command.current_dir(lab.folder()).args(words);
    command
}

/// A run of the program with these words, over and done.
#[track_caller]
pub fn run(lab: &Lab, words: &[&str]) -> Scene {
    Scene::of(&mut program(lab, words), lab.folder())
}

/// A rollback with a reason and these words besides.
#[track_caller]
pub fn rollback(lab: &Lab, words: &[&str]) -> Scene {
    let mut all = vec!["--reason", "error rate of 12 percent"];
    all.extend(words);
    run(lab, &all)
}

/// A rollback by a config that is named, for a test that adds to the command.
pub fn command(lab: &Lab, config: &Path) -> Command {
    let mut command = program(lab, &["--reason", "green is broken", "--config"]);
    command.arg(config);
    command
}

/// That rollback, over and done.
#[track_caller]
pub fn roll(lab: &Lab, config: &Path) -> Scene {
    Scene::of(&mut command(lab, config), lab.folder())
}

/// A rollback that goes on while the test does something else.
pub fn begin(lab: &Lab, words: &[&str]) -> Running {
    let mut all = vec!["--reason", "error rate of 12 percent"];
    all.extend(words);
    begin_command(lab, &all)
}

/// The program with these words, while the test does something else.
pub fn begin_command(lab: &Lab, words: &[&str]) -> Running {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let said = lab.folder().join(format!("said{}", NEXT.fetch_add(1, Ordering::Relaxed)));
    let file = std::fs::File::create(&said).expect("make a file for what it says");
    let child = program(lab, words)
        .stdin(Stdio::null())
        .stdout(file.try_clone().expect("a second handle of that file"))
        .stderr(file)
        .spawn()
        .expect("start the program");
    Running { child, said }
}

/// A program that runs; killed when it is dropped, with no chance to tidy up.
pub struct Running {
    child: Child,
    said: PathBuf,
}

impl Running {
    /// `kill -9`.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.expect("a pid"), signal).expect("send a signal to our child");
    }

    /// The exit code, once it has ended.
    #[track_caller]
    pub fn exit(&mut self) -> i32 {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("look at the program") {
                return status.code().unwrap_or(-1);
            }
            assert!(began.elapsed() < Scene::LIMIT, "it has not ended after {:?}:\n{}", Scene::LIMIT, self.said());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().expect("look at the program").is_some()
    }

    /// Whether it has begun to ask its hosts, and would take an interrupt as one: before that, one would just end it.
    pub fn asks(&self) -> bool {
        let pid = self.child.id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let caught = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigCgt:")?.trim(), 16).ok());
        let takes_interrupts = caught.unwrap_or(0) & (1 << (Signal::INT.as_raw() - 1)) != 0;
        let ssh = Command::new("pgrep").args(["-P", &pid.to_string(), "-x", "ssh"]).output().expect("start pgrep");
        takes_interrupts && ssh.status.success()
    }

    /// Both its outputs.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.said).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A file of a host, byte for byte.
#[track_caller]
pub fn read(lab: &Lab, host: &str, path: &str) -> String {
    let output = lab.exec(host, &["cat", path]);
    assert!(output.status.success(), "{host}: {path}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("the lab's files are UTF-8")
}

/// Writes a file on a host in place, as an editor would; its owner and mode stay.
#[track_caller]
pub fn write(lab: &Lab, host: &str, path: &str, text: &str) {
    let output = lab.exec(host, &["sh", "-c", "printf '%s' \"$2\" >\"$1\"", "write", path, text]);
    assert!(output.status.success(), "{host}: {path}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A program on the host, for what the config calls instead of nginx.
#[track_caller]
pub fn install(lab: &Lab, host: &str, path: &str, script: &str) {
    write(lab, host, path, script);
    lab.sh(host, &format!("chmod 755 {path}"));
}

/// The file as the lab delivers it becomes this one, and not a byte else.
pub fn rolled_back(text: &str) -> String {
    text.replace("server 127.0.0.1:8080 down;", "server 127.0.0.1:8080 weight=100 max_fails=0;")
        .replace("server 127.0.0.1:8081 weight=100;", "server 127.0.0.1:8081 down;")
        .replace("X-Blue-Weight 0 always", "X-Blue-Weight 100 always")
        .replace("X-Green-Weight 100 always", "X-Green-Weight 0 always")
}

/// One answer through a host's nginx.
#[derive(Debug, Clone)]
pub struct Got {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Got {
    /// The value of a header, or nothing.
    pub fn header(&self, name: &str) -> String {
        let line = self.head.lines().find_map(|line| {
            let (n, value) = line.split_once(':')?;
            n.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        });
        line.unwrap_or_default()
    }
}

/// Asks a host's nginx once, on a connection of its own; status 0 where there is no whole answer.
pub fn get(ip: &str, path: &str) -> Got {
    let output = Command::new("curl")
        .args(["-sS", "-i", "-m", "20", "--noproxy", "*", "-H", "Connection: close", "-H"])
        .arg(format!("Host: {SITE}"))
        .arg(format!("http://{ip}{path}"))
        .output()
        .expect("start curl");
    let text = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    let status = if output.status.success() { status } else { 0 };
    Got { status, head: head.to_owned(), body: body.to_owned() }
}

/// Who answers through a host's nginx: `blue`, `green`, or the status of something else.
pub fn served_by(lab: &Lab, host: &str) -> String {
    let got = get(&lab.ip(host), "/");
    if got.status == 200 { got.body.trim().to_owned() } else { format!("status {}", got.status) }
}

/// The body that a host's nginx gives to somebody on that host, whom no cut of the network reaches.
#[track_caller]
pub fn answer(lab: &Lab, host: &str) -> String {
    lab.sh(host, &format!("curl -s -m 5 -H 'Host: {SITE}' http://127.0.0.1/"))
}

/// Asserts who gives it.
#[track_caller]
pub fn serves(lab: &Lab, host: &str, colour: &str, scene: &Scene) {
    let said = answer(lab, host);
    scene.holds(said == colour, &format!("{colour} serves on {host}, and not {said:?}"));
}

/// A rollback that is struck as soon as that file is on its host, and the one after it, which finishes.
#[track_caller]
pub fn struck(lab: &Lab, what: &str, (strike, exits, hits): &Strike, mark: &str) -> Scene {
    let mut running = begin(lab, &[]);
    until(&format!("{mark} is there"), || lab.exec("web1", &["test", "-e", mark]).status.success());
    hits(lab, &mut running);
    let exit = running.exit();
    let said = running.said();
    assert!(exits.contains(&exit), "{what}: {strike}: exit {exit}\n{said}");
    let second = rollback(lab, &[]);
    second.holds(second.status.code() == Some(0), &format!("{what}: {strike}: the second run finishes\n{said}"));
    second
}

/// Users on the host itself, whom no cut of the network reaches, until [`users_lost_nothing`] asks them.
pub fn users_inside(lab: &Lab, host: &str) -> Child {
    lab.sh(host, "rm -f /run/users-go");
    lab.inside(host)
        .args(["sh", "-c"])
        .arg(format!(
            "while [ ! -e /run/users-go ]; do curl -s -m 10 -o /dev/null -w '%{{http_code}}\\n' \
             -H 'Host: {SITE}' http://127.0.0.1/; sleep 0.02; done | sort | uniq -c >/run/users-saw"
        ))
        .stdin(Stdio::null())
        .spawn()
        .expect("start nsenter")
}

#[track_caller]
pub fn users_lost_nothing(lab: &Lab, host: &str, mut users: Child, when: &str) {
    lab.sh(host, "touch /run/users-go");
    users.wait().expect("wait for the users");
    let saw = lab.sh(host, "cat /run/users-saw");
    assert!(saw.ends_with(" 200") && saw.lines().count() == 1, "{when}: nothing but 200: {saw}");
}

/// Gives both units a second server each, as a pre-forking one has them; not restarted yet.
pub const TWO_PORTS: &str = r#"
    for pair in blue:8080:8082 green:8081:8083; do
      colour=${pair%%:*} rest=${pair#*:}
      printf '#!/bin/sh\ntrap "kill 0" TERM\n/opt/listings/bin/listings-%s --port %s & /opt/listings/bin/listings-%s --port %s & wait\n' \
        $colour ${rest%:*} $colour ${rest#*:} >/opt/listings/bin/both-$colour
      chmod 755 /opt/listings/bin/both-$colour
      sed -i "s|^ExecStart=.*|ExecStart=/opt/listings/bin/both-$colour|" /etc/systemd/system/listings-$colour.service
    done
    systemctl daemon-reload"#;

/// What systemd says of a unit: `active`, `inactive`, `failed`.
pub fn unit(lab: &Lab, host: &str, unit: &str) -> String {
    String::from_utf8_lossy(&lab.exec(host, &["systemctl", "is-active", unit]).stdout).trim().to_owned()
}

/// Gives a unit these lines of `[Service]` on top of its own, in the place of those that it had before.
#[track_caller]
pub fn drop_in(lab: &Lab, host: &str, unit: &str, lines: &str) {
    let folder = format!("/etc/systemd/system/{unit}.service.d");
    lab.sh(host, &format!("mkdir -p {folder}"));
    write(lab, host, &format!("{folder}/test.conf"), &format!("[Service]\n{lines}\n"));
    lab.sh(host, "systemctl daemon-reload");
}

/// Does something on a host as an account of it.
#[track_caller]
pub fn as_account(lab: &Lab, host: &str, account: &str, text: &str) {
    let output = lab.exec(host, &["runuser", "-u", account, "--", "bash", "-c", text]);
    assert!(output.status.success(), "{account}: {text}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// The config's text with another limit for a verification, and for a start that does not come up.
pub fn verify_within(text: &str, limit: &str) -> String {
    text.replace("timeout = \"10s\"\n\n[evidence]", &format!("timeout = \"{limit}\"\n\n[evidence]"))
}

/// An answer whose body has no end, in Python, for [`green_answers`].
pub const ENDLESS_BODY: &str = "c.sendall(b'HTTP/1.1 200 OK\\r\\n\\r\\n')\n  while 1: c.sendall(b'x' * 65536)";
/// One whose head has none.
pub const ENDLESS_HEAD: &str = "c.sendall(b'HTTP/1.1 200 OK\\r\\n')\n  while 1: c.sendall(b'X-A: b\\r\\n' * 1000)";

/// Green becomes a program that gives this answer to whatever it is asked: lines of Python with the connection as `c`.
#[track_caller]
pub fn green_answers(lab: &Lab, host: &str, answer: &str) {
    let server = format!(
        "import socket, threading, time\ns = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n\
         s.bind(('127.0.0.1', 8081)); s.listen(64)\ndef serve(c):\n try:\n  c.recv(4096)\n  {answer}\n except OSError: pass\n\
         while 1: threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()\n"
    );
    write(lab, host, "/opt/listings/green.py", &server);
    drop_in(lab, host, "listings-green", "ExecStart=\nExecStart=/usr/bin/python3 /opt/listings/green.py");
    lab.sh(host, "systemctl restart listings-green");
    until("it listens", || lab.sh(host, "ss -Hltn 'sport = :8081'").contains("8081"));
}

pub fn green_answers_as_ever(lab: &Lab, host: &str) {
    drop_in(lab, host, "listings-green", "");
    lab.sh(host, "systemctl stop listings-green");
}

/// Where the locks of `deploy` are on a host: the newest, or what is no path.
pub const LOCK: &str = "$(ls -d /run/rollback-prod/deploy/listings.*.lock 2>/dev/null | tail -n 1)";

/// Files, locks, steps and processes of ours on a host. Empty is what every run must leave: of a lock its number stays, and what was rolled back.
/// What ends by itself when the line is gone gets a moment for it.
pub fn leftovers(lab: &Lab, host: &str) -> String {
    let look = || {
        lab.sh(
            host,
            "for place in /run/rollback-prod/* /run/lock /dev/shm /tmp /var/tmp; do
               find $place -mindepth 1 -path '*rollback-prod*' ! -name '*.number' ! -name '*.rolled-back' ! -name 'rollback-prod-[0-9]*' 2>/dev/null
             done
             find /etc /opt /mnt /media /srv /home -name '*rollback-prod*' 2>/dev/null
             find /mnt -mindepth 1
             pgrep -u deploy -fa 'rp_nonce|/bin/sh -c n=' || true",
        )
    };
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let found = look();
        if found.is_empty() || Instant::now() >= deadline {
            return found;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The incident folders, oldest first.
pub fn incidents(lab: &Lab) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(lab.folder().join("incidents")).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    // By their moment, whatever they are of.
    folders.sort_by_key(|path| path.to_string_lossy().rsplit_once('/').map(|(_, name)| moment(name).to_owned()));
    folders
}

fn moment(name: &str) -> &str {
    name.split_once('-').map_or("", |(_, moment)| moment)
}

/// The names of the newest incident's files.
pub fn incident_files(lab: &Lab) -> Vec<String> {
    let folder = incidents(lab).pop().expect("an incident folder");
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// A file of the newest incident.
#[track_caller]
pub fn kept(lab: &Lab, name: &str) -> String {
    let folder = incidents(lab).pop().expect("an incident folder");
    let path = folder.join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The journal of an incident as far as it is written: whole lines only.
pub fn journal(folder: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(folder.join("journal.jsonl")).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The newest incident's journal.
pub fn newest_journal(lab: &Lab) -> Vec<serde_json::Value> {
    incidents(lab).pop().map(|folder| journal(&folder)).unwrap_or_default()
}

/// Whether the entry is this event of this step.
pub fn is(entry: &serde_json::Value, event: &str, step: &str) -> bool {
    entry["event"] == event && entry["step"] == step
}

/// When an entry was made, in seconds since 1970.
pub fn seconds(entry: &serde_json::Value) -> f64 {
    let time = entry["time"].as_str().and_then(|time| chrono::DateTime::parse_from_rfc3339(time).ok());
    time.expect("a time").timestamp_micros() as f64 / 1e6
}

/// Now, on the same clock: the hosts of the lab share this machine's.
pub fn now() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs_f64()
}

/// Asserts that nothing went wrong for anybody.
#[track_caller]
pub fn nobody_noticed(counts: &Counts, scene: &Scene) {
    scene.holds(counts.bad.is_empty() && counts.total > 0, &format!("every answer is good: {counts:?}"));
}

/// Everything as before the rollback: green up, the file as it was, nginx on green with no old worker left.
#[track_caller]
pub fn back_to_green(lab: &Lab, host: &str, file: &str) {
    lab.sh(host, "systemctl start listings-green.service listings-blue.service");
    lab.sh(
        host,
        "for n in $(seq 500); do curl -fs -o /dev/null http://127.0.0.1:8081/health && exit; sleep 0.02; done; exit 1",
    );
    write(lab, host, FILE, file);
    lab.sh(host, "nginx -t 2>/dev/null && systemctl reload nginx");
    until("nginx is back on green", || {
        served_by(lab, host) == "green"
            && !lab.exec(host, &["pgrep", "-f", "worker process is shutting"]).status.success()
    });
}
