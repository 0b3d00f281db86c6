//! What the integration tests share: real hosts (`lab`), a PostgreSQL server (`postgres`), the program under test, and
//! failures that explain themselves.
//!
//! Each test file compiles this for itself and uses a part of it, hence the allowance below.
#![allow(dead_code)]

pub mod lab;
pub mod postgres;
pub mod schema;

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use rollback_prod::hosts::carried::program_for;

/// The program under test, with nothing of the environment that would change its config or its screen.
pub fn rollback_prod() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rollback-prod"));
    command.env_remove("ROLLBACK_CONFIG").env_remove("NO_COLOR");
    command
}

/// The program that goes over to a database's host, as it arrives there.
pub fn carried() -> Command {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    Command::new(PATH.get_or_init(|| {
        let packed = program_for(&format!("Linux {}", std::env::consts::ARCH));
        let mut program = Vec::new();
        GzDecoder::new(packed).read_to_end(&mut program).expect("build.rs has packed one");
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("carried");
        // Written by somebody else, and put there by a rename: a program is not started while anybody has it open to write, as
        // whoever is forked from us meanwhile would.
        let mut shell = Command::new("sh")
            .args(["-euc", "cat >\"$1.$$\"; chmod 755 \"$1.$$\"; mv \"$1.$$\" \"$1\"", "sh"])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()
            .expect("start a shell");
        shell.stdin.take().expect("it has a pipe").write_all(&program).expect("it reads");
        assert!(shell.wait().expect("it ends").success(), "it is put to {}", path.display());
        path
    }))
}

/// The least that a `rollback.toml` must say; its host cannot be reached. For what is said before anybody is asked.
pub const LEAST_CONFIG: &str = r#"service = "listings"
[[host]]
name = "web1"
ssh = "deploy@web1.invalid"
[nginx]
file = "/etc/nginx/sites-available/listings"
upstream = "listings_backend"
probe = "http://127.0.0.1/"
[blue]
servers = ["127.0.0.1:8080"]
health = ["http://127.0.0.1:8080/health"]
run.systemd = "listings-blue.service"
[green]
servers = ["127.0.0.1:8081"]
run.systemd = "listings-green.service"
"#;

/// Waits until something is true; a minute is more than anything in a lab takes, and is waited out by a failure only.
#[track_caller]
pub fn until(what: &str, is_true: impl FnMut() -> bool) {
    until_within(60, what, is_true);
}

/// As `until`, for what takes its own time: so many seconds.
#[track_caller]
pub fn until_within(seconds: u64, what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while !is_true() {
        assert!(Instant::now() < deadline, "after {seconds} s it is still not so: {what}");
        // Short beside what is waited for, and long enough that many who wait leave the cores to the hosts.
        std::thread::sleep(Duration::from_millis(15));
    }
}

/// The last line of a `--json` run that must end with 0.
#[track_caller]
pub fn end_of(command: &mut Command) -> serde_json::Value {
    let output = command.output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let last = said.lines().last().unwrap_or_default();
    let end: serde_json::Value = serde_json::from_str(last).unwrap_or_default();
    assert_eq!(end["exit"], 0, "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    end
}

/// One run of a program, over and done, and the folder it worked in. Each claim that does not hold prints all of it.
pub struct Scene {
    command: String,
    folder: PathBuf,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Scene {
    /// No run of the program may take longer: every wait in it has an end well before this.
    pub const LIMIT: Duration = Duration::from_secs(400);

    /// Runs the command to its end, with nothing on its standard input.
    #[track_caller]
    pub fn of(command: &mut Command, folder: &Path) -> Scene {
        Scene::of_typing(command, folder, "")
    }

    /// Runs the command to its end, with `typed` on its standard input.
    #[track_caller]
    pub fn of_typing(command: &mut Command, folder: &Path, typed: &str) -> Scene {
        let words = format!("{command:?}");
        let began = Instant::now();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{words}: {error}"));
        // A program that ends without reading it is no failure of the test.
        let _ = child.stdin.take().expect("piped").write_all(typed.as_bytes());
        let stdout = reader(child.stdout.take().expect("piped"));
        let stderr = reader(child.stderr.take().expect("piped"));
        while child.try_wait().expect("look at the program").is_none() && began.elapsed() < Scene::LIMIT {
            std::thread::sleep(Duration::from_millis(2));
        }
        let took = began.elapsed();
        // Ends only one that is too late; of one that has ended, nothing is left to kill.
        let _ = child.kill();
        let status = child.wait().expect("wait for the program");
        let scene = Scene {
            command: words,
            folder: folder.to_path_buf(),
            status,
            stdout: stdout.join().expect("read standard output"),
            stderr: stderr.join().expect("read standard error"),
            took,
        };
        scene.holds(took < Scene::LIMIT, "the program ends by itself");
        scene
    }

    /// Asserts the exit code.
    #[track_caller]
    pub fn exits(&self, code: i32) -> &Scene {
        self.holds(self.status.code() == Some(code), &format!("exit code {code}"))
    }

    /// Asserts that the text stands in either output.
    #[track_caller]
    pub fn says(&self, text: &str) -> &Scene {
        self.holds(self.stdout.contains(text) || self.stderr.contains(text), &format!("it says {text:?}"))
    }

    /// Asserts that each line of standard output is one of `--json`, as the published schema says.
    #[track_caller]
    pub fn keeps_to_the_schema(&self) -> &Scene {
        let complaints = schema::complaints(&self.stdout);
        let is_json = !self.stdout.trim().is_empty() && complaints.is_empty();
        self.holds(is_json, &format!("its lines are as docs/output.schema.json says:\n{}", complaints.join("\n")))
    }

    /// Asserts that the text stands in neither output.
    #[track_caller]
    pub fn never_says(&self, text: &str) -> &Scene {
        self.holds(!self.stdout.contains(text) && !self.stderr.contains(text), &format!("it never says {text:?}"))
    }

    /// Asserts anything, in the test's own words.
    #[track_caller]
    pub fn holds(&self, claim: bool, words: &str) -> &Scene {
        assert!(claim, "does not hold: {words}\n{self}");
        self
    }
}

impl std::fmt::Display for Scene {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(out, "--- command\n{}", self.command)?;
        writeln!(out, "--- status\n{} after {} ms", self.status, self.took.as_millis())?;
        writeln!(out, "--- stdout\n{}", self.stdout)?;
        writeln!(out, "--- stderr\n{}", self.stderr)?;
        let mut listing = String::new();
        list(&self.folder, &self.folder, &mut listing);
        writeln!(out, "--- {}\n{listing}", self.folder.display())
    }
}

fn reader(mut from: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error still helps to explain it.
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Sizes and names of what lies below `folder`; not the lab, whose disks are whole operating systems.
fn list(root: &Path, folder: &Path, out: &mut String) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let Ok(meta) = path.symlink_metadata() else { continue };
        let shown = path.strip_prefix(root).unwrap_or(&path);
        let _ = writeln!(out, "{:>9}  {}", meta.len(), shown.display());
        if meta.is_dir() && !path.join("ssh_config").exists() {
            list(root, &path, out);
        }
    }
}
