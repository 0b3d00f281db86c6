//! What the services of a run come to together: one code, one sentence, one next command. Pure.

use super::production::Verdict;

/// Whether a service's traffic is where the run sends it.
fn is_moved(exit: u8) -> bool {
    matches!(exit, 0 | 4 | 6 | 8)
}

/// The verdict of a run with these services, in the order in which they went. That of a single one is its own.
///
/// The code is never better than any of theirs: where some services were moved and others were not, production differs
/// from one to the next, which is 5.
pub fn together(mut verdicts: Vec<(&str, Verdict)>) -> Verdict {
    if verdicts.len() < 2 {
        return verdicts.pop().map_or_else(nothing, |(_, verdict)| verdict);
    }
    let exits: Vec<u8> = verdicts.iter().map(|(_, verdict)| verdict.exit).collect();
    let exit = exit_of(&exits);
    // Who stopped the others says what to do, for all of which that is to be done.
    let bad: Vec<&str> = verdicts.iter().filter(|(_, verdict)| verdict.exit != 0).map(|(name, _)| *name).collect();
    let first_bad = verdicts.iter().find(|(_, verdict)| verdict.exit != 0);
    let next = first_bad.or(verdicts.first());
    let next = next.map(|(name, verdict)| for_all(&verdict.next, name, &bad)).unwrap_or_default();
    let production: Vec<String> =
        verdicts.iter().map(|(name, verdict)| format!("{name}: {}", verdict.production)).collect();
    let left =
        verdicts.iter().flat_map(|(name, verdict)| verdict.left.iter().map(move |left| format!("{name}: {left}")));
    Verdict { exit, production: production.join("; "), next, left: left.collect() }
}

/// The same line for all services that are not done, where it asks for nothing that is of one service.
fn for_all(line: &str, name: &str, bad: &[&str]) -> String {
    const OF_ONE: [&str; 5] = [" --hosts ", " --with ", " --restore-", " --to ", " --migrate-down"];
    let is_plain = line.contains(" --reason ") && !OF_ONE.iter().any(|flag| line.contains(flag));
    let own = format!(" --service {name}");
    match line.split_once(&own) {
        Some((before, after)) if bad.len() > 1 && is_plain && (after.is_empty() || after.starts_with(' ')) => {
            format!("{before} --service {}{after}", bad.join(","))
        }
        _ => line.to_owned(),
    }
}

fn exit_of(exits: &[u8]) -> u8 {
    let any = |wanted: u8| exits.contains(&wanted);
    let (moved, not_moved): (Vec<u8>, Vec<u8>) = exits.iter().partition(|exit| is_moved(**exit));
    match (moved.as_slice(), not_moved.as_slice()) {
        _ if any(5) => 5,
        _ if any(130) => 130,
        (_, []) => [4, 6, 8].into_iter().find(|exit| any(*exit)).unwrap_or(0),
        ([], _) => {
            if any(3) {
                3
            } else {
                exits.iter().copied().max().unwrap_or(1)
            }
        }
        (_, _) => 5,
    }
}

fn nothing() -> Verdict {
    Verdict { exit: 1, production: "nothing was changed".to_owned(), next: String::new(), left: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_several_is_one_that_several_can_be_asked_for() {
        let of = |line: &str, bad: &[&str]| for_all(line, "a", bad);
        assert_eq!(of("rollback-prod --reason x --service a", &["a", "b"]), "rollback-prod --reason x --service a,b");
        for stays in [
            "rollback-prod --reason x --service a,c",
            "rollback-prod --reason x --service a --hosts web2",
            "rollback-prod --reason x --service a --with flag",
            "rollback-prod watch --service a",
            "rollback-prod check",
        ] {
            assert_eq!(of(stays, &["a", "b"]), stays);
        }
        assert_eq!(of("rollback-prod --reason x --service a", &["a"]), "rollback-prod --reason x --service a");
        assert_eq!(
            of("rollback-prod --dry-run --reason x --service a", &[]),
            "rollback-prod --dry-run --reason x --service a"
        );
    }

    #[test]
    fn a_code_is_never_better_than_that_of_any_service() {
        for (exits, together) in [
            (&[0, 0][..], 0),
            (&[0, 4], 4),
            (&[6, 4], 4),
            (&[0, 6], 6),
            (&[0, 8], 8),
            (&[0, 3], 5),
            (&[0, 1], 5),
            (&[3, 1], 3),
            (&[1, 1], 1),
            (&[3, 3], 3),
            (&[0, 130], 130),
            (&[5, 130], 5),
            (&[4, 5, 0], 5),
        ] {
            assert_eq!(exit_of(exits), together, "{exits:?}");
        }
    }
}
