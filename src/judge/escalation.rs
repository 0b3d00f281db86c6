//! Whom to call by now, where something stays bad: the contacts in the order of their times, and nobody twice. Concludes
//! from what it is given; looks at no clock and tells nobody.

use std::time::Duration;

use crate::nouns::inventory::Escalation;

/// Those whose time has come and who were not paged yet, the first one first. `paged` has their words, as
/// [`Escalation`] is shown: a config whose rows were put in another order meanwhile pages nobody again.
pub fn due<'a>(ladder: &'a [Escalation], bad_for: Duration, paged: &[String]) -> Vec<&'a Escalation> {
    let mut due: Vec<&Escalation> = left(ladder, paged).filter(|contact| contact.after <= bad_for).collect();
    due.sort_by_key(|contact| contact.after);
    due.dedup();
    due
}

/// Who is next, and when, counted from when it was bad first; `None` where all of them were paged.
pub fn next<'a>(ladder: &'a [Escalation], paged: &[String]) -> Option<&'a Escalation> {
    left(ladder, paged).min_by_key(|contact| contact.after)
}

fn left<'a>(ladder: &'a [Escalation], paged: &[String]) -> impl Iterator<Item = &'a Escalation> {
    ladder.iter().filter(|contact| !paged.contains(&contact.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contact(minutes: u64, name: &str) -> Escalation {
        Escalation { after: Duration::from_secs(60 * minutes), name: name.to_owned() }
    }

    fn names(due: &[&Escalation]) -> Vec<String> {
        due.iter().map(|contact| contact.name.clone()).collect()
    }

    #[test]
    fn each_is_paged_once_in_order_and_never_before_the_time() {
        let ladder = [contact(15, "team lead"), contact(60, "head"), contact(0, "on call")];
        let mut paged: Vec<String> = Vec::new();
        let mut told: Vec<(u64, String)> = Vec::new();
        // A look each minute, and none of them while the laptop slept.
        for minute in (0..20).chain(70..90) {
            for contact in due(&ladder, Duration::from_secs(60 * minute), &paged) {
                paged.push(contact.to_string());
                told.push((minute, contact.name.clone()));
            }
        }
        let expected = [(0, "on call"), (15, "team lead"), (70, "head")];
        assert_eq!(told, expected.map(|(minute, name)| (minute, name.to_owned())));
        assert_eq!(next(&ladder, &paged), None);
    }

    #[test]
    fn who_was_missed_is_paged_late_in_order_and_a_row_written_twice_once() {
        let ladder = [contact(60, "head"), contact(15, "team lead"), contact(15, "team lead")];
        assert_eq!(names(&due(&ladder, Duration::from_secs(7_200), &[])), ["team lead", "head"]);
        assert_eq!(next(&ladder, &[]).map(|contact| contact.name.as_str()), Some("team lead"));
        let paged = [contact(15, "team lead").to_string()];
        assert_eq!(names(&due(&ladder, Duration::from_secs(3_599), &paged)), Vec::<String>::new());
        assert_eq!(next(&ladder, &paged).map(|contact| contact.name.as_str()), Some("head"));
        // Another time is another step.
        assert_eq!(names(&due(&[contact(5, "team lead")], Duration::from_secs(900), &paged)), ["team lead"]);
    }
}
