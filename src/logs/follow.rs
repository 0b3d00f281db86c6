//! A file that grows: read from where the last look ended, across rotation by another name and by cutting it, also where
//! that happens in the middle of a line.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::counts::Place;

/// A line that is longer is not kept: whoever writes it need not fill our memory.
const LONGEST_LINE: usize = 64 << 10;
/// Read at once.
const CHUNK: usize = 256 << 10;
/// Looks that a file which was renamed is still read for: nginx writes into it until it is told to open the new one.
const LOOKS_AFTER: u32 = 10;
/// So much of the end of a file is looked through for lines since a moment.
const MOST_BACK: u64 = 64 << 20;

/// Where reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    End,
    /// Far enough back for whoever leaves out by their moments what he does not want.
    Back,
    /// Where an earlier reader ended.
    At(Place),
}

/// What a look gives, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Cut<'l> {
    /// Without its newline.
    Line(&'l [u8]),
    /// The beginning of one that was too long.
    TooLong(&'l [u8]),
    Note(&'static str),
}

pub struct Follow {
    path: PathBuf,
    now: Option<Open>,
    /// What had the name before, and looks that it has left.
    before: Option<(Open, u32)>,
    begin: Begin,
    was_missing: bool,
}

struct Open {
    file: File,
    place: Place,
    lines: Cutter,
}

/// Cuts a stream into lines, and passes over what is too long or began before it.
#[derive(Debug, Default)]
pub struct Cutter {
    /// The beginning of a line whose end is not there yet.
    rest: Vec<u8>,
    skips: bool,
}

impl Follow {
    pub fn new(path: &Path, begin: Begin) -> Follow {
        Follow { path: path.to_owned(), now: None, before: None, begin, was_missing: false }
    }

    /// Where the file was read to.
    pub fn place(&self) -> Option<Place> {
        // A line that is not whole is read again by whoever goes on from here.
        let open = self.now.as_ref()?;
        Some(Place { offset: open.place.offset - open.lines.rest.len() as u64, ..open.place })
    }

    /// Reads what came since the last look.
    ///
    /// # Errors
    /// Where there is nothing to read: no right to, no regular file.
    pub fn look(&mut self, found: &mut impl FnMut(Cut<'_>)) -> io::Result<()> {
        if let Some((open, looks)) = &mut self.before {
            let came = open.read(found)?;
            *looks -= 1;
            if *looks == 0 && !came {
                self.before = None;
            } else {
                *looks = (*looks).max(1);
            }
        }
        let meta = match std::fs::metadata(&self.path) {
            Ok(meta) => meta,
            // Between two names; what it was called before is still read.
            Err(err) if err.kind() == io::ErrorKind::NotFound && (self.now.is_some() || self.was_missing) => {
                if !self.was_missing {
                    found(Cut::Note("the file is gone"));
                }
                self.was_missing = true;
                self.move_on(found)?;
                return Ok(());
            }
            Err(err) => return Err(err),
        };
        // A FIFO, or a terminal, would hold us up.
        if !meta.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        let is_same =
            self.now.as_ref().is_some_and(|open| (open.place.device, open.place.inode) == (meta.dev(), meta.ino()));
        if !is_same {
            let is_first = self.now.is_none() && !self.was_missing;
            if self.now.is_some() {
                found(Cut::Note("another file has the name now; both are read"));
            }
            self.move_on(found)?;
            self.open(&meta, is_first, found)?;
        }
        self.was_missing = false;
        let Some(open) = &mut self.now else { return Ok(()) };
        if meta.len() < open.place.offset {
            found(Cut::Note("the file was cut; it is read from its beginning"));
            open.file.seek(SeekFrom::Start(0))?;
            open.place.offset = 0;
            open.lines = Cutter::default();
        }
        open.read(found)?;
        Ok(())
    }

    /// What is open now was renamed: it is read on for a while.
    fn move_on(&mut self, found: &mut impl FnMut(Cut<'_>)) -> io::Result<()> {
        if let Some(mut open) = self.now.take() {
            open.read(found)?;
            self.before = Some((open, LOOKS_AFTER));
        }
        Ok(())
    }

    fn open(&mut self, meta: &std::fs::Metadata, is_first: bool, found: &mut impl FnMut(Cut<'_>)) -> io::Result<()> {
        let mut file = File::open(&self.path)?;
        let mut offset = 0;
        if is_first {
            match self.begin {
                Begin::End => offset = meta.len(),
                Begin::Back => offset = meta.len().saturating_sub(MOST_BACK),
                Begin::At(place) if (place.device, place.inode) == (meta.dev(), meta.ino()) => offset = place.offset,
                Begin::At(place) => match self.renamed(place) {
                    Some(before) => {
                        found(Cut::Note("another file has the name now; both are read"));
                        let mut open = Open::new(before, place, false)?;
                        open.read(found)?;
                        self.before = Some((open, LOOKS_AFTER));
                    }
                    None => found(Cut::Note("the file that was read is gone; what it had since is lost")),
                },
            }
        }
        // Whether we begin inside a line says the byte before.
        let mut before = [b'\n'];
        if offset > 0 && offset <= meta.len() && !matches!(self.begin, Begin::At(_)) {
            file.seek(SeekFrom::Start(offset - 1))?;
            file.read_exact(&mut before)?;
        }
        let place = Place { device: meta.dev(), inode: meta.ino(), offset };
        self.now = Some(Open::new(file, place, before != [b'\n'])?);
        Ok(())
    }

    /// The file that was read before, by another name in the same folder.
    fn renamed(&self, place: Place) -> Option<File> {
        let entries = std::fs::read_dir(self.path.parent()?).ok()?;
        let is_it = |meta: &std::fs::Metadata| {
            meta.is_file() && (meta.dev(), meta.ino()) == (place.device, place.inode) && meta.len() >= place.offset
        };
        entries
            .flatten()
            .find(|entry| entry.metadata().is_ok_and(|meta| is_it(&meta)))
            .and_then(|entry| File::open(entry.path()).ok())
    }
}

impl Open {
    fn new(mut file: File, place: Place, skips: bool) -> io::Result<Open> {
        file.seek(SeekFrom::Start(place.offset))?;
        Ok(Open { file, place, lines: Cutter { rest: Vec::new(), skips } })
    }

    /// Whether anything came.
    fn read(&mut self, found: &mut impl FnMut(Cut<'_>)) -> io::Result<bool> {
        let mut chunk = vec![0; CHUNK];
        let mut came = false;
        loop {
            let n = self.file.read(&mut chunk)?;
            if n == 0 {
                return Ok(came);
            }
            came = true;
            self.place.offset += n as u64;
            self.lines.cut(&chunk[..n], found);
        }
    }
}

impl Cutter {
    pub fn cut(&mut self, mut bytes: &[u8], found: &mut impl FnMut(Cut<'_>)) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            bytes = rest;
            if std::mem::take(&mut self.skips) {
                continue;
            }
            let line = match self.rest.is_empty() {
                true => line,
                false => {
                    self.rest.extend_from_slice(line);
                    &self.rest
                }
            };
            found(if line.len() > LONGEST_LINE { Cut::TooLong(line) } else { Cut::Line(line) });
            self.rest.clear();
        }
        if self.skips {
            return;
        }
        self.rest.extend_from_slice(bytes);
        if self.rest.len() > LONGEST_LINE {
            found(Cut::TooLong(&self.rest));
            *self = Cutter { rest: Vec::new(), skips: true };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use super::*;

    /// A folder of its own, gone at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let folder = std::env::temp_dir().join(format!("logs-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir(&folder).expect("a folder");
            Folder(folder)
        }

        fn append(&self, name: &str, text: &str) {
            let file = fs::OpenOptions::new().append(true).create(true).open(self.0.join(name));
            file.and_then(|mut file| file.write_all(text.as_bytes())).expect("it can be written");
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn looked(follow: &mut Follow) -> String {
        let mut said = Vec::new();
        follow
            .look(&mut |found| {
                said.push(match found {
                    Cut::Line(line) => String::from_utf8_lossy(line).into_owned(),
                    Cut::TooLong(line) => format!("too long: {}", line.len()),
                    Cut::Note(note) => format!("({note})"),
                });
            })
            .expect("it can be read");
        said.join(" ")
    }

    #[test]
    fn a_file_is_read_on_across_both_kinds_of_rotation() {
        let folder = Folder::new("rotation");
        folder.append("a.log", "old\nhalf");
        let mut follow = Follow::new(&folder.0.join("a.log"), Begin::End);
        assert_eq!(looked(&mut follow), "");
        folder.append("a.log", " of a line\none\ntw");
        assert_eq!(looked(&mut follow), "one");
        folder.append("a.log", "o\nthr");
        assert_eq!(looked(&mut follow), "two");
        // Renamed in the middle of a line, which nginx ends there before it opens the new one.
        fs::rename(folder.0.join("a.log"), folder.0.join("a.log.1")).expect("renamed");
        assert_eq!(looked(&mut follow), "(the file is gone)");
        folder.append("a.log.1", "ee\nfour\n");
        assert_eq!(looked(&mut follow), "three four");
        folder.append("a.log", "five\n");
        folder.append("a.log.1", "late\n");
        assert_eq!(looked(&mut follow), "late five");
        fs::write(folder.0.join("a.log"), "6\n").expect("cut");
        assert_eq!(looked(&mut follow), "(the file was cut; it is read from its beginning) 6");
        fs::write(folder.0.join("b"), "seven\n").expect("written");
        fs::rename(folder.0.join("b"), folder.0.join("a.log")).expect("another in its place");
        assert_eq!(looked(&mut follow), "(another file has the name now; both are read) seven");
    }

    #[test]
    fn another_reader_goes_on_where_the_first_one_ended() {
        let folder = Folder::new("resumed");
        folder.append("a.log", "one\ntw");
        let mut first = Follow::new(&folder.0.join("a.log"), Begin::Back);
        assert_eq!(looked(&mut first), "one");
        let place = first.place().expect("it was read");
        folder.append("a.log", "o\n");
        assert_eq!(looked(&mut Follow::new(&folder.0.join("a.log"), Begin::At(place))), "two");
        fs::rename(folder.0.join("a.log"), folder.0.join("a.log.1")).expect("renamed");
        folder.append("a.log", "three\n");
        let mut second = Follow::new(&folder.0.join("a.log"), Begin::At(place));
        assert_eq!(looked(&mut second), "(another file has the name now; both are read) two three");
        fs::remove_file(folder.0.join("a.log.1")).expect("removed");
        let mut third = Follow::new(&folder.0.join("a.log"), Begin::At(place));
        assert_eq!(looked(&mut third), "(the file that was read is gone; what it had since is lost) three");
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        let mut cutter = Cutter::default();
        let mut said = Vec::new();
        let piece = vec![b'x'; 40 << 10];
        for _ in 0..30 {
            cutter.cut(&piece, &mut |found| said.push(matches!(found, Cut::TooLong(_))));
            assert!(cutter.rest.len() <= LONGEST_LINE);
        }
        cutter.cut(b"\nafter\n", &mut |found| said.push(found != Cut::Line(b"after")));
        assert_eq!(said, [true, false]);
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let mut follow = Follow::new(Path::new("/dev/null"), Begin::End);
        assert!(follow.look(&mut |_| {}).is_err());
        assert!(Follow::new(Path::new("/nowhere/at/all"), Begin::End).look(&mut |_| {}).is_err());
    }
}
