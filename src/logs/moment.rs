//! When a line was written, from the forms that nginx has for it to seconds since 1970. No clock.

use super::form::Stamp;

/// Seconds since 1970; `None` for what is no moment of that form.
pub fn seconds(stamp: Stamp, text: &[u8]) -> Option<u64> {
    match stamp {
        Stamp::Msec => number(text.split(|byte| *byte == b'.').next()?),
        Stamp::Iso => {
            // 2026-11-21T00:53:56+00:00
            let date = (number(text.get(..4)?)?, number(text.get(5..7)?)?, number(text.get(8..10)?)?);
            civil(date, text.get(11..19)?, text.get(19..)?)
        }
        Stamp::Local => {
            // 21/Nov/2026:00:53:56 +0000
            let month = MONTHS.iter().position(|name| text.get(3..6) == Some(name.as_slice()))?;
            let date = (number(text.get(7..11)?)?, month as u64 + 1, number(text.get(..2)?)?);
            civil(date, text.get(12..20)?, text.get(21..)?)
        }
    }
}

const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// Of a date, `00:53:56` and `+0000` or `+00:00`. Days are counted in years that begin in March.
fn civil((year, month, day): (u64, u64, u64), clock: &[u8], zone: &[u8]) -> Option<u64> {
    if !(1970..10_000).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (year, month) = if month <= 2 { (year - 1, month + 12) } else { (year, month) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month - 457) / 5 + day - 719_469;
    let at = |from: usize| number(clock.get(from..from + 2)?);
    let seconds = days * 86_400 + at(0)? * 3600 + at(3)? * 60 + at(6)?;
    let (sign, zone) = zone.split_first()?;
    let minutes = number(zone.get(..2)?)? * 60 + number(&zone[zone.len().checked_sub(2)?..])?;
    match sign {
        b'+' => seconds.checked_sub(minutes * 60),
        b'-' => Some(seconds + minutes * 60),
        _ => None,
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 15 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

/// Milliseconds of a time such as `1.250`; `None` for `-` and for what is no time.
pub fn milliseconds(text: &[u8]) -> Option<u64> {
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let whole = number(parts.next()?)?;
    let thousandths = match parts.next() {
        None => 0,
        Some(digits) if digits.len() == 3 => number(digits)?,
        Some(_) => return None,
    };
    Some(whole * 1000 + thousandths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_of_a_moment_are_the_same_one() {
        let at = 1_795_222_436;
        for (stamp, text) in [
            (Stamp::Msec, "1795222436.123"),
            (Stamp::Iso, "2026-11-21T00:53:56+00:00"),
            (Stamp::Iso, "2026-11-21T02:23:56+01:30"),
            (Stamp::Local, "21/Nov/2026:00:53:56 +0000"),
            (Stamp::Local, "20/Nov/2026:19:53:56 -0500"),
        ] {
            assert_eq!(seconds(stamp, text.as_bytes()), Some(at), "{text}");
        }
        // date -d '2024-02-29 12:00:00 UTC' +%s
        assert_eq!(seconds(Stamp::Iso, b"2024-02-29T12:00:00+00:00"), Some(1_709_208_000));
        for text in ["", "-", "21/Nov/2026", "21/Foo/2026:00:53:56 +0000", "21/Nov/2026:00:53:56 ?0000"] {
            assert_eq!(seconds(Stamp::Local, text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn times_are_exact_or_none() {
        for (text, ms) in [("0.000", Some(0)), ("1.250", Some(1250)), ("12", Some(12_000)), ("-", None), ("", None)] {
            assert_eq!(milliseconds(text.as_bytes()), ms, "{text}");
        }
        assert_eq!(milliseconds(b"1.25"), None);
        assert_eq!(milliseconds(b"1.2e4"), None);
    }
}
