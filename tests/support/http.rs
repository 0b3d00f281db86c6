//! A small HTTP server with a temper, on a port that the system gave. Each file that talks to one compiles this for itself and
//! uses a part of it, hence the allowance below.
#![allow(dead_code)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rollback_prod::nouns::secret::Secret;

/// How a server behaves.
#[derive(Debug, Clone)]
pub enum Temper {
    /// Status, more head lines, body.
    Says(u16, &'static str, &'static str),
    /// Takes the request and never answers.
    Hangs,
    /// Closes without a word.
    Closes,
    /// Answers as a service would, which knows what it was asked before.
    Plays(fn(&[Request], &Request) -> (u16, String)),
}

/// One request as it came.
#[derive(Debug, Clone, Default)]
pub struct Request {
    pub head: String,
    pub body: String,
}

/// An HTTP server for one test; its temper can change.
pub struct Server {
    pub port: u16,
    temper: Arc<Mutex<Temper>>,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub fn start(temper: Temper) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let server = Server { port, temper: Arc::new(Mutex::new(temper)), seen: Arc::default() };
        let (temper, seen) = (Arc::clone(&server.temper), Arc::clone(&server.seen));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (temper, seen) = (Arc::clone(&temper), Arc::clone(&seen));
                std::thread::spawn(move || answer(stream.expect("a connection"), &temper, &seen));
            }
        });
        server
    }

    pub fn url(&self, path: &str) -> Secret {
        Secret::new(format!("http://127.0.0.1:{}{path}", self.port))
    }

    pub fn becomes(&self, temper: Temper) {
        *self.temper.lock().expect("the server's temper") = temper;
    }

    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().expect("the server's requests").clone()
    }
}

fn answer(stream: TcpStream, temper: &Mutex<Temper>, seen: &Mutex<Vec<Request>>) {
    let mut reader = BufReader::new(stream.try_clone().expect("the same socket"));
    let mut request = Request::default();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
            break;
        }
        request.head.push_str(&line.to_lowercase());
    }
    let length = request
        .head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .and_then(|length| length.trim().parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    request.body = String::from_utf8(body).expect("JSON is UTF-8");
    let before = {
        let mut seen = seen.lock().expect("the server's requests");
        let before = seen.clone();
        seen.push(request.clone());
        before
    };
    let temper = temper.lock().expect("the server's temper").clone();
    let mut stream = stream;
    match temper {
        Temper::Says(status, head, body) => {
            let text = format!(
                "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{head}connection: close\r\n\r\n{body}",
                body.len()
            );
            // The client may be gone.
            let _ = stream.write_all(text.as_bytes());
        }
        Temper::Hangs => std::thread::sleep(Duration::from_secs(60)),
        Temper::Closes => {}
        Temper::Plays(play) => {
            let (status, body) = play(&before, &request);
            let length = body.len();
            let text = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
            let _ = stream.write_all(text.as_bytes());
        }
    }
}
