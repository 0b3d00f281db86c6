//! What it means to ask a host and to change it, without saying how: the traits [`Ask`] and [`Apply`], the
//! words that go over and the answer that comes back. A reader that may only ask holds a [`ReadOnly`], which
//! has no `apply`: consent to a plan is what unlocks it. Never names ssh, and never decides anything.

pub mod ssh;

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use crate::answer::{Answer, Failure};
use crate::consent::Confirmed;
use crate::names::HostName;

/// A static script with its arguments. The script is one of `scripts/remote/`; the arguments are data and reach
/// it as `"$1"`, `"$2"`, …, whatever characters they hold. Only `command` makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The file under `scripts/remote/`, without `.sh`.
    pub name: &'static str,
    /// The parts of the script, in order.
    pub parts: &'static [&'static str],
    pub arguments: Vec<String>,
    /// Bytes that follow the script over the line; it finds them on its file descriptor 3. Mostly none.
    pub cargo: Arc<[u8]>,
    /// After this long the answer is not waited for any more.
    pub limit: Duration,
}

/// A program that only asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question(pub(crate) Program);

/// A program that changes a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change(pub(crate) Program);

impl Question {
    pub fn program(&self) -> &Program {
        &self.0
    }
}

impl Change {
    pub fn program(&self) -> &Program {
        &self.0
    }
}

/// Asks hosts; cannot change them.
pub trait Ask: Sync {
    /// One question, one answer.
    ///
    /// # Errors
    /// [`Failure`]; a script that ends with a status other than 0 is an answer.
    fn ask(&self, host: &HostName, question: &Question) -> impl Future<Output = Result<Answer, Failure>> + Send;

    /// A question whose answer is a stream of bytes, given to `sink` as they come; the status is the script's.
    ///
    /// # Errors
    /// [`Failure`]; also when `sink` fails, which ends the stream.
    fn stream(
        &self,
        host: &HostName,
        question: &Question,
        sink: &mut (dyn FnMut(&[u8]) -> io::Result<()> + Send),
    ) -> impl Future<Output = Result<i32, Failure>> + Send;
}

/// Changes hosts.
pub trait Apply: Ask {
    /// One change, one answer.
    ///
    /// # Errors
    /// [`Failure`]; see there what is known then.
    fn apply(&self, host: &HostName, change: &Change) -> impl Future<Output = Result<Answer, Failure>> + Send;

    /// A change that lasts as long as what it returns: the lock.
    ///
    /// # Errors
    /// As [`Apply::apply`].
    fn hold(&self, host: &HostName, change: &Change) -> impl Future<Output = Result<(Answer, Held), Failure>> + Send;
}

/// Something held on a host until it is dropped or [`Held::release`]d.
#[derive(Default)]
pub struct Held {
    lost: Arc<AtomicBool>,
    release: Option<tokio::sync::oneshot::Sender<()>>,
    done: Option<tokio::task::JoinHandle<()>>,
}

impl Held {
    pub fn new(
        lost: Arc<AtomicBool>,
        release: tokio::sync::oneshot::Sender<()>,
        done: tokio::task::JoinHandle<()>,
    ) -> Held {
        Held { lost, release: Some(release), done: Some(done) }
    }

    /// Whether somebody else holds it by now.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// Gives it back, and waits for that at most a second.
    pub async fn release(mut self) {
        drop(self.release.take());
        if let Some(done) = self.done.take() {
            // A host that cannot even say goodbye loses the lock with its channel.
            let _ = tokio::time::timeout(Duration::from_secs(1), done).await;
        }
    }
}

/// Hosts that may only be asked. What is inside comes out against a consent, and only then.
pub struct ReadOnly<F>(F);

impl<F> ReadOnly<F> {
    pub fn new(fleet: F) -> Self {
        Self(fleet)
    }

    /// The hosts as something that can be changed, for the plan that was consented to.
    pub fn unlock(self, _consent: &Confirmed) -> F {
        self.0
    }
}

impl<F: Ask> Ask for ReadOnly<F> {
    fn ask(&self, host: &HostName, question: &Question) -> impl Future<Output = Result<Answer, Failure>> + Send {
        self.0.ask(host, question)
    }

    fn stream(
        &self,
        host: &HostName,
        question: &Question,
        sink: &mut (dyn FnMut(&[u8]) -> io::Result<()> + Send),
    ) -> impl Future<Output = Result<i32, Failure>> + Send {
        self.0.stream(host, question, sink)
    }
}

/// Another number each time: RandomState is seeded by the operating system once for each thread and differs for each
/// instance.
fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

/// A fresh word that marks the lines of one answer: 32 hexadecimal digits that nobody can have printed before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nonce(String);

impl Nonce {
    pub fn new() -> Nonce {
        Nonce(format!("{:016x}{:016x}", random(), random()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Nonce {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text that a POSIX shell on the host evaluates for `program`: the shared functions, the script as a
/// function, and one call of it with every argument in single quotes. Nothing of an argument is ever code.
pub fn shell_text(program: &Program, nonce: &Nonce) -> String {
    let mut text = format!("rp_nonce={nonce}\n");
    for part in program.parts.split_last().map_or(&[][..], |(_, shared)| shared) {
        push_code(&mut text, part);
    }
    text.push_str("answered() { printf '\\n%s end %s\\n' \"$rp_nonce\" \"$1\"; rp_answered=yes; }\nrp_main() {\n");
    if let Some(script) = program.parts.last() {
        push_code(&mut text, script);
    }
    text.push_str("}\nrp_call() { rp_main");
    for argument in &program.arguments {
        text.push(' ');
        text.push_str(&quoted(argument));
    }
    // A program that runs itself once more, as root, gives no second answer.
    text.push_str("; }\n[ -z \"${rp_inner-}\" ] || { rp_call </dev/null; exit; }\n");
    // In a subshell of its own: nothing that a script sets or leaves changes the next one on this line. Its
    // standard input is empty, the line itself is 3, so that no command can eat what is meant for the shell.
    text.push_str("exec 3<&0\n(\n  rp_answered=\n  printf '\\n%s begin\\n' \"$rp_nonce\"\n  rp_call </dev/null\n  rp_end=$?\n  [ -n \"$rp_answered\" ] || answered \"$rp_end\"\n)\n");
    text
}

/// In single quotes for a POSIX shell, where nothing but the single quote itself means anything.
fn quoted(argument: &str) -> String {
    format!("'{}'", argument.replace('\'', "'\\''"))
}

/// Code without the lines that are only comment: they need not travel.
fn push_code(text: &mut String, code: &str) {
    for line in code.lines().filter(|line| !line.trim_start().starts_with('#')) {
        text.push_str(line);
        text.push('\n');
    }
}

/// Takes an answer apart as it comes, in constant memory for what lies between begin and end.
pub struct Frame {
    begin: Vec<u8>,
    end: Vec<u8>,
    held: Vec<u8>,
    noise: Vec<u8>,
    begun: bool,
    status: Option<i32>,
}

impl Frame {
    pub fn new(nonce: &Nonce) -> Frame {
        Frame {
            begin: format!("\n{nonce} begin\n").into_bytes(),
            end: format!("\n{nonce} end ").into_bytes(),
            // The marker begins with a newline of its own, which the first byte of an answer lacks nothing for.
            held: Vec::new(),
            noise: Vec::new(),
            begun: false,
            status: None,
        }
    }

    /// Takes the next bytes; gives to `sink` what is certainly content.
    ///
    /// # Errors
    /// Those of `sink`.
    pub fn push(&mut self, bytes: &[u8], sink: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        if self.status.is_some() {
            return Ok(());
        }
        self.held.extend_from_slice(bytes);
        if !self.begun {
            let Some(at) = find(&self.held, &self.begin) else {
                let keep = self.held.len().min(self.begin.len());
                let noise: Vec<u8> = self.held.drain(..self.held.len() - keep).collect();
                // A motd is a screen; more than that is not worth remembering.
                self.noise.extend(noise.into_iter().take(4096_usize.saturating_sub(self.noise.len())));
                return Ok(());
            };
            self.noise.extend_from_slice(&self.held[..at.min(4096)]);
            // The begin marker's last newline stays: a section, or the end, may follow at once and begins with it.
            self.held.drain(..at + self.begin.len() - 1);
            self.begun = true;
        }
        match find(&self.held, &self.end) {
            Some(at) => {
                let rest = &self.held[at + self.end.len()..];
                if let Some(newline) = rest.iter().position(|b| *b == b'\n') {
                    self.status = std::str::from_utf8(&rest[..newline]).ok().and_then(|s| s.trim().parse().ok());
                    let content: Vec<u8> = self.held.drain(..).take(at).collect();
                    sink(&content)?;
                }
            }
            None => {
                let sure = self.held.len().saturating_sub(self.end.len());
                if sure > 0 {
                    sink(&self.held[..sure])?;
                    self.held.drain(..sure);
                }
            }
        }
        Ok(())
    }

    /// The script's status, once the end has been seen.
    pub fn status(&self) -> Option<i32> {
        self.status
    }

    pub fn has_begun(&self) -> bool {
        self.begun
    }

    pub fn noise(&self) -> String {
        // Before the begin, what is held back for its sake is noise as well.
        let held = if self.begun { &[][..] } else { &self.held };
        String::from_utf8_lossy(&[&self.noise, held].concat()).trim().to_owned()
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(haystack, needle)
}

/// The sections of an answer's content. Text before the first section is dropped.
pub fn sections(content: &[u8], nonce: &Nonce) -> Vec<(String, Vec<u8>)> {
    let marker = format!("\n{nonce} ").into_bytes();
    let mut found = Vec::new();
    let mut rest = content;
    while let Some(at) = find(rest, &marker) {
        let after = &rest[at + marker.len()..];
        let Some(newline) = after.iter().position(|b| *b == b'\n') else { break };
        let name = String::from_utf8_lossy(&after[..newline]).into_owned();
        let body = &after[newline..];
        // A section's body ends before the newline that belongs to the next marker; its own first newline is the
        // marker line's, kept in view so that an empty body is followed by a marker too.
        let end = find(body, &marker).unwrap_or(body.len());
        found.push((name, body.get(1..end).unwrap_or_default().to_vec()));
        rest = &body[end..];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(program: &Program, shell: &str) -> Answer {
        let nonce = Nonce::new();
        let text = shell_text(program, &nonce);
        let output = std::process::Command::new(shell)
            .arg("-c")
            .arg("eval \"$0\"")
            .arg(&text)
            .output()
            .expect("the shell is on this machine");
        let mut frame = Frame::new(&nonce);
        let mut content = Vec::new();
        for chunk in output.stdout.chunks(3) {
            frame
                .push(chunk, &mut |bytes| {
                    content.extend_from_slice(bytes);
                    Ok(())
                })
                .expect("a vector takes everything");
        }
        Answer {
            status: frame.status().unwrap_or(-1),
            sections: sections(&content, &nonce),
            noise: frame.noise() + &String::from_utf8_lossy(&output.stderr),
            key_exchange: None,
        }
    }

    const ECHO: &[&str] = &[
        "section() { printf '\\n%s %s\\n' \"$rp_nonce\" \"$1\"; }\n",
        "for a in \"$@\"; do section arg; printf '%s' \"$a\"; done\nsection empty\nsection count\nprintf '%s' \"$#\"\nreturn 7\n",
    ];

    #[test]
    fn an_argument_reaches_the_script_as_it_was() {
        let arguments = [
            "",
            " ",
            "a b",
            "it's",
            "''",
            "$(id)",
            "`id`",
            "$HOME",
            "\\",
            "\\'",
            "a\nb\n",
            "\n",
            "*",
            "~",
            "-n",
            "!x",
            "ü€",
            "\"",
            "#end",
            "'; exit 3; '",
            "\u{1b}[31m",
            "\u{1f}",
        ]
        .map(str::to_owned);
        let program = Program {
            name: "echo",
            parts: ECHO,
            arguments: arguments.to_vec(),
            cargo: Arc::default(),
            limit: Duration::from_secs(5),
        };
        let answer = run(&program, "sh");
        let seen: Vec<String> = answer.all("arg").collect();
        assert_eq!(seen, arguments, "{answer:?}");
        assert_eq!(answer.text("count").as_deref(), Some("22"));
        assert_eq!(answer.text("empty").as_deref(), Some(""));
        assert_eq!(answer.status, 7);
    }

    #[test]
    fn what_a_login_shell_prints_first_is_noise() {
        let nonce = Nonce::new();
        let mut frame = Frame::new(&nonce);
        let mut content = Vec::new();
        let text = format!("Welcome to web1!\nlast login: …\n\n{nonce} begin\nbytes\n{nonce}\nmore\n{nonce} end 0\n");
        frame
            .push(text.as_bytes(), &mut |bytes| {
                content.extend_from_slice(bytes);
                Ok(())
            })
            .expect("a vector takes everything");
        assert_eq!(frame.status(), Some(0));
        assert!(frame.noise().starts_with("Welcome to web1!"));
        assert_eq!(content, format!("\nbytes\n{nonce}\nmore").into_bytes());
    }

    #[test]
    fn an_answer_without_its_end_has_no_status() {
        let nonce = Nonce::new();
        let mut frame = Frame::new(&nonce);
        frame.push(format!("\n{nonce} begin\nhalf an ans").as_bytes(), &mut |_| Ok(())).expect("nothing fails here");
        assert!(frame.has_begun());
        assert_eq!(frame.status(), None);
    }
}
