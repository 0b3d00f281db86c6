//! Words that are run on this machine: bounded in time and in what is kept of what they print, and ended with all that they
//! began where they take too long. Talks to no host.

use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::context::locked;

/// Of what they print so much is kept; what comes after it is read, and forgotten.
const KEPT: usize = 16 * 1024;
/// What a child that they left behind still prints is waited for so long.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// Between being asked to end and being ended.
const GRACE: Duration = Duration::from_secs(2);

/// Words, and what they get.
#[derive(Debug, Clone)]
pub struct LocalWords<'w> {
    /// The program first; never empty.
    pub words: &'w [String],
    pub folder: Option<&'w Path>,
    pub env: &'w [(String, String)],
    pub limit: Duration,
}

/// Why a program could not be run here; `None` where it can be found, as far as that is to be seen.
pub fn lacks(program: &str, folder: Option<&Path>) -> Option<String> {
    let is_executable = |path: &Path| path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
    if program.contains('/') {
        let path = folder.map_or_else(|| program.into(), |folder| folder.join(program));
        return match (path.is_file(), is_executable(&path)) {
            (_, true) => None,
            (true, false) => Some(format!("{} is not executable", path.display())),
            (false, false) => Some(format!("there is no {}", path.display())),
        };
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let is_there = std::env::split_paths(&folders).any(|folder| is_executable(&folder.join(program)));
    (!is_there).then(|| format!("there is no program {program}"))
}

/// How they ended, and what they printed until then.
#[derive(Debug)]
pub struct RanHere {
    pub ended: Result<ExitStatus, NotRun>,
    pub said: String,
}

/// Why there is no status.
#[derive(Debug, thiserror::Error)]
pub enum NotRun {
    #[error("cannot be started: {0}")]
    NotStarted(io::Error),
    #[error("has not ended after {} s, and was ended", .0.as_secs_f64())]
    TookTooLong(Duration),
}

/// Ends a whole group where nobody waits for it any more.
struct Group(Option<Pid>);

impl Group {
    fn send(&self, signal: Signal) {
        if let Some(pid) = self.0 {
            // One that is gone needs no signal.
            let _ = kill_process_group(pid, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.send(Signal::KILL);
    }
}

/// Runs them to their end, or for as long as they may take.
pub async fn run(words: &LocalWords<'_>) -> RanHere {
    let said = Arc::new(Mutex::new(Vec::new()));
    let ended = match start(words) {
        Ok(child) => wait(child, words.limit, &said).await,
        Err(err) => Err(NotRun::NotStarted(err)),
    };
    let said = String::from_utf8_lossy(&locked(&said)).into_owned();
    RanHere { ended, said }
}

fn start(words: &LocalWords<'_>) -> io::Result<Child> {
    let (program, arguments) =
        words.words.split_first().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "there are no words"))?;
    let mut command = Command::new(program);
    command.args(arguments).envs(words.env.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Ctrl-C is for us; words that are cut half-way would look like a failure.
    command.process_group(0).kill_on_drop(true);
    if let Some(folder) = words.folder.filter(|folder| !folder.as_os_str().is_empty()) {
        command.current_dir(folder);
    }
    command.spawn()
}

async fn wait(mut child: Child, limit: Duration, said: &Arc<Mutex<Vec<u8>>>) -> Result<ExitStatus, NotRun> {
    let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let mut group = Group(pid);
    let pipes: [Option<Box<dyn AsyncRead + Send + Unpin>>; 2] = [
        child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn AsyncRead + Send + Unpin>),
        child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn AsyncRead + Send + Unpin>),
    ];
    let readers: Vec<_> =
        pipes.into_iter().flatten().map(|pipe| tokio::spawn(read_to_the_end(pipe, Arc::clone(said)))).collect();
    let ended = match timeout(limit, child.wait()).await {
        Ok(Ok(status)) => {
            // What they left running on purpose is not ours to end.
            group.0 = None;
            Ok(status)
        }
        Ok(Err(err)) => Err(NotRun::NotStarted(err)),
        Err(_) => {
            group.send(Signal::TERM);
            let _ = timeout(GRACE, child.wait()).await;
            Err(NotRun::TookTooLong(limit))
        }
    };
    drop(group);
    let all = async {
        for reader in &readers {
            while !reader.is_finished() {
                sleep(Duration::from_millis(5)).await;
            }
        }
    };
    let _ = timeout(LAST_WORDS, all).await;
    readers.iter().for_each(tokio::task::JoinHandle::abort);
    ended
}

async fn read_to_the_end(mut pipe: Box<dyn AsyncRead + Send + Unpin>, said: Arc<Mutex<Vec<u8>>>) {
    let mut bytes = [0; 8192];
    while let Ok(read @ 1..) = pipe.read(&mut bytes).await {
        let mut said = locked(&said);
        let room = KEPT.saturating_sub(said.len());
        said.extend_from_slice(&bytes[..read.min(room)]);
    }
}

impl RanHere {
    /// Whether they ended well.
    ///
    /// # Errors
    /// How they ended and the last line that they said.
    pub fn result(&self) -> Result<(), String> {
        match &self.ended {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => {
                let last = self.said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it says nothing");
                Err(format!("{status}: {}", last.trim()))
            }
            Err(why) => Err(why.to_string()),
        }
    }
}
