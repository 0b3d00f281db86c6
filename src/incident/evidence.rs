//! Collector: green's log, nginx's error log, the journal, a picture of the host, streamed from the hosts into the
//! incident folder, verified while it streams, in constant memory. What could not be had is a gap, never silence.
//! Changes no host, and lets no host choose a file's name.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use flate2::write::MultiGzDecoder;
use futures_util::stream::{self, StreamExt as _};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::capture::{self, Archived};
use crate::hosts::answer::Failure;
use crate::hosts::facts::{Facts, IN_CONTAINER, Seen};
use crate::hosts::program::Question;
use crate::hosts::remote::Ask;
use crate::incident::folder::Folder;
use crate::incident::journal::Journal;
use crate::incident::patterns::Patterns;
use crate::nouns::colour::Colour;
use crate::nouns::inventory::{Host, Inventory, Role};
use crate::nouns::names::HostName;
use crate::nouns::record::{Captured, Entry, Status, StepWord, What};
use crate::nouns::redact::Redactor;

/// Chunks on their way from the line to the disk: 64 of 64 KiB, so that neither waits for the other's hiccups and
/// memory stays at 4 MiB for a log.
const CHUNKS_IN_FLIGHT: usize = 64;

/// A file of which no byte comes for so long gives none: reading one begins at once, and compressing goes on.
const LONGEST_SILENCE: Duration = Duration::from_secs(10);

/// Files that are read at once on a host: enough that one that is silent holds up no other, few enough that the host,
/// which serves meanwhile, compresses no more than it has cores.
const FILES_AT_ONCE: usize = 3;

/// The two ends of waiting for a stream.
#[derive(Debug, Clone, Copy)]
struct Patience {
    until: Instant,
    silence: Duration,
}

/// What a stream of evidence is and where it goes.
struct Stream {
    file: String,
    of: String,
    /// Whether it is kept compressed; otherwise it is unpacked into the file.
    is_kept_packed: bool,
    /// How long no byte may come: what docker keeps is read to its end before the first.
    silence: Duration,
    question: Question,
}

/// What is written down of a run's hosts, and where it goes.
pub struct Collector<'a, F> {
    pub fleet: &'a F,
    pub inventory: &'a Inventory,
    pub facts: &'a Facts,
    /// The colour that traffic leaves: its log is what a postmortem needs.
    pub from: Colour,
    pub folder: &'a Folder,
    pub journal: &'a Journal<'a>,
    pub redactor: &'a Redactor,
}

impl<F: Ask> Collector<'_, F> {
    /// The host's picture while green still runs.
    pub async fn picture(&self, host: &HostName) {
        let pids: Vec<u32> = self
            .facts
            .seen(host)
            .map(|seen| seen.app(self.from).listeners.iter().map(|listener| listener.pid).collect())
            .unwrap_or_default();
        let file = format!("system-{host}.txt");
        let mut bytes = Vec::new();
        let streamed = self
            .fleet
            .stream(host, &capture::picture(self.inventory, &pids), &mut |chunk| gather(&mut bytes, chunk, 8))
            .await;
        if let Err(failure) = &streamed {
            self.journal.gap(Some(host), "picture of the host", failure.to_string());
        }
        keep_whole(
            self.folder,
            self.journal,
            Some(host),
            &file,
            &format!("ps, ss, df, free, dmesg before {} stopped", self.from),
            &bytes,
        );
    }

    /// When the time for all evidence of a host is over that begins now: `[evidence] timeout`.
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.inventory.evidence.timeout
    }

    /// Everything that is streamed from one host: green's log first, since it is what a postmortem needs.
    pub async fn logs(&self, host: &Host, until: Instant) {
        let Some(seen) = self.facts.seen(&host.name) else {
            self.journal.gap(Some(&host.name), "logs", "the host was not reached");
            return;
        };
        let streams = wanted(self.inventory, self.facts, self.from, host, seen).into_iter();
        // Side by side: a file that is silent must not take the time of the others. They begin in order.
        stream::iter(
            streams
                .map(|wanted| archive(self.fleet, &host.name, wanted, until, self.folder, self.journal, self.redactor)),
        )
        .buffer_unordered(FILES_AT_ONCE)
        .collect::<()>()
        .await;
    }

    /// The journal of systemd since a while before the run.
    pub async fn system_journal(&self, host: &Host, until: Instant) {
        let Some(seen) = self.facts.seen(&host.name) else { return };
        if self.inventory.evidence.journal.is_empty() {
            return;
        }
        let file = name_on_host(self.inventory, "systemd", &host.name, "log");
        let units: Vec<&str> = self.inventory.evidence.journal.iter().map(|unit| unit.as_str()).collect();
        let of = format!("journal of {}", units.join(", "));
        // An hour before: what made somebody press the button began before they did. By the host's own clock.
        let offset = seen.clock_offset_ms.as_ref().map_or(0, |ms| ms / 1000);
        let since = self.facts.asked_at.timestamp() + offset - 3600;
        let mut bytes = Vec::new();
        let patience = Patience { until, silence: self.inventory.evidence.timeout };
        let question = capture::journal(self.inventory, since, &self.inventory.evidence.journal);
        let streamed =
            stream_within(self.fleet, &host.name, &question, patience, &mut |chunk| gather(&mut bytes, chunk, 80))
                .await;
        match streamed {
            Err(failure) => self.journal.gap(Some(&host.name), of, failure.to_string()),
            Ok(52) => self.journal.gap(Some(&host.name), of, "there is no journalctl on that host"),
            Ok(0) if bytes.iter().all(u8::is_ascii_whitespace) => self.journal.gap(
                Some(&host.name),
                of,
                format!(
                    "journalctl gave nothing: no entries, or {} may not read them (group systemd-journal)",
                    seen.user
                ),
            ),
            Ok(0) => keep_whole(self.folder, self.journal, Some(&host.name), &file, &of, &bytes),
            Ok(status) => self.journal.gap(Some(&host.name), of, format!("journalctl ended with {status}")),
        }
    }
}

/// A stream that ends: by itself, at the deadline, or when nothing comes any more.
async fn stream_within<F: Ask>(
    fleet: &F,
    host: &HostName,
    question: &Question,
    patience: Patience,
    sink: &mut (dyn FnMut(&[u8]) -> io::Result<()> + Send),
) -> Result<i32, Failure> {
    let heard = Mutex::new(Instant::now());
    let mut listen = |chunk: &[u8]| {
        sink(chunk)?;
        *heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        Ok(())
    };
    let mut streamed = std::pin::pin!(fleet.stream(host, question, &mut listen));
    loop {
        let silent_at = *heard.lock().unwrap_or_else(PoisonError::into_inner) + patience.silence;
        tokio::select! {
            biased;
            ended = &mut streamed => return ended,
            () = tokio::time::sleep_until(silent_at.min(patience.until)) => {}
        }
        let now = Instant::now();
        let last = *heard.lock().unwrap_or_else(PoisonError::into_inner);
        if now >= patience.until {
            return Err(Failure::Unknown { why: "the time for all evidence is over".to_owned() });
        }
        if now >= last + patience.silence {
            let seconds = patience.silence.as_secs();
            return Err(Failure::Unknown { why: format!("not a byte came for {seconds} s") });
        }
    }
}

/// Takes the next bytes of something that is kept whole in memory, and no more than that: a script bounds itself, this
/// bounds a host that lies.
fn gather(bytes: &mut Vec<u8>, chunk: &[u8], limit_mib: usize) -> io::Result<()> {
    if bytes.len() + chunk.len() > limit_mib << 20 {
        return Err(io::Error::other(format!("more than {limit_mib} MiB")));
    }
    bytes.extend_from_slice(chunk);
    Ok(())
}

/// Writes a small file of ours and says so.
pub fn keep_whole(folder: &Folder, journal: &Journal<'_>, host: Option<&HostName>, file: &str, of: &str, bytes: &[u8]) {
    match folder.write(file, bytes) {
        Err(err) => journal.gap(host, of, format!("{err:#}")),
        Ok(()) => journal.record(What::Captured(Captured {
            host: host.cloned(),
            file: folder.label(file),
            of: of.to_owned(),
            bytes: bytes.len() as u64,
            unpacked_bytes: bytes.len() as u64,
            lines: bytes.iter().filter(|byte| **byte == b'\n').count() as u64,
            sha256: crate::nouns::digest::sha256(bytes),
            patterns: Vec::new(),
        })),
    }
}

/// `nginx-error.log` where there is one host of the kind, `nginx-error-HOST.log` where there are several.
fn name_on_host(inventory: &Inventory, stem: &str, host: &HostName, suffix: &str) -> String {
    if inventory.hosts.len() == 1 { format!("{stem}.{suffix}") } else { format!("{stem}-{host}.{suffix}") }
}

fn wanted(inventory: &Inventory, facts: &Facts, from: Colour, host: &Host, seen: &Seen) -> Vec<Stream> {
    let mut wanted = Vec::new();
    let stamp = facts.asked_at.format("%Y%m%dT%H%M%SZ");
    if host.is(Role::App) {
        let file = format!("{}-rollback-{}-{stamp}.log.gz", from, host.name);
        match (&inventory.app(from).log, capture::archive_container(inventory, &inventory.app(from).run)) {
            (Some(log), _) => wanted.push(Stream {
                file,
                of: log.to_string(),
                is_kept_packed: true,
                silence: LONGEST_SILENCE,
                question: capture::archive(inventory, log),
            }),
            (None, Some(question)) => wanted.push(Stream {
                file,
                of: format!("docker logs of {}", inventory.app(from).run.describe()),
                is_kept_packed: true,
                silence: inventory.evidence.timeout,
                question,
            }),
            (None, None) => {}
        }
    }
    let mut nginx_is_named = false;
    if let (Some(container), Some(nginx)) = (&inventory.nginx.container, &seen.nginx) {
        nginx_is_named = true;
        let log = nginx.error_logs.first().map_or(IN_CONTAINER, String::as_str);
        wanted.push(Stream {
            file: name_on_host(inventory, "nginx-error", &host.name, "log"),
            of: match log.strip_prefix(IN_CONTAINER) {
                Some("") => format!("what container {container} printed"),
                Some(path) => format!("{path} in container {container}"),
                None => log.to_owned(),
            },
            is_kept_packed: false,
            // What an engine keeps is read to its end before the first byte.
            silence: inventory.evidence.timeout,
            question: capture::archive_nginx(inventory, log),
        });
    }
    for (number, path) in inventory.evidence.files.iter().enumerate() {
        let is_error_log = path.as_str().ends_with("error.log") && !nginx_is_named && seen.nginx.is_some();
        if is_error_log {
            nginx_is_named = true;
            wanted.push(Stream {
                file: name_on_host(inventory, "nginx-error", &host.name, "log"),
                of: path.to_string(),
                is_kept_packed: false,
                silence: LONGEST_SILENCE,
                question: capture::archive(inventory, path),
            });
        } else if !(path.as_str().ends_with("nginx/error.log")
            && (seen.nginx.is_none() || inventory.nginx.container.is_some()))
        {
            wanted.push(Stream {
                file: format!("file-{:02}-{}.log.gz", number + 1, host.name),
                of: path.to_string(),
                is_kept_packed: true,
                silence: LONGEST_SILENCE,
                question: capture::archive(inventory, path),
            });
        }
    }
    wanted
}

async fn archive<F: Ask>(
    fleet: &F,
    host: &HostName,
    wanted: Stream,
    until: Instant,
    folder: &Folder,
    journal: &Journal<'_>,
    redactor: &Redactor,
) {
    let gap = |why: String| journal.gap(Some(host), wanted.of.clone(), why);
    let file = match folder.new_file(&wanted.file) {
        Ok(file) => file,
        Err(err) => return gap(format!("{} cannot be written: {err}", wanted.file)),
    };
    let (sender, receiver) = sync_channel::<Vec<u8>>(CHUNKS_IN_FLIGHT);
    let keeper = keep_in_thread(receiver, file, wanted.is_kept_packed);
    let patience = Patience { until, silence: wanted.silence };
    let streamed = stream_within(fleet, host, &wanted.question, patience, &mut |chunk| hand_over(&sender, chunk)).await;
    drop(sender);
    let kept = match tokio::task::spawn_blocking(move || keeper.join()).await {
        Ok(Ok(kept)) => kept,
        Ok(Err(_)) | Err(_) => Err(io::Error::other("the thread that wrote it ended early")),
    };
    match (&streamed, &kept) {
        (Err(failure), _) => {
            gap(format!("cut after {} bytes: {failure}", kept.as_ref().map_or(0, |kept| kept.received_bytes)))
        }
        (Ok(status), kept) => match (Archived::of(*status).gap(), kept) {
            (Some(why), _) => gap(why),
            (None, Err(err)) => gap(format!("{err}")),
            (None, Ok(kept)) if !kept.is_whole => gap("what came is not a whole gzip file".to_owned()),
            (None, Ok(_)) => {}
        },
    }
    let Ok(kept) = kept else { return };
    let is_refused = !matches!(
        streamed.as_ref().map(|status| Archived::of(*status)),
        Ok(Archived::Whole | Archived::WithoutRotated | Archived::Failed(_)) | Err(_)
    );
    if kept.received_bytes == 0 || (is_refused && kept.unpacked_bytes == 0) {
        // Not even an empty archive came; the gap above says why.
        folder.remove(&wanted.file);
        return;
    }
    let found = kept.patterns.finish(redactor);
    journal.record(What::Captured(Captured {
        host: Some(host.clone()),
        file: folder.label(&wanted.file),
        of: wanted.of,
        bytes: kept.bytes,
        unpacked_bytes: kept.unpacked_bytes,
        lines: found.lines,
        sha256: kept.sha256,
        patterns: found.patterns,
    }));
}

/// Blocks while the disk is behind: that is what keeps memory constant.
fn hand_over(to: &SyncSender<Vec<u8>>, chunk: &[u8]) -> io::Result<()> {
    to.send(chunk.to_vec()).map_err(|_| io::Error::other("it cannot be written here"))
}

struct Kept {
    /// As they came over the line, compressed.
    received_bytes: u64,
    /// In the file.
    bytes: u64,
    unpacked_bytes: u64,
    sha256: String,
    is_whole: bool,
    patterns: Patterns,
}

/// Everything that is done with the bytes of one archive, beside the line.
fn keep_in_thread(
    chunks: Receiver<Vec<u8>>,
    mut file: std::fs::File,
    is_kept_packed: bool,
) -> JoinHandle<io::Result<Kept>> {
    std::thread::spawn(move || {
        let mut hasher = Sha256::new();
        let mut bytes = 0_u64;
        let mut is_whole = true;
        let unpacked = Unpacked {
            file: (!is_kept_packed).then(|| file.try_clone()).transpose()?,
            hasher: Sha256::new(),
            bytes: 0,
            patterns: Patterns::new(),
        };
        let mut decoder = MultiGzDecoder::new(unpacked);
        for chunk in chunks {
            if is_kept_packed {
                file.write_all(&chunk)?;
                hasher.update(&chunk);
            }
            bytes += chunk.len() as u64;
            if is_whole && decoder.write_all(&chunk).is_err() {
                // A broken archive is kept as it came; it is the verdict that says so.
                is_whole = false;
            }
        }
        is_whole = is_whole && (bytes == 0 || decoder.try_finish().is_ok());
        file.sync_data()?;
        let unpacked = std::mem::replace(
            decoder.get_mut(),
            Unpacked { file: None, hasher: Sha256::new(), bytes: 0, patterns: Patterns::new() },
        );
        let (hasher, kept_bytes) = if is_kept_packed { (hasher, bytes) } else { (unpacked.hasher, unpacked.bytes) };
        Ok(Kept {
            received_bytes: bytes,
            bytes: kept_bytes,
            unpacked_bytes: unpacked.bytes,
            sha256: hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect(),
            is_whole,
            patterns: unpacked.patterns,
        })
    })
}

/// Where unpacked bytes go: counted, looked through, and into the file where that is kept unpacked.
struct Unpacked {
    file: Option<std::fs::File>,
    hasher: Sha256,
    bytes: u64,
    patterns: Patterns,
}

impl Write for Unpacked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(file) = &mut self.file {
            file.write_all(bytes)?;
            self.hasher.update(bytes);
        }
        self.bytes += bytes.len() as u64;
        self.patterns.feed(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Ends the evidence step of a host.
pub fn end_step(step: crate::incident::journal::Timed<'_, '_>, journal: &Journal<'_>, host: &HostName) {
    let begins = |entry: &&Entry| {
        matches!(&entry.what,
        What::Outcome { step: STEP, host: Some(of), status: Status::Started, .. } if of == host)
    };
    let (mut files, mut bytes, mut gaps) = (0, 0, 0);
    journal.newest_first(|entries| {
        for entry in entries.take_while(|entry| !begins(entry)) {
            match &entry.what {
                What::Captured(captured) if captured.host.as_ref() == Some(host) => {
                    files += 1;
                    bytes += captured.bytes;
                }
                What::Gap { host: Some(of), .. } if of == host => gaps += 1,
                _ => {}
            }
        }
    });
    let detail = format!(
        "{}, {} KiB, {}",
        crate::nouns::record::plural(files, "file"),
        bytes.div_ceil(1024),
        crate::nouns::record::plural(gaps, "gap")
    );
    step.end(Status::Done, detail);
}

/// The word of the step, for the caller.
pub const STEP: StepWord = StepWord::Evidence;
