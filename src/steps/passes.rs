//! Good answers in a row: what tells something that serves from something that answered once.

use std::time::Duration;

use tokio::time::Instant;

/// Between failures there is always a pause, or a dead port would be asked in a tight loop.
const LEAST_PAUSE: Duration = Duration::from_millis(100);

/// How many good answers in a row are wanted, how far apart, and how long a bad one may be followed by another try.
#[derive(Debug, Clone, Copy)]
pub struct InARow {
    pub passes: u32,
    pub interval: Duration,
    pub timeout: Duration,
}

/// Asks until the answer was good so many times in a row. The timeout is for answers that are not good: where the time is
/// over and the last one was, the rest of the row is asked for all the same, since a slow answer is an answer.
///
/// # Errors
/// The last thing that was not good, when the time is over or `goes_on` says no.
pub async fn in_a_row(
    wanted: InARow,
    goes_on: impl Fn() -> bool,
    ask: impl AsyncFn() -> Result<(), String>,
) -> Result<(), String> {
    let until = Instant::now() + wanted.timeout;
    let mut passes = 0;
    loop {
        let answer = ask().await;
        passes = if answer.is_ok() { passes + 1 } else { 0 };
        if passes >= wanted.passes {
            return Ok(());
        }
        match answer {
            Err(complaint) if Instant::now() >= until || !goes_on() => return Err(complaint),
            Ok(()) if !goes_on() => return Err(format!("{passes} of {} answers in a row", wanted.passes)),
            Err(_) => tokio::time::sleep(wanted.interval.max(LEAST_PAUSE)).await,
            Ok(()) => tokio::time::sleep(wanted.interval).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const IN_A_ROW: InARow =
        InARow { passes: 3, interval: Duration::from_millis(1), timeout: Duration::from_millis(200) };

    /// Asks something whose answers are these, the last one for ever; each takes so long.
    async fn asked(answers: &[Result<(), &str>], takes: Duration) -> (Result<(), String>, usize) {
        let count = Cell::new(0);
        let row = in_a_row(
            IN_A_ROW,
            || true,
            async || {
                tokio::time::sleep(takes).await;
                let answer = answers[count.get().min(answers.len() - 1)];
                count.set(count.get() + 1);
                answer.map_err(str::to_owned)
            },
        );
        (row.await, count.get())
    }

    #[tokio::test]
    async fn a_bad_answer_begins_the_row_anew() {
        let answers = [Ok(()), Ok(()), Err("502"), Ok(())];
        assert_eq!(asked(&answers, Duration::ZERO).await, (Ok(()), 6));
    }

    #[tokio::test]
    async fn the_last_complaint_is_what_is_said() {
        let (row, count) = asked(&[Ok(()), Ok(()), Err("refused")], Duration::ZERO).await;
        assert_eq!(row, Err("refused".to_owned()));
        assert!((3..=5).contains(&count), "a try each tenth of a second: {count}");
    }

    #[tokio::test]
    async fn slow_good_answers_are_waited_for_and_the_first_bad_one_ends_it() {
        let slow = IN_A_ROW.timeout;
        assert_eq!(asked(&[Ok(())], slow).await, (Ok(()), 3));
        assert_eq!(asked(&[Ok(()), Ok(()), Err("502"), Ok(())], slow).await, (Err("502".to_owned()), 3));
    }

    #[tokio::test]
    async fn whoever_no_longer_wants_to_wait_does_not() {
        let row = in_a_row(IN_A_ROW, || false, async || Ok(())).await;
        assert_eq!(row, Err("1 of 3 answers in a row".to_owned()));
    }
}
