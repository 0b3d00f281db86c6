//! One edit of a text that somebody else has edited at another place meanwhile. Pure.

use similar::{ChangeTag, TextDiff};

/// What makes `after` of `before`, made of `now`, which is `before` with other edits. `None` where both touch the same lines.
pub fn rebased(before: &str, after: &str, now: &str) -> Option<String> {
    let (was, wanted, mut lines) = (lines_of(before), lines_of(after), lines_of(now));
    let theirs = TextDiff::from_slices(&was, &lines);
    // Where each line of before stands now; one that they changed stands nowhere.
    let mut places: Vec<Option<usize>> = vec![None; was.len()];
    for change in theirs.iter_all_changes().filter(|change| change.tag() == ChangeTag::Equal) {
        if let (Some(old), Some(new)) = (change.old_index(), change.new_index())
            && let Some(place) = places.get_mut(old)
        {
            *place = Some(new);
        }
    }
    let ours = TextDiff::from_slices(&was, &wanted);
    // From the end, so that the places before an edit stay what they are.
    for op in ours.ops().iter().rev() {
        let (old, new) = (op.old_range(), op.new_range());
        if was[old.clone()] == wanted[new.clone()] {
            continue;
        }
        let begin = match (old.is_empty(), old.start) {
            (false, start) => places.get(start).copied()??,
            (true, 0) => 0,
            (true, start) => places.get(start - 1).copied()?? + 1,
        };
        let is_whole =
            old.clone().enumerate().all(|(nth, line)| places.get(line).copied().flatten() == Some(begin + nth));
        if !is_whole {
            return None;
        }
        lines.splice(begin..begin + old.len(), wanted[new].iter().copied());
    }
    Some(lines.concat())
}

/// As nginx and people count them.
fn lines_of(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_edits_at_two_places_can_be_taken_back_in_any_order() {
        let was = "a 1\nb 1\nc\nd 1\ne\n";
        let first = "a 2\nb 2\nb 3\nc\nd 1\ne\n";
        let both = "a 2\nb 2\nb 3\nc\nd 2\ne\n";
        let second = "a 1\nb 1\nc\nd 2\ne\n";
        assert_eq!(rebased(was, first, second).as_deref(), Some(both));
        assert_eq!(rebased(first, was, both).as_deref(), Some(second));
        assert_eq!(rebased(first, both, was).as_deref(), Some(second));
        assert_eq!(rebased(both, first, second).as_deref(), Some(was));
        assert_eq!(rebased(was, "x\n", was).as_deref(), Some("x\n"));
        // A line ends where nginx ends one.
        assert_eq!(rebased("a\rb\nc\n", "a\rb\nd\n", "x\na\rb\nc\n").as_deref(), Some("x\na\rb\nd\n"));
    }

    #[test]
    fn two_edits_of_one_line_are_nobodys() {
        assert_eq!(rebased("a\nb\n", "a\nx\n", "a\ny\n"), None);
        assert_eq!(rebased("a\nb\n", "a\n", "a\ny\n"), None);
    }
}
