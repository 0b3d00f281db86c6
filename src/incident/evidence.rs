//! Evidence: green's log, nginx's error log, the journal, a picture of the host, streamed from the hosts into the
//! incident folder, verified while it streams, in constant memory. What could not be had is a gap, never silence.
//! Changes no host, and lets no host choose a file's name.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use flate2::write::MultiGzDecoder;
use sha2::{Digest, Sha256};

use super::capture;
use crate::hosts::facts::{Facts, Seen};
use crate::hosts::program::Question;
use crate::hosts::remote::Ask;
use crate::incident::folder::Folder;
use crate::incident::journal::Journal;
use crate::incident::patterns::Patterns;
use crate::nouns::inventory::{Host, Inventory, Role};
use crate::nouns::names::HostName;
use crate::nouns::record::{Captured, Status, StepWord, What};
use crate::nouns::redact::Redactor;

/// Chunks on their way from the line to the disk: 64 of 64 KiB, so that neither waits for the other's hiccups and
/// memory stays at 4 MiB for a log.
const CHUNKS_IN_FLIGHT: usize = 64;

/// What a stream of evidence is and where it goes.
struct Stream {
    file: String,
    of: String,
    /// Whether it is kept compressed; otherwise it is unpacked into the file.
    is_kept_packed: bool,
    question: Question,
}

/// The host's picture while green still runs.
pub async fn picture<F: Ask>(
    fleet: &F,
    inventory: &Inventory,
    facts: &Facts,
    host: &HostName,
    folder: &Folder,
    journal: &Journal<'_>,
) {
    let pids: Vec<u32> = facts
        .seen(host)
        .map(|seen| seen.green.listeners.iter().map(|listener| listener.pid).collect())
        .unwrap_or_default();
    let file = format!("system-{host}.txt");
    let mut bytes = Vec::new();
    let streamed =
        fleet.stream(host, &capture::picture(inventory, &pids), &mut |chunk| gather(&mut bytes, chunk, 8)).await;
    if let Err(failure) = &streamed {
        journal.gap(Some(host), "picture of the host", failure.to_string());
    }
    keep_whole(folder, journal, Some(host), &file, "ps, ss, df, free, dmesg before green stopped", &bytes);
}

/// Everything that is streamed from one host: green's log first, since it is what a postmortem needs.
pub async fn logs<F: Ask>(
    fleet: &F,
    inventory: &Inventory,
    facts: &Facts,
    host: &Host,
    folder: &Folder,
    journal: &Journal<'_>,
    redactor: &Redactor,
) {
    let Some(seen) = facts.seen(&host.name) else {
        journal.gap(Some(&host.name), "logs", "the host was not reached");
        return;
    };
    for wanted in wanted(inventory, facts, host, seen) {
        archive(fleet, &host.name, wanted, folder, journal, redactor).await;
    }
}

/// The journal of systemd since a while before the run.
pub async fn system_journal<F: Ask>(
    fleet: &F,
    inventory: &Inventory,
    facts: &Facts,
    host: &Host,
    folder: &Folder,
    journal: &Journal<'_>,
) {
    let Some(seen) = facts.seen(&host.name) else { return };
    if inventory.evidence.journal.is_empty() {
        return;
    }
    let file = name_on_host(inventory, "systemd", &host.name, "log");
    let units: Vec<&str> = inventory.evidence.journal.iter().map(|unit| unit.as_str()).collect();
    let of = format!("journal of {}", units.join(", "));
    // An hour before: what made somebody press the button began before they did. By the host's own clock.
    let offset = seen.clock_offset_ms.as_ref().map_or(0, |ms| ms / 1000);
    let since = facts.asked_at.timestamp() + offset - 3600;
    let mut bytes = Vec::new();
    let streamed = fleet
        .stream(&host.name, &capture::journal(inventory, since, &inventory.evidence.journal), &mut |chunk| {
            gather(&mut bytes, chunk, 80)
        })
        .await;
    match streamed {
        Err(failure) => journal.gap(Some(&host.name), of, failure.to_string()),
        Ok(52) => journal.gap(Some(&host.name), of, "there is no journalctl on that host"),
        Ok(0) if bytes.iter().all(u8::is_ascii_whitespace) => journal.gap(
            Some(&host.name),
            of,
            format!("journalctl gave nothing: no entries, or {} may not read them (group systemd-journal)", seen.user),
        ),
        Ok(0) => keep_whole(folder, journal, Some(&host.name), &file, &of, &bytes),
        Ok(status) => journal.gap(Some(&host.name), of, format!("journalctl ended with {status}")),
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
            file: file.to_owned(),
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

fn wanted(inventory: &Inventory, facts: &Facts, host: &Host, seen: &Seen) -> Vec<Stream> {
    let mut wanted = Vec::new();
    let stamp = facts.asked_at.format("%Y%m%dT%H%M%SZ");
    if host.is(Role::App) {
        let file = format!("{}-rollback-{}-{stamp}.log.gz", inventory.green.colour, host.name);
        match (&inventory.green.log, capture::archive_container(inventory, &inventory.green.run)) {
            (Some(log), _) => wanted.push(Stream {
                file,
                of: log.to_string(),
                is_kept_packed: true,
                question: capture::archive(inventory, log),
            }),
            (None, Some(question)) => wanted.push(Stream {
                file,
                of: format!("docker logs of {}", inventory.green.run.describe()),
                is_kept_packed: true,
                question,
            }),
            (None, None) => {}
        }
    }
    let mut nginx_is_named = false;
    for (number, path) in inventory.evidence.files.iter().enumerate() {
        let is_error_log = path.as_str().ends_with("error.log") && !nginx_is_named && seen.nginx.is_some();
        if is_error_log {
            nginx_is_named = true;
            wanted.push(Stream {
                file: name_on_host(inventory, "nginx-error", &host.name, "log"),
                of: path.to_string(),
                is_kept_packed: false,
                question: capture::archive(inventory, path),
            });
        } else if !(path.as_str().ends_with("nginx/error.log") && seen.nginx.is_none()) {
            wanted.push(Stream {
                file: format!("file-{:02}-{}.log.gz", number + 1, host.name),
                of: path.to_string(),
                is_kept_packed: true,
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
    let streamed = fleet.stream(host, &wanted.question, &mut |chunk| hand_over(&sender, chunk)).await;
    drop(sender);
    let kept = match tokio::task::spawn_blocking(move || keeper.join()).await {
        Ok(Ok(kept)) => kept,
        Ok(Err(_)) | Err(_) => Err(io::Error::other("the thread that wrote it ended early")),
    };
    match (&streamed, &kept) {
        (Ok(50), _) => gap("there is no such file on that host".to_owned()),
        (Ok(51), _) => gap("it may not be read there".to_owned()),
        (Err(failure), _) => {
            gap(format!("cut after {} bytes: {failure}", kept.as_ref().map_or(0, |kept| kept.received_bytes)))
        }
        (Ok(status), _) if *status != 0 => gap(format!("compressing it ended with {status}")),
        (Ok(_), Err(err)) => gap(format!("{err}")),
        (Ok(_), Ok(kept)) if !kept.is_whole => gap("what came is not a whole gzip file".to_owned()),
        (Ok(_), Ok(_)) => {}
    }
    let Ok(kept) = kept else { return };
    if kept.received_bytes == 0 {
        // Not even an empty archive came; the gap above says why.
        folder.remove(&wanted.file);
        return;
    }
    let found = kept.patterns.finish(redactor);
    journal.record(What::Captured(Captured {
        host: Some(host.clone()),
        file: wanted.file,
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
    let (files, bytes) = journal.entries().iter().fold((0, 0), |(files, bytes), entry| match &entry.what {
        What::Captured(captured) if captured.host.as_ref() == Some(host) => (files + 1, bytes + captured.bytes),
        _ => (files, bytes),
    });
    let gaps = journal
        .entries()
        .iter()
        .filter(|entry| matches!(&entry.what, What::Gap { host: Some(of), .. } if of == host))
        .count();
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
