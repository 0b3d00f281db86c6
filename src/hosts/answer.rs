//! What a host said to a program that was sent to it, or why it said nothing. Below the facts, which are read from
//! answers, and below `remote`, which fetches them. Never fetches and never judges.

use std::io;
use std::time::Duration;

use super::program::Nonce;

/// What a program answered: its sections in order, and the status it ended with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    pub status: i32,
    pub sections: Vec<(String, Vec<u8>)>,
    /// What the login shell printed before the answer; empty on a quiet host.
    pub noise: String,
    /// What ssh and the host agreed on, as ssh names it: only of the answer that came with the handshake.
    pub key_exchange: Option<String>,
    /// What was waited for longest, where that was long.
    pub silence: Option<Silence>,
}

/// A host that began to answer and then said nothing for [`Silence::LONG`] or more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// The section whose content was waited for.
    pub section: String,
    pub lasted: Duration,
}

impl Silence {
    /// What a healthy host never takes for one line.
    pub const LONG: Duration = Duration::from_secs(2);

    /// The silence behind what came of an answer so far, and what is held back of it.
    pub fn behind(content: &[u8], held_back: &[u8], nonce: &Nonce, lasted: Duration) -> Option<Silence> {
        let (section, _) = sections(&[content, held_back].concat(), nonce).pop()?;
        Some(Silence { section, lasted })
    }
}

impl Answer {
    /// The first section of that name, as text; bytes that are not UTF-8 are replaced.
    pub fn text(&self, name: &str) -> Option<String> {
        self.bytes(name).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    pub fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.sections.iter().find(|(section, _)| section == name).map(|(_, bytes)| bytes.as_slice())
    }

    /// Every section of that name.
    pub fn all(&self, name: &str) -> impl Iterator<Item = String> {
        self.sections
            .iter()
            .filter(move |(section, _)| section == name)
            .map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned())
    }

    /// The line of a section that says most: nginx's emerg, else the last.
    pub fn worst_line(&self, name: &str) -> String {
        worst_line(&self.text(name).unwrap_or_default(), &["[emerg]"])
    }

    /// The status that `ask NAME` noted for a command.
    pub fn status_of(&self, name: &str) -> Option<i32> {
        self.text(&format!("{name}.status"))?.trim().parse().ok()
    }
}

/// The line of a program's words that says most: the first with one of the marks, else the last.
pub fn worst_line(said: &str, marks: &[&str]) -> String {
    let is_marked = |line: &&str| marks.iter().any(|mark| line.contains(mark));
    let marked = said.lines().map(str::trim).find(is_marked);
    marked.map_or_else(|| last_line(said), str::to_owned)
}

/// The last line of a program's words that is not empty. Where systemctl says why, and then where to read more, it is the
/// former.
pub fn last_line(said: &str) -> String {
    let says_more = ["See system logs and ", "See \"systemctl status "];
    let says_why = |line: &&str| !line.is_empty() && !says_more.iter().any(|start| line.starts_with(start));
    said.lines().map(str::trim).rfind(says_why).unwrap_or("it says nothing").to_owned()
}

/// Why there is no answer. What a failed *change* did is not known unless it says [`Failure::NotSent`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The host was not reached, so nothing was sent.
    #[error("{why}")]
    NotSent { why: String, hint: Option<String> },
    /// The line was lost, or the answer did not come: what was sent may have happened, or may still happen.
    #[error("no answer: {why}")]
    Unknown { why: String },
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

    /// What has come and may be the beginning of the end still.
    pub fn held_back(&self) -> &[u8] {
        if self.begun { &self.held } else { &[] }
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
    use std::time::Duration;

    use super::*;
    use crate::hosts::program::{Program, shell_text};

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
            silence: None,
        }
    }

    const ECHO: &[&str] = &[
        "section() { printf '\\n%s %s\\n' \"$rp_nonce\" \"$1\"; }\n",
        "# Takes: arg...\nshow() { for a in \"$@\"; do section arg; printf '%s' \"$a\"; done; section count; printf '%s' \"$#\"; }\nwith_arg show\nsection empty\nreturn 7\n",
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
            arguments: arguments.iter().map(|argument| ("arg", argument.clone())).collect(),
            cargo: &[],
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
