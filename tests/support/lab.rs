//! Real hosts for a test: a lab of `scripts/lab`, and load on one of its hosts.
//!
//! A `Lab` boots when it is made and is gone when it is dropped, also when the test panics. A test process that was
//! killed leaves its lab behind; the next one to boot a lab sweeps it away. Never fakes anything, never skips a test:
//! where no lab can boot, the test fails and says why.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The Host header that the lab's nginx site answers to, and the `probe_host` of [`Lab::config`].
pub const SITE: &str = "listings.example.com";

/// Hosts that run while this value lives.
pub struct Lab {
    folder: PathBuf,
    names: Vec<String>,
}

impl Lab {
    /// Boots one host for each name, all at once. `web1+postgres` and `web1+docker` are hosts whose disk is ready for
    /// [`Lab::postgres`] and [`Lab::docker`]. Panics with the lab's own words when one does not come up.
    pub fn up(names: &[&str]) -> Lab {
        static SWEEP: Once = Once::new();
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        SWEEP.call_once(|| drop(script(&["sweep"])));

        // Short, because ssh's control sockets live below it and their paths end at 104 bytes.
        let unique = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("rp{}-{unique}", std::process::id()));
        // Left by a process that had our number before us.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("make the lab's folder");
        // Made before the hosts, so that dropping it also ends a lab that is half up.
        let lab = Lab { folder, names: names.iter().map(|name| bare(name)).collect() };
        lab.must("up", names);
        lab
    }

    /// The same for what is measured: ssh agrees on keys as it comes, which the lab's own choice is cheaper than.
    pub fn measured(names: &[&str]) -> Lab {
        let lab = Lab::up(names);
        let path = lab.ssh_config();
        let text = std::fs::read_to_string(&path).expect("the lab's ssh_config");
        let kept: Vec<&str> = text.lines().filter(|line| !line.contains("KexAlgorithms")).collect();
        std::fs::write(&path, kept.join("\n") + "\n").expect("write ssh_config");
        lab
    }

    /// The lab's own folder: keys, disks, `ssh_config`.
    pub fn dir(&self) -> PathBuf {
        self.folder.join("lab")
    }

    /// A folder for what the test makes: the config, incidents. Gone with the lab.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// An OpenSSH client config that leads to each host by its name, as `deploy`, host keys known.
    pub fn ssh_config(&self) -> PathBuf {
        self.dir().join("ssh_config")
    }

    pub fn ip(&self, name: &str) -> String {
        let path = self.dir().join("hosts").join(name).join("ip");
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).trim().to_string()
    }

    /// Runs a command as root on the host, not over ssh: the test's own look, which cuts and keys do not hinder.
    pub fn exec(&self, name: &str, command: &[&str]) -> Output {
        self.inside(name).args(command).stdin(Stdio::null()).output().expect("start nsenter")
    }

    /// What begins a command on the host, as `scripts/lab exec` runs it: without the shell, for a test looks often.
    pub fn inside(&self, name: &str) -> Command {
        let path = self.dir().join("hosts").join(name).join("pid");
        let pid = std::fs::read_to_string(&path).unwrap_or_default();
        // Its PID 1 as this machine counts, and when it started: of a host that is off the number may be anybody's by now.
        let (leader, started) = pid.trim().split_once(' ').unwrap_or_default();
        let is_on = std::fs::read_to_string(format!("/proc/{leader}/stat")).is_ok_and(|stat| {
            let after_name = stat.rsplit_once(')').map_or("", |(_, after)| after);
            after_name.split_whitespace().nth(19) == Some(started)
        });
        let leader = if is_on { leader } else { "it is powered off" };
        let mut command = Command::new("nsenter");
        command.args(["-t", leader, "-a", "-r", "-w", "--", "/usr/bin/env", "-i"]);
        command.args(["HOME=/root", "LANG=C.UTF-8", "TERM=dumb"]);
        command.arg("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    /// Runs a shell script as root on the host and gives what it printed, trimmed. Panics when it fails.
    #[track_caller]
    pub fn sh(&self, name: &str, text: &str) -> String {
        let output = self.exec(name, &["sh", "-c", text]);
        assert!(output.status.success(), "on {name}: {text}\n{}", both(&output));
        String::from_utf8_lossy(&output.stdout).trim().to_string()
    }

    /// Runs `ssh NAME TEXT` as an operator would.
    pub fn ssh(&self, name: &str, text: &str) -> Output {
        Command::new("ssh")
            .arg("-F")
            .arg(self.ssh_config())
            .args(["-o", "BatchMode=yes", name, text])
            .stdin(Stdio::null())
            .output()
            .expect("start ssh")
    }

    /// Pulls the plug; returns when the host is dead.
    #[track_caller]
    pub fn poweroff(&self, name: &str) {
        self.must("poweroff", &[name]);
    }

    /// Switches a dead host on again, with its old disk; returns when it is up.
    #[track_caller]
    pub fn boot(&self, name: &str) {
        self.must("boot", &[name]);
    }

    /// Unplugs the host's network cable: packets vanish, nothing is refused.
    #[track_caller]
    pub fn cut(&self, name: &str) {
        self.must("cut", &[name]);
    }

    #[track_caller]
    pub fn mend(&self, name: &str) {
        self.must("mend", &[name]);
    }

    /// Starts a docker engine on the host, with an image `listings` that runs the application.
    #[track_caller]
    pub fn docker(&self, name: &str) {
        self.must("docker", &[name]);
    }

    /// Lets the host's root and its user deploy have containers of podman.
    #[track_caller]
    pub fn podman(&self, name: &str) {
        self.must("podman", &[name]);
    }

    /// Gives the host's engines an image `nginx:lab`, and the host no nginx of its own.
    #[track_caller]
    pub fn nginx_image(&self, name: &str) {
        self.must("nginx-image", &[name]);
    }

    /// Gives the host a PostgreSQL server of its own, running: `postgres` by peer, everybody by TCP from the host.
    #[track_caller]
    pub fn postgres(&self, name: &str) {
        self.must("postgres", &[name]);
    }

    /// Gives the host's docker engine an image `postgres:lab`.
    #[track_caller]
    pub fn postgres_image(&self, name: &str) {
        self.must("postgres-image", &[name]);
    }

    /// Sends GETs to the host's nginx until it is stopped.
    pub fn load(&self, name: &str, path: &str) -> Load {
        Load::start(&self.ip(name), "GET", path, Load::CONNECTIONS)
    }

    /// Sends POSTs, which nginx never sends a second time to another server.
    pub fn load_posts(&self, name: &str, path: &str) -> Load {
        Load::start(&self.ip(name), "POST", path, Load::CONNECTIONS)
    }

    /// Writes a `rollback.toml` for all hosts of the lab, with `extra` at its end, and gives its path.
    pub fn config(&self, extra: &str) -> PathBuf {
        self.config_with(|text| format!("{text}\n{extra}\n"))
    }

    /// The same, with the text as `edit` leaves it: for what cannot be appended.
    pub fn config_with(&self, edit: impl FnOnce(String) -> String) -> PathBuf {
        let path = self.folder.join("rollback.toml");
        std::fs::write(&path, edit(self.config_text())).expect("write rollback.toml");
        path
    }

    fn config_text(&self) -> String {
        let hosts: String =
            self.names.iter().map(|name| format!("[[host]]\nname = \"{name}\"\nssh = \"{name}\"\n\n")).collect();
        let ssh_config = self.ssh_config();
        format!(
            r#"service = "listings"
incidents = "incidents"

{hosts}[ssh]
config = "{ssh_config}"

[nginx]
file = "/etc/nginx/sites-available/listings"
upstream = "listings_backend"
probe = "http://127.0.0.1/"
probe_host = "{SITE}"
sudo = true

[blue]
servers = ["127.0.0.1:8080"]
health = ["http://127.0.0.1:8080/health"]
log = "/opt/listings/logs/blue.log"
run.systemd = "listings-blue.service"

[green]
servers = ["127.0.0.1:8081"]
log = "/opt/listings/logs/green.log"
run.systemd = "listings-green.service"

[drain]
timeout = "10s"

[verify]
passes = 3
interval = "100ms"
timeout = "10s"

[evidence]
files = ["/var/log/nginx/error.log"]
journal = ["nginx", "listings-green"]
"#,
            ssh_config = ssh_config.display(),
        )
    }

    fn run(&self, verb: &str, words: &[&str]) -> Output {
        let dir = self.dir();
        let mut all = vec![verb, dir.to_str().expect("the temp folder is UTF-8")];
        all.extend(words);
        script(&all)
    }

    #[track_caller]
    fn must(&self, verb: &str, words: &[&str]) {
        let output = self.run(verb, words);
        assert!(output.status.success(), "scripts/lab {verb} {words:?}\n{}", both(&output));
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let output = self.run("down", &[]);
        // Not a panic: a second one, while the test's own is on its way, would hide it.
        if !output.status.success() {
            eprintln!("scripts/lab down\n{}", both(&output));
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The host's name, without what its disk is made ready for.
fn bare(name: &str) -> String {
    name.split('+').next().unwrap_or(name).to_owned()
}

fn script(words: &[&str]) -> Output {
    Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/lab"))
        .args(words)
        .env("LAB_OWNER_PID", std::process::id().to_string())
        .stdin(Stdio::null())
        .output()
        .expect("start scripts/lab")
}

fn both(output: &Output) -> String {
    format!("{}\n{}{}", output.status, String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Requests that go on in the background, each on a connection of its own.
pub struct Load {
    stopping: Arc<AtomicBool>,
    counts: Arc<Mutex<Counts>>,
    threads: Vec<JoinHandle<()>>,
}

/// What came back. `total` is the sum of `blue`, `green`, `bad_statuses` and `transport_errors`.
#[derive(Debug, Default, Clone)]
pub struct Counts {
    pub total: usize,
    /// Answers of status 200 with that colour's body.
    pub blue: usize,
    pub green: usize,
    /// Whole answers that were anything else.
    pub bad_statuses: usize,
    /// No answer, or one that was cut short.
    pub transport_errors: usize,
    /// The first of both kinds, in words: at most [`Load::KEPT`]. Empty means that nothing went wrong.
    pub bad: Vec<String>,
}

impl Load {
    /// Enough that some request is in flight at nearly every instant; few enough to leave the CPU to the hosts.
    pub const CONNECTIONS: usize = 8;
    pub const KEPT: usize = 20;
    const PAUSE: Duration = Duration::from_millis(12);
    const TIMEOUT: Duration = Duration::from_secs(10);

    /// Starts `connections` senders; returns when the first answer, good or bad, is there.
    pub fn start(ip: &str, method: &str, path: &str, connections: usize) -> Load {
        let address: SocketAddr = format!("{ip}:80").parse().expect("an address of the lab");
        let body = if method == "POST" { "price=1" } else { "" };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {SITE}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let stopping = Arc::new(AtomicBool::new(false));
        let counts = Arc::new(Mutex::new(Counts::default()));
        let threads = (0..connections)
            .map(|_| {
                let (stopping, counts, request) = (stopping.clone(), counts.clone(), request.clone());
                std::thread::spawn(move || {
                    while !stopping.load(Ordering::Relaxed) {
                        let began = Instant::now();
                        let answer = ask(address, &request);
                        counts.lock().expect("no sender panics").add(answer, began.elapsed());
                        std::thread::sleep(Load::PAUSE);
                    }
                })
            })
            .collect();
        let load = Load { stopping, counts, threads };
        // A path may be slow by design, so this is a wait with an end and not a claim.
        let deadline = Instant::now() + Duration::from_secs(1);
        while load.counts().total == 0 && Instant::now() < deadline {
            std::thread::sleep(Load::PAUSE);
        }
        load
    }

    /// What has come back up to now.
    pub fn counts(&self) -> Counts {
        self.counts.lock().expect("no sender panics").clone()
    }

    /// Lets what is in flight end, and counts it.
    pub fn stop(mut self) -> Counts {
        self.stopping.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("a sender does not panic");
        }
        self.counts()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}

impl Counts {
    fn add(&mut self, answer: Result<(u16, String), std::io::Error>, took: Duration) {
        self.total += 1;
        let trouble = match answer {
            Ok((200, body)) if body == "blue\n" => return self.blue += 1,
            Ok((200, body)) if body == "green\n" => return self.green += 1,
            Ok((status, body)) => {
                self.bad_statuses += 1;
                format!("{status}: {}", body.chars().take(80).collect::<String>())
            }
            Err(error) => {
                self.transport_errors += 1;
                error.to_string()
            }
        };
        if self.bad.len() < Load::KEPT {
            self.bad.push(format!("request {} after {} ms: {trouble}", self.total, took.as_millis()));
        }
    }
}

/// One request, one answer: its status and its whole body.
fn ask(address: SocketAddr, request: &str) -> Result<(u16, String), std::io::Error> {
    let broken = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_string());
    let mut stream = TcpStream::connect_timeout(&address, Load::TIMEOUT)?;
    stream.set_read_timeout(Some(Load::TIMEOUT))?;
    stream.set_write_timeout(Some(Load::TIMEOUT))?;
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| broken("the answer has no end of its head"))?;
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or_else(|| broken("no status"))?;
    let promised = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    match promised {
        Some(length) if length != body.len() => Err(broken("the answer was cut short")),
        _ => Ok((status, body.to_string())),
    }
}
