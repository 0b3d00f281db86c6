//! One psql with its standard input open: text goes in, and a mark that comes back says how far the server is.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// What psql says last is kept up to here.
const SAID_BYTES: usize = 16 << 10;
/// How long one is waited for that has nothing to do any more.
const PATIENCE: Duration = Duration::from_secs(2);

/// To end it from another thread.
#[derive(Clone)]
pub struct Handle(Arc<Mutex<Child>>);

impl Handle {
    /// As Ctrl-C does: the server stops what it is at, and psql ends because that failed.
    pub fn cancel(&self) {
        let mut child = self.lock();
        // One that has ended and was waited for has given its number away.
        if let (Ok(None), Some(pid)) = (child.try_wait(), i32::try_from(child.id()).ok().and_then(Pid::from_raw)) {
            // Behind sudo it is not ours to signal; it ends when its input does.
            let _ = kill_process(pid, Signal::INT);
        }
    }

    pub fn kill(&self) {
        // One that has ended by itself cannot be ended again.
        let _ = self.lock().kill();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Child> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits without holding it, so that it can be killed meanwhile. `None`: it has not ended in time.
    fn wait(&self, limit: Option<Duration>) -> io::Result<Option<std::process::ExitStatus>> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.lock().try_wait()? {
                return Ok(Some(status));
            }
            if limit.is_some_and(|limit| began.elapsed() > limit) {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

pub struct Psql {
    handle: Handle,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    said: Option<JoinHandle<String>>,
    marks: u64,
}

impl Psql {
    /// # Errors
    /// When it cannot be started.
    pub fn start(words: &[String]) -> io::Result<Psql> {
        let (program, arguments) = words.split_first().ok_or_else(|| io::Error::other("no psql was named"))?;
        let mut child = Command::new(program)
            .args(arguments)
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Of its own, or sudo would think that our signals come from itself and keep them.
            .process_group(0)
            .spawn()
            .map_err(|err| io::Error::other(format!("{program}: {err}")))?;
        let no_pipe = || io::Error::other("psql has no pipes");
        let stdin = child.stdin.take().ok_or_else(no_pipe)?;
        widen(&stdin);
        let stdout = child.stdout.take().ok_or_else(no_pipe)?;
        let stderr = child.stderr.take().ok_or_else(no_pipe)?;
        let said = std::thread::spawn(move || last_words(stderr));
        let mut psql = Psql {
            handle: Handle(Arc::new(Mutex::new(child))),
            stdin: Some(stdin),
            stdout: BufReader::new(stdout),
            said: Some(said),
            marks: 0,
        };
        // Results of a dump's own SELECTs are nobody's business, and a pipe that nobody empties would stop it.
        psql.send(b"\\o /dev/null\n")?;
        Ok(psql)
    }

    /// To end it from another thread.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// # Errors
    /// psql's own last words when it has ended.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(stdin) = &mut self.stdin else { return Err(io::Error::other("psql has ended")) };
        match stdin.write_all(bytes) {
            Ok(()) => Ok(()),
            Err(_) => Err(self.last_words()),
        }
    }

    /// Returns when the server has done everything that was sent.
    ///
    /// # Errors
    /// psql's own last words when something of it failed.
    pub fn sync(&mut self) -> io::Result<()> {
        self.marks += 1;
        let mark = format!("rollback-prod mark {}", self.marks);
        self.send(format!("\n\\echo {mark}\n").as_bytes())?;
        let mut line = String::new();
        loop {
            line.clear();
            match self.stdout.read_line(&mut line) {
                Ok(0) | Err(_) => return Err(self.last_words()),
                Ok(_) if line.trim_end() == mark => return Ok(()),
                Ok(_) => {}
            }
        }
    }

    /// # Errors
    /// psql's own last words when it ends with anything but 0.
    pub fn end(mut self) -> io::Result<()> {
        self.sync()?;
        drop(self.stdin.take());
        let is_well = self.handle.wait(None)?.is_some_and(|status| status.success());
        if is_well { Ok(()) } else { Err(self.last_words()) }
    }

    fn last_words(&mut self) -> io::Error {
        drop(self.stdin.take());
        let said = self.said.take().and_then(|said| said.join().ok()).unwrap_or_default();
        io::Error::other(cause(&said))
    }
}

impl Drop for Psql {
    /// Nothing more is sent; psql ends with its input, and what it was at with it.
    fn drop(&mut self) {
        drop(self.stdin.take());
        // Whoever ends before it leaves it to init.
        let _ = self.handle.wait(Some(PATIENCE));
    }
}

/// Of what psql said, the error that ended it, with what belongs to it.
fn cause(said: &str) -> String {
    let lines: Vec<&str> = said.lines().map(str::trim_end).filter(|line| !line.trim().is_empty()).collect();
    let last = |words: &[&str]| lines.iter().rposition(|line| words.iter().any(|word| line.contains(word)));
    // A server that speaks another language still has psql name itself.
    let at = last(&["ERROR:", "FATAL:", "PANIC:"])
        .or_else(|| last(&["server closed the connection"]))
        .or_else(|| last(&["error:"]))
        .or_else(|| lines.iter().rposition(|line| line.starts_with("psql:")))
        .or_else(|| lines.len().checked_sub(1));
    let Some(at) = at else { return "psql ended without a word".to_owned() };
    // `psql:<stdin>:17: ERROR:  …`: the number is of a text that nobody has.
    let line = lines[at].strip_prefix("psql:<stdin>:").and_then(|rest| rest.split_once(": ")).map(|(_, rest)| rest);
    let mut cause = line.unwrap_or(lines[at]).trim().to_owned();
    for detail in
        lines.iter().skip(at + 1).filter_map(|line| line.strip_prefix("DETAIL:").or(line.strip_prefix("CONTEXT:")))
    {
        cause.push_str("; ");
        cause.push_str(detail.trim());
    }
    cause
}

/// A pipe that holds a megabyte lets both sides work where one that holds 64 KiB has them wait for each other.
#[cfg(target_os = "linux")]
fn widen(pipe: &ChildStdin) {
    // A user may have too many wide pipes already; then it stays as it is.
    let _ = rustix::pipe::fcntl_setpipe_size(pipe, 1 << 20);
}

#[cfg(not(target_os = "linux"))]
fn widen(_pipe: &ChildStdin) {}

/// The first words and the last: the cause is among them.
fn last_words(mut from: impl Read) -> String {
    let mut said = Vec::new();
    let mut chunk = [0_u8; 4096];
    while let Ok(n) = from.read(&mut chunk) {
        if n == 0 {
            break;
        }
        said.extend_from_slice(&chunk[..n]);
        if said.len() > SAID_BYTES {
            said.drain(SAID_BYTES / 2..said.len() - SAID_BYTES / 2);
        }
    }
    String::from_utf8_lossy(&said).into_owned()
}
