//! A PostgreSQL server for tests: one of its own, in a folder under the temporary one, reached over a socket in there.
//!
//! It runs as an unprivileged user and ends with whoever holds it: also when the test process is killed, because the
//! shell that started it waits on a pipe from here. Never talks to a server of this machine.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// `nobody`: the server refuses to run as root.
const USER: u32 = 65534;

/// Starts the server, and ends it with its folder when standard input closes.
const KEEPER: &str = r#"
trap '' INT TERM HUP
bin=$1 data=$2 folder=$3 limit=$4; shift 4
ulimit -f "$limit" || exit 1
setsid "$bin/postgres" -D "$data" -k "$folder" "$@" </dev/null >>"$folder/log" 2>&1 &
server=$!
while read -r word; do
  case $word in
    crash) kill -QUIT "$server"; wait "$server"; echo crashed ;;
    start) setsid "$bin/postgres" -D "$data" -k "$folder" "$@" </dev/null >>"$folder/log" 2>&1 & server=$!; echo started ;;
  esac
done
kill -QUIT "$server" 2>/dev/null
wait "$server"
rm -rf "$folder"
"#;

/// What a server is started with.
#[derive(Default)]
pub struct Options<'o> {
    /// `name=value`, each as in postgresql.conf.
    pub settings: &'o [&'o str],
    /// The settings as an administrator finds them, disk writes and all. Else it is made for speed: nothing survives it.
    pub is_durable: bool,
    /// No file of it grows beyond this: a full disk, as the server sees it.
    pub file_limit_kib: Option<u64>,
}

/// A running server; dropped, it is gone.
pub struct Server {
    folder: PathBuf,
    bin: PathBuf,
    keeper: Child,
    words: Option<ChildStdin>,
    next: AtomicUsize,
}

impl Server {
    /// The one that all tests of this process share; made for speed. Each takes databases of its own.
    pub fn shared() -> &'static Server {
        static SERVER: OnceLock<Server> = OnceLock::new();
        SERVER.get_or_init(|| Server::up(&Options::default()))
    }

    /// A server of the test's own, one that it may crash.
    pub fn up(options: &Options<'_>) -> Server {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let unique = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("rppg{}-{unique}", std::process::id()));
        // Left by a process that had our number before us.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("make the server's folder");
        let is_root = folder.metadata().map(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0).unwrap_or(false);
        if is_root {
            chown(&folder, Some(USER), Some(USER)).expect("give the folder to nobody");
        }
        let bin = binaries();
        let data = folder.join("data");
        let unprivileged = |program: &Path| {
            let mut command = Command::new("setpriv");
            if is_root {
                let user = format!("--reuid={USER}");
                command.args([user.as_str(), &format!("--regid={USER}"), "--clear-groups"]);
            }
            command.arg("--").arg(program).current_dir("/").env("LC_ALL", "C");
            command
        };
        let made = unprivileged(&bin.join("initdb"))
            .args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "-D"])
            .arg(&data)
            .output()
            .expect("initdb starts");
        assert!(made.status.success(), "{}", both(&made));

        let mut settings = vec!["listen_addresses=", "logging_collector=off", "log_min_messages=warning"];
        if !options.is_durable {
            settings.extend(["fsync=off", "full_page_writes=off", "max_connections=50", "shared_buffers=32MB"]);
            // pg_dump of ten thousand tables locks them all.
            settings.push("max_locks_per_transaction=512");
        }
        settings.extend(options.settings);
        let limit = options.file_limit_kib.map_or("unlimited".to_owned(), |kib| (kib * 2).to_string());
        let mut command = unprivileged(Path::new("sh"));
        command.args(["-c", KEEPER, "keeper"]).arg(&bin).arg(&data).arg(&folder).arg(limit);
        for setting in settings {
            command.args(["-c", setting]);
        }
        let mut keeper =
            command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().expect("sh starts");
        let words = keeper.stdin.take();
        let server = Server { folder, bin, keeper, words, next: AtomicUsize::new(0) };
        server.wait_until_it_answers();
        server
    }

    /// Where its socket and its log are, for `PGHOST`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// One of PostgreSQL's programs, told where this server is.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.env("PGHOST", &self.folder).env("PGUSER", "postgres").env_remove("PGDATABASE").env_remove("PGPORT");
        command.env("PGCONNECT_TIMEOUT", "10").env("PGCLIENTENCODING", "UTF8");
        command
    }

    /// psql for a database as words, for programs that start it themselves.
    pub fn psql_words(&self, database: &str) -> Vec<String> {
        let psql = self.bin.join("psql").display().to_string();
        let host = self.folder.display().to_string();
        let database = database.replace('\\', "\\\\").replace('\'', "\\'");
        let words = [
            &psql,
            "-X",
            "-q",
            "-w",
            "-h",
            &host,
            "-p",
            "5432",
            "-U",
            "postgres",
            "-d",
            &format!("dbname='{database}'"),
        ];
        words.map(str::to_owned).to_vec()
    }

    /// Runs statements and gives what they returned: unaligned, a row a line, trimmed. Panics when one fails.
    #[track_caller]
    pub fn sql(&self, database: &str, text: &str) -> String {
        self.try_sql(database, text).unwrap_or_else(|said| {
            let shown: String = text.chars().take(500).collect();
            panic!("{shown}\n{said}")
        })
    }

    /// The same, with what psql says when one fails.
    pub fn try_sql(&self, database: &str, text: &str) -> Result<String, String> {
        let words = self.psql_words(database);
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .args(["-At", "-v", "ON_ERROR_STOP=1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("psql starts");
        let mut stdin = child.stdin.take().expect("piped");
        let text = text.to_owned();
        let writer = std::thread::spawn(move || {
            // A psql that has ended says why itself.
            let _ = std::io::Write::write_all(&mut stdin, text.as_bytes());
        });
        let done = child.wait_with_output().expect("psql ends");
        writer.join().expect("everything was sent");
        if done.status.success() {
            Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
        } else {
            Err(both(&done))
        }
    }

    /// A new empty database with a name of its own.
    #[track_caller]
    pub fn database(&self) -> String {
        let name = format!("db{}", self.next.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name} TEMPLATE template0"));
        name
    }

    /// The text of `pg_dump OPTION… DATABASE`.
    #[track_caller]
    pub fn dump(&self, options: &[&str], database: &str) -> Vec<u8> {
        let done = self.command("pg_dump").args(options).arg(database).output().expect("pg_dump starts");
        assert!(done.status.success(), "{}", both(&done));
        done.stdout
    }

    /// Sessions in a database besides the one that asks.
    pub fn sessions(&self, database: &str) -> usize {
        let name = database.replace('\'', "''");
        let asked = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}' AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        );
        self.sql("postgres", &asked).parse().expect("a number")
    }

    /// Ends it as a power cut would.
    pub fn crash(&mut self) {
        self.tell("crash");
        let pid = self.folder.join("data/postmaster.pid");
        let began = Instant::now();
        while self.answers() && began.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(!self.answers(), "the server ended: {}", pid.display());
    }

    /// Starts it again after a crash.
    pub fn start(&mut self) {
        self.tell("start");
        self.wait_until_it_answers();
    }

    /// The process that all others of the server are children of.
    pub fn pid(&self) -> u32 {
        let text = std::fs::read_to_string(self.folder.join("data/postmaster.pid")).expect("it runs");
        text.lines().next().and_then(|line| line.parse().ok()).expect("a number")
    }

    fn tell(&mut self, word: &str) {
        let words = self.words.as_mut().expect("the keeper listens");
        std::io::Write::write_all(words, format!("{word}\n").as_bytes()).expect("the keeper reads");
    }

    fn answers(&self) -> bool {
        self.command("pg_isready").arg("-q").status().expect("pg_isready starts").success()
    }

    fn wait_until_it_answers(&self) {
        let began = Instant::now();
        while !self.answers() {
            let log = || std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(began.elapsed() < Duration::from_secs(30), "the server does not answer\n{}", log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.words.take());
        let _ = self.keeper.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The newest PostgreSQL of this machine.
fn binaries() -> PathBuf {
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let found = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path());
    let newest = found.filter(|path| path.join("bin/initdb").exists()).max_by_key(|path| version(path));
    newest.expect("PostgreSQL's server is installed (apt-get install postgresql)").join("bin")
}

fn both(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
