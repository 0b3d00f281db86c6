//! Whether a share is real: what each balancer's log shows beside what its weights mean.
//!
//! nginx's weighted round robin is exact over a cycle, in each worker for itself, so the count is off by no more than a few
//! requests for each of them; where chance decides (`random`), and where attempts are repeated, Wilson's interval says how far
//! it may be. Only what is outside of both is another share than the one that was asked for.

use super::interval::Counted;
use crate::nouns::colour::Colour;
use crate::nouns::rules::{Finding, Opinion};
use crate::nouns::share::Share;
use crate::nouns::units::grouped;

/// The rule's name among the findings.
pub const SHARE: &str = "share";

/// A balancer that gives a side its share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Giver<'a> {
    pub host: &'a str,
    /// Of nginx, each with a count of its own; 1 where they count together.
    pub workers: usize,
    /// Of both sides: each has its turn.
    pub servers: usize,
    /// Its weights are of open connections: who is fast gets more.
    pub is_by_connections: bool,
}

/// So many requests for each worker come before anything is said: the side listed second gets its first one late.
const LEAST: u64 = 20;
/// And as many as give a side its turn so often with each worker.
const TURNS: u64 = 2;
const LEAST_TURNS: u64 = 3;
/// That none came is a proof where every worker has come round, and so many more.
const NONE_OF: u64 = 50;
/// Of requests that nginx repeats with another server the first attempt is one side's and the second the other's.
const REPEATED: f64 = 0.1;
/// By open connections a side may get so many times its share, or one so manyth of it.
const BY_CONNECTIONS: f64 = 3.0;

/// What is to be said of a share by the attempts at both sides since it was given.
pub fn share_given(giver: Giver<'_>, to: Colour, share: Share, attempts: u64, of: u64) -> Finding {
    let wanted = f64::from(share.as_percent()) / 100.0;
    let counted = Counted { bad: attempts, of };
    let seen = match counted.share() {
        None => format!("{}: no request yet", giver.host),
        Some(seen) => format!("{}: {to} {:.1} % of {} requests", giver.host, seen * 100.0, grouped(of)),
    };
    let finding = |opinion, words: String| Finding { rule: SHARE.to_owned(), opinion, words };
    let (workers, servers) = (giver.workers as u64, giver.servers.max(2) as u64);
    let expected = wanted * of as f64;
    let cycle = (1.0 / wanted).ceil().max(servers as f64) as u64;
    if attempts == 0 && of >= NONE_OF + workers * cycle {
        let words = format!("{}: none of {} requests went to {to}, asked for {share}: bad", giver.host, grouped(of));
        return finding(Opinion::Bad, words);
    }
    let turns = (TURNS * workers).max(LEAST_TURNS) as f64 / wanted.min(1.0 - wanted) * (servers as f64 / 2.0);
    if of < (LEAST * workers).max(turns.ceil() as u64) || attempts == 0 {
        return finding(Opinion::NotEnoughData, format!("{seen}, asked for {share}: too few to tell"));
    }
    let tolerance = (workers * servers) as f64 + REPEATED * expected;
    let is_about = match giver.is_by_connections {
        false => (attempts as f64 - expected).abs() <= tolerance,
        true => {
            (expected / BY_CONNECTIONS - tolerance..=expected * BY_CONNECTIONS + tolerance).contains(&(attempts as f64))
        }
    };
    let is_within = counted.sure_interval().is_some_and(|between| (between.low..=between.high).contains(&wanted));
    match is_about || is_within {
        true => finding(Opinion::Good, format!("{seen}, asked for {share}")),
        // Where the other side fails nginx goes to this one: that is no reason to give all to the one that fails.
        false if attempts as f64 > expected => {
            let words = format!("{seen}, asked for {share}: more than that; does {} serve?", to.other());
            finding(Opinion::NotEnoughData, words)
        }
        false => finding(Opinion::Bad, format!("{seen}, asked for {share}: the share is not real: bad")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(workers: usize, share: u32, attempts: u64, of: u64) -> Opinion {
        let giver = Giver { host: "web1", workers, servers: 2, is_by_connections: false };
        share_given(giver, Colour::Green, Share::percent(share).expect("a share"), attempts, of).opinion
    }

    /// Smooth weighted round robin as nginx does it, each worker for itself, requests dealt out in turn.
    fn dealt(workers: usize, share: u32, of: u64) -> u64 {
        let mut current = vec![[0_i64; 2]; workers];
        let weights = [i64::from(100 - share), i64::from(share)];
        let mut green = 0;
        for request in 0..of {
            let worker = &mut current[(request % workers as u64) as usize];
            (0..2).for_each(|side| worker[side] += weights[side]);
            let best = usize::from(worker[1] > worker[0]);
            worker[best] -= 100;
            green += best as u64;
        }
        green
    }

    #[test]
    fn what_nginx_deals_out_is_never_called_unreal() {
        for workers in [1, 2, 4, 16] {
            for share in [1, 5, 10, 50, 90, 99] {
                for of in [0, 1, 7, 20, 64, 80, 100, 321, 1000, 20_000] {
                    let green = dealt(workers, share, of);
                    let opinion = said(workers, share, green, of);
                    assert_ne!(opinion, Opinion::Bad, "{workers} workers, {share} %: {green} of {of}");
                }
                let all = 200 * workers as u64 * 100 / u64::from(share.min(100 - share));
                assert_eq!(said(workers, share, dealt(workers, share, all), all), Opinion::Good, "{workers} {share}");
            }
        }
    }

    #[test]
    fn another_share_than_was_asked_for_is_not_real() {
        assert_eq!(said(1, 10, 0, 59), Opinion::NotEnoughData);
        assert_eq!(said(1, 10, 0, 60), Opinion::Bad);
        assert_eq!(said(4, 10, 500, 1000), Opinion::NotEnoughData);
        assert_eq!(said(1, 50, 100, 1000), Opinion::Bad);
        assert_eq!(said(1, 10, 1000, 1000), Opinion::NotEnoughData);
        assert_eq!(said(1, 90, 300, 1000), Opinion::Bad);
        // A tenth of the requests is repeated with the other side.
        assert_eq!(said(1, 10, 950, 10_000), Opinion::Good);
        let giver = Giver { host: "web1", workers: 1, servers: 2, is_by_connections: true };
        let given = |attempts| share_given(giver, Colour::Green, Share::percent(10).expect("a share"), attempts, 1000);
        assert_eq!(given(250).opinion, Opinion::Good);
        assert_eq!(given(10).opinion, Opinion::Bad);
    }
}
