//! What the start of a colour that is down would need and does not find, as `ground.sh` says it. Never says that it would
//! start: only that it cannot.

use serde::Serialize;

/// One thing that is not as a start needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Lack {
    Program(String),
    /// The program is there, and nobody may run it.
    Right(String),
    /// `INTERPRETER of SCRIPT`
    Interpreter(String),
    Folder(String),
    File(String),
    User(String),
    Image(String),
    /// `SERVICE of FILE`
    Service(String),
    /// The supervisor's own complaint.
    Complaint(String),
}

impl Lack {
    /// What is so, and what to look at on the host.
    pub fn describe(&self) -> (String, String) {
        match self {
            Lack::Program(path) => (format!("its program {path} is not there"), format!("ls -l {path}")),
            Lack::Right(path) => (format!("{path} may be run by nobody"), format!("ls -l {path}")),
            Lack::Interpreter(of) => {
                let path = of.split_once(" of ").map_or(of.as_str(), |(_, script)| script);
                (format!("the interpreter {of} is not there"), format!("head -n 1 {path}"))
            }
            Lack::Folder(path) => (format!("its folder {path} is not there"), format!("ls -ld {path}")),
            Lack::File(path) => (format!("the file {path} is not there"), format!("ls -l {path}")),
            Lack::User(name) => (format!("there is no user {name}"), format!("id {name}")),
            Lack::Image(name) => (format!("the image {name} is not there"), format!("docker image inspect {name}")),
            Lack::Service(of) => {
                let file = of.split_once(" of ").map_or(of.as_str(), |(_, file)| file);
                (format!("there is no service {of}"), format!("docker compose -f {file} config --services"))
            }
            Lack::Complaint(said) => (said.clone(), "systemctl --failed".to_owned()),
        }
    }
}

/// Reads what `lacks_of` prints: `WORD VALUE`.
pub(super) fn read(said: &str) -> Vec<Lack> {
    said.lines()
        .filter_map(|line| {
            let (word, value) = line.split_once(' ')?;
            let value = value.trim_end_matches('\r').to_owned();
            Some(match word {
                "program" => Lack::Program(value),
                "right" => Lack::Right(value),
                "interpreter" => Lack::Interpreter(value),
                "folder" => Lack::Folder(value),
                "file" => Lack::File(value),
                "user" => Lack::User(value),
                "image" => Lack::Image(value),
                "service" => Lack::Service(value),
                "systemd" | "compose" => Lack::Complaint(value),
                _ => return None,
            })
        })
        .collect()
}
