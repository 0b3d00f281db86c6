//! One psql with its standard input open: text goes in, and a mark that comes back says how far the server is.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// What psql says last is kept up to here.
const SAID_BYTES: usize = 16 << 10;

pub struct Psql {
    child: Arc<Mutex<Child>>,
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
            .spawn()
            .map_err(|err| io::Error::other(format!("{program}: {err}")))?;
        let no_pipe = || io::Error::other("psql has no pipes");
        let stdin = child.stdin.take().ok_or_else(no_pipe)?;
        widen(&stdin);
        let stdout = child.stdout.take().ok_or_else(no_pipe)?;
        let stderr = child.stderr.take().ok_or_else(no_pipe)?;
        let said = std::thread::spawn(move || last_words(stderr));
        let mut psql = Psql {
            child: Arc::new(Mutex::new(child)),
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
    pub fn handle(&self) -> Arc<Mutex<Child>> {
        Arc::clone(&self.child)
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
        let status = self.child.lock().unwrap_or_else(PoisonError::into_inner).wait()?;
        if status.success() { Ok(()) } else { Err(self.last_words()) }
    }

    fn last_words(&mut self) -> io::Error {
        drop(self.stdin.take());
        let said = self.said.take().and_then(|said| said.join().ok()).unwrap_or_default();
        let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
        let is_cause = |line: &&str| ["ERROR:", "FATAL:", "PANIC:", "error:"].iter().any(|word| line.contains(word));
        let cause = lines().find(is_cause).or_else(|| lines().next_back()).unwrap_or("psql ended without a word");
        io::Error::other(cause.to_owned())
    }
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
