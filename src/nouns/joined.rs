//! Several files of nginx as one text, so that all of them are judged, changed and put back as one. What stands between two
//! is a comment to nginx; `facts.sh` and `switch.sh` write the same.

/// No file of nginx has this line by itself.
pub const NEXT: &str = "\n#\u{1f} next file \u{1f}\n";

/// The texts of the files, in order; of a single file its own.
pub fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(NEXT)
}

/// In which of the files a line of the whole is, from 0, and which line of it, from 1.
pub fn place(text: &str, line: usize) -> (usize, usize) {
    let mut before = 0;
    let mut place = (0, line);
    for (index, part) in parts(text).enumerate() {
        if before < line {
            place = (index, line - before);
        }
        before += part.matches('\n').count() + NEXT.matches('\n').count();
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_in_its_own_file() {
        let text = ["a\nb\n", "c", "d\ne\n"].join(NEXT);
        assert_eq!(parts(&text).collect::<Vec<_>>(), ["a\nb\n", "c", "d\ne\n"]);
        for (line, word) in text.lines().enumerate().filter(|(_, line)| line.len() == 1) {
            let (file, of_it) = place(&text, line + 1);
            assert_eq!(parts(&text).nth(file).and_then(|part| part.lines().nth(of_it - 1)), Some(word), "{word}");
        }
        assert_eq!(place("a\nb\n", 2), (0, 2));
    }
}
