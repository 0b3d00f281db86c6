//! How wide text stands on a terminal, and text cut to a width. Where a terminal might draw a character wider than another
//! one does the wider is taken: a line that is too short is whole, one that is too long breaks the screen.

/// The columns of a text; what only colours it has none.
pub(super) fn width(text: &str) -> usize {
    pieces(text).map(|piece| piece.columns).sum()
}

/// The text in so many columns, with a `…` where something is missing. Colours end.
pub(super) fn shortened(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut out = String::new();
    let (mut left, mut is_cut) = (columns.saturating_sub(1), false);
    for piece in pieces(text) {
        // What only colours is kept: the end of a colour, too.
        is_cut |= piece.columns > left;
        if piece.columns == 0 {
            out.push_str(piece.text);
        } else if !is_cut {
            left -= piece.columns;
            out.push_str(piece.text);
        }
    }
    if columns > 0 {
        out.push('…');
    }
    out
}

struct Piece<'t> {
    text: &'t str,
    columns: usize,
}

/// Characters with their columns, and sequences that colour, which have none.
fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let end = match first {
            '\u{1b}' => rest.find('m').map_or(rest.len(), |at| at + 1),
            _ => first.len_utf8(),
        };
        let (text, after) = rest.split_at(end);
        rest = after;
        Some(Piece { text, columns: if first == '\u{1b}' { 0 } else { columns_of(first) } })
    })
}

fn columns_of(c: char) -> usize {
    match c {
        // Letters of alphabets; dashes, quotes, arrows and what else our own lines have; braille, which spins.
        '\0'..='\u{10ff}' | '\u{2010}'..='\u{2027}' | '\u{2190}'..='\u{21ff}' | '\u{2400}'..='\u{2426}' => 1,
        '✔' | '✖' | '⏎' | '\u{2800}'..='\u{28ff}' => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colour_has_no_width_and_ends_where_the_text_is_cut() {
        let red = "\u{1b}[31mfailed\u{1b}[0m web1";
        assert_eq!(width(red), 11);
        assert_eq!(shortened(red, 11), red);
        assert_eq!(shortened(red, 4), "\u{1b}[31mfai\u{1b}[0m…");
        assert_eq!(width(&shortened("名前名前", 5)), 5);
        assert_eq!(shortened("web1", 0), "");
    }
}
