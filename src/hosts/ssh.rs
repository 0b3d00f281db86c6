//! The one file that talks ssh. A host's first question rides on the handshake itself, on the channel of the
//! master; what follows goes over the same connection, one program after the other into shells that wait for the
//! next. Carries programs and answers; never looks into them.
//!
//! The master is `ssh -M`, started here rather than by the `openssh` crate: the crate cannot pass `-o` options,
//! and its master outlives a killed program. Ours ends when its standard input does.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::process::{Child, ChildStderr};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::answer::{Answer, Failure, Frame, Silence, sections};
use super::facts::program_behind;
use super::program::{Change, Nonce, Program, Question, random, shell_text};
use super::remote::{Apply, Ask, Held};
use crate::nouns::inventory::{Host, Inventory, Role, SshSettings};
use crate::nouns::names::HostName;
use crate::nouns::octets::bytes_of;

/// An answer that is not a stream is held in memory; no honest one comes near this.
const ANSWER_LIMIT_BYTES: usize = 16 << 20;
/// sshd's `MaxSessions` is 10 for a connection; the lock and a streaming log take one each for long.
const SESSIONS_PER_HOST: usize = 6;
/// What ssh says when the other end closes before anybody has shown a key.
const DROPPED: [&str; 2] = ["kex_exchange_identification:", "Exceeded MaxStartups"];
/// Between two attempts, doubled each time; all of them together stay within `[ssh] connect_timeout`.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// The lock's script calls a lock stale when five beats were missed.
const BEAT: Duration = Duration::from_secs(2);
/// A shell that waited longer than this for its next program is asked whether it is still there before it gets one.
const SURE_FOR: Duration = Duration::from_secs(1);
/// What rides on the handshake where nothing is to be asked: it says that there is a shell.
const HERE: &[&str] = &[":\n"];
/// A stream makes so many connections that others can use, too, before it takes one for itself.
const STREAMS_TRY: u32 = 2;
/// Open files for each host: the pipes of its ssh and of its shells, twelve as a rule, more where logs stream.
const FILES_PER_HOST: u64 = 32;
/// And for all the rest.
const FILES_BESIDE: u64 = 128;
/// How soon a control socket is seen.
const SOCKET_PAUSE: Duration = Duration::from_millis(5);

/// All hosts of the inventory, each behind one connection that is made when the host is first asked.
pub struct Ssh {
    settings: SshSettings,
    /// Whether [`Apply::hold`] will be asked for on balancers.
    will_hold: bool,
    hosts: HashMap<HostName, Arc<Line>>,
    connecting: Semaphore,
    /// Holds the control sockets; gone with this value.
    folder: tempfile::TempDir,
    sockets: AtomicUsize,
}

/// One host and, once it was asked, the connection to it.
struct Line {
    host: Host,
    open: Mutex<Option<Arc<Open>>>,
    sessions: Semaphore,
    /// Programs sent so far; a test holds that it stays small before traffic is safe.
    sent: AtomicUsize,
}

/// A connection, and its shells.
struct Open {
    session: Arc<openssh::Session>,
    is_broken: AtomicBool,
    /// Those that wait for a program.
    waiting: std::sync::Mutex<Vec<Shell>>,
    /// One that was opened beside the first question: the lock's, which keeps it, so that nobody waits for it.
    spare: std::sync::Mutex<Option<JoinHandle<Result<Shell, Failure>>>>,
    connect_timeout: Duration,
    /// Kept so that the master lives exactly as long as this value and this process.
    _master: Child,
}

/// A shell on a host, on a channel of its own. It takes one program after the other, each in one round trip; a new
/// channel takes three until it has its first.
struct Shell {
    input: Box<dyn AsyncWrite + Send + Unpin>,
    output: Box<dyn AsyncRead + Send + Unpin>,
    /// Ends each program: nobody else can guess it.
    seal: Nonce,
    last_heard: Instant,
    /// None where it is the master's own, which ends the connection when it ends.
    child: Option<openssh::Child<Arc<openssh::Session>>>,
}

/// Why a connection was not made.
struct Refused {
    failure: Failure,
    was_dropped: bool,
}

/// What a program's bytes go to.
enum Sink<'a> {
    Memory(&'a mut Vec<u8>),
    Stream(&'a mut (dyn FnMut(&[u8]) -> io::Result<()> + Send)),
}

impl Sink<'_> {
    /// The same once more, for another attempt.
    fn again(&mut self) -> Sink<'_> {
        match self {
            Sink::Memory(content) => Sink::Memory(content),
            Sink::Stream(sink) => Sink::Stream(sink),
        }
    }
}

impl Ssh {
    /// Connects to nobody yet.
    ///
    /// # Errors
    /// When the private folder for the control sockets cannot be made.
    pub fn new(inventory: &Inventory) -> anyhow::Result<Ssh> {
        Ssh::to(inventory.ssh.clone(), inventory.hosts.clone())
    }

    /// The same to these hosts, each named once.
    ///
    /// # Errors
    /// As [`Ssh::new`].
    pub fn to(settings: SshSettings, hosts: Vec<Host>) -> anyhow::Result<Ssh> {
        let folder = socket_folder().context("cannot make a private folder for ssh's control sockets")?;
        make_room_for_files(hosts.len() as u64);
        let hosts = hosts
            .into_iter()
            .map(|host| {
                let name = host.name.clone();
                let line = Line {
                    host,
                    open: Mutex::new(None),
                    sessions: Semaphore::new(SESSIONS_PER_HOST),
                    sent: AtomicUsize::new(0),
                };
                (name, Arc::new(line))
            })
            .collect();
        Ok(Ssh {
            connecting: Semaphore::new(settings.at_once as usize),
            settings,
            will_hold: false,
            hosts,
            folder,
            sockets: AtomicUsize::new(0),
        })
    }

    /// The same for a run that takes the locks of balancers.
    #[must_use]
    pub fn that_will_hold(self) -> Ssh {
        Ssh { will_hold: true, ..self }
    }

    /// How many programs a host was sent.
    pub fn round_trips(&self, host: &HostName) -> usize {
        self.hosts.get(host).map_or(0, |line| line.sent.load(Ordering::Relaxed))
    }

    fn line(&self, host: &HostName) -> Result<&Arc<Line>, Failure> {
        self.hosts.get(host).ok_or_else(|| Failure::NotSent { why: format!("{host} is not in the config"), hint: None })
    }

    /// Runs a program on a host, over a new connection when there is none.
    async fn run(&self, host: &HostName, program: &Program, mut sink: Sink<'_>) -> Result<Answer, Failure> {
        let line = self.line(host)?;
        let deadline = Instant::now() + program.limit;
        line.sent.fetch_add(1, Ordering::Relaxed);
        let mut made = 0;
        loop {
            let mut open = line.open.lock().await;
            let Some(session) = open.as_ref().filter(|open| !open.is_broken.load(Ordering::Relaxed)).cloned() else {
                *open = None;
                // A stream may take an hour: it does not ride on the handshake that all others wait for behind it. Where there
                // are no sessions but that one (MaxSessions 1), it does.
                if matches!(sink, Sink::Stream(_)) && made < STREAMS_TRY {
                    made += 1;
                    let limit = self.settings.connect_timeout;
                    let here = Program { name: "here", parts: HERE, arguments: Vec::new(), cargo: &[], limit };
                    let (_, session) = self.connect(&line.host, &here, Sink::Memory(&mut Vec::new())).await?;
                    *open = Some(Arc::new(session));
                    continue;
                }
                let (answer, session) = self.connect(&line.host, program, sink).await?;
                *open = Some(Arc::new(session));
                return Ok(answer);
            };
            drop(open);
            let _permit = line.sessions.acquire().await;
            let answer = session.run(program, sink.again(), deadline).await;
            if answer.is_err() {
                session.is_broken.store(true, Ordering::Relaxed);
            }
            // Nothing was sent: the connection is gone, or sshd gives it no more sessions (MaxSessions). The next
            // round finds one that somebody else made meanwhile, or makes one and rides on its handshake.
            if !matches!(answer, Err(Failure::NotSent { .. })) {
                return answer;
            }
        }
    }

    /// Connects, again where sshd dropped us before it knew who we are: it does so at random when many come at once
    /// (MaxStartups), and a moment later it does not.
    async fn connect(&self, host: &Host, program: &Program, mut sink: Sink<'_>) -> Result<(Answer, Open), Failure> {
        let until = Instant::now() + self.settings.connect_timeout;
        let mut pause = FIRST_PAUSE;
        loop {
            match self.connect_once(host, program, sink.again()).await {
                Err(Refused { failure, was_dropped }) => {
                    let pause_now = jittered(pause);
                    if !was_dropped || Instant::now() + pause_now >= until {
                        return Err(failure);
                    }
                    tokio::time::sleep(pause_now).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Ok(connected) => return Ok(connected),
            }
        }
    }

    /// Starts the master with the program on its own channel.
    async fn connect_once(&self, host: &Host, program: &Program, sink: Sink<'_>) -> Result<(Answer, Open), Refused> {
        let _permit = self.connecting.acquire().await;
        let not_sent = |why: String| Refused { failure: Failure::NotSent { why, hint: None }, was_dropped: false };
        let number = self.sockets.fetch_add(1, Ordering::Relaxed);
        let socket = self.folder.path().join(number.to_string());
        let seal = Nonce::new();
        let mut master = tokio::process::Command::new("ssh")
            .args(self.master_options(&socket))
            .arg(host.ssh.as_str())
            .arg(bootstrap(&seal))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A Ctrl-C in the terminal is for us: ssh in a group of its own does not see it.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|err| not_sent(format!("cannot start ssh: {err}")))?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (master.stdin.take(), master.stdout.take(), master.stderr.take())
        else {
            return Err(not_sent("ssh has no pipes".to_owned()));
        };
        let mut shell = Shell::new(stdin, stdout, seal, None);
        let mut said = Said::new(stderr);
        // The handshake has a limit of its own, on top of the program's: it is the network's, not the host's.
        let deadline = Instant::now() + self.settings.connect_timeout * 2 + program.limit;
        let session = Arc::new(openssh::Session::resume_mux(socket.clone().into_boxed_path(), None));
        let will_hold = self.will_hold && host.is(Role::Balancer);
        let spare = will_hold.then(|| tokio::spawn(spare(Arc::clone(&session), socket, deadline)));
        let answered = {
            let asked = shell.run(program, sink, deadline);
            tokio::pin!(asked);
            loop {
                tokio::select! {
                    // What is said of the handshake was written before the answer, and is read before it.
                    biased;
                    () = said.read(), if !said.is_over => {}
                    answered = &mut asked => break answered,
                }
            }
        };
        match answered {
            Ok(mut answer) => {
                answer.key_exchange = said.key_exchange;
                let open = Open {
                    session,
                    is_broken: AtomicBool::new(false),
                    waiting: std::sync::Mutex::new(vec![shell]),
                    spare: std::sync::Mutex::new(spare),
                    connect_timeout: self.settings.connect_timeout,
                    _master: master,
                };
                Ok((answer, open))
            }
            Err(lost) => {
                if let Some(spare) = spare {
                    spare.abort();
                }
                let _ = master.start_kill();
                let to_its_end = async {
                    while !said.is_over {
                        said.read().await;
                    }
                };
                let _ = tokio::time::timeout(Duration::from_millis(500), to_its_end).await;
                let was_dropped = !lost.begun && DROPPED.iter().any(|words| said.text.contains(words));
                Err(Refused { failure: explain(host, lost, &said.text), was_dropped })
            }
        }
    }

    fn master_options(&self, socket: &std::path::Path) -> Vec<String> {
        let seconds = self.settings.connect_timeout.as_secs().max(1);
        let mut words: Vec<String> = vec!["-M".into(), "-S".into(), socket.to_string_lossy().into_owned(), "-T".into()];
        if let Some(config) = &self.settings.config {
            words.extend(["-F".into(), config.to_string_lossy().into_owned()]);
        }
        // ssh takes the first value it sees for an option: ours come before the operator's, and both before the
        // files. None of these may be weakened; everything else is the operator's own policy.
        let ours = [
            "BatchMode=yes".to_owned(),
            "StrictHostKeyChecking=yes".to_owned(),
            "ControlMaster=yes".to_owned(),
            "ControlPersist=no".to_owned(),
            "ForwardAgent=no".to_owned(),
            "ForwardX11=no".to_owned(),
            "ClearAllForwardings=yes".to_owned(),
            "PermitLocalCommand=no".to_owned(),
            "RemoteCommand=none".to_owned(),
            "RequestTTY=no".to_owned(),
            // For the key exchange, which ssh tells nobody else.
            "LogLevel=DEBUG1".to_owned(),
            "ServerAliveInterval=5".to_owned(),
            "ServerAliveCountMax=3".to_owned(),
            format!("ConnectTimeout={seconds}"),
        ];
        for option in ours.into_iter().chain(self.settings.options.iter().cloned()) {
            words.extend(["-o".to_owned(), option]);
        }
        words.push("--".into());
        words
    }
}

impl Ask for Ssh {
    async fn ask(&self, host: &HostName, question: &Question) -> Result<Answer, Failure> {
        let deadline = Instant::now() + question.program().limit;
        match self.gather(host, question.program()).await {
            // It changed nothing, so it is asked once more where the line was cut under it; what took too long is not.
            Err(Failure::Unknown { .. }) if Instant::now() < deadline => self.gather(host, question.program()).await,
            answered => answered,
        }
    }

    async fn stream(
        &self,
        host: &HostName,
        question: &Question,
        sink: &mut (dyn FnMut(&[u8]) -> io::Result<()> + Send),
    ) -> Result<i32, Failure> {
        Ok(self.run(host, question.program(), Sink::Stream(sink)).await?.status)
    }
}

impl Apply for Ssh {
    async fn apply(&self, host: &HostName, change: &Change) -> Result<Answer, Failure> {
        self.gather(host, change.program()).await
    }

    async fn hold(&self, host: &HostName, change: &Change) -> Result<(Answer, Held), Failure> {
        let line = self.line(host)?;
        let program = change.program();
        line.sent.fetch_add(1, Ordering::Relaxed);
        let deadline = Instant::now() + program.limit;
        let mut is_again = false;
        let (answer, mut shell, open) = loop {
            let (mut shell, open) = self.shell_to_keep(line, program.limit).await?;
            match shell.run(program, Sink::Memory(&mut Vec::new()), deadline).await {
                Ok(answer) => break (answer, shell, open),
                Err(lost) => {
                    open.is_broken.store(true, Ordering::Relaxed);
                    // What was begun ends with its channel, so it may be begun once more; what took too long is not.
                    if is_again || Instant::now() >= deadline {
                        return Err(Failure::Unknown { why: lost.why });
                    }
                    is_again = true;
                }
            }
        };
        let lost = Arc::new(AtomicBool::new(false));
        let (release, mut released) = tokio::sync::oneshot::channel::<()>();
        let is_lost = Arc::clone(&lost);
        let done = tokio::spawn(async move {
            let mut more = [0_u8; 64];
            loop {
                tokio::select! {
                    // Dropping the sender releases too: there is no way to forget it.
                    _ = &mut released => {
                        let _ = shell.input.write_all(b"release\n").await;
                        let _ = shell.input.shutdown().await;
                        while matches!(shell.output.read(&mut more).await, Ok(n) if n > 0) {}
                        break;
                    }
                    _ = tokio::time::sleep(BEAT) => {
                        if shell.input.write_all(b"beat\n").await.is_err() {
                            break;
                        }
                    }
                    read = shell.output.read(&mut more) => match read {
                        Ok(n) if n > 0 => {
                            if more[..n].windows(4).any(|w| w == b"lost") {
                                is_lost.store(true, Ordering::Relaxed);
                            }
                        }
                        _ => break,
                    },
                }
            }
            // Only now: with the shell the channel goes, with the connection all of them.
            drop(shell);
            drop(open);
        });
        Ok((answer, Held::new(lost, release, done)))
    }
}

impl Ssh {
    /// A shell for somebody who keeps it, that is there for sure: over a new connection where the old one died since it was
    /// last heard of.
    async fn shell_to_keep(&self, line: &Line, limit: Duration) -> Result<(Shell, Arc<Open>), Failure> {
        let mut is_new = false;
        loop {
            let mut place = line.open.lock().await;
            let open = match place.as_ref().filter(|open| !open.is_broken.load(Ordering::Relaxed)) {
                Some(open) => Arc::clone(open),
                None => {
                    *place = None;
                    is_new = true;
                    let here = Program { name: "here", parts: HERE, arguments: Vec::new(), cargo: &[], limit };
                    let (_, open) = self.connect(&line.host, &here, Sink::Memory(&mut Vec::new())).await?;
                    Arc::clone(place.insert(Arc::new(open)))
                }
            };
            drop(place);
            match open.shell_to_keep(Instant::now() + limit).await {
                Ok(shell) => return Ok((shell, open)),
                Err(failure) => {
                    open.is_broken.store(true, Ordering::Relaxed);
                    // A connection that was made for it and has no shell for it (MaxSessions 1) will have none the next time.
                    if is_new {
                        return Err(failure);
                    }
                }
            }
        }
    }

    async fn gather(&self, host: &HostName, program: &Program) -> Result<Answer, Failure> {
        let mut content = Vec::new();
        self.run(host, program, Sink::Memory(&mut content)).await
    }
}

/// What the login shell is given: plain enough for sh, bash, fish and csh alike. It reads a number and then so many
/// bytes, which are a program, and evaluates it only when it ends in a word that nobody can guess: a line that is cut
/// while a program is on its way runs nothing. Then it waits for the next, until its input ends: the channel lives as
/// long as we.
///
/// `head` and not the shell's own `read`: that takes one byte at a time, and where /bin/sh is bash a program that
/// carries an nginx file of 3 000 lines took 9 s to arrive (dash 1 s); this way it takes 20 ms, and 3 instead of 7 to
/// 32 ms for a small one.
fn bootstrap(seal: &Nonce) -> String {
    format!(
        "exec /bin/sh -c 'while IFS= read -r n; do p=$(head -c \"$n\"); \
         case $p in *\"#end-{seal}\") eval \"$p\";; *) exit;; esac; done'"
    )
}

/// A text as [`bootstrap`] takes it.
fn sealed(text: &str, seal: &Nonce) -> Vec<u8> {
    let (text, end) = (bytes_of(text), format!("#end-{seal}"));
    [format!("{}\n", text.len() + end.len()).as_bytes(), &text, end.as_bytes()].concat()
}

/// A shell on a new channel of a connection.
async fn new_shell(session: &Arc<openssh::Session>) -> Result<Shell, Failure> {
    let gone = |why: String| Failure::NotSent { why: format!("the connection is gone: {why}"), hint: None };
    let seal = Nonce::new();
    let mut child = Arc::clone(session)
        .arc_raw_command(bootstrap(&seal))
        .stdin(openssh::Stdio::piped())
        .stdout(openssh::Stdio::piped())
        .stderr(openssh::Stdio::null())
        .spawn()
        .await
        .map_err(|err| gone(chain(&err)))?;
    match (child.stdin().take(), child.stdout().take()) {
        (Some(stdin), Some(stdout)) => Ok(Shell::new(stdin, stdout, seal, Some(child))),
        _ => Err(gone("the channel has no pipes".into())),
    }
}

/// The same as soon as there is a connection.
async fn spare(session: Arc<openssh::Session>, socket: PathBuf, deadline: Instant) -> Result<Shell, Failure> {
    let connected = async {
        while !socket.exists() {
            tokio::time::sleep(SOCKET_PAUSE).await;
        }
        new_shell(&session).await
    };
    in_time(deadline, connected).await
}

/// Of something that sends nothing yet.
async fn in_time<T>(deadline: Instant, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let late = || Failure::NotSent { why: "the connection does not answer".into(), hint: None };
    timeout_at(deadline, work).await.unwrap_or_else(|_| Err(late()))
}

impl Open {
    /// Runs a program in a shell that waits for one, or in a new one.
    async fn run(&self, program: &Program, sink: Sink<'_>, deadline: Instant) -> Result<Answer, Failure> {
        // What is left of a cargo would be taken for the next program.
        let takes_more = program.cargo.is_empty();
        // Whoever listens to a stream may have enough of it, and the shell goes with it: not the master's own.
        let may_end_early = matches!(sink, Sink::Stream(_));
        let fits = |shell: &Shell| !may_end_early || shell.child.is_some();
        let mut shell = match takes_more.then(|| self.waiting_shell(fits)).flatten() {
            Some(mut shell) => {
                let soon = deadline.min(Instant::now() + self.connect_timeout);
                shell.is_there(soon).await?;
                shell
            }
            None => in_time(deadline, new_shell(&self.session)).await?,
        };
        let answer = shell.run(program, sink, deadline).await.map_err(|lost| Failure::Unknown { why: lost.why })?;
        if takes_more {
            self.waiting().push(shell);
        }
        Ok(answer)
    }

    /// One that somebody keeps, not the master's own, and that is there.
    async fn shell_to_keep(&self, deadline: Instant) -> Result<Shell, Failure> {
        let mut waiting = self.waiting_shell(|shell| shell.child.is_some());
        if waiting.is_none() {
            let spare = self.spare().take();
            if let Some(spare) = spare {
                waiting = spare.await.ok().and_then(Result::ok);
            }
        }
        match waiting {
            Some(mut shell) => {
                let soon = deadline.min(Instant::now() + self.connect_timeout);
                shell.is_there(soon).await?;
                Ok(shell)
            }
            None => in_time(deadline.min(Instant::now() + self.connect_timeout), new_shell(&self.session)).await,
        }
    }

    fn waiting_shell(&self, fits: impl Fn(&Shell) -> bool) -> Option<Shell> {
        let mut waiting = self.waiting();
        let at = waiting.iter().position(fits)?;
        Some(waiting.swap_remove(at))
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Shell>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spare(&self) -> MutexGuard<'_, Option<JoinHandle<Result<Shell, Failure>>>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shell {
    fn new(
        input: impl AsyncWrite + Send + Unpin + 'static,
        output: impl AsyncRead + Send + Unpin + 'static,
        seal: Nonce,
        child: Option<openssh::Child<Arc<openssh::Session>>>,
    ) -> Shell {
        Shell { input: Box::new(input), output: Box::new(output), seal, last_heard: Instant::now(), child }
    }

    /// Sends a program and reads its answer. A shell that failed is of no use any more.
    async fn run(&mut self, program: &Program, sink: Sink<'_>, deadline: Instant) -> Result<Answer, Lost> {
        let nonce = Nonce::new();
        self.exchange(&shell_text(program, &nonce), program.cargo, &nonce, sink, deadline).await
    }

    /// That a program which is sent now will arrive. A question of ours that comes to nothing did nothing, and a change
    /// would have left us not knowing.
    async fn is_there(&mut self, deadline: Instant) -> Result<(), Failure> {
        if self.last_heard.elapsed() < SURE_FOR {
            return Ok(());
        }
        let nonce = Nonce::new();
        let text = format!("printf '\\n%s begin\\n\\n%s end 0\\n' {nonce} {nonce}\n");
        match self.exchange(&text, &[], &nonce, Sink::Memory(&mut Vec::new()), deadline).await {
            Ok(_) => Ok(()),
            Err(lost) => Err(Failure::NotSent { why: format!("the connection is gone: {}", lost.why), hint: None }),
        }
    }

    async fn exchange(
        &mut self,
        text: &str,
        cargo: &[u8],
        nonce: &Nonce,
        sink: Sink<'_>,
        deadline: Instant,
    ) -> Result<Answer, Lost> {
        let sent = async {
            self.input.write_all(&sealed(text, &self.seal)).await?;
            self.input.write_all(cargo).await?;
            self.input.flush().await
        };
        // A host that is gone or refuses us closes the pipe; that is read from the other end too, with the reason.
        let _ = timeout_at(deadline, sent).await;
        let answer = read_answer(&mut self.output, nonce, sink, deadline).await?;
        self.last_heard = Instant::now();
        Ok(answer)
    }
}

/// Why an answer ended before its end.
struct Lost {
    why: String,
    begun: bool,
    noise: String,
}

async fn read_answer(
    from: &mut (dyn AsyncRead + Send + Unpin),
    nonce: &Nonce,
    mut sink: Sink<'_>,
    deadline: Instant,
) -> Result<Answer, Lost> {
    let mut frame = Frame::new(nonce);
    let mut chunk = vec![0_u8; 64 << 10];
    let mut is_first_byte = true;
    let mut silence: Option<Silence> = None;
    while frame.status().is_none() {
        let lost =
            |frame: &Frame, why: &str| Lost { why: why.to_owned(), begun: frame.has_begun(), noise: frame.noise() };
        let since = Instant::now();
        let read = timeout_at(deadline, from.read(&mut chunk)).await;
        let this = match &sink {
            Sink::Memory(content) if read.is_err() || since.elapsed() >= Silence::LONG => {
                Silence::behind(content, frame.held_back(), nonce, since.elapsed())
                    .filter(|silence| program_behind(&silence.section).is_some())
            }
            _ => None,
        };
        let n = match read {
            Err(_) => {
                let what = this.and_then(|silence| program_behind(&silence.section));
                let what = what.map(|what| format!(": {what} was waited for")).unwrap_or_default();
                return Err(lost(&frame, &format!("it did not come in time{what}")));
            }
            Ok(Err(err)) => return Err(lost(&frame, &format!("the line broke: {err}"))),
            Ok(Ok(0)) => return Err(lost(&frame, "the line was cut")),
            Ok(Ok(n)) => n,
        };
        if this.as_ref().map(|this| this.lasted) > silence.as_ref().map(|longest| longest.lasted) {
            silence = this;
        }
        let taken = frame.push(&chunk[..n], &mut |bytes| match &mut sink {
            Sink::Memory(content) if content.len() + bytes.len() > ANSWER_LIMIT_BYTES => {
                Err(io::Error::other("the answer is larger than 16 MiB"))
            }
            Sink::Memory(content) => {
                content.extend_from_slice(bytes);
                Ok(())
            }
            // The newline that belongs to the begin marker is not part of a stream.
            Sink::Stream(sink) if is_first_byte && !bytes.is_empty() => {
                is_first_byte = false;
                sink(&bytes[1..])
            }
            Sink::Stream(sink) => sink(bytes),
        });
        if let Err(err) = taken {
            return Err(lost(&frame, &err.to_string()));
        }
    }
    let sections = match &sink {
        Sink::Memory(content) => sections(content, nonce),
        Sink::Stream(_) => Vec::new(),
    };
    let status = frame.status().unwrap_or(-1);
    Ok(Answer { status, sections, noise: frame.noise(), key_exchange: None, silence })
}

/// What ssh says on its standard error at `LogLevel=DEBUG1`.
struct Said {
    from: ChildStderr,
    /// The line that has not ended yet.
    line: Vec<u8>,
    /// What it would say without that level; at most [`Said::LIMIT`] bytes.
    text: String,
    /// What it and the host agreed on. Hosts on the way have an ssh of their own, at a level of its own.
    key_exchange: Option<String>,
    is_over: bool,
}

impl Said {
    const LIMIT: usize = 16 << 10;
    /// What the level adds: never a cause.
    const DETAILS: [&str; 4] = ["debug1: ", "Authenticated to ", "Transferred: ", "Bytes per second: "];

    fn new(from: ChildStderr) -> Said {
        Said { from, line: Vec::new(), text: String::new(), key_exchange: None, is_over: false }
    }

    /// Takes what has come; may be left at any moment.
    async fn read(&mut self) {
        let mut chunk = [0_u8; 4096];
        let n = self.from.read(&mut chunk).await.unwrap_or(0);
        self.is_over = n == 0;
        for byte in &chunk[..n] {
            match byte {
                b'\n' => self.end_line(),
                // What has no end is no line of ssh's.
                _ if self.line.len() < Said::LIMIT => self.line.push(*byte),
                _ => {}
            }
        }
        if self.is_over {
            self.end_line();
        }
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).trim_end().to_owned();
        if line.starts_with("Authenticated to ") {
            // What came before is a banner, and no reason for what fails later.
            self.text.clear();
        }
        if let Some(name) = line.strip_prefix("debug1: kex: algorithm: ") {
            self.key_exchange = Some(name.to_owned());
        }
        let is_a_detail = Said::DETAILS.iter().any(|words| line.starts_with(words));
        if !is_a_detail && !line.is_empty() && self.text.len() + line.len() < Said::LIMIT {
            self.text.push_str(&line);
            self.text.push('\n');
        }
    }
}

/// What ssh said, as a cause and the command to type.
fn explain(host: &Host, lost: Lost, said: &str) -> Failure {
    let last = said.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("").to_owned();
    let dest = &host.ssh;
    let cause = |why: &str, hint: String| Failure::NotSent { why: why.to_owned(), hint: Some(hint) };
    if lost.begun {
        return Failure::Unknown { why: if last.is_empty() { lost.why } else { format!("{} ({last})", lost.why) } };
    }
    if said.contains("REMOTE HOST IDENTIFICATION HAS CHANGED") {
        return cause(
            "its host key is not the one we know: this is another machine, a new installation, or somebody in between",
            format!("ask who owns the host; only then: ssh-keygen -R {dest} && ssh {dest} true"),
        );
    }
    if said.contains("Host key verification failed") {
        return cause(
            "its host key is not known here",
            format!("compare the fingerprint and accept it: ssh {dest} true"),
        );
    }
    if said.contains("Permission denied") {
        return cause("it does not accept our key", format!("ssh-add -l; ssh -v {dest} true"));
    }
    if said.contains("Could not resolve hostname") {
        return cause("its name cannot be resolved", format!("is the VPN up? ssh {dest} true"));
    }
    if DROPPED.iter().any(|words| said.contains(words)) {
        return cause(
            "it drops connections before it knows who we are: more come at once than it takes (MaxStartups; \
             ssh.at_once makes fewer come), or it wants none from here",
            format!("ssh {dest} true"),
        );
    }
    if said.contains("too long for Unix domain socket") || said.contains("ControlPath too long") {
        return cause("the control socket's path is too long", "unset TMPDIR XDG_RUNTIME_DIR".to_owned());
    }
    let why = match (last.is_empty(), lost.noise.is_empty()) {
        (false, _) => last,
        (true, false) => {
            format!("{}; instead of a shell it said: {}", lost.why, lost.noise.lines().next().unwrap_or(""))
        }
        (true, true) => lost.why,
    };
    Failure::NotSent { why, hint: Some(format!("ssh {dest} true")) }
}

/// Half of it to one and a half: those that were dropped together must not come back together.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + (random() % 1000) as f64 / 1000.0)
}

/// An error with its causes on one line.
fn chain(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut source = err.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// A shell gives its programs 1024 open files, or 256 (macOS), and lets them ask for more. Where that is not granted, it
/// may do all the same; a host that it does not do for is named when it comes to it.
fn make_room_for_files(hosts: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let wanted = FILES_BESIDE + hosts * FILES_PER_HOST;
    if now.current.is_some_and(|current| current < wanted) {
        let granted = now.maximum.map_or(wanted, |maximum| maximum.min(wanted));
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(granted), maximum: now.maximum });
    }
}

/// A private folder whose path is short: a socket's path may have 107 bytes on Linux and 103 on macOS, and ssh adds
/// 17 of its own while it binds.
fn socket_folder() -> io::Result<tempfile::TempDir> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.as_os_str().len() < 40);
    for base in runtime.into_iter().chain([PathBuf::from("/tmp")]) {
        if let Ok(folder) = tempfile::Builder::new().prefix("rbp.").rand_bytes(6).tempdir_in(&base) {
            return Ok(folder);
        }
    }
    tempfile::Builder::new().prefix("rbp.").tempdir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_waited_for_in_vain_is_named() {
        let nonce = Nonce::new();
        let (mut host, mut line) = tokio::io::duplex(1 << 10);
        host.write_all(format!("\n{nonce} begin\n\n{nonce} who\n1000\n\n{nonce} rights\n").as_bytes())
            .await
            .expect("a pipe takes it");
        let soon = Instant::now() + Duration::from_millis(50);
        let lost =
            read_answer(&mut line, &nonce, Sink::Memory(&mut Vec::new()), soon).await.expect_err("it has no end");
        assert_eq!(lost.why, "it did not come in time: sudo -l was waited for");
    }

    #[tokio::test]
    async fn a_banner_is_no_reason_once_the_host_has_let_us_in() {
        let said = async |script: &str| {
            let mut child = tokio::process::Command::new("sh")
                .args(["-c", script])
                .stderr(Stdio::piped())
                .spawn()
                .expect("start sh");
            let mut said = Said::new(child.stderr.take().expect("a pipe"));
            while !said.is_over {
                said.read().await;
            }
            child.wait().await.expect("wait for sh");
            said.text
        };
        let banner = "echo 'Nothing is written here without leave' >&2";
        assert!(said(banner).await.contains("without leave"), "until then it may be all that a host says");
        let let_in =
            format!("{banner}; echo 'Authenticated to web1 ([10.0.0.1]:22).' >&2; echo 'Connection reset' >&2");
        assert_eq!(said(&let_in).await, "Connection reset\n");
    }
}
