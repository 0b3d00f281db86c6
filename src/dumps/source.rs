//! A dump as a stream of text: the output of a command, unpacked where it is packed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

use super::dump::{Reader, Scan};
use super::scanner::Scanner;

/// Read at once, packed and unpacked: larger ones are not faster, smaller ones are.
const CHUNK: usize = 256 << 10;

/// What a dump in pg_dump's custom format begins with.
const CUSTOM_MAGIC: &[u8] = b"PGDMP";

/// Reads a dump to its end and says what it holds.
pub fn scan(words: &[String]) -> Scan {
    read(words, &Arc::default(), &mut ()).0
}

/// Gives a dump's parts to `reader`. The error is the reader's own; what is wrong with the dump is in the scan.
pub fn read(words: &[String], consumed: &Arc<AtomicU64>, reader: &mut impl Reader) -> (Scan, Option<io::Error>) {
    let mut scanner = Scanner::new();
    let (trouble, refused, is_packed) = match Source::open(words, consumed) {
        Err(err) => (Some(err.to_string()), None, false),
        Ok(mut source) => {
            let (trouble, refused) = source.pump(&mut scanner, reader);
            let is_packed = source.is_packed;
            let trouble = match (trouble, refused.is_some()) {
                // Whoever stops in the middle has its own reason, and the command dies of a closed pipe.
                (_, true) => None,
                (trouble, false) => source.end(trouble),
            };
            (trouble, refused, is_packed)
        }
    };
    let mut scan = scanner.end();
    scan.is_packed = is_packed;
    if trouble.is_some() {
        scan.is_complete = false;
        scan.error = trouble;
    }
    (scan, refused)
}

struct Source {
    /// `None` where the file is read without one.
    command: Option<Child>,
    text: Text,
    is_packed: bool,
}

enum Text {
    Plain(BufReader<Counted>),
    Packed(Box<MultiGzDecoder<BufReader<Counted>>>),
}

/// Counts the packed bytes, which is what the file's size is compared with.
struct Counted {
    from: Box<dyn Read>,
    consumed: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buffer)?;
        self.consumed.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

impl Source {
    fn open(words: &[String], consumed: &Arc<AtomicU64>) -> io::Result<Source> {
        if let Some(file) = plain_file(words) {
            return Source::of(Box::new(file), None, consumed);
        }
        let (program, arguments) = words.split_first().ok_or_else(|| io::Error::other("no command to read it with"))?;
        let mut command = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|err| io::Error::other(format!("{program}: {err}")))?;
        let from = command.stdout.take().ok_or_else(|| io::Error::other("no pipe"))?;
        Source::of(Box::new(from), Some(command), consumed)
    }

    fn of(from: Box<dyn Read>, command: Option<Child>, consumed: &Arc<AtomicU64>) -> io::Result<Source> {
        let mut packed = BufReader::with_capacity(CHUNK, Counted { from, consumed: Arc::clone(consumed) });
        let is_packed = packed.fill_buf()?.starts_with(&[0x1f, 0x8b]);
        let text = if is_packed { Text::Packed(Box::new(MultiGzDecoder::new(packed))) } else { Text::Plain(packed) };
        Ok(Source { command, text, is_packed })
    }

    /// Everything to the scanner; ends with what is wrong with the bytes, or with what the reader says.
    fn pump(&mut self, scanner: &mut Scanner, reader: &mut impl Reader) -> (Option<String>, Option<io::Error>) {
        let mut chunk = vec![0_u8; CHUNK];
        loop {
            let read = match &mut self.text {
                Text::Plain(text) => text.read(&mut chunk),
                Text::Packed(text) => text.read(&mut chunk),
            };
            match read {
                Ok(0) => return (None, None),
                Ok(n) => {
                    if scanner.scan().bytes == 0 && chunk[..n].starts_with(CUSTOM_MAGIC) {
                        return (Some("it is in pg_dump's custom format: pg_restore reads it".to_owned()), None);
                    }
                    if let Err(err) = scanner.push(&chunk[..n], reader) {
                        return (None, Some(err));
                    }
                }
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => {
                    return (Some("the gzip file ends too early".to_owned()), None);
                }
                Err(err) => return (Some(format!("gzip: {err}")), None),
            }
        }
    }

    /// How the command ended, where nothing was wrong before.
    fn end(self, trouble: Option<String>) -> Option<String> {
        if trouble.is_some() {
            return trouble;
        }
        drop(self.text);
        let mut said = String::new();
        let mut command = self.command?;
        if let Some(mut stderr) = command.stderr.take() {
            // What it says is a detail of its status.
            let _ = stderr.by_ref().take(16 << 10).read_to_string(&mut said);
        }
        match command.wait() {
            Ok(status) if status.success() => None,
            Ok(status) => {
                Some(said.lines().rfind(|line| !line.trim().is_empty()).map_or(status.to_string(), str::to_owned))
            }
            Err(err) => Some(err.to_string()),
        }
    }
}

/// The file of `cat FILE`, opened here: a pipe less, and a third of the time that reading takes.
fn plain_file(words: &[String]) -> Option<File> {
    match words {
        [program, path] if program == "cat" => File::open(path).ok(),
        _ => None,
    }
}
